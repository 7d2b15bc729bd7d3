//! Which kernel and which tile for which adapter and problem: the one table that every operation asks.
//!
//! | adapter | convolution | tile of one invocation |
//! | --- | --- | --- |
//! | software, with subgroups, 3 x 3 at stride 1 or 2, from 32 channels on both sides (weight gradients at stride 2: a harmonic mean of 160) and with most of a line in whole tiles | `winograd` | 4 x 4 outputs by 36 products (81 at stride 2), not 144, as products of matrices |
//! | software, with subgroups, 3 x 3 at stride 1, from 8 output channels | `lanes` | 1 or 2 channels to a lane x 8 x 8 positions: x is broadcast |
//! | software, with subgroups, else | `subgroup` | many channels x up to 8 rows x up to 14 positions, by what they cost (`subgroup_tile.rs`; small ones but on llvmpipe): weights are broadcast, rows share x |
//! | software, without | `direct` | 8 channels x up to 16 positions, 4 but on llvmpipe: each read of x must serve many products |
//! | GPU, from 32 channels on both sides | `gemm` | a block of a workgroup's tile: 4 x 4, or 8 x 8 where that leaves work for all |
//! | GPU, fewer channels | `direct` | 8 channels x 2 to 4 positions: registers are dear |
//!
//! | adapter | matrix product, where the shape lets it |
//! | --- | --- |
//! | software, with subgroups | `subgroup` |
//! | software, without | `vec4` |
//! | GPU, products of at least 64 tiles | `shared` |
//! | GPU, smaller ones | `vec4` |
//!
//! With `--precision f16`, `coop` goes before all of these: convolutions from 16 channels on both sides, products from 16
//! on each of their three extents.
//!
//! What stands here of GPUs was never measured on one: it is what others found on theirs (direct kernels win below 32
//! channels). `bench --tune` measures it on yours.
//!
//! A table of an earlier run or of a tuner goes before this one ([`super::choices`]). The measurements behind it are in
//! `shaders/NOTES.md`. A variant can be forced ([`Gpu::force_variant`]), so that each is tested on every adapter that can
//! run it.

use super::block::Block;
use super::matmul::Variant;
use super::subgroup_tile::Walked;
use super::{choices, conv2d_winograd};
use crate::gpu::{AdapterKind, Gpu, GpuError, Place, Precision, Result};

/// How a convolution's passes are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvVariant {
    /// `conv2d.wgsl` and `conv2d_weights.wgsl`: every lane reads all that it needs.
    Direct,
    /// `conv2d_subgroup.wgsl`, `conv2d_taps.wgsl`, `conv2d_weights_subgroup.wgsl` and `conv2d_weights_lines.wgsl`: lanes
    /// share what all of them need. Forward and backward-data, lanes run over positions and share weights.
    Subgroup,
    /// `conv2d_gemm.wgsl` and `conv2d_weights_gemm.wgsl`: a product of matrices, tiles in workgroup memory.
    Gemm,
    /// `conv2d_naive.wgsl`: one output an invocation; never chosen, only forced.
    Naive,
    /// `conv2d_coop.wgsl` and `conv2d_weights_coop.wgsl`: the same product by cooperative matrices, from f16.
    Coop,
    /// `conv2d_lanes.wgsl`: lanes run over output channels and share x. Weight gradients as `Subgroup`'s.
    Lanes,
    /// `conv2d_winograd.wgsl`: three taps a side at stride 1 and 2 with fewer products; other kernels are another's.
    Winograd,
}

impl ConvVariant {
    /// Every variant.
    pub const ALL: [Self; 7] =
        [Self::Direct, Self::Subgroup, Self::Gemm, Self::Naive, Self::Coop, Self::Lanes, Self::Winograd];

    /// The name in results and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Subgroup => "subgroup",
            Self::Gemm => "gemm",
            Self::Naive => "naive",
            Self::Coop => "coop",
            Self::Lanes => "lanes",
            Self::Winograd => "winograd",
        }
    }

    /// The variant of this name, if the adapter can run it.
    fn named(gpu: &Gpu, name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name && variant.runs_on(gpu))
    }

    /// Whether the adapter can run it, and does so rightly as far as is known.
    pub fn runs_on(self, gpu: &Gpu) -> bool {
        let able = match self {
            Self::Subgroup | Self::Lanes => gpu.subgroup_size().is_some(),
            Self::Coop => gpu.cooperative().is_some(),
            _ => true,
        };
        able && !gpu.is_refused(CONV2D, self.name())
    }

    /// Whether its kernels do for a kernel of this extent at this stride; where they do not, the table chooses another.
    pub fn has_kernels_for(self, kernel: usize, stride: usize) -> bool {
        self != Self::Winograd || conv2d_winograd::suits(kernel, stride)
    }

    /// Channels on each side from which the table takes it: a tile of fewer lies for the most part past the edge.
    const fn least_channels(self) -> usize {
        match self {
            Self::Gemm => 32,
            Self::Coop => 16,
            _ => 0,
        }
    }
}

