//! What the charts share: colours, axes, the grid, the heading and the legend.

use plotters::prelude::*;

use super::canvas::{Align, Canvas, Point};
use super::{Axis, PlotError};

/// Okabe and Ito's palette, told apart under the common colour-vision deficiencies, without
/// its yellow (too faint for a line on white). In-distribution is the first, OOD the second.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),   // blue
    RGBColor(213, 94, 0),    // vermilion
    RGBColor(0, 158, 115),   // bluish green
    RGBColor(204, 121, 167), // reddish purple
    RGBColor(230, 159, 0),   // orange
    RGBColor(86, 180, 233),  // sky blue
    RGBColor(60, 60, 60),    // charcoal
];

pub(super) const GRAY: RGBColor = RGBColor(140, 140, 140);
pub(super) const INK: RGBColor = RGBColor(30, 30, 30);
const SOFT_INK: RGBColor = RGBColor(95, 95, 95);
const GRID: RGBColor = RGBColor(230, 230, 230);
const AXIS: RGBColor = RGBColor(120, 120, 120);

const TITLE: f64 = 18.0;
const SUBTITLE: f64 = 13.0;
pub(super) const LABEL: f64 = 13.0;
const TICK: f64 = 12.0;
/// Empty border around a chart, in points.
pub(super) const MARGIN: f64 = 20.0;
/// From a panel's lower edge down to the end of what is written under it.
pub(super) const BELOW_PANEL: f64 = 44.0;

/// The colour of the `index`-th series.
pub(super) fn color(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// How a legend marks a series.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Line,
    Dashes,
    Area,
}

pub(super) struct LegendEntry {
    pub(super) mark: Mark,
    pub(super) color: RGBColor,
    pub(super) text: String,
}

/// Draws title, subtitle and legend from the top left on. Returns the first free height.
pub(super) fn heading<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    width: f64,
    title: &str,
    subtitle: Option<&str>,
    legend: &[LegendEntry],
) -> Result<f64, PlotError> {
    let room = width - 2.0 * MARGIN;
    let mut y = MARGIN + 13.0;
    // A long line is made smaller, not cut.
    let fitted = |text: &str, size: f64| -> Result<f64, PlotError> {
        Ok(size * (room / canvas.text_width(text, size)?.max(1.0)).min(1.0))
    };
    let size = fitted(title, TITLE)?;
    canvas.text(title, (MARGIN, y), Align::Left, size, INK)?;
    if let Some(subtitle) = subtitle {
        y += 21.0;
        let size = fitted(subtitle, SUBTITLE)?;
        canvas.text(subtitle, (MARGIN, y), Align::Left, size, SOFT_INK)?;
    }
    y += 24.0;
    let mut x = MARGIN;
    for entry in legend {
        let advance = 30.0 + canvas.text_width(&entry.text, LABEL)? + 22.0;
        if x > MARGIN && x + advance - 22.0 > width - MARGIN {
            x = MARGIN;
            y += 20.0;
        }
        legend_mark(canvas, entry, (x, y - 4.5))?;
        canvas.text(&entry.text, (x + 30.0, y), Align::Left, LABEL, INK)?;
        x += advance;
    }
    Ok(y + 12.0)
}

fn legend_mark<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    entry: &LegendEntry,
    (x, y): Point,
) -> Result<(), PlotError> {
    let color = entry.color;
    match entry.mark {
        Mark::Line => canvas.rectangle([(x, y - 1.25), (x + 22.0, y + 1.25)], color),
        Mark::Dashes => (0..3).try_for_each(|i| {
            let x = x + 8.0 * f64::from(i);
            canvas.rectangle([(x, y - 0.75), (x + 5.0, y + 0.75)], color)
        }),
        Mark::Area => {
            canvas.rectangle([(x, y - 6.0), (x + 22.0, y + 6.0)], color.mix(0.4))?;
            canvas.rectangle([(x, y - 6.0), (x + 22.0, y - 4.5)], color)
        }
    }
}

/// A panel: a rectangle of the canvas, in points, with two axes.
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Frame {
    /// Room that the labels of `y` need left of a panel, in points.
    pub(super) fn label_width<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, y: &Axis) -> Result<f64, PlotError> {
        y.ticks().into_iter().try_fold(0.0, |widest: f64, tick| {
            let width = canvas.text_width(&y.label(tick), TICK)?;
            Ok(widest.max(width + 8.0))
        })
    }

    /// Where a pair of values is drawn; values off an axis are held to its end.
    pub(super) fn at(&self, (x, y): (f64, f64)) -> Point {
        (
            self.left + self.x.share(x) * (self.right - self.left),
            self.bottom - self.y.share(y) * (self.bottom - self.top),
        )
    }

    /// Draws grid, ticks and the names of the axes: `x_label` centred below, `y_label` on top.
    pub(super) fn draw<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, DB>,
        x_label: &str,
        y_label: &str,
    ) -> Result<(), PlotError> {
        let thin = 0.5;
        for tick in self.y.ticks() {
            let y = self.at((self.x.low, tick)).1;
            canvas.rectangle([(self.left, y - thin), (self.right, y + thin)], GRID)?;
            let at = (self.left - 8.0, y + 4.0);
            canvas.text(&self.y.label(tick), at, Align::Right, TICK, SOFT_INK)?;
        }
        for tick in self.x.ticks() {
            let x = self.at((tick, self.y.low)).0;
            canvas.rectangle([(x - thin, self.top), (x + thin, self.bottom)], GRID)?;
            canvas.rectangle([(x - thin, self.bottom), (x + thin, self.bottom + 5.0)], AXIS)?;
            let label = self.x.label(tick);
            // A long label at the right end is moved inward, off the border.
            let last = self.right + 0.8 * MARGIN - canvas.text_width(&label, TICK)? / 2.0;
            let at = (x.min(last), self.bottom + 18.0);
            canvas.text(&label, at, Align::Center, TICK, SOFT_INK)?;
        }
        let middle = (self.left + self.right) / 2.0;
        let below = (middle, self.bottom + 38.0);
        canvas.text(x_label, below, Align::Center, LABEL, INK)?;
        let above = (self.left, self.top - 10.0);
        canvas.text(y_label, above, Align::Left, LABEL, INK)
    }

    /// Draws the line under the data; last, so that filled areas do not cover it.
    pub(super) fn draw_base<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Result<(), PlotError> {
        let (left, right) = (self.left, self.right);
        canvas.rectangle([(left, self.bottom - 0.5), (right, self.bottom + 0.5)], AXIS)
    }
}
