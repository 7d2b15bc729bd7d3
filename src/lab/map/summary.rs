//! A map's numbers as tables: every cell's, and their means over seeds with 95 % intervals.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files;
use crate::lab::LabError;
use crate::lab::axis::in_255ths;
use crate::lab::seeds::{Summary, Verdict, difference};

use super::merge::Merged;
use super::plan::{Map, NONE};
use super::record::{CellResult, Detected, Measured};

/// One number of a model, a defence, an epsilon and an epoch, over seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub model: String,
    pub defence: String,
    /// In pixel units; none for `none`, and for a mean over all of a defence's epsilons.
    pub eps: Option<f64>,
    pub epoch: u32,
    /// What it is of: `clean_accuracy`, `fgsm_accuracy`, `pgd_accuracy`, `auroc`, `fpr95_id`, `auroc_minus_none` (the
    /// difference to the defence `none`), or `auroc_minus_none_over_eps` (the same of each seed's mean over epsilons).
    pub quantity: String,
    /// Of accuracies under attack.
    pub attack_eps: Option<f64>,
    /// Of detection.
    pub ood: Option<String>,
    pub score: Option<String>,
    pub seeds: usize,
    /// Seeds that had diverged by then, and have no part in this.
    #[serde(default)]
    pub diverged: usize,
    pub mean: f64,
    /// The sample's; none for one seed, as are the ends of the interval.
    pub deviation: Option<f64>,
    pub low95: Option<f64>,
    pub high95: Option<f64>,
    /// For differences: `higher`, `lower`, or what keeps that from being said.
    pub verdict: Option<String>,
}

/// The models of one defence at one epsilon.
struct Group<'a> {
    model: &'a str,
    defence: &'a str,
    eps: Option<f64>,
    cells: Vec<&'a CellResult>,
}

impl Group<'_> {
    fn line(&self, epoch: u32, quantity: &str) -> Line {
        Line {
            model: self.model.to_owned(),
            defence: self.defence.to_owned(),
            eps: self.eps,
            epoch,
            quantity: quantity.to_owned(),
            diverged: self.lost(epoch).count(),
            ..Line::default()
        }
    }

    /// Seeds that diverged before an epoch's measuring.
    fn lost(&self, epoch: u32) -> impl Iterator<Item = u64> {
        let is = move |result: &&&CellResult| result.diverged.is_some() && result.at(epoch).is_none();
        self.cells.iter().filter(is).map(|result| result.cell.seed)
    }

    /// What `pick` finds after an epoch, seed by seed.
    fn values(&self, epoch: u32, pick: impl Fn(&Measured) -> Option<f64>) -> Vec<(u64, f64)> {
        self.cells.iter().filter_map(|result| Some((result.cell.seed, pick(result.at(epoch)?)?))).collect()
    }
}

/// The numbers of seeds, without these.
fn plain(values: &[(u64, f64)]) -> Vec<f64> {
    values.iter().map(|&(_, value)| value).collect()
}

fn with_interval(line: Line, values: Vec<f64>) -> Option<Line> {
    let summary = Summary::of(values)?;
    let interval = summary.interval();
    Some(Line {
        seeds: summary.values.len(),
        mean: summary.mean,
        deviation: summary.deviation,
        low95: interval.map(|ends| ends.0),
        high95: interval.map(|ends| ends.1),
        ..line
    })
}

/// A difference of means, where both sides have a value.
fn minus(line: Line, ours: Vec<f64>, base: Vec<f64>) -> Option<Line> {
    let (ours, base) = (Summary::of(ours)?, Summary::of(base)?);
    let found = difference(&ours, &base);
    let verdict = found.map_or(Verdict::OneSeed, |(middle, half)| Verdict::from_interval(middle, half));
    Some(Line {
        seeds: ours.values.len(),
        mean: ours.mean - base.mean,
        low95: found.map(|(middle, half)| middle - half),
        high95: found.map(|(middle, half)| middle + half),
        verdict: Some(verdict.words().to_owned()),
        ..line
    })
}

