//! `shadegrad lab`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::lab::LabError;
use crate::lab::results::{Classifier, Detection, LabResult, Stage};
use crate::lab::run::{self, Planned, Progress};

use super::{Device, interrupt, output};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// The built-in pictures, few of them: minutes on two cores without a GPU
    Demo,
    /// CIFAR-10 and lenet, 15 epochs: for a laptop's GPU
    Quick,
    /// CIFAR-10 and the lab's CNN, 50 epochs: for a fast GPU
    Paper,
    /// For tests
    #[value(hide = true)]
    Tiny,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How much is done
    #[arg(long, default_value = "demo")]
    preset: Preset,
    /// 'shapes' (built in), 'cifar10' (downloaded), or a data folder as 'train' takes it [default: the preset's]
    #[arg(long, value_name = "shapes|cifar10|DIR")]
    data: Option<String>,
    /// How many seeds each classifier is trained with, counted from 0 [default: the preset's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: Option<u32>,
    /// Epochs of the classifiers [default: the preset's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    epochs: Option<u32>,
    /// Folder for report.html and result.json, and in stages/ for what makes them up. A run that was interrupted goes
    /// on from there: what the same program finished on the same adapter is not done again, and training goes on where
    /// it was left
    #[arg(long, default_value = "out/lab", value_name = "DIR")]
    out: PathBuf,
    /// Do everything anew, whatever is finished
    #[arg(long)]
    fresh: bool,
    /// Only write the folder's report.html again, from its result.json
    #[arg(long, value_name = "DIR", exclusive = true)]
    report_only: Option<PathBuf>,
}

impl Args {
    fn recipe(&self) -> run::Recipe {
        let preset = match self.preset {
            Preset::Demo => run::Preset::Demo,
            Preset::Quick => run::Preset::Quick,
            Preset::Paper => run::Preset::Paper,
            Preset::Tiny => run::Preset::Tiny,
        };
        let mut recipe = preset.recipe();
        let plan = &mut recipe.plan;
        if let Some(data) = &self.data {
            plan.data.clone_from(data);
        }
        if let Some(seeds) = self.seeds {
            plan.seeds = (0..u64::from(seeds)).collect();
        }
        plan.epochs = self.epochs.unwrap_or(plan.epochs);
        recipe
    }
}

/// One bar for the whole run on a terminal; a line a stage where standard error goes elsewhere.
struct Display {
    bar: ProgressBar,
    /// Weight of all stages, of those that are over, and of those that were worked on.
    total: f64,
    over: f64,
    worked: f64,
    stages: usize,
    finished: usize,
    /// The stage that is under way: its title, weight and beginning.
    now: (String, f64, Instant),
    /// Seconds spent on finished stages of this run.
    seconds: f64,
}

/// The bar's length: fine enough for the smallest stage.
const LENGTH: u64 = 10_000;

impl Display {
    fn new() -> Self {
        let bar = ProgressBar::new(LENGTH);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            total: 1.0,
            over: 0.0,
            worked: 0.0,
            stages: 0,
            finished: 0,
            now: (String::new(), 0.0, Instant::now()),
            seconds: 0.0,
        }
    }

    /// A line above the bar, or alone where there is none.
    fn line(&self, text: &str) {
        self.bar.suspend(|| output::complain(text));
    }

    fn show(&self, share: f64, what: &str) {
        let (title, weight, begun) = &self.now;
        let (worked, over) = (self.worked + share * weight, self.over + share * weight);
        let seconds = self.seconds + begun.elapsed().as_secs_f64();
        // What has been done tells how long the rest takes; nothing can be said before something has been.
        let left = if worked > 0.0 {
            let seconds = (seconds / worked * (self.total - over)).ceil();
            if seconds < 60.0 {
                format!("{seconds:.0} s left")
            } else {
                format!("{:.0} min left", (seconds / 60.0).ceil())
            }
        } else {
            "time left unknown".to_owned()
        };
        self.bar.set_position((over / self.total * LENGTH as f64) as u64);
        let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
        self.bar.set_message(format!("{}/{}, {left}: {title}{what}", self.finished + 1, self.stages));
    }
}

