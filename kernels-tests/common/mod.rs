//! What every test needs: a device, random operands, f64 references and comparisons.
#![allow(dead_code)] // each test file uses its own part of this one

pub mod cases;

use shadegrad::autograd::{Tape, Var};
use shadegrad::gpu::{Gpu, GpuOptions, Result, Shape, Tensor};
pub use shadegrad::selftest::reference::random;
use shadegrad::selftest::reference::tolerance;

thread_local! {
    static GPU: Gpu = Gpu::open(&GpuOptions { adapter: None, poison: true }).expect("a GPU adapter");
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
/// `build` is given leaves of the given shapes. Around it the graph scales each input and weighs each
/// output with a random factor before summing, so that a dropped or misplaced upstream gradient shows.
/// Then the graph is pruned: each leaf alone must get the same gradient as all together.
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
    let gpu = gpu();
    let inputs: Vec<Vec<f32>> =
        shapes.iter().enumerate().map(|(i, shape)| points(100 + i as u32, shape.count())).collect();
    // The loss in f64 from the operation's f32 output, so that summing adds no error of its own.
    let run = |inputs: &[Vec<f32>]| -> f64 {
        let tape = Tape::evaluation(&gpu);
        let leaves: Vec<Var> = inputs
            .iter()
            .zip(shapes)
            .map(|(values, &shape)| {
                let leaf = tape.leaf(&gpu.tensor(shape, values).unwrap());
                tape.scale(leaf, 1.5, 0.0).unwrap()
            })
            .collect();
        let out = build(&tape, &leaves).unwrap();
        let values = gpu.read(&tape.value(out).unwrap()).unwrap();
        values.iter().zip(random(500, values.len())).map(|(&v, w)| f64::from(v) * f64::from(w)).sum()
    };
    let gradients = |wanted: &[usize]| -> Vec<Vec<f32>> {
        let tape = Tape::new(&gpu);
        let leaves: Vec<Var> =
            inputs.iter().zip(shapes).map(|(values, &shape)| tape.leaf(&gpu.tensor(shape, values).unwrap())).collect();
        let scaled: Vec<Var> = leaves.iter().map(|&leaf| tape.scale(leaf, 1.5, 0.0).unwrap()).collect();
        let out = build(&tape, &scaled).unwrap();
        let shape = tape.value(out).unwrap().shape();
        let weights = tape.leaf(&gpu.tensor(shape, &random(500, shape.count())).unwrap());
        let loss = tape.multiply(out, weights).unwrap();
        let asked: Vec<Var> = wanted.iter().map(|&index| leaves[index]).collect();
        let found = tape.backward(loss, &asked).unwrap();
        asked.iter().map(|&leaf| gpu.read(found.of(leaf).expect("a gradient")).unwrap()).collect()
    };
    let all: Vec<usize> = (0..shapes.len()).collect();
    let together = gradients(&all);
    for (index, gradient) in together.iter().enumerate() {
        assert_eq!(&gradients(&[index])[0], gradient, "{what}: input {index} alone");
        let scale = gradient.iter().fold(1e-2f64, |scale, &value| scale.max(f64::from(value).abs()));
        let count = gradient.len();
        for k in 0..count.min(12) {
            let at = k * 7919 % count;
            let step = 1e-2;
            let mut moved = inputs.clone();
            let difference = |to: f32, moved: &mut Vec<Vec<f32>>| {
                moved[index][at] = inputs[index][at] + to;
                run(moved)
            };
            let slope = |step: f32, moved: &mut Vec<Vec<f32>>| {
                (difference(step, moved) - difference(-step, moved)) / (2.0 * f64::from(step))
            };
            // Richardson's extrapolation of two step sizes removes the error of second order.
            let numeric = (4.0 * slope(step / 2.0, &mut moved) - slope(step, &mut moved)) / 3.0;
            let error = (numeric - f64::from(gradient[at])).abs();
            assert!(
                error <= 4e-3 * scale + 2e-3,
                "{what}: input {index}, element {at}: backward says {}, differences say {numeric:.6}",
                gradient[at]
            );
        }
    }
}
