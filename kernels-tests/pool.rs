//! Max, average and global average pooling against f64, with their gradients, ties, padding and NaN.

mod common;

use common::cases::{Place, bits, extent, for_cases, refused};
use common::{assert_close, check_gradients, check_gradients_at, gpu, operand, random};
use proptest::prelude::*;
use shadegrad::autograd::Tape;
use shadegrad::gpu::{Shape, Tensor, Words};
use shadegrad::ops::activation::{self, Activation};
use shadegrad::ops::choices;
use shadegrad::ops::conv2d::{self, Window};
use shadegrad::ops::pool::{Pooled, average_backward, average_forward, max_backward, max_forward};
use shadegrad::ops::tiles::{self, ConvVariant};
use shadegrad::selftest::reference::conv2d::Case;
use shadegrad::selftest::reference::pool::{Pooling, winner};

/// Winners without ReLU.
fn plain(winners: &Words) -> Pooled<'_> {
    Pooled { winners, relu: None }
}

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
    max_backward(&gpu, &dy, plain(&winners), kernel, window, &dx.tensor).unwrap();
    let without = dx.read(&gpu);
    assert_close(&format!("{case:?} dx"), &without, &wanted, kernel * kernel);

    // ReLU fused equals ReLU after it, both ways.
    let (fused, same) = max_forward(&gpu, &x, kernel, window, true).unwrap();
    assert_eq!(gpu.read_words(&same).unwrap(), in_plane);
    let separate = activation::forward(&gpu, Activation::Relu, &y).unwrap();
    assert_eq!(gpu.read(&fused).unwrap(), gpu.read(&separate).unwrap(), "{case:?} y with ReLU");
    let masked = gpu.empty(dy.shape()).unwrap();
    activation::backward(&gpu, Activation::Relu, &separate, &dy, &masked).unwrap();
    let (alone, at_once) = (Place::new(&gpu, dims), Place::new(&gpu, dims));
    max_backward(&gpu, &masked, plain(&winners), kernel, window, &alone.tensor).unwrap();
    let pooled = Pooled { winners: &winners, relu: Some(&fused) };
    max_backward(&gpu, &dy, pooled, kernel, window, &at_once.tensor).unwrap();
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
    max_backward(&gpu, &dy, plain(&winners), 2, window, &dx).unwrap();
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

/// Every variant of the convolution that this adapter can run, with ReLU and without: how often one pooled as it stored, to the
/// bits of two launches.
fn fused(case: Case, bias: bool, values: &[f32]) -> usize {
    let gpu = gpu();
    let x = gpu.tensor(case.wide(), values).unwrap();
    let ((w, _), (b, _)) = (operand(&gpu, 1, case.weight()), operand(&gpu, 2, [case.narrow_c]));
    let b = bias.then_some(&b);
    let bits = |y: &Tensor| gpu.read(y).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let mut found = 0;
    // A variant that has no kernel for such windows leaves them to another.
    let has_kernels = |variant: &ConvVariant| variant.has_kernels_for(case.kernel, case.window.stride);
    for variant in ConvVariant::ALL.into_iter().filter(|variant| variant.runs_on(&gpu) && has_kernels(variant)) {
        gpu.force_variant(tiles::CONV2D, Some(variant.name()));
        for relu in [false, true] {
            let at_once = conv2d::forward_max_pool(&gpu, &x, &w, b, case.window, relu).unwrap();
            let Some((y, winners)) = at_once else { continue };
            let convolved = conv2d::forward(&gpu, &x, &w, b, case.window, false).unwrap();
            let (wanted, places) = max_forward(&gpu, &convolved, 2, Window::new(2, 0), relu).unwrap();
            assert_eq!(y.shape(), wanted.shape(), "{case:?} {variant:?}");
            assert_eq!(gpu.read_words(&winners).unwrap(), gpu.read_words(&places).unwrap(), "{case:?} {variant:?}");
            assert_eq!(bits(&y), bits(&wanted), "{case:?} {variant:?} relu {relu}");
            found += 1;
        }
    }
    gpu.force_variant(tiles::CONV2D, None);
    found
}

#[test]
fn a_convolution_that_pools_as_it_stores_does_both_to_the_bit() {
    let can = ConvVariant::Subgroup.runs_on(&gpu());
    for (index, (case, fits)) in [
        (Case::new([2, 3, 6], [32, 32], 5, 1, 0), true), // lenet's, by fours and by twos
        (Case::new([2, 6, 16], [14, 14], 5, 1, 0), true),
        (Case::new([3, 2, 5], [7, 20], 5, 1, 0), true), // the last row is in no window
        (Case::new([1, 5, 3], [5, 4], 3, 1, 0), true),  // one window
        (Case::new([2, 3, 7], [8, 8], 5, 1, 2), true),
        (Case::new([1, 2, 3], [6, 6], 5, 1, 4), true), // blocks that are whole rows, padding and all
        (Case::new([2, 3, 4], [10, 11], 5, 1, 0), false), // an odd width
        (Case::new([2, 3, 4], [12, 12], 3, 2, 1), false),
    ]
    .into_iter()
    .enumerate()
    {
        let count = case.wide().iter().product();
        let many = fused(case, index.is_multiple_of(2), &random(0, count));
        assert_eq!(many, if fits && can { 2 } else { 0 }, "{case:?}");
        // Equal sums, sums that are infinite, and sums that are no number.
        let mut odd = vec![0.0; count];
        (odd[0], odd[count / 2], odd[count - 1]) = (f32::INFINITY, f32::NAN, -1.0);
        fused(case, true, &odd);
    }
}

