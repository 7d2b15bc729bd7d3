//! The affine map for each channel and its gradient against f64.

mod common;

use common::cases::{Place, bits, extent, for_cases, refused};
use common::{assert_close, check_gradients, gpu, operand};
use proptest::prelude::*;
use shadegrad::autograd::Tape;
use shadegrad::gpu::Shape;
use shadegrad::lab::workload::{Kind, Workload};
use shadegrad::models::architecture;
use shadegrad::nn::Network;
use shadegrad::ops::choices;
use shadegrad::ops::normalize;
use shadegrad::ops::tiles::{self, ConvVariant};
use shadegrad::selftest::reference::normalize::affine as reference;

fn check(dims: [usize; 4]) {
    let gpu = gpu();
    let (x, values) = operand(&gpu, 0, dims);
    let ((factor, factors), (offset, offsets)) = (operand(&gpu, 1, [dims[1]]), operand(&gpu, 2, [dims[1]]));
    let y = normalize::forward(&gpu, &x, &factor, &offset).unwrap();
    assert_eq!(y.dims(), dims);
    let wanted = reference(dims, &values, &factors, &offsets);
    assert_close(&format!("{dims:?} y"), &gpu.read(&y).unwrap(), &wanted, 1);

    let zeros = gpu.zeros([dims[1]]).unwrap();
    let dx = Place::new(&gpu, dims);
    normalize::backward(&gpu, &x, &factor, &zeros, &dx.tensor).unwrap();
    let wanted = reference(dims, &values, &factors, &vec![0.0; dims[1]]);
    assert_close(&format!("{dims:?} dx"), &dx.read(&gpu), &wanted, 1);
}

#[test]
fn random_shapes_match_f64() {
    let shapes = [extent(67), extent(67), extent(67), extent(67)]
        .prop_filter("small", |dims| dims.iter().product::<usize>() < 100_000);
    for_cases(48, shapes, check);
}

#[test]
fn edge_shapes_match_f64() {
    for dims in [[1, 1, 1, 1], [128, 3, 32, 32], [2, 64, 1, 1], [1, 1, 64, 1], [1, 65, 1, 1], [3, 1, 1, 67]] {
        check(dims);
    }
}

#[test]
fn a_second_run_gives_the_same_bits() {
    let gpu = gpu();
    let ((x, _), (factor, _), (offset, _)) =
        (operand(&gpu, 0, [3, 5, 7, 11]), operand(&gpu, 1, [5]), operand(&gpu, 2, [5]));
    let run = || gpu.read(&normalize::forward(&gpu, &x, &factor, &offset).unwrap()).unwrap();
    assert_eq!(bits(&run()), bits(&run()));
}

#[test]
fn gradients_match_differences() {
    let gpu = gpu();
    for dims in [[2, 3, 3, 5], [1, 1, 1, 1], [3, 2, 1, 7]] {
        let ((factor, _), (offset, _)) = (operand(&gpu, 1, [dims[1]]), operand(&gpu, 2, [dims[1]]));
        let zeros = gpu.zeros([dims[1]]).unwrap();
        check_gradients(&format!("{dims:?}"), &[dims.into()], |tape, v| tape.normalize(v[0], &factor, &offset, &zeros));
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let zeros = |dims: &[usize]| gpu.zeros(Shape::new(dims).unwrap()).unwrap();
    let (x, three, four) = (zeros(&[2, 3, 4, 4]), zeros(&[3]), zeros(&[4]));
    refused(normalize::forward(&gpu, &zeros(&[2, 3]), &three, &three), &["normalize", "[2, 3]", "four dimensions"]);
    refused(normalize::forward(&gpu, &x, &four, &three), &["normalize", "factor", "[4]", "[3]"]);
    refused(normalize::forward(&gpu, &x, &three, &four), &["normalize", "offset", "[4]", "[3]"]);
    refused(normalize::backward(&gpu, &x, &four, &three, &zeros(&[2, 3, 4, 4])), &["normalize", "[4]", "[3]"]);
    let small = zeros(&[2, 3, 4, 3]);
    refused(normalize::backward(&gpu, &x, &three, &three, &small), &["normalize", "[2, 3, 4, 3]", "[2, 3, 4, 4]"]);
}

/// Training gathers its pictures normalised, by a table of a byte's 256 values.
#[test]
fn a_table_of_levels_is_what_the_kernel_makes_of_them() {
    let gpu = gpu();
    for model in ["lenet", "lab", "fast", "ae3-lab"] {
        let network = Network::new(&gpu, architecture(model).unwrap(), 1).unwrap();
        let ramp: Vec<f32> = (0..3072u32).map(|i| (i % 256) as f32 / 255.0).collect();
        let x = gpu.tensor([1, 3, 32, 32], &ramp).unwrap();
        let tape = Tape::evaluation(&gpu);
        let normalized = network.normalized(&tape, tape.leaf(&x)).unwrap();
        let made = gpu.read(&tape.value(normalized).unwrap()).unwrap();
        let levels = network.normalized_levels().unwrap();
        assert_eq!(levels.len(), 3 * 256, "{model}");
        for (i, made) in made.iter().enumerate() {
            let level = levels[i / 1024 * 256 + i % 256];
            // An adapter may round the product away or not.
            assert!((made - level).abs() <= 2.5e-7 * level.abs().max(1.0), "{model}, {i}: {made}, {level}");
        }
    }
}

#[test]
fn a_training_step_normalises_nothing_anew_and_an_attack_once() {
    let gpu = gpu();
    // lenet's first convolution does it as it reads, where its kernel can.
    let own = tiles::conv2d_at(&gpu, choices::convolution("forward", [3, 6], 5, 1, 28)).unwrap().0;
    let lenet = u64::from(own != ConvVariant::Subgroup);
    for (model, kind, wanted) in [
        ("lenet", Kind::Train, 0),
        ("ae3-lab", Kind::Train, 0),
        ("lab", Kind::Attack, 1),
        ("lenet", Kind::Attack, lenet),
    ] {
        let mut workload = Workload::new(&gpu, kind, model, 4).unwrap();
        let launched = || gpu.dispatch_counts().get("normalize").copied().unwrap_or(0);
        let (before, all) = (launched(), gpu.dispatches());
        workload.step().unwrap();
        let found = launched() - before;
        assert!(found == wanted && gpu.dispatches() >= all + 15, "{model}, {}: {found}", kind.name());
    }
}
