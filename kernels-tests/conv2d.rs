//! Convolution and transposed convolution against f64: forward, the gradients of input, weight and bias.

mod common;

use common::cases::{Place, bits, for_cases, refused};
use common::{assert_close, check_gradients, check_gradients_at, gpu, operand, random};
use proptest::prelude::*;
use proptest::sample::select;
use shadegrad::gpu::{Gpu, GpuOptions, Shape, Sources, Tensor};
use shadegrad::ops::activation::{self, Activation};
use shadegrad::ops::choices;
use shadegrad::ops::conv2d::{self, Window};
use shadegrad::ops::linear::backward_relu;
use shadegrad::ops::tiles::{self, ConvVariant};
use shadegrad::selftest::reference::conv2d::{Case, biased, channel_sums, relu};
use shadegrad::selftest::reference::wide;

/// Runs a check with every kernel variant that this adapter can run, and then with its own choice.
fn with_variants(check: impl Fn()) {
    let gpu = gpu();
    for variant in ConvVariant::ALL.into_iter().filter(|variant| variant.runs_on(&gpu)) {
        gpu.force_variant(tiles::CONV2D, Some(variant.name()));
        check();
    }
    gpu.force_variant(tiles::CONV2D, None);
}

fn is_forced(gpu: &Gpu, variant: ConvVariant) -> bool {
    gpu.forced_variant(tiles::CONV2D).is_some_and(|forced| forced == variant.name())
}

/// Convolution, all passes.
fn check(case: Case) {
    with_variants(|| check_passes(case));
}

fn check_passes(case: Case) {
    check_passes_on(&gpu(), case);
}

fn check_passes_on(gpu: &Gpu, case: Case) {
    let (x, x_values) = operand(gpu, 0, case.wide());
    let (w, w_values) = operand(gpu, 1, case.weight());
    let (b, b_values) = operand(gpu, 2, [case.narrow_c]);
    let (dy, dy_values) = operand(gpu, 3, case.narrow());
    let window = case.window;
    let taps = case.kernel * case.kernel;
    let positions = case.batch * case.narrow()[2] * case.narrow()[3];

    let wanted = biased(case.narrow(), case.sum_narrow(&x_values, &w_values), &b_values);
    let y = conv2d::forward(gpu, &x, &w, Some(&b), window, false).unwrap();
    assert_eq!(y.dims(), case.narrow(), "{case:?}");
    assert_close(&format!("{case:?} y"), &gpu.read(&y).unwrap(), &wanted, taps * case.wide_c);

    let dx = Place::new(gpu, case.wide());
    conv2d::backward_data(gpu, &dy, &w, window, &dx.tensor).unwrap();
    let wanted = case.sum_wide(&dy_values, &w_values);
    assert_close(&format!("{case:?} dx"), &dx.read(gpu), &wanted, taps * case.narrow_c);

    let dw = Place::new(gpu, case.weight());
    conv2d::backward_weights(gpu, &x, &dy, window, &dw.tensor).unwrap();
    let wanted = case.sum_weight(&x_values, &dy_values);
    assert_close(&format!("{case:?} dw"), &dw.read(gpu), &wanted, positions);

    let db = Place::new(gpu, [case.narrow_c]);
    conv2d::backward_bias(gpu, &dy, &db.tensor).unwrap();
    let wanted = channel_sums(case.narrow(), &dy_values);
    assert_close(&format!("{case:?} db"), &db.read(gpu), &wanted, positions);
}

/// Transposed convolution, all passes.
fn check_transposed(case: Case) {
    with_variants(|| check_transposed_passes(case));
}

fn check_transposed_passes(case: Case) {
    let gpu = gpu();
    let (x, x_values) = operand(&gpu, 0, case.narrow());
    let (w, w_values) = operand(&gpu, 1, case.weight());
    let (b, b_values) = operand(&gpu, 2, [case.wide_c]);
    let (dy, dy_values) = operand(&gpu, 3, case.wide());
    let window = case.window;
    let taps = case.kernel * case.kernel;
    let positions = case.batch * case.narrow()[2] * case.narrow()[3];

    let wanted = biased(case.wide(), case.sum_wide(&x_values, &w_values), &b_values);
    let y = conv2d::transpose_forward(&gpu, &x, &w, Some(&b), window, false).unwrap();
    assert_eq!(y.dims(), case.wide(), "transposed {case:?}");
    assert_close(&format!("transposed {case:?} y"), &gpu.read(&y).unwrap(), &wanted, taps * case.narrow_c);

    let dx = Place::new(&gpu, case.narrow());
    conv2d::transpose_backward_data(&gpu, &dy, &w, window, &dx.tensor).unwrap();
    let wanted = case.sum_narrow(&dy_values, &w_values);
    assert_close(&format!("transposed {case:?} dx"), &dx.read(&gpu), &wanted, taps * case.wide_c);

    let dw = Place::new(&gpu, case.weight());
    conv2d::transpose_backward_weights(&gpu, &x, &dy, window, &dw.tensor).unwrap();
    let wanted = case.sum_weight(&dy_values, &x_values);
    assert_close(&format!("transposed {case:?} dw"), &dw.read(&gpu), &wanted, positions);
}

