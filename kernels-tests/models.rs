//! Whole models against PyTorch in f64 (`golden/make_golden.py`): outputs, loss, every gradient, ten Adam steps.

mod common;

use common::gpu;
use safetensors::SafeTensors;
use shadegrad::autograd::{Tape, Var};
use shadegrad::gpu::{Gpu, Tensor, Words};
use shadegrad::models::architecture;
use shadegrad::nn::whitening::EPSILON;
use shadegrad::nn::{Bound, Mode, Network, Optimizer, OptimizerKind, Task};
use shadegrad::ops::choices;
use shadegrad::ops::optimizer::Adam;
use shadegrad::ops::tiles::{self, CONV2D, ConvVariant};
use shadegrad::selftest::pictures;

const SEED: u64 = 7;

struct Golden<'a>(SafeTensors<'a>);

impl Golden<'_> {
    fn get(&self, name: &str) -> Vec<f32> {
        bytemuck::pod_collect_to_vec(self.0.tensor(name).unwrap_or_else(|_| panic!("{name}")).data())
    }

    /// Compares a tensor's norm and its two samples; `tolerance` is relative to the largest element.
    fn check(&self, name: &str, found: &[f32], tolerance: f64) {
        let norm = found.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let wanted = f64::from(self.get(&format!("{name}.norm"))[0]);
        assert!((norm - wanted).abs() <= tolerance * wanted + 1e-12, "{name}: norm {norm}, not {wanted}");
        let top = found.iter().fold(0.0f64, |top, &v| top.max(f64::from(v).abs()));
        for (kind, pick) in samples(found.len()) {
            let golden = self.get(&format!("{name}.{kind}"));
            assert_eq!(golden.len(), pick.len());
            for (&at, &wanted) in pick.iter().zip(&golden) {
                let error = f64::from(found[at] - wanted).abs();
                assert!(error <= tolerance * top, "{name}[{at}] is {}, not {wanted} (largest {top})", found[at]);
            }
        }
    }

    /// Compares a tensor after optimisation: its norm, and the distance of the samples as vectors. Adam divides
    /// by the size of the gradient, so a single element whose gradient is near zero proves nothing.
    fn check_trained(&self, name: &str, found: &[f32], tolerance: f64) {
        let norm = found.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let wanted = f64::from(self.get(&format!("{name}.norm"))[0]);
        assert!((norm - wanted).abs() <= tolerance * wanted, "{name}: norm {norm}, not {wanted}");
        for (kind, pick) in samples(found.len()) {
            let golden = self.get(&format!("{name}.{kind}"));
            let distance: f64 = pick.iter().zip(&golden).map(|(&at, &w)| f64::from(found[at] - w).powi(2)).sum();
            let length: f64 = golden.iter().map(|&w| f64::from(w).powi(2)).sum();
            assert!(
                distance.sqrt() <= tolerance * length.sqrt(),
                "{name}.{kind}: off by {}",
                (distance / length).sqrt()
            );
        }
    }
}

/// Where the kernel that is chosen can pool as it stores, lenet's two convolutions do.
#[test]
fn lenet_pools_as_it_convolves() {
    let gpu = gpu();
    let plan = architecture("lenet").unwrap();
    let network = Network::new(&gpu, plan, SEED).unwrap();
    let (x, _) = pictures(&gpu, 1).unwrap();
    let is_its = [([3, 6], 28), ([6, 16], 10)].map(|(channels, width)| {
        let place = choices::convolution("forward", channels, 5, 1, width);
        tiles::conv2d_at(&gpu, place).unwrap().0 == ConvVariant::Subgroup
    });
    let launches = || {
        let counts = gpu.dispatch_counts();
        ["conv2d_max_pool", "conv2d", "max_pool"].map(|name| counts.get(name).copied().unwrap_or(0))
    };
    let before = launches();
    let tape = Tape::evaluation(&gpu);
    let bound = network.bind(&tape).unwrap();
    let input = tape.leaf(&x);
    network.forward_with_features(&tape, &bound, input, Mode::Evaluation).unwrap();
    let after = launches();
    let pooled = is_its.iter().filter(|its| **its).count() as u64;
    let wanted = [pooled, 2 - pooled, 2 - pooled];
    assert_eq!([0, 1, 2].map(|index| after[index] - before[index]), wanted);
}

