//! The divergence between two rows' predictions and its gradients by both, against an f64 reference.

mod common;

use common::cases::{extent, for_cases, refused};
use common::{assert_close, check_gradients, gpu, operand, random};
use shadegrad::ops::kl_divergence;
use shadegrad::selftest::reference::kl_divergence::{divergences, gradients};

#[test]
fn each_row_has_its_divergence_and_gradients() {
    let gpu = gpu();
    for_cases(24, (extent(131), extent(131)), |(rows, classes)| {
        let [a, b] =
            [1, 2].map(|item| -> Vec<f32> { random(item, rows * classes).iter().map(|value| 8.0 * value).collect() });
        let [first, second] = [&a, &b].map(|values| gpu.tensor([rows, classes], values).unwrap());
        let found = kl_divergence::forward(&gpu, &first, &second).unwrap();
        assert_close("divergence", &gpu.read(&found).unwrap(), &divergences(&a, &b, classes), classes);
        let (upstream, weights) = operand(&gpu, 3, [rows]);
        for (is_second, wanted) in [false, true].into_iter().zip(gradients(&a, &b, classes, &weights)) {
            let place = gpu.empty([rows, classes]).unwrap();
            kl_divergence::backward(&gpu, &first, &second, &upstream, is_second, &place).unwrap();
            assert_close("gradient", &gpu.read(&place).unwrap(), &wanted, classes);
        }
    });
}

#[test]
fn the_same_prediction_costs_nothing_and_every_other_something() {
    let gpu = gpu();
    let (x, values) = operand(&gpu, 1, [37, 10]);
    assert_eq!(gpu.read(&kl_divergence::forward(&gpu, &x, &x).unwrap()).unwrap(), [0.0; 37]);
    // A shift of a whole row changes no prediction; quarters, so that the shift is exact.
    let values: Vec<f32> = values.iter().map(|value| (16.0 * value).round() / 4.0).collect();
    let shifted: Vec<f32> = values.iter().map(|value| value + 4096.0).collect();
    let [x, shifted] = [values, shifted].map(|values| gpu.tensor([37, 10], &values).unwrap());
    assert_eq!(gpu.read(&kl_divergence::forward(&gpu, &x, &shifted).unwrap()).unwrap(), [0.0; 37]);
    let (other, _) = operand(&gpu, 2, [37, 10]);
    assert!(gpu.read(&kl_divergence::forward(&gpu, &x, &other).unwrap()).unwrap().iter().all(|&k| k > 1e-3));
}

#[test]
fn nearly_the_same_predictions_are_told_apart() {
    let gpu = gpu();
    // Differences from far below the exponentials' rounding to the border of the series for near rows. What is compared is
    // relative to what is wanted, which falls with the differences, a divergence with their square (below 1e-4 the f64
    // reference, which is the plain formula, would be rounding itself).
    let relative = |what: &str, found: &[f32], wanted: &[f64]| {
        let scale = wanted.iter().fold(0.0f64, |scale, value| scale.max(value.abs()));
        let found: Vec<f32> = found.iter().map(|&value| (f64::from(value) / scale) as f32).collect();
        let wanted: Vec<f64> = wanted.iter().map(|value| value / scale).collect();
        assert_close(what, &found, &wanted, 10);
    };
    for (rows, size) in [(131, 1e-4f32), (67, 1e-3), (65, 0.1)] {
        let [a, d] = [1, 2].map(|item| random(item, rows * 10));
        let b: Vec<f32> = a.iter().zip(&d).map(|(a, d)| a + size * d).collect();
        let [first, second] = [&a, &b].map(|values| gpu.tensor([rows, 10], values).unwrap());
        let found = gpu.read(&kl_divergence::forward(&gpu, &first, &second).unwrap()).unwrap();
        let wanted = divergences(&a, &b, 10);
        assert!(found.iter().all(|&k| k > 0.0) && wanted.iter().all(|&k| k < f64::from(size * size)), "{size}");
        relative("divergence", &found, &wanted);
        let ones = gpu.filled([rows], 1.0).unwrap();
        for (is_second, wanted) in [false, true].into_iter().zip(gradients(&a, &b, 10, &vec![1.0; rows])) {
            let place = gpu.empty([rows, 10]).unwrap();
            kl_divergence::backward(&gpu, &first, &second, &ones, is_second, &place).unwrap();
            relative("gradient", &gpu.read(&place).unwrap(), &wanted);
        }
    }
    // On both sides of that border, and rows of both kinds in one launch.
    for size in [0.12, 0.13, 0.5] {
        let [a, d] = [1, 2].map(|item| random(item, 65 * 10));
        let b: Vec<f32> = a.iter().zip(&d).map(|(a, d)| a + size * d).collect();
        let [first, second] = [&a, &b].map(|values| gpu.tensor([65, 10], values).unwrap());
        let found = kl_divergence::forward(&gpu, &first, &second).unwrap();
        assert_close("divergence", &gpu.read(&found).unwrap(), &divergences(&a, &b, 10), 10);
    }
}

#[test]
fn large_logits_neither_overflow_nor_vanish() {
    let gpu = gpu();
    for size in [100.0, 1e4, 1e10, 1e30] {
        let [a, b] = [[1.0, 0.5, -1.0, 1.0, 1.0, -1.0], [1.0, 1.0, -1.0, 0.5, 1.0, 0.25]]
            .map(|row| row.map(|value: f32| value * size));
        let [first, second] = [&a, &b].map(|values| gpu.tensor([2, 3], values).unwrap());
        let found = gpu.read(&kl_divergence::forward(&gpu, &first, &second).unwrap()).unwrap();
        assert_close("divergence", &found, &divergences(&a, &b, 3), 3);
        let ones = gpu.filled([2], 1.0).unwrap();
        for (is_second, wanted) in [false, true].into_iter().zip(gradients(&a, &b, 3, &[1.0; 2])) {
            let place = gpu.empty([2, 3]).unwrap();
            kl_divergence::backward(&gpu, &first, &second, &ones, is_second, &place).unwrap();
            assert_close("gradient", &gpu.read(&place).unwrap(), &wanted, 3);
        }
    }
}

#[test]
fn gradients_pass_difference_checks_in_a_graph() {
    for [rows, classes] in [[5, 7], [1, 3], [4, 2]] {
        let shapes = [[rows, classes].into(), [rows, classes].into()];
        check_gradients("kl_divergence", &shapes, |tape, z| tape.kl_divergence(z[0], z[1]));
    }
    // Both sides from one value, by ways that differ: TRADES's clean and attacked logits come from the same weights.
    check_gradients("kl_divergence, one leaf", &[[4, 5].into()], |tape, z| {
        tape.kl_divergence(z[0], tape.scale(z[0], -0.5, 1.0)?)
    });
}

#[test]
fn wrong_operands_are_errors_that_name_them() {
    let gpu = gpu();
    let (x, flat) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([6]).unwrap());
    refused(kl_divergence::forward(&gpu, &flat, &x), &["kl_divergence", "first logits", "[6]"]);
    refused(kl_divergence::forward(&gpu, &x, &gpu.zeros([3, 2]).unwrap()), &["second logits", "[3, 2]", "[2, 3]"]);
    let (two, three) = (gpu.zeros([2]).unwrap(), gpu.zeros([3]).unwrap());
    let name = "kl_divergence_backward";
    refused(kl_divergence::backward(&gpu, &x, &x, &three, false, &x), &[name, "gradient", "[3]", "[2]"]);
    refused(kl_divergence::backward(&gpu, &x, &x, &two, true, &two), &[name, "result", "[2]", "[2, 3]"]);
}
