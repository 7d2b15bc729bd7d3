//! What is known of a cell: `cell.json`, and what results hold of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files;
use crate::gpu::AdapterSummary;
use crate::lab::LabError;
use crate::lab::axis::in_255ths;
use crate::lab::train::{Epoch, differences, write_json};
use crate::ood::metrics::Metrics;
use crate::ops::choices;

use super::plan::{Cell, Flat, Map};

/// The file's name.
pub(super) const CELL: &str = "cell.json";

/// A cell of a thousand epochs, scores and sets is smaller.
const MAX_BYTES: u64 = 1 << 28;

/// One training run and its numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CellResult {
    pub cell: Cell,
    pub version: String,
    pub adapter: AdapterSummary,
    /// Which kernel variants computed, and their tiles where those were tuned; `--kernels` takes them again.
    pub kernel_choices: choices::Table,
    /// The step after which the loss, or what an attack, a fit or a score is made of, was not finite, and the cell ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverged: Option<u64>,
    /// Every epoch.
    pub training: Vec<Trained>,
    /// The epochs of the plan.
    pub measured: Vec<Measured>,
    /// Of training; evaluation is not counted.
    pub images_per_second: f64,
    pub seconds: f64,
}

impl CellResult {
    /// Whether two runs of a cell found the same.
    pub fn agrees(&self, other: &Self) -> bool {
        self.cell == other.cell
            && self.diverged == other.diverged
            && self.training == other.training
            && self.measured == other.measured
    }

    /// After this epoch.
    pub fn at(&self, epoch: u32) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.epoch == epoch)
    }

    /// The epochs with the alarm of catastrophic overfitting.
    pub fn alarms(&self) -> Vec<u32> {
        self.training.iter().filter(|epoch| epoch.alarm).map(|epoch| epoch.epoch).collect()
    }
}

/// An epoch as the training loop has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    pub epoch: u32,
    pub steps: u64,
    pub train_loss: f64,
    pub test_accuracy: f64,
    pub test_loss: f64,
    /// Of adversarial training, at its own epsilon: on the first 500 test pictures, and on one training batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fgsm_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgd_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgd_train_accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fgsm_train_accuracy: Option<f64>,
    /// That of catastrophic overfitting: see [`crate::lab::train::Robustness::alarm`].
    pub alarm: bool,
}

impl From<&Epoch> for Trained {
    fn from(epoch: &Epoch) -> Self {
        let robustness = &epoch.robustness;
        Self {
            epoch: epoch.epoch,
            steps: epoch.steps,
            train_loss: epoch.train_loss,
            test_accuracy: epoch.quality.test_accuracy.unwrap_or(0.0),
            test_loss: epoch.quality.test_loss.unwrap_or(0.0),
            fgsm_accuracy: robustness.fgsm_accuracy,
            pgd_accuracy: robustness.pgd_accuracy,
            pgd_train_accuracy: robustness.pgd_train_accuracy,
            fgsm_train_accuracy: robustness.fgsm_train_accuracy,
            alarm: robustness.alarm.unwrap_or(false),
        }
    }
}

/// What was measured after an epoch of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub epoch: u32,
    /// On the whole test set, and on its pictures that are attacked.
    pub clean_accuracy: f64,
    pub attack_clean_accuracy: f64,
    pub attacked: Vec<Attacked>,
    pub detection: Vec<Detected>,
}

/// Accuracy under attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attacked {
    /// In pixel units.
    pub eps: f64,
    pub fgsm_accuracy: f64,
    /// Ten steps.
    pub pgd_accuracy: f64,
}

/// One score against one set of other pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detected {
    pub ood: String,
    pub score: String,
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// Names under which the training loop keeps what is measured.
pub(super) const CLEAN: &str = "attacked/clean";

pub(super) fn attacked(method: &str, eps: f64) -> String {
    format!("attacked/{method}/{}", in_255ths(eps))
}

