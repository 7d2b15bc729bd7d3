//! What an attack is called, how it is run on a batch, and how its victims are shown.

use std::path::Path;

use serde::Serialize;

use crate::attack::{AttackError, Batch, Convention, Method, Target};
use crate::gpu::Tensor;

use super::super::LabError;
use super::super::plots::{self, Triptych};
use super::victims::Portrait;

/// Which attack.
#[derive(Clone, Debug)]
pub struct Settings {
    pub method: Method,
    pub target: Target,
    /// In the convention's units, on [0, 1]. Pictures are left of the last one.
    pub eps: Vec<f64>,
    pub convention: Convention,
    /// Decides random starts.
    pub seed: u64,
    /// Make the table of targets, too: an attack at the last epsilon towards every class.
    pub table: bool,
}

/// What results say of their origin.
#[derive(Clone, Debug)]
pub struct Notes<'a> {
    pub command: &'a [String],
    pub weights: String,
    /// Names of the classes, in the order of their numbers.
    pub classes: &'a [String],
}

/// The attack, as results name it.
#[derive(Clone, Debug, Serialize)]
pub struct Kind {
    pub method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// In the convention's units; none: 2.5 eps / steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<f64>,
    /// `untargeted`, `next`, `least-likely` or the name of a class.
    pub target: String,
    /// `pixels` or `lab`.
    pub convention: &'static str,
    pub seed: u64,
}

impl Kind {
    pub(super) fn of(settings: &Settings, classes: &[String]) -> Self {
        let pgd = if let Method::Pgd(pgd) = settings.method { Some(pgd) } else { None };
        let target = match settings.target {
            Target::Untargeted => "untargeted".to_owned(),
            Target::Next => "next".to_owned(),
            Target::LeastLikely => "least-likely".to_owned(),
            Target::Class(class) => name(classes, class),
        };
        Self {
            method: if pgd.is_some() { "pgd" } else { "fgsm" },
            steps: pgd.map(|pgd| pgd.steps),
            step_size: pgd.and_then(|pgd| pgd.step_size),
            target,
            convention: settings.convention.name(),
            seed: settings.seed,
        }
    }
}

/// A class's name; of one that the data does not have, its number.
pub(super) fn name(classes: &[String], class: usize) -> String {
    classes.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// The attacked pictures, one epsilon after the other; FGSM needs one gradient for all.
pub(super) fn at_each_eps(batch: &Batch<'_>, settings: &Settings) -> Result<Vec<Tensor>, AttackError> {
    let aim = batch.aim(settings.target)?;
    match settings.method {
        Method::Fgsm => {
            let gradient = batch.gradient(&aim)?;
            settings.eps.iter().map(|&eps| batch.fgsm(&aim, &gradient, eps)).collect()
        }
        Method::Pgd(pgd) => settings.eps.iter().map(|&eps| batch.pgd(&aim, eps, pgd)).collect(),
    }
}

/// What a chart says of an attack towards `target`.
pub(super) fn kind_line(kind: &Kind, target: &str, eps: f64) -> String {
    let steps = kind.steps.map(|steps| format!("-{steps}")).unwrap_or_default();
    let units = if kind.convention == Convention::Lab.name() { " by the lab's convention" } else { "" };
    // Two decimals at the most, and none of a whole number.
    let shown = (25_500.0 * eps).round() / 100.0;
    format!("{}{steps}, {target}, eps {shown}/255{units}", kind.method.to_uppercase())
}

/// A sheet of pictures before and after.
pub(super) fn draw(
    path: &Path,
    title: &str,
    subtitle: &str,
    classes: &[String],
    portraits: &[(u8, Portrait)],
) -> Result<(), LabError> {
    let rows: Vec<Triptych<'_>> = portraits
        .iter()
        .map(|(label, shown)| {
            let says = |(class, sure): (usize, f64)| format!("{} {:.1} %", name(classes, class), 100.0 * sure);
            Triptych {
                pictures: [&shown.clean, &shown.perturbation, &shown.adversarial],
                captions: [
                    format!("label {}: {}", name(classes, usize::from(*label)), says(shown.predicted[0])),
                    format!("perturbation x {}", shown.factor),
                    says(shown.predicted[1]),
                ],
            }
        })
        .collect();
    if rows.is_empty() {
        // Nothing was classified correctly, so there is no victim.
        return Ok(());
    }
    Ok(plots::triptychs(path, title, subtitle, &rows)?)
}
