//! Attacks on a classifier through the gradient of its loss by the pixels.
//!
//! | [`Method`] | paper | where it looks |
//! | --- | --- | --- |
//! | FGSM | Goodfellow et al. 2015 | L-infinity ball |
//! | R+FGSM | Tramèr et al. 2018 | L-infinity ball |
//! | BIM | Kurakin et al. 2017 | L-infinity ball |
//! | PGD | Madry et al. 2018 | L-infinity or L2 ball |
//! | MI-FGSM | Dong et al. 2018 | L-infinity ball |
//! | DeepFool | Moosavi-Dezfooli et al. 2016 | the nearest by the L2 norm |
//! | C&W | Carlini and Wagner 2017 | the nearest by the L2 norm |
//!
//! Pixels are in [0, 1], because normalisation is the classifier's own first layer; epsilon and step sizes are in
//! those units and written k/255. The loss is the cross-entropy of each picture, summed over the batch: of a mean,
//! small gradients would sink below f32 sooner in a large batch. The gradient is asked for by the pixels alone (by
//! the normalised ones where its signs will do), so no weight-gradient kernel runs. Nothing leaves [`Batch`] that has
//! not been checked ([`AttackError`] says against what), and [`Attacker::finish`] makes sure that the model is what it
//! was.

mod ascent;
mod batch;
mod carlini_wagner;
mod check;
mod deepfool;
mod method;
mod search;

use crate::autograd::{Start, Tape, Var};
use crate::gpu::{Gpu, GpuError, Result as GpuResult, Tensor, Words};
use crate::nn::{Mode, Network};
use crate::ops::perturb::Step;

pub use ascent::Ascent;
pub use batch::{Attacker, Batch};
pub use method::{Bim, CarliniWagner, DeepFool, Method, MiFgsm, Norm, Pgd, RFgsm};

/// What can go wrong under an attack.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error("an attack needs a classifier's weights (lenet, lab, fast), but '{model}' is an autoencoder")]
    NotAClassifier { model: String },
    #[error("class {class} is not one of the model's {classes} classes (0 to {})", .classes - 1)]
    NoSuchClass { class: usize, classes: usize },
    #[error("{what} must be a number of at least 0 and at most 1 (pixels are in [0, 1]), not {value}")]
    Size { what: &'static str, value: f64 },
    #[error("{what} must be a number of at least 0, not {value}")]
    Negative { what: &'static str, value: f64 },
    #[error("{method} has no targeted form: it goes to whichever class is nearest")]
    NoTarget { method: &'static str },
    #[error(
        "image {image}: its logits, or the gradient by its pixels, are not finite, so there is no direction to attack \
         in: the weights are broken, or the logits overflow"
    )]
    NotFinite { image: usize },
    /// A fault of this program, as are those below.
    #[error("image {image}: a pixel moved by {moved:e}, more than eps = {eps:e} (please report this)")]
    OutOfBall { image: usize, moved: f64, eps: f64 },
    #[error("image {image}: it moved by an L2 distance of {moved}, more than eps = {eps} (please report this)")]
    OutOfL2Ball { image: usize, moved: f64, eps: f64 },
    #[error("image {image}: a pixel became {value:e}, which is not in [0, 1] (please report this)")]
    OutOfRange { image: usize, value: f32 },
    #[error("image {image}: eps = 0 changed a pixel (please report this)")]
    Moved { image: usize },
    #[error("the attack changed the model: {what} differ from before (please report this)")]
    ModelChanged { what: String },
}

/// Results of this floor.
pub type Result<T> = std::result::Result<T, AttackError>;

/// Where an attack wants a picture to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Away from its label: up the loss.
    Untargeted,
    /// To the class after its label, (label + 1) mod classes: down that class's loss, as for all below.
    Next,
    /// To the class with the smallest logit on the clean picture (the first of equals; Kurakin et al. 2017).
    LeastLikely,
    /// To one class for all pictures.
    Class(usize),
}

