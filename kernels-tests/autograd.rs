//! The tape: it launches only what is wanted, adds up gradients, knows its own variables, leaks nothing, and repeats
//! itself to the bit.

mod common;

use std::collections::BTreeMap;

use common::cases::refused;
use common::{assert_close, check_gradients, gpu, operand};
use shadegrad::autograd::{BatchNorm, Start, Tape, Var};
use shadegrad::gpu::{Gpu, GpuError, GpuOptions, Result, Shape, Tensor};
use shadegrad::models::architecture;
use shadegrad::nn::{Architecture, Layer, Mode, Network, Optimizer, OptimizerKind, Task};
use shadegrad::ops::activation::Activation;
use shadegrad::ops::batch_norm::{Running, Settings};
use shadegrad::ops::choices;
use shadegrad::ops::conv2d::Window;
use shadegrad::ops::dropout::Mask;
use shadegrad::ops::noise::{self, Source};
use shadegrad::ops::optimizer::Adam;
use shadegrad::ops::perturb::Step;
use shadegrad::ops::reduce::Reduction;
use shadegrad::ops::tiles::{self, ConvVariant};
use shadegrad::random::Purpose;

/// How often each kernel was launched by `work`.
struct Launches(BTreeMap<&'static str, u64>);

impl Launches {
    fn of<T>(gpu: &Gpu, work: impl FnOnce() -> Result<T>) -> Self {
        let before = gpu.dispatch_counts();
        work().unwrap();
        let mut counts = gpu.dispatch_counts();
        for (name, count) in before {
            *counts.entry(name).or_default() -= count;
        }
        Self(counts)
    }

    fn count(&self, kernel: &str) -> u64 {
        self.0.get(kernel).copied().unwrap_or(0)
    }

    /// Products of any variant.
    fn matmuls(&self) -> u64 {
        self.0.iter().filter(|(name, _)| name.starts_with("matmul")).map(|(_, count)| count).sum()
    }
}

fn leaf(tape: &Tape, item: u32, shape: impl Into<Shape>) -> Var {
    tape.leaf(&operand(tape.gpu(), item, shape).0)
}

/// Two convolutions, a pool, a linear layer and a loss: with the leaves x, w1, b1, w2, b2, w3, b3.
fn small_network(tape: &Tape) -> (Var, [Var; 7]) {
    let shapes: [Shape; 7] = [
        [4, 3, 8, 8].into(),
        [5, 3, 3, 3].into(),
        [5].into(),
        [6, 5, 3, 3].into(),
        [6].into(),
        [7, 96].into(),
        [7].into(),
    ];
    let mut item = 0;
    let leaves = shapes.map(|shape| {
        item += 1;
        leaf(tape, item, shape)
    });
    let [x, w1, b1, w2, b2, w3, b3] = leaves;
    let first = tape.conv2d(x, w1, b1, Window::new(1, 1), true).unwrap();
    let second = tape.conv2d(first, w2, b2, Window::new(1, 1), true).unwrap();
    let pooled = tape.max_pool(second, 2, Window::new(2, 0), false).unwrap();
    let logits = tape.linear(tape.flatten(pooled).unwrap(), w3, b3, false).unwrap();
    let labels = tape.gpu().words(&[0, 3, 6, 2]).unwrap();
    (tape.cross_entropy_mean(logits, &labels, 0.0).unwrap(), leaves)
}

#[test]
fn an_attack_launches_no_weight_gradient_kernel() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let (loss, leaves) = small_network(&tape);
    let launches = Launches::of(&gpu, || tape.backward(loss, &leaves[..1]));
    assert_eq!(launches.count("conv2d_backward_data"), 2);
    assert_eq!(launches.count("conv2d_backward_weights"), 0);
    assert_eq!(launches.matmuls(), 1, "the linear layer's data gradient alone");
    assert_eq!(launches.count("reduce"), 0, "no bias is summed up");
}

