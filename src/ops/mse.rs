//! Mean squared error, of each image and over the batch (`shaders/mse.wgsl`).

use bytemuck::NoUninit;

use super::{FLAT, kernel, launch_flat, value_kernels};
use crate::gpu::{Const, Gpu, GpuError, Grid, Kernel, Result, Tensor};

/// Rows read value by value, and by fours.
static FORWARD: [Kernel; 2] = value_kernels!("mse", "tree" "mse", "forward", "rrw");
static BACKWARD: [Kernel; 2] = value_kernels!("mse_backward", "tree" "mse", "backward", "rrrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    rows: u32,
    sign: f32,
}

fn params(a: &Tensor, b: &Tensor, sign: f32) -> Result<Params> {
    GpuError::expect_shape("mse", "the second operand", b.shape(), a.shape())?;
    Ok(Params { rows: a.dims()[0] as u32, sign })
}

/// How many values are read at a time, and constants.
fn by(a: &Tensor, mean: bool) -> (usize, [Const; 4]) {
    let length = a.count() / a.dims()[0];
    let each = if length.is_multiple_of(4) { 4 } else { 1 };
    let consts = [("MEAN", usize::from(mean)), ("LENGTH", length), ("EACH", each), ("LANES", FLAT / each)];
    (each, consts.map(|(name, value)| (name, value as u32)))
}

/// The mean of (a - b)^2 over everything but the first dimension: [N].
pub fn forward(gpu: &Gpu, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let params = params(a, b, 1.0)?;
    let loss = gpu.empty([params.rows as usize])?;
    // One workgroup a row.
    let grid = Grid::linear(params.rows as usize, 1);
    let (each, consts) = by(a, false);
    gpu.launch(&FORWARD[usize::from(each > 1)], &consts, &params, &[a.span(), b.span(), loss.span()], grid)?;
    Ok(loss)
}

/// The gradient of `a`, or of `b` (`second`). `dloss` is [N], or [1] when the loss was the mean (`mean`).
pub fn backward(
    gpu: &Gpu,
    a: &Tensor,
    b: &Tensor,
    dloss: &Tensor,
    mean: bool,
    second: bool,
    out: &Tensor,
) -> Result<()> {
    let params = params(a, b, if second { -1.0 } else { 1.0 })?;
    let losses = if mean { 1 } else { params.rows as usize };
    GpuError::expect_shape("mse_backward", "the gradient", dloss.shape(), [losses].into())?;
    GpuError::expect_shape("mse_backward", "the result", out.shape(), a.shape())?;
    let spans = [a.span(), b.span(), dloss.span(), out.span()];
    let (each, consts) = by(a, mean);
    launch_flat(gpu, &BACKWARD[usize::from(each > 1)], &consts, &params, &spans, a.count() / each)
}
