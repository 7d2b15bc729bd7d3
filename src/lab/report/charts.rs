//! Charts with two axes: score histograms, ROC curves, and curves over epochs or epsilons.

use crate::lab::axis::{Axis, Unit, share};
use crate::lab::results::{Histogram, ScoreFacts};

use super::drawing::{BELOW, Drawing, Mark, Panel, Point, WIDTH};

/// A spike so many times as tall as the other set's peak would flatten that set to a line; the axis then ends at
/// `CUT_AT` times the lower peak and the spike's height is written beside it. As in `lab::plots`.
const CUT_FROM: f64 = 6.0;
const CUT_AT: f64 = 3.0;

/// What the two sets are called.
#[derive(Clone, Copy)]
pub(super) struct Sets<'a> {
    pub(super) id: &'a str,
    pub(super) ood: &'a str,
}

/// Each set's shares of its own pictures, bin by bin.
fn shares(histogram: &Histogram) -> [Vec<f64>; 2] {
    [&histogram.id, &histogram.ood].map(|counts| {
        let sum: f64 = counts.iter().map(|&count| f64::from(count)).sum();
        counts.iter().map(|&count| f64::from(count) / sum.max(1.0)).collect()
    })
}

/// Both sets' scores, overlaid. `None` where the bins have no extent.
pub(super) fn histogram(
    key: &str,
    caption: String,
    axis: &str,
    sets: Sets<'_>,
    facts: &ScoreFacts,
    small: bool,
) -> Option<Drawing> {
    let edges = &facts.histogram.edges;
    let (&low, &high) = (edges.first()?, edges.last()?);
    if !(low.is_finite() && high.is_finite() && high > low) {
        return None;
    }
    let shares = shares(&facts.histogram);
    let peaks = shares.each_ref().map(|shares| shares.iter().copied().fold(0.0, f64::max));
    let (lower, higher) = (peaks[0].min(peaks[1]), peaks[0].max(peaks[1]));
    let is_cut = lower > 0.0 && higher > CUT_FROM * lower;
    let shown = if is_cut { CUT_AT * lower } else { higher.max(1e-6) };
    let description = format!(
        "Histogram of {axis}: {} and {} overlaid, from {low:.3} to {high:.3}; AUROC {}.",
        sets.id,
        sets.ood,
        share(facts.metrics.auroc, 4)
    );
    let mut drawing = Drawing::new(key, caption, description, if small { 260.0 } else { WIDTH }, 0.0);
    let top = drawing.legend(&[
        (Mark::Area, "id".to_owned(), sets.id.to_owned()),
        (Mark::Area, "ood".to_owned(), sets.ood.to_owned()),
    ]);
    let y = Axis::rounded(0.0, shown, if small { 3.0 } else { 4.0 }, Unit::Percent);
    let x = Axis::exact(low, high, if small { 4.0 } else { 6.0 }, Unit::Plain);
    let panel = Panel::below(top, if small { 120.0 } else { 170.0 }, drawing.width, x, y);
    panel.draw(&mut drawing, axis, "share of pictures");
    let outlines = shares.each_ref().map(|shares| outline(&panel, edges, shares));
    for (outline, class) in outlines.iter().zip(["area id", "area ood"]) {
        drawing.path(outline, class);
    }
    for (outline, class) in outlines.iter().zip(["line id", "line ood"]) {
        drawing.path(outline, class);
    }
    if is_cut {
        let set = usize::from(peaks[1] > peaks[0]);
        label_cut(&mut drawing, &panel, edges, &shares[set]);
    }
    panel.base(&mut drawing);
    drawing.ends_at(panel.bottom + BELOW);
    Some(drawing)
}

/// The steps of a histogram, empty ends left out.
fn outline(panel: &Panel, edges: &[f64], shares: &[f64]) -> Vec<Point> {
    let first = shares.iter().position(|&share| share > 0.0).unwrap_or(0);
    let last = shares.iter().rposition(|&share| share > 0.0).unwrap_or(0);
    let mut steps = vec![panel.at((edges[first], 0.0))];
    for (pair, &share) in edges.windows(2).zip(shares).take(last + 1).skip(first) {
        steps.push(panel.at((pair[0], share)));
        steps.push(panel.at((pair[1], share)));
    }
    if let Some(&end) = steps.last() {
        steps.push((end.0, panel.bottom));
    }
    steps.dedup();
    steps
}

/// Writes how far a cut-off spike reaches, on its roomier side.
fn label_cut(drawing: &mut Drawing, panel: &Panel, edges: &[f64], shares: &[f64]) {
    let highest = edges.windows(2).zip(shares).max_by(|a, b| a.1.total_cmp(b.1));
    let Some((bin, &peak)) = highest else { return };
    let (left, y) = panel.at((bin[0], peak));
    let right = panel.at((bin[1], peak)).0;
    let text = format!("reaches {:.0} %", 100.0 * peak);
    if left + right < panel.left + panel.right {
        drawing.text((right + 5.0, y + 12.0), "t", text);
    } else {
        drawing.text((left - 5.0, y + 12.0), "t end", text);
    }
}

