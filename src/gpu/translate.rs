//! Kernels translated side by side, where one device translates them one after the other.
//!
//! llvmpipe translates a kernel to the processor's code when its first launch is due, in the one thread that a device's
//! queue has, and keeps the code on disk for whoever needs it next. So further devices launch a share of the kernels over
//! no workgroups at all, and the device that computes finds their code there. Uniform blocks are those of the run, since
//! Mesa 22 takes a loop's uniform bounds for constants, and translates a kernel anew where they are others. What all this
//! saves is the wait for the first step; the code and the results are the same.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};
use std::time::{Duration, Instant};

use super::kernel::{Cache, UNIFORM_BYTES, Wanted};
use super::{Gpu, GpuError, Result, adapter};

/// A launch over nothing that takes longer than this was translated: the driver did not have the code.
const TRANSLATED: Duration = Duration::from_millis(30);

/// Devices that translate, at the most.
const MAX_DEVICES: usize = 4;

/// A device, and buffers to bind.
struct Translator<'d> {
    device: &'d wgpu::Device,
    queue: &'d wgpu::Queue,
    buffers: Vec<wgpu::Buffer>,
}

impl<'d> Translator<'d> {
    fn new(device: &'d wgpu::Device, queue: &'d wgpu::Queue, wanted: &[Wanted]) -> Self {
        let storages = wanted.iter().map(|it| it.kernel.access.len()).max().unwrap_or(0);
        let buffer = |_| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("translation"),
                size: UNIFORM_BYTES,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        Self { device, queue, buffers: (0..=storages).map(buffer).collect() }
    }

    /// Launches a kernel over no workgroups, once with each of its uniform blocks, and waits for it.
    fn launch(&self, cache: &mut Cache, wanted: &Wanted) -> Result<()> {
        let pipeline = cache.pipeline(self.device, wanted.kernel, &wanted.consts)?;
        let group = pipeline.bind(self.device, self.buffers.iter().map(|buffer| (buffer, 0, UNIFORM_BYTES)));
        for params in &wanted.params {
            self.queue.write_buffer(&self.buffers[0], 0, params);
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[0]);
            pass.dispatch_workgroups(0, 0, 0);
            drop(pass);
            self.queue.submit([encoder.finish()]);
        }
        let outcome = self.device.poll(wgpu::PollType::wait_indefinitely());
        outcome.map(|_| ()).map_err(|error| GpuError::Device { reason: error.to_string() })
    }
}

/// Has a software driver translate what a rehearsal noted, on this device and, once it is clear that the driver has not
/// kept it, on others beside it. Returns how many devices that took: none where drivers translate by themselves.
pub(super) fn translate(gpu: &Gpu, wanted: &[Wanted]) -> Result<usize> {
    // Through GL, devices of one adapter take turns at one context.
    if !gpu.0.summary.is_software() || gpu.0.summary.backend != "vulkan" {
        return Ok(0);
    }
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let take = || wanted.get(next.fetch_add(1, Ordering::Relaxed));
    let (parent, cooperative) = (&gpu.0.adapter, gpu.0.cooperative.is_some());
    let help = || {
        // This device translates whatever a helper does not, so a helper's failure costs time and nothing else.
        let Ok((device, queue)) = adapter::connect(parent, cooperative) else { return };
        device.on_uncaptured_error(Arc::new(|_| ()));
        let mut cache = Cache::default();
        let translator = Translator::new(&device, &queue, wanted);
        while take().is_some_and(|wanted| translator.launch(&mut cache, wanted).is_ok()) {}
    };
    let mut cache = gpu.0.cache.borrow_mut();
    let translator = Translator::new(&gpu.0.device, &gpu.0.queue, wanted);
    let devices = scope(|scope| {
        let mut devices = 1;
        while let Some(wanted) = take() {
            let begun = Instant::now();
            translator.launch(&mut cache, wanted)?;
            if devices == 1 && begun.elapsed() > TRANSLATED {
                while devices < cores.min(MAX_DEVICES) {
                    scope.spawn(help);
                    devices += 1;
                }
            }
        }
        Ok::<usize, GpuError>(devices)
    })?;
    gpu.check_fault()?;
    Ok(devices)
}
