//! The charts of the page, drawn from the result.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::lab::axis::{Axis, Unit, in_255ths, share, thousands};
use crate::lab::results::{Attacks, ByEps, Detection, EpochFacts, LabResult};

use super::charts::{self, Banded, Curve, Curves, Sets};
use super::drawing::Drawing;
use super::findings::{capital, counted};
use super::groups::{Group, class, class_name, score_axis, score_label};
use super::tables::{self, Strip};
use crate::lab::seeds::Summary;

/// The charts, by the place where they stand.
#[derive(Serialize)]
pub(super) struct Gallery {
    logits: Vec<Drawing>,
    classifier: Vec<Drawing>,
    autoencoder: Vec<Drawing>,
    attacks: Vec<Drawing>,
    targets: Vec<Drawing>,
    training: Vec<Drawing>,
    strips: Vec<Drawing>,
    effect_histograms: Vec<Drawing>,
    effect_rocs: Vec<Drawing>,
    over_epochs: Vec<Drawing>,
    compat: Vec<Drawing>,
}

/// What the two sets are called.
pub(super) fn sets<'a>(result: &'a LabResult, detection: &'a Detection) -> Sets<'a> {
    Sets { id: &result.plan.data_name, ood: &detection.ood }
}

pub(super) fn strip(key: &str, groups: &[Group<'_>], score: &str, small: bool) -> Option<Drawing> {
    let rows: Vec<Strip> = groups
        .iter()
        .filter_map(|group| {
            let dots = group.runs.iter().filter_map(|run| {
                let auroc = Some(run.detection.scores.get(score)?.metrics.auroc).filter(|auroc| auroc.is_finite())?;
                Some((format!("{}, seed {}: {}", group.variant.name, run.seed, share(auroc, 4)), auroc))
            });
            let mean = group.auroc.get(score)?.mean;
            Some(Strip { class: group.class.clone(), name: group.variant.name.clone(), dots: dots.collect(), mean })
        })
        .collect();
    tables::strip(key, format!("AUROC of {}, a dot a seed", score_label(score)), &rows, small)
}

/// Draws them all.
pub(super) fn all(result: &LabResult, groups: &[Group<'_>], scores: &[&str]) -> Gallery {
    Gallery {
        logits: logits(result),
        classifier: groups[0]
            .runs
            .first()
            .map(|run| {
                detection(result, &run.detection, scores, "c", &format!("{}, seed {}", run.variant.name, run.seed))
            })
            .unwrap_or_default(),
        autoencoder: {
            let names: Vec<&str> = result.autoencoder.detection.scores.keys().map(String::as_str).collect();
            detection(result, &result.autoencoder.detection, &names, "a", "autoencoder")
        },
        attacks: attack_curves(
            &result.attacks,
            result.attacks.iter().map(|attack| attack.variant.name.clone()),
            "attack",
        ),
        targets: result
            .attacks
            .iter()
            .enumerate()
            .filter_map(|(at, attack)| {
                let first = thousands(&attack.table_images.to_string());
                let caption = format!(
                    "{}: targeted success in percent, ε = {}/255, first {first} pictures",
                    attack.variant.name, result.plan.shown_eps
                );
                tables::targets(&format!("targets-{at}"), caption, &result.classes, &attack.targets)
            })
            .collect(),
        training: training(groups),
        strips: scores
            .iter()
            .enumerate()
            .filter_map(|(at, score)| strip(&format!("strip-{at}"), groups, score, false))
            .collect(),
        effect_histograms: effect_histograms(result, groups, scores),
        effect_rocs: effect_rocs(groups, scores),
        over_epochs: over_epochs(groups, scores),
        compat: compat(result),
    }
}

fn logits(result: &LabResult) -> Vec<Drawing> {
    let Some(pair) = result.classifiers.iter().find_map(|run| run.logits.as_ref()) else { return Vec::new() };
    let label = class_name(&result.classes, pair.id_label);
    let id = tables::logits("logits-id", format!("a test picture ({label})"), &result.classes, &pair.id_logits, "id");
    let ood = tables::logits("logits-ood", "a noise picture".to_owned(), &result.classes, &pair.ood_logits, "ood");
    id.into_iter().chain(ood).collect()
}

/// Every score's histogram, and one chart of all ROC curves.
fn detection(result: &LabResult, detection: &Detection, scores: &[&str], key: &str, whose: &str) -> Vec<Drawing> {
    let mut all: Vec<Drawing> = scores
        .iter()
        .enumerate()
        .filter_map(|(at, name)| {
            let facts = detection.scores.get(*name)?;
            let caption = format!("{}, {whose}: AUROC {}", capital(&score_label(name)), share(facts.metrics.auroc, 4));
            let sets = sets(result, detection);
            charts::histogram(&format!("{key}-histogram-{at}"), caption, &score_axis(name), sets, facts, false)
        })
        .collect();
    let curves: Vec<Curve> = scores
        .iter()
        .enumerate()
        .filter_map(|(at, name)| {
            let facts = detection.scores.get(*name)?;
            let name = format!("{} ({})", score_label(name), share(facts.metrics.auroc, 4));
            Some(Curve { class: class(at + 1), name, points: facts.roc.clone() })
        })
        .collect();
    all.extend(charts::roc(&format!("{key}-roc"), format!("ROC, {whose} (AUROC)"), &curves));
    all
}

fn line(class: String, name: String, points: Vec<(f64, f64)>) -> Banded {
    Banded { curve: Curve { class, name, points }, band: Vec::new(), marks: Vec::new() }
}

/// Accuracy and targeted success over epsilon, and PGD's accuracy where it was run.
fn attack_curves(attacks: &[Attacks], names: impl Iterator<Item = String> + Clone, key: &str) -> Vec<Drawing> {
    type Pick = fn(&ByEps) -> Option<f64>;
    let most = attacks.iter().flat_map(|attack| &attack.by_eps).map(|at| in_255ths(at.eps)).fold(1.0, f64::max);
    let charts: [(&str, &str, &str, Pick); 3] = [
        ("accuracy", "Accuracy under FGSM", "accuracy", |at| Some(at.accuracy)),
        ("pgd", "Accuracy under PGD, ten steps", "accuracy", |at| at.pgd_accuracy),
        ("targeted", "Targeted FGSM: next class reached", "success", |at| Some(at.targeted_success)),
    ];
    charts
        .into_iter()
        .filter_map(|(part, caption, y_name, pick)| {
            let lines: Vec<Banded> = attacks
                .iter()
                .zip(names.clone())
                .enumerate()
                .map(|(at, (attack, name))| {
                    let mut points: Vec<(f64, f64)> =
                        attack.by_eps.iter().filter_map(|by| Some((in_255ths(by.eps), pick(by)?))).collect();
                    points.retain(|point| point.0.is_finite() && point.1.is_finite());
                    points.sort_by(|a, b| a.0.total_cmp(&b.0));
                    // Without an attack the accuracy is the clean one.
                    let starts_clean = y_name == "accuracy" && points.first().is_some_and(|point| point.0 > 0.0);
                    if starts_clean {
                        points.insert(0, (0.0, attack.clean_accuracy));
                    }
                    line(class(at), name, points)
                })
                .collect();
            let about = Curves {
                key: &format!("{key}-{part}"),
                caption: caption.to_owned(),
                x_name: "ε in 1/255",
                y_name,
                unit: Unit::Percent,
                whole: true,
                level: None,
            };
            charts::curves(about, Axis::exact(0.0, most, 8.0, Unit::Plain), &lines)
        })
        .collect()
}

/// The mean over seeds of what `pick` finds after each epoch, with the range of the seeds.
fn over_seeds(group: &Group<'_>, pick: impl Fn(&EpochFacts) -> Option<f64>) -> Banded {
    let mut banded = line(group.class.clone(), group.variant.name.clone(), Vec::new());
    // Those that there are: a damaged result may say that four thousand million were trained.
    let epochs: BTreeSet<u32> = group.runs.iter().flat_map(|run| run.epochs.iter().map(|facts| facts.epoch)).collect();
    for epoch in epochs {
        let at = group.runs.iter().flat_map(|run| run.epochs.iter().find(|facts| facts.epoch == epoch));
        let values: Vec<f64> = at.filter_map(&pick).filter(|value| value.is_finite()).collect();
        if let Some(summary) = Summary::of(values) {
            banded.curve.points.push((f64::from(epoch), summary.mean));
            banded.band.push((f64::from(epoch), summary.low, summary.high));
        }
    }
    banded
}

fn training(groups: &[Group<'_>]) -> Vec<Drawing> {
    let robust = groups.iter().skip(1).enumerate();
    robust
        .filter_map(|(at, group)| {
            let named = |mut line: Banded, class: &str, name: &str| {
                (line.curve.class, line.curve.name) = (class.to_owned(), name.to_owned());
                line
            };
            let clean = named(over_seeds(group, |epoch| Some(epoch.test_accuracy)), "clean", "clean");
            let fgsm = named(over_seeds(group, |epoch| epoch.fgsm_accuracy), "fgsm", "FGSM");
            let mut pgd = named(over_seeds(group, |epoch| epoch.pgd_accuracy), "pgd", "PGD");
            let alarms = group.runs.iter().flat_map(|run| run.epochs.iter().filter(|epoch| epoch.alarm));
            pgd.marks = alarms.map(|facts| (f64::from(facts.epoch), facts.pgd_accuracy.unwrap_or(0.0))).collect();
            let about = Curves {
                key: &format!("training-{at}"),
                caption: format!(
                    "{}: accuracy after each epoch, {}",
                    group.variant.name,
                    counted(group.runs.len(), "seed")
                ),
                x_name: "epoch",
                y_name: "accuracy",
                unit: Unit::Percent,
                whole: true,
                level: None,
            };
            charts::curves(about, Axis::epochs(group.epochs() as usize, 8.0), &[clean, fgsm, pgd])
        })
        .collect()
}

fn effect_histograms(result: &LabResult, groups: &[Group<'_>], scores: &[&str]) -> Vec<Drawing> {
    let Some(&main) = scores.first() else { return Vec::new() };
    groups
        .iter()
        .enumerate()
        .filter_map(|(at, group)| {
            let run = group.runs.first()?;
            let facts = run.detection.scores.get(main)?;
            let auroc = share(facts.metrics.auroc, 4);
            let caption = format!("{}, seed {}: AUROC {auroc}", group.variant.name, run.seed);
            let sets = sets(result, &run.detection);
            charts::histogram(&format!("effect-histogram-{at}"), caption, &score_axis(main), sets, facts, false)
        })
        .collect()
}

fn effect_rocs(groups: &[Group<'_>], scores: &[&str]) -> Vec<Drawing> {
    let charts = scores.iter().enumerate().filter_map(|(at, score)| {
        let curves: Vec<Curve> = groups
            .iter()
            .filter_map(|group| {
                let facts = group.runs.first()?.detection.scores.get(*score)?;
                let name = format!("{} ({})", group.variant.name, share(facts.metrics.auroc, 4));
                Some(Curve { class: group.class.clone(), name, points: facts.roc.clone() })
            })
            .collect();
        let seed = groups[0].runs.first()?.seed;
        charts::roc(&format!("effect-roc-{at}"), format!("ROC of {}, seed {seed}", score_label(score)), &curves)
    });
    charts.collect()
}

fn over_epochs(groups: &[Group<'_>], scores: &[&str]) -> Vec<Drawing> {
    let epochs = groups.iter().map(Group::epochs).max().unwrap_or(0) as usize;
    let charts = scores.iter().enumerate().filter_map(|(at, score)| {
        let lines: Vec<Banded> =
            groups.iter().map(|group| over_seeds(group, |epoch| epoch.auroc.get(*score).copied())).collect();
        let about = Curves {
            key: &format!("epochs-{at}"),
            caption: format!("AUROC of {} after each epoch", score_label(score)),
            x_name: "epoch",
            y_name: "AUROC",
            unit: Unit::Plain,
            whole: true,
            level: Some((0.5, "guessing")),
        };
        charts::curves(about, Axis::epochs(epochs, 8.0), &lines)
    });
    charts.collect()
}

/// The lab's conventions beside ours.
fn compat(result: &LabResult) -> Vec<Drawing> {
    let mut all = Vec::new();
    if let (Some(compat), Some(ours)) = (&result.attacks_compat, result.attacks.first()) {
        let both = [ours.clone(), compat.clone()];
        let names = ["ours", "the lab’s"].into_iter().map(str::to_owned);
        all.extend(attack_curves(&both, names, "compat"));
        // One curve of PGD is in exercise 2 already.
        if compat.by_eps.iter().all(|at| at.pgd_accuracy.is_none()) {
            all.retain(|drawing| drawing.key != "compat-pgd");
        }
    }
    if let Some(compat) = &result.autoencoder_compat {
        for (key, autoencoder, whose) in
            [("o", &result.autoencoder, "on pixels in [0, 1]"), ("l", compat, "as the lab trained it")]
        {
            let names: Vec<&str> = autoencoder.detection.scores.keys().map(String::as_str).collect();
            let mut charts = detection(result, &autoencoder.detection, &names, key, whose);
            // Only the histograms: two ROC curves of one score say nothing more.
            charts.truncate(names.len());
            all.extend(charts);
        }
    }
    all
}