fn convolutions() -> impl Strategy<Value = Case> {
    let channels = || prop_oneof![1usize..=5, select(vec![8, 9, 17])];
    let extent = || prop_oneof![1usize..=10, select(vec![13, 16, 17, 19])];
    let kernel = (1usize..=5).prop_flat_map(|kernel| (Just(kernel), 0..kernel));
    (1usize..=3, [channels(), channels()], [extent(), extent()], kernel, 1usize..=3).prop_filter_map(
        "the window must fit, and so must the time: large tiles take long to compile and are among the edges",
        |(batch, [wide, narrow], size, (kernel, padding), stride)| {
            let fits = kernel <= size[0].min(size[1]) + 2 * padding;
            let tile = wide.max(narrow).min(8) * size[1].min(16) * kernel;
            (fits && tile <= 80).then(|| Case::new([batch, wide, narrow], size, kernel, stride, padding))
        },
    )
}

#[test]
fn random_convolutions_match_f64() {
    for_cases(12, convolutions(), check);
}

#[test]
fn random_transposed_convolutions_match_f64() {
    let cases = convolutions().prop_filter_map("something must be left", |case| case.without_rest());
    for_cases(8, cases, check_transposed);
}

/// Each way that the launches go: full and partial blocks of channels, rows and lanes, and empty phases.
fn edges() -> Vec<Case> {
    vec![
        Case::new([1, 1, 1], [1, 1], 1, 1, 0),
        Case::new([1, 1, 1], [1, 1], 3, 1, 1),
        Case::new([2, 3, 8], [6, 4], 3, 1, 1),  // one full block of channels
        Case::new([1, 2, 9], [5, 17], 3, 1, 1), // two blocks of channels, a row that no block divides
        Case::new([1, 9, 2], [4, 3], 3, 1, 1),  // several rows of weights to a lane, and lanes without any
        Case::new([3, 2, 17], [7, 4], 3, 2, 1), // rows shorter than a block
        Case::new([2, 3, 4], [8, 8], 4, 2, 1),  // the autoencoder's
        Case::new([1, 2, 3], [6, 20], 5, 1, 0), // lenet's kernel, rows of one long block
        Case::new([2, 2, 3], [7, 8], 1, 2, 0),  // a stride beyond the kernel: phases without any tap
        Case::new([1, 2, 2], [8, 10], 2, 3, 0),
        Case::new([1, 3, 2], [6, 5], 5, 3, 4),   // the most padding
        Case::new([2, 2, 2], [3, 4], 1, 1, 1),   // windows of nothing but padding
        Case::new([1, 2, 3], [11, 6], 3, 3, 2),  // a rest that no window reaches
        Case::new([3, 2, 5], [7, 20], 5, 1, 0),  // lines of x by fours: forward, in blocks of eight positions
        Case::new([2, 2, 3], [6, 24], 5, 1, 0),  // and backward-data, with padding on both sides
        Case::new([2, 9, 9], [5, 12], 5, 1, 4),  // and both, in blocks of four
        Case::new([3, 2, 17], [7, 14], 5, 1, 0), // and by twos, several channels' rows in turn
        Case::new([2, 7, 3], [10, 10], 3, 1, 2), // and by twos with padding, of rows and of columns
        Case::new([2, 3, 6], [5, 12], 5, 1, 4),  // and the weight gradient's, with padding
        Case::new([2, 3, 6], [5, 12], 1, 1, 0),  // and without a column that two blocks have in common
        Case::new([3, 3, 37], [7, 9], 3, 1, 1),  // gemm: two tiles of channels, three of positions, two of the sum
        Case::new([2, 3, 2], [8, 12], 3, 1, 1),  // winograd: whole tiles, by fours
        Case::new([2, 3, 5], [16, 8], 3, 2, 1),  // and at stride 2
        Case::new([2, 1, 3], [9, 11], 3, 2, 0),  // and with its other matrices for backward-data
        Case::new([2, 3, 2], [8, 16], 3, 1, 1),  // and four tiles at once, which share lines
        Case::new([2, 2, 3], [9, 32], 3, 2, 1),  // and at stride 2
        Case::new([1, 2, 3], [9, 27], 3, 2, 0),  // and by single values, past the edge
        Case::new([1, 2, 2], [8, 13], 3, 2, 2),
        Case::new([2, 2, 3], [6, 8], 3, 1, 2),
        Case::new([1, 2, 2], [8, 12], 3, 2, 3),
        Case::new([1, 2, 3], [9, 10], 3, 2, 0),
        Case::new([1, 3, 2], [7, 12], 3, 2, 2),
        Case::new([2, 2, 1], [5, 8], 3, 1, 4), // more padding than backward-data has left
    ]
}

