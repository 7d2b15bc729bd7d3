//! Mean squared error, of each image and over the batch (`shaders/mse.wgsl`).

use bytemuck::NoUninit;

use super::{kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Grid, Kernel, Result, Tensor};

static FORWARD: Kernel = kernel!("mse", "mse", "forward", "rrw");
static BACKWARD: Kernel = kernel!("mse_backward", "mse", "backward", "rrrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    rows: u32,
    length: u32,
    sign: f32,
}

fn params(a: &Tensor, b: &Tensor, sign: f32) -> Result<Params> {
    GpuError::expect_shape("mse", "the second operand", b.shape(), a.shape())?;
    let rows = a.dims()[0];
    Ok(Params { rows: rows as u32, length: (a.count() / rows) as u32, sign })
}

/// The mean of (a - b)^2 over everything but the first dimension: [N].
pub fn forward(gpu: &Gpu, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let params = params(a, b, 1.0)?;
    let loss = gpu.empty([params.rows as usize])?;
    // One workgroup a row.
    let grid = Grid::linear(params.rows as usize, 1);
    gpu.launch(&FORWARD, &[("MEAN", 0)], &params, &[a.span(), b.span(), loss.span()], grid)?;
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
    launch_flat(gpu, &BACKWARD, &[("MEAN", u32::from(mean))], &params, &spans, a.count())
}
