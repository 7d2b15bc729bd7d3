//! Cross-entropy of each row and its mean, with label smoothing and logits of any size, against an f64 reference.

mod common;

use common::cases::{extent, for_cases, refused};
use common::{assert_close, check_gradients, gpu, operand, random};
use proptest::prelude::{Just, Strategy, prop_oneof};
use shadegrad::autograd::Tape;
use shadegrad::gpu::Shape;
use shadegrad::ops::cross_entropy::{self, Upstream};
use shadegrad::selftest::reference::cross_entropy::{gradient, labels, losses};

/// Rows, classes and smoothing.
fn problems() -> impl Strategy<Value = (usize, usize, f32)> {
    (extent(131), extent(131), prop_oneof![Just(0.0), Just(0.1), Just(1.0), 0.0f32..1.0])
}

#[test]
fn each_row_has_its_loss_and_gradient() {
    let gpu = gpu();
    for_cases(24, problems(), |(rows, classes, smoothing)| {
        let values: Vec<f32> = random(1, rows * classes).iter().map(|value| 8.0 * value).collect();
        let (logits, marks) = (gpu.tensor([rows, classes], &values).unwrap(), labels(rows, classes));
        let words = gpu.words(&marks).unwrap();
        let loss = cross_entropy::forward(&gpu, &logits, &words, smoothing).unwrap();
        assert_eq!(loss.shape(), Shape::from([rows]));
        assert_close("loss", &gpu.read(&loss).unwrap(), &losses(&values, &marks, smoothing), classes);

        let (upstream, weights) = operand(&gpu, 2, [rows]);
        let dlogits = gpu.empty([rows, classes]).unwrap();
        cross_entropy::backward(&gpu, &logits, &words, smoothing, Upstream::Each(&upstream), &dlogits).unwrap();
        let wanted = gradient(&values, &marks, smoothing, |row| f64::from(weights[row]));
        assert_close("gradient", &gpu.read(&dlogits).unwrap(), &wanted, classes);

        cross_entropy::backward(&gpu, &logits, &words, smoothing, Upstream::Sum, &dlogits).unwrap();
        let wanted = gradient(&values, &marks, smoothing, |_| 1.0);
        assert_close("gradient of the sum", &gpu.read(&dlogits).unwrap(), &wanted, classes);
    });
}

#[test]
fn the_mean_over_the_rows_and_its_gradient() {
    let gpu = gpu();
    for_cases(24, problems(), |(rows, classes, smoothing)| {
        let (logits, values) = operand(&gpu, 3, [rows, classes]);
        let marks = labels(rows, classes);
        let tape = Tape::new(&gpu);
        let z = tape.leaf(&logits);
        let loss = tape.cross_entropy_mean(z, &gpu.words(&marks).unwrap(), smoothing).unwrap();
        let value = tape.value(loss).unwrap();
        assert_eq!(value.shape(), Shape::from([1]));
        let mean = losses(&values, &marks, smoothing).iter().sum::<f64>() / rows as f64;
        assert_close("loss", &gpu.read(&value).unwrap(), &[mean], rows + classes);

        // Weighed so that the elements of the gradient are of size one however many rows share the mean.
        let weight = -2.0 * rows as f32;
        let loss = tape.scale(loss, weight, 0.5).unwrap();
        let found = tape.backward(loss, &[z]).unwrap();
        let wanted = gradient(&values, &marks, smoothing, |_| f64::from(weight) / rows as f64);
        assert_close("gradient", &gpu.read(found.of(z).unwrap()).unwrap(), &wanted, classes);
    });
}

