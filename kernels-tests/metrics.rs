//! OOD metrics against scikit-learn (`scripts/metrics_golden.py`) and against their definitions.

use oodcrate::ood::metrics::{
    Metrics, MetricsError, ScoreSet, aupr_in, aupr_out, auroc, detection_error, fpr95_id,
    fpr95_ood, roc_curve,
};
use proptest::prelude::*;

const TOLERANCE: f64 = 1e-12;

#[derive(serde::Deserialize)]
struct Golden {
    name: String,
    id: Vec<f64>,
    ood: Vec<f64>,
    auroc: f64,
    aupr_in: f64,
    aupr_out: f64,
    fpr95_id: f64,
    fpr95_ood: f64,
    detection_error: f64,
    prevalence: f64,
    roc_points: usize,
    roc_sum: f64,
    roc_dot: f64,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("golden/metrics.json")).expect("the golden file is valid")
}

fn assert_close(case: &str, what: &str, got: f64, want: f64) {
    let close = (got - want).abs() <= TOLERANCE * want.abs().max(1.0);
    assert!(close, "{case}: {what} is {got}, scikit-learn has {want}");
}

#[test]
fn agrees_with_scikit_learn() {
    let cases = golden();
    assert!(cases.len() >= 40, "only {} golden cases", cases.len());
    for case in &cases {
        let got = Metrics::from_scores(&case.id, &case.ood).expect("the scores are valid");
        for (what, got, want) in [
            ("auroc", got.auroc, case.auroc),
            ("aupr_in", got.aupr_in, case.aupr_in),
            ("aupr_out", got.aupr_out, case.aupr_out),
            ("fpr95_id", got.fpr95_id, case.fpr95_id),
            ("fpr95_ood", got.fpr95_ood, case.fpr95_ood),
            ("detection_error", got.detection_error, case.detection_error),
            ("prevalence", got.prevalence, case.prevalence),
        ] {
            assert_close(&case.name, what, got, want);
        }
    }
}

#[test]
fn roc_curve_agrees_with_scikit_learn() {
    for case in golden() {
        let curve = roc_curve(&case.id, &case.ood).expect("the scores are valid");
        assert_eq!(curve.len(), case.roc_points, "{}", case.name);
        let sum = curve.iter().enumerate().map(|(i, p)| i as f64 * p.0).sum();
        let dot = curve.iter().map(|p| p.0 * p.1).sum();
        assert_close(&case.name, "roc_sum", sum, case.roc_sum);
        assert_close(&case.name, "roc_dot", dot, case.roc_dot);
        assert_eq!(curve.first(), Some(&(0.0, 0.0)));
        assert_eq!(curve.last(), Some(&(1.0, 1.0)));
    }
}

#[test]
fn single_precision_scores_give_the_same_metrics() {
    let narrow = |scores: &[f64]| scores.iter().map(|&s| s as f32).collect::<Vec<_>>();
    for case in golden() {
        assert_eq!(
            Metrics::from_scores(&narrow(&case.id), &narrow(&case.ood)),
            Metrics::from_scores(&case.id, &case.ood),
            "{}",
            case.name
        );
    }
}

#[test]
fn the_functions_and_the_struct_agree() {
    for Golden { id, ood, name, .. } in golden() {
        let all = Metrics::from_scores(&id, &ood).expect("the scores are valid");
        assert_eq!(auroc(&id, &ood), Ok(all.auroc), "{name}");
        assert_eq!(aupr_in(&id, &ood), Ok(all.aupr_in), "{name}");
        assert_eq!(aupr_out(&id, &ood), Ok(all.aupr_out), "{name}");
        assert_eq!(fpr95_id(&id, &ood), Ok(all.fpr95_id), "{name}");
        assert_eq!(fpr95_ood(&id, &ood), Ok(all.fpr95_ood), "{name}");
        assert_eq!(
            detection_error(&id, &ood),
            Ok(all.detection_error),
            "{name}"
        );
    }
}

#[test]
fn infinities_are_ordinary_ranks() {
    let inf = f64::INFINITY;
    assert_eq!(
        Metrics::from_scores(&[inf, 1.0, -inf], &[inf, -inf, -inf, 0.0]),
        Metrics::from_scores(&[9.0, 1.0, -9.0], &[9.0, -9.0, -9.0, 0.0])
    );
}

#[test]
fn negative_zero_ties_with_zero() {
    assert_eq!(auroc(&[0.0], &[-0.0]), Ok(0.5));
    assert_eq!(auroc(&[-0.0], &[0.0]), Ok(0.5));
}

#[test]
fn bad_input_is_named() {
    let empty: [f32; 0] = [];
    let (id, ood) = (ScoreSet::Id, ScoreSet::Ood);
    let metrics = |a: &[f32], b: &[f32]| Metrics::from_scores(a, b).expect_err("invalid scores");
    assert_eq!(metrics(&empty, &[1.0]), MetricsError::Empty { set: id });
    assert_eq!(metrics(&[1.0], &empty), MetricsError::Empty { set: ood });
    let nan = metrics(&[1.0], &[1.0, 2.0, f32::NAN, f32::NAN]);
    assert_eq!(nan, MetricsError::NotANumber { set: ood, index: 2 });
    assert_eq!(
        nan.to_string(),
        "the out-of-distribution score at index 2 is NaN and cannot be ranked"
    );
    assert_eq!(
        metrics(&[f32::NAN], &[f32::NAN]),
        MetricsError::NotANumber { set: id, index: 0 }
    );
}

