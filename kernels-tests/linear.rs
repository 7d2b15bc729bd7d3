//! Fully connected layers against f64: forward, the gradients of input, weight and bias, fused ReLU.

mod common;

use common::cases::{Place, bits, extent, for_cases, refused};
use common::{assert_close, check_gradients, check_gradients_at, gpu, operand, random};
use proptest::prelude::*;
use shadegrad::gpu::Shape;
use shadegrad::ops::activation::{self, Activation};
use shadegrad::ops::linear;

/// Rows of the batch, features in and features out.
#[derive(Clone, Copy, Debug)]
struct Layer {
    rows: usize,
    input: usize,
    output: usize,
}

/// y = x W^T + b and, for a given dy, dx = dy W, dW = dy^T x and db = the sum of dy over the rows.
struct Reference {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
}

fn reference(layer: Layer, x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> Reference {
    let Layer { rows, input, output } = layer;
    let mut y: Vec<f64> = (0..rows * output).map(|index| f64::from(b[index % output])).collect();
    let (mut dx, mut dw, mut db) = (vec![0.0; rows * input], vec![0.0; output * input], vec![0.0; output]);
    for row in 0..rows {
        for o in 0..output {
            let g = f64::from(dy[row * output + o]);
            db[o] += g;
            for i in 0..input {
                let (value, weight) = (f64::from(x[row * input + i]), f64::from(w[o * input + i]));
                y[row * output + o] += value * weight;
                dx[row * input + i] += g * weight;
                dw[o * input + i] += g * value;
            }
        }
    }
    Reference { y, dx, dw, db }
}

fn check(layer: Layer) {
    let gpu = gpu();
    let Layer { rows, input, output } = layer;
    let ((x, x_values), (w, w_values)) = (operand(&gpu, 0, [rows, input]), operand(&gpu, 1, [output, input]));
    let ((b, b_values), (dy, dy_values)) = (operand(&gpu, 2, [output]), operand(&gpu, 3, [rows, output]));
    let wanted = reference(layer, &x_values, &w_values, &b_values, &dy_values);

    let y = linear::forward(&gpu, &x, &w, Some(&b), false).unwrap();
    assert_close(&format!("{layer:?} y"), &gpu.read(&y).unwrap(), &wanted.y, input);
    let positive: Vec<f64> = wanted.y.iter().map(|value| value.max(0.0)).collect();
    let y = linear::forward(&gpu, &x, &w, Some(&b), true).unwrap();
    assert_close(&format!("{layer:?} ReLU"), &gpu.read(&y).unwrap(), &positive, input);
    let unbiased: Vec<f64> =
        wanted.y.iter().enumerate().map(|(index, value)| value - f64::from(b_values[index % output])).collect();
    let y = linear::forward(&gpu, &x, &w, None, false).unwrap();
    assert_close(&format!("{layer:?} without bias"), &gpu.read(&y).unwrap(), &unbiased, input);

    let dx = Place::new(&gpu, [rows, input]);
    linear::backward_data(&gpu, &dy, &w, &dx.tensor).unwrap();
    assert_close(&format!("{layer:?} dx"), &dx.read(&gpu), &wanted.dx, output);
    let dw = Place::new(&gpu, [output, input]);
    linear::backward_weights(&gpu, &x, &dy, &dw.tensor).unwrap();
    assert_close(&format!("{layer:?} dw"), &dw.read(&gpu), &wanted.dw, rows);
    let db = Place::new(&gpu, [output]);
    linear::backward_bias(&gpu, &dy, &db.tensor).unwrap();
    assert_close(&format!("{layer:?} db"), &db.read(&gpu), &wanted.db, rows);
}

#[test]
fn random_layers_match_f64() {
    let layers = (extent(67), extent(67), extent(67)).prop_map(|(rows, input, output)| Layer { rows, input, output });
    for_cases(20, layers, check);
}

#[test]
fn layers_of_the_models_match_f64() {
    for (rows, input, output) in [(16, 400, 120), (128, 84, 10), (1, 512, 10), (3, 127, 65)] {
        check(Layer { rows, input, output });
    }
}

#[test]
fn fused_relu_equals_a_separate_one() {
    let gpu = gpu();
    for (rows, input, output) in [(9, 12, 17), (9, 13, 17)] {
        let ((x, _), (w, _), (b, _)) =
            (operand(&gpu, 0, [rows, input]), operand(&gpu, 1, [output, input]), operand(&gpu, 2, [output]));
        let (dy, dy_values) = operand(&gpu, 3, [rows, output]);
        let plain = linear::forward(&gpu, &x, &w, Some(&b), false).unwrap();
        let separate = gpu.read(&activation::forward(&gpu, Activation::Relu, &plain).unwrap()).unwrap();
        let y = linear::forward(&gpu, &x, &w, Some(&b), true).unwrap();
        let fused = gpu.read(&y).unwrap();
        assert!(fused.contains(&0.0) && fused.iter().any(|&value| value > 0.0));
        assert_eq!(fused, separate);

        // The gradient before the ReLU: dy where the output is positive, and no rounding.
        let masked = gpu.read(&linear::backward_relu(&gpu, &y, &dy).unwrap()).unwrap();
        let wanted: Vec<f32> = fused.iter().zip(&dy_values).map(|(&y, &dy)| if y > 0.0 { dy } else { 0.0 }).collect();
        assert_eq!(masked, wanted);
    }
}

#[test]
fn a_second_run_gives_the_same_bits() {
    let gpu = gpu();
    let ((x, _), (dy, _)) = (operand(&gpu, 0, [301, 36]), operand(&gpu, 1, [301, 17]));
    let run = || {
        let (dw, db) = (gpu.empty([17, 36]).unwrap(), gpu.empty([17]).unwrap());
        linear::backward_weights(&gpu, &x, &dy, &dw).unwrap();
        linear::backward_bias(&gpu, &dy, &db).unwrap();
        [gpu.read(&dw).unwrap(), gpu.read(&db).unwrap()].concat()
    };
    assert_eq!(bits(&run()), bits(&run()));
}

#[test]
fn gradients_match_differences() {
    for (rows, input, output) in [(3, 7, 5), (5, 4, 8), (1, 1, 1)] {
        let shapes: [Shape; 3] = [[rows, input].into(), [output, input].into(), [output].into()];
        let layer = Layer { rows, input, output };
        check_gradients(&format!("{layer:?}"), &shapes, |tape, v| tape.linear(v[0], v[1], v[2], false));
        // Whole numbers plus a half of a unit stay away from ReLU's kink.
        let points = |item: u32, count: usize| -> Vec<f32> {
            let whole = |value: f32| (2.0 * value).round();
            random(item, count).into_iter().map(|value| if item == 102 { 0.75 } else { whole(value) }).collect()
        };
        let what = format!("{layer:?} with ReLU");
        check_gradients_at(&what, &shapes, &points, |tape, v| tape.linear(v[0], v[1], v[2], true));
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let tensor = |dims: &[usize]| gpu.zeros(Shape::new(dims).unwrap()).unwrap();
    let (x, w, b, dy) = (tensor(&[2, 3]), tensor(&[5, 3]), tensor(&[5]), tensor(&[2, 5]));
    linear::forward(&gpu, &x, &w, Some(&b), true).unwrap();
    refused(linear::forward(&gpu, &x, &tensor(&[5, 4]), None, false), &["linear", "[5, 4]", "[5, 3]"]);
    refused(linear::forward(&gpu, &tensor(&[2, 3, 1, 1]), &w, None, false), &["linear", "[2, 3, 1, 1]"]);
    refused(linear::forward(&gpu, &x, &b, None, false), &["linear", "weight", "[5]"]);
    refused(linear::forward(&gpu, &x, &w, Some(&tensor(&[3])), false), &["linear", "bias", "[3]", "[5]"]);
    refused(linear::backward_data(&gpu, &x, &w, &x), &["linear", "[5, 3]", "[3, 3]"]);
    refused(linear::backward_data(&gpu, &dy, &w, &tensor(&[2, 4])), &["linear", "[2, 4]", "[2, 3]"]);
    refused(linear::backward_weights(&gpu, &x, &tensor(&[3, 5]), &w), &["linear", "[3, 5]", "[2, 5]"]);
    refused(linear::backward_weights(&gpu, &x, &dy, &tensor(&[3, 5])), &["linear", "[3, 5]", "[5, 3]"]);
    refused(linear::backward_bias(&gpu, &dy, &tensor(&[2])), &["linear", "[2]", "[5]"]);
    refused(linear::backward_bias(&gpu, &b, &b), &["linear", "[5]"]);
    refused(linear::backward_relu(&gpu, &x, &dy), &["[2, 3]", "[2, 5]"]);
}
