//! Exact metrics of out-of-distribution (OOD) detection.
//!
//! Every function takes two sets of scores, those of the in-distribution (ID) images and
//! those of the OOD images, under one convention: **a higher score means more
//! in-distribution**. An image is *kept* (called ID) when its score is at or above a
//! threshold. All results are shares in `[0, 1]`.
//!
//! Nothing here uses a threshold grid or an approximation: the two sets are sorted together
//! once, O(n log n), images with equal scores are moved across the threshold together, and
//! everything is read from the resulting integer counts. The numbers agree with scikit-learn's
//! `roc_auc_score`, `average_precision_score` and `roc_curve(drop_intermediate=False)`.
//!
//! Infinite scores are ordinary values of the ranking; NaN has no rank and is an error.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which of the two sets of scores an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreSet {
    /// The in-distribution scores.
    Id,
    /// The out-of-distribution scores.
    Ood,
}

impl fmt::Display for ScoreSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Id => "in-distribution",
            Self::Ood => "out-of-distribution",
        })
    }
}

/// Why two sets of scores have no metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MetricsError {
    /// A set without scores.
    #[error("the {set} set has no scores, so no detection metric is defined")]
    Empty {
        /// The empty set.
        set: ScoreSet,
    },
    /// A score that cannot be ranked.
    #[error("the {set} score at index {index} is NaN and cannot be ranked")]
    NotANumber {
        /// The set it is in.
        set: ScoreSet,
        /// Its position in the slice as given (the first NaN of the set).
        index: usize,
    },
}

/// All detection metrics of one pair of score sets, each a share in `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// See [`auroc`].
    pub auroc: f64,
    /// See [`aupr_in`]. A score that says nothing gets about `prevalence`.
    pub aupr_in: f64,
    /// See [`aupr_out`]. A score that says nothing gets about `1 − prevalence`.
    pub aupr_out: f64,
    /// See [`fpr95_id`].
    pub fpr95_id: f64,
    /// See [`fpr95_ood`].
    pub fpr95_ood: f64,
    /// See [`detection_error`].
    pub detection_error: f64,
    /// Share of ID among all images scored, `n_id / (n_id + n_ood)`: both AUPRs depend on it.
    pub prevalence: f64,
}

impl Metrics {
    /// Computes every metric from one sort.
    ///
    /// # Errors
    /// When a set is empty or holds a NaN.
    pub fn from_scores<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<Self, MetricsError> {
        let ranking = Ranking::new(id, ood)?;
        Ok(Self {
            auroc: ranking.auroc(),
            aupr_in: ranking.id_first().average_precision(),
            aupr_out: ranking.ood_first().average_precision(),
            fpr95_id: ranking.id_first().fpr95(),
            fpr95_ood: ranking.ood_first().fpr95(),
            detection_error: ranking.id_first().detection_error(),
            prevalence: ratio(ranking.n_id, ranking.n_id + ranking.n_ood),
        })
    }
}

/// Area under the ROC curve, `P(id > ood) + ½ P(id = ood)`: the Mann-Whitney U statistic with
/// mid-ranks for ties over `n_id · n_ood` (Hanley & McNeil 1982), counted in integers and
/// divided once. Never flipped: below 0.5 means that OOD images score higher.
///
/// # Errors
/// When a set is empty or holds a NaN.
pub fn auroc<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricsError> {
    Ok(Ranking::new(id, ood)?.auroc())
}

/// Average precision with ID as the positive class, `Σₙ (Rₙ − Rₙ₋₁) Pₙ` over the distinct
/// thresholds from high to low (`R` recall, `P` precision; no interpolation).
///
/// # Errors
/// When a set is empty or holds a NaN.
pub fn aupr_in<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricsError> {
    Ok(Ranking::new(id, ood)?.id_first().average_precision())
}

/// Average precision with OOD as the positive class: [`aupr_in`] with the classes exchanged
/// and every score negated.
///
/// # Errors
/// When a set is empty or holds a NaN.
pub fn aupr_out<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricsError> {
    Ok(Ranking::new(id, ood)?.ood_first().average_precision())
}

/// Share of OOD images kept at the highest threshold that keeps at least 95 % of the ID
/// images: the FPR95 of the ODIN paper (Liang, Li & Srikant 2018) and the usual reading.
///
/// # Errors
/// When a set is empty or holds a NaN.
pub fn fpr95_id<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricsError> {
    Ok(Ranking::new(id, ood)?.id_first().fpr95())
}

/// Share of ID images rejected at the lowest threshold that rejects at least 95 % of the OOD
/// images: FPR95 with OOD as the positive class, as OpenOOD v1.5 (Zhang et al. 2023) has it.
///
/// # Errors
/// When a set is empty or holds a NaN.
pub fn fpr95_ood<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricsError> {
    Ok(Ranking::new(id, ood)?.ood_first().fpr95())
}

/// Smallest `½ (1 − TPR + FPR)` over all thresholds, the ones that keep nothing and everything
/// included: the error of the best threshold when ID and OOD are equally likely (Liang, Li &
/// Srikant 2018). At most 0.5, and the same whichever class is called positive.
///
/// # Errors
/// When a set is empty or holds a NaN.
pub fn detection_error<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<f64, MetricsError> {
    Ok(Ranking::new(id, ood)?.id_first().detection_error())
}