#[test]
fn edge_shapes_match_f64() {
    for case in edges() {
        check(case);
        if let Some(transposed) = case.without_rest() {
            check_transposed(transposed);
        }
    }
}

/// Of weights in a uniform buffer and of weights that it has no room for, the subgroup kernels by single values, by twos, by fours,
/// and with all taps at once.
#[test]
fn weights_are_read_from_a_uniform_buffer_as_far_as_it_has_room() {
    if !ConvVariant::Subgroup.runs_on(&gpu()) {
        return;
    }
    for (case, fits) in [
        (Case::new([1, 64, 16], [5, 5], 4, 1, 0), true),  // to the last byte
        (Case::new([1, 41, 16], [3, 4], 5, 1, 2), false), // sixteen weights too many
        (Case::new([1, 26, 26], [6, 10], 5, 1, 0), false),
        (Case::new([1, 26, 26], [4, 8], 5, 1, 4), false),
        (Case::new([1, 64, 16], [4, 4], 4, 2, 1), true),
        (Case::new([1, 33, 32], [4, 4], 4, 2, 1), false),
    ] {
        let collected = Sources::default();
        let options = GpuOptions { sources: Some(collected.clone()), poison: true, ..GpuOptions::default() };
        let gpu = Gpu::open(&options).unwrap();
        gpu.force_variant(tiles::CONV2D, Some(ConvVariant::Subgroup.name()));
        check_passes_on(&gpu, case);
        let texts = collected.lock().unwrap();
        let reading = texts.iter().filter(|(_, text)| text.contains("fn table_at("));
        let held: Vec<bool> = reading.map(|(_, text)| text.contains("var<uniform> table")).collect();
        assert_eq!(held, [fits && gpu.adapter().is_llvmpipe(); 2], "forward and backward-data of {case:?}");
    }
}

#[test]
fn a_grid_that_one_dimension_cannot_hold_is_folded() {
    with_variants(fold_a_grid);
}

fn fold_a_grid() {
    // One row a lane; of gemm's flat tile, 128 columns a workgroup.
    let gpu = gpu();
    let is_gemm = is_forced(&gpu, ConvVariant::Gemm);
    let lanes = ConvVariant::ALL.map(|variant| tiles::lanes(&gpu, variant)).into_iter().max().unwrap() as usize;
    let rows = 65_535 * if is_gemm { 128 } else { lanes } + 1;
    let ((x, x_values), w) = (operand(&gpu, 0, [1, 1, rows, 1]), gpu.filled([1, 1, 1, 1], 2.0).unwrap());
    let doubled: Vec<f32> = x_values.iter().map(|value| 2.0 * value).collect();
    let window = Window::new(1, 0);
    let y = conv2d::forward(&gpu, &x, &w, None, window, false).unwrap();
    assert_eq!(gpu.read(&y).unwrap(), doubled);
    let dx = gpu.empty([1, 1, rows, 1]).unwrap();
    conv2d::backward_data(&gpu, &x, &w, window, &dx).unwrap();
    assert_eq!(gpu.read(&dx).unwrap(), doubled);
}

