//! A convolution and the max-pooling of 2 x 2 that follows it, in one launch both ways, with what may stand at their ends: a
//! normalisation before them, an attack's step behind.

use super::reference::conv2d::{Case, relu};
use super::reference::perturb::stepped;
use super::reference::pool::{Pooling, winner};
use super::reference::random;
use super::trial::{Subject, Trial, Within, amid, operand};
use crate::gpu::{Gpu, Result, Tensor, Words};
use crate::ops::conv2d_max_pool::{self, Input};
use crate::ops::normalize::Pending;
use crate::ops::perturb::{Ball, Step};

/// A convolution's wide side, its weight and its bias.
pub(super) struct Operands<'a> {
    pub x: &'a Tensor,
    pub weight: &'a Tensor,
    pub bias: &'a Tensor,
}

/// The convolution `case` under a variant that is forced, as far as that has kernels for it: `sums` are the convolution's of `x`,
/// `weights` the weight's values. With a normalisation before it and a step behind it, or without.
pub(super) fn fused(
    trial: &mut Trial<'_>,
    subject: impl Fn(&'static str) -> Subject,
    (case, name): (Case, &str),
    operands: &Operands<'_>,
    (sums, weights): (&[f64], &[f32]),
    with_ends: bool,
) -> Result<()> {
    let Operands { x, weight, .. } = *operands;
    // lenet's own tiles are compiled for the ten steps of training.
    if case.narrow()[3] >= 20 {
        return Ok(());
    }
    if conv2d_max_pool::has_forward(trial.gpu, x, weight, case.window)? {
        forward(trial, &subject, (case, name), operands, sums, with_ends)?;
    }
    if conv2d_max_pool::has_backward_data(trial.gpu, x, weight, case.window)? {
        backward(trial, &subject, (case, name), (weight, weights), with_ends)?;
    }
    Ok(())
}

/// With ends, ReLU too.
fn forward(
    trial: &mut Trial<'_>,
    subject: &impl Fn(&'static str) -> Subject,
    (case, name): (Case, &str),
    Operands { x, weight, bias }: &Operands<'_>,
    sums: &[f64],
    with_ends: bool,
) -> Result<()> {
    let gpu = trial.gpu;
    let windows = Pooling::new(case.narrow(), [2, 2], 2, 0).windows();
    let largest = windows.iter().map(|covered| covered.iter().map(|&at| sums[at]).fold(f64::NEG_INFINITY, f64::max));
    let largest: Vec<f64> = largest.collect();
    let largest = if with_ends { relu(&largest) } else { largest };
    // What windows pool to, and the sums where the winners are said to have stood; 0 where ReLU leaves none.
    let wanted = [largest.clone(), largest].concat();
    // Pixels that the normalisation makes `x` of, but for a rounding: x is 2 p - 0.5.
    let vector = |value: f32| gpu.tensor([case.wide_c], &vec![value; case.wide_c]);
    let halves: Vec<f32> = gpu.read(x)?.iter().map(|value| (value + 0.5) / 2.0).collect();
    let pending = Pending::new(&gpu.tensor(x.shape(), &halves)?, &vector(2.0)?, &vector(-0.5)?)?;
    let (what, within) = if with_ends {
        ("forward of a normalisation, with max-pooling", Within::Terms(2 * case.kernel * case.kernel * case.wide_c))
    } else {
        ("forward with max-pooling", Within::Terms(case.kernel * case.kernel * case.wide_c))
    };
    trial.check(subject(what), name, &wanted, within, &|gpu| {
        let input: Input<'_> = if with_ends { (&pending).into() } else { (*x).into() };
        let made = conv2d_max_pool::forward(gpu, input, weight, Some(bias), case.window, with_ends)?;
        let Some((y, winners)) = made else { return Ok(Vec::new()) };
        // Windows and sums of a plane.
        let planes = case.narrow()[0] * case.narrow()[1];
        let (windows, plane) = (y.count() / planes, sums.len() / planes);
        let places = gpu.read_words(&winners)?.into_iter().enumerate();
        let there = places.map(|(index, place)| match sums.get(index / windows * plane + place as usize) {
            _ if with_ends && place == u32::MAX => 0.0,
            sum => sum.map_or(f32::NAN, |&sum| sum as f32),
        });
        Ok(gpu.read(&y)?.into_iter().chain(there).collect())
    })
}

fn backward(
    trial: &mut Trial<'_>,
    subject: &impl Fn(&'static str) -> Subject,
    (case, name): (Case, &str),
    (weight, weights): (&Tensor, &[f32]),
    with_ends: bool,
) -> Result<()> {
    let gpu = trial.gpu;
    let [batch, channels, height, width] = case.narrow();
    let (dy, dy_values) = operand(gpu, 6, [batch, channels, height / 2, width / 2])?;
    let (winners, spread) = scattered(gpu, case, &dy_values)?;
    let gradient = case.sum_wide(&spread, weights);
    let pooled = (&dy, &winners);
    if !with_ends {
        let within = Within::Terms(case.kernel * case.kernel * case.narrow_c);
        return trial.check(subject("backward-data of a pooled gradient"), name, &gradient, within, &|gpu| {
            amid(gpu, case.wide(), |dx| {
                conv2d_max_pool::backward_data(gpu, pooled, weight, case.window, None, dx).map(|_| ())
            })
        });
    }
    let count = gradient.len();
    let clean: Vec<f32> = random(7, count).iter().map(|x| 0.5 + 0.5 * x).collect();
    let moved: Vec<f32> = clean.iter().zip(random(8, count)).map(|(x, d)| (x + 0.03 * d).clamp(0.0, 1.0)).collect();
    let (centre, x) = (gpu.tensor(case.wide(), &clean)?, gpu.tensor(case.wide(), &moved)?);
    let eps = 8.0 / 255.0;
    // Where rounding could turn a sign over, nobody can say which way the step goes.
    let is_clear = |at: usize| gradient[at] == 0.0 || gradient[at].abs() > 1e-4;
    let step_of = |at: usize| stepped(moved[at], gradient[at] as f32, eps / 4.0, Some((clean[at], eps)));
    let wanted: Vec<f64> = (0..count).map(|at| if is_clear(at) { f64::from(step_of(at)) } else { 0.0 }).collect();
    trial.check(subject("step along a pooled gradient"), name, &wanted, Within::Exactly, &|gpu| {
        let step = Step { x: &x, length: eps / 4.0, ball: Some(Ball { centre: &centre, eps }) };
        let found = amid(gpu, case.wide(), |out| {
            conv2d_max_pool::backward_data(gpu, pooled, weight, case.window, Some(step), out).map(|_| ())
        })?;
        Ok(found.into_iter().enumerate().map(|(at, value)| if is_clear(at) { value } else { 0.0 }).collect())
    })
}

/// Winners of the windows of an output whose pooled gradient is `dy`, every fifth of them nobody, and what that is before it was
/// pooled.
fn scattered(gpu: &Gpu, case: Case, dy: &[f32]) -> Result<(Words, Vec<f32>)> {
    let pooling = Pooling::new(case.narrow(), [2, 2], 2, 0);
    let values = random(9, case.narrow().iter().product());
    let plane = case.narrow()[2] * case.narrow()[3];
    let mut spread = vec![0.0; values.len()];
    let mut winners = Vec::with_capacity(dy.len());
    for (index, (covered, &dy)) in pooling.windows().iter().zip(dy).enumerate() {
        let place = winner(covered, &values);
        let nobody = index % 5 == 4;
        winners.push(if nobody { u32::MAX } else { (place % plane) as u32 });
        if !nobody {
            spread[place] = dy;
        }
    }
    Ok((gpu.words(&winners)?, spread))
}
