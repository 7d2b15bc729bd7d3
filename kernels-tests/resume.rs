//! Work is never lost: a run that was left or killed at any moment, and then resumed, ends with the bits of a run that
//! never was.

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/same.rs"]
mod same;

use std::fs;
use std::path::Path;

use common::gpu;
use folder::TempFolder;
use same::assert_same;
use serde_json::{Value, json};
use shadegrad::data::{DataSet, few_shapes};
use shadegrad::gpu::{Gpu, GpuError, GpuOptions};
use shadegrad::lab::LabError;
use shadegrad::lab::train::{Adversarial, Care, Epoch, Settings, State, Watch, train, train_kept};
use shadegrad::nn::{OptimizerKind, Schedule};
use shadegrad::ops::optimizer::Sgd;

fn settings() -> Settings {
    let plain = Settings::plain("lenet", 2, 8, 2e-3, 1);
    Settings { schedule: Schedule::Cosine, smoothing: 0.1, flip: true, shift: 2, ..plain }
}

/// Leaves a run when it has been asked so many times.
struct Leave(usize);

impl Watch for Leave {
    fn begin(&mut self, _epoch: u32, _steps: usize) {}
    fn step(&mut self, _done: usize, _loss: f64, _images_per_second: f64) {}
    fn end(&mut self, _epoch: &Epoch) {}
    fn interrupted(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

const NEVER: usize = usize::MAX;

fn notes() -> (&'static [String], Value) {
    (&[], json!({"any": "notes"}))
}

/// Goes on from a folder's state, as far as `ask` lets it.
fn go_on(settings: &Settings, data: &DataSet, out: &Path, ask: usize) -> Result<(), LabError> {
    let state = State::read(out)?.expect("a state");
    assert_eq!(state.mismatch(&gpu(), settings, data, false)?, [""; 0]);
    assert_eq!(state.command(), (&[][..], &json!({"any": "notes"})));
    let care = Care { from: Some(state), ..Care::default() };
    train_kept(&gpu(), settings, data, out, notes(), care, &mut Leave(ask)).map(|_| ())
}

fn assert_left(outcome: Result<(), LabError>, out: &Path) -> u64 {
    let Err(LabError::Interrupted { step, folder }) = outcome else { panic!("not left: {outcome:?}") };
    assert_eq!(folder, out);
    step
}

#[test]
fn a_run_that_was_left_anywhere_goes_on_to_the_same_bits() {
    let folder = TempFolder::new("resume");
    let data = few_shapes(236, 40);
    let sgd = OptimizerKind::Sgd(Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-3 });
    let adversarial = Some(Adversarial::fgsm(4.0 / 255.0, 0.5));
    // 30 steps an epoch, the last one smaller; losses are read back after 25, so 7 and 28 have a sum under way. After
    // each epoch's evaluation a run is asked again, and once more within it if that is long.
    let free = Some(Adversarial::named("free", 4.0 / 255.0).unwrap());
    let cases: [(&str, Settings, &[usize]); 5] = [
        ("adam", settings(), &[1, 7, 25, 28, 30, 31, 33, 61, 62]),
        ("sgd", Settings { optimizer: sgd, ..settings() }, &[7, 44]),
        ("adversarial", Settings { adversarial, ..settings() }, &[7, 31, 32, 40]),
        // Batches are replayed four times, so 30 steps end in the middle of one.
        ("free", Settings { adversarial: free, ..settings() }, &[7, 28, 31, 32, 40]),
        ("ae3", Settings { model: "ae3".to_owned(), smoothing: 0.0, ..settings() }, &[28, 50]),
    ];
    for (name, settings, moments) in cases {
        let whole = folder.path().join(name);
        train(&gpu(), &settings, &data, &whole, notes(), &mut Leave(NEVER)).unwrap();
        assert!(!whole.join("state.safetensors").exists(), "a finished run leaves no state");
        for &moment in moments {
            let out = folder.path().join(format!("{name} {moment}"));
            let first = train(&gpu(), &settings, &data, &out, notes(), &mut Leave(moment)).map(|_| ());
            let step = assert_left(first, &out);
            assert_eq!(State::read(&out).unwrap().unwrap().position().step, step);
            go_on(&settings, &data, &out, NEVER).unwrap();
            assert_same(&out, &whole, &format!("{name}, left at {moment}"));
        }
    }
}

/// Destroys a device when the run that uses it has asked so many times.
struct Destroy(Gpu, usize);

impl Watch for Destroy {
    fn begin(&mut self, _epoch: u32, _steps: usize) {}
    fn step(&mut self, _done: usize, _loss: f64, _images_per_second: f64) {}
    fn end(&mut self, _epoch: &Epoch) {}
    fn interrupted(&mut self) -> bool {
        self.1 = self.1.saturating_sub(1);
        if self.1 == 0 {
            self.0.destroy();
        }
        false
    }
}

#[test]
fn a_device_that_is_lost_is_an_error_and_the_run_goes_on_to_the_same_bits_on_another() {
    let folder = TempFolder::new("resume");
    let data = few_shapes(236, 40);
    let whole = folder.path().join("whole");
    train(&gpu(), &settings(), &data, &whole, notes(), &mut Leave(NEVER)).unwrap();
    // Within the first epoch, in its evaluation, and within the second; the state is kept after every fourth step.
    for moment in [9, 31, 50] {
        let out = folder.path().join(format!("lost at {moment}"));
        let lost = Gpu::open(&GpuOptions { poison: true, ..GpuOptions::default() }).unwrap();
        let care = Care { every: Some(4), ..Care::default() };
        let mut destroy = Destroy(lost.clone(), moment);
        let outcome = train_kept(&lost, &settings(), &data, &out, notes(), care, &mut destroy).map(|_| ());
        let error = outcome.expect_err("a lost device");
        assert!(matches!(error, LabError::Gpu(GpuError::DeviceLost { .. })), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("the GPU device was lost") && !text.contains('\n'), "{text}");
        go_on(&settings(), &data, &out, NEVER).unwrap();
        assert_same(&out, &whole, &format!("lost at {moment}"));
    }
}

#[test]
fn a_run_may_be_left_again_and_again() {
    let folder = TempFolder::new("resume");
    let data = few_shapes(236, 40);
    // Early stopping has to remember how long it has waited: with no learning rate nothing ever gets better.
    let settings = Settings { epochs: 9, rate: 0.0, early_stop: Some(2), ..settings() };
    let [whole, out] = ["whole", "left"].map(|name| folder.path().join(name));
    train(&gpu(), &settings, &data, &whole, notes(), &mut Leave(NEVER)).unwrap();
    assert_left(train(&gpu(), &settings, &data, &out, notes(), &mut Leave(3)).map(|_| ()), &out);
    let mut last = 3;
    for round in 1.. {
        match go_on(&settings, &data, &out, 29) {
            Ok(()) => break,
            left => {
                let step = assert_left(left, &out);
                assert!(step > last && round < 5, "round {round}: {last}, {step}");
                last = step;
            }
        }
    }
    assert_same(&out, &whole, "left at every chance");
    assert_eq!(fs::read_to_string(out.join("metrics.jsonl")).unwrap().lines().count(), 3);
}

#[test]
fn another_run_has_no_use_for_a_state() {
    let folder = TempFolder::new("resume");
    let (data, out) = (few_shapes(32, 10), folder.path());
    assert!(State::read(out).unwrap().is_none());
    let mut leave = Leave(2);
    assert_left(train(&gpu(), &settings(), &data, out, notes(), &mut leave).map(|_| ()), out);
    let state = State::read(out).unwrap().unwrap();
    let differs = |settings: Settings, data: &DataSet| state.mismatch(&gpu(), &settings, data, false).unwrap();
    assert_eq!(differs(settings(), &data), [""; 0]);
    assert_eq!(differs(Settings { rate: 0.5, ..settings() }, &data), ["settings.lr is 0.002, not 0.5"]);
    let found = differs(Settings { epochs: 3, adversarial: Some(Adversarial::fgsm(0.5, 1.0)), ..settings() }, &data);
    assert_eq!(
        found[0],
        r#"settings.adversarial is none, not {"defence":"fgsm","eps":0.5,"ratio":1.0,"roll_back":false}"#
    );
    assert_eq!(found[1], "settings.epochs is 2, not 3");
    let mut other = data.clone();
    other.train.bytes[4000] ^= 1;
    let found = differs(settings(), &other);
    assert!(found.len() == 1 && found[0].starts_with("data.pictures is "), "{found:?}");
    let text = state.refused(&found).to_string();
    assert!(text.contains("state.safetensors cannot be resumed from: in its run data.pictures is"), "{text}");

    // A damaged file is an error that names it, whatever byte is hit.
    let path = out.join("state.safetensors");
    let good = fs::read(&path).unwrap();
    for at in (0..2000).chain((0..good.len()).step_by(good.len() / 50)) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x15;
        let text = State::from_bytes(&path, &bytes).expect_err("damage goes unnoticed").to_string();
        assert!(text.contains("state.safetensors") && !text.contains('\n'), "byte {at}: {text}");
    }
    for length in [0, 7, 8, 100, good.len() - 1] {
        assert!(State::from_bytes(&path, &good[..length]).is_err(), "{length} bytes");
    }
}
