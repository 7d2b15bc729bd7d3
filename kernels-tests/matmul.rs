//! Matrix products against f64: each kernel, each transposition, tile edges, epilogues and gradients.

mod common;

use common::cases::{Place, bits, extent, for_cases, refused};
use common::{assert_close, check_gradients, gpu, operand, random};
use proptest::prelude::*;
use shadegrad::gpu::{Gpu, Tensor};
use shadegrad::ops::matmul::{Epilogue, Operand, Variant, matmul, matmul_into, matmul_with, plain, transposed};
use shadegrad::ops::tiles;
use shadegrad::selftest::reference::matmul::{Product, product as reference};

fn side(tensor: &Tensor, flip: bool) -> Operand<'_> {
    if flip { transposed(tensor) } else { plain(tensor) }
}

/// Runs a product with every kernel that can compute it, with and without bias and ReLU.
fn check(case: Product) {
    let gpu = gpu();
    let ((a, a_values), (b, b_values)) = (operand(&gpu, 0, case.a_dims()), operand(&gpu, 1, case.b_dims()));
    let (bias, bias_values) = operand(&gpu, 2, [case.n]);
    for (with_bias, relu) in [(false, false), (true, true)] {
        let wanted = reference(case, &a_values, &b_values, with_bias.then_some(&bias_values), relu);
        for variant in case.variants(&gpu) {
            let out = Place::new(&gpu, [case.m, case.n]);
            let epilogue = Epilogue { bias: with_bias.then_some(&bias), relu };
            let (a, b) = (side(&a, case.flip_a), side(&b, case.flip_b));
            matmul_with(&gpu, variant, a, b, epilogue, &out.tensor).unwrap();
            let what = format!("{variant:?} {case:?} bias and ReLU: {relu}");
            assert_close(&what, &out.read(&gpu), &wanted, case.k);
        }
    }
}

fn products() -> impl Strategy<Value = Product> {
    // Multiples of four by the half, so that the blocked kernels get their share.
    let contiguous = || prop_oneof![extent(67), extent(67).prop_map(|extent| extent.next_multiple_of(4))];
    (extent(67), contiguous(), contiguous(), any::<bool>(), any::<bool>())
        .prop_map(|(m, n, k, flip_a, flip_b)| Product::new(m, n, k, flip_a, flip_b))
}

#[test]
fn random_products_match_f64() {
    for_cases(32, products(), check);
}

#[test]
fn tile_edges_match_f64() {
    // Columns a workgroup of matmul_nn: 4 LANES COLUMNS, with 8 lanes of up to 4 vectors on software adapters
    // and 32 lanes of up to 2 elsewhere; rows 16.
    for (m, n) in [(1, 4), (15, 32), (16, 36), (17, 128), (33, 132), (3, 256), (2, 260), (16, 1028)] {
        check(Product::new(m, n, 5, m % 2 == 0, false));
    }
    // matmul_tiled: tiles of 8 (16); matmul_blocked: 8 rows, LANES COLUMNS with up to 8 (4) columns a lane;
    // matmul_subgroup: 16 rows (8), 16 LANES columns (4 LANES); matmul_split_k: 32 of k to a split.
    for (m, n, k) in [(7, 8, 8), (8, 16, 15), (9, 64, 16), (16, 68, 17), (17, 252, 33), (2, 516, 65)] {
        check(Product::new(m, n, k, n % 8 == 0, false));
    }
    // matmul_shared: tiles of 32 x 128 up to 32 rows, 64 x 64 beyond; 16 of k.
    for (m, n, k) in [(32, 129, 16), (33, 64, 17), (65, 63, 15), (64, 65, 33)] {
        for flips in 0..4 {
            check(Product::new(m, n, k, flips & 1 > 0, flips & 2 > 0));
        }
    }
    // matmul_nt: 8 rows, LANES COLUMNS with up to 8 columns a lane (2 elsewhere); matmul_nt_subgroup: 16 and 4 (8 and 2).
    for (m, n) in [(1, 1), (7, 8), (8, 9), (9, 63), (16, 64), (17, 65), (2, 129), (8, 519)] {
        check(Product::new(m, n, 12, m % 2 == 0, true));
    }
}

