//! Buffers that are used again: a training step allocates nothing after the first one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use serde::Serialize;

use super::{GpuError, Result};

/// GPU memory held by the program, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryStats {
    /// In buffers that a tensor holds now.
    pub live: u64,
    /// In buffers kept for reuse.
    pub pooled: u64,
    /// The most that live and pooled buffers ever held together.
    pub peak: u64,
    /// The most that live buffers alone ever held.
    pub peak_live: u64,
    /// The largest buffer ever bound.
    pub largest_binding: u64,
}

/// A buffer with a number of its own, which bind-group caches use as a key.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) buffer: wgpu::Buffer,
    pub(super) id: u64,
    bytes: u64,
    home: Weak<RefCell<State>>,
}

impl Drop for Storage {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut state = home.borrow_mut();
        state.stats.live -= self.bytes;
        state.stats.pooled += self.bytes;
        // Last in, first out: a step that repeats takes the same buffers in the same order, so the
        // bind groups of the last step fit this one.
        state.free.entry(self.bytes).or_default().push((self.id, self.buffer.clone()));
    }
}

#[derive(Debug, Default)]
struct State {
    free: BTreeMap<u64, Vec<(u64, wgpu::Buffer)>>,
    stats: MemoryStats,
    next_id: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Rc<RefCell<State>>,
    /// In a rehearsal this small buffer stands for every other.
    stand_in: Option<wgpu::Buffer>,
}

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// Sizes are rounded up so that nearly equal ones share buffers: to 256 bytes, and from 4 KiB on to an
/// eighth of the power of two below.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = if bytes < 4096 { 256 } else { (1u64 << bytes.ilog2()) / 8 };
    bytes.next_multiple_of(step)
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

    /// A buffer of at least `bytes`, whose contents are whatever they were.
    pub(super) fn take(&self, device: &wgpu::Device, limit: u64, bytes: u64) -> Result<Rc<Storage>> {
        if bytes > limit {
            return Err(GpuError::BindingTooLarge { bytes, limit });
        }
        let class = size_class(bytes).min(limit.max(256) & !3);
        let reused = {
            let mut state = self.state.borrow_mut();
            let found = state.free.get_mut(&class).and_then(Vec::pop);
            if found.is_some() {
                state.stats.pooled -= class;
            }
            found
        };
        let (id, buffer) = match reused {
            Some(found) => found,
            None => {
                let buffer = self.create(device, class)?;
                let mut state = self.state.borrow_mut();
                state.next_id += 1;
                (state.next_id, buffer)
            }
        };
        let mut state = self.state.borrow_mut();
        let stats = &mut state.stats;
        stats.live += class;
        stats.peak_live = stats.peak_live.max(stats.live);
        stats.peak = stats.peak.max(stats.live + stats.pooled);
        stats.largest_binding = stats.largest_binding.max(class);
        Ok(Rc::new(Storage { buffer, id, bytes: class, home: Rc::downgrade(&self.state) }))
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
                Some(_) => Err(GpuError::OutOfMemory { bytes, live: self.stats().live }),
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
        state.free.clear();
        state.stats.pooled = 0;
    }

    /// Forgets what was held at the most before now.
    pub(super) fn restart_peaks(&self) {
        let stats = &mut self.state.borrow_mut().stats;
        stats.peak = stats.live + stats.pooled;
        stats.peak_live = stats.live;
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        for bytes in (1..200_000u64).step_by(37).chain([1 << 20, (1 << 27) + 4]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(4));
            assert!(class <= bytes.max(256) + bytes / 8 + 256, "{bytes} -> {class}");
        }
    }
}