impl Progress for Display {
    fn planned(&mut self, stages: &[Planned]) {
        self.total = stages.iter().map(|stage| stage.weight).sum::<f64>().max(f64::MIN_POSITIVE);
        self.stages = stages.len();
        self.bar.enable_steady_tick(Duration::from_millis(500));
    }

    fn begin(&mut self, stage: &Planned) {
        self.now = (stage.title.clone(), stage.weight, Instant::now());
        self.show(0.0, "");
    }

    fn at(&mut self, share: f64, what: &str) {
        self.show(share, what);
    }

    fn end(&mut self, stage: &Stage) {
        let (_, weight, begun) = &self.now;
        self.over += weight;
        if !stage.kept {
            self.worked += weight;
            self.seconds += begun.elapsed().as_secs_f64();
        }
        self.finished += 1;
        let width = self.stages.to_string().len();
        let took = if stage.kept { "kept".to_owned() } else { output::duration(stage.seconds) };
        self.line(&format!("[{:>width$}/{}] {} ({took})", self.finished, self.stages, stage.title));
        self.now = (String::new(), 0.0, Instant::now());
    }

    fn note(&mut self, line: &str) {
        self.line(line);
    }

    fn keeps(&mut self, whether: bool) {
        interrupt::heed(whether);
    }

    fn interrupted(&mut self) -> bool {
        interrupt::is_wanted()
    }
}

/// Mean, and the range where there are several.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    if values.len() == 1 {
        return format!("{mean:.3}");
    }
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    format!("{mean:.3} ({low:.3} to {high:.3})")
}

fn headlines(result: &LabResult) {
    let plan = &result.plan;
    let auroc =
        |detection: &Detection, score: &str| detection.scores.get(score).map_or(f64::NAN, |facts| facts.metrics.auroc);
    output::say(&format!("{} on {}, {} seeds; AUROC against FakeData", plan.model, plan.data_name, plan.seeds.len()));
    for variant in &plan.variants {
        let of = |fact: &dyn Fn(&Classifier) -> f64| {
            spread(result.classifiers.iter().filter(|one| one.variant.name == variant.name).map(fact))
        };
        let line = format!(
            "  {:<10} test accuracy {}, AUROC of max logit {}",
            variant.name,
            of(&|one| one.test_accuracy),
            of(&|one| auroc(&one.detection, "max_logit")),
        );
        output::say(&line);
    }
    let eps = plan.shown_eps;
    for attacked in &result.attacks {
        if let Some(at) = attacked.by_eps.iter().find(|at| (at.eps * 255.0 - eps).abs() < 1e-6) {
            let pgd = at.pgd_accuracy.map_or(String::new(), |accuracy| format!(", under PGD {accuracy:.3}"));
            output::say(&format!(
                "  {:<10} accuracy under FGSM at {eps}/255: {:.3}{pgd} (clean {:.3})",
                attacked.variant.name, at.accuracy, attacked.clean_accuracy
            ));
        }
    }
    for (name, autoencoder) in
        [("", Some(&result.autoencoder)), (" as the lab did", result.autoencoder_compat.as_ref())]
    {
        if let Some(one) = autoencoder {
            let auroc = auroc(&one.detection, "neg_mse");
            output::say(&format!("  {}{name}: MSE {:.4}, AUROC {auroc:.4}", plan.autoencoder, one.test_mse));
        }
    }
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    if let Some(folder) = &args.report_only {
        headlines(&run::report_again(folder)?);
        output::say(&format!("report: {}", folder.join(run::REPORT).display()));
        return Ok(());
    }
    let begun = Instant::now();
    let recipe = args.recipe();
    let material = run::Material::read(&recipe)?;
    let gpu = device.open(false)?;
    let mut display = Display::new();
    let command = super::command_line();
    interrupt::listen();
    let outcome = run::run(&gpu, &recipe, &material, (&args.out, args.fresh), &command, &mut display);
    display.bar.finish_and_clear();
    if let Err(LabError::Interrupted { .. } | LabError::Left { .. }) = &outcome {
        output::complain("the same command goes on from there (without --fresh)");
    }
    let result = outcome?;
    headlines(&result);
    output::say(&format!("done in {}", output::duration(begun.elapsed().as_secs_f64())));
    output::say(&format!("report: {}", args.out.join(run::REPORT).display()));
    Ok(())
}
