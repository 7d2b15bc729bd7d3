//! Dropout: the mask of the stream, its share and scale, the same mask going backward, and one mask for each launch.

mod common;

use common::cases::{assert_uniform, extent, for_cases, refused};
use common::{check_gradients, gpu, random};
use proptest::prelude::{Just, any, prop_oneof};
use shadegrad::autograd::Tape;
use shadegrad::gpu::Gpu;
use shadegrad::nn::{Architecture, Layer, Mode, Network, Task};
use shadegrad::ops::dropout::{self, Mask};
use shadegrad::selftest::reference::dropout::dropped as reference;

/// Dropout of ones: 0 where dropped, 1 / (1 - rate) where kept.
fn dropped_ones(gpu: &Gpu, count: usize, mask: Mask) -> Vec<f32> {
    let y = gpu.empty([count]).unwrap();
    dropout::apply(gpu, &gpu.filled([count], 1.0).unwrap(), mask, &y).unwrap();
    gpu.read(&y).unwrap()
}

#[test]
fn the_mask_is_the_streams_to_the_bit() {
    let gpu = gpu();
    let rate = prop_oneof![Just(0.0), Just(0.5), 0.0f32..0.999];
    for_cases(
        24,
        (extent(257), extent(17), rate, any::<u64>(), any::<u32>()),
        |(rows, columns, rate, seed, launch)| {
            let (mask, values) = (Mask { rate, seed, launch }, random(1, rows * columns));
            let x = gpu.tensor([rows, columns], &values).unwrap();
            let y = gpu.empty(x.shape()).unwrap();
            dropout::apply(&gpu, &x, mask, &y).unwrap();
            assert_eq!(gpu.read(&y).unwrap(), reference(&values, mask));
        },
    );
}

#[test]
fn the_share_that_is_kept_and_the_mean_are_as_promised() {
    let gpu = gpu();
    let count = 200_000;
    for rate in [0.1f32, 0.25, 0.5, 0.9] {
        let y = dropped_ones(&gpu, count, Mask { rate, seed: 11, launch: 3 });
        let kept = y.iter().filter(|&&value| value != 0.0).count() as f64;
        let (wanted, rate) = (1.0 - f64::from(rate), f64::from(rate));
        let deviation = (count as f64 * rate * wanted).sqrt();
        assert!((kept - count as f64 * wanted).abs() < 4.0 * deviation, "rate {rate}: {kept} of {count} kept");
        // The scale makes up for what is missing: the mean stays one.
        let mean = y.iter().map(|&value| f64::from(value)).sum::<f64>() / count as f64;
        assert!((mean - 1.0).abs() < 4.0 * deviation / (count as f64 * wanted), "rate {rate}: mean {mean}");
    }
}

#[test]
fn every_place_is_dropped_alike() {
    // The four places of a block and all lanes of a workgroup.
    let gpu = gpu();
    let mut kept = vec![0; 256];
    for launch in 0..500 {
        for (kept, value) in kept.iter_mut().zip(dropped_ones(&gpu, 256, Mask { rate: 0.5, seed: 12, launch })) {
            *kept += u64::from(value != 0.0);
        }
    }
    for (place, kept) in kept.into_iter().enumerate() {
        assert_uniform(&format!("place {place}"), &[kept, 500 - kept]);
    }
}

#[test]
fn rate_zero_is_the_identity() {
    let gpu = gpu();
    let values = random(2, 131);
    let (x, y) = (gpu.tensor([131], &values).unwrap(), gpu.empty([131]).unwrap());
    dropout::apply(&gpu, &x, Mask { rate: 0.0, seed: 1, launch: 1 }, &y).unwrap();
    assert_eq!(gpu.read(&y).unwrap(), values);
}

#[test]
fn backward_drops_what_forward_dropped() {
    let gpu = gpu();
    for_cases(12, (extent(131), extent(17), any::<u64>()), |(rows, columns, seed)| {
        let mask = Mask { rate: 0.4, seed, launch: 5 };
        let (values, weights) = (random(3, rows * columns), random(4, rows * columns));
        let tape = Tape::new(&gpu);
        let x = tape.leaf(&gpu.tensor([rows, columns], &values).unwrap());
        let y = tape.dropout(x, mask).unwrap();
        let weighed = tape.multiply(y, tape.leaf(&gpu.tensor([rows, columns], &weights).unwrap())).unwrap();
        let found = tape.backward(weighed, &[x]).unwrap();
        assert_eq!(gpu.read(&tape.value(y).unwrap()).unwrap(), reference(&values, mask));
        assert_eq!(gpu.read(found.of(x).unwrap()).unwrap(), reference(&weights, mask));
    });
}

