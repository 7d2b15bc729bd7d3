//! The training loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::autograd::Tape;
use crate::data::DataSet;
use crate::files;
use crate::gpu::{AdapterSummary, Gpu, MemoryStats, Tensor};
use crate::models;
use crate::nn::{CheckpointError, Mode, Network, Optimizer, OptimizerKind, Schedule, Task};
use crate::ops::elementwise;
use crate::ops::gather::{self, Augment};
use crate::random::{Purpose, Stream};

use super::LabError;
use super::evaluate::{self, Quality, Resident};

/// Losses are read back once in so many steps: often enough for a progress bar, seldom enough not to
/// hold the device up. A fixed number, so that the sums are the same in every run.
const WINDOW: usize = 25;

/// Everything that decides a run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub model: String,
    pub epochs: u32,
    pub batch: usize,
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
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
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
    /// What the watcher measured.
    #[serde(flatten)]
    pub measured: BTreeMap<String, f64>,
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
    pub epochs: u32,
    pub steps: u64,
    pub train_loss: f64,
    #[serde(flatten)]
    pub quality: Quality,
    pub best_epoch: u32,
    pub best: Quality,
    pub images_per_second: f64,
    pub peak_gpu_bytes: u64,
    pub memory: MemoryStats,
    pub seconds: f64,
}

/// What the loop tells whoever watches.
pub trait Watch {
    /// An epoch begins: its number, and how many steps it has.
    fn begin(&mut self, epoch: u32, steps: usize);
    /// So many steps of the epoch are done; the mean loss of the last ones.
    fn step(&mut self, done: usize, loss: f64, images_per_second: f64);
    /// What else is to be measured after an epoch; it goes into the epoch's line under these names.
    fn measure(&mut self, _gpu: &Gpu, _network: &Network, _epoch: u32) -> Result<BTreeMap<String, f64>, LabError> {
        Ok(BTreeMap::new())
    }
    /// An epoch is over.
    fn end(&mut self, epoch: &Epoch);
}

/// The mean training loss over a stretch, summed on the device and read back now and then.
struct LossMeter {
    sum: Tensor,
    pending: usize,
    total: f64,
    images: usize,
}

impl LossMeter {
    fn new(gpu: &Gpu) -> Result<Self, LabError> {
        Ok(Self { sum: gpu.zeros([1])?, pending: 0, total: 0.0, images: 0 })
    }

    fn add(&mut self, gpu: &Gpu, loss: &Tensor, count: usize) -> Result<(), LabError> {
        let weighed = elementwise::scale(gpu, loss, count as f32, 0.0)?;
        elementwise::accumulate(gpu, &self.sum, &weighed)?;
        self.pending += count;
        Ok(())
    }

    /// Reads what has been summed since the last time; the mean over it.
    fn read(&mut self, gpu: &Gpu) -> Result<f64, LabError> {
        let sum = f64::from(gpu.read(&self.sum)?[0]);
        gpu.fill(&self.sum, 0.0)?;
        let mean = sum / self.pending.max(1) as f64;
        self.total += sum;
        self.images += self.pending;
        self.pending = 0;
        Ok(mean)
    }
}

