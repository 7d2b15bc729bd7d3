//! Which of two pictures is kept, picture by picture (`shaders/select.wgsl`).

use bytemuck::NoUninit;

use super::{kernel, launch_flat, value_kernels};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor};

static JUDGE: Kernel = kernel!("judge", "scalar" "select", "judge", "rrww");
static REPLACE: [Kernel; 2] = value_kernels!("select", "select", "replace", "rrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    size: u32,
    confidence: f32,
}

/// 1 for each picture that is taken for another class with at least `confidence` (`margin` [N] below 0 and not above
/// -confidence) and is nearer than the nearest so far (`distance` [N] below `best` [N], which it then becomes); else 0.
pub fn judge(gpu: &Gpu, margin: &Tensor, distance: &Tensor, best: &Tensor, confidence: f32) -> Result<Tensor> {
    for (what, tensor) in [("the distance", distance), ("the best distance", best)] {
        GpuError::expect_shape("judge", what, tensor.shape(), margin.shape())?;
    }
    let chosen = gpu.empty(margin.shape())?;
    let params = Params { count: margin.count() as u32, size: 1, confidence };
    let spans = [margin.span(), distance.span(), best.span(), chosen.span()];
    launch_flat(gpu, &JUDGE, &[], &params, &spans, margin.count())?;
    Ok(chosen)
}

/// Overwrites the pictures of `into` [N, ...] with those of `from` where `chosen` [N] is not 0.
pub fn replace(gpu: &Gpu, chosen: &Tensor, from: &Tensor, into: &Tensor) -> Result<()> {
    let images = into.dims()[0];
    GpuError::expect_shape("select", "the source", from.shape(), into.shape())?;
    GpuError::expect_shape("select", "the choice", chosen.shape(), [images].into())?;
    let elements = into.count() / images;
    // Four values of one vector must be of one picture.
    let (kernel, size) = if elements.is_multiple_of(4) { (&REPLACE[1], elements / 4) } else { (&REPLACE[0], elements) };
    let params = Params { count: (images * size) as u32, size: size as u32, confidence: 0.0 };
    launch_flat(gpu, kernel, &[], &params, &[chosen.span(), from.span(), into.span()], images * size)
}
