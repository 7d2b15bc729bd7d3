//! Which kernel and which tile for which adapter and problem: the one table that every operation asks.
//!
//! | adapter | convolution | tile of one invocation |
//! | --- | --- | --- |
//! | software, with subgroups | `subgroup` | many channels x 3 to 5 positions: weights are broadcast, x is dear |
//! | software, without | `direct` | 8 channels x up to 16 positions: each read of x must serve many products |
//! | GPU | `direct` | 8 channels x 2 to 4 positions: registers are dear |
//!
//! The measurements behind it are in `shaders/NOTES.md`. A variant can be forced ([`Gpu::force_variant`]), so that each
//! is tested on every adapter that can run it.

use super::matmul::Variant;
use crate::gpu::{Gpu, GpuError, Result};

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
    let order = if gpu.adapter().is_software() {
        [ConvVariant::Subgroup, ConvVariant::Direct, ConvVariant::Naive]
    } else {
        [ConvVariant::Direct, ConvVariant::Subgroup, ConvVariant::Naive]
    };
    order.into_iter().find(|variant| variant.runs_on(gpu)).ok_or(GpuError::NoVariant { operation: CONV2D })
}

/// The variant of a product whose second operand's rows are whole vectors of four, or are not.
pub fn matmul(gpu: &Gpu, whole_vectors: bool) -> Result<Variant> {
    let order = [Variant::Blocked, Variant::Naive, Variant::Registers, Variant::Tiled];
    let fits = |variant: &Variant| variant.runs_on(gpu) && (whole_vectors || *variant != Variant::Blocked);
    order.into_iter().find(fits).ok_or(GpuError::NoVariant { operation: MATMUL })
}

/// An error if an operation has no variant left.
pub fn all_choices(gpu: &Gpu) -> Result<()> {
    conv2d(gpu)?;
    matmul(gpu, false)?;
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

/// Products to one invocation's tile and tap row at the most: beyond that, software adapters compile for seconds.
const MOST_PRODUCTS: usize = 400;

/// The count of `least..=most` that wastes least at the end of `width`, the largest of equals.
fn even(width: usize, least: usize, most: usize) -> usize {
    let waste = |block: &usize| (width.next_multiple_of(*block), usize::MAX - block);
    (1..=most.min(width)).filter(|&block| block >= least || block == width).min_by_key(waste).unwrap_or(1)
}

/// At most `most` channels, evenly shared out.
fn shared(channels: usize, most: usize) -> usize {
    channels.div_ceil(channels.div_ceil(most.max(1)))
}

/// Positions of a row to one invocation, for a given number of output channels.
pub fn positions(gpu: &Gpu, variant: ConvVariant, width: usize, channels: usize) -> usize {
    match (variant, gpu.adapter().is_software()) {
        // With few channels a read of x serves few products unless it serves many positions.
        (ConvVariant::Subgroup, _) if channels <= 4 => even(width, 5, 8),
        (ConvVariant::Subgroup, _) => even(width, 3, 5),
        (ConvVariant::Direct, true) => even(width, 5, 16),
        (ConvVariant::Direct, false) => even(width, 2, 4),
        (ConvVariant::Naive, _) => 1,
    }
}

/// Output channels to one invocation, forward and backward-data; `taps` is a tap row's length.
pub fn channels(variant: ConvVariant, channels: usize, taps: usize, positions: usize) -> usize {
    match variant {
        ConvVariant::Subgroup => shared(channels, (MOST_PRODUCTS / (taps * positions)).min(32)),
        ConvVariant::Direct => shared(channels, 8),
        ConvVariant::Naive => 1,
    }
}

/// Output channels and rows (c, ky) to one invocation of the weight gradient; `rows` is how many rows there are.
pub fn weight_tile(
    gpu: &Gpu,
    variant: ConvVariant,
    out_channels: usize,
    rows: usize,
    taps: usize,
    positions: usize,
) -> [usize; 2] {
    let (channels, most) = match (variant, gpu.adapter().is_software()) {
        (ConvVariant::Subgroup, _) => {
            let channels = shared(out_channels, (MOST_PRODUCTS / (2 * taps * positions)).min(16));
            (channels, (MOST_PRODUCTS / (channels * taps * positions)).clamp(1, 4))
        }
        (ConvVariant::Direct, true) => (shared(out_channels, 8), 4),
        (ConvVariant::Direct, false) => (shared(out_channels, 8), 1),
        (ConvVariant::Naive, _) => (1, 1),
    };
    // As many rows as leave work for every lane.
    [channels, rows.div_ceil(lanes(gpu, variant) as usize).min(most)]
}