#[test]
fn a_training_step_launches_no_data_gradient_of_the_first_layer() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let (loss, leaves) = small_network(&tape);
    let launches = Launches::of(&gpu, || tape.backward(loss, &leaves[1..]));
    assert_eq!(launches.count("conv2d_backward_data"), 1, "the second layer's");
    let own = tiles::conv2d_at(&gpu, choices::convolution("backward-data", [6, 5], 3, 1, 6)).unwrap().0;
    assert_eq!(launches.count("conv2d_pack"), u64::from(own != ConvVariant::Subgroup), "read as they lie");
    assert_eq!(launches.count("conv2d_backward_weights"), 2);
    assert_eq!(launches.matmuls(), 2, "the linear layer's data and weight gradients");

    // The last layer alone: nothing below it is touched.
    let launches = Launches::of(&gpu, || tape.backward(loss, &leaves[5..]));
    for kernel in ["conv2d_backward_data", "conv2d_backward_weights", "max_pool_backward", "activation_backward"] {
        assert_eq!(launches.count(kernel), 0, "{kernel}");
    }
    assert_eq!(launches.matmuls(), 1);
    let launches = Launches::of(&gpu, || tape.backward(loss, &[]));
    assert_eq!(launches.0.values().sum::<u64>(), launches.count("fill"), "nothing wanted, nothing computed");
}

#[test]
fn a_whole_model_is_pruned_alike() {
    let gpu = gpu();
    let network = Network::new(&gpu, architecture("lenet").unwrap(), 1).unwrap();
    let tape = Tape::new(&gpu);
    let (bound, x) = (network.bind(&tape).unwrap(), leaf(&tape, 1, [2, 3, 32, 32]));
    let logits = network.forward(&tape, &bound, x, Mode::Evaluation).unwrap();
    let loss = tape.cross_entropy_mean(logits, &gpu.words(&[1, 2]).unwrap(), 0.0).unwrap();
    // A data gradient may be one launch with its pooling's; pixels that were normalised as they were read are so for the weights.
    let counts = |launches: &Launches| {
        let data = launches.count("conv2d_backward_data") + launches.count("conv2d_max_pool_backward");
        [data, launches.count("conv2d_backward_weights"), launches.count("normalize")]
    };
    let own = tiles::conv2d_at(&gpu, choices::convolution("forward", [3, 6], 5, 1, 28)).unwrap().0;
    let read_so = u64::from(own == ConvVariant::Subgroup);
    let launches = Launches::of(&gpu, || tape.backward(loss, &[x]));
    assert_eq!((counts(&launches), launches.matmuls()), ([2, 0, 1], 3));
    let launches = Launches::of(&gpu, || tape.backward(loss, bound.leaves()));
    assert_eq!((counts(&launches), launches.matmuls()), ([1, 2, read_so], 6));
}

#[test]
fn batch_norm_and_transposed_convolution_are_pruned_alike() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let (x, gamma, beta) = (leaf(&tape, 1, [2, 3, 4, 4]), leaf(&tape, 2, [3]), leaf(&tape, 3, [3]));
    for training in [true, false] {
        let running = Running { mean: gpu.zeros([3]).unwrap(), variance: gpu.filled([3], 1.0).unwrap() };
        let layer = BatchNorm { running, settings: Settings::default(), training };
        let y = tape.batch_norm(x, gamma, beta, &layer).unwrap();
        let counts = |wanted: &[Var]| {
            let launches = Launches::of(&gpu, || tape.backward(y, wanted));
            [launches.count("batch_norm_sums"), launches.count("batch_norm_backward")]
        };
        // In training the data gradient is made from the sums; in evaluation it does without.
        assert_eq!(counts(&[x]), [u64::from(training), 1], "training {training}");
        assert_eq!(counts(&[gamma]), [1, 0], "training {training}");
        assert_eq!(counts(&[beta]), [1, 0], "training {training}");
    }
    let (weight, bias) = (leaf(&tape, 4, [3, 2, 4, 4]), leaf(&tape, 5, [2]));
    let y = tape.conv_transpose2d(x, weight, bias, Window::new(2, 1), false).unwrap();
    // A transposed convolution's data gradient is a convolution.
    let counts = |wanted: &[Var]| {
        let launches = Launches::of(&gpu, || tape.backward(y, wanted));
        [launches.count("conv2d"), launches.count("conv2d_backward_weights")]
    };
    assert_eq!(counts(&[x]), [1, 0]);
    assert_eq!(counts(&[weight]), [0, 1]);
    assert_eq!(counts(&[bias]), [0, 0]);
}

