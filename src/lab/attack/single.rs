//! One kind of attack on a test set: how often it succeeds, and what it makes of the pictures.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;

use crate::attack::{Attacker, Method, Target};
use crate::data::{DIMS, Images, SIZE};
use crate::files;
use crate::gpu::{AdapterSummary, Gpu, Tensor};
use crate::lock::FolderLock;
use crate::nn::Network;
use crate::ops::choices;

use super::super::LabError;
use super::super::evaluate::{Resident, predictions};
use super::super::plots;
use super::super::train::write_json;
use super::kind::{Kind, Notes, Settings, at_each_eps, draw, kind_line};
use super::victims::{Portrait, portrait};
use super::{Place, Tally, each_batch, note_first, table};

/// `result.json` of an attack on a set.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub command: Vec<String>,
    pub version: &'static str,
    pub model: String,
    pub weights: String,
    pub data: String,
    pub images: usize,
    #[serde(flatten)]
    pub kind: Kind,
    pub clean_accuracy: f64,
    /// Of several methods, the worst case: a picture counts as right that is right under all.
    pub by_eps: Vec<AtEps>,
    /// Each method by itself, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<OneMethod>,
    /// Row: label, column: target; of the correctly classified pictures of that label, the share that became it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<Vec<Option<f64>>>>,
    pub classes: Vec<String>,
    pub adapter: AdapterSummary,
    /// Which kernel variants computed, and their tiles where those were tuned; `--kernels` takes them again.
    pub kernel_choices: choices::Table,
    pub seconds: f64,
}

/// One of several methods.
#[derive(Clone, Debug, Serialize)]
pub struct OneMethod {
    #[serde(flatten)]
    pub kind: Kind,
    pub by_eps: Vec<AtEps>,
}

/// What one epsilon did.
#[derive(Clone, Debug, Serialize)]
pub struct AtEps {
    /// As it was asked for, in the convention's units; null: at any distance.
    pub eps: f64,
    /// In pixel units, by the methods' norm.
    pub eps_pixels: f64,
    pub accuracy: f64,
    /// Of the correctly classified pictures: untargeted, the share that became wrong; targeted, of those whose label is
    /// not the target, the share that became the target.
    pub success: f64,
    /// Of the correctly classified pictures, the share that became wrong, whichever way.
    pub fooled: f64,
    /// Of the pictures that became wrong, the median of the L2 distance, in pixel units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_l2: Option<f64>,
}

/// One attack's tally at one epsilon, and how far its pictures went.
#[derive(Clone, Debug, Default)]
struct Found {
    tally: Tally,
    distances: Vec<f64>,
}

impl Found {
    fn add(&mut self, place: &Place<'_>, wanted: &[usize], moved: &Tensor, after: &[usize]) -> Result<(), LabError> {
        self.tally.add(place.labels, wanted, [&place.predicted, after]);
        for (number, far) in place.batch.distances(moved)?.into_iter().enumerate() {
            let label = usize::from(place.labels[number]);
            if place.predicted[number] == label && after[number] != label {
                self.distances.push(far);
            }
        }
        Ok(())
    }

    fn at(&self, eps: f64, settings: &Settings) -> AtEps {
        let mut distances = self.distances.clone();
        distances.sort_by(f64::total_cmp);
        AtEps {
            eps,
            eps_pixels: settings.convention.in_pixels(eps),
            accuracy: self.tally.accuracy(),
            success: self.tally.success(settings.target != Target::Untargeted),
            fooled: self.tally.success(false),
            median_l2: distances.get(distances.len().saturating_sub(1) / 2).copied(),
        }
    }
}

/// Each epsilon's row.
fn rows(found: &[Found], settings: &Settings) -> Vec<AtEps> {
    settings.eps.iter().zip(found).map(|(&eps, found)| found.at(eps, settings)).collect()
}

/// Arrays for others to check, of one epsilon.
#[derive(Default)]
struct Kept {
    clean: Vec<f32>,
    adversarial: Vec<f32>,
    label: Vec<i64>,
    predicted: [Vec<i64>; 2],
}

