//! The report: self-contained, escaped, well nested, readable without pictures, and its numbers those of the result.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/made_up.rs"]
mod made_up;
#[path = "common/markup.rs"]
mod markup;

use std::path::Path;

use folder::TempFolder;
use made_up::{Recipe, result};
use markup::{Piece, table, text};
use shadegrad::lab::report;
use shadegrad::lab::results::LabResult;

/// Makes the page and checks what must hold for every result.
fn checked(result: &LabResult) -> Vec<Piece> {
    markup::checked(&report::html(result).unwrap())
}

/// As the page writes a share in percent.
fn percent(value: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * value)
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0);
    (mean, variance.sqrt())
}

fn with_deviation(values: &[f64]) -> String {
    let (mean, deviation) = mean_and_deviation(values);
    format!("{mean:.3}\u{a0}±\u{a0}{deviation:.3}")
}

fn six(m: &shadegrad::ood::metrics::Metrics) -> [f64; 6] {
    [m.auroc, m.aupr_in, m.aupr_out, m.fpr95_id, m.fpr95_ood, m.detection_error]
}

#[test]
fn the_sample_is_written() {
    let folder = TempFolder::new("report");
    let path = folder.path().join("report.html");
    let result = result(&Recipe::default());
    report::write(&result, &path).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        report::html(&result).unwrap(),
        "two pages of one result differ"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // To look at it: SHADEGRAD_SAMPLE_REPORT=FILE cargo test --test report the_sample
    if let Some(place) = std::env::var_os("SHADEGRAD_SAMPLE_REPORT") {
        std::fs::copy(&path, place).unwrap();
    }
}

/// The report of a real run: SHADEGRAD_REPORT_FROM=result.json SHADEGRAD_SAMPLE_REPORT=FILE.
#[test]
fn a_given_result_is_written() {
    let names = ["SHADEGRAD_REPORT_FROM", "SHADEGRAD_SAMPLE_REPORT"];
    let [Some(from), Some(place)] = names.map(std::env::var_os) else { return };
    let result = serde_json::from_str(&std::fs::read_to_string(from).unwrap()).unwrap();
    checked(&result);
    report::write(&result, Path::new(&place)).unwrap();
}

#[test]
fn a_result_from_its_json_gives_the_same_page() {
    let result = result(&Recipe { seeds: vec![3], eps: vec![0.0, 2.0], ..Recipe::default() });
    let again: LabResult = serde_json::from_str(&serde_json::to_string(&result).unwrap()).unwrap();
    assert!(report::html(&again).unwrap() == report::html(&result).unwrap());
}

