//! The lab's charts: score histograms, ROC curves, training curves, heat maps and pictures under attack.
//!
//! Each chart is drawn once and written twice, as `path.svg` and as `path.png` (two pixels per
//! point). No font, browser or other program of the system takes part, so the same data gives
//! the same files everywhere. Files appear whole or not at all: they are written beside their
//! place and renamed.

mod canvas;
mod frame;
mod heatmap;
mod histogram;
mod triptych;

use std::io;
use std::path::{Path, PathBuf};

use plotters::prelude::DrawingBackend;
use plotters::style::Color;
use thiserror::Error;

use super::axis::{Axis, Unit, share};
use crate::ood::metrics::{self, MetricsError};
use canvas::{Canvas, Chart, Point};
use frame::{BELOW_PANEL, Frame, GRAY, LegendEntry, MARGIN, Mark};

pub use heatmap::heat_map;
pub use histogram::{score_bins, score_histogram};
pub use triptych::{Triptych, triptychs};

/// Why a chart was not written.
#[derive(Debug, Error)]
pub enum PlotError {
    /// The picture could not be put in its place.
    #[error("cannot write the chart {}: {source}", path.display())]
    Write {
        /// The file wanted.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pixels could not be compressed.
    #[error("cannot encode the chart {}: {source}", path.display())]
    Encode {
        /// The file wanted.
        path: PathBuf,
        /// What the encoder said.
        source: image::ImageError,
    },
    /// The drawing library failed.
    #[error("cannot draw the chart: {0}")]
    Draw(String),
    /// The font shipped with the program could not be read.
    #[error("the embedded chart font is not readable")]
    Font,
    /// There is no value that could be drawn.
    #[error("the chart \"{title}\" has no finite values to draw")]
    NoData {
        /// The title of the chart.
        title: String,
    },
    /// The scores have no metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// Most points of one curve in a drawing: finer than a pixel, and small as an SVG.
const MAX_CURVE_POINTS: usize = 1000;

/// Width of a data line, in points.
const LINE: f64 = 2.0;

/// A ROC curve to draw: its label, its points `(fpr, tpr)` in order, and its AUROC, as
/// [`metrics::roc_curve`] and [`metrics::auroc`] make them.
pub type LabelledRoc<L> = (L, Vec<(f64, f64)>, f64);

/// Draws ROC curves, with in-distribution as the positive class. Writes `path.svg` and
/// `path.png`.
///
/// # Errors
/// When a file cannot be written or the drawing fails.
pub fn roc<L: AsRef<str>>(path: &Path, title: &str, curves: &[LabelledRoc<L>]) -> Result<(), PlotError> {
    let curves = curves
        .iter()
        .map(|(label, points, auroc)| {
            let text = format!("{} (AUROC {})", label.as_ref(), share(*auroc, 4));
            (text, thinned(points, MAX_CURVE_POINTS))
        })
        .collect();
    canvas::save(&RocChart { title, curves }, path)
}

struct RocChart<'a> {
    title: &'a str,
    curves: Vec<(String, Vec<(f64, f64)>)>,
}

impl Chart for RocChart<'_> {
    fn size(&self) -> (u32, u32) {
        // The panel is as wide as the picture if this guess at the rows of the legend (6.5
        // points a letter) is right, and a little off if not; it is square either way.
        let letters = |text: &str| 52.0 + 6.5 * text.chars().count() as f64;
        let entries: f64 = self.curves.iter().map(|(text, _)| letters(text)).sum();
        let rows = ((entries + letters("chance")) / 520.0).ceil() as u32;
        (580, 644 + 20 * rows)
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Result<(), PlotError> {
        let (width, height) = self.size();
        let (width, height) = (f64::from(width), f64::from(height));
        let mut legend: Vec<_> = self
            .curves
            .iter()
            .enumerate()
            .map(|(i, (text, _))| LegendEntry { mark: Mark::Line, color: frame::color(i), text: text.clone() })
            .collect();
        legend.push(LegendEntry { mark: Mark::Dashes, color: GRAY, text: "chance".to_owned() });
        let free = frame::heading(canvas, width, self.title, None, &legend)?;
        let axis = || Axis::exact(0.0, 1.0, 5.0, Unit::Plain);
        let left = MARGIN + Frame::label_width(canvas, &axis())?;
        let (top, bottom) = (free + 26.0, height - BELOW_PANEL - 8.0);
        let side = (width - MARGIN - left).min(bottom - top);
        let panel = Frame { left, top, right: left + side, bottom: top + side, x: axis(), y: axis() };
        panel.draw(canvas, "false positive rate (OOD kept)", "true positive rate (in-distribution kept)")?;
        panel.draw_base(canvas)?;
        let dashes = 60;
        for i in 0..dashes {
            let ends = [0.0, 0.6].map(|part| (f64::from(i) + part) / f64::from(dashes));
            canvas.line(&ends.map(|end| panel.at((end, end))), 1.25, GRAY)?;
        }
        // The first curve last, so that the one named first is on top.
        for (i, (_, points)) in self.curves.iter().enumerate().rev() {
            let points: Vec<Point> = points.iter().map(|&p| panel.at(p)).collect();
            canvas.line(&points, LINE, frame::color(i).mix(0.9))?;
        }
        Ok(())
    }
}

/// Leaves out points of a ROC curve that make no visible difference: those in the middle of a
/// straight run, and, of what is left, so many that at most `most` are left, evenly along its way.
pub fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for &next in points {
        if let [.., a, b] = corners[..]
            && ((b.0 - a.0) * (next.1 - a.1) - (b.1 - a.1) * (next.0 - a.0)).abs() < 1e-15
        {
            corners.pop();
        }
        corners.push(next);
    }
    if corners.len() <= most {
        return corners;
    }
    // FPR + TPR never falls along a ROC curve and goes from 0 to 2.
    let bucket = |p: (f64, f64)| ((p.0 + p.1) / 2.0 * most.saturating_sub(2) as f64) as i64;
    let last = corners.len() - 1;
    (0..=last)
        .filter(|&i| i == 0 || i == last || bucket(corners[i]) != bucket(corners[i - 1]))
        .map(|i| corners[i])
        .collect()
}

