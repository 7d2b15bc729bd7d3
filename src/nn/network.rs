//! A network: an architecture with its parameters and buffers on a device.

use crate::autograd::{BatchNorm, Tape, Var};
use crate::gpu::{Gpu, Result, Tensor};
use crate::ops::batch_norm::{Running, Settings};
use crate::ops::dropout::Mask;

use super::layer::{Layer, Mode};
use super::parameters::{Parameters, Spec};

/// What a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Pixels to logits.
    Classify,
    /// Pixels to pixels.
    Reconstruct,
}

/// The plan of a network.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// The name that `--model` takes.
    pub name: String,
    pub task: Task,
    /// Channels, height and width of an input.
    pub input: [usize; 3],
    pub layers: Vec<Layer>,
}

impl Architecture {
    /// The parameters, in the order of the state_dict.
    pub fn specs(&self) -> Vec<Spec> {
        self.layers.iter().flat_map(Layer::specs).collect()
    }
}

/// What a layer keeps that is not trained.
#[derive(Debug)]
enum Buffer {
    None,
    Normalize { factor: Tensor, offset: Tensor, zeros: Tensor },
    BatchNorm(Running),
}

/// A network on a device.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    parameters: Parameters,
    buffers: Vec<Buffer>,
}

/// The parameters of a network as leaves of one tape.
#[derive(Clone, Debug)]
pub struct Bound(Vec<Var>);

impl Bound {
    /// The leaves, in the order of the state_dict: what a training step wants gradients of.
    pub fn leaves(&self) -> &[Var] {
        &self.0
    }
}

impl Network {
    /// Makes a network with initial weights from `seed`.
    pub fn new(gpu: &Gpu, architecture: Architecture, seed: u64) -> Result<Self> {
        let parameters = Parameters::new(gpu, architecture.specs(), seed)?;
        let buffers = architecture.layers.iter().map(|layer| Buffer::of(gpu, layer)).collect::<Result<_>>()?;
        Ok(Self { architecture, parameters, buffers })
    }

    /// The plan.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The trained numbers.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Tensors of the state_dict that are not trained: batch-norm's running statistics.
    pub fn buffers(&self) -> Vec<(String, Tensor)> {
        let pairs = self.architecture.layers.iter().zip(&self.buffers);
        pairs
            .flat_map(|(layer, buffer)| match (layer, buffer) {
                (Layer::BatchNorm { name, .. }, Buffer::BatchNorm(running)) => vec![
                    (format!("{name}.running_mean"), running.mean.clone()),
                    (format!("{name}.running_var"), running.variance.clone()),
                ],
                _ => Vec::new(),
            })
            .collect()
    }

    /// Puts the parameters on a tape.
    pub fn bind(&self, tape: &Tape) -> Result<Bound> {
        let leaves = (0..self.parameters.specs().len())
            .map(|index| Ok(tape.parameter(&self.parameters.value(index)?, &self.parameters.gradient(index)?)));
        Ok(Bound(leaves.collect::<Result<_>>()?))
    }

    /// What the reconstruction of `x` is compared with: `x` as the layers after a first normalisation see it.
    pub fn target(&self, tape: &Tape, x: Var) -> Result<Var> {
        match self.buffers.first() {
            Some(Buffer::Normalize { factor, offset, zeros }) => tape.normalize(x, factor, offset, zeros),
            _ => Ok(x),
        }
    }

    /// Whether the last layer is linear and takes what comes before as it is: then that is the picture's features.
    pub fn has_linear_head(&self) -> bool {
        matches!(self.architecture.layers.last(), Some(Layer::Linear { relu: false, .. }))
    }

    /// Runs the network on `x` [N, C, H, W].
    pub fn forward(&self, tape: &Tape, bound: &Bound, x: Var, mode: Mode) -> Result<Var> {
        Ok(self.forward_with_features(tape, bound, x, mode)?.1)
    }

    /// What the last layer is given (the penultimate features of a classifier, [N, D]), and what it makes of it.
    pub fn forward_with_features(&self, tape: &Tape, bound: &Bound, x: Var, mode: Mode) -> Result<(Var, Var)> {
        let (mut before, mut value) = (x, x);
        let mut leaves = bound.0.iter().copied();
        let mut pair = || {
            let missing = || crate::gpu::GpuError::operand("network", "the bound parameters are another network's");
            Ok((leaves.next().ok_or_else(missing)?, leaves.next().ok_or_else(missing)?))
        };
        for (number, (layer, buffer)) in self.architecture.layers.iter().zip(&self.buffers).enumerate() {
            before = value;
            value = match (layer, buffer) {
                (Layer::Conv2d { window, relu, .. }, _) => {
                    let (weight, bias) = pair()?;
                    tape.conv2d(value, weight, bias, *window, *relu)?
                }
                (Layer::ConvTranspose2d { window, relu, .. }, _) => {
                    let (weight, bias) = pair()?;
                    tape.conv_transpose2d(value, weight, bias, *window, *relu)?
                }
                (Layer::Linear { relu, .. }, _) => {
                    let (weight, bias) = pair()?;
                    tape.linear(value, weight, bias, *relu)?
                }
                (Layer::BatchNorm { .. }, Buffer::BatchNorm(running)) => {
                    let (gamma, beta) = pair()?;
                    let training = mode != Mode::Evaluation;
                    let state = BatchNorm { running: running.clone(), settings: Settings::default(), training };
                    tape.batch_norm(value, gamma, beta, &state)?
                }
                (Layer::Normalize { .. }, Buffer::Normalize { factor, offset, zeros }) => {
                    tape.normalize(value, factor, offset, zeros)?
                }
                (Layer::MaxPool { kernel, window, relu }, _) => tape.max_pool(value, *kernel, *window, *relu)?,
                (Layer::AvgPool { kernel, window }, _) => tape.avg_pool(value, [*kernel; 2], *window)?,
                (Layer::GlobalAvgPool, _) => tape.global_avg_pool(value)?,
                (Layer::Activation(activation), _) => tape.activation(value, *activation)?,
                (Layer::Dropout { rate }, _) => match mode {
                    // Every layer of every step has a number of its own.
                    Mode::Training { seed, step } => {
                        let launch = step.wrapping_mul(self.architecture.layers.len() as u32) + number as u32;
                        tape.dropout(value, Mask { rate: *rate, seed, launch })?
                    }
                    Mode::Evaluation => value,
                },
                (Layer::Flatten, _) => tape.flatten(value)?,
                // Buffers are made from the layers, so these pairs cannot meet.
                (Layer::BatchNorm { .. } | Layer::Normalize { .. }, _) => value,
            };
        }
        Ok((before, value))
    }
}

impl Buffer {
    fn of(gpu: &Gpu, layer: &Layer) -> Result<Self> {
        Ok(match layer {
            Layer::Normalize { mean, std } => {
                let factor: Vec<f32> = std.iter().map(|std| 1.0 / std).collect();
                let offset: Vec<f32> = mean.iter().zip(std).map(|(mean, std)| -mean / std).collect();
                Self::Normalize {
                    factor: gpu.tensor([3], &factor)?,
                    offset: gpu.tensor([3], &offset)?,
                    zeros: gpu.zeros([3])?,
                }
            }
            Layer::BatchNorm { channels, .. } => {
                Self::BatchNorm(Running { mean: gpu.zeros([*channels])?, variance: gpu.filled([*channels], 1.0)? })
            }
            _ => Self::None,
        })
    }
}
