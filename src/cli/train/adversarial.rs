//! The options of `shadegrad train --adv`.

use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};

use crate::lab::LabError;
use crate::lab::train::{Adversarial, Defence};

use super::{number, positive};

#[derive(Debug, clap::Args, Serialize, Deserialize)]
pub struct Options {
    /// Adversarial training: each step attacks its own pictures with the weights as they are. Nothing else changes with
    /// it ('fast' is meant for '--schedule triangular --peak 0.4', as in its paper)
    #[arg(long, value_name = "DEFENCE", requires = "adv_eps", value_parser = PossibleValuesParser::new(Defence::NAMES))]
    adv: Option<String>,
    /// How far the attack may move each pixel, in pixel units on [0, 1]: k/255 or a decimal
    #[arg(long, value_name = "EPS", requires = "adv", value_parser = some_length, allow_hyphen_values = true)]
    adv_eps: Option<f64>,
    /// Share of the attacked pictures in the loss: (1 - ratio) x mean loss of the clean ones + ratio x mean loss of the
    /// attacked ones; at 1 only those are trained on [default: fgsm 0.5, fast and pgd 1]
    #[arg(long, value_name = "RATIO", requires = "adv", value_parser = whole_share)]
    adv_ratio: Option<f64>,
    /// Steps of the attack [default: pgd 7, trades 10]
    #[arg(long, value_name = "N", requires = "adv", value_parser = clap::value_parser!(u32).range(1..=1000))]
    adv_steps: Option<u32>,
    /// Length of such a step, in the units of --adv-eps [default: fast 1.25 eps, free eps, pgd 2.5
    /// eps/steps, trades 2.258 eps/steps]
    #[arg(long, value_name = "LENGTH", requires = "adv", value_parser = some_length, allow_hyphen_values = true)]
    adv_step_size: Option<f64>,
    /// How many steps of 'free' learn from each batch before the next one comes; an epoch has as many steps as ever, and
    /// passes over one part in so many of the pictures [default: 4]
    #[arg(long, value_name = "M", requires = "adv", value_parser = clap::value_parser!(u32).range(1..=1000))]
    adv_replays: Option<u32>,
    /// Weight of the divergence in the loss of 'trades' [default: 6]
    #[arg(long, value_name = "BETA", requires = "adv", value_parser = positive)]
    adv_beta: Option<f64>,
    /// When the accuracy under PGD on a fixed batch falls by more than 0.2 from one epoch to the next, or is more than 0.2
    /// below that under FGSM, go back to the end of the epoch before and end there (where every epoch so far was like that,
    /// training goes on)
    #[arg(long, requires = "adv")]
    #[serde(default)]
    adv_roll_back: bool,
}

fn whole_share(text: &str) -> Result<f64, String> {
    number(text, "a number above 0 and at most 1", |value| value > 0.0 && value <= 1.0)
}

fn some_length(text: &str) -> Result<f64, String> {
    super::super::length(text)
        .ok()
        .filter(|&value| value > 0.0)
        .ok_or_else(|| "a number above 0 and at most 1 is needed, such as 8/255 or 0.03".to_owned())
}

impl Options {
    /// What they ask for. An option that the defence has no use for is refused.
    pub fn chosen(&self) -> Result<Option<Adversarial>, LabError> {
        let Some((name, eps)) = self.adv.as_ref().zip(self.adv_eps) else { return Ok(None) };
        let mut chosen = Adversarial { roll_back: self.adv_roll_back, ..Adversarial::named(name, eps)? };
        let takes: &[&str] = match &mut chosen.defence {
            Defence::Fgsm { ratio } => {
                set(ratio, self.adv_ratio);
                &["--adv-ratio"]
            }
            Defence::Fast { step_size, ratio } => {
                *step_size = self.adv_step_size;
                set(ratio, self.adv_ratio);
                &["--adv-step-size", "--adv-ratio"]
            }
            Defence::Free { replays, step_size } => {
                set(replays, self.adv_replays);
                *step_size = self.adv_step_size;
                &["--adv-replays", "--adv-step-size"]
            }
            Defence::Trades { steps, step_size, beta } => {
                set(steps, self.adv_steps);
                *step_size = self.adv_step_size;
                set(beta, self.adv_beta);
                &["--adv-steps", "--adv-step-size", "--adv-beta"]
            }
            Defence::Pgd { steps, step_size, ratio } => {
                set(steps, self.adv_steps);
                *step_size = self.adv_step_size;
                set(ratio, self.adv_ratio);
                &["--adv-steps", "--adv-step-size", "--adv-ratio"]
            }
        };
        let given = [
            ("--adv-ratio", self.adv_ratio.is_some()),
            ("--adv-steps", self.adv_steps.is_some()),
            ("--adv-step-size", self.adv_step_size.is_some()),
            ("--adv-replays", self.adv_replays.is_some()),
            ("--adv-beta", self.adv_beta.is_some()),
        ];
        match given.iter().find(|(option, is_given)| *is_given && !takes.contains(option)) {
            Some((option, _)) => {
                let problem = format!("--adv {name} has no use for {option}: it takes {}", takes.join(", "));
                Err(LabError::Usage(problem))
            }
            None => Ok(Some(chosen)),
        }
    }

    /// With what is left to the papers filled in, so that results say it.
    pub fn resolved(mut self) -> Result<Self, LabError> {
        let Some(chosen) = self.chosen()? else { return Ok(self) };
        if !matches!(chosen.defence, Defence::Fgsm { .. }) {
            self.adv_step_size = Some(chosen.step_size());
        }
        match chosen.defence {
            Defence::Fgsm { ratio } | Defence::Fast { ratio, .. } => self.adv_ratio = Some(ratio),
            Defence::Free { replays, .. } => self.adv_replays = Some(replays),
            Defence::Pgd { steps, ratio, .. } => (self.adv_steps, self.adv_ratio) = (Some(steps), Some(ratio)),
            Defence::Trades { steps, beta, .. } => (self.adv_steps, self.adv_beta) = (Some(steps), Some(beta)),
        }
        Ok(self)
    }
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}