/// A curve to draw: its class, its name in the legend, its points.
pub(super) struct Curve {
    pub(super) class: String,
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// ROC curves, ID positive. The name of each holds its AUROC.
pub(super) fn roc(key: &str, caption: String, curves: &[Curve]) -> Option<Drawing> {
    if curves.is_empty() {
        return None;
    }
    let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
    let description = format!("ROC curves with in-distribution as the positive class: {}.", names.join("; "));
    let mut drawing = Drawing::new(key, caption, description, WIDTH, 0.0);
    let mut legend: Vec<_> = curves.iter().map(|curve| (Mark::Line, curve.class.clone(), curve.name.clone())).collect();
    legend.push((Mark::Line, "chance".to_owned(), "guessing".to_owned()));
    let top = drawing.legend(&legend);
    let axis = || Axis::exact(0.0, 1.0, 5.0, Unit::Plain);
    let panel = Panel::below(top, 300.0, WIDTH, axis(), axis());
    panel.draw(&mut drawing, "false positive rate (OOD kept)", "true positive rate (ID kept)");
    drawing.path(&[panel.at((0.0, 0.0)), panel.at((1.0, 1.0))], "line chance");
    panel.base(&mut drawing);
    // The first curve last, so that the one named first is on top.
    for curve in curves.iter().rev() {
        let points: Vec<Point> = curve.points.iter().map(|&point| panel.at(point)).collect();
        drawing.path(&points, &format!("line {}", curve.class));
    }
    drawing.ends_at(panel.bottom + BELOW);
    Some(drawing)
}

/// What a chart of curves says beside them.
pub(super) struct Curves<'a> {
    pub(super) key: &'a str,
    pub(super) caption: String,
    pub(super) x_name: &'a str,
    pub(super) y_name: &'a str,
    pub(super) unit: Unit,
    /// The y axis covers [0, 1] whatever the values.
    pub(super) whole: bool,
    /// Also drawn: a horizontal line and what it means.
    pub(super) level: Option<(f64, &'a str)>,
}

/// A curve with the range that its seeds cover at each point.
pub(super) struct Banded {
    pub(super) curve: Curve,
    /// (x, lowest, highest).
    pub(super) band: Vec<(f64, f64, f64)>,
    /// Points to mark, such as alarms.
    pub(super) marks: Vec<Point>,
}

/// Curves over epochs or epsilons.
pub(super) fn curves(about: Curves<'_>, x: Axis, lines: &[Banded]) -> Option<Drawing> {
    let lines: Vec<&Banded> = lines.iter().filter(|line| !line.curve.points.is_empty()).collect();
    let values = || {
        lines.iter().flat_map(|line| {
            line.curve.points.iter().map(|p| p.1).chain(line.band.iter().flat_map(|&(_, low, high)| [low, high]))
        })
    };
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if lines.is_empty() || !low.is_finite() || !high.is_finite() {
        return None;
    }
    let (low, high) = if about.whole { (0.0, 1.0) } else { (0.0, high.max(0.05)) };
    let said: Vec<String> = lines.iter().map(|line| described(line, about.unit)).collect();
    let description = format!("{} over {}: {}.", about.y_name, about.x_name, said.join("; "));
    let mut drawing = Drawing::new(about.key, about.caption, description, WIDTH, 0.0);
    let mut legend: Vec<_> =
        lines.iter().map(|line| (Mark::Line, line.curve.class.clone(), line.curve.name.clone())).collect();
    if lines.iter().any(|line| !line.marks.is_empty()) {
        legend.push((Mark::Dot, "alarm".to_owned(), "alarm".to_owned()));
    }
    if let Some((_, name)) = about.level {
        legend.push((Mark::Line, "chance".to_owned(), name.to_owned()));
    }
    let top = drawing.legend(&legend);
    let panel = Panel::below(top, 200.0, WIDTH, x, Axis::rounded(low, high, 5.0, about.unit));
    panel.draw(&mut drawing, about.x_name, about.y_name);
    panel.base(&mut drawing);
    if let Some((level, _)) = about.level {
        drawing.path(&[panel.at((panel.x.low, level)), panel.at((panel.x.high, level))], "line chance");
    }
    for line in lines.iter().rev() {
        if let [(x, low, high)] = line.band[..] {
            drawing.path(&[panel.at((x, low)), panel.at((x, high))], &format!("line {}", line.curve.class));
        } else if line.band.iter().any(|&(_, low, high)| high > low) {
            let there = line.band.iter().map(|&(x, _, high)| panel.at((x, high)));
            let back = line.band.iter().rev().map(|&(x, low, _)| panel.at((x, low)));
            let around: Vec<Point> = there.chain(back).collect();
            drawing.path(&around, &format!("band {}", line.curve.class));
        }
    }
    for line in lines.iter().rev() {
        let points: Vec<Point> = line.curve.points.iter().map(|&point| panel.at(point)).collect();
        if points.len() <= 20 {
            for &point in &points {
                drawing.dot(point, 2.75, &format!("dot {}", line.curve.class), None);
            }
        }
        if points.len() > 1 {
            drawing.path(&points, &format!("line {}", line.curve.class));
        }
    }
    for &mark in lines.iter().flat_map(|line| &line.marks) {
        drawing.dot(panel.at(mark), 6.0, "ring alarm", Some("alarm".to_owned()));
    }
    drawing.ends_at(panel.bottom + BELOW);
    Some(drawing)
}

/// A curve in words: its first and last value.
fn described(line: &Banded, unit: Unit) -> String {
    let value = |value: f64| match unit {
        Unit::Plain => share(value, 3),
        Unit::Percent => format!("{:.1} %", 100.0 * value),
    };
    let (name, points) = (&line.curve.name, &line.curve.points);
    match points.as_slice() {
        [first, .., last] => format!("{name} from {} to {}", value(first.1), value(last.1)),
        [only] => format!("{name} {}", value(only.1)),
        [] => name.clone(),
    }
}
