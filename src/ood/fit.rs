//! What scores need to know of the training set: class means and covariance, the subspace of ViM, ReAct's threshold, and
//! the features themselves. Everything is computed in `f64` from the features of the training pictures.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::features::{Head, normalized, wide};
use super::scores::{energy, max_logit};

/// Features that cannot be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    #[error("there is no training picture to fit")]
    Empty,
    #[error("the features of training picture {image} are not finite: the weights are broken")]
    NotFinite { image: usize },
    #[error("{setting} must be {wanted}, not {value}")]
    Setting { setting: &'static str, wanted: String, value: f64 },
}

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// ReAct clips at this percentile of all training features, in [0, 1]; the paper's 0.9.
    pub react_percentile: f64,
    /// Dimension of ViM's principal subspace. Without one, the paper's rule: 1000 for 2048 features and more, 512 for 768
    /// and more; half for fewer (the paper has no such network; pytorch-ood takes half).
    pub vim_dimension: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { react_percentile: 0.9, vim_dimension: None }
    }
}

/// Virtual-logit matching (Wang et al. 2022).
#[derive(Debug, Clone, PartialEq)]
pub struct Vim {
    /// Where all logits would be 0, as near as can be: minus the pseudo-inverse of the head's weights times its bias.
    pub origin: Vec<f64>,
    /// Rows: directions in which training features vary least.
    pub residual: Vec<f64>,
    /// Mean maximum logit over mean residual of the training set.
    pub alpha: f64,
}

/// What is known of a training set of N pictures in C classes with D features each.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Normalised features [N, D], for KNN.
    pub bank: Vec<f32>,
    /// Class means, one for each class that has training pictures: held-out classes have none.
    pub means: Vec<f64>,
    /// The pseudo-inverse of the covariance that all classes share [D, D].
    pub precision: Vec<f64>,
    pub vim: Vim,
    /// ReAct's.
    pub threshold: f64,
}

/// A symmetric matrix's eigenvalues, rising, and their vectors.
fn eigen(matrix: DMatrix<f64>) -> Vec<(f64, DVector<f64>)> {
    let found = SymmetricEigen::new(matrix);
    let vectors = found.eigenvectors.column_iter().map(|column| column.into_owned());
    let mut pairs: Vec<_> = found.eigenvalues.iter().copied().zip(vectors).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    pairs
}

/// The pseudo-inverse of a symmetric matrix: features that never vary (a unit that is dead) have no say, where an
/// inverse would not exist. Eigenvalues count from the size of their rounding on, as in scipy's pinvh.
fn pseudo_inverse(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let size = matrix.nrows();
    let pairs = eigen(matrix);
    let largest = pairs.iter().map(|(value, _)| value.abs()).fold(0.0, f64::max);
    let least = largest * size as f64 * f64::EPSILON;
    let mut inverse = DMatrix::zeros(size, size);
    for (value, vector) in pairs.iter().filter(|(value, _)| value.abs() > least) {
        inverse.ger(1.0 / value, vector, vector, 1.0);
    }
    inverse
}

/// The mean product of `rows` with themselves.
fn second_moment<'r>(rows: impl Iterator<Item = &'r [f64]>, size: usize) -> DMatrix<f64> {
    let mut sums = vec![0.0; size * size];
    let mut count = 0usize;
    for row in rows {
        for (sums, &a) in sums.chunks_exact_mut(size).zip(row) {
            for (sum, &b) in sums.iter_mut().zip(row) {
                *sum += a * b;
            }
        }
        count += 1;
    }
    DMatrix::from_row_slice(size, size, &sums) / count.max(1) as f64
}

/// The value below which a share of `values` lies, interpolated as numpy's percentile does.
fn percentile(mut values: Vec<f32>, share: f64) -> f64 {
    values.sort_unstable_by(f32::total_cmp);
    let place = share * (values.len().saturating_sub(1)) as f64;
    let at =
        |index: usize| values.get(index.min(values.len().saturating_sub(1))).map_or(0.0, |&value| f64::from(value));
    let low = place.floor();
    at(low as usize) + (place - low) * (at(low as usize + 1) - at(low as usize))
}

