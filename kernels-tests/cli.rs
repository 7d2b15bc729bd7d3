//! The program from outside: what it prints, its exit codes, and one clear line for every kind of bad input.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use folder::TempFolder;
use program::{refused, succeed, text};
use shadegrad::data;

/// A place in a folder, as a command line names it.
fn join(folder: &TempFolder, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// The first of the built-in pictures: enough for a few steps.
fn small(folder: &TempFolder) -> String {
    let path = join(folder, "data");
    data::write_cifar10(&data::few_shapes(320, 100), Path::new(&path)).unwrap();
    path
}

#[test]
fn train_eval_and_ood_leave_what_scripts_expect() {
    let folder = TempFolder::new("all");
    let (data, out) = (small(&folder), join(&folder, "run"));
    let stdout = succeed(&["train", "--data", &data, "--epochs", "2", "--batch", "64", "--seed", "3", "--out", &out]);
    assert!(stdout.starts_with("adapter: "), "{stdout}");
    let result: serde_json::Value = serde_json::from_slice(&fs::read(format!("{out}/result.json")).unwrap()).unwrap();
    for key in ["test_accuracy", "train_loss", "images_per_second", "peak_gpu_bytes", "seconds", "seed", "version"] {
        assert!(!result[key].is_null(), "{key}");
    }
    for key in ["name", "backend", "driver", "device_type"] {
        assert!(result["adapter"][key].is_string(), "adapter.{key}");
    }
    let metrics = fs::read_to_string(format!("{out}/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 2);
    for line in metrics.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["epoch", "train_loss", "test_accuracy", "seconds"] {
            assert!(line[key].is_number(), "{key}");
        }
    }

    let weights = format!("{out}/last.safetensors");
    let report: serde_json::Value =
        serde_json::from_str(&succeed(&["eval", "--weights", &weights, "--data", &data, "--json"])).unwrap();
    assert_eq!(report["test_accuracy"], result["test_accuracy"], "the weights that were saved are those measured");

    let scored = join(&folder, "scored");
    succeed(&["ood", "--weights", &weights, "--data", &data, "--ood", "uniform", "--count", "50", "--out", &scored]);
    let result: serde_json::Value =
        serde_json::from_slice(&fs::read(format!("{scored}/result.json")).unwrap()).unwrap();
    for score in ["max_logit", "max_softmax", "energy"] {
        for key in ["auroc", "aupr_in", "aupr_out", "fpr95_id", "fpr95_ood", "detection_error"] {
            assert!(result["scores"][score][key].is_number(), "{score}.{key}");
        }
    }
    let table = fs::read_to_string(format!("{scored}/scores.csv")).unwrap();
    assert!(table.starts_with("set,index,label,max_logit,max_softmax,"), "{table:.80}");
    assert_eq!(table.lines().count(), 1 + 50 + 50);
    for picture in ["histogram_max_logit.svg", "histogram_energy.png", "roc.svg", "roc.png", "samples.png"] {
        assert!(fs::metadata(format!("{scored}/{picture}")).unwrap().len() > 1000, "{picture}");
    }

    // Weights of one model where another is asked for.
    refused(&["eval", "--weights", &weights, "--model", "ae3", "--data", &data], &["last.safetensors", "ae3", "lenet"]);
    refused(&["ood", "--weights", &weights, "--model", "lab", "--data", &data], &["last.safetensors", "lab"]);
    refused(
        &["ood", "--weights", &weights, "--data", &data, "--ood", &join(&folder, "none")],
        &["none", "does not exist"],
    );
}

#[test]
fn info_lists_adapters_with_limits_and_features() {
    let report: serde_json::Value = serde_json::from_str(&succeed(&["info", "--json"])).unwrap();
    let adapters = report["adapters"].as_array().unwrap();
    assert_eq!(adapters.iter().filter(|adapter| adapter["chosen"] == true).count(), 1);
    for adapter in adapters {
        assert!(adapter["limits"]["max_storage_buffer_binding_size"].as_u64().unwrap() >= 1 << 20);
        assert!(adapter["features"].is_array() && adapter["name"].is_string());
    }
    assert!(succeed(&["info", "--adapter", "0"]).starts_with("adapter: "));
}

#[test]
fn help_teaches_and_bad_words_are_refused() {
    for command in ["info", "train", "eval", "ood", "lab", "data"] {
        assert!(succeed(&["--help"]).contains(command));
        assert!(succeed(&[command, "--help"]).contains("Usage: shadegrad"));
    }
    refused(&["tarin"], &["tarin", "--help"]);
    refused(&["train", "--epochs", "0"], &["--epochs", "0"]);
    refused(&["train", "--lr", "NaN"], &["--lr", "above 0"]);
    refused(&["train", "--lr", "-1"], &["-1"]);
    refused(&["eval"], &["--weights"]);
    refused(&["train", "--optimizer", "adagrad"], &["adagrad", "sgd"]);
}

#[test]
fn an_adapter_that_is_not_there_is_named_with_those_that_are() {
    refused(&["info", "--adapter", "no such card"], &["no such card", "0: "]);
    refused(&["train", "--adapter", "99"], &["99", "0: "]);
}

/// Only Linux looks for its drivers through these variables.
#[cfg(target_os = "linux")]
#[test]
fn without_any_driver_the_message_says_what_to_install() {
    let output = program::command()
        .arg("info")
        .envs([("VK_DRIVER_FILES", "/nonexistent"), ("VK_ICD_FILENAMES", "/nonexistent")])
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    assert!(!output.status.success());
    for part in ["no GPU adapter", "apt-get install mesa-vulkan-drivers", "dnf install", "pacman -S", "macOS"] {
        assert!(stderr.contains(part), "'{part}' is missing in: {stderr}");
    }
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn bad_data_and_weights_get_one_line_and_leave_nothing() {
    let folder = TempFolder::new("bad");
    let (data, out) = (small(&folder), join(&folder, "run"));
    let train = |data: &str, parts: &[&str]| {
        refused(&["train", "--data", data, "--epochs", "1", "--out", &out], parts);
        assert!(!Path::new(&out).exists(), "nothing may be left behind");
    };
    train(&join(&folder, "missing"), &["missing", "does not exist"]);
    train(&join(&folder, ""), &["not a data set", "--data shapes"]);
    refused(&["train", "--model", "resnet50", "--out", &out], &["resnet50", "lenet", "lab", "ae3", "ae4"]);
    assert!(!Path::new(&out).exists());

    let batch = format!("{data}/data_batch_3.bin");
    let good = fs::read(&batch).unwrap();
    fs::write(&batch, &good[..good.len() - 100]).unwrap();
    train(&data, &["data_batch_3.bin", "cut off"]);
    let mut bad = good.clone();
    bad[5 * 3073] = 12;
    fs::write(&batch, &bad).unwrap();
    train(&data, &["data_batch_3.bin", "record 5", "label 12", "0 to 9"]);
    fs::remove_file(&batch).unwrap();
    train(&data, &["data_batch_3.bin", "does not exist"]);
    fs::write(&batch, &good).unwrap();

    let weights = join(&folder, "weights.safetensors");
    refused(&["eval", "--weights", &weights, "--data", &data], &["weights.safetensors", "does not exist"]);
    fs::write(&weights, b"these are no weights").unwrap();
    refused(&["eval", "--weights", &weights, "--data", &data], &["weights.safetensors", "not a safetensors file"]);
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_training() {
    let folder = TempFolder::new("place");
    let file = join(&folder, "file");
    fs::write(&file, b"").unwrap();
    let data = small(&folder);
    refused(&["train", "--data", &data, "--out", &format!("{file}/run")], &["file/run", "another place"]);
    // Root may write anywhere but where the kernel itself says no.
    #[cfg(target_os = "linux")]
    refused(&["train", "--data", &data, "--out", "/proc/shadegrad"], &["/proc/shadegrad", "another place"]);
    assert_eq!(fs::read(&file).unwrap(), b"");
}
