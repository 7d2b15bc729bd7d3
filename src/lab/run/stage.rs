//! Stages that are done once: each leaves `stage.json` in a folder of its own when all else is there, and a later
//! run that finds the same key in it takes the result from there. Until then `begun.json` has the key of what is under
//! way, so that a later run knows a state that training left there for its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::data::DataSet;
use crate::files::{self, FileError};
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::results::Stage;
use crate::lab::train::{Settings, State, write_json};
use crate::lock::FolderLock;
use crate::ops::choices;

/// Holds the key of a stage that is under way.
const BEGUN: &str = "begun.json";

/// A stage's own files are far smaller.
const MAX_BYTES: u64 = 1 << 30;

/// A stage that is to be done.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its folder.
    pub name: String,
    /// What it does, for people.
    pub title: String,
    /// The command that does the same alone, where there is one.
    pub command: Option<String>,
    /// Everything in the plan that decides its result.
    pub key: Value,
    /// How much work it is beside the others.
    pub weight: f64,
}

/// Whoever watches a run of the lab.
pub trait Progress {
    /// All that is to be done, in order.
    fn planned(&mut self, stages: &[Planned]);
    /// A stage begins.
    fn begin(&mut self, stage: &Planned);
    /// The share of it that is done, and what goes on.
    fn at(&mut self, share: f64, what: &str);
    /// It is over.
    fn end(&mut self, stage: &Stage);
    /// Something that people should know.
    fn note(&mut self, line: &str);
    /// From here on, or no longer, what is under way keeps its work when it is told to stop.
    fn keeps(&mut self, _whether: bool) {}
    /// Whether it is to stop.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// What a stage works with.
pub struct Desk<'a> {
    pub gpu: &'a Gpu,
    pub folder: &'a Path,
    pub progress: &'a mut dyn Progress,
    /// This very stage was begun by an earlier run, and its folder is as that run left it.
    begun_before: bool,
    /// Seconds that earlier runs spent on what is gone on with.
    earlier: f64,
}

impl Desk<'_> {
    /// The state that an earlier run of this stage left when it was stopped or killed, if there is one that will do.
    pub fn state(&mut self, settings: &Settings, data: &DataSet) -> Result<Option<State>, LabError> {
        if !self.begun_before {
            return Ok(None);
        }
        let state = match State::read(self.folder) {
            Ok(Some(state)) => state,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.progress.note(&format!("{error}: this stage is done anew"));
                return Ok(None);
            }
        };
        let differences = state.mismatch(self.gpu, settings, data, false)?;
        if !differences.is_empty() {
            self.progress.note(&format!("{}: this stage is done anew", state.refused(&differences)));
            return Ok(None);
        }
        let at = state.position();
        let (folder, epochs) = (self.folder.display(), at.epochs.len());
        self.progress.note(&format!("going on in {folder} after step {} ({epochs} epochs are over)", at.step));
        self.earlier = at.spent;
        Ok(Some(state))
    }
}

/// `stage.json`.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    key: Value,
    /// Fingerprints of the files that other stages read.
    files: BTreeMap<String, String>,
    seconds: f64,
    result: T,
}

/// The stages of one run.
pub struct Stages<'a> {
    gpu: &'a Gpu,
    out: &'a Path,
    program: Value,
    progress: &'a mut dyn Progress,
    done: Vec<Stage>,
    /// Held as long as the run lasts; the system lets go of it even if the run is killed.
    _lock: FolderLock,
}

/// The fingerprint of a file.
pub fn fingerprint_of(path: &Path) -> Result<String, FileError> {
    Ok(files::fingerprint([&files::read(path, MAX_BYTES)?[..]]))
}

/// What computed: another build of the program or another adapter may round differently.
fn program(gpu: &Gpu) -> Result<Value, LabError> {
    let path = std::env::current_exe()
        .map_err(|error| LabError::Usage(format!("cannot find this program's own file: {error}")))?;
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "build": fingerprint_of(&path)?,
        "adapter": gpu.adapter(),
        "kernels": choices::record(gpu)?,
    }))
}

impl<'a> Stages<'a> {
    /// Begins a run in the folder `out`.
    pub fn new(gpu: &'a Gpu, out: &'a Path, progress: &'a mut dyn Progress) -> Result<Self, LabError> {
        let lock = FolderLock::take(out)?;
        Ok(Self { gpu, out, program: program(gpu)?, progress, done: Vec::new(), _lock: lock })
    }

