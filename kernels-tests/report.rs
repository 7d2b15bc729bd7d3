//! The report: self-contained, escaped, well nested, and its numbers those of the result.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/made_up.rs"]
mod made_up;

use folder::TempFolder;
use made_up::{Recipe, result};
use shadegrad::lab::report;

#[test]
fn the_sample_is_written() {
    let folder = TempFolder::new("report");
    let path = folder.path().join("report.html");
    report::write(&result(&Recipe::default()), &path).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 5_000_000, "{size} bytes");
    // To look at it: SHADEGRAD_SAMPLE_REPORT=FILE cargo test --test report the_sample
    if let Some(place) = std::env::var_os("SHADEGRAD_SAMPLE_REPORT") {
        std::fs::copy(&path, place).unwrap();
    }
}
