//! `shadegrad map`.

mod merging;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::lab::map::{self, Care, Cell, CellResult, Map, Outcome, Plan, Progress, Share, Sources};
use crate::lab::{LabError, in_255ths};

use super::ood::{Name, scores};
use super::{Device, interrupt, length, output};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    /// Classifiers, with commas between
    #[arg(long, value_delimiter = ',', default_value = "lenet")]
    model: Vec<String>,
    /// 'shapes' (built in), 'cifar10' (downloaded), or a data folder as 'train' takes it
    #[arg(long, default_value = "shapes", value_name = "shapes|cifar10|DIR")]
    data: String,
    /// Ways of training: 'none' on clean pictures alone (what all others are compared with), and those of 'train --adv'
    #[arg(long, value_delimiter = ',', default_value = "none,fgsm,fast", value_name = "NAME,...")]
    defence: Vec<String>,
    /// How far each defence's attack may move a pixel, in pixel units: k/255 or a decimal
    #[arg(long, value_delimiter = ',', value_parser = length, default_value = "2/255,4/255,8/255", value_name = "EPS,...")]
    eps: Vec<f64>,
    /// After which epochs every cell is measured; it is trained to the last of them
    #[arg(long, value_delimiter = ',', default_value = "1,2,5,10", value_name = "N,...", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    epochs: Vec<u32>,
    /// How many seeds, counted from 0
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=map::MAX_SEEDS))]
    seeds: u64,
    /// Scores, as 'ood' has them; 'all' for all. Those that need a fit of the training set make it at each measuring
    #[arg(long, value_delimiter = ',', default_value = "max-logit,max-softmax,energy", value_name = "NAME,...")]
    score: Vec<Name>,
    /// Sets of other pictures, as 'ood' has them
    #[arg(long, value_delimiter = ',', default_value = "fake", value_name = "NAME|FILE|FOLDER,...")]
    ood: Vec<String>,
    /// Pictures to a step
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Learning rate of Adam
    #[arg(long, default_value_t = 1e-3, value_parser = super::train::positive)]
    lr: f64,
    /// At most so many training pictures: the first of the set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    train_images: Option<u32>,
    /// At most so many test pictures: the first of the set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    test_images: Option<u32>,
    /// At most so many pictures of each other set [default: as many as test pictures]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    ood_images: Option<u32>,
    /// How far FGSM and PGD (ten steps) may move a pixel where cells are measured [default: as --eps]
    #[arg(long, value_delimiter = ',', value_parser = length, value_name = "EPS,...")]
    attack_eps: Vec<f64>,
    /// The first so many test pictures are attacked
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attack_images: u32,
    /// Folder of the map. Any number of processes may share it, and finished cells are not done again
    #[arg(long, default_value = "out/map", value_name = "DIR")]
    out: PathBuf,
    /// Only the i-th of n shares, counted from 1: cells i, i + n, i + 2n ... of --list. With n = the number of cells, one
    /// cell
    #[arg(long, value_name = "i/n")]
    cell: Option<Share>,
    /// Print the cells and what is done of them, and do nothing
    #[arg(long, conflicts_with = "cell")]
    list: bool,
    /// Print the list as JSON
    #[arg(long, requires = "list")]
    json: bool,
    /// Keep a cell's state once in so many steps, too, not only at each epoch's end and at Ctrl-C
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    save_every: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Put the finished cells of one or several folders together: tables, result.json and the report; names what is missing
    Merge(merging::Args),
}

impl Args {
    fn plan(&self) -> Plan {
        let mut epochs = self.epochs.clone();
        epochs.sort_unstable();
        Plan {
            models: self.model.clone(),
            defences: self.defence.clone(),
            eps: self.eps.clone(),
            epochs,
            seeds: self.seeds,
            scores: scores(&self.score).iter().map(|score| score.name().to_owned()).collect(),
            batch: self.batch as usize,
            lr: self.lr,
            attack_eps: if self.attack_eps.is_empty() { self.eps.clone() } else { self.attack_eps.clone() },
            attack_images: self.attack_images as usize,
        }
    }

    fn sources(&self) -> Sources {
        let limit = |count: Option<u32>| count.map_or(usize::MAX, |count| count as usize);
        Sources {
            data: self.data.clone(),
            ood: self.ood.clone(),
            train_images: limit(self.train_images),
            test_images: limit(self.test_images),
            ood_images: self.ood_images.map(|count| count as usize),
        }
    }
}

/// A line of the list.
#[derive(Serialize)]
struct Listed {
    /// What `--cell NUMBER/(number of cells)` takes.
    number: usize,
    #[serde(flatten)]
    cell: Cell,
    done: bool,
    /// A state of it is kept: it was left, or is under way and was kept at an epoch's end or by --save-every.
    begun: bool,
}

