//! `shadegrad attack` and `shadegrad train --adv` from outside: what they leave, and one clear line for bad input.

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use common::gpu;
use folder::TempFolder;
use program::{refused, succeed};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use shadegrad::data;
use shadegrad::models::architecture;
use shadegrad::nn::Network;

/// A folder with untrained weights and a few of the built-in pictures.
struct Bench {
    folder: TempFolder,
    weights: String,
    data: String,
}

impl Bench {
    fn new(model: &str) -> Self {
        let folder = TempFolder::new("cli-attack");
        let join = |name: &str| folder.path().join(name).display().to_string();
        let (weights, data) = (join("weights.safetensors"), join("data"));
        let gpu = gpu();
        let network = Network::new(&gpu, architecture(model).unwrap(), 1).unwrap();
        network.save(&gpu, Path::new(&weights), &[]).unwrap();
        let set = data::few_shapes(70, 40);
        data::write_cifar10(&set, Path::new(&data)).unwrap();
        Self { folder, weights, data }
    }

    fn join(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The command with its subject.
    fn command<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["attack", "--weights", &self.weights, "--data", &self.data], more].concat()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.folder.path().join(name)).unwrap()).unwrap()
    }
}

#[test]
fn an_attack_on_a_test_set_leaves_what_scripts_expect() {
    let bench = Bench::new("lenet");
    let (out, kept) = (bench.join("out"), bench.join("kept.safetensors"));
    let stdout = succeed(&bench.command(&["--count", "30", "--eps", "0,2/255,0.03", "--table", "--out", &out]));
    assert!(stdout.starts_with("adapter: ") && stdout.contains("2/255"), "{stdout}");
    let result = bench.json("out/result.json");
    assert_eq!(
        (&result["images"], &result["method"], &result["target"]),
        (&json!(30), &json!("fgsm"), &json!("untargeted"))
    );
    assert_eq!(result["convention"], json!("pixels"));
    assert!(result["adapter"]["name"].is_string() && result["command"][0].is_string() && result["version"].is_string());
    assert!(result["seconds"].as_f64() > Some(0.0));
    let rows = result["by_eps"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["eps"].as_f64().unwrap()).collect::<Vec<_>>(), [0.0, 2.0 / 255.0, 0.03]);
    // Nothing moves at 0.
    assert_eq!((&rows[0]["accuracy"], &rows[0]["success"]), (&result["clean_accuracy"], &json!(0.0)));
    let table = result["targets"].as_array().unwrap();
    assert_eq!(table.len(), 10);
    for (label, row) in table.iter().enumerate() {
        assert!(row.as_array().unwrap().len() == 10 && row[label].is_null());
    }
    for picture in ["targets.png", "targets.svg", "victims.png"] {
        assert!(fs::metadata(bench.folder.path().join("out").join(picture)).unwrap().len() > 1000, "{picture}");
    }

    let arguments = ["--method", "pgd", "--steps", "2", "--eps", "8/255", "--target", "star", "--save", &kept];
    let report = succeed(&bench.command(&[&arguments[..], &["--out", &out, "--json"]].concat()));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["steps"], &report["target"], &report["images"]), (&json!(2), &json!("star"), &json!(40)));
    let bytes = fs::read(&kept).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        let view = file.tensor(name).unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &[40, 3, 32, 32][..]));
        bytemuck::pod_collect_to_vec(view.data())
    };
    let numbers = |name: &str| -> Vec<i64> {
        let view = file.tensor(name).unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::I64, &[40][..]));
        bytemuck::pod_collect_to_vec(view.data())
    };
    let (clean, adversarial) = (floats("clean"), floats("adversarial"));
    assert!(clean.iter().zip(&adversarial).all(|(a, b)| (a - b).abs() <= 8.0 / 255.0 + 1e-7));
    assert_ne!(clean, adversarial);
    let [label, before, after] = ["label", "predicted_clean", "predicted_adversarial"].map(numbers);
    let share = |predicted: &[i64]| predicted.iter().zip(&label).filter(|(a, b)| a == b).count() as f64 / 40.0;
    assert_eq!(report["clean_accuracy"], json!(share(&before)));
    assert_eq!(report["by_eps"][0]["accuracy"], json!(share(&after)));
}

