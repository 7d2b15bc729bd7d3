//! Log-softmax and cross-entropy in one (`shaders/cross_entropy.wgsl`).

use bytemuck::NoUninit;

use super::{dims2, kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor, Words};

static FORWARD: Kernel = kernel!("cross_entropy", "cross_entropy", "forward", "rrw");
static BACKWARD: Kernel = kernel!("cross_entropy_backward", "cross_entropy", "backward", "rrrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    rows: u32,
    classes: u32,
    smoothing: f32,
}

fn params(logits: &Tensor, labels: &Words, smoothing: f32) -> Result<Params> {
    let [rows, classes] = dims2("cross_entropy", "the logits", logits)?;
    if labels.count() != rows {
        return Err(GpuError::operand("cross_entropy", format!("{} labels for {rows} rows", labels.count())));
    }
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(GpuError::operand("cross_entropy", format!("the smoothing {smoothing} is not in [0, 1]")));
    }
    Ok(Params { rows: rows as u32, classes: classes as u32, smoothing })
}

/// The loss of each row, [N], for `logits` [N, C] and labels below C, with label smoothing in [0, 1].
pub fn forward(gpu: &Gpu, logits: &Tensor, labels: &Words, smoothing: f32) -> Result<Tensor> {
    let params = params(logits, labels, smoothing)?;
    let loss = gpu.empty([params.rows as usize])?;
    let spans = [logits.span(), labels.span(), loss.span()];
    launch_flat(gpu, &FORWARD, &[("UPSTREAM", 0)], &params, &spans, params.rows as usize)?;
    Ok(loss)
}

/// What the gradient of the loss is, whose backward pass is wanted.
#[derive(Clone, Copy, Debug)]
pub enum Upstream<'a> {
    /// That by each row's loss, [N].
    Each(&'a Tensor),
    /// That by the mean over the rows, [1].
    Mean(&'a Tensor),
    /// One by each row's loss: the loss is their sum, and the end of the way.
    Sum,
}

/// The logits' gradient.
pub fn backward(
    gpu: &Gpu,
    logits: &Tensor,
    labels: &Words,
    smoothing: f32,
    upstream: Upstream<'_>,
    dlogits: &Tensor,
) -> Result<()> {
    let params = params(logits, labels, smoothing)?;
    let (number, dloss, shape) = match upstream {
        Upstream::Each(dloss) => (0, dloss, [params.rows as usize].into()),
        Upstream::Mean(dloss) => (1, dloss, [1].into()),
        // Something must be bound all the same; the kernel does not read it.
        Upstream::Sum => (2, logits, logits.shape()),
    };
    GpuError::expect_shape("cross_entropy_backward", "the gradient", dloss.shape(), shape)?;
    GpuError::expect_shape("cross_entropy_backward", "the result", dlogits.shape(), logits.shape())?;
    let spans = [logits.span(), labels.span(), dloss.span(), dlogits.span()];
    launch_flat(gpu, &BACKWARD, &[("UPSTREAM", number)], &params, &spans, params.rows as usize)
}