/// The operations under whose names variants are forced and refused.
pub const CONV2D: &str = "conv2d";
pub const MATMUL: &str = "matmul";

/// The variants that suit this adapter, from the best to the worst.
fn ranked(gpu: &Gpu) -> impl Iterator<Item = ConvVariant> {
    let f16 = (gpu.precision() == Precision::F16).then_some(ConvVariant::Coop);
    let f32 = if gpu.adapter().is_software() {
        [ConvVariant::Subgroup, ConvVariant::Direct, ConvVariant::Gemm, ConvVariant::Naive]
    } else {
        [ConvVariant::Gemm, ConvVariant::Direct, ConvVariant::Subgroup, ConvVariant::Naive]
    };
    f16.into_iter().chain(f32)
}

/// The variant for this adapter: the first that runs, of those that suit its kind from the best to the worst. Problems of
/// few channels are another's all the same where it is one that needs many ([`conv2d_at`]).
pub fn conv2d(gpu: &Gpu) -> Result<ConvVariant> {
    if let Some(forced) = gpu.forced_variant(CONV2D) {
        return ConvVariant::ALL
            .into_iter()
            .find(|variant| variant.name() == forced && variant.runs_on(gpu))
            .ok_or_else(|| GpuError::operand(CONV2D, format!("this adapter has no kernel variant '{forced}'")));
    }
    best(gpu, usize::MAX, true)
}

/// The best variant for a problem that has at least so many channels on each side; Winograd's among them or not.
fn best(gpu: &Gpu, channels: usize, winograd: bool) -> Result<ConvVariant> {
    let chosen = gpu.choice(choices::whole(CONV2D)).and_then(|choice| ConvVariant::named(gpu, choice.variant));
    let mut wishes = chosen.into_iter().chain(ranked(gpu));
    let fits = |variant: &ConvVariant| {
        variant.runs_on(gpu) && channels >= variant.least_channels() && (winograd || *variant != ConvVariant::Winograd)
    };
    wishes.find(fits).ok_or(GpuError::NoVariant { operation: CONV2D })
}

/// The variant for one problem, and its tile (channels, positions) where that was chosen beforehand.
pub fn conv2d_at(gpu: &Gpu, place: Place) -> Result<(ConvVariant, Option<[usize; 2]>)> {
    let (variant, tile) = any_conv2d_at(gpu, place)?;
    let (pass, [_, _, kernel, stride, _]) = place;
    Ok(match variant {
        ConvVariant::Lanes if pass == "backward-weights" => (ConvVariant::Subgroup, tile),
        _ if !variant.has_kernels_for(kernel, stride) => (conv2d_but_winograd(gpu, place)?, None),
        _ => (variant, tile),
    })
}

/// The same, where a variant may come out that has no kernel for this problem.
fn any_conv2d_at(gpu: &Gpu, place: Place) -> Result<(ConvVariant, Option<[usize; 2]>)> {
    if gpu.forced_variant(CONV2D).is_some() {
        return Ok((conv2d(gpu)?, None));
    }
    if let Some(choice) = gpu.choice(place)
        && let Some(variant) = ConvVariant::named(gpu, choice.variant)
    {
        return Ok((variant, choice.tile));
    }
    Ok((own_conv2d_at(gpu, place, true)?, None))
}

/// The table's own variant for one problem that Winograd's kernels cannot do.
pub(super) fn conv2d_but_winograd(gpu: &Gpu, place: Place) -> Result<ConvVariant> {
    own_conv2d_at(gpu, place, false)
}

