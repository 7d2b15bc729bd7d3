//! What was found, in sentences. Every one is made from the numbers: nothing here knows what will come out.

use serde::Serialize;

use crate::lab::axis::{in_255ths, share, thousands};
use crate::lab::results::{Attacks, LabResult};

use super::groups::{Group, class_name, same_eps, score_label, shown};
use crate::lab::seeds::{Summary, Verdict, compare, compare_to};

/// Said wherever a number of one seed stands.
const ONE_SEED: &str = "One seed was run, so no spread is given: another seed may give another number.";

/// The sentences of each exercise.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    pub(super) lede: Vec<String>,
    pub(super) classifier: Vec<String>,
    pub(super) autoencoder: Vec<String>,
    pub(super) attacks: Vec<String>,
    pub(super) training: Vec<String>,
    pub(super) effect: Vec<String>,
    pub(super) compat: Vec<String>,
}

pub(super) fn percent(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    // The sign stays with its number.
    format!("{:.1}\u{a0}%", 100.0 * value)
}

/// A mean squared error, to as many digits as tell autoencoders apart.
pub(super) fn mse(value: f64) -> String {
    if value.is_finite() { format!("{value:.5}") } else { "–".to_owned() }
}

fn eps_text(eps: f64) -> String {
    format!("{}/255", in_255ths(eps))
}

