//! OOD scores, and those of one image from its row of logits, in `f64`.
//!
//! **Higher means more in-distribution** for every score here. Logits are the network's raw
//! outputs (natural-logarithm units), one per class. The exponentials come from `libm` rather
//! than from the platform, so that a score has the same bits on every machine.
//!
//! A row that has no meaningful score (empty, or with a NaN in it) gets NaN, which
//! [`metrics`](super::metrics) then refuses with the index of the image.

use std::fmt;

/// The scores an image can be ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Score {
    /// The largest logit, see [`max_logit`].
    MaxLogit,
    /// The largest class probability, see [`max_softmax`]; ranked by [`log_max_softmax`].
    MaxSoftmax,
    /// Minus the free energy at `T = 1`, see [`energy`].
    Energy,
    /// Minus the mean squared error of an autoencoder's reconstruction of the image.
    NegMse,
    /// The largest class probability at a high temperature, after a step that makes the prediction surer (Liang et al.
    /// 2018); ranked by [`log_max_softmax_at`].
    Odin,
    /// Minus the distance to the k-th nearest training feature, see [`knn`](super::features::knn).
    Knn,
    /// Minus the squared distance to the nearest class mean, see [`Fit::mahalanobis`](super::fit::Fit::mahalanobis).
    Mahalanobis,
    /// Energy minus the virtual logit, see [`Fit::vim`](super::fit::Fit::vim).
    Vim,
    /// Energy with clipped features, see [`react`](super::features::react).
    React,
    /// Energy with pruned and scaled features, see [`ash`](super::features::ash).
    AshS,
    /// Energy with pruned and binarized features.
    AshB,
    /// Energy with pruned features.
    AshP,
}

impl Score {
    /// Every score.
    pub const ALL: [Self; 12] = [
        Self::MaxLogit,
        Self::MaxSoftmax,
        Self::Energy,
        Self::NegMse,
        Self::Odin,
        Self::Knn,
        Self::Mahalanobis,
        Self::Vim,
        Self::React,
        Self::AshS,
        Self::AshB,
        Self::AshP,
    ];

