//! The report of a map: what its page is given.

use serde::Serialize;

use crate::data::shown_name;
use crate::lab::axis::{Axis, Unit};
use crate::lab::map::{CellResult, Merged, NAMED, NONE, Pictures, Plan, conclusions};
use crate::lab::seeds::Summary;

use super::charts::{self, Banded, Curve, Curves};
use super::drawing::Drawing;
use super::groups::{class, score_label};
use super::map_book::{Book, Kind, eps_text};
use super::map_charts::{Spot, Value, scatter, surface};
use super::map_tables::{Alarms, Row, Table, differences, overfitting, robust, tables};

/// The page's context.
#[derive(Serialize)]
pub(super) struct Page<'a> {
    version: &'a str,
    title: String,
    plan: &'a Plan,
    pictures: &'a Pictures,
    done: usize,
    all: usize,
    missing: &'a [String],
    adapters: Vec<String>,
    is_software: bool,
    seconds: f64,
    last: u32,
    /// What all defences are compared with.
    base: &'static str,
    /// The first set of other pictures.
    ood: &'a str,
    scores: &'a [String],
    eps: Vec<String>,
    attack_eps: Vec<String>,
    notice: Option<String>,
    findings: Vec<String>,
    differences: Vec<Table<'a>>,
    surfaces: Vec<Surface>,
    tables: Vec<Table<'a>>,
    scatters: Vec<Drawing>,
    robust: Vec<Row>,
    curves: Vec<Drawing>,
    overfitting: Vec<Alarms>,
}

#[derive(Serialize)]
struct Surface {
    title: String,
    charts: Vec<Drawing>,
}

/// How a chart of one defence is called.
fn trained(defence: &str) -> String {
    if defence == NONE { "trained without a defence".to_owned() } else { format!("trained with {defence}") }
}

impl<'a> Page<'a> {
    pub(super) fn new(merged: &'a Merged) -> Self {
        let (plan, pictures) = (&merged.map.plan, &merged.map.pictures);
        let book = Book { merged, plan, last: plan.epochs.last().copied().unwrap_or(0) };
        let mut adapters: Vec<String> = Vec::new();
        for result in &merged.cells {
            let adapter = &result.adapter;
            let name = format!("{} ({}, {})", adapter.name, adapter.device_type, adapter.driver);
            if !adapters.contains(&name) {
                adapters.push(name);
            }
        }
        let texts = |all: &[f64]| all.iter().map(|&eps| eps_text(Some(eps))).collect();
        Self {
            version: &merged.version,
            title: format!("{} on {}", plan.models.join(", "), pictures.data),
            plan,
            pictures,
            done: merged.cells.len(),
            all: merged.cells.len() + merged.missing.len(),
            missing: &merged.missing,
            adapters,
            is_software: merged.cells.iter().any(|result| result.adapter.device_type == "software"),
            seconds: merged.cells.iter().map(|result| result.seconds).sum(),
            last: book.last,
            base: NONE,
            ood: pictures.ood.first().map_or("", |ood| shown_name(&ood.name)),
            scores: &plan.scores,
            eps: texts(&plan.eps),
            attack_eps: texts(&plan.attack_eps),
            notice: notice(merged),
            findings: conclusions(merged),
            differences: differences(&book),
            surfaces: surfaces(&book),
            tables: tables(&book),
            scatters: scatters(&book),
            robust: robust(&book),
            curves: curves(&book),
            overfitting: overfitting(&book),
        }
    }
}

/// What is missing. All of it stands among the conditions.
fn notice(merged: &Merged) -> Option<String> {
    let first = merged.missing.get(..merged.missing.len().min(NAMED)).filter(|first| !first.is_empty())?;
    let all = merged.missing.len() + merged.cells.len();
    let more = merged.missing.len() - first.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "This map is not whole: {} of {all} runs are missing: {}{rest}.",
        merged.missing.len(),
        first.join(", ")
    ))
}

