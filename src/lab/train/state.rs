//! The state of a run between two steps, in one file beside its checkpoints: a run that goes on from it ends with the
//! bits of a run that was never interrupted.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensorError, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::data::DataSet;
use crate::files::{self, FileError};
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Network, Optimizer, sealed};
use crate::ops::choices;

use super::super::LabError;
use super::super::evaluate::Quality;
use super::adversary::Adversary;
use super::lesson::Moving;
use super::{Epoch, Settings};

/// The file's name.
const NAME: &str = "state.safetensors";

/// The largest model's state is a hundredth of this; a larger file is not read.
const MAX_BYTES: u64 = 1 << 32;

/// The one array of the file that holds no numbers: everything beside them, as JSON. (The header's notes would do, but
/// they have a limit that a long run's metrics reach.)
const REST: &str = "state";

/// Before the names of the numbers that a run would go back to at an alarm.
const REFUGE: &str = "refuge.";

/// Raised when the meaning of anything in the file changes.
const FORMAT: u32 = 2;

/// Where a run stands between two steps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// Steps so far.
    pub step: u64,
    /// The epochs that are over, as `metrics.jsonl` has them.
    pub epochs: Vec<Epoch>,
    /// Steps done of the epoch that is under way, and the seconds that they took.
    pub index: usize,
    pub seconds: f64,
    /// Its loss so far: the sum that was read back, over so many pictures, and how many are summed on the device.
    pub loss: f64,
    pub images: usize,
    pub pending: usize,
    pub best: Option<(u32, Quality)>,
    /// Accuracy under PGD on the fixed training batch, after the last epoch.
    pub withstood: Option<f64>,
    /// Seconds of the whole run, evaluation and all.
    pub spent: f64,
}

impl Position {
    /// Whether a run can stand there, whatever its settings are.
    fn is_possible(&self) -> bool {
        let numbered = (1..).zip(&self.epochs).all(|(number, epoch)| {
            epoch.epoch == number && epoch.robustness.rolled_back_to.is_none_or(|back| back < number)
        });
        let best = self.best.is_none_or(|(epoch, _)| (1..=self.epochs.len() as u64).contains(&u64::from(epoch)));
        let counts =
            [self.index, self.images, self.pending].into_iter().all(|count| count as u64 <= u64::from(u32::MAX));
        let seconds = [self.seconds, self.spent].into_iter().all(|seconds| seconds >= 0.0);
        numbered && best && counts && seconds && self.index as u64 <= self.step
    }
}

/// All of the file but its numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rest {
    format: u32,
    /// What must be the same for the rest of the run to be the same.
    identity: Value,
    /// The command line as it was given, and the settings as it was understood.
    command: Vec<String>,
    arguments: Value,
    position: Position,
}

/// A state as it was read.
#[derive(Clone, Debug)]
pub struct State {
    path: PathBuf,
    rest: Rest,
    numbers: BTreeMap<String, Vec<f32>>,
}

/// What a run is. Another run has no use for its state.
pub(super) fn identity(gpu: &Gpu, settings: &Settings, data: &DataSet) -> Result<Value, LabError> {
    Ok(json!({
        "settings": settings,
        "data": { "name": data.name, "pictures": data.fingerprint() },
        "program": { "version": env!("CARGO_PKG_VERSION") },
        "adapter": gpu.adapter(),
        "precision": gpu.precision(),
        "kernels": choices::record(gpu)?,
    }))
}

/// The parts of an identity without which a run still goes on, though not to the same bits.
const ELSEWHERE: [&str; 3] = ["program", "adapter", "kernels"];

/// Every value that differs, as `name: there, not here`.
pub fn differences(there: &Value, here: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", there, here, &mut found);
    found
}

fn compare(name: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    if let (Value::Object(there), Value::Object(here)) = (there, here) {
        let keys = there.keys().chain(here.keys().filter(|key| !there.contains_key(*key)));
        for key in keys {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            compare(&name, &of(there), &of(here), found);
        }
    } else if there != here {
        let shown = |value: &Value| if value.is_null() { "none".to_owned() } else { value.to_string() };
        found.push(format!("{name} is {}, not {}", shown(there), shown(here)));
    }
}

impl State {
    /// Whether a folder holds a state.
    pub(in crate::lab) fn is_in(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// Removes a folder's state, if there is one.
    pub(in crate::lab) fn forget_in(folder: &Path) -> Result<(), FileError> {
        let path = folder.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(files::write_error(&path, &error)),
            _ => Ok(()),
        }
    }

    /// The state that an unfinished run left in a folder, if one did.
    pub fn read(folder: &Path) -> Result<Option<Self>, LabError> {
        let path = folder.join(NAME);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read(&path, MAX_BYTES)?;
        Self::from_bytes(&path, &bytes).map(Some)
    }