#[test]
fn branches_without_a_wanted_leaf_are_not_visited() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let (x, z) = (leaf(&tape, 1, [5, 7]), leaf(&tape, 2, [5, 7]));
    let left = tape.activation(x, Activation::Tanh).unwrap();
    let right = tape.activation(z, Activation::Sigmoid).unwrap();
    let product = tape.multiply(left, right).unwrap();
    // What comes after the loss does not count either, though a wanted leaf leads to it.
    tape.activation(product, Activation::Gelu).unwrap();
    let launches = Launches::of(&gpu, || tape.backward(product, &[z]));
    assert_eq!([launches.count("activation_backward"), launches.count("multiply")], [1, 1]);
    let launches = Launches::of(&gpu, || tape.backward(product, &[x, z]));
    assert_eq!([launches.count("activation_backward"), launches.count("multiply")], [2, 2]);
    // A loss that no wanted leaf leads to is not even differentiated through its own ReLU.
    let (weight, bias) = (leaf(&tape, 3, [2, 7]), leaf(&tape, 4, [2]));
    let rectified = tape.linear(x, weight, bias, true).unwrap();
    let launches = Launches::of(&gpu, || tape.backward(rectified, &[z]));
    assert_eq!(launches.count("activation_backward"), 0);
}

/// Compares the gradient of `build` with `slope`, for a plain leaf and for a parameter with a slot between others.
fn check_uses(what: &str, build: impl Fn(&Tape, Var) -> Result<Var>, slope: impl Fn(f64) -> f64) {
    let gpu = gpu();
    let (value, numbers) = operand(&gpu, 1, [5, 7]);
    let wanted: Vec<f64> = numbers.iter().map(|&x| slope(f64::from(x))).collect();
    let tape = Tape::new(&gpu);
    let x = tape.leaf(&value);
    let found = tape.backward(build(&tape, x).unwrap(), &[x]).unwrap();
    assert_close(what, &gpu.read(found.of(x).unwrap()).unwrap(), &wanted, 4);

    // The slot holds an old gradient, and so do its neighbours in the flat buffer.
    let flat = gpu.filled([3 * 64], 7.0).unwrap();
    let slot = flat.slice(64, [5, 7]).unwrap();
    let p = tape.parameter(&value, &slot);
    let loss = build(&tape, p).unwrap();
    for pass in 1..=2 {
        let found = tape.backward(loss, &[p]).unwrap();
        assert!(found.of(p).unwrap().is_same_memory(&slot), "{what}: the gradient is found in its slot");
        let buffer = gpu.read(&flat).unwrap();
        assert_close(&format!("{what}: slot after pass {pass}"), &buffer[64..99], &wanted, 4);
        assert!(buffer[..64].iter().chain(&buffer[99..]).all(|&value| value == 7.0), "{what}: neighbours");
    }
}

