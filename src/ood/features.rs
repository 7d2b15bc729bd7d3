//! Scores of one picture from its penultimate features, in `f64`. Higher means more in-distribution, as everywhere.
//!
//! The features are what the last, linear layer of a classifier is given; its weights are the [`Head`].

use super::scores::energy;

/// The last layer: `classes` rows of weights, one for each feature, and a bias each.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Head {
    /// How many features there are.
    pub fn size(&self) -> usize {
        self.weights.len() / self.bias.len().max(1)
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// The logits of features, one for each class.
    pub fn logits(&self, features: &[f64]) -> Vec<f32> {
        let rows = self.weights.chunks_exact(self.size().max(1)).zip(&self.bias);
        let row = |(weights, bias): (&[f32], &f32)| {
            let products = weights.iter().zip(features).map(|(&weight, feature)| f64::from(weight) * feature);
            (f64::from(*bias) + products.sum::<f64>()) as f32
        };
        rows.map(row).collect()
    }
}

/// How much of what activation shaping leaves over is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shaping {
    /// Nothing.
    Prune,
    /// All become the same, with the sum of all before.
    Binarize,
    /// Scaled by exp(sum before / sum after).
    Scale,
}

/// `f32` features, wide.
pub fn wide(features: &[f32]) -> Vec<f64> {
    features.iter().map(|&feature| f64::from(feature)).collect()
}

/// ReAct (Sun et al. 2021): the energy of the logits when no feature is larger than `threshold`, a percentile of all
/// training features.
pub fn react(head: &Head, features: &[f32], threshold: f64) -> f64 {
    let clipped: Vec<f64> = features.iter().map(|&feature| f64::from(feature).min(threshold)).collect();
    energy(&head.logits(&clipped), 1.0)
}

/// ASH (Djurisic et al. 2023): the energy of the logits when the smallest features, a share `percentile` in [0, 1] of
/// them, are 0. Of equal features the first count as larger.
pub fn ash(head: &Head, features: &[f32], percentile: f64, shaping: Shaping) -> f64 {
    let count = features.len();
    // Half to even, as numpy's round, so that as many are kept.
    let pruned = (count as f64 * percentile).round_ties_even() as usize;
    let kept = count.saturating_sub(pruned);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| features[b].total_cmp(&features[a]));
    let sum: f64 = features.iter().map(|&feature| f64::from(feature)).sum();
    let mut shaped = vec![0.0; count];
    for &at in order.iter().take(kept) {
        shaped[at] = if shaping == Shaping::Binarize { sum / kept as f64 } else { f64::from(features[at]) };
    }
    let left: f64 = shaped.iter().sum();
    // Where nothing is left, there is nothing to scale.
    if shaping == Shaping::Scale && left != 0.0 {
        let factor = libm::exp(sum / left);
        shaped.iter_mut().for_each(|feature| *feature *= factor);
    }
    energy(&head.logits(&shaped), 1.0)
}

/// Features divided by their L2 norm; zeros stay zeros.
pub fn normalized(features: &[f32]) -> Vec<f64> {
    let norm = libm::sqrt(features.iter().map(|&feature| f64::from(feature).powi(2)).sum());
    features.iter().map(|&feature| f64::from(feature) / norm.max(1e-12)).collect()
}

/// KNN (Sun et al. 2022): minus the distance of a picture's [`normalized`] features to the `k`-th nearest of the `near`
/// ones, which must have all of the `k` nearest among them.
pub fn knn<'f>(query: &[f64], near: impl Iterator<Item = &'f [f32]>, k: usize) -> f64 {
    let square = |other: &[f32]| -> f64 { query.iter().zip(other).map(|(a, &b)| (a - f64::from(b)).powi(2)).sum() };
    let mut squares: Vec<f64> = near.map(square).collect();
    squares.sort_by(f64::total_cmp);
    squares.get(k.saturating_sub(1)).map_or(f64::NAN, |square| -libm::sqrt(*square))
}
