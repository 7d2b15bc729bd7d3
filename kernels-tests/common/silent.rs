//! A watcher of training runs that has nothing to say.

use shadegrad::lab::train::{Epoch, Watch};

pub struct Silent;

impl Watch for Silent {
    fn begin(&mut self, _epoch: u32, _steps: usize) {}
    fn step(&mut self, _done: usize, _loss: f64, _images_per_second: f64) {}
    fn end(&mut self, _epoch: &Epoch) {}
}