#[test]
fn serialises_with_its_field_names() {
    let metrics = Metrics::from_scores(&[1.0, 2.0], &[0.0, 0.5]).expect("the scores are valid");
    assert_eq!(
        serde_json::to_value(metrics).expect("plain numbers"),
        serde_json::json!({
            "auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0, "fpr95_id": 0.0, "fpr95_ood": 0.0,
            "detection_error": 0.0, "prevalence": 0.5,
        })
    );
}

/// Every metric straight from its definition, O(n²): for each threshold, count.
fn by_definition(id: &[f64], ood: &[f64]) -> [f64; 6] {
    let share = |scores: &[f64], test: &dyn Fn(f64) -> bool| {
        scores.iter().filter(|&&s| test(s)).count() as f64 / scores.len() as f64
    };
    let wins = |a: f64, b: f64| f64::from(u8::from(a > b)) + 0.5 * f64::from(u8::from(a == b));
    let pairs = id
        .iter()
        .flat_map(|&a| ood.iter().map(move |&b| wins(a, b)));
    let auroc = pairs.sum::<f64>() / (id.len() * ood.len()) as f64;

    let mut thresholds: Vec<f64> = id.iter().chain(ood).copied().collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    // (true positive rate, false positive rate, precision) with either class as positive.
    let kept = |t: f64| {
        let (tpr, fpr) = (share(id, &|s| s >= t), share(ood, &|s| s >= t));
        let (tp, fp) = (tpr * id.len() as f64, fpr * ood.len() as f64);
        (tpr, fpr, tp / (tp + fp))
    };
    let rejected = |t: f64| {
        let (tpr, fpr) = (share(ood, &|s| s <= t), share(id, &|s| s <= t));
        let (tp, fp) = (tpr * ood.len() as f64, fpr * id.len() as f64);
        (tpr, fpr, tp / (tp + fp))
    };
    let points_in: Vec<_> = thresholds.iter().map(|&t| kept(t)).collect();
    let points_out: Vec<_> = thresholds.iter().rev().map(|&t| rejected(t)).collect();
    let average_precision = |points: &[(f64, f64, f64)]| {
        let steps = points.iter().scan(0.0, |before, p| {
            Some((p.0 - std::mem::replace(before, p.0)) * p.2)
        });
        steps.sum::<f64>()
    };
    let fpr95 = |points: &[(f64, f64, f64)]| {
        points
            .iter()
            .find(|p| p.0 >= 0.95)
            .map_or(f64::NAN, |p| p.1)
    };
    let error = |p: &(f64, f64, f64)| 0.5 * (1.0 - p.0 + p.1);
    [
        auroc,
        average_precision(&points_in),
        average_precision(&points_out),
        fpr95(&points_in),
        fpr95(&points_out),
        points_in.iter().map(error).fold(0.5, f64::min),
    ]
}

fn as_array(m: &Metrics) -> [f64; 6] {
    [
        m.auroc,
        m.aupr_in,
        m.aupr_out,
        m.fpr95_id,
        m.fpr95_ood,
        m.detection_error,
    ]
}

/// Few enough distinct values that ties, within a set and across, are the rule.
fn tied() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-12i32..12).prop_map(f64::from), 1..80)
}

fn any_scores() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![tied(), prop::collection::vec(-1e6f64..1e6, 1..80)]
}

proptest! {
    #[test]
    fn equals_the_definition(id in any_scores(), ood in any_scores()) {
        let got = Metrics::from_scores(&id, &ood)?;
        for (got, want) in as_array(&got).into_iter().zip(by_definition(&id, &ood)) {
            prop_assert!((got - want).abs() <= TOLERANCE, "{got} is not {want}");
        }
    }

    #[test]
    fn exchanging_the_sets_complements_auroc(a in any_scores(), b in any_scores()) {
        prop_assert!((auroc(&a, &b)? + auroc(&b, &a)? - 1.0).abs() <= f64::EPSILON);
    }

    #[test]
    fn exchanging_and_negating_exchanges_the_directions(a in any_scores(), b in any_scores()) {
        let negated = |v: &[f64]| v.iter().map(|x| -x).collect::<Vec<_>>();
        let here = Metrics::from_scores(&a, &b)?;
        let there = Metrics::from_scores(&negated(&b), &negated(&a))?;
        prop_assert_eq!(here.auroc, there.auroc);
        prop_assert_eq!(here.aupr_in, there.aupr_out);
        prop_assert_eq!(here.aupr_out, there.aupr_in);
        prop_assert_eq!(here.fpr95_id, there.fpr95_ood);
        prop_assert_eq!(here.fpr95_ood, there.fpr95_id);
        prop_assert_eq!(here.detection_error, there.detection_error);
    }

    #[test]
    fn only_the_order_matters(id in tied(), ood in tied()) {
        // Strictly increasing, and exact on small integers.
        let bent = |v: &[f64]| v.iter().map(|x| x * x * x + 2.0 * x - 7.0).collect::<Vec<_>>();
        let exponential = |v: &[f64]| v.iter().map(|x| x.exp2()).collect::<Vec<_>>();
        let want = Metrics::from_scores(&id, &ood)?;
        prop_assert_eq!(Metrics::from_scores(&bent(&id), &bent(&ood))?, want);
        prop_assert_eq!(Metrics::from_scores(&exponential(&id), &exponential(&ood))?, want);
    }

    #[test]
    fn the_area_under_the_curve_is_auroc(id in any_scores(), ood in any_scores()) {
        let curve = roc_curve(&id, &ood)?;
        let trapezium = |w: &[(f64, f64)]| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0;
        let area: f64 = curve.windows(2).map(trapezium).sum();
        prop_assert!((area - auroc(&id, &ood)?).abs() <= TOLERANCE);
    }
}