    /// Says what is to come; with `fresh`, what earlier runs left of it is thrown away.
    pub fn announce(&mut self, planned: &[Planned], fresh: bool) -> Result<(), LabError> {
        if fresh {
            for stage in planned {
                let record = self.record(stage);
                forget(&record.with_file_name(BEGUN))?;
                forget(&record)?;
            }
        }
        self.progress.planned(planned);
        Ok(())
    }

    /// The folder of a stage, relative to the run's.
    pub fn place(stage: &str, file: &str) -> String {
        format!("stages/{stage}/{file}")
    }

    fn record(&self, stage: &Planned) -> PathBuf {
        self.out.join("stages").join(&stage.name).join("stage.json")
    }

    /// Does a stage, or takes its result from an earlier run. `from` are files of the run that it works on, and
    /// `leaves` are files in its folder that others read.
    pub fn run<T: Serialize + DeserializeOwned>(
        &mut self,
        stage: &Planned,
        from: &[&str],
        leaves: &[&str],
        work: impl FnOnce(&mut Desk<'_>) -> Result<T, LabError>,
    ) -> Result<T, LabError> {
        let mut read = BTreeMap::new();
        for file in from {
            read.insert(*file, fingerprint_of(&self.out.join(file))?);
        }
        let key = json!({ "program": self.program, "stage": stage.key, "from": read });
        let record = self.record(stage);
        if self.progress.interrupted() {
            return Err(LabError::Left { folder: self.out.to_owned() });
        }
        self.progress.begin(stage);
        if let Some(kept) = self.find(&record, &key)? {
            return Ok(self.finish(stage, kept, true));
        }
        let folder = record.with_file_name("");
        files::prepare_folder(&folder)?;
        // From here on the folder's files are not those of the old record any more.
        forget(&record)?;
        let mark = record.with_file_name(BEGUN);
        let begun_before = is_under_way(&mark, &key);
        if !begun_before {
            // Another stage's state must be gone before this one's key is there.
            State::forget_in(&folder)?;
            write_json(&mark, &key)?;
        }
        let begun = Instant::now();
        let mut desk = Desk { gpu: self.gpu, folder: &folder, progress: self.progress, begun_before, earlier: 0.0 };
        let result = work(&mut desk)?;
        let seconds = desk.earlier + begun.elapsed().as_secs_f64();
        let mut files = BTreeMap::new();
        for name in leaves {
            files.insert((*name).to_owned(), fingerprint_of(&folder.join(name))?);
        }
        let kept = Kept { key, files, seconds, result };
        write_json(&record, &kept)?;
        forget(&mark)?;
        Ok(self.finish(stage, kept, false))
    }

    fn finish<T>(&mut self, stage: &Planned, outcome: Kept<T>, kept: bool) -> T {
        let Planned { name, title, command, .. } = stage.clone();
        let stage = Stage { name, title, command, seconds: outcome.seconds, kept };
        self.progress.end(&stage);
        self.done.push(stage);
        outcome.result
    }

    /// What an earlier run left, if it can be taken for this one's.
    fn find<T: DeserializeOwned>(&mut self, record: &Path, key: &Value) -> Result<Option<Kept<T>>, LabError> {
        if !record.exists() {
            return Ok(None);
        }
        let bytes = files::read(record, MAX_BYTES)?;
        let mut damaged = |error: serde_json::Error| {
            let reason = files::one_line(&error.to_string());
            self.progress.note(&format!("{} is damaged ({reason}): this stage is done anew", record.display()));
            None
        };
        // The key first: the rest may have been something else under another version of the program.
        let value: Value = match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(error) => return Ok(damaged(error)),
        };
        if value["key"] != *key {
            return Ok(None);
        }
        let kept: Kept<T> = match serde_json::from_value(value) {
            Ok(kept) => kept,
            Err(error) => return Ok(damaged(error)),
        };
        for (name, wanted) in &kept.files {
            let path = record.with_file_name(name);
            if !fingerprint_of(&path).is_ok_and(|found| found == *wanted) {
                let path = path.display();
                self.progress.note(&format!("{path} is not as its stage left it: this stage is done anew"));
                return Ok(None);
            }
        }
        Ok(Some(kept))
    }

    /// What was done, in order.
    pub fn done(self) -> Vec<Stage> {
        self.done
    }
}

/// Whether a stage of this key was begun and not finished. A mark that cannot be read is none.
fn is_under_way(mark: &Path, key: &Value) -> bool {
    let bytes = if mark.exists() { files::read(mark, MAX_BYTES).ok() } else { None };
    bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()).is_some_and(|found| found == *key)
}

/// Removes a record, if there is one.
fn forget(record: &Path) -> Result<(), FileError> {
    match fs::remove_file(record) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::Write { path: record.to_owned(), reason: files::reason(&error) })
        }
        _ => Ok(()),
    }
}