#[test]
fn weight_gradients_are_the_same_split_or_not() {
    let gpu = gpu();
    // How many sums the second pass ran, that is, whether the first one was split.
    let sums = || gpu.dispatch_counts().get("reduce").copied().unwrap_or(0);
    let split = |case: Case| {
        let ((x, x_values), (dy, dy_values)) = (operand(&gpu, 0, case.wide()), operand(&gpu, 3, case.narrow()));
        let dw = Place::new(&gpu, case.weight());
        let before = sums();
        conv2d::backward_weights(&gpu, &x, &dy, case.window, &dw.tensor).unwrap();
        let [_, _, h, w] = case.narrow();
        let wanted = case.sum_weight(&x_values, &dy_values);
        assert_close(&format!("{case:?} dw"), &dw.read(&gpu), &wanted, case.batch * h * w);
        sums() > before
    };
    // Positions, not pictures, are what gemm splits: 64 of them at the least.
    gpu.force_variant(tiles::CONV2D, Some(ConvVariant::Gemm.name()));
    assert!(!split(Case::new([1, 3, 5], [8, 8], 3, 1, 1)));
    assert!(split(Case::new([1, 3, 5], [5, 13], 3, 1, 1)), "and one more");
    assert!(split(Case::new([3, 3, 5], [9, 17], 3, 2, 1)));
    gpu.force_variant(tiles::CONV2D, Some(ConvVariant::Direct.name()));
    assert!(!split(Case::new([1, 3, 5], [6, 7], 3, 1, 1)), "one image is never split");
    assert!(split(Case::new([2, 3, 5], [6, 7], 3, 1, 1)));
    // Images that the splits cannot share evenly.
    assert!(split(Case::new([37, 3, 5], [6, 7], 3, 1, 1)));
    assert!(split(Case::new([17, 3, 5], [6, 7], 3, 2, 1)));
    // So many weights that their own workgroups fill a software adapter.
    let wide = Case::new([3, 64, 64], [3, 4], 3, 1, 1);
    assert_eq!(split(wide), !gpu.adapter().is_software());
    gpu.force_variant(tiles::CONV2D, None);
}

#[test]
fn winograd_takes_a_large_batch_in_parts() {
    let gpu = gpu();
    gpu.force_variant(tiles::CONV2D, Some(ConvVariant::Winograd.name()));
    // 60 pictures of 1,024 tiles: on a software adapter two parts, on a GPU one.
    let case = Case::new([60, 1, 2], [128, 128], 3, 1, 1);
    let before = gpu.dispatch_counts();
    check_passes(case);
    let after = gpu.dispatch_counts();
    let launches = |name| after.get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0);
    let parts = if gpu.adapter().is_software() { 2 } else { 1 };
    assert_eq!([launches("conv2d_forth"), launches("conv2d_back")], [1 + parts, parts], "once for the weights");
    assert_eq!(launches("conv2d_backward_data_back"), parts);
    let of_weights = ["conv2d_backward_weights_forth", "conv2d_backward_weights_back"].map(launches);
    assert_eq!(of_weights, [2 * parts, parts]);
    // A tolerance for a million terms says little.
    let ((x, x_values), (dy, dy_values)) = (operand(&gpu, 0, case.wide()), operand(&gpu, 3, case.narrow()));
    let dw = gpu.empty(case.weight()).unwrap();
    conv2d::backward_weights(&gpu, &x, &dy, case.window, &dw).unwrap();
    let error = relative((&gpu.read(&dw).unwrap(), &case.sum_weight(&x_values, &dy_values)));
    assert!(error < 1e-4, "{error:.2e}");
    gpu.force_variant(tiles::CONV2D, None);
}

#[test]
fn winograd_does_with_each_kernel_of_products() {
    let gpu = gpu();
    let others = gpu.choices();
    gpu.set_choices([]);
    for product in ["naive", "vec4", "shared", "subgroup"] {
        let table =
            [("conv2d", "winograd"), ("matmul", product)].map(|(entry, name)| (entry.to_owned(), name.to_owned()));
        if let Err(error) = choices::follow(&gpu, &table.into()) {
            assert!(error.to_string().contains("cannot run"), "{error}");
            continue;
        }
        // More than a tile of channels each way, k that no turn divides, and places that no vector does.
        for case in [Case::new([2, 37, 34], [9, 12], 3, 1, 1), Case::new([3, 34, 37], [8, 10], 3, 2, 1)] {
            check_passes(case);
        }
    }
    gpu.set_choices(others);
}

