//! The device of a command: which adapter, and which of its kernels are not to be trusted.

use crate::gpu::{Gpu, GpuOptions};
use crate::kept;
use crate::lab::LabError;
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
    /// Use kernels that 'selftest' found to compute wrong numbers on this adapter
    #[arg(long, global = true)]
    pub allow_failed_kernels: bool,
}

impl Device {
    /// Opens the device and names it: every command's first line. Variants that failed the self-test on it are not used.
    pub fn open(&self, json: bool) -> Result<Gpu, LabError> {
        let gpu = self.open_unchecked(json)?;
        self.trust(&gpu)?;
        Ok(gpu)
    }

    /// The same for a command that computes nothing.
    pub fn open_unchecked(&self, json: bool) -> Result<Gpu, LabError> {
        let gpu = Gpu::open(&GpuOptions { adapter: self.adapter.clone(), ..GpuOptions::default() })?;
        output::adapter(gpu.adapter(), json);
        Ok(gpu)
    }

    /// Keeps the device from kernels that failed.
    fn trust(&self, gpu: &Gpu) -> Result<(), LabError> {
        let Some(folder) = kept::folder() else { return Ok(()) };
        let verdict = match Verdict::recall(&folder, gpu.adapter()) {
            Ok(Some(verdict)) if !verdict.failed.is_empty() => verdict,
            Ok(_) => return Ok(()),
            // A damaged file says nothing about the kernels, and is no reason not to work.
            Err(error) => {
                output::complain(&format!("warning: {error}"));
                return Ok(());
            }
        };
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
