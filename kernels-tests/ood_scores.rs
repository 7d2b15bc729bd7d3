//! OOD scores that need features, gradients or a fit of the training set: pytorch-ood's values, the fit that is kept, and
//! what is said when something is missing or does not fit.

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;
#[path = "common/smooth.rs"]
mod smooth;

use std::fs;
use std::path::Path;

use common::gpu;
use folder::TempFolder;
use program::{refused, succeed};
use serde_json::Value;
use shadegrad::data::{self, Images};
use shadegrad::lab::fitted::{fitted, head, place};
use shadegrad::lab::score::{Scorer, Wanted};
use shadegrad::models;
use shadegrad::nn::Network;
use shadegrad::ood::features::{Head, Shaping, ash, knn, normalized, react};
use shadegrad::ood::fit::{Fit, FitError, Settings};
use shadegrad::ood::metrics;
use shadegrad::ood::scores::Score;
use shadegrad::random::{Purpose, Stream, unit};
use smooth::smooth;

const CLASSES: usize = 5;
const D: usize = 24;
const TRAIN: usize = 600;
const EACH: usize = 60;

fn units(item: u32, count: usize) -> Vec<f32> {
    let stream = Stream::new(7, Purpose::Test, item);
    (0..count as u32).map(|index| unit(stream.word(index))).collect()
}

/// The features of `golden/scores_golden.py`.
fn made(index: usize, is_ood: bool) -> Vec<f32> {
    let (noise, means) = (units(5100 + index as u32, 2 * D), units(5001, CLASSES * D));
    let feature = |at: usize| {
        let spread = noise[at] + noise[D + at] - 1.0;
        let shift = if is_ood { 0.25 } else { 2.0 * means[index % CLASSES * D + at] - 0.5 };
        (shift + spread).max(0.0)
    };
    (0..D).map(feature).collect()
}

fn made_head() -> Head {
    let all: Vec<f32> = units(5000, CLASSES * (D + 1)).iter().map(|value| 2.0 * value - 1.0).collect();
    let rows = || all.chunks_exact(D + 1);
    Head { weights: rows().flat_map(|row| &row[..D]).copied().collect(), bias: rows().map(|row| row[D]).collect() }
}

fn training() -> (Vec<f32>, Vec<u8>) {
    ((0..TRAIN).flat_map(|index| made(index, false)).collect(), (0..TRAIN).map(|i| (i % CLASSES) as u8).collect())
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/golden_scores.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect()
}

/// Scores within 1e-4 of the wanted, relative to the larger of it and a thousandth of the largest.
fn assert_scores(name: &str, found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    let least = 1e-3 * wanted.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let mut worst = 0.0f64;
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let apart = (found - wanted).abs() / wanted.abs().max(least);
        worst = worst.max(apart);
        assert!(apart <= 1e-4, "{name} of {index}: {found}, not {wanted}");
    }
    println!("{name}: scores at most {worst:.1e} apart");
}

/// A score of a picture's features.
type OfFeatures<'a> = &'a dyn Fn(&[f32]) -> f64;