impl Fit {
    /// Fits the features [N, D] of training pictures with these labels, under a head.
    ///
    /// # Errors
    /// Settings outside their range, no pictures, and features that are not finite.
    pub fn new(features: &[f32], labels: &[u8], head: &Head, settings: Settings) -> Result<Self, FitError> {
        let (size, classes) = (head.size(), head.classes());
        let dimension = dimension(settings, size)?;
        if let Some(at) = features.iter().position(|feature| !feature.is_finite()) {
            return Err(FitError::NotFinite { image: at / size.max(1) });
        }
        let rows: Vec<&[f32]> = features.chunks_exact(size.max(1)).collect();
        let mut means = vec![0.0; classes * size];
        let mut counts = vec![0usize; classes];
        for (row, &label) in rows.iter().zip(labels) {
            let class = usize::from(label).min(classes.saturating_sub(1));
            counts[class] += 1;
            let mean = &mut means[class * size..(class + 1) * size];
            mean.iter_mut().zip(*row).for_each(|(mean, &feature)| *mean += f64::from(feature));
        }
        if rows.is_empty() {
            return Err(FitError::Empty);
        }
        for (mean, &count) in means.chunks_exact_mut(size).zip(&counts) {
            mean.iter_mut().for_each(|mean| *mean /= count.max(1) as f64);
        }
        let centred: Vec<f64> = rows
            .iter()
            .zip(labels)
            .flat_map(|(row, &label)| {
                let mean = &means[usize::from(label) * size..(usize::from(label) + 1) * size];
                row.iter().zip(mean).map(|(&feature, mean)| f64::from(feature) - mean)
            })
            .collect();
        let precision = pseudo_inverse(second_moment(centred.chunks_exact(size), size));
        drop(centred);
        let means: Vec<f64> = means
            .chunks_exact(size)
            .zip(&counts)
            .filter(|(_, count)| **count > 0)
            .flat_map(|(mean, _)| mean)
            .copied()
            .collect();
        let bank = rows.iter().flat_map(|row| normalized(row)).map(|value| value as f32).collect();
        let threshold = percentile(features.to_vec(), settings.react_percentile);
        let vim = Vim::new(&rows, head, dimension);
        Ok(Self { bank, means, precision: precision.iter().copied().collect(), vim, threshold })
    }

    /// Mahalanobis (Lee et al. 2018): minus the squared distance to the nearest class mean, under the shared covariance.
    pub fn mahalanobis(&self, features: &[f32]) -> f64 {
        let size = features.len();
        let squares = self.means.chunks_exact(size).map(|mean| {
            let apart: Vec<f64> = features.iter().zip(mean).map(|(&a, b)| f64::from(a) - b).collect();
            let rows = self.precision.chunks_exact(size).zip(&apart);
            rows.map(|(row, a)| a * row.iter().zip(&apart).map(|(p, b)| p * b).sum::<f64>()).sum::<f64>()
        });
        -squares.fold(f64::INFINITY, f64::min)
    }

    /// ViM: the energy of the logits minus the virtual logit, which is alpha times the length of what the principal
    /// subspace of the training features leaves of the features.
    pub fn vim(&self, head: &Head, features: &[f32]) -> f64 {
        let features = wide(features);
        energy(&head.logits(&features), 1.0) - self.vim.alpha * self.vim.left_over(&features)
    }
}

/// The dimension of ViM's subspace, and whether the settings make sense.
fn dimension(settings: Settings, size: usize) -> Result<usize, FitError> {
    let share = settings.react_percentile;
    if !(0.0..=1.0).contains(&share) {
        let wanted = "a share from 0 to 1".to_owned();
        return Err(FitError::Setting { setting: "ReAct's percentile", wanted, value: share });
    }
    let usual = if size >= 2048 {
        1000
    } else if size >= 768 {
        512
    } else {
        size / 2
    };
    let dimension = settings.vim_dimension.unwrap_or(usual);
    if dimension >= size {
        let wanted = format!("less than the {size} features that there are");
        return Err(FitError::Setting { setting: "ViM's dimension", wanted, value: dimension as f64 });
    }
    Ok(dimension)
}

impl Vim {
    fn new(rows: &[&[f32]], head: &Head, dimension: usize) -> Self {
        let (size, classes) = (head.size(), head.classes());
        let weights = DMatrix::from_row_iterator(classes, size, head.weights.iter().map(|&weight| f64::from(weight)));
        let bias = DVector::from_iterator(classes, head.bias.iter().map(|&bias| f64::from(bias)));
        // The pseudo-inverse of a wide matrix: W^T (W W^T)^+.
        let origin: Vec<f64> =
            (-(weights.transpose() * pseudo_inverse(&weights * weights.transpose()) * bias)).iter().copied().collect();
        let moved: Vec<f64> =
            rows.iter().flat_map(|row| row.iter().zip(&origin).map(|(&a, b)| f64::from(a) - b)).collect();
        let least = eigen(second_moment(moved.chunks_exact(size), size)).into_iter().take(size - dimension);
        let residual = least.flat_map(|(_, vector)| vector.iter().copied().collect::<Vec<_>>()).collect();
        let mut vim = Self { origin, residual, alpha: 0.0 };
        let (mut logits, mut lengths) = (0.0, 0.0);
        for row in rows {
            let features = wide(row);
            logits += max_logit(&head.logits(&features));
            lengths += vim.left_over(&features);
        }
        vim.alpha = if lengths > 0.0 { logits / lengths } else { 0.0 };
        vim
    }

    /// The length of the features' part outside the principal subspace.
    fn left_over(&self, features: &[f64]) -> f64 {
        let apart: Vec<f64> = features.iter().zip(&self.origin).map(|(a, b)| a - b).collect();
        let parts = self.residual.chunks_exact(apart.len().max(1));
        libm::sqrt(parts.map(|row| row.iter().zip(&apart).map(|(a, b)| a * b).sum::<f64>().powi(2)).sum())
    }
}
