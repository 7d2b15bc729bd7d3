//! A convolution and the max-pooling of 2 x 2 at stride 2 behind it, in one launch each way, where the kernel that is chosen for
//! the convolution can (`shaders/conv2d_subgroup.wgsl` with other ends than its usual ones). What stands between them is neither
//! written nor read. The same bits as those of two launches.

use super::choices;
use super::conv2d::{BACKWARD_DATA, Window, choose, in_order, output_dims};
use super::conv2d_ends::Ends;
use super::conv2d_walk::Walk;
use super::perturb::Step;
use super::subgroup_tile::Pooling;
use super::{dims4, pool};
use crate::gpu::{Gpu, GpuError, Result, Shape, Tensor, Words};

pub use super::conv2d_ends::Input;

/// Extent and window of the pooling.
pub const POOLS_BY: (usize, Window) = (2, Window { stride: 2, padding: 0 });

/// As [`super::conv2d::forward`], and then [`super::pool::max_forward`], with which ReLU may come: what that makes of `x`
/// [N, Cin, H, W], [N, Cout, floor(oH / 2), floor(oW / 2)], and its winners. `x` may be what a normalisation would make of
/// pixels, which is done as they are read then. Nothing where no kernel does it all.
pub fn forward<'a>(
    gpu: &Gpu,
    x: impl Into<Input<'a>>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: Window,
    relu: bool,
) -> Result<Option<(Tensor, Words)>> {
    let x = x.into();
    let (walk, dims) = forward_walk(gpu, x.x, weight, bias, window)?;
    let Some(walk) = walk else { return Ok(None) };
    let [batch, out_c, out_h, out_w] = dims;
    let y = gpu.empty([batch, out_c, out_h / 2, out_w / 2])?;
    let winners = gpu.empty_words(y.count())?;
    walk.launch(gpu, &Ends::Pooled { x, dims, y: &y, winners: &winners }, weight, (bias, relu))?;
    Ok(Some((y, winners)))
}

/// Whether there is a kernel for [`forward`].
pub fn has_forward(gpu: &Gpu, x: &Tensor, weight: &Tensor, window: Window) -> Result<bool> {
    Ok(forward_walk(gpu, x, weight, None, window)?.0.is_some())
}

/// The walk of [`forward`], if there is one, and the dimensions of what is pooled.
fn forward_walk(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: Window,
) -> Result<(Option<Walk>, [usize; 4])> {
    let (kernel, dims) = output_dims(x, weight, bias, window)?;
    let ([_, out_c, out_h, out_w], in_c) = (dims, x.dims()[1]);
    let place = choices::convolution("forward", [in_c, out_c], kernel, window.stride, out_w);
    let choice = choose(gpu, place, dims, weight, window)?;
    Ok((Walk::forward(kernel, window, choice).with(Pooling::Stored, gpu, [in_c, out_c], [out_h, out_w]), dims))
}

/// As [`super::pool::max_backward`], and then [`super::conv2d::backward_data`]: the gradient with respect to the convolution's
/// input, of [`forward`]'s winners and the gradient of what it makes, written to `dx` [N, Cin, H, W]. Whether there was a
/// kernel for it.
///
/// With a step, `dx` gets the pixels that [`Step::along`] makes of that gradient, which is not written then.
pub fn backward_data(
    gpu: &Gpu,
    (dy, winners): (&Tensor, &Words),
    weight: &Tensor,
    window: Window,
    step: Option<Step<'_>>,
    dx: &Tensor,
) -> Result<bool> {
    let (walk, dims) = backward_walk(gpu, dx, weight, window)?;
    let [batch, channels, height, width] = dims;
    GpuError::expect_shape(BACKWARD_DATA, "the gradient", dy.shape(), [batch, channels, height / 2, width / 2].into())?;
    pool::check_winners(BACKWARD_DATA, winners, dy)?;
    if let Some(step) = &step {
        step.check(dx.shape(), dx)?;
    }
    let Some(walk) = walk else { return Ok(false) };
    let packed = pool::pack_winners(gpu, winners, dims)?;
    let ends = Ends::Unpooled { dy, packed: &packed, dims, step, out: dx };
    walk.launch(gpu, &ends, &in_order(gpu, &walk, weight, window)?, (None, false))?;
    Ok(true)
}

/// Whether there is a kernel for [`backward_data`].
pub fn has_backward_data(gpu: &Gpu, dx: &Tensor, weight: &Tensor, window: Window) -> Result<bool> {
    Ok(backward_walk(gpu, dx, weight, window)?.0.is_some())
}

/// The walk of [`backward_data`], if there is one, and the dimensions of what was pooled.
fn backward_walk(gpu: &Gpu, dx: &Tensor, weight: &Tensor, window: Window) -> Result<(Option<Walk>, [usize; 4])> {
    let (kernel, dims) = output_dims(dx, weight, None, window)?;
    let ([_, c, ..], [_, m, height, width]) = (dims, dims4(BACKWARD_DATA, "the input's gradient", dx)?);
    let place = choices::convolution("backward-data", [c, m], kernel, window.stride, width);
    let choice = choose(gpu, place, dims, weight, window)?;
    let walk = Walk::backward(kernel, window, choice).with(Pooling::Read, gpu, [c, m], [height, width]);
    // A plane of one row has no window.
    Ok((walk.filter(|_| dims[2] > 1), dims))
}

/// The shape of what [`forward`] pools.
pub fn convolved<'a>(x: impl Into<Input<'a>>, weight: &Tensor, window: Window) -> Result<Shape> {
    output_dims(x.into().x, weight, None, window).map(|(_, dims)| dims.into())
}
