//! `shadegrad attack`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::attack::{Convention, Method as Search, Pgd, Target};
use crate::data::{self, DataSet};
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::attack::{self, Notes, OnePicture, Outcome, Settings};
use crate::models;
use crate::nn::Network;

use super::{Device, Subject, length, output};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// One step of eps along the gradient's sign
    Fgsm,
    /// Several steps, each brought back into the ball of eps
    Pgd,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    #[arg(long, default_value = "fgsm", help = "Attack")]
    method: Method,
    /// How far each pixel may move, in pixel units on [0, 1]: k/255 or a decimal, several with commas between. Pictures
    /// are left of the last one
    #[arg(long, default_value = "1/255,2/255,4/255,8/255", value_delimiter = ',', value_parser = length, allow_hyphen_values = true)]
    eps: Vec<f64>,
    /// What pictures are to become: 'next' ((label + 1) mod 10), 'least-likely', or a class by name or number
    /// [default: anything but their label]
    #[arg(long, value_name = "next|least-likely|CLASS")]
    target: Option<String>,
    /// Steps of PGD [default: 10]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    steps: Option<u32>,
    /// Length of a step of PGD, as --eps [default: 2.5 eps / steps]
    #[arg(long, value_parser = length, allow_hyphen_values = true)]
    step_size: Option<f64>,
    /// Begin PGD at the picture itself (BIM) rather than anywhere in the ball
    #[arg(long)]
    no_random_start: bool,
    /// At most so many test pictures [default: all]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,
    /// Seed of random starts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The lab's conventions: eps counts on inputs in [-1, 1] (so that 2/255 is 1/255 in pixels), and the model is in
    /// training mode while it is attacked
    #[arg(long)]
    lab_compat: bool,
    /// Attack at the last eps towards every class, too, and draw the success by label and target
    #[arg(long)]
    table: bool,
    /// Attack this picture instead of the test set (any size; the middle square is scaled to 32 x 32)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "table", "save"])]
    image: Option<PathBuf>,
    /// Class of that picture, by name or number [default: what the model says it is]
    #[arg(long, value_name = "CLASS", requires = "image")]
    label: Option<String>,
    /// Folder for result.json and the pictures
    #[arg(long, default_value = "out/attack", value_name = "DIR")]
    out: PathBuf,
    /// Keep clean and adversarial pixels, labels and predictions as safetensors, of one --eps
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print result.json instead of a table
    #[arg(long)]
    json: bool,
}

/// A class by its name or its number.
fn class(option: &str, text: &str, classes: &[String]) -> Result<usize, LabError> {
    let named = classes.iter().position(|name| name.eq_ignore_ascii_case(text));
    let numbered = || text.parse().ok().filter(|&number: &usize| number < classes.len());
    named.or_else(numbered).ok_or_else(|| {
        let last = classes.len().saturating_sub(1);
        LabError::Usage(format!(
            "{option}: there is no class '{text}': choose one of {}, or a number from 0 to {last}",
            classes.join(", ")
        ))
    })
}

impl Args {
    fn settings(&self, classes: &[String]) -> Result<Settings, LabError> {
        let pgd_only = [
            ("--steps", self.steps.is_some()),
            ("--step-size", self.step_size.is_some()),
            ("--no-random-start", self.no_random_start),
        ];
        let method = match self.method {
            Method::Pgd => Search::Pgd(Pgd {
                steps: self.steps.unwrap_or(10),
                step_size: self.step_size,
                random_start: !self.no_random_start,
            }),
            Method::Fgsm => match pgd_only.iter().find(|(_, given)| *given) {
                Some((name, _)) => return Err(LabError::Usage(format!("{name} needs --method pgd"))),
                None => Search::Fgsm,
            },
        };
        if self.save.is_some() && self.eps.len() != 1 {
            return Err(LabError::Usage(format!(
                "--save keeps the pictures of one eps, but --eps gives {}: choose one, such as --eps 8/255",
                self.eps.len()
            )));
        }
        let target = match self.target.as_deref() {
            None => Target::Untargeted,
            Some("next") => Target::Next,
            Some("least-likely") => Target::LeastLikely,
            Some(text) => Target::Class(class("--target", text, classes)?),
        };
        let convention = if self.lab_compat { Convention::Lab } else { Convention::Pixels };
        Ok(Settings { method, target, eps: self.eps.clone(), convention, seed: self.seed, table: self.table })
    }
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    let gpu = device.open(args.json)?;
    let network = models::from_file(&gpu, &args.subject.weights, args.subject.model.as_deref())?;
    let set = data::open(&args.subject.data)?;
    let settings = args.settings(&set.classes)?;
    let command = super::command_line();
    let weights = args.subject.weights.display().to_string();
    let notes = Notes { command: &command, weights, classes: &set.classes };
    match &args.image {
        Some(path) => picture(args, &gpu, &network, (path, &set), &settings, &notes),
        None => test_set(args, &gpu, &network, set.clone(), &settings, &notes),
    }
}

