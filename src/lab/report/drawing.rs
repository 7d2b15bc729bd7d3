//! What the report's charts are made of: shapes with classes, which the style sheet colours for light, dark and paper.
//!
//! A drawing is plain data. `chart.html` writes it as SVG, and the template engine escapes every text in it.

use serde::Serialize;

use crate::lab::axis::Axis;

/// Every chart's width. A phone shows it nearly at this size, so that its 12-point letters stay letters.
pub(super) const WIDTH: f64 = 380.0;
/// About how wide a letter of 12 points is in the wider ones of the fonts that systems bring.
const LETTER: f64 = 7.0;
/// Below a panel: tick labels and the axis' name.
pub(super) const BELOW: f64 = 40.0;

/// A point of a drawing.
pub(super) type Point = (f64, f64);

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Shape {
    Rect { x: f64, y: f64, width: f64, height: f64, class: String, tip: Option<String> },
    Path { d: String, class: String },
    Circle { x: f64, y: f64, r: f64, class: String, tip: Option<String> },
    Text { x: f64, y: f64, class: String, text: String, turn: f64 },
}

/// A chart: what it shows in words, and its shapes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Drawing {
    /// Unique in the page; ids are made from it.
    pub(super) key: String,
    /// Over the chart.
    pub(super) caption: String,
    /// For those who do not see it.
    pub(super) description: String,
    pub(super) width: f64,
    pub(super) height: f64,
    shapes: Vec<Shape>,
}

/// How a legend marks its entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Line,
    Area,
    Dot,
}

/// To a twentieth of a point, so that a page of charts stays small. Charts leave out what is no number; a place that
/// is none would spoil the whole drawing.
fn short(value: f64) -> f64 {
    if !value.is_finite() {
        return 0.0;
    }
    (value * 20.0).round() / 20.0
}

/// About how wide a text is.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// A name that fits a width; the end is left out where it does not.
pub(super) fn cut(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let letters = (width / LETTER) as usize;
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

impl Drawing {
    pub(super) fn new(key: &str, caption: String, description: String, width: f64, height: f64) -> Self {
        Self { key: key.to_owned(), caption, description, width, height, shapes: Vec::new() }
    }

    pub(super) fn rect(&mut self, [a, b]: [Point; 2], class: &str) {
        self.rect_with_tip([a, b], class, None);
    }

    pub(super) fn rect_with_tip(&mut self, [a, b]: [Point; 2], class: &str, tip: Option<String>) {
        self.shapes.push(Shape::Rect {
            x: short(a.0.min(b.0)),
            y: short(a.1.min(b.1)),
            width: short((b.0 - a.0).abs()),
            height: short((b.1 - a.1).abs()),
            class: class.to_owned(),
            tip,
        });
    }

    /// A line through points; a closed one where the class fills it.
    pub(super) fn path(&mut self, points: &[Point], class: &str) {
        let mut d = String::new();
        for (i, point) in points.iter().enumerate() {
            let sign = if i == 0 { 'M' } else { 'L' };
            d.push_str(&format!("{sign}{} {}", short(point.0), short(point.1)));
        }
        self.shapes.push(Shape::Path { d, class: class.to_owned() });
    }

    pub(super) fn dot(&mut self, at: Point, r: f64, class: &str, tip: Option<String>) {
        self.shapes.push(Shape::Circle { x: short(at.0), y: short(at.1), r, class: class.to_owned(), tip });
    }

    pub(super) fn text(&mut self, at: Point, class: &str, text: impl Into<String>) {
        self.turned_text(at, class, text, 0.0);
    }

    /// `turn` in degrees about the text's own point.
    pub(super) fn turned_text(&mut self, at: Point, class: &str, text: impl Into<String>, turn: f64) {
        self.shapes.push(Shape::Text {
            x: short(at.0),
            y: short(at.1),
            class: class.to_owned(),
            text: text.into(),
            turn,
        });
    }

    /// A legend from the top left on, in as many rows as it needs; the first free height.
    pub(super) fn legend(&mut self, entries: &[(Mark, String, String)]) -> f64 {
        let (mut x, mut y) = (0.0, 12.0);
        for (mark, class, text) in entries {
            let text = cut(text, self.width - 30.0);
            let wide = 24.0 + text_width(&text);
            if x > 0.0 && x + wide > self.width {
                (x, y) = (0.0, y + 18.0);
            }
            match mark {
                Mark::Line => self.path(&[(x, y - 4.0), (x + 18.0, y - 4.0)], &format!("line {class}")),
                Mark::Area => {
                    self.rect([(x, y - 9.0), (x + 18.0, y + 1.0)], &format!("area {class}"));
                    self.path(&[(x, y - 9.0), (x + 18.0, y - 9.0)], &format!("line {class}"));
                }
                Mark::Dot => self.dot((x + 9.0, y - 4.0), 4.0, &format!("dot {class}"), None),
            }
            self.text((x + 24.0, y), "t", text);
            x += wide + 14.0;
        }
        y + 8.0
    }

    /// Grows the drawing to this height.
    pub(super) fn ends_at(&mut self, height: f64) {
        self.height = short(height);
    }
}

/// A rectangle of a drawing with two axes.
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Panel {
    /// A panel below `top`, as wide as the drawing, with room for its labels.
    pub(super) fn below(top: f64, height: f64, width: f64, x: Axis, y: Axis) -> Self {
        let widest = y.ticks().into_iter().map(|tick| text_width(&y.label(tick))).fold(0.0, f64::max);
        // The letters at the ends of the x axis stand out by half their width.
        Self { left: widest + 9.0, top: top + 20.0, right: width - 10.0, bottom: top + 20.0 + height, x, y }
    }

    /// Where a pair of values is drawn; values off an axis are held to its end.
    pub(super) fn at(&self, (x, y): (f64, f64)) -> Point {
        (
            self.left + self.x.share(x) * (self.right - self.left),
            self.bottom - self.y.share(y) * (self.bottom - self.top),
        )
    }

    /// Grid, ticks and the axes' names, the y axis' on top.
    pub(super) fn draw(&self, drawing: &mut Drawing, x_name: &str, y_name: &str) {
        for tick in self.y.ticks() {
            let y = self.at((self.x.low, tick)).1;
            drawing.path(&[(self.left, y), (self.right, y)], "grid");
            drawing.text((self.left - 6.0, y + 4.0), "t end soft", self.y.label(tick));
        }
        for tick in self.x.ticks() {
            let x = self.at((tick, self.y.low)).0;
            let label = self.x.label(tick);
            let half = text_width(&label) / 2.0;
            drawing.path(&[(x, self.bottom), (x, self.bottom + 4.0)], "axis");
            drawing.text((x.min(drawing.width - half), self.bottom + 17.0), "t middle soft", label);
        }
        drawing.text(((self.left + self.right) / 2.0, self.bottom + 34.0), "t middle", x_name);
        drawing.text((0.0, self.top - 9.0), "t", y_name);
    }

    /// The line under the data; last, so that areas do not cover it.
    pub(super) fn base(&self, drawing: &mut Drawing) {
        drawing.path(&[(self.left, self.bottom), (self.right, self.bottom)], "axis");
    }
}
