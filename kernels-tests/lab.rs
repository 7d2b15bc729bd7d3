//! `shadegrad lab` from end to end on next to nothing: its result, and that an interrupted run ends like any other.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use folder::TempFolder;
use serde_json::Value;
use shadegrad::data::{self, DataSet};
use shadegrad::lab::results::LabResult;
use shadegrad::lab::train::State;

/// Folders with a few of the built-in pictures as files: much faster than drawing all of them for each run.
fn places<const N: usize>(names: [&str; N]) -> [TempFolder; N] {
    let all = data::built_in();
    let set = DataSet { train: all.train.truncated(256), test: all.test.truncated(100), ..all };
    names.map(|name| {
        let folder = TempFolder::new(name);
        data::write_cifar10(&set, &folder.path().join("data")).unwrap();
        folder
    })
}

/// The command, run in a folder, so that its own words are the same in every folder.
fn lab(folder: &Path, more: &[&str]) -> Command {
    let mut command = program::command();
    command.current_dir(folder).args(["lab", "--preset", "tiny", "--data", "data", "--out", "lab"]).args(more);
    command
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn result(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("lab/result.json")).unwrap()).unwrap()
}

/// Without what may differ between two equal runs: how long it took, and what was kept.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for key in ["seconds", "images_per_second", "kept"] {
                fields.remove(key);
            }
            fields.values_mut().for_each(|field| *field = timeless(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = timeless(item.take())),
        _ => {}
    }
    value
}

