//! Mean squared error of each image and over the batch, with both gradients, against an f64 reference.

mod common;

use common::cases::{extent, for_cases, refused};
use common::{assert_close, check_gradients, gpu, operand, random};
use proptest::prelude::{Just, Strategy, prop_oneof};
use shadegrad::autograd::Tape;
use shadegrad::gpu::Shape;
use shadegrad::ops::mse;
use shadegrad::selftest::reference::mse::{each_image, gradient};

/// Batches of numbers, rows, and pictures.
fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just([1, 1, 1, 1].into()),
        extent(131).prop_map(|n| [n].into()),
        [extent(67), extent(257)].prop_map(Shape::from),
        [extent(5), extent(4), extent(37), extent(17)].prop_map(Shape::from),
    ]
}

fn negated(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|value| -value).collect()
}

#[test]
fn each_image_has_its_error_and_gradients() {
    let gpu = gpu();
    for_cases(24, shapes(), |shape| {
        let images = shape.dims()[0];
        let ((a, a_values), (b, b_values)) = (operand(&gpu, 1, shape), operand(&gpu, 2, shape));
        let terms = shape.count() / images;
        let loss = mse::forward(&gpu, &a, &b).unwrap();
        assert_eq!(loss.shape(), Shape::from([images]));
        assert_close("loss", &gpu.read(&loss).unwrap(), &each_image(&a_values, &b_values, images), terms);

        let (upstream, weights) = operand(&gpu, 3, [images]);
        let wanted = gradient(&a_values, &b_values, images, |image| f64::from(weights[image]));
        let (da, db) = (gpu.empty(shape).unwrap(), gpu.empty(shape).unwrap());
        mse::backward(&gpu, &a, &b, &upstream, false, false, &da).unwrap();
        mse::backward(&gpu, &a, &b, &upstream, false, true, &db).unwrap();
        assert_close("da", &gpu.read(&da).unwrap(), &wanted, 1);
        assert_close("db", &gpu.read(&db).unwrap(), &negated(wanted), 1);
    });
}

#[test]
fn the_mean_over_the_batch_and_its_gradients() {
    let gpu = gpu();
    for_cases(24, shapes(), |shape| {
        let images = shape.dims()[0];
        let ((a, a_values), (b, b_values)) = (operand(&gpu, 1, shape), operand(&gpu, 2, shape));
        let tape = Tape::new(&gpu);
        let (a, b) = (tape.leaf(&a), tape.leaf(&b));
        let loss = tape.mse_mean(a, b).unwrap();
        let value = tape.value(loss).unwrap();
        assert_eq!(value.shape(), Shape::from([1]));
        let mean = each_image(&a_values, &b_values, images).iter().sum::<f64>() / images as f64;
        assert_close("loss", &gpu.read(&value).unwrap(), &[mean], shape.count());

        // A factor after the loss, so that a gradient that ignores what comes from above is off by it.
        let loss = tape.scale(loss, -3.0, 0.5).unwrap();
        let found = tape.backward(loss, &[a, b]).unwrap();
        let wanted = gradient(&a_values, &b_values, images, |_| -3.0 / images as f64);
        assert_close("da", &gpu.read(found.of(a).unwrap()).unwrap(), &wanted, 1);
        assert_close("db", &gpu.read(found.of(b).unwrap()).unwrap(), &negated(wanted), 1);
    });
}

#[test]
fn small_gradients_keep_their_digits() {
    // Divided by 3072 elements and 64 images a gradient is far below one, where `assert_close` would see nothing.
    let gpu = gpu();
    let shape = [64, 3072];
    let ((a, a_values), (b, b_values)) = (operand(&gpu, 1, shape), operand(&gpu, 2, shape));
    let (one, da) = (gpu.filled([1], 1.0).unwrap(), gpu.empty(shape).unwrap());
    mse::backward(&gpu, &a, &b, &one, true, false, &da).unwrap();
    let wanted = gradient(&a_values, &b_values, 64, |_| 1.0 / 64.0);
    for (&found, wanted) in gpu.read(&da).unwrap().iter().zip(wanted) {
        // The difference of two f32 numbers is rounded once more than it is in f64.
        assert!((f64::from(found) - wanted).abs() <= 4e-7 * wanted.abs(), "{found}, not {wanted}");
    }
}

#[test]
fn equal_operands_have_no_error_and_no_gradient() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let x = tape.leaf(&gpu.tensor([5, 67], &random(4, 335)).unwrap());
    let loss = tape.mse(x, x).unwrap();
    let found = tape.backward(loss, &[x]).unwrap();
    assert_eq!(gpu.read(&tape.value(loss).unwrap()).unwrap(), [0.0; 5]);
    assert!(gpu.read(found.of(x).unwrap()).unwrap().iter().all(|&value| value == 0.0));
}

#[test]
fn gradients_pass_difference_checks_in_a_graph() {
    for shape in [Shape::from([3, 2, 3, 5]), Shape::from([7]), Shape::from([1, 65])] {
        check_gradients("mse", &[shape, shape], |tape, x| tape.mse(x[0], x[1]));
        check_gradients("mse_mean", &[shape, shape], |tape, x| tape.mse_mean(x[0], x[1]));
        // An autoencoder's loss: one value is target and, through the network, origin.
        check_gradients("mse of a value with its image", &[shape], |tape, x| {
            let image = tape.multiply(x[0], x[0])?;
            tape.mse_mean(image, x[0])
        });
    }
}

#[test]
fn wrong_shapes_are_errors_that_name_them() {
    let gpu = gpu();
    let (a, b) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([3, 2]).unwrap());
    refused(mse::forward(&gpu, &a, &b), &["mse", "second operand", "[3, 2]", "[2, 3]"]);
    let tape = Tape::new(&gpu);
    refused(tape.mse_mean(tape.leaf(&a), tape.leaf(&b)), &["mse", "[3, 2]", "[2, 3]"]);
    let [one, two, three] = [1, 2, 3].map(|count| gpu.zeros([count]).unwrap());
    let backward = |upstream, mean, out| mse::backward(&gpu, &a, &a, upstream, mean, false, out);
    refused(backward(&three, false, &a), &["mse_backward", "gradient", "[3]", "[2]"]);
    refused(backward(&two, true, &a), &["mse_backward", "gradient", "[2]", "[1]"]);
    refused(backward(&one, true, &b), &["mse_backward", "result", "[3, 2]", "[2, 3]"]);
}
