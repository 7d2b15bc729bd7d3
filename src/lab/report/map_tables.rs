//! The tables of a map's page: means and differences with their intervals, and where the alarm fired.

use serde::Serialize;

use crate::data::shown_name;
use crate::lab::axis::{share, signed};
use crate::lab::map::Line;

use super::map_book::{Book, Kind, eps_text};

#[derive(Serialize)]
pub(super) struct Table<'a> {
    ood: &'a str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
pub(super) struct Row {
    model: String,
    defence: String,
    eps: String,
    epoch: u32,
    seeds: usize,
    cells: Vec<Entry>,
}

#[derive(Serialize, Default)]
pub(super) struct Entry {
    text: String,
    small: String,
    class: &'static str,
}

#[derive(Serialize)]
pub(super) struct Alarms {
    model: String,
    defence: String,
    eps: String,
    runs: usize,
    alarmed: usize,
    cells: Vec<Entry>,
    epochs: String,
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

/// A row and how many seeds are behind it.
fn row(book: &Book<'_>, kind: Kind<'_>, epoch: u32, cells: Vec<Entry>) -> Row {
    let seeds = book.runs(kind).iter().filter(|run| run.at(epoch).is_some()).count();
    Row { model: kind.model.to_owned(), defence: kind.defence.to_owned(), eps: eps_text(kind.eps), epoch, seeds, cells }
}

pub(super) fn differences<'a>(book: &Book<'a>) -> Vec<Table<'a>> {
    let of = |ood: &'a str| {
        let rows = book.kinds().into_iter().filter(|kind| kind.eps.is_some()).filter_map(|kind| {
            let cell = |score: &String| book.detection(kind, book.last, "auroc_minus_none", ood, score);
            let cells: Vec<Option<&Line>> = book.plan.scores.iter().map(cell).collect();
            let any = cells.iter().any(Option::is_some);
            any.then(|| row(book, kind, book.last, cells.into_iter().map(Entry::difference).collect()))
        });
        Table { ood: shown_name(ood), rows: rows.collect() }
    };
    let all = book.merged.map.pictures.ood.iter().map(|ood| of(&ood.name));
    all.filter(|table| !table.rows.is_empty()).collect()
}

pub(super) fn tables<'a>(book: &Book<'a>) -> Vec<Table<'a>> {
    let of = |ood: &'a str| {
        let mut rows = Vec::new();
        for kind in book.kinds() {
            for &epoch in &book.plan.epochs {
                let Some(clean) = book.line(kind, epoch, "clean_accuracy", |_| true) else { continue };
                let score = |score: &String| Entry::share(book.detection(kind, epoch, "auroc", ood, score));
                let mut cells = vec![Entry::percent(Some(clean))];
                cells.extend(book.plan.scores.iter().map(score));
                rows.push(row(book, kind, epoch, cells));
            }
        }
        Table { ood: shown_name(ood), rows }
    };
    book.merged.map.pictures.ood.iter().map(|ood| of(&ood.name)).collect()
}

pub(super) fn robust(book: &Book<'_>) -> Vec<Row> {
    let of = |kind: Kind<'_>| {
        let clean = book.line(kind, book.last, "clean_accuracy", |_| true)?;
        let mut cells = vec![Entry::percent(Some(clean))];
        cells.extend(book.plan.attack_eps.iter().map(|&eps| Entry::percent(book.attacked(kind, "pgd_accuracy", eps))));
        Some(row(book, kind, book.last, cells))
    };
    book.kinds().into_iter().filter_map(of).collect()
}

pub(super) fn overfitting(book: &Book<'_>) -> Vec<Alarms> {
    let of = |kind: Kind<'_>| {
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
    book.kinds().into_iter().filter_map(of).collect()
}
