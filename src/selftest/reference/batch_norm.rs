//! Batch normalisation.

use super::random;

pub type Dims = [usize; 4];

/// An input and the layer's numbers, as values.
pub struct Problem {
    pub dims: Dims,
    pub x: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub running_mean: Vec<f32>,
    pub running_variance: Vec<f32>,
}

impl Problem {
    /// Neighbours stand on different sides of their mean, so that no channel's variance is near zero: there the
    /// quotient, not the kernel, would decide how far a rounding is carried.
    pub fn new(dims: Dims) -> Self {
        let (count, channels) = (dims.iter().product(), dims[1]);
        let side = |index: usize| if index.is_multiple_of(2) { 1.0 } else { -1.0 };
        Self {
            dims,
            x: random(1, count).into_iter().enumerate().map(|(i, value)| 0.5 * value + side(i)).collect(),
            gamma: random(2, channels),
            beta: random(3, channels),
            running_mean: random(4, channels),
            running_variance: random(5, channels).into_iter().map(|value| value + 1.5).collect(),
        }
    }

    pub fn channels(&self) -> usize {
        self.dims[1]
    }

    pub fn channel_of(&self, index: usize) -> usize {
        index / (self.dims[2] * self.dims[3]) % self.channels()
    }

    /// Elements of one channel.
    pub fn population(&self) -> usize {
        self.x.len() / self.channels()
    }

    /// For each channel the sum of `term` over its elements.
    pub fn sums(&self, term: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.channels()];
        for index in 0..self.x.len() {
            sums[self.channel_of(index)] += term(index);
        }
        sums
    }

    /// Mean and variance (of the population) of each channel of the batch.
    pub fn batch_statistics(&self) -> (Vec<f64>, Vec<f64>) {
        let count = self.population() as f64;
        let mean: Vec<f64> = self.sums(|i| f64::from(self.x[i])).iter().map(|sum| sum / count).collect();
        let squares = self.sums(|i| (f64::from(self.x[i]) - mean[self.channel_of(i)]).powi(2));
        (mean, squares.iter().map(|sum| sum / count).collect())
    }

    pub fn running_statistics(&self) -> (Vec<f64>, Vec<f64>) {
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        (wide(&self.running_mean), wide(&self.running_variance))
    }

    /// The normalised input, and 1 / sqrt(variance + epsilon) of each channel.
    pub fn normalised(&self, training: bool, epsilon: f32) -> (Vec<f64>, Vec<f64>) {
        let (mean, variance) = if training { self.batch_statistics() } else { self.running_statistics() };
        let rstd: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + f64::from(epsilon)).sqrt()).collect();
        let scaled = self.x.iter().enumerate().map(|(index, &value)| {
            let channel = self.channel_of(index);
            (f64::from(value) - mean[channel]) * rstd[channel]
        });
        (scaled.collect(), rstd)
    }

    pub fn output(&self, training: bool, epsilon: f32) -> Vec<f64> {
        let scaled = self.normalised(training, epsilon).0;
        let affine = scaled.iter().enumerate().map(|(index, value)| {
            let channel = self.channel_of(index);
            value * f64::from(self.gamma[channel]) + f64::from(self.beta[channel])
        });
        affine.collect()
    }

    /// The gradients of x, gamma and beta.
    pub fn gradients(&self, training: bool, epsilon: f32, dy: &[f32]) -> [Vec<f64>; 3] {
        let (scaled, rstd) = self.normalised(training, epsilon);
        let dgamma = self.sums(|i| f64::from(dy[i]) * scaled[i]);
        let dbeta = self.sums(|i| f64::from(dy[i]));
        let count = self.population() as f64;
        let dx = (0..dy.len()).map(|index| {
            let channel = self.channel_of(index);
            // In training the statistics move with the input; in evaluation they are constants.
            let through = if training { (dbeta[channel] + scaled[index] * dgamma[channel]) / count } else { 0.0 };
            f64::from(self.gamma[channel]) * rstd[channel] * (f64::from(dy[index]) - through)
        });
        [dx.collect(), dgamma, dbeta]
    }
}
