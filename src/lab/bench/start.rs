//! What the host costs: the time to the first step, and the time to record a dispatch.

use std::time::Instant;

use serde::Serialize;

use crate::gpu::{Gpu, GpuOptions};

use super::super::LabError;
use super::super::workload::{Kind, Workload};
use super::clock::Timing;

/// From the wish for a device to the end of lenet's first training step at batch 64, in this process: with the rehearsal and
/// the preparation of kernels that 'train' begins with.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FirstStep {
    pub model: &'static str,
    pub batch: usize,
    /// With the driver's shader cache as this run found it: cold if these kernels never ran on this driver before.
    pub as_found_seconds: f64,
    /// Once more on a new device: every kernel is translated anew, and the driver may take its code from its cache.
    pub again_seconds: f64,
    /// Of the first one, opening the device.
    pub open_seconds: f64,
    /// Devices on which a software driver translated the kernels side by side, as found and again.
    pub translating_devices: [usize; 2],
    /// The same in processes of their own, from their start on, where the caller has measured that.
    pub of_a_process: Option<ProcessStart>,
}

/// From a process's start to the end of its first step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ProcessStart {
    /// The driver's folder for what it compiled being empty, if the driver keeps it where it is told.
    pub cold_seconds: f64,
    /// What the first process compiled being there.
    pub warm_seconds: f64,
}

const MODEL: &str = "lenet";
const BATCH: usize = 64;

/// Takes a first step on a fresh device as 'train' does, and waits for it. On how many devices a software driver translated
/// kernels.
pub fn take_first_step(gpu: &Gpu) -> Result<usize, LabError> {
    let rehearsal = gpu.rehearsal();
    Workload::new(&rehearsal, Kind::Train, MODEL, BATCH)?.step()?;
    let translating = gpu.prepare(&rehearsal)?;
    Workload::new(gpu, Kind::Train, MODEL, BATCH)?.step()?;
    gpu.wait()?;
    Ok(translating)
}

/// Measures it twice, each time on a device of its own.
pub(super) fn first_step(like: &Gpu, adapter: Option<String>) -> Result<FirstStep, LabError> {
    let options = GpuOptions { adapter, precision: like.precision(), ..GpuOptions::default() };
    let once = || -> Result<([f64; 2], usize), LabError> {
        let begun = Instant::now();
        let gpu = Gpu::open(&options)?;
        gpu.choose_like(like);
        let opened = begun.elapsed().as_secs_f64();
        let translating = take_first_step(&gpu)?;
        Ok(([opened, begun.elapsed().as_secs_f64()], translating))
    };
    let ([open_seconds, as_found_seconds], found) = once()?;
    let ([_, again_seconds], again) = once()?;
    let translating_devices = [found, again];
    let (model, batch, of_a_process) = (MODEL, BATCH, None);
    Ok(FirstStep { model, batch, as_found_seconds, again_seconds, open_seconds, translating_devices, of_a_process })
}

/// What the program itself does for each dispatch: shape checks, the tape, recording and submitting.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Host {
    pub model: &'static str,
    pub batch: usize,
    pub dispatches: u64,
    /// From the call of a step to the end of its last submit, the device being idle before, over its dispatches.
    pub microseconds_per_dispatch: f64,
    /// The same of the fastest step: on a busy machine, nearer to the truth.
    pub microseconds_at_best: f64,
}

/// Measures it on lenet at batch 64.
pub(super) fn host(gpu: &Gpu) -> Result<Host, LabError> {
    let (model, batch) = (MODEL, BATCH);
    let mut workload = Workload::new(gpu, Kind::Train, model, batch)?;
    let mut steps = Vec::new();
    let mut dispatches = 0;
    for step in 0..24 {
        gpu.wait()?;
        let before = gpu.dispatches();
        let begun = Instant::now();
        workload.step()?;
        gpu.flush()?;
        // The first steps compile and allocate.
        if step >= 4 {
            steps.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        dispatches = gpu.dispatches() - before;
    }
    gpu.wait()?;
    let timing = Timing::of(steps);
    let each = |milliseconds: f64| milliseconds * 1e3 / dispatches as f64;
    let (microseconds_per_dispatch, microseconds_at_best) = (each(timing.ms_median), each(timing.ms_min));
    Ok(Host { model, batch, dispatches, microseconds_per_dispatch, microseconds_at_best })
}
