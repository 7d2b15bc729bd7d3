//! Steps of an attack on pixels: along the gradient's sign, and the random start (`shaders/perturb.wgsl`).
//!
//! A pixel whose gradient is NaN or infinite becomes that NaN or infinity: whoever asks for an attack finds it there
//! (see `attack::check`), and a training step that was given it ends as a loss that is not finite.

use bytemuck::NoUninit;

use super::noise::Source;
use super::{kernel, launch_flat, launch_values, value_kernels};
use crate::gpu::{Const, Gpu, GpuError, Kernel, Result, Shape, Tensor};

static STEP: [Kernel; 2] = value_kernels!("perturb", "sign_step" "random" "perturb", "step", "rrrw");
static START_VECTORS: Kernel =
    kernel!("random_start", "stored" "vec4" "sign_step" "random" "perturb", "start_vectors", "rw");
static START_SCALARS: Kernel = kernel!("random_start", "scalar" "sign_step" "random" "perturb", "start_scalars", "rw");

/// The smallest and the largest value of a pixel.
const RANGE: [f32; 2] = [0.0, 1.0];

/// The ball that a step may not leave.
#[derive(Clone, Copy, Debug)]
pub struct Ball<'a> {
    /// The clean pixels.
    pub centre: &'a Tensor,
    /// In pixel units on [0, 1].
    pub eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    step: f32,
    eps: f32,
    range: [f32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Start {
    blocks: u32,
    images: u32,
    size: u32,
    first: u32,
    purpose: u32,
    seed: [u32; 2],
    eps: f32,
    range: [f32; 2],
}

/// A step along a gradient's signs: `x + length sign(gradient)`, brought back into `ball` if there is one, then into [0, 1];
/// sign(0) = 0. A negative length goes against the gradient. It and the ball's eps are in pixel units on [0, 1].
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The pixels that move.
    pub x: &'a Tensor,
    pub length: f32,
    pub ball: Option<Ball<'a>>,
}

impl<'a> Step<'a> {
    /// Takes the step.
    pub fn along(self, gpu: &Gpu, gradient: &Tensor) -> Result<Tensor> {
        let out = gpu.empty(self.x.shape())?;
        self.along_into(gpu, gradient, &out)?;
        Ok(out)
    }

    /// The same into memory that the caller has; it must not be that of an operand.
    pub fn along_into(self, gpu: &Gpu, gradient: &Tensor, out: &Tensor) -> Result<()> {
        self.check(gradient.shape(), out)?;
        let [step, eps, low, high] = self.params();
        let params = |count| Params { count, step, eps, range: [low, high] };
        let spans = [self.x.span(), gradient.span(), self.centre().span(), out.span()];
        launch_values(gpu, &STEP, &self.consts(), params, &spans, self.x.count())
    }

    /// The clean pixels, which only a step with a ball reads.
    pub(super) fn centre(&self) -> &'a Tensor {
        self.ball.map_or(self.x, |ball| ball.centre)
    }

    /// Checks it against a gradient's shape and the output.
    pub(super) fn check(&self, gradient: Shape, out: &Tensor) -> Result<()> {
        let shapes =
            [("the gradient", gradient), ("the clean image", self.centre().shape()), ("the output", out.shape())];
        for (what, shape) in shapes {
            GpuError::expect_shape("perturb", what, shape, self.x.shape())?;
        }
        let (step, eps) = (self.length, self.eps());
        if !step.is_finite() || !eps.is_finite() || eps < 0.0 {
            return Err(GpuError::operand("perturb", format!("a step of {step} in a ball of {eps} is not possible")));
        }
        Ok(())
    }

    fn eps(&self) -> f32 {
        self.ball.map_or(0.0, |ball| ball.eps)
    }

    /// Constants of `shaders/sign_step.wgsl`.
    pub(super) fn consts(&self) -> [Const; 2] {
        [("PROJECT", u32::from(self.ball.is_some())), ("SIGNS", 0)]
    }

    /// What it asks of a kernel's parameters: length, eps, and the range of a pixel.
    pub(super) fn params(&self) -> [f32; 4] {
        [self.length, self.eps(), RANGE[0], RANGE[1]]
    }
}

