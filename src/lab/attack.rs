//! Attacks on whole test sets: how often they succeed, at which epsilon, towards which class, and some of the victims.

mod kind;
mod picture;
mod single;
mod victims;

use crate::attack::{Attacker, Batch, Convention, Method, Pgd, Target};
use crate::data::Images;
use crate::gpu::{Gpu, Tensor};
use crate::nn::Network;

use super::LabError;
use super::evaluate::{BATCH, Resident, predictions};
use super::results::{Attacks, ByEps, Variant};

pub use kind::{Kind, Notes, Settings};
pub use picture::{OnePicture, PictureAtEps, one_picture};
pub use single::{AtEps, OneMethod, Outcome, run};
pub use victims::Portrait;

/// What the lab wants to know of one model under attack. Epsilon is in the convention's units, on [0, 1].
#[derive(Clone, Debug)]
pub struct Plan {
    /// FGSM, untargeted and towards (label + 1) mod classes, at each of these.
    pub eps: Vec<f64>,
    /// Of the table of targets and of the victims.
    pub shown_eps: f64,
    /// Beside FGSM, untargeted, at each epsilon.
    pub pgd: Option<Pgd>,
    /// The first so many pictures are attacked with PGD, and the first so many make the table of targets.
    pub pgd_images: usize,
    pub table_images: usize,
    /// Victims of each kind, untargeted and towards the next class: at most one a class.
    pub victims: usize,
    pub convention: Convention,
}

impl Plan {
    /// Everything on all pictures, by our convention, with ten steps of PGD.
    pub fn new(eps: Vec<f64>, shown_eps: f64) -> Self {
        Self {
            eps,
            shown_eps,
            pgd: Some(Pgd::new(10)),
            pgd_images: usize::MAX,
            table_images: usize::MAX,
            victims: 10,
            convention: Convention::Pixels,
        }
    }

    /// Pictures to attack in all, each time with a gradient of its own or one of its own epsilon.
    fn work(&self, images: usize, classes: usize) -> usize {
        let pgd = self.pgd.map_or(0, |pgd| pgd.steps as usize * images.min(self.pgd_images));
        self.eps.len() * (2 * images + pgd) + classes * images.min(self.table_images)
    }
}

/// What became of pictures under one attack.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    images: usize,
    /// Classified correctly before, and after.
    before: usize,
    after: usize,
    /// Of those correct before: no longer correct.
    fooled: usize,
    /// Of those correct before: another class was wanted, and the attack made them that class.
    aimed: usize,
    hit: usize,
}

impl Tally {
    /// `predicted`: before and after.
    pub(super) fn add(&mut self, labels: &[u8], wanted: &[usize], predicted: [&[usize]; 2]) {
        for (((&label, &wanted), &before), &after) in labels.iter().zip(wanted).zip(predicted[0]).zip(predicted[1]) {
            let label = usize::from(label);
            self.images += 1;
            self.before += usize::from(before == label);
            self.after += usize::from(after == label);
            if before == label {
                self.fooled += usize::from(after != label);
                self.aimed += usize::from(wanted != label);
                self.hit += usize::from(wanted != label && after == wanted);
            }
        }
    }

    pub(super) fn clean_accuracy(&self) -> f64 {
        share(self.before, self.images)
    }

    pub(super) fn accuracy(&self) -> f64 {
        share(self.after, self.images)
    }

    /// Share of the correctly classified pictures that became wrong, or the class wanted.
    pub(super) fn success(&self, targeted: bool) -> f64 {
        if targeted { share(self.hit, self.aimed) } else { share(self.fooled, self.before) }
    }
}

/// A share; of nothing, 0.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A batch under attack and its place in the set.
pub(super) struct Place<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) first: usize,
    pub(super) labels: &'a [u8],
    /// Of the clean pictures.
    pub(super) predicted: Vec<usize>,
}

