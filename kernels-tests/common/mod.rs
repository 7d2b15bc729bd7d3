//! What every test needs: a device, random operands, f64 references and comparisons.
#![allow(dead_code)] // each test file uses its own part of this one

pub mod cases;

use shadegrad::autograd::{Tape, Var};
use shadegrad::gpu::{Gpu, GpuOptions, Result, Shape, Tensor};
pub use shadegrad::selftest::reference::random;
use shadegrad::selftest::reference::tolerance;
use shadegrad::selftest::slopes;

thread_local! {
    static GPU: Gpu = Gpu::open(&GpuOptions { poison: true, ..GpuOptions::default() }).expect("a GPU adapter");
}

/// This thread's device; fresh tensors on it are full of NaN, so that an unwritten element fails.
pub fn gpu() -> Gpu {
    GPU.with(Clone::clone)
}

/// A random tensor and its values.
pub fn operand(gpu: &Gpu, item: u32, shape: impl Into<Shape>) -> (Tensor, Vec<f32>) {
    let shape = shape.into();
    let values = random(item, shape.count());
    (gpu.tensor(shape, &values).expect("upload"), values)
}

/// Compares with an f64 reference; how far a sum of `terms` products may be off, [`tolerance`] says.
pub fn assert_close(what: &str, found: &[f32], wanted: &[f64], terms: usize) {
    assert_eq!(found.len(), wanted.len(), "{what}: lengths");
    let tolerance = tolerance(wanted, terms);
    for (index, (&f, &w)) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(f) - w).abs();
        assert!(
            error <= tolerance,
            "{what}: element {index} is {f}, not {w} (error {error:.3e}, tolerance {tolerance:.3e})"
        );
    }
}

/// Checks gradients by central differences with the operation in the middle of a graph.
///
/// How the graph around it looks, [`slopes`] says; pruned to each leaf alone it must give the same gradient.
pub fn check_gradients(what: &str, shapes: &[Shape], build: impl Fn(&Tape, &[Var]) -> Result<Var>) {
    check_gradients_at(what, shapes, &|item, count| random(item, count), build);
}

/// The same at points of the caller's choice.
pub fn check_gradients_at(
    what: &str,
    shapes: &[Shape],
    points: &dyn Fn(u32, usize) -> Vec<f32>,
    build: impl Fn(&Tape, &[Var]) -> Result<Var>,
) {
    let found = slopes(&gpu(), shapes, points, &build, 12).unwrap();
    assert!(found.pruned_differently.is_empty(), "{what}: inputs {:?} alone", found.pruned_differently);
    for slope in found.elements {
        assert!(slope.error() <= slope.tolerance, "{what}: {slope:?}");
    }
}