    /// The same for a file's contents; `path` is for messages.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, LabError> {
        let damaged = |reason: String| LabError::State { path: path.to_owned(), problem: reason };
        let unreadable = |reason: &str| damaged(format!("it is damaged: {}", files::one_line(reason)));
        let sealed::Sealed { arrays: file, intact, .. } =
            sealed::decode(bytes).map_err(|reason| unreadable(&reason))?;
        if intact == Some(false) {
            return Err(unreadable("its bytes do not have the checksum that it notes"));
        }
        let rest = file.tensor(REST).map_err(|error| unreadable(&error.to_string()))?;
        let rest: Value = serde_json::from_slice(rest.data()).map_err(|error| unreadable(&error.to_string()))?;
        if rest["format"] != json!(FORMAT) {
            return Err(damaged("it is another version's of the program".to_owned()));
        }
        if intact.is_none() {
            return Err(unreadable("it notes no checksum"));
        }
        let rest: Rest = serde_json::from_value(rest).map_err(|error| unreadable(&error.to_string()))?;
        if !rest.position.is_possible() {
            return Err(unreadable("no run can stand where it says"));
        }
        let mut numbers = BTreeMap::new();
        for (name, view) in file.iter().filter(|(name, _)| *name != REST) {
            if view.dtype() != Dtype::F32 {
                return Err(unreadable(&format!("array '{name}' is not f32")));
            }
            numbers.insert(name.to_owned(), bytemuck::pod_collect_to_vec(view.data()));
        }
        Ok(Self { path: path.to_owned(), rest, numbers })
    }

    /// Where the run stands.
    pub fn position(&self) -> &Position {
        &self.rest.position
    }

    /// The command line that began the run, and its settings as they were understood.
    pub fn command(&self) -> (&[String], &Value) {
        (&self.rest.command, &self.rest.arguments)
    }

    /// What differs between this state's run and the one that these settings, data and device would make; with
    /// `elsewhere`, the program's version, the adapter and the choice of kernels do not count.
    pub fn mismatch(
        &self,
        gpu: &Gpu,
        settings: &Settings,
        data: &DataSet,
        elsewhere: bool,
    ) -> Result<Vec<String>, LabError> {
        let (mut there, mut here) = (self.rest.identity.clone(), identity(gpu, settings, data)?);
        if elsewhere {
            // A damaged file's may be no object at all, and differs then.
            for identity in [&mut there, &mut here].into_iter().filter_map(Value::as_object_mut) {
                for part in ELSEWHERE {
                    identity.insert(part.to_owned(), Value::Null);
                }
            }
        }
        Ok(differences(&there, &here))
    }

    /// The error that a mismatch is.
    pub fn refused(&self, differences: &[String]) -> LabError {
        LabError::State { path: self.path.clone(), problem: format!("in its run {}", differences.join("; ")) }
    }

    /// Brings a fresh network and what moves with it to where the run stands. With `rolls_back` it has a refuge, too,
    /// from the end of its first epoch without an alarm on.
    pub(super) fn restore(
        &self,
        gpu: &Gpu,
        network: &Network,
        moving: &mut Moving,
        rolls_back: bool,
    ) -> Result<(Position, Option<Refuge>), LabError> {
        let places = places(network, moving);
        let wrong = |name: &str| LabError::State {
            path: self.path.clone(),
            problem: format!("it is damaged: array '{name}' is missing or of a wrong length"),
        };
        // All is checked before anything is written.
        let fits = |(name, place): &(String, Tensor)| {
            self.numbers.get(name).filter(|values| values.len() == place.count()).ok_or_else(|| wrong(name))
        };
        let numbers = places.iter().map(fits).collect::<Result<Vec<_>, _>>()?;
        let position = self.rest.position.clone();
        let is_refuge = |epoch: &Epoch| epoch.robustness.alarm != Some(true);
        let refuge = if rolls_back && position.epochs.last().is_some_and(is_refuge) {
            let refuge = lasting(network, &moving.optimizer).into_iter().map(|(name, place)| {
                let values = fits(&(format!("{REFUGE}{name}"), place))?;
                Ok((name, values.clone()))
            });
            Some(Refuge(refuge.collect::<Result<_, LabError>>()?))
        } else {
            None
        };
        for ((_, place), values) in places.iter().zip(numbers) {
            gpu.write(place, values)?;
        }
        moving.optimizer.continue_from(position.step);
        moving.meter.continue_from(&position);
        if let Some(adversary) = &mut moving.adversary {
            adversary.continue_from(position.withstood);
        }
        Ok((position, refuge))
    }
}

/// What of a run stays when an epoch is over: weights, running statistics, moments.
fn lasting(network: &Network, optimizer: &Optimizer) -> Vec<(String, Tensor)> {
    let mut all = vec![("weights".to_owned(), network.parameters().flat_values().clone())];
    all.extend(network.buffers().into_iter().map(|(name, tensor)| (format!("buffer.{name}"), tensor)));
    let moments = optimizer.moments().iter().enumerate();
    all.extend(moments.map(|(order, tensor)| (format!("moment.{order}"), tensor.clone())));
    all
}

