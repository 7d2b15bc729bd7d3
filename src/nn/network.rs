//! A network: an architecture with its parameters and buffers on a device.

use crate::autograd::{BatchNorm, Tape, Var};
use crate::gpu::{Gpu, GpuError, Result, Shape, Tensor};
use crate::ops::batch_norm::{Running, Settings};
use crate::ops::conv2d::Window;
use crate::ops::dropout::Mask;
use crate::ops::normalize;

use super::layer::{Layer, Mode};
use super::parameters::{Parameters, Spec};
use super::whitening;

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

    /// Names and shapes of everything in the state_dict: the parameters, and what is kept beside them.
    pub fn tensors(&self) -> Vec<(String, Shape)> {
        let trained = self.specs().into_iter().map(|spec| (spec.name, spec.shape));
        trained.chain(self.layers.iter().flat_map(Layer::kept)).collect()
    }

    /// Whether there is a whitening layer.
    pub fn whitens(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, Layer::Whiten { .. }))
    }
}

/// What a layer keeps that is not trained.
#[derive(Debug)]
enum Buffer {
    None,
    Normalize {
        factor: Tensor,
        offset: Tensor,
        zeros: Tensor,
    },
    /// The filters.
    Whiten(Tensor),
    /// With the weight where it is not trained.
    BatchNorm(Running, Option<Tensor>),
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

    /// Tensors of the state_dict that are not trained: batch-norm's running statistics, and frozen weights.
    pub fn buffers(&self) -> Vec<(String, Tensor)> {
        let pairs = self.architecture.layers.iter().zip(&self.buffers);
        pairs
            .flat_map(|(layer, buffer)| {
                let tensors = match buffer {
                    Buffer::Whiten(filters) => vec![filters],
                    Buffer::BatchNorm(running, weight) => {
                        weight.iter().chain([&running.mean, &running.variance]).collect()
                    }
                    Buffer::None | Buffer::Normalize { .. } => Vec::new(),
                };
                layer.kept().into_iter().map(|(name, _)| name).zip(tensors.into_iter().cloned())
            })
            .collect()
    }

    /// Where the plan has a whitening layer: makes it that of the first [`whitening::PICTURES`] of these training
    /// pictures, bytes [N, C, H, W], with this epsilon ([`whitening::EPSILON`] unless one wants another). Other networks
    /// stay as they are.
    pub fn whiten(&self, gpu: &Gpu, pictures: &[u8], epsilon: f64) -> Result<()> {
        let layers = &self.architecture.layers;
        let (at, normalized) = match layers.first() {
            Some(Layer::Normalize { mean, std }) => (1, (*mean, *std)),
            _ => (0, ([0.0; 3], [1.0; 3])),
        };
        let (Some(Layer::Whiten { kernel, .. }), Some(Buffer::Whiten(filters))) =
            (layers.get(at), self.buffers.get(at))
        else {
            return Ok(());
        };
        let dims = self.architecture.input;
        let size: usize = dims.iter().product();
        if pictures.len() < size || !pictures.len().is_multiple_of(size) {
            let problem = format!("{} bytes are not pictures of {size} bytes each", pictures.len());
            return Err(GpuError::operand("whitening", problem));
        }
        let first = &pictures[..pictures.len().min(whitening::PICTURES * size)];
        let found = whitening::whitening(first, dims, *kernel, normalized, epsilon);
        gpu.write(filters, &found.weights)?;
        // No layer before this one has parameters.
        gpu.write(&self.parameters.value(0)?, &found.bias)
    }

    /// Puts the parameters on a tape.
    pub fn bind(&self, tape: &Tape) -> Result<Bound> {
        let leaves = (0..self.parameters.specs().len())
            .map(|index| Ok(tape.parameter(&self.parameters.value(index)?, &self.parameters.gradient(index)?)));
        Ok(Bound(leaves.collect::<Result<_>>()?))
    }

    /// What a first normalisation makes of pixels `x`; `x` itself where the plan begins without one. A reconstruction is compared
    /// with that. The loss's gradient by it has the signs of that by the pixels, since deviations are above 0.
    pub fn normalized(&self, tape: &Tape, x: Var) -> Result<Var> {
        match self.buffers.first() {
            Some(Buffer::Normalize { factor, offset, zeros }) => tape.normalize(x, factor, offset, zeros),
            _ => Ok(x),
        }
    }

    /// The same of all 256 values of a byte in each channel, [C, 256]; nothing where the plan begins without a normalisation.
    pub fn normalized_levels(&self) -> Option<Vec<f32>> {
        let Some(Layer::Normalize { mean, std }) = self.architecture.layers.first() else { return None };
        let of_channel = |(&mean, &std): (&f32, &f32)| {
            let (factor, offset) = normalize::affine(mean, std);
            (0..256u32).map(move |level| level as f32 / 255.0 * factor + offset)
        };
        Some(mean.iter().zip(std).flat_map(of_channel).collect())
    }

