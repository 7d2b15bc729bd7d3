//! The Kullback-Leibler divergence between the predictions of two tensors of logits (`shaders/kl_divergence.wgsl`).

use bytemuck::NoUninit;

use super::{dims2, kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor};

static FORWARD: Kernel = kernel!("kl_divergence", "kl_divergence", "forward", "rrw");
static FIRST: Kernel = kernel!("kl_divergence_backward", "kl_divergence", "backward_first", "rrrw");
static SECOND: Kernel = kernel!("kl_divergence_backward", "kl_divergence", "backward_second", "rrrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    rows: u32,
    classes: u32,
}

fn params(a: &Tensor, b: &Tensor) -> Result<Params> {
    let [rows, classes] = dims2("kl_divergence", "the first logits", a)?;
    GpuError::expect_shape("kl_divergence", "the second logits", b.shape(), a.shape())?;
    Ok(Params { rows: rows as u32, classes: classes as u32 })
}

/// KL(softmax(a) || softmax(b)) of each row, [N], for logits `a` and `b` [N, C].
pub fn forward(gpu: &Gpu, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let params = params(a, b)?;
    let out = gpu.empty([params.rows as usize])?;
    launch_flat(gpu, &FORWARD, &[], &params, &[a.span(), b.span(), out.span()], params.rows as usize)?;
    Ok(out)
}

/// The gradient of `a`, or of `b` (`second`), [N, C], from the divergences' [N].
pub fn backward(gpu: &Gpu, a: &Tensor, b: &Tensor, dk: &Tensor, second: bool, dlogits: &Tensor) -> Result<()> {
    let params = params(a, b)?;
    GpuError::expect_shape("kl_divergence_backward", "the gradient", dk.shape(), [params.rows as usize].into())?;
    GpuError::expect_shape("kl_divergence_backward", "the result", dlogits.shape(), a.shape())?;
    let spans = [a.span(), b.span(), dk.span(), dlogits.span()];
    launch_flat(gpu, if second { &SECOND } else { &FIRST }, &[], &params, &spans, params.rows as usize)
}
