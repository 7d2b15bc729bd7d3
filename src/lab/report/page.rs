//! What the templates are given: the result itself, and everything that is computed from it.

use serde::Serialize;

use crate::lab::axis::share;
use crate::lab::results::{ByEps, LabResult, Stage};

use super::charts;
use super::drawing::Drawing;
use super::findings::{self, Findings};
use super::gallery::{self, Gallery};
use super::groups::{self, Group, score_axis, score_label};
use super::reported::{self, Reported};
use crate::lab::seeds::{Summary, compare};

/// Pictures of a kind that are shown at the most, so that the page stays small whatever the result holds.
const SAMPLES: usize = 16;
const EXAMPLES: usize = 6;

/// The page's context.
#[derive(Serialize)]
pub(super) struct Page<'a> {
    result: &'a LabResult,
    scores: Vec<&'a str>,
    ood: &'a str,
    seeds: usize,
    samples: usize,
    examples: usize,
    groups: Vec<Row<'a>>,
    findings: Findings,
    cards: Cards,
    charts: Gallery,
    repeat: [Vec<&'a Stage>; 5],
    reported: Vec<Reported>,
    metrics: Vec<MetricRow>,
    compat: Vec<CompatRow<'a>>,
}

/// One score of one baseline model, or their mean.
#[derive(Serialize)]
struct MetricRow {
    score: String,
    /// None for the mean.
    seed: Option<u64>,
    cells: Vec<String>,
}

/// One epsilon by the lab's conventions, and by ours where it was run.
#[derive(Serialize)]
struct CompatRow<'a> {
    theirs: &'a ByEps,
    ours: Option<&'a ByEps>,
}

/// A variant in the tables.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    eps: f64,
    class: &'a str,
    epochs: u32,
    seeds: usize,
    accuracy: String,
    /// In the order of the page's scores.
    auroc: Vec<String>,
    verdicts: Vec<&'static str>,
}

/// The four pictures at the top, each with its number.
#[derive(Serialize)]
struct Cards {
    classifier: (String, Option<Drawing>),
    autoencoder: String,
    attack: Option<(f64, f64, f64)>,
    effect: (String, String, Option<Drawing>),
}

impl<'a> Page<'a> {
    pub(super) fn new(result: &'a LabResult) -> Self {
        let groups = groups::groups(result);
        let scores = groups::score_names(result);
        let ood = result.classifiers.first().map_or("noise", |run| run.detection.ood.as_str());
        Self {
            ood,
            seeds: groups.iter().map(|group| group.runs.len()).max().unwrap_or(0),
            samples: SAMPLES,
            examples: EXAMPLES,
            findings: findings::findings(result, &groups, &scores),
            cards: cards(result, &groups, &scores),
            charts: gallery::all(result, &groups, &scores),
            repeat: [1, 2, 3, 4, 5].map(|exercise| stages_of(result, exercise)),
            reported: reported::rows(result, &groups),
            metrics: metrics(&groups[0], &scores),
            compat: match (&result.attacks_compat, result.attacks.first()) {
                (Some(theirs), ours) => {
                    let beside =
                        |at: &'a ByEps| CompatRow { theirs: at, ours: ours.and_then(|a| groups::same_eps(a, at.eps)) };
                    theirs.by_eps.iter().map(beside).collect()
                }
                _ => Vec::new(),
            },
            groups: rows(&groups, &scores),
            scores,
            result,
        }
    }
}

/// The stages that an exercise's numbers come from, by their names: `train-fgsm-2-seed0`, `ood-ae3`, `attack-baseline`,
/// and `-lab` at the end of what follows the lab's conventions. Others stand in the list of all stages alone.
fn stages_of(result: &LabResult, exercise: usize) -> Vec<&Stage> {
    let exercises = |stage: &Stage| -> &[usize] {
        let name = stage.name.as_str();
        let is_robust = result.plan.variants.iter().any(|variant| variant.eps > 0.0 && name.contains(&variant.name));
        if name.ends_with("-lab") {
            &[5]
        } else if name.starts_with("attack") {
            &[2]
        } else if name.contains(&result.plan.autoencoder) {
            &[1]
        } else if is_robust {
            if name.starts_with("train") { &[3, 4] } else { &[4] }
        } else if name.starts_with("train") || name.starts_with("ood") {
            &[1]
        } else {
            &[]
        }
    };
    let listed = result.stages.iter().filter(|stage| stage.command.is_some());
    listed.filter(|stage| exercises(stage).contains(&exercise)).collect()
}