fn kept(result: &Value) -> Vec<bool> {
    result["stages"].as_array().unwrap().iter().map(|stage| stage["kept"].as_bool().unwrap()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_interrupted_run_goes_on_and_ends_like_any_other() {
    let [whole, broken] = places(["lab-whole", "lab-broken"]);
    let output = succeed(&mut lab(whole.path(), &[]));
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("adapter: ") && stdout.contains("report.html"), "{stdout}");
    let wanted = result(whole.path());
    let parsed: LabResult = serde_json::from_value(wanted.clone()).unwrap();
    // A line a finished stage, and nothing but lines where there is no terminal.
    let stderr = text(&output.stderr);
    let count = parsed.stages.len();
    assert_eq!(stderr.lines().filter(|line| line.starts_with('[')).count(), count, "{stderr}");
    assert!(stderr.contains(&format!("[{count}/{count}] ")), "as many stages as were announced: {stderr}");
    assert!(!stderr.contains('\u{1b}') && !stderr.contains('\r'), "{stderr:?}");

    // Killed when the third stage is over, the run is somewhere in those that follow.
    let mut child = lab(broken.path(), &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let third = broken.path().join("lab/stages").join(&parsed.stages[2].name).join("stage.json");
    let begun = Instant::now();
    while !third.exists() {
        assert!(begun.elapsed() < Duration::from_secs(600), "{} does not come", third.display());
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Two at once would write over each other.
    let second = lab(broken.path(), &[]).output().unwrap();
    assert!(!second.status.success() && text(&second.stderr).contains("is writing to lab:"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!broken.path().join("lab/result.json").exists(), "it was to be interrupted");

    succeed(&mut lab(broken.path(), &[]));
    let resumed = result(broken.path());
    let flags = kept(&resumed);
    let before = flags.iter().filter(|&&kept| kept).count();
    assert!((3..flags.len()).contains(&before) && flags[..before].iter().all(|&kept| kept), "{flags:?}");
    assert!(timeless(resumed) == timeless(wanted.clone()), "an interrupted run's result is another");

    // A damaged record and a damaged file are noticed; what they spoil is done again, with the same result.
    let stages = broken.path().join("lab/stages");
    let record = stages.join(&parsed.stages[1].name).join("stage.json");
    let bytes = fs::read(&record).unwrap();
    fs::write(&record, &bytes[..bytes.len() / 2]).unwrap();
    let weights = broken.path().join("lab").join(&parsed.autoencoder.weights);
    fs::write(&weights, b"no weights").unwrap();
    let output = succeed(&mut lab(broken.path(), &[]));
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().filter(|line| line.contains("done anew")).count(), 2, "{stderr}");
    let repaired = result(broken.path());
    let again: Vec<usize> = kept(&repaired).iter().enumerate().filter(|(_, kept)| !**kept).map(|(at, _)| at).collect();
    let spoiled = parsed.stages.iter().position(|stage| parsed.autoencoder.weights.contains(&stage.name)).unwrap();
    // Trained again, the autoencoder has the same weights: what was made from them holds.
    assert_eq!(again, [1, spoiled]);
    assert!(timeless(repaired) == timeless(wanted));

    check(&parsed, whole.path());
    the_commands_do_the_same_alone(&parsed, whole.path());
}

/// Within a long stage of training: the epochs that were over are not trained again, and the end is the same.
#[cfg(unix)]
#[test]
fn training_within_the_lab_goes_on_where_it_was_left() {
    let [whole, broken] = places(["lab-trained", "lab-left"]);
    // The second stage is begun only when the first is over, and these tests are about the first alone.
    const STAGE: &str = "train-baseline-seed0";
    let stage = |folder: &TempFolder, file: &str| folder.path().join("lab/stages").join(STAGE).join(file);
    let start = |folder: &TempFolder| {
        let errors = fs::File::create(folder.path().join("stderr")).unwrap();
        lab(folder.path(), &["--seeds", "1", "--epochs", "30"]).stdout(Stdio::null()).stderr(errors).spawn().unwrap()
    };
    let wait = |child: &mut Child, path: &Path| {
        let begun = Instant::now();
        while !path.exists() {
            assert!(begun.elapsed() < Duration::from_secs(600), "{} does not come", path.display());
            assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let finish_stage = |folder: &TempFolder| {
        let mut child = start(folder);
        wait(&mut child, &stage(folder, "stage.json"));
        child.kill().unwrap();
        child.wait().unwrap();
    };
    finish_stage(&whole);
    let metrics = || fs::read_to_string(stage(&broken, "metrics.jsonl")).unwrap();
    let mut before = String::new();
    for (round, signal) in ["-INT", "-KILL"].into_iter().enumerate() {
        let mut child = start(&broken);
        wait(&mut child, &stage(&broken, "state.safetensors"));
        // The second run is killed when it is further: an epoch's line is there a little before its state is.
        while metrics().lines().count() < before.lines().count() + 2 {
            assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        let said = fs::read_to_string(broken.path().join("stderr")).unwrap();
        assert!(!stage(&broken, "stage.json").exists(), "it was to be left before its end: {said}");
        if signal == "-INT" {
            assert_eq!(status.code(), Some(130), "{said}");
            assert!(said.contains("the state is kept in") && said.contains("the same command goes on"), "{said}");
        }
        assert_eq!(said.contains("going on in"), round > 0, "{said}");
        let over = State::read(stage(&broken, "").as_path()).unwrap().unwrap().position().epochs.len();
        assert!(over > before.lines().count(), "{over} epochs");
        let lines = metrics();
        assert!(lines.starts_with(&before), "epochs that were over were trained again");
        before = lines.split_inclusive('\n').take(over).collect();
    }
    finish_stage(&broken);
    assert!(metrics().starts_with(&before) && metrics().lines().count() == 30, "{}", metrics());
    for file in ["state.safetensors", "begun.json"] {
        assert!(!stage(&broken, file).exists(), "{file} stays");
    }
    let bytes = |folder: &TempFolder, file: &str| fs::read(stage(folder, file)).unwrap();
    for file in ["last.safetensors", "best.safetensors", "training.svg"] {
        assert!(bytes(&broken, file) == bytes(&whole, file), "{file} is not that of a run that was never left");
    }
    let record = |folder: &TempFolder| timeless(serde_json::from_slice(&bytes(folder, "stage.json")).unwrap());
    assert_eq!(record(&broken), record(&whole));

    // What another run left is not taken for this one's: another program's, another plan's, a damaged file.
    let begun = |key: &str| {
        let mut child = start(&broken);
        wait(&mut child, &stage(&broken, "state.safetensors"));
        child.kill().unwrap();
        child.wait().unwrap();
        let mark = stage(&broken, "begun.json");
        fs::write(&mark, fs::read_to_string(&mark).unwrap().replace("\"build\": \"", key)).unwrap();
    };
    for (key, wound, word) in [("\"build\": \"0", false, None), ("\"build\": \"", true, Some("done anew"))] {
        fs::remove_dir_all(broken.path().join("lab")).unwrap();
        begun(key);
        if wound {
            fs::write(stage(&broken, "state.safetensors"), b"no state").unwrap();
        }
        finish_stage(&broken);
        let said = fs::read_to_string(broken.path().join("stderr")).unwrap();
        assert!(!said.contains("going on in") && word.is_none_or(|word| said.contains(word)), "{said}");
        assert!(bytes(&broken, "last.safetensors") == bytes(&whole, "last.safetensors"));
    }
}

/// What the result gives as a stage's command finds what the stage found.
fn the_commands_do_the_same_alone(result: &LabResult, folder: &Path) {
    let alone = |name: &str| -> Value {
        let stage = result.stages.iter().find(|stage| stage.name == name).unwrap();
        let words: Vec<&str> = stage.command.as_ref().unwrap().split(' ').collect();
        assert_eq!(words[0], "shadegrad");
        let mut command = program::command();
        succeed(command.current_dir(folder).args(&words[1..]));
        serde_json::from_slice(&fs::read(folder.join("out").join(name).join("result.json")).unwrap()).unwrap()
    };
    let robust = &result.classifiers[2];
    let trained = alone("train-fgsm-8-seed0");
    assert_eq!(trained["test_accuracy"], robust.test_accuracy);
    let weights = |path: &Path| fs::read(path.join("last.safetensors")).unwrap();
    let same =
        weights(&folder.join("out/train-fgsm-8-seed0")) == weights(&folder.join("lab/stages/train-fgsm-8-seed0"));
    assert!(same, "the command trains another model");
    let scored = alone("ood-fgsm-8-seed0");
    assert_eq!(scored["scores"]["energy"]["auroc"], robust.detection.scores["energy"].metrics.auroc);
    let attacked = alone("attack-fgsm-8");
    assert_eq!(attacked["by_eps"][0]["accuracy"], result.attacks[1].by_eps[0].accuracy, "{attacked}");
}

/// The result holds what every exercise asks for.
fn check(result: &LabResult, folder: &Path) {
    let plan = &result.plan;
    assert_eq!((result.train_images, result.test_images), (256, 100));
    assert_eq!((plan.data.as_str(), plan.data_name.as_str()), ("data", "cifar10-layout"));
    assert_eq!(result.classifiers.len(), plan.variants.len() * plan.seeds.len());
    assert_eq!((result.classifiers[0].variant.name.as_str(), plan.variants.len()), ("baseline", 2));
    for one in &result.classifiers {
        assert!(folder.join("lab").join(&one.weights).is_file());
        assert_eq!(one.epochs.len(), plan.epochs as usize);
        assert_eq!(one.epochs[0].auroc.len(), 3);
        assert_eq!(one.logits.is_some(), one.seed == plan.seeds[0]);
        assert_eq!(one.detection.scores.len(), 3);
        assert_eq!((one.detection.id_images, one.detection.ood_images), (100, 100));
        for facts in one.detection.scores.values() {
            assert_eq!(facts.histogram.edges.len(), facts.histogram.id.len() + 1);
            assert_eq!(facts.histogram.id.iter().sum::<u32>(), 100);
            assert_eq!(facts.histogram.ood.iter().sum::<u32>(), 100);
            assert_eq!((facts.roc[0], facts.roc[facts.roc.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
            assert!(facts.roc.len() <= 257);
        }
        let robust = one.variant.eps > 0.0;
        assert_eq!(one.epochs.iter().all(|epoch| epoch.fgsm_accuracy.is_some()), robust, "{}", one.variant.name);
    }
    let weights = |at: usize| fs::read(folder.join("lab").join(&result.classifiers[at].weights)).unwrap();
    assert!(weights(0) != weights(1) && weights(0) != weights(2), "seeds and variants are other models");
    let attacked: Vec<&str> = result.attacks.iter().map(|one| one.variant.name.as_str()).collect();
    assert_eq!(attacked, ["baseline", "fgsm-8"]);
    for attacks in result.attacks.iter().chain(&result.attacks_compat) {
        assert_eq!((attacks.by_eps.len(), attacks.targets.len(), attacks.seed), (1, 10, 0));
    }
    assert!((result.attacks[0].by_eps[0].eps - 8.0 / 255.0).abs() < 1e-12);
    let compat = result.attacks_compat.as_ref().unwrap();
    assert_eq!(compat.convention, "lab");
    assert!((compat.by_eps[0].eps - 4.0 / 255.0).abs() < 1e-12, "the lab's 8/255 is half of ours");
    for one in [&result.autoencoder, result.autoencoder_compat.as_ref().unwrap()] {
        assert_eq!((one.id_examples.len(), one.ood_examples.len(), one.epochs), (6, 6, 1));
        assert!(one.detection.scores.contains_key("neg_mse"));
        assert_eq!(one.id_examples[0].original, result.id_samples[0]);
        assert!(one.id_examples[0].mse > 0.0 && one.id_examples[0].error_white == one.ood_examples[0].error_white);
    }
    assert!(fs::metadata(folder.join("lab/report.html")).unwrap().len() > 10_000);
}

#[test]
fn bad_wishes_get_one_line() {
    let folder = TempFolder::new("lab-bad");
    let refused = |arguments: &[&str], parts: &[&str]| {
        let output = lab(folder.path(), &[]).args(arguments).output().unwrap();
        let stderr = text(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} must fail");
        let errors: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("warning: this is a soft")).collect();
        assert!(errors.len() == 1 && errors[0].starts_with("error: "), "{stderr}");
        for part in parts {
            assert!(errors[0].contains(part), "'{part}' is missing in: {stderr}");
        }
    };
    refused(&[], &["data", "does not exist"]);
    refused(&["--seeds", "0"], &["--seeds"]);
    let report = |path: &str| {
        let output =
            program::command().current_dir(folder.path()).args(["lab", "--report-only", path]).output().unwrap();
        assert!(!output.status.success());
        let stderr = text(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        stderr
    };
    assert!(report("none").contains("none"));
    fs::write(folder.path().join("result.json"), "{}").unwrap();
    assert!(report(".").contains("not the result of a lab"));
    // CIFAR-10 is the preset's own choice; who has not downloaded it is told how to.
    let mut quick = program::command();
    let quick = quick.current_dir(folder.path()).args(["lab", "--preset", "quick"]);
    let output = quick.envs(["HOME", "XDG_DATA_HOME"].map(|name| (name, folder.path()))).output().unwrap();
    #[cfg(target_os = "linux")]
    assert!(text(&output.stderr).contains("shadegrad data download cifar10"), "{}", text(&output.stderr));
}
