//! Attacks on the pictures that a step is about to learn from, and how well the model withstands them.

use std::collections::HashMap;

use crate::attack::{self, Ascent, Method, Pgd};
use crate::autograd::{Tape, Var};
use crate::data::Images;
use crate::gpu::{Gpu, Result as GpuResult, Tensor, Words};
use crate::nn::{Architecture, Bound, Mode, Network};
use crate::ops::noise::{Quantiles, Source};
use crate::ops::reduce::Reduction;
use crate::ops::{displace, perturb};
use crate::random::Purpose;

use super::super::LabError;
use super::super::attack::accuracy_under;
use super::super::evaluate::Resident;
use super::{Adversarial, Defence, Robustness, Settings};

/// Test pictures attacked after each epoch.
const HELD_OUT: usize = 500;

/// Steps of the PGD that is measured.
const PGD_STEPS: u32 = 5;

/// A fall of the accuracy under PGD from one epoch to the next that is an alarm, and so is as much that FGSM leaves and
/// PGD does not.
const ALARM: f64 = 0.2;

pub(in crate::lab) struct Adversary {
    settings: Adversarial,
    seed: u64,
    /// Pictures to a step, before the attack; the last step of a pass may have fewer.
    batch: usize,
    /// What each picture's loss counts, for each size of batch: a run has two.
    shares: HashMap<usize, Tensor>,
    /// Free adversarial training's.
    carried: Option<Carried>,
    /// TRADES's start is normal.
    quantiles: Option<Quantiles>,
    /// Accuracy under PGD on the fixed training batch, after the last epoch.
    before: Option<f64>,
}

/// The perturbation that goes from step to step.
struct Carried {
    /// [batch, C, H, W], in [-eps, eps]; a smaller batch has its first pictures.
    perturbation: Tensor,
    /// [batch], all 1.
    ones: Tensor,
}

/// What a step is to learn: its loss [1], and the pixels, where their gradient is wanted, too.
pub(super) type Learned = (Var, Option<Var>);

impl Adversary {
    /// The adversary of a run over so many pictures, if there is one.
    pub(super) fn of(
        gpu: &Gpu,
        settings: &Settings,
        plan: &Architecture,
        images: usize,
    ) -> Result<Option<Self>, LabError> {
        let (seed, batch) = (settings.seed, settings.batch.min(images));
        settings.adversarial.map(|chosen| Self::new(gpu, chosen, plan, (seed, batch))).transpose()
    }

    /// `batch`: pictures to a step.
    fn new(
        gpu: &Gpu,
        settings: Adversarial,
        plan: &Architecture,
        (seed, batch): (u64, usize),
    ) -> Result<Self, LabError> {
        settings.check(plan)?;
        let [channels, height, width] = plan.input;
        let carried = match settings.defence {
            Defence::Free { .. } => Some(Carried {
                perturbation: gpu.zeros([batch, channels, height, width])?,
                ones: gpu.filled([batch], 1.0)?,
            }),
            _ => None,
        };
        let quantiles = matches!(settings.defence, Defence::Trades { .. }).then(|| Quantiles::new(gpu)).transpose()?;
        Ok(Self { settings, seed, batch, shares: HashMap::new(), carried, quantiles, before: None })
    }

    /// What is carried from step to step on the device, for a run's state.
    pub(super) fn carried(&self) -> Option<&Tensor> {
        self.carried.as_ref().map(|carried| &carried.perturbation)
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
        self.settings.ratio() < 1.0
    }

    /// What step number `step` learns from its clean pictures and labels.
    pub(super) fn learn(
        &mut self,
        (tape, network, bound): (&Tape, &Network, &Bound),
        (x, labels): (Tensor, Words),
        (step, mode): (u64, Mode),
        smoothing: f32,
    ) -> GpuResult<Learned> {
        let (gpu, count) = (tape.gpu(), labels.count());
        if let Some(Carried { perturbation, ones }) = &self.carried {
            let (d, ones) = (perturbation.slice(0, x.shape())?, ones.slice(0, [count])?);
            let pixels = tape.leaf(&displace::by(gpu, &x, &d, &ones)?);
            let logits = network.forward(tape, bound, pixels, mode)?;
            return Ok((tape.cross_entropy_mean(logits, &labels, smoothing)?, Some(pixels)));
        }
        if let (Defence::Trades { steps, beta, .. }, Some(quantiles)) = (self.settings.defence, &self.quantiles) {
            let random = (self.source(step), quantiles);
            let attacked = self.ascent(steps).up_the_divergence(gpu, network, &x, random)?;
            let [clean, attacked] = [&x, &attacked].map(|x| network.forward(tape, bound, tape.leaf(x), mode));
            let (clean, attacked) = (clean?, attacked?);
            let accuracy = tape.cross_entropy_mean(clean, &labels, smoothing)?;
            let divergence = tape.reduce(tape.kl_divergence(clean, attacked)?, Reduction::Mean, 0)?;
            return Ok((tape.add(accuracy, tape.scale(divergence, beta as f32, 0.0)?)?, None));
        }
        let (x, labels) = self.pictures(gpu, network, (x, labels), step)?;
        let logits = network.forward(tape, bound, tape.leaf(&x), mode)?;
        Ok((self.loss(tape, logits, &labels, count, smoothing)?, None))
    }

