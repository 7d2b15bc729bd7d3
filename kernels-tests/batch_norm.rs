//! Batch normalisation: training, evaluation, running statistics and gradients against an f64 reference.

mod common;

use common::cases::{extent, for_cases, refused};
use common::{assert_close, check_gradients, gpu, random};
use proptest::prelude::Strategy;
use shadegrad::autograd::BatchNorm;
use shadegrad::gpu::{Gpu, Tensor};
use shadegrad::ops::batch_norm::{self, Running, Settings};
use shadegrad::selftest::reference::batch_norm::{Dims, Problem};

struct Uploaded {
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running: Running,
}

impl Uploaded {
    fn of(problem: &Problem, gpu: &Gpu) -> Self {
        let vector = |values: &[f32]| gpu.tensor([values.len()], values).unwrap();
        let running = Running { mean: vector(&problem.running_mean), variance: vector(&problem.running_variance) };
        let x = gpu.tensor(problem.dims, &problem.x).unwrap();
        Self { x, gamma: vector(&problem.gamma), beta: vector(&problem.beta), running }
    }

    fn forward(&self, gpu: &Gpu, settings: Settings, training: bool) -> (Tensor, batch_norm::Saved) {
        batch_norm::forward(gpu, &self.x, &self.gamma, &self.beta, &self.running, settings, training).unwrap()
    }
}

fn dims() -> impl Strategy<Value = Dims> {
    [extent(9), extent(67), extent(9), extent(17)]
}

#[test]
fn training_normalises_by_the_batch_and_moves_the_running_statistics() {
    let gpu = gpu();
    for_cases(24, dims(), |dims| {
        let problem = Problem::new(dims);
        let settings = Settings { epsilon: 1e-3, momentum: 0.3 };
        let uploaded = Uploaded::of(&problem, &gpu);
        let (mean, variance) = problem.batch_statistics();
        let count = problem.population();
        // PyTorch keeps the unbiased variance; one element has none, and counts as zero.
        let unbiased = variance.iter().map(|variance| variance * count as f64 / (count.max(2) - 1) as f64);
        let newest = [mean, unbiased.collect()];
        let (old_mean, old_variance) = problem.running_statistics();
        let mut wanted = [old_mean, old_variance];
        for step in 1..=2 {
            let (y, _) = uploaded.forward(&gpu, settings, true);
            assert_close("y", &gpu.read(&y).unwrap(), &problem.output(true, settings.epsilon), count);
            for (running, newest) in wanted.iter_mut().zip(&newest) {
                for (value, newest) in running.iter_mut().zip(newest) {
                    *value += f64::from(settings.momentum) * (newest - *value);
                }
            }
            let found = [&uploaded.running.mean, &uploaded.running.variance].map(|tensor| gpu.read(tensor).unwrap());
            assert_close(&format!("running mean after step {step}"), &found[0], &wanted[0], count);
            assert_close(&format!("running variance after step {step}"), &found[1], &wanted[1], count);
        }
    });
}

#[test]
fn evaluation_uses_the_running_statistics_and_changes_nothing() {
    let gpu = gpu();
    for_cases(24, dims(), |dims| {
        let problem = Problem::new(dims);
        let uploaded = Uploaded::of(&problem, &gpu);
        let (y, _) = uploaded.forward(&gpu, Settings::default(), false);
        assert_close("y", &gpu.read(&y).unwrap(), &problem.output(false, Settings::default().epsilon), 4);
        assert_eq!(gpu.read(&uploaded.running.mean).unwrap(), problem.running_mean);
        assert_eq!(gpu.read(&uploaded.running.variance).unwrap(), problem.running_variance);
    });
}

#[test]
fn gradients_match_the_reference() {
    let gpu = gpu();
    for_cases(24, (dims(), proptest::bool::ANY), |(dims, training)| {
        let problem = Problem::new(dims);
        let uploaded = Uploaded::of(&problem, &gpu);
        let (_, saved) = uploaded.forward(&gpu, Settings::default(), training);
        let upstream = random(6, problem.x.len());
        let dy = gpu.tensor(dims, &upstream).unwrap();
        let sums = batch_norm::backward_sums(&gpu, &uploaded.x, &saved, &dy).unwrap();
        let dx = gpu.empty(dims).unwrap();
        // In evaluation the input's gradient does without the sums.
        let needed = training.then_some(&sums);
        batch_norm::backward_data(&gpu, &uploaded.x, &saved, &uploaded.gamma, &dy, needed, &dx).unwrap();
        let [wanted_dx, dgamma, dbeta] = problem.gradients(training, Settings::default().epsilon, &upstream);
        let terms = problem.population();
        assert_close("dgamma", &gpu.read(&sums.0).unwrap(), &dgamma, terms);
        assert_close("dbeta", &gpu.read(&sums.1).unwrap(), &dbeta, terms);
        // With one element a channel, 1 / sqrt(epsilon) = 316 multiplies the roundings.
        let stretch = if terms == 1 { 316 } else { 1 };
        assert_close("dx", &gpu.read(&dx).unwrap(), &wanted_dx, terms * stretch);
    });
}