    /// The name used in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxLogit => "max_logit",
            Self::MaxSoftmax => "max_softmax",
            Self::Energy => "energy",
            Self::NegMse => "neg_mse",
            Self::Odin => "odin",
            Self::Knn => "knn",
            Self::Mahalanobis => "mahalanobis",
            Self::Vim => "vim",
            Self::React => "react",
            Self::AshS => "ash_s",
            Self::AshB => "ash_b",
            Self::AshP => "ash_p",
        }
    }

    /// What an axis says under the values that are ranked.
    pub const fn axis(self) -> &'static str {
        match self {
            Self::MaxLogit => "max logit",
            Self::MaxSoftmax => "log of max softmax",
            Self::Energy => "energy (log-sum-exp of the logits)",
            Self::NegMse => "minus the mean squared error",
            Self::Odin => "log of ODIN's max softmax",
            Self::Knn => "minus the distance to the k-th nearest",
            Self::Mahalanobis => "minus the squared Mahalanobis distance",
            Self::Vim => "energy minus the virtual logit (ViM)",
            Self::React => "energy after ReAct",
            Self::AshS => "energy after ASH-S",
            Self::AshB => "energy after ASH-B",
            Self::AshP => "energy after ASH-P",
        }
    }

    /// Whether it needs a fit of the training set.
    pub const fn needs_fit(self) -> bool {
        matches!(self, Self::Knn | Self::Mahalanobis | Self::Vim | Self::React)
    }

    /// The value to rank an image by, given its logits; `None` for scores that need more than those.
    /// [`Score::MaxSoftmax`] gives the *logarithm* of the
    /// probability: the order is the same, but saturated images do not tie.
    pub fn of_logits(self, logits: &[f32]) -> Option<f64> {
        match self {
            Self::MaxLogit => Some(max_logit(logits)),
            Self::MaxSoftmax => Some(log_max_softmax(logits)),
            Self::Energy => Some(energy(logits, 1.0)),
            _ => None,
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The largest logit, `max_c f_c` (Hendrycks et al. 2022).
pub fn max_logit(logits: &[f32]) -> f64 {
    peak(logits).map_or(f64::NAN, |(_, max)| max)
}

/// The largest class probability, `exp(max_c f_c − logsumexp f)`, in `(0, 1]` (Hendrycks &
/// Gimpel 2017). It reaches exactly 1 for confident rows: rank by [`log_max_softmax`].
pub fn max_softmax(logits: &[f32]) -> f64 {
    libm::exp(log_max_softmax(logits))
}

/// The logarithm of the largest class probability, `max_c f_c − logsumexp f`, in `(−∞, 0]`.
///
/// Taken as `−log1p(Σ exp(f_c − max))` over the *other* classes. The plain difference is 0 as
/// soon as the runner-up is 37 below the maximum; this form keeps rows apart to a gap of 745.
pub fn log_max_softmax(logits: &[f32]) -> f64 {
    log_max_softmax_at(logits, 1.0)
}

/// The same at the temperature `t` > 0: of the logits divided by it.
pub fn log_max_softmax_at(logits: &[f32], t: f64) -> f64 {
    -log_sum_exp_over_max(logits, t)
}

/// Minus the free energy, `T · logsumexp(f / T)` (Liu et al. 2020, who write `E` for the
/// negative of this). `t` is the temperature `T > 0`, dimensionless; 1 is the paper's choice.
pub fn energy(logits: &[f32], t: f64) -> f64 {
    max_logit(logits) + t * log_sum_exp_over_max(logits, t)
}

/// `logsumexp(f / T) − max(f) / T`, at least 0.
fn log_sum_exp_over_max(logits: &[f32], t: f64) -> f64 {
    let Some((at, max)) = peak(logits) else {
        return f64::NAN;
    };
    let others = logits[..at].iter().chain(&logits[at + 1..]);
    libm::log1p(others.map(|&f| libm::exp((f64::from(f) - max) / t)).sum::<f64>())
}

/// Where the largest logit stands and what it is; a NaN counts as larger than anything, so
/// that it reaches the result. `None` for an empty row.
fn peak(logits: &[f32]) -> Option<(usize, f64)> {
    let larger = |best: (usize, f32), next: (usize, f32)| {
        if next.1 > best.1 || next.1.is_nan() { next } else { best }
    };
    let (at, max) = logits.iter().copied().enumerate().reduce(larger)?;
    Some((at, f64::from(max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "got {got}, want {want}");
    }

    #[test]
    fn a_hand_computed_row() {
        // Probabilities 1/6, 2/6, 3/6; the logits are rounded to f32, hence log of those.
        let row: [f32; 3] = [0.0, 2f32.ln(), 3f32.ln()];
        let exps: Vec<f64> = row.iter().map(|&f| f64::from(f).exp()).collect();
        let sum: f64 = exps.iter().sum();
        assert_close(max_logit(&row), f64::from(row[2]));
        assert_close(max_softmax(&row), exps[2] / sum);
        assert_close(log_max_softmax(&row), (exps[2] / sum).ln());
        assert_close(energy(&row, 1.0), sum.ln());
        assert!((max_softmax(&row) - 0.5).abs() < 1e-7);
    }

    #[test]
    fn equal_logits_are_uniform() {
        let row = [7.0f32; 10];
        assert_close(max_softmax(&row), 0.1);
        assert_close(energy(&row, 1.0), 7.0 + 10f64.ln());
        assert_close(energy(&row, 1000.0), 7.0 + 1000.0 * 10f64.ln());
    }

    #[test]
    fn softmax_ignores_a_shift_and_the_others_follow_it() {
        let row = [1.0f32, -2.0, 0.5];
        let moved = row.map(|f| f + 1024.0);
        assert_close(log_max_softmax(&moved), log_max_softmax(&row));
        assert_close(energy(&moved, 1.0), energy(&row, 1.0) + 1024.0);
        assert_close(max_logit(&moved), max_logit(&row) + 1024.0);
    }

    #[test]
    fn saturated_rows_keep_their_order() {
        let (sure, surer) = ([60.0f32, 0.0], [61.0f32, 0.0]);
        assert_eq!(max_softmax(&sure), max_softmax(&surer));
        assert!(log_max_softmax(&sure) < log_max_softmax(&surer));
        assert!(log_max_softmax(&surer) < 0.0);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let row = [f32::MAX, -f32::MAX, 0.0];
        assert_eq!(max_softmax(&row), 1.0);
        assert_eq!(energy(&row, 1.0), f64::from(f32::MAX));
    }

    #[test]
    fn rows_without_a_score_give_nan() {
        for row in [&[][..], &[1.0, f32::NAN, 2.0], &[f32::NAN, 1.0]] {
            for score in [Score::MaxLogit, Score::MaxSoftmax, Score::Energy] {
                assert!(score.of_logits(row).is_some_and(f64::is_nan), "{score}");
            }
        }
        assert_eq!(Score::NegMse.of_logits(&[1.0]), None);
    }
}
