//! The procedural data set: the same bytes everywhere, ten balanced classes, no blank and no equal pictures.

#[path = "common/folder.rs"]
mod folder;

use std::collections::HashSet;

use folder::TempFolder;
use shadegrad::data::shapes::{CLASSES, picture};
use shadegrad::data::{self, DataSet, Images, SIZE};

const BLANK: [u8; SIZE] = [0; SIZE];

/// FNV-1a with 64 bits: short enough to write again in any language that wants to check the pictures.
fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

fn drawn(seed: u64, index: u32) -> (u8, Vec<u8>) {
    let mut out = BLANK;
    let label = picture(seed, index, &mut out);
    (label, out.to_vec())
}

/// The pictures `range` of a seed's set.
fn set(seed: u64, range: std::ops::Range<u32>) -> Images {
    let mut images = Images::default();
    for index in range {
        let (label, bytes) = drawn(seed, index);
        images.labels.push(label);
        images.bytes.extend(bytes);
    }
    images
}

#[test]
fn the_first_hundred_pictures_are_known() {
    // The hash goes over label and pixels of each picture in turn, as the records of a CIFAR-10 file stand.
    let records = (0..100).flat_map(|index| {
        let (label, bytes) = drawn(0, index);
        std::iter::once(label).chain(bytes)
    });
    assert_eq!(fnv1a(records), 0xFE6F_09EF_175D_6510);
}

#[test]
fn a_picture_depends_on_seed_and_index_alone() {
    let forwards: Vec<_> = (0..300).map(|index| drawn(5, index)).collect();
    // Backwards, over what the last picture left behind: every byte must be written anew.
    let mut out = [0xAA; SIZE];
    for index in (0..300).rev() {
        let label = picture(5, index, &mut out);
        let (wanted, bytes) = &forwards[index as usize];
        assert_eq!(label, *wanted, "label of picture {index}");
        assert!(out[..] == bytes[..], "picture {index} depends on when it is drawn");
    }
    let apart = std::thread::spawn(|| drawn(5, 123)).join().unwrap();
    assert!(apart == forwards[123], "picture 123 depends on the thread");
}

#[test]
fn the_built_in_set_is_balanced_and_is_these_pictures() {
    let data = data::built_in();
    assert_eq!(data.name, "shapes");
    assert_eq!(data.classes, CLASSES);
    assert_eq!((data.train.count(), data.test.count()), (20_000, 4_000));
    for (seed, images) in [(0, &data.train), (1, &data.test)] {
        assert_eq!(images.bytes.len(), images.count() * SIZE);
        let mut counts = [0; 10];
        for &label in &images.labels {
            counts[usize::from(label)] += 1;
        }
        assert_eq!(counts, [images.count() / 10; 10], "pictures of each class under seed {seed}");
        for index in [0, 1, 777, images.count() - 1] {
            let (label, bytes) = drawn(seed, index as u32);
            assert_eq!(images.labels[index], label);
            assert!(images.bytes[index * SIZE..(index + 1) * SIZE] == bytes[..], "picture {index} of seed {seed}");
        }
    }
    let opened = data::open("shapes").unwrap();
    assert!(opened.train == data.train && opened.test == data.test, "the name 'shapes' opens another set");
    // No test picture is a training picture, nor does any come twice.
    let all: HashSet<&[u8]> = data.train.bytes.chunks_exact(SIZE).chain(data.test.bytes.chunks_exact(SIZE)).collect();
    assert_eq!(all.len(), 24_000, "pictures that differ");
}

#[test]
fn every_run_of_ten_has_each_class_once() {
    for first in [0, 10, 990, 4_294_967_280] {
        let labels: HashSet<u8> = (first..first + 10).map(|index| drawn(3, index).0).collect();
        assert_eq!(labels.len(), 10, "classes among pictures {first} to {}", first + 9);
    }
    assert_eq!(CLASSES.iter().collect::<HashSet<_>>().len(), 10, "two classes have one name");
}

#[test]
fn seeds_give_other_pictures() {
    // The upper half of a seed counts too.
    let seeds = [0, 1, 2, 1 << 32, u64::MAX];
    let pictures: HashSet<Vec<u8>> =
        seeds.iter().flat_map(|&seed| (0..40).map(move |index| drawn(seed, index).1)).collect();
    assert_eq!(pictures.len(), 200);
}

