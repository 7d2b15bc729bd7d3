//! Weights as safetensors under PyTorch's state_dict names and layouts, so that they travel both ways.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};

use crate::files::{self, FileError};
use crate::gpu::{Gpu, GpuError, Tensor};

use super::network::Network;
use super::sealed;

/// A weights file is never larger than this; a larger one is not read.
const MAX_BYTES: u64 = 1 << 30;

/// What can be wrong with a weights file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error("{} is not a safetensors file: {reason}", .path.display())]
    Format { path: PathBuf, reason: String },
    #[error(
        "{} is damaged: its bytes do not have the checksum that it notes (if it was changed on purpose, save it without the \
         note 'md5')", .path.display()
    )]
    Damaged { path: PathBuf },
    #[error("{}: tensor '{name}' is stored as {dtype}, but f32 is needed (convert it with .float())", .path.display())]
    Dtype { path: PathBuf, name: String, dtype: String },
    #[error("{} does not hold the weights of '{model}': tensor '{name}' {problem}", .path.display())]
    Mismatch { path: PathBuf, model: String, name: String, problem: String },
    #[error("{}: tensor '{name}' holds a number that is not finite: the weights are broken", .path.display())]
    NotFinite { path: PathBuf, name: String },
}

/// The contents of a weights file: named `f32` arrays, and what is noted beside them.
#[derive(Debug)]
pub struct StateDict {
    path: PathBuf,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    metadata: HashMap<String, String>,
}

impl StateDict {
    /// Reads and checks a weights file.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        Self::from_bytes(path, &files::read(path, MAX_BYTES)?)
    }

    /// The same for a file's contents; `path` is for messages.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let file = sealed::decode(bytes).map_err(|reason| CheckpointError::Format { path: path.to_owned(), reason })?;
        if file.intact == Some(false) {
            return Err(CheckpointError::Damaged { path: path.to_owned() });
        }
        let mut tensors = BTreeMap::new();
        for (name, view) in file.arrays.iter() {
            // Batch-norm's step counter is the one integer in a state_dict; nothing here reads it.
            if name.ends_with(".num_batches_tracked") {
                continue;
            }
            if view.dtype() != Dtype::F32 {
                let dtype = format!("{:?}", view.dtype()).to_lowercase();
                return Err(CheckpointError::Dtype { path: path.to_owned(), name: name.to_owned(), dtype });
            }
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
            if values.iter().any(|value| !value.is_finite()) {
                return Err(CheckpointError::NotFinite { path: path.to_owned(), name: name.to_owned() });
            }
            tensors.insert(name.to_owned(), (view.shape().to_vec(), values));
        }
        Ok(Self { path: path.to_owned(), tensors, metadata: file.notes })
    }

    /// The model that the file says it belongs to.
    pub fn model(&self) -> Option<&str> {
        self.metadata.get("model").map(String::as_str)
    }

    /// Names and shapes, for finding out which model a file without a note belongs to.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice()))
    }

    /// Copies every tensor into the network; names and shapes must be exactly the network's.
    pub fn load_into(&self, gpu: &Gpu, network: &Network) -> Result<(), CheckpointError> {
        let places = places(network)?;
        let mismatch = |name: &str, problem: String| CheckpointError::Mismatch {
            path: self.path.clone(),
            model: network.architecture().name.clone(),
            name: name.to_owned(),
            problem,
        };
        // All is checked before anything is written.
        for (name, place) in &places {
            let (shape, _) = self.tensors.get(name).ok_or_else(|| mismatch(name, "is missing".to_owned()))?;
            if shape != place.dims() {
                return Err(mismatch(name, format!("has shape {shape:?}, not {}", place.shape())));
            }
        }
        if let Some(extra) = self.tensors.keys().find(|name| !places.iter().any(|(known, _)| known == *name)) {
            return Err(mismatch(extra, "is not part of it".to_owned()));
        }
        for (name, place) in &places {
            if let Some((_, values)) = self.tensors.get(name) {
                gpu.write(place, values)?;
            }
        }
        Ok(())
    }
}

/// Every tensor of the state_dict.
fn places(network: &Network) -> Result<Vec<(String, Tensor)>, GpuError> {
    let parameters = network.parameters();
    let trained = parameters.specs().iter().enumerate();
    let mut all = trained
        .map(|(index, spec)| Ok((spec.name.clone(), parameters.value(index)?)))
        .collect::<Result<Vec<_>, GpuError>>()?;
    all.extend(network.buffers());
    Ok(all)
}

/// A tensor of the state_dict: its name, its shape, its elements.
pub type NamedArray = (String, Vec<usize>, Vec<f32>);

impl Network {
    /// Every tensor of the state_dict, read back from the device.
    pub fn state(&self, gpu: &Gpu) -> Result<Vec<NamedArray>, GpuError> {
        let read = |(name, tensor): (String, Tensor)| Ok((name, tensor.dims().to_vec(), gpu.read(&tensor)?));
        places(self)?.into_iter().map(read).collect()
    }

    /// Writes the weights; `notes` go into the file's metadata, the model's name among them. Weights that are
    /// not finite are refused, so that they never take the place of good ones.
    pub fn save(&self, gpu: &Gpu, path: &Path, notes: &[(&str, String)]) -> Result<(), CheckpointError> {
        let state = self.state(gpu)?;
        if let Some((name, ..)) = state.iter().find(|(.., values)| values.iter().any(|value| !value.is_finite())) {
            return Err(CheckpointError::NotFinite { path: path.to_owned(), name: name.clone() });
        }
        let format = |error: safetensors::SafeTensorError| CheckpointError::Format {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let views = state
            .iter()
            .map(|(name, shape, values)| {
                let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?;
                Ok((name.as_str(), view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(format)?;
        let mut metadata: HashMap<String, String> =
            notes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        metadata.insert("model".to_owned(), self.architecture().name.clone());
        metadata.insert("shadegrad".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let bytes = sealed::encode(views, metadata).map_err(format)?;
        Ok(files::write(path, &bytes)?)
    }
}
