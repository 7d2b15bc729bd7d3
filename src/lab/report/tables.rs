//! Charts that are tables: bars of logits, the table of targets as a heat map, and every seed as a dot.

use crate::lab::axis::{Axis, Unit, share};

use super::drawing::{BELOW, Drawing, Panel, WIDTH, cut, text_width};
use super::groups::class_name;

/// Room for the names of classes and models.
const NAMES: f64 = 84.0;

/// The logits of one picture, a bar a class; the largest is full-coloured.
pub(super) fn logits(key: &str, caption: String, classes: &[String], logits: &[f32], class: &str) -> Option<Drawing> {
    let values: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let (best, &most) = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let least = values.iter().copied().fold(0.0, f64::min);
    if !(most.is_finite() && least.is_finite()) {
        return None;
    }
    let name = |at| class_name(classes, at);
    let description = format!("Logits of one picture; the largest is {} with {most:.2}.", name(best));
    let mut drawing = Drawing::new(key, caption, description, WIDTH, 0.0);
    // About as tall as a ROC curve beside it, for the usual ten classes.
    let row = (270.0 / values.len() as f64).clamp(18.0, 32.0);
    // Numbers stand beyond the ends of the bars.
    let (left, right) = (NAMES + 42.0, WIDTH - 42.0);
    let span = (most.max(0.0) - least).max(1e-9);
    let x = |value: f64| left + (value - least) / span * (right - left);
    for (at, &value) in values.iter().enumerate() {
        let y = row * at as f64;
        let tone = if at == best { "bar" } else { "bar pale" };
        drawing.text(
            (NAMES - 6.0, y + row / 2.0 + 4.0),
            if at == best { "t end strong" } else { "t end" },
            cut(&name(at), NAMES - 12.0),
        );
        drawing.rect_with_tip(
            [(x(0.0), y + 3.0), (x(value), y + row - 3.0)],
            &format!("{tone} {class}"),
            Some(name(at)),
        );
        // Hardly trained models have small logits; zero has no sign.
        let decimals = if span < 2.0 { 3 } else { 1 };
        let half = 0.5 * 10f64.powi(-decimals);
        let shown = if value.abs() < half { 0.0 } else { value };
        let text = format!("{shown:.*}", decimals as usize).replace('-', "\u{2212}");
        if value < 0.0 {
            drawing.text((x(value) - 4.0, y + row / 2.0 + 4.0), "t end soft", text);
        } else {
            drawing.text((x(value) + 4.0, y + row / 2.0 + 4.0), "t soft", text);
        }
    }
    let height = row * values.len() as f64;
    drawing.path(&[(x(0.0), 0.0), (x(0.0), height)], "axis");
    drawing.ends_at(height + 2.0);
    Some(drawing)
}

/// Share of each label's pictures that were turned into each target.
pub(super) fn targets(key: &str, caption: String, classes: &[String], table: &[Vec<Option<f64>>]) -> Option<Drawing> {
    let columns = table.iter().map(Vec::len).max().filter(|&columns| columns > 0)?;
    let known = || table.iter().flatten().flatten().copied().filter(|value| value.is_finite());
    let most = known().fold(0.0, f64::max);
    let description = format!(
        "Table of {} labels by {columns} targets: share of correctly classified pictures that the attack turns into \
         the target, up to {:.0} %.",
        table.len(),
        100.0 * most
    );
    let name = |at| class_name(classes, at);
    let mut drawing = Drawing::new(key, caption, description, WIDTH, 0.0);
    // The last column's name leans out to the right.
    let cell = (WIDTH - NAMES - 12.0) / columns as f64;
    let longest = classes.iter().map(|name| text_width(name)).fold(0.0, f64::max);
    let top = (longest * 0.87 + 18.0).clamp(44.0, 84.0);
    let height = cell.min(28.0);
    drawing.text((0.0, top - 22.0), "t soft", "target →");
    drawing.text((0.0, top - 6.0), "t soft", "label ↓");
    for column in 0..columns {
        let x = NAMES + cell * (column as f64 + 0.5) + 4.0;
        drawing.turned_text((x, top - 6.0), "t", cut(&name(column), 72.0), -60.0);
    }
    for (row, values) in table.iter().enumerate() {
        let y = top + height * row as f64;
        drawing.text((NAMES - 6.0, y + height / 2.0 + 4.0), "t end", cut(&name(row), NAMES - 12.0));
        for (column, value) in values.iter().enumerate() {
            let x = NAMES + cell * column as f64;
            let corners = [(x + 0.75, y + 0.75), (x + cell - 0.75, y + height - 0.75)];
            let Some(value) = value.filter(|value| value.is_finite()) else {
                drawing.rect(corners, "heat none");
                continue;
            };
            // Ten shades; the style sheet knows them for light and dark.
            let shade = (value * 10.0).floor().clamp(0.0, 9.0);
            let tip = format!("{} to {}: {:.1} %", name(row), name(column), 100.0 * value);
            drawing.rect_with_tip(corners, &format!("heat h{shade}"), Some(tip));
            let class = format!("t middle {}", if shade >= 5.0 { "on-dark" } else { "on-light" });
            drawing.text((x + cell / 2.0, y + height / 2.0 + 4.0), &class, format!("{:.0}", 100.0 * value));
        }
    }
    drawing.ends_at(top + height * table.len() as f64 + 2.0);
    Some(drawing)
}