/// The table's own variant for one problem.
fn own_conv2d_at(gpu: &Gpu, (pass, sizes): Place, winograd: bool) -> Result<ConvVariant> {
    let [from, to, kernel, stride, width] = sizes;
    // Where the table has none left but one that needs many channels, it takes that.
    let winograd = winograd && ConvVariant::Winograd.has_kernels_for(kernel, stride);
    let found = best(gpu, from.min(to), winograd).or_else(|_| best(gpu, usize::MAX, winograd))?;
    let is_weights = pass == "backward-weights";
    let others = [
        (ConvVariant::Winograd, winograd && suits_winograd(gpu, pass, [from, to, stride, width])),
        (ConvVariant::Lanes, !is_weights && suits_lanes(gpu, [to, kernel, stride, width])),
    ];
    let better = others.into_iter().find(|(variant, suits)| *suits && variant.runs_on(gpu)).map(|(variant, _)| variant);
    Ok(better.filter(|_| found == ConvVariant::Subgroup).unwrap_or(found))
}

/// Channels on both sides from which Winograd's fewer products are worth their transforms.
const LEAST_WINOGRAD: usize = 32;

/// The same for a weight gradient at stride 2, which has less left to save: the least harmonic mean of both sides' channels, as
/// which products to a transform grow.
const LEAST_WINOGRAD_MEAN: usize = 160;

/// Whether a problem of three taps that is `subgroup`'s is better done by Winograd's products. Tiles past the edge are work for
/// nothing, so most of each line must lie in whole ones.
fn suits_winograd(gpu: &Gpu, pass: &str, [from, to, stride, width]: [usize; 4]) -> bool {
    let tile = conv2d_winograd::TILE * if pass == "backward-data" { stride } else { 1 };
    gpu.adapter().is_software()
        && from.min(to) >= LEAST_WINOGRAD
        && 8 * width >= 7 * width.next_multiple_of(tile)
        && (pass != "backward-weights" || stride == 1 || 2 * from * to >= LEAST_WINOGRAD_MEAN * (from + to))
}

/// Whether a problem that is `subgroup`'s is better done with lanes over channels: three taps a side at stride 1, from as
/// many channels as lanes on. Fewer taps, more, strides and tiny planes leave it too few products to a read.
fn suits_lanes(gpu: &Gpu, [to, kernel, stride, width]: [usize; 4]) -> bool {
    kernel == 3 && stride == 1 && to >= lanes(gpu, ConvVariant::Lanes) as usize && width >= 4
}

/// Extents of a product from which cooperative matrices are chosen: a tile of less lies for the most part past the edge.
const LEAST_EXTENT: usize = 16;

/// Tiles in workgroup memory from which a GPU has work for all of its cores.
const LEAST_TILES: usize = 64;

/// The variant for products, the second operand transposed or not, where the shape lets it: see [`matmul_at`].
///
/// On software adapters broadcasting the first operand wins. On GPUs nothing was measured; tiles in workgroup memory are
/// what is known to pay there.
pub fn matmul(gpu: &Gpu, flip_b: bool) -> Result<Variant> {
    let f16 = (gpu.precision() == Precision::F16).then_some(Variant::Coop);
    let named = |place| gpu.choice(place).and_then(|choice| Variant::named(gpu, choice.variant));
    let chosen = flip_b.then(|| named(choices::TRANSPOSED)).flatten().or_else(|| named(choices::whole(MATMUL)));
    let order =
        [best_for_f32(gpu), Variant::Blocked, Variant::Naive, Variant::Registers, Variant::Tiled, Variant::Shared];
    let best = chosen.into_iter().chain(f16).chain(order).find(|variant| variant.runs_on(gpu));
    best.ok_or(GpuError::NoVariant { operation: MATMUL })
}

fn best_for_f32(gpu: &Gpu) -> Variant {
    if gpu.adapter().is_software() { Variant::Subgroup } else { Variant::Shared }
}

/// The variant for a product of [m, k] and [k, n], either transposed: the chosen one if it can, or the next that can.
pub fn matmul_at(gpu: &Gpu, [m, n, k]: [usize; 3], [flip_a, flip_b]: [bool; 2]) -> Result<Variant> {
    let place = choices::product(m, n, k, flip_a, flip_b);
    let tuned = gpu.choice(place).and_then(|choice| Variant::named(gpu, choice.variant));
    let tiles: usize = Block::new(None, [m, n]).groups([m, n]).iter().product();
    let pays = |variant: &Variant| match variant {
        Variant::Shared => tiles >= LEAST_TILES,
        Variant::Coop => m.min(n).min(k) >= LEAST_EXTENT,
        _ => true,
    };
    let whole = matmul(gpu, flip_b)?;
    let f32 = (whole == Variant::Coop).then(|| best_for_f32(gpu));
    let own = [whole].into_iter().chain(f32).filter(pays);
    let order = [Variant::Blocked, Variant::Naive, Variant::Registers, Variant::Tiled, Variant::Shared];
    let wishes = tuned.into_iter().chain(own).chain(order);
    let best = wishes.into_iter().find(|variant| variant.runs_on(gpu) && variant.fits(n, k, flip_b));
    best.ok_or(GpuError::NoVariant { operation: MATMUL })
}

