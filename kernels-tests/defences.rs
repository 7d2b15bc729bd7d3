//! The defences beside FGSM: their steps beside PyTorch's, that training with them learns, what their attacks launch, and
//! the way back at an alarm.

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/same.rs"]
mod same;
#[path = "common/silent.rs"]
mod silent;
#[path = "common/smooth.rs"]
mod smooth;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::gpu;
use folder::TempFolder;
use safetensors::SafeTensors;
use same::assert_same;
use serde_json::{Value, json};
use shadegrad::attack::Ascent;
use shadegrad::autograd::Tape;
use shadegrad::data::{DataSet, Images, few_shapes};
use shadegrad::gpu::Tensor;
use shadegrad::lab::LabError;
use shadegrad::lab::train::{Adversarial, Care, Defence, Epoch, Outcome, Settings, State, Watch, train, train_kept};
use shadegrad::models;
use shadegrad::nn::{Mode, Network, OptimizerKind, Schedule};
use shadegrad::ops::gather::{self, ByteSet};
use shadegrad::ops::noise::{Quantiles, Source};
use shadegrad::ops::optimizer::Sgd;
use shadegrad::ops::perturb;
use shadegrad::ops::reduce::Reduction;
use shadegrad::random::{Purpose, Stream};
use silent::Silent;
use smooth::smooth;

const EPS: f64 = 4.0 / 255.0;

fn run(settings: &Settings, data: &DataSet, out: &Path) -> Outcome {
    train(&gpu(), settings, data, out, (&[], json!({})), &mut Silent).unwrap()
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
}

/// The values of a network's parameters, by name.
fn parameters(network: &Network) -> Vec<(String, Vec<f32>)> {
    let all = network.parameters();
    let of = |(at, name): (usize, &String)| (name.clone(), gpu().read(&all.value(at).unwrap()).unwrap());
    all.specs().iter().map(|spec| &spec.name).enumerate().map(of).collect()
}

#[test]
fn six_steps_of_each_are_those_of_pytorch() {
    let folder = TempFolder::new("defences");
    let golden =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/golden/golden_defences.safetensors"));
    let golden = golden.unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let train = Images { bytes: (0..24).flat_map(smooth).collect(), labels: (0..24).map(|i| i % 10).collect() };
    let data = DataSet { train, ..few_shapes(1, 8) };
    let optimizer = OptimizerKind::Sgd(Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 });
    let initial = Network::new(&gpu(), models::architecture("lenet").unwrap(), 7).unwrap();
    for name in ["fast", "free", "pgd", "trades"] {
        let mut chosen = Adversarial::named(name, 32.0 / 255.0).unwrap();
        if let Defence::Trades { beta, .. } = &mut chosen.defence {
            *beta = 600.0;
        }
        let plain = Settings::plain("lenet", 3, 16, 0.1, 7);
        let out = folder.path().join(name);
        run(&Settings { optimizer, adversarial: Some(chosen), ..plain }, &data, &out);
        // An untrained model's predictions hardly differ, and the first step of TRADES's attack goes by signs of rounding:
        // PyTorch in f32 is as far from PyTorch in f64. Its weights are the next test's.
        let bound = if name == "trades" { 1e-3 } else { 1e-4 };
        let wanted = floats(&golden, &format!("{name}.losses"));
        for (line, wanted) in lines(&out).iter().zip(&wanted) {
            let loss = line["train_loss"].as_f64().unwrap();
            println!("{name}: loss {loss}, PyTorch {wanted}");
            assert!((loss - f64::from(*wanted)).abs() <= bound * f64::from(*wanted), "{name}: {loss}, not {wanted}");
        }
        if name == "trades" {
            continue;
        }
        let after = models::from_file(&gpu(), &out.join("last.safetensors"), None).unwrap();
        for ((key, before), (_, after)) in parameters(&initial).iter().zip(parameters(&after)) {
            let wanted = floats(&golden, &format!("{name}.{key}"));
            let spread = |k: usize| k * 1_000_003 % before.len();
            let far = (0..wanted.len()).fold(0.0f32, |far, k| far.max((wanted[k] - before[spread(k)]).abs()));
            let off = (0..wanted.len()).fold(0.0f32, |off, k| off.max((wanted[k] - after[spread(k)]).abs()));
            println!("{name} {key}: moved by up to {far:e}, off by up to {off:e}");
            assert!(far > 1e-5 && off <= 0.001 * far, "{name} {key}: off by {off:e} where it moves by {far:e}");
        }
    }
}

