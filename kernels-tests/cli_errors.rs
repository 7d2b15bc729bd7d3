//! Everything that can be wrong with a command line and the files that it names: the exit code, and one line that
//! says what, where, and what to do. Nearly all of it is found before a device is opened.

#[path = "common/folder.rs"]
mod folder;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use folder::TempFolder;
use image::{Rgb, RgbImage};
use safetensors::tensor::{Dtype, TensorView};
use shadegrad::data::{self, DataSet};
use shadegrad::lock::FolderLock;
use shadegrad::models;

/// A command line with `@` for the test's folder; its exit code; and what its line must say.
type Case = (&'static str, i32, &'static [&'static str]);

/// Runs every case; each must leave the folder as it was.
fn check(folder: &Path, cases: &[Case]) {
    let at = folder.display().to_string();
    let before = listing(folder);
    for &(line, code, words) in cases {
        let arguments: Vec<String> = line.split_whitespace().map(|part| part.replace('@', &at)).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shadegrad"));
        // No download of the person who runs the tests is found, and no results go to where they stand.
        for name in ["HOME", "XDG_DATA_HOME", "APPDATA", "LOCALAPPDATA", "USERPROFILE"] {
            command.env(name, folder.join("home"));
        }
        // Mesa keeps compiled shaders in the home folder, or there.
        command.env("XDG_CACHE_HOME", std::env::temp_dir().join("shadegrad-tests-cache"));
        let output = command.args(&arguments).current_dir(folder).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "'{line}': {stderr}");
        let errors: Vec<&str> =
            stderr.lines().filter(|text| !text.starts_with("warning: this is a software")).collect();
        assert_eq!(errors.len(), 1, "'{line}' gets one line: {stderr}");
        assert!(errors[0].starts_with("error: "), "'{line}': {stderr}");
        for odd in ["panicked", "os error", "Error {", "Some(", "\u{1b}"] {
            assert!(!errors[0].contains(odd), "'{line}' is not for people: {stderr}");
        }
        for word in words {
            assert!(errors[0].contains(word), "'{line}': no '{word}' in: {stderr}");
        }
        assert_eq!(listing(folder), before, "'{line}' leaves something behind");
    }
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A mistake in the words themselves: exit code 2, and where help is.
#[test]
fn words_that_make_no_sense() {
    let temp = TempFolder::new("cli-words");
    check(
        temp.path(),
        &[
            ("tarin", 2, &["'tarin'", "similar", "'train'", "--help"]),
            ("train --epoch 3", 2, &["'--epoch'", "similar", "'--epochs'"]),
            ("--nothing", 2, &["'--nothing'", "--help"]),
            ("info extra", 2, &["'extra'"]),
            ("info --adapter", 2, &["--adapter", "value is required"]),
            ("train train", 2, &["'train'"]),
            ("train --epochs 0", 2, &["--epochs", "'0'", "1..="]),
            ("train --epochs 1e3", 2, &["--epochs", "'1e3'"]),
            ("train --epochs", 2, &["--epochs", "value is required"]),
            ("train --epochs 3 --epochs 4", 2, &["--epochs", "multiple times"]),
            ("train --batch 0", 2, &["--batch", "'0'"]),
            ("train --batch 70000", 2, &["--batch", "65536"]),
            ("train --lr 0", 2, &["--lr", "above 0"]),
            ("train --lr 1e400", 2, &["--lr", "above 0"]),
            ("train --lr fast", 2, &["--lr", "'fast'", "above 0"]),
            ("train --lr=-1", 2, &["--lr", "'-1'", "above 0"]),
            ("train --lr nan", 2, &["--lr", "above 0"]),
            ("train --optimizer adagrad", 2, &["adagrad", "adam, adamw, sgd"]),
            ("train --schedule linear", 2, &["linear", "constant, step, cosine, triangular"]),
            ("train --momentum 1", 2, &["--momentum", "below 1"]),
            ("train --smoothing=-0.1", 2, &["--smoothing", "at least 0"]),
            ("train --weight-decay=-1", 2, &["--weight-decay", "at least 0"]),
            ("train --weight-decay inf", 2, &["--weight-decay", "at least 0"]),
            ("train --peak 1", 2, &["--peak", "below 1"]),
            ("train --step-factor 0", 2, &["--step-factor", "above 0"]),
            ("train --step-epochs 0", 2, &["--step-epochs", "'0'"]),
            ("train --shift 17", 2, &["--shift", "0..=16"]),
            ("train --early-stop 0", 2, &["--early-stop", "'0'"]),
            ("train --steps 0", 2, &["--steps", "'0'"]),
            ("train --seed=-1", 2, &["--seed", "'-1'"]),
            ("train --adv bim --adv-eps 0.1", 2, &["'bim'", "fgsm, fast, free, pgd, trades"]),
            ("train --adv trades", 2, &["--adv-eps"]),
            ("train --adv-beta 6", 2, &["--adv <DEFENCE>"]),
            ("train --adv-roll-back", 2, &["--adv <DEFENCE>"]),
            ("train --adv trades --adv-eps 0.1 --adv-beta 0", 2, &["--adv-beta", "above 0"]),
            ("train --adv pgd --adv-eps 0.1 --adv-steps 0", 2, &["--adv-steps", "'0'"]),
            ("train --adv free --adv-eps 0.1 --adv-replays 0", 2, &["--adv-replays", "'0'"]),
            ("train --adv fast --adv-eps 0.1 --adv-step-size 2", 2, &["--adv-step-size", "'2'"]),
            ("eval", 2, &["--weights <FILE>"]),
            ("eval --weights a --weights b", 2, &["--weights", "multiple times"]),
            ("eval --weights a --ood fake", 2, &["'--ood'"]),
            ("ood", 2, &["--weights <FILE>"]),
            ("ood --weights a --count 0", 2, &["--count", "'0'"]),
            ("ood --weights a --count many", 2, &["--count", "'many'"]),
            ("map --cell 0/4", 2, &["--cell", "from 1 to 4", "add 1"]),
            ("map --cell 5/4", 2, &["--cell", "from 1 to 4"]),
            ("map --cell 3", 2, &["--cell", "i/n"]),
            ("map --cell 1/4 --list", 2, &["--cell", "--list"]),
            ("map --json", 2, &["--list"]),
            ("map --seeds 0", 2, &["--seeds", "'0'"]),
            ("map --eps 2", 2, &["--eps", "8/255"]),
            ("map --score luck", 2, &["'luck'", "max-logit"]),
            ("map merge", 2, &["<DIR>"]),
            ("map merge a --cell 1/2", 2, &["'--cell'"]),
            ("data", 2, &["--out <DIR>"]),
            ("data write", 2, &["--out <DIR>"]),
            ("data --out a write --out b", 2, &["write", "--out"]),
            ("data download", 2, &["<SET>"]),
            ("data download cifar1000", 2, &["'cifar1000'", "cifar10"]),
            ("data verify a b", 2, &["'b'"]),
        ],
    );
}

/// Words that are well formed and still cannot be done.
#[test]
fn wishes_that_cannot_be_met() {
    let temp = TempFolder::new("cli-wishes");
    fs::write(temp.path().join("file"), b"a file").unwrap();
    fs::create_dir(temp.path().join("empty")).unwrap();
    check(
        temp.path(),
        &[
            ("train --model resnet50", 1, &["'resnet50'", "lenet, lab, fast, ae3, ae4"]),
            ("train --adv fgsm --adv-eps 0.1 --adv-steps 3", 1, &["fgsm", "--adv-steps", "--adv-ratio"]),
            ("train --adv fgsm --adv-eps 0.1 --adv-step-size 0.1", 1, &["fgsm", "--adv-step-size", "--adv-ratio"]),
            ("train --adv fast --adv-eps 0.1 --adv-steps 3", 1, &["fast", "--adv-steps", "--adv-step-size"]),
            ("train --adv free --adv-eps 0.1 --adv-ratio 0.5", 1, &["free", "--adv-ratio", "--adv-replays"]),
            ("train --adv pgd --adv-eps 0.1 --adv-replays 3", 1, &["pgd", "--adv-replays", "--adv-steps"]),
            ("train --adv pgd --adv-eps 0.1 --adv-beta 3", 1, &["pgd", "--adv-beta", "--adv-steps"]),
            ("train --adv trades --adv-eps 0.1 --adv-ratio 1", 1, &["trades", "--adv-ratio", "--adv-beta"]),
            ("train --model ae3 --adv trades --adv-eps 0.1", 1, &["ae3", "classifier"]),
            ("train --whitening-epsilon 0.0005", 1, &["--whitening-epsilon", "fast", "'lenet'"]),
            ("train --model fast --whitening-epsilon 0", 2, &["--whitening-epsilon", "above 0"]),
            ("train --nesterov", 1, &["--nesterov", "--optimizer sgd"]),
            ("train --nesterov --optimizer sgd --momentum 0", 1, &["--nesterov", "--momentum above 0"]),
            ("train --data @/nowhere", 1, &["nowhere", "does not exist", "'cifar10'", "'shapes'"]),
            ("train --data @/file", 1, &["file", "not a folder"]),
            ("train --data @/empty", 1, &["empty", "not a data set", "--data shapes"]),
            ("train --data cifar10", 1, &["cifar-10-batches-bin", "shadegrad data download cifar10"]),
            ("map --model resnet50", 1, &["'resnet50'", "lenet"]),
            ("map --model ae3", 1, &["'ae3'", "classifiers"]),
            ("map --defence hope", 1, &["'hope'", "fgsm"]),
            ("map --defence none,none", 1, &["--defence names none twice"]),
            ("map --eps 2/255,0.0078431", 1, &["--eps names 2/255 twice"]),
            ("map --eps 0", 1, &["eps", "(0, 1]"]),
            ("map --epochs 1,1", 1, &["--epochs names 1 twice"]),
            ("map --seeds 10000 --defence none,fgsm,fast,pgd,free", 1, &["130000 cells", "100000"]),
            ("map --ood fake,fake", 1, &["--ood names fake twice"]),
            ("map --data @/nowhere", 1, &["nowhere", "does not exist"]),
            ("map --ood @/nowhere --train-images 60", 1, &["nowhere", "does not exist"]),
            ("map --score knn --train-images 10", 1, &["KNN", "10 training pictures"]),
            ("map merge @/empty", 1, &["empty", "map.json"]),
            ("map merge @/nowhere", 1, &["nowhere", "map.json"]),
            ("eval --weights @/none", 1, &["none", "does not exist"]),
            ("eval --weights @/empty", 1, &["empty", "it is a folder"]),
            ("eval --weights @/file", 1, &["file", "not a safetensors file"]),
            ("eval --weights @/file --model vgg", 1, &["'vgg'", "lenet, lab"]),
            ("ood --weights @/none", 1, &["none", "does not exist"]),
            ("ood --weights @/file/none", 1, &["none", "not a folder"]),
            ("info --adapter @nothing", 1, &["nothing", "0: "]),
            ("data write --out @/file/data", 1, &["cannot write", "file/data", "another place"]),
            ("data --out @/file", 1, &["cannot write", "file", "another place"]),
            ("selftest --sources @/file", 1, &["cannot write", "file", "another place"]),
            ("data verify @/nowhere", 1, &["nowhere", "does not hold CIFAR-10", "data_batch_1.bin"]),
            ("data verify @/empty --json", 1, &["empty", "does not hold CIFAR-10", "6 faults more"]),
            ("data download cifar10 --to @/new --url here", 1, &["'here'", "http:// or https://"]),
            ("data download cifar10 --to @/new --url http://127.0.0.1:1/", 1, &["127.0.0.1:1", "refused"]),
            ("data download cifar10 --to @/file/in --url http://127.0.0.1:1/", 1, &["cannot write", "--to"]),
        ],
    );
}

/// Files that never end, or that wait for somebody.
#[cfg(target_os = "linux")]
#[test]
fn what_is_no_plain_file_is_not_read() {
    let temp = TempFolder::new("cli-devices");
    assert!(Command::new("mkfifo").arg(temp.path().join("pipe")).status().unwrap().success());
    let set = DataSet { train: data::fake_data(0, 0, 5), test: data::fake_data(1, 0, 5), ..set() };
    data::write_cifar10(&set, &temp.path().join("data")).unwrap();
    let batch = temp.path().join("data").join("data_batch_1.bin");
    fs::remove_file(&batch).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &batch).unwrap();
    check(
        temp.path(),
        &[
            ("eval --weights /dev/zero", 1, &["/dev/zero", "not a plain file"]),
            ("eval --weights @/pipe", 1, &["pipe", "not a plain file"]),
            ("train --data @/data", 1, &["data_batch_1.bin", "not a plain file"]),
            ("data verify @/data", 1, &["data_batch_1.bin", "not a file"]),
            ("data verify /dev/null", 1, &["/dev/null", "not a folder"]),
        ],
    );
}

/// A weights file made without a device: all zeros, but of the right names and shapes.
fn write_weights(path: &Path, model: &str, note: Option<&str>, change: impl Fn(&str, &mut Vec<usize>, &mut Dtype)) {
    let zeros = vec![0; 4 << 20];
    let tensors = models::architecture(model).unwrap().specs().into_iter().map(|spec| {
        let (mut shape, mut dtype) = (spec.shape.dims().to_vec(), Dtype::F32);
        change(&spec.name, &mut shape, &mut dtype);
        let bytes = shape.iter().product::<usize>() * if dtype == Dtype::F32 { 4 } else { 2 };
        (spec.name, TensorView::new(dtype, shape, &zeros[..bytes]).unwrap())
    });
    let note = note.map(|note| HashMap::from([("model".to_owned(), note.to_owned())]));
    fs::write(path, safetensors::serialize(tensors, note).unwrap()).unwrap();
}

#[test]
fn files_that_do_not_fit() {
    let temp = TempFolder::new("cli-files");
    let at = |name: &str| temp.path().join(name);
    let keep = |_: &str, _: &mut Vec<usize>, _: &mut Dtype| {};
    write_weights(&at("good"), "lenet", Some("lenet"), keep);
    write_weights(&at("strange"), "lenet", Some("transformer"), keep);
    write_weights(&at("half"), "lenet", None, |name, _, dtype| {
        if name == "fc1.weight" {
            *dtype = Dtype::F16;
        }
    });
    write_weights(&at("bent"), "lenet", Some("lenet"), |name, shape, _| {
        if name == "fc2.bias" {
            shape[0] += 1;
        }
    });
    write_weights(&at("unknown"), "lenet", None, |_, shape, _| shape.push(1));
    let cut = fs::read(at("good")).unwrap();
    fs::write(at("cut"), &cut[..cut.len() / 2]).unwrap();

    let small =
        |count: usize| DataSet { train: data::fake_data(0, 0, count), test: data::fake_data(1, 0, count), ..set() };
    data::write_cifar10(&small(5), &at("data")).unwrap();
    let damage = |name: &str, file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        data::write_cifar10(&small(5), &at(name)).unwrap();
        let mut bytes = fs::read(at(name).join(file)).unwrap();
        change(&mut bytes);
        fs::write(at(name).join(file), bytes).unwrap();
    };
    damage("short", "data_batch_2.bin", &|bytes| bytes.truncate(3000));
    damage("labels", "test_batch.bin", &|bytes| bytes[2 * 3073] = 10);
    damage("names", "batches.meta.txt", &|bytes| bytes.truncate(10));
    data::write_cifar10(&small(5), &at("lacking")).unwrap();
    fs::remove_file(at("lacking").join("data_batch_5.bin")).unwrap();

    fs::create_dir_all(at("pictures")).unwrap();
    fs::write(at("pictures").join("a.png"), b"no picture").unwrap();
    RgbImage::from_pixel(4, 4, Rgb([1; 3])).save(at("pictures").join("b.png")).unwrap();
    for class in ["train/x", "test/x"] {
        fs::create_dir_all(at("classes").join(class)).unwrap();
    }
    fs::create_dir(at("bare")).unwrap();

    let _held = FolderLock::take(&at("held")).unwrap();
    check(
        temp.path(),
        &[
            ("eval --weights @/good --model ae3 --data @/data", 1, &["good", "'lenet'", "not of 'ae3'"]),
            ("eval --weights @/strange --data @/data", 1, &["strange", "transformer", "lenet, lab"]),
            ("eval --weights @/half --data @/data", 1, &["half", "'fc1.weight'", "f16", ".float()"]),
            ("eval --weights @/bent --data @/data", 1, &["bent", "'fc2.bias'", "[85]", "[84]"]),
            ("eval --weights @/unknown --data @/data", 1, &["unknown", "no model that is known", "conv1.bias"]),
            ("ood --weights @/cut --data @/data", 1, &["cut", "not a safetensors file"]),
            ("eval --weights @/good --data @/short", 1, &["data_batch_2.bin", "cut off", "fetch it again"]),
            ("eval --weights @/good --data @/labels", 1, &["test_batch.bin", "record 2", "label 10", "0 to 9"]),
            ("train --data @/names", 1, &["batches.meta.txt", "names 2 classes, not 10"]),
            ("train --data @/lacking", 1, &["data_batch_5.bin", "does not exist"]),
            ("train --data @/classes", 1, &["train", "holds no pictures"]),
            ("ood --weights @/good --data @/data --ood @/missing", 1, &["missing", "does not exist"]),
            ("ood --weights @/good --data @/data --ood @/pictures", 1, &["a.png", "cannot read this picture"]),
            ("ood --weights @/good --data @/data --ood @/bare", 1, &["bare", "holds no pictures"]),
            ("ood --weights @/good --data @/data --ood noise", 1, &["noise", "does not exist"]),
            ("ood --weights @/good --data @/data --out @/good/in", 1, &["cannot write", "good/in", "another place"]),
            ("ood --weights @/good --data @/data --out @/held", 1, &["another run", "held", "--out"]),
        ],
    );
    assert_eq!(listing(&at("held")), [".shadegrad.lock"], "the refused run wrote into the held folder");
}

/// What a set in CIFAR-10's layout is called here.
fn set() -> DataSet {
    DataSet {
        name: "small".to_owned(),
        classes: (0..10).map(|class| format!("class {class}")).collect(),
        train: data::Images::default(),
        test: data::Images::default(),
    }
}
