//! Where a chart is drawn: one drawing, written as SVG and as PNG.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ab_glyph::{Font, FontRef, ScaleFont};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::PlotError;

/// The font family, as the SVG names it. The embedded Ubuntu Light is registered under this
/// very text, so the PNG (which uses it) and the layout (which measures with it) need no font
/// of the system, and a browser takes the first of the list that it has.
const FONT: &str = "Ubuntu, Helvetica, Arial, sans-serif";

/// Drawing units per point (a point is one CSS pixel of the SVG). plotters draws on whole
/// units, so a fine grid keeps curves smooth in the SVG, and the PNG is drawn on the same
/// grid and averaged down, which is its anti-aliasing.
const UNITS: u32 = 4;

/// PNG pixels per point: 2 is sharp on a high-density screen.
const PNG_SCALE: u32 = 2;

/// Height of the embedded font (ascent to descent) in ems: plotters sizes text by the former.
const FONT_HEIGHT: f64 = 1.12;

/// From the top of plotters' text box to the baseline, as a share of the text's height. The
/// bitmap backend has 0.50 and the SVG backend 0.61; the middle is within a pixel of both.
const BASELINE: f64 = 0.555;

/// A chart that can be drawn on any backend.
pub(super) trait Chart {
    /// Width and height in points.
    fn size(&self) -> (u32, u32);

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Result<(), PlotError>;
}

/// Writes `path.svg` and `path.png`.
pub(super) fn save(chart: &impl Chart, path: &Path) -> Result<(), PlotError> {
    register()?;
    write_atomically(&with_suffix(path, ".svg"), svg(chart)?.as_bytes())?;
    save_png(chart, path)
}

fn register() -> Result<(), PlotError> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).map_err(|_| PlotError::Font)
}

/// Writes `path.png` alone.
pub(super) fn save_png(chart: &impl Chart, path: &Path) -> Result<(), PlotError> {
    register()?;
    let png_path = with_suffix(path, ".png");
    let bytes = png(chart).map_err(|error| match error {
        RasterError::Plot(error) => error,
        RasterError::Encode(source) => PlotError::Encode { path: png_path.clone(), source },
    })?;
    write_atomically(&png_path, &bytes)
}

fn svg(chart: &impl Chart) -> Result<String, PlotError> {
    let (width, height) = chart.size();
    let units = (width * UNITS, height * UNITS);
    let mut text = String::new();
    draw_on(chart, SVGBackend::with_string(&mut text, units), None)?;
    // The view box stays in units; only the size on the page is in points.
    let in_units = format!("width=\"{}\" height=\"{}\"", units.0, units.1);
    let in_points = format!("width=\"{width}\" height=\"{height}\"");
    Ok(text.replacen(&in_units, &in_points, 1))
}

enum RasterError {
    Plot(PlotError),
    Encode(image::ImageError),
}

fn png(chart: &impl Chart) -> Result<Vec<u8>, RasterError> {
    let (width, height) = chart.size();
    let mut fine = RgbImage::new(width * UNITS, height * UNITS);
    let size = fine.dimensions();
    let glyphs =
        FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT).map_err(|_| RasterError::Plot(PlotError::Font))?;
    let backend = BitMapBackend::with_buffer(&mut fine, size);
    draw_on(chart, backend, Some(glyphs)).map_err(RasterError::Plot)?;
    let small = imageops::thumbnail(&fine, width * PNG_SCALE, height * PNG_SCALE);
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive);
    small.write_with_encoder(encoder).map_err(RasterError::Encode)?;
    Ok(bytes)
}

fn draw_on<DB: DrawingBackend>(
    chart: &impl Chart,
    backend: DB,
    glyphs: Option<FontRef<'static>>,
) -> Result<(), PlotError> {
    let canvas = Canvas { area: &backend.into_drawing_area(), glyphs };
    canvas.area.fill(&WHITE).map_err(draw_error)?;
    chart.draw(&canvas)?;
    canvas.area.present().map_err(draw_error)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    // Not `with_extension`, which would cut a name such as "eps_0.03".
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes beside the target and renames, so that a reader never sees half a picture.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), PlotError> {
    let beside = with_suffix(path, &format!(".{}.tmp", std::process::id()));
    let written: io::Result<()> = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // Best effort: the error worth reporting is the first one.
        let _ = fs::remove_file(&beside);
        PlotError::Write { path: path.to_owned(), source }
    })
}

