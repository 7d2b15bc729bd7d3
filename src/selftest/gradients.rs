//! Gradients by central differences, with the operation in the middle of a graph.

use serde::Serialize;

use super::reference::random;
use super::trial::is_fatal;
use crate::autograd::{BatchNorm, Tape, Var};
use crate::gpu::{Gpu, GpuError, Result, Shape};
use crate::ops::activation::Activation;
use crate::ops::batch_norm::{Running, Settings};
use crate::ops::conv2d::Window;
use crate::ops::dropout::Mask;
use crate::ops::reduce::Reduction;

/// One element of a gradient, by both ways.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    pub input: usize,
    pub element: usize,
    /// What the backward pass says.
    pub backward: f32,
    /// What differences of the loss say.
    pub numeric: f64,
    /// How far apart they may be.
    pub tolerance: f64,
}

impl Slope {
    /// How far apart they are.
    pub fn error(&self) -> f64 {
        (self.numeric - f64::from(self.backward)).abs()
    }
}

/// What [`slopes`] found.
#[derive(Clone, Debug)]
pub struct Slopes {
    pub elements: Vec<Slope>,
    /// Inputs whose gradient is another when it alone is wanted.
    pub pruned_differently: Vec<usize>,
}

/// Gradients of an operation by its backward pass and by differences.
///
/// `build` is given leaves of the given shapes, with values from `points(100 + index, count)`. Around it the graph scales
/// each input and weighs each output with a random factor before summing, so that a dropped or misplaced upstream gradient
/// shows. Up to `most` elements of each input are moved. Then the graph is pruned: each leaf alone must get the same
/// gradient as all together.
pub fn slopes(
    gpu: &Gpu,
    shapes: &[Shape],
    points: &dyn Fn(u32, usize) -> Vec<f32>,
    build: &dyn Fn(&Tape, &[Var]) -> Result<Var>,
    most: usize,
) -> Result<Slopes> {
    let inputs: Vec<Vec<f32>> =
        shapes.iter().enumerate().map(|(i, shape)| points(100 + i as u32, shape.count())).collect();
    let leaves = |tape: &Tape, inputs: &[Vec<f32>]| -> Result<Vec<Var>> {
        inputs.iter().zip(shapes).map(|(values, &shape)| Ok(tape.leaf(&gpu.tensor(shape, values)?))).collect()
    };
    let scaled = |tape: &Tape, leaves: &[Var]| -> Result<Vec<Var>> {
        leaves.iter().map(|&leaf| tape.scale(leaf, 1.5, 0.0)).collect()
    };
    // The loss in f64 from the operation's f32 output, so that summing adds no error of its own.
    let run = |inputs: &[Vec<f32>]| -> Result<f64> {
        let tape = Tape::evaluation(gpu);
        let out = build(&tape, &scaled(&tape, &leaves(&tape, inputs)?)?)?;
        let values = gpu.read(&tape.value(out)?)?;
        Ok(values.iter().zip(random(500, values.len())).map(|(&v, w)| f64::from(v) * f64::from(w)).sum())
    };
    let gradients = |wanted: &[usize]| -> Result<Vec<Vec<f32>>> {
        let tape = Tape::new(gpu);
        let leaves = leaves(&tape, &inputs)?;
        let out = build(&tape, &scaled(&tape, &leaves)?)?;
        let shape = tape.value(out)?.shape();
        let weights = tape.leaf(&gpu.tensor(shape, &random(500, shape.count()))?);
        let loss = tape.multiply(out, weights)?;
        let asked: Vec<Var> = wanted.iter().map(|&index| leaves[index]).collect();
        let found = tape.backward(loss, &asked)?;
        let missing = || GpuError::operand("backward", "an input got no gradient");
        asked.iter().map(|&leaf| gpu.read(found.of(leaf).ok_or_else(missing)?)).collect()
    };
    let all: Vec<usize> = (0..shapes.len()).collect();
    let mut found = Slopes { elements: Vec::new(), pruned_differently: Vec::new() };
    for (input, gradient) in gradients(&all)?.into_iter().enumerate() {
        if gradients(&[input])?[0] != gradient {
            found.pruned_differently.push(input);
        }
        let scale = gradient.iter().fold(1e-2f64, |scale, &value| scale.max(f64::from(value).abs()));
        let count = gradient.len();
        for element in (0..count.min(most)).map(|k| k * 7919 % count) {
            let mut moved = inputs.clone();
            let mut slope = |step: f32| -> Result<f64> {
                let mut ends = [0.0; 2];
                for (end, to) in ends.iter_mut().zip([step, -step]) {
                    moved[input][element] = inputs[input][element] + to;
                    *end = run(&moved)?;
                }
                Ok((ends[0] - ends[1]) / (2.0 * f64::from(step)))
            };
            let step = 1e-2;
            // Richardson's extrapolation of two step sizes removes the error of second order.
            let numeric = (4.0 * slope(step / 2.0)? - slope(step)?) / 3.0;
            let tolerance = 4e-3 * scale + 2e-3;
            found.elements.push(Slope { input, element, backward: gradient[element], numeric, tolerance });
        }
    }
    Ok(found)
}

/// One graph of the self-test.
#[derive(Clone, Debug, Serialize)]
pub struct GraphRow {
    pub graph: &'static str,
    /// The largest error, and what was allowed there.
    pub error: f64,
    pub tolerance: f64,
    pub elements: usize,
    pub problem: Option<String>,
}

type Build = Box<dyn Fn(&Tape, &[Var]) -> Result<Var>>;

