//! OOD metrics and scores: scikit-learn's golden values, brute-force definitions, cases done by hand, errors.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use shadegrad::ood::metrics::{self, Metrics, MetricsError, ScoreSet};
use shadegrad::ood::scores::{self, Score};

/// The largest difference from scikit-learn; what is left are the roundings of its sums.
const TOLERANCE: f64 = 1e-12;

fn assert_near(what: &str, found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= TOLERANCE * wanted.abs().max(1.0), "{what}: {found}, not {wanted}");
}

/// The metrics by name, from the one function that computes them together.
fn by_name(metrics: &Metrics) -> [(&'static str, f64); 7] {
    [
        ("auroc", metrics.auroc),
        ("aupr_in", metrics.aupr_in),
        ("aupr_out", metrics.aupr_out),
        ("fpr95_id", metrics.fpr95_id),
        ("fpr95_ood", metrics.fpr95_ood),
        ("detection_error", metrics.detection_error),
        ("prevalence", metrics.prevalence),
    ]
}

struct Case {
    name: String,
    id: Vec<f64>,
    ood: Vec<f64>,
    golden: Value,
}

/// The cases of `golden/metrics_golden.py`.
fn golden() -> Vec<Case> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    let numbers = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let case = |golden: Value| Case {
        name: golden["name"].as_str().unwrap().to_owned(),
        id: numbers(&golden["id"]),
        ood: numbers(&golden["ood"]),
        golden,
    };
    cases.into_iter().map(case).collect()
}

#[test]
fn every_metric_is_scikit_learns() {
    let cases = golden();
    assert!(cases.len() >= 40, "only {} golden cases", cases.len());
    for Case { name, id, ood, golden } in &cases {
        let wanted = |metric: &str| golden[metric].as_f64().unwrap_or_else(|| panic!("{name} lacks {metric}"));
        let together = Metrics::from_scores(id, ood).unwrap();
        for (metric, found) in by_name(&together) {
            assert_near(&format!("{name}: {metric}"), found, wanted(metric));
        }
        // Each function alone says the same to the bit.
        let alone = [
            metrics::auroc(id, ood),
            metrics::aupr_in(id, ood),
            metrics::aupr_out(id, ood),
            metrics::fpr95_id(id, ood),
            metrics::fpr95_ood(id, ood),
            metrics::detection_error(id, ood),
        ];
        for ((metric, found), alone) in by_name(&together).into_iter().zip(alone) {
            assert_eq!(alone.unwrap(), found, "{name}: {metric} alone");
        }
        // The file's scores are short decimals: they rank in f32 as they do in f64.
        let narrow = |scores: &[f64]| scores.iter().map(|&score| score as f32).collect::<Vec<_>>();
        assert_eq!(Metrics::from_scores(&narrow(id), &narrow(ood)).unwrap(), together, "{name} in f32");
    }
}

#[test]
fn the_roc_curve_is_scikit_learns_and_its_area_is_the_auroc() {
    for Case { name, id, ood, golden } in golden() {
        let curve = metrics::roc_curve(&id, &ood).unwrap();
        assert_eq!(curve.len() as u64, golden["roc_points"].as_u64().unwrap(), "{name}: points");
        let sum: f64 = curve.iter().enumerate().map(|(index, point)| index as f64 * point.0).sum();
        assert_near(&format!("{name}: roc_sum"), sum, golden["roc_sum"].as_f64().unwrap());
        let dot: f64 = curve.iter().map(|point| point.0 * point.1).sum();
        assert_near(&format!("{name}: roc_dot"), dot, golden["roc_dot"].as_f64().unwrap());
        assert_near(&format!("{name}: area"), area(&curve), golden["auroc"].as_f64().unwrap());
    }
}

/// The trapezoidal area under a curve.
fn area(curve: &[(f64, f64)]) -> f64 {
    curve.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[1].1 + pair[0].1) / 2.0).sum()
}

