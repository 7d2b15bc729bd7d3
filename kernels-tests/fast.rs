//! The model `fast`: its whitening layer is that of the training pictures and stays as it is, a run that was left goes on
//! to the same bits, and every command that takes a classifier takes it. (`models.rs` compares it with PyTorch.)

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;
#[path = "common/same.rs"]
mod same;

use std::fs;
use std::path::Path;

use common::gpu;
use folder::TempFolder;
use program::succeed;
use safetensors::SafeTensors;
use same::assert_same;
use serde_json::{Value, json};
use shadegrad::autograd::Tape;
use shadegrad::data::{self, few_shapes};
use shadegrad::lab::LabError;
use shadegrad::lab::evaluate::{Resident, features};
use shadegrad::lab::fitted;
use shadegrad::lab::train::{Care, Epoch, Settings, State, Watch, need, train_kept};
use shadegrad::models::architecture;
use shadegrad::nn::whitening::{EPSILON, whitening};
use shadegrad::nn::{Mode, Network};

const MEAN: [f32; 3] = [0.4914, 0.4822, 0.4465];
const STD: [f32; 3] = [0.2470, 0.2435, 0.2616];

/// Notes losses, and leaves the run when it has been asked so many times.
struct Leave(usize, Vec<f64>);

impl Watch for Leave {
    fn begin(&mut self, _epoch: u32, _steps: usize) {}
    fn step(&mut self, _done: usize, _loss: f64, _images_per_second: f64) {}
    fn end(&mut self, epoch: &Epoch) {
        self.1.push(epoch.train_loss);
    }
    fn interrupted(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

#[test]
fn it_learns_what_is_frozen_stays_and_a_run_that_was_left_ends_with_the_same_bits() {
    let (folder, gpu) = (TempFolder::new("fast"), gpu());
    let data = few_shapes(24, 6);
    let whitening_epsilon = 2.0 * EPSILON;
    let settings = Settings {
        flip: true,
        shift: 2,
        whitening_epsilon: Some(whitening_epsilon),
        ..Settings::plain("fast", 6, 8, 2e-3, 1)
    };
    let run = |name: &str, ask: usize, from: Option<State>| {
        let mut watch = Leave(ask, Vec::new());
        let care = Care { from, ..Care::default() };
        let out = folder.path().join(name);
        let outcome = train_kept(&gpu, &settings, &data, &out, (&[], json!({})), care, &mut watch);
        (outcome, watch.1)
    };
    let planned = need(&gpu, &settings, &data).unwrap();
    let (outcome, losses) = run("whole", usize::MAX, None);
    let outcome = outcome.unwrap();
    assert!(losses[5] < 0.85 * losses[0], "{losses:?}");
    assert_eq!(outcome.planned_gpu_bytes, planned.bytes);
    assert_eq!((outcome.memory.largest_binding, outcome.parameters), (planned.largest_binding, 1_971_352));

    let bytes = fs::read(folder.path().join("whole/last.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |name: &str| bytemuck::pod_collect_to_vec::<u8, f32>(file.tensor(name).unwrap().data());
    let wanted = whitening(&data.train.bytes, [3, 32, 32], 2, (MEAN, STD), whitening_epsilon);
    assert_eq!(stored("whiten.weight"), wanted.weights, "eighteen steps have moved what is frozen");
    assert_ne!(stored("whiten.bias"), wanted.bias, "the bias is trained");
    for norm in (1..=3).flat_map(|block| [1, 2].map(|norm| format!("block{block}.norm{norm}"))) {
        assert!(stored(&format!("{norm}.weight")).iter().all(|&weight| weight == 1.0), "{norm}");
        assert!(stored(&format!("{norm}.running_mean")).iter().any(|&mean| mean != 0.0), "{norm}");
        assert!(stored(&format!("{norm}.bias")).iter().any(|&bias| bias != 0.0), "{norm}");
    }

    // Three steps an epoch: in the middle of the second one.
    let (left, _) = run("left", 6, None);
    assert!(matches!(left, Err(LabError::Interrupted { step: 5, .. })), "{left:?}");
    let state = State::read(&folder.path().join("left")).unwrap();
    assert!(state.is_some());
    run("left", usize::MAX, state).0.unwrap();
    assert_same(&folder.path().join("left"), &folder.path().join("whole"), "left after step 5");
}

#[test]
fn pictures_that_are_none_are_refused_and_other_models_have_nothing_to_whiten() {
    let gpu = gpu();
    let fast = Network::new(&gpu, architecture("fast").unwrap(), 0).unwrap();
    for bytes in [0, 3071, 3073] {
        let text = fast.whiten(&gpu, &vec![0; bytes], EPSILON).unwrap_err().to_string();
        assert!(text.contains(&format!("{bytes} bytes")) && !text.contains('\n'), "{text}");
    }
    let lenet = Network::new(&gpu, architecture("lenet").unwrap(), 0).unwrap();
    let before = lenet.state(&gpu).unwrap();
    lenet.whiten(&gpu, &[], EPSILON).unwrap();
    assert_eq!(lenet.state(&gpu).unwrap(), before);
}

#[test]
fn a_training_step_computes_no_gradient_of_what_is_frozen() {
    let gpu = gpu();
    let network = Network::new(&gpu, architecture("fast").unwrap(), 0).unwrap();
    let tape = Tape::new(&gpu);
    let (bound, x) = (network.bind(&tape).unwrap(), tape.leaf(&gpu.filled([2, 3, 32, 32], 0.5).unwrap()));
    let logits = network.forward(&tape, &bound, x, Mode::Training { seed: 0, step: 0 }).unwrap();
    let loss = tape.cross_entropy_mean(logits, &gpu.words(&[1, 2]).unwrap(), 0.2).unwrap();
    for (wanted, weights, data) in [(bound.leaves(), 6, 6), (&[x], 0, 7)] {
        let before = gpu.dispatch_counts();
        tape.backward(loss, wanted).unwrap();
        let after = gpu.dispatch_counts();
        let count = |kernel| after.get(kernel).copied().unwrap_or(0) - before.get(kernel).copied().unwrap_or(0);
        // Winograd's passes end in a launch of their own name.
        let passes = |plain, winograd| count(plain) + count(winograd);
        let of_weights = passes("conv2d_backward_weights", "conv2d_backward_weights_back");
        assert_eq!([of_weights, passes("conv2d_backward_data", "conv2d_backward_data_back")], [weights, data]);
    }
}

#[test]
fn features_times_the_heads_weights_are_the_logits() {
    let gpu = gpu();
    let network = Network::new(&gpu, architecture("fast").unwrap(), 3).unwrap();
    let head = fitted::head(&gpu, &network).unwrap();
    assert_eq!((head.size(), head.classes()), (256, 10));
    let data = Resident::new(&gpu, &data::fake_data(0, 0, 4)).unwrap();
    let (features, logits) = features(&gpu, &network, &data, |_| {}).unwrap();
    for (features, logits) in features.chunks_exact(256).zip(logits.chunks_exact(10)) {
        let wide: Vec<f64> = features.iter().map(|&feature| f64::from(feature)).collect();
        for (product, logit) in head.logits(&wide).iter().zip(logits) {
            assert!((product - logit).abs() < 1e-5, "{product} {logit}");
        }
    }
}

#[test]
fn every_command_for_classifiers_takes_it() {
    let folder = TempFolder::new("fast");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (data, run) = (place("data"), place("run"));
    data::write_cifar10(&few_shapes(20, 12), Path::new(&data)).unwrap();
    let json = |parts: &[&str]| -> Value { serde_json::from_str(&succeed(parts)).unwrap() };
    let trained =
        json(&["train", "--model", "fast", "--data", &data, "--batch", "10", "--epochs", "1", "--out", &run, "--json"]);
    let settings = &trained["settings"];
    assert_eq!(
        (&settings["recipe"], &settings["momentum"], &settings["flip"]),
        (&json!("fast"), &json!(0.85), &json!(true))
    );
    assert_eq!((&settings["batch"], &settings["lr"]), (&json!(10), &json!(1.5 * 10.0 / 1024.0)));

    let weights = place("run/last.safetensors");
    let evaluated = json(&["eval", "--weights", &weights, "--data", &data, "--json"]);
    assert_eq!(evaluated["model"], json!("fast"));
    assert_eq!(evaluated["test_accuracy"], trained["test_accuracy"]);
    let of = ["--weights", &weights, "--data", &data, "--json", "--out"];
    let attacked = json(&[&["attack", "--eps", "8/255", "--method", "fgsm"], &of[..], &[&place("attack")]].concat());
    assert_eq!(attacked["model"], json!("fast"));
    let scored =
        json(&[&["ood", "--ood", "fake", "--score", "react,vim,ash-s,odin"], &of[..], &[&place("ood")]].concat());
    assert_eq!(scored["scores"].as_object().unwrap().len(), 4);
    for step in ["train", "attack"] {
        json(&["profile", step, "--model", "fast", "--batch", "2", "--steps", "1", "--json"]);
    }
}