/// With another convolution or pooling the tape takes two launches; either way gradients are those of two operations.
#[test]
fn a_tape_takes_a_convolution_and_its_pooling_together() {
    let gpu = gpu();
    let launches = |name: &str| gpu.dispatch_counts().get(name).copied().unwrap_or(0);
    for (size, kernel, pooling, fits) in [
        ([16, 16], 2, Window::new(2, 0), true),
        ([15, 16], 2, Window::new(2, 0), true), // the gradient's last row meets no window
        ([16, 16], 3, Window::new(2, 1), false),
        ([15, 15], 2, Window::new(2, 0), false),
    ] {
        let case = Case::new([2, 3, 5], size, 5, 1, 0);
        let own = choices::convolution("forward", [3, 5], 5, 1, size[1] - 4);
        let is_its = fits && tiles::conv2d_at(&gpu, own).unwrap().0 == ConvVariant::Subgroup;
        let values = [(0, case.wide().into()), (1, case.weight().into()), (2, Shape::from([case.narrow_c]))];
        let [x, w, b] = values.map(|(item, shape): (u32, Shape)| operand(&gpu, item, shape).0);
        // With bias and ReLU or without, and gradients of all leaves, of the weights, of the pixels.
        for (bias, relu, wanted) in [(true, true, 0..3), (false, false, 0..2), (true, false, 1..3), (true, true, 0..1)]
        {
            let run = |tape: &Tape, together: bool| {
                let leaves = [&x, &w, &b].map(|tensor| tape.leaf(tensor));
                let (x, w, b) = (leaves[0], leaves[1], bias.then_some(leaves[2]));
                let y = if together {
                    tape.conv2d_max_pool((x, w, b, case.window), kernel, pooling, relu).unwrap()
                } else {
                    let convolved = tape.conv2d(x, w, b, case.window, false).unwrap();
                    tape.max_pool(convolved, kernel, pooling, relu).unwrap()
                };
                (leaves, y)
            };
            let gradients = |together: bool| {
                let tape = Tape::new(&gpu);
                let (leaves, y) = run(&tape, together);
                let found = tape.backward(tape.multiply(y, y).unwrap(), &leaves[wanted.clone()]).unwrap();
                let found = leaves.map(|leaf| found.of(leaf).map(|gradient| gpu.read(gradient).unwrap()));
                (gpu.read(&tape.value(y).unwrap()).unwrap(), found)
            };
            let before = [launches("conv2d_max_pool"), launches("conv2d")];
            let (y, together) = gradients(true);
            let after = [launches("conv2d_max_pool"), launches("conv2d")];
            assert_eq!(after[0] - before[0], u64::from(is_its), "{case:?}");
            assert!(!is_its || after[1] == before[1]);
            assert_eq!(together.iter().filter(|gradient| gradient.is_some()).count(), wanted.len());
            assert_eq!((y, together), gradients(false), "{case:?} bias {bias} relu {relu} {wanted:?}");
        }
        // A tape that keeps nothing finds the same.
        let values = [Tape::new(&gpu), Tape::evaluation(&gpu)].map(|tape| {
            let [x, w, b] = [&x, &w, &b].map(|tensor| tape.leaf(tensor));
            let y = tape.conv2d_max_pool((x, w, Some(b), case.window), kernel, pooling, true).unwrap();
            gpu.read(&tape.value(y).unwrap()).unwrap()
        });
        assert_eq!(values[0], values[1]);
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
        max_backward(&gpu, &dy, plain(&winners), 3, window, &dx[0]).unwrap();
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
    refused(max_backward(&gpu, &x, plain(&winners), 2, window, &x), &wrong);
    refused(max_backward(&gpu, &dy, plain(&winners), 2, window, &flat), &["max_pool_backward", "[2, 5]"]);
    let few = gpu.words(&[0; 7]).unwrap();
    refused(max_backward(&gpu, &dy, plain(&few), 2, window, &x), &["max_pool_backward", "7 winners", "[1, 2, 2, 2]"]);
    let wrong = ["avg_pool_backward", "[1, 2, 5, 5]", "[1, 2, 2, 2]"];
    refused(average_backward(&gpu, &x, [2, 2], window, &x), &wrong);
    refused(average_backward(&gpu, &flat, [2, 2], window, &x), &["avg_pool_backward", "[2, 5]"]);

    let tape = Tape::new(&gpu);
    let leaf = tape.leaf(&flat);
    refused(tape.global_avg_pool(leaf), &["avg_pool", "[2, 5]"]);
}
