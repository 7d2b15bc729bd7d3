//! An optimiser with its moments, over a network's flat parameters.

use serde::Serialize;

use crate::gpu::{Gpu, Result, Tensor};
use crate::ops::optimizer::{self, Adam, Sgd};

use super::parameters::Parameters;

/// Which rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    Sgd(Sgd),
    Adam(Adam),
}

/// A rule with its state.
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    moments: [Tensor; 2],
    step: u64,
}

impl Optimizer {
    /// An optimiser at its beginning.
    pub fn new(gpu: &Gpu, kind: OptimizerKind, parameters: &Parameters) -> Result<Self> {
        let shape = parameters.flat_values().shape();
        let first = gpu.zeros(shape)?;
        // SGD has one moment; the second place then holds the same tensor and is not used.
        let second = if matches!(kind, OptimizerKind::Adam(_)) { gpu.zeros(shape)? } else { first.clone() };
        Ok(Self { kind, moments: [first, second], step: 0 })
    }

    /// What the rule remembers from step to step.
    pub fn moments(&self) -> &[Tensor] {
        match self.kind {
            OptimizerKind::Sgd(_) => &self.moments[..1],
            OptimizerKind::Adam(_) => &self.moments,
        }
    }

    /// Goes on as after `step` steps; the moments are the caller's to write.
    pub fn continue_from(&mut self, step: u64) {
        self.step = step;
    }

    /// Moves the parameters by their gradients with learning rate `rate`: one dispatch.
    pub fn step(&mut self, gpu: &Gpu, parameters: &Parameters, rate: f64) -> Result<()> {
        self.step += 1;
        let (values, gradients) = (parameters.flat_values(), parameters.flat_gradients());
        match self.kind {
            OptimizerKind::Sgd(settings) => optimizer::sgd(gpu, settings, rate, values, gradients, &self.moments[0]),
            OptimizerKind::Adam(settings) => {
                let [first, second] = &self.moments;
                optimizer::adam(gpu, settings, rate, self.step, values, gradients, [first, second])
            }
        }
    }
}
