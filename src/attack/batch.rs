//! Pictures under attack, batch by batch.

use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, GpuError, Result as GpuResult, Tensor};
use crate::nn::{Mode, Network, Task};
use crate::ops::perturb::Step;
use crate::ops::select;

use super::check::{self, Bound, Snapshot};
use super::{Aim, AttackError, Convention, Method, Result, Target, input_gradient, logits, slope, step_along_signs};

/// Attacks one model for the length of a run, and knows what the model was before.
pub struct Attacker<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) network: &'a Network,
    pub(super) convention: Convention,
    pub(super) seed: u64,
    before: Snapshot,
}

/// A length that makes sense in pixel units, as the kernels take it.
pub(super) fn pixels(what: &'static str, convention: Convention, value: f64) -> Result<f32> {
    let inside = convention.in_pixels(value);
    if (0.0..=1.0).contains(&inside) { Ok(inside as f32) } else { Err(AttackError::Size { what, value }) }
}

/// A length that may be larger, as those of the L2 norm are.
pub(super) fn distance(what: &'static str, convention: Convention, value: f64) -> Result<f32> {
    let inside = convention.in_pixels(value) as f32;
    if inside >= 0.0 && inside.is_finite() { Ok(inside) } else { Err(AttackError::Negative { what, value }) }
}

impl<'a> Attacker<'a> {
    /// Makes ready to attack a classifier; `seed` decides random starts.
    pub fn new(gpu: &'a Gpu, network: &'a Network, convention: Convention, seed: u64) -> Result<Self> {
        if network.architecture().task != Task::Classify {
            return Err(AttackError::NotAClassifier { model: network.architecture().name.clone() });
        }
        Ok(Self { gpu, network, convention, seed, before: Snapshot::of(gpu, network)? })
    }

    /// Puts pictures `x` [N, C, H, W] with values in [0, 1] under attack. The first of them is number `first` of its
    /// set: random starts and errors go by that number. One forward pass serves for gradients towards any target.
    pub fn batch(&self, x: &Tensor, labels: &[u8], first: usize) -> Result<Batch<'_>> {
        let tape = Tape::new(self.gpu);
        let (bound, input) = (self.network.bind(&tape)?, tape.leaf(x));
        let output = self.network.forward(&tape, &bound, input, self.mode(first))?;
        self.settle()?;
        let shape = tape.value(output)?.shape();
        let classes = shape.dims()[1];
        let labels: Vec<usize> = labels.iter().map(|&label| usize::from(label)).collect();
        if labels.len() != shape.dims()[0] {
            let problem = format!("{} labels for pictures of shape {}", labels.len(), x.shape());
            return Err(GpuError::operand("attack", problem).into());
        }
        if let Some(&class) = labels.iter().find(|&&label| label >= classes) {
            return Err(AttackError::NoSuchClass { class, classes });
        }
        let clean = self.gpu.read(x)?;
        // In training mode the graph's logits are not what the model says of a picture.
        let logits = match self.convention {
            Convention::Pixels => self.gpu.read(&tape.value(output)?)?,
            Convention::Lab => logits(self.gpu, self.network, x)?,
        };
        check::logits(&logits, classes, first)?;
        Ok(Batch { attacker: self, tape, input, output, x: x.clone(), clean, labels, logits, classes, first })
    }

    /// Checks that weights and buffers are what they were when the run began.
    pub fn finish(self) -> Result<()> {
        self.before.compare(self.gpu, self.network)
    }

    pub(super) fn mode(&self, first: usize) -> Mode {
        match self.convention {
            Convention::Pixels => Mode::Evaluation,
            Convention::Lab => Mode::Training { seed: self.seed, step: first as u32 },
        }
    }

    /// After a forward pass in training mode, puts back what it moved.
    pub(super) fn settle(&self) -> GpuResult<()> {
        match self.convention {
            Convention::Pixels => Ok(()),
            Convention::Lab => self.before.restore_buffers(self.gpu, self.network),
        }
    }
}

