//! Dropout in f32: the kernel does one multiplication, which leaves no room for a tolerance.

use crate::ops::dropout::Mask;
use crate::random::{Purpose, Stream};

/// What is left of `x`, in f32: the kernel does one multiplication, which leaves no room for a tolerance.
pub fn dropped(x: &[f32], mask: Mask) -> Vec<f32> {
    let stream = Stream::new(mask.seed, Purpose::Dropout, mask.launch);
    let threshold = (f64::from(mask.rate) * 2f64.powi(32)) as u32;
    let kept = |index: usize| stream.word(index as u32) >= threshold;
    let factor = 1.0 / (1.0 - mask.rate);
    x.iter().enumerate().map(|(index, &value)| if kept(index) { value * factor } else { 0.0 }).collect()
}
