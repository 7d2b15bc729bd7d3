//! Which kernel and which tile for which adapter and problem: the one table that every operation asks.
//!
//! | adapter | convolution | tile of one invocation |
//! | --- | --- | --- |
//! | software, with subgroups | `subgroup` | many channels x up to 4 rows x 3 to 8 positions: weights are broadcast, rows share x |
//! | software, without | `direct` | 8 channels x up to 16 positions: each read of x must serve many products |
//! | GPU | `direct` | 8 channels x 2 to 4 positions: registers are dear |
//!
//! | adapter | matrix product, where the shape lets it |
//! | --- | --- |
//! | software, with subgroups | `subgroup` |
//! | all others | `vec4` |
//!
//! A table of an earlier run or of a tuner goes before this one ([`super::choices`]). The measurements behind it are in
//! `shaders/NOTES.md`. A variant can be forced ([`Gpu::force_variant`]), so that each is tested on every adapter that can
//! run it.

use super::choices;
use super::matmul::Variant;
use crate::gpu::{Gpu, GpuError, Place, Result};

/// How a convolution's passes are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvVariant {
    /// `conv2d.wgsl` and `conv2d_weights.wgsl`: every lane reads all that it needs.
    Direct,
    /// `conv2d_subgroup.wgsl` and `conv2d_weights_subgroup.wgsl`: lanes share what all of them need.
    Subgroup,
    /// `conv2d_naive.wgsl`: one output an invocation; never chosen, only forced.
    Naive,
}

impl ConvVariant {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Subgroup, Self::Naive];

    /// The name in results and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Subgroup => "subgroup",
            Self::Naive => "naive",
        }
    }

    /// The variant of this name, if the adapter can run it.
    fn named(gpu: &Gpu, name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name && variant.runs_on(gpu))
    }

    /// Whether the adapter can run it, and does so rightly as far as is known.
    pub fn runs_on(self, gpu: &Gpu) -> bool {
        (self != Self::Subgroup || gpu.subgroup_size().is_some()) && !gpu.is_refused(CONV2D, self.name())
    }
}

/// The operations under whose names variants are forced and refused.
pub const CONV2D: &str = "conv2d";
pub const MATMUL: &str = "matmul";

/// The variant for this adapter: the first that runs, of those that suit its kind from the best to the worst.
pub fn conv2d(gpu: &Gpu) -> Result<ConvVariant> {
    if let Some(forced) = gpu.forced_variant(CONV2D) {
        return ConvVariant::ALL
            .into_iter()
            .find(|variant| variant.name() == forced && variant.runs_on(gpu))
            .ok_or_else(|| GpuError::operand(CONV2D, format!("this adapter has no kernel variant '{forced}'")));
    }
    let chosen = gpu.choice(choices::whole(CONV2D)).and_then(|choice| ConvVariant::named(gpu, choice.variant));
    let order = if gpu.adapter().is_software() {
        [ConvVariant::Subgroup, ConvVariant::Direct, ConvVariant::Naive]
    } else {
        [ConvVariant::Direct, ConvVariant::Subgroup, ConvVariant::Naive]
    };
    let best = chosen.into_iter().chain(order).find(|variant| variant.runs_on(gpu));
    best.ok_or(GpuError::NoVariant { operation: CONV2D })
}

/// The variant for one problem, and its tile (channels, positions) where that was chosen beforehand.
pub fn conv2d_at(gpu: &Gpu, place: Place) -> Result<(ConvVariant, Option<[usize; 2]>)> {
    if gpu.forced_variant(CONV2D).is_none()
        && let Some(choice) = gpu.choice(place)
        && let Some(variant) = ConvVariant::named(gpu, choice.variant)
    {
        return Ok((variant, choice.tile));
    }
    Ok((conv2d(gpu)?, None))
}

