//! `shadegrad attack`.

mod search;

use std::path::{Path, PathBuf};

use crate::attack::{Convention, Method, Norm, Target};
use crate::data::{self, DataSet};
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::attack::{self, AtEps, Kind, Notes, OnePicture, Outcome, Settings};
use crate::models;
use crate::nn::Network;

use super::{Device, Subject, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    search: search::Args,
    /// What pictures are to become: 'next' ((label + 1) mod 10), 'least-likely', or a class by name or number
    /// [default: anything but their label]
    #[arg(long, value_name = "next|least-likely|CLASS")]
    target: Option<String>,
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
        let (methods, eps) = self.search.methods()?;
        if self.save.is_some() && eps.len() != 1 {
            return Err(LabError::Usage(format!(
                "--save keeps the pictures of one eps, but --eps gives {}: choose one, such as --eps 8/255",
                eps.len()
            )));
        }
        let no_target = methods.iter().find(|method| matches!(method, Method::DeepFool(_)));
        if let Some(method) = no_target.filter(|_| self.target.is_some() || self.table) {
            let option = if self.table { "--table" } else { "--target" };
            let name = method.name();
            return Err(LabError::Usage(format!(
                "{option} is not for {name}, which goes to whichever class is nearest"
            )));
        }
        if self.table && methods.len() > 1 {
            return Err(LabError::Usage("--table is made of one method: give one".to_owned()));
        }
        let target = match self.target.as_deref() {
            None => Target::Untargeted,
            Some("next") => Target::Next,
            Some("least-likely") => Target::LeastLikely,
            Some(text) => Target::Class(class("--target", text, classes)?),
        };
        let convention = if self.lab_compat { Convention::Lab } else { Convention::Pixels };
        Ok(Settings { methods, target, eps, convention, seed: self.seed, table: self.table })
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
    output::say(&format!(
        "{} on {} {} images · {}, {} · clean accuracy {:.2} %",
        outcome.model,
        outcome.images,
        outcome.data,
        called(kind),
        kind.target,
        100.0 * outcome.clean_accuracy
    ));
    if kind.convention == Convention::Lab.name() {
        output::say("lab conventions: eps counts on inputs in [-1, 1], half of it in pixels; model in training mode");
    }
    for one in &outcome.each {
        output::say(&format!("{}:", called(&one.kind)));
        rows(&one.by_eps, kind);
    }
    if !outcome.each.is_empty() {
        output::say("each picture's worst case:");
    }
    rows(&outcome.by_eps, kind);
}

/// An attack's name with its number of steps.
fn called(kind: &Kind) -> String {
    kind.method.clone() + &kind.steps.map(|steps| format!("-{steps}")).unwrap_or_default()
}

fn rows(by_eps: &[AtEps], kind: &Kind) {
    output::say("eps        accuracy   success (of the correctly classified)   median L2 distance of the wrong");
    for at in by_eps {
        let far = at.median_l2.map_or_else(|| "-".to_owned(), |far| format!("{far:.3}"));
        let eps = shown(at.eps, kind.norm);
        output::say(&format!("{eps:<10} {:>6.2} %  {:>6.2} % {far:>33}", 100.0 * at.accuracy, 100.0 * at.success));
    }
}

/// An epsilon as people write it.
fn shown(eps: f64, norm: &str) -> String {
    let steps = 255.0 * eps;
    if eps == f64::INFINITY {
        "any".to_owned()
    } else if norm == Norm::LInf.name() && (steps - steps.round()).abs() < 1e-9 {
        format!("{steps:.0}/255")
    } else {
        format!("{eps}")
    }
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
        let line =
            format!("eps {}: {} with {:.1} %", shown(at.eps, outcome.kind.norm), at.predicted, 100.0 * at.confidence);
        output::say(&line);
    }
    output::say(&format!("triptych.png and result.json: {}", args.out.display()));
    Ok(())
}