fn draw_error(error: impl std::error::Error) -> PlotError {
    PlotError::Draw(error.to_string())
}

/// The horizontal side of a text that its position names.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// A drawing area measured in points from its top left corner.
pub(super) struct Canvas<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    /// For a bitmap: where its letters go, see [`Canvas::text`].
    glyphs: Option<FontRef<'static>>,
}

/// A place on the canvas, in points.
pub(super) type Point = (f64, f64);

fn units(points: f64) -> i32 {
    (points * f64::from(UNITS)).round() as i32
}

fn place((x, y): Point) -> (i32, i32) {
    (units(x), units(y))
}

fn font(size: f64) -> (FontFamily<'static>, f64) {
    let height = size * FONT_HEIGHT * f64::from(UNITS);
    (FontFamily::Name(FONT), height)
}

impl<DB: DrawingBackend> Canvas<'_, DB> {
    /// One line of text; `at` is on its baseline and `size` is its em in points.
    ///
    /// On a bitmap every letter is drawn by itself: plotters' rasteriser leaves out the empty
    /// space that a glyph has on its left, so that a line of its own is unevenly spaced.
    pub(super) fn text(
        &self,
        text: &str,
        at: Point,
        align: Align,
        size: f64,
        color: RGBColor,
    ) -> Result<(), PlotError> {
        let (x, top) = place((at.0, at.1 - BASELINE * FONT_HEIGHT * size));
        let Some(glyphs) = &self.glyphs else {
            return self.raw_text(text, (x, top), align, size, color);
        };
        let glyphs = glyphs.as_scaled(font(size).1 as f32);
        let width = units(self.text_width(text, size)?);
        let mut pen = match align {
            Align::Left => x,
            Align::Center => x - width / 2,
            Align::Right => x - width,
        } as f32;
        let mut before = None;
        for letter in text.chars() {
            let glyph = glyphs.glyph_id(letter);
            pen += before.map_or(0.0, |before| glyphs.kern(before, glyph));
            if !letter.is_whitespace() {
                let left = (pen + glyphs.h_side_bearing(glyph)).round() as i32;
                let letter = letter.encode_utf8(&mut [0; 4]).to_owned();
                self.raw_text(&letter, (left, top), Align::Left, size, color)?;
            }
            pen += glyphs.h_advance(glyph);
            before = Some(glyph);
        }
        Ok(())
    }

    /// Text as plotters sets it, from its top.
    fn raw_text(&self, text: &str, at: (i32, i32), align: Align, size: f64, color: RGBColor) -> Result<(), PlotError> {
        let side = match align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        let style = font(size)
            .into_text_style(self.area)
            .with_color(color)
            .with_anchor::<RGBColor>(Pos::new(side, VPos::Top))
            .into_text_style(self.area);
        self.area.draw_text(text, &style, at).map_err(draw_error)
    }

    /// The width in points of a line of text.
    pub(super) fn text_width(&self, text: &str, size: f64) -> Result<f64, PlotError> {
        let style = font(size).into_text_style(self.area);
        let (width, _) = self.area.estimate_text_size(text, &style).map_err(draw_error)?;
        Ok(f64::from(width) / f64::from(UNITS))
    }

    /// A filled rectangle between two corners; also every straight grid line, since it has
    /// crisp edges on both backends.
    pub(super) fn rectangle(&self, corners: [Point; 2], color: impl Color) -> Result<(), PlotError> {
        self.area.draw(&Rectangle::new(corners.map(place), color.filled())).map_err(draw_error)
    }

    pub(super) fn polygon(&self, points: &[Point], color: impl Color) -> Result<(), PlotError> {
        let points: Vec<_> = points.iter().copied().map(place).collect();
        self.area.draw(&Polygon::new(points, color.filled())).map_err(draw_error)
    }

    /// A line through the points, `width` in points. Points that fall on one drawing unit are
    /// drawn once: a joint of no length has no direction.
    pub(super) fn line(&self, points: &[Point], width: f64, color: impl Color) -> Result<(), PlotError> {
        let mut points: Vec<_> = points.iter().copied().map(place).collect();
        points.dedup();
        let stroke = color.stroke_width(units(width).unsigned_abs());
        self.area.draw(&PathElement::new(points, stroke)).map_err(draw_error)
    }

    pub(super) fn dot(&self, at: Point, radius: f64, color: impl Color) -> Result<(), PlotError> {
        self.area.draw(&Circle::new(place(at), units(radius), color.filled())).map_err(draw_error)
    }
}
