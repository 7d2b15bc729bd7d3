//! The options of `shadegrad train --adv`.

use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};

use crate::lab::LabError;
use crate::lab::train::{Adversarial, Defence};

use super::number;

#[derive(Debug, clap::Args, Serialize, Deserialize)]
pub struct Options {
    /// Adversarial training: each step attacks its own pictures with the weights as they are. Nothing else changes with
    /// it ('fast' is meant for '--schedule triangular', as in its paper)
    #[arg(long, value_name = "DEFENCE", requires = "adv_eps", value_parser = PossibleValuesParser::new(Defence::NAMES))]
    adv: Option<String>,
    /// How far the attack may move each pixel, in pixel units on [0, 1]: k/255 or a decimal
    #[arg(long, value_name = "EPS", requires = "adv", value_parser = some_length, allow_hyphen_values = true)]
    adv_eps: Option<f64>,
    /// Share of the attacked pictures in the loss: (1 - ratio) x mean loss of the clean ones + ratio x mean loss of the
    /// attacked ones; at 1 only those are trained on [default: fgsm 0.5, fast and pgd 1]
    #[arg(long, value_name = "RATIO", requires = "adv", value_parser = whole_share)]
    adv_ratio: Option<f64>,
    /// Steps of the attack [default: pgd 7]
    #[arg(long, value_name = "N", requires = "adv", value_parser = clap::value_parser!(u32).range(1..=1000))]
    adv_steps: Option<u32>,
    /// Length of such a step, in the units of --adv-eps [default: fast 1.25 eps, pgd 2.5 eps/steps]
    #[arg(long, value_name = "LENGTH", requires = "adv", value_parser = some_length, allow_hyphen_values = true)]
    adv_step_size: Option<f64>,
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
        let mut chosen = Adversarial::named(name, eps)?;
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
        match chosen.defence {
            Defence::Fgsm { ratio } => self.adv_ratio = Some(ratio),
            Defence::Fast { ratio, .. } => {
                (self.adv_ratio, self.adv_step_size) = (Some(ratio), Some(chosen.step_size()));
            }
            Defence::Pgd { steps, ratio, .. } => {
                self.adv_steps = Some(steps);
                (self.adv_ratio, self.adv_step_size) = (Some(ratio), Some(chosen.step_size()));
            }
        }
        Ok(self)
    }
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}
