//! What an attack is called, how it is run on a batch, and how its victims are shown.

use std::path::Path;

use serde::Serialize;

use crate::attack::{
    AttackError, Batch, Bim, CarliniWagner, Convention, DeepFool, Method, MiFgsm, Norm, Pgd, RFgsm, Target,
};
use crate::gpu::Tensor;

use super::super::LabError;
use super::super::plots::{self, Triptych};
use super::victims::Portrait;

/// Which attacks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of one norm, at least one. Of several, each picture's worst case counts, too.
    pub methods: Vec<Method>,
    pub target: Target,
    /// In the convention's units, by the methods' norm; infinite: at any distance. Pictures are left of the last one.
    pub eps: Vec<f64>,
    pub convention: Convention,
    /// Decides random starts.
    pub seed: u64,
    /// Make the table of targets, too: an attack (of one method) at the last epsilon towards every class.
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
    /// Of several, with `+` between.
    pub method: String,
    /// What epsilon is measured by: `linf` or `l2`.
    pub norm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// In the convention's units; none: 2.5 eps / steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overshoot: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub c: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searches: Option<u32>,
    /// `untargeted`, `next`, `least-likely` or the name of a class.
    pub target: String,
    /// `pixels` or `lab`.
    pub convention: &'static str,
    pub seed: u64,
}

impl Kind {
    /// Of all methods together.
    pub(super) fn of(settings: &Settings, classes: &[String]) -> Self {
        match settings.methods[..] {
            [method] => Self::of_one(method, settings, classes),
            _ => {
                let names: Vec<&str> = settings.methods.iter().map(|method| method.name()).collect();
                let norm = settings.methods.first().map_or(Norm::LInf, |method| method.norm());
                Self { method: names.join("+"), norm: norm.name(), ..Self::of_one(Method::Fgsm, settings, classes) }
            }
        }
    }

    /// Of one method.
    pub(super) fn of_one(method: Method, settings: &Settings, classes: &[String]) -> Self {
        let target = match settings.target {
            Target::Untargeted => "untargeted".to_owned(),
            Target::Next => "next".to_owned(),
            Target::LeastLikely => "least-likely".to_owned(),
            Target::Class(class) => name(classes, class),
        };
        let plain = Self {
            method: method.name().to_owned(),
            norm: method.norm().name(),
            steps: None,
            step_size: None,
            restarts: None,
            decay: None,
            overshoot: None,
            c: None,
            confidence: None,
            learning_rate: None,
            searches: None,
            target,
            convention: settings.convention.name(),
            seed: settings.seed,
        };
        match method {
            Method::Fgsm => plain,
            Method::RFgsm(RFgsm { step_size }) => Self { step_size, ..plain },
            Method::Bim(Bim { steps, step_size }) => Self { steps: Some(steps), step_size, ..plain },
            Method::Pgd(Pgd { steps, step_size, restarts, .. }) => {
                let restarts = (restarts > 1).then_some(restarts);
                Self { steps: Some(steps), step_size, restarts, ..plain }
            }
            Method::MiFgsm(MiFgsm { steps, step_size, decay }) => {
                Self { steps: Some(steps), step_size, decay: Some(decay), ..plain }
            }
            Method::DeepFool(DeepFool { steps, overshoot }) => {
                Self { steps: Some(steps), overshoot: Some(overshoot), ..plain }
            }
            Method::CarliniWagner(CarliniWagner { steps, c, confidence, rate, searches }) => Self {
                steps: Some(steps),
                c: Some(c),
                confidence: Some(confidence),
                learning_rate: Some(rate),
                searches: Some(searches),
                ..plain
            },
        }
    }
}

/// A class's name; of one that the data does not have, its number.
pub(super) fn name(classes: &[String], class: usize) -> String {
    classes.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// Pictures under every method of the settings, with what the model says of them.
pub(super) struct Attacked {
    /// Method by method, each one epsilon after the other: pictures and their logits.
    pub(super) each: Vec<Vec<(Tensor, Vec<f32>)>>,
    /// The worst case of several methods; of one, it is that one.
    pub(super) worst: Vec<(Tensor, Vec<f32>)>,
}

/// Attacks a batch with every method at every epsilon.
pub(super) fn at_each_eps(batch: &Batch<'_>, settings: &Settings) -> Result<Attacked, AttackError> {
    let with_logits = |moved: Tensor| batch.logits_of(&moved).map(|logits| (moved, logits));
    let run = |method: &Method| -> Result<Vec<_>, AttackError> {
        let found = batch.attack_at(*method, settings.target, &settings.eps)?;
        found.into_iter().map(with_logits).collect()
    };
    let each = settings.methods.iter().map(run).collect::<Result<Vec<_>, _>>()?;
    let worst = match &each[..] {
        [one] => one.clone(),
        several => {
            let at = |number: usize| {
                let found: Vec<(&Tensor, &[f32])> =
                    several.iter().map(|found| (&found[number].0, found[number].1.as_slice())).collect();
                with_logits(batch.worst(settings.target, &found)?)
            };
            (0..settings.eps.len()).map(at).collect::<Result<Vec<_>, _>>()?
        }
    };
    Ok(Attacked { each, worst })
}

/// What a chart says of an attack towards `target`.
pub(super) fn kind_line(kind: &Kind, target: &str, eps: f64) -> String {
    let steps = kind.steps.map(|steps| format!("-{steps}")).unwrap_or_default();
    let units = if kind.convention == Convention::Lab.name() { " by the lab's convention" } else { "" };
    let method = kind.method.to_uppercase();
    if eps == f64::INFINITY {
        return format!("{method}{steps}, {target}, nearest by L2");
    }
    if kind.norm == Norm::L2.name() {
        return format!("{method}{steps}, {target}, L2 eps {eps}{units}");
    }
    // Two decimals at the most, and none of a whole number.
    let shown = (25_500.0 * eps).round() / 100.0;
    format!("{method}{steps}, {target}, eps {shown}/255{units}")
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
