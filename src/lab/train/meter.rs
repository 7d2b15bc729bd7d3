//! The training loss, without a read-back at every step.

use crate::gpu::{Gpu, Tensor};
use crate::ops::elementwise;

use super::super::LabError;
use super::state::Position;

/// The mean training loss over a stretch, summed on the device and read back now and then.
pub(in crate::lab) struct LossMeter {
    sum: Tensor,
    pub(super) pending: usize,
    pub(super) total: f64,
    pub(super) images: usize,
}

impl LossMeter {
    pub(in crate::lab) fn new(gpu: &Gpu) -> Result<Self, LabError> {
        Ok(Self { sum: gpu.zeros([1])?, pending: 0, total: 0.0, images: 0 })
    }

    /// What is summed on the device and not yet read.
    pub(super) fn sum(&self) -> &Tensor {
        &self.sum
    }

    /// Takes up the sums of a run that goes on.
    pub(super) fn continue_from(&mut self, position: &Position) {
        (self.total, self.images, self.pending) = (position.loss, position.images, position.pending);
    }

    /// Begins another stretch; all has been read.
    pub(super) fn restart(&mut self) {
        (self.total, self.images) = (0.0, 0);
    }

    pub(super) fn add(&mut self, gpu: &Gpu, loss: &Tensor, count: usize) -> Result<(), LabError> {
        let weighed = elementwise::scale(gpu, loss, count as f32, 0.0)?;
        elementwise::accumulate(gpu, &self.sum, &weighed)?;
        self.pending += count;
        Ok(())
    }

    /// Reads what has been summed since the last time; the mean over it.
    pub(super) fn read(&mut self, gpu: &Gpu) -> Result<f64, LabError> {
        let sum = f64::from(gpu.read(&self.sum)?[0]);
        gpu.fill(&self.sum, 0.0)?;
        let mean = sum / self.pending.max(1) as f64;
        self.total += sum;
        self.images += self.pending;
        self.pending = 0;
        Ok(mean)
    }
}
