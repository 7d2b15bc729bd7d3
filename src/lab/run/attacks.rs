//! The attacks on the first seed's models, and the baseline attacked as the lab did it.

use std::path::Path;

use crate::attack::{Convention, Pgd};
use crate::data::DataSet;
use crate::lab::LabError;
use crate::lab::attack::{self, attacks};
use crate::lab::results::{Attacks, Variant};
use crate::models;

use super::plan::Recipe;
use super::stage::Desk;

/// Steps of PGD.
pub const STEPS: u32 = 10;

/// What is asked of a model under attack. The lab's conventions are for comparing FGSM with the lab's own figures.
fn plan(recipe: &Recipe, convention: Convention) -> attack::Plan {
    let in_pixels = |eps: &f64| eps / 255.0;
    attack::Plan {
        pgd: (convention == Convention::Pixels && recipe.pgd_images > 0).then(|| Pgd::new(STEPS)),
        pgd_images: recipe.pgd_images,
        table_images: recipe.table_images,
        convention,
        ..attack::Plan::new(recipe.plan.attack_eps.iter().map(in_pixels).collect(), in_pixels(&recipe.plan.shown_eps))
    }
}

/// Attacks one model.
pub fn run(
    desk: &mut Desk<'_>,
    recipe: &Recipe,
    weights: &Path,
    (variant, seed): (&Variant, u64),
    convention: Convention,
    data: &DataSet,
) -> Result<Attacks, LabError> {
    let network = models::from_file(desk.gpu, weights, None)?;
    let images = data.test.clone().truncated(recipe.attack_images);
    let plan = plan(recipe, convention);
    let progress = &mut *desk.progress;
    attacks(desk.gpu, &network, &images, data.classes.len(), (variant, seed), &plan, |done, all| {
        progress.at(done as f64 / all as f64, "attacking");
    })
}
