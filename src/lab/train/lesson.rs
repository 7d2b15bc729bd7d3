//! One step of training.

use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, Result as GpuResult, Words};
use crate::nn::{Mode, Network, Optimizer, Task};
use crate::ops::gather::{self, Augment, ByteSet};

use super::super::LabError;
use super::super::evaluate::Resident;
use super::Settings;
use super::adversary::Adversary;
use super::meter::LossMeter;

/// What all steps of a run have in common.
pub(in crate::lab) struct Lesson<'a> {
    pub gpu: &'a Gpu,
    pub settings: &'a Settings,
    pub network: &'a Network,
    /// What [`Lesson::set`] made.
    pub set: &'a ByteSet,
    pub tape: &'a Tape,
}

/// What moves from step to step, and what moves it.
pub(in crate::lab) struct Moving {
    pub meter: LossMeter,
    pub optimizer: Optimizer,
    pub adversary: Option<Adversary>,
}

/// The pictures of a step: `first..first + count` in the order of a pass over the set, which is what augmentation is drawn
/// for.
pub(in crate::lab) struct Pictures<'a> {
    pub order: &'a Words,
    pub first: usize,
    pub count: usize,
    pub pass: u32,
}

impl Lesson<'_> {
    /// The training set as the steps want it: what normalisation makes of its pixels, unless those are attacked before.
    pub fn set(gpu: &Gpu, settings: &Settings, network: &Network, train: &Resident) -> GpuResult<ByteSet> {
        let attacks = settings.adversarial.is_some() && network.architecture().task == Task::Classify;
        let levels = if attacks { None } else { network.normalized_levels() };
        levels.map_or_else(|| Ok(train.set.clone()), |levels| train.set.clone().with_levels(gpu, &levels))
    }

    /// Step number `step` (from 0) of the run with its learning rate: the loss goes to the meter, the weights move.
    pub fn step(
        &self,
        &Pictures { order, first, count, pass }: &Pictures<'_>,
        (step, rate): (u64, f64),
        moving: &mut Moving,
    ) -> Result<(), LabError> {
        let Self { gpu, settings, network, set, tape } = self;
        let augmented = settings.flip || settings.shift > 0;
        let augment = augmented.then_some(Augment {
            flip: settings.flip,
            shift: settings.shift,
            seed: settings.seed,
            epoch: pass,
        });
        let (x, labels) = gather::batch(gpu, set, order, first, count, augment)?;
        let bound = network.bind(tape)?;
        let mode = Mode::Training { seed: settings.seed, step: step as u32 };
        let (loss, pixels) = match (network.architecture().task, &mut moving.adversary) {
            (Task::Classify, Some(adversary)) => {
                adversary.learn((tape, network, &bound), (x, labels), (step, mode), settings.smoothing)?
            }
            (Task::Classify, None) => {
                let output = network.forward_normalized(tape, &bound, tape.leaf(&x), mode)?;
                (tape.cross_entropy_mean(output, &labels, settings.smoothing)?, None)
            }
            (Task::Reconstruct, _) => {
                let x = tape.leaf(&x);
                let output = network.forward_normalized(tape, &bound, x, mode)?;
                (tape.mse_mean(output, x)?, None)
            }
        };
        moving.meter.add(gpu, &tape.value(loss)?, count)?;
        let wanted: Vec<Var> = bound.leaves().iter().copied().chain(pixels).collect();
        let gradients = tape.backward(loss, &wanted)?;
        let slope = pixels.and_then(|pixels| gradients.of(pixels));
        if let (Some(adversary), Some(slope)) = (&moving.adversary, slope) {
            adversary.carry(gpu, slope)?;
        }
        tape.reset();
        Ok(moving.optimizer.step(gpu, network.parameters(), rate)?)
    }
}
