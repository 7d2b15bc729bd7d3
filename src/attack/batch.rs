//! Pictures under attack, batch by batch.

use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, GpuError, Result as GpuResult, Tensor};
use crate::nn::{Mode, Network, Task};
use crate::ops::noise::Source;
use crate::ops::perturb;
use crate::random::Purpose;

use super::check::{self, Snapshot};
use super::{Aim, AttackError, Convention, Method, Result, Target, input_gradient, logits, pgd};

/// Attacks one model for the length of a run, and knows what the model was before.
pub struct Attacker<'a> {
    gpu: &'a Gpu,
    network: &'a Network,
    convention: Convention,
    seed: u64,
    before: Snapshot,
}

/// A length that makes sense in pixel units, as the kernels take it.
fn pixels(what: &'static str, convention: Convention, value: f64) -> Result<f32> {
    let inside = convention.in_pixels(value);
    if (0.0..=1.0).contains(&inside) { Ok(inside as f32) } else { Err(AttackError::Size { what, value }) }
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

    fn mode(&self, first: usize) -> Mode {
        match self.convention {
            Convention::Pixels => Mode::Evaluation,
            Convention::Lab => Mode::Training { seed: self.seed, step: first as u32 },
        }
    }

    /// After a forward pass in training mode, puts back what it moved.
    fn settle(&self) -> GpuResult<()> {
        match self.convention {
            Convention::Pixels => Ok(()),
            Convention::Lab => self.before.restore_buffers(self.gpu, self.network),
        }
    }
}

/// A batch of pictures under attack.
pub struct Batch<'a> {
    attacker: &'a Attacker<'a>,
    tape: Tape,
    input: Var,
    output: Var,
    x: Tensor,
    clean: Vec<f32>,
    labels: Vec<usize>,
    logits: Vec<f32>,
    classes: usize,
    first: usize,
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

    /// What [`Batch::gradient`] and [`Batch::pgd`] follow.
    pub fn aim(&self, target: Target) -> Result<Aim> {
        let labels: Vec<u32> = self.wanted(target)?.into_iter().map(|class| class as u32).collect();
        let direction = if target == Target::Untargeted { 1.0 } else { -1.0 };
        Ok(Aim { labels: self.attacker.gpu.words(&labels)?, direction })
    }

    /// The gradient of the summed cross-entropy at the clean pictures, [N, C, H, W]. It serves for any epsilon.
    pub fn gradient(&self, aim: &Aim) -> Result<Tensor> {
        let loss = self.tape.cross_entropy(self.output, &aim.labels, 0.0)?;
        let gradients = self.tape.backward(loss, &[self.input])?;
        let found = gradients.of(self.input).cloned();
        Ok(found.ok_or_else(|| GpuError::operand("attack", "the loss does not depend on the pixels"))?)
    }

    /// One step of `eps`, in the run's convention, along the gradient that [`Batch::gradient`] found for this aim.
    pub fn fgsm(&self, aim: &Aim, gradient: &Tensor, eps: f64) -> Result<Tensor> {
        let eps = pixels("eps", self.attacker.convention, eps)?;
        self.checked(perturb::step(self.attacker.gpu, &self.x, gradient, aim.direction * eps, None)?, eps)
    }

    /// Projected gradient descent in the ball of `eps`, in the run's convention.
    pub fn pgd(&self, aim: &Aim, eps: f64, settings: super::Pgd) -> Result<Tensor> {
        let Attacker { gpu, network, convention, seed, .. } = *self.attacker;
        let step = pixels("the step size", convention, settings.step_in(eps))?;
        let eps = pixels("eps", convention, eps)?;
        let start = Source { seed, purpose: Purpose::Noise, launch: self.first as u32 };
        let moved = pgd(gpu, &self.x, settings, (eps, step, aim.direction), start, |at| {
            let slope = input_gradient(gpu, network, at, &aim.labels, self.attacker.mode(self.first))?;
            self.attacker.settle()?;
            Ok(slope)
        })?;
        self.checked(moved, eps)
    }

    /// Either method towards one target.
    pub fn attack(&self, method: Method, target: Target, eps: f64) -> Result<Tensor> {
        let aim = self.aim(target)?;
        match method {
            Method::Fgsm => self.fgsm(&aim, &self.gradient(&aim)?, eps),
            Method::Pgd(settings) => self.pgd(&aim, eps, settings),
        }
    }

    fn checked(&self, moved: Tensor, eps: f32) -> Result<Tensor> {
        let size = self.clean.len() / self.labels.len();
        check::pictures(&self.clean, &self.attacker.gpu.read(&moved)?, size, self.first, eps)?;
        Ok(moved)
    }
}