/// What epsilon means, and which mode the model is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// Ours: epsilon in pixel units on [0, 1], model in evaluation mode.
    Pixels,
    /// The lab's: epsilon on inputs normalised to [-1, 1], so that its 2/255 is 1/255 in pixels, and the model in
    /// training mode. Running statistics that move on the way are put back.
    Lab,
}

impl Convention {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Lab => "lab",
        }
    }

    /// A length given in this convention, in pixel units on [0, 1].
    pub fn in_pixels(self, length: f64) -> f64 {
        match self {
            Self::Pixels => length,
            Self::Lab => length / 2.0,
        }
    }
}

/// The labels whose loss is followed, and which way: 1 up, -1 down.
#[derive(Clone, Debug)]
pub struct Aim {
    labels: Words,
    /// The same labels.
    wanted: Vec<usize>,
    direction: f32,
}

impl Aim {
    /// Whether a row of logits is what was wanted of picture `number`.
    fn is_reached(&self, number: usize, row: &[f32]) -> bool {
        (largest(row) == self.wanted[number]) == (self.direction < 0.0)
    }
}

/// Where the largest logit stands, the first of equals.
fn largest(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (class, &value)| if value > row[best] { class } else { best })
}

/// The gradient by `x` [N, C, H, W] of the cross-entropy with `labels`, summed over the batch.
pub fn input_gradient(gpu: &Gpu, network: &Network, x: &Tensor, labels: &Words, mode: Mode) -> GpuResult<Tensor> {
    let tape = Tape::new(gpu);
    let (bound, input) = (network.bind(&tape)?, tape.leaf(x));
    let logits = network.forward(&tape, &bound, input, mode)?;
    slope(&tape, tape.cross_entropy_start(logits, labels, 0.0)?, input)
}

/// Takes a step along the signs of the gradient by its pixels of what `begin` makes of the logits, and writes what it moves to
/// `out`. The gradient is that by the normalised pixels, which has the same signs: it saves a pass over them.
fn step_along_signs(
    gpu: &Gpu,
    (network, mode): (&Network, Mode),
    begin: impl FnOnce(&Tape, Var) -> GpuResult<Start>,
    step: Step<'_>,
    out: &Tensor,
) -> GpuResult<()> {
    let tape = Tape::new(gpu);
    let (bound, input) = (network.bind(&tape)?, network.normalized(&tape, tape.leaf(step.x))?);
    let logits = network.forward_normalized(&tape, &bound, input, mode)?;
    tape.backward_step(begin(&tape, logits)?, input, step, out)
}

/// The gradient by `input`, from a loss on (summed), or from where one is known.
fn slope(tape: &Tape, start: impl Into<Start>, input: Var) -> GpuResult<Tensor> {
    let found = tape.backward(start, &[input])?.of(input).cloned();
    found.ok_or_else(|| GpuError::operand("attack", "the loss does not depend on the pixels"))
}

/// FGSM away from the labels, unchecked and without a copy to the host, for adversarial training: the model is in
/// evaluation mode; the pictures are written to `out`, which has the shape of `x` and is not its memory.
pub fn fgsm_into(gpu: &Gpu, network: &Network, x: &Tensor, labels: &Words, eps: f64, out: &Tensor) -> GpuResult<()> {
    let begin = |tape: &Tape, logits| tape.cross_entropy_start(logits, labels, 0.0);
    let step = Step { x, length: eps as f32, ball: None };
    step_along_signs(gpu, (network, Mode::Evaluation), begin, step, out)
}

/// The logits of `x` in evaluation mode, row after row. They may be anything: [`Batch::logits_of`] checks them.
pub fn logits(gpu: &Gpu, network: &Network, x: &Tensor) -> GpuResult<Vec<f32>> {
    let tape = Tape::evaluation(gpu);
    let (bound, input) = (network.bind(&tape)?, tape.leaf(x));
    let output = network.forward(&tape, &bound, input, Mode::Evaluation)?;
    gpu.read(&tape.value(output)?)
}
