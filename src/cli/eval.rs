//! `shadegrad eval`.

use serde::Serialize;

use crate::gpu::AdapterSummary;
use crate::lab::LabError;
use crate::lab::evaluate::{self, Quality, Resident};
use crate::models;
use crate::ops::choices;

use super::{Device, Subject, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    model: String,
    weights: String,
    data: String,
    images: usize,
    #[serde(flatten)]
    quality: Quality,
    adapter: AdapterSummary,
    kernel_choices: choices::Table,
    seconds: f64,
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    let (state, plan, set) = args.subject.read()?;
    let gpu = device.open(args.json)?;
    let network = models::build(&gpu, &state, plan)?;
    let begun = std::time::Instant::now();
    let bar = output::bar(set.test.count(), "evaluating", "images");
    let test = Resident::new(&gpu, &set.test)?;
    let quality = evaluate::quality(&gpu, &network, &test, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let model = network.architecture().name.clone();
    if args.json {
        return output::json(&Report {
            version: env!("CARGO_PKG_VERSION"),
            model,
            weights: args.subject.weights.display().to_string(),
            data: set.name,
            images: test.count(),
            quality,
            adapter: gpu.adapter().clone(),
            kernel_choices: choices::record(&gpu)?,
            seconds: begun.elapsed().as_secs_f64(),
        });
    }
    output::say(&format!("{model} on {} ({} test images): {}", set.name, test.count(), quality.line()));
    Ok(())
}
