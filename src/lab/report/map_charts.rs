//! The charts of a map: AUROC over epsilon and epoch, and runs by their accuracies.

use crate::lab::axis::{Axis, Unit, share};

use super::drawing::{BELOW, Drawing, Mark, Panel, Point, WIDTH, cut};

/// Room for the rows' names.
const NAMES: f64 = 58.0;
const ROW: f64 = 40.0;

/// A mean and half of its interval, where there is one.
pub(super) type Value = (f64, Option<f64>);

/// One of ten shades of a value in [0, 1], which the style sheet knows for light and dark.
fn shade(value: f64) -> usize {
    (value * 10.0).floor().clamp(0.0, 9.0) as usize
}

/// A table of values in [0, 1], a row an epsilon and a column an epoch.
pub(super) fn surface(
    key: &str,
    caption: String,
    epochs: &[u32],
    rows: &[(String, Vec<Option<Value>>)],
) -> Option<Drawing> {
    if epochs.is_empty() || rows.iter().all(|(_, values)| values.iter().all(Option::is_none)) {
        return None;
    }
    let ends =
        rows.iter().filter_map(|(name, values)| Some(format!("ε {name}: {}", share(values.last()?.as_ref()?.0, 3))));
    let description = format!(
        "AUROC by ε and epoch; after epoch {}: {}.",
        epochs.last().copied().unwrap_or(0),
        ends.collect::<Vec<_>>().join("; ")
    );
    let mut drawing = Drawing::new(key, caption, description, WIDTH, 0.0);
    let (left, top) = (NAMES, 24.0);
    let wide = ((WIDTH - left) / epochs.len() as f64).min(108.0);
    // Numbers stand where they have room.
    let (has_mean, has_half) = (wide >= 32.0, wide >= 42.0);
    for (at, (name, values)) in rows.iter().enumerate() {
        let y = top + ROW * at as f64;
        drawing.text((left - 8.0, y + ROW / 2.0 + 4.0), "t end", cut(name, left - 10.0));
        for (column, value) in values.iter().enumerate() {
            let x = left + wide * column as f64;
            let corners = [(x + 0.75, y + 0.75), (x + wide - 0.75, y + ROW - 0.75)];
            let Some((mean, half)) = value.filter(|value| value.0.is_finite()) else {
                drawing.rect(corners, "heat none");
                continue;
            };
            let tone = shade(mean);
            let spread = half.map_or_else(String::new, |half| format!(" ± {half:.3}"));
            let epoch = epochs.get(column).copied().unwrap_or(0);
            let tip = format!("ε {name}, epoch {epoch}: {}{spread}", share(mean, 4));
            drawing.rect_with_tip(corners, &format!("heat h{tone}"), Some(tip));
            let class = format!("t middle {}", if tone >= 5 { "on-dark" } else { "on-light" });
            let middle = x + wide / 2.0;
            match half.filter(|_| has_half) {
                Some(half) => {
                    drawing.text((middle, y + 17.0), &class, share(mean, 2));
                    drawing.text((middle, y + 32.0), &class, format!("±{half:.2}"));
                }
                None if has_mean => drawing.text((middle, y + ROW / 2.0 + 4.0), &class, share(mean, 2)),
                None => {}
            }
        }
    }
    drawing.text((left - 8.0, 14.0), "t end soft", "ε");
    let bottom = top + ROW * rows.len() as f64;
    // Of many epochs, as many are named as have room.
    let every = (28.0 / wide).ceil().max(1.0) as usize;
    for (column, epoch) in epochs.iter().enumerate().filter(|(column, _)| column.is_multiple_of(every)) {
        drawing.text((left + wide * (column as f64 + 0.5), bottom + 16.0), "t middle soft", epoch.to_string());
    }
    drawing.text((left + wide * epochs.len() as f64 / 2.0, bottom + 33.0), "t middle", "epoch");
    drawing.ends_at(bottom + BELOW);
    Some(drawing)
}

/// A run.
pub(super) struct Spot {
    pub(super) class: String,
    pub(super) name: String,
    pub(super) clean: f64,
    pub(super) robust: f64,
    pub(super) auroc: f64,
    /// Its epsilon's place among the map's.
    pub(super) strength: usize,
}

/// Runs by clean and robust accuracy, shaded by AUROC and edged by defence.
pub(super) fn scatter(
    key: &str,
    caption: String,
    y_name: &str,
    defences: &[(String, String)],
    spots: &[Spot],
) -> Option<Drawing> {
    let most = |of: fn(&Spot) -> f64| spots.iter().map(of).filter(|value| value.is_finite()).fold(0.05, f64::max);
    if spots.is_empty() {
        return None;
    }
    let range = |of: fn(&Spot) -> f64| {
        let low = spots.iter().map(of).fold(f64::INFINITY, f64::min);
        format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * spots.iter().map(of).fold(0.0, f64::max))
    };
    let description = format!(
        "{} runs: clean accuracy {}, {y_name} {}.",
        spots.len(),
        range(|spot| spot.clean),
        range(|spot| spot.robust)
    );
    let mut drawing = Drawing::new(key, caption, description, WIDTH, 0.0);
    let entries: Vec<(Mark, String, String)> =
        defences.iter().map(|(class, name)| (Mark::Dot, class.clone(), name.clone())).collect();
    let top = scale(&mut drawing, &entries);
    let axis = |of: fn(&Spot) -> f64| Axis::rounded(0.0, most(of), 5.0, Unit::Percent);
    let panel = Panel::below(top, 240.0, WIDTH, axis(|spot| spot.clean), axis(|spot| spot.robust));
    panel.draw(&mut drawing, "clean accuracy", y_name);
    panel.base(&mut drawing);
    for spot in spots {
        let tip = format!(
            "{}: clean {:.1} %, under attack {:.1} %, AUROC {}",
            spot.name,
            100.0 * spot.clean,
            100.0 * spot.robust,
            share(spot.auroc, 3)
        );
        let radius = (4.5 + spot.strength as f64).min(9.0);
        let (place, class) = (panel.at((spot.clean, spot.robust)), format!("heat h{} edge", shade(spot.auroc)));
        // Shades let through what is behind them: another run must not be.
        drawing.dot(place, radius, "ground", None);
        drawing.dot(place, radius, &format!("{class} {}", spot.class), Some(tip));
    }
    drawing.ends_at(panel.bottom + BELOW);
    Some(drawing)
}

/// The legend of defences, and under it the shades of AUROC; the first free height.
fn scale(drawing: &mut Drawing, entries: &[(Mark, String, String)]) -> f64 {
    let top = drawing.legend(entries) + 2.0;
    let at = |number: usize| -> Point { (56.0 + 16.0 * number as f64, top) };
    drawing.text((0.0, top + 10.0), "t soft", "AUROC");
    for number in 0..10 {
        let (x, y) = at(number);
        drawing.rect([(x, y), (x + 15.0, y + 12.0)], &format!("heat h{number}"));
    }
    for (number, text) in [(0, "0"), (5, "0.5"), (10, "1")] {
        drawing.text((at(number).0, top + 26.0), "t middle soft", text);
    }
    top + 34.0
}
