//! The attacks' own options.

use clap::ValueEnum;

use crate::attack::{Bim, CarliniWagner, DeepFool, Method, MiFgsm, Norm, Pgd, RFgsm};
use crate::lab::LabError;

use super::super::{distance, length};
use super::shown;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// One step of eps along the gradient's sign (Goodfellow et al. 2015)
    Fgsm,
    /// The same after a random step of half of eps (Tramèr et al. 2018)
    RFgsm,
    /// FGSM in small steps (Kurakin et al. 2017)
    Bim,
    /// The same from a random start, each step brought back into the ball (Madry et al. 2018)
    Pgd,
    /// BIM with a memory of the gradients before (Dong et al. 2018)
    MiFgsm,
    /// The nearest picture of another class, by straight borders (Moosavi-Dezfooli et al. 2016)
    Deepfool,
    /// The nearest picture of another class, by Adam (Carlini and Wagner 2017)
    Cw,
}

impl Name {
    fn is_minimal(self) -> bool {
        matches!(self, Self::Deepfool | Self::Cw)
    }

    fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ball {
    /// The largest change of a pixel
    Linf,
    /// The root of the sum of squared changes
    L2,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Attack; of several, with commas between, each is shown and each picture's worst case
    #[arg(long, default_value = "fgsm", value_delimiter = ',')]
    method: Vec<Name>,
    /// What eps is measured by: linf, or l2 for pgd, deepfool and cw [default: l2 with deepfool or cw, else linf]
    #[arg(long)]
    norm: Option<Ball>,
    /// How far each pixel may move, in pixel units on [0, 1]: k/255 or a decimal, several with commas between; with
    /// --norm l2, how far a picture may. Pictures are left of the last one [default: 1/255,2/255,4/255,8/255; of l2:
    /// 0.25,0.5,1; of deepfool and cw alone: any distance]
    #[arg(long, value_delimiter = ',', value_parser = distance, allow_hyphen_values = true)]
    eps: Vec<f64>,
    /// Steps of bim, pgd, mi-fgsm [default: 10], deepfool, cw [default: 50]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: Option<u32>,
    /// Length of a step of bim, pgd, mi-fgsm, as --eps [default: 2.5 eps / steps; of l2: 2 eps / steps], or of r-fgsm's
    /// random step [default: eps / 2]
    #[arg(long, value_parser = distance, allow_hyphen_values = true)]
    step_size: Option<f64>,
    /// Begin PGD at the picture itself (BIM) rather than anywhere in the ball
    #[arg(long)]
    no_random_start: bool,
    /// How often to begin PGD; each picture keeps its worst
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "no_random_start")]
    restarts: Option<u32>,
    /// What is left of mi-fgsm's memory at each step [default: 1]
    #[arg(long, value_parser = distance)]
    decay: Option<f64>,
    /// How much further deepfool goes than to the border [default: 0.02]
    #[arg(long, value_parser = distance)]
    overshoot: Option<f64>,
    /// Weight of cw's margin beside the squared distance [default: 1]
    #[arg(long, value_parser = distance)]
    c: Option<f64>,
    /// Margin that cw wants between logits (kappa) [default: 0]
    #[arg(long, value_parser = distance)]
    confidence: Option<f64>,
    /// Learning rate of cw [default: 0.01]
    #[arg(long, value_parser = length)]
    learning_rate: Option<f64>,
    /// Values of c that cw tries by bisection [default: 1; the paper's: 9, with --c 0.001 --steps 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=30))]
    searches: Option<u32>,
}