/// ODIN's step (Liang et al. 2018): `x - eps s` with s = 1 where the gradient of the loss is 0 or more and -1 elsewhere, in
/// pixel units. (The paper divides by the deviation of its normalised inputs, which is the same in pixels.) It may leave
/// [0, 1].
pub fn odin_step(gpu: &Gpu, x: &Tensor, gradient: &Tensor, eps: f32) -> Result<Tensor> {
    GpuError::expect_shape("odin_step", "the gradient", gradient.shape(), x.shape())?;
    if !eps.is_finite() {
        return Err(GpuError::operand("odin_step", format!("a step of {eps} is not possible")));
    }
    let out = gpu.empty(x.shape())?;
    let params = |count| Params { count, step: -eps, eps: 0.0, range: [f32::MIN, f32::MAX] };
    let spans = [x.span(), gradient.span(), x.span(), out.span()];
    launch_values(gpu, &STEP, &[("PROJECT", 0), ("SIGNS", 1)], params, &spans, x.count())?;
    Ok(out)
}

/// `d + step sign(gradient)`, brought back into [-eps, eps] (pixel units): a perturbation that is carried from one step of
/// training to the next (Shafahi et al. 2019).
pub fn carry(gpu: &Gpu, d: &Tensor, gradient: &Tensor, step: f32, eps: f32) -> Result<Tensor> {
    GpuError::expect_shape("carry", "the gradient", gradient.shape(), d.shape())?;
    if !step.is_finite() || !eps.is_finite() || eps < 0.0 {
        return Err(GpuError::operand("carry", format!("a step of {step} in a ball of {eps} is not possible")));
    }
    let out = gpu.empty(d.shape())?;
    let params = |count| Params { count, step, eps: 0.0, range: [-eps, eps] };
    let spans = [d.span(), gradient.span(), d.span(), out.span()];
    launch_values(gpu, &STEP, &[("PROJECT", 0), ("SIGNS", 0)], params, &spans, d.count())?;
    Ok(out)
}

/// `x + d` with `d` uniform in [-eps, eps] (pixel units), brought back into [0, 1]. Image `i` of `x`, counted along
/// its first dimension, draws from the stream of item `source.launch + i`.
pub fn random_start(gpu: &Gpu, x: &Tensor, eps: f32, source: Source) -> Result<Tensor> {
    start(gpu, x, eps, source, false)
}

/// `x + d` with each element of `d` either -eps or eps (pixel units), as likely as not, brought back into [0, 1]. Draws
/// as [`random_start`] does; a word's top bit says which.
pub fn random_corner(gpu: &Gpu, x: &Tensor, eps: f32, source: Source) -> Result<Tensor> {
    start(gpu, x, eps, source, true)
}

fn start(gpu: &Gpu, x: &Tensor, eps: f32, source: Source, signs: bool) -> Result<Tensor> {
    if !eps.is_finite() || eps < 0.0 {
        return Err(GpuError::operand("random_start", format!("a ball of {eps} is not possible")));
    }
    let out = gpu.empty(x.shape())?;
    let images = x.dims()[0];
    let size = x.count() / images;
    let blocks = size.div_ceil(4);
    let params = Start {
        blocks: blocks as u32,
        images: images as u32,
        size: size as u32,
        first: source.launch,
        purpose: source.purpose as u32,
        seed: [source.seed as u32, (source.seed >> 32) as u32],
        eps,
        range: RANGE,
    };
    let kernel = if size.is_multiple_of(4) { &START_VECTORS } else { &START_SCALARS };
    // The source has the step, too, which asks whether to project.
    let consts = [("PROJECT", 0), ("SIGNS", u32::from(signs))];
    launch_flat(gpu, kernel, &consts, &params, &[x.span(), out.span()], blocks * images)?;
    Ok(out)
}
