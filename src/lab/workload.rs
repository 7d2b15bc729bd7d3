//! One step over and over, for benchmarks and profiles: a training step, or an FGSM step on the pixels.

use crate::attack::{self, AttackError};
use crate::autograd::Tape;
use crate::data::{DIMS, fake_data};
use crate::gpu::{Gpu, GpuError, Tensor, Words};
use crate::models;
use crate::nn::{Mode, Network, Optimizer, OptimizerKind, Task};
use crate::ops::gather::{self, ByteSet};
use crate::ops::optimizer::Adam;

use super::LabError;

/// Which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A batch gathered, forward, backward to the weights, Adam.
    Train,
    /// Forward, backward to the pixels alone, and a step of 8/255 along the sign.
    Attack,
}

impl Kind {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Attack => "attack",
        }
    }
}

/// The batch at which a model is measured where none is named.
pub fn default_batch(model: &str) -> usize {
    match model {
        "lab" => 32,
        "lenet" => 256,
        _ => 128,
    }
}

/// A model and a batch of noise, ready to run steps.
pub struct Workload {
    gpu: Gpu,
    kind: Kind,
    network: Network,
    optimizer: Optimizer,
    tape: Tape,
    set: ByteSet,
    order: Words,
    batch: usize,
    steps: u32,
    /// The attacked batch, its labels, and where its pictures go.
    attacked: Option<(Tensor, Words, Tensor)>,
}

impl Workload {
    /// Makes the model, its optimiser and `batch` pictures.
    pub fn new(gpu: &Gpu, kind: Kind, model: &str, batch: usize) -> Result<Self, LabError> {
        let plan = models::architecture(model)?;
        if kind == Kind::Attack && plan.task != Task::Classify {
            return Err(AttackError::NotAClassifier { model: model.to_owned() }.into());
        }
        if batch == 0 {
            return Err(GpuError::operand("step", "a batch has at least one picture").into());
        }
        let network = Network::new(gpu, plan, 0)?;
        let optimizer = Optimizer::new(gpu, OptimizerKind::Adam(Adam::default()), network.parameters())?;
        let images = fake_data(0, 0, batch);
        let set = ByteSet::new(gpu, DIMS, &images.bytes, &images.labels)?;
        let order = gpu.words(&(0..batch as u32).collect::<Vec<_>>())?;
        let attacked = match kind {
            Kind::Train => None,
            Kind::Attack => {
                let (x, labels) = gather::batch(gpu, &set, &order, 0, batch, None)?;
                let out = gpu.empty(x.shape())?;
                Some((x, labels, out))
            }
        };
        let tape = Tape::new(gpu);
        Ok(Self { gpu: gpu.clone(), kind, network, optimizer, tape, set, order, batch, steps: 0, attacked })
    }

    /// Which step this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Appends one step to the stream.
    pub fn step(&mut self) -> Result<(), LabError> {
        let gpu = &self.gpu;
        if let Some((x, labels, out)) = &self.attacked {
            return Ok(attack::fgsm_into(gpu, &self.network, x, labels, 8.0 / 255.0, out)?);
        }
        let (x, labels) = gather::batch(gpu, &self.set, &self.order, 0, self.batch, None)?;
        let bound = self.network.bind(&self.tape)?;
        let x = self.tape.leaf(&x);
        let output = self.network.forward(&self.tape, &bound, x, Mode::Training { seed: 0, step: self.steps })?;
        let loss = match self.network.architecture().task {
            Task::Classify => self.tape.cross_entropy_mean(output, &labels, 0.0)?,
            Task::Reconstruct => self.tape.mse_mean(output, self.network.target(&self.tape, x)?)?,
        };
        self.tape.backward(loss, bound.leaves())?;
        self.tape.reset();
        self.optimizer.step(gpu, self.network.parameters(), 1e-3)?;
        self.steps += 1;
        Ok(())
    }
}