fn test_set(
    args: &Args,
    gpu: &Gpu,
    network: &Network,
    set: DataSet,
    settings: &Settings,
    notes: &Notes<'_>,
) -> Result<(), LabError> {
    let images = set.test.truncated(args.count.map_or(usize::MAX, |count| count as usize));
    let bar = output::bar(images.count(), "attacking", "images");
    let places = (args.out.as_path(), args.save.as_deref());
    let outcome = attack::run(gpu, network, (&images, &set.name), settings, notes, places, |done, work| {
        bar.set_length(work as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if args.json {
        return output::json(&outcome);
    }
    print(&outcome);
    if let Some(path) = &args.save {
        output::say(&format!("pixels and predictions: {}", path.display()));
    }
    output::say(&format!("pictures and result.json: {}", args.out.display()));
    Ok(())
}

fn print(outcome: &Outcome) {
    let kind = &outcome.kind;
    let steps = kind.steps.map(|steps| format!("-{steps}")).unwrap_or_default();
    output::say(&format!(
        "{} on {} {} images · {}{steps}, {} · clean accuracy {:.2} %",
        outcome.model,
        outcome.images,
        outcome.data,
        kind.method,
        kind.target,
        100.0 * outcome.clean_accuracy
    ));
    if kind.convention == Convention::Lab.name() {
        output::say("lab conventions: eps counts on inputs in [-1, 1], half of it in pixels; model in training mode");
    }
    output::say("eps        accuracy   success (of the correctly classified)");
    for at in &outcome.by_eps {
        let eps = shown(at.eps);
        output::say(&format!("{eps:<10} {:>6.2} %  {:>6.2} %", 100.0 * at.accuracy, 100.0 * at.success));
    }
}

/// An epsilon as people write it.
fn shown(eps: f64) -> String {
    let steps = 255.0 * eps;
    if (steps - steps.round()).abs() < 1e-9 { format!("{steps:.0}/255") } else { format!("{eps}") }
}

fn picture(
    args: &Args,
    gpu: &Gpu,
    network: &Network,
    (path, set): (&Path, &DataSet),
    settings: &Settings,
    notes: &Notes<'_>,
) -> Result<(), LabError> {
    let bytes = data::read_picture(path)?;
    let label = args.label.as_deref().map(|text| class("--label", text, &set.classes)).transpose()?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let subject = (bytes.as_slice(), name.as_ref(), label.map(|label| label as u8));
    let outcome: OnePicture = attack::one_picture(gpu, network, subject, settings, notes, &args.out)?;
    if args.json {
        return output::json(&outcome);
    }
    let given = if args.label.is_some() { "label" } else { "taken as" };
    output::say(&format!(
        "{name} ({given} {}): {} with {:.1} %",
        outcome.label,
        outcome.predicted_clean,
        100.0 * outcome.confidence_clean
    ));
    for at in &outcome.by_eps {
        let line = format!("eps {}: {} with {:.1} %", shown(at.eps), at.predicted, 100.0 * at.confidence);
        output::say(&line);
    }
    output::say(&format!("triptych.png and result.json: {}", args.out.display()));
    Ok(())
}
