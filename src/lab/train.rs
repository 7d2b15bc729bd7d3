//! The training loop.

mod adversary;
mod defence;
mod lesson;
mod memory;
mod meter;
mod record;
mod state;

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::autograd::Tape;
use crate::data::DataSet;
use crate::files;
use crate::gpu::{Gpu, Words};
use crate::models;
use crate::nn::{CheckpointError, Network, Optimizer, whitening};
use crate::ops::choices;
use crate::random::{Purpose, Stream};

use super::LabError;
use super::evaluate::{self, Resident};
use adversary::Adversary;
use state::{Keeper, Refuge};

pub(in crate::lab) use lesson::{Lesson, Moving, Pictures};
pub(in crate::lab) use meter::LossMeter;

pub use defence::{Adversarial, Defence};
pub use memory::{Need, need};
pub use record::{Epoch, Outcome, Robustness, Settings, Watch};
pub use state::{Position, State, differences};

/// Losses are read back once in so many steps: often enough for a progress bar, seldom enough not to
/// hold the device up. A fixed number, so that the sums are the same in every run.
const WINDOW: usize = 25;

/// How a run is looked after, and what it goes on from.
#[derive(Debug, Default)]
pub struct Care {
    /// The state of an unfinished run with the same settings over the same data; the caller has made sure of that
    /// ([`State::mismatch`]).
    pub from: Option<State>,
    /// Keep the state once in so many steps, too, not only at each epoch's end and when the run is left.
    pub every: Option<u64>,
    /// Look for the first operation that writes a number that is not finite. The results are the same, the time is not.
    pub check: bool,
    /// Bytes of GPU memory that the run may take.
    pub memory_limit: Option<u64>,
}

/// Trains a model from the beginning and leaves `result.json`, `metrics.jsonl`, `best.safetensors` and
/// `last.safetensors` in `out`; `notes` are the command line and the settings as it was understood.
pub fn train(
    gpu: &Gpu,
    settings: &Settings,
    data: &DataSet,
    out: &Path,
    notes: (&[String], serde_json::Value),
    watch: &mut dyn Watch,
) -> Result<Outcome, LabError> {
    train_kept(gpu, settings, data, out, notes, Care::default(), watch)
}

