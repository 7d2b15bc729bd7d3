//! All parameters of a network in one flat buffer, and all gradients in another.

use crate::gpu::{Gpu, Result, Shape, Tensor};
use crate::random::{Purpose, Stream, unit};

/// Bindings must begin at multiples of 64 elements (256 bytes, the most that adapters ask for).
const ALIGNMENT: usize = 64;

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// All the same.
    Constant(f32),
    /// Uniform in (-bound, bound).
    Uniform { bound: f64 },
}

impl Initial {
    /// PyTorch's default for convolutions and linear layers, weights and biases alike:
    /// 1 / sqrt(fan_in), which is Kaiming's uniform with a = sqrt(5) (He et al. 2015).
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / libm::sqrt(fan_in as f64) }
    }

    /// Kaiming's uniform for ReLU: sqrt(6 / fan_in) (He et al. 2015).
    pub fn kaiming(fan_in: usize) -> Self {
        Self::Uniform { bound: libm::sqrt(6.0 / fan_in as f64) }
    }

    /// Xavier's uniform: sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).
    pub fn xavier(fan_in: usize, fan_out: usize) -> Self {
        Self::Uniform { bound: libm::sqrt(6.0 / (fan_in + fan_out) as f64) }
    }

    /// The values of parameter number `item` under a seed: the same bits on every machine.
    pub fn values(self, seed: u64, item: u32, count: usize) -> Vec<f32> {
        match self {
            Self::Constant(value) => vec![value; count],
            Self::Uniform { bound } => {
                let mut stream = Stream::new(seed, Purpose::Weights, item);
                (0..count).map(|_| (2.0 * unit(stream.next_word()) - 1.0) * bound as f32).collect()
            }
        }
    }
}

/// One parameter: its name in the state_dict, its shape and how it begins.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub shape: Shape,
    pub initial: Initial,
}

/// The parameters of a network on the device.
#[derive(Debug)]
pub struct Parameters {
    specs: Vec<Spec>,
    starts: Vec<usize>,
    values: Tensor,
    gradients: Tensor,
}

impl Parameters {
    /// Makes and initialises the parameters.
    pub fn new(gpu: &Gpu, specs: Vec<Spec>, seed: u64) -> Result<Self> {
        let mut starts = Vec::with_capacity(specs.len());
        let mut length = 0;
        for spec in &specs {
            starts.push(length);
            length += spec.shape.count().next_multiple_of(ALIGNMENT);
        }
        // The gaps stay zero for ever: their gradients are zero, and no optimiser moves them.
        let mut flat = vec![0.0; length.max(ALIGNMENT)];
        for (item, (spec, &start)) in specs.iter().zip(&starts).enumerate() {
            let values = spec.initial.values(seed, item as u32, spec.shape.count());
            flat[start..start + values.len()].copy_from_slice(&values);
        }
        let values = gpu.tensor([flat.len()], &flat)?;
        let gradients = gpu.zeros([flat.len()])?;
        Ok(Self { specs, starts, values, gradients })
    }

    /// Names, shapes and initial distributions, in the order of the state_dict.
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// How many numbers are trained.
    pub fn count(&self) -> usize {
        self.specs.iter().map(|spec| spec.shape.count()).sum()
    }

    /// All values, with gaps.
    pub fn flat_values(&self) -> &Tensor {
        &self.values
    }

    /// All gradients, with gaps.
    pub fn flat_gradients(&self) -> &Tensor {
        &self.gradients
    }

    /// Parameter `index`.
    pub fn value(&self, index: usize) -> Result<Tensor> {
        self.values.slice(self.starts[index], self.specs[index].shape)
    }

    /// The place of parameter `index`'s gradient.
    pub fn gradient(&self, index: usize) -> Result<Tensor> {
        self.gradients.slice(self.starts[index], self.specs[index].shape)
    }
}
