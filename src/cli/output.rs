//! What the program says, and where: results on standard output, everything else on standard error.
//!
//! A reader that has gone away (`shadegrad info | head -1`) is no reason to stop working, so failures to print are
//! passed over.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::gpu::AdapterSummary;
use crate::lab::LabError;

/// A line for people.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line beside the results.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What went wrong, as one line.
pub fn error(message: &str) {
    complain(&format!("error: {}", message.split_whitespace().collect::<Vec<_>>().join(" ")));
}

/// Names the adapter; with `json` standard output is left to the result.
pub fn adapter(summary: &AdapterSummary, json: bool) {
    let line = summary.line();
    if json {
        complain(&line)
    } else {
        say(&line)
    }
    if let Some(warning) = summary.warning() {
        complain(warning);
    }
}

/// A result for scripts.
pub fn json(value: &impl Serialize) -> Result<(), LabError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| LabError::Usage(error.to_string()))?;
    say(&text);
    Ok(())
}

/// A bar on standard error; nothing is drawn where that is not a terminal.
pub fn bar(length: usize, what: &str, unit: &str) -> ProgressBar {
    let template = format!("{{prefix}} {{bar:30}} {{pos}}/{{len}} {unit}, {{msg}}{{eta}} left");
    let bar = ProgressBar::new(length as u64).with_prefix(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// The same for a download.
pub fn bytes_bar(length: u64, what: &str) -> ProgressBar {
    let template = "{prefix} {bar:30} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
    let bar = ProgressBar::new(length).with_prefix(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Seconds as people read them.
pub fn duration(seconds: f64) -> String {
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}
