//! What a map finds, in sentences. Every one is made from the numbers: nothing here knows what will come out.

use std::collections::BTreeMap;

use crate::data::shown_name;

use super::merge::Merged;
use super::plan::{NONE, in_255ths};
use super::summary::{Line, pairs};

/// `A`, `A and B`, `A, B and C`.
fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn signed(value: f64) -> String {
    format!("{value:+.3}").replace('-', "\u{2212}")
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// The sentences, the answer to the lab's question first.
pub fn conclusions(merged: &Merged) -> Vec<String> {
    let mut said = Vec::new();
    let map = &merged.map;
    let (Some(&last), Some((ood, score))) = (map.plan.epochs.last(), pairs(map).next()) else { return said };
    for model in &map.plan.models {
        let is_main = |line: &&Line| {
            line.model == *model
                && line.epoch == last
                && line.ood.as_deref() == Some(ood)
                && line.score.as_deref() == Some(score)
        };
        let of = |quantity: &str| -> Vec<&Line> {
            merged.summary.iter().filter(is_main).filter(|line| line.quantity == quantity).collect()
        };
        if let Some(base) = of("auroc").into_iter().find(|line| line.defence == NONE) {
            said.push(format!(
                "{model} without a defence, epoch {last}: AUROC of {} on {} {:.3}{} over {}.",
                words(score),
                shown_name(ood),
                base.mean,
                between(base, |value| format!("{value:.3}").replace('-', "\u{2212}")),
                counted(base.seeds, "seed")
            ));
        }
        said.extend(of("auroc_minus_none_over_eps").into_iter().map(|line| difference(model, line)));
        said.extend(tally(merged, model, last));
    }
    said.extend(alarms(merged));
    said
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Its interval in brackets, where it has one.
fn between(line: &Line, text: impl Fn(f64) -> String) -> String {
    match (line.low95, line.high95) {
        (Some(low), Some(high)) => format!(" (95 % interval {} to {})", text(low), text(high)),
        _ => String::new(),
    }
}

/// How a defence, over all its epsilons, stands to none.
fn difference(model: &str, line: &Line) -> String {
    let verdict = match line.verdict.as_deref() {
        Some(way @ ("higher" | "lower")) => format!("{way} than without a defence, the interval leaves out 0"),
        Some("one seed only, no spread to judge by") => "one seed only, no spread to judge by".to_owned(),
        _ => "the interval holds 0, so these seeds cannot tell it from no defence".to_owned(),
    };
    format!("{model} with {}, mean over ε: {}{}: {verdict}.", line.defence, signed(line.mean), between(line, signed))
}

/// How many of all comparisons come out which way, and how many would by chance.
fn tally(merged: &Merged, model: &str, last: u32) -> Option<String> {
    let is = |line: &&Line| line.quantity == "auroc_minus_none" && line.epoch == last && line.model == *model;
    let all: Vec<&Line> = merged.summary.iter().filter(is).filter(|line| line.low95.is_some()).collect();
    if all.len() < 2 {
        return None;
    }
    let count = |verdict: &str| all.iter().filter(|line| line.verdict.as_deref() == Some(verdict)).count();
    let (higher, lower) = (count("higher"), count("lower"));
    Some(format!(
        "Of all {} comparisons of {model} with none after epoch {last} (defence, ε, score, other pictures), {higher} lie \
         above 0 with their whole interval, {lower} below, and {} hold it; were there no differences, about {:.0} would \
         leave it out by chance.",
        all.len(),
        all.len() - higher - lower,
        0.05 * all.len() as f64
    ))
}

/// Where catastrophic overfitting set in.
fn alarms(merged: &Merged) -> Option<String> {
    let mut kinds: BTreeMap<(usize, usize, usize), (usize, Vec<u32>)> = BTreeMap::new();
    let plan = &merged.map.plan;
    let place = |names: &[String], name: &str| names.iter().position(|one| one == name);
    for result in merged.cells.iter().filter(|result| result.cell.eps.is_some()) {
        let cell = &result.cell;
        let strength = plan.eps.iter().position(|&eps| Some(eps) == cell.eps);
        let (Some(model), Some(defence), Some(strength)) =
            (place(&plan.models, &cell.model), place(&plan.defences, &cell.defence), strength)
        else {
            continue;
        };
        let (runs, first) = kinds.entry((model, defence, strength)).or_default();
        *runs += 1;
        first.extend(result.alarms().first());
    }
    if kinds.is_empty() {
        return None;
    }
    let with: Vec<String> = kinds
        .iter()
        .filter(|(_, (_, first))| !first.is_empty())
        .map(|(&(model, defence, strength), (runs, first))| {
            let name = if plan.models.len() > 1 { format!("{} ", plan.models[model]) } else { String::new() };
            let eps = in_255ths(plan.eps[strength]);
            let earliest = first.iter().min().copied().unwrap_or(0);
            let defence = &plan.defences[defence];
            format!("{name}{defence} at {eps}/255 in {} of {runs} (first in epoch {earliest})", first.len())
        })
        .collect();
    Some(if with.is_empty() {
        "The alarm of catastrophic overfitting fired in no run.".to_owned()
    } else {
        format!("The alarm of catastrophic overfitting fired for {}.", joined(&with))
    })
}
