//! The command stream: dispatches are collected and go to the queue many at a time.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::kernel::{Grid, Pipeline, UNIFORM_BYTES};
use super::profile::{Profiler, Work};

/// Dispatches to a submit: enough to hide the cost of a submit, few enough to keep the device busy
/// while the next ones are recorded.
pub(super) const MAX_DISPATCHES: usize = 256;

/// Submits in flight; beyond that the program waits for the oldest, so that memory stays bounded.
const MAX_IN_FLIGHT: usize = 3;

enum Command {
    Dispatch {
        name: &'static str,
        work: Work,
        pipeline: Rc<Pipeline>,
        bind_group: Rc<wgpu::BindGroup>,
        uniform: u32,
        grid: Grid,
    },
    Copy {
        from: wgpu::Buffer,
        from_offset: u64,
        to: wgpu::Buffer,
        to_offset: u64,
        bytes: u64,
    },
}

pub(super) struct Stream {
    commands: Vec<Command>,
    /// The uniform blocks of the collected dispatches. Written to the one uniform buffer just before
    /// the submit: queue writes are ordered with submits, so the buffer can be used again at once.
    blocks: Vec<u8>,
    pub(super) uniforms: wgpu::Buffer,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    counts: BTreeMap<&'static str, u64>,
    submits: u64,
    /// Present while a profile is taken.
    pub(super) profiler: Option<Profiler>,
}

impl Stream {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("uniforms"),
            size: UNIFORM_BYTES * MAX_DISPATCHES as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            commands: Vec::new(),
            blocks: Vec::new(),
            uniforms,
            in_flight: VecDeque::new(),
            counts: BTreeMap::new(),
            submits: 0,
            profiler: None,
        }
    }

    /// Whether the stream must be submitted before another dispatch is added.
    pub(super) fn is_full(&self) -> bool {
        self.blocks.len() as u64 >= UNIFORM_BYTES * MAX_DISPATCHES as u64
    }

    pub(super) fn dispatch(
        &mut self,
        name: &'static str,
        work: Work,
        pipeline: Rc<Pipeline>,
        bind_group: Rc<wgpu::BindGroup>,
        params: &[u8],
        grid: Grid,
    ) {
        let uniform = self.blocks.len() as u32;
        self.blocks.extend_from_slice(params);
        self.blocks.resize(uniform as usize + UNIFORM_BYTES as usize, 0);
        *self.counts.entry(name).or_default() += 1;
        self.commands.push(Command::Dispatch { name, work, pipeline, bind_group, uniform, grid });
    }

    pub(super) fn copy(&mut self, from: (&wgpu::Buffer, u64), to: (&wgpu::Buffer, u64), bytes: u64) {
        self.commands.push(Command::Copy {
            from: from.0.clone(),
            from_offset: from.1,
            to: to.0.clone(),
            to_offset: to.1,
            bytes,
        });
    }

    /// Sends what has been collected to the queue.
    pub(super) fn submit(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<(), wgpu::PollError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        if !self.blocks.is_empty() {
            queue.write_buffer(&self.uniforms, 0, &self.blocks);
        }
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut commands = self.commands.iter().peekable();
        while let Some(command) = commands.next() {
            match command {
                Command::Copy { from, from_offset, to, to_offset, bytes } => {
                    encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, *bytes);
                }
                Command::Dispatch { name, work, .. } if let Some(profiler) = &mut self.profiler => {
                    // A pass of its own for each dispatch, so that each has a beginning and an end.
                    let timestamps = profiler.next(name, *work);
                    let descriptor =
                        wgpu::ComputePassDescriptor { label: Some(name), timestamp_writes: Some(timestamps) };
                    encode(&mut encoder.begin_compute_pass(&descriptor), command);
                }
                first @ Command::Dispatch { .. } => {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                    encode(&mut pass, first);
                    while let Some(next) = commands.next_if(|next| matches!(next, Command::Dispatch { .. })) {
                        encode(&mut pass, next);
                    }
                }
            }
        }
        if let Some(profiler) = &self.profiler {
            profiler.resolve(&mut encoder);
        }
        let index = queue.submit([encoder.finish()]);
        self.submits += 1;
        self.commands.clear();
        self.blocks.clear();
        if let Some(profiler) = &mut self.profiler {
            return profiler.collect(device, index);
        }
        self.in_flight.push_back(index);
        while self.in_flight.len() > MAX_IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            device.poll(wgpu::PollType::Wait { submission_index: oldest, timeout: None })?;
        }
        Ok(())
    }

    /// Dispatches so far, by kernel name.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    /// Submits so far.
    pub(super) fn submits(&self) -> u64 {
        self.submits
    }
}

fn encode(pass: &mut wgpu::ComputePass<'_>, command: &Command) {
    if let Command::Dispatch { pipeline, bind_group, uniform, grid: Grid([x, y, z]), .. } = command {
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &**bind_group, &[*uniform]);
        pass.dispatch_workgroups(*x, *y, *z);
    }
}