fn detected<'m>(measured: &'m Measured, ood: &str, score: &str) -> Option<&'m Detected> {
    measured.detection.iter().find(|one| one.ood == ood && one.score == score)
}

fn auroc(measured: &Measured, ood: &str, score: &str) -> Option<f64> {
    detected(measured, ood, score).map(|one| one.metrics.auroc)
}

/// Every mean and every difference, model by model and defence by defence.
pub(super) fn lines(map: &Map, cells: &[CellResult]) -> Vec<Line> {
    let mut lines = Vec::new();
    for model in &map.plan.models {
        let groups = groups(map, cells, model);
        let base = groups.iter().find(|group| group.defence == NONE);
        for group in &groups {
            for &epoch in &map.plan.epochs {
                accuracies(map, group, epoch, &mut lines);
                for (ood, score) in pairs(map) {
                    let about = |line: Line| Line { ood: Some(ood.to_owned()), score: Some(score.to_owned()), ..line };
                    let values = group.values(epoch, |measured| auroc(measured, ood, score));
                    lines.extend(with_interval(about(group.line(epoch, "auroc")), plain(&values)));
                    let fpr95 = group.values(epoch, |measured| Some(detected(measured, ood, score)?.metrics.fpr95_id));
                    lines.extend(with_interval(about(group.line(epoch, "fpr95_id")), plain(&fpr95)));
                    if let Some(base) = base.filter(|_| group.defence != NONE) {
                        let theirs = base.values(epoch, |measured| auroc(measured, ood, score));
                        let line = about(group.line(epoch, "auroc_minus_none"));
                        lines.extend(minus(line, plain(&values), plain(&theirs)));
                    }
                }
            }
        }
        for defence in map.plan.defences.iter().filter(|defence| *defence != NONE) {
            let of: Vec<&Group<'_>> = groups.iter().filter(|group| group.defence == defence).collect();
            for (&epoch, (ood, score)) in
                map.plan.epochs.iter().flat_map(|epoch| pairs(map).map(move |pair| (epoch, pair)))
            {
                let Some(base) = base else { continue };
                let pick = |measured: &Measured| auroc(measured, ood, score);
                let lost: BTreeSet<u64> = of.iter().flat_map(|group| group.lost(epoch)).collect();
                let line = Line {
                    model: model.clone(),
                    defence: defence.clone(),
                    epoch,
                    quantity: "auroc_minus_none_over_eps".to_owned(),
                    ood: Some(ood.to_owned()),
                    score: Some(score.to_owned()),
                    diverged: lost.len(),
                    ..Line::default()
                };
                let means = over_eps(&of, map.plan.eps.len(), epoch, pick);
                lines.extend(minus(line, means, plain(&base.values(epoch, pick))));
            }
        }
    }
    lines
}

/// Each seed's mean over all epsilons of a defence; a seed that lacks one says nothing.
fn over_eps(groups: &[&Group<'_>], all: usize, epoch: u32, pick: impl Fn(&Measured) -> Option<f64> + Copy) -> Vec<f64> {
    let found: Vec<(u64, f64)> = groups.iter().flat_map(|group| group.values(epoch, pick)).collect();
    let mut seeds: Vec<u64> = found.iter().map(|&(seed, _)| seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mean = |seed: u64| {
        let values: Vec<f64> = found.iter().filter(|one| one.0 == seed).map(|one| one.1).collect();
        (values.len() == all).then(|| values.iter().sum::<f64>() / all as f64)
    };
    seeds.into_iter().filter_map(mean).collect()
}

fn accuracies(map: &Map, group: &Group<'_>, epoch: u32, lines: &mut Vec<Line>) {
    let clean = group.values(epoch, |measured| Some(measured.clean_accuracy));
    lines.extend(with_interval(group.line(epoch, "clean_accuracy"), plain(&clean)));
    for (at, &eps) in map.plan.attack_eps.iter().enumerate() {
        let fgsm = group.values(epoch, |measured| Some(measured.attacked.get(at)?.fgsm_accuracy));
        let pgd = group.values(epoch, |measured| Some(measured.attacked.get(at)?.pgd_accuracy));
        for (quantity, values) in [("fgsm_accuracy", fgsm), ("pgd_accuracy", pgd)] {
            let line = Line { attack_eps: Some(eps), ..group.line(epoch, quantity) };
            lines.extend(with_interval(line, plain(&values)));
        }
    }
}

/// Every set of other pictures with every score.
fn pairs(map: &Map) -> impl Iterator<Item = (&str, &str)> {
    let scores = &map.plan.scores;
    map.pictures.ood.iter().flat_map(move |ood| scores.iter().map(move |score| (ood.name.as_str(), score.as_str())))
}

/// The cells of a model, those that differ only by their seed together.
fn groups<'a>(map: &'a Map, cells: &'a [CellResult], model: &'a str) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    for defence in &map.plan.defences {
        for eps in map.plan.strengths(defence) {
            let is = |result: &&CellResult| {
                let cell = &result.cell;
                cell.model == model && cell.defence == *defence && cell.eps == eps
            };
            groups.push(Group { model, defence, eps, cells: cells.iter().filter(is).collect() });
        }
    }
    groups
}

