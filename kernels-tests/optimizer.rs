//! SGD, Adam and AdamW over several steps against PyTorch's rules in f64, and the optimiser of a network.

mod common;

use common::cases::{extent, for_cases, refused};
use common::{assert_close, gpu, random};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use shadegrad::models::architecture;
use shadegrad::nn::{Network, Optimizer, OptimizerKind};
use shadegrad::ops::optimizer::{self, Adam, Sgd};
use shadegrad::selftest::reference::optimizer::{adam_step, sgd_step};

const STEPS: usize = 8;

/// The gradient of each step, and the learning rate, which a schedule changes from step to step.
fn step_inputs(count: usize, rate: f64) -> Vec<(Vec<f32>, f64)> {
    (0..STEPS).map(|step| (random(10 + step as u32, count), rate / (1.0 + step as f64))).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

#[test]
fn sgd_follows_pytorchs_rule() {
    let gpu = gpu();
    let settings = (prop_oneof![Just(0.0), Just(0.9), 0.0..0.99], any::<bool>(), prop_oneof![Just(0.0), 0.0..0.5])
        .prop_map(|(momentum, nesterov, weight_decay)| Sgd { momentum, nesterov, weight_decay });
    for_cases(24, (settings, extent(257), 0.01..1.0), |(settings, count, rate)| {
        let start = random(1, count);
        let weights = gpu.tensor([count], &start).unwrap();
        let velocity = gpu.zeros([count]).unwrap();
        let (mut wanted, mut speed) = (wide(&start), vec![0.0; count]);
        for (step, (gradient, rate)) in step_inputs(count, rate).into_iter().enumerate() {
            let slope = gpu.tensor([count], &gradient).unwrap();
            optimizer::sgd(&gpu, settings, rate, &weights, &slope, &velocity).unwrap();
            sgd_step(settings, rate, &mut wanted, &gradient, &mut speed);
            // A few operations a step; their roundings live on in the velocity.
            let terms = 4 * (step + 1);
            assert_close(&format!("weights after step {step}"), &gpu.read(&weights).unwrap(), &wanted, terms);
            assert_close(&format!("velocity after step {step}"), &gpu.read(&velocity).unwrap(), &speed, terms);
            assert_eq!(gpu.read(&slope).unwrap(), gradient, "the gradient is only read");
        }
    });
}

#[test]
fn adam_and_adamw_follow_pytorchs_rules() {
    let gpu = gpu();
    let settings = (
        prop_oneof![Just((0.9, 0.999)), (0.0..0.99, 0.5..0.9999)],
        prop_oneof![Just(1e-8), Just(1e-3)],
        prop_oneof![Just(0.0), 0.0..0.5],
        any::<bool>(),
    )
        .prop_map(|((beta1, beta2), epsilon, weight_decay, decoupled)| Adam {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            decoupled,
        });
    for_cases(24, (settings, extent(257), 0.01..1.0), |(settings, count, rate)| {
        let start = random(1, count);
        let weights = gpu.tensor([count], &start).unwrap();
        let moments = [gpu.zeros([count]).unwrap(), gpu.zeros([count]).unwrap()];
        let (mut wanted, mut state) = (wide(&start), [vec![0.0; count], vec![0.0; count]]);
        for (step, (gradient, rate)) in step_inputs(count, rate).into_iter().enumerate() {
            // Away from zero, where the quotient of the moments would enlarge what decay has rounded.
            let gradient: Vec<f32> = gradient.iter().map(|slope| slope + 0.5 * slope.signum()).collect();
            let number = step + 1;
            let slope = gpu.tensor([count], &gradient).unwrap();
            let places = [&moments[0], &moments[1]];
            optimizer::adam(&gpu, settings, rate, number as u64, &weights, &slope, places).unwrap();
            adam_step(settings, rate, number as i32, &mut wanted, &gradient, &mut state);
            let terms = 8 * number;
            assert_close(&format!("weights after step {number}"), &gpu.read(&weights).unwrap(), &wanted, terms);
            for (moment, wanted) in moments.iter().zip(&state) {
                assert_close(&format!("moment after step {number}"), &gpu.read(moment).unwrap(), wanted, terms);
            }
        }
    });
}

#[test]
fn adams_first_step_is_the_rate_whatever_the_gradients_size() {
    // m / sqrt(v) is the sign of the gradient after bias correction. Squares of 1e-15 are still above f32's
    // smallest; an epsilon of zero keeps the rule to what is tested.
    let gpu = gpu();
    let settings = Adam { epsilon: 0.0, ..Adam::default() };
    let gradient = [1e-15, -1e-7, 1e-3, -1.0, 1e5, -1e15];
    let weights = gpu.zeros([6]).unwrap();
    let (first, second) = (gpu.zeros([6]).unwrap(), gpu.zeros([6]).unwrap());
    let slope = gpu.tensor([6], &gradient).unwrap();
    optimizer::adam(&gpu, settings, 0.25, 1, &weights, &slope, [&first, &second]).unwrap();
    let wanted: Vec<f64> = gradient.iter().map(|slope| -0.25 * f64::from(slope.signum())).collect();
    assert_close("weights", &gpu.read(&weights).unwrap(), &wanted, 1);
}

#[test]
fn a_zero_gradient_moves_nothing_without_decay() {
    let gpu = gpu();
    let start = random(2, 65);
    let [slope, first, second] = [0; 3].map(|_| gpu.zeros([65]).unwrap());
    let weights = gpu.tensor([65], &start).unwrap();
    optimizer::adam(&gpu, Adam::default(), 0.1, 1, &weights, &slope, [&first, &second]).unwrap();
    let plain = Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 };
    optimizer::sgd(&gpu, plain, 0.1, &weights, &slope, &first).unwrap();
    assert_eq!(gpu.read(&weights).unwrap(), start);
}

