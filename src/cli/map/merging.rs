//! `shadegrad map merge`.

use std::path::{Path, PathBuf};

use crate::files::FileError;
use crate::lab::LabError;
use crate::lab::map::{self, Merged};

use super::super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folders of 'shadegrad map' with the same settings
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Folder for cells.csv, summary.csv, result.json and report.html [default: the first DIR]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Fail, and write nothing, where a cell is missing
    #[arg(long)]
    complete: bool,
}

/// What is missing, in one line.
fn missing(merged: &Merged) -> String {
    let all = merged.missing.len() + merged.cells.len();
    format!("{} of {all} cells are missing: {}", merged.missing.len(), merged.missing.join(", "))
}

pub fn run(args: &Args) -> Result<(), LabError> {
    let merged = map::merge(&args.folders)?;
    if args.complete && !merged.missing.is_empty() {
        return Err(LabError::Usage(missing(&merged)));
    }
    let first = args.folders.first();
    let Some(out) = args.out.as_ref().or(first) else {
        return Err(LabError::Usage("there is no folder to merge".to_owned()));
    };
    map::write(&merged, out)?;
    if !merged.missing.is_empty() {
        output::complain(&format!("warning: {}", missing(&merged)));
    }
    say(&merged, out);
    Ok(())
}

/// The same for a folder whose cells are all done. Of several processes that find it so, one does this.
pub fn in_place(out: &Path) -> Result<(), LabError> {
    let merged = map::merge(&[out.to_owned()])?;
    match map::write(&merged, out) {
        Err(LabError::File(FileError::Busy { .. })) => {
            output::say("another process is putting the cells together");
            Ok(())
        }
        outcome => {
            outcome?;
            say(&merged, out);
            Ok(())
        }
    }
}

/// What the map finds, and where the files are.
fn say(merged: &Merged, out: &Path) {
    for sentence in map::conclusions(merged) {
        output::say(&sentence);
    }
    output::say(&format!("cells.csv, summary.csv and result.json: {}", out.display()));
    output::say(&format!("report: {}", out.join(map::REPORT).display()));
}