#[test]
fn what_is_too_large_for_winograd_is_anothers() {
    let gpu = gpu();
    gpu.force_variant(tiles::CONV2D, Some(ConvVariant::Winograd.name()));
    // The coordinates of one picture would be 144 times 4 bytes a tile of each channel: more than a binding holds.
    let channels = (gpu.max_binding_bytes() / (36 * 4 * 4096) + 1).min(1024) as usize;
    let (x, w) = (gpu.filled([1, channels, 256, 256], 1.0), gpu.filled([1, channels, 3, 3], 1.0));
    if let (Ok(x), Ok(w)) = (x, w) {
        let before = gpu.dispatch_counts();
        let y = conv2d::forward(&gpu, &x, &w, None, Window::new(1, 0), false).unwrap();
        let was_winograd = gpu.dispatch_counts().get("conv2d_back") != before.get("conv2d_back");
        let is_too_large = 36 * 4 * 4096 * channels as u64 > gpu.max_binding_bytes();
        assert_eq!(was_winograd, !is_too_large);
        // Equal values round alike, so each of the sum's steps may err the same way (found: 1.7e-5 with 1,024 of them).
        let wanted = 9.0 * channels as f32;
        let tolerance = channels as f32 * f32::EPSILON / 2.0 * wanted;
        assert!(gpu.read(&y).unwrap().iter().all(|&sum| (sum - wanted).abs() <= tolerance));
    }
    gpu.force_variant(tiles::CONV2D, None);
}

/// Rounding grows with the tile; the points that the matrices are made of keep it within a few times a plain sum's.
#[test]
fn winograd_rounds_little_more_than_a_plain_sum() {
    let gpu = gpu();
    for stride in [1, 2] {
        let case = Case::new([1, 64, 8], [16, 16], 3, stride, 1);
        let ((x, x_values), (w, w_values)) = (operand(&gpu, 0, case.wide()), operand(&gpu, 1, case.weight()));
        let (dy, dy_values) = operand(&gpu, 3, case.narrow());
        let (dx, dw) = (gpu.empty(case.wide()).unwrap(), gpu.empty(case.weight()).unwrap());
        let sums = [
            case.sum_narrow(&x_values, &w_values),
            case.sum_wide(&dy_values, &w_values),
            case.sum_weight(&x_values, &dy_values),
        ];
        // Root of the mean squared error over that of the values, of each pass.
        let errors = |variant: ConvVariant| {
            gpu.force_variant(tiles::CONV2D, Some(variant.name()));
            let y = conv2d::forward(&gpu, &x, &w, None, case.window, false).unwrap();
            conv2d::backward_data(&gpu, &dy, &w, case.window, &dx).unwrap();
            conv2d::backward_weights(&gpu, &x, &dy, case.window, &dw).unwrap();
            gpu.force_variant(tiles::CONV2D, None);
            [&y, &dx, &dw].map(|found| gpu.read(found).unwrap()).iter().zip(&sums).map(relative).collect::<Vec<f64>>()
        };
        for (winograd, naive) in errors(ConvVariant::Winograd).into_iter().zip(errors(ConvVariant::Naive)) {
            assert!(winograd < 5.0 * naive && winograd < 2e-6, "stride {stride}: {winograd:.2e} against {naive:.2e}");
        }
    }
}

fn relative((found, wanted): (&Vec<f32>, &Vec<f64>)) -> f64 {
    let squares: f64 = found.iter().zip(wanted).map(|(&found, wanted)| (f64::from(found) - wanted).powi(2)).sum();
    (squares / wanted.iter().map(|value| value * value).sum::<f64>()).sqrt()
}

#[test]
fn a_transposed_convolution_is_backward_data_to_the_bit() {
    with_variants(compare_transposed_with_backward_data);
}

fn compare_transposed_with_backward_data() {
    let gpu = gpu();
    for case in [
        Case::new([2, 3, 5], [8, 8], 4, 2, 1),
        Case::new([1, 9, 2], [7, 9], 3, 1, 1),
        Case::new([2, 2, 3], [7, 10], 2, 3, 0),
    ] {
        let case = case.without_rest().unwrap();
        let ((x, _), (w, _)) = (operand(&gpu, 0, case.narrow()), operand(&gpu, 1, case.weight()));
        let y = conv2d::transpose_forward(&gpu, &x, &w, None, case.window, false).unwrap();
        let dx = gpu.empty(case.wide()).unwrap();
        conv2d::backward_data(&gpu, &x, &w, case.window, &dx).unwrap();
        assert_eq!(bits(&gpu.read(&y).unwrap()), bits(&gpu.read(&dx).unwrap()), "{case:?}");

        let (dy, _) = operand(&gpu, 3, case.wide());
        let dx = gpu.empty(case.narrow()).unwrap();
        conv2d::transpose_backward_data(&gpu, &dy, &w, case.window, &dx).unwrap();
        let y = conv2d::forward(&gpu, &dy, &w, None, case.window, false).unwrap();
        assert_eq!(bits(&gpu.read(&y).unwrap()), bits(&gpu.read(&dx).unwrap()), "{case:?} backward");
    }
}

