//! The histogram of two sets of OOD scores.

use std::path::Path;

use plotters::prelude::DrawingBackend;
use plotters::style::Color;

use super::canvas::{self, Align, Canvas, Chart, Point};
use super::frame::{self, BELOW_PANEL, Frame, LegendEntry, MARGIN, Mark};
use super::{Axis, LINE, PlotError, Unit, metrics, share};

/// Odd, so that a set of equal scores, centred on the axis, is one bar in the middle.
const BINS: usize = 61;

/// A spike this many times as tall as the other set's peak would flatten that set to a line;
/// the axis then ends at `CUT_AT` times the lower peak and the spike is labelled.
const CUT_FROM: f64 = 6.0;
const CUT_AT: f64 = 3.0;

/// Share of each set that may lie beyond either end of the axis.
const TAIL: f64 = 0.005;

/// Draws the in-distribution and the OOD scores (any unit, named by `x_label`; higher means
/// more in-distribution) as overlaid histograms with shared bins, in percent of each set's
/// images, with the AUROC in the subtitle. Writes `path.svg` and `path.png`.
///
/// The axis covers everything, unless a few strays would stretch it: then it covers the middle
/// 99 % of each set, the first and last bin also hold what lies beyond (as they always hold
/// infinite scores), and the chart says how much that is. A spike far taller than the other
/// set's peak is cut off and labelled with its height.
///
/// # Errors
/// When a set is empty or has a NaN, a file cannot be written or the drawing fails.
pub fn score_histogram<T: Copy + Into<f64>>(
    path: &Path,
    title: &str,
    x_label: &str,
    id_name: &str,
    id_scores: &[T],
    ood_name: &str,
    ood_scores: &[T],
) -> Result<(), PlotError> {
    let auroc = metrics::auroc(id_scores, ood_scores)?;
    let sorted = |scores: &[T]| {
        let mut scores: Vec<f64> = scores.iter().map(|&s| s.into()).collect();
        scores.sort_unstable_by(f64::total_cmp);
        scores
    };
    let sets = [sorted(id_scores), sorted(ood_scores)];
    let range = shown_range(&sets);
    let beyond = sets.iter().flatten().filter(|&&score| score < range.0 || score > range.1).count();
    let chart = Histogram {
        title,
        subtitle: format!("AUROC {}", share(auroc, 4)),
        x_label: if beyond == 0 {
            x_label.to_owned()
        } else {
            let percent = 100.0 * beyond as f64 / (sets[0].len() + sets[1].len()) as f64;
            format!("{x_label} (outermost bins include the {percent:.1} % beyond the axis)")
        },
        names: [(id_name, sets[0].len()), (ood_name, sets[1].len())]
            .map(|(name, n)| format!("{name} ({} images)", crate::lab::axis::thousands(&n.to_string()))),
        range,
        shares: sets.map(|scores| {
            counted(&scores, range).into_iter().map(|count| f64::from(count) / scores.len() as f64).collect()
        }),
    };
    canvas::save(&chart, path)
}

/// The bins of [`score_histogram`] and how many scores of each set lie in each: bin i is `edges[i]..edges[i + 1]`,
/// and the first and last bin also hold what lies beyond. NaN has no bin and must not be among the scores.
pub fn score_bins(id_scores: &[f64], ood_scores: &[f64]) -> (Vec<f64>, [Vec<u32>; 2]) {
    let sets = [id_scores, ood_scores].map(|scores| {
        let mut scores = scores.to_vec();
        scores.sort_unstable_by(f64::total_cmp);
        scores
    });
    let range = shown_range(&sets);
    ((0..=BINS).map(|bin| edge(range, bin)).collect(), sets.map(|scores| counted(&scores, range)))
}

/// The lower edge of a bin, in the unit of the scores.
fn edge((low, high): (f64, f64), bin: usize) -> f64 {
    low + (high - low) * bin as f64 / BINS as f64
}

/// The span of the axis: everything where that is little more than the middle of each set, so
/// that a few strays do not squeeze the rest into one bin.
fn shown_range(sets: &[Vec<f64>; 2]) -> (f64, f64) {
    let span = |tail: f64| {
        sets.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), set| {
            let finite: Vec<f64> = set.iter().copied().filter(|s| s.is_finite()).collect();
            let skip = (tail * finite.len() as f64) as usize;
            match (finite.get(skip), finite.iter().rev().nth(skip)) {
                (Some(&first), Some(&last)) => (low.min(first), high.max(last)),
                _ => (low, high),
            }
        })
    };
    let (all, middle) = (span(0.0), span(TAIL));
    let (low, high) = if all.1 - all.0 <= 1.6 * (middle.1 - middle.0) { all } else { middle };
    if low > high {
        // Nothing is finite: all of it lies beyond either end.
        (-1.0, 1.0)
    } else if high - low <= 1e-9 * low.abs().max(high.abs()) {
        // One value: a bar in the middle.
        let half = (0.1 * low.abs()).max(1e-3);
        (low - half, low + half)
    } else {
        // Held so that the length of the axis is a finite number.
        (low.max(-1e300), high.min(1e300))
    }
}

