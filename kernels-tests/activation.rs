//! ReLU, leaky ReLU, sigmoid, tanh and GELU against f64, with their gradients and their limits.

mod common;

use common::cases::{Place, bits, extent, for_cases, refused};
use common::{assert_close, check_gradients, check_gradients_at, gpu, random};
use proptest::prelude::*;
use shadegrad::gpu::Shape;
use shadegrad::ops::activation::{Activation, backward, forward};
use shadegrad::selftest::reference::activation::{slope, value};

const ALL: [Activation; 6] = [
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.01 },
    Activation::LeakyRelu { slope: 0.2 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Gelu,
];

/// Forward and backward at the given points.
fn check(activation: Activation, shape: Shape, points: &[f32]) {
    let gpu = gpu();
    let what = format!("{activation:?} {shape}");
    let x = gpu.tensor(shape, points).unwrap();
    let y = forward(&gpu, activation, &x).unwrap();
    assert_eq!(y.shape(), shape);
    let wanted: Vec<f64> = points.iter().map(|&x| value(activation, f64::from(x))).collect();
    assert_close(&format!("{what} y"), &gpu.read(&y).unwrap(), &wanted, 1);

    let dy_values = random(1, points.len());
    let dy = gpu.tensor(shape, &dy_values).unwrap();
    let dx = Place::new(&gpu, shape);
    let saved = if activation.saves_input() { &x } else { &y };
    backward(&gpu, activation, saved, &dy, &dx.tensor).unwrap();
    let wanted: Vec<f64> =
        points.iter().zip(&dy_values).map(|(&x, &dy)| slope(activation, f64::from(x)) * f64::from(dy)).collect();
    assert_close(&format!("{what} dx"), &dx.read(&gpu), &wanted, 1);
}

#[test]
fn random_shapes_match_f64() {
    let shapes =
        prop::collection::vec(extent(67), 1..=4).prop_filter("small", |dims| dims.iter().product::<usize>() < 50_000);
    for_cases(24, shapes, |dims| {
        let shape = Shape::new(&dims).unwrap();
        let points: Vec<f32> = random(0, shape.count()).iter().map(|x| 4.0 * x).collect();
        ALL.into_iter().for_each(|activation| check(activation, shape, &points));
    });
}

#[test]
fn workgroup_edges_match_f64() {
    for count in [1, 63, 64, 65, 4097] {
        ALL.into_iter().for_each(|activation| check(activation, [count].into(), &random(0, count)));
    }
}

#[test]
fn a_fine_grid_of_points_matches_f64() {
    // From one tail to the other, with zero and the neighbourhood of zero, where cancellation would show.
    let grid = (-1000..=1000).map(|i| i as f32 / 80.0);
    let near_zero = (-20..=20).map(|i| i as f32 * 1e-5);
    let points: Vec<f32> = grid.chain(near_zero).collect();
    // In pieces, because the tolerance follows the largest value of a comparison.
    for piece in points.chunks(41) {
        ALL.into_iter().for_each(|activation| check(activation, [piece.len()].into(), piece));
    }
}

#[test]
fn far_tails_are_finite_and_exact() {
    let points: [f32; 8] = [30.0, 89.0, 104.0, 1e4, 1e10, 1e19, 1e30, f32::MAX];
    for sign in [1.0, -1.0] {
        let points: Vec<f32> = points.iter().map(|x| sign * x).collect();
        let gpu = gpu();
        let x = gpu.tensor([points.len()], &points).unwrap();
        for activation in ALL {
            let y = forward(&gpu, activation, &x).unwrap();
            let dx = gpu.empty([points.len()]).unwrap();
            let dy = gpu.filled([points.len()], 1.0).unwrap();
            backward(&gpu, activation, if activation.saves_input() { &x } else { &y }, &dy, &dx).unwrap();
            let (y, dx) = (gpu.read(&y).unwrap(), gpu.read(&dx).unwrap());
            for (index, &x) in points.iter().enumerate() {
                let (wanted, derivative) = (value(activation, f64::from(x)), slope(activation, f64::from(x)));
                // Relative, for the ReLUs and GELU; what underflows to nothing in f32 may be nothing.
                let off = |found: f32, wanted: f64| (f64::from(found) - wanted).abs() / wanted.abs().max(1e-6);
                assert!(off(y[index], wanted) <= 1e-6, "{activation:?}({x}) is {}, not {wanted}", y[index]);
                assert!(off(dx[index], derivative) <= 1e-6, "{activation:?}'({x}) is {}, not {derivative}", dx[index]);
            }
        }
    }
}