/// Every metric of a score, each under its name.
pub(super) fn flat_metrics(ood: &str, score: &str, m: &Metrics) -> [(String, f64); 7] {
    let values = [m.auroc, m.aupr_in, m.aupr_out, m.fpr95_id, m.fpr95_ood, m.detection_error, m.prevalence];
    let mut values = values.into_iter();
    METRICS.map(|name| (format!("{ood}/{score}/{name}"), values.next().unwrap_or(f64::NAN)))
}

/// In the order of [`Metrics`]' fields.
const METRICS: [&str; 7] = ["auroc", "aupr_in", "aupr_out", "fpr95_id", "fpr95_ood", "detection_error", "prevalence"];

/// What was measured, from the names that it was kept by; none where one is missing.
pub(super) fn unflatten(map: &Map, epoch: &Trained, flat: &Flat) -> Option<Measured> {
    let of = |name: &str| flat.get(name).copied();
    let mut under_attack = Vec::new();
    for &eps in &map.plan.attack_eps {
        let (fgsm_accuracy, pgd_accuracy) = (of(&attacked("fgsm", eps))?, of(&attacked("pgd", eps))?);
        under_attack.push(Attacked { eps, fgsm_accuracy, pgd_accuracy });
    }
    let mut detection = Vec::new();
    for ood in map.pictures.ood.iter().map(|ood| &ood.name) {
        for score in &map.plan.scores {
            let metric = |name: &str| of(&format!("{ood}/{score}/{name}"));
            detection.push(Detected {
                ood: ood.clone(),
                score: score.clone(),
                metrics: Metrics {
                    auroc: metric("auroc")?,
                    aupr_in: metric("aupr_in")?,
                    aupr_out: metric("aupr_out")?,
                    fpr95_id: metric("fpr95_id")?,
                    fpr95_ood: metric("fpr95_ood")?,
                    detection_error: metric("detection_error")?,
                    prevalence: metric("prevalence")?,
                },
            });
        }
    }
    Some(Measured {
        epoch: epoch.epoch,
        clean_accuracy: epoch.test_accuracy,
        attack_clean_accuracy: of(CLEAN)?,
        attacked: under_attack,
        detection,
    })
}

/// `cell.json`: a cell of one map.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    map: Map,
    #[serde(flatten)]
    result: CellResult,
}

/// Writes a finished cell.
pub(super) fn write(folder: &Path, map: &Map, result: &CellResult) -> Result<(), LabError> {
    write_json(&folder.join(CELL), &Record { map: map.clone(), result: result.clone() })
}

/// A finished cell of this map, if it lies in the folder.
///
/// # Errors
/// A cell of another map, and a damaged one.
pub(super) fn read(folder: &Path, map: &Map, cell: &Cell) -> Result<Option<CellResult>, LabError> {
    let path = folder.join(CELL);
    if !path.exists() {
        return Ok(None);
    }
    let damaged = |problem: &str| {
        LabError::Usage(format!(
            "{} is damaged: {} (delete it to do it again)",
            path.display(),
            files::one_line(problem)
        ))
    };
    let text = files::read(&path, MAX_BYTES)?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
    refuse_others(&path, &value["map"], map, "")?;
    let record: Record = serde_json::from_value(value).map_err(|error| damaged(&error.to_string()))?;
    if record.result.cell != *cell {
        return Err(damaged(&format!("it is of the cell {}", record.result.cell.name)));
    }
    Ok(Some(record.result))
}

/// Refuses a file of another map, saying what differs, and what to do where the caller knows.
pub(super) fn refuse_others(path: &Path, there: &impl Serialize, map: &Map, advice: &str) -> Result<(), LabError> {
    let failed = |error: serde_json::Error| LabError::Usage(error.to_string());
    let (there, here) = (serde_json::to_value(there).map_err(failed)?, serde_json::to_value(map).map_err(failed)?);
    let mut found = differences(&there, &here);
    if found.is_empty() {
        return Ok(());
    }
    // One line is not room for everything: plain values before whole lists.
    found.sort_by_key(String::len);
    let found = files::one_line(&found.join("; "));
    Err(LabError::Usage(format!("{} is of another map: there {found}{advice}", path.display())))
}
