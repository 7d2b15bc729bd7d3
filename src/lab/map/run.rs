//! One cell from beginning to end, or from where it was left.

use std::fs;
use std::path::{Path, PathBuf};

use crate::attack::AttackError;
use crate::files::{self, FileError};
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::train::{self, Epoch, State};
use crate::lock::FolderLock;
use crate::ood::fit::FitError;
use crate::ood::metrics::MetricsError;
use crate::ops::choices;

use super::measure::Follower;
use super::plan::{Cell, Map, Material, Plan};
use super::record::{self, CellResult, Trained};

/// The file that says what a folder's map is.
pub(super) const MAP: &str = "map.json";

/// Far larger than any.
const MAX_MAP: u64 = 1 << 24;

/// Advice for whoever brings another map.
const ANOTHER: &str = " (choose another --out)";

/// Whoever watches a cell.
pub trait Progress {
    /// The share of the cell that is done, and what goes on.
    fn at(&mut self, share: f64, what: &str);
    /// Something that people should know.
    fn note(&mut self, line: &str);
    /// Asked often: whether the cell is to be kept and left here.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// How cells are looked after.
#[derive(Clone, Copy, Debug)]
pub struct Care<'a> {
    /// The command line, for the record of the training run.
    pub command: &'a [String],
    /// Keep the state once in so many steps, too.
    pub every: Option<u64>,
}

/// Without a command line, kept at each epoch's end.
pub const CARE: Care<'static> = Care { command: &[], every: None };

/// What came of a cell.
#[derive(Debug)]
pub enum Outcome {
    /// It was done before.
    Kept(CellResult),
    Done(CellResult),
    /// Another process is at it.
    Busy(FileError),
}

/// The folder of a cell.
pub(super) fn folder(out: &Path, cell: &Cell) -> PathBuf {
    out.join("cells").join(&cell.name)
}

/// The map of a folder, if it has one.
pub(super) fn read_map(out: &Path) -> Result<Option<Map>, LabError> {
    let path = out.join(MAP);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = files::read(&path, MAX_MAP)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        let problem = files::one_line(&error.to_string());
        LabError::Usage(format!("{} is no map of this version of the program: {problem}", path.display()))
    })
}

/// Makes a folder this map's: the first process writes `map.json`, and those after it must bring the same map.
pub fn begin(out: &Path, map: &Map) -> Result<(), LabError> {
    fs::create_dir_all(out).map_err(|error| files::write_error(out, &error))?;
    let path = out.join(MAP);
    let failed = |error: serde_json::Error| LabError::Usage(error.to_string());
    let text = serde_json::to_string_pretty(map).map_err(failed)? + "\n";
    files::write_first(&path, text.as_bytes())?;
    // Whoever wrote it: another process may have been before this one, or after it.
    let there = files::read(&path, MAX_MAP)?;
    let there: serde_json::Value = serde_json::from_slice(&there).map_err(|error| {
        LabError::Usage(format!("{} is damaged: {}", path.display(), files::one_line(&error.to_string())))
    })?;
    record::refuse_others(&path, &there, map, ANOTHER)
}

/// Refuses the plan of another map than the folder's, if it has one. Pictures are not looked at.
pub fn check_plan(out: &Path, plan: &Plan) -> Result<(), LabError> {
    let Some(there) = read_map(out)? else { return Ok(()) };
    let here = Map::new(plan.clone(), there.pictures.clone());
    record::refuse_others(&out.join(MAP), &there, &here, ANOTHER)
}

/// A finished cell, if it is there.
pub fn read_finished(out: &Path, map: &Map, cell: &Cell) -> Result<Option<CellResult>, LabError> {
    record::read(&folder(out, cell), map, cell)
}

/// Whether a cell is finished, and whether a state of it is kept.
pub fn is_begun(out: &Path, cell: &Cell) -> (bool, bool) {
    let folder = folder(out, cell);
    (folder.join(record::CELL).exists(), State::is_in(&folder))
}

