//! Addition, multiplication, scaling and accumulation against the same arithmetic on the CPU.

mod common;

use common::cases::{Place, bits, extent, for_cases, refused};
use common::{assert_close, check_gradients, gpu, operand, random};
use proptest::prelude::*;
use shadegrad::gpu::Shape;
use shadegrad::ops::elementwise::{accumulate, add, multiply, multiply_into, scale, scale_into};

fn check(dims: &[usize]) {
    let gpu = gpu();
    let shape = Shape::new(dims).unwrap();
    let ((a, a_values), (b, b_values)) = (operand(&gpu, 0, shape), operand(&gpu, 1, shape));
    let pairs = || a_values.iter().zip(&b_values);
    let sums: Vec<f32> = pairs().map(|(a, b)| a + b).collect();
    let products: Vec<f32> = pairs().map(|(a, b)| a * b).collect();

    // One rounding each: these are equal to the bit.
    let sum = add(&gpu, &a, &b).unwrap();
    assert_eq!(sum.shape(), shape);
    assert_eq!(gpu.read(&sum).unwrap(), sums, "add {shape}");
    let product = multiply(&gpu, &a, &b).unwrap();
    assert_eq!(product.shape(), shape);
    assert_eq!(gpu.read(&product).unwrap(), products, "multiply {shape}");
    let place = Place::new(&gpu, shape);
    multiply_into(&gpu, &a, &b, &place.tensor).unwrap();
    assert_eq!(place.read(&gpu), products, "multiply_into {shape}");
    // A target that already holds something, in the midst of others.
    let place = Place::new(&gpu, shape);
    gpu.write(&place.tensor, &b_values).unwrap();
    accumulate(&gpu, &place.tensor, &a).unwrap();
    assert_eq!(place.read(&gpu), sums, "accumulate {shape}");

    // Two roundings, or one where the driver fuses them.
    let scaled: Vec<f64> = a_values.iter().map(|&a| -2.5 * f64::from(a) + 0.7).collect();
    let found = scale(&gpu, &a, -2.5, 0.7).unwrap();
    assert_eq!(found.shape(), shape);
    assert_close(&format!("scale {shape}"), &gpu.read(&found).unwrap(), &scaled, 1);
    let place = Place::new(&gpu, shape);
    scale_into(&gpu, &a, -2.5, 0.7, &place.tensor).unwrap();
    assert_close(&format!("scale_into {shape}"), &place.read(&gpu), &scaled, 1);
}

#[test]
fn random_shapes_match_the_cpu() {
    let shapes =
        prop::collection::vec(extent(67), 1..=4).prop_filter("small", |dims| dims.iter().product::<usize>() < 100_000);
    for_cases(32, shapes, |dims| check(&dims));
}

#[test]
fn workgroup_edges_match_the_cpu() {
    for count in [1, 63, 64, 65, 127, 128, 4097] {
        check(&[count]);
    }
}

#[test]
fn a_grid_that_one_dimension_cannot_hold_is_folded() {
    check(&[65_535 * 64 + 1]);
}

#[test]
fn special_values_follow_ieee() {
    let gpu = gpu();
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let (a_values, b_values) = ([inf, inf, nan, 0.0, f32::MAX, -0.0, 1.0], [1.0, -inf, 1.0, inf, f32::MAX, 0.0, nan]);
    let (a, b) = (gpu.tensor([7], &a_values).unwrap(), gpu.tensor([7], &b_values).unwrap());
    let sums = gpu.read(&add(&gpu, &a, &b).unwrap()).unwrap();
    let products = gpu.read(&multiply(&gpu, &a, &b).unwrap()).unwrap();
    for index in 0..7 {
        for (found, wanted) in
            [(sums[index], a_values[index] + b_values[index]), (products[index], a_values[index] * b_values[index])]
        {
            assert!(found == wanted || (found.is_nan() && wanted.is_nan()), "element {index}: {found}, not {wanted}");
        }
    }
}

#[test]
fn a_second_run_gives_the_same_bits() {
    let gpu = gpu();
    let (a, _) = operand(&gpu, 0, [1001]);
    let run = || gpu.read(&scale(&gpu, &a, 1.1, 0.3).unwrap()).unwrap();
    assert_eq!(bits(&run()), bits(&run()));
}

#[test]
fn gradients_match_differences() {
    let shapes: [Shape; 2] = [[3, 1, 5].into(), [3, 1, 5].into()];
    check_gradients("add", &shapes, |tape, v| tape.add(v[0], v[1]));
    check_gradients("multiply", &shapes, |tape, v| tape.multiply(v[0], v[1]));
    check_gradients("scale", &shapes[..1], |tape, v| tape.scale(v[0], -0.7, 0.4));
    // A value that is used more than once gets the sum of its gradients.
    check_gradients("x + x", &shapes[..1], |tape, v| tape.add(v[0], v[0]));
    check_gradients("x x", &shapes[..1], |tape, v| tape.multiply(v[0], v[0]));
    check_gradients("x y + x", &shapes, |tape, v| tape.add(tape.multiply(v[0], v[1])?, v[0]));
}

#[test]
fn gradients_of_a_shared_parameter_accumulate_in_its_place() {
    let gpu = gpu();
    let (x, values) = operand(&gpu, 0, [5, 13]);
    let place = Place::new(&gpu, [5, 13]);
    let tape = shadegrad::autograd::Tape::new(&gpu);
    let leaf = tape.parameter(&x, &place.tensor);
    let loss = tape.multiply(tape.multiply(leaf, leaf).unwrap(), leaf).unwrap();
    tape.backward(loss, &[leaf]).unwrap();
    let wanted: Vec<f64> = values.iter().map(|&x| 3.0 * f64::from(x).powi(2)).collect();
    assert_close("3 x^2", &place.read(&gpu), &wanted, 3);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let (a, b) = (gpu.tensor([2, 3], &random(0, 6)).unwrap(), gpu.tensor([3, 2], &random(1, 6)).unwrap());
    let wrong = ["[2, 3]", "[3, 2]"];
    let named = |name: &'static str| [name, wrong[0], wrong[1]];
    refused(add(&gpu, &a, &b), &named("add"));
    refused(multiply(&gpu, &a, &b), &named("multiply"));
    refused(multiply_into(&gpu, &a, &b, &a), &named("multiply"));
    refused(multiply_into(&gpu, &a, &a, &b), &named("multiply"));
    refused(scale_into(&gpu, &a, 1.0, 0.0, &b), &named("scale"));
    refused(accumulate(&gpu, &a, &b), &named("accumulate"));
}