#[test]
fn several_methods_are_shown_each_and_at_their_worst() {
    let bench = Bench::new("lenet");
    let (out, kept) = (bench.join("out"), bench.join("kept.safetensors"));
    let methods = ["--method", "fgsm,mi-fgsm,pgd", "--steps", "2", "--eps", "0,4/255", "--out", &out];
    let stdout = succeed(&bench.command(&methods));
    assert!(["fgsm:", "mi-fgsm-2:", "pgd-2:", "worst case"].iter().all(|part| stdout.contains(part)), "{stdout}");
    let result = bench.json("out/result.json");
    assert_eq!((&result["method"], &result["norm"]), (&json!("fgsm+mi-fgsm+pgd"), &json!("linf")));
    let each = result["each"].as_array().unwrap();
    assert_eq!(each.iter().map(|one| one["method"].as_str().unwrap()).collect::<Vec<_>>(), ["fgsm", "mi-fgsm", "pgd"]);
    let accuracy = |rows: &Value| rows[1]["accuracy"].as_f64().unwrap();
    assert!(each.iter().all(|one| accuracy(&result["by_eps"]) <= accuracy(&one["by_eps"])));
    assert_eq!(result["by_eps"][0]["accuracy"], result["clean_accuracy"]);

    let nearest = ["--method", "deepfool,cw", "--steps", "5", "--out", &out, "--save", &kept, "--json"];
    let result: Value = serde_json::from_str(&succeed(&bench.command(&nearest))).unwrap();
    assert!(result["by_eps"][0]["eps"].is_null() && result["norm"] == json!("l2"));
    assert!(result["each"][0]["by_eps"][0]["median_l2"].as_f64() > Some(0.0), "{result}");
    let l2 = ["--method", "pgd", "--norm", "l2", "--steps", "2", "--restarts", "2", "--out", &out, "--json"];
    let result: Value = serde_json::from_str(&succeed(&bench.command(&l2))).unwrap();
    assert_eq!((&result["by_eps"][2]["eps"], &result["restarts"]), (&json!(1.0), &json!(2)));
}

