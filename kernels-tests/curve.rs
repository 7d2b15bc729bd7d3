//! The loss of the `lab` model over its first training steps, beside PyTorch's from the same initial weights and the
//! same batches.
//!
//! Two hundred steps take minutes on a software adapter, so the suite runs the first few; all of them with
//! `SHADEGRAD_CURVE_STEPS=200 scripts/test.sh --test curve -- --nocapture`.
mod common;

use safetensors::SafeTensors;
use shadegrad::autograd::Tape;
use shadegrad::models::architecture;
use shadegrad::nn::{Mode, Network, Optimizer, OptimizerKind};
use shadegrad::ops::optimizer::Adam;
use shadegrad::random::{Purpose, Stream};

/// As in golden/make_golden.py.
const SEED: u64 = 7;
const BATCH: usize = 32;
const FIRST_ITEM: u32 = 1000;

/// How far apart losses may be, as a share: while rounding has not yet been multiplied by the training, and later. Two
/// runs of PyTorch itself that differ in memory layout alone part by up to 1.4 % at a single step, and by 0.2 % in the
/// mean of a window (make_golden.py --check-curve).
const EARLY: (usize, f64) = (20, 0.0005);
const TOLERANCE: f64 = 0.02;
const WINDOW: usize = 20;
const WINDOW_TOLERANCE: f64 = 0.01;

/// As `curve_batch` in make_golden.py: a picture's own colour, its class's on top, under noise.
fn batch(step: usize) -> (Vec<f32>, Vec<u32>) {
    const PLANE: u32 = 32 * 32;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for picture in (step * BATCH) as u32..((step + 1) * BATCH) as u32 {
        let stream = Stream::new(SEED, Purpose::Test, FIRST_ITEM + picture);
        let label = picture % 10;
        labels.push(label);
        for channel in 0..3 {
            let colour = (stream.word(3 * PLANE + channel) >> 25) + (53 * label + 97 * channel) % 64;
            let noise = (channel * PLANE..(channel + 1) * PLANE).map(|index| stream.word(index) >> 26);
            pixels.extend(noise.map(|noise| (noise + colour) as f32 / 255.0));
        }
    }
    (pixels, labels)
}

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
    let tape = Tape::new(&gpu);
    let mut losses = Vec::new();
    for step in 0..steps {
        let (pixels, labels) = batch(step);
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
    for (step, (&ours, &theirs)) in losses.iter().zip(&golden).enumerate() {
        let tolerance = if step < EARLY.0 { EARLY.1 } else { TOLERANCE };
        assert!(apart(ours, theirs) <= tolerance, "step {step}: loss {ours:.5}, not {theirs:.5}");
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let mut worst = 0.0f64;
    for (number, (ours, theirs)) in losses.chunks_exact(WINDOW).zip(golden.chunks_exact(WINDOW)).enumerate() {
        let apart = apart(mean(ours), mean(theirs));
        worst = worst.max(apart);
        assert!(
            apart <= WINDOW_TOLERANCE,
            "steps from {}: mean {:.5}, not {:.5}",
            number * WINDOW,
            mean(ours),
            mean(theirs)
        );
    }
    println!("means of {WINDOW} steps are at most {:.3} % apart", 100.0 * worst);
    if steps >= 10 * WINDOW {
        let (first, last) = (mean(&losses[..WINDOW]), mean(&losses[steps - WINDOW..]));
        assert!(last < 0.95 * first, "the loss must fall: {first:.4} at first, {last:.4} at last");
    }
}
