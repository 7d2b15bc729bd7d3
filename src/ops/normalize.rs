//! A fixed affine map for each channel: a classifier's first layer (`shaders/normalize.wgsl`).

use bytemuck::NoUninit;

use super::{dims4, kernel, launch_flat, value_kernels};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor};

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
}

static NORMALIZE: [Kernel; 2] = value_kernels!("normalize", "normalize", "normalize_channels", "rrrw");

/// Factor and offset for a channel of this mean and standard deviation.
pub fn affine(mean: f32, std: f32) -> (f32, f32) {
    (1.0 / std, -mean / std)
}

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
    // Four values at a time must lie in one plane.
    let (kernel, size) = if (height * width).is_multiple_of(4) { (&NORMALIZE[1], 4) } else { (&NORMALIZE[0], 1) };
    let count = x.count() / size;
    let consts = [("CHANNELS", channels as u32), ("INNER", (height * width / size) as u32)];
    let params = Params { count: count as u32 };
    let spans = [x.span(), factor.span(), offset.span(), y.span()];
    launch_flat(gpu, kernel, &consts, &params, &spans, count)
}
