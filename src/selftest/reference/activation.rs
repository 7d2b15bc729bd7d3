//! Activations and their slopes.

use crate::ops::activation::Activation;

/// f(x).
pub fn value(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
        Activation::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
        Activation::Tanh => libm::tanh(x),
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
    }
}

/// f'(x); at the kink of the ReLUs the slope on the left, as in PyTorch.
pub fn slope(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => f64::from(u8::from(x > 0.0)),
        Activation::LeakyRelu { slope } => {
            if x > 0.0 {
                1.0
            } else {
                f64::from(slope)
            }
        }
        Activation::Sigmoid => value(activation, x) * value(activation, -x),
        Activation::Tanh => 1.0 - libm::tanh(x).powi(2),
        Activation::Gelu => {
            let density = libm::exp(-0.5 * x * x) / (2.0 * std::f64::consts::PI).sqrt();
            0.5 * (1.0 + libm::erf(x / 2f64.sqrt())) + x * density
        }
    }
}