#[test]
fn gradients_pass_difference_checks_in_a_graph() {
    for rate in [0.3, 0.7] {
        check_gradients("dropout", &[[5, 7].into()], |tape, x| tape.dropout(x[0], Mask { rate, seed: 1, launch: 2 }));
    }
}

#[test]
fn seeds_and_launches_have_masks_of_their_own() {
    let gpu = gpu();
    let count = 4096;
    let draw = |seed, launch| dropped_ones(&gpu, count, Mask { rate: 0.5, seed, launch });
    let all = [draw(1, 0), draw(1, 1), draw(2, 0), draw(1 << 32, 0), draw(1, u32::MAX)];
    assert_eq!(all[0], draw(1, 0), "the same counters, the same mask");
    for (i, first) in all.iter().enumerate() {
        for second in &all[..i] {
            // Independent masks agree on half of the places.
            let agreeing = first.iter().zip(second).filter(|(a, b)| a == b).count() as f64;
            let deviation = (count as f64).sqrt() / 2.0;
            assert!((agreeing - count as f64 / 2.0).abs() < 5.0 * deviation, "{agreeing} of {count} agree");
        }
    }
}

/// Dropout, then dropout again, and nothing else.
fn two_layers(gpu: &Gpu) -> Network {
    let layers = vec![Layer::Dropout { rate: 0.5 }, Layer::Dropout { rate: 0.5 }];
    let plan = Architecture { name: "drops".to_owned(), task: Task::Reconstruct, input: [3, 32, 32], layers };
    Network::new(gpu, plan, 0).unwrap()
}

#[test]
fn a_networks_masks_depend_on_seed_step_and_layer_and_rest_in_evaluation() {
    let gpu = gpu();
    let network = two_layers(&gpu);
    let run = |mode| {
        let tape = Tape::evaluation(&gpu);
        let x = tape.leaf(&gpu.filled([1, 3, 32, 32], 1.0).unwrap());
        let y = network.forward(&tape, &network.bind(&tape).unwrap(), x, mode).unwrap();
        gpu.read(&tape.value(y).unwrap()).unwrap()
    };
    let training = |seed, step| run(Mode::Training { seed, step });
    assert!(run(Mode::Evaluation).iter().all(|&value| value == 1.0), "evaluation drops nothing");
    let first = training(1, 0);
    assert_eq!(first, training(1, 0));
    assert_ne!(first, training(1, 1), "another step");
    assert_ne!(first, training(2, 0), "another seed");
    // Two independent layers keep a quarter, each with twice the scale; one mask twice would keep a half.
    let kept = first.iter().filter(|&&value| value == 4.0).count() as f64;
    let deviation = (3072.0f64 * 0.25 * 0.75).sqrt();
    assert!((kept - 768.0).abs() < 5.0 * deviation, "{kept} of 3072 kept");
    assert!(first.iter().all(|&value| value == 0.0 || value == 4.0));
    // Nor does the second layer of a step share its mask with the first layer of the next.
    assert_ne!(training(1, 1), training(1, 2));
}

#[test]
fn wrong_operands_are_errors_that_name_them() {
    let gpu = gpu();
    let x = gpu.filled([3, 5], 1.0).unwrap();
    for (rate, text) in [(1.0, "1"), (-0.1, "-0.1"), (1.5, "1.5"), (f32::NAN, "NaN")] {
        let y = gpu.empty([3, 5]).unwrap();
        let result = dropout::apply(&gpu, &x, Mask { rate, seed: 0, launch: 0 }, &y);
        refused(result, &["dropout", "rate", text, "[0, 1)"]);
    }
    let short = gpu.empty([3, 4]).unwrap();
    let result = dropout::apply(&gpu, &x, Mask { rate: 0.5, seed: 0, launch: 0 }, &short);
    refused(result, &["dropout", "output", "[3, 4]", "[3, 5]"]);
}