/// The variant for many products of one shape in one launch, neither operand transposed, n a multiple of four.
pub(super) fn matmul_each(gpu: &Gpu) -> Result<Variant> {
    let order = [matmul(gpu, false)?, best_for_f32(gpu), Variant::Blocked, Variant::Naive, Variant::Shared];
    let able = |variant: &Variant| variant.takes_many() && variant.runs_on(gpu);
    order.into_iter().find(able).ok_or(GpuError::NoVariant { operation: MATMUL })
}

/// Channels and positions to one invocation of a convolution's problem with this padding where none were chosen, for
/// square planes.
pub fn default_tile(
    gpu: &Gpu,
    variant: ConvVariant,
    (pass, [from, to, kernel, stride, width]): Place,
    padding: usize,
) -> [usize; 2] {
    if matches!(variant, ConvVariant::Gemm | ConvVariant::Coop) {
        return [4, 4];
    }
    if pass == "backward-weights" {
        let tile = weight_tile(gpu, variant, [from, to], [kernel, stride, width], None);
        return [tile.channels, tile.positions];
    }
    // Backward-data goes phase by phase, each with stride 1.
    let (phases, stride) = if pass == "backward-data" { (stride, 1) } else { (1, stride) };
    let extent = width.div_ceil(phases);
    let taps = [kernel.div_ceil(phases); 2];
    let flip = (pass == "backward-data", padding);
    let walked = Walked::of((variant, stride * phases), [from, to], [extent; 2], kernel, flip);
    let [_, positions, channels] = match walked.and_then(|walked| walked.tile(gpu, None)) {
        Some(tile) => tile,
        None => tile(gpu, variant, [to, extent, extent], taps, stride, None),
    };
    [channels, positions]
}

/// Rows, vectors of four columns and values of k at a time of `matmul_subgroup.wgsl`, where there are as many, for `count`
/// products of [m, k] and [k, n].
///
/// Twice the rows are a fifth faster, but twice the text: Mesa 25, which compiles slowly, has them for large products alone.
/// And in the end rows take turns at their stores, which many rows with a very short sum spend their time on.
pub fn shared_tile(gpu: &Gpu, count: u32, [m, n, k]: [u32; 3]) -> [u32; 3] {
    let products = u64::from(count) * u64::from(m) * u64::from(n) * u64::from(k);
    let pays = |least: u32| k >= 16 && products >= 1 << least;
    match gpu.adapter().kind() {
        AdapterKind::LlvmpipeSince25 if pays(26) => [32, 2, 2],
        AdapterKind::LlvmpipeSince25 | AdapterKind::OtherSoftware => [16, 2, 2],
        AdapterKind::Llvmpipe if pays(22) => [32, 2, 4],
        AdapterKind::Llvmpipe => [16, 4, 2],
        AdapterKind::Gpu => [8, 1, 2],
    }
}

/// An error if an operation has no variant left.
pub fn all_choices(gpu: &Gpu) -> Result<()> {
    conv2d(gpu)?;
    matmul_at(gpu, [1; 3], [false; 2])?;
    Ok(())
}

/// Lanes of a workgroup: a subgroup, or else one vector of a software adapter, one warp of a GPU.
pub fn lanes(gpu: &Gpu, variant: ConvVariant) -> u32 {
    match gpu.subgroup_size() {
        Some(size) if matches!(variant, ConvVariant::Subgroup | ConvVariant::Lanes) => size,
        _ if gpu.adapter().is_software() => 8,
        _ => 32,
    }
}

/// What one invocation's tile may come to. Where rows share lines of x at stride 1, [`Walked`] has other bounds.
struct Bounds {
    /// Forward and backward-data: rows (of `conv2d_taps.wgsl`), products with a tap row, and sums.
    rows: usize,
    products: usize,
    sums: usize,
    /// The weight gradient: sums where it has all taps of an input channel, products elsewhere.
    line_sums: usize,
    weight_products: usize,
}