#[test]
fn small_cases_by_hand() {
    // ID 3 beats 1 and 2; ID 2 beats 1 and ties with 2: (2 + 1.5) / 4.
    let metrics = Metrics::from_scores(&[3.0, 2.0], &[2.0, 1.0]).unwrap();
    assert_eq!(metrics.auroc, 0.875);
    // Thresholds 3, 2, 1 keep 1, 2, 2 ID and 0, 1, 2 OOD: 1/2 * 1 + 1/2 * 2/3, and by symmetry the same.
    assert_near("aupr_in", metrics.aupr_in, 0.5 + 1.0 / 3.0);
    assert_near("aupr_out", metrics.aupr_out, 0.5 + 1.0 / 3.0);
    // All ID are kept at threshold 2, together with one of two OOD.
    assert_eq!((metrics.fpr95_id, metrics.fpr95_ood), (0.5, 0.5));
    // Threshold 3: (1 - 1/2 + 0) / 2.
    assert_eq!(metrics.detection_error, 0.25);
    assert_eq!(metrics.prevalence, 0.5);
    assert_eq!(metrics::roc_curve(&[3.0, 2.0], &[2.0, 1.0]).unwrap(), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
}

#[test]
fn ties_count_half_however_they_come_about() {
    assert_eq!(metrics::auroc(&[1.0; 7], &[1.0; 3]).unwrap(), 0.5);
    // The two zeros are one number.
    assert_eq!(metrics::auroc(&[0.0, -0.0], &[-0.0, 0.0, 0.0]).unwrap(), 0.5);
    assert_eq!(metrics::roc_curve(&[0.0], &[-0.0]).unwrap(), [(0.0, 0.0), (1.0, 1.0)]);
    // So are two infinities of one sign; they rank beyond all else.
    let (inf, max) = (f64::INFINITY, f64::MAX);
    assert_eq!(metrics::auroc(&[inf, max], &[inf, -inf]).unwrap(), (0.5 + 1.0 + 0.0 + 1.0) / 4.0);
    assert_eq!(metrics::auroc(&[-inf], &[-max]).unwrap(), 0.0);
}

#[test]
fn below_one_half_stays_below_one_half() {
    let (id, ood) = ([0.0, 1.0, 2.0], [1.5, 3.0, 4.0, 5.0]);
    let found = metrics::auroc(&id, &ood).unwrap();
    assert_near("auroc", found, 1.0 / 12.0);
    assert_near("the other way round", metrics::auroc(&ood, &id).unwrap(), 11.0 / 12.0);
    assert_eq!(metrics::auroc(&[0.0; 4], &[1.0; 5]).unwrap(), 0.0);
    // A threshold that keeps nothing is right about half, so the detection error cannot exceed that.
    assert_eq!(metrics::detection_error(&[0.0; 4], &[1.0; 5]).unwrap(), 0.5);
}

#[test]
fn one_of_the_two_fprs_can_be_perfect_while_the_other_is_not() {
    // 1 ID of 20 scores among the lowest: the odd one may be lost when ID is positive, but not when OOD is.
    let mut id = vec![10.0; 19];
    id.push(-1.0);
    let ood: Vec<f64> = (0..20).map(|_| 0.0).collect();
    let metrics = Metrics::from_scores(&id, &ood).unwrap();
    assert_eq!((metrics.fpr95_id, metrics.fpr95_ood), (0.0, 0.05));
}

#[test]
fn sets_without_metrics_are_errors() {
    let none: [f64; 0] = [];
    type Metric = fn(&[f64], &[f64]) -> Result<(), MetricsError>;
    let all: [Metric; 8] = [
        |id, ood| Metrics::from_scores(id, ood).map(drop),
        |id, ood| metrics::auroc(id, ood).map(drop),
        |id, ood| metrics::aupr_in(id, ood).map(drop),
        |id, ood| metrics::aupr_out(id, ood).map(drop),
        |id, ood| metrics::fpr95_id(id, ood).map(drop),
        |id, ood| metrics::fpr95_ood(id, ood).map(drop),
        |id, ood| metrics::detection_error(id, ood).map(drop),
        |id, ood| metrics::roc_curve(id, ood).map(drop),
    ];
    for metric in all {
        assert_eq!(metric(&none, &[1.0]), Err(MetricsError::Empty { set: ScoreSet::Id }));
        assert_eq!(metric(&[1.0], &none), Err(MetricsError::Empty { set: ScoreSet::Ood }));
        let error = metric(&[1.0], &[0.0, 2.0, f64::NAN, f64::NAN]).unwrap_err();
        assert_eq!(error, MetricsError::NotANumber { set: ScoreSet::Ood, index: 2 });
        assert_eq!(error.to_string(), "the out-of-distribution score at index 2 is NaN and cannot be ranked");
        assert!(metric(&[f64::NAN], &[0.0]).unwrap_err().to_string().contains("in-distribution score at index 0"));
    }
    let empty = metrics::auroc(&none, &[1.0]).unwrap_err().to_string();
    assert_eq!(empty, "the in-distribution set has no scores, so no detection metric is defined");
}

/// The metrics from their definitions, one threshold at a time, with no sorting and no shared counts.
mod by_definition {
    /// P(id > ood) + ½ P(id = ood), pair by pair.
    pub fn auroc(id: &[f64], ood: &[f64]) -> f64 {
        let pairs = id.iter().flat_map(|a| {
            ood.iter().map(move |b| {
                if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                }
            })
        });
        pairs.sum::<f64>() / (id.len() * ood.len()) as f64
    }

    /// Every threshold that keeps another set of images, from high to low.
    fn thresholds(positive: &[f64], negative: &[f64]) -> Vec<f64> {
        let mut all: Vec<f64> = positive.iter().chain(negative).copied().collect();
        all.sort_by(|a, b| b.partial_cmp(a).unwrap());
        all.dedup();
        all
    }

    fn kept(scores: &[f64], threshold: f64) -> usize {
        scores.iter().filter(|&&score| score >= threshold).count()
    }

    pub fn average_precision(positive: &[f64], negative: &[f64]) -> f64 {
        let (mut sum, mut before) = (0.0, 0);
        for threshold in thresholds(positive, negative) {
            let (hits, misses) = (kept(positive, threshold), kept(negative, threshold));
            let recall_gained = (hits - before) as f64 / positive.len() as f64;
            sum += recall_gained * hits as f64 / (hits + misses) as f64;
            before = hits;
        }
        sum
    }

    pub fn fpr95(positive: &[f64], negative: &[f64]) -> f64 {
        let enough = |threshold: &f64| 100 * kept(positive, *threshold) >= 95 * positive.len();
        let threshold = thresholds(positive, negative).into_iter().find(enough).unwrap();
        kept(negative, threshold) as f64 / negative.len() as f64
    }

    pub fn detection_error(id: &[f64], ood: &[f64]) -> f64 {
        let error = |threshold: f64| {
            let missed = 1.0 - kept(id, threshold) as f64 / id.len() as f64;
            0.5 * (missed + kept(ood, threshold) as f64 / ood.len() as f64)
        };
        // Keeping nothing is a threshold too.
        thresholds(id, ood).into_iter().map(error).fold(0.5, f64::min)
    }
}

