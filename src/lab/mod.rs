//! The experiments: training, evaluation, attacks, OOD scoring, and the pictures that they leave; and what the kernels
//! take for them.

pub mod attack;
mod axis;
pub mod bench;
pub mod detect;
pub mod evaluate;
pub mod fitted;
pub mod map;
pub mod plots;
pub mod profile;
pub mod report;
pub mod results;
pub mod run;
pub mod score;
mod seeds;
pub mod train;
pub mod workload;

use std::path::PathBuf;

use crate::attack::AttackError;
use crate::data::DataError;
use crate::files::FileError;
use crate::gpu::GpuError;
use crate::models::ModelError;
use crate::nn::CheckpointError;
use crate::ood::fit::FitError;
use crate::ood::metrics::MetricsError;

pub(crate) use axis::in_255ths;

/// Whatever can stop an experiment.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Attack(#[from] AttackError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Plot(#[from] plots::PlotError),
    #[error(
        "the loss is not finite at step {step}: broken weights are not saved, and the last good ones are kept; try a \
         smaller --lr, or --check finite to see which operation is the first to go wrong"
    )]
    Diverged { step: u64 },
    #[error("stopped after step {step}, as asked; the state is kept in {}", .folder.display())]
    Interrupted { step: u64, folder: PathBuf },
    #[error("stopped, as asked; what is finished is kept in {}", .folder.display())]
    Left { folder: PathBuf },
    #[error("{} cannot be resumed from: {problem}", .path.display())]
    State { path: PathBuf, problem: String },
    /// A template and what it is filled with do not fit: a mistake in the program, or a picture of a wrong size.
    #[error("cannot make the report: {0}")]
    Report(#[from] report::TemplateError),
    #[error("{0}")]
    Usage(String),
}
