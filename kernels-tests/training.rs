//! Training and detection runs from end to end, small: the files they leave, and the same bits for the same seed.

mod common;
#[path = "common/folder.rs"]
mod folder;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use common::gpu;
use folder::TempFolder;
use serde_json::{Value, json};
use shadegrad::data::{self, DataSet, Images, SIZE, few_shapes};
use shadegrad::lab::LabError;
use shadegrad::lab::detect::{Pair, detect};
use shadegrad::lab::evaluate::{Resident, quality};
use shadegrad::lab::score::{Scorer, Wanted};
use shadegrad::lab::train::{Epoch, Outcome, Settings, Watch, train};
use shadegrad::models;
use shadegrad::nn::{Network, OptimizerKind, Schedule, StateDict};
use shadegrad::ood::metrics::{self, Metrics};
use shadegrad::ops::optimizer::{Adam, Sgd};

fn settings() -> Settings {
    Settings::plain("lenet", 2, 32, 2e-3, 1)
}

/// Notes what the loop tells.
#[derive(Default)]
struct Recorder {
    begun: Vec<(u32, usize)>,
    steps: Vec<usize>,
    losses: Vec<f64>,
    rates: Vec<f64>,
}

impl Watch for Recorder {
    fn begin(&mut self, epoch: u32, steps: usize) {
        self.begun.push((epoch, steps));
    }

    fn step(&mut self, done: usize, _loss: f64, images_per_second: f64) {
        assert!(images_per_second > 0.0);
        self.steps.push(done);
    }

    fn end(&mut self, epoch: &Epoch) {
        assert_eq!(epoch.epoch, self.begun.last().unwrap().0);
        self.losses.push(epoch.train_loss);
        self.rates.push(epoch.learning_rate);
    }
}

