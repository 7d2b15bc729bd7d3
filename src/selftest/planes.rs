//! Kernels over windows, channels and rows.

use super::reference::batch_norm::Problem;
use super::reference::cross_entropy::{gradient, labels, losses};
use super::reference::gather::{augmented, draw};
use super::reference::kl_divergence::{divergences, gradients};
use super::reference::pool::{Pooling, winner};
use super::reference::reduce::{lines, reduced, slopes};
use super::reference::{mse as errors, random};
use super::trial::{Subject, Trial, Within, amid, operand};
use crate::gpu::{Gpu, Result, Shape, Tensor};
use crate::ops::batch_norm::{self, Running, Saved, Settings};
use crate::ops::cross_entropy::Upstream;
use crate::ops::gather::{self, Augment, ByteSet};
use crate::ops::pool;
use crate::ops::reduce::{self, Reduction};
use crate::ops::{cross_entropy, kl_divergence, mse};
use crate::random::{Purpose, Stream};

/// Maximum and average over windows: windows that tile the plane, that its end cuts short, that overlap, that leave gaps,
/// with padding.
pub(super) fn pooling(trial: &mut Trial<'_>) -> Result<()> {
    let cases = [
        Pooling::new([2, 6, 28, 28], [2, 2], 2, 0),
        Pooling::new([3, 5, 6, 10], [2, 2], 2, 0),
        Pooling::new([2, 3, 7, 11], [3, 3], 3, 0),
        Pooling::new([1, 3, 7, 5], [3, 3], 2, 1),
        Pooling::new([3, 1, 9, 8], [2, 2], 3, 0),
        Pooling::new([1, 2, 1, 1], [1, 1], 1, 0),
        Pooling::new([1, 17, 4, 67], [4, 4], 1, 2),
    ];
    for case in cases {
        let Pooling { dims, kernel, window } = case;
        let ((x, values), (dy, dy_values)) = (operand(trial.gpu, 0, dims)?, operand(trial.gpu, 1, case.output())?);
        let (windows, area) = (case.windows(), kernel[0] * kernel[1]);
        let name = format!("{dims:?} k{} s{} p{}", kernel[0], window.stride, window.padding);
        let places: Vec<usize> = windows.iter().map(|covered| winner(covered, &values)).collect();
        let kernel_of_max = if pool::in_pairs(kernel[0], window, dims) { "max_pool_pairs" } else { "max_pool" };
        let max = |pass| Subject { operation: "max_pool", variant: None, kernel: kernel_of_max, pass };
        for relu in [false, true] {
            let largest = |&place: &usize| f64::from(if relu { values[place].max(0.0) } else { values[place] });
            let wanted: Vec<f64> = places.iter().map(largest).collect();
            trial.check(max("forward"), &name, &wanted, Within::Exactly, &|gpu| {
                gpu.read(&pool::max_forward(gpu, &x, kernel[0], window, relu)?.0)
            })?;
            let mut wanted = vec![0.0; values.len()];
            for (&place, &dy) in places.iter().zip(&dy_values).filter(|(place, _)| !relu || values[**place] > 0.0) {
                wanted[place] += f64::from(dy);
            }
            trial.check(max("backward"), &name, &wanted, Within::Terms(area), &|gpu| {
                let (_, winners) = pool::max_forward(gpu, &x, kernel[0], window, relu)?;
                amid(gpu, dims, |dx| pool::max_backward(gpu, &dy, &winners, kernel[0], window, dx))
            })?;
        }
        let mean = |covered: &Vec<usize>| covered.iter().map(|&at| f64::from(values[at])).sum::<f64>() / area as f64;
        let wanted: Vec<f64> = windows.iter().map(mean).collect();
        trial.check(Subject::one("avg_pool", "forward"), &name, &wanted, Within::Terms(area), &|gpu| {
            gpu.read(&pool::average_forward(gpu, &x, kernel, window)?)
        })?;
        let mut wanted = vec![0.0; values.len()];
        for (covered, &dy) in windows.iter().zip(&dy_values) {
            covered.iter().for_each(|&place| wanted[place] += f64::from(dy) / area as f64);
        }
        trial.check(Subject::one("avg_pool", "backward"), &name, &wanted, Within::Terms(area), &|gpu| {
            amid(gpu, dims, |dx| pool::average_backward(gpu, &dy, kernel, window, dx))
        })?;
    }
    Ok(())
}

