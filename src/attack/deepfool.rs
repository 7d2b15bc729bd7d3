//! DeepFool by the L2 norm (Moosavi-Dezfooli et al. 2016).

use crate::autograd::{Tape, Var};
use crate::gpu::{Result as GpuResult, Tensor};
use crate::ops::displace;
use crate::ops::reduce::{self, Reduction};

use super::batch::distance;
use super::check::{self, Bound};
use super::{AttackError, Batch, Convention, DeepFool, Result, largest};

/// The nearest border of one picture so far.
#[derive(Clone, Copy)]
struct Nearest {
    distance: f64,
    class: usize,
    /// |f| / |w|^2: times w, the way to the border.
    length: f64,
}

impl Batch<'_> {
    /// The nearest pictures by the L2 norm that are no longer taken for their labels, as far as DeepFool finds them; a
    /// picture that is not taken for its label to begin with stays as it is. The classes' gradients are computed one
    /// after the other and only their norms kept, so memory grows neither with the steps nor with the classes.
    pub fn deepfool(&self, settings: DeepFool) -> Result<Tensor> {
        let attacker = self.attacker;
        let (gpu, network) = (attacker.gpu, attacker.network);
        let overshoot = f64::from(distance("the overshoot", Convention::Pixels, settings.overshoot)?);
        let (count, classes) = (self.labels.len(), self.classes);
        let mut at = gpu.empty(self.x.shape())?;
        gpu.copy(&self.x, &at)?;
        let mut active = vec![true; count];
        for _ in 0..settings.steps {
            let tape = Tape::new(gpu);
            let (bound, input) = (network.bind(&tape)?, tape.leaf(&at));
            let output = network.forward(&tape, &bound, input, attacker.mode(self.first))?;
            attacker.settle()?;
            let logits = gpu.read(&tape.value(output)?)?;
            check::logits(&logits, classes, self.first)?;
            let rows: Vec<&[f32]> = logits.chunks_exact(classes).collect();
            for ((active, row), &label) in active.iter_mut().zip(&rows).zip(&self.labels) {
                *active &= largest(row) == label;
            }
            if !active.contains(&true) {
                break;
            }
            let slope_towards = |towards: &[usize]| slope(&tape, (output, input), &self.labels, towards, classes);
            let mut nearest = vec![Nearest { distance: f64::INFINITY, class: 0, length: 0.0 }; count];
            for class in 0..classes {
                let slopes = slope_towards(&vec![class; count])?;
                let squares = gpu.read(&reduce::each_image(gpu, Reduction::SumSquares, &slopes)?)?;
                for (number, (nearest, &squares)) in nearest.iter_mut().zip(&squares).enumerate() {
                    let (label, squares) = (self.labels[number], f64::from(squares));
                    if !active[number] || class == label {
                        continue;
                    }
                    if !squares.is_finite() {
                        return Err(AttackError::NotFinite { image: self.first + number });
                    }
                    let gap = (f64::from(rows[number][class]) - f64::from(rows[number][label])).abs();
                    let distance = gap / squares.sqrt();
                    if squares > 0.0 && distance < nearest.distance {
                        *nearest = Nearest { distance, class, length: gap / squares };
                    }
                }
            }
            let towards: Vec<usize> = nearest.iter().map(|nearest| nearest.class).collect();
            let lengths: Vec<f32> = nearest.iter().map(|nearest| ((1.0 + overshoot) * nearest.length) as f32).collect();
            at = displace::by(gpu, &at, &slope_towards(&towards)?, &gpu.tensor([count], &lengths)?)?;
        }
        self.checked(at, Bound::None)
    }
}

/// The gradient by each picture of the logit of the class that it goes `towards`, minus its label's.
fn slope(
    tape: &Tape,
    (output, input): (Var, Var),
    labels: &[usize],
    towards: &[usize],
    classes: usize,
) -> GpuResult<Tensor> {
    let mut weights = vec![0.0; labels.len() * classes];
    for (row, (&label, &class)) in weights.chunks_exact_mut(classes).zip(labels.iter().zip(towards)) {
        row[class] += 1.0;
        row[label] -= 1.0;
    }
    let weights = tape.leaf(&tape.gpu().tensor([labels.len(), classes], &weights)?);
    let weighed = tape.multiply(output, weights)?;
    super::slope(tape, weighed, input)
}
