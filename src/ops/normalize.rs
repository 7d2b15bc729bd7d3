//! A fixed affine map for each channel: a classifier's first layer (`shaders/normalize.wgsl`).

use bytemuck::NoUninit;

use super::{dims4, kernel, launch_flat, value_kernels};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Shape, Tensor};

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

/// What [`forward`] will make of a tensor when somebody asks for it: a convolution need not.
#[derive(Clone, Debug)]
pub struct Pending {
    pub(super) x: Tensor,
    pub(super) factor: Tensor,
    pub(super) offset: Tensor,
}

impl Pending {
    /// Of `x` [N, C, H, W], after a check of the shapes.
    pub fn new(x: &Tensor, factor: &Tensor, offset: &Tensor) -> Result<Self> {
        check(x, factor, offset)?;
        Ok(Self { x: x.clone(), factor: factor.clone(), offset: offset.clone() })
    }

    /// The shape, which is that of `x`.
    pub fn shape(&self) -> Shape {
        self.x.shape()
    }

    /// Makes it.
    pub fn make(&self, gpu: &Gpu) -> Result<Tensor> {
        forward(gpu, &self.x, &self.factor, &self.offset)
    }
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

fn check(x: &Tensor, factor: &Tensor, offset: &Tensor) -> Result<[usize; 4]> {
    let dims = dims4("normalize", "the input", x)?;
    GpuError::expect_shape("normalize", "the factor", factor.shape(), [dims[1]].into())?;
    GpuError::expect_shape("normalize", "the offset", offset.shape(), [dims[1]].into())?;
    Ok(dims)
}

fn launch(gpu: &Gpu, x: &Tensor, factor: &Tensor, offset: &Tensor, y: &Tensor) -> Result<()> {
    let [_, channels, height, width] = check(x, factor, offset)?;
    GpuError::expect_shape("normalize", "the output", y.shape(), x.shape())?;
    // Four values at a time must lie in one plane.
    let (kernel, size) = if (height * width).is_multiple_of(4) { (&NORMALIZE[1], 4) } else { (&NORMALIZE[0], 1) };
    let count = x.count() / size;
    let consts = [("CHANNELS", channels as u32), ("INNER", (height * width / size) as u32)];
    let params = Params { count: count as u32 };
    let spans = [x.span(), factor.span(), offset.span(), y.span()];
    launch_flat(gpu, kernel, &consts, &params, &spans, count)
}
