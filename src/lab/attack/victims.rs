//! Single pictures before and after an attack.

use crate::attack::{Attacker, Method, Target};
use crate::data::{Images, SIZE};
use crate::gpu::Gpu;
use crate::ood::scores;

use super::super::LabError;
use super::super::evaluate::{Resident, argmax};
use super::super::results::{Picture, Victim};
use super::Plan;

/// A picture before and after, and what the model says of both.
#[derive(Clone, Debug)]
pub struct Portrait {
    pub clean: Picture,
    /// 128 + factor x perturbation, in bytes.
    pub perturbation: Picture,
    pub factor: f64,
    pub adversarial: Picture,
    /// Class and softmax probability of the prediction, before and after.
    pub predicted: [(usize, f64); 2],
}

/// The whole number that makes a perturbation of at most `largest` (pixel units) fill the bytes around grey.
fn factor(largest: f64) -> f64 {
    // Rounding makes some perturbations a little larger than their epsilon.
    (127.0 / (255.0 * largest) + 1e-3).floor().clamp(1.0, 127.0)
}

/// Pixels in [0, 1] as the nearest bytes.
fn bytes(pixels: &[f32]) -> Vec<u8> {
    pixels.iter().map(|pixel| (255.0 * pixel).round() as u8).collect()
}

/// One picture (pixels in [0, 1]) that an attack moved, and the model's logits of both.
pub(super) fn portrait(pixels: [&[f32]; 2], logits: [&[f32]; 2]) -> Portrait {
    let [clean, moved] = pixels;
    let change = |(a, b): (&f32, &f32)| (f64::from(*b) - f64::from(*a)).abs();
    let factor = factor(clean.iter().zip(moved).map(change).fold(0.0, f64::max));
    let shade = |(a, b): (&f32, &f32)| 128.0 + factor * 255.0 * (f64::from(*b) - f64::from(*a));
    Portrait {
        clean: Picture(bytes(clean)),
        // A float becomes the nearest byte that there is.
        perturbation: Picture(clean.iter().zip(moved).map(|pair| shade(pair).round() as u8).collect()),
        factor,
        adversarial: Picture(bytes(moved)),
        predicted: logits.map(|row| (argmax(row), scores::max_softmax(row))),
    }
}

/// FGSM on the chosen pictures of a set at the plan's shown epsilon, untargeted and towards the next class.
pub(super) fn victims(
    gpu: &Gpu,
    attacker: &Attacker<'_>,
    images: &Images,
    chosen: &[usize],
    plan: &Plan,
) -> Result<Vec<Victim>, LabError> {
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let picked = Images {
        bytes: chosen.iter().flat_map(|&at| &images.bytes[at * SIZE..(at + 1) * SIZE]).copied().collect(),
        labels: chosen.iter().map(|&at| images.labels[at]).collect(),
    };
    let x = Resident::new(gpu, &picked)?.pixels(gpu, 0, picked.count())?;
    let batch = attacker.batch(&x, &picked.labels, 0)?;
    let eps = plan.convention.in_pixels(plan.shown_eps);
    let clean = gpu.read(&x)?;
    let mut victims = Vec::new();
    for target in [Target::Untargeted, Target::Next] {
        let wanted = batch.wanted(target)?;
        let moved = batch.attack(Method::Fgsm, target, plan.shown_eps)?;
        let after = batch.logits_of(&moved)?;
        let moved = gpu.read(&moved)?;
        for (number, (&index, wanted)) in chosen.iter().zip(wanted).enumerate() {
            let pixels = [&clean, &moved].map(|all| &all[number * SIZE..(number + 1) * SIZE]);
            let classes = batch.classes();
            let logits = [batch.logits(), &after].map(|all| &all[number * classes..(number + 1) * classes]);
            let portrait = portrait(pixels, logits);
            let [before, after] = portrait.predicted;
            victims.push(Victim {
                index,
                label: usize::from(picked.labels[number]),
                eps,
                target: (target != Target::Untargeted).then_some(wanted),
                clean: portrait.clean,
                perturbation: portrait.perturbation,
                factor: portrait.factor,
                adversarial: portrait.adversarial,
                predicted_clean: before.0,
                confidence_clean: before.1,
                predicted_adversarial: after.0,
                confidence_adversarial: after.1,
            });
        }
    }
    Ok(victims)
}
