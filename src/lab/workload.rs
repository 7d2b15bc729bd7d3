//! One step over and over, for benchmarks and profiles: a training step, or an FGSM step on the pixels.

use crate::attack::{self, AttackError};
use crate::autograd::Tape;
use crate::data::fake_data;
use crate::gpu::{Gpu, GpuError, Tensor, Words};
use crate::models;
use crate::nn::{Network, Optimizer, Task};
use crate::ops::gather::ByteSet;

use super::LabError;
use super::evaluate::Resident;
use super::train::{Lesson, LossMeter, Moving, Pictures, Settings};

/// Which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A step of `train`: a batch gathered, forward, backward to the weights, Adam.
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
        "lab" | "fast" => 32,
        "lenet" => 256,
        _ => 128,
    }
}

/// A model and a batch of noise, ready to run steps: those of `train`, or those of an attack.
pub struct Workload {
    gpu: Gpu,
    kind: Kind,
    settings: Settings,
    network: Network,
    moving: Moving,
    tape: Tape,
    set: ByteSet,
    order: Words,
    steps: u64,
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
        let settings = Settings::plain(model, 1, batch, 1e-3, 0);
        let network = Network::new(gpu, plan, settings.seed)?;
        let optimizer = Optimizer::new(gpu, settings.optimizer, network.parameters())?;
        let images = fake_data(0, 0, batch);
        let pictures = Resident::new(gpu, &images)?;
        let order = gpu.words(&(0..batch as u32).collect::<Vec<_>>())?;
        let attacked = match kind {
            Kind::Train => None,
            Kind::Attack => {
                let labels: Vec<u32> = images.labels.iter().map(|&label| u32::from(label)).collect();
                let x = pictures.pixels(gpu, 0, batch)?;
                let out = gpu.empty(x.shape())?;
                Some((x, gpu.words(&labels)?, out))
            }
        };
        let set = Lesson::set(gpu, &settings, &network, &pictures)?;
        let (moving, tape) = (Moving { meter: LossMeter::new(gpu)?, optimizer, adversary: None }, Tape::new(gpu));
        Ok(Self { gpu: gpu.clone(), kind, settings, network, moving, tape, set, order, steps: 0, attacked })
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
        let lesson = Lesson { gpu, settings: &self.settings, network: &self.network, set: &self.set, tape: &self.tape };
        let pictures = Pictures { order: &self.order, first: 0, count: self.settings.batch, pass: 1 };
        lesson.step(&pictures, (self.steps, self.settings.rate), &mut self.moving)?;
        self.steps += 1;
        Ok(())
    }
}
