//! Every score of a set of pictures under one network.

use crate::autograd::Tape;
use crate::data::Images;
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Mode, Network, Task};
use crate::ood::features::{self, Head, Shaping};
use crate::ood::fit::Fit;
use crate::ood::scores::{Score, log_max_softmax_at};
use crate::ops::matmul::{matmul, plain, transposed};
use crate::ops::perturb;

use super::LabError;
use super::detect::Scored;
use super::evaluate::{self, BATCH, Resident, argmax};

/// The scores that are wanted, and their settings: the papers' own unless something else is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub scores: Vec<Score>,
    /// ODIN's step against the gradient's sign, in pixel units on [0, 1].
    pub odin_eps: f64,
    pub odin_temperature: f64,
    /// KNN's neighbour.
    pub knn_k: usize,
    /// Share of the features that ASH sets to 0, in [0, 1].
    pub ash_percentile: f64,
}

impl Default for Wanted {
    /// The scores that need nothing but logits; ODIN with T = 1000 and eps = 0.0014 (Liang et al. 2018), KNN with k = 50
    /// (the paper's for CIFAR-10), ASH at 65 % (the default of the authors' program).
    fn default() -> Self {
        let scores = vec![Score::MaxLogit, Score::MaxSoftmax, Score::Energy];
        Self { scores, odin_eps: 0.0014, odin_temperature: 1000.0, knn_k: 50, ash_percentile: 0.65 }
    }
}

impl Wanted {
    /// Whether a fit of the training set is needed.
    pub fn needs_fit(&self) -> bool {
        self.scores.iter().any(|score| score.needs_fit())
    }

    /// Checks what can be known before any work; `train`: how many training pictures there are.
    pub fn check(&self, task: Task, train: usize) -> Result<(), LabError> {
        let usage = |problem: String| Err(LabError::Usage(problem));
        if task != Task::Classify && *self != Self::default() {
            return usage("an autoencoder has one score, its error: leave --score away".to_owned());
        }
        if !(self.odin_temperature > 0.0 && self.odin_temperature.is_finite()) {
            return usage(format!("ODIN's temperature must be above 0, not {}", self.odin_temperature));
        }
        if !(0.0..1.0).contains(&self.ash_percentile) {
            return usage(format!("ASH's percentile must be a share below 1, not {}", self.ash_percentile));
        }
        if self.scores.contains(&Score::Knn) && !(1..=train).contains(&self.knn_k) {
            return usage(format!("KNN's k must be from 1 to the {train} training pictures, not {}", self.knn_k));
        }
        Ok(())
    }
}

/// A network with what its scores need.
pub struct Scorer<'a> {
    pub gpu: &'a Gpu,
    pub network: &'a Network,
    pub wanted: &'a Wanted,
    /// The last layer, for scores of features.
    pub head: Option<Head>,
    /// Of the training set, for scores that need it.
    pub fit: Option<Fit>,
}

