//! Damaged files of those that the program itself writes and reads again: the same demands as in `fuzz.rs`.
//!
//! `SHADEGRAD_FUZZ_ROUNDS=200000` makes it thorough. A failure names its round, which is all that it depends on.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/fuzzing.rs"]
mod fuzzing;
#[path = "common/made_up.rs"]
mod made_up;
#[path = "common/mutate.rs"]
mod mutate;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use folder::TempFolder;
use fuzzing::{MIB, Target, parse, run};
use mutate::{Dice, damage, damage_text, sealed};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::Value;
use shadegrad::data::{SIZE, few_shapes};
use shadegrad::gpu::{Gpu, GpuOptions};
use shadegrad::kept;
use shadegrad::lab::bench::Tuned;
use shadegrad::lab::results::{LabResult, Picture};
use shadegrad::lab::train::{Care, Epoch, Settings, State, Watch, differences, train_kept};
use shadegrad::lab::{LabError, fitted, report, run as laboratory};
use shadegrad::ood::features::Head;
use shadegrad::ood::fit::{self, Fit};
use shadegrad::ops::choices;
use shadegrad::selftest::{Failure, Verdict};

/// What a reader of JSON may meet in the place of something else.
const WORDS: [&str; 13] =
    ["null", "true", "-1", "1e308", "-1e-308", "0.5", "NaN", "{}", "[]", "\"\"", "\"\\u0000\"", "conv2d", "format"];

/// Damage to a text's words, and to its bytes.
fn damaged_json(text: &str, dice: &mut Dice) -> Vec<u8> {
    if dice.below(3) > 0 {
        let wounds = 1 + dice.below(3);
        return (0..wounds).fold(text.to_owned(), |text, _| damage_text(&text, &WORDS, dice)).into_bytes();
    }
    let mut bytes = text.as_bytes().to_vec();
    damage(&mut bytes, dice);
    bytes
}

/// Damage to a safetensors file: to its header's words with a length that fits again, or anywhere; most of it under a
/// checksum that fits again, too.
fn damaged_arrays(whole: &[u8], words: &[&str], dice: &mut Dice) -> Vec<u8> {
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    if dice.below(2) == 0 {
        let header = std::str::from_utf8(&whole[8..8 + length]).unwrap();
        let text = damage_text(header, words, dice);
        return mended([&(text.len() as u64).to_le_bytes(), text.as_bytes(), &whole[8 + length..]].concat(), dice);
    }
    let mut bytes = whole.to_vec();
    damage(&mut bytes, dice);
    mended(bytes, dice)
}

fn mended(bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    if dice.below(8) == 0 { bytes } else { sealed(bytes) }
}

/// A run that is left after its second step.
struct Leave(u32);

impl Watch for Leave {
    fn begin(&mut self, _: u32, _: usize) {}
    fn step(&mut self, _: usize, _: f64, _: f64) {}
    fn end(&mut self, _: &Epoch) {}
    fn interrupted(&mut self) -> bool {
        self.0 += 1;
        self.0 > 7
    }
}

/// A state small enough to be damaged often: its long arrays are cut to a few numbers, which the reader cannot know.
fn state() -> Vec<u8> {
    let folder = TempFolder::new("fuzz-state");
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let settings = Settings::plain("lenet", 3, 4, 1e-3, 0);
    let notes = (&["shadegrad".to_owned(), "train".to_owned()][..], serde_json::json!({"model": "lenet"}));
    let left =
        train_kept(&gpu, &settings, &few_shapes(12, 4), folder.path(), notes, Care::default(), &mut Leave(0)).map(drop);
    assert!(matches!(left, Err(LabError::Interrupted { .. })), "{left:?}");
    let bytes = fs::read(folder.path().join("state.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let views = file.iter().map(|(name, view)| {
        let count = if name == "state" { view.data().len() } else { view.data().len().min(8) };
        let shape = vec![count / if name == "state" { 1 } else { 4 }];
        (name.to_owned(), TensorView::new(view.dtype(), shape, &view.data()[..count]).unwrap())
    });
    let note = HashMap::from([("md5".to_owned(), "0".repeat(32))]);
    sealed(safetensors::serialize(views, Some(note)).unwrap())
}

