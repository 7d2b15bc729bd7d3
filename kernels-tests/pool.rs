//! Max, average and global average pooling against f64, with their gradients, ties, padding and NaN.

mod common;

use common::cases::{Place, bits, extent, for_cases, refused};
use common::{assert_close, check_gradients, check_gradients_at, gpu, operand, random};
use proptest::prelude::*;
use shadegrad::autograd::Tape;
use shadegrad::gpu::Shape;
use shadegrad::ops::activation::{self, Activation};
use shadegrad::ops::conv2d::Window;
use shadegrad::ops::pool::{average_backward, average_forward, max_backward, max_forward};
use shadegrad::selftest::reference::pool::{Pooling, winner};

fn check_max(case: Pooling, values: &[f32]) {
    let gpu = gpu();
    let Pooling { dims, kernel: [kernel, _], window } = case;
    let x = gpu.tensor(dims, values).unwrap();
    let (y, winners) = max_forward(&gpu, &x, kernel, window, false).unwrap();
    assert_eq!(y.dims(), case.output());
    let places: Vec<usize> = case.windows().iter().map(|covered| winner(covered, values)).collect();
    let wanted: Vec<f32> = places.iter().map(|&place| values[place]).collect();
    assert_eq!(gpu.read(&y).unwrap(), wanted, "{case:?} y");
    let plane = dims[2] * dims[3];
    let in_plane: Vec<u32> = places.iter().map(|place| (place % plane) as u32).collect();
    assert_eq!(gpu.read_words(&winners).unwrap(), in_plane, "{case:?} winners");

    let (dy, dy_values) = operand(&gpu, 1, case.output());
    let mut wanted = vec![0.0; values.len()];
    for (&place, &dy) in places.iter().zip(&dy_values) {
        wanted[place] += f64::from(dy);
    }
    let dx = Place::new(&gpu, dims);
    max_backward(&gpu, &dy, &winners, kernel, window, &dx.tensor).unwrap();
    let without = dx.read(&gpu);
    assert_close(&format!("{case:?} dx"), &without, &wanted, kernel * kernel);

    // ReLU fused equals ReLU after it, both ways.
    let (fused, let_through) = max_forward(&gpu, &x, kernel, window, true).unwrap();
    let or_nobody = |(&place, &in_plane): (&usize, &u32)| if values[place] <= 0.0 { u32::MAX } else { in_plane };
    let wanted: Vec<u32> = places.iter().zip(&in_plane).map(or_nobody).collect();
    assert_eq!(gpu.read_words(&let_through).unwrap(), wanted, "{case:?} winners with ReLU");
    let separate = activation::forward(&gpu, Activation::Relu, &y).unwrap();
    assert_eq!(gpu.read(&fused).unwrap(), gpu.read(&separate).unwrap(), "{case:?} y with ReLU");
    let masked = gpu.empty(dy.shape()).unwrap();
    activation::backward(&gpu, Activation::Relu, &separate, &dy, &masked).unwrap();
    let (alone, at_once) = (Place::new(&gpu, dims), Place::new(&gpu, dims));
    max_backward(&gpu, &masked, &winners, kernel, window, &alone.tensor).unwrap();
    max_backward(&gpu, &dy, &let_through, kernel, window, &at_once.tensor).unwrap();
    assert_eq!(at_once.read(&gpu), alone.read(&gpu), "{case:?} dx with ReLU");
}

fn check_average(case: Pooling) {
    let gpu = gpu();
    let (x, values) = operand(&gpu, 0, case.dims);
    let area = case.kernel[0] * case.kernel[1];
    let windows = case.windows();
    let mean = |covered: &Vec<usize>| covered.iter().map(|&place| f64::from(values[place])).sum::<f64>() / area as f64;
    let wanted: Vec<f64> = windows.iter().map(mean).collect();
    let y = average_forward(&gpu, &x, case.kernel, case.window).unwrap();
    assert_eq!(y.dims(), case.output());
    assert_close(&format!("{case:?} y"), &gpu.read(&y).unwrap(), &wanted, area);

    let (dy, dy_values) = operand(&gpu, 1, case.output());
    let mut wanted = vec![0.0; values.len()];
    for (covered, &dy) in windows.iter().zip(&dy_values) {
        covered.iter().for_each(|&place| wanted[place] += f64::from(dy) / area as f64);
    }
    let dx = Place::new(&gpu, case.dims);
    average_backward(&gpu, &dy, case.kernel, case.window, &dx.tensor).unwrap();
    assert_close(&format!("{case:?} dx"), &dx.read(&gpu), &wanted, area);
}

/// Few values, so that there are ties, and none above zero, so that a padded zero would win.
fn tied(count: usize) -> Vec<f32> {
    random(0, count).into_iter().map(|value| (2.0 * value).floor() - 2.0).collect()
}

