//! Sum, mean, maximum, log-sum-exp and sums of absolute values and squares over each dimension, with their gradients, against an f64 reference.

mod common;

use common::cases::{extent, for_cases, refused};
use common::{assert_close, check_gradients, check_gradients_at, gpu, operand, random};
use proptest::prelude::{Strategy, prop_oneof};
use shadegrad::autograd::Tape;
use shadegrad::gpu::{Gpu, Shape};
use shadegrad::ops::reduce::{self, Reduction};
use shadegrad::selftest::reference::reduce::{lines, reduced, slopes};

const ALL: [Reduction; 6] =
    [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::LogSumExp, Reduction::SumAbs, Reduction::SumSquares];

/// Shapes of every rank.
fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        extent(257).prop_map(|n| [n].into()),
        [extent(131), extent(131)].prop_map(Shape::from),
        [extent(17), extent(65), extent(17)].prop_map(Shape::from),
        [extent(9), extent(17), extent(9), extent(13)].prop_map(Shape::from),
    ]
}

/// Compares forward and backward over dimension `dim` with the reference.
fn check(gpu: &Gpu, shape: Shape, values: &[f32], dim: usize, reduction: Reduction) {
    let what = format!("{reduction:?} of {shape} over {dim}");
    let x = gpu.tensor(shape, values).unwrap();
    let y = reduce::forward(gpu, reduction, &x, dim).unwrap();
    let mut left = shape.dims().to_vec();
    left.remove(dim);
    assert_eq!(y.dims(), if left.is_empty() { &[1] } else { &left[..] }, "{what}");

    let (dy, upstream) = operand(gpu, 2, y.shape());
    let dx = gpu.empty(shape).unwrap();
    reduce::backward(gpu, reduction, &x, &y, dim, &dy, &dx).unwrap();
    let (mut wanted, mut gradient) = (Vec::new(), vec![0.0; values.len()]);
    for (indices, weight) in lines(shape, dim).iter().zip(upstream) {
        let line: Vec<f64> = indices.iter().map(|&index| f64::from(values[index])).collect();
        wanted.push(reduced(reduction, &line));
        for (&index, slope) in indices.iter().zip(slopes(reduction, &line)) {
            gradient[index] = slope * f64::from(weight);
        }
    }
    let terms = shape.dims()[dim];
    assert_close(&what, &gpu.read(&y).unwrap(), &wanted, terms);
    assert_close(&format!("gradient of {what}"), &gpu.read(&dx).unwrap(), &gradient, terms);
}

#[test]
fn every_reduction_over_every_dimension_matches_the_reference() {
    let gpu = gpu();
    for_cases(24, shapes(), |shape| {
        let values = random(1, shape.count());
        for dim in 0..shape.rank() {
            for reduction in ALL {
                check(&gpu, shape, &values, dim, reduction);
            }
        }
    });
}

#[test]
fn of_equal_maxima_the_first_gets_the_gradient() {
    let gpu = gpu();
    for_cases(24, shapes(), |shape| {
        // Three values only, so that nearly every line has its maximum more than once.
        let values: Vec<f32> = random(3, shape.count()).iter().map(|value| (1.4 * value).round()).collect();
        for dim in 0..shape.rank() {
            check(&gpu, shape, &values, dim, Reduction::Max);
        }
    });
    let x = gpu.tensor([2, 3], &[-1.0, 4.0, 4.0, 7.0, 7.0, 7.0]).unwrap();
    let (y, dx) = (reduce::forward(&gpu, Reduction::Max, &x, 1).unwrap(), gpu.empty([2, 3]).unwrap());
    reduce::backward(&gpu, Reduction::Max, &x, &y, 1, &gpu.tensor([2], &[2.0, 3.0]).unwrap(), &dx).unwrap();
    assert_eq!(gpu.read(&dx).unwrap(), [0.0, 2.0, 0.0, 3.0, 0.0, 0.0]);
}