#[test]
fn tables_show_the_results_numbers() {
    let result = result(&Recipe::default());
    let page = checked(&result);
    let scores = ["max_logit", "max_softmax", "energy"];

    let rows = table(&page, "metrics");
    let baseline: Vec<_> = result.classifiers.iter().filter(|run| run.variant.eps == 0.0).collect();
    assert_eq!(rows.len(), 1 + scores.len() * (baseline.len() + 1));
    for (at, score) in scores.iter().enumerate() {
        let rows = &rows[1 + at * (baseline.len() + 1)..][..baseline.len() + 1];
        let values: Vec<[f64; 6]> = baseline.iter().map(|run| six(&run.detection.scores[*score].metrics)).collect();
        for ((row, run), values) in rows.iter().zip(&baseline).zip(&values) {
            assert_eq!(row[..2], [score.replace('_', " "), run.seed.to_string()]);
            assert_eq!(row[2..], values.map(|value| format!("{value:.4}")));
        }
        let mean = rows.last().unwrap();
        assert_eq!(mean[1], "mean ± s.d.");
        for (column, cell) in mean[2..].iter().enumerate() {
            assert_eq!(*cell, with_deviation(&values.iter().map(|row| row[column]).collect::<Vec<_>>()));
        }
    }

    let rows = table(&page, "effect-table");
    assert_eq!(rows.len(), 1 + result.plan.variants.len());
    for (row, variant) in rows[1..].iter().zip(&result.plan.variants) {
        let runs: Vec<_> = result.classifiers.iter().filter(|run| run.variant == *variant).collect();
        let eps = if variant.eps == 0.0 { "–".to_owned() } else { format!("{}/255", variant.eps) };
        assert_eq!(row[..4], [variant.name.clone(), eps, "15".to_owned(), "5".to_owned()]);
        let (mean, deviation) =
            mean_and_deviation(&runs.iter().map(|run| 100.0 * run.test_accuracy).collect::<Vec<_>>());
        assert_eq!(row[4], format!("{mean:.1}\u{a0}±\u{a0}{deviation:.1}\u{a0}%"));
        for (cell, score) in row[5..].iter().zip(scores) {
            let values: Vec<f64> = runs.iter().map(|run| run.detection.scores[score].metrics.auroc).collect();
            let wanted = with_deviation(&values);
            let verdict = if variant.eps == 0.0 { String::new() } else { " higher".to_owned() };
            assert_eq!(*cell, wanted + &verdict);
        }
    }

    let rows = table(&page, "attack-table");
    let mut rows = rows[1..].iter();
    for attack in &result.attacks {
        assert_eq!(rows.next().unwrap()[2], percent(attack.clean_accuracy));
        for at in &attack.by_eps {
            let k = (at.eps * 255.0 * 100.0).round() / 100.0;
            let pgd = at.pgd_accuracy.unwrap();
            let shares = [at.accuracy, pgd, at.success, at.targeted_success].map(percent);
            let row = rows.next().unwrap();
            assert_eq!(row[..2], [attack.variant.name.clone(), format!("{k}/255")]);
            assert_eq!(row[2..], shares);
        }
    }
    assert!(rows.next().is_none());

    let rows = table(&page, "models");
    for (row, run) in rows[1..].iter().zip(&result.classifiers) {
        let last = run.epochs.last().unwrap();
        let share = |value: Option<f64>| value.map_or("–".to_owned(), percent);
        let alarm = if run.epochs.iter().any(|epoch| epoch.alarm) { "12" } else { "–" };
        assert_eq!(row[..4], [run.variant.name.clone(), run.seed.to_string(), "15".to_owned(), "0.7000".to_owned()]);
        assert_eq!(row[4..7], [percent(run.test_accuracy), share(last.fgsm_accuracy), share(last.pgd_accuracy)]);
        assert_eq!(row[7..], [alarm, "1,736"]);
    }
    assert_eq!(rows.len(), 1 + result.classifiers.len());

    let rows = table(&page, "metrics-autoencoder");
    let values = six(&result.autoencoder.detection.scores["neg_mse"].metrics);
    for (cell, value) in rows[1][1..].iter().zip(values) {
        assert!(*cell == format!("{value:.4}") || *cell == "> 0.9999" && value > 0.9999, "{cell} for {value}");
    }

    let rows = table(&page, "compat-attacks");
    let compat = result.attacks_compat.as_ref().unwrap();
    for ((row, theirs), ours) in rows[1..].iter().zip(&compat.by_eps).zip(&result.attacks[0].by_eps) {
        assert_eq!(row[2..4], [percent(theirs.accuracy), percent(ours.accuracy)]);
        assert_eq!(row[4..], [percent(theirs.success), percent(theirs.targeted_success)]);
    }

    let rows = table(&page, "stages");
    assert_eq!(rows.len(), 1 + result.stages.len());
    for (row, stage) in rows[1..].iter().zip(&result.stages) {
        assert!(row[0].contains(&stage.title) && row[0].contains(&stage.name));
        assert_eq!(row[2], stage.command.clone().unwrap_or("–".to_owned()));
        assert_eq!(row[1].contains("from an earlier run"), stage.kept);
    }
}

#[test]
fn what_the_lab_reported_stands_beside_ours() {
    let result = result(&Recipe::default());
    let rows = table(&checked(&result), "reported");
    let ours = |eps: f64, score: &str| -> Vec<f64> {
        let runs = result.classifiers.iter().filter(|run| run.variant.eps == eps);
        runs.map(|run| run.detection.scores[score].metrics.auroc).collect()
    };
    assert_eq!(
        rows[1][1..4],
        ["0.79 (50 epochs)".to_owned(), "0.84 (16 epochs)".to_owned(), with_deviation(&ours(0.0, "max_logit"))]
    );
    assert_eq!(rows[3][3], with_deviation(&ours(0.0, "max_softmax")));
    // The lab's 2/255 is 1/255 in pixels.
    assert_eq!(rows[5][2..4], ["0.80".to_owned(), with_deviation(&ours(1.0, "max_logit"))]);
    assert_eq!(rows[7][2..4], ["0.32".to_owned(), with_deviation(&ours(2.0, "max_logit"))]);
    assert_eq!(rows[7][4], "later: below every seed");
}