#[test]
fn states_of_unfinished_runs() {
    let whole = state();
    let at = |mark: &[u8]| whole.windows(mark.len()).position(|part| part == mark).unwrap();
    // The text array, which is where most of what can be misunderstood stands.
    let (begin, end) = (at(b"{\"format\""), whole.len());
    let text = std::str::from_utf8(&whole[begin..end]).unwrap().trim_end_matches(|c: char| c != '}').to_owned();
    let make = |dice: &mut Dice| {
        if dice.below(2) == 0 {
            return damaged_arrays(&whole, &["F16", "U8", "F32", "state", "weights", "shape", "-1"], dice);
        }
        // As long as before, or the header would not fit.
        let mut fresh = damaged_json(&text, dice);
        fresh.resize(text.len(), b' ');
        mended([&whole[..begin], &fresh, &whole[begin + text.len()..]].concat(), dice)
    };
    let parser = |bytes: &[u8]| {
        let state = State::from_bytes(Path::new("state.safetensors"), bytes).map_err(|error| error.to_string())?;
        assert!(sealed(bytes.to_vec()) == bytes, "a state with another's checksum is taken");
        let (_, arguments) = state.command();
        let found = differences(arguments, &serde_json::json!({"model": "lenet"}));
        drop(state.refused(&found).to_string());
        Ok(())
    };
    assert_eq!(parse(&whole, &parser).map(|found| found.0), Ok(true));
    run(Target { name: "states", share: 1, make: &make, parser: &parser, bound: |length| 64 * length + 65_536 });
}

#[test]
fn fits_of_training_sets() {
    let head = Head { weights: (0..12).map(|at| at as f32 * 0.1 - 0.5).collect(), bias: vec![0.1, -0.2, 0.3] };
    let features: Vec<f32> = (0..40u32).map(|at| (at * 7 % 11) as f32 / 11.0).collect();
    let labels: Vec<u8> = (0..10).map(|at| at % 3).collect();
    let made = Fit::new(&features, &labels, &head, fit::Settings::default()).unwrap();
    let whole = fitted::to_bytes("here", &made, &head).unwrap();
    let words = ["F32", "F64", "null", "shape", "origin", "here", "knn", "vim", "-1", "__metadata__"];
    let make = |dice: &mut Dice| damaged_arrays(&whole, &words, dice);
    let parser = |bytes: &[u8]| {
        let fit = fitted::from_bytes(bytes, "here", 10, &head).ok_or_else(|| "made anew".to_owned())?;
        assert!(sealed(bytes.to_vec()) == bytes, "a fit with another's checksum is taken");
        // What is taken for a fit can be scored by. (Numbers that nobody would fit, under a checksum that was made for
        // them, may be too large for a score: that is an error of its own, later.)
        let _scores = (fit.mahalanobis(&features[..4]), fit.vim(&head, &features[..4]));
        Ok(())
    };
    assert_eq!(parse(&whole, &parser).map(|found| found.0), Ok(true));
    run(Target { name: "fits", share: 1, make: &make, parser: &parser, bound: |length| 32 * length + 65_536 });
}

fn adapter(gpu: &Gpu) -> shadegrad::gpu::AdapterSummary {
    gpu.adapter().clone()
}

#[test]
fn verdicts_of_the_selftest() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let failure = |variant: Option<&str>, kernel: &str| Failure {
        operation: "conv2d".to_owned(),
        variant: variant.map(str::to_owned),
        kernel: Some(kernel.to_owned()),
        problem: "element 3 is 1, not 2".to_owned(),
    };
    let whole = Verdict {
        version: "0.1.0".to_owned(),
        kernels_fingerprint: kept::kernels(),
        adapter: adapter(&gpu),
        precision: gpu.precision(),
        passed: false,
        failed: vec![failure(Some("naive"), "conv2d_naive"), failure(None, "max_pool")],
    };
    let text = serde_json::to_string_pretty(&whole).unwrap();
    let make = |dice: &mut Dice| damaged_json(&text, dice);
    let parser = |bytes: &[u8]| {
        let verdict: Verdict =
            kept::from_bytes(Path::new("selftest.json"), bytes, "selftest").map_err(|error| error.to_string())?;
        verdict.apply(&gpu);
        let _ = verdict.irreplaceable().map(Failure::name);
        Ok(())
    };
    assert_eq!(parse(text.as_bytes(), &parser).map(|found| found.0), Ok(true));
    // What is refused on this device is a set of names: it stays small.
    run(Target { name: "verdicts", share: 1, make: &make, parser: &parser, bound: |length| 32 * length + 65_536 });
}

