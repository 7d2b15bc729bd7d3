//! Directions and lengths of each picture's own: steps and balls of the L2 norm, DeepFool's step, MI-FGSM's momentum
//! (`shaders/displace.wgsl`). Tensors are [N, ...], pictures along the first dimension, pixels in [0, 1].
//!
//! As in `perturb`, a gradient that is not finite becomes the pixel, so that whoever asks for an attack finds it there.

use bytemuck::NoUninit;

use super::{kernel, launch_flat, value_kernels};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Span, Tensor};

static ALONG: [Kernel; 2] = value_kernels!("displace_along", "displace", "along", "rrrwr");
static BALL: [Kernel; 2] = value_kernels!("displace_ball", "displace", "ball", "rrrw");
static BY: [Kernel; 2] = value_kernels!("displace_by", "displace", "by", "rrrw");
static MOMENTUM: [Kernel; 2] = value_kernels!("momentum", "displace", "momentum", "rrrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    size: u32,
    factor: f32,
    elements: f32,
}

/// Launches on pictures `a` and `b`, with one number a picture in `each`.
fn launch(
    gpu: &Gpu,
    kernels: &'static [Kernel; 2],
    (a, b, each): (&Tensor, &Tensor, &Tensor),
    factor: f32,
    more: Option<&Span>,
) -> Result<Tensor> {
    let name = kernels[0].name;
    let images = a.dims()[0];
    GpuError::expect_shape(name, "the second operand", b.shape(), a.shape())?;
    GpuError::expect_shape(name, "what there is of each picture", each.shape(), [images].into())?;
    if !factor.is_finite() {
        return Err(GpuError::operand(name, format!("a length of {factor} is not possible")));
    }
    let out = gpu.empty(a.shape())?;
    let elements = a.count() / images;
    // Four values of one vector must be of one picture.
    let (kernel, size) = if elements.is_multiple_of(4) { (&kernels[1], elements / 4) } else { (&kernels[0], elements) };
    let count = images * size;
    let params = Params { count: count as u32, size: size as u32, factor, elements: elements as f32 };
    let spans: Vec<&Span> = [a.span(), b.span(), each.span(), out.span()].into_iter().chain(more).collect();
    launch_flat(gpu, kernel, &[], &params, &spans, count)?;
    Ok(out)
}

/// `x - centre` after a step of L2 length `step` (pixel units; negative: against it) along `gradient`, whose sums of
/// squares are `squares` [N].
pub fn along(gpu: &Gpu, x: &Tensor, centre: &Tensor, gradient: &Tensor, squares: &Tensor, step: f32) -> Result<Tensor> {
    GpuError::expect_shape("displace_along", "the clean image", centre.shape(), x.shape())?;
    launch(gpu, &ALONG, (x, gradient, squares), step, Some(centre.span()))
}

/// `centre + d`, with `d` (sums of squares `squares` [N]) shortened to the L2 length `eps` (pixel units) where it is
/// longer, brought back into [0, 1].
pub fn into_ball(gpu: &Gpu, centre: &Tensor, d: &Tensor, squares: &Tensor, eps: f32) -> Result<Tensor> {
    if eps < 0.0 {
        return Err(GpuError::operand("displace_ball", format!("a ball of {eps} is not possible")));
    }
    launch(gpu, &BALL, (centre, d, squares), eps, None)
}

/// `x + lengths[n] d`, brought back into [0, 1].
pub fn by(gpu: &Gpu, x: &Tensor, d: &Tensor, lengths: &Tensor) -> Result<Tensor> {
    launch(gpu, &BY, (x, d, lengths), 0.0, None)
}

/// `decay m + g / mean |g|`, with `sums` [N] the sums of |g|. (The paper divides by the sum; a factor that is the same
/// at every step changes no sign, and the mean keeps numbers near 1.)
pub fn momentum(gpu: &Gpu, m: &Tensor, g: &Tensor, sums: &Tensor, decay: f32) -> Result<Tensor> {
    launch(gpu, &MOMENTUM, (m, g, sums), decay, None)
}