/// A field of a table; a name may hold anything.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Multiples of 1/255.
fn k255(eps: Option<f64>) -> String {
    number(eps.map(in_255ths))
}

/// A row for every cell, epoch, set of other pictures and score; epsilons are multiples of 1/255.
pub(super) fn write_cells(merged: &Merged, path: &Path) -> Result<(), LabError> {
    let map = &merged.map;
    let mut text = "cell,model,defence,eps_255,seed,epoch,train_loss,alarm,clean_accuracy".to_owned();
    for &eps in &map.plan.attack_eps {
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, ",fgsm_accuracy_{0},pgd_accuracy_{0}", in_255ths(eps));
    }
    text.push_str(",ood,score,auroc,aupr_in,aupr_out,fpr95_id,fpr95_ood,detection_error\n");
    for result in &merged.cells {
        let cell = &result.cell;
        for measured in &result.measured {
            let training = result.training.iter().find(|epoch| epoch.epoch == measured.epoch);
            let mut start = format!(
                "{},{},{},{},{},{},{},{},{}",
                field(&cell.name),
                field(&cell.model),
                field(&cell.defence),
                k255(cell.eps),
                cell.seed,
                measured.epoch,
                number(training.map(|epoch| epoch.train_loss)),
                training.is_some_and(|epoch| epoch.alarm),
                measured.clean_accuracy
            );
            for attacked in &measured.attacked {
                let _ = write!(start, ",{},{}", attacked.fgsm_accuracy, attacked.pgd_accuracy);
            }
            for Detected { ood, score, metrics: m } in &measured.detection {
                let _ = writeln!(
                    text,
                    "{start},{},{},{},{},{},{},{},{}",
                    field(ood),
                    field(score),
                    m.auroc,
                    m.aupr_in,
                    m.aupr_out,
                    m.fpr95_id,
                    m.fpr95_ood,
                    m.detection_error
                );
            }
        }
    }
    Ok(files::write(path, text.as_bytes())?)
}

/// A row for every line of the summary.
pub(super) fn write_summary(merged: &Merged, path: &Path) -> Result<(), LabError> {
    let mut text = "model,defence,eps_255,epoch,quantity,attack_eps_255,ood,score,seeds,mean,deviation,low95,high95,\
                    verdict,diverged\n"
        .to_owned();
    for line in &merged.summary {
        let of = |text: &Option<String>| text.as_deref().map(field).unwrap_or_default();
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            field(&line.model),
            field(&line.defence),
            k255(line.eps),
            line.epoch,
            line.quantity,
            k255(line.attack_eps),
            of(&line.ood),
            of(&line.score),
            line.seeds,
            line.mean,
            number(line.deviation),
            number(line.low95),
            number(line.high95),
            of(&line.verdict),
            line.diverged
        );
    }
    Ok(files::write(path, text.as_bytes())?)
}
