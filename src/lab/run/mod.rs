//! `shadegrad lab`: every exercise of the lab, from nothing to `result.json` and the report.
//!
//! A run is a row of stages ([`order`]). Each is kept in a folder of its own when it is finished ([`stage`]), so a run
//! that was interrupted goes on where it stopped, and its result is that of a run that was not.

mod attacks;
mod autoencode;
mod classify;
mod detection;
mod order;
mod plan;
mod stage;

use std::path::Path;

use crate::attack::Convention;
use crate::data::{self, DataSet, Images, SIZE};
use crate::files;
use crate::gpu::Gpu;
use crate::ops::choices;

use super::LabError;
use super::report;
use super::results::{Autoencoder, Classifier, LabResult, Picture, Variant};
use super::train::write_json;

use order::Order;
pub use plan::{Preset, Recipe};
use stage::Stages;
pub use stage::{Planned, Progress};

/// The weights that are judged: those after the last epoch, so that no choice by the test set flatters them.
const WEIGHTS: &str = "last.safetensors";

/// What a run is about, and what people read.
const RESULT: &str = "result.json";
pub const REPORT: &str = "report.html";

/// A result is far smaller.
const MAX_RESULT: u64 = 1 << 30;

/// Pictures of each set that the report begins with.
const SAMPLES: usize = 10;

/// Seed of FakeData: one set of noise for all models.
const NOISE: u64 = 0;

/// A picture of a set.
fn picture(images: &Images, index: usize) -> Picture {
    Picture(images.bytes[index * SIZE..(index + 1) * SIZE].to_vec())
}

/// The pictures that a plan uses. Read before a device is opened: none is needed for data that will not do.
pub struct Material {
    data: DataSet,
    noise: Images,
    fingerprint: String,
    whole: [bool; 2],
}

impl Material {
    pub fn read(recipe: &Recipe) -> Result<Self, LabError> {
        recipe.check()?;
        let plan = &recipe.plan;
        let all = data::open(&plan.data)?;
        let whole = [all.train.count() <= plan.max_train, all.test.count() <= plan.max_test];
        let data = all.truncated(plan.max_train, plan.max_test);
        let fingerprint = data.fingerprint();
        Ok(Self { data, noise: data::fake_data(NOISE, 0, plan.ood_images), fingerprint, whole })
    }
}

/// Runs the lab in the folder `out` and leaves `result.json` and `report.html` there. With `fresh`, nothing is taken from earlier runs.
pub fn run(
    gpu: &Gpu,
    recipe: &Recipe,
    material: &Material,
    (out, fresh): (&Path, bool),
    command: &[String],
    progress: &mut dyn Progress,
) -> Result<LabResult, LabError> {
    let Material { data, noise, fingerprint, whole } = material;
    let mut recipe = recipe.clone();
    recipe.plan.data_name = data.name.clone();
    let plan = &recipe.plan;
    let order = Order { recipe: &recipe, data, pictures: fingerprint, out: out.display().to_string(), whole: *whole };
    let mut stages = Stages::new(gpu, out, progress)?;
    stages.announce(&order.all(), fresh)?;

    let mut classifiers = Vec::new();
    for variant in &plan.variants {
        for &seed in &plan.seeds {
            let stage = order.train(variant, seed);
            let weights = Stages::place(&stage.name, WEIGHTS);
            let trained = stages.run(&stage, &[], &[WEIGHTS], |desk| {
                classify::train(desk, plan, (variant, seed), data, noise, command)
            })?;
            let judged = stages.run(&order.score(variant, seed), &[&weights], &["scores.csv"], |desk| {
                classify::judge(desk, &out.join(&weights), data, noise)
            })?;
            classifiers.push(Classifier {
                variant: variant.clone(),
                seed,
                weights,
                test_accuracy: trained.test_accuracy,
                train_loss: trained.train_loss,
                images_per_second: trained.images_per_second,
                epochs: trained.epochs,
                detection: judged.detection,
                logits: (seed == plan.seeds[0]).then_some(judged.logits),
            });
        }
    }
    let first = plan.seeds[0];
    let mut attack = |variant: &Variant, convention: Convention| {
        let weights = Stages::place(&order.train(variant, first).name, WEIGHTS);
        stages.run(&order.attack(variant, convention), &[&weights], &[], |desk| {
            attacks::run(desk, &recipe, &out.join(&weights), (variant, first), convention, data)
        })
    };
    let attacked = plan.variants.iter().map(|variant| attack(variant, Convention::Pixels)).collect::<Result<_, _>>()?;
    let attacked_compat = attack(&plan.variants[0], Convention::Lab)?;
    let mut autoencoder = |compat: bool| -> Result<Autoencoder, LabError> {
        let (model, rate) = order.autoencoder(compat);
        let stage = order.train_autoencoder(compat);
        let weights = Stages::place(&stage.name, WEIGHTS);
        let trained =
            stages.run(&stage, &[], &[WEIGHTS], |desk| autoencode::train(desk, plan, (&model, rate), data, command))?;
        let judged = stages.run(&order.score_autoencoder(compat), &[&weights], &["scores.csv"], |desk| {
            autoencode::judge(desk, &out.join(&weights), data, noise)
        })?;
        Ok(Autoencoder {
            weights,
            epochs: trained.epochs,
            test_mse: trained.test_mse,
            detection: judged.detection,
            id_examples: judged.id_examples,
            ood_examples: judged.ood_examples,
        })
    };
    let (ours, compat) = (autoencoder(false)?, autoencoder(true)?);

    let samples = |images: &Images| (0..SAMPLES.min(images.count())).map(|index| picture(images, index)).collect();
    let done = stages.done();
    let result = LabResult {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command.to_vec(),
        adapter: gpu.adapter().clone(),
        kernel_choices: choices::record(gpu)?,
        plan: plan.clone(),
        classes: data.classes.clone(),
        train_images: data.train.count(),
        test_images: data.test.count(),
        id_samples: samples(&data.test),
        ood_samples: samples(noise),
        classifiers,
        autoencoder: ours,
        autoencoder_compat: Some(compat),
        attacks: attacked,
        attacks_compat: Some(attacked_compat),
        seconds: done.iter().map(|stage| stage.seconds).sum(),
        stages: done,
    };
    write_json(&out.join(RESULT), &result)?;
    report::write(&result, &out.join(REPORT))?;
    Ok(result)
}

/// Writes the report of a finished run again, from its `result.json`.
pub fn report_again(out: &Path) -> Result<LabResult, LabError> {
    let path = out.join(RESULT);
    let bytes = files::read(&path, MAX_RESULT)?;
    let result = result_from_bytes(&path, &bytes)?;
    report::write(&result, &out.join(REPORT))?;
    Ok(result)
}

/// A `result.json` of the lab; `path` is for messages.
pub fn result_from_bytes(path: &Path, bytes: &[u8]) -> Result<LabResult, LabError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let reason = files::one_line(&error.to_string());
        LabError::Usage(format!("{} is not the result of a lab: {reason}", path.display()))
    })
}