/// The layer's numbers on the device, fresh for each run, since training moves the running ones.
fn normalised(gpu: &Gpu, problem: &Problem, training: bool) -> Result<(Tensor, Running, Tensor, Tensor, Saved)> {
    let vector = |values: &[f32]| gpu.tensor([values.len()], values);
    let running = Running { mean: vector(&problem.running_mean)?, variance: vector(&problem.running_variance)? };
    let (x, gamma, beta) = (gpu.tensor(problem.dims, &problem.x)?, vector(&problem.gamma)?, vector(&problem.beta)?);
    let (y, saved) = batch_norm::forward(gpu, &x, &gamma, &beta, &running, Settings::default(), training)?;
    Ok((y, running, x, gamma, saved))
}

/// Batch normalisation in training and in evaluation.
pub(super) fn batch_normalisation(trial: &mut Trial<'_>) -> Result<()> {
    let subject = |pass| Subject::one("batch_norm", pass);
    let Settings { epsilon, momentum } = Settings::default();
    for dims in [[2, 3, 5, 7], [4, 65, 1, 3], [3, 2, 16, 16]] {
        let problem = Problem::new(dims);
        let count = problem.population();
        let upstream = random(6, problem.x.len());
        for training in [true, false] {
            let case = format!("{dims:?}, {}", if training { "training" } else { "evaluation" });
            let terms = Within::Terms(count);
            trial.check(subject("forward"), &case, &problem.output(training, epsilon), terms, &|gpu| {
                gpu.read(&normalised(gpu, &problem, training)?.0)
            })?;
            let backward = |gpu: &Gpu, which: usize| {
                let (_, _, x, gamma, saved) = normalised(gpu, &problem, training)?;
                let dy = gpu.tensor(dims, &upstream)?;
                let sums = batch_norm::backward_sums(gpu, &x, &saved, &dy)?;
                match which {
                    0 => amid(gpu, dims, |dx| {
                        batch_norm::backward_data(gpu, &x, &saved, &gamma, &dy, training.then_some(&sums), dx)
                    }),
                    1 => gpu.read(&sums.0),
                    _ => gpu.read(&sums.1),
                }
            };
            let wanted = problem.gradients(training, epsilon, &upstream);
            for (which, (pass, wanted)) in ["backward-data", "sums", "sums"].into_iter().zip(&wanted).enumerate() {
                trial.check(subject(pass), &case, wanted, terms, &|gpu| backward(gpu, which))?;
            }
        }
        let (mean, variance) = problem.batch_statistics();
        let unbiased = |variance: &f64| variance * count as f64 / (count - 1) as f64;
        let (old_mean, old_variance) = problem.running_statistics();
        let moved = |old: &f64, new: f64| old + f64::from(momentum) * (new - old);
        let means = old_mean.iter().zip(mean).map(|(old, new)| moved(old, new));
        let variances = old_variance.iter().zip(&variance).map(|(old, new)| moved(old, unbiased(new)));
        let wanted: Vec<f64> = means.chain(variances).collect();
        trial.check(subject("statistics"), &format!("{dims:?}"), &wanted, Within::Terms(count), &|gpu| {
            let running = normalised(gpu, &problem, true)?.1;
            Ok([gpu.read(&running.mean)?, gpu.read(&running.variance)?].concat())
        })?;
    }
    Ok(())
}