/// Where that leaves 512 workgroups, matmul_shared has tiles of 128 x 64 and of 128 x 128.
#[test]
fn large_tiles_in_workgroup_memory_match_f64() {
    let gpu = gpu();
    for case in [Product::new(127, 40_003, 9, false, true), Product::new(128, 65_537, 9, true, false)] {
        let ((a, a_values), (b, b_values)) = (operand(&gpu, 0, case.a_dims()), operand(&gpu, 1, case.b_dims()));
        let out = gpu.empty([case.m, case.n]).unwrap();
        let (a, b) = (side(&a, case.flip_a), side(&b, case.flip_b));
        matmul_with(&gpu, Variant::Shared, a, b, Epilogue::default(), &out).unwrap();
        let wanted = reference(case, &a_values, &b_values, None, false);
        assert_close(&format!("{case:?}"), &gpu.read(&out).unwrap(), &wanted, case.k);
    }
}

#[test]
fn long_sums_match_f64() {
    check(Product::new(3, 8, 4096, false, false));
    check(Product::new(3, 5, 4096, false, true));
    check(Product::new(3, 5, 4099, true, true));
}

#[test]
fn a_grid_that_one_dimension_cannot_hold_is_folded() {
    // 2049^2 elements are more than 65,535 workgroups of 64.
    let gpu = gpu();
    let (rows, columns) = (random(0, 2049), random(1, 2049));
    let (a, b) = (gpu.tensor([2049, 1], &rows).unwrap(), gpu.tensor([1, 2049], &columns).unwrap());
    let found = gpu.read(&matmul(&gpu, plain(&a), plain(&b)).unwrap()).unwrap();
    for (index, &value) in found.iter().enumerate() {
        assert_eq!(value, rows[index / 2049] * columns[index % 2049], "element {index}");
    }
}

#[test]
fn the_shape_chooses_the_kernel() {
    let gpu = gpu();
    let launches = |case: Product| {
        let before = gpu.dispatch_counts();
        let ((a, _), (b, _)) = (operand(&gpu, 0, case.a_dims()), operand(&gpu, 1, case.b_dims()));
        matmul(&gpu, side(&a, case.flip_a), side(&b, case.flip_b)).unwrap();
        let grew = |name: &&str| gpu.dispatch_counts().get(name) != before.get(name);
        let names = ["matmul", "matmul_nn", "matmul_nt", "matmul_nt_subgroup", "matmul_shared", "matmul_subgroup"];
        names.into_iter().filter(grew).collect::<Vec<_>>()
    };
    // Which is the fastest depends on the driver; tiles in workgroup memory, a GPU's own, are not for products so small.
    let own = [false, true].map(|flip| tiles::matmul(&gpu, flip).unwrap());
    let [best, transposed] = own.map(|one| if one == Variant::Shared { Variant::Blocked } else { one });
    assert!([best, transposed].iter().all(|one| [Variant::Blocked, Variant::Subgroup].contains(one)));
    assert!(own == [best, transposed] || !gpu.adapter().is_software());
    assert_eq!(launches(Product::new(3, 8, 5, false, false)), [best.file()]);
    let file = if transposed == Variant::Blocked { "matmul_nt" } else { "matmul_nt_subgroup" };
    assert_eq!(launches(Product::new(3, 5, 8, true, true)), [file]);
    assert_eq!(launches(Product::new(3, 5, 8, false, false)), ["matmul"]);
    assert_eq!(launches(Product::new(3, 8, 5, false, true)), ["matmul"]);
}

#[test]
fn fused_bias_and_relu_equal_separate_ones() {
    let gpu = gpu();
    let cases = [Product::new(19, 36, 71, false, false), Product::new(19, 35, 32, false, true)];
    for (case, variant) in cases.into_iter().flat_map(|case| case.variants(&gpu).map(move |variant| (case, variant))) {
        let ((a, _), (b, _)) = (operand(&gpu, 0, case.a_dims()), operand(&gpu, 1, case.b_dims()));
        let (bias, bias_values) = operand(&gpu, 2, [case.n]);
        let run = |epilogue| {
            let out = gpu.empty([case.m, case.n]).unwrap();
            let (a, b) = (side(&a, case.flip_a), side(&b, case.flip_b));
            matmul_with(&gpu, variant, a, b, epilogue, &out).unwrap();
            gpu.read(&out).unwrap()
        };
        let sums = run(Epilogue::default());
        let biased: Vec<f32> = sums.iter().enumerate().map(|(i, sum)| sum + bias_values[i % case.n]).collect();
        let clipped: Vec<f32> = biased.iter().map(|value| value.max(0.0)).collect();
        assert!(clipped.contains(&0.0) && biased.iter().any(|&value| value > 0.0));
        assert_eq!(run(Epilogue { bias: Some(&bias), relu: false }), biased, "{variant:?} {case:?}");
        assert_eq!(run(Epilogue { bias: Some(&bias), relu: true }), clipped, "{variant:?} {case:?}");
    }
}

