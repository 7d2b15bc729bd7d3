//! A device that only counts memory: the same code runs on it and takes the same buffers from a pool, but nothing is
//! allocated and nothing is computed. What a run will need is known exactly, before it begins.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Gpu;
use super::context::Inner;
use super::pool::Pool;
use super::stream::Stream;

impl Gpu {
    /// This device, rehearsing: limits and choices of kernels are the same, every array reads as zeros, and
    /// [`Gpu::memory`] says what the real one would have held.
    pub fn rehearsal(&self) -> Self {
        let real = &*self.0;
        Self(Rc::new(Inner {
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
            fault: real.fault.clone(),
            checker: Cell::new(None),
            rehearses: true,
        }))
    }
}