fn samples(count: usize) -> [(&'static str, Vec<usize>); 2] {
    let stride = (count / 64).max(1);
    let regular = (0..count.min(64)).map(|k| k * stride).collect();
    [("sample", regular), ("spread", (0..count.min(64)).map(|k| k * 1_000_003 % count).collect())]
}

struct Step {
    tape: Tape,
    bound: Bound,
    x: Var,
    output: Var,
    loss: Var,
}

fn forward(gpu: &Gpu, network: &Network, x: &Tensor, labels: &Words) -> Step {
    let tape = Tape::new(gpu);
    let bound = network.bind(&tape).unwrap();
    let x = tape.leaf(x);
    let output = network.forward(&tape, &bound, x, Mode::Training { seed: 0, step: 0 }).unwrap();
    let loss = match network.architecture().task {
        Task::Classify => tape.cross_entropy_mean(output, labels, 0.0).unwrap(),
        Task::Reconstruct => tape.mse_mean(output, x).unwrap(),
    };
    Step { tape, bound, x, output, loss }
}

/// `trained` is how far the weights may be from PyTorch's after ten steps of Adam.
fn check(model: &str, bytes: &[u8], count: usize, trained: f64) {
    let gpu = gpu();
    let golden = Golden(SafeTensors::deserialize(bytes).unwrap());
    let network = Network::new(&gpu, architecture(model).unwrap(), SEED).unwrap();
    let (x, labels) = pictures(&gpu, count).unwrap();
    let bytes: Vec<u8> = gpu.read(&x).unwrap().iter().map(|pixel| (255.0 * pixel).round() as u8).collect();
    network.whiten(&gpu, &bytes, EPSILON).unwrap();
    let names: Vec<String> = network.parameters().specs().iter().map(|spec| spec.name.clone()).collect();
    let parameter = |index: usize| gpu.read(&network.parameters().value(index).unwrap()).unwrap();
    let initial = names.iter().cloned().zip((0..names.len()).map(parameter));
    let kept = network.buffers().into_iter().map(|(name, tensor)| (name, gpu.read(&tensor).unwrap()));
    for (name, values) in initial.chain(kept) {
        // Eigenvectors are two programs' own work; everything else comes from the seed alone.
        let tolerance = if name.starts_with("whiten.") { 2e-6 } else { 0.0 };
        let top = values.iter().fold(0.0f32, |top, value| top.max(value.abs()));
        for (kind, pick) in samples(values.len()) {
            for (&at, wanted) in pick.iter().zip(golden.get(&format!("init.{name}.{kind}"))) {
                let off = (values[at] - wanted).abs();
                assert!(off <= tolerance * top, "initial {name}[{at}] is {}, not {wanted}", values[at]);
            }
        }
    }

    let step = forward(&gpu, &network, &x, &labels);
    let output = gpu.read(&step.tape.value(step.output).unwrap()).unwrap();
    golden.check("output", &output, 1e-4);
    if network.architecture().task == Task::Classify {
        let top = output.iter().fold(0.0f32, |top, v| top.max(v.abs()));
        for (found, wanted) in output.iter().zip(golden.get("logits")) {
            assert!((found - wanted).abs() <= 1e-4 * top, "logits: {found}, not {wanted}");
        }
    }
    let loss = gpu.read(&step.tape.value(step.loss).unwrap()).unwrap()[0];
    assert!((loss - golden.get("loss")[0]).abs() <= 1e-5 * loss.abs(), "loss {loss}");

    let mut wanted = step.bound.leaves().to_vec();
    wanted.push(step.x);
    let gradients = step.tape.backward(step.loss, &wanted).unwrap();
    for (name, leaf) in names.iter().zip(step.bound.leaves()) {
        golden.check(&format!("grad.{name}"), &gpu.read(gradients.of(*leaf).unwrap()).unwrap(), 1e-3);
    }
    golden.check("input_grad", &gpu.read(gradients.of(step.x).unwrap()).unwrap(), 1e-3);

    let adam = OptimizerKind::Adam(Adam::default());
    let mut optimizer = Optimizer::new(&gpu, adam, network.parameters()).unwrap();
    let mut losses = Vec::new();
    for round in 0..=10 {
        let step = forward(&gpu, &network, &x, &labels);
        losses.push(gpu.read(&step.tape.value(step.loss).unwrap()).unwrap()[0]);
        if round < 10 {
            step.tape.backward(step.loss, step.bound.leaves()).unwrap();
            optimizer.step(&gpu, network.parameters(), 1e-3).unwrap();
        }
    }
    for (found, wanted) in losses.iter().zip(golden.get("adam.losses")) {
        assert!((found - wanted).abs() <= 1e-3 * wanted.abs(), "{model}: Adam's loss {found}, not {wanted}");
    }
    for (index, name) in names.iter().enumerate() {
        golden.check_trained(&format!("adam.{name}"), &parameter(index), trained);
    }
    for (name, tensor) in network.buffers() {
        golden.check_trained(&format!("adam.{name}"), &gpu.read(&tensor).unwrap(), trained);
    }
}

#[test]
fn lenet_matches_pytorch() {
    check("lenet", include_bytes!("golden/golden_lenet.safetensors"), 16, 1e-3);
}

#[test]
fn lab_matches_pytorch() {
    check("lab", include_bytes!("golden/golden_lab.safetensors"), 4, 1e-3);
}

#[test]
fn fast_matches_pytorch() {
    // Batch-norm makes gradients that are nearly 0, of which Adam makes whole steps: by them PyTorch in f32 is up to 7e-3
    // from itself in f64 (make_golden.py --model fast --report).
    let golden = include_bytes!("golden/golden_fast.safetensors");
    gpu().force_variant(CONV2D, Some(ConvVariant::Direct.name()));
    check("fast", golden, 4, 2e-2);
    gpu().force_variant(CONV2D, None);
    // Winograd's products, where the adapter takes them, end 3.2e-2 away (2026-11-29, both Mesas), the gradients before them
    // 7e-6. That is no drift but one of two ends: with initial weights changed at random by 1e-7 to 1e-6 of themselves they
    // end within 5e-3, and the direct kernels by 1e-6 to 1e-5 between 2.9e-2 and 3.2e-2. So either must be allowed.
    check("fast", golden, 4, 4e-2);
}

#[test]
fn ae3_matches_pytorch() {
    check("ae3", include_bytes!("golden/golden_ae3.safetensors"), 8, 1e-3);
}

#[test]
fn ae4_matches_pytorch() {
    check("ae4", include_bytes!("golden/golden_ae4.safetensors"), 8, 1e-3);
}