#[test]
fn a_value_used_twice_or_thrice_adds_up_its_gradients() {
    check_uses("x", |_, x| Ok(x), |_| 1.0);
    check_uses("x + x", |tape, x| tape.add(x, x), |_| 2.0);
    check_uses("x x", |tape, x| tape.multiply(x, x), |x| 2.0 * x);
    check_uses("(x + x) + x", |tape, x| tape.add(tape.add(x, x)?, x), |_| 3.0);
    check_uses("x (x x)", |tape, x| tape.multiply(x, tape.multiply(x, x)?), |x| 3.0 * x * x);
    check_uses("(x x) + x", |tape, x| tape.add(tape.multiply(x, x)?, x), |x| 2.0 * x + 1.0);
    check_uses(
        "x + 2 x - 5 x",
        |tape, x| {
            let two = tape.scale(x, 2.0, 0.0)?;
            tape.add(tape.add(x, two)?, tape.scale(x, -5.0, 1.0)?)
        },
        |_| -2.0,
    );
    check_uses(
        "x as two shapes",
        |tape, x| {
            let line = tape.reshape(x, [35])?;
            let table = tape.reshape(line, [5, 7])?;
            tape.multiply(table, x)
        },
        |x| 2.0 * x,
    );
}

#[test]
fn a_shared_weight_gets_the_sum_of_what_separate_ones_get() {
    let gpu = gpu();
    let (x, weight, bias) =
        (operand(&gpu, 1, [2, 3, 6, 6]).0, operand(&gpu, 2, [3, 3, 3, 3]).0, operand(&gpu, 3, [3]).0);
    let flat = gpu.filled([256], f32::NAN).unwrap();
    let slots = [flat.slice(0, [3, 3, 3, 3]).unwrap(), flat.slice(128, [3]).unwrap()];
    let tape = Tape::new(&gpu);
    // Three layers with the weights' own leaves, or with one pair of leaves for all.
    let run = |leaves: [[Var; 2]; 3]| {
        let mut value = tape.leaf(&x);
        for [weight, bias] in leaves {
            value = tape.conv2d(value, weight, bias, Window::new(1, 1), true).unwrap();
        }
        let wanted: Vec<Var> = leaves.concat();
        let found = tape.backward(value, &wanted).unwrap();
        wanted.iter().map(|&leaf| gpu.read(found.of(leaf).unwrap()).unwrap()).collect::<Vec<_>>()
    };
    let separate = run([(); 3].map(|()| [tape.leaf(&weight), tape.leaf(&bias)]));
    let shared = run([[tape.parameter(&weight, &slots[0]), tape.parameter(&bias, &slots[1])]; 3]);
    for part in 0..2 {
        let sum: Vec<f64> = (0..separate[part].len())
            .map(|index| (0..3).map(|layer| f64::from(separate[2 * layer + part][index])).sum())
            .collect();
        assert_close("shared", &shared[part], &sum, 3);
        assert_eq!(gpu.read(&slots[part]).unwrap(), shared[part]);
    }
}

type Call = Box<dyn Fn(&Tape, Var, Var) -> Result<Var>>;