    /// Runs the network on `x` [N, C, H, W].
    pub fn forward(&self, tape: &Tape, bound: &Bound, x: Var, mode: Mode) -> Result<Var> {
        Ok(self.forward_with_features(tape, bound, x, mode)?.1)
    }

    /// Runs the network on what [`Network::normalized`] made of pixels.
    pub fn forward_normalized(&self, tape: &Tape, bound: &Bound, x: Var, mode: Mode) -> Result<Var> {
        let begins_so = matches!(self.buffers.first(), Some(Buffer::Normalize { .. }));
        Ok(self.run(tape, bound, (x, usize::from(begins_so)), mode)?.1)
    }

    /// What the last layer is given (the penultimate features of a classifier, [N, D]), and what it makes of it.
    pub fn forward_with_features(&self, tape: &Tape, bound: &Bound, x: Var, mode: Mode) -> Result<(Var, Var)> {
        self.run(tape, bound, (x, 0), mode)
    }

    /// The layers from number `first` on.
    fn run(&self, tape: &Tape, bound: &Bound, (x, first): (Var, usize), mode: Mode) -> Result<(Var, Var)> {
        let (mut before, mut value) = (x, x);
        let mut leaves = bound.0.iter().copied();
        let mut next =
            || leaves.next().ok_or_else(|| GpuError::operand("network", "the bound parameters are another network's"));
        let layers = &self.architecture.layers;
        let mut numbered = layers.iter().zip(&self.buffers).enumerate().skip(first);
        while let Some((number, (layer, buffer))) = numbered.next() {
            before = value;
            value = match (layer, buffer) {
                // What is frozen is a leaf that nobody wants a gradient of, so none is computed.
                (Layer::Whiten { .. }, Buffer::Whiten(filters)) => {
                    tape.conv2d(value, tape.leaf(filters), next()?, Window::new(1, 0), false)?
                }
                (Layer::Conv2d { window, bias, relu, .. }, _) => {
                    let weight = next()?;
                    let bias = if *bias { Some(next()?) } else { None };
                    match layer.pooling(&layers[number + 1..]) {
                        Some((kernel, pooling, relu)) => {
                            numbered.next();
                            tape.conv2d_max_pool((value, weight, bias, *window), kernel, pooling, relu)?
                        }
                        None => tape.conv2d(value, weight, bias, *window, *relu)?,
                    }
                }
                (Layer::ConvTranspose2d { window, relu, .. }, _) => {
                    tape.conv_transpose2d(value, next()?, next()?, *window, *relu)?
                }
                (Layer::Linear { bias, relu, .. }, _) => {
                    let weight = next()?;
                    let bias = if *bias { Some(next()?) } else { None };
                    tape.linear(value, weight, bias, *relu)?
                }
                (Layer::BatchNorm { .. }, Buffer::BatchNorm(running, weight)) => {
                    let gamma = weight.as_ref().map_or_else(&mut next, |weight| Ok(tape.leaf(weight)))?;
                    let beta = next()?;
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
                (Layer::Scale { factor }, _) => tape.scale(value, *factor, 0.0)?,
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
                (Layer::Whiten { .. } | Layer::BatchNorm { .. } | Layer::Normalize { .. }, _) => value,
            };
        }
        Ok((before, value))
    }
}

impl Buffer {
    fn of(gpu: &Gpu, layer: &Layer) -> Result<Self> {
        Ok(match layer {
            Layer::Normalize { mean, std } => {
                if !std.iter().all(|std| std.is_normal() && *std > 0.0) {
                    let problem = format!("a normalisation by deviations of {std:?}, which are not all above 0");
                    return Err(GpuError::operand("network", problem));
                }
                let channels = mean.iter().zip(std).map(|(&mean, &std)| normalize::affine(mean, std));
                let (factor, offset): (Vec<f32>, Vec<f32>) = channels.unzip();
                Self::Normalize {
                    factor: gpu.tensor([3], &factor)?,
                    offset: gpu.tensor([3], &offset)?,
                    zeros: gpu.zeros([3])?,
                }
            }
            Layer::Whiten { channels, kernel, .. } => {
                let size = channels * kernel * kernel;
                let shape = [2 * size, *channels, *kernel, *kernel];
                Self::Whiten(gpu.tensor(shape, &whitening::unknown(size))?)
            }
            Layer::BatchNorm { channels, scale, .. } => {
                let ones = || gpu.filled([*channels], 1.0);
                let running = Running { mean: gpu.zeros([*channels])?, variance: ones()? };
                Self::BatchNorm(running, (!scale).then(ones).transpose()?)
            }
            _ => Self::None,
        })
    }
}
