//! Iterations in a ball: PGD in either norm, BIM, MI-FGSM, R+FGSM. However many steps they take, they hold the clean
//! pictures, the moved ones, one gradient and what one forward pass keeps.

use crate::gpu::{Result as GpuResult, Tensor};
use crate::ops::noise::{self, Quantiles, Source};
use crate::ops::perturb::{self, Ball, Step};
use crate::ops::reduce::{self, Reduction};
use crate::ops::{displace, select};
use crate::random::{Purpose, Stream, unit};

use super::batch::{distance, pixels};
use super::check::Bound;
use super::{Aim, Batch, Bim, MiFgsm, Norm, Pgd, RFgsm, Result, logits};

/// The cross-entropy of a row of logits with a label.
fn cross_entropy(row: &[f32], label: usize) -> f64 {
    let top = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    top + libm::log(row.iter().map(|&logit| libm::exp(f64::from(logit) - top)).sum::<f64>()) - f64::from(row[label])
}

impl Batch<'_> {
    /// Projected gradient descent in the ball of `eps`, in the run's convention.
    pub fn pgd(&self, aim: &Aim, eps: f64, settings: Pgd) -> Result<Tensor> {
        let convention = self.attacker.convention;
        let length = if settings.norm == Norm::L2 { distance } else { pixels };
        let (eps, step) =
            (length("eps", convention, eps)?, length("the step size", convention, settings.step_in(eps))?);
        let gpu = self.attacker.gpu;
        let kept = self.pgd_once(aim, (eps, step), settings, 0)?;
        if settings.random_start && settings.restarts > 1 {
            let mut best = self.progress(aim, &kept)?;
            for restart in 1..settings.restarts {
                let next = self.pgd_once(aim, (eps, step), settings, restart)?;
                let found = self.progress(aim, &next)?;
                let mut chosen = vec![0.0; best.len()];
                for ((best, found), chosen) in best.iter_mut().zip(found).zip(&mut chosen) {
                    // A success is kept; before it, the better loss.
                    if !best.0 && (found.0 || found.1 > best.1) {
                        (*best, *chosen) = (found, 1.0);
                    }
                }
                select::replace(gpu, &gpu.tensor([chosen.len()], &chosen)?, &next, &kept)?;
            }
        }
        let bound = if settings.norm == Norm::L2 { Bound::L2(eps) } else { Bound::LInf(eps) };
        self.checked(kept, bound)
    }

    /// Whether each picture is where it should be, and its loss in the direction that is wanted.
    fn progress(&self, aim: &Aim, at: &Tensor) -> Result<Vec<(bool, f64)>> {
        let values = logits(self.attacker.gpu, self.attacker.network, at)?;
        let rows = values.chunks_exact(self.classes).enumerate();
        let of = |(number, row): (usize, &[f32])| {
            (aim.is_reached(number, row), f64::from(aim.direction) * cross_entropy(row, aim.wanted[number]))
        };
        Ok(rows.map(of).collect())
    }

    fn pgd_once(&self, aim: &Aim, (eps, step): (f32, f32), settings: Pgd, restart: u32) -> Result<Tensor> {
        let gpu = self.attacker.gpu;
        let mut at = match (settings.random_start, settings.norm) {
            (false, _) => self.x.clone(),
            (true, Norm::LInf) => perturb::random_start(gpu, &self.x, eps, self.stream(restart))?,
            (true, Norm::L2) => self.start_in_l2_ball(eps, self.stream(restart))?,
        };
        let step = aim.direction * step;
        for _ in 0..settings.steps {
            at = match settings.norm {
                Norm::LInf => {
                    let ball = Some(Ball { centre: &self.x, eps });
                    self.step(aim, Step { x: &at, length: step, ball })?
                }
                Norm::L2 => {
                    let slope = self.slope(&at, aim)?;
                    let squares = reduce::each_image(gpu, Reduction::SumSquares, &slope)?;
                    let moved = displace::along(gpu, &at, &self.x, &slope, &squares, step)?;
                    let squares = reduce::each_image(gpu, Reduction::SumSquares, &moved)?;
                    displace::into_ball(gpu, &self.x, &moved, &squares, eps)?
                }
            };
        }
        Ok(at)
    }

    /// The basic iterative method in the L-infinity ball of `eps`, in the run's convention.
    pub fn bim(&self, aim: &Aim, eps: f64, settings: Bim) -> Result<Tensor> {
        let Bim { steps, step_size } = settings;
        self.pgd(aim, eps, Pgd { step_size, random_start: false, ..Pgd::new(steps) })
    }

    /// The momentum iterative method in the L-infinity ball of `eps`, in the run's convention.
    pub fn mi_fgsm(&self, aim: &Aim, eps: f64, settings: MiFgsm) -> Result<Tensor> {
        let convention = self.attacker.convention;
        let lengths = Pgd { step_size: settings.step_size, ..Pgd::new(settings.steps) };
        let (eps, step) = (pixels("eps", convention, eps)?, pixels("the step size", convention, lengths.step_in(eps))?);
        let decay = distance("the decay", super::Convention::Pixels, settings.decay)?;
        let gpu = self.attacker.gpu;
        let mut at = self.x.clone();
        let mut momentum = gpu.zeros(self.x.shape())?;
        for _ in 0..settings.steps {
            let slope = self.slope(&at, aim)?;
            let sums = reduce::each_image(gpu, Reduction::SumAbs, &slope)?;
            momentum = displace::momentum(gpu, &momentum, &slope, &sums, decay)?;
            let ball = Some(Ball { centre: &self.x, eps });
            at = Step { x: &at, length: aim.direction * step, ball }.along(gpu, &momentum)?;
        }
        self.checked(at, Bound::LInf(eps))
    }

    /// R+FGSM in the L-infinity ball of `eps`, in the run's convention.
    pub fn r_fgsm(&self, aim: &Aim, eps: f64, settings: RFgsm) -> Result<Tensor> {
        let convention = self.attacker.convention;
        let first = settings.step_size.unwrap_or(eps / 2.0);
        let (first, eps) = (pixels("the step size", convention, first)?, pixels("eps", convention, eps)?);
        let gpu = self.attacker.gpu;
        // A random step beyond the ball is one to its border.
        let start = perturb::random_corner(gpu, &self.x, first.min(eps), self.stream(0))?;
        let (length, ball) = (aim.direction * (eps - first).max(0.0), Some(Ball { centre: &self.x, eps }));
        self.checked(self.step(aim, Step { x: &start, length, ball })?, Bound::LInf(eps))
    }

    /// The random numbers of the batch's first picture; those of the next are the next item's. Each restart has streams
    /// of its own.
    fn stream(&self, restart: u32) -> Source {
        let seed = self.attacker.seed.wrapping_add(u64::from(restart).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Source { seed, purpose: Purpose::Noise, launch: self.first as u32 }
    }

    /// A normal direction and a length uniform in [0, eps] for each picture, brought back into [0, 1].
    fn start_in_l2_ball(&self, eps: f32, source: Source) -> GpuResult<Tensor> {
        let gpu = self.attacker.gpu;
        let direction = gpu.empty(self.x.shape())?;
        noise::normal_of_images(gpu, source, &Quantiles::new(gpu)?, &direction)?;
        let squares = gpu.read(&reduce::each_image(gpu, Reduction::SumSquares, &direction)?)?;
        let size = (self.clean.len() / self.labels.len()) as u32;
        let length = |(number, squares): (usize, &f32)| {
            // The first word of the stream that the direction does not use.
            let stream = Stream::new(source.seed, source.purpose, source.launch.wrapping_add(number as u32));
            eps * unit(stream.word(size)) / squares.sqrt()
        };
        let lengths: Vec<f32> = squares.iter().enumerate().map(length).collect();
        displace::by(gpu, &self.x, &direction, &gpu.tensor([lengths.len()], &lengths)?)
    }
}
