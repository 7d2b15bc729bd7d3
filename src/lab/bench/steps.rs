//! Whole training and attack steps, turn by turn, and the memory that they hold.

use std::time::Instant;

use crate::gpu::Gpu;
use crate::models;
use crate::nn::Task;

use super::super::LabError;
use super::super::workload::{Kind, Workload};
use super::Options;
use super::clock::{Processor, Timing, ratio};
use super::row::StepRow;

/// Seconds of steps between two waits, about: a wait after each step would hold up small ones.
const ROUND: f64 = 0.1;

/// A step under measurement.
struct Runner {
    workload: Workload,
    /// Steps to a round.
    steps: usize,
    milliseconds: Vec<f64>,
    processor: Vec<Option<f64>>,
    row: StepRow,
}

/// Rows for the models of the options; of two kinds, rounds take turns, so that both meet the same machine. An
/// autoencoder has no attack step and is passed over.
pub(super) fn rows(
    gpu: &Gpu,
    kinds: &[Kind],
    options: &Options,
    watch: &mut dyn FnMut(&str),
) -> Result<Vec<StepRow>, LabError> {
    let mut rows = Vec::new();
    for model in options.models() {
        let batch = options.batch(model);
        let attackable = models::architecture(model)?.task == Task::Classify;
        let mut watched = Vec::new();
        for &kind in kinds.iter().filter(|&&kind| kind == Kind::Train || attackable) {
            watch(&format!("{} step of {model} at batch {batch}", kind.name()));
            watched.push((kind, memory(gpu, kind, model, batch)?));
        }
        let mut runners = Vec::new();
        let mut longest = 0.0f64;
        for (kind, (seconds, row)) in watched {
            let steps = ((ROUND / seconds) as usize).clamp(1, 100);
            longest = longest.max(seconds * steps as f64);
            let mut workload = Workload::new(gpu, kind, model, batch)?;
            workload.step()?;
            runners.push(Runner { workload, steps, milliseconds: Vec::new(), processor: Vec::new(), row });
        }
        // Steps are what counts in the end: they get four times a kernel's budget.
        for _ in 0..options.budget.rounds(longest / 4.0) {
            for runner in &mut runners {
                runner.round(gpu)?;
            }
        }
        let timed: Vec<StepRow> = runners.into_iter().map(Runner::finish).collect();
        let training = timed.iter().find(|row| row.kind == Kind::Train.name()).map(|row| row.timing);
        rows.extend(timed.into_iter().map(|row| StepRow {
            share_of_training_step:
                training.filter(|_| row.kind == Kind::Attack.name()).map(|training| ratio(row.timing, training)),
            ..row
        }));
    }
    Ok(rows)
}

/// Runs three steps with no other workload around; what the last one took, and a row with the memory.
fn memory(gpu: &Gpu, kind: Kind, model: &str, batch: usize) -> Result<(f64, StepRow), LabError> {
    gpu.restart_memory_peaks()?;
    let mut workload = Workload::new(gpu, kind, model, batch)?;
    let (mut seconds, mut dispatches) = (0.0, 0);
    let mut held = [0; 3];
    for held in &mut held {
        let (begun, before) = (Instant::now(), gpu.dispatches());
        workload.step()?;
        gpu.wait()?;
        seconds = begun.elapsed().as_secs_f64();
        dispatches = gpu.dispatches() - before;
        let memory = gpu.memory();
        *held = memory.held;
    }
    let memory = gpu.memory();
    let row = StepRow {
        kind: kind.name(),
        model: model.to_owned(),
        batch,
        images_per_second: 0.0,
        timing: Timing::of(Vec::new()),
        dispatches,
        share_of_training_step: None,
        peak_bytes: memory.peak,
        peak_live_bytes: memory.peak_live,
        peak_over_live: memory.peak as f64 / memory.peak_live.max(1) as f64,
        grown_bytes: held[2].saturating_sub(held[1]),
    };
    Ok((seconds, row))
}

impl Runner {
    fn round(&mut self, gpu: &Gpu) -> Result<(), LabError> {
        gpu.wait()?;
        let (begun, spent) = (Instant::now(), Processor::start(gpu));
        for _ in 0..self.steps {
            self.workload.step()?;
        }
        gpu.wait()?;
        self.milliseconds.push(begun.elapsed().as_secs_f64() * 1e3 / self.steps as f64);
        self.processor.push(spent.each(self.steps));
        Ok(())
    }

    fn finish(self) -> StepRow {
        let rounds = self.processor.len() as f64;
        let ms_processor = self.processor.into_iter().sum::<Option<f64>>().map(|sum| sum / rounds);
        let timing = Timing { ms_processor, ..Timing::of(self.milliseconds) };
        StepRow { timing, images_per_second: self.row.batch as f64 / timing.ms_median * 1e3, ..self.row }
    }
}
