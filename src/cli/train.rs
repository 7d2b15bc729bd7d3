//! `shadegrad train`.

mod adversarial;
mod recipe;
mod resume;

use std::path::PathBuf;

use clap::ValueEnum;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::data;
use crate::gpu::Precision;
use crate::lab::LabError;
use crate::lab::train::{self, Care, Epoch, Robustness, Settings, Watch};
use crate::lock::FolderLock;
use crate::models;
use crate::nn::{OptimizerKind, Schedule};
use crate::ops::optimizer::{Adam, Sgd};

use super::{Device, interrupt, output};
use adversarial::Options;
use recipe::Recipe;
use resume::{refuse_to_lose, resumed, say_where_it_goes_on};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rule {
    Adam,
    #[value(name = "adamw")]
    AdamW,
    Sgd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Plan {
    Constant,
    Step,
    Cosine,
    #[value(alias = "one-cycle")]
    Triangular,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    Finite,
}

#[derive(Debug, clap::Args, Serialize, Deserialize)]
pub struct Args {
    /// lenet, lab or fast (classifiers), ae3 or ae4 (autoencoders), ae3-lab or ae4-lab (these as the lab trained them)
    #[arg(long, default_value = "lenet")]
    model: String,
    /// What the settings are that are not given [default: fast for '--model fast', plain for every other]
    #[arg(long)]
    recipe: Option<Recipe>,
    /// 'shapes' (built in), 'cifar10' (downloaded), a folder with its binary files, or one with train/CLASS and test/CLASS
    #[arg(long, default_value = "shapes", value_name = "shapes|cifar10|DIR")]
    data: String,
    /// Passes over the training pictures
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    epochs: u32,
    /// Pictures to a step
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Learning rate at its highest
    #[arg(long, default_value_t = 1e-3, value_parser = positive)]
    lr: f64,
    #[arg(long, default_value = "adam", help = "Rule that moves the weights")]
    optimizer: Rule,
    /// Momentum of SGD
    #[arg(long, default_value_t = 0.9, value_parser = share)]
    momentum: f64,
    /// Nesterov's form of the momentum
    #[arg(long)]
    nesterov: bool,
    /// Weight decay: an L2 penalty for SGD and Adam, decoupled for AdamW
    #[arg(long, default_value_t = 0.0, value_parser = not_negative)]
    weight_decay: f64,
    #[arg(
        long,
        default_value = "constant",
        help = "How the learning rate changes over the run (triangular: up to the full rate at --peak, then down)"
    )]
    schedule: Plan,
    /// Epochs between two falls of '--schedule step'
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    step_epochs: u32,
    /// Factor of each fall of '--schedule step'
    #[arg(long, default_value_t = 0.1, value_parser = positive)]
    step_factor: f64,
    /// Share of the run at which '--schedule triangular' is highest
    #[arg(long, default_value_t = 0.3, value_parser = share)]
    peak: f64,
    /// Label smoothing (leave it out where OOD scores are wanted)
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    smoothing: f64,
    /// What '--model fast' adds to the variance of pictures in each direction before its first layer divides by the root of
    /// it; against attacks more is wanted, since that layer blows up the directions in which pictures hardly vary [default:
    /// 0.0005]
    #[arg(long, value_name = "EPSILON", value_parser = positive)]
    #[serde(default)]
    whitening_epsilon: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    adversarial: Options,
    /// Mirror pictures at random
    #[arg(long)]
    flip: bool,
    /// Shift pictures at random by up to so many pixels each way, reflecting the border
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=16))]
    shift: u32,
    /// Decides initial weights, order and augmentation: the same seed gives the same weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Stop after so many epochs without a better test result
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    early_stop: Option<u32>,
    /// Stop after so many steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// At most so many training pictures: the first of the set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    train_images: Option<u32>,
    /// At most so many test pictures: the first of the set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    test_images: Option<u32>,
    /// Folder for result.json, metrics.jsonl, best.safetensors, last.safetensors and the curves [default: out/MODEL]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the unfinished run whose state lies in --out: all else is as it was begun
    #[arg(long)]
    #[serde(skip)]
    resume: bool,
    /// Go on even where the program's version or the adapter is another than that of the state; the rest of the run may
    /// then be rounded otherwise
    #[arg(long, requires = "resume")]
    #[serde(skip)]
    elsewhere: bool,
    /// Begin anew although --out holds the state of an unfinished run with the same settings
    #[arg(long, conflicts_with = "resume")]
    #[serde(skip)]
    fresh: bool,
    /// Keep the run's state once in so many steps, not only at each epoch's end and at Ctrl-C
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(skip)]
    save_every: Option<u64>,
    /// Stop at the first operation that writes a number that is not finite, and say which it is (slow)
    #[arg(long, value_name = "WHAT")]
    #[serde(skip)]
    check: Option<Check>,
    /// Refuse to begin if the run would take more GPU memory than so many MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    #[serde(skip)]
    memory_limit: Option<u64>,
    /// Print result.json instead of a line an epoch
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