/// Every kind of call, with the first (stale) variable in each of its places and the second (fresh) in the others.
fn calls(gpu: &Gpu) -> Vec<(&'static str, Call)> {
    let (ones, words) = (gpu.filled([3], 1.0).unwrap(), gpu.words(&[0, 1]).unwrap());
    let more = words.clone();
    let running = Running { mean: ones.clone(), variance: ones.clone() };
    let layer = BatchNorm { running, settings: Settings::default(), training: true };
    let layers = [layer.clone(), layer.clone(), layer];
    let [l0, l1, l2] = layers;
    let window = Window::new(1, 0);
    let mask = Mask { rate: 0.5, seed: 0, launch: 0 };
    vec![
        ("value", Box::new(|tape, s, f| tape.value(s).map(|_| f))),
        ("backward", Box::new(|tape, s, f| tape.backward(s, &[f]).map(|_| f))),
        ("backward", Box::new(|tape, s, f| tape.backward(f, &[f, s]).map(|_| f))),
        ("add", Box::new(|tape, s, f| tape.add(s, f))),
        ("add", Box::new(|tape, s, f| tape.add(f, s))),
        ("multiply", Box::new(|tape, s, f| tape.multiply(s, f))),
        ("multiply", Box::new(|tape, s, f| tape.multiply(f, s))),
        ("scale", Box::new(|tape, s, _| tape.scale(s, 2.0, 0.0))),
        ("reshape", Box::new(|tape, s, _| tape.reshape(s, [6]))),
        ("flatten", Box::new(|tape, s, _| tape.flatten(s))),
        ("matmul", Box::new(|tape, s, f| tape.matmul(s, false, f, true))),
        ("matmul", Box::new(|tape, s, f| tape.matmul(f, false, s, true))),
        ("linear", Box::new(|tape, s, f| tape.linear(s, f, f, false))),
        ("linear", Box::new(|tape, s, f| tape.linear(f, s, f, false))),
        ("linear", Box::new(|tape, s, f| tape.linear(f, f, s, false))),
        ("conv2d", Box::new(move |tape, s, f| tape.conv2d(s, f, f, window, false))),
        ("conv2d", Box::new(move |tape, s, f| tape.conv2d(f, s, f, window, false))),
        ("conv2d", Box::new(move |tape, s, f| tape.conv2d(f, f, s, window, false))),
        ("conv_transpose2d", Box::new(move |tape, s, f| tape.conv_transpose2d(s, f, f, window, false))),
        ("conv_transpose2d", Box::new(move |tape, s, f| tape.conv_transpose2d(f, s, f, window, false))),
        ("conv_transpose2d", Box::new(move |tape, s, f| tape.conv_transpose2d(f, f, s, window, false))),
        ("max_pool", Box::new(move |tape, s, _| tape.max_pool(s, 2, window, false))),
        ("avg_pool", Box::new(move |tape, s, _| tape.avg_pool(s, [2, 2], window))),
        ("global_avg_pool", Box::new(|tape, s, _| tape.global_avg_pool(s))),
        ("activation", Box::new(|tape, s, _| tape.activation(s, Activation::Relu))),
        ("normalize", Box::new(move |tape, s, _| tape.normalize(s, &ones, &ones, &ones))),
        ("batch_norm", Box::new(move |tape, s, f| tape.batch_norm(s, f, f, &l0))),
        ("batch_norm", Box::new(move |tape, s, f| tape.batch_norm(f, s, f, &l1))),
        ("batch_norm", Box::new(move |tape, s, f| tape.batch_norm(f, f, s, &l2))),
        ("dropout", Box::new(move |tape, s, _| tape.dropout(s, mask))),
        ("reduce", Box::new(|tape, s, _| tape.reduce(s, Reduction::Sum, 0))),
        ("cross_entropy", Box::new(move |tape, s, _| tape.cross_entropy(s, &words, 0.0))),
        ("cross_entropy", Box::new(move |tape, s, _| tape.cross_entropy_mean(s, &more, 0.0))),
        ("mse", Box::new(|tape, s, f| tape.mse(s, f))),
        ("mse", Box::new(|tape, s, f| tape.mse(f, s))),
        ("mse", Box::new(|tape, s, f| tape.mse_mean(s, f))),
        ("mse", Box::new(|tape, s, f| tape.mse_mean(f, s))),
    ]
}

#[test]
fn a_stale_variable_is_an_error_in_every_call() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let before_reset = leaf(&tape, 1, [2, 3]);
    let far_back = tape.scale(tape.scale(before_reset, 1.0, 0.0).unwrap(), 1.0, 0.0).unwrap();
    tape.reset();
    // The new leaf takes the old one's index; the other old variable's index is out of range.
    let fresh = leaf(&tape, 1, [2, 3]);
    let (other, evaluation) = (Tape::new(&gpu), Tape::evaluation(&gpu));
    let stale = [before_reset, far_back, leaf(&other, 1, [2, 3]), leaf(&evaluation, 1, [2, 3])];
    for (operation, call) in calls(&gpu) {
        for variable in stale {
            let error = call(&tape, variable, fresh).expect_err(operation);
            assert!(matches!(error, GpuError::StaleVariable { operation: named } if named == operation), "{error}");
            assert!(error.to_string().starts_with(&format!("{operation}: a variable was used after its graph")));
        }
    }
    let found = tape.backward(tape.scale(fresh, 2.0, 0.0).unwrap(), &[fresh]).unwrap();
    assert!(found.of(fresh).is_some());
    assert!(stale.iter().all(|&variable| found.of(variable).is_none()), "gradients know their graph, too");
}

