//! Buffers that are used again: a training step allocates nothing once the first two have.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use serde::Serialize;

use super::{GpuError, Result};

/// GPU memory held by the program, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryStats {
    /// What the tensors that are alive asked for.
    pub live: u64,
    /// In buffers, of tensors and kept for reuse.
    pub held: u64,
    /// The most that was ever held.
    pub peak: u64,
    /// The most that was ever alive.
    pub peak_live: u64,
    /// The largest tensor ever.
    pub largest_binding: u64,
    /// How many buffers were made.
    pub made: u64,
}

/// A buffer with a number of its own, which bind-group caches use as a key.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) buffer: wgpu::Buffer,
    pub(super) id: u64,
    bytes: u64,
    /// What the tensor that holds it now asked for.
    asked: u64,
    home: Weak<RefCell<State>>,
}

impl Drop for Storage {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut state = home.borrow_mut();
        state.stats.live -= self.asked;
        state.returned += 1;
        let unused = Unused { since: state.returned, id: self.id, buffer: self.buffer.clone() };
        // Last in, first out: a step that repeats takes the same buffers in the same order, so the
        // bind groups of the last step fit this one.
        state.free.entry(self.bytes).or_default().push(unused);
    }
}

/// A buffer kept for reuse.
#[derive(Debug)]
struct Unused {
    /// Which return it was, counted from the first.
    since: u64,
    id: u64,
    buffer: wgpu::Buffer,
}

#[derive(Debug, Default)]
struct State {
    /// By size, and of one size by when they came.
    free: BTreeMap<u64, Vec<Unused>>,
    stats: MemoryStats,
    returned: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Rc<RefCell<State>>,
    /// In a rehearsal this small buffer stands for every other.
    stand_in: Option<wgpu::Buffer>,
    /// Unused buffers are given back rather than that more than so many bytes are held.
    limit: Cell<Option<u64>>,
}

const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::UNIFORM)
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// Sizes are rounded up so that nearly equal ones share buffers: to 256 bytes, and from 4 KiB on to a
/// sixteenth of the power of two below.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = if bytes < 4096 { 256 } else { (1u64 << bytes.ilog2()) / 16 };
    bytes.next_multiple_of(step)
}

/// A buffer that lies unused may be so many times as large as what it is taken for. By equal sizes alone, a training step of
/// `lab` held 1.49 times what is alive at its busiest moment, with this 1.21. With any size it would be 1.48, as a replay of its
/// requests has it: a large one is gone then when it is needed.
const MOST_TIMES: u64 = 2;

/// Times what was ever alive at once that may be held: a step that repeats stays below that, and a task whose arrays have other
/// sizes than the one before takes its place. Within so many bytes everything is kept.
const MOST_HELD: f64 = 1.3;
const ALWAYS_HELD: u64 = 1 << 20;

impl State {
    /// The smallest unused buffer of at least `class` bytes that is not too large, of equals the one that was given back last.
    fn reuse(&mut self, class: u64) -> Option<(u64, Unused)> {
        let mut fitting = self.free.range_mut(class..=MOST_TIMES * class);
        fitting.find_map(|(&bytes, buffers)| buffers.pop().map(|found| (bytes, found)))
    }

    /// Gives back what has lain unused for longest until a buffer of `class` bytes more is not too much, for `bytes` more that
    /// are alive; or, where that cannot be, until no more is held with it than now. Whether there was any.
    fn make_room(&mut self, bytes: u64, class: u64, limit: Option<u64>) -> bool {
        let alive = self.stats.peak_live.max(self.stats.live + bytes);
        let wanted = ((MOST_HELD * alive as f64) as u64).max(ALWAYS_HELD).min(limit.unwrap_or(u64::MAX));
        let unused: u64 = self.free.iter().map(|(size, buffers)| size * buffers.len() as u64).sum();
        let can = self.stats.held - unused + class <= wanted;
        let most = if can { wanted } else { self.stats.held };
        let mut any = false;
        while self.stats.held + class > most {
            let sizes = self.free.iter_mut().filter(|(_, buffers)| !buffers.is_empty());
            let Some((size, buffers)) = sizes.min_by_key(|(_, buffers)| buffers[0].since) else { break };
            buffers.remove(0);
            self.stats.held -= size;
            any = true;
        }
        any
    }
}