impl Kept {
    /// Writes `clean`, `adversarial` (f32 [N, 3, 32, 32]), `label`, `predicted_clean` and `predicted_adversarial`
    /// (i64 [N]).
    fn write(&self, path: &Path) -> Result<(), LabError> {
        let failed = |error: safetensors::SafeTensorError| LabError::Usage(format!("{}: {error}", path.display()));
        let count = self.label.len();
        let [channels, height, width] = DIMS;
        let pixels = |values: &'_ [f32]| -> Vec<u8> { bytemuck::cast_slice(values).to_vec() };
        let numbers = |values: &'_ [i64]| -> Vec<u8> { bytemuck::cast_slice(values).to_vec() };
        let arrays = [
            ("clean", Dtype::F32, pixels(&self.clean)),
            ("adversarial", Dtype::F32, pixels(&self.adversarial)),
            ("label", Dtype::I64, numbers(&self.label)),
            ("predicted_clean", Dtype::I64, numbers(&self.predicted[0])),
            ("predicted_adversarial", Dtype::I64, numbers(&self.predicted[1])),
        ];
        let views = arrays
            .iter()
            .map(|(name, dtype, bytes)| {
                let shape = if *dtype == Dtype::F32 { vec![count, channels, height, width] } else { vec![count] };
                Ok((*name, TensorView::new(*dtype, shape, bytes)?))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let bytes = safetensors::serialize(views, None).map_err(failed)?;
        Ok(files::write(path, &bytes)?)
    }
}

/// Attacks a classifier on a test set and leaves `result.json`, `victims.png` (the first correctly classified picture
/// of each class, whether the attack then succeeds or not) and, if wanted, `targets.svg` and `targets.png` in `out`,
/// and the arrays of the last epsilon in `save`. `seen` is told how much of the work is done, and of how much.
///
/// # Errors
/// An autoencoder, an empty set, no epsilon, a class that the model does not have, a place that cannot be written, or an
/// attack that breaks one of its promises.
pub fn run(
    gpu: &Gpu,
    network: &Network,
    (images, data_name): (&Images, &str),
    settings: &Settings,
    notes: &Notes<'_>,
    (out, save): (&Path, Option<&Path>),
    mut seen: impl FnMut(usize, usize),
) -> Result<Outcome, LabError> {
    let complete = images.count() > 0 && !settings.methods.is_empty();
    let Some(&last_eps) = settings.eps.last().filter(|_| complete) else {
        return Err(LabError::Usage("an attack needs at least one picture, one method and one eps".to_owned()));
    };
    let begun = std::time::Instant::now();
    let attacker = Attacker::new(gpu, network, settings.convention, settings.seed)?;
    // Whatever cannot be written is to be known before the work, not after it.
    if let Some(parent) = save.and_then(Path::parent) {
        files::prepare_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    let _lock = FolderLock::take(out)?;
    let data = Resident::new(gpu, images)?;
    let classes = notes.classes.len();
    let methods = settings.methods.len();
    let work = images.count() * (methods * settings.eps.len() + if settings.table { classes } else { 0 });
    let mut done = 0;
    let mut report = |more: usize| {
        done += more;
        seen(done, work);
    };

    let mut each = vec![vec![Found::default(); settings.eps.len()]; methods];
    let mut worst = vec![Found::default(); settings.eps.len()];
    let mut first_correct = vec![None; classes];
    let mut victims: Vec<(u8, Portrait)> = Vec::new();
    let mut kept = Kept::default();
    each_batch(gpu, &attacker, images, &data, usize::MAX, |place| {
        let fresh = note_first(&mut first_correct, place);
        let wanted = place.batch.wanted(settings.target)?;
        let attacked = at_each_eps(place.batch, settings)?;
        let count = place.batch.classes();
        for (found, attacked) in each.iter_mut().zip(&attacked.each) {
            for (found, (moved, logits)) in found.iter_mut().zip(attacked) {
                found.add(place, &wanted, moved, &predictions(logits, count))?;
            }
        }
        report(place.labels.len() * methods * settings.eps.len());
        for (at, (found, (moved, logits))) in worst.iter_mut().zip(&attacked.worst).enumerate() {
            let after = predictions(logits, count);
            found.add(place, &wanted, moved, &after)?;
            let last = at + 1 == settings.eps.len();
            if !last || (fresh.is_empty() && save.is_none()) {
                continue;
            }
            let (clean, moved) = (place.batch.pixels(), gpu.read(moved)?);
            for &number in &fresh {
                let pixels = [clean, &moved].map(|all| &all[number * SIZE..(number + 1) * SIZE]);
                let rows = [place.batch.logits(), logits].map(|all| &all[number * count..(number + 1) * count]);
                victims.push((place.labels[number], portrait(pixels, rows)));
            }
            if save.is_some() {
                kept.clean.extend(clean);
                kept.adversarial.extend(moved);
                kept.label.extend(place.labels.iter().map(|&label| i64::from(label)));
                for (kept, predicted) in kept.predicted.iter_mut().zip([&place.predicted, &after]) {
                    kept.extend(predicted.iter().map(|&class| class as i64));
                }
            }
        }
        Ok(())
    })?;
    let targets = settings.table.then(|| {
        let shown = (settings.methods[0], last_eps, classes);
        table(gpu, &attacker, (images, &data, usize::MAX), shown, &mut report)
    });
    let targets = targets.transpose()?;
    attacker.finish()?;

    let of_one = |(&method, found): (&Method, &Vec<Found>)| OneMethod {
        kind: Kind::of_one(method, settings, notes.classes),
        by_eps: rows(found, settings),
    };
    let each = if methods > 1 { settings.methods.iter().zip(&each).map(of_one).collect() } else { Vec::new() };
    let outcome = Outcome {
        command: notes.command.to_vec(),
        version: env!("CARGO_PKG_VERSION"),
        model: network.architecture().name.clone(),
        weights: notes.weights.clone(),
        data: data_name.to_owned(),
        images: images.count(),
        kind: Kind::of(settings, notes.classes),
        clean_accuracy: worst[0].tally.clean_accuracy(),
        by_eps: rows(&worst, settings),
        each,
        targets,
        classes: notes.classes.to_vec(),
        adapter: gpu.adapter().clone(),
        kernel_choices: choices::record(gpu)?,
        seconds: begun.elapsed().as_secs_f64(),
    };
    if let Some(path) = save {
        kept.write(path)?;
    }
    let title = format!("{} on {data_name}", outcome.model);
    if let Some(targets) = &outcome.targets {
        let kind = kind_line(&outcome.kind, "each class", last_eps);
        let subtitle = format!("{kind}: % of a label's (row) correct pictures that became the target (column)");
        plots::heat_map(&out.join("targets"), &title, &subtitle, notes.classes, targets)?;
    }
    let subtitle = kind_line(&outcome.kind, &outcome.kind.target, last_eps);
    victims.sort_by_key(|(label, _)| *label);
    draw(&out.join("victims"), &title, &subtitle, notes.classes, &victims)?;
    write_json(&out.join("result.json"), &outcome)?;
    Ok(outcome)
}