#[test]
fn infinities_go_to_the_limits_and_nan_stays_nan() {
    let gpu = gpu();
    let x = gpu.tensor([3], &[f32::NEG_INFINITY, f32::INFINITY, f32::NAN]).unwrap();
    for (activation, low, high) in [
        (Activation::Relu, 0.0, f32::INFINITY),
        (Activation::LeakyRelu { slope: 0.1 }, f32::NEG_INFINITY, f32::INFINITY),
        (Activation::Sigmoid, 0.0, 1.0),
        (Activation::Tanh, -1.0, 1.0),
    ] {
        let y = gpu.read(&forward(&gpu, activation, &x).unwrap()).unwrap();
        assert_eq!(y[..2], [low, high], "{activation:?}");
        assert!(y[2].is_nan(), "{activation:?}(NaN) is {}", y[2]);
    }
    // GELU(-inf) is -inf * 0, which PyTorch leaves as NaN too.
    let y = gpu.read(&forward(&gpu, Activation::Gelu, &x).unwrap()).unwrap();
    assert_eq!(y[1], f32::INFINITY);
    assert!(y[2].is_nan());
}

#[test]
fn gelu_is_the_exact_one_not_its_tanh_approximation() {
    // torch.nn.functional.gelu(torch.tensor(x, dtype=torch.float64)); approximate="tanh" differs in the
    // fourth digit.
    let golden = [
        (1.0f32, 0.841_344_746),
        (-1.0, -0.158_655_254),
        (2.0, 1.954_499_736),
        (-2.0, -0.045_500_264),
        (0.5, 0.345_731_231),
    ];
    let gpu = gpu();
    let points = golden.map(|(x, _)| x);
    let y = gpu.read(&forward(&gpu, Activation::Gelu, &gpu.tensor([5], &points).unwrap()).unwrap()).unwrap();
    for ((x, wanted), found) in golden.into_iter().zip(y) {
        assert!((f64::from(found) - wanted).abs() < 5e-7, "GELU({x}) is {found}, not {wanted}");
    }
}

#[test]
fn the_kink_takes_the_left_slope() {
    let gpu = gpu();
    let x = gpu.tensor([2], &[0.0, -0.0]).unwrap();
    let dy = gpu.filled([2], 1.0).unwrap();
    for (activation, wanted) in [(Activation::Relu, 0.0), (Activation::LeakyRelu { slope: 0.1 }, 0.1)] {
        let (y, dx) = (forward(&gpu, activation, &x).unwrap(), gpu.empty([2]).unwrap());
        backward(&gpu, activation, &y, &dy, &dx).unwrap();
        assert_eq!(gpu.read(&dx).unwrap(), [wanted; 2], "{activation:?}");
    }
}

#[test]
fn a_second_run_gives_the_same_bits() {
    let gpu = gpu();
    let x = gpu.tensor([1001], &random(0, 1001)).unwrap();
    for activation in ALL {
        let run = || {
            let (y, dx) = (forward(&gpu, activation, &x).unwrap(), gpu.empty([1001]).unwrap());
            backward(&gpu, activation, &y, &x, &dx).unwrap();
            [gpu.read(&y).unwrap(), gpu.read(&dx).unwrap()].concat()
        };
        assert_eq!(bits(&run()), bits(&run()), "{activation:?}");
    }
}

#[test]
fn gradients_match_differences() {
    for activation in [Activation::Sigmoid, Activation::Tanh, Activation::Gelu] {
        check_gradients(&format!("{activation:?}"), &[[3, 1, 5].into()], |tape, v| tape.activation(v[0], activation));
    }
    // Away from the kink, on both sides of it.
    let away = |item: u32, count: usize| -> Vec<f32> {
        random(item, count).into_iter().map(|x| x + 0.1f32.copysign(x)).collect()
    };
    for activation in &ALL[..3] {
        let what = format!("{activation:?}");
        check_gradients_at(&what, &[[3, 1, 5].into()], &away, |tape, v| tape.activation(v[0], *activation));
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let [a, b] = [[2, 3], [3, 2]].map(|dims| gpu.zeros(dims).unwrap());
    for activation in ALL {
        let name = "activation_backward";
        refused(backward(&gpu, activation, &a, &b, &a), &[name, "the gradient", "[3, 2]", "[2, 3]"]);
        refused(backward(&gpu, activation, &a, &a, &b), &[name, "input's gradient", "[3, 2]", "[2, 3]"]);
    }
}
