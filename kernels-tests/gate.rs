//! The gradient through the ReLU before a convolution, where the convolution's own kernel takes it there: the same bits as in
//! two steps.

mod common;

use common::cases::{bits, refused};
use common::{gpu, operand};
use shadegrad::autograd::{Tape, Var};
use shadegrad::gpu::{Gpu, Shape, Tensor};
use shadegrad::ops::activation::{self, Activation};
use shadegrad::ops::conv2d::{self, Window};
use shadegrad::ops::linear::backward_relu;
use shadegrad::ops::tiles::{self, ConvVariant};
use shadegrad::selftest::reference::conv2d::Case;

/// What a ReLU leaves of an operand: about half of it zeros.
fn after_relu(gpu: &Gpu, item: u32, shape: [usize; 4]) -> Tensor {
    activation::forward(gpu, Activation::Relu, &operand(gpu, item, shape).0).unwrap()
}

fn force(gpu: &Gpu, variant: Option<ConvVariant>) {
    gpu.force_variant(tiles::CONV2D, variant.map(ConvVariant::name));
}

#[test]
fn one_kernel_does_as_two() {
    let gpu = gpu();
    for variant in ConvVariant::ALL.into_iter().filter(|variant| variant.runs_on(&gpu)) {
        force(&gpu, Some(variant));
        // Either stride, lines that fall into fours and that do not, tiles past the edge, and another extent of kernel.
        for case in [
            Case::new([3, 5, 6], [16, 16], 3, 1, 1),
            Case::new([3, 5, 6], [9, 11], 3, 1, 1),
            Case::new([2, 5, 3], [16, 32], 3, 2, 1),
            Case::new([2, 5, 3], [13, 9], 3, 2, 0),
            Case::new([2, 3, 4], [12, 12], 5, 1, 2),
        ] {
            let ((dy, _), (w, _)) = (operand(&gpu, 3, case.narrow()), operand(&gpu, 1, case.weight()));
            let x = after_relu(&gpu, 0, case.wide());
            let dx = gpu.empty(case.wide()).unwrap();
            conv2d::backward_data(&gpu, &dy, &w, case.window, &dx).unwrap();
            let through = backward_relu(&gpu, &x, &dx).unwrap();
            let [plain, through] = [&dx, &through].map(|tensor| bits(&gpu.read(tensor).unwrap()));
            assert_ne!(plain, through);

            let found = gpu.filled(case.wide(), f32::NAN).unwrap();
            let is_through = conv2d::backward_data_relu(&gpu, &dy, &w, case.window, &x, &found).unwrap();
            assert_eq!(is_through, variant == ConvVariant::Winograd && case.kernel == 3, "{variant:?} {case:?}");
            let wanted = if is_through { &through } else { &plain };
            assert_eq!(&bits(&gpu.read(&found).unwrap()), wanted, "{variant:?} {case:?}");
        }
    }
    force(&gpu, None);
}

/// A convolution and its ReLU, fused or not.
fn layer(tape: &Tape, x: Var, w: Var, is_fused: bool) -> Var {
    let y = tape.conv2d(x, w, None, Window::new(1, 1), is_fused).unwrap();
    if is_fused { y } else { tape.activation(y, Activation::Relu).unwrap() }
}

/// How often ReLU's own backward kernel has run.
fn relu_launches(gpu: &Gpu) -> u64 {
    gpu.dispatch_counts().get("activation_backward").copied().unwrap_or(0)
}

/// Gradients of the pixels and of all weights, as bits, and how often ReLU's own backward kernel ran for them. The first
/// layer's output goes to `readers` other layers, and if `is_added` to the sum of all too.
fn gradients(gpu: &Gpu, readers: usize, is_added: bool, is_fused: bool) -> (Vec<Vec<u32>>, u64) {
    let tape = Tape::new(gpu);
    let leaf = |item, shape: [usize; 4]| tape.leaf(&operand(gpu, item, shape).0);
    let mut leaves = vec![leaf(0, [2, 3, 16, 16]), leaf(1, [4, 3, 3, 3])];
    let first = layer(&tape, leaves[0], leaves[1], is_fused);
    let mut sum = is_added.then_some(first);
    for reader in 0..readers as u32 {
        let weights = [leaf(2 + 2 * reader, [5, 4, 3, 3]), leaf(3 + 2 * reader, [4, 5, 3, 3])];
        let middle = layer(&tape, first, weights[0], is_fused);
        let last = layer(&tape, middle, weights[1], is_fused);
        sum = Some(sum.map_or(last, |sum| tape.add(sum, last).unwrap()));
        leaves.extend(weights);
    }
    // Gradients that are not all ones.
    let loss = tape.multiply(sum.unwrap(), leaf(20, [2, 4, 16, 16])).unwrap();
    let before = relu_launches(gpu);
    let found = tape.backward(loss, &leaves).unwrap();
    let launched = relu_launches(gpu) - before;
    (leaves.iter().map(|&leaf| bits(&gpu.read(found.of(leaf).unwrap()).unwrap())).collect(), launched)
}

