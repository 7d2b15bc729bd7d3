//! The autoencoders: training, detection by reconstruction error, and what some pictures become.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::autograd::Tape;
use crate::data::{DataSet, Images, SIZE};
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::detect::{self, Scored};
use crate::lab::evaluate::{self, Resident};
use crate::lab::results::{Detection, Picture, Plan, Reconstruction};
use crate::lab::train::Settings;
use crate::models;
use crate::nn::{Layer, Mode, Network};

use super::classify;
use super::detection;
use super::picture;
use super::stage::Desk;

/// Pictures of each set that the result shows.
const EXAMPLES: usize = 6;

/// Share of all pixels shown whose error is at most what is drawn white: a few strays would leave the rest black.
const WHITE: f64 = 0.99;

/// What training an autoencoder leaves for the result.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trained {
    pub epochs: u32,
    pub test_mse: f64,
}

/// What scoring it leaves.
#[derive(Debug, Serialize, Deserialize)]
pub struct Judged {
    pub detection: Detection,
    pub id_examples: Vec<Reconstruction>,
    pub ood_examples: Vec<Reconstruction>,
}

/// Trains an autoencoder.
pub fn train(
    desk: &mut Desk<'_>,
    plan: &Plan,
    (model, rate): (&str, f64),
    data: &DataSet,
    command: &[String],
) -> Result<Trained, LabError> {
    let epochs = plan.autoencoder_epochs;
    let settings = Settings::plain(model, epochs, plan.batch, rate, plan.seeds[0]);
    let notes = serde_json::json!({ "lab": plan.preset, "model": model });
    let (outcome, _) = classify::follow(desk, &settings, data, (command, notes), None)?;
    Ok(Trained { epochs: outcome.epochs, test_mse: outcome.quality.test_mse.unwrap_or(f64::NAN) })
}

/// Scores its test set against noise and shows some pictures of both.
pub fn judge(desk: &mut Desk<'_>, weights: &Path, data: &DataSet, noise: &Images) -> Result<Judged, LabError> {
    let network = models::from_file(desk.gpu, weights, None)?;
    let mut score = |images: &Images, from: f64| -> Result<Scored, LabError> {
        let set = Resident::new(desk.gpu, images)?;
        let count = images.count() as f64;
        let seen = |done: usize| desk.progress.at(from + 0.5 * done as f64 / count, "scoring");
        Ok(Scored::new(&evaluate::outputs(desk.gpu, &network, &set, seen)?, &images.labels))
    };
    let (id, ood) = (score(&data.test, 0.0)?, score(noise, 0.5)?);
    detect::write_table(&desk.folder.join("scores.csv"), [("id", &id), ("ood", &ood)])?;
    let redrawn = [redraw(desk.gpu, &network, &data.test)?, redraw(desk.gpu, &network, noise)?];
    // One scale for both sets, so that their errors can be compared by eye.
    let white = white(redrawn.iter().flatten().flat_map(|picture| picture.errors.iter().copied()).collect());
    let [id_examples, ood_examples] = redrawn.map(|set| set.into_iter().map(|one| one.shown(white)).collect());
    Ok(Judged { detection: detection::facts(&id, &ood)?, id_examples, ood_examples })
}

/// A picture and what became of it.
struct Redrawn {
    original: Picture,
    reconstruction: Picture,
    /// Squared error of each pixel, summed over the channels.
    errors: Vec<f64>,
}

impl Redrawn {
    fn shown(self, white: f64) -> Reconstruction {
        let shades: Vec<u8> =
            self.errors.iter().map(|error| (255.0 * error / white).round().min(255.0) as u8).collect();
        let mse = self.errors.iter().sum::<f64>() / SIZE as f64;
        Reconstruction {
            original: self.original,
            reconstruction: self.reconstruction,
            error: Picture(shades.repeat(3)),
            error_white: white,
            mse,
        }
    }
}

/// The error to be drawn white.
fn white(mut errors: Vec<f64>) -> f64 {
    errors.sort_unstable_by(f64::total_cmp);
    let at = (WHITE * errors.len() as f64) as usize;
    errors.get(at).copied().filter(|&error| error > 0.0).unwrap_or(1.0)
}

/// What the network makes of the first pictures of a set. Errors are in the network's own units.
fn redraw(gpu: &Gpu, network: &Network, images: &Images) -> Result<Vec<Redrawn>, LabError> {
    let images = images.clone().truncated(EXAMPLES);
    let set = Resident::new(gpu, &images)?;
    let tape = Tape::evaluation(gpu);
    let (bound, x) = (network.bind(&tape)?, tape.leaf(&set.pixels(gpu, 0, images.count())?));
    let output = network.forward(&tape, &bound, x, Mode::Evaluation)?;
    let target = network.normalized(&tape, x)?;
    let (output, target) = (gpu.read(&tape.value(output)?)?, gpu.read(&tape.value(target)?)?);
    let plane = SIZE / 3;
    let pairs = output.chunks_exact(SIZE).zip(target.chunks_exact(SIZE));
    Ok(pairs
        .enumerate()
        .map(|(index, (output, target))| {
            let pixel = |at: usize| 255.0 * in_pixels(network, at / plane, output[at]);
            let error = |at: usize| f64::from(output[at] - target[at]).powi(2);
            Redrawn {
                original: picture(&images, index),
                reconstruction: Picture((0..SIZE).map(|at| pixel(at).round().clamp(0.0, 255.0) as u8).collect()),
                errors: (0..plane).map(|at| (0..3).map(|channel| error(channel * plane + at)).sum()).collect(),
            }
        })
        .collect())
}

/// A value of a channel as the network has it, in pixel units on [0, 1].
fn in_pixels(network: &Network, channel: usize, value: f32) -> f32 {
    match network.architecture().layers.first() {
        Some(Layer::Normalize { mean, std }) => value * std[channel] + mean[channel],
        _ => value,
    }
}
