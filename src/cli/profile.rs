//! `shadegrad profile`.

use std::collections::BTreeMap;

use crate::autograd::Tape;
use crate::data::{DIMS, fake_data};
use crate::gpu::Sample;
use crate::lab::LabError;
use crate::models;
use crate::nn::{Mode, Network, Optimizer, OptimizerKind, Task};
use crate::ops::gather::{self, ByteSet};
use crate::ops::optimizer::Adam;

use super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value = "lenet")]
    model: String,
    #[arg(long, default_value_t = 128)]
    batch: usize,
    #[arg(long, default_value_t = 5)]
    steps: usize,
}

pub fn run(args: &Args, adapter: Option<String>) -> Result<(), LabError> {
    let gpu = super::open_gpu(adapter, false)?;
    let network = Network::new(&gpu, models::architecture(&args.model)?, 0)?;
    let mut optimizer = Optimizer::new(&gpu, OptimizerKind::Adam(Adam::default()), network.parameters())?;
    let images = fake_data(0, 0, args.batch);
    let set = ByteSet::new(&gpu, DIMS, &images.bytes, &images.labels)?;
    let order = gpu.words(&(0..args.batch as u32).collect::<Vec<_>>())?;
    let tape = Tape::new(&gpu);
    let mut step = |number: u32| -> Result<(), LabError> {
        let (x, labels) = gather::batch(&gpu, &set, &order, 0, args.batch, None)?;
        let bound = network.bind(&tape)?;
        let x = tape.leaf(&x);
        let output = network.forward(&tape, &bound, x, Mode::Training { seed: 0, step: number })?;
        let loss = match network.architecture().task {
            Task::Classify => tape.cross_entropy_mean(output, &labels, 0.0)?,
            Task::Reconstruct => tape.mse_mean(output, x)?,
        };
        tape.backward(loss, bound.leaves())?;
        tape.reset();
        optimizer.step(&gpu, network.parameters(), 1e-3)?;
        Ok(())
    };
    for number in 0..2 {
        step(number)?;
    }
    gpu.wait()?;
    let begun = std::time::Instant::now();
    for number in 0..args.steps {
        step(number as u32)?;
    }
    gpu.wait()?;
    let wall = begun.elapsed().as_secs_f64() / args.steps as f64;
    gpu.start_profile()?;
    for number in 0..args.steps {
        step(number as u32)?;
    }
    let samples = gpu.take_profile()?;
    let mut rows: BTreeMap<(&str, u64), (usize, f64)> = BTreeMap::new();
    for sample in &samples {
        let row = rows.entry((sample.kernel, sample.work.flops)).or_default();
        row.0 += 1;
        row.1 += sample.nanoseconds();
    }
    let total: f64 = samples.iter().map(Sample::nanoseconds).sum();
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    for ((kernel, flops), (calls, nanoseconds)) in rows {
        output::say(&format!(
            "{kernel:<26} {:>3} calls {:>9.3} ms {:>5.1} %  {:>7.2} GFLOP/s",
            calls / args.steps,
            nanoseconds * 1e-6 / args.steps as f64,
            100.0 * nanoseconds / total,
            flops as f64 * calls as f64 / nanoseconds
        ));
    }
    output::say(&format!(
        "a step: {:.2} ms in kernels, {:.2} ms in all ({:.0} images/s)",
        total * 1e-6 / args.steps as f64,
        wall * 1e3,
        args.batch as f64 / wall
    ));
    Ok(())
}
