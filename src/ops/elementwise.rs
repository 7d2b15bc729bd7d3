//! Addition, multiplication and scaling, element by element (`shaders/elementwise.wgsl`).

use bytemuck::NoUninit;

use super::{kernel, launch_values, value_kernels};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor};

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    factor: f32,
    offset: f32,
}

static ADD: [Kernel; 2] = value_kernels!("add", "elementwise", "add", "rrw");
static MULTIPLY: [Kernel; 2] = value_kernels!("multiply", "elementwise", "multiply", "rrw");
static SCALE: [Kernel; 2] = value_kernels!("scale", "elementwise", "scale", "rw");
static ACCUMULATE: [Kernel; 2] = value_kernels!("accumulate", "elementwise", "accumulate", "rw");

fn params(factor: f32, offset: f32) -> impl Fn(u32) -> Params {
    move |count| Params { count, factor, offset }
}

/// `a + b`, of one shape. Backward: both gradients are `dy` itself.
pub fn add(gpu: &Gpu, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    GpuError::expect_shape("add", "the second operand", b.shape(), a.shape())?;
    let out = gpu.empty(a.shape())?;
    launch_values(gpu, &ADD, &[], params(1.0, 0.0), &[a.span(), b.span(), out.span()], a.count())?;
    Ok(out)
}

/// `a b`, of one shape. Backward: `da = b dy`, `db = a dy`, with [`multiply_into`].
pub fn multiply(gpu: &Gpu, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let out = gpu.empty(a.shape())?;
    multiply_into(gpu, a, b, &out)?;
    Ok(out)
}

/// `out = a b`.
pub fn multiply_into(gpu: &Gpu, a: &Tensor, b: &Tensor, out: &Tensor) -> Result<()> {
    GpuError::expect_shape("multiply", "the second operand", b.shape(), a.shape())?;
    GpuError::expect_shape("multiply", "the output", out.shape(), a.shape())?;
    launch_values(gpu, &MULTIPLY, &[], params(1.0, 0.0), &[a.span(), b.span(), out.span()], a.count())
}

/// `factor a + offset`. Backward: `factor dy`, with [`scale_into`].
pub fn scale(gpu: &Gpu, a: &Tensor, factor: f32, offset: f32) -> Result<Tensor> {
    let out = gpu.empty(a.shape())?;
    scale_into(gpu, a, factor, offset, &out)?;
    Ok(out)
}

/// `out = factor a + offset`.
pub fn scale_into(gpu: &Gpu, a: &Tensor, factor: f32, offset: f32, out: &Tensor) -> Result<()> {
    GpuError::expect_shape("scale", "the output", out.shape(), a.shape())?;
    launch_values(gpu, &SCALE, &[], params(factor, offset), &[a.span(), out.span()], a.count())
}

/// `into += a`.
pub fn accumulate(gpu: &Gpu, into: &Tensor, a: &Tensor) -> Result<()> {
    GpuError::expect_shape("accumulate", "the gradient", a.shape(), into.shape())?;
    launch_values(gpu, &ACCUMULATE, &[], params(1.0, 0.0), &[a.span(), into.span()], a.count())
}
