//! The layers that a network is made of.

use crate::ops::activation::Activation;
use crate::ops::conv2d::Window;

use super::parameters::{Initial, Spec};

/// One layer. Names are those of PyTorch's state_dict.
#[derive(Clone, Debug)]
pub enum Layer {
    /// (x - mean[c]) / std[c]: a classifier's first layer, so that attacks work on pixels in [0, 1].
    Normalize {
        mean: [f32; 3],
        std: [f32; 3],
    },
    /// Convolution with a square kernel and bias; ReLU may be fused.
    Conv2d {
        name: String,
        channels: [usize; 2],
        kernel: usize,
        window: Window,
        relu: bool,
    },
    /// Transposed convolution with a square kernel and bias; ReLU may be fused.
    ConvTranspose2d {
        name: String,
        channels: [usize; 2],
        kernel: usize,
        window: Window,
        relu: bool,
    },
    /// Fully connected, with bias; ReLU may be fused.
    Linear {
        name: String,
        features: [usize; 2],
        relu: bool,
    },
    /// Batch normalisation with PyTorch's defaults.
    BatchNorm {
        name: String,
        channels: usize,
    },
    /// ReLU may be fused: after the maximum it is the same and has less to do.
    MaxPool {
        kernel: usize,
        window: Window,
        relu: bool,
    },
    AvgPool {
        kernel: usize,
        window: Window,
    },
    GlobalAvgPool,
    Activation(Activation),
    /// Active in training only.
    Dropout {
        rate: f32,
    },
    Flatten,
}

/// How a network is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics and dropout; `step` numbers the step within the run for the dropout masks.
    Training { seed: u64, step: u32 },
    /// Running statistics, no dropout: what is measured and attacked.
    Evaluation,
}

impl Layer {
    /// The layer's parameters, weight before bias.
    pub(super) fn specs(&self) -> Vec<Spec> {
        let pair = |name: &str, weight: Vec<usize>, outputs: usize, fan_in: usize| {
            let initial = Initial::torch_default(fan_in);
            // Four dimensions at most: every weight here has two or four.
            let shape = match weight[..] {
                [a, b, c, d] => [a, b, c, d].into(),
                _ => [weight[0], weight[1]].into(),
            };
            vec![
                Spec { name: format!("{name}.weight"), shape, initial },
                Spec { name: format!("{name}.bias"), shape: [outputs].into(), initial },
            ]
        };
        match self {
            Self::Conv2d { name, channels: [inputs, outputs], kernel, .. } => {
                pair(name, vec![*outputs, *inputs, *kernel, *kernel], *outputs, inputs * kernel * kernel)
            }
            // PyTorch counts the fan-in of a transposed convolution by its second dimension.
            Self::ConvTranspose2d { name, channels: [inputs, outputs], kernel, .. } => {
                pair(name, vec![*inputs, *outputs, *kernel, *kernel], *outputs, outputs * kernel * kernel)
            }
            Self::Linear { name, features: [inputs, outputs], .. } => {
                pair(name, vec![*outputs, *inputs], *outputs, *inputs)
            }
            Self::BatchNorm { name, channels } => vec![
                Spec { name: format!("{name}.weight"), shape: [*channels].into(), initial: Initial::Constant(1.0) },
                Spec { name: format!("{name}.bias"), shape: [*channels].into(), initial: Initial::Constant(0.0) },
            ],
            _ => Vec::new(),
        }
    }
}