fn number(text: &str, wanted: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|&value: &f64| value.is_finite() && fits(value))
        .ok_or_else(|| format!("{wanted} is needed"))
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |value| value > 0.0)
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, "a number of at least 0", |value| value >= 0.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, "a number of at least 0 and below 1", |value| (0.0..1.0).contains(&value))
}

/// Shows a bar an epoch and a line after it.
struct Display {
    bar: ProgressBar,
    epochs: u32,
    quiet: bool,
    /// Accuracy under PGD on the fixed training batch, after the last epoch.
    withstood: Option<f64>,
    /// Whether training is to go back at an alarm.
    rolls_back: bool,
}

impl Watch for Display {
    fn begin(&mut self, epoch: u32, steps: usize) {
        self.bar = output::bar(steps, &format!("epoch {epoch}/{}", self.epochs), "batches");
    }

    fn step(&mut self, done: usize, loss: f64, images_per_second: f64) {
        self.bar.set_message(format!("loss {loss:.4}, {images_per_second:.0} images/s, "));
        self.bar.set_position(done as u64);
    }

    fn end(&mut self, epoch: &Epoch) {
        self.bar.finish_and_clear();
        let line = format!(
            "epoch {:>3}/{}  train loss {:.5}  {}{}  {:.0} images/s  {}",
            epoch.epoch,
            self.epochs,
            epoch.train_loss,
            epoch.quality.line(),
            under_attack(&epoch.robustness),
            epoch.images_per_second,
            output::duration(epoch.seconds)
        );
        if self.quiet {
            output::complain(&line)
        } else {
            output::say(&line)
        }
        let robustness = &epoch.robustness;
        let (now, one_step) = (robustness.pgd_train_accuracy, robustness.fgsm_train_accuracy);
        if let (Some(true), Some(now), Some(one_step)) = (robustness.alarm, now, one_step) {
            let then = match (robustness.rolled_back_to, self.rolls_back) {
                (Some(to), _) => format!("the weights go back to the end of epoch {to}, and training ends"),
                (None, true) => "there is no epoch without an alarm to go back to, and training goes on".to_owned(),
                (None, false) => "distrust accuracies under FGSM from here on".to_owned(),
            };
            let percent = |share: f64| format!("{:.1} %", 100.0 * share);
            let what = match self.withstood {
                Some(before) if before - now > one_step - now => {
                    format!("fell from {} to {}", percent(before), percent(now))
                }
                _ => format!("is {}, under FGSM {},", percent(now), percent(one_step)),
            };
            output::complain(&format!(
                "alarm: accuracy under PGD on a fixed training batch {what} in epoch {}: this looks like catastrophic \
                 overfitting, so {then}",
                epoch.epoch
            ));
        }
        self.withstood = now;
    }

    fn resumed(&mut self, epochs: &[Epoch]) {
        self.withstood = epochs.last().and_then(|epoch| epoch.robustness.pgd_train_accuracy);
    }

    fn interrupted(&mut self) -> bool {
        interrupt::is_wanted()
    }
}

/// Accuracies under attack, where there are any.
fn under_attack(robustness: &Robustness) -> String {
    match (robustness.fgsm_accuracy, robustness.pgd_accuracy) {
        (Some(fgsm), Some(pgd)) => format!(", FGSM {:.1} %, PGD-5 {:.1} %", 100.0 * fgsm, 100.0 * pgd),
        _ => String::new(),
    }
}

