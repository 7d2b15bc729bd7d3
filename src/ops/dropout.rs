//! Dropout with a mask drawn from counters, so that none is stored (`shaders/dropout.wgsl`).

use bytemuck::NoUninit;

use super::{kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor};
use crate::random::Purpose;

static DROPOUT: Kernel = kernel!("dropout", "random" "dropout", "dropout", "rw");

/// Which elements are dropped: the stream `(seed, Purpose::Dropout, launch)` decides.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// Probability of being dropped, in [0, 1).
    pub rate: f32,
    pub seed: u64,
    /// A number of its own for each launch of a run.
    pub launch: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    item: u32,
    purpose: u32,
    seed: [u32; 2],
    threshold: u32,
    factor: f32,
}

/// `y = x / (1 - rate)` where kept, else 0. The backward pass is the same map applied to `dy`.
pub fn apply(gpu: &Gpu, x: &Tensor, mask: Mask, y: &Tensor) -> Result<()> {
    if !(0.0..1.0).contains(&mask.rate) {
        return Err(GpuError::operand("dropout", format!("the rate {} is not in [0, 1)", mask.rate)));
    }
    GpuError::expect_shape("dropout", "the output", y.shape(), x.shape())?;
    let params = Params {
        count: x.count() as u32,
        item: mask.launch,
        purpose: Purpose::Dropout as u32,
        seed: [mask.seed as u32, (mask.seed >> 32) as u32],
        threshold: (f64::from(mask.rate) * 4_294_967_296.0) as u32,
        factor: 1.0 / (1.0 - mask.rate),
    };
    launch_flat(gpu, &DROPOUT, &[], &params, &[x.span(), y.span()], x.count().div_ceil(4))
}
