//! Sum, mean, maximum, log-sum-exp and the sums behind norms over one dimension (`shaders/reduce.wgsl`).

use bytemuck::NoUninit;

use super::{kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Shape, Tensor};

/// What to compute over the dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Mean,
    /// The gradient goes to the first of equal maxima.
    Max,
    /// log of the sum of exp(x), computed without overflow
    LogSumExp,
    /// Of |x|: the L1 norm. The gradient at 0 is 0.
    SumAbs,
    /// Of x^2: the square of the L2 norm.
    SumSquares,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    outer: u32,
    length: u32,
    inner: u32,
}

static FORWARD: Kernel = kernel!("reduce", "reduce", "forward", "rw");
static FORWARD_LINES: Kernel = kernel!("reduce", "reduce", "forward_lines", "rw");
static BACKWARD: Kernel = kernel!("reduce_backward", "reduce", "backward", "rrrw");

/// A tensor seen as [outer, length, inner], where `length` is reduced.
fn split(shape: Shape, dim: usize) -> Result<[usize; 3]> {
    let dims = shape.dims();
    if dim >= dims.len() {
        return Err(GpuError::operand("reduce", format!("{shape} has no dimension {dim}")));
    }
    Ok([dims[..dim].iter().product(), dims[dim], dims[dim + 1..].iter().product()])
}

/// The result's shape: the dimension is dropped; of a vector one element remains.
fn reduced(shape: Shape, dim: usize) -> Result<Shape> {
    let mut dims = shape.dims().to_vec();
    dims.remove(dim);
    Shape::new(if dims.is_empty() { &[1] } else { &dims })
}

/// Reduces dimension `dim` of `x`.
pub fn forward(gpu: &Gpu, reduction: Reduction, x: &Tensor, dim: usize) -> Result<Tensor> {
    let view = split(x.shape(), dim)?;
    let y = gpu.empty(reduced(x.shape(), dim)?)?;
    launch(gpu, reduction, x, view, &y)?;
    Ok(y)
}

/// `out[o, i] = sum over r of x[o, r, i]`, with `view` = [outer, length, inner].
pub(super) fn sum_into(gpu: &Gpu, x: &Tensor, view: [usize; 3], out: &Tensor) -> Result<()> {
    launch(gpu, Reduction::Sum, x, view, out)
}

/// The sum over batch and plane of [N, C, H, W], for each channel, in two steps of fixed order.
pub(super) fn sum_channels_into(gpu: &Gpu, x: &Tensor, out: &Tensor) -> Result<()> {
    let [batch, channels, height, width] = super::dims4("reduce", "the gradient", x)?;
    let planes = gpu.empty([batch, channels])?;
    sum_into(gpu, x, [batch * channels, height * width, 1], &planes)?;
    sum_into(gpu, &planes, [1, batch, channels], out)
}

/// A reduction that is a sum, over each picture of [N, ...]: [N]. In two steps where a picture's size allows it, so that
/// more invocations share the work and rounding grows less.
pub fn each_image(gpu: &Gpu, reduction: Reduction, x: &Tensor) -> Result<Tensor> {
    if !matches!(reduction, Reduction::Sum | Reduction::SumAbs | Reduction::SumSquares) {
        return Err(GpuError::operand("reduce", format!("{reduction:?} is no sum that can be taken in two steps")));
    }
    let images = x.dims()[0];
    let size = x.count() / images;
    let out = gpu.empty([images])?;
    if !size.is_multiple_of(ROW) || size == ROW {
        launch(gpu, reduction, x, [images, size, 1], &out)?;
        return Ok(out);
    }
    let rows = size / ROW;
    let parts = gpu.empty([images, rows])?;
    launch(gpu, reduction, x, [images * rows, ROW, 1], &parts)?;
    launch(gpu, Reduction::Sum, &parts, [images, rows, 1], &out)?;
    Ok(out)
}

/// Elements that one invocation of the first of two steps adds up.
const ROW: usize = 64;

fn consts(reduction: Reduction) -> [crate::gpu::Const; 1] {
    [("OP", reduction as u32)]
}

fn params(view: [usize; 3]) -> Params {
    Params { outer: view[0] as u32, length: view[1] as u32, inner: view[2] as u32 }
}

fn launch(gpu: &Gpu, reduction: Reduction, x: &Tensor, view: [usize; 3], out: &Tensor) -> Result<()> {
    let count = view[0] * view[2];
    if out.count() != count {
        return Err(GpuError::operand("reduce", format!("{count} results do not fill {}", out.shape())));
    }
    let is_sum = !matches!(reduction, Reduction::Max | Reduction::LogSumExp);
    let kernel = if is_sum && view[2] == 1 && view[1].is_multiple_of(4) { &FORWARD_LINES } else { &FORWARD };
    launch_flat(gpu, kernel, &consts(reduction), &params(view), &[x.span(), out.span()], count)
}

/// The gradient of [`forward`]; `y` is its result.
pub fn backward(
    gpu: &Gpu,
    reduction: Reduction,
    x: &Tensor,
    y: &Tensor,
    dim: usize,
    dy: &Tensor,
    dx: &Tensor,
) -> Result<()> {
    let view = split(x.shape(), dim)?;
    let small = reduced(x.shape(), dim)?;
    for (what, found, wanted) in [("the output", y, small), ("the gradient", dy, small), ("the result", dx, x.shape())]
    {
        GpuError::expect_shape("reduce_backward", what, found.shape(), wanted)?;
    }
    let spans = [x.span(), y.span(), dy.span(), dx.span()];
    launch_flat(gpu, &BACKWARD, &consts(reduction), &params(view), &spans, y.count())
}