#[test]
fn scores_of_features_are_pytorch_oods() {
    let (features, labels) = training();
    let head = made_head();
    let fit = Fit::new(&features, &labels, &head, Settings::default()).unwrap();
    let tested: Vec<Vec<f32>> = (TRAIN..TRAIN + 2 * EACH).map(|index| made(index, index >= TRAIN + EACH)).collect();
    let golden = golden();
    let shaped = |row: &[f32], shaping| ash(&head, row, 0.65, shaping);
    let scores: [(&str, OfFeatures<'_>); 7] = [
        ("knn", &|row| knn(&normalized(row), fit.bank.chunks_exact(D), 50)),
        ("mahalanobis", &|row| fit.mahalanobis(row)),
        ("vim", &|row| fit.vim(&head, row)),
        ("react", &|row| react(&head, row, fit.threshold)),
        ("ash_s", &|row| shaped(row, Shaping::Scale)),
        ("ash_b", &|row| shaped(row, Shaping::Binarize)),
        ("ash_p", &|row| shaped(row, Shaping::Prune)),
    ];
    for (name, score) in scores {
        let found: Vec<f64> = tested.iter().map(|row| score(row)).collect();
        assert_scores(name, &found, &numbers(&golden[name]));
        let auroc = metrics::auroc(&found[..EACH], &found[EACH..]).unwrap();
        assert!((auroc - golden[name]["auroc"].as_f64().unwrap()).abs() <= 1e-3, "{name}: AUROC {auroc}");
    }
}

#[test]
fn a_dead_feature_has_no_say_and_an_empty_class_no_mean() {
    let (mut features, labels) = training();
    let head = made_head();
    let settings = Settings::default();
    // One feature is always 0, another twice a third: the covariance has no inverse.
    for row in features.chunks_exact_mut(D) {
        (row[3], row[5]) = (0.0, 2.0 * row[4]);
    }
    let fit = Fit::new(&features, &labels, &head, settings).unwrap();
    let row = &features[..D];
    let score = fit.mahalanobis(row);
    assert!(score < 0.0 && score > -200.0, "{score}");
    let mut fired = row.to_vec();
    fired[3] = 5.0;
    assert!((fit.mahalanobis(&fired) - score).abs() < 1e-6 * score.abs());
    assert!(fit.vim(&head, &fired) < fit.vim(&head, row), "but ViM sees it");

    let some: Vec<u8> = labels.iter().map(|&label| if label == 2 { 1 } else { label }).collect();
    let fewer = Fit::new(&features, &some, &head, settings).unwrap();
    assert_eq!((fit.means.len(), fewer.means.len()), (CLASSES * D, (CLASSES - 1) * D));
    assert_eq!(Fit::new(&[], &[], &head, settings), Err(FitError::Empty));
    features[7 * D] = f32::NAN;
    assert_eq!(Fit::new(&features, &labels, &head, settings), Err(FitError::NotFinite { image: 7 }));
    let bad = [Settings { react_percentile: 1.5, ..settings }, Settings { vim_dimension: Some(D), ..settings }];
    for settings in bad {
        assert!(matches!(Fit::new(&features, &labels, &head, settings), Err(FitError::Setting { .. })));
    }
}

fn lenet() -> Network {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/lenet.safetensors");
    models::from_file(&gpu(), &path, None).unwrap()
}

#[test]
fn odin_is_pytorch_oods() {
    let (gpu, network) = (gpu(), lenet());
    let images = Images { bytes: (0..12).flat_map(smooth).collect(), labels: vec![0; 12] };
    let wanted = Wanted { scores: vec![Score::Odin], ..Wanted::default() };
    let scorer = Scorer { gpu: &gpu, network: &network, wanted: &wanted, head: None, fit: None };
    let found = scorer.score(&images, |_| {}).unwrap();
    assert_scores("odin", &found.columns[0].1, &numbers(&golden()["odin"]));
    // Log probabilities all lie near log(1/10) at that temperature; what tells pictures apart is their distance from it.
    let apart = |scores: &[f64]| scores.iter().map(|score| score + 10f64.ln()).collect::<Vec<_>>();
    for (found, wanted) in apart(&found.columns[0].1).iter().zip(apart(&numbers(&golden()["odin"]))) {
        assert!((found - wanted).abs() <= 2e-4 * wanted.abs().max(1e-3), "{found} {wanted}");
    }
}

#[test]
fn the_gpus_neighbours_are_the_nearest_of_all() {
    let (gpu, network) = (gpu(), lenet());
    let set = data::few_shapes(400, 30);
    let folder = TempFolder::new("knn");
    let (fit, made) =
        fitted(&gpu, &network, (&set.train, &folder.path().join("a.fit.safetensors")), Settings::default(), |_| {})
            .unwrap();
    assert!(made);
    let wanted = Wanted { scores: vec![Score::Knn, Score::Vim], knn_k: 7, ..Wanted::default() };
    let head = head(&gpu, &network).unwrap();
    let scorer =
        Scorer { gpu: &gpu, network: &network, wanted: &wanted, head: Some(head.clone()), fit: Some(fit.clone()) };
    let found = scorer.score(&set.test, |_| {}).unwrap();
    let resident = shadegrad::lab::evaluate::Resident::new(&gpu, &set.test).unwrap();
    let (features, logits) = shadegrad::lab::evaluate::features(&gpu, &network, &resident, |_| {}).unwrap();
    for (number, row) in features.chunks_exact(head.size()).enumerate() {
        let all = knn(&normalized(row), fit.bank.chunks_exact(head.size()), 7);
        assert_eq!(found.columns[0].1[number].to_bits(), all.to_bits(), "{number}");
        // The head on the host says what the network says.
        let wide: Vec<f64> = row.iter().map(|&feature| f64::from(feature)).collect();
        for (a, b) in head.logits(&wide).iter().zip(&logits[number * 10..]) {
            assert!((a - b).abs() <= 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn a_fit_is_kept_and_a_stale_one_is_made_anew() {
    let (gpu, network) = (gpu(), lenet());
    let set = data::few_shapes(120, 10);
    let folder = TempFolder::new("fit");
    let path = place(&folder.path().join("w.safetensors"));
    let run = |images: &Images, settings| fitted(&gpu, &network, (images, &path), settings, |_| {}).unwrap();
    let usual = Settings::default();
    let (first, made) = run(&set.train, usual);
    let bytes = fs::read(&path).unwrap();
    assert!(made);
    assert_eq!(run(&set.train, usual), (first.clone(), false), "the same to the bit");
    // Other settings, other pictures, other weights, damage.
    assert!(run(&set.train, Settings { react_percentile: 0.95, ..usual }).1);
    assert!(run(&set.train.clone().truncated(110), usual).1);
    fs::write(&path, &bytes).unwrap();
    let bias = network.parameters().value(1).unwrap();
    let before = gpu.read(&bias).unwrap();
    gpu.write(&bias, &[0.5; 6]).unwrap();
    assert!(run(&set.train, usual).1);
    gpu.write(&bias, &before).unwrap();
    for damaged in [&bytes[..bytes.len() / 2], b"nothing", &[]] {
        fs::write(&path, damaged).unwrap();
        assert!(run(&set.train, usual).1);
    }
    assert_eq!(fs::read(&path).unwrap(), bytes, "the same fit is the same bytes");
}

#[test]
fn the_program_scores_and_says_what_does_not_fit() {
    let folder = TempFolder::new("scores");
    let join = |name: &str| folder.path().join(name).display().to_string();
    let (weights, set, out) = (join("w.safetensors"), join("data"), join("out"));
    lenet().save(&gpu(), Path::new(&weights), &[]).unwrap();
    data::write_cifar10(&data::few_shapes(160, 40), Path::new(&set)).unwrap();
    let command = |more: &[&'static str]| -> Vec<String> {
        let start = ["ood", "--weights", &weights, "--data", &set, "--count", "20", "--out", &out];
        start.iter().chain(more).map(|part| (*part).to_owned()).collect()
    };
    let run = |more: &[&'static str]| succeed(&command(more).iter().map(String::as_str).collect::<Vec<_>>());
    let text = run(&["--score", "all", "--knn-k", "5"]);
    let names = ["max_logit", "energy", "odin", "knn", "mahalanobis", "vim", "react", "ash_s", "ash_b", "ash_p"];
    assert!(names.iter().all(|name| text.contains(name)) && text.contains("fit of 160"), "{text}");
    assert!(Path::new(&join("w.fit.safetensors")).exists());
    let csv = fs::read_to_string(join("out/scores.csv")).unwrap();
    assert!(csv.starts_with("set,index,label,max_logit,max_softmax,max_softmax_rank,energy,odin,"), "{}", &csv[..80]);
    let result: Value = serde_json::from_str(&run(&["--score", "knn,vim", "--knn-k", "5", "--json"])).unwrap();
    assert_eq!(result["scores"].as_object().unwrap().keys().collect::<Vec<_>>(), ["knn", "vim"]);

    let bad = |more: &[&'static str], parts: &[&str]| {
        refused(&command(more).iter().map(String::as_str).collect::<Vec<_>>(), parts);
    };
    bad(&["--score", "oracle"], &["oracle", "odin"]);
    bad(&["--score", "knn", "--knn-k", "161"], &["k must be", "160", "161"]);
    bad(&["--score", "odin", "--odin-temperature", "0"], &["temperature", "0"]);
    bad(&["--score", "ash-s", "--ash-percentile", "1"], &["percentile", "1"]);
    bad(&["--score", "vim", "--vim-dim", "84"], &["dimension", "84"]);
    let unwritable = join("none/fit.safetensors");
    let mut missing = command(&["--score", "vim", "--fit"]);
    missing.push(unwritable);
    refused(&missing.iter().map(String::as_str).collect::<Vec<_>>(), &["cannot write", "none"]);
    let autoencoder = join("ae.safetensors");
    Network::new(&gpu(), models::architecture("ae3").unwrap(), 0)
        .unwrap()
        .save(&gpu(), Path::new(&autoencoder), &[])
        .unwrap();
    refused(&["ood", "--weights", &autoencoder, "--score", "odin", "--out", &join("x")], &["autoencoder", "--score"]);
}