#[test]
fn a_second_run_gives_the_same_bits() {
    let gpu = gpu();
    for case in [Product::new(37, 68, 301, false, false), Product::new(37, 67, 300, true, true)] {
        let ((a, _), (b, _)) = (operand(&gpu, 0, case.a_dims()), operand(&gpu, 1, case.b_dims()));
        for variant in case.variants(&gpu) {
            let run = || {
                let out = gpu.empty([case.m, case.n]).unwrap();
                let (a, b) = (side(&a, case.flip_a), side(&b, case.flip_b));
                matmul_with(&gpu, variant, a, b, Epilogue::default(), &out).unwrap();
                gpu.read(&out).unwrap()
            };
            assert_eq!(bits(&run()), bits(&run()), "{variant:?} {case:?}");
        }
    }
}

#[test]
fn nan_reaches_the_output_through_relu() {
    // A network that has diverged must show it, as PyTorch's does, and not become a plausible zero.
    let gpu = gpu();
    for case in
        [Product::new(2, 4, 3, false, false), Product::new(2, 3, 4, false, true), Product::new(2, 3, 3, false, false)]
    {
        let (mut a_values, b_values) = (random(0, case.m * case.k), random(1, case.k * case.n));
        a_values[0] = f32::NAN;
        let (a, b) = (gpu.tensor(case.a_dims(), &a_values).unwrap(), gpu.tensor(case.b_dims(), &b_values).unwrap());
        let wanted: Vec<bool> = (0..case.m * case.n).map(|index| index < case.n).collect();
        for variant in case.variants(&gpu) {
            let out = gpu.empty([case.m, case.n]).unwrap();
            let epilogue = Epilogue { bias: None, relu: true };
            matmul_with(&gpu, variant, plain(&a), side(&b, case.flip_b), epilogue, &out).unwrap();
            let nan: Vec<bool> = gpu.read(&out).unwrap().iter().map(|value| value.is_nan()).collect();
            assert_eq!(nan, wanted, "{variant:?} {case:?}: the first row and no other");
        }
    }
}

#[test]
fn gradients_match_differences() {
    for (m, n, k) in [(3, 5, 7), (5, 8, 4), (1, 4, 1)] {
        for (flip_a, flip_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let case = Product::new(m, n, k, flip_a, flip_b);
            check_gradients(&format!("{case:?}"), &[case.a_dims().into(), case.b_dims().into()], |tape, inputs| {
                tape.matmul(inputs[0], flip_a, inputs[1], flip_b)
            });
        }
    }
    // A matrix that is both operands gets the sum of two gradients.
    check_gradients("x x^T", &[[3, 5].into()], |tape, inputs| tape.matmul(inputs[0], false, inputs[0], true));
}

fn tensor(gpu: &Gpu, dims: &[usize]) -> Tensor {
    let shape = shadegrad::gpu::Shape::new(dims).unwrap();
    gpu.zeros(shape).unwrap()
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let [a, b, cube] = [&[2, 3][..], &[4, 5], &[2, 3, 4]].map(|dims| tensor(&gpu, dims));
    let vector = tensor(&gpu, &[5]);
    refused(matmul(&gpu, plain(&a), plain(&b)), &["matmul", "[2, 3]", "[4, 5]"]);
    refused(matmul(&gpu, transposed(&a), transposed(&b)), &["matmul", "[3, 2]", "[5, 4]"]);
    refused(matmul(&gpu, plain(&cube), plain(&b)), &["matmul", "[2, 3, 4]"]);
    refused(matmul(&gpu, plain(&a), plain(&vector)), &["matmul", "[5]"]);
    let square = tensor(&gpu, &[4, 4]);
    let none = Epilogue::default();
    refused(matmul_into(&gpu, plain(&b), plain(&vector), none, &square), &["matmul", "[5]"]);
    refused(matmul_into(&gpu, plain(&square), plain(&b), none, &square), &["matmul", "[4, 4]", "[4, 5]"]);
    let epilogue = Epilogue { bias: Some(&vector), relu: false };
    refused(matmul_into(&gpu, plain(&square), plain(&square), epilogue, &b), &["matmul", "[4, 4]", "[4, 5]"]);
    let out = tensor(&gpu, &[4, 4]);
    refused(matmul_into(&gpu, plain(&square), plain(&square), epilogue, &out), &["matmul", "bias", "[5]", "[4]"]);
    let blocked = matmul_with(&gpu, Variant::Blocked, plain(&square), plain(&b), none, &b);
    refused(blocked, &["matmul", "multiple of 4", "5"]);
    let split = matmul_with(&gpu, Variant::SplitK, plain(&square), transposed(&square), none, &square);
    refused(split, &["matmul", "split-k", "second operand"]);
}
