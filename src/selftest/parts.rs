//! The kernels in groups, and who tries which group.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::scope;

use super::trial::{Row, Trial};
use super::variants::convolutions;
use super::{Progress, attacks, flat, open, planes, variants};
use crate::gpu::{Gpu, GpuOptions, Precision, Result, devices_side_by_side};
use crate::ops::tiles::ConvVariant;

/// A group's name, and what tries it.
pub(super) type Part = (&'static str, fn(&mut Trial<'_>) -> Result<()>);

/// The kernels, in groups. What is simple comes first: what follows is computed with it.
pub(super) const PARTS: [Part; 19] = [
    ("elementwise kernels", flat::elementwise),
    ("activations", flat::activations),
    ("reductions", planes::reductions),
    ("matrix products", variants::products),
    ("convolutions, subgroup", |trial| convolutions(trial, ConvVariant::Subgroup)),
    ("convolutions, lanes", |trial| convolutions(trial, ConvVariant::Lanes)),
    ("convolutions, winograd", |trial| convolutions(trial, ConvVariant::Winograd)),
    ("convolutions, direct", |trial| convolutions(trial, ConvVariant::Direct)),
    ("convolutions, gemm", |trial| convolutions(trial, ConvVariant::Gemm)),
    ("convolutions, naive", |trial| convolutions(trial, ConvVariant::Naive)),
    ("convolutions, coop", |trial| convolutions(trial, ConvVariant::Coop)),
    ("pooling", planes::pooling),
    ("batch normalisation", planes::batch_normalisation),
    ("losses", planes::losses_and_gradients),
    ("batches", planes::batches),
    ("optimisers", flat::optimizers),
    ("random numbers and attack steps", flat::randomness),
    ("what attacks are made of", attacks::pictures),
    ("the benchmark's kernels", flat::instruments),
];

/// What came of all groups.
pub(super) struct Found {
    /// In the order of the groups, whoever tried them.
    pub rows: Vec<Row>,
    /// Why nothing more could be tried, if a device gave up.
    pub stopped: Option<String>,
    pub devices: usize,
}

/// What the workers share.
struct Desk<'p> {
    progress: &'p mut (dyn Progress + Send),
    /// By the group's place.
    rows: Vec<Vec<Row>>,
    stopped: Option<String>,
}

impl Desk<'_> {
    fn done(&mut self, index: usize, name: &str, rows: Vec<Row>, outcome: Result<()>) {
        self.rows[index] = rows;
        // Anything that is not a kernel's own failure (no memory for the operands, a lost device) ends the test.
        if let Err(error) = outcome {
            self.stopped.get_or_insert(error.to_string());
        }
        let failures = self.rows.iter().flatten().filter(|row| !row.passed()).count();
        self.progress.done(name, failures);
    }
}

/// Devices to try kernels on side by side. A software adapter compiles a kernel when its first launch is due, one after
/// another on each device, and that is nearly all the time that the test takes. On a GPU the test does what other
/// commands do, and has one device.
fn devices(gpu: &Gpu) -> usize {
    if gpu.adapter().is_software() { devices_side_by_side() } else { 1 }
}

/// Tries all groups on `gpu` and on further devices with the same options; each takes the next group that nobody has.
pub(super) fn try_all(gpu: &Gpu, options: &GpuOptions, parts: &[Part], progress: &mut (dyn Progress + Send)) -> Found {
    let desk = Mutex::new(Desk { progress, rows: vec![Vec::new(); parts.len()], stopped: None });
    let next = AtomicUsize::new(0);
    let work = |gpu: &Gpu| {
        // Kernels with cooperative matrices are tried by name.
        gpu.prefer(Precision::F32);
        while lock(&desk).stopped.is_none() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(name, part)) = parts.get(index) else { return };
            lock(&desk).progress.part(name);
            let mut trial = Trial { gpu, rows: Vec::new() };
            let outcome = part(&mut trial);
            lock(&desk).done(index, name, trial.rows, outcome);
        }
    };
    let wanted = devices(gpu).min(parts.len());
    let opened = AtomicUsize::new(1);
    // One device keeps what the driver hands out: several would write one file at once.
    let options = GpuOptions { pipelines: None, ..options.clone() };
    scope(|scope| {
        for _ in 1..wanted {
            scope.spawn(|| {
                // An adapter may refuse another device, and that says nothing of its kernels: the first one tries all.
                if let Ok(gpu) = open(&options) {
                    opened.fetch_add(1, Ordering::Relaxed);
                    work(&gpu);
                }
            });
        }
        work(gpu);
    });
    let Desk { rows, stopped, .. } = desk.into_inner().unwrap_or_else(PoisonError::into_inner);
    Found { rows: rows.into_iter().flatten().collect(), stopped, devices: opened.into_inner() }
}

/// The desk, for one at a time. A worker's panic goes on when all have ended, and then nobody looks at the desk again.
fn lock<'d, 'p>(desk: &'d Mutex<Desk<'p>>) -> MutexGuard<'d, Desk<'p>> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::PARTS;
    use crate::ops::tiles::ConvVariant;

    #[test]
    fn every_variant_of_the_convolution_is_tried() {
        for variant in ConvVariant::ALL {
            let name = format!("convolutions, {}", variant.name());
            assert_eq!(PARTS.iter().filter(|(part, _)| *part == name).count(), 1, "{name}");
        }
    }
}
