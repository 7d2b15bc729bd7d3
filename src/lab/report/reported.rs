//! What the lab's two revisions reported, beside what was measured here.

use serde::Serialize;

use crate::lab::axis::share;
use crate::lab::results::LabResult;

use super::findings::stands;
use super::groups::Group;

/// One figure of the lab's, and ours where there is one.
#[derive(Debug, Serialize)]
pub(super) struct Reported {
    what: &'static str,
    first: &'static str,
    later: &'static str,
    ours: String,
    /// Where the lab's figures lie beside our seeds.
    stands: String,
}

/// A row of the lab's table: what, its score's name, its epsilon in 255ths of a pixel (the lab's own figure is twice
/// that, on inputs in [-1, 1]) or none for the autoencoder, and the figures as text and number.
type Row = (&'static str, &'static str, Option<f64>, (&'static str, Option<f64>), (&'static str, Option<f64>));

const ROWS: [Row; 7] = [
    (
        "classifier, max logit",
        "max_logit",
        Some(0.0),
        ("0.79 (50 epochs)", Some(0.79)),
        ("0.84 (16 epochs)", Some(0.84)),
    ),
    ("autoencoder", "neg_mse", None, ("0.82", Some(0.82)), ("0.94", Some(0.94))),
    ("classifier, max softmax", "max_softmax", Some(0.0), ("0.97 (50 epochs)", Some(0.97)), ("–", None)),
    ("the same after FGSM training", "max_softmax", Some(-1.0), ("0.26 (50 epochs)", Some(0.26)), ("–", None)),
    (
        "max logit, FGSM-trained, lab’s ε 2/255 (1/255 in pixels), 15 epochs",
        "max_logit",
        Some(1.0),
        ("–", None),
        ("0.80", Some(0.80)),
    ),
    (
        "max logit, FGSM-trained, lab’s ε 2/255 (1/255 in pixels), 25 epochs",
        "max_logit",
        Some(1.0),
        ("–", None),
        ("0.74", Some(0.74)),
    ),
    (
        "max logit, FGSM-trained, lab’s ε 4/255 (2/255 in pixels), 15 epochs",
        "max_logit",
        Some(2.0),
        ("–", None),
        ("0.32", Some(0.32)),
    ),
];

/// The comparison table.
pub(super) fn rows(result: &LabResult, groups: &[Group<'_>]) -> Vec<Reported> {
    ROWS.iter()
        .map(|&(what, score, eps, first, later)| {
            let lab = [("first", first.1), ("later", later.1)];
            let (ours, stands) = match eps {
                None => {
                    let facts = result.autoencoder.detection.scores.get(score);
                    (facts.map(|facts| share(facts.metrics.auroc, 3)), String::new())
                }
                Some(eps) => {
                    let group = groups.iter().find(|group| (group.variant.eps - eps).abs() < 1e-6);
                    match group.and_then(|group| group.auroc.get(score)) {
                        Some(seeds) => {
                            let said: Vec<String> = lab
                                .iter()
                                .filter_map(|&(revision, value)| Some(format!("{revision}: {}", stands(value?, seeds))))
                                .collect();
                            (Some(seeds.text()), said.join("; "))
                        }
                        None => (None, String::new()),
                    }
                }
            };
            Reported {
                what,
                first: first.0,
                later: later.0,
                ours: ours.unwrap_or_else(|| "not run".to_owned()),
                stands,
            }
        })
        .collect()
}