/// The variant for products, the second operand transposed or not, where the shape lets it: see [`matmul_at`].
///
/// On software adapters broadcasting the first operand wins. On GPUs nothing was measured.
pub fn matmul(gpu: &Gpu, flip_b: bool) -> Result<Variant> {
    let best = if gpu.adapter().is_software() { Variant::Subgroup } else { Variant::Blocked };
    let named = |place| gpu.choice(place).and_then(|choice| Variant::named(gpu, choice.variant));
    let chosen = flip_b.then(|| named(choices::TRANSPOSED)).flatten().or_else(|| named(choices::whole(MATMUL)));
    let order = [best, Variant::Blocked, Variant::Naive, Variant::Registers, Variant::Tiled];
    let best = chosen.into_iter().chain(order).find(|variant| variant.runs_on(gpu));
    best.ok_or(GpuError::NoVariant { operation: MATMUL })
}

/// The variant for a product of [m, k] and [k, n], either transposed: the chosen one if it can, or the next that can.
pub fn matmul_at(gpu: &Gpu, [m, n, k]: [usize; 3], [flip_a, flip_b]: [bool; 2]) -> Result<Variant> {
    let place = choices::product(m, n, k, flip_a, flip_b);
    let tuned = gpu.choice(place).and_then(|choice| Variant::named(gpu, choice.variant));
    let order = [Variant::Blocked, Variant::Naive, Variant::Registers, Variant::Tiled];
    let wishes = tuned.into_iter().chain([matmul(gpu, flip_b)?]).chain(order);
    let best = wishes.into_iter().find(|variant| variant.runs_on(gpu) && variant.fits(n, k, flip_b));
    best.ok_or(GpuError::NoVariant { operation: MATMUL })
}

/// Channels and positions to one invocation of a convolution's problem where none were chosen, for square planes.
pub fn default_tile(gpu: &Gpu, variant: ConvVariant, (pass, [from, to, kernel, stride, width]): Place) -> [usize; 2] {
    if pass == "backward-weights" {
        let tile = weight_tile(gpu, variant, [from, to], [kernel, stride, width], None);
        return [tile.channels, tile.positions];
    }
    // Backward-data goes phase by phase, each with stride 1.
    let (phases, stride) = if pass == "backward-data" { (stride, 1) } else { (1, stride) };
    let extent = width.div_ceil(phases);
    let [_, positions, channels] = tile(gpu, variant, [to, extent, extent], kernel.div_ceil(phases), stride, None);
    [channels, positions]
}

/// The major version of Mesa that a driver's description names.
fn mesa(driver: &str) -> Option<u32> {
    driver.split("Mesa ").nth(1)?.split('.').next()?.parse().ok()
}

/// Whether it is llvmpipe from Mesa 25 on: reads cost it a quarter of what they cost before, and compiling four times.
fn is_mesa_since_25(gpu: &Gpu) -> bool {
    gpu.adapter().is_software() && mesa(&gpu.adapter().driver).is_some_and(|version| version >= 25)
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
        Some(size) if variant == ConvVariant::Subgroup => size,
        _ if gpu.adapter().is_software() => 8,
        _ => 32,
    }
}

/// What one invocation's tile may come to, forward and backward-data: rows, products with a tap row, and sums (each is
/// a store in the end).
struct Bounds {
    rows: usize,
    products: usize,
    sums: usize,
}

/// Beyond this, software adapters compile for seconds; Mesa takes four times as long from 25 on, and gains nothing there.
fn bounds(gpu: &Gpu) -> Bounds {
    if is_mesa_since_25(gpu) {
        Bounds { rows: 2, products: 400, sums: 160 }
    } else {
        Bounds { rows: 4, products: 800, sums: 256 }
    }
}

/// What a chosen tile may come to with its rows.
const MOST_CHOSEN_SUMS: usize = 512;
/// Sums of the weight gradient's tile where it has all taps of an input channel; Mesa 25 is half as fast with 224.
const MOST_LINE_SUMS: usize = 160;
/// Output channels of that tile.
const MOST_LINE_CHANNELS: usize = 32;
/// Products of its tile elsewhere.
const MOST_WEIGHT_PRODUCTS: usize = 400;

/// The count of `least..=most` that wastes least at the end of `width`, the largest of equals.
fn even(width: usize, least: usize, most: usize) -> usize {
    let waste = |block: &usize| (width.next_multiple_of(*block), usize::MAX - block);
    (1..=most.min(width)).filter(|&block| block >= least || block == width).min_by_key(waste).unwrap_or(1)
}

