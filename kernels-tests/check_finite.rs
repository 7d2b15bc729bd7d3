//! The first bad number: counted by its bits, and laid at the door of the operation that wrote it.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;
#[path = "common/silent.rs"]
mod silent;

use std::fs;
use std::path::Path;

use folder::TempFolder;
use program::refused;
use serde_json::json;
use shadegrad::data::{self, few_shapes};
use shadegrad::gpu::{Gpu, GpuError, GpuOptions};
use shadegrad::lab::LabError;
use shadegrad::lab::train::{Care, Settings, train_kept};
use shadegrad::nn::OptimizerKind;
use shadegrad::ops::elementwise;
use shadegrad::ops::matmul::{matmul, plain};
use shadegrad::ops::optimizer::Sgd;
use silent::Silent;

/// Fresh memory is not full of NaN here: some of it is scratch that no kernel needs to fill.
fn gpu() -> Gpu {
    Gpu::open(&GpuOptions::default()).unwrap()
}

fn settings() -> Settings {
    Settings::plain("lenet", 1, 32, 2e-3, 1)
}

fn run(settings: &Settings, check: bool, out: &Path) -> Result<(), LabError> {
    let care = Care { check, ..Care::default() };
    train_kept(&gpu(), settings, &few_shapes(90, 20), out, (&[], json!({})), care, &mut Silent).map(|_| ())
}

#[test]
fn bad_numbers_are_counted_where_they_arise() {
    let gpu = gpu();
    gpu.check_finite(7).unwrap();
    // Great, tiny and negative numbers are all fine; so are integers with the bits of a NaN, and infinities that
    // were there before.
    let fine = gpu.tensor([6], &[f32::MAX, f32::MIN, 1e-45, -0.0, 0.0, 1.0]).unwrap();
    elementwise::scale(&gpu, &fine, 1.0, 0.0).unwrap();
    gpu.words(&[u32::MAX; 5]).unwrap();
    let values: Vec<f32> = (0..1000).map(|at| if at % 100 == 3 { -3e38 } else { at as f32 }).collect();
    let great = gpu.tensor([1000], &values).unwrap();
    let error = elementwise::scale(&gpu, &great, 2.0, 0.0).unwrap_err();
    let GpuError::NotFinite { step: 7, numbers: 10, .. } = error else { panic!("{error}") };
    let text = error.to_string();
    for part in ["'scale' in step 7", "10 of them", "read: 1000 numbers, 4000 bytes, -3e38 to 9.99e2", "10 infinite"] {
        assert!(text.contains(part), "'{part}' is missing in {text}");
    }
    // Infinity times zero is no number.
    gpu.check_finite(8).unwrap();
    let infinite = gpu.tensor([1, 1], &[f32::INFINITY]).unwrap();
    let zeros = gpu.tensor([1, 3], &[0.0; 3]).unwrap();
    let error = matmul(&gpu, plain(&infinite), plain(&zeros)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("'matmul") && text.contains("(3 of them)") && text.contains("none finite, 3 NaN"), "{text}");
    gpu.stop_check();
    elementwise::scale(&gpu, &great, 2.0, 0.0).unwrap();
}

#[test]
fn the_checks_change_no_bit() {
    let folder = TempFolder::new("finite");
    let [with, without] = [true, false].map(|check| {
        let out = folder.path().join(format!("{check}"));
        run(&settings(), check, &out).unwrap();
        fs::read(out.join("last.safetensors")).unwrap()
    });
    assert!(with == without);
}

#[test]
fn a_run_that_explodes_stops_at_the_operation_that_does() {
    let folder = TempFolder::new("finite");
    let sgd = OptimizerKind::Sgd(Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 });
    // The first step's weights are enormous and finite, and in the second step the first convolution's output is, too;
    // the second convolution multiplies both. A rate beyond f32 breaks the weights themselves.
    for (rate, step, operation) in [(1e30, 2, "'conv2d"), (1e300, 1, "'sgd")] {
        let out = folder.path().join(format!("{rate:e}"));
        let error = run(&Settings { rate, optimizer: sgd, ..settings() }, true, &out).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, LabError::Gpu(GpuError::NotFinite { step: found, .. }) if found == step), "{text}");
        assert!(text.contains(&format!("operation {operation}")) && !text.contains('\n'), "{text}");
        assert!(!out.join("last.safetensors").exists() && !out.join("state.safetensors").exists());
    }
}

#[test]
fn the_program_names_the_operation_or_says_how_to_find_it() {
    let folder = TempFolder::new("finite");
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    data::write_cifar10(&few_shapes(90, 20), &data).unwrap();
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    let wild = ["train", "--data", data, "--out", out, "--optimizer", "sgd", "--lr", "1e30", "--batch", "8"];
    refused(&wild, &["not finite at step 12", "--lr", "--check finite"]);
    refused(
        &[&wild[..], &["--check", "finite"]].concat(),
        &["operation 'conv2d", "in step 2", "numbers, ", " bytes, "],
    );
    refused(&[&wild[..], &["--check", "infinite"]].concat(), &["--check", "finite"]);
}
