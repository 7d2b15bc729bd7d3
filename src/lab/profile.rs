//! Where a step's time goes: each kernel's share, the gaps between kernels, and a trace that Perfetto opens.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use crate::gpu::{Gpu, Sample};

use super::LabError;
use super::workload::{Kind, Workload};

/// What to profile.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kind: Kind,
    pub model: String,
    pub batch: usize,
    pub steps: usize,
}

/// One kernel at one amount of work, over all steps.
#[derive(Clone, Debug, Serialize)]
pub struct KernelShare {
    pub kernel: &'static str,
    /// In a step.
    pub calls: f64,
    /// Milliseconds in a step.
    pub milliseconds: f64,
    /// Of the time in kernels.
    pub share: f64,
    pub gflops: f64,
    pub gbps: f64,
}

/// What was found. Times are those of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    pub kernels: Vec<KernelShare>,
    /// In kernels, by the device's clock.
    pub kernel_milliseconds: f64,
    /// A step without the profiler, by the clock on the wall.
    pub step_milliseconds: f64,
    /// Between the end of one kernel and the beginning of the next of the same step, under the profiler.
    pub gap_milliseconds: f64,
    /// The longest of them, and the kernel before it.
    pub longest_gap: Option<(f64, &'static str)>,
    pub dispatches: f64,
    #[serde(skip)]
    samples: Vec<Vec<Sample>>,
}

/// Runs steps, once as they are and once with timestamps around every dispatch.
pub fn profile(gpu: &Gpu, settings: &Settings) -> Result<Profile, LabError> {
    let steps = settings.steps.max(1);
    let mut workload = Workload::new(gpu, settings.kind, &settings.model, settings.batch)?;
    for _ in 0..2 {
        workload.step()?;
    }
    gpu.wait()?;
    let begun = Instant::now();
    for _ in 0..steps {
        workload.step()?;
    }
    gpu.wait()?;
    let step_milliseconds = begun.elapsed().as_secs_f64() * 1e3 / steps as f64;
    gpu.start_profile()?;
    let before = gpu.dispatches();
    for _ in 0..steps {
        workload.step()?;
    }
    let each = ((gpu.dispatches() - before) as usize / steps).max(1);
    let samples: Vec<Vec<Sample>> = gpu.take_profile()?.chunks(each).map(<[Sample]>::to_vec).collect();
    Ok(summarise(samples, step_milliseconds))
}

fn summarise(samples: Vec<Vec<Sample>>, step_milliseconds: f64) -> Profile {
    let steps = samples.len().max(1) as f64;
    let mut rows: BTreeMap<(&'static str, u64, u64), (usize, f64)> = BTreeMap::new();
    let mut gaps = 0.0;
    let mut longest_gap: Option<(f64, &'static str)> = None;
    for step in &samples {
        for sample in step {
            let row = rows.entry((sample.kernel, sample.work.flops, sample.work.bytes)).or_default();
            row.0 += 1;
            row.1 += sample.nanoseconds();
        }
        for pair in step.windows(2) {
            let gap = (pair[1].begin - pair[0].end).max(0.0) * 1e-6;
            gaps += gap;
            if longest_gap.is_none_or(|(longest, _)| gap > longest) {
                longest_gap = Some((gap, pair[0].kernel));
            }
        }
    }
    let total: f64 = rows.values().map(|row| row.1).sum();
    let mut kernels: Vec<KernelShare> = rows
        .into_iter()
        .map(|((kernel, flops, bytes), (calls, nanoseconds))| KernelShare {
            kernel,
            calls: calls as f64 / steps,
            milliseconds: nanoseconds * 1e-6 / steps,
            share: nanoseconds / total,
            gflops: flops as f64 * calls as f64 / nanoseconds,
            gbps: bytes as f64 * calls as f64 / nanoseconds,
        })
        .collect();
    kernels.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
    Profile {
        kernels,
        kernel_milliseconds: total * 1e-6 / steps,
        step_milliseconds,
        gap_milliseconds: gaps / steps,
        longest_gap,
        dispatches: samples.iter().map(Vec::len).sum::<usize>() as f64 / steps,
        samples,
    }
}

impl Profile {
    /// All dispatches in the trace-event format, which <https://ui.perfetto.dev> and Chrome's tracing page open:
    /// one track of steps, one of kernels.
    pub fn trace(&self, title: &str) -> serde_json::Value {
        let name = |what: &str, thread: u32, name: &str| json!({"ph": "M", "pid": 1, "tid": thread, "name": what, "args": {"name": name}});
        let mut events =
            vec![name("process_name", 0, title), name("thread_name", 1, "steps"), name("thread_name", 2, "kernels")];
        let event = |name: &str, thread: u32, begin: f64, end: f64, args: serde_json::Value| json!({"ph": "X", "pid": 1, "tid": thread, "name": name, "cat": "gpu", "ts": begin * 1e-3, "dur": (end - begin) * 1e-3, "args": args});
        for (number, step) in self.samples.iter().enumerate() {
            if let (Some(first), Some(last)) = (step.first(), step.last()) {
                events.push(event(&format!("step {number}"), 1, first.begin, last.end, json!({})));
            }
            for sample in step {
                let gflops = sample.work.flops as f64 / sample.nanoseconds().max(1.0);
                let args = json!({"flops": sample.work.flops, "bytes": sample.work.bytes, "gflops": gflops});
                events.push(event(sample.kernel, 2, sample.begin, sample.end, args));
            }
        }
        json!({"displayTimeUnit": "ms", "traceEvents": events})
    }
}

#[cfg(test)]
mod tests {
    use super::{Sample, summarise};
    use crate::gpu::Work;

    fn sample(kernel: &'static str, begin: f64, end: f64) -> Sample {
        Sample { kernel, work: Work { flops: 2000, bytes: 500 }, begin, end }
    }

    #[test]
    fn shares_gaps_and_traces_add_up() {
        let step =
            |at: f64| vec![sample("a", at, at + 1e6), sample("b", at + 2e6, at + 5e6), sample("a", at + 5e6, at + 6e6)];
        let profile = summarise(vec![step(0.0), step(1e7)], 7.0);
        let names: Vec<_> = profile.kernels.iter().map(|row| (row.kernel, row.calls, row.milliseconds)).collect();
        assert_eq!(names, [("b", 1.0, 3.0), ("a", 2.0, 2.0)]);
        assert_eq!((profile.kernels[0].share, profile.kernel_milliseconds, profile.dispatches), (0.6, 5.0, 3.0));
        assert_eq!((profile.gap_milliseconds, profile.longest_gap), (1.0, Some((1.0, "a"))));
        let trace = profile.trace("test");
        let events = trace["traceEvents"].as_array().unwrap();
        let complete: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(complete.len(), 2 + 6);
        assert_eq!((complete[2]["ts"].as_f64(), complete[2]["dur"].as_f64()), (Some(2e3), Some(3e3)));
    }
}
