//! The report of a map: what its page is given.

use serde::Serialize;

use crate::data::shown_name;
use crate::lab::axis::{Axis, Unit, share};
use crate::lab::map::{CellResult, Line, Merged, NONE, Pictures, Plan, conclusions};
use crate::lab::seeds::Summary;

use super::charts::{self, Banded, Curve, Curves};
use super::drawing::Drawing;
use super::groups::{class, in_255ths, score_label};
use super::map_charts::{Spot, Value, scatter, surface};

/// Names of missing cells that are written out at the top; all of them stand among the conditions.
const NAMED: usize = 12;

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
    notices: Vec<String>,
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
struct Table<'a> {
    ood: &'a str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    model: String,
    defence: String,
    eps: String,
    epoch: u32,
    seeds: usize,
    cells: Vec<Entry>,
}

#[derive(Serialize, Default)]
struct Entry {
    text: String,
    small: String,
    class: &'static str,
}

#[derive(Serialize)]
struct Surface {
    title: String,
    charts: Vec<Drawing>,
}

#[derive(Serialize)]
struct Alarms {
    model: String,
    defence: String,
    eps: String,
    runs: usize,
    alarmed: usize,
    cells: Vec<Entry>,
    epochs: String,
}

fn eps_text(eps: Option<f64>) -> String {
    eps.map_or_else(|| "–".to_owned(), |eps| format!("{}/255", in_255ths(eps)))
}

impl Entry {
    /// A mean as `text` writes it, and its interval.
    fn of(line: Option<&Line>, text: impl Fn(f64) -> String) -> Self {
        let Some(line) = line else { return Self { text: "–".to_owned(), ..Self::default() } };
        let small = match (line.low95, line.high95) {
            (Some(low), Some(high)) => format!("[{}, {}]", text(low), text(high)),
            _ => String::new(),
        };
        Self { text: text(line.mean), small, class: "" }
    }

    /// A share in [0, 1] to three decimals; the ends of an interval may lie outside.
    fn share(line: Option<&Line>) -> Self {
        Self::of(line, |value| if (0.0..=1.0).contains(&value) { share(value, 3) } else { signed(value, false) })
    }

    fn percent(line: Option<&Line>) -> Self {
        Self::of(line, |value| format!("{:.1}", 100.0 * value).replace('-', "\u{2212}"))
    }

    fn difference(line: Option<&Line>) -> Self {
        let class = match line.and_then(|line| line.verdict.as_deref()) {
            Some("higher") => "above",
            Some("lower") => "below",
            _ => "",
        };
        Self { class, ..Self::of(line, |value| signed(value, true)) }
    }
}

/// How a chart of one defence is called.
fn trained(defence: &str) -> String {
    if defence == NONE { "trained without a defence".to_owned() } else { format!("trained with {defence}") }
}

/// Three decimals with a true minus, and a plus where it is wanted.
fn signed(value: f64, plus: bool) -> String {
    let text = if plus { format!("{value:+.3}") } else { format!("{value:.3}") };
    text.replace('-', "\u{2212}")
}

/// One model, defence and epsilon.
#[derive(Clone, Copy)]
struct Kind<'a> {
    model: &'a str,
    defence: &'a str,
    eps: Option<f64>,
}

/// A map and how to look things up in it.
struct Book<'a> {
    merged: &'a Merged,
    plan: &'a Plan,
    last: u32,
}