#[test]
fn fused_bias_and_relu_equal_separate_ones() {
    with_variants(compare_fused_with_separate);
}

fn compare_fused_with_separate() {
    let gpu = gpu();
    for case in [Case::new([2, 3, 9], [7, 9], 3, 1, 1), Case::new([1, 5, 3], [8, 8], 4, 2, 1)] {
        let (w, w_values) = operand(&gpu, 1, case.weight());
        for is_transposed in [false, true] {
            let (from, to) = if is_transposed { (case.narrow(), case.wide()) } else { (case.wide(), case.narrow()) };
            let ((x, x_values), (b, b_values)) = (operand(&gpu, 0, from), operand(&gpu, 2, [to[1]]));
            let run = |bias: Option<&Tensor>, relu| -> Tensor {
                let pass = if is_transposed { conv2d::transpose_forward } else { conv2d::forward };
                pass(&gpu, &x, &w, bias, case.window, relu).unwrap()
            };
            let plane = to[2] * to[3];
            let sums = gpu.read(&run(None, false)).unwrap();
            let wanted: Vec<f32> =
                sums.iter().enumerate().map(|(index, sum)| sum + b_values[index / plane % to[1]]).collect();
            let with_bias = run(Some(&b), false);
            let found = gpu.read(&with_bias).unwrap();
            if is_forced(&gpu, ConvVariant::Winograd) {
                // Its last additions come just before the bias's, and a driver is free to take them in another order.
                assert_close(&format!("{case:?} bias"), &found, &wide(&wanted), 1);
            } else {
                assert_eq!(found, wanted, "{case:?}");
            }
            let separate = gpu.read(&activation::forward(&gpu, Activation::Relu, &with_bias).unwrap()).unwrap();
            let fused = run(Some(&b), true);
            assert_eq!(gpu.read(&fused).unwrap(), separate, "{case:?}");
            let sums =
                if is_transposed { case.sum_wide(&x_values, &w_values) } else { case.sum_narrow(&x_values, &w_values) };
            let wanted = relu(&biased(to, sums, &b_values));
            assert_close(&format!("{case:?} ReLU"), &separate, &wanted, 9 * case.wide_c.max(case.narrow_c));

            let (dy, dy_values) = operand(&gpu, 3, to);
            let masked = gpu.read(&backward_relu(&gpu, &fused, &dy).unwrap()).unwrap();
            let mask = |(&y, &dy): (&f32, &f32)| if y > 0.0 { dy } else { 0.0 };
            let wanted: Vec<f32> = separate.iter().zip(&dy_values).map(mask).collect();
            assert!(wanted.contains(&0.0) && wanted.iter().any(|&value| value != 0.0));
            assert_eq!(masked, wanted, "{case:?}");
        }
    }
}

#[test]
fn nan_reaches_the_output_through_relu_and_only_its_windows() {
    with_variants(follow_a_nan);
}

fn follow_a_nan() {
    let gpu = gpu();
    let case = Case::new([2, 2, 3], [5, 6], 3, 2, 1);
    let mut values = random(0, case.wide().iter().product());
    values[7] = f32::NAN; // image 0, channel 0, row 1, column 1
    let (x, (w, _)) = (gpu.tensor(case.wide(), &values).unwrap(), operand(&gpu, 1, case.weight()));
    let y = gpu.read(&conv2d::forward(&gpu, &x, &w, None, case.window, true).unwrap()).unwrap();
    let mut wanted = vec![false; y.len()];
    case.each_product(|x, _, y| wanted[y] |= x == 7);
    // Winograd's products reach outputs of a tile that do not see the value, here of the first picture's only tile.
    if is_forced(&gpu, ConvVariant::Winograd) {
        wanted = (0..y.len()).map(|index| index < y.len() / 2).collect();
    }
    assert_eq!(y.iter().map(|value| value.is_nan()).collect::<Vec<_>>(), wanted);
}

#[test]
fn a_second_run_gives_the_same_bits() {
    with_variants(run_twice);
}

