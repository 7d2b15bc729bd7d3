//! SGD, Adam and AdamW, one dispatch over all parameters (`shaders/optimizer.wgsl`).

use bytemuck::NoUninit;
use serde::Serialize;

use super::{kernel, launch_values, value_kernels};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor};

static SGD: [Kernel; 2] = value_kernels!("sgd", "optimizer", "sgd", "wrw");
static ADAM: [Kernel; 2] = value_kernels!("adam", "optimizer", "adam", "wrww");

/// Stochastic gradient descent, with PyTorch's meaning of each setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sgd {
    pub momentum: f64,
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
}

/// Adam (Kingma and Ba 2015), or AdamW (Loshchilov and Hutter 2019) when the decay is decoupled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Adam {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    pub decoupled: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default, NoUninit)]
struct Params {
    count: u32,
    rate: f32,
    decay: f32,
    momentum: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    rate_m: f32,
    scale_v: f32,
    rest1: f32,
    rest2: f32,
}

/// Checks that what goes with the weights has their shape.
fn expect_alike(operation: &'static str, weights: &Tensor, gradient: &Tensor, moments: &[&Tensor]) -> Result<()> {
    GpuError::expect_shape(operation, "the gradient", gradient.shape(), weights.shape())?;
    moments.iter().try_for_each(|moment| GpuError::expect_shape(operation, "a moment", moment.shape(), weights.shape()))
}

/// One step of SGD; `velocity` starts at zero.
pub fn sgd(gpu: &Gpu, settings: Sgd, rate: f64, weights: &Tensor, gradient: &Tensor, velocity: &Tensor) -> Result<()> {
    expect_alike("sgd", weights, gradient, &[velocity])?;
    let params = Params {
        rate: rate as f32,
        decay: settings.weight_decay as f32,
        momentum: settings.momentum as f32,
        ..Params::default()
    };
    let consts = [("NESTEROV", u32::from(settings.nesterov)), ("DECOUPLED", 0)];
    launch_values(
        gpu,
        &SGD,
        &consts,
        |count| Params { count, ..params },
        &[weights.span(), gradient.span(), velocity.span()],
        weights.count(),
    )
}

/// Step number `step` (from 1) of Adam; both `moments` start at zero.
pub fn adam(
    gpu: &Gpu,
    settings: Adam,
    rate: f64,
    step: u64,
    weights: &Tensor,
    gradient: &Tensor,
    moments: [&Tensor; 2],
) -> Result<()> {
    expect_alike("adam", weights, gradient, &moments)?;
    // Bias corrections in f64: 1 - beta2^t loses most of its digits in f32 at the first steps.
    let correction = |beta: f64| 1.0 - libm::pow(beta, step as f64);
    let params = Params {
        rate: rate as f32,
        decay: settings.weight_decay as f32,
        beta1: settings.beta1 as f32,
        beta2: settings.beta2 as f32,
        epsilon: settings.epsilon as f32,
        rate_m: (rate / correction(settings.beta1)) as f32,
        scale_v: (1.0 / libm::sqrt(correction(settings.beta2))) as f32,
        rest1: (1.0 - settings.beta1) as f32,
        rest2: (1.0 - settings.beta2) as f32,
        ..Params::default()
    };
    let consts = [("NESTEROV", 0), ("DECOUPLED", u32::from(settings.decoupled))];
    let spans = [weights.span(), gradient.span(), moments[0].span(), moments[1].span()];
    launch_values(gpu, &ADAM, &consts, |count| Params { count, ..params }, &spans, weights.count())
}