fn negated(scores: &[f64]) -> Vec<f64> {
    scores.iter().map(|score| -score).collect()
}

/// Runs a property over random cases, the same ones each time.
fn check<S: Strategy>(cases: u32, strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(strategy, property) {
        panic!("{error}");
    }
}

/// Scores full of ties, scores almost without, and infinities now and then.
fn some_scores() -> impl Strategy<Value = Vec<f64>> {
    let tied = (-4i32..5).prop_map(f64::from);
    let free = -10.0..10.0f64;
    let extreme = prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(0.0), Just(-0.0)];
    prop_oneof![
        prop::collection::vec(tied.clone(), 1..60),
        prop::collection::vec(free.clone(), 1..60),
        prop::collection::vec(prop_oneof![4 => tied, 4 => free, 1 => extreme], 1..60),
    ]
}

#[test]
fn every_metric_is_its_definition() {
    check(1500, &(some_scores(), some_scores()), |(id, ood)| {
        let found = Metrics::from_scores(&id, &ood).unwrap();
        let (id_down, ood_down) = (negated(&id), negated(&ood));
        let wanted = [
            by_definition::auroc(&id, &ood),
            by_definition::average_precision(&id, &ood),
            by_definition::average_precision(&ood_down, &id_down),
            by_definition::fpr95(&id, &ood),
            by_definition::fpr95(&ood_down, &id_down),
            by_definition::detection_error(&id, &ood),
            id.len() as f64 / (id.len() + ood.len()) as f64,
        ];
        for ((metric, found), wanted) in by_name(&found).into_iter().zip(wanted) {
            prop_assert!((found - wanted).abs() <= 1e-12, "{metric}: {found}, not {wanted}");
            prop_assert!((0.0..=1.0).contains(&found), "{metric} is {found}");
        }
        Ok(())
    });
}

