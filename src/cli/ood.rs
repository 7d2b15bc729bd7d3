//! `shadegrad ood`.

use std::path::PathBuf;

use crate::data::{self, Images};
use crate::lab::LabError;
use crate::lab::detect::{self, Outcome, Pair};
use crate::lab::train::write_json;
use crate::lock::FolderLock;
use crate::models;
use crate::ops::choices;

use super::{Device, Subject, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Out-of-distribution pictures: torchvision's FakeData, uniform noise, constant colours, or a folder of pictures
    #[arg(long, default_value = "fake", value_name = "fake|uniform|constant|FOLDER")]
    ood: String,
    /// At most so many pictures of each set [default: all test pictures, and as many of noise]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for result.json, scores.csv and the pictures
    #[arg(long, default_value = "out/ood", value_name = "DIR")]
    out: PathBuf,
    /// Print result.json instead of a table
    #[arg(long)]
    json: bool,
}

/// Names of noise; any other name is a folder's.
const NOISE: [&str; 3] = ["fake", "uniform", "constant"];

fn noise(name: &str, seed: u64, count: usize) -> Images {
    match name {
        "uniform" => data::uniform_noise(seed, count),
        "constant" => data::constant_colours(seed, count),
        _ => data::fake_data(seed, 0, count),
    }
}

/// What plots call it.
fn shown_name(name: &str) -> &str {
    match name {
        "fake" => "FakeData",
        "uniform" => "uniform noise",
        "constant" => "plain colours",
        folder => folder.trim_end_matches('/').rsplit('/').next().unwrap_or(folder),
    }
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    let (state, plan, set) = args.subject.read()?;
    let limit = args.count.map_or(usize::MAX, |count| count as usize);
    let id = set.test.truncated(limit);
    let count = args.count.map_or(id.count(), |count| count as usize);
    // Noise cannot fail but takes a moment; a folder may be bad, and then no device is needed.
    let pictures = match NOISE.contains(&args.ood.as_str()) {
        true => None,
        false => Some(data::read_pictures(args.ood.as_ref(), count)?),
    };
    let _lock = FolderLock::take(&args.out)?;
    let gpu = device.open(args.json)?;
    let network = models::build(&gpu, &state, plan)?;
    let begun = std::time::Instant::now();
    let ood = pictures.unwrap_or_else(|| noise(&args.ood, args.seed, count));
    let bar = output::bar(id.count() + ood.count(), "scoring", "images");
    let pair = Pair { id: &id, id_name: &set.name, ood: &ood, ood_name: shown_name(&args.ood) };
    let scores = detect::detect(&gpu, &network, &pair, &args.out, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let outcome = Outcome {
        command: super::command_line(),
        version: env!("CARGO_PKG_VERSION"),
        model: network.architecture().name.clone(),
        weights: args.subject.weights.display().to_string(),
        data: set.name.clone(),
        ood: args.ood.clone(),
        id_images: id.count(),
        ood_images: ood.count(),
        seed: args.seed,
        adapter: gpu.adapter().clone(),
        kernel_choices: choices::record(&gpu)?,
        scores,
        seconds: begun.elapsed().as_secs_f64(),
    };
    write_json(&args.out.join("result.json"), &outcome)?;
    if args.json {
        return output::json(&outcome);
    }
    output::say(&format!(
        "{} · {} {} images against {} {} images (higher score: more in-distribution)",
        outcome.model, outcome.id_images, outcome.data, outcome.ood_images, outcome.ood
    ));
    output::say("score            AUROC  AUPR-in  AUPR-out  FPR95 (ID)  FPR95 (OOD)  detection error");
    for (name, m) in &outcome.scores {
        output::say(&format!(
            "{name:<14} {:>7.4} {:>8.4} {:>9.4} {:>11.4} {:>12.4} {:>16.4}",
            m.auroc, m.aupr_in, m.aupr_out, m.fpr95_id, m.fpr95_ood, m.detection_error
        ));
    }
    output::say(&format!("pictures, scores.csv and result.json: {}", args.out.display()));
    Ok(())
}
