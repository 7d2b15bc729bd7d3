//! How far a row of logits is from another prediction (`shaders/margin.wgsl`).

use bytemuck::NoUninit;

use super::{dims2, kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor, Words};

static FORWARD: Kernel = kernel!("margin", "margin", "forward", "rrw");
static BACKWARD: Kernel = kernel!("margin_backward", "margin", "backward", "rrrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    rows: u32,
    classes: u32,
    sign: f32,
}

fn params(logits: &Tensor, labels: &Words, sign: f32) -> Result<Params> {
    let [rows, classes] = dims2("margin", "the logits", logits)?;
    if labels.count() != rows {
        return Err(GpuError::operand("margin", format!("{} labels for {rows} rows", labels.count())));
    }
    if classes < 2 {
        return Err(GpuError::operand("margin", format!("{} has no second class", logits.shape())));
    }
    Ok(Params { rows: rows as u32, classes: classes as u32, sign })
}

/// `sign` times (the label's logit minus the largest other), [N], for `logits` [N, C] and labels below C: with 1, below
/// 0 where the row is taken for another class; with -1, below 0 where it is taken for its label.
pub fn forward(gpu: &Gpu, logits: &Tensor, labels: &Words, sign: f32) -> Result<Tensor> {
    let params = params(logits, labels, sign)?;
    let out = gpu.empty([params.rows as usize])?;
    launch_flat(gpu, &FORWARD, &[], &params, &[logits.span(), labels.span(), out.span()], params.rows as usize)?;
    Ok(out)
}

/// The logits' gradient, from the margins' [N].
pub fn backward(
    gpu: &Gpu,
    logits: &Tensor,
    labels: &Words,
    sign: f32,
    dmargin: &Tensor,
    dlogits: &Tensor,
) -> Result<()> {
    let params = params(logits, labels, sign)?;
    GpuError::expect_shape("margin_backward", "the gradient", dmargin.shape(), [params.rows as usize].into())?;
    GpuError::expect_shape("margin_backward", "the result", dlogits.shape(), logits.shape())?;
    let spans = [logits.span(), labels.span(), dmargin.span(), dlogits.span()];
    launch_flat(gpu, &BACKWARD, &[], &params, &spans, params.rows as usize)
}
