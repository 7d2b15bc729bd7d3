//! What stays of a self-test: which kernels failed, for other commands to do without.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Report, Row};
use crate::files::FileError;
use crate::gpu::{AdapterSummary, Gpu, Precision};
use crate::kept::{self, KeptError};
use crate::ops::tiles::{CONV2D, MATMUL};

/// Something that computes wrong numbers on an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The operation, or what else was tried: a graph's gradient, training, the device.
    pub operation: String,
    /// The variant, where the operation has others to take.
    pub variant: Option<String>,
    /// The file under `shaders/`, where it is a kernel.
    pub kernel: Option<String>,
    pub problem: String,
}

impl Failure {
    pub(super) fn of_kernel(row: &Row) -> Option<Self> {
        Some(Self {
            operation: row.operation.to_owned(),
            variant: row.variant.map(str::to_owned),
            kernel: Some(row.kernel.to_owned()),
            problem: format!("{}, {}", row.pass, row.problem.as_ref()?),
        })
    }

    pub(super) fn elsewhere(what: &str, problem: &str) -> Self {
        Self { operation: what.to_owned(), variant: None, kernel: None, problem: problem.to_owned() }
    }

    /// The kernel's name, or what else it is.
    pub fn name(&self) -> &str {
        self.kernel.as_deref().unwrap_or(&self.operation)
    }
}

/// What is kept of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub version: String,
    pub kernels_fingerprint: String,
    pub adapter: AdapterSummary,
    /// With f16, the kernels with cooperative matrices were tried, too.
    pub precision: Precision,
    pub passed: bool,
    pub failed: Vec<Failure>,
}

/// The command that makes it.
const COMMAND: &str = "selftest";

/// Under this name it is kept: what f16 was tried with is another device.
const fn kept_as(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => COMMAND,
        Precision::F16 => "selftest-f16",
    }
}

impl Verdict {
    /// The verdict of a report.
    pub fn of(report: &Report) -> Self {
        Self {
            version: report.version.to_owned(),
            kernels_fingerprint: report.kernels_fingerprint.clone(),
            adapter: report.adapter.summary.clone(),
            precision: report.precision,
            passed: report.failed.is_empty(),
            failed: report.failed.clone(),
        }
    }

    /// Keeps it in a folder, [`kept::folder`] as a rule; returns the file.
    pub fn keep(&self, folder: &Path) -> Result<PathBuf, FileError> {
        let path = kept::place(folder, kept_as(self.precision), &self.adapter);
        kept::keep(&path, self)?;
        Ok(path)
    }

    /// The verdict on this adapter, driver, precision and set of kernels, if there is one.
    pub fn recall(folder: &Path, adapter: &AdapterSummary, precision: Precision) -> Result<Option<Self>, KeptError> {
        kept::recall(&kept::place(folder, kept_as(precision), adapter), COMMAND)
    }

    /// Keeps the device from choosing the variants that failed.
    pub fn apply(&self, gpu: &Gpu) {
        for failure in &self.failed {
            for operation in [CONV2D, MATMUL] {
                if let Some(variant) = failure.variant.as_ref().filter(|_| failure.operation == operation) {
                    gpu.refuse_variant(operation, variant);
                }
            }
        }
    }

    /// The first failure that no other variant can stand in for.
    pub fn irreplaceable(&self) -> Option<&Failure> {
        self.failed.iter().find(|failure| failure.variant.is_none())
    }
}