fn run(settings: &Settings, data: &DataSet, out: &Path) -> Result<(Outcome, Recorder), LabError> {
    let mut watch = Recorder::default();
    let notes = (&["shadegrad".to_owned(), "train".to_owned()][..], json!({"batch": settings.batch}));
    let outcome = train(&gpu(), settings, data, out, notes, &mut watch)?;
    Ok((outcome, watch))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Without what may differ between two equal runs: how long it took, and where.
fn timeless(mut value: Value) -> Value {
    for key in ["seconds", "images_per_second", "peak_gpu_bytes", "memory"] {
        assert!(value.as_object_mut().unwrap().remove(key).is_some(), "no {key}");
    }
    value
}

#[test]
fn a_run_leaves_its_files_and_the_same_seed_gives_the_same_bits() {
    let folder = TempFolder::new("training");
    let data = few_shapes(330, 90);
    // Everything that draws random numbers is on.
    let settings = Settings { flip: true, shift: 2, smoothing: 0.1, ..settings() };
    let [first, second, other] = ["first", "second", "other"].map(|name| folder.path().join(name));
    let (outcome, watch) = run(&settings, &data, &first).unwrap();
    run(&settings, &data, &second).unwrap();
    run(&Settings { seed: 2, ..settings.clone() }, &data, &other).unwrap();

    let wanted =
        ["best.safetensors", "last.safetensors", "metrics.jsonl", "result.json", "training.png", "training.svg"];
    assert_eq!(listing(&first), wanted);
    for file in ["best.safetensors", "last.safetensors", "training.png", "training.svg"] {
        assert!(fs::read(first.join(file)).unwrap() == fs::read(second.join(file)).unwrap(), "{file} differs");
    }
    let weights = |folder: &Path| fs::read(folder.join("last.safetensors")).unwrap();
    assert!(weights(&first) != weights(&other), "another seed gives the same weights");

    // 330 pictures are ten batches of 32 and one of 10.
    assert_eq!(watch.begun, [(1, 11), (2, 11)]);
    assert_eq!(watch.steps, [11, 11]);

    let result = json(&first.join("result.json"));
    assert_eq!(timeless(result.clone()), timeless(json(&second.join("result.json"))));
    for (key, value) in [
        ("command", json!(["shadegrad", "train"])),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("model", json!("lenet")),
        ("parameters", json!(62_006)),
        ("data", json!("shapes")),
        ("train_images", json!(330)),
        ("test_images", json!(90)),
        ("settings", json!({"batch": 32})),
        ("seed", json!(1)),
        ("adapter", serde_json::to_value(gpu().adapter()).unwrap()),
        ("epochs", json!(2)),
        ("steps", json!(22)),
        ("train_loss", json!(outcome.train_loss)),
        ("test_accuracy", json!(outcome.quality.test_accuracy)),
        ("test_loss", json!(outcome.quality.test_loss)),
        ("best_epoch", json!(outcome.best_epoch)),
    ] {
        assert_eq!(result[key], value, "{key} in result.json");
    }
    assert!(result["best"]["test_accuracy"].is_number() && result["peak_gpu_bytes"].as_u64() > Some(1 << 20));
    assert!(result["images_per_second"].as_f64() > Some(0.0) && result["seconds"].as_f64() > Some(0.0));

    let lines = |folder: &Path| -> Vec<Value> {
        let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let found = lines(&first);
    assert_eq!(found.len(), 2);
    for (index, (line, again)) in found.iter().zip(lines(&second)).enumerate() {
        assert_eq!((&line["epoch"], &line["steps"]), (&json!(index + 1), &json!(11 * (index + 1))));
        assert_eq!(line["learning_rate"], json!(2e-3));
        for key in ["train_loss", "test_accuracy", "test_loss"] {
            assert!(line[key].is_number() && line[key] == again[key], "{key}: {} and {}", line[key], again[key]);
        }
        assert!(line.get("test_mse").is_none(), "a classifier has no MSE");
    }
    assert_eq!(found[1]["train_loss"], result["train_loss"]);

    // What the files say of themselves, and that they are the weights that were measured.
    let file = StateDict::read(&first.join("last.safetensors")).unwrap();
    assert_eq!(file.model(), Some("lenet"));
    let test = Resident::new(&gpu(), &data.test).unwrap();
    for (name, wanted) in [("last", outcome.quality), ("best", outcome.best)] {
        let network = models::from_file(&gpu(), &first.join(format!("{name}.safetensors")), None).unwrap();
        let found = quality(&gpu(), &network, &test, |_| {}).unwrap();
        assert_eq!((found.test_accuracy, found.test_loss), (wanted.test_accuracy, wanted.test_loss), "{name}");
    }
}

#[test]
fn a_small_classifier_learns_64_pictures_by_heart() {
    let folder = TempFolder::new("training");
    let mut data = few_shapes(64, 1);
    data.test = data.train.clone();
    let settings = Settings { epochs: 36, rate: 3e-3, ..settings() };
    let (outcome, watch) = run(&settings, &data, folder.path()).unwrap();
    assert_eq!(outcome.best.test_accuracy, Some(1.0), "{:?}", outcome.best);
    assert!(watch.losses[0] > 2.0 && watch.losses[0] < 2.5, "ten classes begin near ln 10: {}", watch.losses[0]);
    assert!(outcome.train_loss < 0.1, "{}", outcome.train_loss);
}

#[test]
fn every_optimizer_and_schedule_runs() {
    let folder = TempFolder::new("training");
    let data = few_shapes(96, 10);
    let sgd = |momentum: f64, nesterov: bool| OptimizerKind::Sgd(Sgd { momentum, nesterov, weight_decay: 5e-4 });
    let adamw = OptimizerKind::Adam(Adam { weight_decay: 0.01, decoupled: true, ..Adam::default() });
    // Three steps an epoch; the rate is that of the epoch's last step, number 2 and 5 of 6.
    let half_cosine = |step: f64| 0.01 * 0.5 * (1.0 + (std::f64::consts::PI * step / 6.0).cos());
    let cases = [
        ("sgd", sgd(0.0, false), Schedule::Constant, [0.01, 0.01]),
        ("momentum", sgd(0.9, false), Schedule::Step { every: 2, factor: 0.1 }, [0.001, 0.000_1]),
        ("nesterov", sgd(0.9, true), Schedule::Cosine, [half_cosine(2.0), half_cosine(5.0)]),
        ("adamw", adamw, Schedule::Triangular { peak: 0.5 }, [0.01 * 2.5 / 3.0, 0.01 * 0.5 / 3.0]),
    ];
    let mut seen: HashMap<Vec<u8>, &str> = HashMap::new();
    for (name, optimizer, schedule, rates) in cases {
        let out = folder.path().join(name);
        let (outcome, watch) = run(&Settings { rate: 0.01, optimizer, schedule, ..settings() }, &data, &out).unwrap();
        for (found, wanted) in watch.rates.iter().zip(rates) {
            assert!((found - wanted).abs() < 1e-12, "{name}: rates {:?}, not {rates:?}", watch.rates);
        }
        assert_eq!((outcome.steps, watch.rates.len()), (6, 2), "{name}");
        assert!(outcome.train_loss.is_finite());
        if let Some(same) = seen.insert(fs::read(out.join("last.safetensors")).unwrap(), name) {
            panic!("{name} and {same} give the same weights");
        }
    }
}

#[test]
fn training_lowers_the_loss() {
    let folder = TempFolder::new("training");
    let data = few_shapes(320, 40);
    let settings = Settings { epochs: 3, ..settings() };
    let (_, watch) = run(&settings, &data, folder.path()).unwrap();
    assert!(watch.losses.windows(2).all(|pair| pair[1] < pair[0]), "{:?}", watch.losses);
}

#[test]
fn it_stops_early_and_after_so_many_steps() {
    let folder = TempFolder::new("training");
    let data = few_shapes(64, 20);
    let out = folder.path();
    // Without a learning rate nothing gets better: one epoch to set the mark, two to wait.
    let (outcome, watch) =
        run(&Settings { epochs: 10, rate: 0.0, early_stop: Some(2), ..settings() }, &data, out).unwrap();
    assert_eq!((outcome.epochs, outcome.best_epoch, watch.begun.len()), (3, 1, 3));
    let initial = Network::new(&gpu(), models::architecture("lenet").unwrap(), 1).unwrap();
    let last = models::from_file(&gpu(), &out.join("last.safetensors"), None).unwrap();
    assert_eq!(last.state(&gpu()).unwrap(), initial.state(&gpu()).unwrap(), "a rate of zero moves weights");

    for (steps, epochs, begun) in [(1, 1, vec![(1, 1)]), (2, 1, vec![(1, 2)]), (3, 2, vec![(1, 2), (2, 1)])] {
        let (outcome, watch) = run(&Settings { epochs: 10, steps: Some(steps), ..settings() }, &data, out).unwrap();
        assert_eq!((outcome.steps, outcome.epochs), (steps, epochs), "{steps} steps");
        assert_eq!(watch.begun, begun);
    }
    let text = run(&Settings { steps: Some(0), ..settings() }, &data, out).err().unwrap().to_string();
    assert!(text.contains("nothing to train"), "{text}");
}

/// No file of a run may hold weights that cannot be read again.
fn assert_only_good_weights(out: &Path) {
    for name in ["last.safetensors", "best.safetensors"] {
        let path = out.join(name);
        if path.exists() {
            StateDict::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn a_diverging_run_ends_with_an_error_and_keeps_the_last_good_weights() {
    let folder = TempFolder::new("training");
    let data = few_shapes(96, 20);
    let sgd = OptimizerKind::Sgd(Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 });
    let wild = Settings { rate: 1e30, optimizer: sgd, ..settings() };

    let out = folder.path().join("at once");
    let error = run(&wild, &data, &out).err().expect("an error");
    assert!(matches!(error, LabError::Diverged { step: 3 }), "{error}");
    assert!(error.to_string().contains("not finite at step 3") && error.to_string().contains("--lr"), "{error}");
    assert_eq!(listing(&out), [""; 0], "there are no good weights to keep");

    // The only loss that is read comes before the only step, and is fine; what the step leaves is not, be it
    // weights so large that the outputs overflow, be it no numbers at all.
    for rate in [1e30, 1e300] {
        let out = folder.path().join("in the last step");
        let error = run(&Settings { steps: Some(1), rate, ..wild.clone() }, &data, &out).err().expect("an error");
        assert!(matches!(error, LabError::Diverged { step: 1 }), "{error}");
        assert_eq!(listing(&out), [""; 0], "rate {rate}");
    }

    // One good epoch of three steps, and then the rate explodes.
    let out = folder.path().join("later");
    let schedule = Schedule::Step { every: 3, factor: 1e32 };
    let error = run(&Settings { rate: 0.01, schedule, ..wild.clone() }, &data, &out).err().expect("an error");
    assert!(matches!(error, LabError::Diverged { step: 6 }), "{error}");
    assert_only_good_weights(&out);
    assert!(out.join("last.safetensors").exists() && out.join("best.safetensors").exists());
    assert_eq!(fs::read_to_string(out.join("metrics.jsonl")).unwrap().lines().count(), 1);
    let good = Settings { epochs: 1, rate: 0.01, ..wild };
    run(&good, &data, &folder.path().join("good")).unwrap();
    let last = |name: &str| fs::read(folder.path().join(name).join("last.safetensors")).unwrap();
    assert!(last("later") == last("good"), "not the weights of the first epoch");
}

#[test]
fn what_cannot_be_trained_is_an_error() {
    let folder = TempFolder::new("training");
    let text = |settings: Settings, data: &DataSet| run(&settings, data, folder.path()).err().unwrap().to_string();
    let data = few_shapes(32, 10);
    let unknown = text(Settings { model: "alexnet".to_owned(), ..settings() }, &data);
    assert!(
        unknown.contains("there is no model 'alexnet'") && unknown.contains("lenet, lab, fast, ae3, ae4"),
        "{unknown}"
    );
    assert!(text(Settings { epochs: 0, ..settings() }, &data).contains("nothing to train"));
    for empty in
        [DataSet { train: Images::default(), ..data.clone() }, DataSet { test: Images::default(), ..data.clone() }]
    {
        assert!(!text(settings(), &empty).is_empty());
    }
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = run(&settings(), &data, &file).err().unwrap().to_string();
    assert!(error.contains("cannot write") && error.contains("file"), "{error}");
}

/// `scores.csv` by column, for each of the two sets.
fn table(path: &Path) -> HashMap<String, [Vec<f64>; 2]> {
    let text = fs::read_to_string(path).unwrap();
    let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    assert_eq!(header[..3], ["set", "index", "label"]);
    let mut columns: HashMap<String, [Vec<f64>; 2]> = HashMap::new();
    for row in rows {
        assert_eq!(row.len(), header.len());
        for (name, cell) in header.iter().zip(&row).skip(1) {
            let sets = columns.entry((*name).to_owned()).or_default();
            sets[usize::from(row[0] == "ood")].push(cell.parse().unwrap());
        }
    }
    columns
}

/// Checks a run of `detect` against its own table.
fn check_detection(out: &Path, found: &std::collections::BTreeMap<&str, Metrics>, scores: &[&str], counts: [usize; 2]) {
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), scores);
    let columns = table(&out.join("scores.csv"));
    for (name, metrics) in found {
        let rank = format!("{name}_rank");
        let [id, ood] = columns.get(&rank).unwrap_or_else(|| &columns[*name]);
        assert_eq!([id.len(), ood.len()], counts);
        assert_eq!(metrics::auroc(id, ood).unwrap(), metrics.auroc, "{name} from the table");
        assert_eq!(&Metrics::from_scores(id, ood).unwrap(), metrics, "{name} from the table");
    }
    for (numbers, count) in columns["index"].iter().zip(counts) {
        assert_eq!(*numbers, (0..count).map(|index| index as f64).collect::<Vec<_>>());
    }
    let mut files = vec!["roc.png".to_owned(), "roc.svg".to_owned(), "samples.png".to_owned(), "scores.csv".to_owned()];
    files.extend(scores.iter().flat_map(|name| ["png", "svg"].map(|kind| format!("histogram_{name}.{kind}"))));
    files.sort();
    assert_eq!(listing(out), files);
    let samples = image::open(out.join("samples.png")).unwrap().into_rgb8();
    assert_eq!(samples.dimensions(), (8 * 136 + 8, 2 * 136 + 8));
}

#[test]
fn a_classifiers_detection_matches_its_table() {
    let (folder, gpu) = (TempFolder::new("training"), gpu());
    let data = few_shapes(160, 230);
    run(&Settings { epochs: 1, ..settings() }, &data, &folder.path().join("train")).unwrap();
    let network = models::from_file(&gpu, &folder.path().join("train").join("best.safetensors"), None).unwrap();
    let noise = data::fake_data(0, 0, 70);
    let pair = Pair { id: &data.test, id_name: "shapes", ood: &noise, ood_name: "FakeData" };
    let out = folder.path().join("detect");
    let mut seen = Vec::new();
    let wanted = Wanted::default();
    let scorer = Scorer { gpu: &gpu, network: &network, wanted: &wanted, head: None, fit: None };
    let found = detect(&scorer, &pair, &out, |done| seen.push(done)).unwrap();
    assert_eq!(seen, [200, 230, 300], "progress over both sets");
    check_detection(&out, &found, &["energy", "max_logit", "max_softmax"], [230, 70]);

    let columns = table(&out.join("scores.csv"));
    assert_eq!(columns["label"][0].iter().map(|&label| label as u8).collect::<Vec<_>>(), data.test.labels);
    for (probabilities, ranks) in columns["max_softmax"].iter().zip(&columns["max_softmax_rank"]) {
        for (softmax, rank) in probabilities.iter().zip(ranks) {
            assert!((0.1..=1.0).contains(softmax) && (softmax.ln() - rank).abs() < 1e-12, "{softmax} {rank}");
        }
    }
    for (energies, logits) in columns["energy"].iter().zip(&columns["max_logit"]) {
        for (energy, logit) in energies.iter().zip(logits) {
            assert!(energy > logit && *energy < logit + 10f64.ln() + 1e-9, "energy {energy}, max logit {logit}");
        }
    }
    // The sample sheet shows the first pictures, four times their size.
    let sheet = image::open(out.join("samples.png")).unwrap().into_rgb8();
    for (row, images) in [(0, &data.test), (1, &noise)] {
        for (x, y) in [(0usize, 0usize), (31, 31), (5, 20)] {
            let at = 3 * SIZE + y * 32 + x;
            let wanted = [images.bytes[at], images.bytes[at + 1024], images.bytes[at + 2048]];
            let (left, top) = (8 + 3 * 136 + 4 * x as u32, 8 + row * 136 + 4 * y as u32);
            assert_eq!(sheet.get_pixel(left, top).0, wanted);
            assert_eq!(sheet.get_pixel(left + 3, top + 3).0, wanted);
        }
    }

    let nothing = Images::default();
    let empty = Pair { ood: &nothing, ..pair };
    assert!(detect(&scorer, &empty, &folder.path().join("empty"), |_| {}).is_err());
}

#[test]
fn an_autoencoder_learns_and_detects() {
    let (folder, gpu) = (TempFolder::new("training"), gpu());
    let data = few_shapes(96, 40);
    let out = folder.path().join("train");
    let settings = Settings { model: "ae3".to_owned(), epochs: 3, batch: 8, rate: 1e-2, ..settings() };
    let (outcome, watch) = run(&settings, &data, &out).unwrap();
    assert!(watch.losses.windows(2).all(|pair| pair[1] < pair[0]), "{:?}", watch.losses);
    let result = json(&out.join("result.json"));
    assert_eq!(result["test_mse"], json!(outcome.quality.test_mse.unwrap()));
    assert!(result.get("test_accuracy").is_none(), "an autoencoder has no accuracy");
    let svg = fs::read_to_string(out.join("training.svg")).unwrap();
    assert!(svg.contains("test MSE") && !svg.contains("accuracy"));

    let network = models::from_file(&gpu, &out.join("last.safetensors"), None).unwrap();
    let noise = data::uniform_noise(0, 30);
    let pair = Pair { id: &data.test, id_name: "shapes", ood: &noise, ood_name: "uniform noise" };
    let wanted = Wanted::default();
    let scorer = Scorer { gpu: &gpu, network: &network, wanted: &wanted, head: None, fit: None };
    let found = detect(&scorer, &pair, &folder.path().join("detect"), |_| {}).unwrap();
    check_detection(&folder.path().join("detect"), &found, &["neg_mse"], [40, 30]);
    // Noise cannot be pressed through so few channels: it is what an autoencoder tells best.
    assert!(found["neg_mse"].auroc > 0.85, "{}", found["neg_mse"].auroc);
    let columns = table(&folder.path().join("detect").join("scores.csv"));
    let mean = -columns["neg_mse"][0].iter().sum::<f64>() / 40.0;
    assert!((mean - outcome.quality.test_mse.unwrap()).abs() < 1e-9, "the table's mean is {mean}");
}

#[test]
fn the_labs_autoencoder_is_judged_on_normalised_pixels() {
    let (folder, gpu) = (TempFolder::new("training"), gpu());
    let out = folder.path().join("train");
    let settings = Settings { model: "ae3-lab".to_owned(), epochs: 3, batch: 8, rate: 1e-2, ..settings() };
    let (_, watch) = run(&settings, &few_shapes(96, 40), &out).unwrap();
    assert!(watch.losses.windows(2).all(|pair| pair[1] < pair[0]), "{:?}", watch.losses);

    // The file says that the pixels are normalised. Black is then -1 and white 1, and a sigmoid reaches only white.
    let network = models::from_file(&gpu, &out.join("last.safetensors"), None).unwrap();
    let plain = |byte: u8| Images { bytes: vec![byte; 2 * SIZE], labels: vec![0; 2] };
    let error = |byte| {
        let set = Resident::new(&gpu, &plain(byte)).unwrap();
        quality(&gpu, &network, &set, |_| {}).unwrap().test_mse.unwrap()
    };
    assert!(error(0) >= 1.0, "{}", error(0));
    assert!(error(255) < 1.0, "{}", error(255));
}
