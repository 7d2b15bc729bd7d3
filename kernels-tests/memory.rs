//! The memory plan: what it says is what a run takes, and a run that would take too much is refused before it begins.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;
#[path = "common/silent.rs"]
mod silent;

use folder::TempFolder;
use program::{shadegrad, succeed};
use serde_json::{Value, json};
use shadegrad::data::{self, few_shapes};
use shadegrad::gpu::{Gpu, GpuOptions};
use shadegrad::lab::train::{Adversarial, Epoch, Settings, Watch, need, train};
use shadegrad::lab::workload::{Kind, Workload, default_batch};
use shadegrad::nn::OptimizerKind;
use shadegrad::ops::elementwise;
use shadegrad::ops::optimizer::Sgd;
use silent::Silent;

fn settings(model: &str, batch: usize) -> Settings {
    Settings::plain(model, 2, batch, 1e-4, 1)
}

#[test]
fn the_plan_is_what_a_run_takes() {
    let folder = TempFolder::new("memory");
    let sgd = OptimizerKind::Sgd(Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 });
    let adversarial = Some(Adversarial::fgsm(0.01, 0.5));
    let named = |name: &str| Some(Adversarial::named(name, 0.01).unwrap());
    let cases = [
        ("lenet", settings("lenet", 128), few_shapes(300, 210)),
        ("lenet, sgd", Settings { optimizer: sgd, flip: true, ..settings("lenet", 32) }, few_shapes(96, 10)),
        ("lenet, adversarial", Settings { adversarial, ..settings("lenet", 64) }, few_shapes(150, 30)),
        ("lenet, free", Settings { adversarial: named("free"), ..settings("lenet", 64) }, few_shapes(150, 30)),
        ("lenet, pgd", Settings { adversarial: named("pgd"), ..settings("lenet", 64) }, few_shapes(150, 30)),
        ("lenet, trades", Settings { adversarial: named("trades"), ..settings("lenet", 64) }, few_shapes(150, 30)),
        ("lab", settings("lab", 8), few_shapes(20, 3)),
        ("ae3", settings("ae3", 32), few_shapes(70, 10)),
    ];
    for (name, settings, data) in cases {
        // A device of its own, whose pool holds nothing of other tests.
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let planned = need(&gpu, &settings, &data).unwrap();
        assert_eq!(gpu.memory().peak, 0, "a rehearsal takes nothing");
        let outcome = train(&gpu, &settings, &data, folder.path(), (&[], json!({})), &mut Silent).unwrap();
        let (peak, largest) = (outcome.memory.peak, outcome.memory.largest_binding);
        println!("{name}: planned {planned:?}, took {peak} bytes, largest array {largest}");
        assert!(peak <= planned.bytes && peak as f64 >= 0.7 * planned.bytes as f64, "{name}: {planned:?}, took {peak}");
        assert_eq!(largest, planned.largest_binding, "{name}");
        assert_eq!(outcome.planned_gpu_bytes, planned.bytes);
        let alive = outcome.memory.peak_live;
        assert!(peak as f64 <= MOST_HELD * alive as f64, "{name}: {peak} bytes held for {alive} that were alive");
    }
}

/// Times the bytes alive at the busiest moment.
const MOST_HELD: f64 = 1.3;

/// On a device that only counts: the sizes of the benchmark, and others.
#[test]
fn steps_hold_little_more_than_is_alive_and_make_no_buffers() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let both: &[Kind] = &[Kind::Train, Kind::Attack];
    for (model, kinds, batches) in [
        ("lenet", both, [1, 16, 100, 256]),
        ("lab", both, [1, 8, 32, 100]),
        ("fast", both, [1, 8, 32, 100]),
        ("ae3", &both[..1], [8, 32, 100, 128]),
    ] {
        assert!(batches.contains(&default_batch(model)));
        for (kind, batch) in kinds.iter().flat_map(|&kind| batches.map(|batch| (kind, batch))) {
            let counting = gpu.rehearsal();
            let mut workload = Workload::new(&counting, kind, model, batch).unwrap();
            let mut steps = |count| {
                (0..count).for_each(|_| workload.step().unwrap());
                counting.memory()
            };
            let (early, late) = (steps(3), steps(20));
            let (held, alive) = (early.peak as f64, early.peak_live as f64);
            let name = format!("{} {model} at {batch}", kind.name());
            println!("{name}: {:.1} MiB, {:.3} of what is alive", held / f64::from(1 << 20), held / alive);
            assert!(held <= (MOST_HELD * alive).max(f64::from(1 << 20)), "{name}: {early:?}");
            assert_eq!(early, late, "{name}: a step that repeats makes no buffer");
        }
    }
}

/// As `bench` times them: both steps by turns, from one pool.
#[test]
fn steps_by_turns_make_no_buffers_either() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    for model in ["lenet", "lab", "fast"] {
        let counting = gpu.rehearsal();
        let make = |kind| Workload::new(&counting, kind, model, default_batch(model)).unwrap();
        let mut both = [make(Kind::Train), make(Kind::Attack)];
        let mut rounds = |count| {
            for workload in (0..count).flat_map(|_| 0..2) {
                (0..3).for_each(|_| both[workload].step().unwrap());
            }
            counting.memory()
        };
        assert_eq!(rounds(3), rounds(10), "{model}");
    }
}

