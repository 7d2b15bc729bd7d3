//! Checks the engine on the user's own adapter: every kernel and every variant against f64 on the processor, gradients
//! against differences, and ten steps of training against stored values. All of it twice, to the bit.
//!
//! What fails is kept in the user's cache folder ([`Verdict`]), and other commands then do without it.

mod attacks;
mod flat;
mod gradients;
mod parts;
mod planes;
mod pooled;
pub mod reference;
mod training;
mod trial;
mod variants;
mod verdict;

use std::time::Instant;

use serde::Serialize;

use crate::gpu::{AdapterDetails, Gpu, GpuError, GpuOptions, Precision, Result};
use crate::kept;
use crate::ops::tiles;

pub use gradients::{GraphRow, Slope, Slopes, slopes};
pub use training::{TrainingRow, pictures};
pub use trial::Row;
pub use verdict::{Failure, Verdict};

use parts::{PARTS, Part};
use trial::is_fatal;

/// The device that the self-test runs on: fresh arrays are full of NaN, so that an element that no kernel writes shows.
pub fn open(options: &GpuOptions) -> Result<Gpu> {
    Gpu::open(&GpuOptions { poison: true, ..options.clone() })
}

/// Everything that was found: what a report of a fault should have with it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub command: Vec<String>,
    /// Driver, limits and features.
    pub adapter: AdapterDetails,
    pub subgroup_size: Option<u32>,
    /// With f16, the kernels with cooperative matrices are tried, too; all else is tried as it is.
    pub precision: Precision,
    /// How many devices of the adapter the kernels were tried on, side by side.
    pub devices: usize,
    /// The fingerprint of the kernels' sources and this version.
    pub kernels_fingerprint: String,
    pub kernels: Vec<Row>,
    pub gradients: Vec<GraphRow>,
    pub training: Option<TrainingRow>,
    /// Why nothing more could be tried, if the device gave up.
    pub stopped: Option<String>,
    pub seconds: f64,
    pub passed: bool,
    pub failed: Vec<Failure>,
}

/// How many parts [`run`] announces.
pub const COUNT: usize = PARTS.len() + 2;

/// Who is told how it goes: the name of the part that begins, and what it is at.
pub trait Progress {
    /// A part begins.
    fn part(&mut self, name: &str);
    /// A part has ended, with so many failures so far.
    fn done(&mut self, name: &str, failures: usize);
}

/// Nobody is told.
impl Progress for () {
    fn part(&mut self, _: &str) {}
    fn done(&mut self, _: &str, _: usize) {}
}

/// Runs everything on a device from [`open`], and on further ones with the same options where that saves time. A kernel
/// that fails is no error: it stands in the report.
pub fn run(
    gpu: &Gpu,
    options: &GpuOptions,
    adapter: AdapterDetails,
    command: &[String],
    progress: &mut (dyn Progress + Send),
) -> Report {
    run_parts(gpu, options, adapter, command, progress, &|_| true)
}

/// The same with some of the groups of kernels left out.
pub fn run_parts(
    gpu: &Gpu,
    options: &GpuOptions,
    adapter: AdapterDetails,
    command: &[String],
    progress: &mut (dyn Progress + Send),
    wanted: &dyn Fn(&str) -> bool,
) -> Report {
    let begun = Instant::now();
    // Before the parts, which prefer f32: what is computed beside cooperative matrices, and after them, has its tolerances.
    let precision = gpu.precision();
    let parts: Vec<Part> = PARTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    let found = parts::try_all(gpu, options, &parts, progress);
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        command: command.to_vec(),
        adapter,
        subgroup_size: gpu.subgroup_size(),
        precision,
        devices: found.devices,
        kernels_fingerprint: kept::kernels(),
        kernels: found.rows,
        gradients: Vec::new(),
        training: None,
        stopped: found.stopped,
        seconds: 0.0,
        passed: false,
        failed: Vec::new(),
    };
    report.failed = report.kernels.iter().filter_map(Failure::of_kernel).collect();
    if report.stopped.is_none() {
        // Graphs and training run on what other commands will use: the variants that passed.
        let verdict = Verdict::of(&report);
        verdict.apply(gpu);
        if tiles::all_choices(gpu).is_ok() {
            report.graphs(gpu, progress);
        }
    }
    if let Some(reason) = &report.stopped {
        report.failed.push(Failure::elsewhere("device", reason));
    }
    report.passed = report.failed.is_empty();
    report.seconds = begun.elapsed().as_secs_f64();
    report
}

impl Report {
    /// Gradients and training.
    fn graphs(&mut self, gpu: &Gpu, progress: &mut (dyn Progress + Send)) {
        progress.part("gradients in graphs");
        match gradients::check(gpu) {
            Ok(rows) => self.gradients = rows,
            Err(error) => return self.stopped = Some(error.to_string()),
        }
        let bad = self.gradients.iter().filter_map(|row| row.problem.as_ref().map(|problem| (row.graph, problem)));
        self.failed.extend(bad.map(|(graph, problem)| Failure::elsewhere(&format!("gradient of {graph}"), problem)));
        progress.done("gradients in graphs", self.failed.len());
        progress.part("ten steps of training");
        match training::check(gpu) {
            Ok(row) => {
                let failure = row.problem.as_ref().map(|problem| Failure::elsewhere("ten steps of training", problem));
                self.failed.extend(failure);
                self.training = Some(row);
            }
            Err(error) if is_fatal(&error) => self.stopped = Some(error.to_string()),
            Err(error) => self.failed.push(Failure::elsewhere("ten steps of training", &error.to_string())),
        }
        progress.done("ten steps of training", self.failed.len());
    }
}

/// The chosen adapter's details, for [`run`].
pub fn details(wanted: Option<&str>) -> Result<AdapterDetails> {
    crate::gpu::list_adapters(wanted)?.into_iter().find(|adapter| adapter.chosen).ok_or(GpuError::NoAdapter)
}