impl Place<'_> {
    /// What the model makes of the attacked pictures.
    pub(super) fn after(&self, moved: &Tensor) -> Result<Vec<usize>, LabError> {
        Ok(predictions(&self.batch.logits_of(moved)?, self.batch.classes()))
    }
}

/// Puts the first `limit` pictures under attack, batch by batch.
pub(super) fn each_batch(
    gpu: &Gpu,
    attacker: &Attacker<'_>,
    images: &Images,
    data: &Resident,
    limit: usize,
    mut visit: impl FnMut(&Place<'_>) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let count = images.count().min(limit);
    for first in (0..count).step_by(BATCH) {
        let labels = &images.labels[first..count.min(first + BATCH)];
        let batch = attacker.batch(&data.pixels(gpu, first, labels.len())?, labels, first)?;
        let predicted = predictions(batch.logits(), batch.classes());
        visit(&Place { batch: &batch, first, labels, predicted })?;
    }
    Ok(())
}

/// Accuracy under one untargeted attack at `eps` (pixel units) on the first `limit` pictures of a set.
pub(super) fn accuracy_under(
    gpu: &Gpu,
    network: &Network,
    (images, data, limit): (&Images, &Resident, usize),
    (method, eps, seed): (Method, f64, u64),
) -> Result<f64, LabError> {
    let attacker = Attacker::new(gpu, network, Convention::Pixels, seed)?;
    let mut tally = Tally::default();
    each_batch(gpu, &attacker, images, data, limit, |place| {
        let moved = place.batch.attack(method, Target::Untargeted, eps)?;
        let wanted = place.batch.wanted(Target::Untargeted)?;
        tally.add(place.labels, &wanted, [&place.predicted, &place.after(&moved)?]);
        Ok(())
    })?;
    attacker.finish()?;
    Ok(tally.accuracy())
}

/// Notes the first picture of each class that is classified correctly; which of this batch those are.
fn note_first(first_correct: &mut [Option<usize>], place: &Place<'_>) -> Vec<usize> {
    let mut fresh = Vec::new();
    for (number, (&label, &predicted)) in place.labels.iter().zip(&place.predicted).enumerate() {
        let label = usize::from(label);
        if predicted == label
            && let Some(slot @ None) = first_correct.get_mut(label)
        {
            *slot = Some(place.first + number);
            fresh.push(number);
        }
    }
    fresh
}

/// Attacks a classifier with everything in the plan. `seen` is told how much of the work is done, and of how much.
///
/// The epsilons in the result are in pixel units whatever the convention: the lab's 2/255 is found at 1/255.
/// Victims are, for each class in order, the first picture of the set that is classified correctly, whether the attack
/// then succeeds or not: first all untargeted ones, then the same pictures towards the next class.
///
/// # Errors
/// An autoencoder, an empty set, a label that is no class of the model, or an attack that breaks one of its promises.
pub fn attacks(
    gpu: &Gpu,
    network: &Network,
    images: &Images,
    classes: usize,
    (variant, seed): (&Variant, u64),
    plan: &Plan,
    mut seen: impl FnMut(usize, usize),
) -> Result<Attacks, LabError> {
    if images.count() == 0 {
        return Err(LabError::Usage("an attack needs at least one picture".to_owned()));
    }
    let data = Resident::new(gpu, images)?;
    let attacker = Attacker::new(gpu, network, plan.convention, seed)?;
    let (mut done, work) = (0, plan.work(images.count(), classes));
    let mut report = |more: usize| {
        done += more;
        seen(done, work);
    };
    let nothing = vec![Tally::default(); plan.eps.len()];
    let (mut untargeted, mut targeted, mut by_pgd) = (nothing.clone(), nothing.clone(), nothing);
    let mut first_correct = vec![None; classes];

    each_batch(gpu, &attacker, images, &data, usize::MAX, |place| {
        note_first(&mut first_correct, place);
        for (target, tallies) in [(Target::Untargeted, &mut untargeted), (Target::Next, &mut targeted)] {
            let (wanted, aim) = (place.batch.wanted(target)?, place.batch.aim(target)?);
            let gradient = place.batch.gradient(&aim)?;
            for (&eps, tally) in plan.eps.iter().zip(tallies) {
                let moved = place.batch.fgsm(&aim, &gradient, eps)?;
                tally.add(place.labels, &wanted, [&place.predicted, &place.after(&moved)?]);
                report(place.labels.len());
            }
        }
        Ok(())
    })?;
    if let Some(pgd) = plan.pgd {
        each_batch(gpu, &attacker, images, &data, plan.pgd_images, |place| {
            let (wanted, aim) = (place.batch.wanted(Target::Untargeted)?, place.batch.aim(Target::Untargeted)?);
            for (&eps, tally) in plan.eps.iter().zip(&mut by_pgd) {
                let moved = place.batch.pgd(&aim, eps, pgd)?;
                tally.add(place.labels, &wanted, [&place.predicted, &place.after(&moved)?]);
                report(place.labels.len() * pgd.steps as usize);
            }
            Ok(())
        })?;
    }
    let shown = (Method::Fgsm, plan.shown_eps, classes);
    let targets = table(gpu, &attacker, (images, &data, plan.table_images), shown, &mut report)?;
    let chosen: Vec<usize> = first_correct.into_iter().flatten().take(plan.victims).collect();
    let victims = victims::victims(gpu, &attacker, images, &chosen, plan)?;
    attacker.finish()?;

    let by_eps = plan.eps.iter().enumerate().map(|(at, &eps)| ByEps {
        eps: plan.convention.in_pixels(eps),
        accuracy: untargeted[at].accuracy(),
        success: untargeted[at].success(false),
        targeted_success: targeted[at].success(true),
        pgd_accuracy: (by_pgd[at].images > 0).then(|| by_pgd[at].accuracy()),
    });
    Ok(Attacks {
        variant: variant.clone(),
        seed,
        images: images.count(),
        pgd_images: by_pgd.first().map_or(0, |tally| tally.images),
        table_images: images.count().min(plan.table_images),
        convention: plan.convention.name().to_owned(),
        clean_accuracy: untargeted.first().map_or(0.0, Tally::clean_accuracy),
        by_eps: by_eps.collect(),
        targets,
        victims,
    })
}

/// An attack at one epsilon towards every class: row: label, column: target, share of the correctly classified
/// pictures of that label that become the target. Nothing on the diagonal, nor in the row of a label that has none.
fn table(
    gpu: &Gpu,
    attacker: &Attacker<'_>,
    (images, data, limit): (&Images, &Resident, usize),
    (method, eps, classes): (Method, f64, usize),
    report: &mut impl FnMut(usize),
) -> Result<Vec<Vec<Option<f64>>>, LabError> {
    // Column by column, as the attacks come: hits, and pictures that could be hit.
    let mut columns = vec![vec![[0usize; 2]; classes]; classes];
    each_batch(gpu, attacker, images, data, limit, |place| {
        for (target, column) in columns.iter_mut().enumerate() {
            let moved = place.batch.attack(method, Target::Class(target), eps)?;
            let after = place.after(&moved)?;
            for ((&label, &before), &after) in place.labels.iter().zip(&place.predicted).zip(&after) {
                let label = usize::from(label);
                if before == label
                    && label != target
                    && let Some([hit, all]) = column.get_mut(label)
                {
                    *hit += usize::from(after == target);
                    *all += 1;
                }
            }
            report(place.labels.len());
        }
        Ok(())
    })?;
    let cell = |[hit, all]: [usize; 2]| (all > 0).then(|| share(hit, all));
    let row = |label: usize| columns.iter().map(|column| cell(column[label])).collect();
    Ok((0..classes).map(row).collect())
}