#[test]
fn a_leaf_that_the_loss_does_not_depend_on_has_no_gradient_and_a_zero_slot() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let (value, slot) = (operand(&gpu, 1, [5, 7]).0, gpu.filled([5, 7], 7.0).unwrap());
    let (used, plain, parameter) = (tape.leaf(&value), tape.leaf(&value), tape.parameter(&value, &slot));
    // An addition hands its gradient to both sides, asked or not; this one's parameter is not asked for.
    let sum = tape.add(used, parameter).unwrap();
    let found = tape.backward(sum, &[used]).unwrap();
    assert!(found.of(parameter).is_none());
    assert_eq!(gpu.read(&slot).unwrap(), [7.0; 35], "what is not wanted is not touched");
    let loss = tape.multiply(used, used).unwrap();
    // The parameter leads to something, only not to this loss.
    tape.multiply(parameter, plain).unwrap();
    let found = tape.backward(loss, &[used, plain, parameter]).unwrap();
    assert!(found.of(used).is_some() && found.of(plain).is_none() && found.of(parameter).is_none());
    assert_eq!(gpu.read(&slot).unwrap(), [0.0; 35], "the optimiser must not see the last step's gradient");
}

#[test]
fn a_loss_of_many_elements_counts_as_their_sum() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let (z, labels) = (leaf(&tape, 1, [5, 7]), gpu.words(&[0, 6, 3, 3, 1]).unwrap());
    let each = tape.cross_entropy(z, &labels, 0.0).unwrap();
    let sum = tape.reduce(each, Reduction::Sum, 0).unwrap();
    let gradient = |loss| gpu.read(tape.backward(loss, &[z]).unwrap().of(z).unwrap()).unwrap();
    assert_eq!(gradient(each), gradient(sum));
}

#[test]
fn a_walk_may_begin_with_a_gradient_instead_of_a_loss() {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let (x, labels) = (leaf(&tape, 1, [5, 7]), gpu.words(&[0, 6, 3, 3, 1]).unwrap());
    let z = tape.activation(x, Activation::Tanh).unwrap();
    let gradients = |start: Start| {
        let found = tape.backward(start, &[x, z]).unwrap();
        [x, z].map(|var| gpu.read(found.of(var).unwrap()).unwrap())
    };
    let of_the_loss = gradients(tape.cross_entropy(z, &labels, 0.1).unwrap().into());
    assert_eq!(gradients(tape.cross_entropy_start(z, &labels, 0.1).unwrap()), of_the_loss);
    let given = gpu.tensor([5, 7], &of_the_loss[1]).unwrap();
    assert_eq!(gradients(Start::given(z, given.clone())), of_the_loss);
    assert_eq!(gpu.read(&given).unwrap(), of_the_loss[1], "it is still what it was");

    // At a parameter, whose gradient belongs in its slot; and at what is to be moved itself.
    let slot = gpu.zeros([5, 7]).unwrap();
    let parameter = tape.parameter(&given, &slot);
    tape.backward(Start::given(parameter, given.clone()), &[parameter]).unwrap();
    assert_eq!(gpu.read(&slot).unwrap(), of_the_loss[1]);
    let (pixels, moved) = (gpu.filled([5, 7], 0.5).unwrap(), gpu.zeros([5, 7]).unwrap());
    let step = Step { x: &pixels, length: 0.25, ball: None };
    tape.backward_step(Start::given(z, given.clone()), z, step, &moved).unwrap();
    let along: Vec<f32> = of_the_loss[1].iter().map(|slope| 0.5 + 0.25 * slope.signum()).collect();
    assert_eq!(gpu.read(&moved).unwrap(), along);

    let flat = given.reshape([35]).unwrap();
    refused(tape.backward(Start::given(z, flat), &[x]), &["backward", "to begin with", "[35]", "[5, 7]"]);
    refused(tape.cross_entropy_start(z, &gpu.words(&[0]).unwrap(), 0.1), &["cross_entropy", "1 labels", "5 rows"]);
}

