//! The `shapes` pictures: the same bytes everywhere, balanced, and told apart by outline alone.

use shapes::shapes::{CLASSES, picture};

/// FNV-1a, 64 bits.
fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// The mean of each channel over the class's share of the first `count` pictures.
fn class_means(seed: u64, count: u32) -> [[f64; 3]; 10] {
    let mut sums = [[0u64; 3]; 10];
    let mut out = [0; 3072];
    for index in 0..count {
        let label = usize::from(picture(seed, index, &mut out));
        for (sum, plane) in sums[label].iter_mut().zip(out.chunks(1024)) {
            *sum += plane.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        }
    }
    let bytes = f64::from(count / 10 * 1024);
    sums.map(|class| class.map(|sum| sum as f64 / bytes))
}

#[test]
fn first_hundred_pictures_have_the_stored_hash() {
    let mut out = [0; 3072];
    let mut hash = 0xCBF2_9CE4_8422_2325;
    for index in 0..100 {
        let label = picture(0, index, &mut out);
        hash = fnv1a(fnv1a(hash, &[label]), &out);
    }
    assert_eq!(
        hash, 0xFE6F_09EF_175D_6510,
        "the pictures' bytes changed: {hash:#018x}"
    );
}

#[test]
fn a_picture_depends_on_its_seed_and_index_alone() {
    let (mut first, mut second) = ([0; 3072], [255; 3072]);
    let label = picture(7, 123, &mut first);
    picture(7, 124, &mut second);
    assert_ne!(first, second);
    picture(8, 123, &mut second);
    assert_ne!(first, second);
    // Whatever was drawn in between, and whatever the buffer held.
    assert_eq!(picture(7, 123, &mut second), label);
    assert_eq!(first, second);
}

#[test]
fn labels_are_balanced() {
    let mut counts = [0; CLASSES.len()];
    let mut out = [0; 3072];
    for index in 0..200 {
        counts[usize::from(picture(3, index, &mut out))] += 1;
    }
    assert_eq!(counts, [20; CLASSES.len()]);
}

#[test]
fn extreme_seeds_and_indices_draw() {
    let mut out = [0; 3072];
    for seed in [0, 1, u64::MAX] {
        for index in [0, 9, u32::MAX - 1, u32::MAX] {
            assert_eq!(u32::from(picture(seed, index, &mut out)), index % 10);
        }
    }
}

#[test]
fn every_class_is_well_exposed() {
    for (class, means) in CLASSES.iter().zip(class_means(0, 1000)) {
        let mean = means.iter().sum::<f64>() / 3.0;
        assert!(
            (60.0..190.0).contains(&mean),
            "{class}: mean brightness {mean:.1}"
        );
    }
}

#[test]
fn colour_does_not_give_the_class_away() {
    // A class's mean over 400 pictures wanders by about 2 itself.
    let means = class_means(0, 4000);
    for (one, one_means) in CLASSES.iter().zip(&means) {
        for (other, other_means) in CLASSES.iter().zip(&means) {
            for (channel, (a, b)) in one_means.iter().zip(other_means).enumerate() {
                let apart = (a - b).abs();
                assert!(
                    apart < 12.0,
                    "{one} and {other}, channel {channel}: {apart:.1} apart"
                );
            }
        }
    }
}