/// The graphs: name, shapes of the inputs, and what is computed of them.
fn graphs(gpu: &Gpu) -> Result<Vec<(&'static str, Vec<Shape>, Build)>> {
    let vector = |value: f32, count: usize| gpu.filled([count], value);
    let (factor, offset, zeros) = (vector(2.0, 3)?, vector(-1.0, 3)?, vector(0.0, 3)?);
    let settings = Settings::default();
    let layer = |training, channels| -> Result<BatchNorm> {
        Ok(BatchNorm {
            running: Running { mean: vector(0.1, channels)?, variance: vector(0.8, channels)? },
            settings,
            training,
        })
    };
    let (training, frozen, inner) = (layer(true, 3)?, layer(false, 3)?, layer(true, 4)?);
    let labels = gpu.words(&[2, 0, 4])?;
    let more = labels.clone();
    let window = Window::new;
    Ok(vec![
        (
            "conv2d",
            vec![[2, 3, 6, 5].into(), [4, 3, 3, 3].into(), [4].into()],
            Box::new(move |tape, v| tape.conv2d(v[0], v[1], v[2], window(2, 1), false)),
        ),
        (
            "conv_transpose2d",
            vec![[2, 3, 3, 4].into(), [3, 5, 4, 4].into(), [5].into()],
            Box::new(move |tape, v| tape.conv_transpose2d(v[0], v[1], v[2], window(2, 1), false)),
        ),
        (
            "linear",
            vec![[3, 8].into(), [5, 8].into(), [5].into()],
            Box::new(|tape, v| tape.linear(v[0], v[1], v[2], false)),
        ),
        (
            "matmul, both transposed",
            vec![[7, 3].into(), [8, 7].into()],
            Box::new(|tape, v| tape.matmul(v[0], true, v[1], true)),
        ),
        ("avg_pool", vec![[1, 2, 5, 5].into()], Box::new(move |tape, v| tape.avg_pool(v[0], [3, 2], window(2, 1)))),
        ("sigmoid", vec![[5, 7].into()], Box::new(|tape, v| tape.activation(v[0], Activation::Sigmoid))),
        ("tanh", vec![[5, 7].into()], Box::new(|tape, v| tape.activation(v[0], Activation::Tanh))),
        ("GELU", vec![[5, 7].into()], Box::new(|tape, v| tape.activation(v[0], Activation::Gelu))),
        (
            "normalize",
            vec![[2, 3, 3, 5].into()],
            Box::new(move |tape, v| tape.normalize(v[0], &factor, &offset, &zeros)),
        ),
        (
            "batch_norm in training",
            vec![[2, 3, 3, 4].into(), [3].into(), [3].into()],
            Box::new(move |tape, v| tape.batch_norm(v[0], v[1], v[2], &training)),
        ),
        (
            "batch_norm in evaluation",
            vec![[2, 3, 3, 4].into(), [3].into(), [3].into()],
            Box::new(move |tape, v| tape.batch_norm(v[0], v[1], v[2], &frozen)),
        ),
        (
            "dropout",
            vec![[5, 7].into()],
            Box::new(|tape, v| tape.dropout(v[0], Mask { rate: 0.4, seed: 1, launch: 2 })),
        ),
        ("log-sum-exp", vec![[4, 9].into()], Box::new(|tape, v| tape.reduce(v[0], Reduction::LogSumExp, 1))),
        ("cross_entropy", vec![[3, 5].into()], Box::new(move |tape, v| tape.cross_entropy_mean(v[0], &labels, 0.1))),
        ("kl_divergence", vec![[3, 5].into(), [3, 5].into()], Box::new(|tape, v| tape.kl_divergence(v[0], v[1]))),
        ("mse", vec![[3, 4].into(), [3, 4].into()], Box::new(|tape, v| tape.mse_mean(v[0], v[1]))),
        (
            "a network of conv2d, batch_norm, tanh, avg_pool, linear and cross_entropy",
            vec![
                [3, 2, 6, 6].into(),
                [4, 2, 3, 3].into(),
                [4].into(),
                [4].into(),
                [4].into(),
                [5, 36].into(),
                [5].into(),
            ],
            Box::new(move |tape, v| {
                let x = tape.conv2d(v[0], v[1], v[2], window(1, 1), false)?;
                let x = tape.activation(tape.batch_norm(x, v[3], v[4], &inner)?, Activation::Tanh)?;
                let x = tape.flatten(tape.avg_pool(x, [2, 2], window(2, 0))?)?;
                tape.cross_entropy_mean(tape.linear(x, v[5], v[6], false)?, &more, 0.0)
            }),
        ),
    ])
}

/// Checks the gradients of every graph.
pub(super) fn check(gpu: &Gpu) -> Result<Vec<GraphRow>> {
    let mut rows = Vec::new();
    for (graph, shapes, build) in graphs(gpu)? {
        let mut row = GraphRow { graph, error: 0.0, tolerance: 0.0, elements: 0, problem: None };
        match slopes(gpu, &shapes, &random, &*build, 5) {
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => row.problem = Some(error.to_string()),
            Ok(found) => judge(&mut row, &found),
        }
        rows.push(row);
    }
    Ok(rows)
}

fn judge(row: &mut GraphRow, found: &Slopes) {
    row.elements = found.elements.len();
    for slope in &found.elements {
        let (error, tolerance) = (slope.error(), slope.tolerance);
        if error.is_nan() || error > row.error {
            (row.error, row.tolerance) = (error, tolerance);
        }
        if error.is_nan() || error > tolerance {
            row.problem.get_or_insert(format!(
                "input {}, element {}: backward says {}, differences say {:.6}",
                slope.input, slope.element, slope.backward, slope.numeric
            ));
        }
    }
    if let Some(input) = found.pruned_differently.first() {
        row.problem.get_or_insert(format!("input {input} gets another gradient when it alone is wanted"));
    }
}
