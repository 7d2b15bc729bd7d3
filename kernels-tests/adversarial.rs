//! Adversarial training: its loss and its gradient from their definition, the same bits for the same seed, and what an
//! epoch says of the model.

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/silent.rs"]
mod silent;

use std::fs;
use std::path::Path;

use common::gpu;
use folder::TempFolder;
use serde_json::{Value, json};
use shadegrad::attack::{Attacker, Convention, Method, Pgd, Target, fgsm_into, logits};
use shadegrad::autograd::Tape;
use shadegrad::data::{DataSet, Images, few_shapes};
use shadegrad::gpu::Tensor;
use shadegrad::lab::LabError;
use shadegrad::lab::evaluate::predictions;
use shadegrad::lab::train::{Adversarial, Outcome, Settings, train};
use shadegrad::models::{self, architecture};
use shadegrad::nn::{Mode, Network, OptimizerKind};
use shadegrad::ops::optimizer::Sgd;
use silent::Silent;

const EPS: f64 = 4.0 / 255.0;

fn settings(ratio: f64) -> Settings {
    let adversarial = Some(Adversarial::fgsm(EPS, ratio));
    Settings { adversarial, ..Settings::plain("lenet", 1, 32, 2e-3, 1) }
}

fn run(settings: &Settings, data: &DataSet, out: &Path) -> Result<Outcome, LabError> {
    train(&gpu(), settings, data, out, (&[], json!({})), &mut Silent)
}

fn upload(images: &Images) -> Tensor {
    let pixels: Vec<f32> = images.bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    gpu().tensor([images.count(), 3, 32, 32], &pixels).unwrap()
}

/// The mean cross-entropy of pictures under a network, and its gradient by all parameters.
fn mean_loss(network: &Network, x: &Tensor, labels: &[u8]) -> (f64, Vec<f32>) {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let bound = network.bind(&tape).unwrap();
    let output = network.forward(&tape, &bound, tape.leaf(x), Mode::Training { seed: 0, step: 0 }).unwrap();
    let labels: Vec<u32> = labels.iter().map(|&label| u32::from(label)).collect();
    let loss = tape.cross_entropy_mean(output, &gpu.words(&labels).unwrap(), 0.0).unwrap();
    tape.backward(loss, bound.leaves()).unwrap();
    let value = f64::from(gpu.read(&tape.value(loss).unwrap()).unwrap()[0]);
    (value, gpu.read(network.parameters().flat_gradients()).unwrap())
}