/// Both ways to a choice of kernels: what the tuner keeps, and what `--kernels` names.
#[test]
fn choices_of_kernels() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let entries = [
        ("conv2d", "direct"),
        ("matmul", "vec4"),
        ("conv2d forward 3>6 k5 s1 w28", "direct 6x4"),
        ("conv2d backward-weights 6>16 k5 s1 w10", "naive"),
        ("matmul nt 120x400", "vec4"),
    ];
    let whole = Tuned {
        version: "0.1.0".to_owned(),
        kernels_fingerprint: kept::kernels(),
        adapter: adapter(&gpu),
        kernel_choices: entries.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    let tuned = serde_json::to_string_pretty(&whole).unwrap();
    let table = serde_json::to_string(&whole.kernel_choices).unwrap();
    let make = |dice: &mut Dice| damaged_json(if dice.below(2) == 0 { &tuned } else { &table }, dice);
    let follow = |table: &choices::Table| choices::follow(&gpu, table).map_err(|error| format!("table.json: {error}"));
    let kept_one = |bytes: &[u8]| {
        let tuned: Tuned =
            kept::from_bytes(Path::new("tuned.json"), bytes, "bench --tune").map_err(|error| error.to_string())?;
        follow(&tuned.kernel_choices)
    };
    let named_one = |bytes: &[u8]| follow(&choices::from_bytes(bytes)?);
    assert_eq!(parse(tuned.as_bytes(), &kept_one).map(|found| found.0), Ok(true));
    for text in [&tuned, &table] {
        assert_eq!(parse(text.as_bytes(), &named_one).map(|found| found.0), Ok(true));
    }
    let bound = |length| 64 * length + 65_536;
    run(Target { name: "the tuner's choices", share: 1, make: &make, parser: &kept_one, bound });
    run(Target { name: "--kernels", share: 1, make: &make, parser: &named_one, bound });
}

/// A result of the lab with grey pictures in the place of all, or there would be little else in it.
fn result() -> String {
    let recipe = made_up::Recipe { seeds: vec![0, 1], eps: vec![0.0, 2.0], epochs: 2, ..made_up::Recipe::default() };
    let mut all = serde_json::to_value(made_up::result(&recipe)).unwrap();
    let grey = serde_json::to_value(Picture(vec![127; SIZE])).unwrap();
    without_pictures(&mut all, &grey);
    all.to_string()
}

fn without_pictures(value: &mut Value, grey: &Value) {
    match value {
        Value::String(text) if text.len() > 500 => *value = grey.clone(),
        // Curves, too, need not be long.
        Value::Array(items) => {
            items.truncate(12);
            items.iter_mut().for_each(|item| without_pictures(item, grey));
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| without_pictures(field, grey)),
        _ => {}
    }
}

#[test]
fn results_of_the_lab() {
    let whole = result();
    let make = |dice: &mut Dice| damaged_json(&whole, dice);
    let parser = |bytes: &[u8]| {
        let read = laboratory::result_from_bytes(Path::new("result.json"), bytes);
        let _: LabResult = read.map_err(|error| error.to_string())?;
        Ok(())
    };
    assert_eq!(parse(whole.as_bytes(), &parser).map(|found| found.0), Ok(true));
    run(Target { name: "results", share: 4, make: &make, parser: &parser, bound: |length| 16 * length + MIB });
}

/// The report of a damaged result that can still be read: numbers that no run has.
#[test]
fn reports_of_damaged_results() {
    let whole = result();
    let make = |dice: &mut Dice| damage_text(&whole, &WORDS, dice).into_bytes();
    let parser = |bytes: &[u8]| {
        let read = laboratory::result_from_bytes(Path::new("result.json"), bytes);
        let result = read.map_err(|error| error.to_string())?;
        report::html(&result).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(parse(whole.as_bytes(), &parser).map(|found| found.0), Ok(true));
    // An epoch that no run has reached takes no longer than any other.
    let (begun, late) = (Instant::now(), whole.replace(r#""epoch":2,"#, r#""epoch":4294967295,"#));
    assert!(late != whole && parse(late.as_bytes(), &parser).map(|found| found.0) == Ok(true));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    run(Target { name: "reports", share: 40, make: &make, parser: &parser, bound: |length| 64 * length + 16 * MIB });
}
