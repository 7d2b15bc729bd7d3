//! Attacks for adversarial training: unchecked and without a copy to the host, the model in evaluation mode. A gradient
//! that is not finite ends as a loss that is not.

use crate::autograd::{Start, Tape, Var};
use crate::gpu::{Gpu, Result, Tensor, Words};
use crate::nn::{Mode, Network};
use crate::ops::elementwise;
use crate::ops::noise::{self, Quantiles, Source};
use crate::ops::perturb::{self, Ball, Step};

use super::step_along_signs;

/// Deviation of the start of TRADES's attack, in pixel units, as in the paper: at the picture itself the divergence has no
/// slope.
const TRADES_START: f32 = 0.001;

/// So many steps along a gradient's sign in an L-infinity ball, each brought back into the ball and into [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    pub steps: u32,
    /// Of a step and of the ball, in pixel units.
    pub step_size: f64,
    pub eps: f64,
}

impl Ascent {
    /// Up the loss of the labels from a start uniform in the ball around `x` [N, C, H, W]: that of picture `i` from the
    /// stream of item `source.launch + i`. One step is "fast" adversarial training's attack, several are PGD's.
    pub fn up_the_loss(
        self,
        gpu: &Gpu,
        network: &Network,
        (x, labels): (&Tensor, &Words),
        source: Source,
    ) -> Result<Tensor> {
        let start = perturb::random_start(gpu, x, self.eps as f32, source)?;
        self.climb(gpu, network, (x, start), |tape, logits| tape.cross_entropy_start(logits, labels, 0.0))
    }

    /// Up KL(prediction for `x` || prediction for the attacked picture) from a normal start of deviation 0.001 around `x`
    /// [N, C, H, W], drawn as above: TRADES's attack (Zhang et al. 2019), which needs no labels.
    pub fn up_the_divergence(
        self,
        gpu: &Gpu,
        network: &Network,
        x: &Tensor,
        (source, quantiles): (Source, &Quantiles),
    ) -> Result<Tensor> {
        let tape = Tape::evaluation(gpu);
        let (bound, input) = (network.bind(&tape)?, tape.leaf(x));
        let clean = tape.value(network.forward(&tape, &bound, input, Mode::Evaluation)?)?;
        drop(tape);
        let noise = gpu.empty(x.shape())?;
        noise::normal_of_images(gpu, source, quantiles, &noise)?;
        // As in the paper's program, the start itself may leave [0, 1]; no step does.
        let start = elementwise::add(gpu, x, &elementwise::scale(gpu, &noise, TRADES_START, 0.0)?)?;
        drop(noise);
        self.climb(gpu, network, (x, start), |tape, logits| {
            tape.kl_divergence(tape.leaf(&clean), logits).map(Start::from)
        })
    }

    /// From `start`, along the signs of the gradient of what `begin` makes of the logits.
    fn climb(
        self,
        gpu: &Gpu,
        network: &Network,
        (x, start): (&Tensor, Tensor),
        begin: impl Fn(&Tape, Var) -> Result<Start>,
    ) -> Result<Tensor> {
        let (length, ball) = (self.step_size as f32, Some(Ball { centre: x, eps: self.eps as f32 }));
        let mut at = start;
        for _ in 0..self.steps {
            let moved = gpu.empty(x.shape())?;
            step_along_signs(gpu, (network, Mode::Evaluation), &begin, Step { x: &at, length, ball }, &moved)?;
            at = moved;
        }
        Ok(at)
    }
}
