//! The benchmark: what each kernel reaches of the adapter's own ceilings, and what whole steps take.
//!
//! Times on a shared machine swing; only ratios within one run mean something.

mod ceiling;
mod clock;
mod convolutions;
mod kernels;
mod ladder;
mod row;
mod start;
mod steps;
mod tune;

use crate::attack::AttackError;
use crate::gpu::{Gpu, GpuError, Tensor, Work};
use crate::models;
use crate::nn::Task;
use crate::ops::choices;
use crate::ops::noise::{self, Source};
use crate::random::Purpose;

use super::LabError;
use super::workload::{Kind, default_batch};

pub use ceiling::{Bound, Ceilings};
pub use clock::{Budget, Timing, time};
pub use ladder::{Ladder, LadderReport, Rung, climb};
pub use row::{KernelRow, Report, StepRow};
pub use start::{FirstStep, Host, ProcessStart, take_first_step};
pub use tune::{TuneReport, Tuned, TunedRow, kept_as, tune};

use row::Label;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Matmul,
    Conv2d,
    Pool,
    Reduce,
    Optim,
    Train,
    Attack,
    All,
}

/// How it is measured.
#[derive(Clone, Debug)]
pub struct Options {
    pub budget: Budget,
    /// This model rather than lenet, lab and ae3.
    pub model: Option<String>,
    /// This batch rather than each model's own.
    pub batch: Option<usize>,
}

/// The models that stand for the others.
const MODELS: [&str; 3] = ["lenet", "lab", "ae3"];

impl Options {
    fn models(&self) -> Vec<&str> {
        self.model.as_deref().map_or(MODELS.to_vec(), |model| vec![model])
    }

    fn batch(&self, model: &str) -> usize {
        self.batch.unwrap_or(default_batch(model))
    }
}

/// Where rows are made: the device, its ceilings, and the rows so far.
struct Bench<'a> {
    gpu: &'a Gpu,
    options: &'a Options,
    ceilings: Ceilings,
    rows: Vec<KernelRow>,
    watch: &'a mut dyn FnMut(&str),
}

impl Bench<'_> {
    /// Times `launch` and notes what it reached.
    fn row(
        &mut self,
        label: Label,
        work: Work,
        launch: &mut dyn FnMut() -> crate::gpu::Result<()>,
    ) -> Result<(), LabError> {
        (self.watch)(&format!("{} {} {}", label.kernel, label.pass, label.layer.as_deref().unwrap_or(&label.shape)));
        let timing = time(self.gpu, self.options.budget, launch)?;
        self.rows.push(KernelRow::new(label, work, timing, &self.ceilings));
        Ok(())
    }
}

/// Random numbers in [-1, 1), made on the device.
fn random(gpu: &Gpu, item: u32, shape: impl Into<crate::gpu::Shape>) -> crate::gpu::Result<Tensor> {
    let tensor = gpu.empty(shape)?;
    noise::uniform(gpu, Source { seed: 0, purpose: Purpose::Noise, launch: item }, -1.0, 1.0, &tensor)?;
    Ok(tensor)
}

/// Runs a suite; `watch` hears what is measured now. `adapter` is as in [`crate::gpu::GpuOptions`]: the time to the
/// first step is measured on devices of its own.
pub fn run(
    gpu: &Gpu,
    suite: Suite,
    options: &Options,
    (command, adapter): (&[String], Option<String>),
    watch: &mut dyn FnMut(&str),
) -> Result<Report, LabError> {
    let insist = suite == Suite::Attack && options.model.is_some();
    for model in options.models() {
        if models::architecture(model)?.task != Task::Classify && insist {
            return Err(AttackError::NotAClassifier { model: model.to_owned() }.into());
        }
    }
    if options.batch == Some(0) {
        return Err(GpuError::operand("bench", "a batch has at least one picture").into());
    }
    let wants = |one: Suite| suite == one || suite == Suite::All;
    // First of all, before anything else has filled the driver's caches.
    let first_step = match wants(Suite::Train) {
        true => {
            watch("first step");
            Some(start::first_step(gpu, adapter)?)
        }
        false => None,
    };
    watch("ceilings");
    let ceilings = Ceilings::measure(gpu)?;
    let mut bench = Bench { gpu, options, ceilings, rows: Vec::new(), watch };
    if wants(Suite::Matmul) {
        bench.matmul()?;
    }
    if wants(Suite::Conv2d) {
        bench.convolutions()?;
    }
    if wants(Suite::Pool) {
        bench.pool()?;
    }
    if wants(Suite::Reduce) {
        bench.reduce()?;
    }
    if wants(Suite::Optim) {
        bench.optim()?;
    }
    let kernels = std::mem::take(&mut bench.rows);
    // An attack step is judged by a training step's time, so that one is measured beside it.
    let kinds: &[Kind] = match suite {
        Suite::Train => &[Kind::Train],
        Suite::Attack | Suite::All => &[Kind::Train, Kind::Attack],
        _ => &[],
    };
    let steps = if kinds.is_empty() { Vec::new() } else { steps::rows(gpu, kinds, options, watch)? };
    let host = if wants(Suite::Train) { Some(start::host(gpu)?) } else { None };
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        command: command.to_vec(),
        adapter: gpu.adapter().clone(),
        precision: gpu.precision().name(),
        kernel_choices: choices::record(gpu)?,
        kernel_times_from: if gpu.has_timestamps() { "timestamps" } else { "calls" },
        ceilings,
        kernels,
        steps,
        first_step,
        host,
    })
}
