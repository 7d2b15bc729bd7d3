//! Ten steps of training, twice, beside what PyTorch found in f64.

use safetensors::SafeTensors;
use serde::Serialize;

use crate::autograd::Tape;
use crate::gpu::{Gpu, GpuError, Result, Tensor, Words};
use crate::models;
use crate::nn::{Mode, Network, Optimizer, OptimizerKind};
use crate::ops::optimizer::Adam;
use crate::random::{Purpose, Stream};

/// The losses of lenet before each of ten steps of Adam and after the last, and the norms of its weights then, as
/// `kernels-tests/golden/make_golden.py` found them from the same initial weights and pictures.
static GOLDEN: &[u8] = include_bytes!("../../kernels-tests/golden/golden_lenet.safetensors");

const SEED: u64 = 7;
const STEPS: usize = 10;

/// How far losses and norms may be off, as a share: f32 against f64 over ten steps.
const TOLERANCE: f64 = 1e-3;

/// What ten steps of training gave.
#[derive(Clone, Debug, Serialize)]
pub struct TrainingRow {
    pub model: &'static str,
    pub steps: usize,
    pub losses: Vec<f32>,
    /// The largest relative difference of a loss, or of the norm of a layer's weights, from the stored one.
    pub error: f64,
    pub tolerance: f64,
    /// Whether a second run ended with the same bits.
    pub repeats: bool,
    pub problem: Option<String>,
}

/// Noise pictures: byte j of picture i is the top byte of word j of a stream. Labels take turns.
pub fn pictures(gpu: &Gpu, count: usize) -> Result<(Tensor, Words)> {
    let pixels: Vec<f32> = (0..count as u32)
        .flat_map(|image| {
            let mut stream = Stream::new(SEED, Purpose::Test, image);
            (0..3072).map(move |_| (stream.next_word() >> 24) as f32 / 255.0)
        })
        .collect();
    let labels: Vec<u32> = (0..count as u32).map(|image| image % 10).collect();
    Ok((gpu.tensor([count, 3, 32, 32], &pixels)?, gpu.words(&labels)?))
}

/// A layer's weights under their name.
type Weights = Vec<(String, Vec<f32>)>;

/// The losses, and all weights in the end.
fn train(gpu: &Gpu) -> Result<(Vec<f32>, Weights)> {
    let plan = models::architecture("lenet").map_err(|error| GpuError::operand("training", error.to_string()))?;
    let network = Network::new(gpu, plan, SEED)?;
    let mut optimizer = Optimizer::new(gpu, OptimizerKind::Adam(Adam::default()), network.parameters())?;
    let (x, labels) = pictures(gpu, 16)?;
    let mut losses = Vec::new();
    for step in 0..=STEPS {
        let tape = Tape::new(gpu);
        let bound = network.bind(&tape)?;
        let output = network.forward(&tape, &bound, tape.leaf(&x), Mode::Training { seed: 0, step: 0 })?;
        let loss = tape.cross_entropy_mean(output, &labels, 0.0)?;
        losses.extend(gpu.read(&tape.value(loss)?)?);
        if step < STEPS {
            tape.backward(loss, bound.leaves())?;
            optimizer.step(gpu, network.parameters(), 1e-3)?;
        }
    }
    let parameters = network.parameters();
    let weights = parameters
        .specs()
        .iter()
        .enumerate()
        .map(|(index, spec)| Ok((spec.name.clone(), gpu.read(&parameters.value(index)?)?)));
    Ok((losses, weights.collect::<Result<_>>()?))
}

fn stored(golden: &SafeTensors<'_>, name: &str) -> Result<Vec<f32>> {
    let missing = |error| GpuError::operand("training", format!("no stored values '{name}': {error}"));
    Ok(bytemuck::pod_collect_to_vec(golden.tensor(name).map_err(missing)?.data()))
}

/// Trains twice and compares.
pub(super) fn check(gpu: &Gpu) -> Result<TrainingRow> {
    let golden = SafeTensors::deserialize(GOLDEN).map_err(|error| GpuError::operand("training", error.to_string()))?;
    let ((losses, weights), again) = (train(gpu)?, train(gpu)?);
    let mut row = TrainingRow {
        model: "lenet",
        steps: STEPS,
        losses,
        error: 0.0,
        tolerance: TOLERANCE,
        repeats: true,
        problem: None,
    };
    let mut compare = |what: &str, found: f64, wanted: f64| {
        let error = (found - wanted).abs() / wanted.abs().max(1e-12);
        if error.is_nan() || error > row.error {
            row.error = error;
        }
        if error.is_nan() || error > TOLERANCE {
            row.problem.get_or_insert(format!("{what} is {found}, not {wanted}"));
        }
    };
    for (step, (&found, wanted)) in row.losses.iter().zip(stored(&golden, "adam.losses")?).enumerate() {
        compare(&format!("the loss after step {step}"), f64::from(found), f64::from(wanted));
    }
    for (name, values) in &weights {
        let norm = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        let wanted = stored(&golden, &format!("adam.{name}.norm"))?.first().copied().unwrap_or(f32::NAN);
        compare(&format!("the norm of {name}"), norm, f64::from(wanted));
    }
    let bits = |run: (&[f32], &Weights)| -> Vec<u32> {
        run.0.iter().chain(run.1.iter().flat_map(|(_, values)| values)).map(|value| value.to_bits()).collect()
    };
    if bits((&row.losses, &weights)) != bits((&again.0, &again.1)) {
        row.repeats = false;
        row.problem.get_or_insert("a second run ends with other bits".to_owned());
    }
    Ok(row)
}
