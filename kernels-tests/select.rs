//! Which of two pictures is kept, picture by picture.

mod common;

use common::cases::{Place, bits, extent, for_cases, refused};
use common::{gpu, operand, random};
use shadegrad::ops::select::{judge, replace};
use shadegrad::selftest::reference::select::{judged, replaced};

#[test]
fn chosen_pictures_are_replaced_and_others_keep_their_bits() {
    let gpu = gpu();
    for_cases(24, (extent(17), extent(131)), |(images, size)| {
        let (from, source) = operand(&gpu, 1, [images, size]);
        let before = random(2, images * size);
        let place = Place::new(&gpu, [images, size]);
        gpu.write(&place.tensor, &before).unwrap();
        let chosen: Vec<bool> = random(3, images).iter().map(|value| *value > 0.0).collect();
        let marks: Vec<f32> = chosen.iter().map(|&chosen| f32::from(u8::from(chosen))).collect();
        replace(&gpu, &gpu.tensor([images], &marks).unwrap(), &from, &place.tensor).unwrap();
        let wanted = replaced(&chosen, &source, &before);
        assert_eq!(bits(&place.read(&gpu)), bits(&wanted));
    });
}

#[test]
fn the_nearest_that_is_taken_for_another_is_kept() {
    let gpu = gpu();
    for_cases(24, extent(257), |count| {
        let (margin, margins) = operand(&gpu, 4, [count]);
        let (distance, distances) = operand(&gpu, 5, [count]);
        let bests = random(6, count);
        for confidence in [0.0, 0.25] {
            let best = gpu.tensor([count], &bests).unwrap();
            let chosen = gpu.read(&judge(&gpu, &margin, &distance, &best, confidence).unwrap()).unwrap();
            let after = gpu.read(&best).unwrap();
            for (i, better) in judged(&margins, &distances, &bests, confidence).into_iter().enumerate() {
                assert_eq!(chosen[i], f32::from(u8::from(better)), "{i}");
                assert_eq!(after[i], if better { distances[i] } else { bests[i] }, "{i}");
            }
        }
    });
    // A margin of exactly 0 is a tie, not a success.
    let (zero, one) = (gpu.zeros([1]).unwrap(), gpu.filled([1], 1.0).unwrap());
    assert_eq!(gpu.read(&judge(&gpu, &zero, &zero, &one, 0.0).unwrap()).unwrap(), [0.0]);
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let (a, b, two, three) =
        (gpu.zeros([2, 3]).unwrap(), gpu.zeros([3, 2]).unwrap(), gpu.zeros([2]).unwrap(), gpu.zeros([3]).unwrap());
    refused(replace(&gpu, &two, &b, &a), &["select", "[3, 2]", "[2, 3]"]);
    refused(replace(&gpu, &three, &a, &a), &["select", "[3]", "[2]"]);
    refused(judge(&gpu, &two, &three, &two, 0.0), &["judge", "[3]", "[2]"]);
}