/// Every number on the device that the rest of a run depends on. What else it needs (orders, flips, masks, the data) is
/// made from the seed and the position.
fn places(network: &Network, moving: &Moving) -> Vec<(String, Tensor)> {
    let mut all = lasting(network, &moving.optimizer);
    all.push(("loss".to_owned(), moving.meter.sum().clone()));
    let carried = moving.adversary.as_ref().and_then(Adversary::carried);
    all.extend(carried.map(|tensor| ("perturbation".to_owned(), tensor.clone())));
    all
}

/// The end of the last epoch without an alarm, where a run goes back to at one.
#[derive(Debug)]
pub(super) struct Refuge(Vec<(String, Vec<f32>)>);

impl Refuge {
    /// Where a run stands, as the place to go back to.
    pub fn here(gpu: &Gpu, network: &Network, optimizer: &Optimizer) -> Result<Self, LabError> {
        let read = |(name, tensor): (String, Tensor)| Ok((name, gpu.read(&tensor)?));
        Ok(Self(lasting(network, optimizer).into_iter().map(read).collect::<Result<_, LabError>>()?))
    }

    /// Goes back to it; it was after `step` steps.
    pub fn enter(&self, gpu: &Gpu, network: &Network, optimizer: &mut Optimizer, step: u64) -> Result<(), LabError> {
        for ((_, place), (_, values)) in lasting(network, optimizer).iter().zip(&self.0) {
            gpu.write(place, values)?;
        }
        optimizer.continue_from(step);
        Ok(())
    }
}

/// What keeps a run's state up to date.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    pub folder: &'a Path,
    pub identity: Value,
    pub command: &'a [String],
    pub arguments: Value,
}

impl Keeper<'_> {
    /// Writes the state in the place of the one before. Weights that are not finite are refused, so that they never
    /// take the place of good ones.
    pub fn keep(
        &self,
        gpu: &Gpu,
        (network, moving, refuge): (&Network, &Moving, Option<&Refuge>),
        position: &Position,
    ) -> Result<(), LabError> {
        let path = self.folder.join(NAME);
        let read = |(name, tensor): (String, Tensor)| Ok((name, gpu.read(&tensor)?));
        let mut numbers = places(network, moving).into_iter().map(read).collect::<Result<Vec<_>, LabError>>()?;
        // A moment may overflow in a run that goes on well; a weight or a mean may not.
        let broken = |(name, values): &(String, Vec<f32>)| {
            !name.starts_with("moment.") && values.iter().any(|value| !value.is_finite())
        };
        if numbers.iter().any(broken) {
            return Err(LabError::Diverged { step: position.step });
        }
        let refuge = refuge.into_iter().flat_map(|refuge| &refuge.0);
        numbers.extend(refuge.map(|(name, values)| (format!("{REFUGE}{name}"), values.clone())));
        let meter = &moving.meter;
        let position = Position { loss: meter.total, images: meter.images, pending: meter.pending, ..position.clone() };
        let rest = Rest {
            format: FORMAT,
            identity: self.identity.clone(),
            command: self.command.to_vec(),
            arguments: self.arguments.clone(),
            position,
        };
        let failed = |problem: String| LabError::State { path: path.clone(), problem };
        let rest = serde_json::to_vec(&rest).map_err(|error| failed(error.to_string()))?;
        let bytes = encode(&numbers, &rest).map_err(|error| failed(error.to_string()))?;
        Ok(files::write(&path, &bytes)?)
    }

    /// A run that is finished leaves no state.
    pub fn forget(&self) -> Result<(), FileError> {
        State::forget_in(self.folder)
    }
}

fn encode(numbers: &[(String, Vec<f32>)], rest: &[u8]) -> Result<Vec<u8>, SafeTensorError> {
    let mut views = vec![(REST, TensorView::new(Dtype::U8, vec![rest.len()], rest)?)];
    for (name, values) in numbers {
        views.push((name.as_str(), TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?));
    }
    sealed::encode(views, HashMap::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_what_differs_and_nothing_else() {
        let there = json!({"a": {"lr": 0.1, "adam": {"beta1": 0.9}}, "same": [1, 2], "gone": 1});
        let here = json!({"a": {"lr": 0.01, "sgd": 5}, "same": [1, 2]});
        let wanted = [
            "a.adam is {\"beta1\":0.9}, not none",
            "a.lr is 0.1, not 0.01",
            "a.sgd is none, not 5",
            "gone is 1, not none",
        ];
        assert_eq!(differences(&there, &here), wanted);
        assert_eq!(differences(&there, &there), [""; 0]);
    }
}
