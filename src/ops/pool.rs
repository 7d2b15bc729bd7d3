//! Max, average and global average pooling (`shaders/max_pool.wgsl`, `shaders/avg_pool.wgsl`).

use bytemuck::NoUninit;

use super::conv2d::Window;
use super::{dims4, kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor, Words};

static MAX: Kernel = kernel!("max_pool", "max_pool", "forward", "rww");
static MAX_BACKWARD: Kernel = kernel!("max_pool_backward", "max_pool", "backward", "rrw");
static AVERAGE: Kernel = kernel!("avg_pool", "avg_pool", "forward", "rw");
static AVERAGE_BACKWARD: Kernel = kernel!("avg_pool_backward", "avg_pool", "backward", "rw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    planes: u32,
    input: [u32; 2],
    output: [u32; 2],
    padding: u32,
}

fn params(input: [usize; 4], output: [usize; 4], padding: usize) -> Params {
    Params {
        planes: (input[0] * input[1]) as u32,
        input: [input[2] as u32, input[3] as u32],
        output: [output[2] as u32, output[3] as u32],
        padding: padding as u32,
    }
}

fn output_dims(operation: &'static str, x: &Tensor, kernel: [usize; 2], window: Window) -> Result<[usize; 4]> {
    let [batch, channels, height, width] = dims4(operation, "the input", x)?;
    if 2 * window.padding > kernel[0].min(kernel[1]) {
        let problem = format!("padding {} is more than half of the window {kernel:?}", window.padding);
        return Err(GpuError::operand(operation, problem));
    }
    let height = window.output(operation, height, kernel[0])?;
    Ok([batch, channels, height, window.output(operation, width, kernel[1])?])
}

/// The largest of each k x k window, and where in its plane it stood.
pub fn max_forward(gpu: &Gpu, x: &Tensor, kernel: usize, window: Window) -> Result<(Tensor, Words)> {
    let dims = output_dims("max_pool", x, [kernel; 2], window)?;
    let (y, winners) = (gpu.empty(dims)?, gpu.empty_words(dims.iter().product())?);
    let consts = [("K", kernel as u32), ("S", window.stride as u32)];
    let params = params(dims4("max_pool", "the input", x)?, dims, window.padding);
    launch_flat(gpu, &MAX, &consts, &params, &[x.span(), y.span(), winners.span()], y.count())?;
    Ok((y, winners))
}

/// Checks a gradient `dy` of the output against one of the input, `dx`; returns the dimensions of both.
fn gradient_dims(
    operation: &'static str,
    dy: &Tensor,
    dx: &Tensor,
    kernel: [usize; 2],
    window: Window,
) -> Result<([usize; 4], [usize; 4])> {
    let output = output_dims(operation, dx, kernel, window)?;
    GpuError::expect_shape(operation, "the gradient", dy.shape(), output.into())?;
    Ok((dims4(operation, "the input", dx)?, output))
}

/// Sends each `dy` to the pixel that won its window.
pub fn max_backward(gpu: &Gpu, dy: &Tensor, winners: &Words, kernel: usize, window: Window, dx: &Tensor) -> Result<()> {
    let consts = [("K", kernel as u32), ("S", window.stride as u32)];
    let (input, output) = gradient_dims("max_pool_backward", dy, dx, [kernel; 2], window)?;
    if winners.count() != dy.count() {
        let problem = format!("{} winners do not fit a gradient of {}", winners.count(), dy.shape());
        return Err(GpuError::operand("max_pool_backward", problem));
    }
    let params = params(input, output, window.padding);
    launch_flat(gpu, &MAX_BACKWARD, &consts, &params, &[dy.span(), winners.span(), dx.span()], dx.count())
}

/// The mean of each window of `kernel` = [height, width]; padding counts as zeros.
pub fn average_forward(gpu: &Gpu, x: &Tensor, kernel: [usize; 2], window: Window) -> Result<Tensor> {
    let dims = output_dims("avg_pool", x, kernel, window)?;
    let y = gpu.empty(dims)?;
    let params = params(dims4("avg_pool", "the input", x)?, dims, window.padding);
    launch_flat(gpu, &AVERAGE, &average_consts(kernel, window), &params, &[x.span(), y.span()], y.count())?;
    Ok(y)
}

/// Spreads each `dy` evenly over its window.
pub fn average_backward(gpu: &Gpu, dy: &Tensor, kernel: [usize; 2], window: Window, dx: &Tensor) -> Result<()> {
    let (input, output) = gradient_dims("avg_pool_backward", dy, dx, kernel, window)?;
    let params = params(input, output, window.padding);
    let spans = [dy.span(), dx.span()];
    launch_flat(gpu, &AVERAGE_BACKWARD, &average_consts(kernel, window), &params, &spans, dx.count())
}

fn average_consts(kernel: [usize; 2], window: Window) -> [crate::gpu::Const; 3] {
    [("KH", kernel[0] as u32), ("KW", kernel[1] as u32), ("S", window.stride as u32)]
}
