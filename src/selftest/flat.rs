//! Kernels that treat their elements one by one.

use super::reference::activation::{slope, value};
use super::reference::dropout::dropped;
use super::reference::optimizer::{adam_step, sgd_step};
use super::reference::perturb::stepped;
use super::reference::{normalize, random, wide};
use super::trial::{Subject, Trial, Within, amid, operand};
use crate::gpu::{Gpu, GpuError, Result};
use crate::ops::activation::{self, Activation};
use crate::ops::ceiling;
use crate::ops::dropout::{self, Mask};
use crate::ops::elementwise;
use crate::ops::noise::{self, Quantiles, Source, normal_of_word, quantile_table};
use crate::ops::normalize as scaling;
use crate::ops::optimizer::{self, Adam, Sgd};
use crate::ops::perturb::{self, Ball, Step};
use crate::random::{Purpose, Stream, unit};

/// One element, a vector's and a workgroup's neighbours, and (4, 260) what the vectors of four take.
const SIZES: [usize; 8] = [1, 3, 4, 63, 65, 257, 260, 4097];

/// Sums, products and fills; one grid that a single dimension cannot hold.
pub(super) fn elementwise(trial: &mut Trial<'_>) -> Result<()> {
    let subject = |pass| Subject::one("elementwise", pass);
    for count in SIZES {
        let ((a, a_values), (b, b_values)) = (operand(trial.gpu, 0, [count])?, operand(trial.gpu, 1, [count])?);
        let pairs = || a_values.iter().zip(&b_values);
        let case = format!("{count} elements");
        // One rounding each, so they are equal to the bit.
        let sums: Vec<f64> = pairs().map(|(a, b)| f64::from(a + b)).collect();
        trial.check(subject("add"), &case, &sums, Within::Exactly, &|gpu| gpu.read(&elementwise::add(gpu, &a, &b)?))?;
        trial.check(subject("accumulate"), &case, &sums, Within::Exactly, &|gpu| {
            amid(gpu, [count], |into| {
                gpu.copy(&b, into)?;
                elementwise::accumulate(gpu, into, &a)
            })
        })?;
        let products: Vec<f64> = pairs().map(|(a, b)| f64::from(a * b)).collect();
        trial.check(subject("multiply"), &case, &products, Within::Exactly, &|gpu| {
            amid(gpu, [count], |out| elementwise::multiply_into(gpu, &a, &b, out))
        })?;
        let scaled: Vec<f64> = a_values.iter().map(|&a| 1.5 * f64::from(a) - 0.25).collect();
        trial.check(subject("scale"), &case, &scaled, Within::Terms(1), &|gpu| {
            amid(gpu, [count], |out| elementwise::scale_into(gpu, &a, 1.5, -0.25, out))
        })?;
        trial.check(Subject::one("fill", "fill"), &case, &vec![0.75; count], Within::Exactly, &|gpu| {
            amid(gpu, [count], |out| gpu.fill(out, 0.75))
        })?;
    }
    let count = 65_535 * 64 + 1;
    let x = trial.gpu.filled([count], 0.5)?;
    trial.check(subject("scale"), "a folded grid", &vec![1.75; count], Within::Exactly, &|gpu| {
        gpu.read(&elementwise::scale(gpu, &x, 2.0, 0.75)?)
    })
}

/// Activations and normalisation.
pub(super) fn activations(trial: &mut Trial<'_>) -> Result<()> {
    let kinds = [
        ("ReLU", Activation::Relu),
        ("leaky ReLU", Activation::LeakyRelu { slope: 0.01 }),
        ("sigmoid", Activation::Sigmoid),
        ("tanh", Activation::Tanh),
        ("GELU", Activation::Gelu),
    ];
    for count in SIZES {
        let points: Vec<f32> = random(0, count).iter().map(|x| 6.0 * x).collect();
        let x = trial.gpu.tensor([count], &points)?;
        let (dy, dy_values) = operand(trial.gpu, 1, [count])?;
        for (name, kind) in kinds {
            let case = format!("{name}, {count} elements");
            let values: Vec<f64> = points.iter().map(|&x| value(kind, f64::from(x))).collect();
            trial.check(Subject::one("activation", "forward"), &case, &values, Within::Terms(1), &|gpu| {
                gpu.read(&activation::forward(gpu, kind, &x)?)
            })?;
            let saved: Vec<f32> = values.iter().map(|&y| y as f32).collect();
            let saved = if kind.saves_input() { x.clone() } else { trial.gpu.tensor([count], &saved)? };
            let slopes = points.iter().zip(&dy_values).map(|(&x, &dy)| slope(kind, f64::from(x)) * f64::from(dy));
            trial.check(
                Subject::one("activation", "backward"),
                &case,
                &slopes.collect::<Vec<f64>>(),
                Within::Terms(1),
                &|gpu| amid(gpu, [count], |dx| activation::backward(gpu, kind, &saved, &dy, dx)),
            )?;
        }
    }
    for dims in [[1, 1, 1, 1], [2, 3, 5, 7], [3, 3, 32, 32]] {
        let gpu = trial.gpu;
        let ((x, values), (factor, factors)) = (operand(gpu, 0, dims)?, operand(gpu, 1, [dims[1]])?);
        let (offset, offsets) = operand(gpu, 2, [dims[1]])?;
        let zeros = gpu.zeros([dims[1]])?;
        let (case, subject) = (format!("{dims:?}"), |pass| Subject::one("normalize", pass));
        let wanted = normalize::affine(dims, &values, &factors, &offsets);
        trial.check(subject("forward"), &case, &wanted, Within::Terms(1), &|gpu| {
            gpu.read(&scaling::forward(gpu, &x, &factor, &offset)?)
        })?;
        let wanted = normalize::affine(dims, &values, &factors, &vec![0.0; dims[1]]);
        trial.check(subject("backward"), &case, &wanted, Within::Terms(1), &|gpu| {
            amid(gpu, dims, |dx| scaling::backward(gpu, &x, &factor, &zeros, dx))
        })?;
    }
    Ok(())
}

