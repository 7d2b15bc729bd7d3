//! Attacks on a classifier through the gradient of its loss by the pixels: FGSM (Goodfellow et al. 2015) and PGD
//! (Madry et al. 2018), in the L-infinity ball around each picture.
//!
//! Pixels are in [0, 1], because normalisation is the classifier's own first layer; epsilon and step sizes are in
//! those units and written k/255. The loss is the cross-entropy of each picture, summed over the batch: of a mean,
//! small gradients would sink below f32 sooner in a large batch. The gradient is asked for by the pixels alone, so
//! no weight-gradient kernel runs. Nothing leaves [`Batch`] that has not been checked ([`AttackError`] says against
//! what), and [`Attacker::finish`] makes sure that the model is what it was.

mod batch;
mod check;

use crate::autograd::Tape;
use crate::gpu::{Gpu, GpuError, Result as GpuResult, Tensor, Words};
use crate::nn::{Mode, Network};
use crate::ops::noise::Source;
use crate::ops::perturb::{self, Ball};

pub use batch::{Attacker, Batch};

/// What can go wrong under an attack.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error("an attack needs a classifier's weights (lenet, lab), but '{model}' is an autoencoder")]
    NotAClassifier { model: String },
    #[error("class {class} is not one of the model's {classes} classes (0 to {})", .classes - 1)]
    NoSuchClass { class: usize, classes: usize },
    #[error("{what} must be a number of at least 0 and at most 1 (pixels are in [0, 1]), not {value}")]
    Size { what: &'static str, value: f64 },
    #[error(
        "image {image}: its logits, or the gradient by its pixels, are not finite, so there is no direction to attack \
         in: the weights are broken, or the logits overflow"
    )]
    NotFinite { image: usize },
    /// A fault of this program, as are those below.
    #[error("image {image}: a pixel moved by {moved:e}, more than eps = {eps:e} (please report this)")]
    OutOfBall { image: usize, moved: f64, eps: f64 },
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

/// Projected gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pgd {
    pub steps: u32,
    /// Length of a step in pixel units; without one, 2.5 eps / steps: far enough to cross the ball from any start
    /// (Madry et al. 2018), and a quarter of epsilon for ten steps.
    pub step_size: Option<f64>,
    /// Begin anywhere in the ball rather than at the picture (without it this is BIM: Kurakin et al. 2017).
    pub random_start: bool,
}

impl Pgd {
    /// So many steps of the usual length from a random start.
    pub fn new(steps: u32) -> Self {
        Self { steps, step_size: None, random_start: true }
    }

    /// The length of a step in a ball of `eps`, in the units of `eps`.
    pub fn step_in(&self, eps: f64) -> f64 {
        // Nothing lies further than 1 away.
        self.step_size.unwrap_or((2.5 * eps / f64::from(self.steps.max(1))).min(1.0))
    }
}

/// How the ball is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// One step of epsilon.
    Fgsm,
    Pgd(Pgd),
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
    direction: f32,
}

/// The gradient by `x` [N, C, H, W] of the cross-entropy with `labels`, summed over the batch.
pub fn input_gradient(gpu: &Gpu, network: &Network, x: &Tensor, labels: &Words, mode: Mode) -> GpuResult<Tensor> {
    let tape = Tape::new(gpu);
    let (bound, input) = (network.bind(&tape)?, tape.leaf(x));
    let logits = network.forward(&tape, &bound, input, mode)?;
    let loss = tape.cross_entropy(logits, labels, 0.0)?;
    let gradients = tape.backward(loss, &[input])?;
    gradients.of(input).cloned().ok_or_else(|| GpuError::operand("attack", "the loss does not depend on the pixels"))
}

/// FGSM away from the labels, unchecked and without a copy to the host, for adversarial training: the model is in
/// evaluation mode; the pictures are written to `out`, which has the shape of `x`.
pub fn fgsm_into(gpu: &Gpu, network: &Network, x: &Tensor, labels: &Words, eps: f64, out: &Tensor) -> GpuResult<()> {
    let gradient = input_gradient(gpu, network, x, labels, Mode::Evaluation)?;
    perturb::step_into(gpu, x, &gradient, eps as f32, None, out)
}

/// The logits of `x` in evaluation mode, row after row. They may be anything: [`Batch::logits_of`] checks them.
pub fn logits(gpu: &Gpu, network: &Network, x: &Tensor) -> GpuResult<Vec<f32>> {
    let tape = Tape::evaluation(gpu);
    let (bound, input) = (network.bind(&tape)?, tape.leaf(x));
    let output = network.forward(&tape, &bound, input, Mode::Evaluation)?;
    gpu.read(&tape.value(output)?)
}

/// PGD from the clean `x`; `gradient` gives the gradient at any point of the ball.
fn pgd(
    gpu: &Gpu,
    x: &Tensor,
    settings: Pgd,
    (eps, step, direction): (f32, f32, f32),
    start: Source,
    gradient: impl Fn(&Tensor) -> GpuResult<Tensor>,
) -> GpuResult<Tensor> {
    let mut at = if settings.random_start { perturb::random_start(gpu, x, eps, start)? } else { x.clone() };
    for _ in 0..settings.steps {
        let slope = gradient(&at)?;
        at = perturb::step(gpu, &at, &slope, direction * step, Some(Ball { centre: x, eps }))?;
    }
    Ok(at)
}