/// The ROC curve with ID as the positive class: `(fpr, tpr)` at (0, 0) and then once per
/// distinct score from high to low, ending at (1, 1). Its trapezoidal area is [`auroc`].
///
/// # Errors
/// When a set is empty or holds a NaN.
pub fn roc_curve<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<Vec<(f64, f64)>, MetricsError> {
    let ranking = Ranking::new(id, ood)?;
    Ok(std::iter::once((0.0, 0.0)).chain(ranking.id_first().map(|p| (p.fpr(), p.tpr()))).collect())
}

/// How many images of each set share one score.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    id: u64,
    ood: u64,
}

/// Both sets sorted together: one group per distinct score, from the highest to the lowest.
struct Ranking {
    groups: Vec<Group>,
    n_id: u64,
    n_ood: u64,
}

impl Ranking {
    fn new<T: Copy + Into<f64>>(id: &[T], ood: &[T]) -> Result<Self, MetricsError> {
        let mut all = Vec::with_capacity(id.len() + ood.len());
        for (set, scores) in [(ScoreSet::Id, id), (ScoreSet::Ood, ood)] {
            if scores.is_empty() {
                return Err(MetricsError::Empty { set });
            }
            for (index, &score) in scores.iter().enumerate() {
                let score: f64 = score.into();
                if score.is_nan() {
                    return Err(MetricsError::NotANumber { set, index });
                }
                all.push((score, set));
            }
        }
        all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        // Groups are made with `==`, so -0.0 and 0.0, which `total_cmp` tells apart but leaves
        // next to each other, are one tie.
        let groups = all
            .chunk_by(|a, b| a.0 == b.0)
            .map(|tied| {
                tied.iter().fold(Group::default(), |group, (_, set)| match set {
                    ScoreSet::Id => Group { id: group.id + 1, ..group },
                    ScoreSet::Ood => Group { ood: group.ood + 1, ..group },
                })
            })
            .collect();
        Ok(Self { groups, n_id: id.len() as u64, n_ood: ood.len() as u64 })
    }

    fn auroc(&self) -> f64 {
        // Twice U, so that the halves of the ties stay integers.
        let mut twice_u = 0u128;
        let mut ood_below = u128::from(self.n_ood);
        for group in &self.groups {
            let (id, ood) = (u128::from(group.id), u128::from(group.ood));
            ood_below -= ood;
            twice_u += id * (2 * ood_below + ood);
        }
        let pairs = u128::from(self.n_id) * u128::from(self.n_ood);
        twice_u as f64 / (2 * pairs) as f64
    }

    /// The thresholds from high to low, keeping ID images first: ID is the positive class.
    fn id_first(&self) -> Sweep<impl Iterator<Item = (u64, u64)>> {
        Sweep { steps: self.groups.iter().map(|g| (g.id, g.ood)), at: Counts::start(self.n_id, self.n_ood) }
    }

    /// The thresholds from low to high, rejecting OOD images first: OOD is the positive class
    /// and the scores count as negated.
    fn ood_first(&self) -> Sweep<impl Iterator<Item = (u64, u64)>> {
        Sweep { steps: self.groups.iter().rev().map(|g| (g.ood, g.id)), at: Counts::start(self.n_ood, self.n_id) }
    }
}

/// True and false positives at one threshold.
#[derive(Debug, Clone, Copy)]
struct Counts {
    true_pos: u64,
    false_pos: u64,
    positives: u64,
    negatives: u64,
    /// Positives that this threshold added to those of the threshold before it.
    new_true_pos: u64,
}

impl Counts {
    /// The threshold beyond every score.
    fn start(positives: u64, negatives: u64) -> Self {
        Self { true_pos: 0, false_pos: 0, positives, negatives, new_true_pos: 0 }
    }

    fn tpr(&self) -> f64 {
        ratio(self.true_pos, self.positives)
    }

    fn fpr(&self) -> f64 {
        ratio(self.false_pos, self.negatives)
    }

    /// `TPR ≥ 0.95`, in integers: whether 19 of 20 is reached must not hang on a rounding.
    fn reaches_95_percent(&self) -> bool {
        20 * u128::from(self.true_pos) >= 19 * u128::from(self.positives)
    }

    /// `(1 − TPR + FPR) · positives · negatives`: the detection error on a common denominator.
    fn errors_scaled(&self) -> u128 {
        let missed = u128::from(self.positives - self.true_pos);
        missed * u128::from(self.negatives) + u128::from(self.false_pos) * u128::from(self.positives)
    }
}

/// Walks a threshold past the groups and yields the counts after each.
struct Sweep<I> {
    steps: I,
    at: Counts,
}

impl<I: Iterator<Item = (u64, u64)>> Iterator for Sweep<I> {
    type Item = Counts;

    fn next(&mut self) -> Option<Counts> {
        let (positives, negatives) = self.steps.next()?;
        self.at.true_pos += positives;
        self.at.false_pos += negatives;
        self.at.new_true_pos = positives;
        Some(self.at)
    }
}

impl<I: Iterator<Item = (u64, u64)>> Sweep<I> {
    fn average_precision(self) -> f64 {
        self.filter(|p| p.new_true_pos > 0)
            .map(|p| ratio(p.new_true_pos, p.positives) * ratio(p.true_pos, p.true_pos + p.false_pos))
            .sum()
    }

    fn fpr95(mut self) -> f64 {
        // The last point has TPR = 1, so there always is one.
        self.find(Counts::reaches_95_percent).map_or(1.0, |p| p.fpr())
    }

    fn detection_error(self) -> f64 {
        let start = self.at;
        let pairs = u128::from(start.positives) * u128::from(start.negatives);
        let least = self.map(|p| p.errors_scaled()).fold(start.errors_scaled(), u128::min);
        least as f64 / (2 * pairs) as f64
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