#[test]
fn a_step_of_trades_is_what_the_definition_says() {
    let (gpu, folder) = (gpu(), TempFolder::new("defences"));
    let (data, beta, rate) = (few_shapes(24, 4), 200.0f32, 0.5);
    let defence = Defence::Trades { steps: 3, step_size: None, beta: f64::from(beta) };
    let network = Network::new(&gpu, models::architecture("lenet").unwrap(), 1).unwrap();
    // The step's pictures in its order, since each has random numbers by its place.
    let order = Stream::new(1, Purpose::Shuffle, 1).permutation(24);
    let (x, labels) = gather::batch(
        &gpu,
        &ByteSet::new(&gpu, [3, 32, 32], &data.train.bytes, &data.train.labels).unwrap(),
        &gpu.words(&order).unwrap(),
        0,
        24,
        None,
    )
    .unwrap();
    let source = Source { seed: 1, purpose: Purpose::Defence, launch: 0 };
    let ascent = Ascent { steps: 3, step_size: EPS * 0.07 / 0.031 / 3.0, eps: EPS };
    let moved = ascent.up_the_divergence(&gpu, &network, &x, (source, &Quantiles::new(&gpu).unwrap())).unwrap();
    let pairs = gpu.read(&x).unwrap().into_iter().zip(gpu.read(&moved).unwrap());
    assert!(pairs.into_iter().all(|(x, moved)| (0.0..=1.0).contains(&moved) && (x - moved).abs() <= EPS as f32 + 1e-7));
    let divergence = |moved: &Tensor| {
        let tape = Tape::new(&gpu);
        let bound = network.bind(&tape).unwrap();
        let mode = Mode::Training { seed: 1, step: 0 };
        let [clean, attacked] = [&x, moved].map(|x| network.forward(&tape, &bound, tape.leaf(x), mode).unwrap());
        let each = tape.kl_divergence(clean, attacked).unwrap();
        let mean = tape.reduce(each, Reduction::Mean, 0).unwrap();
        let loss = tape.cross_entropy_mean(clean, &labels, 0.0).unwrap();
        let loss = tape.add(loss, tape.scale(mean, beta, 0.0).unwrap()).unwrap();
        tape.backward(loss, bound.leaves()).unwrap();
        [mean, loss].map(|value| gpu.read(&tape.value(value).unwrap()).unwrap()[0])
    };
    // The attack goes up: further than as far a step at random.
    let corner = perturb::random_corner(&gpu, &x, EPS as f32, source).unwrap();
    let [at_random, _] = divergence(&corner);
    let [found, loss] = divergence(&moved);
    assert!(found > 4.0 * at_random, "{found} {at_random}");
    let slope = gpu.read(network.parameters().flat_gradients()).unwrap();
    let before = gpu.read(network.parameters().flat_values()).unwrap();

    let optimizer = OptimizerKind::Sgd(Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 });
    let adversarial = Some(Adversarial { defence, eps: EPS, roll_back: false });
    let settings = Settings { optimizer, adversarial, ..Settings::plain("lenet", 1, 24, rate, 1) };
    let outcome = run(&settings, &data, folder.path());
    assert!((outcome.train_loss - f64::from(loss)).abs() <= 1e-6 * f64::from(loss), "{} {loss}", outcome.train_loss);
    let after = models::from_file(&gpu, &folder.path().join("last.safetensors"), None).unwrap();
    let after = gpu.read(after.parameters().flat_values()).unwrap();
    let largest = slope.iter().fold(0.0f32, |most, slope| most.max(slope.abs()));
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        let (moved, wanted) = (before - after, rate as f32 * slope[at]);
        assert!((moved - wanted).abs() <= 1e-5 * largest + 1e-7, "weight {at}: {moved}, not {wanted}");
    }
}

