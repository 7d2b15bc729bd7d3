//! Pictures side by side with what they are: before, the perturbation, after.

use std::path::Path;

use plotters::prelude::*;

use super::PlotError;
use super::canvas::{self, Align, Canvas, Chart};
use super::frame::{self, INK, LABEL, MARGIN};
use crate::lab::results::Picture;

/// Pixels of a picture each way, and points of one of them.
const SIDE: usize = 32;
const ZOOM: f64 = 4.0;

/// Between pictures, and from one row to the next, in points.
const GAP: f64 = 16.0;
const ROW: f64 = SIDE as f64 * ZOOM + 40.0;

/// Three pictures and what stands under each.
#[derive(Debug)]
pub struct Triptych<'a> {
    pub pictures: [&'a Picture; 3],
    pub captions: [String; 3],
}

/// Draws rows of three pictures, four times their size. Writes `path.png`; as drawings the pixels would be many times
/// as large.
///
/// # Errors
/// When the file cannot be written or the drawing fails.
pub fn triptychs(path: &Path, title: &str, subtitle: &str, rows: &[Triptych<'_>]) -> Result<(), PlotError> {
    canvas::save_png(&Sheet { title, subtitle, rows }, path)
}

struct Sheet<'a> {
    title: &'a str,
    subtitle: &'a str,
    rows: &'a [Triptych<'a>],
}

impl Chart for Sheet<'_> {
    fn size(&self) -> (u32, u32) {
        let width = 2.0 * MARGIN + 3.0 * SIDE as f64 * ZOOM + 2.0 * GAP;
        (width as u32, (90.0 + self.rows.len() as f64 * ROW) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Result<(), PlotError> {
        let (width, _) = self.size();
        let top = frame::heading(canvas, f64::from(width), self.title, Some(self.subtitle), &[])?;
        let side = SIDE as f64 * ZOOM;
        for (row, triptych) in self.rows.iter().enumerate() {
            for (column, (picture, caption)) in triptych.pictures.iter().zip(&triptych.captions).enumerate() {
                let at = (MARGIN + column as f64 * (side + GAP), top + row as f64 * ROW);
                let plane = SIDE * SIDE;
                for index in 0..plane {
                    let (x, y) = ((index % SIDE) as f64 * ZOOM + at.0, (index / SIDE) as f64 * ZOOM + at.1);
                    let bytes = &picture.0;
                    let color = RGBColor(bytes[index], bytes[plane + index], bytes[2 * plane + index]);
                    canvas.rectangle([(x, y), (x + ZOOM, y + ZOOM)], color)?;
                }
                let size = LABEL * ((side + GAP - 4.0) / canvas.text_width(caption, LABEL)?.max(1.0)).min(1.0);
                canvas.text(caption, (at.0 + side / 2.0, at.1 + side + 17.0), Align::Center, size, INK)?;
            }
        }
        Ok(())
    }
}
