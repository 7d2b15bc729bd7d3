//! Looks for the first number that is not finite: every array that a dispatch wrote is counted through, on the device,
//! before the next one runs. Slow, and only for finding out.

use super::{Gpu, GpuError, Grid, Kernel, Result, Span, Words};

static CHECK: Kernel = Kernel {
    name: "check_finite",
    source: include_str!("../../shaders/check_finite.wgsl"),
    entry: "check_finite",
    access: "rw",
};

/// What is checked, and since when.
pub(super) struct Checker {
    step: u64,
    counts: Words,
}

/// One array of the operation that went wrong.
struct Array<'a> {
    access: u8,
    span: &'a Span,
    values: Vec<f32>,
}

impl Array<'_> {
    /// What it holds, for people.
    fn describe(&self) -> String {
        let verb = if self.access == b'w' { "written" } else { "read" };
        let count = self.values.len();
        let size = format!("{count} numbers, {} bytes", 4 * count);
        if !self.span.is_checked {
            return format!(
                "{verb}: {count} values that are not looked at (integers, or with gaps), {} bytes",
                4 * count
            );
        }
        let finite = self.values.iter().filter(|value| value.is_finite());
        let range = finite.fold(None, |range: Option<(f32, f32)>, &value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        });
        let range = range.map_or("none finite".to_owned(), |(low, high)| format!("{low:e} to {high:e}"));
        let odd = |what: &str, count: usize| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let nan = odd("NaN", self.values.iter().filter(|value| value.is_nan()).count());
        let infinite = odd("infinite", self.values.iter().filter(|value| value.is_infinite()).count());
        format!("{verb}: {size}, {range}{nan}{infinite}")
    }
}

impl Gpu {
    /// From now on every array that an operation writes is checked, in the name of this step.
    pub fn check_finite(&self, step: u64) -> Result<()> {
        let counts = match self.0.checker.take() {
            Some(checker) => checker.counts,
            None => self.words(&[0; 2])?,
        };
        self.0.checker.set(Some(Checker { step, counts }));
        Ok(())
    }

    /// No more checks.
    pub fn stop_check(&self) {
        self.0.checker.set(None);
    }

    /// Checks what `kernel` has just written, if checks are on.
    pub(super) fn check_written(&self, kernel: &'static Kernel, spans: &[&Span]) -> Result<()> {
        // Taken out, so that the checks are not checked; and for good once something is found.
        let Some(checker) = self.0.checker.take() else { return Ok(()) };
        // Whoever fills an array says what with, be it the NaN of a test's fresh arrays.
        if kernel.name != "fill" {
            self.inspect(&checker, kernel, spans)?;
        }
        self.0.checker.set(Some(checker));
        Ok(())
    }

    fn inspect(&self, checker: &Checker, kernel: &'static Kernel, spans: &[&Span]) -> Result<()> {
        let written =
            spans.iter().zip(kernel.access.bytes()).filter(|(span, access)| *access == b'w' && span.is_checked);
        let mut any = false;
        for (span, _) in written {
            let count = (span.bytes / 4) as usize;
            self.launch(&CHECK, &[], &[count as u32], &[span, checker.counts.span()], Grid::linear(count, 64))?;
            any = true;
        }
        if !any {
            return Ok(());
        }
        let counts = self.read_words(&checker.counts)?;
        let &[nan, infinite] = counts.as_slice() else { return Ok(()) };
        if nan == 0 && infinite == 0 {
            return Ok(());
        }
        let mut arrays = Vec::new();
        for (span, access) in spans.iter().zip(kernel.access.bytes()) {
            arrays.push(Array { access, span, values: bytemuck::pod_collect_to_vec(&self.download(span)?) });
        }
        let arrays: Vec<String> = arrays.iter().map(Array::describe).collect();
        let numbers = u64::from(nan) + u64::from(infinite);
        Err(GpuError::NotFinite { kernel: kernel.name, step: checker.step, numbers, arrays: arrays.join("; ") })
    }
}
