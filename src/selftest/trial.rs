//! How one kernel is tried: run twice, held against its reference and against itself.

use serde::Serialize;

use super::reference::{random, tolerance};
use crate::gpu::{Gpu, GpuError, Result, Shape, Tensor};

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The operation, and the variant of it that was forced, where it has several.
    pub operation: &'static str,
    pub variant: Option<&'static str>,
    /// The file under `shaders/`.
    pub kernel: &'static str,
    pub pass: &'static str,
}

impl Subject {
    /// A kernel without variants.
    pub(super) fn one(kernel: &'static str, pass: &'static str) -> Self {
        Self { operation: kernel, variant: None, kernel, pass }
    }
}

/// How near a result must come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Within {
    /// To the last bit: nothing is rounded, or rounded once.
    Exactly,
    /// As a sum of so many terms may be off.
    Terms(usize),
}

/// One pass of one kernel, over all its cases.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub operation: &'static str,
    /// `None` where the operation has one kernel only.
    pub variant: Option<&'static str>,
    /// The file under `shaders/`.
    pub kernel: &'static str,
    pub pass: &'static str,
    pub cases: usize,
    /// The error of the case that came nearest to its tolerance, or went beyond it; and that tolerance and case.
    pub error: f64,
    pub tolerance: f64,
    pub nearest: String,
    /// Whether a second run of each case gave the same bits.
    pub repeats: bool,
    /// What went wrong first.
    pub problem: Option<String>,
}

impl Row {
    /// Whether every case was right, twice.
    pub fn passed(&self) -> bool {
        self.problem.is_none()
    }

    fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// Takes the largest error of a case in.
    fn measure(&mut self, error: f64, tolerance: f64, case: &str) {
        let share = |error: f64, tolerance: f64| if error == 0.0 { 0.0 } else { error / tolerance };
        let (new, old) = (share(error, tolerance), share(self.error, self.tolerance));
        if self.nearest.is_empty() || new.is_nan() || new > old {
            (self.error, self.tolerance, self.nearest) = (error, tolerance, case.to_owned());
        }
    }
}

/// Tries kernels and keeps what it found.
pub(super) struct Trial<'a> {
    pub gpu: &'a Gpu,
    pub rows: Vec<Row>,
}

/// Whether the device is of no more use.
pub(super) fn is_fatal(error: &GpuError) -> bool {
    matches!(error, GpuError::DeviceLost { .. } | GpuError::Device { .. } | GpuError::OutOfDriverMemory)
}

impl Trial<'_> {
    fn row(&mut self, subject: Subject) -> &mut Row {
        let Subject { operation, variant, kernel, pass } = subject;
        let same = |row: &Row| (row.variant, row.kernel, row.pass) == (variant, kernel, pass);
        let index = self.rows.iter().position(same).unwrap_or_else(|| {
            let row = Row {
                operation,
                variant,
                kernel,
                pass,
                cases: 0,
                error: 0.0,
                tolerance: 0.0,
                nearest: String::new(),
                repeats: true,
                problem: None,
            };
            self.rows.push(row);
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// Runs `launch` twice and compares. What a kernel does wrong is kept in its row; an error is returned only if
    /// nothing more can be tried on this device.
    pub(super) fn check(
        &mut self,
        subject: Subject,
        case: &str,
        wanted: &[f64],
        within: Within,
        launch: &dyn Fn(&Gpu) -> Result<Vec<f32>>,
    ) -> Result<()> {
        let gpu = self.gpu;
        let outcome = launch(gpu).and_then(|first| Ok((first, launch(gpu)?)));
        let row = self.row(subject);
        row.cases += 1;
        let (first, second) = match outcome {
            Ok(pair) => pair,
            Err(error) => {
                row.fail(format!("{case}: {error}"));
                return if is_fatal(&error) { Err(error) } else { Ok(()) };
            }
        };
        if first.len() != wanted.len() {
            row.fail(format!("{case}: {} numbers in place of {}", first.len(), wanted.len()));
            return Ok(());
        }
        let tolerance = match within {
            Within::Exactly => 0.0,
            Within::Terms(terms) => tolerance(wanted, terms),
        };
        let mut worst = (0usize, 0.0f64);
        for (index, (&found, &wanted)) in first.iter().zip(wanted).enumerate() {
            let error = if f64::from(found) == wanted { 0.0 } else { (f64::from(found) - wanted).abs() };
            // A NaN is worse than everything; fresh arrays are full of them.
            if error.is_nan() || error > worst.1 {
                worst = (index, error);
                if error.is_nan() {
                    break;
                }
            }
        }
        let (index, error) = worst;
        row.measure(error, tolerance, case);
        if error.is_nan() || error > tolerance {
            row.fail(format!(
                "{case}: element {index} is {}, not {} (off by {error:.3e}, {tolerance:.3e} allowed)",
                first[index], wanted[index]
            ));
        }
        if first.iter().zip(&second).any(|(one, other)| one.to_bits() != other.to_bits()) {
            row.repeats = false;
            row.fail(format!("{case}: a second run gives other bits"));
        }
        Ok(())
    }
}

/// A random tensor and its values.
pub(super) fn operand(gpu: &Gpu, item: u32, shape: impl Into<Shape>) -> Result<(Tensor, Vec<f32>)> {
    let shape = shape.into();
    let values = random(item, shape.count());
    Ok((gpu.tensor(shape, &values)?, values))
}

/// What stands in the memory around an array that a kernel is to fill.
const NEIGHBOUR: f32 = 1234.5;

/// Elements before and behind it.
const AROUND: usize = 64;

/// What `write` makes of an array full of NaN in the midst of a larger one, as a parameter's gradient lies in the flat
/// one. A kernel that writes beside it is an error.
pub(super) fn amid(gpu: &Gpu, shape: impl Into<Shape>, write: impl FnOnce(&Tensor) -> Result<()>) -> Result<Vec<f32>> {
    let shape = shape.into();
    let whole = gpu.filled([2 * AROUND + shape.count()], NEIGHBOUR)?;
    let place = whole.slice(AROUND, shape)?;
    gpu.fill(&place, f32::NAN)?;
    write(&place)?;
    let all = gpu.read(&whole)?;
    let end = AROUND + shape.count();
    if all[..AROUND].iter().chain(&all[end..]).any(|&value| value != NEIGHBOUR) {
        return Err(GpuError::operand("selftest", "the kernel wrote beside its array"));
    }
    Ok(all[AROUND..end].to_vec())
}
