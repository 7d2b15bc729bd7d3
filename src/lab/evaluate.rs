//! A network over a whole set of pictures.

use serde::{Deserialize, Serialize};

use crate::autograd::Tape;
use crate::data::{DIMS, Images};
use crate::gpu::{Gpu, Result, Tensor, Words};
use crate::nn::{Mode, Network, Task};
use crate::ops::gather::{self, ByteSet};

/// Pictures to a pass: the widest layer of the `lab` model then stays within a 128 MiB binding.
pub(super) const BATCH: usize = 200;

/// A set on the device with its plain order.
#[derive(Debug)]
pub struct Resident {
    pub set: ByteSet,
    order: Words,
    labels: Vec<u8>,
}

impl Resident {
    /// Uploads a set.
    pub fn new(gpu: &Gpu, images: &Images) -> Result<Self> {
        let order: Vec<u32> = (0..images.count() as u32).collect();
        Ok(Self {
            set: ByteSet::new(gpu, DIMS, &images.bytes, &images.labels)?,
            order: gpu.words(&order)?,
            labels: images.labels.clone(),
        })
    }

    /// How many pictures there are.
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// Pictures `first..first + count` as [count, 3, 32, 32] with values in [0, 1].
    pub fn pixels(&self, gpu: &Gpu, first: usize, count: usize) -> Result<Tensor> {
        Ok(gather::batch(gpu, &self.set, &self.order, first, count, None)?.0)
    }
}

/// Where the largest value stands (the first of equals): the class that a row of logits predicts.
pub fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (class, &value)| if value > row[best] { class } else { best })
}

/// The class that each row of logits predicts.
pub fn predictions(logits: &[f32], classes: usize) -> Vec<usize> {
    logits.chunks_exact(classes).map(argmax).collect()
}

/// What a network makes of a set.
#[derive(Clone, Debug)]
pub enum Outputs {
    /// Logits, one row of ten after the other.
    Logits(Vec<f32>),
    /// The mean squared error of each picture's reconstruction.
    Errors(Vec<f32>),
}

/// Runs the network in evaluation mode over all pictures; `seen` is told how many are done.
pub fn outputs(gpu: &Gpu, network: &Network, data: &Resident, mut seen: impl FnMut(usize)) -> Result<Outputs> {
    let task = network.architecture().task;
    let mut values = Vec::new();
    let tape = Tape::evaluation(gpu);
    for first in (0..data.count()).step_by(BATCH) {
        let count = BATCH.min(data.count() - first);
        let x = data.pixels(gpu, first, count)?;
        let (bound, x) = (network.bind(&tape)?, tape.leaf(&x));
        let output = network.forward(&tape, &bound, x, Mode::Evaluation)?;
        let wanted = if task == Task::Classify { output } else { tape.mse(output, network.normalized(&tape, x)?)? };
        values.extend(gpu.read(&tape.value(wanted)?)?);
        tape.reset();
        seen(first + count);
    }
    Ok(if task == Task::Classify { Outputs::Logits(values) } else { Outputs::Errors(values) })
}

/// Penultimate features, row after row.
pub type Features = Vec<f32>;

/// The penultimate features and the logits of a classifier in evaluation mode, row after row; `seen` is told how many
/// pictures are done.
pub fn features(
    gpu: &Gpu,
    network: &Network,
    data: &Resident,
    mut seen: impl FnMut(usize),
) -> Result<(Features, Vec<f32>)> {
    let (mut features, mut logits) = (Vec::new(), Vec::new());
    let tape = Tape::evaluation(gpu);
    for first in (0..data.count()).step_by(BATCH) {
        let count = BATCH.min(data.count() - first);
        let (bound, x) = (network.bind(&tape)?, tape.leaf(&data.pixels(gpu, first, count)?));
        let (before, output) = network.forward_with_features(&tape, &bound, x, Mode::Evaluation)?;
        features.extend(gpu.read(&tape.value(before)?)?);
        logits.extend(gpu.read(&tape.value(output)?)?);
        tape.reset();
        seen(first + count);
    }
    Ok((features, logits))
}

/// How well a network does on a labelled set. A classifier has accuracy and loss, an autoencoder its error.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Quality {
    /// Share of pictures whose largest logit is the label's (the first of equals).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Mean cross-entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// Mean squared error on pixels in [0, 1], or as the model normalises them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_mse: Option<f64>,
}

impl Quality {
    /// Larger is better: what the best checkpoint is chosen by.
    pub fn rank(&self) -> f64 {
        self.test_accuracy.or(self.test_mse.map(|error| -error)).unwrap_or(f64::NEG_INFINITY)
    }

    /// Whether the network's outputs were numbers at all.
    pub fn is_finite(&self) -> bool {
        self.test_loss.or(self.test_mse).is_some_and(f64::is_finite)
    }

    /// For progress lines.
    pub fn line(&self) -> String {
        match (self.test_accuracy, self.test_mse) {
            (Some(accuracy), _) => format!("test accuracy {:.2} %", 100.0 * accuracy),
            (_, Some(error)) => format!("test MSE {error:.5}"),
            _ => String::new(),
        }
    }
}

/// Judges a network on a labelled set.
pub fn quality(gpu: &Gpu, network: &Network, data: &Resident, seen: impl FnMut(usize)) -> Result<Quality> {
    Ok(match outputs(gpu, network, data, seen)? {
        Outputs::Logits(logits) => {
            let classes = logits.len() / data.count();
            let (mut hits, mut loss) = (0usize, 0.0);
            for (row, &label) in logits.chunks_exact(classes).zip(&data.labels) {
                hits += usize::from(argmax(row) == usize::from(label));
                loss += crate::ood::scores::energy(row, 1.0) - f64::from(row[usize::from(label)]);
            }
            let count = data.count() as f64;
            Quality { test_accuracy: Some(hits as f64 / count), test_loss: Some(loss / count), test_mse: None }
        }
        Outputs::Errors(errors) => {
            let sum: f64 = errors.iter().map(|&error| f64::from(error)).sum();
            Quality { test_mse: Some(sum / errors.len() as f64), ..Quality::default() }
        }
    })
}
