//! ReLU, leaky ReLU, sigmoid, tanh and GELU (`shaders/activation.wgsl`).

use bytemuck::NoUninit;

use super::{kernel, launch_values, value_kernels};
use crate::gpu::{Const, Gpu, GpuError, Kernel, Result, Tensor};

/// Which activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x for x > 0, else slope x
    LeakyRelu { slope: f32 },
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// tanh x
    Tanh,
    /// x Phi(x) with the exact normal distribution function (Hendrycks and Gimpel 2016)
    Gelu,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    slope: f32,
}

static FORWARD: [Kernel; 2] = value_kernels!("activation", "activation", "forward", "rw");
static BACKWARD: [Kernel; 2] = value_kernels!("activation_backward", "activation", "backward", "rrw");

impl Activation {
    fn consts(self) -> [Const; 1] {
        let kind = match self {
            Self::Relu => 0,
            Self::LeakyRelu { .. } => 1,
            Self::Sigmoid => 2,
            Self::Tanh => 3,
            Self::Gelu => 4,
        };
        [("KIND", kind)]
    }

    fn params(self) -> impl Fn(u32) -> Params {
        let slope = if let Self::LeakyRelu { slope } = self { slope } else { 0.0 };
        move |count| Params { count, slope }
    }

    /// Whether the backward pass reads the input; else it reads the output.
    pub fn saves_input(self) -> bool {
        self == Self::Gelu
    }
}

/// `y = f(x)`.
pub fn forward(gpu: &Gpu, activation: Activation, x: &Tensor) -> Result<Tensor> {
    let y = gpu.empty(x.shape())?;
    launch_values(gpu, &FORWARD, &activation.consts(), activation.params(), &[x.span(), y.span()], x.count())?;
    Ok(y)
}

/// `dx = f'(x) dy`; `saved` is the input or the output, as [`Activation::saves_input`] says.
pub fn backward(gpu: &Gpu, activation: Activation, saved: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
    GpuError::expect_shape("activation_backward", "the gradient", dy.shape(), saved.shape())?;
    GpuError::expect_shape("activation_backward", "the input's gradient", dx.shape(), saved.shape())?;
    let spans = [saved.span(), dy.span(), dx.span()];
    launch_values(gpu, &BACKWARD, &activation.consts(), activation.params(), &spans, dy.count())
}