#[test]
fn sentences_follow_the_numbers() {
    let mut sample = result(&Recipe { eps: vec![0.0, 2.0], ..Recipe::default() });
    let page = text(&checked(&sample));
    assert!(page.contains("fgsm-2 beside the baseline: max logit") && page.contains(": higher;"), "{page}");
    assert!(page.contains("“Higher” and “lower” mean"));
    assert!(page.contains("did not go off in 5 training runs"));

    // The same numbers for both: nothing can be said.
    let baseline: Vec<_> = sample.classifiers[..5].iter().map(|run| run.detection.clone()).collect();
    for (run, detection) in sample.classifiers[5..].iter_mut().zip(baseline) {
        run.detection = detection;
    }
    let rows = table(&checked(&sample), "effect-table");
    assert!(rows[2][5..].iter().all(|cell| cell.ends_with("cannot be told apart with these seeds")), "{rows:?}");

    // The other way round.
    for run in &mut sample.classifiers[5..] {
        for facts in run.detection.scores.values_mut() {
            facts.metrics.auroc *= 0.1;
        }
    }
    let page = checked(&sample);
    assert!(table(&page, "effect-table")[2][5..].iter().all(|cell| cell.ends_with(" lower")));
    assert!(text(&page).contains("beside the baseline’s: lower for fgsm-2"));

    // An alarm is told with its run.
    let alarmed = text(&checked(&result(&Recipe { eps: vec![0.0, 8.0], ..Recipe::default() })));
    assert!(alarmed.contains("went off in 1 of 5 training runs: fgsm-8 seed 1 (first at epoch 12)"));
}

#[test]
fn one_seed_has_no_spread() {
    let page = checked(&result(&Recipe { seeds: vec![7], ..Recipe::default() }));
    let text = text(&page);
    assert!(text.contains("One seed was run, so no spread is given"));
    assert!(!text.contains('±'), "a spread of one seed");
    assert!(!text.contains("bands reach"), "there are no bands");
    let rows = table(&page, "effect-table");
    assert!(rows[2][5].ends_with("one seed only, no spread to judge by"), "{rows:?}");
    assert_eq!(table(&page, "metrics").len(), 4, "a mean of one seed");
}

#[test]
fn names_are_escaped() {
    let mut recipe = Recipe { seeds: vec![0], eps: vec![0.0, 4.0], ..Recipe::default() };
    let bad = "<script>alert(\"1\" & '2')</script>";
    recipe.classes[0] = bad.to_owned();
    recipe.classes[3] = "</title></svg></style>".to_owned();
    recipe.classes[5] = "a very long name of a class ".repeat(20);
    recipe.classes[6] = "Größe 大 🦀".to_owned();
    let mut result = result(&recipe);
    result.plan.data_name = "</p><b>\"data\"&".to_owned();
    result.plan.data = "{{ 7 * 7 }}".to_owned();
    result.command.push("<i>&amp;".to_owned());
    result.stages[0].title = bad.to_owned();
    result.stages[0].command = Some(bad.to_owned());
    result.classifiers[1].variant.name = "<u>robust</u>".to_owned();
    result.attacks[1].variant.name = "\"><img src=x onerror=alert(1)>".to_owned();
    let page = checked(&result);
    let text = text(&page);
    for name in
        [bad, "</title></svg></style>", "Größe 大 🦀", "</p><b>\"data\"&", "{{ 7 * 7 }}", "<i>&amp;", "<u>robust</u>"]
    {
        assert!(text.contains(name), "{name} is not on the page");
    }
    let twice = page.iter().any(|piece| piece.attribute("alt").is_some_and(|alt| alt.contains("&lt;")));
    assert!(!text.contains("&lt;") && !twice, "escaped twice");
    let alt = page.iter().filter_map(|piece| piece.attribute("alt")).any(|alt| alt.contains(bad));
    assert!(alt, "no picture says {bad}");
}

#[test]
fn results_with_little_in_them() {
    let small = || Recipe { seeds: vec![0], eps: vec![0.0], epochs: 1, compat: false, pgd: false, ..Recipe::default() };
    let page = text(&checked(&result(&small())));
    assert!(page.contains("No model was trained adversarially") && page.contains("nothing to compare"));
    assert!(page.contains("conventions were not run"));
    checked(&result(&Recipe { eps: vec![0.0, 2.0], ..small() }));
    checked(&result(&Recipe { seeds: vec![0, 1], ..small() }));

    let mut bare = result(&small());
    bare.id_samples.clear();
    bare.ood_samples.clear();
    bare.attacks.clear();
    bare.stages.clear();
    bare.command.clear();
    bare.autoencoder.id_examples.clear();
    bare.autoencoder.ood_examples.clear();
    bare.classifiers[0].logits = None;
    bare.classifiers[0].epochs.clear();
    assert!(text(&checked(&bare)).contains("no attack was run"));
    bare.classifiers[0].detection.scores.clear();
    bare.autoencoder.detection.scores.clear();
    checked(&bare);
    bare.classifiers.clear();
    let error = report::html(&bare).unwrap_err().to_string();
    assert!(error.contains("no classifier"), "{error}");

    let mut some = result(&Recipe { seeds: vec![0], eps: vec![0.0, 1.0], ..Recipe::default() });
    some.attacks[0].victims.clear();
    some.attacks[1].targets = Vec::new();
    some.attacks[1].by_eps.truncate(1);
    checked(&some);
    // More classes than the data set names.
    some.classes.truncate(3);
    checked(&some);
}

