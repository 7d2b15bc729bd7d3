//! The time from a process's start to the end of its first training step, cold and warm: in processes of their own, whose
//! drivers keep compiled kernels in a folder that is empty at first, and where the first left them the second time.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::files::{FileError, reason};
use crate::lab::LabError;
use crate::lab::bench::{self, ProcessStart};

use super::super::{Device, output};

/// Where drivers are told to keep what they compiled: Mesa's, and NVIDIA's on Linux. Others keep it where they like, and are warm
/// both times if they ran these kernels before.
const KEEP: [&str; 2] = ["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"];

/// A folder that is there as long as this is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever is left lies among the system's temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts two processes, one after the other.
pub(super) fn measure(device: &Device) -> Result<ProcessStart, LabError> {
    let path = std::env::temp_dir().join(format!("shadegrad-first-step-{}", std::process::id()));
    std::fs::create_dir(&path).map_err(|error| FileError::Write { path: path.clone(), reason: reason(&error) })?;
    let folder = Scratch(path);
    let [cold_seconds, warm_seconds] = [once(device, &folder.0)?, once(device, &folder.0)?];
    Ok(ProcessStart { cold_seconds, warm_seconds })
}

/// Seconds from the wish for a process to its word that the step is done.
fn once(device: &Device, folder: &Path) -> Result<f64, LabError> {
    let failed = |what: &str| LabError::Usage(format!("cannot time the first step of a process of its own: {what}"));
    let program = std::env::current_exe().map_err(|error| failed(&error.to_string()))?;
    let mut command = Command::new(program);
    command.args([OsStr::new("bench"), OsStr::new("--first-step"), folder.as_os_str()]).args(device.arguments());
    for variable in KEEP {
        command.env(variable, folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
    let (Some(said), Some(mut complaints)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("it cannot be heard"));
    };
    let word = BufReader::new(said).lines().next();
    let seconds = begun.elapsed().as_secs_f64();
    let mut complaint = String::new();
    // What it complained of is for a message alone.
    let _ = complaints.read_to_string(&mut complaint);
    let status = child.wait().map_err(|error| failed(&error.to_string()))?;
    match word {
        Some(Ok(_)) if status.success() => Ok(seconds),
        _ => Err(failed(complaint.lines().last().unwrap_or("it said nothing"))),
    }
}

/// What such a process does.
pub(super) fn take(device: &Device, folder: &Path) -> Result<(), LabError> {
    let gpu = device.open_with(true, Some(folder.to_owned()))?;
    bench::take_first_step(&gpu)?;
    output::say("the first step is done");
    Ok(())
}