/// Mean and standard deviation of one plane's or picture's bytes.
fn spread(bytes: &[u8]) -> (f64, f64) {
    let count = bytes.len() as f64;
    let mean = bytes.iter().map(|&byte| f64::from(byte)).sum::<f64>() / count;
    let variance = bytes.iter().map(|&byte| (f64::from(byte) - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[test]
fn no_picture_is_blank_or_washed_out() {
    for index in 0..3_000 {
        let bytes = drawn(0, index).1;
        let planes = || bytes.chunks_exact(SIZE / 3);
        // The largest among the planes: a red disc on a yellow ground of the same red shows in the others.
        let deviation = planes().map(|plane| spread(plane).1).fold(0.0, f64::max);
        assert!((15.0..=110.0).contains(&deviation), "picture {index}: standard deviation {deviation:.1}");
        let range = planes().map(|plane| plane.iter().max().unwrap() - plane.iter().min().unwrap()).max().unwrap();
        assert!(range >= 90, "picture {index} spans only {range} brightness steps");
        let mean = spread(&bytes).0;
        assert!((30.0..=225.0).contains(&mean), "picture {index} has a mean brightness of {mean:.1}");
    }
}

#[test]
fn brightness_and_colour_do_not_give_the_class_away() {
    const EACH: u32 = 600;
    let mut means = [[0.0f64; 3]; 10];
    for index in 0..10 * EACH {
        let (label, bytes) = drawn(9, index);
        for (mean, plane) in means[usize::from(label)].iter_mut().zip(bytes.chunks_exact(SIZE / 3)) {
            *mean += spread(plane).0 / f64::from(EACH);
        }
    }
    let overall = means.iter().flatten().sum::<f64>() / 30.0;
    for (class, mean) in means.iter().enumerate() {
        // Single pictures lie about 35 steps apart, so a mean of 600 is off by 1.4 by chance.
        assert!(mean.iter().all(|m| (m - overall).abs() < 6.0), "{}: {mean:.1?}, all: {overall:.1}", CLASSES[class]);
    }
}

/// The code of a file: what stands before `//` on each line.
fn code(source: &str) -> String {
    source.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

#[test]
fn whole_numbers_only() {
    let files = [
        ("shapes.rs", include_str!("../src/data/shapes.rs")),
        ("shapes_draw.rs", include_str!("../src/data/shapes_draw.rs")),
    ];
    for (name, source) in files {
        let code = code(source);
        for word in ["f32", "f64", "f16", "libm", ".uniform(", "unit("] {
            assert!(!code.contains(word), "{name} uses {word}");
        }
        let letters: Vec<char> = code.chars().collect();
        let literal = letters.windows(3).find(|w| w[0].is_ascii_digit() && w[1] == '.' && w[2].is_ascii_digit());
        assert!(literal.is_none(), "{name} has a floating-point literal: {literal:?}");
    }
}

#[test]
fn written_as_cifar10_and_read_back_it_is_the_same() {
    let folder = TempFolder::new("shapes");
    // Counts that five files cannot share evenly.
    for (train, test) in [(203, 37), (11, 1), (6, 1), (5, 1)] {
        let data = DataSet {
            name: "shapes".to_owned(),
            classes: CLASSES.map(str::to_owned).to_vec(),
            train: set(0, 0..train),
            test: set(1, 0..test),
        };
        data::write_cifar10(&data, folder.path()).unwrap();
        let back = data::open(folder.path().to_str().unwrap()).unwrap_or_else(|error| panic!("{train}: {error}"));
        assert!(back.train == data.train && back.test == data.test, "{train} and {test} pictures come back changed");
        assert_eq!(back.classes, data.classes);
        assert_eq!(back.name, "cifar10-layout", "only the real classes are called cifar10");

        let bytes = std::fs::read(folder.path().join("data_batch_1.bin")).unwrap();
        assert!(bytes.len().is_multiple_of(1 + SIZE));
        assert_eq!(bytes[0], data.train.labels[0], "a record begins with its label");
        assert!(bytes[1..=SIZE] == data.train.bytes[..SIZE], "the planes follow");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 7, "five batches, the test batch, the names and nothing else: {left:?}");
}