impl<'a> Book<'a> {
    fn kinds(&self) -> Vec<Kind<'a>> {
        let plan = self.plan;
        let mut kinds = Vec::new();
        for model in &plan.models {
            for defence in &plan.defences {
                kinds.extend(plan.strengths(defence).into_iter().map(|eps| Kind { model, defence, eps }));
            }
        }
        kinds
    }

    fn line(&self, kind: Kind<'_>, epoch: u32, quantity: &str, more: impl Fn(&Line) -> bool) -> Option<&'a Line> {
        self.merged.summary.iter().find(|line| {
            line.model == kind.model
                && line.defence == kind.defence
                && line.eps == kind.eps
                && line.epoch == epoch
                && line.quantity == quantity
                && more(line)
        })
    }

    fn detection(&self, kind: Kind<'_>, epoch: u32, quantity: &str, ood: &str, score: &str) -> Option<&'a Line> {
        self.line(kind, epoch, quantity, |line| {
            line.ood.as_deref() == Some(ood) && line.score.as_deref() == Some(score)
        })
    }

    fn attacked(&self, kind: Kind<'_>, quantity: &str, eps: f64) -> Option<&'a Line> {
        self.line(kind, self.last, quantity, |line| line.attack_eps.map(in_255ths) == Some(in_255ths(eps)))
    }

    fn runs(&self, kind: Kind<'_>) -> Vec<&'a CellResult> {
        let is = |result: &&CellResult| {
            let cell = &result.cell;
            cell.model == kind.model && cell.defence == kind.defence && cell.eps == kind.eps
        };
        self.merged.cells.iter().filter(is).collect()
    }

    fn row(&self, kind: Kind<'_>, epoch: u32, cells: Vec<Entry>) -> Row {
        let seeds = self.runs(kind).iter().filter(|run| run.at(epoch).is_some()).count();
        Row {
            model: kind.model.to_owned(),
            defence: kind.defence.to_owned(),
            eps: eps_text(kind.eps),
            epoch,
            seeds,
            cells,
        }
    }

    /// The defence's colour.
    fn class(&self, defence: &str) -> String {
        class(self.plan.defences.iter().position(|one| one == defence).unwrap_or(0))
    }

    /// Names of models are left out where there is but one.
    fn titled(&self, model: &str, rest: &str) -> String {
        if self.plan.models.len() > 1 { format!("{model}, {rest}") } else { rest.to_owned() }
    }
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
            notices: notices(merged),
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

/// What is missing, and what diverged.
fn notices(merged: &Merged) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(first) = merged.missing.get(..merged.missing.len().min(NAMED)).filter(|first| !first.is_empty()) {
        let all = merged.missing.len() + merged.cells.len();
        let more = merged.missing.len() - first.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        said.push(format!(
            "This map is not whole: {} of {all} runs are missing: {}{rest}.",
            merged.missing.len(),
            first.join(", ")
        ));
    }
    let diverged: Vec<&str> =
        merged.cells.iter().filter(|one| one.diverged.is_some()).map(|one| one.cell.name.as_str()).collect();
    if !diverged.is_empty() {
        said.push(format!("The loss of {} was not finite; what was measured before counts.", diverged.join(", ")));
    }
    said
}

fn differences<'a>(book: &Book<'a>) -> Vec<Table<'a>> {
    let of = |ood: &'a str| {
        let rows = book.kinds().into_iter().filter(|kind| kind.eps.is_some()).filter_map(|kind| {
            let cell = |score: &String| book.detection(kind, book.last, "auroc_minus_none", ood, score);
            let cells: Vec<Option<&Line>> = book.plan.scores.iter().map(cell).collect();
            let any = cells.iter().any(Option::is_some);
            any.then(|| book.row(kind, book.last, cells.into_iter().map(Entry::difference).collect()))
        });
        Table { ood: shown_name(ood), rows: rows.collect() }
    };
    let all = book.merged.map.pictures.ood.iter().map(|ood| of(&ood.name));
    all.filter(|table| !table.rows.is_empty()).collect()
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

fn tables<'a>(book: &Book<'a>) -> Vec<Table<'a>> {
    let of = |ood: &'a str| {
        let mut rows = Vec::new();
        for kind in book.kinds() {
            for &epoch in &book.plan.epochs {
                let Some(clean) = book.line(kind, epoch, "clean_accuracy", |_| true) else { continue };
                let score = |score: &String| Entry::share(book.detection(kind, epoch, "auroc", ood, score));
                let mut cells = vec![Entry::percent(Some(clean))];
                cells.extend(book.plan.scores.iter().map(score));
                rows.push(book.row(kind, epoch, cells));
            }
        }
        Table { ood: shown_name(ood), rows }
    };
    book.merged.map.pictures.ood.iter().map(|ood| of(&ood.name)).collect()
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

fn robust(book: &Book<'_>) -> Vec<Row> {
    let row = |kind: Kind<'_>| {
        let clean = book.line(kind, book.last, "clean_accuracy", |_| true)?;
        let mut cells = vec![Entry::percent(Some(clean))];
        cells.extend(book.plan.attack_eps.iter().map(|&eps| Entry::percent(book.attacked(kind, "pgd_accuracy", eps))));
        Some(book.row(kind, book.last, cells))
    };
    book.kinds().into_iter().filter_map(row).collect()
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

fn overfitting(book: &Book<'_>) -> Vec<Alarms> {
    let row = |kind: Kind<'_>| {
        let (eps, runs) = (kind.eps?, book.runs(kind));
        if runs.is_empty() {
            return None;
        }
        let alarmed: Vec<String> = runs
            .iter()
            .map(|run| (run.cell.seed, run.alarms()))
            .filter(|(_, alarms)| !alarms.is_empty())
            .map(|(seed, alarms)| {
                let epochs: Vec<String> = alarms.iter().map(ToString::to_string).collect();
                format!("seed {seed}: {}", epochs.join(", "))
            })
            .collect();
        let under = ["fgsm_accuracy", "pgd_accuracy"].map(|what| Entry::percent(book.attacked(kind, what, eps)));
        Some(Alarms {
            model: kind.model.to_owned(),
            defence: kind.defence.to_owned(),
            eps: eps_text(Some(eps)),
            runs: runs.len(),
            alarmed: alarmed.len(),
            cells: under.into(),
            epochs: if alarmed.is_empty() { "–".to_owned() } else { alarmed.join("; ") },
        })
    };
    book.kinds().into_iter().filter_map(row).collect()
}
