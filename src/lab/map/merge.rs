//! Folders of cells put together: what is there, what is missing, and the files that come of it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::lab::LabError;
use crate::lab::report;
use crate::lab::train::write_json;
use crate::lock::FolderLock;

use super::plan::Map;
use super::record::{CellResult, refuse_others};
use super::run::{MAP, begin, read_finished, read_map};
use super::summary::{self, Line};

/// What people read.
pub const REPORT: &str = "report.html";

/// `result.json`: a map and all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Merged {
    pub version: String,
    pub map: Map,
    /// Cells that are not finished, by name.
    pub missing: Vec<String>,
    /// In the map's order.
    pub cells: Vec<CellResult>,
    /// Means over seeds, and differences.
    pub summary: Vec<Line>,
}

impl Merged {
    /// Cells of a map, in its order, and all that follows from them.
    pub fn new(map: Map, cells: Vec<CellResult>) -> Self {
        let there = |name: &String| cells.iter().any(|result| result.cell.name == *name);
        let missing = map.plan.cells().into_iter().map(|cell| cell.name).filter(|name| !there(name)).collect();
        let summary = summary::lines(&map, &cells);
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), map, missing, cells, summary }
    }
}

/// Reads the finished cells of several folders.
///
/// # Errors
/// A folder that is no map's or another map's, a cell that two folders have with different numbers, a damaged one, and
/// no cell at all.
pub fn merge(folders: &[PathBuf]) -> Result<Merged, LabError> {
    let mut map: Option<Map> = None;
    for folder in folders {
        let there = read_map(folder)?.ok_or_else(|| {
            let problem = format!("{} is not a folder of 'shadegrad map': it has no {MAP}", folder.display());
            LabError::Usage(problem)
        })?;
        match &map {
            None => map = Some(there),
            Some(map) => refuse_others(&folder.join(MAP), &there, map, "")?,
        }
    }
    let map = map.ok_or_else(|| LabError::Usage("there is no folder to merge".to_owned()))?;
    let place = folders.first().map(|folder| folder.join(MAP)).unwrap_or_default();
    map.plan.check().map_err(|error| LabError::Usage(format!("{} is no map: {error}", place.display())))?;
    let mut cells = Vec::new();
    for cell in map.plan.cells() {
        let mut found: Option<(CellResult, &Path)> = None;
        for folder in folders {
            let Some(result) = read_finished(folder, &map, &cell)? else { continue };
            match &found {
                None => found = Some((result, folder)),
                Some((before, place)) if !before.agrees(&result) => {
                    return Err(LabError::Usage(format!(
                        "the cell {} has one set of numbers in {} and another in {}: remove one of them",
                        cell.name,
                        place.display(),
                        folder.display()
                    )));
                }
                Some(_) => {}
            }
        }
        cells.extend(found.map(|(result, _)| result));
    }
    if cells.is_empty() {
        let all = map.plan.cells().len();
        return Err(LabError::Usage(format!("none of the map's {all} cells is finished: there is nothing to merge")));
    }
    Ok(Merged::new(map, cells))
}

/// Leaves `map.json`, `result.json`, `cells.csv`, `summary.csv` and `report.html` in a folder.
///
/// # Errors
/// A folder of another map, one that another process writes to, or cannot be written to.
pub fn write(merged: &Merged, out: &Path) -> Result<(), LabError> {
    let _lock = FolderLock::take(out)?;
    begin(out, &merged.map)?;
    summary::write_cells(merged, &out.join("cells.csv"))?;
    summary::write_summary(merged, &out.join("summary.csv"))?;
    write_json(&out.join("result.json"), merged)?;
    Ok(files::write(&out.join(REPORT), report::map_html(merged)?.as_bytes())?)
}