fn run_twice() {
    let gpu = gpu();
    let case = Case::new([37, 3, 9], [9, 7], 3, 2, 1);
    let ((x, _), (w, _), (dy, _)) =
        (operand(&gpu, 0, case.wide()), operand(&gpu, 1, case.weight()), operand(&gpu, 3, case.narrow()));
    let run = || {
        let y = conv2d::forward(&gpu, &x, &w, None, case.window, false).unwrap();
        let [dx, dw] = [case.wide(), case.weight()].map(|dims| gpu.empty(dims).unwrap());
        let db = gpu.empty([case.narrow_c]).unwrap();
        conv2d::backward_data(&gpu, &dy, &w, case.window, &dx).unwrap();
        conv2d::backward_weights(&gpu, &x, &dy, case.window, &dw).unwrap();
        conv2d::backward_bias(&gpu, &dy, &db).unwrap();
        [y, dx, dw, db].map(|tensor| gpu.read(&tensor).unwrap()).concat()
    };
    assert_eq!(bits(&run()), bits(&run()));
}

#[test]
fn gradients_match_differences() {
    // Whole numbers plus a half of a unit stay away from ReLU's kink.
    let away = |item: u32, count: usize| -> Vec<f32> {
        let point = |value: f32| if item == 102 { 0.75 } else { (2.0 * value).round() };
        random(item, count).into_iter().map(point).collect()
    };
    for case in [
        Case::new([2, 3, 2], [5, 7], 3, 2, 1),
        Case::new([1, 2, 3], [6, 4], 4, 2, 1),
        Case::new([2, 1, 2], [5, 3], 2, 3, 1),
    ] {
        let window = case.window;
        let shapes: [Shape; 3] = [case.wide().into(), case.weight().into(), [case.narrow_c].into()];
        check_gradients(&format!("{case:?}"), &shapes, |tape, v| tape.conv2d(v[0], v[1], v[2], window, false));
        let what = format!("{case:?} with ReLU");
        check_gradients_at(&what, &shapes, &away, |tape, v| tape.conv2d(v[0], v[1], v[2], window, true));
        let shapes: [Shape; 3] = [case.narrow().into(), case.weight().into(), [case.wide_c].into()];
        let what = format!("transposed {case:?}");
        check_gradients(&what, &shapes, |tape, v| tape.conv_transpose2d(v[0], v[1], v[2], window, false));
        let what = format!("transposed {case:?} with ReLU");
        check_gradients_at(&what, &shapes, &away, |tape, v| tape.conv_transpose2d(v[0], v[1], v[2], window, true));
    }
}

fn zeros(gpu: &Gpu, dims: &[usize]) -> Tensor {
    gpu.zeros(Shape::new(dims).unwrap()).unwrap()
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let zeros = |dims: &[usize]| zeros(&gpu, dims);
    // 3 channels of 8 x 8 to 5 channels of 4 x 4.
    let (x, w, y, window) = (zeros(&[2, 3, 8, 8]), zeros(&[5, 3, 3, 3]), zeros(&[2, 5, 4, 4]), Window::new(2, 1));
    let forward = |x: &Tensor, w: &Tensor, b: Option<&Tensor>, window| conv2d::forward(&gpu, x, w, b, window, false);
    forward(&x, &w, Some(&zeros(&[5])), window).unwrap();
    refused(forward(&zeros(&[3, 8, 8]), &w, None, window), &["conv2d", "input", "[3, 8, 8]", "four"]);
    refused(forward(&x, &zeros(&[5, 27]), None, window), &["conv2d", "weight", "[5, 27]", "four"]);
    refused(forward(&x, &zeros(&[5, 4, 3, 3]), None, window), &["conv2d", "[5, 4, 3, 3]", "[_, 3, k, k]"]);
    refused(forward(&x, &zeros(&[5, 3, 3, 2]), None, window), &["conv2d", "[5, 3, 3, 2]", "[_, 3, k, k]"]);
    refused(forward(&x, &w, Some(&zeros(&[3])), window), &["conv2d", "bias", "[3]", "[5]"]);
    refused(forward(&x, &w, None, Window::new(0, 1)), &["conv2d", "stride 0"]);
    refused(forward(&x, &zeros(&[5, 3, 11, 11]), None, window), &["conv2d", "kernel of 11", "8 pixels", "padding 1"]);

    let name = "conv2d_backward_data";
    let data = |dy: &Tensor, w: &Tensor, window, dx: &Tensor| conv2d::backward_data(&gpu, dy, w, window, dx);
    data(&y, &w, window, &x).unwrap();
    refused(data(&y, &w, window, &zeros(&[2, 3, 9, 8])), &[name, "[2, 5, 4, 4]", "[2, 5, 5, 4]"]);
    refused(data(&y, &w, window, &zeros(&[3, 3, 8, 8])), &[name, "[2, 5, 4, 4]", "[3, 5, 4, 4]"]);
    refused(data(&y, &w, window, &zeros(&[2, 4, 8, 8])), &[name, "[5, 3, 3, 3]", "[5, 4, k, k]"]);
    refused(data(&y, &w, Window::new(0, 1), &x), &[name, "stride 0"]);
    refused(data(&zeros(&[2, 80]), &w, window, &x), &[name, "[2, 80]", "four"]);

    let name = "conv2d_backward_weights";
    let weights = |x: &Tensor, dy: &Tensor, window, dw: &Tensor| conv2d::backward_weights(&gpu, x, dy, window, dw);
    weights(&x, &y, window, &w).unwrap();
    refused(weights(&x, &zeros(&[2, 5, 4, 3]), window, &w), &[name, "[2, 5, 4, 3]", "[2, 5, 4, 4]"]);
    refused(weights(&x, &zeros(&[1, 5, 4, 4]), window, &w), &[name, "[1, 5, 4, 4]", "[2, 5, 4, 4]"]);
    refused(weights(&x, &y, window, &zeros(&[3, 5, 3, 3])), &[name, "[3, 5, 3, 3]", "[5, 3, k, k]"]);
    refused(weights(&x, &y, Window::new(0, 1), &w), &[name, "stride 0"]);

    let name = "conv2d_backward_bias";
    refused(conv2d::backward_bias(&gpu, &y, &zeros(&[2])), &[name, "[2]", "[5]"]);
    refused(conv2d::backward_bias(&gpu, &zeros(&[2, 5]), &zeros(&[5])), &[name, "[2, 5]", "four"]);
}

