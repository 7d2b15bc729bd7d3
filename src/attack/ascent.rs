//! Attacks for adversarial training: unchecked and without a copy to the host, the model in evaluation mode. A gradient
//! that is not finite ends as a loss that is not.

use crate::gpu::{Gpu, Result, Tensor, Words};
use crate::nn::{Mode, Network};
use crate::ops::noise::Source;
use crate::ops::perturb::{self, Ball};

use super::input_gradient;

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
        self.climb(gpu, x, start, |at| input_gradient(gpu, network, at, labels, Mode::Evaluation))
    }

    /// From `start`, along whatever slope `slope` finds.
    fn climb(self, gpu: &Gpu, x: &Tensor, start: Tensor, slope: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (step, ball) = (self.step_size as f32, Ball { centre: x, eps: self.eps as f32 });
        let mut at = start;
        for _ in 0..self.steps {
            at = perturb::step(gpu, &at, &slope(&at)?, step, Some(ball))?;
        }
        Ok(at)
    }
}