fn poolings(square: bool) -> impl Strategy<Value = Pooling> {
    let planes = (1usize..4, prop_oneof![Just(1usize), Just(3), Just(17)]);
    let extents = (extent(67), extent(67)).prop_filter("small", |(h, w)| h * w < 2000);
    (planes, extents, 1usize..=5, 1usize..=5, 1usize..=3, 0usize..=2).prop_filter_map(
        "the window must fit",
        move |((n, c), (h, w), kernel_h, kernel_w, stride, padding)| {
            let kernel = [kernel_h, if square { kernel_h } else { kernel_w }];
            let fits = kernel[0].max(kernel[1]) <= h.min(w) + 2 * padding && 2 * padding <= kernel[0].min(kernel[1]);
            fits.then(|| Pooling::new([n, c, h, w], kernel, stride, padding))
        },
    )
}

#[test]
fn random_max_poolings_match_the_cpu() {
    for_cases(48, poolings(true), |case| {
        let count = case.dims.iter().product();
        check_max(case, &random(0, count));
        check_max(case, &tied(count));
    });
}

#[test]
fn random_average_poolings_match_f64() {
    for_cases(48, poolings(false), check_average);
}

#[test]
fn edge_windows_match() {
    for (dims, kernel, stride, padding) in [
        ([1, 1, 1, 1], 1, 1, 0),
        ([16, 6, 28, 28], 2, 2, 0),
        ([3, 5, 6, 12], 2, 2, 0), // pairs of windows
        ([2, 3, 7, 7], 2, 2, 0),  // the last row and column meet no window
        ([3, 2, 6, 7], 2, 2, 0),  // the last column alone
        ([2, 2, 11, 9], 3, 3, 0), // the last two rows
        ([1, 2, 9, 8], 2, 3, 0),  // strides beyond the window leave pixels between
        ([2, 1, 5, 6], 4, 2, 1),
        ([1, 1, 1, 1], 2, 1, 1), // every window is mostly padding
        ([1, 3, 8, 8], 3, 2, 1),
        ([1, 1, 64, 1], 1, 1, 0),
    ] {
        let case = Pooling::new(dims, [kernel; 2], stride, padding);
        check_max(case, &random(0, dims.iter().product()));
        check_max(case, &tied(dims.iter().product()));
        check_average(case);
    }
}

#[test]
fn global_average_pooling_is_the_mean_of_each_plane() {
    let gpu = gpu();
    for dims in [[2, 3, 7, 5], [3, 65, 1, 1], [1, 1, 32, 33]] {
        let (x, values) = operand(&gpu, 0, dims);
        let tape = Tape::new(&gpu);
        let leaf = tape.leaf(&x);
        let y = tape.global_avg_pool(leaf).unwrap();
        let area = dims[2] * dims[3];
        let wanted: Vec<f64> =
            values.chunks(area).map(|plane| plane.iter().map(|&v| f64::from(v)).sum::<f64>() / area as f64).collect();
        let found = tape.value(y).unwrap();
        assert_eq!(found.dims(), [dims[0], dims[1]]);
        assert_close(&format!("{dims:?}"), &gpu.read(&found).unwrap(), &wanted, area);
        let gradients = tape.backward(y, &[leaf]).unwrap();
        let wanted = vec![1.0 / area as f64; values.len()];
        assert_close(&format!("{dims:?} dx"), &gpu.read(gradients.of(leaf).unwrap()).unwrap(), &wanted, 1);
    }
}

