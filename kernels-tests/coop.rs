//! Cooperative matrices: products and convolutions from f16 against f64, the scales that bring them into f16's range, and
//! what is said where an adapter has none. Tests of the kernels say so there, and are passed.

mod common;
#[path = "common/program.rs"]
mod program;

use std::io::Write;

use common::assert_close;
use common::cases::{Place, bits};
use program::{refused, succeed};
use shadegrad::gpu::{Gpu, GpuError, GpuOptions, Precision, Shape, Tensor};
use shadegrad::ops::choices::{Table, convolution, follow, record};
use shadegrad::ops::conv2d;
use shadegrad::ops::matmul::{Epilogue, Operand, Variant, matmul_with, plain, transposed};
use shadegrad::ops::tiles::{self, CONV2D, ConvVariant};
use shadegrad::selftest::reference::conv2d::{Case, biased, relu};
use shadegrad::selftest::reference::matmul::{Product, product};
use shadegrad::selftest::reference::{random, short};
use shadegrad::selftest::{self, Verdict};

fn options() -> GpuOptions {
    GpuOptions { poison: true, precision: Precision::F16, ..GpuOptions::default() }
}

fn open() -> Result<Gpu, GpuError> {
    Gpu::open(&options())
}

/// The device, if the adapter has cooperative matrices; else a line that says so, test or no test.
fn gpu() -> Option<Gpu> {
    match open() {
        Ok(gpu) => Some(gpu),
        Err(error @ GpuError::NoCooperativeMatrices { .. }) => {
            // Not by a macro, whose output the harness keeps to itself.
            std::io::stderr().write_all(format!("skipped on this adapter: {error}\n").as_bytes()).unwrap();
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A tensor of values that f16 holds exactly, times a factor that no f16 could have.
fn operand(gpu: &Gpu, item: u32, shape: impl Into<Shape>, factor: f32) -> (Tensor, Vec<f32>) {
    let shape = shape.into();
    let values: Vec<f32> = short(random(item, shape.count())).into_iter().map(|value| factor * value).collect();
    (gpu.tensor(shape, &values).unwrap(), values)
}

fn side(tensor: &Tensor, flip: bool) -> Operand<'_> {
    if flip { transposed(tensor) } else { plain(tensor) }
}

fn multiply(gpu: &Gpu, case: Product, [a, b]: [&Tensor; 2], epilogue: Epilogue<'_>) -> Vec<f32> {
    let out = Place::new(gpu, [case.m, case.n]);
    let (a, b) = (side(a, case.flip_a), side(b, case.flip_b));
    matmul_with(gpu, Variant::Coop, a, b, epilogue, &out.tensor).unwrap();
    out.read(gpu)
}

/// Kept apart from a verdict on f32's kernels alone.
#[test]
fn a_self_test_with_f16_says_so() {
    let Some(gpu) = gpu() else { return };
    let adapter = selftest::details(None).unwrap();
    let report = selftest::run_parts(&gpu, &options(), adapter, &[], &mut (), &|name| name == "convolutions, coop");
    assert!(report.passed && !report.kernels.is_empty(), "{:?}", report.failed);
    assert!(report.precision == Precision::F16 && Verdict::of(&report).precision == Precision::F16);
}

#[test]
fn products_match_f64() {
    let Some(gpu) = gpu() else { return };
    for (m, n, k) in [(1, 1, 1), (7, 33, 15), (32, 64, 16), (33, 65, 17), (64, 31, 33), (130, 70, 100), (3, 5, 4099)] {
        for flips in 0..4 {
            let case = Product::new(m, n, k, flips & 1 > 0, flips & 2 > 0);
            let ends = (m + flips) % 2 > 0;
            let (a, a_values) = operand(&gpu, 0, case.a_dims(), 1.0);
            let (b, b_values) = operand(&gpu, 1, case.b_dims(), 1.0);
            let (bias, bias_values) = operand(&gpu, 2, [n], 1.0);
            let found = multiply(&gpu, case, [&a, &b], Epilogue { bias: ends.then_some(&bias), relu: ends });
            let wanted = product(case, &a_values, &b_values, ends.then_some(&bias_values), ends);
            assert_close(&format!("{case:?}, ends: {ends}"), &found, &wanted, k);
            let again = multiply(&gpu, case, [&a, &b], Epilogue { bias: ends.then_some(&bias), relu: ends });
            assert_eq!(bits(&found), bits(&again), "{case:?}");
        }
    }
}

/// The smallest f16 is 2^-24, and the largest 65504. Factors are powers of two, so that nothing but the sums is rounded.
#[test]
fn values_beyond_f16s_range_are_scaled_into_it() {
    let Some(gpu) = gpu() else { return };
    let case = Product::new(20, 24, 40, false, false);
    for (left, right) in [(-30, 0), (20, -40), (-100, 83), (124, -66), (-105, 100), (60, 50)] {
        let (a, a_values) = operand(&gpu, 0, case.a_dims(), 2.0f32.powi(left));
        let (b, b_values) = operand(&gpu, 1, case.b_dims(), 2.0f32.powi(right));
        let found = multiply(&gpu, case, [&a, &b], Epilogue::default());
        let size = 2.0f64.powi(left + right);
        let found: Vec<f32> = found.iter().map(|&value| (f64::from(value) / size) as f32).collect();
        let wanted = product(case, &a_values, &b_values, None, false);
        let wanted: Vec<f64> = wanted.iter().map(|value| value / size).collect();
        assert_close(&format!("2^{left} x 2^{right}"), &found, &wanted, case.k);
    }
    let (zeros, (b, _)) = (gpu.zeros(case.a_dims()).unwrap(), operand(&gpu, 1, case.b_dims(), 1.0));
    assert!(multiply(&gpu, case, [&zeros, &b], Epilogue::default()).iter().all(|&value| value == 0.0));
}

/// What rounding to f16 costs: each product is off by a part in 1024 at the most, and a sum by far less than its terms.
#[test]
fn rounding_costs_what_eleven_bits_cost() {
    let Some(gpu) = gpu() else { return };
    let case = Product::new(64, 64, 512, false, true);
    let (a_values, b_values) = (random(0, 64 * 512), random(1, 64 * 512));
    let (a, b) = (gpu.tensor([64, 512], &a_values).unwrap(), gpu.tensor([64, 512], &b_values).unwrap());
    let found = multiply(&gpu, case, [&a, &b], Epilogue::default());
    let wanted = product(case, &a_values, &b_values, None, false);
    let rms = |values: &mut dyn Iterator<Item = f64>| (values.map(|value| value * value).sum::<f64>() / 4096.0).sqrt();
    let error = rms(&mut found.iter().zip(&wanted).map(|(&f, w)| f64::from(f) - w));
    let share = error / rms(&mut wanted.iter().copied());
    assert!((1e-5..1e-3).contains(&share), "{share}");
}

#[test]
fn nan_and_infinity_reach_the_output() {
    let Some(gpu) = gpu() else { return };
    for (bad, meets) in [(f32::NAN, f32::is_nan as fn(f32) -> bool), (f32::INFINITY, |value| !value.is_finite())] {
        let (mut a_values, b_values) = (short(random(0, 40)), short(random(1, 60)));
        a_values[5] = bad;
        let (a, b) = (gpu.tensor([2, 20], &a_values).unwrap(), gpu.tensor([20, 3], &b_values).unwrap());
        let found = multiply(&gpu, Product::new(2, 3, 20, false, false), [&a, &b], Epilogue::default());
        assert!(found[..3].iter().all(|&value| meets(value)) && found[3..].iter().all(|value| value.is_finite()));
    }
}

fn check_convolution(gpu: &Gpu, case: Case) {
    let ((x, x_values), (w, w_values)) = (operand(gpu, 0, case.wide(), 1.0), operand(gpu, 1, case.weight(), 1.0));
    let ((b, b_values), (dy, dy_values)) =
        (operand(gpu, 2, [case.narrow_c], 1.0), operand(gpu, 3, case.narrow(), 2.0f32.powi(-40)));
    let (window, taps) = (case.window, case.kernel * case.kernel);
    let [batch, _, height, width] = case.narrow();
    let whole = |values: &[f32]| -> Vec<f32> { values.iter().map(|value| value * 2.0f32.powi(40)).collect() };
    let dy_values = whole(&dy_values);

    let run = || {
        let y = conv2d::forward(gpu, &x, &w, Some(&b), window, true).unwrap();
        let (dx, dw) = (Place::new(gpu, case.wide()), Place::new(gpu, case.weight()));
        conv2d::backward_data(gpu, &dy, &w, window, &dx.tensor).unwrap();
        conv2d::backward_weights(gpu, &x, &dy, window, &dw.tensor).unwrap();
        [gpu.read(&y).unwrap(), whole(&dx.read(gpu)), whole(&dw.read(gpu))]
    };
    let [y, dx, dw] = run();
    let wanted = relu(&biased(case.narrow(), case.sum_narrow(&x_values, &w_values), &b_values));
    assert_close(&format!("{case:?} y"), &y, &wanted, taps * case.wide_c);
    assert_close(&format!("{case:?} dx"), &dx, &case.sum_wide(&dy_values, &w_values), taps * case.narrow_c);
    let wanted = case.sum_weight(&x_values, &dy_values);
    assert_close(&format!("{case:?} dw"), &dw, &wanted, batch * height * width);
    assert_eq!(bits(&run().concat()), bits(&[y, dx, dw].concat()), "{case:?} twice");
}

#[test]
fn convolutions_match_f64() {
    let Some(gpu) = gpu() else { return };
    gpu.force_variant(CONV2D, Some(ConvVariant::Coop.name()));
    for case in [
        Case::new([1, 1, 1], [1, 1], 3, 1, 1),
        Case::new([3, 5, 37], [9, 7], 3, 1, 1),
        Case::new([2, 70, 3], [8, 8], 4, 2, 1),
        Case::new([3, 6, 16], [14, 14], 5, 1, 0),
        Case::new([5, 16, 33], [7, 9], 3, 2, 1), // phases of unequal taps
        Case::new([2, 2, 3], [7, 8], 1, 2, 0),   // phases without any
        Case::new([1, 3, 2], [6, 5], 5, 3, 4),
    ] {
        check_convolution(&gpu, case);
        let Some(whole) = case.without_rest() else { continue };
        let ((x, x_values), (w, w_values)) =
            (operand(&gpu, 0, whole.narrow(), 1.0), operand(&gpu, 1, whole.weight(), 1.0));
        let y = conv2d::transpose_forward(&gpu, &x, &w, None, whole.window, false).unwrap();
        let terms = whole.kernel * whole.kernel * whole.narrow_c;
        let wanted = whole.sum_wide(&x_values, &w_values);
        assert_close(&format!("transposed {whole:?}"), &gpu.read(&y).unwrap(), &wanted, terms);
    }
}

#[test]
fn the_table_chooses_them_for_f16_where_they_pay() {
    let Some(gpu) = gpu() else { return };
    assert_eq!(record(&gpu).unwrap()["conv2d"], "coop");
    assert_eq!(record(&gpu).unwrap()["matmul"], "coop");
    assert_eq!(record(&gpu.rehearsal()).unwrap(), record(&gpu).unwrap());
    let at = |channels| tiles::conv2d_at(&gpu, convolution("forward", channels, 3, 1, 32)).unwrap().0;
    assert_eq!(at([16, 16]), ConvVariant::Coop);
    assert!(at([15, 64]) != ConvVariant::Coop && at([64, 3]) != ConvVariant::Coop);
    let at = |extents| tiles::matmul_at(&gpu, extents, [false, true]).unwrap();
    assert_eq!(at([16, 16, 16]), Variant::Coop);
    assert!(at([15, 16, 16]) != Variant::Coop && at([16, 10, 84]) != Variant::Coop);
    gpu.prefer(Precision::F32);
    assert_ne!(record(&gpu).unwrap()["conv2d"], "coop");
}

#[test]
fn a_device_for_f32_has_none_of_it() {
    let gpu = common::gpu();
    assert!(gpu.cooperative().is_none() && gpu.precision() == Precision::F32);
    assert!(!ConvVariant::Coop.runs_on(&gpu) && !Variant::Coop.runs_on(&gpu));
    for operation in ["conv2d", "matmul"] {
        let error = follow(&gpu, &Table::from([(operation.to_owned(), "coop".to_owned())])).unwrap_err().to_string();
        assert!(error.contains("--precision f16") && error.contains(operation), "{error}");
    }
}

#[test]
fn the_program_says_what_an_adapter_lacks_or_computes() {
    let line = ["profile", "train", "--model", "lenet", "--batch", "16", "--steps", "1", "--precision", "f16"];
    match open() {
        Ok(_) => assert!(succeed(&line).contains("conv2d")),
        Err(error) => {
            assert!(matches!(error, GpuError::NoCooperativeMatrices { .. }), "{error}");
            refused(&line, &["--precision f16", "it has no "]);
        }
    }
    refused(&["profile", "train", "--precision", "f8"], &["f8", "f32, f16"]);
}
