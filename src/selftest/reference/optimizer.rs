//! PyTorch's rules for SGD and Adam.

use crate::ops::optimizer::{Adam, Sgd};

/// `torch.optim.SGD` (dampening 0), one step.
pub fn sgd_step(settings: Sgd, rate: f64, weights: &mut [f64], gradient: &[f32], velocity: &mut [f64]) {
    for ((weight, &slope), speed) in weights.iter_mut().zip(gradient).zip(velocity) {
        let slope = f64::from(slope) + settings.weight_decay * *weight;
        *speed = settings.momentum * *speed + slope;
        let direction = if settings.nesterov { slope + settings.momentum * *speed } else { *speed };
        *weight -= rate * direction;
    }
}

/// `torch.optim.Adam` or, decoupled, `torch.optim.AdamW`: step number `step`, from 1.
pub fn adam_step(
    settings: Adam,
    rate: f64,
    step: i32,
    weights: &mut [f64],
    gradient: &[f32],
    moments: &mut [Vec<f64>; 2],
) {
    let [first, second] = moments;
    for (index, weight) in weights.iter_mut().enumerate() {
        let mut slope = f64::from(gradient[index]);
        if settings.decoupled {
            *weight *= 1.0 - rate * settings.weight_decay;
        } else {
            slope += settings.weight_decay * *weight;
        }
        first[index] = settings.beta1 * first[index] + (1.0 - settings.beta1) * slope;
        second[index] = settings.beta2 * second[index] + (1.0 - settings.beta2) * slope * slope;
        let mean = first[index] / (1.0 - settings.beta1.powi(step));
        let square = second[index] / (1.0 - settings.beta2.powi(step));
        *weight -= rate * mean / (square.sqrt() + settings.epsilon);
    }
}
