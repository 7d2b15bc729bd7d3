//! `shadegrad bench`.

use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::ProgressBar;

use crate::gpu::Precision;
use crate::kept;
use crate::lab::LabError;
use crate::lab::bench::{self, Budget, KernelRow, Options, Report};

use super::{Device, output};

mod first_step;
mod table;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum, required_unless_present_any = ["ladder", "tune", "first_step"])]
    suite: Option<Suite>,
    /// Climb a ladder instead: every kernel that computes this, from the naive one up
    #[arg(long, value_enum, conflicts_with = "suite")]
    ladder: Option<Ladder>,
    /// Try kernels and tiles on the layers of lenet, lab and ae3 instead, and keep what is best on this adapter for other
    /// commands, which then may end with other bits
    #[arg(long, conflicts_with_all = ["suite", "ladder"])]
    tune: bool,
    /// The ladder's size: extent of the square matrices, or pictures of the convolution
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Only this model rather than lenet, lab and ae3
    #[arg(long)]
    model: Option<String>,
    /// Pictures a step (lenet 256, lab and fast 32, others 128)
    #[arg(long)]
    batch: Option<usize>,
    /// Seconds for each row, about; three rounds are run at the least
    #[arg(long, default_value_t = 0.2)]
    seconds: f64,
    /// Rounds for each row, whatever they take
    #[arg(long)]
    rounds: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Take one training step, say so and end: what 'bench train' starts to time a process's first step, with a folder for what the
    /// driver compiles
    #[arg(long, hide = true, value_name = "DIR", conflicts_with_all = ["suite", "ladder", "tune"])]
    first_step: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Suite {
    Matmul,
    Conv2d,
    Pool,
    Reduce,
    Optim,
    Train,
    Attack,
    All,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Ladder {
    Matmul,
    Conv2d,
}

impl Suite {
    fn measured(self) -> bench::Suite {
        match self {
            Self::Matmul => bench::Suite::Matmul,
            Self::Conv2d => bench::Suite::Conv2d,
            Self::Pool => bench::Suite::Pool,
            Self::Reduce => bench::Suite::Reduce,
            Self::Optim => bench::Suite::Optim,
            Self::Train => bench::Suite::Train,
            Self::Attack => bench::Suite::Attack,
            Self::All => bench::Suite::All,
        }
    }
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    if args.rounds == Some(0) || !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err(LabError::Usage(
            "--rounds must be at least 1, and --seconds more than 0 and at most 3600".to_owned(),
        ));
    }
    if args.size.is_some() && args.ladder.is_none() {
        return Err(LabError::Usage("--size belongs to --ladder".to_owned()));
    }
    let budget = Budget { seconds: args.seconds, rounds: args.rounds };
    let options = Options { budget, model: args.model.clone(), batch: args.batch };
    if let Some(model) = &args.model {
        crate::models::architecture(model)?;
    }
    if let Some(folder) = &args.first_step {
        return first_step::take(device, folder);
    }
    let gpu = device.open(args.json)?;
    let spinner = spinner();
    let mut watch = |what: &str| spinner.set_message(what.to_owned());
    let command = super::command_line();
    if let Some(ladder) = args.ladder {
        let ladder = match ladder {
            Ladder::Matmul => bench::Ladder::Matmul,
            Ladder::Conv2d => bench::Ladder::Conv2d,
        };
        let report = bench::climb(&gpu, ladder, args.size, budget, &command, &mut watch)?;
        spinner.finish_and_clear();
        if args.json {
            return output::json(&report);
        }
        table::ladder(&report);
        return Ok(());
    }
    if args.tune {
        let report = bench::tune(&gpu, &options, &command, &mut watch)?;
        spinner.finish_and_clear();
        // Before it is printed: a reader that goes away takes nothing with it.
        let kept = keep(&report, gpu.precision())?;
        if args.json {
            return output::json(&report);
        }
        table::tuned(&report);
        output::say(&kept);
        return Ok(());
    }
    let suite = args.suite.map_or(bench::Suite::All, Suite::measured);
    let mut report = bench::run(&gpu, suite, &options, (&command, device.adapter.clone()), &mut watch)?;
    if let Some(first) = &mut report.first_step {
        watch("a process's first step");
        first.of_a_process = Some(first_step::measure(device)?);
    }
    spinner.finish_and_clear();
    if args.json {
        return output::json(&report);
    }
    table::report(&report);
    Ok(())
}

/// Keeps what the tuner found for other commands; says where.
fn keep(report: &bench::TuneReport, precision: Precision) -> Result<String, LabError> {
    let Some(folder) = kept::folder() else {
        return Ok("not kept: this user has no cache folder; --json prints what --kernels takes".to_owned());
    };
    let path = kept::place(&folder, bench::kept_as(precision), &report.tuned.adapter);
    kept::keep(&path, &report.tuned)?;
    let count = report.tuned.kernel_choices.len();
    Ok(format!("{count} choices are better than the table's and kept for other commands: {}", path.display()))
}

/// What is being measured, on a terminal.
fn spinner() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(std::time::Duration::from_millis(500));
    spinner
}