impl Pool {
    /// A pool that counts and allocates nothing.
    pub(super) fn rehearsing(device: &wgpu::Device) -> Self {
        let descriptor =
            wgpu::BufferDescriptor { label: Some("stand-in"), size: 4, usage: USAGE, mapped_at_creation: false };
        Self { stand_in: Some(device.create_buffer(&descriptor)), ..Self::default() }
    }

    pub(super) fn stats(&self) -> MemoryStats {
        self.state.borrow().stats
    }

    pub(super) fn limit(&self, bytes: Option<u64>) {
        self.limit.set(bytes);
    }

    /// A buffer of at least `bytes`, whose contents are whatever they were. `forget` is called where unused ones are given back
    /// for it, and is to drop whatever else keeps them.
    pub(super) fn take(
        &self,
        device: &wgpu::Device,
        limit: u64,
        bytes: u64,
        forget: impl Fn() -> Result<()>,
    ) -> Result<Rc<Storage>> {
        if bytes > limit {
            return Err(GpuError::BindingTooLarge { bytes, limit });
        }
        let class = size_class(bytes).min(limit.max(256) & !3);
        let reused = self.state.borrow_mut().reuse(class);
        let (held, id, buffer) = match reused {
            Some((held, Unused { id, buffer, .. })) => (held, id, buffer),
            None => {
                let gave_back = self.state.borrow_mut().make_room(bytes, class, self.limit.get());
                if gave_back {
                    forget()?;
                }
                let buffer = self.create(device, class)?;
                let mut state = self.state.borrow_mut();
                state.stats.made += 1;
                state.stats.held += class;
                (class, state.stats.made, buffer)
            }
        };
        let stats = &mut self.state.borrow_mut().stats;
        stats.live += bytes;
        stats.peak_live = stats.peak_live.max(stats.live);
        stats.peak = stats.peak.max(stats.held);
        stats.largest_binding = stats.largest_binding.max(bytes);
        Ok(Rc::new(Storage { buffer, id, bytes: held, asked: bytes, home: Rc::downgrade(&self.state) }))
    }

    fn create(&self, device: &wgpu::Device, bytes: u64) -> Result<wgpu::Buffer> {
        if let Some(buffer) = &self.stand_in {
            return Ok(buffer.clone());
        }
        let attempt = || {
            let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: bytes,
                usage: USAGE,
                mapped_at_creation: false,
            });
            match pollster::block_on(scope.pop()) {
                None => Ok(buffer),
                Some(_) => Err(GpuError::OutOfMemory { bytes, held: self.stats().held }),
            }
        };
        attempt().or_else(|_| {
            // What lies unused may be what is missing.
            self.trim();
            attempt()
        })
    }

    /// Gives every unused buffer back to the driver.
    pub(super) fn trim(&self) {
        let mut state = self.state.borrow_mut();
        let unused: u64 = std::mem::take(&mut state.free).iter().map(|(bytes, all)| bytes * all.len() as u64).sum();
        state.stats.held -= unused;
    }

    /// Forgets what was held at the most before now.
    pub(super) fn restart_peaks(&self) {
        let stats = &mut self.state.borrow_mut().stats;
        stats.peak = stats.held;
        stats.peak_live = stats.live;
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_a_sixteenth() {
        for bytes in (1..200_000u64).step_by(37).chain([1 << 20, (1 << 27) + 4]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(4));
            assert!(class <= bytes.max(256) + bytes / 16 + 256, "{bytes} -> {class}");
        }
    }
}