/// `"1 seed"`, `"5 seeds"`.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Parts of a sentence: `a, b and c`.
fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Everything that the report says, in its order.
pub(super) fn findings(result: &LabResult, groups: &[Group<'_>], scores: &[&str]) -> Findings {
    Findings {
        lede: lede(result, groups, scores),
        classifier: groups.first().map(|baseline| classifier(baseline, scores)).unwrap_or_default(),
        autoencoder: autoencoder(result, groups, scores),
        attacks: attacks(result),
        training: training(groups),
        effect: effect(groups, scores),
        compat: compat(result),
    }
}

fn lede(result: &LabResult, groups: &[Group<'_>], scores: &[&str]) -> Vec<String> {
    let mut said = Vec::new();
    let (Some(baseline), Some(&main)) = (groups.first(), scores.first()) else { return said };
    if let Some(auroc) = baseline.auroc.get(main) {
        said.push(format!(
            "{} of the {} classifier scores {} above {} with AUROC {}; the autoencoder’s reconstruction error with {}.",
            capital(&score_label(main)),
            baseline.variant.name,
            result.plan.data_name,
            result.autoencoder.detection.ood,
            auroc.text(),
            best_autoencoder(result),
        ));
    }
    if let Some(attack) = result.attacks.first()
        && let Some(at) = shown(attack, result.plan.shown_eps)
    {
        said.push(format!(
            "One FGSM step of ε = {} takes the {}’s accuracy from {} to {}.",
            eps_text(at.eps),
            attack.variant.name,
            percent(attack.clean_accuracy),
            percent(at.accuracy)
        ));
    }
    said.extend(beside_baseline(groups, main));
    if groups.iter().any(Group::is_single) {
        said.push(ONE_SEED.to_owned());
    }
    said
}

/// The robust models' AUROC, those with one verdict together.
fn beside_baseline(groups: &[Group<'_>], score: &str) -> Option<String> {
    let (baseline, robust) = groups.split_first()?;
    let base = baseline.auroc.get(score)?;
    let mut parts: Vec<String> = Vec::new();
    for verdict in [Verdict::Higher, Verdict::Lower, Verdict::Undecided, Verdict::OneSeed] {
        let with: Vec<String> = robust
            .iter()
            .filter_map(|group| Some((group, group.auroc.get(score)?)))
            .filter(|(_, auroc)| compare(auroc, base) == verdict)
            .map(|(group, auroc)| format!("{} ({})", group.variant.name, auroc.text()))
            .collect();
        if !with.is_empty() {
            let comma = if verdict == Verdict::OneSeed { "," } else { "" };
            parts.push(format!("{}{comma} for {}", verdict.words(), joined(&with)));
        }
    }
    let (label, name) = (score_label(score), &baseline.variant.name);
    let parts = (!parts.is_empty()).then(|| parts.join("; "))?;
    Some(format!("AUROC of {label} after adversarial training, beside the {name}’s: {parts}."))
}

fn best_autoencoder(result: &LabResult) -> String {
    let scores = &result.autoencoder.detection.scores;
    scores.values().next().map_or_else(|| "no score".to_owned(), |facts| share(facts.metrics.auroc, 3))
}

fn classifier(baseline: &Group<'_>, scores: &[&str]) -> Vec<String> {
    let mut said = vec![format!(
        "The {} reaches a test accuracy of {} after {} ({}).",
        baseline.variant.name,
        baseline.accuracy.percent(),
        counted(baseline.epochs() as usize, "epoch"),
        counted(baseline.runs.len(), "seed"),
    )];
    for name in scores {
        let Some(auroc) = baseline.auroc.get(name) else { continue };
        let verdict = match compare_to(auroc, 0.5) {
            Verdict::Higher => "higher than guessing (0.5)".to_owned(),
            Verdict::Lower => "lower than guessing (0.5): the noise gets the higher scores".to_owned(),
            Verdict::Undecided => "cannot be told apart from guessing (0.5) with these seeds".to_owned(),
            Verdict::OneSeed if auroc.mean < 0.5 => {
                "below 0.5 for this seed: the noise gets the higher scores".to_owned()
            }
            Verdict::OneSeed => "for this seed".to_owned(),
        };
        let range = match auroc.deviation {
            Some(_) => format!(" (seeds from {} to {})", share(auroc.low, 3), share(auroc.high, 3)),
            None => String::new(),
        };
        said.push(format!("{}: AUROC {}{range}, {verdict}.", capital(&score_label(name)), auroc.text()));
    }
    if baseline.is_single() {
        said.push(ONE_SEED.to_owned());
    }
    said
}

pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn autoencoder(result: &LabResult, groups: &[Group<'_>], scores: &[&str]) -> Vec<String> {
    let autoencoder = &result.autoencoder;
    let mut said = vec![format!(
        "After {} the autoencoder rebuilds test pictures with a mean squared error of {}.",
        counted(autoencoder.epochs as usize, "epoch"),
        mse(autoencoder.test_mse)
    )];
    for (name, facts) in &autoencoder.detection.scores {
        said.push(format!(
            "{}: AUROC {}. One autoencoder was trained, so no spread is given.",
            capital(&score_label(name)),
            share(facts.metrics.auroc, 4)
        ));
        let beside = groups.first().zip(scores.first()).and_then(|(baseline, main)| baseline.auroc.get(main));
        if let (Some(beside), Some(main)) = (beside, scores.first()) {
            let stands = stands(facts.metrics.auroc, beside);
            said.push(format!(
                "That is {stands} of the {} classifier’s {}.",
                groups[0].variant.name,
                score_label(main)
            ));
        }
    }
    said
}

/// Where a number lies in the range that the seeds cover.
pub(super) fn stands(value: f64, seeds: &Summary) -> &'static str {
    match (value > seeds.high, value < seeds.low, seeds.values.len() > 1) {
        (true, _, true) => "above every seed",
        (true, _, false) => "above the one seed",
        (_, true, true) => "below every seed",
        (_, true, false) => "below the one seed",
        (_, _, true) => "within the range of the seeds",
        (_, _, false) => "equal to the one seed",
    }
}

fn attacks(result: &LabResult) -> Vec<String> {
    let mut said = Vec::new();
    for attack in &result.attacks {
        let Some(at) = shown(attack, result.plan.shown_eps) else { continue };
        let moves = match at.accuracy.total_cmp(&attack.clean_accuracy) {
            std::cmp::Ordering::Less => "falls",
            std::cmp::Ordering::Equal => "stays",
            std::cmp::Ordering::Greater => "rises",
        };
        let pgd = at.pgd_accuracy.map(|pgd| format!(" ({} under PGD-10)", percent(pgd))).unwrap_or_default();
        said.push(format!(
            "{}: accuracy {moves} from {} to {} under FGSM at ε = {}{pgd}; {} of the correctly classified pictures are \
             misled. The targeted attack on the next class reaches it for {}.{}",
            attack.variant.name,
            percent(attack.clean_accuracy),
            percent(at.accuracy),
            eps_text(at.eps),
            percent(at.success),
            percent(at.targeted_success),
            easiest(result, attack).unwrap_or_default(),
        ));
    }
    if let Some(first) = result.attacks.first() {
        said.push(format!(
            "One model a variant was attacked (seed {}, {} test pictures), so these numbers have no spread over seeds.",
            first.seed,
            thousands(&first.images.to_string())
        ));
    }
    said
}

/// The pair of label and target that the attack reaches most often.
fn easiest(result: &LabResult, attack: &Attacks) -> Option<String> {
    let pairs = attack.targets.iter().enumerate().flat_map(|(label, row)| {
        row.iter().enumerate().filter_map(move |(target, value)| value.map(|value| (label, target, value)))
    });
    let (label, target, value) = pairs.max_by(|a, b| a.2.total_cmp(&b.2)).filter(|best| best.2 > 0.0)?;
    let name = |at| class_name(&result.classes, at);
    Some(format!(" Of all pairs, {} is made into {} most often: {}.", name(label), name(target), percent(value)))
}

fn training(groups: &[Group<'_>]) -> Vec<String> {
    let mut said = Vec::new();
    let Some((baseline, robust)) = groups.split_first() else { return said };
    for group in robust {
        let last = |pick: fn(&crate::lab::results::EpochFacts) -> Option<f64>| {
            Summary::of(group.runs.iter().filter_map(|run| run.epochs.last().and_then(pick)).collect())
        };
        let mut parts = vec![format!("clean {}", group.accuracy.percent())];
        parts.extend(last(|epoch| epoch.fgsm_accuracy).map(|fgsm| format!("FGSM {}", fgsm.percent())));
        parts.extend(last(|epoch| epoch.pgd_accuracy).map(|pgd| format!("PGD {}", pgd.percent())));
        let verdict = compare(&group.accuracy, &baseline.accuracy).words();
        said.push(format!(
            "{}: {} after the last epoch. Clean accuracy beside the {}’s {}: {verdict}.",
            group.variant.name,
            joined(&parts),
            baseline.variant.name,
            baseline.accuracy.percent(),
        ));
    }
    let runs = || robust.iter().flat_map(|group| &group.runs);
    let alarms: Vec<String> = runs()
        .filter_map(|run| {
            let first = run.epochs.iter().find(|epoch| epoch.alarm)?;
            Some(format!("{} seed {} (first at epoch {})", run.variant.name, run.seed, first.epoch))
        })
        .collect();
    let count = runs().count();
    said.push(match (count, alarms.len()) {
        (0, _) => "No model was trained adversarially in this run.".to_owned(),
        (_, 0) => {
            format!("The alarm of catastrophic overfitting did not go off in {}.", counted(count, "training run"))
        }
        _ => format!(
            "The alarm of catastrophic overfitting went off in {} of {}: {}.",
            alarms.len(),
            counted(count, "training run"),
            joined(&alarms)
        ),
    });
    if robust.iter().any(Group::is_single) {
        said.push(ONE_SEED.to_owned());
    }
    said
}

fn effect(groups: &[Group<'_>], scores: &[&str]) -> Vec<String> {
    let Some((baseline, robust)) = groups.split_first() else { return Vec::new() };
    let mut said = Vec::new();
    for group in robust {
        let parts: Vec<String> = scores
            .iter()
            .filter_map(|name| {
                let (ours, base) = (group.auroc.get(name)?, baseline.auroc.get(name)?);
                let words = compare(ours, base).words();
                Some(format!("{} {} against {}: {words}", score_label(name), ours.text(), base.text()))
            })
            .collect();
        said.push(format!("{} beside the {}: {}.", group.variant.name, baseline.variant.name, parts.join("; ")));
    }
    if robust.is_empty() {
        said.push("Only one variant was trained, so there is nothing to compare.".to_owned());
    } else if groups.iter().any(Group::is_single) {
        said.push(ONE_SEED.to_owned());
    } else {
        said.push(
            "“Higher” and “lower” mean that the 95 % interval of the difference of the means over seeds (Welch’s) \
             leaves out zero; nothing is corrected for the number of comparisons."
                .to_owned(),
        );
    }
    said
}

fn compat(result: &LabResult) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(compat) = &result.autoencoder_compat {
        for (name, theirs) in &compat.detection.scores {
            let Some(ours) = result.autoencoder.detection.scores.get(name) else { continue };
            said.push(format!(
                "{}: AUROC {} when the autoencoder is trained as the lab did (inputs in [−1, 1], sigmoid at the end), \
                 {} on pixels in [0, 1].",
                capital(&score_label(name)),
                share(theirs.metrics.auroc, 4),
                share(ours.metrics.auroc, 4)
            ));
        }
    }
    if let (Some(compat), Some(ours)) = (&result.attacks_compat, result.attacks.first()) {
        // What the lab would call the epsilon that is shown elsewhere, or what is nearest to it.
        let wanted = result.plan.shown_eps / 2.0;
        let distance = |eps: f64| (in_255ths(eps) - wanted).abs();
        let common = compat.by_eps.iter().filter_map(|at| Some((at, same_eps(ours, at.eps)?)));
        let common = common.min_by(|a, b| distance(a.0.eps).total_cmp(&distance(b.0.eps)));
        if let Some((theirs, ours)) = common {
            said.push(format!(
                "At ε = {} in pixels ({} as the lab writes it) the accuracy is {} by the lab’s conventions and {} by ours.",
                eps_text(theirs.eps),
                eps_text(2.0 * theirs.eps),
                percent(theirs.accuracy),
                percent(ours.accuracy)
            ));
        }
    }
    if said.is_empty() {
        said.push("The lab’s own conventions were not run this time.".to_owned());
    }
    said
}