/// Trains a model and leaves `result.json`, `metrics.jsonl`, `best.safetensors` and `last.safetensors` in `out`.
pub fn train(
    gpu: &Gpu,
    settings: &Settings,
    data: &DataSet,
    out: &Path,
    notes: (&[String], serde_json::Value),
    watch: &mut dyn Watch,
) -> Result<Outcome, LabError> {
    if settings.batch == 0 || data.train.count() == 0 || data.test.count() == 0 {
        return Err(LabError::Usage(
            "training needs a batch of at least 1, training pictures and test pictures".to_owned(),
        ));
    }
    files::prepare_folder(out)?;
    let started = Instant::now();
    let network = Network::new(gpu, models::architecture(&settings.model)?, settings.seed)?;
    let mut optimizer = Optimizer::new(gpu, settings.optimizer, network.parameters())?;
    let (train, test) = (Resident::new(gpu, &data.train)?, Resident::new(gpu, &data.test)?);
    let per_epoch = train.count().div_ceil(settings.batch);
    let total_steps = (u64::from(settings.epochs) * per_epoch as u64).min(settings.steps.unwrap_or(u64::MAX));
    let tape = Tape::new(gpu);
    let mut step = 0u64;
    let mut lines = String::new();
    let mut epochs: Vec<Epoch> = Vec::new();
    let mut best: Option<(u32, Quality)> = None;

    for epoch in 1..=settings.epochs {
        if step >= total_steps {
            break;
        }
        let steps = per_epoch.min((total_steps - step) as usize);
        watch.begin(epoch, steps);
        let order = Stream::new(settings.seed, Purpose::Shuffle, epoch).permutation(train.count() as u32);
        let order = gpu.words(&order)?;
        let augmented = settings.flip || settings.shift > 0;
        let augment =
            augmented.then_some(Augment { flip: settings.flip, shift: settings.shift, seed: settings.seed, epoch });
        let mut meter = LossMeter::new(gpu)?;
        let begun = Instant::now();
        let mut rate = settings.rate;
        for index in 0..steps {
            let first = index * settings.batch;
            let count = settings.batch.min(train.count() - first);
            rate = settings.schedule.rate(settings.rate, step, total_steps);
            let (x, labels) = gather::batch(gpu, &train.set, &order, first, count, augment)?;
            let (bound, x) = (network.bind(&tape)?, tape.leaf(&x));
            let mode = Mode::Training { seed: settings.seed, step: step as u32 };
            let output = network.forward(&tape, &bound, x, mode)?;
            let loss = match network.architecture().task {
                Task::Classify => tape.cross_entropy_mean(output, &labels, settings.smoothing)?,
                Task::Reconstruct => tape.mse_mean(output, network.target(&tape, x)?)?,
            };
            meter.add(gpu, &tape.value(loss)?, count)?;
            tape.backward(loss, bound.leaves())?;
            tape.reset();
            optimizer.step(gpu, network.parameters(), rate)?;
            step += 1;
            if (index + 1) % WINDOW == 0 || index + 1 == steps {
                let mean = meter.read(gpu)?;
                if !mean.is_finite() {
                    return Err(LabError::Diverged { step });
                }
                watch.step(index + 1, mean, meter.images as f64 / begun.elapsed().as_secs_f64());
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let quality = evaluate::quality(gpu, &network, &test, |_| {})?;
        // The last step's loss was measured before its weights moved.
        if !quality.is_finite() {
            return Err(LabError::Diverged { step });
        }
        let memory = gpu.memory();
        let line = Epoch {
            epoch,
            steps: step,
            train_loss: meter.total / meter.images as f64,
            quality,
            learning_rate: rate,
            images_per_second: meter.images as f64 / seconds,
            seconds,
            gpu_bytes: memory.live + memory.pooled,
            measured: watch.measure(gpu, &network, epoch)?,
        };
        let notes = [("epoch", epoch.to_string()), ("seed", settings.seed.to_string()), ("data", data.name.clone())];
        // A maximum may pass over NaN, so a good loss does not prove good weights.
        let save = |name: &str| match network.save(gpu, &out.join(name), &notes) {
            Err(CheckpointError::NotFinite { .. }) => Err(LabError::Diverged { step }),
            outcome => Ok(outcome?),
        };
        save("last.safetensors")?;
        if best.is_none_or(|(_, before)| quality.rank() > before.rank()) {
            best = Some((epoch, quality));
            save("best.safetensors")?;
        }
        lines.push_str(&json_line(&line)?);
        files::write(&out.join("metrics.jsonl"), lines.as_bytes())?;
        watch.end(&line);
        epochs.push(line);
        let waited = best.map_or(0, |(at, _)| epoch - at);
        if settings.early_stop.is_some_and(|patience| waited >= patience) {
            break;
        }
    }

    let (Some(last), Some((best_epoch, best))) = (epochs.last(), best) else {
        return Err(LabError::Usage("nothing to train: --epochs and --steps must be at least 1".to_owned()));
    };
    let trained: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
    let images: f64 = epochs.iter().map(|epoch| epoch.images_per_second * epoch.seconds).sum();
    let memory = gpu.memory();
    let outcome = Outcome {
        command: notes.0.to_vec(),
        version: env!("CARGO_PKG_VERSION"),
        model: settings.model.clone(),
        parameters: network.parameters().count(),
        data: data.name.clone(),
        train_images: train.count(),
        test_images: test.count(),
        settings: notes.1,
        seed: settings.seed,
        adapter: gpu.adapter().clone(),
        epochs: last.epoch,
        steps: step,
        train_loss: last.train_loss,
        quality: last.quality,
        best_epoch,
        best,
        images_per_second: images / trained,
        peak_gpu_bytes: memory.peak,
        memory,
        seconds: started.elapsed().as_secs_f64(),
    };
    write_json(&out.join("result.json"), &outcome)?;
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.train_loss).collect();
    let accuracies: Vec<f64> = epochs.iter().filter_map(|epoch| epoch.quality.test_accuracy).collect();
    let mut loss_lines = vec![("train loss", losses)];
    let test_losses: Vec<f64> =
        epochs.iter().filter_map(|epoch| epoch.quality.test_loss.or(epoch.quality.test_mse)).collect();
    loss_lines.push((if accuracies.is_empty() { "test MSE" } else { "test loss" }, test_losses));
    let accuracy_lines = if accuracies.is_empty() { Vec::new() } else { vec![("test accuracy", accuracies)] };
    let title = format!("{} on {}", settings.model, data.name);
    super::plots::training_curve(&out.join("training"), &title, &loss_lines, &accuracy_lines)?;
    Ok(outcome)
}

fn json_line(value: &impl Serialize) -> Result<String, LabError> {
    serde_json::to_string(value).map(|line| line + "\n").map_err(|error| LabError::Usage(error.to_string()))
}

/// Writes a value as readable JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), LabError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| LabError::Usage(error.to_string()))?;
    Ok(files::write(path, (text + "\n").as_bytes())?)
}
