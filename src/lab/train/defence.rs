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
    /// Projected gradient descent (Madry et al. 2018): a start uniform in the ball and 7 steps of 2.5 eps / steps; on the
    /// attacked pictures alone.
    Pgd { steps: u32, step_size: Option<f64>, ratio: f64 },
}

impl Defence {
    /// Every defence's name.
    pub const NAMES: [&str; 3] = ["fgsm", "fast", "pgd"];

    /// Its name in results and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fgsm { .. } => "fgsm",
            Self::Fast { .. } => "fast",
            Self::Pgd { .. } => "pgd",
        }
    }
}

impl Adversarial {
    /// A defence with its paper's settings, against attacks of `eps` (pixel units).
    pub fn named(name: &str, eps: f64) -> Result<Self, LabError> {
        let defence = match name {
            "fgsm" => Defence::Fgsm { ratio: 0.5 },
            "fast" => Defence::Fast { step_size: None, ratio: 1.0 },
            "pgd" => Defence::Pgd { steps: 7, step_size: None, ratio: 1.0 },
            _ => {
                let problem = format!("'{name}' is no defence that is known: {}", Defence::NAMES.join(", "));
                return Err(LabError::Usage(problem));
            }
        };
        Ok(Self { defence, eps })
    }

    /// FGSM on so much of the loss.
    pub fn fgsm(eps: f64, ratio: f64) -> Self {
        Self { defence: Defence::Fgsm { ratio }, eps }
    }

    /// The share of the attacked pictures in the loss.
    pub(super) fn ratio(&self) -> f64 {
        match self.defence {
            Defence::Fgsm { ratio } | Defence::Fast { ratio, .. } | Defence::Pgd { ratio, .. } => ratio,
        }
    }

    /// The length of a step, in pixel units.
    pub fn step_size(&self) -> f64 {
        let eps = self.eps;
        match self.defence {
            Defence::Fgsm { .. } => eps,
            Defence::Fast { step_size, .. } => step_size.unwrap_or(1.25 * eps),
            Defence::Pgd { steps, step_size, .. } => step_size.unwrap_or(2.5 * eps / f64::from(steps)),
        }
    }

    /// Refuses what cannot be trained.
    pub(super) fn check(&self, plan: &Architecture) -> Result<(), LabError> {
        let refused = |problem: String| Err(LabError::Usage(problem));
        if plan.task != Task::Classify {
            return refused(format!("adversarial training needs a classifier (lenet, lab), not '{}'", plan.name));
        }
        let possible = |value: f64| value > 0.0 && value <= 1.0;
        let (eps, ratio) = (self.eps, self.ratio());
        if !possible(eps) || !possible(ratio) {
            return refused(format!("adversarial training needs an eps and a ratio in (0, 1], not {eps} and {ratio}"));
        }
        Ok(())
    }
}