#[test]
fn the_maximum_of_negative_numbers_is_negative() {
    let gpu = gpu();
    let values: Vec<f32> = random(4, 3 * 67).iter().map(|value| value - 5.0).collect();
    check(&gpu, [3, 67].into(), &values, 1, Reduction::Max);
}

#[test]
fn log_sum_exp_neither_overflows_nor_vanishes() {
    let gpu = gpu();
    for size in [100.0, 1e4, 1e30] {
        for values in [[1.0, 0.5, -1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [-0.5, -1.0, -0.5]] {
            check(&gpu, [1, 3].into(), &values.map(|value| value * size), 1, Reduction::LogSumExp);
        }
    }
}

#[test]
fn reducing_every_dimension_in_turn_gives_the_total() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let (tensor, values) = operand(&gpu, 5, [3, 5, 7, 11]);
    let x = tape.leaf(&tensor);
    let mut sum = x;
    for dim in (0..4).rev() {
        sum = tape.reduce(sum, Reduction::Sum, dim).unwrap();
    }
    let total = values.iter().map(|&value| f64::from(value)).sum();
    assert_close("total", &gpu.read(&tape.value(sum).unwrap()).unwrap(), &[total], 1155);
    let found = tape.backward(sum, &[x]).unwrap();
    assert!(gpu.read(found.of(x).unwrap()).unwrap().iter().all(|&slope| slope == 1.0));
}

#[test]
fn gradients_pass_difference_checks_in_a_graph() {
    for dim in 0..4 {
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::LogSumExp, Reduction::SumSquares] {
            let shape = [[2, 3, 4, 5].into()];
            check_gradients(&format!("{reduction:?} over {dim}"), &shape, |tape, x| tape.reduce(x[0], reduction, dim));
        }
    }
    // A maximum has no slope where two are equal; here neighbours differ by more than the step, in a mixed order.
    let spaced = |_: u32, count: usize| (0..count).map(|i| (i * 7 % count) as f32 * 0.1 - 1.0).collect();
    for dim in 0..2 {
        check_gradients_at("Max", &[[5, 6].into()], &spaced, |tape, x| tape.reduce(x[0], Reduction::Max, dim));
    }
}

#[test]
fn each_pictures_sum_in_one_step_or_two() {
    let gpu = gpu();
    for_cases(24, (extent(9), extent(67), prop_oneof![proptest::prelude::Just(64), extent(67)]), |(n, rows, row)| {
        let (x, values) = operand(&gpu, 6, [n, rows, row]);
        for reduction in [Reduction::Sum, Reduction::SumAbs, Reduction::SumSquares] {
            let wanted: Vec<f64> = values
                .chunks_exact(rows * row)
                .map(|one| reduced(reduction, &one.iter().map(|&value| f64::from(value)).collect::<Vec<_>>()))
                .collect();
            let found = reduce::each_image(&gpu, reduction, &x).unwrap();
            assert_close("each picture", &gpu.read(&found).unwrap(), &wanted, rows * row);
        }
    });
    refused(reduce::each_image(&gpu, Reduction::Max, &gpu.zeros([2, 3]).unwrap()), &["reduce", "Max"]);
}

#[test]
fn wrong_operands_are_errors_that_name_them() {
    let gpu = gpu();
    let x = gpu.zeros([2, 3]).unwrap();
    for reduction in ALL {
        refused(reduce::forward(&gpu, reduction, &x, 2), &["reduce", "[2, 3]", "dimension 2"]);
    }
    let (two, three) = (gpu.zeros([2]).unwrap(), gpu.zeros([3]).unwrap());
    let backward = |y, dim, dy, dx| reduce::backward(&gpu, Reduction::Max, &x, y, dim, dy, dx);
    let name = "reduce_backward";
    refused(backward(&two, 2, &two, &x), &["reduce", "[2, 3]", "dimension 2"]);
    refused(backward(&three, 1, &two, &x), &[name, "output", "[3]", "[2]"]);
    refused(backward(&two, 1, &three, &x), &[name, "gradient", "[3]", "[2]"]);
    refused(backward(&two, 1, &two, &two), &[name, "result", "[2]", "[2, 3]"]);
}
