//! `shadegrad profile`.

use std::path::PathBuf;

use crate::files;
use crate::gpu::AdapterSummary;
use crate::lab::LabError;
use crate::lab::profile::{Profile, Settings, profile};
use crate::lab::workload::{Kind, default_batch};
use crate::ops::choices;

use super::{Device, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which step: a training step, or an FGSM step (the gradient by the pixels alone)
    #[arg(value_enum, default_value = "train")]
    step: Step,
    #[arg(long, default_value = "lenet")]
    model: String,
    /// Pictures a step (lenet 256, lab and fast 32, others 128)
    #[arg(long)]
    batch: Option<usize>,
    /// Steps to average over
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Write every dispatch to this file, which ui.perfetto.dev opens
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Step {
    Train,
    Attack,
}

/// What --json prints.
#[derive(serde::Serialize)]
struct Report<'a> {
    version: &'static str,
    command: Vec<String>,
    adapter: &'a AdapterSummary,
    precision: &'static str,
    /// --kernels takes them again.
    kernel_choices: choices::Table,
    kind: &'static str,
    model: &'a str,
    batch: usize,
    steps: usize,
    #[serde(flatten)]
    profile: &'a Profile,
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    if args.steps == 0 {
        return Err(LabError::Usage("--steps must be at least 1".to_owned()));
    }
    let kind = match args.step {
        Step::Train => Kind::Train,
        Step::Attack => Kind::Attack,
    };
    let batch = args.batch.unwrap_or(default_batch(&args.model));
    let settings = Settings { kind, model: args.model.clone(), batch, steps: args.steps };
    crate::models::architecture(&settings.model)?;
    let gpu = device.open(args.json)?;
    let found = profile(&gpu, &settings)?;
    let title = format!("{} step of {} at batch {batch}", kind.name(), settings.model);
    if let Some(path) = &args.trace {
        files::write(path, found.trace(&title).to_string().as_bytes())?;
        output::complain(&format!("trace: {} (ui.perfetto.dev opens it)", path.display()));
    }
    if args.json {
        return output::json(&Report {
            version: env!("CARGO_PKG_VERSION"),
            command: super::command_line(),
            adapter: gpu.adapter(),
            precision: gpu.precision().name(),
            kernel_choices: choices::record(&gpu)?,
            kind: kind.name(),
            model: &settings.model,
            batch,
            steps: settings.steps,
            profile: &found,
        });
    }
    print(&title, batch, &found);
    Ok(())
}

fn print(title: &str, batch: usize, found: &Profile) {
    output::say(&format!("{title}, a step:"));
    output::say(&format!("{:<28} {:>5} {:>10} {:>7} {:>9} {:>8}", "kernel", "calls", "ms", "share", "GFLOP/s", "GB/s"));
    for row in &found.kernels {
        let gflops = if row.gflops > 0.0 { format!("{:.2}", row.gflops) } else { "-".to_owned() };
        output::say(&format!(
            "{:<28} {:>5} {:>10.3} {:>5.1} % {gflops:>9} {:>8.2}",
            row.kernel,
            row.calls,
            row.milliseconds,
            100.0 * row.share,
            row.gbps
        ));
    }
    output::say(&format!(
        "{:.3} ms in {} kernels, {:.3} ms between them{}; a step without the profiler: {:.3} ms ({:.0} images/s)",
        found.kernel_milliseconds,
        found.dispatches,
        found.gap_milliseconds,
        found.longest_gap.map_or(String::new(), |(gap, kernel)| format!(" (at most {gap:.3}, after {kernel})")),
        found.step_milliseconds,
        batch as f64 / found.step_milliseconds * 1e3,
    ));
}
