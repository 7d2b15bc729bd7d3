//! The models that `--model` names.

use std::path::Path;

use crate::gpu::Gpu;
use crate::nn::{Architecture, CheckpointError, Layer, Network, StateDict, Task};
use crate::ops::activation::Activation;
use crate::ops::conv2d::Window;

/// The names that `--model` takes.
pub const NAMES: [&str; 7] = ["lenet", "lab", "fast", "ae3", "ae4", "ae3-lab", "ae4-lab"];

/// A name that is no model's, or weights that fit none.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("there is no model '{name}': choose one of {}", NAMES.join(", "))]
    Unknown { name: String },
    #[error("{path} holds the weights of no model that is known here ({}): its tensors are {tensors}", NAMES.join(", "))]
    Unrecognised { path: String, tensors: String },
    #[error("{path} holds the weights of '{found}', not of '{wanted}'")]
    OfAnother { path: String, found: String, wanted: String },
    #[error("{path} says that it holds the weights of {name:?}, a model that is not known here ({})", NAMES.join(", "))]
    UnknownNote { path: String, name: String },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Gpu(#[from] crate::gpu::GpuError),
}

/// The plan of a model by its name.
pub fn architecture(name: &str) -> Result<Architecture, ModelError> {
    let (task, layers) = match name {
        "lenet" => (Task::Classify, lenet()),
        "lab" => (Task::Classify, lab()),
        "fast" => (Task::Classify, fast()),
        "ae3" => (Task::Reconstruct, autoencoder(&[3, 12, 24, 48])),
        "ae4" => (Task::Reconstruct, autoencoder(&[3, 12, 24, 48, 96])),
        "ae3-lab" => (Task::Reconstruct, as_the_lab_has_it(autoencoder(&[3, 12, 24, 48]))),
        "ae4-lab" => (Task::Reconstruct, as_the_lab_has_it(autoencoder(&[3, 12, 24, 48, 96]))),
        _ => return Err(ModelError::Unknown { name: name.to_owned() }),
    };
    Ok(Architecture { name: name.to_owned(), task, input: [3, 32, 32], layers })
}

/// The lab's normalisation, to [-1, 1].
fn normalize() -> Layer {
    Layer::Normalize { mean: [0.5; 3], std: [0.5; 3] }
}

fn conv(name: impl Into<String>, channels: [usize; 2], kernel: usize, window: Window) -> Layer {
    Layer::Conv2d { name: name.into(), channels, kernel, window, bias: true, relu: true }
}

fn linear(name: &str, features: [usize; 2], relu: bool) -> Layer {
    Layer::Linear { name: name.to_owned(), features, bias: true, relu }
}

/// LeNet-5 as PyTorch's CIFAR-10 tutorial has it (LeCun et al. 1998): 62,006 parameters.
fn lenet() -> Vec<Layer> {
    let plain = Window::new(1, 0);
    // The convolutions' ReLU comes after the pooling, where it is the same and has a quarter of the work.
    let bare = |name: &str, channels| {
        let (name, kernel) = (name.into(), 5);
        Layer::Conv2d { name, channels, kernel, window: plain, bias: true, relu: false }
    };
    let halve = || Layer::MaxPool { kernel: 2, window: Window::new(2, 0), relu: true };
    vec![
        normalize(),
        bare("conv1", [3, 6]),
        halve(),
        bare("conv2", [6, 16]),
        halve(),
        Layer::Flatten,
        linear("fc1", [400, 120], true),
        linear("fc2", [120, 84], true),
        linear("fc3", [84, 10], false),
    ]
}

/// The lab's CNN: 4,764,746 parameters.
fn lab() -> Vec<Layer> {
    let (same, halved) = (Window::new(1, 1), Window::new(2, 1));
    vec![
        normalize(),
        conv("conv1", [3, 32], 3, same),
        conv("conv2", [32, 64], 3, same),
        conv("conv3", [64, 128], 3, same),
        conv("conv4", [128, 128], 3, halved),
        conv("conv5", [128, 256], 3, halved),
        Layer::Flatten,
        linear("fc1", [16_384, 256], true),
        linear("fc2", [256, 128], true),
        linear("fc3", [128, 10], false),
    ]
}