/// Beyond this, llvmpipe compiles for seconds, from Mesa 25 on for longer (and is half as fast with 224 `line_sums`).
/// Others have less: SwiftShader compiles more slowly still, and on GPUs registers are dear.
fn bounds(gpu: &Gpu) -> Bounds {
    match gpu.adapter().kind() {
        AdapterKind::LlvmpipeSince25 => {
            Bounds { rows: 2, products: 480, sums: 160, line_sums: 160, weight_products: 400 }
        }
        AdapterKind::Llvmpipe => Bounds { rows: 4, products: 800, sums: 256, line_sums: 160, weight_products: 400 },
        AdapterKind::OtherSoftware | AdapterKind::Gpu => {
            Bounds { rows: 2, products: 96, sums: 32, line_sums: 72, weight_products: 200 }
        }
    }
}

/// Rows, positions and channels to one lane of `conv2d_lanes.wgsl`, for an output grid of [channels, height, width] and
/// so many taps; `chosen` channels and positions chosen beforehand.
///
/// A turn has `taps` products for each sum. Mesa 25 is fastest with some 576 products, and a third slower with twice as many;
/// 22 wants those.
fn lanes_tile(gpu: &Gpu, [channels, height, width]: [usize; 3], taps: usize, chosen: Option<[usize; 2]>) -> [usize; 3] {
    let groups = channels.div_ceil(lanes(gpu, ConvVariant::Lanes) as usize);
    let (most, block) = match gpu.adapter().kind() {
        AdapterKind::LlvmpipeSince25 => (576, 1),
        // Two where that leaves no lane without channels.
        AdapterKind::Llvmpipe => (1152, if groups.is_multiple_of(2) { 2 } else { 1 }),
        AdapterKind::OtherSoftware | AdapterKind::Gpu => (144, 1),
    };
    let [block, positions] = chosen.unwrap_or([block, positions(gpu, ConvVariant::Lanes, width, false)]);
    let fitting = (most / (taps * block * positions)).min(MOST_CHOSEN_SUMS / (block * positions));
    [shared(height, fitting.clamp(1, 8)), positions, block]
}

/// What a chosen tile may come to with its rows.
pub(super) const MOST_CHOSEN_SUMS: usize = 512;
/// Output channels of the weight gradient's tile where it has all taps of an input channel.
const MOST_LINE_CHANNELS: usize = 32;

/// The count of `least..=most` that wastes least at the end of `width`, the largest of equals.
fn even(width: usize, least: usize, most: usize) -> usize {
    let waste = |block: &usize| (width.next_multiple_of(*block), usize::MAX - block);
    (1..=most.min(width)).filter(|&block| block >= least || block == width).min_by_key(waste).unwrap_or(1)
}

/// At most `most` channels, evenly shared out.
pub(super) fn shared(channels: usize, most: usize) -> usize {
    channels.div_ceil(channels.div_ceil(most.max(1)))
}

/// Rows to one invocation, forward and backward-data: at stride 1 they share lines of x.
fn rows(variant: ConvVariant, height: usize, stride: usize, most: usize) -> usize {
    match variant {
        ConvVariant::Subgroup if stride == 1 => even(height, 2, most),
        _ => 1,
    }
}

/// Positions of a row to one invocation; `many` where a read of x must serve many of them to be worth it.
fn positions(gpu: &Gpu, variant: ConvVariant, width: usize, many: bool) -> usize {
    match (variant, gpu.adapter().is_llvmpipe()) {
        (ConvVariant::Lanes, _) => shared(width, 8),
        (ConvVariant::Subgroup, _) if many => even(width, 5, 8),
        (ConvVariant::Subgroup, _) => even(width, 3, 5),
        (ConvVariant::Direct, true) => even(width, 5, 16),
        (ConvVariant::Direct, false) => even(width, 2, 4),
        (ConvVariant::Gemm | ConvVariant::Coop, _) => 4,
        (ConvVariant::Naive | ConvVariant::Winograd, _) => 1,
    }
}

