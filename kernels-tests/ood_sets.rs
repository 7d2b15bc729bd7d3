//! Out-of-distribution sets: noise with its definitions, other people's files read and refused, classes held out.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/mat.rs"]
mod mat;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use folder::TempFolder;
use mat::{compressed, digits, mat, matrix, planar};
use program::{refused, succeed};
use serde_json::Value;
use shadegrad::data::{self, Images, SIZE, outliers};

fn shares(images: &Images) -> [f64; 256] {
    let mut counts = [0usize; 256];
    images.bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    counts.map(|count| count as f64 / images.bytes.len() as f64)
}

#[test]
fn gaussian_noise_is_normal_on_the_bytes_and_cut_off() {
    let shares = shares(&data::gaussian_noise(0, 300));
    // Phi at the byte's edges.
    let below = |value: f64| 0.5 * libm::erfc(-(value - 127.5) / 63.75 / 2f64.sqrt());
    for (byte, share) in shares.iter().enumerate() {
        let low = if byte == 0 { 0.0 } else { below(byte as f64 - 0.5) };
        let high = if byte == 255 { 1.0 } else { below(byte as f64 + 0.5) };
        assert!((share - (high - low)).abs() < 5e-4, "{byte}: {share}, not {}", high - low);
    }
}

#[test]
fn rademacher_noise_is_the_ends_as_likely_as_not() {
    let shares = shares(&data::rademacher_noise(3, 200));
    assert!(
        (shares[0] - 0.5).abs() < 3e-3 && (shares[0] + shares[255] - 1.0).abs() < 1e-12,
        "{} {}",
        shares[0],
        shares[255]
    );
}

#[test]
fn blobs_are_scipys() {
    let golden: Vec<Value> = serde_json::from_str(include_str!("golden/golden_blobs.json")).unwrap();
    let images = data::blobs(0, 4);
    for (picture, golden) in images.bytes.chunks_exact(SIZE).zip(&golden) {
        for (sample, wanted) in golden["pixels"].as_array().unwrap().iter().enumerate() {
            let found = i64::from(picture[sample * 1_000_003 % SIZE]);
            assert!((found - wanted.as_i64().unwrap()).abs() <= 1, "sample {sample}: {found}, not {wanted}");
        }
        let zeros = picture.iter().filter(|&&byte| byte == 0).count() as f64 / SIZE as f64;
        assert!((zeros - golden["zeros"].as_f64().unwrap()).abs() < 1e-3, "{zeros}");
    }
}

#[test]
fn noise_is_a_function_of_seed_and_number() {
    for make in [data::gaussian_noise, data::rademacher_noise, data::blobs] {
        let (few, more) = (make(5, 2), make(5, 3));
        assert_eq!(few.bytes, more.bytes[..2 * SIZE]);
        assert_ne!(few.bytes, make(6, 2).bytes);
        assert_ne!(few.bytes[..SIZE], few.bytes[SIZE..]);
    }
}

#[test]
fn cifar100_is_read_and_what_is_not_is_said() {
    let folder = TempFolder::new("cifar100");
    let record = |coarse: u8, fine: u8, number| [vec![coarse, fine], planar(number)].concat();
    let file = folder.path().join("test.bin");
    fs::write(&file, [record(19, 99, 0), record(0, 4, 1)].concat()).unwrap();
    for place in [folder.path(), &file] {
        let images = outliers(place.to_str().unwrap(), 10).unwrap();
        assert_eq!((images.labels.as_slice(), images.bytes), (&[99, 4][..], [planar(0), planar(1)].concat()));
    }
    assert_eq!(outliers(file.to_str().unwrap(), 1).unwrap().count(), 1);
    let bad = |bytes: Vec<u8>, part: &str| {
        fs::write(&file, bytes).unwrap();
        let error = outliers(file.to_str().unwrap(), 10).unwrap_err().to_string();
        assert!(error.contains("test.bin") && error.contains(part) && !error.contains('\n'), "{error}");
    };
    bad(record(20, 0, 0), "20 and 0");
    bad(record(0, 100, 0), "0 and 100");
    bad(record(0, 0, 0)[..3000].to_vec(), "0 whole records");
    bad(Vec::new(), "0 whole records");
}

