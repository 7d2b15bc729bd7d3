//! Defences: the ways of adversarial training, with the settings that their papers have.

use serde::Serialize;

use crate::nn::{Architecture, Task};

use super::super::LabError;

/// Adversarial training: each step attacks the pictures that it is about to learn from, with the weights as they are, in
/// the L-infinity ball of `eps` and within [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Adversarial {
    #[serde(flatten)]
    pub defence: Defence,
    /// In pixel units on [0, 1].
    pub eps: f64,
    /// At the first alarm ([`super::Robustness::alarm`]) go back to the end of the epoch before, weights, running
    /// statistics and moments, and end the training there, as Wong et al. 2020 do. As long as every epoch had one, there is
    /// none to go back to, and training goes on.
    pub roll_back: bool,
}

/// How a step attacks, and what it learns from what it finds. Step sizes are in pixel units; without one, the paper's.
/// Attacks see the model in evaluation mode.
///
/// A `ratio` in (0, 1] is the share of the attacked pictures in the loss:
///
/// (1 - ratio) x mean cross-entropy of the clean pictures + ratio x mean cross-entropy of the attacked ones,
///
/// both from one forward pass over all of them. A ratio of one half is the mean over clean and attacked pictures
/// together; at 1 the clean ones are left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "defence", rename_all = "lowercase")]
pub enum Defence {
    /// One step of eps along the gradient's sign (Goodfellow et al. 2015), half of the loss as in the paper.
    Fgsm { ratio: f64 },
    /// "Fast is better than free" (Wong, Rice and Kolter 2020): a start uniform in the ball and one step of 1.25 eps,
    /// brought back into the ball; on the attacked pictures alone. The paper trains with a triangular rate.
    Fast { step_size: Option<f64>, ratio: f64 },
    /// "Adversarial training for free" (Shafahi et al. 2019): each batch is replayed for so many steps (4), on attacked
    /// pictures alone. One backward pass of a step gives the weights' gradient and the pixels'; along the sign of the
    /// latter the perturbation moves by `step_size` (eps) and is brought back into the ball, and so it is carried on to the
    /// next step, also to that of the next batch.
    ///
    /// An epoch has as many steps as in any other training, so that it costs as much. Of the set it passes over one part
    /// in `replays`, and goes on where the epoch before it ended: the paper's "N / m epochs" are N of ours.
    Free { replays: u32, step_size: Option<f64> },
    /// Projected gradient descent (Madry et al. 2018): a start uniform in the ball and 7 steps of 2.5 eps / steps; on the
    /// attacked pictures alone.
    Pgd { steps: u32, step_size: Option<f64>, ratio: f64 },
    /// TRADES (Zhang et al. 2019): mean cross-entropy of the clean pictures + `beta` (6) x mean KL(prediction for the clean
    /// picture || prediction for the attacked one). The attack goes up that divergence from a normal start of deviation
    /// 0.001, in 10 steps of 0.007 / 0.031 of eps (of other numbers of steps, as far in all). Both terms move the weights
    /// through both predictions. Clean and attacked pictures are two forward passes, as in the paper's program.
    Trades { steps: u32, step_size: Option<f64>, beta: f64 },
}

/// The paper's step in the paper's ball, times its number of steps.
const TRADES_REACH: f64 = 10.0 * 0.007 / 0.031;

impl Defence {
    /// Every defence's name.
    pub const NAMES: [&str; 5] = ["fgsm", "fast", "free", "pgd", "trades"];

    /// Its name in results and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fgsm { .. } => "fgsm",
            Self::Fast { .. } => "fast",
            Self::Free { .. } => "free",
            Self::Pgd { .. } => "pgd",
            Self::Trades { .. } => "trades",
        }
    }
}

impl Adversarial {
    /// A defence with its paper's settings, against attacks of `eps` (pixel units).
    pub fn named(name: &str, eps: f64) -> Result<Self, LabError> {
        let defence = match name {
            "fgsm" => Defence::Fgsm { ratio: 0.5 },
            "fast" => Defence::Fast { step_size: None, ratio: 1.0 },
            "free" => Defence::Free { replays: 4, step_size: None },
            "pgd" => Defence::Pgd { steps: 7, step_size: None, ratio: 1.0 },
            "trades" => Defence::Trades { steps: 10, step_size: None, beta: 6.0 },
            _ => {
                let problem = format!("'{name}' is no defence that is known: {}", Defence::NAMES.join(", "));
                return Err(LabError::Usage(problem));
            }
        };
        Ok(Self { defence, eps, roll_back: false })
    }

    /// FGSM on so much of the loss.
    pub fn fgsm(eps: f64, ratio: f64) -> Self {
        Self { defence: Defence::Fgsm { ratio }, eps, roll_back: false }
    }

    /// How many steps learn from each batch before the next one comes.
    pub(super) fn replays(&self) -> u32 {
        if let Defence::Free { replays, .. } = self.defence { replays } else { 1 }
    }