#[test]
fn the_variance_of_a_far_mean_does_not_cancel() {
    // The mean of squares minus the squared mean would be off by about 4096^2 2^-24 = 1, three times the variance.
    let gpu = gpu();
    let mut problem = Problem::new([4, 2, 5, 37]);
    for value in &mut problem.x {
        *value += 4096.0;
    }
    let (y, _) = Uploaded::of(&problem, &gpu).forward(&gpu, Settings::default(), true);
    // A rounding of the mean is worth 4096 roundings of y; each lane adds a 64th of the channel, then six halvings.
    let terms = 4096 * (problem.population() / 64 + 7);
    assert_close("y", &gpu.read(&y).unwrap(), &problem.output(true, Settings::default().epsilon), terms);
}

#[test]
fn gradients_pass_difference_checks_in_a_graph() {
    for training in [true, false] {
        for dims in [[3, 2, 3, 5], [5, 3, 1, 1]] {
            let channels = dims[1];
            let shapes = [dims.into(), [channels].into(), [channels].into()];
            check_gradients(&format!("batch_norm, training {training}"), &shapes, |tape, inputs| {
                let gpu = tape.gpu();
                let running = Running {
                    mean: gpu.tensor([channels], &random(7, channels))?,
                    variance: gpu.filled([channels], 0.8)?,
                };
                let layer = BatchNorm { running, settings: Settings::default(), training };
                tape.batch_norm(inputs[0], inputs[1], inputs[2], &layer)
            });
        }
    }
}

#[test]
fn wrong_shapes_are_errors_that_name_them() {
    let gpu = gpu();
    let problem = Problem::new([2, 3, 4, 5]);
    let uploaded = Uploaded::of(&problem, &gpu);
    let four = gpu.zeros([4]).unwrap();
    let forward = |x: &Tensor, gamma: &Tensor, beta: &Tensor, running: &Running| {
        batch_norm::forward(&gpu, x, gamma, beta, running, Settings::default(), true)
    };
    let Uploaded { x, gamma, beta, running } = &uploaded;
    let flat = x.reshape([2, 60]).unwrap();
    refused(forward(&flat, gamma, beta, running), &["batch_norm", "input", "[2, 60]", "four dimensions"]);
    refused(forward(x, &four, beta, running), &["batch_norm", "gamma", "[4]", "[3]"]);
    refused(forward(x, gamma, &four, running), &["batch_norm", "beta", "[4]", "[3]"]);
    let wrong = Running { mean: four.clone(), variance: running.variance.clone() };
    refused(forward(x, gamma, beta, &wrong), &["batch_norm", "running mean", "[4]", "[3]"]);
    let wrong = Running { mean: running.mean.clone(), variance: four.clone() };
    refused(forward(x, gamma, beta, &wrong), &["batch_norm", "running variance", "[4]", "[3]"]);

    let (_, saved) = uploaded.forward(&gpu, Settings::default(), true);
    let short = gpu.zeros([2, 3, 4, 4]).unwrap();
    let sums = batch_norm::backward_sums(&gpu, x, &saved, x).unwrap();
    let parts = |what| ["batch_norm_backward", what, "[2, 3, 4, 4]", "[2, 3, 4, 5]"];
    refused(batch_norm::backward_sums(&gpu, x, &saved, &short), &parts("gradient"));
    let backward = |sums, dy, dx| batch_norm::backward_data(&gpu, x, &saved, gamma, dy, sums, dx);
    refused(backward(Some(&sums), &short, x), &parts("gradient"));
    refused(backward(Some(&sums), x, &short), &parts("result"));
    refused(backward(None, x, x), &["batch_norm_backward", "training", "sums"]);
}