    /// After a step: `slope` is the gradient by the pixels that [`Adversary::learn`] gave.
    pub(super) fn carry(&self, gpu: &Gpu, slope: &Tensor) -> GpuResult<()> {
        let Some(Carried { perturbation, .. }) = &self.carried else { return Ok(()) };
        let d = perturbation.slice(0, slope.shape())?;
        let (step, eps) = (self.settings.step_size() as f32, self.settings.eps as f32);
        gpu.copy(&perturb::carry(gpu, &d, slope, step, eps)?, &d)
    }

    /// The N clean pictures and, after them, the same N attacked; or the latter alone.
    fn pictures(
        &self,
        gpu: &Gpu,
        network: &Network,
        (x, labels): (Tensor, Words),
        step: u64,
    ) -> GpuResult<(Tensor, Words)> {
        if !self.is_mixed() {
            let attacked = gpu.empty(x.shape())?;
            self.attack(gpu, network, (&x, &labels), step, &attacked)?;
            return Ok((attacked, labels));
        }
        let [channels, height, width] = network.architecture().input;
        let count = labels.count();
        let all = gpu.empty([2 * count, channels, height, width])?;
        // A picture's elements are a multiple of the alignment that a slice needs.
        gpu.copy(&x, &all.slice(0, x.shape())?)?;
        self.attack(gpu, network, (&x, &labels), step, &all.slice(x.count(), x.shape())?)?;
        Ok((all, gpu.repeated_words(&labels, 2)?))
    }

    /// Writes the attacked pictures to `out`.
    fn attack(
        &self,
        gpu: &Gpu,
        network: &Network,
        (x, labels): (&Tensor, &Words),
        step: u64,
        out: &Tensor,
    ) -> GpuResult<()> {
        let steps = match self.settings.defence {
            Defence::Fast { .. } => 1,
            Defence::Pgd { steps, .. } => steps,
            // The others have no attack of their own on this way.
            _ => return attack::fgsm_into(gpu, network, x, labels, self.settings.eps, out),
        };
        gpu.copy(&self.ascent(steps).up_the_loss(gpu, network, (x, labels), self.source(step))?, out)
    }

    fn ascent(&self, steps: u32) -> Ascent {
        Ascent { steps, step_size: self.settings.step_size(), eps: self.settings.eps }
    }

    /// The random numbers of a step's first picture; those of the next are the next item's.
    fn source(&self, step: u64) -> Source {
        let launch = step.wrapping_mul(self.batch as u64) as u32;
        Source { seed: self.seed, purpose: Purpose::Defence, launch }
    }

    /// The loss [1] of what [`Adversary::pictures`] gave, `count` being the step's pictures before the attack.
    fn loss(&mut self, tape: &Tape, logits: Var, labels: &Words, count: usize, smoothing: f32) -> GpuResult<Var> {
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
                let values = [share(1.0 - self.settings.ratio()), share(self.settings.ratio())].concat();
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
        let [now, one_step] = [under(train, batch, pgd)?, under(train, batch, Method::Fgsm)?];
        let fgsm_accuracy = Some(under(test, HELD_OUT, Method::Fgsm)?);
        let pgd_accuracy = Some(under(test, HELD_OUT, pgd)?);
        let alarm = is_alarm(self.before.replace(now), now, one_step);
        Ok(Robustness {
            fgsm_accuracy,
            pgd_accuracy,
            pgd_train_accuracy: Some(now),
            fgsm_train_accuracy: Some(one_step),
            alarm: Some(alarm),
            rolled_back_to: None,
        })
    }
}

/// Whether the accuracy under PGD fell too far since the epoch before, or lies too far below that under FGSM: a model may
/// never have withstood PGD.
fn is_alarm(before: Option<f64>, now: f64, one_step: f64) -> bool {
    before.is_some_and(|before| before - now > ALARM) || one_step - now > ALARM
}

#[cfg(test)]
mod tests {
    use super::is_alarm;

    #[test]
    fn a_fall_of_more_than_a_fifth_is_an_alarm() {
        assert!(is_alarm(Some(0.6), 0.375, 0.4) && is_alarm(Some(0.21), 0.0, 0.1));
        assert!(!is_alarm(Some(0.6), 0.45, 0.5) && !is_alarm(Some(0.2), 0.6, 0.7) && !is_alarm(None, 0.0, 0.1));
    }

    #[test]
    fn a_model_that_withstands_one_step_alone_is_an_alarm() {
        assert!(is_alarm(None, 0.02, 0.34) && is_alarm(Some(0.1), 0.05, 0.5));
        assert!(!is_alarm(None, 0.3, 0.48) && !is_alarm(Some(0.4), 0.4, 0.3));
    }
}