/// Three steps of each optimiser.
pub(super) fn optimizers(trial: &mut Trial<'_>) -> Result<()> {
    const STEPS: u32 = 3;
    let subject = |pass| Subject::one("optimizer", pass);
    let sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.05 };
    for count in [1, 64, 257] {
        let start = random(1, count);
        // Away from zero, where the quotient of Adam's moments would enlarge every rounding.
        let away = |slope: &f32| slope + 0.5 * slope.signum();
        let gradients: Vec<Vec<f32>> =
            (0..STEPS).map(|step| random(10 + step, count).iter().map(away).collect()).collect();
        let case = format!("{count} parameters");
        let (mut weights, mut speed) = (wide(&start), vec![0.0; count]);
        gradients.iter().for_each(|gradient| sgd_step(sgd, 0.1, &mut weights, gradient, &mut speed));
        trial.check(subject("sgd"), &case, &weights, Within::Terms(4 * STEPS as usize), &|gpu| {
            let velocity = gpu.zeros([count])?;
            amid(gpu, [count], |weights| {
                gpu.write(weights, &start)?;
                gradients.iter().try_for_each(|gradient| {
                    optimizer::sgd(gpu, sgd, 0.1, weights, &gpu.tensor([count], gradient)?, &velocity)
                })
            })
        })?;
        for (pass, adam) in
            [("adam", Adam::default()), ("adamw", Adam { weight_decay: 0.1, decoupled: true, ..Adam::default() })]
        {
            let (mut weights, mut moments) = (wide(&start), [vec![0.0; count], vec![0.0; count]]);
            for (step, gradient) in (1..).zip(&gradients) {
                adam_step(adam, 0.1, step, &mut weights, gradient, &mut moments);
            }
            trial.check(subject(pass), &case, &weights, Within::Terms(8 * STEPS as usize), &|gpu| {
                let moments = [gpu.zeros([count])?, gpu.zeros([count])?];
                amid(gpu, [count], |weights| {
                    gpu.write(weights, &start)?;
                    (1..).zip(&gradients).try_for_each(|(step, gradient)| {
                        let gradient = gpu.tensor([count], gradient)?;
                        optimizer::adam(gpu, adam, 0.1, step, weights, &gradient, [&moments[0], &moments[1]])
                    })
                })
            })?;
        }
    }
    Ok(())
}

/// Noise, dropout and the steps of attacks: the processor's random numbers to the bit.
pub(super) fn randomness(trial: &mut Trial<'_>) -> Result<()> {
    let source = Source { seed: 0x1234_5678_9abc, purpose: Purpose::Noise, launch: 3 };
    let table = quantile_table();
    for count in SIZES {
        let case = format!("{count} elements");
        let words: Vec<u32> = {
            let stream = Stream::new(source.seed, source.purpose, source.launch);
            (0..count as u32).map(|index| stream.word(index)).collect()
        };
        // Powers of two as factors, so that it does not matter whether product and sum are fused.
        let uniform: Vec<f64> = words.iter().map(|&word| f64::from(unit(word) - 0.5)).collect();
        trial.check(Subject::one("noise", "uniform"), &case, &uniform, Within::Exactly, &|gpu| {
            amid(gpu, [count], |out| noise::uniform(gpu, source, -0.5, 0.5, out))
        })?;
        let normal: Vec<f64> = words.iter().map(|&word| f64::from(0.5 * normal_of_word(&table, word))).collect();
        trial.check(Subject::one("noise", "normal"), &case, &normal, Within::Exactly, &|gpu| {
            let quantiles = Quantiles::new(gpu)?;
            amid(gpu, [count], |out| noise::normal(gpu, source, &quantiles, 0.0, 0.5, out))
        })?;
        let mask = Mask { rate: 0.4, seed: 77, launch: 9 };
        let (x, values) = operand(trial.gpu, 4, [count])?;
        let kept = wide(&dropped(&values, mask));
        trial.check(Subject::one("dropout", "apply"), &case, &kept, Within::Exactly, &|gpu| {
            amid(gpu, [count], |y| dropout::apply(gpu, &x, mask, y))
        })?;
        attack_steps(trial, count)?;
    }
    Ok(())
}

