//! The device of a command: which adapter, and which of its kernels are not to be trusted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::files;
use crate::gpu::{Gpu, GpuOptions, Precision};
use crate::kept;
use crate::lab::LabError;
use crate::lab::bench::{self, Tuned};
use crate::ops::choices;
use crate::ops::tiles;
use crate::selftest::Verdict;

use super::output;

/// What every command that computes can be told about its device.
#[derive(Debug, clap::Args)]
pub struct Device {
    /// Adapter to run on: an index from 'shadegrad info', or a part of a name. Without it, the environment
    /// variable SHADEGRAD_ADAPTER counts; without that, the best adapter is taken.
    #[arg(long, global = true, value_name = "NAME|INDEX")]
    pub adapter: Option<String>,
    /// Choose kernels as an earlier run did: its result.json, or a table like the one that stands there as
    /// kernel_choices. Without it, what 'bench --tune' kept for this adapter counts
    #[arg(long, global = true, value_name = "FILE")]
    pub kernels: Option<PathBuf>,
    /// Compute products of f16 values, rounded from f32 as they are read, with sums in f32: by cooperative matrices (tensor
    /// cores), on adapters that have them
    #[arg(long, global = true, value_enum, default_value = "f32")]
    pub precision: PrecisionName,
    /// Use kernels that 'selftest' found to compute wrong numbers on this adapter
    #[arg(long, global = true)]
    pub allow_failed_kernels: bool,
}

/// [`Precision`] as the command line has it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum PrecisionName {
    F32,
    F16,
}

impl Device {
    /// How the device is to be opened.
    pub fn options(&self) -> GpuOptions {
        let precision = match self.precision {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::F16 => Precision::F16,
        };
        GpuOptions { adapter: self.adapter.clone(), precision, ..GpuOptions::default() }
    }

    /// Opens the device and names it: every command's first line. Variants that failed the self-test on it are not used.
    pub fn open(&self, json: bool) -> Result<Gpu, LabError> {
        self.open_with(json, kept::folder())
    }

    /// The same, with compiled pipelines in a folder that the caller chooses.
    pub fn open_with(&self, json: bool, pipelines: Option<PathBuf>) -> Result<Gpu, LabError> {
        let gpu = self.open_named(json, pipelines)?;
        self.trust(&gpu)?;
        match &self.kernels {
            Some(path) => repeat(&gpu, path)?,
            None => follow_tuner(&gpu, json),
        }
        Ok(gpu)
    }

    /// The same for a command that computes nothing.
    pub fn open_unchecked(&self, json: bool) -> Result<Gpu, LabError> {
        self.open_named(json, kept::folder())
    }

    fn open_named(&self, json: bool, pipelines: Option<PathBuf>) -> Result<Gpu, LabError> {
        let gpu = Gpu::open(&GpuOptions { pipelines, ..self.options() })?;
        output::adapter(gpu.adapter(), json);
        Ok(gpu)
    }

    /// The command line that says the same to another process.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--precision".into(), self.options().precision.name().into()];
        if let Some(adapter) = &self.adapter {
            words.extend(["--adapter".into(), adapter.into()]);
        }
        if let Some(kernels) = &self.kernels {
            words.extend(["--kernels".into(), kernels.into()]);
        }
        words.extend(self.allow_failed_kernels.then(|| "--allow-failed-kernels".into()));
        words
    }

    /// Keeps the device from kernels that failed.
    fn trust(&self, gpu: &Gpu) -> Result<(), LabError> {
        let Some(folder) = kept::folder() else { return Ok(()) };
        let tried = match gpu.precision() {
            Precision::F32 => vec![Precision::F32],
            Precision::F16 => vec![Precision::F32, Precision::F16],
        };
        for precision in tried {
            match Verdict::recall(&folder, gpu.adapter(), precision) {
                Ok(Some(verdict)) if !verdict.failed.is_empty() => self.heed(gpu, &verdict)?,
                Ok(_) => {}
                // A damaged file says nothing about the kernels, and is no reason not to work.
                Err(error) => output::complain(&format!("warning: {error}")),
            }
        }
        Ok(())
    }

    fn heed(&self, gpu: &Gpu, verdict: &Verdict) -> Result<(), LabError> {
        let mut names: Vec<&str> = verdict.failed.iter().map(|failure| failure.name()).collect();
        names.dedup();
        let names = names.join(", ");
        if self.allow_failed_kernels {
            output::complain(&format!("warning: kernels that failed selftest on this adapter are in use: {names}"));
            return Ok(());
        }
        if let Some(failure) = verdict.irreplaceable() {
            return Err(LabError::Usage(format!(
                "{} computes wrong numbers on this adapter, as 'shadegrad selftest' found: use another --adapter or a newer \
                 driver, or go on at your own risk with --allow-failed-kernels",
                failure.name()
            )));
        }
        verdict.apply(gpu);
        tiles::all_choices(gpu)?;
        output::complain(&format!("warning: kernels that failed selftest on this adapter are not used: {names}"));
        Ok(())
    }
}

/// A result holds pictures, too, but no more than this.
const MAX_BYTES: u64 = 1 << 28;

/// Chooses kernels as a file says.
fn repeat(gpu: &Gpu, path: &Path) -> Result<(), LabError> {
    let shown = path.display();
    let bytes = files::read(path, MAX_BYTES)?;
    let table = choices::from_bytes(&bytes).map_err(|problem| LabError::Usage(format!("{shown} {problem}")))?;
    choices::follow(gpu, &table).map_err(|error| LabError::Usage(format!("{shown}: {error}")))
}

/// Chooses kernels as the tuner found best on this adapter, if it ever ran there.
fn follow_tuner(gpu: &Gpu, json: bool) {
    let Some(folder) = kept::folder() else { return };
    let path = kept::place(&folder, bench::kept_as(gpu.precision()), gpu.adapter());
    let followed = kept::recall::<Tuned>(&path, "bench --tune").map_err(|error| error.to_string()).and_then(|tuned| {
        let Some(tuned) = tuned else { return Ok(None) };
        choices::follow(gpu, &tuned.kernel_choices).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Some(tuned.kernel_choices.len()))
    });
    match followed {
        Ok(Some(count)) if count > 0 => {
            let line = format!("kernels: tuned on this adapter ({count} choices, {})", path.display());
            if json { output::complain(&line) } else { output::say(&line) }
        }
        Ok(_) => {}
        // A damaged file, or one that names what this adapter no longer runs, is no reason not to work.
        Err(problem) => output::complain(&format!("warning: what 'bench --tune' kept is not used: {problem}")),
    }
}