/// One model's values, a dot a seed.
pub(super) struct Strip {
    pub(super) class: String,
    pub(super) name: String,
    /// What a dot says, and its value.
    pub(super) dots: Vec<(String, f64)>,
    pub(super) mean: f64,
}

/// Every seed's AUROC, a row a model.
pub(super) fn strip(key: &str, caption: String, rows: &[Strip], small: bool) -> Option<Drawing> {
    if rows.iter().all(|row| row.dots.is_empty()) {
        return None;
    }
    let said: Vec<String> = rows.iter().map(|row| format!("{} mean {}", row.name, share(row.mean, 3))).collect();
    let description = format!("AUROC of every seed as a dot, one row a model: {}.", said.join("; "));
    let mut drawing = Drawing::new(key, caption, description, if small { 260.0 } else { WIDTH }, 0.0);
    let height = if small { 36.0 } else { 26.0 };
    let left = rows.iter().map(|row| text_width(&row.name)).fold(0.0, f64::max).min(NAMES + 26.0) + 10.0;
    let lowest = rows.iter().flat_map(|row| &row.dots).map(|dot| dot.1).fold(0.5, f64::min);
    let low = if lowest < 0.45 { 0.0 } else { 0.4 };
    let panel = Panel {
        left,
        top: 4.0,
        right: drawing.width - 16.0,
        bottom: 4.0 + height * rows.len() as f64,
        x: Axis::exact(low, 1.0, if small { 4.0 } else { 5.0 }, Unit::Plain),
        y: Axis::exact(0.0, 1.0, 1.0, Unit::Plain),
    };
    for tick in panel.x.ticks() {
        let x = panel.at((tick, 0.0)).0;
        drawing.path(&[(x, panel.top), (x, panel.bottom)], "grid");
        drawing.text((x, panel.bottom + 16.0), "t middle soft", panel.x.label(tick));
    }
    let chance = panel.at((0.5, 0.0)).0;
    drawing.path(&[(chance, panel.top), (chance, panel.bottom)], "line chance");
    for (at, row) in rows.iter().enumerate() {
        let y = panel.top + height * (at as f64 + 0.5);
        drawing.text((left - 10.0, y + 4.0), "t end", cut(&row.name, left - 10.0));
        for (tip, value) in &row.dots {
            drawing.dot((panel.at((*value, 0.0)).0, y), 4.0, &format!("seed {}", row.class), Some(tip.clone()));
        }
        if row.dots.len() > 1 {
            let x = panel.at((row.mean, 0.0)).0;
            drawing.path(&[(x, y - 9.0), (x, y + 9.0)], &format!("mean {}", row.class));
        }
    }
    panel.base(&mut drawing);
    let middle = (panel.left + panel.right) / 2.0;
    drawing.text((middle, panel.bottom + 33.0), "t middle", "AUROC (dashes: guessing)");
    drawing.ends_at(panel.bottom + BELOW);
    Some(drawing)
}