fn rows<'a>(groups: &[Group<'a>], scores: &[&str]) -> Vec<Row<'a>> {
    groups
        .iter()
        .enumerate()
        .map(|(at, group)| Row {
            name: &group.variant.name,
            eps: group.variant.eps,
            class: ["s0", "s1", "s2", "s3", "s4", "s5"][at % 6],
            epochs: group.epochs(),
            seeds: group.runs.len(),
            accuracy: group.accuracy.percent(),
            auroc: scores
                .iter()
                .map(|name| group.auroc.get(name).map_or_else(|| "–".to_owned(), |auroc| auroc.text()))
                .collect(),
            verdicts: scores
                .iter()
                .map(|name| match (at, group.auroc.get(name), groups[0].auroc.get(name)) {
                    (1.., Some(ours), Some(base)) => compare(ours, base).words(),
                    _ => "",
                })
                .collect(),
        })
        .collect()
}

/// The baseline's metrics, every seed's and their mean, score by score.
fn metrics(baseline: &Group<'_>, scores: &[&str]) -> Vec<MetricRow> {
    let mut rows = Vec::new();
    for name in scores {
        let mut columns: [Vec<f64>; 6] = Default::default();
        for run in &baseline.runs {
            let Some(facts) = run.detection.scores.get(*name) else { continue };
            let m = &facts.metrics;
            let values = [m.auroc, m.aupr_in, m.aupr_out, m.fpr95_id, m.fpr95_ood, m.detection_error];
            let cells = values.iter().map(|&value| share(value, 4)).collect();
            rows.push(MetricRow { score: score_label(name), seed: Some(run.seed), cells });
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
        }
        if columns[0].len() > 1 {
            let cells = columns.into_iter().filter_map(Summary::of).map(|summary| summary.text()).collect();
            rows.push(MetricRow { score: score_label(name), seed: None, cells });
        }
    }
    rows
}

fn cards(result: &LabResult, groups: &[Group<'_>], scores: &[&str]) -> Cards {
    let main = scores.first().copied().unwrap_or_default();
    let text = |group: &Group<'_>| group.auroc.get(main).map_or_else(|| "–".to_owned(), |auroc| auroc.text());
    let first = &groups[0];
    let chart = first.runs.first().and_then(|run| {
        let facts = run.detection.scores.get(main)?;
        let caption = format!("{} of the {}, seed {}", score_label(main), first.variant.name, run.seed);
        charts::histogram(
            "card-histogram",
            caption,
            &score_axis(main),
            gallery::sets(result, &run.detection),
            facts,
            true,
        )
    });
    let autoencoder = result.autoencoder.detection.scores.values().next();
    let strongest = groups.iter().skip(1).max_by(|a, b| a.variant.eps.total_cmp(&b.variant.eps));
    let effect = match strongest {
        Some(group) => {
            let words = match (group.auroc.get(main), first.auroc.get(main)) {
                (Some(ours), Some(base)) => compare(ours, base).words(),
                _ => "not measured",
            };
            let mean = |group: &Group<'_>| group.auroc.get(main).map_or("–".to_owned(), |auroc| share(auroc.mean, 3));
            (
                format!("{} → {}", mean(first), mean(group)),
                format!("{} → {}: {words}", first.variant.name, group.variant.name),
            )
        }
        None => (text(first), "only one variant was trained".to_owned()),
    };
    Cards {
        classifier: (text(first), chart),
        autoencoder: autoencoder.map_or_else(|| "–".to_owned(), |facts| share(facts.metrics.auroc, 3)),
        attack: result.attacks.first().and_then(|attack| {
            let at = groups::shown(attack, result.plan.shown_eps)?;
            Some((attack.clean_accuracy, at.accuracy, at.eps))
        }),
        effect: (effect.0, effect.1, gallery::strip("card-strip", groups, main, true)),
    }
}