/// Notes after each step how many buffers a device has made.
struct Made<'a>(&'a Gpu, Vec<u64>);

impl Watch for Made<'_> {
    fn begin(&mut self, _epoch: u32, _steps: usize) {
        self.1.clear();
    }
    fn step(&mut self, _done: usize, _loss: f64, _images_per_second: f64) {}
    fn end(&mut self, _epoch: &Epoch) {}
    fn interrupted(&mut self) -> bool {
        self.1.push(self.0.memory().made);
        false
    }
}

#[test]
fn steps_of_adversarial_training_make_no_buffers_either() {
    let folder = TempFolder::new("made");
    for name in ["fgsm", "pgd", "fast", "trades", "free"] {
        let adversarial = Some(Adversarial::named(name, 0.01).unwrap());
        let settings = Settings { adversarial, epochs: 4, ..settings("lenet", 64) };
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let (planned, data) = (need(&gpu, &settings, &few_shapes(512, 30)).unwrap(), few_shapes(512, 30));
        let mut watch = Made(&gpu, Vec::new());
        let outcome = train(&gpu, &settings, &data, folder.path(), (&[], json!({})), &mut watch).unwrap();
        // Of the last epoch, the first steps come after an evaluation, which has other arrays; then it is one step over and over.
        let made = &watch.1;
        assert!(made.len() >= 8 && made[3..8].iter().all(|&count| count == made[3]), "{name}: {made:?}");
        assert!(outcome.memory.peak <= planned.bytes, "{name}: {planned:?}, {:?}", outcome.memory);
    }
}

/// Counts a device's pipelines when the first epoch begins.
struct AtTheStart<'a>(&'a Gpu, Option<usize>);

impl Watch for AtTheStart<'_> {
    fn begin(&mut self, _epoch: u32, _steps: usize) {
        self.1.get_or_insert(self.0.pipelines());
    }
    fn step(&mut self, _done: usize, _loss: f64, _images_per_second: f64) {}
    fn end(&mut self, _epoch: &Epoch) {}
}

#[test]
fn the_first_step_finds_every_pipeline_made() {
    let folder = TempFolder::new("memory");
    let against = |name: &str| {
        let adversarial = Some(Adversarial::named(name, 0.01).unwrap());
        Settings { adversarial, ..settings("lenet", 64) }
    };
    for settings in [against("fgsm"), against("free"), against("trades"), settings("ae3", 32)] {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let mut watch = AtTheStart(&gpu, None);
        train(&gpu, &settings, &few_shapes(150, 30), folder.path(), (&[], json!({})), &mut watch).unwrap();
        let (before, after) = (watch.1.unwrap(), gpu.pipelines());
        // Whole batches, the last one of an epoch, and the evaluation: all of it was rehearsed.
        assert!(before > 20 && before == after, "{}: {before} before the first step, {after} after", settings.model);
    }
}

#[test]
fn compiled_pipelines_are_kept_where_the_driver_gives_them_and_damage_does_no_harm() {
    let temp = TempFolder::new("pipelines");
    let folder = temp.path().join("cache");
    let open = || Gpu::open(&GpuOptions { pipelines: Some(folder.clone()), ..GpuOptions::default() }).unwrap();
    let sum = |gpu: &Gpu| {
        let (a, b) = (gpu.tensor([5], &[1.0; 5]).unwrap(), gpu.tensor([5], &[2.0; 5]).unwrap());
        assert_eq!(gpu.read(&elementwise::add(gpu, &a, &b).unwrap()).unwrap(), [3.0; 5]);
    };
    sum(&open());
    let Ok(mut files) = std::fs::read_dir(&folder) else {
        println!("this driver gives no pipelines");
        return;
    };
    let path = files.next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() > 32 && files.next().is_none());
    for damaged in [&whole[..20], &[&whole[..40], &[whole[40] ^ 255], &whole[41..]].concat(), b""] {
        std::fs::write(&path, damaged).unwrap();
        sum(&open());
        assert_eq!(std::fs::read(&path).unwrap().len(), whole.len(), "written anew");
    }
}

#[test]
fn a_run_that_would_take_too_much_is_refused_with_the_batch_that_fits() {
    let folder = TempFolder::new("memory");
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, out) = (place("data"), place("out"));
    data::write_cifar10(&few_shapes(300, 20), data.as_ref()).unwrap();
    let start = ["train", "--data", &data, "--out", &out, "--epochs", "1", "--json", "--memory-limit"];
    let refusal = |limit: &str, batch: usize, parts: &[&str]| -> String {
        let output = shadegrad(&[&start[..], &[limit, "--batch", &batch.to_string()]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
        text
    };
    let says = ["'lenet' with a batch of 256 takes ", " MiB of GPU memory", "more than the 16.0 MiB of --memory-limit"];
    let text = refusal("16", 256, &says);
    let batch: usize = text.split("use --batch ").nth(1).unwrap().trim().parse().unwrap();
    let result: Value =
        serde_json::from_str(&succeed(&[&start[..], &["16", "--batch", &batch.to_string()]].concat())).unwrap();
    assert!(result["peak_gpu_bytes"].as_u64() <= Some(16 << 20), "{}", result["peak_gpu_bytes"]);
    refusal("16", batch + 1, &["use --batch "]);
    refusal("1", 256, &["no --batch is small enough"]);
}
