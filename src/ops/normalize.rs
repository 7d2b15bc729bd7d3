//! A fixed affine map for each channel: a classifier's first layer (`shaders/normalize.wgsl`).

use bytemuck::NoUninit;

use super::{dims4, kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor};

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    channels: u32,
    inner: u32,
}

static NORMALIZE: Kernel = kernel!("normalize", "normalize", "normalize_channels", "rrrw");

/// `y[n, c, ..] = factor[c] x[n, c, ..] + offset[c]` for `x` of [N, C, H, W].
pub fn forward(gpu: &Gpu, x: &Tensor, factor: &Tensor, offset: &Tensor) -> Result<Tensor> {
    let y = gpu.empty(x.shape())?;
    launch(gpu, x, factor, offset, &y)?;
    Ok(y)
}

/// `dx[n, c, ..] = factor[c] dy[n, c, ..]`; `zeros` has as many elements as there are channels.
pub fn backward(gpu: &Gpu, dy: &Tensor, factor: &Tensor, zeros: &Tensor, dx: &Tensor) -> Result<()> {
    launch(gpu, dy, factor, zeros, dx)
}

fn launch(gpu: &Gpu, x: &Tensor, factor: &Tensor, offset: &Tensor, y: &Tensor) -> Result<()> {
    let [_, channels, height, width] = dims4("normalize", "the input", x)?;
    GpuError::expect_shape("normalize", "the factor", factor.shape(), [channels].into())?;
    GpuError::expect_shape("normalize", "the offset", offset.shape(), [channels].into())?;
    GpuError::expect_shape("normalize", "the output", y.shape(), x.shape())?;
    let params = Params { count: x.count() as u32, channels: channels as u32, inner: (height * width) as u32 };
    let spans = [x.span(), factor.span(), offset.span(), y.span()];
    launch_flat(gpu, &NORMALIZE, &[], &params, &spans, x.count())
}