#[test]
fn the_tape_leaves_out_the_relus_that_were_passed() {
    let gpu = gpu();
    // Readers of the first layer, whether it is also added as it is, and ReLUs left: the last of each reader, and the first
    // layer's own if not all that came was through it.
    for (readers, is_added, left) in [(1, false, 1), (2, false, 2), (1, true, 2), (2, true, 3)] {
        force(&gpu, Some(ConvVariant::Winograd));
        let (fused, launched) = gradients(&gpu, readers, is_added, true);
        let (apart, of_all) = gradients(&gpu, readers, is_added, false);
        assert_eq!(launched, left, "{readers} readers, added: {is_added}");
        assert_eq!(of_all, 1 + 2 * readers as u64);
        assert!(fused == apart, "{readers} readers, added: {is_added}");
        // A kernel that cannot pass one leaves it to ReLU's own.
        force(&gpu, Some(ConvVariant::Naive));
        assert_eq!(gradients(&gpu, readers, is_added, true).1, of_all);
    }
    force(&gpu, None);
}

#[test]
fn whoever_wants_what_a_relu_makes_gets_the_gradient_by_that() {
    let gpu = gpu();
    force(&gpu, Some(ConvVariant::Winograd));
    let run = |wanted: &[usize]| {
        let tape = Tape::new(&gpu);
        let leaf = |item, shape: [usize; 4]| tape.leaf(&operand(&gpu, item, shape).0);
        let (x, w) = (leaf(0, [2, 3, 16, 16]), leaf(1, [4, 3, 3, 3]));
        let between = layer(&tape, x, w, true);
        let out = layer(&tape, between, leaf(2, [5, 4, 3, 3]), true);
        let vars = [x, between];
        let found = tape.backward(out, &wanted.iter().map(|&index| vars[index]).collect::<Vec<_>>()).unwrap();
        vars.map(|var| found.of(var).map(|slope| gpu.read(slope).unwrap()))
    };
    let [[alone, nothing], [neither, by_relu], both] = [run(&[0]), run(&[1]), run(&[0, 1])];
    assert!(nothing.is_none() && neither.is_none());
    assert_eq!(both, [alone, by_relu.clone()], "gradients do not depend on what else is wanted");
    // The output that the ReLU left: some of it is zero, and has a slope all the same.
    let tape = Tape::evaluation(&gpu);
    let [x, w] = [(0, [2, 3, 16, 16]), (1, [4, 3, 3, 3])].map(|(item, shape)| tape.leaf(&operand(&gpu, item, shape).0));
    let y = gpu.read(&tape.value(layer(&tape, x, w, true)).unwrap()).unwrap();
    assert!(y.iter().zip(by_relu.unwrap()).any(|(&y, slope)| y == 0.0 && slope != 0.0));
    force(&gpu, None);
}

#[test]
fn a_batch_in_parts_finds_its_own_gates() {
    let gpu = gpu();
    force(&gpu, Some(ConvVariant::Winograd));
    // 60 pictures of 1,024 tiles: on a software adapter two parts, on a GPU one.
    let case = Case::new([60, 1, 2], [128, 128], 3, 1, 1);
    let ((dy, _), (w, _)) = (operand(&gpu, 3, case.narrow()), operand(&gpu, 1, case.weight()));
    let (x, dx) = (after_relu(&gpu, 0, case.wide()), gpu.empty(case.wide()).unwrap());
    conv2d::backward_data(&gpu, &dy, &w, case.window, &dx).unwrap();
    let through = backward_relu(&gpu, &x, &dx).unwrap();
    assert!(conv2d::backward_data_relu(&gpu, &dy, &w, case.window, &x, &dx).unwrap());
    assert!(bits(&gpu.read(&dx).unwrap()) == bits(&gpu.read(&through).unwrap()));
    force(&gpu, None);
}

#[test]
fn a_transposed_convolution_has_a_relu_to_pass_too() {
    let gpu = gpu();
    force(&gpu, Some(ConvVariant::Winograd));
    let [fused, apart] = [true, false].map(|is_fused| {
        let tape = Tape::new(&gpu);
        let leaf = |item, shape: &[usize]| tape.leaf(&operand(&gpu, item, Shape::new(shape).unwrap()).0);
        let leaves = [leaf(0, &[2, 3, 8, 8]), leaf(1, &[3, 4, 3, 3]), leaf(2, &[4]), leaf(3, &[5, 4, 3, 3])];
        let [x, w, b, last] = leaves;
        let window = Window::new(1, 1);
        let mut y = tape.conv_transpose2d(x, w, b, window, is_fused).unwrap();
        if !is_fused {
            y = tape.activation(y, Activation::Relu).unwrap();
        }
        let loss = tape.conv2d(y, last, None, window, false).unwrap();
        let before = relu_launches(&gpu);
        let found = tape.backward(loss, &leaves).unwrap();
        assert_eq!(relu_launches(&gpu) - before, u64::from(!is_fused));
        leaves.map(|leaf| bits(&gpu.read(found.of(leaf).unwrap()).unwrap()))
    });
    assert!(fused == apart);
    force(&gpu, None);
}

#[test]
fn an_input_of_another_shape_is_refused() {
    let gpu = gpu();
    let case = Case::new([2, 3, 5], [8, 8], 3, 1, 1);
    let ((dy, _), (w, _)) = (operand(&gpu, 3, case.narrow()), operand(&gpu, 1, case.weight()));
    let (dx, other) = (gpu.empty(case.wide()).unwrap(), gpu.filled([2, 3, 8, 4], 1.0).unwrap());
    let outcome = conv2d::backward_data_relu(&gpu, &dy, &w, case.window, &other, &dx);
    refused(outcome, &["conv2d_backward_data", "the input", "[2, 3, 8, 4]", "[2, 3, 8, 8]"]);
}