#[test]
fn decay_is_coupled_in_adam_and_decoupled_in_adamw() {
    let gpu = gpu();
    let step = |decoupled| {
        let [slope, first, second] = [0; 3].map(|_| gpu.zeros([2]).unwrap());
        let weights = gpu.tensor([2], &[2.0, -0.5]).unwrap();
        let settings = Adam { weight_decay: 0.1, decoupled, ..Adam::default() };
        optimizer::adam(&gpu, settings, 0.01, 1, &weights, &slope, [&first, &second]).unwrap();
        gpu.read(&weights).unwrap()
    };
    // Coupled, decay is a gradient like any other, and Adam makes a step of the full rate of it.
    assert_close("Adam", &step(false), &[1.99, -0.49], 4);
    assert_close("AdamW", &step(true), &[2.0 * 0.999, -0.5 * 0.999], 4);
}

#[test]
fn a_networks_optimiser_is_one_dispatch_and_leaves_the_gaps_at_zero() {
    let gpu = gpu();
    let kinds = [
        ("sgd", OptimizerKind::Sgd(Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.1 })),
        ("adam", OptimizerKind::Adam(Adam { weight_decay: 0.1, ..Adam::default() })),
        ("adam", OptimizerKind::Adam(Adam { weight_decay: 0.1, decoupled: true, ..Adam::default() })),
    ];
    for (kernel, kind) in kinds {
        let network = Network::new(&gpu, architecture("lenet").unwrap(), 1).unwrap();
        let parameters = network.parameters();
        let mut optimizer = Optimizer::new(&gpu, kind, parameters).unwrap();
        let count = parameters.specs().len();
        for index in 0..count {
            gpu.fill(&parameters.gradient(index).unwrap(), 0.5).unwrap();
        }
        let before = gpu.read(parameters.flat_values()).unwrap();
        let dispatches = || gpu.dispatch_counts();
        let (earlier, total) =
            (dispatches(), |counts: &std::collections::BTreeMap<_, u64>| counts.values().sum::<u64>());
        for _ in 0..3 {
            optimizer.step(&gpu, parameters, 0.01).unwrap();
        }
        let later = dispatches();
        assert_eq!(later[kernel] - earlier.get(kernel).copied().unwrap_or(0), 3);
        assert_eq!(total(&later) - total(&earlier), 3, "nothing else is launched");

        let after = gpu.read(parameters.flat_values()).unwrap();
        let trained: usize = (0..count).map(|index| parameters.value(index).unwrap().count()).sum();
        assert_eq!(trained, parameters.count());
        // The gaps between parameters hold zeros before and after; everything else has moved.
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!(moved, trained);
        assert!(after.len() > trained, "there are gaps");
        assert_eq!(after.iter().filter(|&&value| value == 0.0).count(), after.len() - trained);
    }
}

#[test]
fn the_networks_optimiser_counts_its_steps() {
    // Adam's bias correction depends on the number of the step; three steps must be the rule's first three.
    let gpu = gpu();
    let network = Network::new(&gpu, architecture("lenet").unwrap(), 2).unwrap();
    let parameters = network.parameters();
    let settings = Adam { weight_decay: 0.01, ..Adam::default() };
    let mut optimizer = Optimizer::new(&gpu, OptimizerKind::Adam(settings), parameters).unwrap();
    let value = parameters.value(0).unwrap();
    let mut wanted = wide(&gpu.read(&value).unwrap());
    let mut state = [vec![0.0; value.count()], vec![0.0; value.count()]];
    for step in 1..=3 {
        let gradient: Vec<f32> = random(20 + step, value.count()).iter().map(|slope| slope + slope.signum()).collect();
        gpu.write(&parameters.gradient(0).unwrap(), &gradient).unwrap();
        optimizer.step(&gpu, parameters, 0.1).unwrap();
        adam_step(settings, 0.1, step as i32, &mut wanted, &gradient, &mut state);
    }
    assert_close("weights", &gpu.read(&value).unwrap(), &wanted, 24);
}

#[test]
fn wrong_shapes_are_errors_that_name_them() {
    let gpu = gpu();
    let (three, four) = (gpu.zeros([3]).unwrap(), gpu.zeros([4]).unwrap());
    let plain = Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let sgd = |gradient, velocity| optimizer::sgd(&gpu, plain, 0.1, &three, gradient, velocity);
    refused(sgd(&four, &three), &["sgd", "gradient", "[4]", "[3]"]);
    refused(sgd(&three, &four), &["sgd", "moment", "[4]", "[3]"]);
    let adam = |gradient, moments| optimizer::adam(&gpu, Adam::default(), 0.1, 1, &three, gradient, moments);
    refused(adam(&four, [&three, &three]), &["adam", "gradient", "[4]", "[3]"]);
    refused(adam(&three, [&four, &three]), &["adam", "moment", "[4]", "[3]"]);
    refused(adam(&three, [&three, &four]), &["adam", "moment", "[4]", "[3]"]);
}
