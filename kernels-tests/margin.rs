//! Margins between logits and their gradients, against an f64 reference.

mod common;

use common::cases::{extent, for_cases, refused};
use common::{assert_close, check_gradients_at, gpu, operand};
use shadegrad::ops::margin;
use shadegrad::random::{Purpose, Stream};
use shadegrad::selftest::reference::margin::{margins, slopes};

fn labels(rows: usize, classes: usize) -> Vec<u32> {
    let mut stream = Stream::new(99, Purpose::Test, 51);
    (0..rows).map(|_| stream.below(classes as u32)).collect()
}

#[test]
fn each_row_has_its_margin_and_gradient() {
    let gpu = gpu();
    for_cases(24, (extent(131), extent(67)), |(rows, classes)| {
        let classes = classes + 1;
        let (logits, values) = operand(&gpu, 1, [rows, classes]);
        // Few values, so that rows have equal logits.
        let values: Vec<f32> = values.iter().map(|value| (8.0 * value).round() / 8.0 - 3.0).collect();
        gpu.write(&logits, &values).unwrap();
        let marks = labels(rows, classes);
        let words = gpu.words(&marks).unwrap();
        let (upstream, weights) = operand(&gpu, 2, [rows]);
        for sign in [1.0f32, -1.0] {
            let (wanted, slopes) = (margins(&values, &marks, sign), slopes(&values, &marks, sign, &weights));
            let found = margin::forward(&gpu, &logits, &words, sign).unwrap();
            assert_close("margin", &gpu.read(&found).unwrap(), &wanted, 1);
            let place = gpu.empty([rows, classes]).unwrap();
            margin::backward(&gpu, &logits, &words, sign, &upstream, &place).unwrap();
            assert_close("gradient", &gpu.read(&place).unwrap(), &slopes, 1);
        }
    });
}

#[test]
fn gradients_pass_difference_checks_in_a_graph() {
    // Where two logits are equal there is no slope; here neighbours differ by more than the step, in a mixed order.
    let spaced = |_: u32, count: usize| (0..count).map(|i| (i * 7 % count) as f32 * 0.1 - 1.0).collect();
    let words = gpu().words(&[0, 3, 2, 5]).unwrap();
    check_gradients_at("margin", &[[4, 6].into()], &spaced, |tape, x| tape.margin(x[0], &words, -1.0));
}

#[test]
fn wrong_operands_are_errors_that_name_them() {
    let gpu = gpu();
    let (x, words) = (gpu.zeros([2, 3]).unwrap(), gpu.words(&[0, 1]).unwrap());
    refused(margin::forward(&gpu, &x, &gpu.words(&[0]).unwrap(), 1.0), &["margin", "1 labels", "2 rows"]);
    refused(margin::forward(&gpu, &gpu.zeros([2, 1]).unwrap(), &words, 1.0), &["margin", "[2, 1]"]);
    let (two, three) = (gpu.zeros([2]).unwrap(), gpu.zeros([3]).unwrap());
    refused(margin::backward(&gpu, &x, &words, 1.0, &three, &x), &["margin_backward", "[3]", "[2]"]);
    refused(margin::backward(&gpu, &x, &words, 1.0, &two, &two), &["margin_backward", "[2]", "[2, 3]"]);
}