#[test]
fn transposed_shapes_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let zeros = |dims: &[usize]| zeros(&gpu, dims);
    // 5 channels of 4 x 4 to 3 channels of 8 x 8.
    let (x, w, y, window) = (zeros(&[2, 5, 4, 4]), zeros(&[5, 3, 4, 4]), zeros(&[2, 3, 8, 8]), Window::new(2, 1));
    let forward =
        |x: &Tensor, w: &Tensor, b: Option<&Tensor>, window| conv2d::transpose_forward(&gpu, x, w, b, window, false);
    assert_eq!(forward(&x, &w, Some(&zeros(&[3])), window).unwrap().dims(), y.dims());
    let name = "conv_transpose2d";
    refused(forward(&zeros(&[2, 80]), &w, None, window), &[name, "[2, 80]", "four"]);
    refused(forward(&x, &zeros(&[3, 5, 4, 4]), None, window), &[name, "[3, 5, 4, 4]", "[5, _, k, k]"]);
    refused(forward(&x, &w, Some(&zeros(&[5])), window), &[name, "bias", "[5]", "[3]"]);
    refused(forward(&x, &w, None, Window::new(2, 5)), &[name, "padding 5", "10 pixels"]);
    refused(forward(&x, &w, None, Window::new(0, 0)), &[name, "stride 0"]);

    let name = "conv_transpose2d_backward_data";
    let data = |dy: &Tensor, w: &Tensor, dx: &Tensor| conv2d::transpose_backward_data(&gpu, dy, w, window, dx);
    data(&y, &w, &x).unwrap();
    refused(data(&y, &w, &zeros(&[2, 5, 4, 5])), &[name, "[2, 5, 4, 5]", "[2, 5, 4, 4]"]);
    refused(data(&y, &zeros(&[5, 2, 4, 4]), &x), &[name, "[5, 2, 4, 4]", "[5, 3, k, k]"]);
    refused(data(&y, &w, &zeros(&[2, 80])), &[name, "[2, 80]", "four"]);

    let name = "conv_transpose2d_backward_weights";
    let weights = |x: &Tensor, dy: &Tensor, dw: &Tensor| conv2d::transpose_backward_weights(&gpu, x, dy, window, dw);
    weights(&x, &y, &w).unwrap();
    refused(weights(&zeros(&[1, 5, 4, 4]), &y, &w), &[name, "[1, 5, 4, 4]", "[2, 5, 4, 4]"]);
    refused(weights(&x, &y, &zeros(&[3, 5, 4, 4])), &[name, "[3, 5, 4, 4]", "[5, 3, k, k]"]);
}