/// A heat map a defence, for every set of other pictures, by the first score.
fn surfaces(book: &Book<'_>) -> Vec<Surface> {
    let Some(score) = book.plan.scores.first() else { return Vec::new() };
    let mut all = Vec::new();
    for (model_at, model) in book.plan.models.iter().enumerate() {
        for (ood_at, ood) in book.merged.map.pictures.ood.iter().enumerate() {
            let charts = book.plan.defences.iter().enumerate().filter_map(|(at, defence)| {
                let rows: Vec<(String, Vec<Option<Value>>)> = book
                    .plan
                    .strengths(defence)
                    .into_iter()
                    .map(|eps| {
                        let value = |epoch: &u32| {
                            let kind = Kind { model, defence, eps };
                            let line = book.detection(kind, *epoch, "auroc", &ood.name, score)?;
                            Some((line.mean, line.high95.map(|high| high - line.mean)))
                        };
                        (eps_text(eps), book.plan.epochs.iter().map(value).collect())
                    })
                    .collect();
                surface(&format!("surface-{model_at}-{ood_at}-{at}"), trained(defence), &book.plan.epochs, &rows)
            });
            let title = format!("{} on {}", score_label(score), shown_name(&ood.name));
            let charts: Vec<Drawing> = charts.collect();
            if !charts.is_empty() {
                all.push(Surface { title: book.titled(model, &title), charts });
            }
        }
    }
    all
}

/// Every run after the last epoch, a chart an epsilon of the attack and a model.
fn scatters(book: &Book<'_>) -> Vec<Drawing> {
    let plan = book.plan;
    let legend: Vec<(String, String)> =
        plan.defences.iter().map(|defence| (book.class(defence), defence.clone())).collect();
    let mut all = Vec::new();
    for (model_at, model) in plan.models.iter().enumerate() {
        for (at, &eps) in plan.attack_eps.iter().enumerate() {
            let spots = book.merged.cells.iter().filter(|result| result.cell.model == *model).filter_map(|result| {
                let (cell, measured) = (&result.cell, result.at(book.last)?);
                let strength =
                    cell.eps.and_then(|eps| plan.eps.iter().position(|&one| one == eps)).map_or(0, |at| at + 1);
                Some(Spot {
                    class: book.class(&cell.defence),
                    name: cell.name.clone(),
                    clean: measured.clean_accuracy,
                    robust: measured.attacked.get(at)?.pgd_accuracy,
                    auroc: measured.detection.first()?.metrics.auroc,
                    strength,
                })
            });
            let eps = eps_text(Some(eps));
            all.extend(scatter(
                &format!("scatter-{model_at}-{at}"),
                book.titled(model, &format!("PGD at {eps}")),
                &format!("accuracy under PGD at {eps}"),
                &legend,
                &spots.collect::<Vec<_>>(),
            ));
        }
    }
    all
}

/// Accuracy under PGD after each epoch of adversarial training, a chart a defence and a line an epsilon.
fn curves(book: &Book<'_>) -> Vec<Drawing> {
    let plan = book.plan;
    let mut all = Vec::new();
    for (model_at, model) in plan.models.iter().enumerate() {
        for (at, defence) in plan.defences.iter().enumerate().filter(|(_, defence)| *defence != NONE) {
            let lines: Vec<Banded> = plan
                .eps
                .iter()
                .enumerate()
                .map(|(strength, &eps)| {
                    let runs = book.runs(Kind { model, defence, eps: Some(eps) });
                    let curve = Curve { class: class(strength + 1), name: eps_text(Some(eps)), points: Vec::new() };
                    over_seeds(Banded { curve, band: Vec::new(), marks: Vec::new() }, &runs)
                })
                .collect();
            let about = Curves {
                key: &format!("curve-{model_at}-{at}"),
                caption: book.titled(model, &trained(defence)),
                x_name: "epoch",
                y_name: "accuracy under PGD",
                unit: Unit::Percent,
                whole: false,
                level: None,
            };
            all.extend(charts::curves(about, Axis::epochs(book.last as usize, 8.0), &lines));
        }
    }
    all
}

fn over_seeds(mut banded: Banded, runs: &[&CellResult]) -> Banded {
    let epochs = runs.iter().map(|run| run.training.len()).max().unwrap_or(0) as u32;
    for epoch in 1..=epochs {
        let at = || runs.iter().flat_map(|run| run.training.iter().find(|one| one.epoch == epoch));
        if let Some(summary) = Summary::of(at().filter_map(|one| one.pgd_accuracy).collect()) {
            banded.curve.points.push((f64::from(epoch), summary.mean));
            banded.band.push((f64::from(epoch), summary.low, summary.high));
        }
        let alarms = at().filter(|one| one.alarm).filter_map(|one| one.pgd_accuracy);
        banded.marks.extend(alarms.map(|accuracy| (f64::from(epoch), accuracy)));
    }
    banded
}