#[test]
fn numbers_at_the_ends_of_their_ranges() {
    let mut result = result(&Recipe { seeds: vec![0, 1], eps: vec![0.0, 2.0], ..Recipe::default() });
    for run in &mut result.classifiers {
        run.detection.scores.insert("max_logit".to_owned(), made_up::facts(1, (50.0, 1.0), (-50.0, 1.0), 500));
        run.test_accuracy = 1.0;
    }
    for attack in &mut result.attacks {
        for at in &mut attack.by_eps {
            (at.accuracy, at.success, at.targeted_success) = (0.0, 1.0, 0.0);
        }
        for victim in &mut attack.victims {
            (victim.confidence_clean, victim.confidence_adversarial) = (1.0, 0.0);
        }
        attack.targets.iter_mut().flatten().for_each(|cell| *cell = cell.map(|_| 0.0));
    }
    let page = checked(&result);
    assert_eq!(table(&page, "metrics")[1][2..], ["1.0000", "1.0000", "1.0000", "0.0000", "0.0000", "0.0000"]);
    assert_eq!(table(&page, "metrics")[3][2], "1.000\u{a0}±\u{a0}0.000");
    assert!(text(&page).contains("0.0\u{a0}%"));

    // Nearly perfect is not perfect.
    for run in &mut result.classifiers {
        run.detection.scores.get_mut("max_logit").unwrap().metrics.auroc = 0.999_999;
    }
    assert_eq!(table(&checked(&result), "metrics")[1][2], "> 0.9999");

    // Numbers that are none, and bins without extent.
    let facts = result.classifiers[0].detection.scores.get_mut("energy").unwrap();
    facts.histogram.edges.iter_mut().for_each(|edge| *edge = 1.0);
    facts.metrics.auroc = f64::NAN;
    result.classifiers[1].detection.scores.get_mut("energy").unwrap().histogram.edges.clear();
    result.classifiers[2].train_loss = f64::INFINITY;
    result.classifiers[2].test_accuracy = f64::NAN;
    result.classifiers[3].epochs[2].test_accuracy = f64::NAN;
    result.attacks[0].by_eps[1].accuracy = f64::NAN;
    result.attacks[0].targets[1][0] = Some(f64::NAN);
    result.autoencoder.test_mse = f64::NAN;
    result.autoencoder_compat.as_mut().unwrap().detection.scores.get_mut("neg_mse").unwrap().metrics.auroc = f64::NAN;
    result.seconds = f64::INFINITY;
    checked(&result);
}

#[test]
fn charts_say_what_they_show() {
    let page = checked(&result(&Recipe::default()));
    let charts = page.iter().filter(|piece| piece.opens("svg")).count();
    // Two on the cards; six of the classifier, two of the autoencoder; three and four of attacks; three of training;
    // three strips, four histograms, three ROC and three over epochs; five of the lab's conventions.
    assert_eq!(charts, 2 + 6 + 2 + 7 + 3 + 13 + 5);
    let pictures = page.iter().filter(|piece| piece.opens("img")).count();
    assert!(pictures > 80, "{pictures} pictures");
    let text = text(&page);
    for wanted in ["max logit", "true positive rate (ID kept)", "ε in 1/255", "epoch", "guessing", "alarm", "target →"]
    {
        assert!(text.contains(wanted), "no {wanted:?}");
    }
}

#[test]
fn a_report_that_cannot_be_placed_is_one_clear_line() {
    let folder = TempFolder::new("report");
    let result = result(&Recipe { seeds: vec![0], eps: vec![0.0], ..Recipe::default() });
    let error =
        report::write(&result, &folder.path().join("no such folder").join("report.html")).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("report.html") && !error.contains('\n'), "{error}");
}