#[test]
fn diamonds_pass_difference_checks() {
    let shape = Shape::from([3, 5]);
    check_gradients("one diamond", &[shape], |tape, x| {
        let (left, right) = (tape.activation(x[0], Activation::Tanh)?, tape.activation(x[0], Activation::Sigmoid)?);
        tape.multiply(left, right)
    });
    check_gradients("a chain of diamonds", &[shape], |tape, x| {
        (0..3).try_fold(x[0], |value, _| {
            tape.multiply(tape.activation(value, Activation::Tanh)?, tape.scale(value, 1.0, 2.0)?)
        })
    });
    check_gradients("a diamond within a diamond", &[shape, shape], |tape, x| {
        let inner = tape.multiply(x[0], x[1])?;
        let inner = tape.add(tape.activation(inner, Activation::Gelu)?, inner)?;
        tape.add(tape.multiply(inner, x[0])?, tape.multiply(inner, inner)?)
    });
    check_gradients("a path across", &[shape], |tape, x| {
        let first = tape.activation(x[0], Activation::Sigmoid)?;
        let second = tape.multiply(first, x[0])?;
        let third = tape.multiply(second, first)?;
        tape.add(tape.add(third, second)?, x[0])
    });
    let shapes = [[2, 3, 5, 4].into(), [3, 3, 3, 3].into(), [3].into()];
    check_gradients("a residual block", &shapes, |tape, x| {
        // Without ReLU: differences across its corner would say nothing.
        let inner = tape.conv2d(x[0], x[1], x[2], Window::new(1, 1), false)?;
        tape.add(tape.conv2d(tape.activation(inner, Activation::Tanh)?, x[1], x[2], Window::new(1, 1), false)?, x[0])
    });
}

#[test]
fn an_evaluation_tape_computes_the_same_and_has_no_backward() {
    let gpu = gpu();
    let (recording, evaluation) = (Tape::new(&gpu), Tape::evaluation(&gpu));
    let [(loss, _), (same, leaves)] = [&recording, &evaluation].map(small_network);
    let value = |tape: &Tape, loss| gpu.read(&tape.value(loss).unwrap()).unwrap();
    assert_eq!(value(&recording, loss), value(&evaluation, same));
    let launches = Launches::of(&gpu, || {
        refused(evaluation.backward(same, &leaves), &["backward", "evaluation tape"]);
        Ok(())
    });
    assert_eq!(launches.0.values().sum::<u64>(), 0);
}

/// Convolution, batch norm, pooling, dropout and a linear layer on small pictures.
fn trained_network(gpu: &Gpu, seed: u64) -> Network {
    let conv = |name: &str, channels, relu| Layer::Conv2d {
        name: name.to_owned(),
        channels,
        kernel: 3,
        window: Window::new(1, 1),
        bias: true,
        relu,
    };
    let layers = vec![
        conv("conv1", [3, 8], false),
        Layer::BatchNorm { name: "norm".to_owned(), channels: 8, scale: true },
        Layer::Activation(Activation::Relu),
        Layer::MaxPool { kernel: 2, window: Window::new(2, 0), relu: false },
        conv("conv2", [8, 12], true),
        Layer::GlobalAvgPool,
        Layer::Dropout { rate: 0.2 },
        Layer::Linear { name: "fc".to_owned(), features: [12, 10], bias: true, relu: false },
    ];
    let plan = Architecture { name: "small".to_owned(), task: Task::Classify, input: [3, 8, 8], layers };
    Network::new(gpu, plan, seed).unwrap()
}