#[test]
fn training_with_each_lowers_its_loss_and_gives_the_same_bits_again() {
    let folder = TempFolder::new("defences");
    for name in Defence::NAMES {
        // Free training sees a fourth of the pictures in an epoch, four times each.
        let (images, batch, epochs) = if name == "free" { (256, 32, 40) } else { (96, 8, 12) };
        let data = few_shapes(images, 10);
        let chosen = Some(Adversarial::named(name, 0.5 / 255.0).unwrap());
        let settings = Settings { adversarial: chosen, flip: true, ..Settings::plain("lenet", epochs, batch, 2e-3, 1) };
        let out = folder.path().join(name);
        let outcome = run(&settings, &data, &out);
        let losses: Vec<f64> = lines(&out).iter().map(|line| line["train_loss"].as_f64().unwrap()).collect();
        println!("{name}: {losses:?}, {:?}", outcome.quality);
        assert!(losses.last() < Some(&(0.9 * losses[0])), "{name}: {losses:?}");
        // An epoch has as many steps with every defence.
        assert_eq!(outcome.steps, u64::from(epochs) * u64::from(images) / batch as u64, "{name}");
        let [first, second] = ["first", "second"].map(|run| folder.path().join(format!("{name} {run}")));
        for out in [&first, &second] {
            run(&Settings { epochs: 2, ..settings.clone() }, &data, out);
        }
        assert_same(&first, &second, name);
    }
}

