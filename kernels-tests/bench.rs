//! The benchmark: what its rows hold, that ladder rungs compute the same, profiles and traces, and the kernels' listing.

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::gpu;
use folder::TempFolder;
use program::{command, refused, succeed, text};
use serde_json::Value;
use shadegrad::gpu::Work;
use shadegrad::lab::bench::{self, Budget, Ladder, Options, Suite};
use shadegrad::lab::profile::{Profile, Settings, profile};
use shadegrad::lab::workload::{Kind, Workload};

/// Held while something is measured, so that tests do not slow each other down.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One round of everything: enough to see that it is measured.
const ONCE: Budget = Budget { seconds: 0.01, rounds: Some(1) };

fn run(suite: Suite, model: &str, batch: usize) -> Value {
    let _turn = turn();
    let options = Options { budget: ONCE, model: Some(model.to_owned()), batch: Some(batch) };
    let report = bench::run(&gpu(), suite, &options, (&["bench".to_owned()], None), &mut |_| {}).unwrap();
    serde_json::to_value(report).unwrap()
}

/// A kernel cannot beat the adapter; but caches and a busy machine blur that.
fn check_rows(report: &Value) -> usize {
    for ceiling in ["gflops", "gbps", "gbps_cached"] {
        assert!(report["ceilings"][ceiling].as_f64().unwrap() > 0.0, "{ceiling}");
    }
    let rows = report["kernels"].as_array().unwrap();
    for row in rows {
        for key in ["kernel", "pass", "shape", "variant"] {
            assert!(row[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {row}");
        }
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        assert!(number("ms_min") > 0.0, "{row}");
        assert!(number("ms_min") <= number("ms_median") && number("ms_median") <= number("ms_max"), "{row}");
        assert!(number("gflops") >= 0.0 && number("gbps") > 0.0, "{row}");
        let share = number("share_of_ceiling");
        assert!(share > 0.0 && share <= 1.5, "{row}");
    }
    rows.len()
}

#[test]
fn kernel_rows_hold_what_they_promise() {
    let report = run(Suite::Conv2d, "lenet", 4);
    check_rows(&report);
    let rows = report["kernels"].as_array().unwrap();
    let (pooled, plain): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row["kernel"] == "conv2d_max_pool");
    assert_eq!(plain.len(), 2 * 3);
    assert_eq!((&plain[0]["layer"], &plain[5]["pass"]), (&"lenet.conv1".into(), &"backward-weights".into()));
    // Of both layers and passes where the kernel that is chosen can.
    let can = rows[0]["variant"] == "subgroup";
    assert_eq!(pooled.len(), if can { 4 } else { 0 }, "{rows:?}");
    for (index, row) in pooled.iter().enumerate() {
        assert_eq!(row["pass"], ["forward + max_pool", "max_pool + backward"][index % 2]);
    }
    assert!(report["adapter"]["name"].is_string() && report["steps"].as_array().unwrap().is_empty());
    for suite in [Suite::Pool, Suite::Reduce, Suite::Optim] {
        assert!(check_rows(&run(suite, "lenet", 4)) >= 2, "{suite:?}");
    }
}

#[test]
fn step_rows_hold_what_they_promise() {
    let report = run(Suite::Attack, "lenet", 8);
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|row| row["kind"].as_str().unwrap()).collect::<Vec<_>>(), ["train", "attack"]);
    for row in steps {
        assert_eq!((row["model"].as_str(), row["batch"].as_u64()), (Some("lenet"), Some(8)));
        assert!(row["images_per_second"].as_f64().unwrap() > 0.0, "{row}");
        let peak = ["peak_bytes", "peak_live_bytes"].map(|key| row[key].as_u64().unwrap());
        assert!(peak[1] > 0 && peak[0] >= peak[1], "{row}");
        assert_eq!(row["grown_bytes"], 0, "a step that repeats allocates nothing: {row}");
    }
    assert!(steps[1]["dispatches"].as_u64() < steps[0]["dispatches"].as_u64(), "no weight gradients");
    assert!(steps[1]["share_of_training_step"].as_f64().unwrap() > 0.0);
}

#[test]
fn kernels_that_a_software_driver_has_not_kept_are_translated_side_by_side() {
    let _turn = turn();
    let folder = TempFolder::new("cold");
    let mut cold = command();
    // Mesa finds nothing here.
    cold.env("MESA_SHADER_CACHE_DIR", folder.path());
    let wish = ["bench", "train", "--model", "lenet", "--batch", "8", "--rounds", "1", "--json"];
    let output = cold.args(wish).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &report["first_step"];
    let adapter = &report["adapter"];
    let translates = adapter["device_type"] == "software" && adapter["backend"] == "vulkan";
    let cores = std::thread::available_parallelism().unwrap().get();
    let wanted = if translates { cores.min(4) } else { 0 };
    assert_eq!(first["translating_devices"][0], wanted, "{first}");
    let seconds = |key: &str| first[key].as_f64().unwrap();
    assert!(seconds("as_found_seconds") > seconds("open_seconds"), "{first}");
    // The second device finds what all of them translated.
    assert!(!translates || seconds("again_seconds") < seconds("as_found_seconds"), "{first}");
    // A process of its own finds nothing, whatever was compiled before it; and the next one what it left.
    let start = &first["of_a_process"];
    let [cold, warm] = ["cold_seconds", "warm_seconds"].map(|key| start[key].as_f64().unwrap());
    assert!(warm > 0.0 && (!translates || cold > warm), "{start}");
    assert_eq!(report["precision"], "f32");
}