    /// The share of the attacked pictures in the loss; of TRADES, whose loss has another form, all.
    pub(super) fn ratio(&self) -> f64 {
        match self.defence {
            Defence::Fgsm { ratio } | Defence::Fast { ratio, .. } | Defence::Pgd { ratio, .. } => ratio,
            Defence::Free { .. } | Defence::Trades { .. } => 1.0,
        }
    }

    /// The length of a step, in pixel units.
    pub fn step_size(&self) -> f64 {
        let eps = self.eps;
        match self.defence {
            Defence::Fgsm { .. } => eps,
            Defence::Fast { step_size, .. } => step_size.unwrap_or(1.25 * eps),
            Defence::Free { step_size, .. } => step_size.unwrap_or(eps),
            Defence::Trades { steps, step_size, .. } => step_size.unwrap_or(TRADES_REACH * eps / f64::from(steps)),
            Defence::Pgd { steps, step_size, .. } => step_size.unwrap_or(2.5 * eps / f64::from(steps)),
        }
    }

    /// Refuses what cannot be trained.
    pub(super) fn check(&self, plan: &Architecture) -> Result<(), LabError> {
        let refused = |problem: String| Err(LabError::Usage(problem));
        if plan.task != Task::Classify {
            return refused(format!("adversarial training needs a classifier (lenet, lab, fast), not '{}'", plan.name));
        }
        let possible = |value: f64| value > 0.0 && value <= 1.0;
        let (eps, ratio) = (self.eps, self.ratio());
        if !possible(eps) || !possible(ratio) {
            return refused(format!("adversarial training needs an eps and a ratio in (0, 1], not {eps} and {ratio}"));
        }
        let (what, is_fine) = match self.defence {
            Defence::Free { replays, .. } => ("at least 1 replay", replays > 0),
            Defence::Pgd { steps, .. } => ("at least 1 step", steps > 0),
            Defence::Trades { steps, beta, .. } => {
                ("at least 1 step and a beta above 0", steps > 0 && beta.is_finite() && beta > 0.0)
            }
            Defence::Fgsm { .. } | Defence::Fast { .. } => ("", true),
        };
        if !is_fine {
            return refused(format!("adversarial training with '{}' needs {what}", self.defence.name()));
        }
        let step = self.step_size();
        if !(step > 0.0 && step.is_finite()) {
            return refused(format!("adversarial training needs steps of a length above 0, not {step}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Adversarial, Defence};
    use crate::models::architecture;

    #[test]
    fn every_defence_has_its_papers_settings() {
        let eps = 8.0 / 255.0;
        let found = Defence::NAMES.map(|name| Adversarial::named(name, eps).unwrap());
        let [fgsm, fast, free, pgd, trades] = found;
        assert_eq!(found.map(|chosen| chosen.defence.name()), Defence::NAMES);
        assert!(found.iter().all(|chosen| chosen.check(&architecture("lenet").unwrap()).is_ok() && !chosen.roll_back));
        assert_eq!(fgsm, Adversarial::fgsm(eps, 0.5));
        assert_eq!((fast.step_size(), fast.ratio()), (1.25 * eps, 1.0));
        assert_eq!((free.step_size(), free.replays()), (eps, 4));
        assert_eq!((pgd.step_size(), pgd.ratio()), (2.5 * eps / 7.0, 1.0));
        assert!((trades.step_size() - eps * 0.007 / 0.031).abs() < 1e-15);
        assert_eq!(trades.defence, Defence::Trades { steps: 10, step_size: None, beta: 6.0 });
        let error = Adversarial::named("bim", eps).unwrap_err().to_string();
        assert!(error.contains("'bim'") && error.contains("fgsm, fast, free, pgd, trades"), "{error}");
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let check = |model: &str, defence, eps| {
            Adversarial { defence, eps, roll_back: false }.check(&architecture(model).unwrap())
        };
        let fgsm = |ratio| Defence::Fgsm { ratio };
        assert!(check("lenet", fgsm(0.5), 2.0 / 255.0).is_ok() && check("lab", fgsm(1.0), 1.0).is_ok());
        for (eps, ratio) in [(0.0, 0.5), (f64::NAN, 0.5), (0.1, 0.0), (0.1, 1.1), (-0.1, 0.5)] {
            assert!(check("lenet", fgsm(ratio), eps).is_err(), "{eps} {ratio}");
        }
        for defence in [
            Defence::Fast { step_size: Some(0.0), ratio: 1.0 },
            Defence::Fast { step_size: None, ratio: 2.0 },
            Defence::Free { replays: 0, step_size: None },
            Defence::Free { replays: 2, step_size: Some(f64::NAN) },
            Defence::Pgd { steps: 0, step_size: None, ratio: 1.0 },
            Defence::Trades { steps: 0, step_size: Some(0.1), beta: 1.0 },
            Defence::Trades { steps: 3, step_size: None, beta: 0.0 },
            Defence::Trades { steps: 3, step_size: None, beta: f64::INFINITY },
        ] {
            assert!(check("lenet", defence, 0.1).is_err(), "{defence:?}");
        }
        assert!(check("ae3", fgsm(0.5), 0.1).err().unwrap().to_string().contains("ae3"));
    }
}
