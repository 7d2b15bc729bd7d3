//! What decides a training run, and what it tells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gpu::{AdapterSummary, Gpu, MemoryStats, Precision};
use crate::models;
use crate::nn::{Network, OptimizerKind, Schedule};
use crate::ops::choices;
use crate::ops::optimizer::Adam;

use super::super::LabError;
use super::super::evaluate::Quality;
use super::defence::Adversarial;

/// Everything that decides a run.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub model: String,
    pub epochs: u32,
    pub batch: usize,
    #[serde(rename = "lr")]
    pub rate: f64,
    pub optimizer: OptimizerKind,
    pub schedule: Schedule,
    pub seed: u64,
    pub smoothing: f32,
    pub flip: bool,
    pub shift: usize,
    /// Stop after so many epochs without a better result.
    pub early_stop: Option<u32>,
    /// Stop after so many steps.
    pub steps: Option<u64>,
    /// Train on attacked pictures, too.
    pub adversarial: Option<Adversarial>,
    /// Of the model's whitening layer in the place of its own ([`crate::nn::whitening::EPSILON`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whitening_epsilon: Option<f64>,
}

impl Settings {
    /// Adam at a constant rate, and nothing else: what the lab and most tests train with.
    pub fn plain(model: &str, epochs: u32, batch: usize, rate: f64, seed: u64) -> Self {
        Self {
            model: model.to_owned(),
            epochs,
            batch,
            rate,
            optimizer: OptimizerKind::Adam(Adam::default()),
            schedule: Schedule::Constant,
            seed,
            smoothing: 0.0,
            flip: false,
            shift: 0,
            early_stop: None,
            steps: None,
            adversarial: None,
            whitening_epsilon: None,
        }
    }

    /// Refuses what cannot be trained, before anything is read, opened or made for it.
    pub fn check(&self) -> Result<(), LabError> {
        let architecture = models::architecture(&self.model)?;
        if self.whitening_epsilon.is_some() && !architecture.whitens() {
            let problem = format!(
                "--whitening-epsilon is for a model that whitens its pictures (fast): '{}' does not",
                self.model
            );
            return Err(LabError::Usage(problem));
        }
        self.adversarial.map_or(Ok(()), |chosen| chosen.check(&architecture))
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Epoch {
    pub epoch: u32,
    pub steps: u64,
    pub train_loss: f64,
    #[serde(flatten)]
    pub quality: Quality,
    pub learning_rate: f64,
    /// Of training; evaluation is not counted.
    pub images_per_second: f64,
    pub seconds: f64,
    /// Held by the program at the epoch's end, in use or kept for reuse.
    pub gpu_bytes: u64,
    #[serde(flatten)]
    pub robustness: Robustness,
    /// What the watcher measured.
    #[serde(flatten)]
    pub measured: BTreeMap<String, f64>,
}

/// What is measured after each epoch of adversarial training, at its epsilon; nothing in any other training.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Robustness {
    /// On the first 500 test pictures, under FGSM, and under PGD with five steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fgsm_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgd_accuracy: Option<f64>,
    /// Under PGD with five steps, on one fixed training batch: the first pictures of the set, as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgd_train_accuracy: Option<f64>,
    /// Under FGSM, on the same pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fgsm_train_accuracy: Option<f64>,
    /// Accuracy under PGD on that batch fell by more than 0.2 since the epoch before, or lies more than 0.2 below that under
    /// FGSM: the mark of catastrophic overfitting, where a model learns to withstand FGSM alone (Wong et al. 2020, who
    /// watch for the fall; but a model may be so from its first epoch on, or become it slowly).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<bool>,
    /// Because of it the run went back to the end of this epoch, and ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_to: Option<u32>,
}

/// `result.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub command: Vec<String>,
    pub version: &'static str,
    pub model: String,
    pub parameters: usize,
    pub data: String,
    pub train_images: usize,
    pub test_images: usize,
    pub settings: serde_json::Value,
    pub seed: u64,
    pub adapter: AdapterSummary,
    /// Which kernel variants computed, and their tiles where those were tuned; `--kernels` takes them again.
    pub kernel_choices: choices::Table,
    /// What products were computed from.
    pub precision: Precision,
    /// Epochs and steps behind the last weights, and what these are.
    pub epochs: u32,
    pub steps: u64,
    pub train_loss: f64,
    #[serde(flatten)]
    pub quality: Quality,
    pub best_epoch: u32,
    pub best: Quality,
    /// After the last epoch.
    #[serde(flatten)]
    pub robustness: Robustness,
    /// The epoch whose alarm sent the run back to where it was after `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back_from: Option<u32>,
    pub images_per_second: f64,
    pub peak_gpu_bytes: u64,
    /// What the plan before the first step said that the peak would be at the most.
    pub planned_gpu_bytes: u64,
    pub memory: MemoryStats,
    pub seconds: f64,
}

/// What the loop tells whoever watches.
pub trait Watch {
    /// An epoch begins: its number, and how many steps it has.
    fn begin(&mut self, epoch: u32, steps: usize);
    /// So many steps of the epoch are done; the mean loss of the last ones.
    fn step(&mut self, done: usize, loss: f64, images_per_second: f64);
    /// What else is to be measured after an epoch; it goes into the epoch's line under these names. An answer of
    /// [`LabError::Interrupted`] has the run kept and left here, and all of this done again when it goes on.
    fn measure(&mut self, _gpu: &Gpu, _network: &Network, _epoch: u32) -> Result<BTreeMap<String, f64>, LabError> {
        Ok(BTreeMap::new())
    }
    /// An epoch is over.
    fn end(&mut self, epoch: &Epoch);
    /// The run goes on from a state; these epochs were over by then.
    fn resumed(&mut self, _epochs: &[Epoch]) {}
    /// Asked after each step and each part of an epoch's evaluation: whether the run is to be kept and left here.
    fn interrupted(&mut self) -> bool {
        false
    }
}
