//! The loss of the `lab` model over its first training steps, beside PyTorch's from the same initial weights and the
//! same batches of `shapes`.
//!
//! Two hundred steps take minutes on a software adapter, so the suite runs the first few; all of them with
//! `SHADEGRAD_CURVE_STEPS=200 cargo test --release --test curve -- --nocapture`.
mod common;

use safetensors::SafeTensors;
use shadegrad::autograd::Tape;
use shadegrad::data;
use shadegrad::models::architecture;
use shadegrad::nn::{Mode, Network, Optimizer, OptimizerKind};
use shadegrad::ops::optimizer::Adam;

/// As in golden/make_golden.py.
const SEED: u64 = 7;
const BATCH: usize = 32;

/// Early steps are compared one by one. Later ones by the mean of a window: leaving the saddle near the default
/// initial weights multiplies rounding errors, so that single losses of two PyTorch runs part as well.
const SINGLE: usize = 50;
const WINDOW: usize = 20;
const TOLERANCE: f64 = 0.02;

#[test]
fn lab_follows_pytorch() {
    let steps: usize =
        std::env::var("SHADEGRAD_CURVE_STEPS").map_or(6, |text| text.parse().expect("a number of steps"));
    let file = SafeTensors::deserialize(include_bytes!("golden/golden_lab_curve.safetensors")).unwrap();
    let floats = |name: &str| -> Vec<f32> { bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data()) };
    let (golden, rate) = (floats("losses"), f64::from(floats("lr")[0]));
    assert!((1..=golden.len()).contains(&steps), "the golden curve has {} steps", golden.len());

    let gpu = common::gpu();
    let network = Network::new(&gpu, architecture("lab").unwrap(), SEED).unwrap();
    let adam = OptimizerKind::Adam(Adam::default());
    let mut optimizer = Optimizer::new(&gpu, adam, network.parameters()).unwrap();
    let pictures = data::built_in().train;
    let tape = Tape::new(&gpu);
    let mut losses = Vec::new();
    for step in 0..steps {
        let range = step * BATCH..(step + 1) * BATCH;
        let pixels: Vec<f32> = pictures.bytes[range.start * data::SIZE..range.end * data::SIZE]
            .iter()
            .map(|&byte| f32::from(byte) / 255.0)
            .collect();
        let labels: Vec<u32> = pictures.labels[range].iter().map(|&label| u32::from(label)).collect();
        let x = tape.leaf(&gpu.tensor([BATCH, 3, 32, 32], &pixels).unwrap());
        let bound = network.bind(&tape).unwrap();
        let output = network.forward(&tape, &bound, x, Mode::Training { seed: 0, step: 0 }).unwrap();
        let loss = tape.cross_entropy_mean(output, &gpu.words(&labels).unwrap(), 0.0).unwrap();
        losses.push(f64::from(gpu.read(&tape.value(loss).unwrap()).unwrap()[0]));
        tape.backward(loss, bound.leaves()).unwrap();
        tape.reset();
        optimizer.step(&gpu, network.parameters(), rate).unwrap();
        println!("step {step:>3}: loss {:.5}, PyTorch {:.5}", losses[step], golden[step]);
    }

    let golden: Vec<f64> = golden.iter().map(|&loss| f64::from(loss)).collect();
    let apart = |ours: f64, theirs: f64| (ours - theirs).abs() / theirs;
    for (step, (&ours, &theirs)) in losses.iter().zip(&golden).enumerate().take(SINGLE) {
        assert!(apart(ours, theirs) <= TOLERANCE, "step {step}: loss {ours:.5}, not {theirs:.5}");
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let mut worst = 0.0f64;
    for (number, (ours, theirs)) in losses.chunks_exact(WINDOW).zip(golden.chunks_exact(WINDOW)).enumerate() {
        let apart = apart(mean(ours), mean(theirs));
        worst = worst.max(apart);
        assert!(apart <= TOLERANCE, "steps from {}: mean {:.5}, not {:.5}", number * WINDOW, mean(ours), mean(theirs));
    }
    println!("means of {WINDOW} steps are at most {:.3} % apart", 100.0 * worst);
    if steps >= 10 * WINDOW {
        let (first, last) = (mean(&losses[..WINDOW]), mean(&losses[steps - WINDOW..]));
        assert!(last < 0.9 * first, "the loss must fall: {first:.4} at first, {last:.4} at last");
    }
}
