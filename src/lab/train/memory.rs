//! What a run will take of the device's memory, known before its first step: the same code is run on a device that only
//! counts ([`Gpu::rehearsal`]).

use crate::autograd::Tape;
use crate::data::DataSet;
use crate::gpu::{Gpu, GpuError};
use crate::models;
use crate::nn::{Network, Optimizer};

use super::super::LabError;
use super::super::evaluate::{self, Resident};
use super::Settings;
use super::adversary::Adversary;
use super::lesson::{Lesson, Moving, Pictures};
use super::meter::LossMeter;

/// What a run takes at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Of GPU memory, in use and kept for reuse.
    pub bytes: u64,
    /// The largest array.
    pub largest_binding: u64,
}

/// What a run with these settings needs. Whatever its watcher measures comes on top.
///
/// # Errors
/// [`GpuError::BindingTooLarge`] if one array is more than the adapter can bind; and whatever is wrong with the settings.
pub fn need(gpu: &Gpu, settings: &Settings, data: &DataSet) -> Result<Need, LabError> {
    rehearse(&gpu.rehearsal(), settings, data)
}

fn rehearse(gpu: &Gpu, settings: &Settings, data: &DataSet) -> Result<Need, LabError> {
    let architecture = models::architecture(&settings.model)?;
    let adversary = Adversary::of(gpu, settings, &architecture, data.train.count())?;
    let network = Network::new(gpu, architecture, settings.seed)?;
    let optimizer = Optimizer::new(gpu, settings.optimizer, network.parameters())?;
    let (train, test) = (Resident::new(gpu, &data.train)?, Resident::new(gpu, &data.test)?);
    let tape = Tape::new(gpu);
    let set = Lesson::set(gpu, settings, &network, &train)?;
    let lesson = Lesson { gpu, settings, network: &network, set: &set, tape: &tape };
    let mut moving = Moving { meter: LossMeter::new(gpu)?, optimizer, adversary };
    let order = gpu.empty_words(train.count())?;
    let whole = settings.batch.min(train.count());
    let rest = train.count() % settings.batch;
    // An epoch has batches of two sizes, and after them its evaluation. The second one begins with what the first left.
    for _ in 0..2 {
        for count in [whole, whole, if rest > 0 { rest } else { whole }] {
            let pictures = Pictures { order: &order, first: 0, count, pass: 1 };
            lesson.step(&pictures, (0, 0.0), &mut moving)?;
            moving.meter.read(gpu)?;
        }
        evaluate::quality(gpu, &network, &test, |_| {})?;
        if let Some(adversary) = &mut moving.adversary {
            adversary.measure(gpu, &network, [(&data.train, &train), (&data.test, &test)], settings.batch)?;
        }
    }
    let memory = gpu.memory();
    Ok(Need { bytes: memory.peak, largest_binding: memory.largest_binding })
}

/// Refuses a run that cannot be, and says with which batch it could. What a run that can be needs of pipelines is made.
pub(super) fn plan(gpu: &Gpu, settings: &Settings, data: &DataSet, limit: Option<u64>) -> Result<Need, LabError> {
    let with = |batch: usize| need(gpu, &Settings { batch, ..settings.clone() }, data);
    let is_within = |need: &Need| limit.is_none_or(|limit| need.bytes <= limit);
    let rehearsal = gpu.rehearsal();
    let problem = match rehearse(&rehearsal, settings, data) {
        Ok(need) if is_within(&need) => {
            gpu.prepare(&rehearsal)?;
            // Later epochs could hold a little more than the two that were rehearsed.
            gpu.limit_memory(limit);
            return Ok(need);
        }
        Ok(need) => format!(
            "takes {} of GPU memory (its largest array {}), more than the {} of --memory-limit",
            mebibytes(need.bytes),
            mebibytes(need.largest_binding),
            mebibytes(limit.unwrap_or_default())
        ),
        Err(LabError::Gpu(GpuError::BindingTooLarge { bytes, limit })) => {
            format!("needs an array of {bytes} bytes, more than the {limit} that this adapter can bind at once")
        }
        Err(error) => return Err(error),
    };
    let fits = |batch: usize| match with(batch) {
        Ok(need) => Ok(is_within(&need)),
        Err(LabError::Gpu(GpuError::BindingTooLarge { .. })) => Ok(false),
        Err(error) => Err(error),
    };
    // Batches larger than the set are the set's. What is found fits, and one picture more does not.
    let (mut fitting, mut failing) = (0, settings.batch.min(data.train.count()));
    while failing - fitting > 1 {
        let middle = fitting.midpoint(failing);
        if fits(middle)? {
            fitting = middle;
        } else {
            failing = middle;
        }
    }
    let advice = if fitting > 0 { format!("use --batch {fitting}") } else { "no --batch is small enough".into() };
    Err(LabError::Usage(format!("'{}' with a batch of {} {problem}: {advice}", settings.model, settings.batch)))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1u32 << 20))
}