/// A batch of pictures under attack.
pub struct Batch<'a> {
    pub(super) attacker: &'a Attacker<'a>,
    tape: Tape,
    input: Var,
    output: Var,
    pub(super) x: Tensor,
    pub(super) clean: Vec<f32>,
    pub(super) labels: Vec<usize>,
    logits: Vec<f32>,
    pub(super) classes: usize,
    pub(super) first: usize,
}

impl Batch<'_> {
    /// The logits of the clean pictures in evaluation mode, [N, classes].
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The logits of these pictures after an attack, in evaluation mode, [N, classes].
    pub fn logits_of(&self, moved: &Tensor) -> Result<Vec<f32>> {
        let found = logits(self.attacker.gpu, self.attacker.network, moved)?;
        check::logits(&found, self.classes, self.first)?;
        Ok(found)
    }

    /// The clean pixels, picture after picture.
    pub fn pixels(&self) -> &[f32] {
        &self.clean
    }

    /// How many classes the model tells apart.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class that each picture is to become (for [`Target::Untargeted`]: to be no longer, its label).
    pub fn wanted(&self, target: Target) -> Result<Vec<usize>> {
        let classes = self.classes;
        if let Target::Class(class) = target
            && class >= classes
        {
            return Err(AttackError::NoSuchClass { class, classes });
        }
        let rows = self.labels.iter().zip(self.logits.chunks_exact(classes));
        let wanted = rows.map(|(&label, row)| match target {
            Target::Untargeted => label,
            Target::Next => (label + 1) % classes,
            Target::LeastLikely => {
                (0..classes).fold(0, |least, class| if row[class] < row[least] { class } else { least })
            }
            Target::Class(class) => class,
        });
        Ok(wanted.collect())
    }

    /// What [`Batch::gradient`] and the attacks follow.
    pub fn aim(&self, target: Target) -> Result<Aim> {
        let wanted = self.wanted(target)?;
        let labels: Vec<u32> = wanted.iter().map(|&class| class as u32).collect();
        let direction = if target == Target::Untargeted { 1.0 } else { -1.0 };
        Ok(Aim { labels: self.attacker.gpu.words(&labels)?, wanted, direction })
    }

    /// The gradient of the summed cross-entropy at the clean pictures, [N, C, H, W]. It serves for any epsilon.
    pub fn gradient(&self, aim: &Aim) -> Result<Tensor> {
        let start = self.tape.cross_entropy_start(self.output, &aim.labels, 0.0)?;
        Ok(slope(&self.tape, start, self.input)?)
    }

    /// One step of `eps`, in the run's convention, along the gradient that [`Batch::gradient`] found for this aim.
    pub fn fgsm(&self, aim: &Aim, gradient: &Tensor, eps: f64) -> Result<Tensor> {
        let eps = pixels("eps", self.attacker.convention, eps)?;
        let step = Step { x: &self.x, length: aim.direction * eps, ball: None };
        self.checked(step.along(self.attacker.gpu, gradient)?, Bound::LInf(eps))
    }

    /// The gradient at `at`, in the run's mode.
    pub(super) fn slope(&self, at: &Tensor, aim: &Aim) -> GpuResult<Tensor> {
        let Attacker { gpu, network, .. } = *self.attacker;
        let slope = input_gradient(gpu, network, at, &aim.labels, self.attacker.mode(self.first))?;
        self.attacker.settle()?;
        Ok(slope)
    }

    /// A step along the signs of the gradient at its pixels, in the run's mode.
    pub(super) fn step(&self, aim: &Aim, step: Step<'_>) -> GpuResult<Tensor> {
        let Attacker { gpu, network, .. } = *self.attacker;
        let begin = |tape: &Tape, logits| tape.cross_entropy_start(logits, &aim.labels, 0.0);
        let moved = gpu.empty(step.x.shape())?;
        step_along_signs(gpu, (network, self.attacker.mode(self.first)), begin, step, &moved)?;
        self.attacker.settle()?;
        Ok(moved)
    }

    /// Any method towards one target, at each `eps` in turn (the run's convention, the method's norm). A method that
    /// looks for the nearest picture at any distance does so once: at each epsilon a picture is what was found, or, if
    /// that is further away, clean; an infinite one keeps all.
    pub fn attack_at(&self, method: Method, target: Target, eps: &[f64]) -> Result<Vec<Tensor>> {
        let aim = self.aim(target)?;
        let nearest = match method {
            Method::Fgsm => {
                let gradient = self.gradient(&aim)?;
                return eps.iter().map(|&eps| self.fgsm(&aim, &gradient, eps)).collect();
            }
            Method::RFgsm(settings) => return eps.iter().map(|&eps| self.r_fgsm(&aim, eps, settings)).collect(),
            Method::Bim(settings) => return eps.iter().map(|&eps| self.bim(&aim, eps, settings)).collect(),
            Method::Pgd(settings) => return eps.iter().map(|&eps| self.pgd(&aim, eps, settings)).collect(),
            Method::MiFgsm(settings) => return eps.iter().map(|&eps| self.mi_fgsm(&aim, eps, settings)).collect(),
            Method::DeepFool(_) if target != Target::Untargeted => {
                return Err(AttackError::NoTarget { method: method.name() });
            }
            Method::DeepFool(settings) => self.deepfool(settings)?,
            Method::CarliniWagner(settings) => self.carlini_wagner(&aim, settings)?,
        };
        eps.iter().map(|&eps| self.within(&nearest, eps)).collect()
    }

    /// Any method towards one target at one epsilon.
    pub fn attack(&self, method: Method, target: Target, eps: f64) -> Result<Tensor> {
        // One epsilon, one result.
        let mut all = self.attack_at(method, target, &[eps])?;
        all.pop().ok_or(AttackError::Negative { what: "eps", value: eps })
    }

    /// How far each picture is from the clean one by the L2 norm, in pixel units.
    pub fn distances(&self, moved: &Tensor) -> Result<Vec<f64>> {
        Ok(check::distances(&self.clean, &self.attacker.gpu.read(moved)?, self.size()))
    }

    /// `moved` where that is within an L2 distance of `eps`, clean elsewhere.
    fn within(&self, moved: &Tensor, eps: f64) -> Result<Tensor> {
        if eps == f64::INFINITY {
            return Ok(moved.clone());
        }
        let (gpu, eps) = (self.attacker.gpu, distance("eps", self.attacker.convention, eps)?);
        let near = |far: &f64| if *far <= f64::from(eps) { 1.0 } else { 0.0 };
        let chosen: Vec<f32> = self.distances(moved)?.iter().map(near).collect();
        let kept = gpu.empty(self.x.shape())?;
        gpu.copy(&self.x, &kept)?;
        select::replace(gpu, &gpu.tensor([chosen.len()], &chosen)?, moved, &kept)?;
        Ok(kept)
    }

    /// The worst of several attacks for each picture: of those that reach the target the first, else the first of all.
    /// `logits`: of each attack's pictures, in evaluation mode.
    pub fn worst(&self, target: Target, attacks: &[(&Tensor, &[f32])]) -> Result<Tensor> {
        let (gpu, aim) = (self.attacker.gpu, self.aim(target)?);
        let kept = gpu.empty(self.x.shape())?;
        gpu.copy(attacks.first().map_or(&self.x, |(moved, _)| moved), &kept)?;
        let mut reached = vec![false; self.labels.len()];
        for (moved, logits) in attacks {
            let mut chosen = vec![0.0; reached.len()];
            for (number, row) in logits.chunks_exact(self.classes).enumerate() {
                if !reached[number] && aim.is_reached(number, row) {
                    (reached[number], chosen[number]) = (true, 1.0);
                }
            }
            select::replace(gpu, &gpu.tensor([chosen.len()], &chosen)?, moved, &kept)?;
        }
        Ok(kept)
    }

    /// Elements of a picture.
    fn size(&self) -> usize {
        self.clean.len() / self.labels.len()
    }

    /// The pictures, after a look at what must hold of them.
    pub(super) fn checked(&self, moved: Tensor, bound: Bound) -> Result<Tensor> {
        check::pictures(&self.clean, &self.attacker.gpu.read(&moved)?, self.size(), self.first, bound)?;
        Ok(moved)
    }
}
