//! Single pictures before and after an attack.

use crate::attack::{self, Attacker, Method, Target};
use crate::data::{Images, SIZE};
use crate::gpu::{Gpu, Tensor};
use crate::nn::Network;
use crate::ood::scores;

use super::super::LabError;
use super::super::evaluate::{Resident, predictions};
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

/// The whole number that makes a perturbation of `eps` (pixel units) fill the bytes around grey.
fn factor(eps: f64) -> f64 {
    (127.0 / (255.0 * eps)).floor().clamp(1.0, 127.0)
}

/// Pixels in [0, 1] as the nearest bytes.
fn bytes(pixels: &[f32]) -> Vec<u8> {
    pixels.iter().map(|pixel| (255.0 * pixel).round() as u8).collect()
}

/// What the model says of pictures `moved` [N, 3, 32, 32], which an attack of `eps` (pixel units) made from `clean`,
/// of which it says `logits`.
pub fn portraits(
    gpu: &Gpu,
    network: &Network,
    (clean, logits): (&Tensor, &[f32]),
    moved: &Tensor,
    eps: f64,
) -> Result<Vec<Portrait>, LabError> {
    let count = clean.dims()[0];
    let classes = logits.len() / count;
    let after = attack::logits(gpu, network, moved)?;
    let says = |logits: &[f32]| -> Vec<(usize, f64)> {
        let sure = logits.chunks_exact(classes).map(scores::max_softmax);
        predictions(logits, classes).into_iter().zip(sure).collect()
    };
    let (before, after) = (says(logits), says(&after));
    let (clean, moved) = (gpu.read(clean)?, gpu.read(moved)?);
    let factor = factor(eps);
    let pairs = clean.chunks_exact(SIZE).zip(moved.chunks_exact(SIZE)).zip(before.into_iter().zip(after));
    Ok(pairs
        .map(|((clean, moved), (before, after))| {
            let shade = |(a, b): (&f32, &f32)| 128.0 + factor * 255.0 * (f64::from(*b) - f64::from(*a));
            // A float becomes the nearest byte that there is.
            let perturbation = clean.iter().zip(moved).map(|pair| shade(pair).round() as u8).collect();
            Portrait {
                clean: Picture(bytes(clean)),
                perturbation: Picture(perturbation),
                factor,
                adversarial: Picture(bytes(moved)),
                predicted: [before, after],
            }
        })
        .collect())
}

/// FGSM on the chosen pictures of a set at the plan's shown epsilon, untargeted and towards the next class.
pub(super) fn victims(
    gpu: &Gpu,
    network: &Network,
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
    let mut victims = Vec::new();
    for target in [Target::Untargeted, Target::Next] {
        let wanted = batch.wanted(target)?;
        let moved = batch.attack(Method::Fgsm, target, plan.shown_eps)?;
        let portraits = portraits(gpu, network, (&x, batch.logits()), &moved, eps)?;
        for (((portrait, &index), &label), wanted) in portraits.into_iter().zip(chosen).zip(&picked.labels).zip(wanted)
        {
            let [clean, adversarial] = portrait.predicted;
            victims.push(Victim {
                index,
                label: usize::from(label),
                eps,
                target: (target != Target::Untargeted).then_some(wanted),
                clean: portrait.clean,
                perturbation: portrait.perturbation,
                factor: portrait.factor,
                adversarial: portrait.adversarial,
                predicted_clean: clean.0,
                confidence_clean: clean.1,
                predicted_adversarial: adversarial.0,
                confidence_adversarial: adversarial.1,
            });
        }
    }
    Ok(victims)
}
