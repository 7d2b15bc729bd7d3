//! The layers that a network is made of.

use crate::gpu::Shape;
use crate::ops::activation::Activation;
use crate::ops::conv2d::Window;

use super::parameters::{Initial, Spec};

/// One layer. Names are those of PyTorch's state_dict.
#[derive(Clone, Debug)]
pub enum Layer {
    /// (x - mean[c]) / std[c]: a classifier's first layer, so that attacks work on pixels in [0, 1].
    Normalize {
        mean: [f32; 3],
        std: [f32; 3],
    },
    /// After [`Layer::Normalize`], or first: a convolution without padding whose filters whiten the training pictures'
    /// patches ([`super::whitening`]): 2 channels k^2 of them, which are not trained, with a bias that is.
    Whiten {
        name: String,
        channels: usize,
        kernel: usize,
    },
    /// Convolution with a square kernel, with or without bias; ReLU may be fused.
    Conv2d {
        name: String,
        channels: [usize; 2],
        kernel: usize,
        window: Window,
        bias: bool,
        relu: bool,
    },
    /// Transposed convolution with a square kernel and bias; ReLU may be fused.
    ConvTranspose2d {
        name: String,
        channels: [usize; 2],
        kernel: usize,
        window: Window,
        relu: bool,
    },
    /// Fully connected, with or without bias; ReLU may be fused.
    Linear {
        name: String,
        features: [usize; 2],
        bias: bool,
        relu: bool,
    },
    /// Batch normalisation with PyTorch's defaults. Without `scale` its weight is not trained and stays 1.
    BatchNorm {
        name: String,
        channels: usize,
        scale: bool,
    },
    /// ReLU may be fused: after the maximum it is the same and has less to do.
    MaxPool {
        kernel: usize,
        window: Window,
        relu: bool,
    },
    AvgPool {
        kernel: usize,
        window: Window,
    },
    GlobalAvgPool,
    Activation(Activation),
    /// Times a number.
    Scale {
        factor: f32,
    },
    /// Active in training only.
    Dropout {
        rate: f32,
    },
    Flatten,
}

/// How a network is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics and dropout; `step` numbers the step within the run for the dropout masks.
    Training { seed: u64, step: u32 },
    /// Running statistics, no dropout: what is measured and attacked.
    Evaluation,
}

impl Layer {
    /// Kernel, window and ReLU of the max-pooling that follows a convolution without ReLU of its own: the two run as one operation.
    /// `rest` are the layers behind this one. Not of the last layer, which somebody may ask what it is given.
    pub(crate) fn pooling(&self, rest: &[Self]) -> Option<(usize, Window, bool)> {
        match (self, rest) {
            (Self::Conv2d { relu: false, .. }, [Self::MaxPool { kernel, window, relu }, _, ..]) => {
                Some((*kernel, *window, *relu))
            }
            _ => None,
        }
    }

    /// The layer's parameters, weight before bias.
    pub(super) fn specs(&self) -> Vec<Spec> {
        let with_bias = |name: &str, weight: Vec<usize>, outputs: Option<usize>, fan_in: usize| {
            let initial = Initial::torch_default(fan_in);
            // Four dimensions at most: every weight here has two or four.
            let shape = match weight[..] {
                [a, b, c, d] => [a, b, c, d].into(),
                _ => [weight[0], weight[1]].into(),
            };
            let bias = outputs.map(|outputs| Spec { name: format!("{name}.bias"), shape: [outputs].into(), initial });
            [Spec { name: format!("{name}.weight"), shape, initial }].into_iter().chain(bias).collect()
        };
        let constant = |name: String, count: usize, value: f32| Spec {
            name,
            shape: [count].into(),
            initial: Initial::Constant(value),
        };
        match self {
            Self::Whiten { name, channels, kernel } => {
                vec![constant(format!("{name}.bias"), 2 * channels * kernel * kernel, 0.0)]
            }
            Self::Conv2d { name, channels: [inputs, outputs], kernel, bias, .. } => {
                let (weight, fan_in) = (vec![*outputs, *inputs, *kernel, *kernel], inputs * kernel * kernel);
                with_bias(name, weight, bias.then_some(*outputs), fan_in)
            }
            // PyTorch counts the fan-in of a transposed convolution by its second dimension.
            Self::ConvTranspose2d { name, channels: [inputs, outputs], kernel, .. } => {
                let (weight, fan_in) = (vec![*inputs, *outputs, *kernel, *kernel], outputs * kernel * kernel);
                with_bias(name, weight, Some(*outputs), fan_in)
            }
            Self::Linear { name, features: [inputs, outputs], bias, .. } => {
                with_bias(name, vec![*outputs, *inputs], bias.then_some(*outputs), *inputs)
            }
            Self::BatchNorm { name, channels, scale } => {
                let weight = scale.then(|| constant(format!("{name}.weight"), *channels, 1.0));
                weight.into_iter().chain([constant(format!("{name}.bias"), *channels, 0.0)]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What the layer keeps in the state_dict that is not trained: names and shapes.
    pub(super) fn kept(&self) -> Vec<(String, Shape)> {
        match self {
            Self::Whiten { name, channels, kernel } => {
                let shape = [2 * channels * kernel * kernel, *channels, *kernel, *kernel];
                vec![(format!("{name}.weight"), shape.into())]
            }
            Self::BatchNorm { name, channels, scale } => {
                let own = |part: &str| (format!("{name}.{part}"), [*channels].into());
                let weight = (!scale).then(|| own("weight"));
                weight.into_iter().chain([own("running_mean"), own("running_var")]).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_is_pooled_where_nobody_asks_what_stands_between() {
        let conv = |relu| Layer::Conv2d {
            name: "conv".to_owned(),
            channels: [3, 4],
            kernel: 5,
            window: Window::new(1, 0),
            bias: true,
            relu,
        };
        let pool = || Layer::MaxPool { kernel: 2, window: Window::new(2, 0), relu: true };
        assert_eq!(conv(false).pooling(&[pool(), Layer::Flatten]), Some((2, Window::new(2, 0), true)));
        // The last layer's input is what scores are made of; and ReLU stands between.
        assert_eq!(conv(false).pooling(&[pool()]), None);
        assert_eq!(conv(true).pooling(&[pool(), Layer::Flatten]), None);
        assert_eq!(conv(false).pooling(&[Layer::Flatten, pool(), Layer::Flatten]), None);
        assert_eq!(pool().pooling(&[pool(), Layer::Flatten]), None);
        assert_eq!(conv(false).pooling(&[]), None);
    }
}