/// Every reduction over every dimension of a few shapes.
pub(super) fn reductions(trial: &mut Trial<'_>) -> Result<()> {
    let kinds = [
        ("sum", Reduction::Sum),
        ("mean", Reduction::Mean),
        ("maximum", Reduction::Max),
        ("log-sum-exp", Reduction::LogSumExp),
        ("sum of |x|", Reduction::SumAbs),
        ("sum of squares", Reduction::SumSquares),
    ];
    let shapes = [Shape::from([1]), [257].into(), [131, 10].into(), [5, 65, 3].into(), [2, 7, 9, 13].into()];
    for shape in shapes {
        let (x, values) = operand(trial.gpu, 1, shape)?;
        for (dim, (name, kind)) in (0..shape.rank()).flat_map(|dim| kinds.map(|kind| (dim, kind))) {
            let case = format!("{name} of {shape} over dimension {dim}");
            let lines = lines(shape, dim);
            let upstream = random(2, lines.len());
            let (mut wanted, mut slope) = (Vec::new(), vec![0.0; values.len()]);
            for (indices, weight) in lines.iter().zip(&upstream) {
                let line: Vec<f64> = indices.iter().map(|&index| f64::from(values[index])).collect();
                wanted.push(reduced(kind, &line));
                for (&index, of) in indices.iter().zip(slopes(kind, &line)) {
                    slope[index] = of * f64::from(*weight);
                }
            }
            let terms = Within::Terms(shape.dims()[dim]);
            trial.check(Subject::one("reduce", "forward"), &case, &wanted, terms, &|gpu| {
                gpu.read(&reduce::forward(gpu, kind, &x, dim)?)
            })?;
            trial.check(Subject::one("reduce", "backward"), &case, &slope, terms, &|gpu| {
                let y = reduce::forward(gpu, kind, &x, dim)?;
                let dy = gpu.tensor(y.shape(), &upstream)?;
                amid(gpu, shape, |dx| reduce::backward(gpu, kind, &x, &y, dim, &dy, dx))
            })?;
        }
    }
    Ok(())
}

/// Cross-entropy, divergence and mean squared error.
pub(super) fn losses_and_gradients(trial: &mut Trial<'_>) -> Result<()> {
    for (rows, classes, smoothing) in [(1, 1, 0.0), (65, 10, 0.0), (7, 131, 0.1)] {
        let values: Vec<f32> = random(1, rows * classes).iter().map(|value| 8.0 * value).collect();
        let marks = labels(rows, classes);
        let (logits, words) = (trial.gpu.tensor([rows, classes], &values)?, trial.gpu.words(&marks)?);
        let (dloss, weights) = operand(trial.gpu, 2, [rows])?;
        let (case, subject) = (format!("[{rows}, {classes}]"), |pass| Subject::one("cross_entropy", pass));
        let terms = Within::Terms(classes);
        trial.check(subject("forward"), &case, &losses(&values, &marks, smoothing), terms, &|gpu| {
            gpu.read(&cross_entropy::forward(gpu, &logits, &words, smoothing)?)
        })?;
        let wanted = gradient(&values, &marks, smoothing, |row| f64::from(weights[row]));
        trial.check(subject("backward"), &case, &wanted, terms, &|gpu| {
            amid(gpu, [rows, classes], |out| {
                cross_entropy::backward(gpu, &logits, &words, smoothing, Upstream::Each(&dloss), out)
            })
        })?;
        let wanted = gradient(&values, &marks, smoothing, |_| 1.0);
        trial.check(subject("backward"), &format!("{case}, summed"), &wanted, terms, &|gpu| {
            amid(gpu, [rows, classes], |out| {
                cross_entropy::backward(gpu, &logits, &words, smoothing, Upstream::Sum, out)
            })
        })?;
    }
    for [rows, classes] in [[1, 1], [65, 10], [7, 131]] {
        let [a, b] =
            [4, 5].map(|item| random(item, rows * classes).iter().map(|value| 8.0 * value).collect::<Vec<_>>());
        let (first, second) = (trial.gpu.tensor([rows, classes], &a)?, trial.gpu.tensor([rows, classes], &b)?);
        let (dk, weights) = operand(trial.gpu, 6, [rows])?;
        let (case, subject) = (format!("[{rows}, {classes}]"), |pass| Subject::one("kl_divergence", pass));
        let terms = Within::Terms(classes);
        trial.check(subject("forward"), &case, &divergences(&a, &b, classes), terms, &|gpu| {
            gpu.read(&kl_divergence::forward(gpu, &first, &second)?)
        })?;
        for (is_second, wanted) in [false, true].into_iter().zip(gradients(&a, &b, classes, &weights)) {
            trial.check(subject("backward"), &case, &wanted, terms, &|gpu| {
                amid(gpu, [rows, classes], |out| kl_divergence::backward(gpu, &first, &second, &dk, is_second, out))
            })?;
        }
    }
    for shape in [Shape::from([1]), [65, 3].into(), [3, 3, 17, 19].into(), [5, 3, 12, 8].into()] {
        let images = shape.dims()[0];
        let length = shape.count() / images;
        let ((a, a_values), (b, b_values)) = (operand(trial.gpu, 1, shape)?, operand(trial.gpu, 2, shape)?);
        let (dloss, weights) = operand(trial.gpu, 3, [images])?;
        let (case, subject) = (shape.to_string(), |pass| Subject::one("mse", pass));
        let wanted = errors::each_image(&a_values, &b_values, images);
        trial.check(subject("forward"), &case, &wanted, Within::Terms(length), &|gpu| {
            gpu.read(&mse::forward(gpu, &a, &b)?)
        })?;
        let first = errors::gradient(&a_values, &b_values, images, |image| f64::from(weights[image]));
        let negated = first.iter().map(|value| -value).collect();
        for (second, wanted) in [(false, first), (true, negated)] {
            trial.check(subject("backward"), &case, &wanted, Within::Terms(1), &|gpu| {
                amid(gpu, shape, |out| mse::backward(gpu, &a, &b, &dloss, false, second, out))
            })?;
        }
    }
    Ok(())
}