#[test]
fn among_equals_the_first_wins() {
    let gpu = gpu();
    let x = gpu.tensor([1, 1, 2, 4], &[-1.0, -1.0, 0.0, -0.0, -1.0, -1.0, -0.0, 0.0]).unwrap();
    let window = Window::new(2, 0);
    let (y, winners) = max_forward(&gpu, &x, 2, window, false).unwrap();
    assert_eq!(gpu.read(&y).unwrap(), [-1.0, 0.0]);
    assert_eq!(gpu.read_words(&winners).unwrap(), [0, 2]);
    // One winner gets the whole gradient; it is not shared out.
    let (dy, dx) = (gpu.tensor([1, 1, 1, 2], &[3.0, 5.0]).unwrap(), gpu.empty([1, 1, 2, 4]).unwrap());
    max_backward(&gpu, &dy, &winners, 2, window, &dx).unwrap();
    assert_eq!(gpu.read(&dx).unwrap(), [3.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn padding_never_wins() {
    let gpu = gpu();
    for lowest in [-1.0, f32::MIN, f32::NEG_INFINITY] {
        let x = gpu.filled([1, 1, 2, 2], lowest).unwrap();
        let (y, winners) = max_forward(&gpu, &x, 2, Window::new(1, 1), false).unwrap();
        assert_eq!(gpu.read(&y).unwrap(), [lowest; 9]);
        assert_eq!(gpu.read_words(&winners).unwrap(), [0, 0, 1, 0, 0, 1, 2, 2, 3]);
    }
}

#[test]
fn nan_wins_its_window() {
    let gpu = gpu();
    let inf = f32::INFINITY;
    for place in 0..4 {
        let mut values = [1.0, inf, -inf, 2.0, 1.0, 2.0, 3.0, 4.0];
        values[place] = f32::NAN;
        let x = gpu.tensor([1, 2, 2, 2], &values).unwrap();
        let (y, winners) = max_forward(&gpu, &x, 2, Window::new(2, 0), false).unwrap();
        let y = gpu.read(&y).unwrap();
        assert!(y[0].is_nan() && y[1] == 4.0, "NaN at {place} gives {y:?}");
        assert_eq!(gpu.read_words(&winners).unwrap(), [place as u32, 3]);
    }
}

#[test]
fn a_second_run_gives_the_same_bits() {
    let gpu = gpu();
    let window = Window::new(2, 1);
    let ((x, _), (dy, _)) = (operand(&gpu, 0, [2, 3, 13, 11]), operand(&gpu, 1, [2, 3, 7, 6]));
    let run = || {
        let (y, winners) = max_forward(&gpu, &x, 3, window, false).unwrap();
        let dx = [gpu.empty(x.shape()).unwrap(), gpu.empty(x.shape()).unwrap()];
        max_backward(&gpu, &dy, &winners, 3, window, &dx[0]).unwrap();
        average_backward(&gpu, &dy, [3, 3], window, &dx[1]).unwrap();
        let average = average_forward(&gpu, &x, [3, 3], window).unwrap();
        [&y, &dx[0], &dx[1], &average].map(|tensor| gpu.read(tensor).unwrap()).concat()
    };
    assert_eq!(bits(&run()), bits(&run()));
}

#[test]
fn gradients_match_differences() {
    // All values different by more than the steps of the differences, so that no winner changes.
    let apart = |item: u32, count: usize| -> Vec<f32> {
        let keys = random(item, count);
        let rank = |key: f32| keys.iter().filter(|&&other| other < key).count();
        keys.iter().map(|&key| 0.1 * rank(key) as f32 - 0.05 * count as f32).collect()
    };
    for (dims, kernel, stride, padding) in [([2, 1, 5, 3], 2, 1, 0), ([1, 2, 5, 5], 3, 2, 1), ([1, 1, 7, 4], 2, 3, 0)] {
        let window = Window::new(stride, padding);
        let what = format!("max {dims:?}");
        check_gradients_at(&what, &[dims.into()], &apart, |tape, v| tape.max_pool(v[0], kernel, window, false));
        check_gradients("average", &[dims.into()], |tape, v| tape.avg_pool(v[0], [kernel, kernel + 1], window));
        check_gradients("global average", &[dims.into()], |tape, v| tape.global_avg_pool(v[0]));
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let zeros = |dims: &[usize]| gpu.zeros(Shape::new(dims).unwrap()).unwrap();
    let (x, dy, flat, window) = (zeros(&[1, 2, 5, 5]), zeros(&[1, 2, 2, 2]), zeros(&[2, 5]), Window::new(2, 0));
    let pixels = |pixels: &'static str| ["max_pool", "kernel of 6", pixels];
    refused(max_forward(&gpu, &flat, 2, window, false), &["max_pool", "[2, 5]"]);
    refused(max_forward(&gpu, &x, 6, window, false), &pixels("5 pixels"));
    refused(max_forward(&gpu, &x, 2, Window::new(0, 0), false), &["max_pool", "stride 0"]);
    refused(max_forward(&gpu, &x, 0, window, false), &["max_pool", "kernel of 0"]);
    refused(max_forward(&gpu, &x, 3, Window::new(1, 2), false), &["max_pool", "padding 2", "[3, 3]"]);
    refused(average_forward(&gpu, &flat, [2, 2], window), &["avg_pool", "[2, 5]"]);
    refused(average_forward(&gpu, &x, [2, 6], window), &["avg_pool", "kernel of 6", "5 pixels"]);
    refused(average_forward(&gpu, &x, [5, 2], Window::new(1, 2)), &["avg_pool", "padding 2", "[5, 2]"]);

    let (_, winners) = max_forward(&gpu, &x, 2, window, false).unwrap();
    let wrong = ["max_pool_backward", "[1, 2, 5, 5]", "[1, 2, 2, 2]"];
    refused(max_backward(&gpu, &x, &winners, 2, window, &x), &wrong);
    refused(max_backward(&gpu, &dy, &winners, 2, window, &flat), &["max_pool_backward", "[2, 5]"]);
    let few = gpu.words(&[0; 7]).unwrap();
    refused(max_backward(&gpu, &dy, &few, 2, window, &x), &["max_pool_backward", "7 winners", "[1, 2, 2, 2]"]);
    let wrong = ["avg_pool_backward", "[1, 2, 5, 5]", "[1, 2, 2, 2]"];
    refused(average_backward(&gpu, &x, [2, 2], window, &x), &wrong);
    refused(average_backward(&gpu, &flat, [2, 2], window, &x), &["avg_pool_backward", "[2, 5]"]);

    let tape = Tape::new(&gpu);
    let leaf = tape.leaf(&flat);
    refused(tape.global_avg_pool(leaf), &["avg_pool", "[2, 5]"]);
}