#[test]
fn an_autoencoder_has_no_attack_step() {
    let options = Options { budget: ONCE, model: Some("ae3".to_owned()), batch: Some(2) };
    let error = bench::run(&gpu(), Suite::Attack, &options, (&[], None), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("classifier") && error.contains("ae3"), "{error}");
    assert!(Workload::new(&gpu(), Kind::Train, "lenet", 0).is_err());
}

#[test]
fn rungs_agree_with_each_other() {
    let _turn = turn();
    let gpu = gpu();
    for (ladder, size, rungs) in [(Ladder::Matmul, 68, 8), (Ladder::Conv2d, 1, 20)] {
        let report = bench::climb(&gpu, ladder, Some(size), ONCE, &[], &mut |_| {}).unwrap();
        assert_eq!(report.rungs.len() + report.missing.len(), rungs, "{ladder:?}");
        for rung in &report.rungs {
            assert!(rung.difference < 1e-4, "{} {} is off by {:e}", rung.file, rung.row.pass, rung.difference);
            assert!(rung.row.share_of_ceiling > 0.0 && rung.row.share_of_ceiling <= 1.5, "{rung:?}");
            assert!(rung.speedup > 0.0 && shadegrad::ops::sources::find(rung.file).is_ok());
        }
        assert_eq!((report.rungs[0].speedup, report.rungs[0].difference), (1.0, 0.0));
    }
    assert_eq!(gpu.forced_variant("conv2d"), None, "nothing stays forced");
    assert!(bench::climb(&gpu, Ladder::Matmul, Some(5), ONCE, &[], &mut |_| {}).is_err());
}

#[test]
fn a_profile_names_the_kernels_of_a_step() {
    let gpu = gpu();
    if !gpu.has_timestamps() {
        return;
    }
    let settings = |kind| Settings { kind, model: "lenet".to_owned(), batch: 4, steps: 2 };
    let [train, attack] = [Kind::Train, Kind::Attack].map(|kind| profile(&gpu, &settings(kind)).unwrap());
    let has = |found: &Profile, name: &str| found.kernels.iter().any(|row| row.kernel == name);
    assert!(has(&train, "conv2d_backward_weights") && has(&train, "adam"));
    assert!(["conv2d_backward_data", "conv2d_max_pool_step"].iter().any(|name| has(&attack, name)));
    assert!(!has(&attack, "conv2d_backward_weights"));
    let shares: f64 = train.kernels.iter().map(|row| row.share).sum();
    assert!((shares - 1.0).abs() < 1e-9 && train.kernel_milliseconds > 0.0 && train.gap_milliseconds >= 0.0);

    // The program says besides what it would take to repeat it.
    let line = ["profile", "attack", "--model", "lenet", "--batch", "4", "--steps", "1", "--json"];
    let printed: Value = serde_json::from_str(&succeed(&line)).unwrap();
    let said = ["kind", "model", "precision"].map(|key| printed[key].as_str().unwrap());
    assert_eq!((said, printed["batch"].as_u64()), (["attack", "lenet", "f32"], Some(4)));
    assert!(printed["adapter"]["name"].is_string() && printed["kernel_choices"]["conv2d"].is_string());
    assert!(!printed["kernels"].as_array().unwrap().is_empty());
    let trace = train.trace("test");
    let events = trace["traceEvents"].as_array().unwrap();
    let complete = events.iter().filter(|event| event["ph"] == "X").count();
    assert_eq!(complete as f64, 2.0 * (train.dispatches + 1.0), "a step's kernels and the step itself");
    assert!(events.iter().all(|event| event["ph"] == "M" || event["dur"].as_f64().unwrap() >= 0.0));
}

#[test]
fn work_is_what_was_said_or_else_the_bytes_that_are_bound() {
    let gpu = gpu();
    if !gpu.has_timestamps() {
        return;
    }
    let (x, y) = (gpu.filled([64], 1.0).unwrap(), gpu.empty([64]).unwrap());
    gpu.start_profile().unwrap();
    shadegrad::ops::ceiling::copy(&gpu, &x, &y).unwrap();
    gpu.next_work(7, 9);
    shadegrad::ops::ceiling::copy(&gpu, &x, &y).unwrap();
    let found: Vec<Work> = gpu.take_profile().unwrap().into_iter().map(|sample| sample.work).collect();
    assert_eq!(found, [Work { flops: 0, bytes: 512 }, Work { flops: 7, bytes: 9 }]);
    assert_eq!(gpu.read(&y).unwrap(), vec![1.0; 64]);
    let sums = gpu.empty([4]).unwrap();
    shadegrad::ops::ceiling::read(&gpu, &x, &sums).unwrap();
    assert_eq!(gpu.read(&sums).unwrap(), vec![16.0; 4]);
}

#[test]
fn the_program_lists_and_prints_kernels() {
    let list = succeed(&["kernels"]);
    for name in ["matmul_tiled", "conv2d_naive", "backward_weights", "ceiling"] {
        assert!(list.contains(name), "{name}");
    }
    assert!(succeed(&["kernels", "matmul_nn"]).starts_with("// matmul_nn: C[m, n]"));
    refused(&["kernels", "matmul_n"], &["no kernel 'matmul_n'", "matmul_nn"]);
    refused(&["bench", "matmul", "--rounds", "0"], &["--rounds"]);
    refused(&["bench", "matmul", "--size", "4"], &["--size", "--ladder"]);
    refused(&["bench", "train", "--model", "resnet"], &["no model 'resnet'"]);
    refused(&["profile", "attack", "--model", "ae3"], &["classifier"]);
    refused(&["bench", "train", "--first-step", "nowhere"], &["--first-step"]);
    refused(&["bench"], &["SUITE"]);
}