/// The same from where an earlier run was left. Until a run is finished, its state lies beside its files.
pub fn train_kept(
    gpu: &Gpu,
    settings: &Settings,
    data: &DataSet,
    out: &Path,
    notes: (&[String], serde_json::Value),
    care: Care,
    watch: &mut dyn Watch,
) -> Result<Outcome, LabError> {
    if settings.batch == 0 || data.train.count() == 0 || data.test.count() == 0 {
        return Err(LabError::Usage(
            "training needs a batch of at least 1, training pictures and test pictures".to_owned(),
        ));
    }
    settings.check()?;
    let architecture = models::architecture(&settings.model)?;
    let need = memory::plan(gpu, settings, data, care.memory_limit)?;
    files::prepare_folder(out)?;
    let identity = state::identity(gpu, settings, data)?;
    let keeper = Keeper { folder: out, identity, command: notes.0, arguments: notes.1.clone() };
    let started = Instant::now();
    let adversary = Adversary::of(gpu, settings, &architecture, data.train.count())?;
    let network = Network::new(gpu, architecture, settings.seed)?;
    if care.from.is_none() {
        network.whiten(gpu, &data.train.bytes, settings.whitening_epsilon.unwrap_or(whitening::EPSILON))?;
    }
    let optimizer = Optimizer::new(gpu, settings.optimizer, network.parameters())?;
    let (train, test) = (Resident::new(gpu, &data.train)?, Resident::new(gpu, &data.test)?);
    let per_epoch = train.count().div_ceil(settings.batch);
    let total_steps = (u64::from(settings.epochs) * per_epoch as u64).min(settings.steps.unwrap_or(u64::MAX));
    let tape = Tape::new(gpu);
    let set = Lesson::set(gpu, settings, &network, &train)?;
    let lesson = Lesson { gpu, settings, network: &network, set: &set, tape: &tape };
    let mut moving = Moving { meter: LossMeter::new(gpu)?, optimizer, adversary };
    let (replays, rolls_back) = settings.adversarial.map_or((1, false), |chosen| (chosen.replays(), chosen.roll_back));
    let (mut at, mut refuge) = (Position::default(), None);
    // The order of the pass over the set that is under way, and its number.
    let mut order: Option<(u32, Words)> = None;
    if let Some(state) = &care.from {
        (at, refuge) = state.restore(gpu, &network, &mut moving, rolls_back)?;
        write_metrics(out, &at.epochs)?;
        watch.resumed(&at.epochs);
    }
    let spent = at.spent;

    while (at.epochs.len() as u32) < settings.epochs && !is_over(settings, &at) {
        // The epoch's steps were all done when the run was left in the evaluation after them.
        let (epoch, first_step) = (at.epochs.len() as u32 + 1, at.step - at.index as u64);
        if first_step >= total_steps {
            break;
        }
        let steps = per_epoch.min((total_steps - first_step) as usize);
        watch.begin(epoch, steps);
        let (begun, before) = (Instant::now(), at.seconds);
        let clock = || before + begun.elapsed().as_secs_f64();
        for index in at.index..steps {
            // In any training but the free one a pass is an epoch, and this batch the epoch's number `index`.
            let batch = at.step / u64::from(replays);
            let (pass, first) =
                ((batch / per_epoch as u64) as u32 + 1, (batch % per_epoch as u64) as usize * settings.batch);
            let count = settings.batch.min(train.count() - first);
            let rate = settings.schedule.rate(settings.rate, at.step, total_steps);
            if care.check {
                gpu.check_finite(at.step + 1)?;
            }
            let order = ordered(gpu, &mut order, settings.seed, pass, train.count())?;
            lesson.step(&Pictures { order, first, count, pass }, (at.step, rate), &mut moving)?;
            at.step += 1;
            at.index = index + 1;
            if at.index.is_multiple_of(WINDOW) || at.index == steps {
                let mean = moving.meter.read(gpu)?;
                if !mean.is_finite() {
                    return Err(LabError::Diverged { step: at.step });
                }
                watch.step(at.index, mean, moving.meter.images as f64 / clock());
            }
            let stop = watch.interrupted();
            if stop || care.every.is_some_and(|every| at.step.is_multiple_of(every)) {
                (at.seconds, at.spent) = (clock(), spent + started.elapsed().as_secs_f64());
                keeper.keep(gpu, (&network, &moving, refuge.as_ref()), &at)?;
            }
            if stop {
                return Err(interrupted(&at, out));
            }
        }
        at.seconds = clock();
        let quality = evaluate::quality(gpu, &network, &test, |_| {})?;
        // The last step's loss was measured before its weights moved.
        if !quality.is_finite() {
            return Err(LabError::Diverged { step: at.step });
        }
        let mut robustness = match &mut moving.adversary {
            Some(adversary) => {
                // This may take minutes and changes nothing, so it can be left and done again.
                if watch.interrupted() {
                    at.spent = spent + started.elapsed().as_secs_f64();
                    keeper.keep(gpu, (&network, &moving, refuge.as_ref()), &at)?;
                    return Err(interrupted(&at, out));
                }
                adversary.measure(gpu, &network, [(&data.train, &train), (&data.test, &test)], settings.batch)?
            }
            None => Robustness::default(),
        };
        let measured = match watch.measure(gpu, &network, epoch) {
            // So can this be.
            Err(LabError::Interrupted { .. }) => {
                at.spent = spent + started.elapsed().as_secs_f64();
                keeper.keep(gpu, (&network, &moving, refuge.as_ref()), &at)?;
                return Err(interrupted(&at, out));
            }
            outcome => outcome?,
        };
        let shelter = refuge.as_ref().filter(|_| rolls_back && robustness.alarm == Some(true));
        robustness.rolled_back_to = shelter.map(|_| epoch - 1);
        let memory = gpu.memory();
        let line = Epoch {
            epoch,
            steps: at.step,
            train_loss: moving.meter.total / moving.meter.images as f64,
            quality,
            learning_rate: settings.schedule.rate(settings.rate, at.step - 1, total_steps),
            images_per_second: moving.meter.images as f64 / at.seconds,
            seconds: at.seconds,
            gpu_bytes: memory.held,
            robustness,
            measured,
        };
        if let (Some(shelter), Some(before)) = (shelter, at.epochs.last()) {
            shelter.enter(gpu, &network, &mut moving.optimizer, before.steps)?;
            at.step = before.steps;
        }
        let of = robustness.rolled_back_to.unwrap_or(epoch);
        let notes = [("epoch", of.to_string()), ("seed", settings.seed.to_string()), ("data", data.name.clone())];
        // A maximum may pass over NaN, so a good loss does not prove good weights.
        let save = |name: &str| match network.save(gpu, &out.join(name), &notes) {
            Err(CheckpointError::NotFinite { .. }) => Err(LabError::Diverged { step: at.step }),
            outcome => Ok(outcome?),
        };
        save("last.safetensors")?;
        // A model that overfits so may be the best on clean pictures. Where that is not wanted, an epoch with an alarm is
        // the best only as long as there is none without.
        let is_shunned = rolls_back && robustness.alarm == Some(true);
        let is_best = match at.best {
            None => true,
            Some(_) if is_shunned => false,
            Some(_) if rolls_back && refuge.is_none() => true,
            Some((_, before)) => quality.rank() > before.rank(),
        };
        if is_best {
            save("best.safetensors")?;
            at.best = Some((epoch, quality));
        }
        at.epochs.push(line);
        write_metrics(out, &at.epochs)?;
        // The state comes last: what it says was done is done.
        moving.meter.restart();
        (at.index, at.seconds) = (0, 0.0);
        at.withstood = moving.adversary.as_ref().and_then(Adversary::withstood);
        if rolls_back && robustness.alarm != Some(true) {
            refuge = Some(Refuge::here(gpu, &network, &moving.optimizer)?);
        }
        at.spent = spent + started.elapsed().as_secs_f64();
        keeper.keep(gpu, (&network, &moving, refuge.as_ref()), &at)?;
        if let Some(line) = at.epochs.last() {
            watch.end(line);
        }
        if watch.interrupted() {
            return Err(interrupted(&at, out));
        }
    }

    let rolled_back_to = at.epochs.last().and_then(|epoch| epoch.robustness.rolled_back_to);
    let ended = rolled_back_to.map_or(at.epochs.len(), |epoch| epoch as usize);
    let (Some(last), Some((best_epoch, best))) = (at.epochs[..ended].last(), at.best) else {
        return Err(LabError::Usage("nothing to train: --epochs and --steps must be at least 1".to_owned()));
    };
    let trained: f64 = at.epochs.iter().map(|epoch| epoch.seconds).sum();
    let images: f64 = at.epochs.iter().map(|epoch| epoch.images_per_second * epoch.seconds).sum();
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
        kernel_choices: choices::record(gpu)?,
        precision: gpu.precision(),
        epochs: last.epoch,
        steps: at.step,
        train_loss: last.train_loss,
        quality: last.quality,
        best_epoch,
        best,
        robustness: last.robustness,
        rolled_back_from: rolled_back_to.map(|_| at.epochs.len() as u32),
        images_per_second: images / trained,
        peak_gpu_bytes: memory.peak,
        planned_gpu_bytes: need.bytes,
        memory,
        seconds: spent + started.elapsed().as_secs_f64(),
    };
    draw_curves(&out.join("training"), &format!("{} on {}", settings.model, data.name), &at.epochs)?;
    write_json(&out.join("result.json"), &outcome)?;
    keeper.forget()?;
    Ok(outcome)
}