#[test]
fn large_logits_neither_overflow_nor_vanish() {
    // exp(89) is beyond f32; so are the sums of these.
    let gpu = gpu();
    let marks = [0, 1, 2, 1, 0, 2];
    for size in [100.0, 1e4, 1e10, 1e30] {
        let values: Vec<f32> = [
            [1.0, 0.5, -1.0],
            [1.0, 0.5, -1.0],
            [1.0, 0.5, -1.0],
            [1.0, 1.0, 1.0],
            [-1.0, -1.0, -1.0],
            [-1.0, -1.0, -0.5],
        ]
        .concat()
        .iter()
        .map(|value| value * size)
        .collect();
        let (logits, words) = (gpu.tensor([6, 3], &values).unwrap(), gpu.words(&marks).unwrap());
        for smoothing in [0.0, 0.2] {
            let loss = cross_entropy::forward(&gpu, &logits, &words, smoothing).unwrap();
            assert_close("loss", &gpu.read(&loss).unwrap(), &losses(&values, &marks, smoothing), 3);
            let (one, dlogits) = (gpu.filled([1], 1.0).unwrap(), gpu.empty([6, 3]).unwrap());
            cross_entropy::backward(&gpu, &logits, &words, smoothing, Upstream::Mean(&one), &dlogits).unwrap();
            let wanted = gradient(&values, &marks, smoothing, |_| 1.0 / 6.0);
            assert_close("gradient", &gpu.read(&dlogits).unwrap(), &wanted, 3);
        }
    }
}

#[test]
fn a_shift_of_all_logits_changes_nothing() {
    let gpu = gpu();
    // Quarters, so that the shifted logits are exact.
    let values: Vec<f32> = random(4, 7 * 10).iter().map(|value| (value * 16.0).round() / 4.0).collect();
    let shifted: Vec<f32> = values.iter().map(|value| value + 65_536.0).collect();
    let words = gpu.words(&labels(7, 10)).unwrap();
    let loss = |values: &[f32]| {
        let logits = gpu.tensor([7, 10], values).unwrap();
        gpu.read(&cross_entropy::forward(&gpu, &logits, &words, 0.1).unwrap()).unwrap()
    };
    assert_eq!(loss(&values), loss(&shifted));
}

#[test]
fn equal_logits_cost_the_logarithm_of_the_classes_with_any_smoothing() {
    let gpu = gpu();
    let logits = gpu.filled([3, 10], 4.25).unwrap();
    for smoothing in [0.0, 0.3, 1.0] {
        let loss = cross_entropy::forward(&gpu, &logits, &gpu.words(&[0, 5, 9]).unwrap(), smoothing).unwrap();
        assert_close("loss", &gpu.read(&loss).unwrap(), &[10f64.ln(); 3], 10);
    }
}

#[test]
fn gradients_pass_difference_checks_in_a_graph() {
    let gpu = gpu();
    for smoothing in [0.0, 0.1] {
        for [rows, classes] in [[5, 7], [1, 3], [4, 2]] {
            let words = gpu.words(&labels(rows, classes)).unwrap();
            let shape = [[rows, classes].into()];
            check_gradients("cross_entropy", &shape, |tape, z| tape.cross_entropy(z[0], &words, smoothing));
            check_gradients("cross_entropy_mean", &shape, |tape, z| tape.cross_entropy_mean(z[0], &words, smoothing));
        }
    }
}

#[test]
fn wrong_operands_are_errors_that_name_them() {
    let gpu = gpu();
    let (logits, three) = (gpu.zeros([3, 10]).unwrap(), gpu.words(&[0, 1, 2]).unwrap());
    let flat = logits.reshape([30]).unwrap();
    let result = cross_entropy::forward(&gpu, &flat, &three, 0.0);
    refused(result, &["cross_entropy", "logits", "[30]", "two dimensions"]);
    let four = gpu.words(&[0, 1, 2, 3]).unwrap();
    let result = cross_entropy::forward(&gpu, &logits, &four, 0.0);
    refused(result, &["cross_entropy", "4 labels", "3 rows"]);
    for smoothing in [-0.1, 1.5, f32::NAN] {
        let result = cross_entropy::forward(&gpu, &logits, &three, smoothing);
        refused(result, &["cross_entropy", "smoothing", "[0, 1]"]);
    }

    let [one, two] = [1, 2].map(|count| gpu.zeros([count]).unwrap());
    let backward = |upstream, out| cross_entropy::backward(&gpu, &logits, &three, 0.0, upstream, out);
    let name = "cross_entropy_backward";
    refused(backward(Upstream::Each(&two), &logits), &[name, "gradient", "[2]", "[3]"]);
    refused(backward(Upstream::Mean(&two), &logits), &[name, "gradient", "[2]", "[1]"]);
    refused(backward(Upstream::Mean(&one), &flat), &[name, "result", "[30]", "[3, 10]"]);
}
