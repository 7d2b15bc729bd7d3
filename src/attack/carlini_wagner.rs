//! Carlini and Wagner's L2 attack (2017).

use crate::autograd::Tape;
use crate::gpu::{Result as GpuResult, Tensor};
use crate::ops::activation::Activation;
use crate::ops::optimizer::{self, Adam};
use crate::ops::select;

use super::batch::distance;
use super::check::Bound;
use super::{Aim, Batch, CarliniWagner, Convention, Result};

/// Keeps a pixel of 0 or 1 away from where tanh reaches its ends, as the paper's program does.
const INSIDE: f64 = 0.999_999;

/// What bisection knows of one picture's c.
#[derive(Clone, Copy)]
struct Search {
    low: f64,
    high: f64,
    c: f64,
}

impl Search {
    fn after(mut self, succeeded: bool) -> Self {
        if succeeded {
            self.high = self.high.min(self.c)
        } else {
            self.low = self.low.max(self.c)
        }
        self.c = if self.high.is_finite() { (self.low + self.high) / 2.0 } else { 10.0 * self.c };
        self
    }
}

impl Batch<'_> {
    /// The nearest pictures by the L2 norm that reach the aim, of those that Adam comes by; a picture that never does is
    /// left as it is.
    pub fn carlini_wagner(&self, aim: &Aim, settings: CarliniWagner) -> Result<Tensor> {
        let gpu = self.attacker.gpu;
        let positive = |what, value| distance(what, Convention::Pixels, value);
        positive("c", settings.c)?;
        positive("the learning rate", settings.rate)?;
        let confidence = positive("the confidence", settings.confidence)?;
        let atanh = |pixel: &f32| libm::atanh(INSIDE * (2.0 * f64::from(*pixel) - 1.0)) as f32;
        let start: Vec<f32> = self.clean.iter().map(atanh).collect();
        let count = self.labels.len();
        let kept = gpu.empty(self.x.shape())?;
        gpu.copy(&self.x, &kept)?;
        let nearest = gpu.filled([count], f32::MAX)?;
        let mut searches = vec![Search { low: 0.0, high: f64::INFINITY, c: settings.c }; count];
        for _ in 0..settings.searches {
            let c: Vec<f32> = searches.iter().map(|search| search.c as f32).collect();
            let w = gpu.tensor(self.x.shape(), &start)?;
            let found = self.descend(aim, settings, confidence, &w, &gpu.tensor([count], &c)?, (&kept, &nearest))?;
            for (search, found) in searches.iter_mut().zip(gpu.read(&found)?) {
                *search = search.after(found < f32::MAX);
            }
        }
        self.checked(kept, Bound::None)
    }

    /// Adam from `w`, with one `c` for each picture. The nearest pictures over all go to `kept` and their squared
    /// distances to `nearest`; returns those of this descent alone.
    fn descend(
        &self,
        aim: &Aim,
        settings: CarliniWagner,
        confidence: f32,
        w: &Tensor,
        c: &Tensor,
        (kept, nearest): (&Tensor, &Tensor),
    ) -> GpuResult<Tensor> {
        let attacker = self.attacker;
        let (gpu, network) = (attacker.gpu, attacker.network);
        let moments = [gpu.zeros(w.shape())?, gpu.zeros(w.shape())?];
        let found = gpu.filled(nearest.shape(), f32::MAX)?;
        let size = (w.count() / nearest.count()) as f32;
        let tape = Tape::new(gpu);
        for step in 1..=settings.steps {
            let (bound, at, clean, c) = (network.bind(&tape)?, tape.leaf(w), tape.leaf(&self.x), tape.leaf(c));
            let squashed = tape.activation(at, Activation::Tanh)?;
            let moved = tape.scale(squashed, 0.5, 0.5)?;
            let mean = tape.mse(moved, clean)?;
            let squares = tape.scale(mean, size, 0.0)?;
            let output = network.forward(&tape, &bound, moved, attacker.mode(self.first))?;
            attacker.settle()?;
            let margin = tape.margin(output, &aim.labels, aim.direction)?;
            // max(margin, -confidence) but for a constant.
            let above = tape.scale(margin, 1.0, confidence)?;
            let hinge = tape.activation(above, Activation::Relu)?;
            let cost = tape.add(squares, tape.multiply(hinge, c)?)?;
            let gradients = tape.backward(cost, &[at])?;
            let (margin, squares) = (tape.value(margin)?, tape.value(squares)?);
            select::judge(gpu, &margin, &squares, &found, confidence)?;
            let chosen = select::judge(gpu, &margin, &squares, nearest, confidence)?;
            select::replace(gpu, &chosen, &tape.value(moved)?, kept)?;
            if let Some(slope) = gradients.of(at) {
                let rule = Adam::default();
                optimizer::adam(gpu, rule, settings.rate, u64::from(step), w, slope, [&moments[0], &moments[1]])?;
            }
            tape.reset();
        }
        Ok(found)
    }
}
