//! What a map finds, in sentences. Every one is made from the numbers: nothing here knows what will come out.

use std::collections::BTreeMap;

use crate::data::shown_name;
use crate::lab::axis::{in_255ths, signed};

use super::merge::Merged;
use super::plan::NONE;
use super::record::CellResult;
use super::summary::Line;

/// Runs that are written out in a sentence.
pub(in crate::lab) const NAMED: usize = 12;

/// `A`, `A and B`, `A, B and C`.
fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The sentences, the answer to the lab's question first: set by set, by the map's first score.
pub fn conclusions(merged: &Merged) -> Vec<String> {
    let mut said = Vec::new();
    let plan = &merged.map.plan;
    let (Some(&last), Some(score)) = (plan.epochs.last(), plan.scores.first()) else { return said };
    for model in &plan.models {
        said.extend(merged.map.pictures.ood.iter().filter_map(|ood| answer(merged, model, last, (&ood.name, score))));
        said.extend(tally(merged, model, last));
    }
    said.extend(alarms(merged));
    said.extend(diverged(merged));
    said
}

/// Runs that all of this is without, from some step on.
fn diverged(merged: &Merged) -> Option<String> {
    let at = |result: &CellResult| Some(format!("{} (after step {})", result.cell.name, result.diverged?));
    let mut runs: Vec<String> = merged.cells.iter().filter_map(at).collect();
    let (count, all) = (runs.len(), merged.cells.len());
    if count > NAMED {
        runs.truncate(NAMED);
        runs.push(format!("{} more", count - NAMED));
    }
    let which = joined(&runs);
    (count > 0).then(|| format!("{count} of {all} runs diverged, and only what was measured before counts: {which}."))
}

/// How one score tells one set without a defence, and how far each defence lies from that.
fn answer(merged: &Merged, model: &str, last: u32, (ood, score): (&str, &str)) -> Option<String> {
    let of = |quantity: &str| {
        let is = |line: &&Line| {
            line.quantity == quantity
                && line.model == *model
                && line.epoch == last
                && line.ood.as_deref() == Some(ood)
                && line.score.as_deref() == Some(score)
        };
        merged.summary.iter().filter(is).collect::<Vec<_>>()
    };
    let base = of("auroc").into_iter().find(|line| line.defence == NONE)?;
    let defences: Vec<String> = of("auroc_minus_none_over_eps").into_iter().map(difference).collect();
    let rest = if defences.is_empty() { String::new() } else { format!("; mean over ε, {}", defences.join("; ")) };
    Some(format!(
        "{model}, {} on {}, epoch {last}: AUROC {:.3} without a defence ({}{}){rest}.",
        score.replace('_', " "),
        shown_name(ood),
        base.mean,
        between(base, "95 % interval ", |value| signed(value, false), ", "),
        counted(base.seeds, "seed")
    ))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A line's interval between two texts, where it has one.
fn between(line: &Line, before: &str, text: impl Fn(f64) -> String, after: &str) -> String {
    match (line.low95, line.high95) {
        (Some(low), Some(high)) => format!("{before}{} to {}{after}", text(low), text(high)),
        _ => String::new(),
    }
}

/// How a defence, over all its epsilons, stands to none.
fn difference(line: &Line) -> String {
    let interval = between(line, " (", |value| signed(value, true), ")");
    let verdict = match line.verdict.as_deref() {
        Some(way @ ("higher" | "lower")) => way,
        _ if interval.is_empty() => "one seed only, no spread to judge by",
        _ => "not to be told from none with these seeds",
    };
    format!("{} {}{interval}, {verdict}", line.defence, signed(line.mean, true))
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
