//! A device that only counts memory: the same code runs on it and takes the same buffers from a pool, but nothing is
//! allocated and nothing is computed. What a run will need is known exactly, before it begins.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::context::Inner;
use super::pool::Pool;
use super::stream::Stream;
use super::translate::translate;
use super::{Gpu, Result};

impl Gpu {
    /// This device, rehearsing: limits and choices of kernels are the same, every array reads as zeros, and
    /// [`Gpu::memory`] says what the real one would have held.
    pub fn rehearsal(&self) -> Self {
        let real = &*self.0;
        Self(Rc::new(Inner {
            adapter: real.adapter.clone(),
            device: real.device.clone(),
            queue: real.queue.clone(),
            summary: real.summary.clone(),
            limits: real.limits.clone(),
            subgroup_size: real.subgroup_size,
            cooperative: real.cooperative,
            precision: real.precision.clone(),
            forced: real.forced.clone(),
            refused: real.refused.clone(),
            choices: real.choices.clone(),
            pool: Pool::rehearsing(&real.device),
            cache: RefCell::default(),
            stream: RefCell::new(Stream::new(&real.device)),
            poison: Cell::new(false),
            work: Cell::default(),
            name: Cell::default(),
            fault: real.fault.clone(),
            checker: Cell::new(None),
            rehearses: true,
        }))
    }

    /// Makes every pipeline that a rehearsal of this device would have used, side by side on all cores, so that the first
    /// step need not wait for one after the other. A software driver that translates a kernel at its first launch does so
    /// now, on further devices too if it has not kept the code; returns how many devices that took, none elsewhere.
    ///
    /// # Errors
    /// [`GpuError::Kernel`](super::GpuError::Kernel) if the driver rejects a kernel; what a lost device gives.
    pub fn prepare(&self, rehearsal: &Self) -> Result<usize> {
        let rehearsed = rehearsal.0.cache.borrow();
        self.0.cache.borrow_mut().prepare(&self.0.device, &rehearsed)?;
        translate(self, rehearsed.wanted())
    }

    /// Pipelines made so far.
    pub fn pipelines(&self) -> usize {
        self.0.cache.borrow().count()
    }
}