#[test]
fn a_step_is_what_the_definition_says() {
    let (gpu, folder) = (gpu(), TempFolder::new("adversarial"));
    let data = few_shapes(24, 4);
    let network = Network::new(&gpu, architecture("lenet").unwrap(), 1).unwrap();
    let (clean, labels) = (upload(&data.train), &data.train.labels);
    let wide: Vec<u32> = labels.iter().map(|&label| u32::from(label)).collect();
    let attacked = gpu.empty(clean.shape()).unwrap();
    fgsm_into(&gpu, &network, &clean, &gpu.words(&wide).unwrap(), EPS, &attacked).unwrap();
    let before = gpu.read(network.parameters().flat_values()).unwrap();
    let (clean_loss, clean_slope) = mean_loss(&network, &clean, labels);
    let (attacked_loss, attacked_slope) = mean_loss(&network, &attacked, labels);
    assert!(attacked_loss > clean_loss + 1e-3, "{attacked_loss} {clean_loss}");

    for ratio in [0.25, 0.5, 1.0] {
        let out = folder.path().join(format!("{ratio}"));
        // One step of plain descent over the whole set shows loss and gradient.
        let rate = 0.5;
        let optimizer = OptimizerKind::Sgd(Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 });
        let outcome = run(&Settings { rate, optimizer, batch: 24, ..settings(ratio) }, &data, &out).unwrap();
        let wanted = (1.0 - ratio) * clean_loss + ratio * attacked_loss;
        assert!((outcome.train_loss - wanted).abs() <= 2e-6 * wanted, "{ratio}: {} {wanted}", outcome.train_loss);
        let after = models::from_file(&gpu, &out.join("last.safetensors"), None).unwrap();
        let after = gpu.read(after.parameters().flat_values()).unwrap();
        let largest = clean_slope.iter().fold(0.0f32, |most, slope| most.max(slope.abs()));
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            let slope = (1.0 - ratio) * f64::from(clean_slope[at]) + ratio * f64::from(attacked_slope[at]);
            let moved = f64::from(*before) - f64::from(*after);
            let error = (moved - rate * slope).abs();
            assert!(error <= 1e-5 * f64::from(largest) + 1e-7, "{ratio}, weight {at}: {moved}, not {}", rate * slope);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_an_epoch_says_how_the_model_withstands() {
    let (gpu, folder) = (gpu(), TempFolder::new("adversarial"));
    let data = few_shapes(150, 60);
    // Everything that draws random numbers is on.
    let settings = Settings { flip: true, shift: 2, epochs: 2, ..settings(0.5) };
    let [first, second, other] = ["first", "second", "other"].map(|name| folder.path().join(name));
    let outcome = run(&settings, &data, &first).unwrap();
    run(&settings, &data, &second).unwrap();
    run(&Settings { adversarial: Some(Adversarial::fgsm(EPS, 0.4)), ..settings }, &data, &other).unwrap();
    let weights = |folder: &Path| fs::read(folder.join("last.safetensors")).unwrap();
    assert!(weights(&first) == weights(&second), "two equal runs differ");
    assert!(weights(&first) != weights(&other), "the ratio makes no difference");

    let lines = |folder: &Path| -> Vec<Value> {
        let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for (line, again) in lines(&first).iter().zip(lines(&second)) {
        for key in ["fgsm_accuracy", "pgd_accuracy", "pgd_train_accuracy", "fgsm_train_accuracy"] {
            assert!(line[key].is_number() && line[key] == again[key], "{key}: {line}");
        }
        assert_eq!(line["alarm"], json!(false));
    }
    let svg = fs::read_to_string(first.join("training.svg")).unwrap();
    assert!(svg.contains("under FGSM") && svg.contains("under PGD-5"));

    // The last line's figures from the weights that were saved.
    let network = models::from_file(&gpu, &first.join("last.safetensors"), None).unwrap();
    let under = |images: &Images, method: Method| {
        let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 1).unwrap();
        let batch = attacker.batch(&upload(images), &images.labels, 0).unwrap();
        let moved = batch.attack(method, Target::Untargeted, EPS).unwrap();
        let after = predictions(&logits(&gpu, &network, &moved).unwrap(), 10);
        let hits = after.iter().zip(&images.labels).filter(|(after, label)| **after == usize::from(**label)).count();
        Some(hits as f64 / images.count() as f64)
    };
    assert_eq!(outcome.robustness.fgsm_accuracy, under(&data.test, Method::Fgsm));
    assert_eq!(outcome.robustness.pgd_accuracy, under(&data.test, Method::Pgd(Pgd::new(5))));
    let batch = data.train.clone().truncated(32);
    assert_eq!(outcome.robustness.pgd_train_accuracy, under(&batch, Method::Pgd(Pgd::new(5))));
    assert_eq!(outcome.robustness.fgsm_train_accuracy, under(&batch, Method::Fgsm));
}

#[test]
fn what_cannot_be_trained_so_is_said() {
    let (folder, data) = (TempFolder::new("adversarial"), few_shapes(8, 4));
    let out = folder.path().join("out");
    for (model, eps, ratio, part) in
        [("ae3", EPS, 0.5, "ae3"), ("lenet", 0.0, 0.5, "eps"), ("lenet", 2.0, 0.5, "eps"), ("lenet", EPS, 0.0, "ratio")]
    {
        let settings =
            Settings { model: model.to_owned(), adversarial: Some(Adversarial::fgsm(eps, ratio)), ..settings(0.5) };
        let error = run(&settings, &data, &out).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
        assert!(!out.exists());
    }
}
