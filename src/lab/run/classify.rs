//! The classifiers: training, with their noise scores after each epoch, and detection at the end.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{DataSet, Images};
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::detect::{self, Scored};
use crate::lab::evaluate::{self, Outputs, Resident};
use crate::lab::results::{Detection, EpochFacts, LogitPair, Plan, Variant};
use crate::lab::train::{self, Adversarial, Care, Epoch, Outcome, Settings, Watch};
use crate::models;
use crate::nn::Network;
use crate::ood::metrics;

use super::detection;
use super::picture;
use super::stage::{Desk, Progress};

/// What training a classifier leaves for the result.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trained {
    pub test_accuracy: f64,
    pub train_loss: f64,
    pub images_per_second: f64,
    pub epochs: Vec<EpochFacts>,
}

/// What scoring it leaves.
#[derive(Debug, Serialize, Deserialize)]
pub struct Judged {
    pub detection: Detection,
    pub logits: LogitPair,
}

/// Follows a training run for the lab.
struct Follower<'a> {
    progress: &'a mut dyn Progress,
    epochs: u32,
    /// The epoch that is under way and its steps.
    now: (u32, usize),
    /// A part of the test set and of FakeData, to be told apart after each epoch.
    sets: Option<[Resident; 2]>,
    facts: Vec<EpochFacts>,
}

/// What the name of a score is given in `metrics.jsonl`.
const AUROC: &str = "auroc_";

impl<'a> Follower<'a> {
    fn new(progress: &'a mut dyn Progress, epochs: u32, sets: Option<[Resident; 2]>) -> Self {
        Self { progress, epochs, now: (0, 1), sets, facts: Vec::new() }
    }
}

impl Watch for Follower<'_> {
    fn begin(&mut self, epoch: u32, steps: usize) {
        self.now = (epoch, steps);
    }

    fn step(&mut self, done: usize, loss: f64, images_per_second: f64) {
        let (epoch, steps) = self.now;
        let share = (f64::from(epoch - 1) + done as f64 / steps as f64) / f64::from(self.epochs);
        let what = format!("epoch {epoch}/{}, loss {loss:.4}, {images_per_second:.0} images/s", self.epochs);
        self.progress.at(share, &what);
    }

    fn measure(&mut self, gpu: &Gpu, network: &Network, _epoch: u32) -> Result<BTreeMap<String, f64>, LabError> {
        let Some([id, ood]) = &self.sets else { return Ok(BTreeMap::new()) };
        let score = |set: &Resident| -> Result<Scored, LabError> {
            Ok(Scored::new(&evaluate::outputs(gpu, network, set, |_| {})?, &vec![0; set.count()]))
        };
        let (id, ood) = (score(id)?, score(ood)?);
        let pairs = id.columns.iter().zip(&ood.columns);
        pairs.map(|((score, id), (_, ood))| Ok((format!("{AUROC}{score}"), metrics::auroc(id, ood)?))).collect()
    }

    fn resumed(&mut self, epochs: &[Epoch]) {
        epochs.iter().for_each(|epoch| self.end(epoch));
    }

    fn interrupted(&mut self) -> bool {
        self.progress.interrupted()
    }

    fn end(&mut self, epoch: &Epoch) {
        let scores = epoch.measured.iter().filter_map(|(name, value)| Some((name.strip_prefix(AUROC)?, *value)));
        self.facts.push(EpochFacts {
            epoch: epoch.epoch,
            train_loss: epoch.train_loss,
            test_accuracy: epoch.quality.test_accuracy.unwrap_or(f64::NAN),
            auroc: scores.map(|(name, value)| (name.to_owned(), value)).collect(),
            fgsm_accuracy: epoch.robustness.fgsm_accuracy,
            pgd_accuracy: epoch.robustness.pgd_accuracy,
            alarm: epoch.robustness.alarm.unwrap_or(false),
        });
    }
}

/// Trains in a stage's folder, from where an earlier run of the same stage was left, if it was. On the way it can be told
/// to stop, and keeps its state then.
pub fn follow(
    desk: &mut Desk<'_>,
    settings: &Settings,
    data: &DataSet,
    notes: (&[String], serde_json::Value),
    sets: Option<[Resident; 2]>,
) -> Result<(Outcome, Vec<EpochFacts>), LabError> {
    let care = Care { from: desk.state(settings, data)?, ..Care::default() };
    desk.progress.keeps(true);
    let mut follower = Follower::new(desk.progress, settings.epochs, sets);
    let outcome = train::train_kept(desk.gpu, settings, data, desk.folder, notes, care, &mut follower);
    let facts = follower.facts;
    desk.progress.keeps(false);
    Ok((outcome?, facts))
}

/// Trains one classifier.
pub fn train(
    desk: &mut Desk<'_>,
    plan: &Plan,
    (variant, seed): (&Variant, u64),
    data: &DataSet,
    noise: &Images,
    command: &[String],
) -> Result<Trained, LabError> {
    let adversarial = (variant.eps > 0.0).then(|| Adversarial::fgsm(variant.eps / 255.0, plan.adversarial_ratio));
    let settings = Settings { adversarial, ..Settings::plain(&plan.model, plan.epochs, plan.batch, plan.rate, seed) };
    let sets = [&data.test, noise].map(|images| Resident::new(desk.gpu, &images.clone().truncated(plan.curve_images)));
    let [id, ood] = sets;
    let notes = serde_json::json!({ "lab": plan.preset, "variant": variant, "seed": seed });
    let (outcome, epochs) = follow(desk, &settings, data, (command, notes), Some([id?, ood?]))?;
    Ok(Trained {
        test_accuracy: outcome.quality.test_accuracy.unwrap_or(f64::NAN),
        train_loss: outcome.train_loss,
        images_per_second: outcome.images_per_second,
        epochs,
    })
}

/// Scores a trained network's test set against noise; `scores.csv` is for others who want to check the metrics.
pub fn judge(desk: &mut Desk<'_>, weights: &Path, data: &DataSet, noise: &Images) -> Result<Judged, LabError> {
    let network = models::from_file(desk.gpu, weights, None)?;
    let mut outputs = |images: &Images, from: f64| -> Result<Outputs, LabError> {
        let set = Resident::new(desk.gpu, images)?;
        let count = images.count() as f64;
        Ok(evaluate::outputs(desk.gpu, &network, &set, |done| {
            desk.progress.at(from + 0.5 * done as f64 / count, "scoring");
        })?)
    };
    let (id, ood) = (outputs(&data.test, 0.0)?, outputs(noise, 0.5)?);
    let scored = [Scored::new(&id, &data.test.labels), Scored::new(&ood, &noise.labels)];
    detect::write_table(&desk.folder.join("scores.csv"), [("id", &scored[0]), ("ood", &scored[1])])?;
    let (Outputs::Logits(id), Outputs::Logits(ood)) = (id, ood) else {
        return Err(LabError::Usage(format!("{} is no classifier", network.architecture().name)));
    };
    let logits = LogitPair {
        id: picture(&data.test, 0),
        id_label: usize::from(data.test.labels[0]),
        id_logits: id[..id.len() / data.test.count()].to_vec(),
        ood: picture(noise, 0),
        ood_logits: ood[..ood.len() / noise.count()].to_vec(),
    };
    Ok(Judged { detection: detection::facts(&scored[0], &scored[1])?, logits })
}