/// Trains for `steps` steps, each on a noisy batch of its own, attacks it, and calls `watch` after each with the loss.
fn train(gpu: &Gpu, network: &Network, seed: u64, steps: u32, mut watch: impl FnMut(f32)) {
    let mut optimizer = Optimizer::new(gpu, OptimizerKind::Adam(Adam::default()), network.parameters()).unwrap();
    let labels = gpu.words(&(0..16).map(|image| image % 10).collect::<Vec<u32>>()).unwrap();
    let tape = Tape::new(gpu);
    for step in 0..steps {
        let x = gpu.empty([16, 3, 8, 8]).unwrap();
        noise::uniform(gpu, Source { seed, purpose: Purpose::Noise, launch: step }, 0.0, 1.0, &x).unwrap();
        let attack = |x: &Tensor| {
            let (bound, x) = (network.bind(&tape).unwrap(), tape.leaf(x));
            let logits = network.forward(&tape, &bound, x, Mode::Evaluation).unwrap();
            let loss = tape.cross_entropy_mean(logits, &labels, 0.0).unwrap();
            let gradients = tape.backward(loss, &[x]).unwrap();
            let moved = tape.add(x, tape.scale(tape.leaf(gradients.of(x).unwrap()), 0.1, 0.0).unwrap()).unwrap();
            let moved = tape.value(moved).unwrap();
            tape.reset();
            moved
        };
        let attacked = attack(&x);
        let (bound, x) = (network.bind(&tape).unwrap(), tape.leaf(&attacked));
        let logits = network.forward(&tape, &bound, x, Mode::Training { seed, step }).unwrap();
        let loss = tape.cross_entropy_mean(logits, &labels, 0.1).unwrap();
        let value = tape.value(loss).unwrap();
        tape.backward(loss, bound.leaves()).unwrap();
        tape.reset();
        optimizer.step(gpu, network.parameters(), 0.01).unwrap();
        watch(gpu.read(&value).unwrap()[0]);
    }
}

#[test]
fn fifty_steps_use_no_more_memory_than_two() {
    let gpu = gpu();
    let network = trained_network(&gpu, 1);
    let (mut memory, mut losses) = (Vec::new(), Vec::new());
    train(&gpu, &network, 1, 50, |loss| {
        memory.push(gpu.memory());
        losses.push(loss);
    });
    for (step, stats) in memory.iter().enumerate().skip(2) {
        assert_eq!((stats.live, stats.held), (memory[1].live, memory[1].held), "after step {step}");
        assert_eq!((stats.peak, stats.peak_live), (memory[1].peak, memory[1].peak_live), "after step {step}");
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    assert!(mean(&losses[45..]) < mean(&losses[..5]), "it does learn: {losses:?}");
}

#[test]
fn two_runs_from_one_seed_are_equal_to_the_bit() {
    let run = |gpu: &Gpu, seed| {
        let network = trained_network(gpu, seed);
        let mut bits = Vec::new();
        train(gpu, &network, seed, 10, |loss| bits.push(loss.to_bits()));
        let state = network.state(gpu).unwrap();
        bits.extend(state.iter().flat_map(|(_, _, values)| values.iter().map(|value| value.to_bits())));
        bits
    };
    // The second device does not fill fresh memory with NaN: what memory held before must not matter.
    let plain = Gpu::open(&GpuOptions::default()).unwrap();
    let first = run(&gpu(), 3);
    assert!(first.iter().all(|&bits| f32::from_bits(bits).is_finite()));
    assert_eq!(first, run(&plain, 3));
    assert_eq!(first, run(&plain, 3), "with memory that has been used");
    assert_ne!(first, run(&plain, 4), "another seed is another run");
}
