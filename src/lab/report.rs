//! The report: one HTML file that needs nothing else, made from a run's results.
//!
//! The page's text and tables are the templates beside this file; they read [`LabResult`] as it is, so that a table
//! shows what `result.json` holds. Charts are drawn in Rust (`gallery`, `charts`, `tables`), sentences made in `findings`.
//! Everything that comes from outside (names of classes, paths, commands) passes the engine's escaping.

mod charts;
mod drawing;
mod findings;
mod gallery;
mod groups;
mod map;
mod map_book;
mod map_charts;
mod map_tables;
mod page;
mod reported;
mod tables;

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;

use crate::files;

use super::LabError;
use super::axis::{in_255ths, share, thousands};
use super::map::Merged;
use super::results::LabResult;

/// Why a page could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl From<Error> for TemplateError {
    fn from(error: Error) -> Self {
        // The cause of a failed inclusion stands in the error below it; one line is what a command prints.
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text.push_str(&format!(": {inner}"));
            source = inner.source();
        }
        Self(text)
    }
}

const TEMPLATES: [(&str, &str); 12] = [
    ("page.html", include_str!("report/page.html")),
    ("chart.html", include_str!("report/chart.html")),
    ("detection.html", include_str!("report/detection.html")),
    ("attacks.html", include_str!("report/attacks.html")),
    ("training.html", include_str!("report/training.html")),
    ("effect.html", include_str!("report/effect.html")),
    ("compat.html", include_str!("report/compat.html")),
    ("conditions.html", include_str!("report/conditions.html")),
    ("repeat.html", include_str!("report/repeat.html")),
    ("style.css", include_str!("report/style.css")),
    ("map.html", include_str!("report/map.html")),
    ("map.css", include_str!("report/map.css")),
];

/// Writes the report of a run.
///
/// # Errors
/// When there is no classifier to report on, or the file cannot be written.
pub fn write(result: &LabResult, path: &Path) -> Result<(), LabError> {
    Ok(files::write(path, html(result)?.as_bytes())?)
}

/// The report as text.
///
/// # Errors
/// As [`write`], but for the file.
pub fn html(result: &LabResult) -> Result<String, LabError> {
    if result.classifiers.is_empty() {
        return Err(LabError::Usage("there is nothing to report: the result holds no classifier".to_owned()));
    }
    rendered("page.html", page::Page::new(result))
}

/// The report of a map as text.
///
/// # Errors
/// When a template and the result do not fit: a mistake in the program.
pub fn map_html(merged: &Merged) -> Result<String, LabError> {
    rendered("map.html", map::Page::new(merged))
}

fn rendered(template: &str, page: impl Serialize) -> Result<String, LabError> {
    let render = || environment()?.get_template(template)?.render(Serde(page));
    Ok(render().map_err(TemplateError::from)?)
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // The style sheets are ours, word for word; all else is escaped, whatever its file is called.
    environment
        .set_auto_escape_callback(|name| if name.ends_with(".css") { AutoEscape::None } else { AutoEscape::Html });
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    environment.add_filter("data_uri", data_uri);
    environment.add_filter("share", |value: f64| share(value, 4));
    environment.add_filter("percent", |value: f64| findings::percent(value));
    environment.add_filter("mse", |value: f64| findings::mse(value));
    environment.add_filter("fixed", |value: f64| finite(value, || format!("{value:.4}")));
    environment.add_filter("k255", |eps: f64| finite(eps, || format!("{}/255", in_255ths(eps / 255.0))));
    environment.add_filter("eps", |eps: f64| finite(eps, || format!("{}/255", in_255ths(eps))));
    environment.add_filter("plain", |value: f64| finite(value, || format!("{}", (value * 100.0).round() / 100.0)));
    environment.add_filter("whole", |value: f64| finite(value, || thousands(&format!("{value:.0}"))));
    environment.add_filter("thousands", |count: u64| thousands(&count.to_string()));
    environment.add_filter("duration", |seconds: f64| finite(seconds, || duration(seconds)));
    environment.add_filter("named", |at: usize, classes: Vec<String>| groups::class_name(&classes, at));
    environment.add_filter("score_label", |name: String| groups::score_label(&name));
    Ok(environment)
}

/// A number's text, or a dash for what is none.
fn finite(value: f64, text: impl FnOnce() -> String) -> String {
    if value.is_finite() { text() } else { "–".to_owned() }
}

/// A PNG in base64 as an address; base64 has no letter that HTML could misread.
fn data_uri(base64: &str) -> Result<Value, Error> {
    if !base64.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a picture is not base64"));
    }
    Ok(Value::from_safe_string(format!("data:image/png;base64,{base64}")))
}

/// `0.8 s`, `12 s`, `3 min 5 s`, `2 h 7 min`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}
