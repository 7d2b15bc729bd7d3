//! Attacks on the pictures that a step is about to learn from, and how well the model withstands them.

use std::collections::HashMap;

use crate::attack::{self, Method, Pgd};
use crate::autograd::{Tape, Var};
use crate::data::Images;
use crate::gpu::{Gpu, Result as GpuResult, Tensor, Words};
use crate::nn::{Architecture, Network, Task};
use crate::ops::reduce::Reduction;

use super::super::LabError;
use super::super::attack::accuracy_under;
use super::super::evaluate::Resident;
use super::{Adversarial, Robustness};

/// Test pictures attacked after each epoch.
const HELD_OUT: usize = 500;

/// Steps of the PGD that is measured.
const PGD_STEPS: u32 = 5;

/// A fall of the accuracy under PGD from one epoch to the next that is an alarm.
const ALARM: f64 = 0.2;

pub(in crate::lab) struct Adversary {
    settings: Adversarial,
    seed: u64,
    /// What each picture's loss counts, for each size of batch: a run has two.
    shares: HashMap<usize, Tensor>,
    /// Accuracy under PGD on the fixed training batch, after the last epoch.
    before: Option<f64>,
}

impl Adversary {
    pub(super) fn new(settings: Adversarial, plan: &Architecture, seed: u64) -> Result<Self, LabError> {
        let Adversarial { eps, ratio } = settings;
        if plan.task != Task::Classify {
            let problem = format!("adversarial training needs a classifier (lenet, lab, fast), not '{}'", plan.name);
            return Err(LabError::Usage(problem));
        }
        let possible = |value: f64| value > 0.0 && value <= 1.0;
        if !possible(eps) || !possible(ratio) {
            let problem = format!("adversarial training needs an eps and a ratio in (0, 1], not {eps} and {ratio}");
            return Err(LabError::Usage(problem));
        }
        Ok(Self { settings, seed, shares: HashMap::new(), before: None })
    }

    /// Accuracy under PGD on the fixed training batch, after the last epoch.
    pub(super) fn withstood(&self) -> Option<f64> {
        self.before
    }

    /// Takes up that accuracy in a run that goes on.
    pub(super) fn continue_from(&mut self, withstood: Option<f64>) {
        self.before = withstood;
    }

    fn is_mixed(&self) -> bool {
        self.settings.ratio < 1.0
    }

    /// What the step learns from: the N clean pictures and, after them, the same N attacked; or the latter alone.
    pub(super) fn pictures(
        &self,
        gpu: &Gpu,
        network: &Network,
        x: Tensor,
        labels: Words,
    ) -> GpuResult<(Tensor, Words)> {
        let eps = self.settings.eps;
        if !self.is_mixed() {
            let attacked = gpu.empty(x.shape())?;
            attack::fgsm_into(gpu, network, &x, &labels, eps, &attacked)?;
            return Ok((attacked, labels));
        }
        let [channels, height, width] = network.architecture().input;
        let count = labels.count();
        let all = gpu.empty([2 * count, channels, height, width])?;
        // A picture's elements are a multiple of the alignment that a slice needs.
        gpu.copy(&x, &all.slice(0, x.shape())?)?;
        attack::fgsm_into(gpu, network, &x, &labels, eps, &all.slice(x.count(), x.shape())?)?;
        Ok((all, gpu.repeated_words(&labels, 2)?))
    }

    /// The loss [1] of what [`Adversary::pictures`] gave, `count` being the step's pictures before the attack.
    pub(super) fn loss(
        &mut self,
        tape: &Tape,
        logits: Var,
        labels: &Words,
        count: usize,
        smoothing: f32,
    ) -> GpuResult<Var> {
        if !self.is_mixed() {
            return tape.cross_entropy_mean(logits, labels, smoothing);
        }
        let each = tape.cross_entropy(logits, labels, smoothing)?;
        let shares = tape.leaf(self.shares(tape.gpu(), count)?);
        tape.reduce(tape.multiply(each, shares)?, Reduction::Sum, 0)
    }

    /// (1 - ratio) / N for each clean picture, ratio / N for each attacked one.
    fn shares(&mut self, gpu: &Gpu, count: usize) -> GpuResult<&Tensor> {
        use std::collections::hash_map::Entry;
        match self.shares.entry(count) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                let share = |part: f64| vec![(part / count as f64) as f32; count];
                let values = [share(1.0 - self.settings.ratio), share(self.settings.ratio)].concat();
                Ok(place.insert(gpu.tensor([2 * count], &values)?))
            }
        }
    }

    /// Attacks held-out pictures and the fixed training batch (the first `batch` pictures) after an epoch. `sets`: the
    /// training and the test set.
    pub(super) fn measure(
        &mut self,
        gpu: &Gpu,
        network: &Network,
        [train, test]: [(&Images, &Resident); 2],
        batch: usize,
    ) -> Result<Robustness, LabError> {
        let pgd = Method::Pgd(Pgd::new(PGD_STEPS));
        let under = |(images, data): (&Images, &Resident), limit, method| {
            accuracy_under(gpu, network, (images, data, limit), (method, self.settings.eps, self.seed))
        };
        let now = under(train, batch, pgd)?;
        let fgsm_accuracy = Some(under(test, HELD_OUT, Method::Fgsm)?);
        let pgd_accuracy = Some(under(test, HELD_OUT, pgd)?);
        let alarm = is_alarm(self.before.replace(now), now);
        Ok(Robustness { fgsm_accuracy, pgd_accuracy, pgd_train_accuracy: Some(now), alarm: Some(alarm) })
    }
}

/// Whether the accuracy under PGD fell too far since the epoch before.
fn is_alarm(before: Option<f64>, now: f64) -> bool {
    before.is_some_and(|before| before - now > ALARM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;

    #[test]
    fn a_fall_of_more_than_a_fifth_is_an_alarm() {
        assert!(is_alarm(Some(0.6), 0.375) && is_alarm(Some(0.21), 0.0));
        assert!(!is_alarm(Some(0.6), 0.45) && !is_alarm(Some(0.2), 0.6) && !is_alarm(None, 0.0));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let new = |model: &str, eps: f64, ratio: f64| {
            Adversary::new(Adversarial { eps, ratio }, &models::architecture(model).unwrap(), 0)
        };
        assert!(new("lenet", 2.0 / 255.0, 0.5).is_ok() && new("lab", 1.0, 1.0).is_ok());
        for (eps, ratio) in [(0.0, 0.5), (f64::NAN, 0.5), (0.1, 0.0), (0.1, 1.1), (-0.1, 0.5)] {
            assert!(new("lenet", eps, ratio).is_err(), "{eps} {ratio}");
        }
        assert!(new("ae3", 0.1, 0.5).err().unwrap().to_string().contains("ae3"));
    }
}
