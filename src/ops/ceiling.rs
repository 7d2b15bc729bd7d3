//! What an adapter can do at the most: arithmetic in registers, copies and reads (`shaders/ceiling.wgsl`).

use bytemuck::NoUninit;

use super::{kernel, launch_flat, value_kernels};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor};

static MULTIPLY_ADD: [Kernel; 2] = value_kernels!("multiply_add", "ceiling", "multiply_add", "w");
static COPY: Kernel = kernel!("copy", "stored" "vec4" "ceiling", "copy", "rw");
static READ: Kernel = kernel!("read", "stored" "vec4" "ceiling", "read_all", "rw");

/// Values of `from` that one value of [`read`]'s result sums.
pub const READS: usize = 16;

/// Links of a chain that one round writes out.
const LINKS: u32 = 16;

/// A form of the multiply-add kernel. Which one is fastest differs from adapter to adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Independent chains to an invocation.
    pub chains: u32,
    /// Four values a chain.
    pub vectors: bool,
    /// `fma()` rather than a product and a sum.
    pub fused: bool,
}

impl Form {
    /// Floating-point operations of one invocation in one round.
    fn operations(self) -> usize {
        (2 * LINKS * self.chains * if self.vectors { 4 } else { 1 }) as usize
    }
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    rounds: u32,
    factor: f32,
    addend: f32,
}

/// Runs chains of multiply-adds in as many invocations as `out` has groups of four; a multiply-add counts two.
pub fn multiply_add(gpu: &Gpu, form: Form, rounds: u32, out: &Tensor) -> Result<()> {
    let count = whole("multiply_add", out)?;
    // The chains tend to 1: no overflow, no denormal numbers.
    let params = Params { count: count as u32, rounds, factor: 0.5, addend: 0.5 };
    gpu.next_work(count * rounds as usize * form.operations(), 4 * out.count());
    let consts = [("CHAINS", form.chains), ("FUSED", u32::from(form.fused))];
    launch_flat(gpu, &MULTIPLY_ADD[usize::from(form.vectors)], &consts, &params, &[out.span()], count)
}

/// Copies `from` to `to` by a kernel.
pub fn copy(gpu: &Gpu, from: &Tensor, to: &Tensor) -> Result<()> {
    let count = whole("copy", to)?;
    GpuError::expect_shape("copy", "the source", from.shape(), to.shape())?;
    let params = Params { count: count as u32, rounds: 0, factor: 0.0, addend: 0.0 };
    launch_flat(gpu, &COPY, &[("CHAINS", 1), ("FUSED", 0)], &params, &[from.span(), to.span()], count)
}

/// Adds [`READS`] stretches of `from`, each as long as `to`: reads without many writes.
pub fn read(gpu: &Gpu, from: &Tensor, to: &Tensor) -> Result<()> {
    let count = whole("read", to)?;
    GpuError::expect_shape("read", "the source", from.shape(), [READS * to.count()].into())?;
    let params = Params { count: count as u32, rounds: 0, factor: 0.0, addend: 0.0 };
    launch_flat(gpu, &READ, &[("CHAINS", 1), ("FUSED", 0)], &params, &[from.span(), to.span()], count)
}

/// How many groups of four elements there are.
fn whole(operation: &'static str, tensor: &Tensor) -> Result<usize> {
    if !tensor.count().is_multiple_of(4) {
        return Err(GpuError::operand(operation, format!("{} is no multiple of 4", tensor.shape())));
    }
    Ok(tensor.count() / 4)
}
