//! The result in the order in which the report speaks of it: models by variant, scores by name, attacks by epsilon.

use std::collections::BTreeMap;

use crate::lab::axis::in_255ths;
use crate::lab::results::{Attacks, ByEps, Classifier, LabResult, Variant};
use crate::ood::scores::Score;

use crate::lab::seeds::Summary;

/// All seeds of one variant.
pub(super) struct Group<'a> {
    pub(super) variant: &'a Variant,
    /// Its colour in every chart.
    pub(super) class: String,
    pub(super) runs: Vec<&'a Classifier>,
    pub(super) accuracy: Summary,
    /// AUROC by score name, for the scores that its models have.
    pub(super) auroc: BTreeMap<&'a str, Summary>,
}

impl Group<'_> {
    pub(super) fn epochs(&self) -> u32 {
        self.runs.iter().filter_map(|run| run.epochs.last()).map(|epoch| epoch.epoch).max().unwrap_or(0)
    }

    /// Whether one seed is all there is.
    pub(super) fn is_single(&self) -> bool {
        self.runs.len() < 2
    }
}

/// The variants in the order in which their models stand, baseline first.
pub(super) fn groups(result: &LabResult) -> Vec<Group<'_>> {
    let mut variants: Vec<&Variant> = Vec::new();
    for classifier in &result.classifiers {
        if !variants.contains(&&classifier.variant) {
            variants.push(&classifier.variant);
        }
    }
    let mut all = Vec::new();
    for (at, variant) in variants.into_iter().enumerate() {
        let runs: Vec<_> = result.classifiers.iter().filter(|run| run.variant == *variant).collect();
        let Some(accuracy) = Summary::of(runs.iter().map(|run| run.test_accuracy).collect()) else { continue };
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, facts) in runs.iter().flat_map(|run| &run.detection.scores) {
            values.entry(name).or_default().push(facts.metrics.auroc);
        }
        let auroc = values.into_iter().filter_map(|(name, values)| Some((name, Summary::of(values)?))).collect();
        all.push(Group { variant, class: class(at), runs, accuracy, auroc });
    }
    all
}

/// The colour of the `at`-th series.
pub(super) fn class(at: usize) -> String {
    format!("s{}", at % 6)
}

/// Names of the classifiers' scores: the house's order first, then whatever else there is.
pub(super) fn score_names(result: &LabResult) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let there = || result.classifiers.iter().flat_map(|run| run.detection.scores.keys()).map(String::as_str);
    for score in Score::ALL {
        names.extend(there().find(|&name| name == score.name()));
    }
    for name in there() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A score's name in a sentence.
pub(super) fn score_label(name: &str) -> String {
    match name {
        "neg_mse" => "reconstruction error".to_owned(),
        _ => name.replace('_', " "),
    }
}

/// What an axis says under the values of a score.
pub(super) fn score_axis(name: &str) -> String {
    Score::ALL.into_iter().find(|score| score.name() == name).map_or_else(|| score_label(name), |s| s.axis().to_owned())
}

/// The attack at another attack's epsilon.
pub(super) fn same_eps(attacks: &Attacks, eps: f64) -> Option<&ByEps> {
    attacks.by_eps.iter().find(|at| (in_255ths(at.eps) - in_255ths(eps)).abs() < 1e-3)
}

/// The attack at the epsilon that the report shows, or at the largest if that was not run.
pub(super) fn shown(attacks: &Attacks, shown_eps: f64) -> Option<&ByEps> {
    let exact = attacks.by_eps.iter().find(|at| (in_255ths(at.eps) - shown_eps).abs() < 1e-3);
    exact.or_else(|| attacks.by_eps.iter().max_by(|a, b| a.eps.total_cmp(&b.eps)))
}

/// A class's name, or its number where it has none.
pub(super) fn class_name(classes: &[String], at: usize) -> String {
    classes.get(at).map_or_else(|| at.to_string(), Clone::clone)
}