/// Trains and measures a cell in its folder of `out`, unless that is done.
///
/// # Errors
/// A finished cell of another map, a state of other settings, whatever stops a training run, and being asked to stop.
pub fn cell(
    gpu: &Gpu,
    (map, material): (&Map, &Material),
    cell: &Cell,
    out: &Path,
    care: Care<'_>,
    progress: &mut dyn Progress,
) -> Result<Outcome, LabError> {
    let folder = folder(out, cell);
    if let Some(result) = record::read(&folder, map, cell)? {
        return Ok(Outcome::Kept(result));
    }
    let _lock = match FolderLock::take(&folder) {
        Err(busy @ FileError::Busy { .. }) => return Ok(Outcome::Busy(busy)),
        lock => lock?,
    };
    // Another process may have finished it in the meantime.
    if let Some(result) = record::read(&folder, map, cell)? {
        return Ok(Outcome::Kept(result));
    }
    let settings = map.plan.settings(cell)?;
    let from = kept(gpu, &settings, material, &folder, progress)?;
    let before = from.as_ref().map_or(0.0, |state| state.position().spent);
    let begun = std::time::Instant::now();
    let wanted = map.plan.wanted();
    let mut follower = Follower { map, cell, material, wanted: &wanted, progress, now: (0, 1), epochs: Vec::new() };
    let notes = serde_json::json!({ "map": map.plan, "cell": cell });
    let looked_after = train::Care { from, every: care.every, ..train::Care::default() };
    let trained =
        train::train_kept(gpu, &settings, &material.data, &folder, (care.command, notes), looked_after, &mut follower);
    let diverged = match trained {
        Ok(_) => None,
        // A cell that diverges does so every time: this is what it has to say.
        Err(LabError::Diverged { step }) => Some(step),
        Err(error) if is_not_finite(&error) => {
            let step = follower.reached();
            follower.progress.note(&format!("{error}: the cell has diverged by step {step}"));
            Some(step)
        }
        Err(error) => return Err(error),
    };
    let epochs = follower.epochs;
    let training: Vec<Trained> = epochs.iter().map(Trained::from).collect();
    let mut measured = Vec::new();
    for (epoch, trained) in epochs.iter().zip(&training) {
        if map.plan.epochs.contains(&epoch.epoch) {
            measured.push(record::unflatten(map, trained, &epoch.measured).ok_or_else(|| {
                let problem = format!("epoch {} lacks some of what was measured", epoch.epoch);
                LabError::State { path: folder.clone(), problem }
            })?);
        }
    }
    let result = CellResult {
        cell: cell.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        adapter: gpu.adapter().clone(),
        kernel_choices: choices::record(gpu)?,
        diverged,
        images_per_second: speed(&epochs),
        seconds: before + begun.elapsed().as_secs_f64(),
        training,
        measured,
    };
    record::write(&folder, map, &result)?;
    if diverged.is_some() {
        State::forget_in(&folder)?;
    }
    Ok(Outcome::Done(result))
}

/// Whether a network whose loss is finite broke under its measuring. It does so every time, too.
fn is_not_finite(error: &LabError) -> bool {
    matches!(
        error,
        LabError::Attack(AttackError::NotFinite { .. })
            | LabError::Fit(FitError::NotFinite { .. })
            | LabError::Metrics(MetricsError::NotANumber { .. })
    )
}

/// Training pictures a second over all epochs.
fn speed(epochs: &[Epoch]) -> f64 {
    let seconds: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
    let images: f64 = epochs.iter().map(|epoch| epoch.images_per_second * epoch.seconds).sum();
    if seconds > 0.0 { images / seconds } else { 0.0 }
}

/// The state that a cell is to go on from. One of another adapter or version would make a cell of two minds, and refusing
/// it would hold up a job that was put on another machine: such a cell begins anew.
fn kept(
    gpu: &Gpu,
    settings: &train::Settings,
    material: &Material,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Option<State>, LabError> {
    let state = match State::read(folder) {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(None),
        Err(error @ LabError::State { .. }) => {
            progress.note(&format!("{error}: this cell is begun anew"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let differences = state.mismatch(gpu, settings, &material.data, true)?;
    if !differences.is_empty() {
        return Err(state.refused(&differences));
    }
    let elsewhere = state.mismatch(gpu, settings, &material.data, false)?;
    if !elsewhere.is_empty() {
        progress.note(&format!("{}: this cell is begun anew", state.refused(&elsewhere)));
        return Ok(None);
    }
    let at = state.position();
    progress.note(&format!("going on after step {} ({} epochs are over)", at.step, at.epochs.len()));
    Ok(Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ood::metrics::ScoreSet;

    /// A cell that breaks is done; one that a fault of the program or of the machine stops is not.
    #[test]
    fn only_numbers_that_are_not_finite_are_a_result() {
        assert!(is_not_finite(&AttackError::NotFinite { image: 3 }.into()));
        assert!(is_not_finite(&FitError::NotFinite { image: 3 }.into()));
        assert!(is_not_finite(&MetricsError::NotANumber { set: ScoreSet::Ood, index: 3 }.into()));
        assert!(!is_not_finite(&AttackError::Moved { image: 3 }.into()));
        assert!(!is_not_finite(&FitError::Empty.into()));
        assert!(!is_not_finite(&MetricsError::Empty { set: ScoreSet::Id }.into()));
        assert!(!is_not_finite(&LabError::Usage("NaN".to_owned())));
    }
}