fn list(plan: &Plan, out: &Path, json: bool) -> Result<(), LabError> {
    map::check_plan(out, plan)?;
    let listed = |(at, cell): (usize, Cell)| {
        let (done, begun) = map::is_begun(out, &cell);
        Listed { number: at + 1, cell, done, begun: begun && !done }
    };
    let all: Vec<Listed> = plan.cells().into_iter().enumerate().map(listed).collect();
    if json {
        return output::json(&all);
    }
    let width = all.len().to_string().len();
    for one in &all {
        let state = match (one.done, one.begun) {
            (true, _) => "  done",
            (_, true) => "  begun",
            _ => "",
        };
        output::say(&format!("{:>width$}/{}  {}{state}", one.number, all.len(), one.cell.name));
    }
    Ok(())
}

/// A bar a cell on a terminal, and lines.
struct Display {
    bar: ProgressBar,
}

/// The bar's length: fine enough for any cell.
const LENGTH: u64 = 10_000;

impl Display {
    fn new(title: &str) -> Self {
        let bar = ProgressBar::new(LENGTH).with_prefix(title.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:20} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar }
    }
}

impl Progress for Display {
    fn at(&mut self, share: f64, what: &str) {
        self.bar.set_position((share * LENGTH as f64) as u64);
        self.bar.set_message(what.to_owned());
    }

    fn note(&mut self, line: &str) {
        let title = self.bar.prefix();
        self.bar.suspend(|| output::complain(&format!("{title}: {line}")));
    }

    fn interrupted(&mut self) -> bool {
        interrupt::is_wanted()
    }
}

/// What a cell found, in one line.
fn found(result: &CellResult) -> String {
    if let Some(step) = result.diverged {
        return format!("it diverged: not finite after step {step}");
    }
    let Some(last) = result.measured.last() else { return String::new() };
    let mut parts = vec![format!("test accuracy {:.1} %", 100.0 * last.clean_accuracy)];
    if let Some(attacked) = last.attacked.last() {
        let eps = in_255ths(attacked.eps);
        parts.push(format!("under PGD at {eps}/255 {:.1} %", 100.0 * attacked.pgd_accuracy));
    }
    if let Some(one) = last.detection.first() {
        parts.push(format!("AUROC of {} on {} {:.3}", one.score, one.ood, one.metrics.auroc));
    }
    if let Some(epoch) = result.alarms().first() {
        parts.push(format!("alarm in epoch {epoch}"));
    }
    parts.join(", ")
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    if let Some(Task::Merge(args)) = &args.task {
        return merging::run(args);
    }
    let (plan, sources) = (args.plan(), args.sources());
    plan.check()?;
    sources.check()?;
    if args.list {
        return list(&plan, &args.out, args.json);
    }
    let material = sources.open(&plan)?;
    let map = Map::new(plan, material.pictures.clone());
    map::begin(&args.out, &map)?;
    let cells = map.plan.cells();
    let all = cells.len();
    let ours: Vec<(usize, &Cell)> =
        cells.iter().enumerate().filter(|(at, _)| args.cell.is_none_or(|share| share.has(*at))).collect();
    if ours.is_empty() {
        output::say(&format!("nothing to do: the map has {all} cells"));
        return Ok(());
    }
    let gpu = device.open(false)?;
    let command = super::command_line();
    let care = Care { command: &command, every: args.save_every };
    let mut busy = Vec::new();
    interrupt::listen();
    for (at, cell) in ours {
        let title = format!("[{:>width$}/{all}] {}", at + 1, cell.name, width = all.to_string().len());
        let mut display = Display::new(&title);
        interrupt::heed(true);
        let outcome = map::cell(&gpu, (&map, &material), cell, &args.out, care, &mut display);
        interrupt::heed(false);
        display.bar.finish_and_clear();
        if matches!(outcome, Err(LabError::Interrupted { .. })) {
            output::complain("the same command goes on from here");
        }
        let outcome = outcome?;
        let steps = match &outcome {
            Outcome::Kept(result) | Outcome::Done(result) => result.training.last().map_or(0, |epoch| epoch.steps),
            Outcome::Busy(_) => 0,
        };
        match outcome {
            Outcome::Kept(_) => output::say(&format!("{title}: done before")),
            Outcome::Done(result) => {
                output::say(&format!("{title}: {} ({})", found(&result), output::duration(result.seconds)));
            }
            Outcome::Busy(error) => {
                output::say(&format!("{title}: passed over, another process is at it"));
                busy.push((cell.name.clone(), error));
            }
        }
        // A cell that was over by then is done.
        if interrupt::is_wanted() {
            output::complain("the same command goes on from here");
            return Err(LabError::Interrupted { step: steps, folder: args.out.clone() });
        }
    }
    match busy.first() {
        Some((name, error)) if args.cell.is_some() => {
            return Err(LabError::Usage(format!("the cell {name} is busy: {error}")));
        }
        _ => {}
    }
    if args.cell.is_none() && cells.iter().all(|cell| map::is_begun(&args.out, cell).0) {
        return merging::in_place(&args.out);
    }
    output::say(&format!("cells: {}; 'shadegrad map merge {0}' puts them together", args.out.display()));
    Ok(())
}