#[test]
fn the_area_under_every_roc_curve_is_the_auroc() {
    check(500, &(some_scores(), some_scores()), |(id, ood)| {
        let curve = metrics::roc_curve(&id, &ood).unwrap();
        prop_assert_eq!((curve[0], curve[curve.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
        prop_assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "it turns back");
        let auroc = metrics::auroc(&id, &ood).unwrap();
        prop_assert!((area(&curve) - auroc).abs() <= 1e-12, "area {}, AUROC {auroc}", area(&curve));
        Ok(())
    });
}

#[test]
fn metrics_depend_on_the_ranking_alone() {
    check(500, &(some_scores(), some_scores()), |(id, ood)| {
        let found = Metrics::from_scores(&id, &ood).unwrap();
        // Exact on these numbers, and rising, infinities included.
        let moved = |scores: &[f64]| scores.iter().map(|score| 8.0 * score).collect::<Vec<_>>();
        prop_assert_eq!(Metrics::from_scores(&moved(&id), &moved(&ood)).unwrap(), found);
        let reversed = |scores: &[f64]| scores.iter().rev().copied().collect::<Vec<_>>();
        prop_assert_eq!(Metrics::from_scores(&reversed(&id), &reversed(&ood)).unwrap(), found);
        // With the sets exchanged and the scores negated everything changes places with its other half.
        let mirrored = Metrics::from_scores(&negated(&ood), &negated(&id)).unwrap();
        prop_assert_eq!(mirrored.aupr_in, found.aupr_out);
        prop_assert_eq!(mirrored.fpr95_id, found.fpr95_ood);
        prop_assert_eq!(mirrored.auroc, found.auroc);
        prop_assert!((mirrored.detection_error - found.detection_error).abs() <= 1e-15);
        Ok(())
    });
}

/// Sums of exponentials as the formulas have them, for logits that do not overflow.
fn sum_exp(logits: &[f32], t: f64) -> f64 {
    logits.iter().map(|&logit| (f64::from(logit) / t).exp()).sum()
}

#[test]
fn scores_are_their_formulas() {
    let row = prop::collection::vec(-30.0..30.0f32, 1..12);
    check(1000, &(row, 0.1..1000.0f64), |(logits, t)| {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        prop_assert_eq!(scores::max_logit(&logits), f64::from(max));
        let near = |found: f64, wanted: f64| (found - wanted).abs() <= 1e-11 * wanted.abs().max(1.0);
        let softmax = f64::from(max).exp() / sum_exp(&logits, 1.0);
        prop_assert!(near(scores::max_softmax(&logits), softmax), "{} {softmax}", scores::max_softmax(&logits));
        prop_assert!(near(scores::log_max_softmax(&logits), softmax.ln()));
        prop_assert!(near(scores::energy(&logits, 1.0), sum_exp(&logits, 1.0).ln()));
        let heated = t * sum_exp(&logits, t).ln();
        prop_assert!(near(scores::energy(&logits, t), heated), "T {t}: {} {heated}", scores::energy(&logits, t));

        prop_assert_eq!(Score::MaxLogit.of_logits(&logits), Some(scores::max_logit(&logits)));
        prop_assert_eq!(Score::MaxSoftmax.of_logits(&logits), Some(scores::log_max_softmax(&logits)));
        prop_assert_eq!(Score::Energy.of_logits(&logits), Some(scores::energy(&logits, 1.0)));
        prop_assert_eq!(Score::NegMse.of_logits(&logits), None);
        Ok(())
    });
}

#[test]
fn saturated_probabilities_still_rank() {
    // From a gap of 40 on the probability is 1 in f64; its logarithm goes on falling up to a gap of 745.
    let sure = |gap: f32| [gap, 0.0, -3.0];
    let rank = |gap: f32| Score::MaxSoftmax.of_logits(&sure(gap)).unwrap();
    for gap in 40..700 {
        let gap = gap as f32;
        assert_eq!(scores::max_softmax(&sure(gap)), 1.0);
        assert!(rank(gap) < rank(gap + 1.0), "gaps {gap} and {} tie", gap + 1.0);
        assert!(rank(gap) < 0.0);
    }
    let (id, ood): (Vec<f64>, Vec<f64>) =
        ((400..500).map(|g| rank(g as f32)).collect(), (100..200).map(|g| rank(g as f32)).collect());
    assert_eq!(metrics::auroc(&id, &ood).unwrap(), 1.0, "ties would make it 0.5");
    // The other way, toward uniform logits, nothing is lost either.
    let flat = |gap: f32| scores::log_max_softmax(&[gap, 0.0]);
    assert!(flat(0.0) < flat(1e-6) && flat(1e-6) < flat(2e-6));
}

#[test]
fn scores_without_a_meaning_are_refused_with_their_index() {
    for score in [Score::MaxLogit, Score::MaxSoftmax, Score::Energy] {
        let rows: [&[f32]; 4] = [&[1.0, 2.0], &[0.0, -1.0], &[3.0, f32::NAN], &[]];
        let values: Vec<f64> = rows.iter().filter_map(|row| score.of_logits(row)).collect();
        assert!(values[3].is_nan(), "{score} of an empty row");
        let error = metrics::auroc(&values, &[0.0]).unwrap_err();
        assert_eq!(error, MetricsError::NotANumber { set: ScoreSet::Id, index: 2 }, "{score}");
    }
}

#[test]
fn names_are_those_of_the_files() {
    let names = Score::ALL.map(|score| score.to_string());
    assert_eq!(
        names,
        [
            "max_logit",
            "max_softmax",
            "energy",
            "neg_mse",
            "odin",
            "knn",
            "mahalanobis",
            "vim",
            "react",
            "ash_s",
            "ash_b",
            "ash_p",
        ]
    );
}