fn attack_steps(trial: &mut Trial<'_>, count: usize) -> Result<()> {
    let case = format!("{count} pixels");
    let gradient_values: Vec<f32> =
        random(1, count).iter().enumerate().map(|(at, &g)| if at % 5 == 4 { 0.0 } else { g }).collect();
    let clean: Vec<f32> = random(5, count).iter().map(|x| 0.5 + 0.5 * x).collect();
    let moved: Vec<f32> = clean.iter().zip(random(6, count)).map(|(x, d)| (x + 0.03 * d).clamp(0.0, 1.0)).collect();
    let gpu = trial.gpu;
    let upload = |values: &[f32]| gpu.tensor([count], values);
    let (centre, x, gradient) = (upload(&clean)?, upload(&moved)?, upload(&gradient_values)?);
    let eps = 8.0 / 255.0;
    for (pass, projected) in [("step", false), ("projected step", true)] {
        let ball = |at: usize| projected.then_some((clean[at], eps));
        let wanted: Vec<f64> =
            (0..count).map(|at| f64::from(stepped(moved[at], gradient_values[at], eps / 4.0, ball(at)))).collect();
        trial.check(Subject::one("perturb", pass), &case, &wanted, Within::Exactly, &|gpu| {
            let ball = projected.then_some(Ball { centre: &centre, eps });
            amid(gpu, [count], |out| Step { x: &x, length: eps / 4.0, ball }.along_into(gpu, &gradient, out))
        })?;
    }
    let source = Source { seed: 11, purpose: Purpose::Noise, launch: 2 };
    let stream = Stream::new(source.seed, source.purpose, source.launch);
    let start = |(at, &clean): (usize, &f32)| {
        (f64::from(clean) + f64::from(eps) * (2.0 * f64::from(unit(stream.word(at as u32))) - 1.0)).clamp(0.0, 1.0)
    };
    let wanted: Vec<f64> = clean.iter().enumerate().map(start).collect();
    let image = centre.reshape([1, count])?;
    trial.check(Subject::one("perturb", "random start"), &case, &wanted, Within::Terms(1), &|gpu| {
        gpu.read(&perturb::random_start(gpu, &image, eps, source)?)
    })
}

/// The benchmark's own kernels, and the search for numbers that are not finite.
pub(super) fn instruments(trial: &mut Trial<'_>) -> Result<()> {
    let count = 1028;
    let (from, values) = operand(trial.gpu, 0, [count * ceiling::READS])?;
    let sums: Vec<f64> =
        (0..count).map(|at| (0..ceiling::READS).map(|part| f64::from(values[part * count + at])).sum()).collect();
    trial.check(Subject::one("ceiling", "read"), "1028 sums", &sums, Within::Terms(ceiling::READS), &|gpu| {
        amid(gpu, [count], |to| ceiling::read(gpu, &from, to))
    })?;
    trial.check(Subject::one("ceiling", "copy"), "16,448 elements", &wide(&values), Within::Exactly, &|gpu| {
        amid(gpu, from.shape(), |to| ceiling::copy(gpu, &from, to))
    })?;
    for (vectors, fused) in [(false, true), (true, false)] {
        let form = ceiling::Form { chains: 4, vectors, fused };
        // Each of the four chains tends to one.
        trial.check(Subject::one("ceiling", "multiply-add"), "4 chains", &[4.0; 256], Within::Terms(4), &|gpu| {
            amid(gpu, [256], |out| ceiling::multiply_add(gpu, form, 8, out))
        })?;
    }
    for (case, bad) in [("none", None), ("NaN", Some(f32::NAN)), ("infinity", Some(f32::NEG_INFINITY))] {
        let found = f64::from(u8::from(bad.is_some()));
        trial.check(Subject::one("check_finite", "count"), case, &[found], Within::Exactly, &|gpu| {
            count_bad(gpu, bad).map(|count| vec![count])
        })?;
    }
    Ok(())
}

/// What the check says of a copy with one bad number among 1027 good ones.
fn count_bad(gpu: &Gpu, bad: Option<f32>) -> Result<f32> {
    let mut values = random(0, 1028);
    values[1027] = bad.unwrap_or(values[1027]);
    let (from, to) = (gpu.tensor([1028], &values)?, gpu.zeros([1028])?);
    gpu.check_finite(0)?;
    let outcome = ceiling::copy(gpu, &from, &to);
    gpu.stop_check();
    match outcome {
        Ok(()) => Ok(0.0),
        Err(GpuError::NotFinite { numbers, .. }) => Ok(numbers as f32),
        Err(other) => Err(other),
    }
}
