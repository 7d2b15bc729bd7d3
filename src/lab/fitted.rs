//! The fit of a training set kept beside the weights, so that it is made once. A fit of other weights, other pictures or
//! other settings is made anew; so is one that cannot be read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};

use crate::data::Images;
use crate::files;
use crate::gpu::Gpu;
use crate::nn::{Layer, Network, sealed};
use crate::ood::features::Head;
use crate::ood::fit::{Fit, Settings, Vim};

use super::LabError;
use super::evaluate::{Resident, features};

/// More than a fit of a million pictures has.
const MAX_BYTES: u64 = 1 << 30;

/// `weights.safetensors` has its fit in `weights.fit.safetensors`.
pub fn place(weights: &Path) -> PathBuf {
    weights.with_extension("fit.safetensors")
}

/// Of what a fit is: the fingerprints of weights and pictures, and the settings.
fn origin(gpu: &Gpu, network: &Network, train: &Images, settings: Settings) -> Result<String, LabError> {
    let state = network.state(gpu)?;
    let parts = state.iter().flat_map(|(name, _, values)| [name.as_bytes(), bytemuck::cast_slice(values)]);
    let weights = files::fingerprint(parts);
    let pictures = files::fingerprint([train.bytes.as_slice(), train.labels.as_slice()]);
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!("shadegrad {version}, weights {weights}, pictures {pictures}, {settings:?}"))
}

/// The fit of a classifier on its training pictures: the one at `path` if it is of these weights, pictures and settings,
/// else a new one, which is then kept there. Tells whether it was made; `seen` is told how many pictures are done.
///
/// # Errors
/// An autoencoder, training pictures that cannot be fitted, a place that cannot be written.
pub fn fitted(
    gpu: &Gpu,
    network: &Network,
    (train, path): (&Images, &Path),
    settings: Settings,
    seen: impl FnMut(usize),
) -> Result<(Fit, bool), LabError> {
    let head = head(gpu, network)?;
    let origin = origin(gpu, network, train, settings)?;
    let kept = files::read(path, MAX_BYTES).ok();
    if let Some(fit) = kept.and_then(|bytes| from_bytes(&bytes, &origin, train.count(), &head)) {
        return Ok((fit, false));
    }
    let data = Resident::new(gpu, train)?;
    let (found, _) = features(gpu, network, &data, seen)?;
    let fit = Fit::new(&found, &train.labels, &head, settings)?;
    write(path, &origin, &fit, &head)?;
    Ok((fit, true))
}

/// The classifier's last layer.
pub fn head(gpu: &Gpu, network: &Network) -> Result<Head, LabError> {
    let parameters = network.parameters();
    let Some(Layer::Linear { features: [_, classes], bias, relu: false, .. }) = network.architecture().layers.last()
    else {
        let problem = format!(
            "scores of features need a classifier that ends in a linear layer, not '{}'",
            network.architecture().name
        );
        return Err(LabError::Usage(problem));
    };
    let read = |back: usize| Ok::<_, LabError>(gpu.read(&parameters.value(parameters.specs().len() - back)?)?);
    if *bias {
        Ok(Head { weights: read(2)?, bias: read(1)? })
    } else {
        Ok(Head { weights: read(1)?, bias: vec![0.0; *classes] })
    }
}

/// The fit in a file's contents, if it is whole and of this origin.
pub fn from_bytes(bytes: &[u8], origin: &str, count: usize, head: &Head) -> Option<Fit> {
    let file = sealed::decode(bytes).ok()?;
    if file.intact != Some(true) || file.notes.get("origin")? != origin {
        return None;
    }
    let file = file.arrays;
    let size = head.size();
    let side = |name: &str| file.tensor(name).ok()?.shape().first().copied();
    let floats = |name: &str, length: usize| -> Option<Vec<f64>> {
        let view = file.tensor(name).ok().filter(|view| view.dtype() == Dtype::F64)?;
        let values: Vec<f64> = bytemuck::pod_collect_to_vec(view.data());
        (values.len() == length && values.iter().all(|value| value.is_finite())).then_some(values)
    };
    let bank = file.tensor("knn.bank").ok().filter(|view| view.dtype() == Dtype::F32)?;
    let bank: Vec<f32> = bytemuck::pod_collect_to_vec(bank.data());
    let (rows, classes) = (side("vim.residual")?, side("mahalanobis.means")?);
    (bank.len() == count * size && bank.iter().all(|value| value.is_finite())).then_some(())?;
    Some(Fit {
        bank,
        means: floats("mahalanobis.means", classes.checked_mul(size)?)?,
        precision: floats("mahalanobis.precision", size * size)?,
        vim: Vim {
            origin: floats("vim.origin", size)?,
            residual: floats("vim.residual", rows.checked_mul(size)?)?,
            alpha: floats("vim.alpha", 1)?[0],
        },
        threshold: floats("react.threshold", 1)?[0],
    })
}

fn write(path: &Path, origin: &str, fit: &Fit, head: &Head) -> Result<(), LabError> {
    let failed = |error: safetensors::SafeTensorError| LabError::Usage(format!("{}: {error}", path.display()));
    Ok(files::write(path, &to_bytes(origin, fit, head).map_err(failed)?)?)
}

/// A fit as its file holds it.
pub fn to_bytes(origin: &str, fit: &Fit, head: &Head) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let size = head.size();
    let (alpha, threshold) = ([fit.vim.alpha], [fit.threshold]);
    let arrays: [(&str, Vec<usize>, &[f64]); 6] = [
        ("mahalanobis.means", vec![fit.means.len() / size, size], &fit.means),
        ("mahalanobis.precision", vec![size, size], &fit.precision),
        ("react.threshold", vec![1], &threshold),
        ("vim.alpha", vec![1], &alpha),
        ("vim.origin", vec![size], &fit.vim.origin),
        ("vim.residual", vec![fit.vim.residual.len() / size, size], &fit.vim.residual),
    ];
    let bank = TensorView::new(Dtype::F32, vec![fit.bank.len() / size, size], bytemuck::cast_slice(&fit.bank));
    let mut views = vec![("knn.bank", bank?)];
    for (name, shape, values) in arrays {
        views.push((name, TensorView::new(Dtype::F64, shape, bytemuck::cast_slice(values))?));
    }
    let notes = HashMap::from([("origin".to_owned(), origin.to_owned())]);
    sealed::encode(views, notes)
}
