//! What a benchmark says: rows of kernels and rows of steps.

use serde::Serialize;

use crate::gpu::{AdapterSummary, Work};
use crate::ops::choices;

use super::ceiling::{Bound, Ceilings};
use super::clock::Timing;
use super::start::{FirstStep, Host};

/// One kernel at one shape.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRow {
    pub kernel: String,
    pub pass: &'static str,
    /// The model and layer that has this shape, if it is one's.
    pub layer: Option<String>,
    pub shape: String,
    pub variant: String,
    #[serde(flatten)]
    pub timing: Timing,
    /// At the median. Operations are those of the plain sum, bytes those that it needs at the least. Winograd's products are a
    /// quarter of these operations, or 9 / 16, so that its share of the ceiling may lie above one.
    pub gflops: f64,
    pub gbps: f64,
    pub share_of_ceiling: f64,
    pub bound: Bound,
}

/// What a row is about.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub kernel: &'static str,
    pub pass: &'static str,
    pub layer: Option<String>,
    pub shape: String,
    pub variant: String,
}

impl KernelRow {
    pub(super) fn new(label: Label, work: Work, timing: Timing, ceilings: &Ceilings) -> Self {
        let Label { kernel, pass, layer, shape, variant } = label;
        let (share_of_ceiling, bound) = ceilings.share(work, timing.ms_median);
        let rate = |amount: u64| amount as f64 / timing.ms_median * 1e-6;
        Self {
            kernel: kernel.to_owned(),
            pass,
            layer,
            shape,
            variant,
            timing,
            gflops: rate(work.flops),
            gbps: rate(work.bytes),
            share_of_ceiling,
            bound,
        }
    }
}

/// A whole training or attack step.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    pub kind: &'static str,
    pub model: String,
    pub batch: usize,
    pub images_per_second: f64,
    #[serde(flatten)]
    pub timing: Timing,
    pub dispatches: u64,
    /// Of an attack: its time as a share of a training step's, measured turn by turn; the processor's time on a software adapter.
    pub share_of_training_step: Option<f64>,
    /// The most bytes that buffers held, those kept for reuse among them, and the most that tensors in use held.
    pub peak_bytes: u64,
    pub peak_live_bytes: u64,
    pub peak_over_live: f64,
    /// What the last steps held more than the first ones.
    pub grown_bytes: u64,
}

/// All that one call of `bench` measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub command: Vec<String>,
    pub adapter: AdapterSummary,
    /// `f32`, or `f16` where products may be of f16.
    pub precision: &'static str,
    /// Which kernel variants computed, and their tiles where those were tuned; `--kernels` takes them again.
    pub kernel_choices: choices::Table,
    /// `timestamps` (the device's own clock, sums over dispatches) or `calls` (from the call to the end of the wait).
    pub kernel_times_from: &'static str,
    pub ceilings: Ceilings,
    pub kernels: Vec<KernelRow>,
    pub steps: Vec<StepRow>,
    pub first_step: Option<FirstStep>,
    pub host: Option<Host>,
}