/// How many of the scores are in each of the bins of `range`.
fn counted(scores: &[f64], (low, high): (f64, f64)) -> Vec<u32> {
    let mut counts = vec![0; BINS];
    for score in scores {
        // Halves first: the range of two huge scores may not be a finite number.
        let at = (score / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
        let bin = (at * BINS as f64).clamp(0.0, (BINS - 1) as f64) as usize;
        counts[bin] += 1;
    }
    counts
}

struct Histogram<'a> {
    title: &'a str,
    subtitle: String,
    x_label: String,
    /// Of the in-distribution set, then of the OOD set; so are the shares.
    names: [String; 2],
    range: (f64, f64),
    shares: [Vec<f64>; 2],
}

impl Chart for Histogram<'_> {
    fn size(&self) -> (u32, u32) {
        (800, 460)
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Result<(), PlotError> {
        let (width, height) = self.size();
        let (width, height) = (f64::from(width), f64::from(height));
        let legend: Vec<_> = (0..)
            .zip(&self.names)
            .map(|(i, name)| LegendEntry { mark: Mark::Area, color: frame::color(i), text: name.clone() })
            .collect();
        let top = frame::heading(canvas, width, self.title, Some(&self.subtitle), &legend)?;
        let peaks = self.shares.each_ref().map(|shares| shares.iter().copied().fold(0.0, f64::max));
        let (lower, higher) = (peaks[0].min(peaks[1]), peaks[0].max(peaks[1]));
        let is_cut = higher > CUT_FROM * lower;
        let shown = if is_cut { CUT_AT * lower } else { higher };
        let y = Axis::rounded(0.0, shown, 5.0, Unit::Percent);
        let panel = Frame {
            left: MARGIN + Frame::label_width(canvas, &y)?,
            top: top + 26.0,
            right: width - MARGIN,
            bottom: height - BELOW_PANEL - 8.0,
            x: Axis::exact(self.range.0, self.range.1, 8.0, Unit::Plain),
            y,
        };
        panel.draw(canvas, &self.x_label, "share of images per bin")?;
        let outlines = self.shares.each_ref().map(|s| self.outline(&panel, s));
        for (i, outline) in outlines.iter().enumerate() {
            canvas.polygon(outline, frame::color(i).mix(0.4))?;
        }
        for (i, outline) in outlines.iter().enumerate() {
            canvas.line(outline, LINE * 0.75, frame::color(i))?;
        }
        if is_cut {
            self.label_cut(canvas, &panel, usize::from(peaks[1] > peaks[0]))?;
        }
        panel.draw_base(canvas)
    }
}

impl Histogram<'_> {
    /// Writes the true height of a set's spike beside its cut-off top, on the roomier side.
    fn label_cut<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, DB>,
        panel: &Frame,
        set: usize,
    ) -> Result<(), PlotError> {
        let (bin, &peak) = (0..).zip(&self.shares[set]).max_by(|a, b| a.1.total_cmp(b.1)).unwrap_or((0, &0.0));
        let (left, y) = panel.at((self.edge(bin), peak));
        let (right, _) = panel.at((self.edge(bin + 1), peak));
        let (x, align) = if left + right < panel.left + panel.right {
            (right + 6.0, Align::Left)
        } else {
            (left - 6.0, Align::Right)
        };
        let text = format!("cut off here, reaches {:.0} %", 100.0 * peak);
        canvas.text(&text, (x, y + 16.0), align, frame::LABEL, frame::INK)
    }

    fn edge(&self, bin: usize) -> f64 {
        edge(self.range, bin)
    }

    /// The steps of a histogram from its left foot to its right foot, empty ends left out.
    fn outline(&self, panel: &Frame, shares: &[f64]) -> Vec<Point> {
        let edge = |bin| self.edge(bin);
        let first = shares.iter().position(|&s| s > 0.0).unwrap_or(0);
        let last = shares.iter().rposition(|&s| s > 0.0).unwrap_or(0);
        let mut steps = vec![panel.at((edge(first), 0.0))];
        for (bin, &share) in shares.iter().enumerate().take(last + 1).skip(first) {
            steps.push(panel.at((edge(bin), share)));
            steps.push(panel.at((edge(bin + 1), share)));
        }
        steps.push(panel.at((edge(last + 1), 0.0)));
        steps.dedup();
        steps
    }
}