/// Draws the loss and, unless `accuracy` is empty, the accuracy (shares in `[0, 1]`) over the
/// epochs 1, 2, …, each given as `(label, one value per epoch)`. A label found in both panels
/// has one colour. Values that are not finite (an epoch without a measurement, a diverged
/// loss) are left out and the line goes on past them. Writes `path.svg` and `path.png`.
///
/// # Errors
/// When there is no finite value at all, a file cannot be written or the drawing fails.
pub fn training_curve<L: AsRef<str>>(
    path: &Path,
    title: &str,
    loss: &[(L, Vec<f64>)],
    accuracy: &[(L, Vec<f64>)],
) -> Result<(), PlotError> {
    let mut labels: Vec<&str> = Vec::new();
    for (label, _) in loss.iter().chain(accuracy) {
        if !labels.contains(&label.as_ref()) {
            labels.push(label.as_ref());
        }
    }
    let panel = |name, unit, series: &[(L, Vec<f64>)]| Panel {
        name,
        unit,
        series: series
            .iter()
            .map(|(label, values)| {
                let label = label.as_ref();
                let at = labels.iter().position(|&l| l == label).unwrap_or(0);
                (at, epochs(values))
            })
            .collect(),
    };
    let panels: Vec<_> = [panel("loss", Unit::Plain, loss), panel("accuracy", Unit::Percent, accuracy)]
        .into_iter()
        .filter(|p| p.series.iter().any(|(_, points)| !points.is_empty()))
        .collect();
    if panels.is_empty() {
        return Err(PlotError::NoData { title: title.to_owned() });
    }
    let series = loss.iter().chain(accuracy);
    let chart =
        TrainingChart { title, labels, epochs: series.map(|(_, values)| values.len()).max().unwrap_or(0), panels };
    canvas::save(&chart, path)
}

/// The finite values with their epochs, which count from 1.
fn epochs(values: &[f64]) -> Vec<(f64, f64)> {
    (1..).map(f64::from).zip(values.iter().copied()).filter(|(_, value)| value.is_finite()).collect()
}

struct Panel {
    name: &'static str,
    unit: Unit,
    /// Index of the label, and `(epoch, value)` in order.
    series: Vec<(usize, Vec<(f64, f64)>)>,
}

impl Panel {
    fn y_axis(&self) -> Axis {
        let values = || self.series.iter().flat_map(|s| &s.1).map(|p| p.1);
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        // An axis from zero shows the size of a change, where that does not flatten the curve.
        let low = if low > 0.0 && low < 0.5 * high { 0.0 } else { low };
        let even = if high > low { 0.0 } else { high.abs().max(1e-3) * 0.1 };
        let (low, high) = (low - even, high + even);
        match self.unit {
            Unit::Plain => Axis::rounded(low, high, 5.0, Unit::Plain),
            Unit::Percent => Axis::rounded(low.max(0.0), high.min(1.0), 5.0, Unit::Percent),
        }
    }
}

struct TrainingChart<'a> {
    title: &'a str,
    labels: Vec<&'a str>,
    epochs: usize,
    panels: Vec<Panel>,
}

impl Chart for TrainingChart<'_> {
    fn size(&self) -> (u32, u32) {
        (880, 420)
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Result<(), PlotError> {
        let (width, height) = self.size();
        let (width, height) = (f64::from(width), f64::from(height));
        let legend: Vec<_> = self
            .labels
            .iter()
            .enumerate()
            .map(|(i, &text)| LegendEntry { mark: Mark::Line, color: frame::color(i), text: text.to_owned() })
            .collect();
        let top = frame::heading(canvas, width, self.title, None, &legend)? + 26.0;
        let gap = 28.0;
        let count = self.panels.len() as f64;
        let share = (width - 2.0 * MARGIN - gap * (count - 1.0)) / count;
        for (i, panel) in self.panels.iter().enumerate() {
            let start = MARGIN + (share + gap) * i as f64;
            let y = panel.y_axis();
            let frame = Frame {
                left: start + Frame::label_width(canvas, &y)?,
                top,
                right: start + share,
                bottom: height - BELOW_PANEL - 8.0,
                x: Axis::epochs(self.epochs, 8.0),
                y,
            };
            frame.draw(canvas, "epoch", panel.name)?;
            frame.draw_base(canvas)?;
            for (label, points) in panel.series.iter().rev() {
                let color = frame::color(*label);
                let points: Vec<Point> = points.iter().map(|&p| frame.at(p)).collect();
                canvas.line(&points, LINE, color)?;
                if self.epochs <= 30 {
                    for &point in &points {
                        canvas.dot(point, 2.75, color)?;
                    }
                }
            }
        }
        Ok(())
    }
}
