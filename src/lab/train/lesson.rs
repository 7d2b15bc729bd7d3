//! One step of training.

use crate::autograd::Tape;
use crate::gpu::{Gpu, Words};
use crate::nn::{Mode, Network, Optimizer, Task};
use crate::ops::gather::{self, Augment};

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
    pub train: &'a Resident,
    pub tape: &'a Tape,
}

/// The pictures of a step: `first..first + count` in an epoch's order.
pub(in crate::lab) struct Pictures<'a> {
    pub order: &'a Words,
    pub first: usize,
    pub count: usize,
    pub epoch: u32,
}

impl Lesson<'_> {
    /// Step number `step` (from 0) of the run with its learning rate: the loss goes to the meter, the weights move.
    pub fn step(
        &self,
        &Pictures { order, first, count, epoch }: &Pictures<'_>,
        (step, rate): (u64, f64),
        adversary: &mut Option<Adversary>,
        (meter, optimizer): (&mut LossMeter, &mut Optimizer),
    ) -> Result<(), LabError> {
        let Self { gpu, settings, network, train, tape } = self;
        let augmented = settings.flip || settings.shift > 0;
        let augment =
            augmented.then_some(Augment { flip: settings.flip, shift: settings.shift, seed: settings.seed, epoch });
        let (x, labels) = gather::batch(gpu, &train.set, order, first, count, augment)?;
        let (x, labels) = match adversary {
            Some(adversary) => adversary.pictures(gpu, network, (x, labels), step)?,
            None => (x, labels),
        };
        let (bound, x) = (network.bind(tape)?, tape.leaf(&x));
        let mode = Mode::Training { seed: settings.seed, step: step as u32 };
        let output = network.forward(tape, &bound, x, mode)?;
        let loss = match (network.architecture().task, adversary) {
            (Task::Classify, Some(adversary)) => adversary.loss(tape, output, &labels, count, settings.smoothing)?,
            (Task::Classify, None) => tape.cross_entropy_mean(output, &labels, settings.smoothing)?,
            (Task::Reconstruct, _) => tape.mse_mean(output, network.target(tape, x)?)?,
        };
        meter.add(gpu, &tape.value(loss)?, count)?;
        tape.backward(loss, bound.leaves())?;
        tape.reset();
        Ok(optimizer.step(gpu, network.parameters(), rate)?)
    }
}