/// A network in the spirit of the speed records on CIFAR-10 (Page 2018, "How to train your ResNet"; Jordan 2024, "94 % on
/// CIFAR-10 in 3.29 seconds"): a whitening layer that is not trained, then three blocks of conv, pool, norm, GELU, conv,
/// norm, GELU. 1,971,352 parameters that are trained.
fn fast() -> Vec<Layer> {
    let conv = |name: String, channels| {
        let window = Window::new(1, 1);
        Layer::Conv2d { name, channels, kernel: 3, window, bias: false, relu: false }
    };
    let pool = |kernel| Layer::MaxPool { kernel, window: Window::new(kernel, 0), relu: false };
    // The whitening's epsilon is one of pixels in units of their deviation, so these are CIFAR-10's own, not the lab's.
    let normalize = Layer::Normalize { mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616] };
    let gelu = Layer::Activation(Activation::Gelu);
    let mut layers = vec![normalize, Layer::Whiten { name: "whiten".into(), channels: 3, kernel: 2 }, gelu.clone()];
    for (number, [inputs, width]) in [[24, 64], [64, 256], [256, 256]].into_iter().enumerate() {
        let name = |part: &str| format!("block{}.{part}", number + 1);
        let norm = |part: &str| Layer::BatchNorm { name: name(part), channels: width, scale: false };
        layers.extend([conv(name("conv1"), [inputs, width]), pool(2), norm("norm1"), gelu.clone()]);
        layers.extend([conv(name("conv2"), [width, width]), norm("norm2"), gelu.clone()]);
    }
    // The features are scaled rather than the logits, so that features times weights are the logits.
    layers.extend([pool(3), Layer::Flatten, Layer::Scale { factor: 1.0 / 9.0 }]);
    layers.push(Layer::Linear { name: "head".into(), features: [256, 10], bias: false, relu: false });
    layers
}

/// A convolutional autoencoder that halves the picture at each step and doubles it back: pixels in
/// [0, 1] in and, through a sigmoid, out.
fn autoencoder(channels: &[usize]) -> Vec<Layer> {
    let window = Window::new(2, 1);
    let steps = channels.len() - 1;
    let mut layers: Vec<Layer> = channels
        .windows(2)
        .enumerate()
        .map(|(step, pair)| conv(format!("encoder.{}", 2 * step), [pair[0], pair[1]], 4, window))
        .collect();
    layers.extend(channels.windows(2).rev().enumerate().map(|(step, pair)| Layer::ConvTranspose2d {
        name: format!("decoder.{}", 2 * step),
        channels: [pair[1], pair[0]],
        kernel: 4,
        window,
        relu: step + 1 < steps,
    }));
    layers.push(Layer::Activation(Activation::Sigmoid));
    layers
}

/// The lab's own autoencoder saw pixels brought to [-1, 1] and was to redraw those, while its sigmoid reaches
/// nothing below 0: it cannot redraw what is darker than middle grey. Kept to compare with the lab's figures.
fn as_the_lab_has_it(mut layers: Vec<Layer>) -> Vec<Layer> {
    layers.insert(0, normalize());
    layers
}

/// The network whose weights a file holds: the model that the file names, or, for a file from PyTorch,
/// the one whose tensors it has. With `wanted`, it must be that model's.
pub fn from_file(gpu: &Gpu, path: &Path, wanted: Option<&str>) -> Result<Network, ModelError> {
    let (state, plan) = read(path, wanted)?;
    build(gpu, &state, plan)
}

/// The half of [`from_file`] that needs no device: the weights, and the plan of the model that they are of.
pub fn read(path: &Path, wanted: Option<&str>) -> Result<(StateDict, Architecture), ModelError> {
    if let Some(name) = wanted {
        architecture(name)?;
    }
    let state = StateDict::read(path)?;
    let path = || path.display().to_string();
    let found = state.model().map(str::to_owned).or_else(|| recognise(&state, wanted));
    let name = match (wanted, found) {
        (_, Some(name)) if !NAMES.contains(&name.as_str()) => {
            return Err(ModelError::UnknownNote { path: path(), name });
        }
        (Some(wanted), Some(found)) if wanted != found => {
            return Err(ModelError::OfAnother { path: path(), found, wanted: wanted.to_owned() });
        }
        (_, Some(found)) => found,
        // Loading says which tensor is missing.
        (Some(wanted), None) => wanted.to_owned(),
        (None, None) => {
            let tensors = state.shapes().take(4).map(|(name, shape)| format!("{name} {shape:?}"));
            return Err(ModelError::Unrecognised { path: path(), tensors: tensors.collect::<Vec<_>>().join(", ") });
        }
    };
    let plan = architecture(&name)?;
    Ok((state, plan))
}

/// A network with the weights of a file.
pub fn build(gpu: &Gpu, state: &StateDict, plan: Architecture) -> Result<Network, ModelError> {
    // The initial weights are overwritten at once; their seed does not matter.
    let network = Network::new(gpu, plan, 0)?;
    state.load_into(gpu, &network)?;
    Ok(network)
}

/// The model whose tensors these are: the wanted one, if it is one of several (a normalisation has no tensors),
/// or else the first.
fn recognise(state: &StateDict, wanted: Option<&str>) -> Option<String> {
    let found: Vec<(&str, &[usize])> = state.shapes().collect();
    let fits = |name: &&str| {
        let Ok(plan) = architecture(name) else { return false };
        let tensors = plan.tensors();
        tensors.len() == found.len()
            && tensors.iter().all(|(name, shape)| found.iter().any(|(n, dims)| n == name && *dims == shape.dims()))
    };
    wanted.into_iter().chain(NAMES).find(fits).map(str::to_owned)
}
