//! `shadegrad data`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use crate::data::download::{self, CIFAR10, CIFAR100, PATIENCE, Progress, SVHN, Set, Source};
use crate::data::{self, DataError, verify};
use crate::files;
use crate::lab::LabError;

use super::output;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    /// The short form of 'data write': folder for 'shapes' in CIFAR-10's layout
    #[arg(long, value_name = "DIR", required = true)]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Fetch a data set, check it and unpack it; a download that was stopped is continued
    Download(Download),
    /// Check that a folder holds the whole of CIFAR-10
    Verify(Verify),
    /// Write the built-in picture set 'shapes' in CIFAR-10's binary layout
    Write(Write),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Known {
    Cifar10,
    /// Its test pictures, for --ood
    Cifar100,
    /// The test pictures of its cropped digits, for --ood
    Svhn,
}

impl Known {
    fn set(self) -> &'static Set {
        match self {
            Self::Cifar10 => &CIFAR10,
            Self::Cifar100 => &CIFAR100,
            Self::Svhn => &SVHN,
        }
    }

    /// What '--data' or '--ood' is to be given for a set in this folder.
    fn option(self, folder: &Path) -> String {
        match self {
            Self::Cifar10 => format!("--data {}", Path::new(".").join(folder).display()),
            // Its own file, since a folder may hold several sets, or be called as one.
            Self::Cifar100 | Self::Svhn => format!("--ood {}", folder.join(self.set().test.0).display()),
        }
    }

    /// What a folder has of the set, if that is all.
    fn found(self, folder: &Path) -> Result<String, LabError> {
        let (file, count) = self.set().test;
        if self == Self::Cifar10 {
            let report = verify::verify(folder, verify::RECORDS);
            let found = "50000 training and 10000 test images".to_owned();
            return if report.wrong() == 0 { Ok(found) } else { Err(refuse(folder, &report)) };
        }
        match data::read_foreign(&folder.join(file), usize::MAX)?.count() {
            found if found == count => Ok(format!("{count} test images")),
            found => Err(LabError::Usage(format!("{}: {found} images, not {count}", folder.join(file).display()))),
        }
    }
}

#[derive(Debug, clap::Args)]
struct Download {
    /// The data set
    set: Known,
    /// Folder for its files [default: one under 'shadegrad' in your data folder, where '--data cifar10', '--ood cifar100'
    /// and '--ood svhn' look]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// A mirror of the set's file (cifar-10-binary.tar.gz, cifar-100-binary.tar.gz, test_32x32.mat); what comes from it must
    /// be the official file to the bit
    #[arg(long)]
    url: Option<String>,
    /// Seconds that a server may keep silent
    #[arg(long, hide = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// A folder with data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt [default: the download's]
    folder: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Write {
    /// Folder for data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args) -> Result<(), LabError> {
    match (&args.task, &args.out) {
        (Some(Task::Download(args)), _) => fetch(args),
        (Some(Task::Verify(args)), _) => check(args),
        (Some(Task::Write(Write { out })), _) | (None, Some(out)) => write(out),
        // clap refuses this before; it costs nothing to say it again.
        (None, None) => Err(LabError::Usage("say what to do: data download, data verify or data write".to_owned())),
    }
}

fn write(out: &Path) -> Result<(), LabError> {
    // Before the pictures are drawn, which takes a moment.
    files::prepare_folder(out)?;
    let set = data::built_in();
    data::write_cifar10(&set, out)?;
    output::say(&format!(
        "{}: {} training and {} test images written to {}",
        set.name,
        set.train.count(),
        set.test.count(),
        out.display()
    ));
    Ok(())
}

/// The wanted folder, or the one where the set's download lives.
fn folder(wanted: Option<&PathBuf>, set: &Set) -> Result<PathBuf, DataError> {
    wanted.cloned().or_else(|| download::folder(set)).ok_or(DataError::NoHome)
}

fn fetch(args: &Download) -> Result<(), LabError> {
    let set = args.set.set();
    let folder = folder(args.to.as_ref(), set)?;
    let how = match &args.to {
        None if args.set == Known::Cifar10 => format!("--data {}", set.name),
        None => format!("--ood {}", set.name),
        Some(folder) => args.set.option(folder),
    };
    if let Ok(found) = args.set.found(&folder) {
        output::say(&format!("{} is in {} already: {found}; use it with {how}", set.title, folder.display()));
        return Ok(());
    }
    let official = Source::of(set);
    let source = Source { url: args.url.clone().unwrap_or_else(|| official.url.clone()), ..official };
    output::say(&format!("fetching {} ({} MiB) to {}", source.url, source.bytes >> 20, folder.display()));
    let bar = output::bytes_bar(source.bytes, "downloading");
    let patience = args.patience.map_or(PATIENCE, Duration::from_secs);
    let outcome = download::download(&source, &folder, patience, &mut |progress| match progress {
        Progress::Received(bytes) => bar.set_position(bytes),
        Progress::Checking => bar.set_prefix("checking"),
        Progress::Unpacking => bar.set_prefix("unpacking"),
    });
    bar.finish_and_clear();
    outcome.map_err(DataError::from)?;
    let found = args.set.found(&folder)?;
    output::say(&format!("{}: {found} in {}; use it with {how}", set.title, folder.display()));
    Ok(())
}

fn check(args: &Verify) -> Result<(), LabError> {
    let folder = folder(args.folder.as_ref(), &CIFAR10)?;
    let report = verify::verify(&folder, verify::RECORDS);
    if args.json {
        output::json(&report)?;
    } else {
        for file in &report.files {
            let verdict = file.problem.as_ref().map_or("good".to_owned(), |problem| format!("WRONG: {problem}"));
            output::say(&format!("{:<17} {}: {verdict}", file.file, file.found));
        }
        for problem in &report.problems {
            output::say(&format!("WRONG: {problem}"));
        }
    }
    if report.wrong() > 0 {
        return Err(refuse(&folder, &report));
    }
    if !args.json {
        output::say(&format!("{}: CIFAR-10, whole: 5000 and 1000 images of each class", folder.display()));
    }
    Ok(())
}

/// The first of a folder's faults stands for all of them.
fn refuse(folder: &Path, report: &verify::Report) -> LabError {
    let file = report.files.iter().find_map(|file| Some(format!("{}: {}", file.file, file.problem.as_ref()?)));
    let first = file.or_else(|| report.problems.first().cloned()).unwrap_or_default();
    let more = match report.wrong() - 1 {
        0 => String::new(),
        more => format!("; and {more} faults more"),
    };
    LabError::Usage(format!("{} does not hold CIFAR-10: {first}{more}", folder.display()))
}