#[test]
fn svhn_is_read_and_damage_is_said() {
    let folder = TempFolder::new("svhn");
    let file = folder.path().join("test_32x32.mat");
    let read = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        outliers(folder.path().to_str().unwrap(), 10).map_err(|error| error.to_string())
    };
    let (x, y) = digits([1, 10]);
    for elements in [[x.clone(), y.clone()], [compressed(&x), compressed(&y)], [y.clone(), compressed(&x)]] {
        let images = read(&mat(&elements)).unwrap();
        assert_eq!((images.labels.as_slice(), images.bytes), (&[1, 0][..], [planar(0), planar(1)].concat()));
    }
    let bad = |bytes: &[u8], part: &str| {
        let error = read(bytes).unwrap_err();
        assert!(error.contains("test_32x32.mat") && error.contains(part) && !error.contains('\n'), "{error}");
    };
    bad(b"MATLAB 7.3 MAT-file", "cut off");
    bad(&[b' '; 200], "not a MATLAB 5.0 file");
    bad(&mat(std::slice::from_ref(&x)), "'y'");
    bad(&mat(&[x.clone(), digits([0, 1]).1]), "label is 0");
    bad(&mat(&[matrix("X", 9, &[32, 32, 3, 1], 2, &[0; SIZE]), y.clone()]), "[32, 32, 3, 1]");
    bad(&mat(&[matrix("X", 9, &[32, 32, 3, 9], 2, &[0; SIZE]), y.clone()]), "do not fill");
    bad(&mat(&[matrix("X\n", 9, &[5], 2, &[0; 4])]), "array 'X '");
    bad(&mat(&[matrix("X", 9, &[-1, 32, 3, 2], 2, &[0; SIZE]), y.clone()]), "negative");
    bad(&mat(&[matrix("X", 6, &[1], 9, &0.5f64.to_le_bytes()), y.clone()]), "whole number");
    bad(&mat(&[matrix("X", 1, &[1], 2, &[0]), y.clone()]), "plain numbers");
    let whole = mat(&[compressed(&x), y]);
    // Every cut and many a changed byte: an error or a result, and no panic.
    for length in (0..whole.len()).step_by(7) {
        assert!(read(&whole[..length]).is_err(), "{length}");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        let _ = data::svhn(&damaged, 10);
    }
}

#[test]
fn classes_are_held_out() {
    let set = data::few_shapes(200, 100);
    let (kept, held) = set.clone().without("star, 3").unwrap();
    let star = set.classes.iter().position(|class| class == "star").unwrap() as u8;
    let out = |label: &u8| *label == star || *label == 3;
    assert!(
        held.count() > 0 && held.labels.iter().all(out) && !kept.test.labels.iter().chain(&kept.train.labels).any(out)
    );
    assert_eq!(held.count() + kept.test.count(), 100);
    assert_eq!(held.labels, set.test.labels.iter().copied().filter(out).collect::<Vec<_>>());
    assert_eq!(kept.classes, set.classes);
    assert!(kept.name.contains("without star"), "{}", kept.name);
    let error = set.clone().without("star,zebra").err().unwrap().to_string();
    assert!(error.contains("zebra") && error.contains("heart"), "{error}");
    let error = set.without("0,1,2,3,4,5,6,7,8,9").err().unwrap().to_string();
    assert!(error.contains("shapes"), "{error}");
}

#[test]
fn the_program_takes_each_of_them() {
    let folder = TempFolder::new("sets");
    let join = |name: &str| folder.path().join(name).display().to_string();
    let (set, run) = (join("data"), join("run"));
    data::write_cifar10(&data::few_shapes(80, 60), Path::new(&set)).unwrap();
    let without = format!("{set}-without:star,heart");
    succeed(&["train", "--model", "lenet", "--data", &without, "--epochs", "1", "--out", &run]);
    let weights = join("run/best.safetensors");
    let ood = |data: &str, name: &str, more: &[&str]| -> Value {
        let start = ["ood", "--weights", &weights, "--data", data, "--ood", name, "--count", "12", "--json", "--out"];
        let out = join("out");
        serde_json::from_str(&succeed(&[&start[..], &[&out], more].concat())).unwrap()
    };
    for name in ["gaussian", "rademacher", "blobs", "shapes", &set] {
        let result = ood(&set, name, &[]);
        assert_eq!((&result["id_images"], &result["ood_images"]), (&Value::from(12), &Value::from(12)), "{name}");
    }
    let result = ood(&without, "held-out", &["--score", "mahalanobis,knn,energy", "--knn-k", "3"]);
    assert!(
        result["scores"]["mahalanobis"]["auroc"].is_number() && result["data"].as_str().unwrap().contains("without")
    );
    let bad = |data: &str, name: &str, parts: &[&str]| {
        refused(&["ood", "--weights", &weights, "--data", data, "--ood", name, "--out", &join("bad")], parts);
        assert!(!Path::new(&join("bad")).exists());
    };
    bad(&set, "held-out", &["held out", "-without:"]);
    bad(&format!("{set}-without:zebra"), "fake", &["zebra", "heart"]);
    bad(&set, "nowhere", &["nowhere"]);
}