/// Batches from bytes in two buffers, as they lie and flipped and shifted.
pub(super) fn batches(trial: &mut Trial<'_>) -> Result<()> {
    const COUNT: usize = 21;
    let dims = [3, 32, 32];
    let [channels, height, width] = dims;
    let (plane, size) = (height * width, channels * height * width);
    let mut stream = Stream::new(1, Purpose::Test, 0);
    let bytes: Vec<u8> = (0..COUNT * size).map(|_| (stream.next_word() >> 24) as u8).collect();
    let labels: Vec<u8> = (0..COUNT as u8).collect();
    let order = Stream::new(5, Purpose::Test, 0).permutation(COUNT as u32);
    let set = ByteSet::with_limit(trial.gpu, dims, &bytes, &labels, 12 * size)?;
    let words = trial.gpu.words(&order)?;
    let first = 4;
    for augment in [None, Some(Augment { flip: true, shift: 4, seed: 3, epoch: 2 })] {
        let wanted = order[first..].iter().enumerate().flat_map(|(place, &image)| {
            let planes = bytes[image as usize * size..][..size].chunks(plane);
            let as_drawn = |plane: &[u8]| match augment {
                Some(augment) => augmented(plane, width, draw(augment, first + place), augment.shift),
                None => plane.to_vec(),
            };
            planes.flat_map(as_drawn).map(|byte| f64::from(f32::from(byte) / 255.0)).collect::<Vec<f64>>()
        });
        let case = if augment.is_some() { "flipped and shifted" } else { "as they lie" };
        let gathered = |gpu: &Gpu| gather::batch(gpu, &set, &words, first, COUNT - first, augment);
        let wanted: Vec<f64> = wanted.collect();
        trial.check(Subject::one("gather", "pictures"), case, &wanted, Within::Exactly, &|gpu| {
            gpu.read(&gathered(gpu)?.0)
        })?;
        let wanted: Vec<f64> = order[first..].iter().map(|&image| f64::from(image)).collect();
        trial.check(Subject::one("gather", "labels"), case, &wanted, Within::Exactly, &|gpu| {
            Ok(gpu.read_words(&gathered(gpu)?.1)?.iter().map(|&label| label as f32).collect())
        })?;
    }
    Ok(())
}