impl Scorer<'_> {
    /// Scores pictures; `seen` is told how many are done, over and over for scores that go over them again.
    ///
    /// # Errors
    /// A score that lacks what it needs, or a device that fails.
    pub fn score(&self, images: &Images, mut seen: impl FnMut(usize)) -> Result<Scored, LabError> {
        let data = Resident::new(self.gpu, images)?;
        if self.network.architecture().task != Task::Classify {
            return Ok(Scored::new(&evaluate::outputs(self.gpu, self.network, &data, seen)?, &images.labels));
        }
        let (features, logits) = evaluate::features(self.gpu, self.network, &data, &mut seen)?;
        let rows = Rows { features: &features, logits: &logits, count: images.count() };
        let of = |score: &Score| Ok((*score, self.column(*score, &rows, &data)?));
        let columns = self.wanted.scores.iter().map(of).collect::<Result<Vec<_>, LabError>>()?;
        Ok(Scored::of_columns(&images.labels, columns))
    }

    fn column(&self, score: Score, rows: &Rows<'_>, data: &Resident) -> Result<Vec<f64>, LabError> {
        let lacking = |what: &str| LabError::Usage(format!("{score} needs {what}"));
        let head = || self.head.as_ref().ok_or_else(|| lacking("the classifier's last layer"));
        let fit = || self.fit.as_ref().ok_or_else(|| lacking("a fit of the training set"));
        let each = |of: &dyn Fn(&[f32]) -> f64| rows.features().map(of).collect();
        let ash = |shaping| {
            let head = head()?;
            Ok(each(&|row| features::ash(head, row, self.wanted.ash_percentile, shaping)))
        };
        match score {
            Score::MaxLogit | Score::MaxSoftmax | Score::Energy | Score::NegMse => {
                Ok(rows.logits().filter_map(|row| score.of_logits(row)).collect())
            }
            Score::Odin => self.odin(data),
            Score::Knn => self.knn(rows, fit()?),
            Score::Mahalanobis => {
                let fit = fit()?;
                Ok(each(&|row| fit.mahalanobis(row)))
            }
            Score::Vim => {
                let (fit, head) = (fit()?, head()?);
                Ok(each(&|row| fit.vim(head, row)))
            }
            Score::React => {
                let (fit, head) = (fit()?, head()?);
                Ok(each(&|row| features::react(head, row, fit.threshold)))
            }
            Score::AshS => ash(Shaping::Scale),
            Score::AshB => ash(Shaping::Binarize),
            Score::AshP => ash(Shaping::Prune),
        }
    }

    /// ODIN (Liang et al. 2018): the largest probability at temperature T after a step that makes the prediction surer.
    fn odin(&self, data: &Resident) -> Result<Vec<f64>, LabError> {
        let (gpu, network, temperature) = (self.gpu, self.network, self.wanted.odin_temperature);
        let mut scores = Vec::with_capacity(data.count());
        for first in (0..data.count()).step_by(BATCH) {
            let x = data.pixels(gpu, first, BATCH.min(data.count() - first))?;
            let moved = self.surer(&x)?;
            let logits = crate::attack::logits(gpu, network, &moved)?;
            let classes = logits.len() / moved.dims()[0];
            scores.extend(logits.chunks_exact(classes).map(|row| log_max_softmax_at(row, temperature)));
        }
        Ok(scores)
    }

    /// ODIN's step for pictures [N, C, H, W].
    fn surer(&self, x: &Tensor) -> Result<Tensor, LabError> {
        let (gpu, network) = (self.gpu, self.network);
        let tape = Tape::new(gpu);
        let (bound, input) = (network.bind(&tape)?, tape.leaf(x));
        let logits = network.forward(&tape, &bound, input, Mode::Evaluation)?;
        let values = gpu.read(&tape.value(logits)?)?;
        let classes = values.len() / x.dims()[0];
        let predicted: Vec<u32> = values.chunks_exact(classes).map(|row| argmax(row) as u32).collect();
        let cooled = tape.scale(logits, (1.0 / self.wanted.odin_temperature) as f32, 0.0)?;
        let loss = tape.cross_entropy(cooled, &gpu.words(&predicted)?, 0.0)?;
        let gradients = tape.backward(loss, &[input])?;
        Ok(match gradients.of(input) {
            Some(slope) => perturb::odin_step(gpu, x, slope, self.wanted.odin_eps as f32)?,
            None => x.clone(),
        })
    }

    /// Minus the distance to the k-th nearest training picture. The products of all pairs are the GPU's; the few nearest
    /// of each picture are measured again in `f64`, since a small distance is a difference of two large products.
    fn knn(&self, rows: &Rows<'_>, fit: &Fit) -> Result<Vec<f64>, LabError> {
        /// Training pictures to a product: their products with a batch stay far below what one binding may be.
        const PART: usize = 16_384;
        /// Measured beyond the k nearest, so that no rounding can hide one of them.
        const SPARE: usize = 16;
        let (gpu, k, size) = (self.gpu, self.wanted.knn_k, rows.size());
        let total = fit.bank.len() / size.max(1);
        let bank = gpu.tensor([total, size], &fit.bank)?;
        let mut parts = Vec::new();
        for first in (0..total).step_by(PART) {
            parts.push((first, bank.slice(first * size, [PART.min(total - first), size])?));
        }
        let stored: Vec<&[f32]> = fit.bank.chunks_exact(size).collect();
        let all: Vec<&[f32]> = rows.features().collect();
        let mut scores = Vec::with_capacity(all.len());
        for batch in all.chunks(BATCH) {
            let queries: Vec<Vec<f64>> = batch.iter().map(|row| features::normalized(row)).collect();
            let narrow: Vec<f32> = queries.iter().flatten().map(|&value| value as f32).collect();
            let narrow = gpu.tensor([batch.len(), size], &narrow)?;
            let mut likeness: Vec<Vec<(f32, u32)>> = vec![Vec::with_capacity(total); batch.len()];
            for (first, part) in &parts {
                let products = gpu.read(&matmul(gpu, plain(&narrow), transposed(part))?)?;
                let columns = part.dims()[0];
                for (likeness, row) in likeness.iter_mut().zip(products.chunks_exact(columns)) {
                    likeness.extend(row.iter().zip(*first as u32..).map(|(&product, at)| (product, at)));
                }
            }
            for (query, mut likeness) in queries.iter().zip(likeness) {
                let kept = (k + SPARE).min(likeness.len());
                if kept < likeness.len() {
                    likeness.select_nth_unstable_by(kept, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                }
                let near = likeness.iter().take(kept).filter_map(|&(_, at)| stored.get(at as usize).copied());
                scores.push(features::knn(query, near, k));
            }
        }
        Ok(scores)
    }
}

/// What the network makes of a set, picture after picture.
struct Rows<'a> {
    features: &'a [f32],
    logits: &'a [f32],
    count: usize,
}

impl Rows<'_> {
    /// Features of a picture.
    fn size(&self) -> usize {
        self.features.len() / self.count.max(1)
    }

    fn features(&self) -> impl Iterator<Item = &[f32]> {
        self.features.chunks_exact(self.size().max(1))
    }

    fn logits(&self) -> impl Iterator<Item = &[f32]> {
        self.logits.chunks_exact((self.logits.len() / self.count.max(1)).max(1))
    }
}
