//! Kernels translated side by side, where one device translates them one after the other.
//!
//! llvmpipe translates a kernel to the processor's code when its first launch is due, in the one thread that a device's
//! queue has, and keeps the code on disk for whoever needs it next. So further devices launch a share of the kernels over
//! no workgroups at all, and the device that computes finds their code there (all but what the driver has not yet written,
//! which it translates once more). Uniform blocks are those of the run, since
//! Mesa 22 takes a loop's uniform bounds for constants, and translates a kernel anew where they are others. What all this
//! saves is the wait for the first step; the code and the results are the same.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, available_parallelism, scope};
use std::time::{Duration, Instant};

use super::kernel::{Cache, UNIFORM_ARRAY_BYTES, UNIFORM_BYTES, Wanted};
use super::{Gpu, GpuError, Result, adapter};

/// A launch over nothing that takes longer than this was translated: the driver did not have the code. The least of a step take
/// 15 to 20 ms so, and with the code none takes more than 5.
const TRANSLATED: Duration = Duration::from_millis(10);

/// So many of them say that it has not kept it; one may have been held up by something else.
const SURE: usize = 2;

/// Devices side by side, at the most.
const MAX_DEVICES: usize = 4;

/// How many devices of a software adapter are worth having side by side.
pub(crate) fn devices_side_by_side() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_DEVICES)
}

/// A device, and buffers to bind.
struct Translator<'d> {
    device: &'d wgpu::Device,
    queue: &'d wgpu::Queue,
    buffers: Vec<wgpu::Buffer>,
}

impl<'d> Translator<'d> {
    fn new(device: &'d wgpu::Device, queue: &'d wgpu::Queue, wanted: &[Wanted]) -> Self {
        let most = wanted.iter().map(|it| it.kernel.access.len()).max().unwrap_or(0);
        let buffer = |_| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("translation"),
                size: device.limits().max_uniform_buffer_binding_size.min(UNIFORM_ARRAY_BYTES),
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        Self { device, queue, buffers: (0..=most).map(buffer).collect() }
    }

    /// Launches a kernel over no workgroups, once with each of its uniform blocks; the longest of these launches.
    fn launch(&self, cache: &mut Cache, wanted: &Wanted) -> Result<Duration> {
        let pipeline = cache.pipeline(self.device, wanted.kernel, &wanted.consts)?;
        // Any kernel finds its uniform array there in full.
        let parts = self
            .buffers
            .iter()
            .enumerate()
            .map(|(binding, buffer)| (buffer, 0, if binding == 0 { UNIFORM_BYTES } else { buffer.size() }));
        let group = pipeline.bind(self.device, parts);
        let mut longest = Duration::ZERO;
        for params in &wanted.params {
            let begun = Instant::now();
            self.queue.write_buffer(&self.buffers[0], 0, params);
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[0]);
            pass.dispatch_workgroups(0, 0, 0);
            drop(pass);
            self.queue.submit([encoder.finish()]);
            let outcome = self.device.poll(wgpu::PollType::wait_indefinitely());
            outcome.map_err(|error| GpuError::Device { reason: error.to_string() })?;
            longest = longest.max(begun.elapsed());
        }
        Ok(longest)
    }
}

/// Has a software driver translate what a rehearsal noted, on this device and, once it is clear that the driver has not
/// kept it, on others beside it. Returns how many devices that took: none where drivers translate by themselves.
pub(super) fn translate(gpu: &Gpu, wanted: &[Wanted]) -> Result<usize> {
    // Through GL, devices of one adapter take turns at one context.
    if !gpu.0.summary.is_software() || gpu.0.summary.backend != "vulkan" {
        return Ok(0);
    }
    let next = AtomicUsize::new(0);
    let opened = AtomicUsize::new(1);
    let take = || wanted.get(next.fetch_add(1, Ordering::Relaxed));
    let (parent, cooperative) = (&gpu.0.adapter, gpu.0.cooperative.is_some());
    let help = || {
        let Ok((device, queue)) = adapter::connect(parent, cooperative) else { return };
        opened.fetch_add(1, Ordering::Relaxed);
        device.on_uncaptured_error(Arc::new(|_| ()));
        // The same text as on the first device, or the driver would translate it anew.
        let mut cache = Cache::new(&device, None, None, None);
        let translator = Translator::new(&device, &queue, wanted);
        while take().is_some_and(|wanted| translator.launch(&mut cache, wanted).is_ok()) {}
    };
    let mut cache = gpu.0.cache.borrow_mut();
    let translator = Translator::new(&gpu.0.device, &gpu.0.queue, wanted);
    scope(|scope| {
        let (mut helpers, mut slow) = (Vec::new(), 0);
        let mut work = || -> Result<()> {
            while let Some(wanted) = take() {
                let longest = translator.launch(&mut cache, wanted)?;
                slow += usize::from(longest > TRANSLATED);
                if helpers.is_empty() && slow >= SURE {
                    let start = |_| Builder::new().spawn_scoped(scope, help).ok();
                    helpers.extend((1..devices_side_by_side()).filter_map(start));
                }
            }
            Ok(())
        };
        let outcome = work();
        if outcome.is_err() {
            next.store(wanted.len(), Ordering::Relaxed);
        }
        // This device translates whatever a helper did not, so a helper that fails, or panics, costs time and nothing else.
        helpers.into_iter().for_each(|helper| drop(helper.join()));
        outcome
    })?;
    gpu.check_fault()?;
    Ok(opened.into_inner())
}
