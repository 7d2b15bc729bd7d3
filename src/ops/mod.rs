//! The operations: one a file, each with its shape check, its forward launch and its backward launch.
//!
//! An operation `x` has its kernels in `shaders/x*.wgsl` and its tests in `kernels-tests/x.rs`. Forward
//! functions return a fresh tensor; backward functions write into a tensor that the caller gives, so
//! that a weight gradient can land in its place in the flat gradient buffer.

pub mod activation;
pub mod batch_norm;
mod block;
pub mod ceiling;
pub mod choices;
pub mod conv2d;
mod conv2d_coop;
mod conv2d_ends;
mod conv2d_gemm;
pub mod conv2d_max_pool;
mod conv2d_naive;
mod conv2d_walk;
mod conv2d_winograd;
mod coop;
pub mod cross_entropy;
pub mod displace;
pub mod dropout;
pub mod elementwise;
pub mod gather;
pub mod kl_divergence;
pub mod linear;
pub mod margin;
pub mod matmul;
pub mod mse;
pub mod noise;
pub mod normalize;
pub mod optimizer;
pub mod perturb;
pub mod pool;
pub mod reduce;
pub mod select;
pub mod sources;
mod subgroup_tile;
pub mod tiles;

use crate::gpu::{Gpu, GpuError, Grid, Kernel, Result, Span, Tensor};

/// Invocations a workgroup of the flat kernels.
const FLAT: usize = 64;

/// A kernel from the file `shaders/$file.wgsl`, with further files put before it.
macro_rules! kernel {
    ($name:expr, $($file:literal)+, $entry:literal, $access:expr) => {
        $crate::gpu::Kernel {
            name: $name,
            source: concat!($(include_str!(concat!("../../shaders/", $file, ".wgsl")), "\n"),+),
            entry: $entry,
            access: $access,
        }
    };
}
use kernel;

/// The same kernel for one value and for four values an invocation (`shaders/scalar.wgsl`, `shaders/vec4.wgsl`).
macro_rules! value_kernels {
    ($name:expr, $($file:literal)+, $entry:literal, $access:literal) => {
        [kernel!($name, "stored" "scalar" $($file)+, $entry, $access), kernel!($name, "stored" "vec4" $($file)+, $entry, $access)]
    };
}
use value_kernels;

/// Lanes of a register-blocked kernel's workgroup: one vector of a software adapter, one warp of a GPU.
fn lanes(gpu: &Gpu) -> u32 {
    if gpu.adapter().is_software() { 8 } else { 32 }
}

/// By fours, the numbers of an array that a kernel is to find in `shaders/table_uniform.wgsl`; nothing where that is no gain, or
/// has no room for it.
fn table_quads(gpu: &Gpu, table: &Tensor) -> Option<u32> {
    let fits = 4 * table.count() as u64 <= gpu.uniform_limit();
    (fits && gpu.adapter().is_llvmpipe()).then_some(table.count().div_ceil(4) as u32)
}

/// Checks that a tensor has four dimensions and returns them.
fn dims4(operation: &'static str, what: &str, tensor: &Tensor) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(tensor.dims()).map_err(|_| {
        GpuError::operand(operation, format!("{what} has shape {}, but four dimensions are needed", tensor.shape()))
    })
}

/// Checks that a tensor has two dimensions and returns them.
fn dims2(operation: &'static str, what: &str, tensor: &Tensor) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(tensor.dims()).map_err(|_| {
        GpuError::operand(operation, format!("{what} has shape {}, but two dimensions are needed", tensor.shape()))
    })
}

/// Launches a kernel over `count` values, four to an invocation where that leaves no rest. `params` is given how many
/// values, or groups of four, there are.
fn launch_values<P: bytemuck::NoUninit>(
    gpu: &Gpu,
    kernels: &'static [Kernel; 2],
    consts: &[crate::gpu::Const],
    params: impl Fn(u32) -> P,
    spans: &[&Span],
    count: usize,
) -> Result<()> {
    let (kernel, count) = if count.is_multiple_of(4) { (&kernels[1], count / 4) } else { (&kernels[0], count) };
    launch_flat(gpu, kernel, consts, &params(count as u32), spans, count)
}

/// Launches a kernel that treats one element an invocation.
fn launch_flat<P: bytemuck::NoUninit>(
    gpu: &Gpu,
    kernel: &'static Kernel,
    consts: &[crate::gpu::Const],
    params: &P,
    spans: &[&Span],
    count: usize,
) -> Result<()> {
    gpu.launch(kernel, consts, params, spans, Grid::linear(count, FLAT))
}
