//! A table of shares as a heat map.

use std::path::Path;

use plotters::prelude::*;

use super::PlotError;
use super::canvas::{self, Align, Canvas, Chart};
use super::frame::{self, INK, LABEL, MARGIN};

/// Side of a cell, in points.
const CELL: f64 = 46.0;

/// Room for a class's name, in points: longer ones are made smaller.
const NAME: f64 = 84.0;

/// Draws shares in [0, 1], one row a label and one column a target, with their percentages; cells without a value stay
/// empty. Writes `path.svg` and `path.png`.
///
/// # Errors
/// When a file cannot be written or the drawing fails.
pub fn heat_map(
    path: &Path,
    title: &str,
    subtitle: &str,
    classes: &[String],
    rows: &[Vec<Option<f64>>],
) -> Result<(), PlotError> {
    canvas::save(&HeatMap { title, subtitle, classes, rows }, path)
}

struct HeatMap<'a> {
    title: &'a str,
    subtitle: &'a str,
    classes: &'a [String],
    rows: &'a [Vec<Option<f64>>],
}

/// From white to the palette's blue; the text on it turns white where it must.
fn shade(share: f64) -> (RGBColor, RGBColor) {
    let full = frame::color(0);
    let mix = |channel: u8| (255.0 - share.clamp(0.0, 1.0) * (255.0 - f64::from(channel))).round() as u8;
    let ink = if share > 0.6 { WHITE } else { INK };
    (RGBColor(mix(full.0), mix(full.1), mix(full.2)), ink)
}

/// A size at which a name fits.
fn fitted<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, name: &str, room: f64) -> Result<f64, PlotError> {
    Ok(LABEL * (room / canvas.text_width(name, LABEL)?.max(1.0)).min(1.0))
}

impl Chart for HeatMap<'_> {
    fn size(&self) -> (u32, u32) {
        let side = self.classes.len() as f64 * CELL;
        ((2.0 * MARGIN + NAME + side.max(260.0)) as u32, (136.0 + side) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Result<(), PlotError> {
        let (width, _) = self.size();
        let free = frame::heading(canvas, f64::from(width), self.title, Some(self.subtitle), &[])?;
        let (left, top) = (MARGIN + NAME, free + 14.0);
        for (row, (name, cells)) in self.classes.iter().zip(self.rows).enumerate() {
            let y = top + row as f64 * CELL;
            let size = fitted(canvas, name, NAME - 8.0)?;
            canvas.text(name, (left - 8.0, y + CELL / 2.0 + 4.5), Align::Right, size, INK)?;
            let size = fitted(canvas, name, CELL - 4.0)?;
            let middle = left + (row as f64 + 0.5) * CELL;
            canvas.text(name, (middle, top - 6.0), Align::Center, size, INK)?;
            for (column, cell) in cells.iter().enumerate() {
                let x = left + column as f64 * CELL;
                let Some(share) = *cell else { continue };
                let (color, ink) = shade(share);
                canvas.rectangle([(x + 0.5, y + 0.5), (x + CELL - 0.5, y + CELL - 0.5)], color)?;
                let text = format!("{:.0}", 100.0 * share);
                canvas.text(&text, (x + CELL / 2.0, y + CELL / 2.0 + 4.5), Align::Center, LABEL, ink)?;
            }
        }
        Ok(())
    }
}