/// At most `most` channels, evenly shared out.
fn shared(channels: usize, most: usize) -> usize {
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
    match (variant, gpu.adapter().is_software()) {
        (ConvVariant::Subgroup, _) if many => even(width, 5, 8),
        (ConvVariant::Subgroup, _) => even(width, 3, 5),
        (ConvVariant::Direct, true) => even(width, 5, 16),
        (ConvVariant::Direct, false) => even(width, 2, 4),
        (ConvVariant::Naive, _) => 1,
    }
}

/// Rows, positions and output channels to one invocation, forward and backward-data, for an output grid of
/// [channels, height, width]; `taps` is a tap row's length, `chosen` channels and positions chosen beforehand.
pub fn tile(
    gpu: &Gpu,
    variant: ConvVariant,
    [channels, height, width]: [usize; 3],
    taps: usize,
    stride: usize,
    chosen: Option<[usize; 2]>,
) -> [usize; 3] {
    let most = bounds(gpu);
    let rows = rows(variant, height, stride, most.rows);
    if let Some([channels, positions]) = chosen {
        return [rows.min(MOST_CHOSEN_SUMS / (channels * positions)).max(1), positions, channels];
    }
    // Few sums to a read of x, or no line of x that rows share.
    let positions = positions(gpu, variant, width, channels * rows <= 16 || stride > 1);
    let block = match variant {
        ConvVariant::Subgroup => {
            let fitting = (most.products / (taps * rows * positions)).min(most.sums / (rows * positions));
            shared(channels, fitting.min(32))
        }
        ConvVariant::Direct => shared(channels, 8),
        ConvVariant::Naive => 1,
    };
    [rows, positions, block]
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
    let taps = kernel * kernel;
    let [line_channels, line_positions] = chosen.unwrap_or_else(|| {
        let channels = shared(out_channels, (MOST_LINE_SUMS / taps).min(MOST_LINE_CHANNELS));
        [channels, positions(gpu, variant, width, false)]
    });
    // Lanes run over input channels there: with fewer than lanes, some would have nothing to do. Without taps that rows
    // have in common there is no line to keep; and a chosen tile may be too large for it.
    let serves = in_channels >= lanes && kernel > stride && taps <= MOST_LINE_SUMS;
    if variant == ConvVariant::Subgroup && serves && line_channels * taps <= MOST_CHOSEN_SUMS {
        return WeightTile { lines: true, channels: line_channels, rows: kernel, positions: line_positions };
    }
    let positions =
        chosen.map_or_else(|| positions(gpu, variant, width, out_channels <= 4), |[_, positions]| positions);
    let (channels, most) = match (variant, gpu.adapter().is_software()) {
        (ConvVariant::Subgroup, _) => {
            let channels = shared(out_channels, (MOST_WEIGHT_PRODUCTS / (2 * kernel * positions)).min(16));
            (channels, (MOST_WEIGHT_PRODUCTS / (channels * kernel * positions)).clamp(1, 4))
        }
        (ConvVariant::Direct, true) => (shared(out_channels, 8), 4),
        (ConvVariant::Direct, false) => (shared(out_channels, 8), 1),
        (ConvVariant::Naive, _) => (1, 1),
    };
    // As many rows as leave work for every lane.
    let rows = (in_channels * kernel).div_ceil(lanes).min(most);
    WeightTile { lines: false, channels: chosen.map_or(channels, |[channels, _]| channels), rows, positions }
}

#[cfg(test)]
mod tests {
    use super::mesa;

    #[test]
    fn mesas_version_is_read_from_what_the_driver_says() {
        assert_eq!(mesa("llvmpipe Mesa 22.3.6 (LLVM 15.0.6)"), Some(22));
        assert_eq!(mesa("llvmpipe Mesa 25.0.7-2~bpo12+1 (LLVM 15.0.6)"), Some(25));
        assert_eq!([mesa("NVIDIA 550.54"), mesa("Mesa"), mesa("Mesa git"), mesa("")], [None; 4]);
    }
}