impl Args {
    /// The attacks and their epsilons.
    pub(super) fn methods(&self) -> Result<(Vec<Method>, Vec<f64>), LabError> {
        self.refuse_what_none_has()?;
        let norm = match self.norm {
            Some(Ball::Linf) => Norm::LInf,
            Some(Ball::L2) => Norm::L2,
            None if self.method.iter().any(|name| name.is_minimal()) => Norm::L2,
            None => Norm::LInf,
        };
        let methods: Vec<Method> = self.method.iter().map(|&name| self.method_of(name, norm)).collect();
        if let Some(other) = methods.iter().find(|method| method.norm() != norm) {
            let problem = format!(
                "--method {} is measured by {}, not by {}: attacks are compared by one norm (pgd knows both)",
                other.name(),
                other.norm().name(),
                norm.name()
            );
            return Err(LabError::Usage(problem));
        }
        let eps = if !self.eps.is_empty() {
            self.eps.clone()
        } else if norm == Norm::LInf {
            [1.0, 2.0, 4.0, 8.0].map(|k| k / 255.0).to_vec()
        } else if methods.iter().all(|method| method.is_minimal()) {
            vec![f64::INFINITY]
        } else {
            vec![0.25, 0.5, 1.0]
        };
        let lengths = eps.iter().map(|&eps| ("--eps", eps)).chain(self.step_size.map(|step| ("--step-size", step)));
        for (option, length) in lengths.filter(|_| norm == Norm::LInf) {
            if length > 1.0 {
                let length = shown(length, norm.name());
                let problem = format!(
                    "{option} {length}: pixels are in [0, 1], so a number from 0 to 1 is needed, such as 8/255"
                );
                return Err(LabError::Usage(problem));
            }
        }
        Ok((methods, eps))
    }

    fn method_of(&self, name: Name, norm: Norm) -> Method {
        let step_size = self.step_size;
        let steps = |default: u32| self.steps.unwrap_or(default);
        match name {
            Name::Fgsm => Method::Fgsm,
            Name::RFgsm => Method::RFgsm(RFgsm { step_size }),
            Name::Bim => Method::Bim(Bim { steps: steps(Bim::default().steps), step_size }),
            Name::Pgd => Method::Pgd(Pgd {
                norm,
                step_size,
                random_start: !self.no_random_start,
                restarts: self.restarts.unwrap_or(1),
                ..Pgd::new(steps(10))
            }),
            Name::MiFgsm => {
                let usual = MiFgsm::default();
                let decay = self.decay.unwrap_or(usual.decay);
                Method::MiFgsm(MiFgsm { steps: steps(usual.steps), step_size, decay })
            }
            Name::Deepfool => {
                let usual = DeepFool::default();
                let overshoot = self.overshoot.unwrap_or(usual.overshoot);
                Method::DeepFool(DeepFool { steps: steps(usual.steps), overshoot })
            }
            Name::Cw => {
                let usual = CarliniWagner::default();
                Method::CarliniWagner(CarliniWagner {
                    steps: steps(usual.steps),
                    c: self.c.unwrap_or(usual.c),
                    confidence: self.confidence.unwrap_or(usual.confidence),
                    rate: self.learning_rate.unwrap_or(usual.rate),
                    searches: self.searches.unwrap_or(usual.searches),
                })
            }
        }
    }

    /// An option that no method of the command line has is a mistake.
    fn refuse_what_none_has(&self) -> Result<(), LabError> {
        use Name::{Bim, Cw, Deepfool, MiFgsm, Pgd, RFgsm};
        let options: [(&str, bool, &[Name]); 10] = [
            ("--steps", self.steps.is_some(), &[Pgd, Bim, MiFgsm, Deepfool, Cw]),
            ("--step-size", self.step_size.is_some(), &[Pgd, Bim, MiFgsm, RFgsm]),
            ("--no-random-start", self.no_random_start, &[Pgd]),
            ("--restarts", self.restarts.is_some(), &[Pgd]),
            ("--decay", self.decay.is_some(), &[MiFgsm]),
            ("--overshoot", self.overshoot.is_some(), &[Deepfool]),
            ("--c", self.c.is_some(), &[Cw]),
            ("--confidence", self.confidence.is_some(), &[Cw]),
            ("--learning-rate", self.learning_rate.is_some(), &[Cw]),
            ("--searches", self.searches.is_some(), &[Cw]),
        ];
        for (option, given, owners) in options {
            if given && !self.method.iter().any(|name| owners.contains(name)) {
                let names: Vec<String> = owners.iter().map(|name| name.text()).collect();
                return Err(LabError::Usage(format!("{option} needs --method {}", names.join(" or "))));
            }
        }
        Ok(())
    }
}
