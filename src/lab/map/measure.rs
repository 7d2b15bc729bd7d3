//! What is measured of a network after an epoch of the plan.

use std::path::PathBuf;

use crate::attack::{Attacker, Convention, Pgd, Target};
use crate::data::Images;
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::attack::{Tally, each_batch};
use crate::lab::evaluate::{Resident, features};
use crate::lab::fitted;
use crate::lab::score::{Scorer, Wanted};
use crate::lab::train::{Epoch, Watch};
use crate::nn::Network;
use crate::ood::fit::{Fit, Settings};
use crate::ood::metrics::Metrics;

use super::plan::{Cell, Flat, Map, Material};
use super::record;
use super::run::Progress;

/// Steps of PGD.
pub(super) const STEPS: u32 = 10;

/// Follows the training run of a cell.
pub(super) struct Follower<'a> {
    pub(super) map: &'a Map,
    pub(super) cell: &'a Cell,
    pub(super) material: &'a Material,
    pub(super) wanted: &'a Wanted,
    pub(super) progress: &'a mut dyn Progress,
    /// The epoch that is under way and its steps.
    pub(super) now: (u32, usize),
    /// Those that are over.
    pub(super) epochs: Vec<Epoch>,
}

/// The training loop puts its own place and step in.
fn left() -> LabError {
    LabError::Interrupted { step: 0, folder: PathBuf::new() }
}

impl Follower<'_> {
    fn last(&self) -> u32 {
        self.map.plan.epochs.last().copied().unwrap_or(1)
    }

    /// The steps that are done when the epoch under way is measured.
    pub(super) fn reached(&self) -> u64 {
        self.epochs.last().map_or(0, |epoch| epoch.steps) + self.now.1 as u64
    }

    /// Says what goes on, and leaves if that is wanted.
    fn pass(&mut self, epoch: u32, what: &str) -> Result<(), LabError> {
        self.progress.at(f64::from(epoch) / f64::from(self.last()), &format!("epoch {epoch}/{}, {what}", self.last()));
        if self.progress.interrupted() { Err(left()) } else { Ok(()) }
    }

    /// Accuracy of the first test pictures as they are, under FGSM and under PGD.
    fn attacked(&mut self, gpu: &Gpu, network: &Network, epoch: u32) -> Result<Flat, LabError> {
        let (plan, test) = (&self.map.plan, &self.material.data.test);
        let data = Resident::new(gpu, &first(test, plan.attack_images))?;
        let attacker = Attacker::new(gpu, network, Convention::Pixels, self.cell.seed)?;
        let mut tallies = vec![[Tally::default(); 2]; plan.attack_eps.len()];
        each_batch(gpu, &attacker, test, &data, plan.attack_images, |place| {
            let (wanted, aim) = (place.batch.wanted(Target::Untargeted)?, place.batch.aim(Target::Untargeted)?);
            let gradient = place.batch.gradient(&aim)?;
            for (&eps, [fgsm, pgd]) in plan.attack_eps.iter().zip(&mut tallies) {
                self.pass(epoch, "attacking")?;
                let moved = place.batch.fgsm(&aim, &gradient, eps)?;
                fgsm.add(place.labels, &wanted, [&place.predicted, &place.after(&moved)?]);
                let moved = place.batch.pgd(&aim, eps, Pgd::new(STEPS))?;
                pgd.add(place.labels, &wanted, [&place.predicted, &place.after(&moved)?]);
            }
            Ok(())
        })?;
        attacker.finish()?;
        let mut flat = Flat::new();
        for (&eps, [fgsm, pgd]) in self.map.plan.attack_eps.iter().zip(&tallies) {
            flat.insert(record::CLEAN.to_owned(), fgsm.clean_accuracy());
            flat.insert(record::attacked("fgsm", eps), fgsm.accuracy());
            flat.insert(record::attacked("pgd", eps), pgd.accuracy());
        }
        Ok(flat)
    }

    /// Every score against every set of other pictures.
    fn detection(&mut self, gpu: &Gpu, network: &Network, epoch: u32) -> Result<Flat, LabError> {
        let (data, wanted) = (&self.material.data, self.wanted);
        let head = (wanted.scores != Wanted::default().scores).then(|| fitted::head(gpu, network)).transpose()?;
        let fit = if let Some(head) = head.as_ref().filter(|_| wanted.needs_fit()) {
            self.pass(epoch, "fitting")?;
            let (found, _) = features(gpu, network, &Resident::new(gpu, &data.train)?, |_| {})?;
            Some(Fit::new(&found, &data.train.labels, head, Settings::default())?)
        } else {
            None
        };
        let scorer = Scorer { gpu, network, wanted, head, fit };
        self.pass(epoch, "scoring")?;
        let id = scorer.score(&data.test, |_| {})?;
        let mut flat = Flat::new();
        let material = self.material;
        for (set, images) in self.map.pictures.ood.iter().zip(&material.ood) {
            self.pass(epoch, "scoring")?;
            let ood = scorer.score(images, |_| {})?;
            for ((score, of_id), (_, of_ood)) in id.columns.iter().zip(&ood.columns) {
                let metrics = Metrics::from_scores(of_id, of_ood)?;
                flat.extend(record::flat_metrics(&set.name, score.name(), &metrics));
            }
        }
        Ok(flat)
    }
}

/// The first pictures of a set.
fn first(images: &Images, count: usize) -> Images {
    let count = count.min(images.count());
    let size = images.bytes.len() / images.count().max(1);
    Images { bytes: images.bytes[..count * size].to_vec(), labels: images.labels[..count].to_vec() }
}

impl Watch for Follower<'_> {
    fn begin(&mut self, epoch: u32, steps: usize) {
        self.now = (epoch, steps);
    }

    fn step(&mut self, done: usize, loss: f64, images_per_second: f64) {
        let (epoch, steps) = self.now;
        let share = (f64::from(epoch - 1) + done as f64 / steps as f64) / f64::from(self.last());
        let what = format!("epoch {epoch}/{}, loss {loss:.4}, {images_per_second:.0} images/s", self.last());
        self.progress.at(share, &what);
    }

    fn measure(&mut self, gpu: &Gpu, network: &Network, epoch: u32) -> Result<Flat, LabError> {
        if !self.map.plan.epochs.contains(&epoch) {
            return Ok(Flat::new());
        }
        let mut flat = self.attacked(gpu, network, epoch)?;
        flat.extend(self.detection(gpu, network, epoch)?);
        Ok(flat)
    }

    fn end(&mut self, epoch: &Epoch) {
        self.epochs.push(epoch.clone());
    }

    fn resumed(&mut self, epochs: &[Epoch]) {
        self.epochs = epochs.to_vec();
    }

    fn interrupted(&mut self) -> bool {
        self.progress.interrupted()
    }
}
