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
    launch_flat(gpu, &FORWARD, &[("MEAN", 0)], &params, &spans, params.rows as usize)?;
    Ok(loss)
}

/// The logits' gradient. `dloss` is [N], or [1] when the loss was the mean over the rows (`mean`).
pub fn backward(
    gpu: &Gpu,
    logits: &Tensor,
    labels: &Words,
    smoothing: f32,
    dloss: &Tensor,
    mean: bool,
    dlogits: &Tensor,
) -> Result<()> {
    let params = params(logits, labels, smoothing)?;
    let losses = if mean { 1 } else { params.rows as usize };
    GpuError::expect_shape("cross_entropy_backward", "the gradient", dloss.shape(), [losses].into())?;
    GpuError::expect_shape("cross_entropy_backward", "the result", dlogits.shape(), logits.shape())?;
    let spans = [logits.span(), labels.span(), dloss.span(), dlogits.span()];
    launch_flat(gpu, &BACKWARD, &[("MEAN", u32::from(mean))], &params, &spans, params.rows as usize)
}