impl Args {
    fn settings(&self, train_images: usize) -> Result<Settings, LabError> {
        let adam = Adam { weight_decay: self.weight_decay, ..Adam::default() };
        let per_epoch = train_images.div_ceil(self.batch as usize) as u64;
        Ok(Settings {
            model: self.model.clone(),
            epochs: self.epochs,
            batch: self.batch as usize,
            rate: self.lr,
            optimizer: match self.optimizer {
                Rule::Adam => OptimizerKind::Adam(adam),
                Rule::AdamW => OptimizerKind::Adam(Adam { decoupled: true, ..adam }),
                Rule::Sgd => OptimizerKind::Sgd(Sgd {
                    momentum: self.momentum,
                    nesterov: self.nesterov,
                    weight_decay: self.weight_decay,
                }),
            },
            schedule: match self.schedule {
                Plan::Constant => Schedule::Constant,
                Plan::Step => {
                    Schedule::Step { every: u64::from(self.step_epochs) * per_epoch, factor: self.step_factor }
                }
                Plan::Cosine => Schedule::Cosine,
                Plan::Triangular => Schedule::Triangular { peak: self.peak },
            },
            seed: self.seed,
            smoothing: self.smoothing as f32,
            flip: self.flip,
            shift: self.shift as usize,
            early_stop: self.early_stop,
            steps: self.steps,
            adversarial: self.adversarial.chosen()?,
            whitening_epsilon: self.whitening_epsilon,
        })
    }
}

pub fn run(args: Args, given: &[String], device: &Device) -> Result<(), LabError> {
    let plan = models::architecture(&args.model)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("out").join(&plan.name));
    let (fresh, resume) = (args.fresh, args.resume);
    let (mut args, state) = if resume { resumed(args, given, &out)? } else { (args.by_recipe(given), None) };
    args.adversarial = args.adversarial.resolved()?;
    if args.nesterov && (args.optimizer != Rule::Sgd || args.momentum == 0.0) {
        return Err(LabError::Usage("--nesterov needs --optimizer sgd and a --momentum above 0".to_owned()));
    }
    let limit = |count: Option<u32>| count.map_or(usize::MAX, |count| count as usize);
    let set = data::open(&args.data)?.truncated(limit(args.train_images), limit(args.test_images));
    let settings = args.settings(set.train.count())?;
    settings.check()?;
    let _lock = FolderLock::take(&out)?;
    let gpu = device.open(args.json)?;
    args.say_recipe();
    let mut command = super::command_line();
    let mut json = serde_json::to_value(&args).map_err(|error| LabError::Usage(error.to_string()))?;
    if let Some(state) = &state {
        let differences = state.mismatch(&gpu, &settings, &set, args.elsewhere)?;
        if !differences.is_empty() {
            return Err(state.refused(&differences));
        }
        let (begun, arguments) = state.command();
        (command, json) = (begun.to_vec(), arguments.clone());
        say_where_it_goes_on(&args, state, &out);
    } else if !fresh {
        refuse_to_lose(&gpu, &settings, &set, &out)?;
    }
    let rolls_back = settings.adversarial.is_some_and(|chosen| chosen.roll_back);
    let (bar, epochs, quiet) = (ProgressBar::hidden(), args.epochs, args.json);
    let mut display = Display { bar, epochs, quiet, withstood: None, rolls_back };
    let care = Care {
        from: state,
        every: args.save_every,
        check: args.check.is_some(),
        memory_limit: args.memory_limit.map(|limit| limit << 20),
    };
    interrupt::listen();
    interrupt::heed(true);
    let outcome = train::train_kept(&gpu, &settings, &set, &out, (&command, json), care, &mut display);
    interrupt::heed(false);
    display.bar.finish_and_clear();
    let outcome = match outcome {
        Err(LabError::Interrupted { step, folder }) => {
            let place = folder.display();
            let precision = if gpu.precision() == Precision::F16 { " --precision f16" } else { "" };
            output::complain(&format!("go on with: shadegrad train --resume --out {place}{precision}"));
            return Err(LabError::Interrupted { step, folder });
        }
        outcome => outcome?,
    };
    if args.json {
        return output::json(&outcome);
    }
    output::say(&format!(
        "{} on {}: {} after {} epochs (best: epoch {}, {}), {}, {:.0} images/s, {:.0} MiB of GPU memory",
        outcome.model,
        outcome.data,
        outcome.quality.line(),
        outcome.epochs,
        outcome.best_epoch,
        outcome.best.line(),
        output::duration(outcome.seconds),
        outcome.images_per_second,
        outcome.peak_gpu_bytes as f64 / f64::from(1u32 << 20)
    ));
    output::say(&format!("weights, metrics and curves: {}", out.display()));
    Ok(())
}