/// Rows, positions and output channels to one invocation, forward and backward-data, for an output grid of
/// [channels, height, width]; `taps` are rows and columns of them, `chosen` channels and positions chosen beforehand.
pub fn tile(
    gpu: &Gpu,
    variant: ConvVariant,
    [channels, height, width]: [usize; 3],
    taps: [usize; 2],
    stride: usize,
    chosen: Option<[usize; 2]>,
) -> [usize; 3] {
    if variant == ConvVariant::Lanes {
        return lanes_tile(gpu, [channels, height, width], taps[0] * taps[1], chosen);
    }
    let most = bounds(gpu);
    let rows = rows(variant, height, stride, most.rows);
    if let Some([channels, positions]) = chosen {
        return [rows.min(MOST_CHOSEN_SUMS / (channels * positions)).max(1), positions, channels];
    }
    // Few sums to a read of x, or no line of x that rows share.
    let positions = positions(gpu, variant, width, channels * rows <= 16 || stride > 1);
    let block = match variant {
        ConvVariant::Subgroup => {
            let fitting = (most.products / (taps[1] * rows * positions)).min(most.sums / (rows * positions));
            shared(channels, fitting.min(32))
        }
        ConvVariant::Direct => shared(channels, 8),
        ConvVariant::Gemm | ConvVariant::Coop => 4,
        _ => 1,
    };
    [rows, positions, block]
}

/// Taps up to which there are few: four at once beat a loop over rows of taps, nine do not (`shaders/NOTES.md`).
const FEW_TAPS: usize = 4;

/// Whether a kernel has so few taps, in each of so many phases a side, that `conv2d_taps.wgsl` takes the place of
/// `conv2d_subgroup.wgsl`.
pub fn has_few_taps(kernel: usize, phases: usize) -> bool {
    kernel.div_ceil(phases).pow(2) <= FEW_TAPS
}

/// What one invocation of the weight gradient has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightTile {
    /// All taps of an input channel, so that lines of x serve several rows (`conv2d_weights_lines.wgsl`).
    pub lines: bool,
    /// Output channels.
    pub channels: usize,
    /// Rows of taps (c, ky): with `lines`, the kernel's own.
    pub rows: usize,
    /// Positions of a row of the output at a time.
    pub positions: usize,
}

/// The weight gradient's tile for input and output channels, the kernel's extent and stride and the output's width;
/// `chosen` channels and positions chosen beforehand.
pub fn weight_tile(
    gpu: &Gpu,
    variant: ConvVariant,
    [in_channels, out_channels]: [usize; 2],
    [kernel, stride, width]: [usize; 3],
    chosen: Option<[usize; 2]>,
) -> WeightTile {
    let lanes = lanes(gpu, variant) as usize;
    let bounds = bounds(gpu);
    let taps = kernel * kernel;
    let [line_channels, line_positions] = chosen.unwrap_or_else(|| {
        let channels = shared(out_channels, (bounds.line_sums / taps).min(MOST_LINE_CHANNELS));
        [channels, positions(gpu, variant, width, false)]
    });
    // Lanes run over input channels there: with fewer than lanes, some would have nothing to do. Without taps that rows
    // have in common there is no line to keep; and a chosen tile may be too large for it.
    let serves = in_channels >= lanes && kernel > stride && taps <= bounds.line_sums;
    if variant == ConvVariant::Subgroup && serves && line_channels * taps <= MOST_CHOSEN_SUMS {
        return WeightTile { lines: true, channels: line_channels, rows: kernel, positions: line_positions };
    }
    let positions = match (chosen, variant) {
        (Some([_, positions]), _) => positions,
        // As many as leave room for all channels: columns of x stay from block to block, so short blocks read no more of it.
        (None, ConvVariant::Subgroup) if kernel > stride && out_channels > 4 => {
            let fitting = bounds.weight_products / (2 * kernel * out_channels.min(16));
            even(width, fitting.clamp(1, 3), fitting.clamp(1, 5))
        }
        _ => positions(gpu, variant, width, out_channels <= 4),
    };
    let (channels, most) = match (variant, gpu.adapter().is_llvmpipe()) {
        (ConvVariant::Subgroup, _) => {
            let channels = shared(out_channels, (bounds.weight_products / (2 * kernel * positions)).min(16));
            (channels, (bounds.weight_products / (channels * kernel * positions)).clamp(1, 4))
        }
        (ConvVariant::Direct, true) => (shared(out_channels, 8), 4),
        (ConvVariant::Direct, false) => (shared(out_channels, 8), 1),
        _ => (1, 1),
    };
    // As many rows as leave work for every lane.
    let channels = chosen.map_or(channels, |[channels, _]| channels);
    let most = most.min((MOST_CHOSEN_SUMS / (channels * kernel)).max(1));
    let rows = (in_channels * kernel).div_ceil(lanes).min(most);
    WeightTile { lines: false, channels, rows, positions }
}
