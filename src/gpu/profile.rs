//! Where the device's time goes: a beginning and an end for each dispatch, from timestamp queries.

use super::stream::MAX_DISPATCHES;
use super::{Gpu, GpuError, Result};

/// What a dispatch has to do at the least: floating-point operations (a multiply-add counts two) and bytes that
/// must be read or written once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub flops: u64,
    pub bytes: u64,
}

/// One dispatch as the device ran it.
#[derive(Clone, Debug)]
pub struct Sample {
    pub kernel: &'static str,
    pub work: Work,
    /// Nanoseconds from the profile's first dispatch.
    pub begin: f64,
    pub end: f64,
}

impl Sample {
    /// How long it took, in nanoseconds.
    pub fn nanoseconds(&self) -> f64 {
        self.end - self.begin
    }
}

impl Gpu {
    /// Says what the next dispatch has to do, for profiles and benchmarks. Without it a dispatch counts as no
    /// arithmetic and all bytes that it binds.
    pub fn next_work(&self, flops: usize, bytes: usize) {
        self.0.work.set(Work { flops: flops as u64, bytes: bytes as u64 });
    }

    /// Names the next dispatch for counts, profiles and traces: a kernel that does part of another operation is that
    /// operation's.
    pub(crate) fn next_named(&self, name: &'static str) {
        self.0.name.set(Some(name));
    }

    /// Whether the device can say when a dispatch began and ended.
    pub fn has_timestamps(&self) -> bool {
        self.0.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Times every dispatch from now on until [`Gpu::take_profile`].
    pub fn start_profile(&self) -> Result<()> {
        if !self.has_timestamps() {
            return Err(GpuError::NoTimestamps { adapter: self.0.summary.name.clone() });
        }
        self.wait()?;
        self.0.stream.borrow_mut().profiler = Some(Profiler::new(&self.0.device, &self.0.queue));
        Ok(())
    }

    /// Ends the profile; its dispatches in the order in which they ran.
    pub fn take_profile(&self) -> Result<Vec<Sample>> {
        self.wait()?;
        Ok(self.0.stream.borrow_mut().profiler.take().map(|profiler| profiler.samples).unwrap_or_default())
    }
}

/// Timestamps of the dispatches of one submit after the other. While it is on, every submit is waited for, so
/// times of single kernels are right and those of whole steps are not.
pub(super) struct Profiler {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    names: Vec<(&'static str, Work)>,
    period: f64,
    first: Option<u64>,
    pub(super) samples: Vec<Sample>,
}

const BYTES: u64 = 16 * MAX_DISPATCHES as u64;

impl Profiler {
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: BYTES,
                usage,
                mapped_at_creation: false,
            })
        };
        Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * MAX_DISPATCHES as u32,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ),
            names: Vec::new(),
            period: f64::from(queue.get_timestamp_period()),
            first: None,
            samples: Vec::new(),
        }
    }

    /// The queries of the next dispatch.
    pub(super) fn next(&mut self, name: &'static str, work: Work) -> wgpu::ComputePassTimestampWrites<'_> {
        let at = 2 * self.names.len() as u32;
        self.names.push((name, work));
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(at),
            end_of_pass_write_index: Some(at + 1),
        }
    }

    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        if self.names.is_empty() {
            return;
        }
        let count = 2 * self.names.len() as u32;
        encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, u64::from(count) * 8);
    }

    pub(super) fn collect(
        &mut self,
        device: &wgpu::Device,
        index: wgpu::SubmissionIndex,
    ) -> std::result::Result<(), wgpu::PollError> {
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
        if self.names.is_empty() {
            device.poll(wait)?;
            return Ok(());
        }
        self.staging.map_async(wgpu::MapMode::Read, .., |_| {});
        device.poll(wait)?;
        if let Ok(view) = self.staging.get_mapped_range(..) {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
            for (pair, (kernel, work)) in ticks.chunks_exact(2).zip(self.names.drain(..)) {
                let first = *self.first.get_or_insert(pair[0]);
                let at = |tick: u64| tick.saturating_sub(first) as f64 * self.period;
                self.samples.push(Sample { kernel, work, begin: at(pair[0]), end: at(pair[1]) });
            }
        }
        self.names.clear();
        self.staging.unmap();
        Ok(())
    }
}