/// The order of a pass over the set. Each is made once; the one before gives its memory back first.
fn ordered<'a>(
    gpu: &Gpu,
    order: &'a mut Option<(u32, Words)>,
    seed: u64,
    pass: u32,
    images: usize,
) -> Result<&'a Words, LabError> {
    let kept = order.take().filter(|(of, _)| *of == pass);
    let kept = match kept {
        Some(kept) => kept,
        None => (pass, gpu.words(&Stream::new(seed, Purpose::Shuffle, pass).permutation(images as u32))?),
    };
    Ok(&order.insert(kept).1)
}

/// Whether the run has gone back and ended, or so many epochs have brought nothing better that it is to end.
fn is_over(settings: &Settings, at: &Position) -> bool {
    if at.epochs.last().is_some_and(|epoch| epoch.robustness.rolled_back_to.is_some()) {
        return true;
    }
    let waited = at.epochs.len() as u32 - at.best.map_or(0, |(epoch, _)| epoch);
    at.best.is_some() && settings.early_stop.is_some_and(|patience| waited >= patience)
}

fn interrupted(at: &Position, out: &Path) -> LabError {
    LabError::Interrupted { step: at.step, folder: out.to_owned() }
}

fn write_metrics(out: &Path, epochs: &[Epoch]) -> Result<(), LabError> {
    let lines = epochs.iter().map(json_line).collect::<Result<String, _>>()?;
    Ok(files::write(&out.join("metrics.jsonl"), lines.as_bytes())?)
}

/// Losses and accuracies over the epochs.
fn draw_curves(path: &Path, title: &str, epochs: &[Epoch]) -> Result<(), LabError> {
    let series = |of: &dyn Fn(&Epoch) -> Option<f64>| -> Vec<f64> { epochs.iter().filter_map(of).collect() };
    let accuracies: Vec<(&str, Vec<f64>)> = [
        ("test accuracy", series(&|epoch| epoch.quality.test_accuracy)),
        ("under FGSM", series(&|epoch| epoch.robustness.fgsm_accuracy)),
        ("under PGD-5", series(&|epoch| epoch.robustness.pgd_accuracy)),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .collect();
    let test_loss = if accuracies.is_empty() { "test MSE" } else { "test loss" };
    let losses = [
        ("train loss", series(&|epoch| Some(epoch.train_loss))),
        (test_loss, series(&|epoch| epoch.quality.test_loss.or(epoch.quality.test_mse))),
    ];
    Ok(super::plots::training_curve(path, title, &losses, &accuracies)?)
}

fn json_line(value: &impl Serialize) -> Result<String, LabError> {
    serde_json::to_string(value).map(|line| line + "\n").map_err(|error| LabError::Usage(error.to_string()))
}

/// Writes a value as readable JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), LabError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| LabError::Usage(error.to_string()))?;
    Ok(files::write(path, (text + "\n").as_bytes())?)
}
