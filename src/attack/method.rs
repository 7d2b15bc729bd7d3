//! The attacks' settings. A default is what the attack's paper or, where papers leave it to the reader, torchattacks 3.5
//! has; step sizes scale with epsilon, so that at torchattacks' epsilon (8/255, or 1 for L2) they are torchattacks'.

/// What the distance to a clean picture is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// The largest change of a pixel, in pixel units on [0, 1].
    LInf,
    /// The square root of the sum of squared changes, in pixel units: at most 55.4 for a picture of 3 x 32 x 32.
    L2,
}

impl Norm {
    /// The name in results and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LInf => "linf",
            Self::L2 => "l2",
        }
    }

    /// Steps of this share of the ball's diameter in all; a tenth of them for ten steps.
    fn default_step(self, eps: f64, steps: u32) -> f64 {
        let steps = f64::from(steps.max(1));
        match self {
            // Nothing lies further than 1 away.
            Self::LInf => (2.5 * eps / steps).min(1.0),
            Self::L2 => 2.0 * eps / steps,
        }
    }
}

/// Projected gradient descent (Madry et al. 2018). In the L2 ball a step goes along the gradient divided by its norm, and
/// a random start is a normal direction of a length uniform in [0, eps], as torchattacks has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pgd {
    pub norm: Norm,
    pub steps: u32,
    /// Length of a step in pixel units; without one, 2.5 eps / steps: far enough to cross the ball from any start
    /// (Madry et al. 2018), and a quarter of epsilon for ten steps; for L2, 2 eps / steps.
    pub step_size: Option<f64>,
    /// Begin anywhere in the ball rather than at the picture (without it this is BIM: Kurakin et al. 2017).
    pub random_start: bool,
    /// How often to begin: each picture keeps the first result that succeeds, or the one with the best loss. Without a
    /// random start there is one.
    pub restarts: u32,
}

impl Pgd {
    /// So many steps of the usual length in the L-infinity ball, from one random start.
    pub fn new(steps: u32) -> Self {
        Self { norm: Norm::LInf, steps, step_size: None, random_start: true, restarts: 1 }
    }

    /// The length of a step in a ball of `eps`, in the units of `eps`.
    pub fn step_in(&self, eps: f64) -> f64 {
        self.step_size.unwrap_or_else(|| self.norm.default_step(eps, self.steps))
    }
}

/// The basic iterative method (Kurakin et al. 2017): FGSM in small steps from the picture itself. Ten steps of a quarter
/// of epsilon, as torchattacks; the paper's are of 1/255, min(255 eps + 4, 1.25 x 255 eps) of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bim {
    pub steps: u32,
    /// As [`Pgd::step_size`].
    pub step_size: Option<f64>,
}

impl Default for Bim {
    fn default() -> Self {
        Self { steps: 10, step_size: None }
    }
}

/// The momentum iterative method (Dong et al. 2018): each step follows the sign of `decay` times the momentum before
/// plus the gradient divided by its L1 norm. Decay 1 as in the paper; steps as torchattacks (the paper's are eps / 10).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MiFgsm {
    pub steps: u32,
    /// As [`Pgd::step_size`].
    pub step_size: Option<f64>,
    pub decay: f64,
}

impl Default for MiFgsm {
    fn default() -> Self {
        Self { steps: 10, step_size: None, decay: 1.0 }
    }
}

/// R+FGSM (Tramèr et al. 2018): a step of `step_size` (without one, eps / 2, as in the paper) along random signs, then
/// one of eps - `step_size` along the gradient's there. (torchattacks goes on with `steps` steps of `step_size`.)
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RFgsm {
    pub step_size: Option<f64>,
}

/// DeepFool by the L2 norm (Moosavi-Dezfooli et al. 2016): to the nearest of the classes' borders as if they were
/// straight, again and again, each time `1 + overshoot` as far, until the prediction is no longer the label. The
/// paper's settings. It has no epsilon and no target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeepFool {
    pub steps: u32,
    pub overshoot: f64,
}

impl Default for DeepFool {
    fn default() -> Self {
        Self { steps: 50, overshoot: 0.02 }
    }
}

/// Carlini and Wagner's L2 attack (2017): Adam on w, with pixels (tanh w + 1) / 2, for the squared distance plus `c`
/// times max(margin, -confidence); the nearest picture on the way that succeeds is kept. Defaults as torchattacks; the
/// paper takes 10,000 steps for each of 9 values of `c`, found by bisection from 0.001. It has no epsilon.
///
/// torchattacks counts a 0 among the other classes' logits, ignores `confidence` when it asks what succeeded, and ends
/// a whole batch when its cost no longer falls; here it is as in the paper, and a picture does not depend on its batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CarliniWagner {
    pub steps: u32,
    /// The first `c`.
    pub c: f64,
    /// How much larger the wanted logit must be (kappa).
    pub confidence: f64,
    /// Adam's learning rate on w.
    pub rate: f64,
    /// Values of `c` to try for each picture: bisection, and ten times as much where nothing has succeeded yet.
    pub searches: u32,
}

impl Default for CarliniWagner {
    fn default() -> Self {
        Self { steps: 50, c: 1.0, confidence: 0.0, rate: 0.01, searches: 1 }
    }
}

/// Which attack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// One step of epsilon along the gradient's sign.
    Fgsm,
    RFgsm(RFgsm),
    Bim(Bim),
    Pgd(Pgd),
    MiFgsm(MiFgsm),
    DeepFool(DeepFool),
    CarliniWagner(CarliniWagner),
}

impl Method {
    /// The name in results and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fgsm => "fgsm",
            Self::RFgsm(_) => "r-fgsm",
            Self::Bim(_) => "bim",
            Self::Pgd(_) => "pgd",
            Self::MiFgsm(_) => "mi-fgsm",
            Self::DeepFool(_) => "deepfool",
            Self::CarliniWagner(_) => "cw",
        }
    }

    /// What its distances are measured by.
    pub fn norm(self) -> Norm {
        match self {
            Self::Pgd(pgd) => pgd.norm,
            Self::DeepFool(_) | Self::CarliniWagner(_) => Norm::L2,
            _ => Norm::LInf,
        }
    }

    /// Whether it looks for the nearest picture at any distance, rather than within an epsilon.
    pub fn is_minimal(self) -> bool {
        matches!(self, Self::DeepFool(_) | Self::CarliniWagner(_))
    }

    /// How many gradients of each picture it takes; of DeepFool, at the most.
    pub fn steps(self, classes: usize) -> usize {
        match self {
            Self::Fgsm | Self::RFgsm(_) => 1,
            Self::Bim(bim) => bim.steps as usize,
            Self::Pgd(pgd) => pgd.steps as usize * pgd.restarts.max(1) as usize,
            Self::MiFgsm(mi) => mi.steps as usize,
            Self::DeepFool(deepfool) => deepfool.steps as usize * (classes + 1),
            Self::CarliniWagner(cw) => cw.steps as usize * cw.searches as usize,
        }
    }
}