#[test]
fn steps_of_the_attack_launch_no_weight_gradient() {
    let folder = TempFolder::new("defences");
    let data = few_shapes(16, 4);
    let gpu = gpu();
    let counts = |defence| {
        let adversarial = Some(Adversarial { defence, eps: EPS, roll_back: false });
        let before = gpu.dispatch_counts();
        run(&Settings { adversarial, ..Settings::plain("lenet", 1, 16, 1e-3, 1) }, &data, folder.path());
        let mut after = gpu.dispatch_counts();
        for (name, count) in before {
            *after.get_mut(name).unwrap() -= count;
        }
        after
    };
    for (few, many) in [
        (
            Defence::Pgd { steps: 1, step_size: None, ratio: 1.0 },
            Defence::Pgd { steps: 4, step_size: None, ratio: 1.0 },
        ),
        (
            Defence::Trades { steps: 1, step_size: None, beta: 6.0 },
            Defence::Trades { steps: 4, step_size: None, beta: 6.0 },
        ),
    ] {
        let (few, many) = (counts(few), counts(many));
        let of_weights: Vec<&str> = many.keys().copied().filter(|name| name.contains("weights")).collect();
        assert!(!of_weights.is_empty(), "{many:?}");
        for name in of_weights {
            assert_eq!(few.get(name), many.get(name), "{name}");
        }
        // A step alone, or as the pixels' gradient is stored.
        let steps = |counts: &BTreeMap<&str, u64>| -> u64 {
            ["perturb", "conv2d_max_pool_step"].iter().filter_map(|name| counts.get(name)).sum()
        };
        assert_eq!(steps(&many), steps(&few) + 3);
    }
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

#[test]
fn at_an_alarm_a_run_goes_back_to_the_epoch_before_and_ends() {
    let folder = TempFolder::new("defences");
    let data = few_shapes(64, 20);
    // Eight epochs at a rate that learns these pictures by heart, then one that wrecks the weights.
    let schedule = Schedule::Step { every: 8 * 8, factor: 30.0 };
    let with = |roll_back, epochs| {
        let adversarial = Some(Adversarial { roll_back, ..Adversarial::fgsm(0.5 / 255.0, 0.5) });
        Settings { schedule, adversarial, ..Settings::plain("lenet", epochs, 8, 3e-3, 1) }
    };
    let [back, on, good] = ["back", "on", "good"].map(|name| folder.path().join(name));
    let outcome = run(&with(true, 11), &data, &back);
    let ended = lines(&back);
    println!("{:#?}", ended.last());
    let alarm = ended.len();
    assert!((9..=11).contains(&alarm), "{alarm} epochs");
    assert_eq!((&ended[alarm - 1]["alarm"], &ended[alarm - 1]["rolled_back_to"]), (&json!(true), &json!(alarm - 1)));
    assert!(ended[..alarm - 1].iter().all(|line| line["alarm"] == json!(false) && line["rolled_back_to"].is_null()));
    assert_eq!((outcome.rolled_back_from, outcome.epochs), (Some(alarm as u32), alarm as u32 - 1));
    assert_eq!((outcome.steps, outcome.robustness.alarm), (8 * (alarm as u64 - 1), Some(false)));
    assert!(!back.join("state.safetensors").exists(), "a finished run leaves no state");

    // The weights are those of a run that ended there, and without the option it goes on.
    run(&with(true, alarm as u32 - 1), &data, &good);
    for name in ["last.safetensors", "best.safetensors"] {
        assert!(fs::read(back.join(name)).unwrap() == fs::read(good.join(name)).unwrap(), "{name}");
    }
    let outcome = run(&with(false, 11), &data, &on);
    assert_eq!((outcome.rolled_back_from, outcome.epochs), (None, 11));
    assert!(lines(&on).iter().all(|line| line["rolled_back_to"].is_null()));

    // Left in the middle of the epoch of the alarm, in its evaluation, and right after it.
    let asked = 10 * (alarm - 1);
    for moment in [asked + 4, asked + 9, asked + 10] {
        let out = folder.path().join(format!("left {moment}"));
        let notes = || (&[][..], json!({}));
        let left = train(&gpu(), &with(true, 11), &data, &out, notes(), &mut Leave(moment)).map(|_| ());
        assert!(matches!(left, Err(LabError::Interrupted { .. })), "{moment}: {left:?}");
        let care = Care { from: State::read(&out).unwrap(), ..Care::default() };
        let outcome = train_kept(&gpu(), &with(true, 11), &data, &out, notes(), care, &mut Silent).unwrap();
        assert_eq!(outcome.rolled_back_from, Some(alarm as u32));
        assert_same(&out, &back, &format!("left at {moment}"));
    }
}

#[test]
fn an_epoch_with_an_alarm_is_no_place_to_go_back_to() {
    let folder = TempFolder::new("defences");
    let mut data = few_shapes(16, 16);
    data.test = data.train.clone();
    data.train.bytes = data.train.bytes.repeat(80);
    data.train.labels = data.train.labels.repeat(80);
    // A first epoch of 160 steps that learns sixteen pictures by heart, so that one step of 32/255 misses what five find;
    // then one at a rate that wrecks the weights: what they leave withstands one step as well as five.
    let schedule = Schedule::Step { every: 160, factor: 100.0 };
    let with = |roll_back| {
        let adversarial = Some(Adversarial { roll_back, ..Adversarial::fgsm(32.0 / 255.0, 0.01) });
        Settings { schedule, adversarial, ..Settings::plain("lenet", 2, 8, 3e-3, 1) }
    };
    let [back, on, left] = ["back", "on", "left"].map(|name| folder.path().join(name));
    let outcome = run(&with(true), &data, &back);
    let alarms: Vec<_> = lines(&back).iter().map(|line| line["alarm"].clone()).collect();
    assert_eq!(alarms, [json!(true), json!(false)], "{:#?}", lines(&back));
    assert_eq!((outcome.rolled_back_from, outcome.epochs), (None, 2), "there was nothing to go back to");
    // The second epoch is the first to be trusted, though the first one's weights are right about every picture.
    assert!(lines(&back)[0]["test_accuracy"].as_f64() > lines(&back)[1]["test_accuracy"].as_f64());
    assert_eq!(outcome.best_epoch, 2);
    assert_eq!(run(&with(false), &data, &on).best_epoch, 1, "nobody asked for trust");

    // Left in the second epoch, when the state has no place to go back to.
    let notes = || (&[][..], json!({}));
    let outcome = train(&gpu(), &with(true), &data, &left, notes(), &mut Leave(170)).map(|_| ());
    assert!(matches!(outcome, Err(LabError::Interrupted { .. })), "{outcome:?}");
    assert_eq!(lines(&left).len(), 1);
    let care = Care { from: State::read(&left).unwrap(), ..Care::default() };
    train_kept(&gpu(), &with(true), &data, &left, notes(), care, &mut Silent).unwrap();
    assert_same(&left, &back, "left without a place to go back to");
}
