//! An attack on one picture, of whatever origin.

use std::path::Path;

use serde::Serialize;

use crate::attack::{self, Attacker};
use crate::data::Images;
use crate::gpu::{AdapterSummary, Gpu};
use crate::lock::FolderLock;
use crate::nn::Network;
use crate::ops::choices;

use super::super::LabError;
use super::super::evaluate::{Resident, argmax};
use super::super::train::write_json;
use super::kind::{Kind, Notes, Settings, at_each_eps, draw, kind_line, name};
use super::victims::{Portrait, portrait};

/// `result.json` of an attack on one picture.
#[derive(Clone, Debug, Serialize)]
pub struct OnePicture {
    pub command: Vec<String>,
    pub version: &'static str,
    pub model: String,
    pub weights: String,
    pub image: String,
    #[serde(flatten)]
    pub kind: Kind,
    /// As it was given, or, without one, what the model says of the clean picture.
    pub label: String,
    pub predicted_clean: String,
    /// Softmax probability of the prediction.
    pub confidence_clean: f64,
    pub by_eps: Vec<PictureAtEps>,
    pub adapter: AdapterSummary,
    /// Which kernel variants computed, and their tiles where those were tuned; `--kernels` takes them again.
    pub kernel_choices: choices::Table,
    pub seconds: f64,
}

/// What one epsilon did to a picture.
#[derive(Clone, Debug, Serialize)]
pub struct PictureAtEps {
    pub eps: f64,
    pub eps_pixels: f64,
    /// How far the picture moved by the L2 norm, in pixel units.
    pub l2: f64,
    pub predicted: String,
    pub confidence: f64,
}

/// Attacks one picture (3 x 32 x 32 bytes; of several methods, the first that succeeds counts) and leaves `result.json` and `triptych.png`, of the last epsilon, in `out`.
///
/// # Errors
/// An autoencoder, no epsilon, a class that the model does not have, a place that cannot be written, or an attack that
/// breaks one of its promises.
pub fn one_picture(
    gpu: &Gpu,
    network: &Network,
    (bytes, image, label): (&[u8], &str, Option<u8>),
    settings: &Settings,
    notes: &Notes<'_>,
    out: &Path,
) -> Result<OnePicture, LabError> {
    let Some(&last_eps) = settings.eps.last() else {
        return Err(LabError::Usage("an attack needs at least one eps".to_owned()));
    };
    let begun = std::time::Instant::now();
    let attacker = Attacker::new(gpu, network, settings.convention, settings.seed)?;
    let _lock = FolderLock::take(out)?;
    let images = Images { bytes: bytes.to_vec(), labels: vec![label.unwrap_or(0)] };
    let x = Resident::new(gpu, &images)?.pixels(gpu, 0, 1)?;
    let label = match label {
        Some(label) => label,
        None => argmax(&attack::logits(gpu, network, &x)?) as u8,
    };
    let batch = attacker.batch(&x, &[label], 0)?;
    let mut shown = Vec::new();
    for (&eps, (moved, logits)) in settings.eps.iter().zip(at_each_eps(&batch, settings)?.worst) {
        let pixels = gpu.read(&moved)?;
        let l2 = batch.distances(&moved)?.first().copied().unwrap_or(0.0);
        shown.push((eps, l2, portrait([batch.pixels(), &pixels], [batch.logits(), &logits])));
    }
    let says = |class: usize| name(notes.classes, class);
    let by_eps = shown.iter().map(|(eps, l2, portrait)| PictureAtEps {
        eps: *eps,
        eps_pixels: settings.convention.in_pixels(*eps),
        l2: *l2,
        predicted: says(portrait.predicted[1].0),
        confidence: portrait.predicted[1].1,
    });
    let clean = shown.first().map_or((0, 0.0), |(.., portrait)| portrait.predicted[0]);
    let outcome = OnePicture {
        command: notes.command.to_vec(),
        version: env!("CARGO_PKG_VERSION"),
        model: network.architecture().name.clone(),
        weights: notes.weights.clone(),
        image: image.to_owned(),
        kind: Kind::of(settings, notes.classes),
        label: says(usize::from(label)),
        predicted_clean: says(clean.0),
        confidence_clean: clean.1,
        by_eps: by_eps.collect(),
        adapter: gpu.adapter().clone(),
        kernel_choices: choices::record(gpu)?,
        seconds: begun.elapsed().as_secs_f64(),
    };
    drop(batch);
    attacker.finish()?;
    let title = format!("{} on {image}", outcome.model);
    let subtitle = kind_line(&outcome.kind, &outcome.kind.target, last_eps);
    let last: Vec<(u8, Portrait)> = shown.pop().map(|(.., portrait)| (label, portrait)).into_iter().collect();
    draw(&out.join("triptych"), &title, &subtitle, notes.classes, &last)?;
    write_json(&out.join("result.json"), &outcome)?;
    Ok(outcome)
}