#[test]
fn ones_own_picture_of_any_size_is_attacked() {
    let bench = Bench::new("lenet");
    let (picture, out) = (bench.join("mine.jpg"), bench.join("out"));
    image::RgbImage::from_fn(70, 50, |x, y| image::Rgb([3 * x as u8, 5 * y as u8, 90])).save(&picture).unwrap();
    let stdout = succeed(&bench.command(&["--image", &picture, "--label", "HEART", "--lab-compat", "--out", &out]));
    assert!(stdout.contains("mine.jpg (label heart)") && stdout.contains("eps 8/255: "), "{stdout}");
    let result = bench.json("out/result.json");
    assert_eq!((&result["label"], &result["convention"]), (&json!("heart"), &json!("lab")));
    assert_eq!(result["by_eps"].as_array().unwrap().len(), 4);
    assert_eq!(result["by_eps"][1]["eps_pixels"], json!(1.0 / 255.0));
    assert!(result["confidence_clean"].as_f64().is_some_and(|share| (0.1..=1.0).contains(&share)));
    let shown = image::open(bench.folder.path().join("out/triptych.png")).unwrap();
    assert!(shown.width() > 3 * 256);
    // Without a label, the model's own word counts.
    let report = succeed(&bench.command(&["--image", &picture, "--eps", "4/255", "--out", &out, "--json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["label"], report["predicted_clean"]);
}

#[test]
fn bad_input_gets_one_line_and_leaves_nothing() {
    let bench = Bench::new("lenet");
    let out = bench.join("out");
    let attack = |more: &[&str], parts: &[&str]| {
        refused(&bench.command(&[more, &["--out", &out]].concat()), parts);
        assert!(!Path::new(&out).exists(), "{more:?} leaves something");
    };
    attack(&["--target", "zebra"], &["--target", "zebra", "heart", "0 to 9"]);
    attack(&["--target", "10"], &["--target", "10", "0 to 9"]);
    attack(&["--eps", "x"], &["--eps", "'x'", "8/255"]);
    attack(&["--eps", "2/255,-1/255"], &["--eps", "-1/255", "at least 0"]);
    attack(&["--eps", "300/255"], &["--eps", "300/255"]);
    attack(&["--eps", "1/0"], &["--eps", "1/0"]);
    attack(&["--method", "lbfgs"], &["lbfgs", "fgsm", "pgd"]);
    attack(&["--method", "deepfool", "--target", "next"], &["--target", "deepfool"]);
    attack(&["--method", "deepfool,pgd", "--table"], &["--table", "deepfool"]);
    attack(&["--method", "fgsm,pgd", "--table"], &["--table", "one method"]);
    attack(&["--method", "fgsm,cw"], &["fgsm", "linf", "l2"]);
    attack(&["--norm", "l2"], &["fgsm", "linf", "l2"]);
    attack(&["--method", "cw", "--norm", "linf"], &["cw", "l2"]);
    attack(&["--method", "pgd", "--no-random-start", "--restarts", "2"], &["--restarts", "--no-random-start"]);
    attack(&["--method", "pgd", "--restarts", "0"], &["--restarts", "0"]);
    attack(&["--decay", "0.5"], &["--decay", "mi-fgsm"]);
    attack(&["--method", "pgd", "--c", "5"], &["--c", "cw"]);
    attack(&["--method", "cw", "--learning-rate", "2"], &["--learning-rate", "2"]);
    attack(&["--method", "pgd", "--step-size", "2"], &["--step-size", "0 to 1"]);
    attack(&["--steps", "5"], &["--steps", "--method pgd"]);
    attack(&["--step-size", "1/255"], &["--step-size", "--method pgd"]);
    attack(&["--method", "pgd", "--steps", "0"], &["--steps", "0"]);
    attack(&["--save", "a.safetensors"], &["--save", "one eps", "4"]);
    attack(&["--label", "heart"], &["--image"]);
    attack(&["--image", "none.png"], &["none.png", "does not exist"]);
    attack(&["--image", &bench.weights], &["weights.safetensors", "cannot read this picture"]);
    attack(&["--image", "none.png", "--count", "3"], &["--image", "--count"]);
    attack(&["--model", "lab"], &["weights.safetensors", "lab", "lenet"]);

    let file = bench.join("file");
    fs::write(&file, b"").unwrap();
    refused(&bench.command(&["--out", &format!("{file}/out")]), &["file/out", "another place"]);
    let unwritable = format!("{file}/kept.safetensors");
    attack(&["--eps", "0.1", "--save", &unwritable], &["cannot write", "file"]);

    let bench = Bench::new("ae3");
    refused(&bench.command(&["--out", &bench.join("out")]), &["classifier", "ae3"]);
    assert!(!Path::new(&bench.join("out")).exists());
}

#[test]
fn adversarial_training_says_how_it_withstands() {
    let bench = Bench::new("lenet");
    let out = bench.join("run");
    let train = |more: &[&'static str]| {
        let start = ["train", "--data", bench.data.as_str(), "--epochs", "1", "--out", out.as_str()];
        [&start[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let bad = |more: &[&'static str], parts: &[&str]| {
        refused(&train(more).iter().map(String::as_str).collect::<Vec<_>>(), parts);
        assert!(!Path::new(&out).exists(), "{more:?} leaves something");
    };
    bad(&["--adv", "fgsm"], &["--adv-eps"]);
    bad(&["--adv-eps", "2/255"], &["--adv"]);
    bad(&["--adv", "bim", "--adv-eps", "2/255"], &["bim", "fgsm"]);
    bad(&["--adv", "fgsm", "--adv-eps", "0"], &["--adv-eps", "above 0"]);
    bad(&["--adv", "fgsm", "--adv-eps", "-1/255"], &["--adv-eps", "-1/255"]);
    bad(&["--adv", "fgsm", "--adv-eps", "2/255", "--adv-ratio", "1.5"], &["--adv-ratio", "1.5"]);
    bad(&["--model", "ae3", "--adv", "fgsm", "--adv-eps", "2/255"], &["ae3", "classifier"]);

    let good = train(&["--adv", "fgsm", "--adv-eps", "2/255"]);
    let stdout = succeed(&good.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(stdout.contains("FGSM") && stdout.contains("PGD-5"), "{stdout}");
    let result = bench.json("run/result.json");
    assert_eq!((&result["settings"]["adv"], &result["settings"]["adv_ratio"]), (&json!("fgsm"), &json!(0.5)));
    assert!(result["fgsm_accuracy"].is_number() && result["alarm"] == json!(false));
}
