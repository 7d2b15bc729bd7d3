//! The command line: one file a subcommand. Parsing, printing, progress bars and exit codes live here only.

mod attack;
mod bench;
mod data;
mod device;
mod eval;
mod info;
mod interrupt;
mod kernels;
mod lab;
mod map;
mod ood;
mod output;
mod profile;
mod selftest;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

use crate::data::{self as sets, DataSet};
use crate::lab::LabError;
use crate::models;
use crate::nn::{Architecture, StateDict};

use device::Device;

const EXAMPLES: &str = "\
Examples:
  shadegrad train --model lenet --data shapes --epochs 6 --out out/lenet
  shadegrad eval --weights out/lenet/best.safetensors --data shapes
  shadegrad attack --weights out/lenet/best.safetensors --eps 1/255,2/255,4/255,8/255
  shadegrad ood --weights out/lenet/best.safetensors --ood fake --out out/ood
  shadegrad train --model lenet --data path/to/cifar-10-batches-bin --epochs 15
  shadegrad train --model lenet --adv fgsm --adv-eps 2/255 --out out/robust

  shadegrad train --resume --out out/lenet

Exit code: 0 for success, 1 when something went wrong, 2 when the command line makes no sense, 130 when Ctrl-C ended it.";

/// Trains CIFAR-sized networks on any GPU with hand-written kernels, and tells pictures from noise.
#[derive(Debug, Parser)]
#[command(name = "shadegrad", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    device: Device,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the adapters of this machine, with driver, limits and features
    Info(info::Args),
    /// Train a model; leaves weights, metrics and curves in a folder
    Train(train::Args),
    /// Measure trained weights on a test set
    Eval(eval::Args),
    /// Attack trained weights through the gradient by the pixels (FGSM, PGD, DeepFool, C&W ...); leaves results and pictures in a folder
    Attack(attack::Args),
    /// Score a test set against pictures that belong to no class; leaves metrics, scores and plots in a folder
    Ood(ood::Args),
    /// Run every exercise of the lab from nothing; leaves one report with all figures in a folder
    Lab(lab::Args),
    /// Train and measure models over defences, epsilons, epochs and seeds, in cells that any number of processes share;
    /// leaves tables and one report
    Map(map::Args),
    /// Measure the kernels beside the adapter's own ceilings, and whole training and attack steps
    Bench(bench::Args),
    /// Where the time of a training or attack step goes, kernel by kernel
    Profile(profile::Args),
    /// Check every kernel on this adapter against f64, gradients against differences, and ten steps of training
    Selftest(selftest::Args),
    /// List the kernels, or print the source of one
    Kernels(kernels::Args),
    /// Download CIFAR-10, check a copy of it, or write the built-in 'shapes' in its layout
    Data(data::Args),
}

/// Trained weights and the pictures that they are tried on.
#[derive(Debug, clap::Args)]
struct Subject {
    /// Weights: a safetensors file of ours, or a PyTorch state_dict saved as one
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The model that the weights must be of (the file says which it is; this makes sure)
    #[arg(long)]
    model: Option<String>,
    /// Test pictures: 'shapes', 'cifar10' (downloaded), a folder with CIFAR-10's binary files, or one with train/CLASS and test/CLASS; any of them as NAME-without:CLASS,CLASS
    #[arg(long, default_value = "shapes", value_name = "shapes|cifar10|DIR")]
    data: String,
}

impl Subject {
    /// Reads the weights and the pictures. No device is opened for files that will not do.
    fn read(&self) -> Result<(StateDict, Architecture, DataSet), LabError> {
        let (state, plan) = models::read(&self.weights, self.model.as_deref())?;
        Ok((state, plan, sets::open(&self.data)?))
    }
}

/// Runs the program on its command line.
pub fn run() -> ExitCode {
    silence_mesa();
    let parsed = Cli::command().try_get_matches().and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let device = &cli.device;
    let outcome = match cli.command {
        Command::Info(args) => info::run(&args, device),
        Command::Train(args) => train::run(args, &given(&matches), device),
        Command::Eval(args) => eval::run(&args, device),
        Command::Attack(args) => attack::run(&args, device),
        Command::Ood(args) => ood::run(&args, device),
        Command::Lab(args) => lab::run(&args, device),
        Command::Map(args) => map::run(&args, device),
        Command::Bench(args) => bench::run(&args, device),
        Command::Profile(args) => profile::run(&args, device),
        Command::Selftest(args) => selftest::run(&args, device),
        Command::Kernels(args) => kernels::run(&args),
        Command::Data(args) => data::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ (LabError::Interrupted { .. } | LabError::Left { .. })) => {
            output::complain(&error.to_string());
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(error) => {
            output::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The subcommand's options that stand on the command line, rather than being as they are where nothing is said.
fn given(matches: &ArgMatches) -> Vec<String> {
    let Some((_, matches)) = matches.subcommand() else { return Vec::new() };
    let typed = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    matches.ids().filter(typed).map(ToString::to_string).collect()
}

/// Help and version as clap prints them; a mistake as one line.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        output::say(error.to_string().trim_end());
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    // clap's first paragraph says what is wrong; the second may know what was meant; the usage after them is what
    // --help is for.
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default().trim_start_matches("error: ");
    let meant =
        paragraphs.next().and_then(|next| next.trim().strip_prefix("tip: ")).filter(|tip| tip.contains("similar"));
    let line: Vec<&str> = first.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if line.is_empty() || text.starts_with("Usage") || !text.starts_with("error") {
        // Called without a subcommand: clap answers with the whole help.
        output::complain(text.trim_end());
    } else {
        let meant = meant.map(|tip| format!("; {tip}")).unwrap_or_default();
        output::error(&format!("{}{meant} (see --help)", line.join(" ")));
    }
    ExitCode::from(2)
}

/// Mesa's device-select layer asks the desktop session for its choice of GPU and prints an error where there
/// is no session (a container, root over ssh). This program chooses by itself, so the layer is switched off there.
fn silence_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the program has just begun and has no second thread that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// A length in pixel units on [0, 1]: `k/255`, or a decimal.
fn length(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| "a number from 0 to 1 is needed, such as 8/255 or 0.03".to_owned())
}

/// A number of at least 0, which may be larger than a pixel's range: a distance between pictures, for one.
fn distance(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|value| (0.0..=1e6).contains(value))
        .ok_or_else(|| "a number of at least 0 is needed, such as 8/255 or 0.5".to_owned())
}

/// `k/255`, or a decimal.
fn number(text: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match text.split_once('/') {
        Some((part, whole)) => number(part).zip(number(whole)).map(|(part, whole)| part / whole),
        None => number(text),
    }
}

/// The command line as it was given, for results.
fn command_line() -> Vec<String> {
    std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect()
}
