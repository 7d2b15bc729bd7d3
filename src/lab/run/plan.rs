//! What `shadegrad lab` is to do: presets for a first look, a laptop's GPU and a night.

use crate::lab::LabError;
use crate::lab::results::{Plan, Variant};

/// A plan, and what decides its stages beside it.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub plan: Plan,
    /// Test pictures that are attacked with FGSM, and of those the first that are attacked towards every class, and
    /// the first that are attacked with ten steps.
    pub attack_images: usize,
    pub table_images: usize,
    pub pgd_images: usize,
    /// Learning rates of the autoencoders: ours, and the one trained as the lab did.
    pub autoencoder_rate: f64,
    pub compat_rate: f64,
}

/// The plans that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// For tests: everything once, on next to nothing.
    Tiny,
    /// The built-in pictures; minutes on two cores without a GPU.
    Demo,
    /// CIFAR-10 and a small network; minutes on a laptop's GPU.
    Quick,
    /// CIFAR-10 and the lab's network.
    Paper,
}

fn variants(eps: &[f64]) -> Vec<Variant> {
    let name = |eps: f64| if eps == 0.0 { "baseline".to_owned() } else { format!("fgsm-{eps}") };
    eps.iter().map(|&eps| Variant { name: name(eps), eps }).collect()
}

impl Preset {
    /// The name that `--preset` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Demo => "demo",
            Self::Quick => "quick",
            Self::Paper => "paper",
        }
    }

    /// What the preset does.
    pub fn recipe(self) -> Recipe {
        // All of CIFAR-10 by the lab's recipe; the others say where they differ.
        let plan = Plan {
            preset: self.name().to_owned(),
            data: "cifar10".to_owned(),
            data_name: String::new(),
            model: "lenet".to_owned(),
            autoencoder: "ae3".to_owned(),
            max_train: 50_000,
            max_test: 10_000,
            epochs: 15,
            autoencoder_epochs: 10,
            batch: 128,
            rate: 1e-3,
            seeds: vec![0, 1, 2],
            variants: variants(&[0.0, 2.0, 8.0]),
            adversarial_ratio: 0.5,
            attack_eps: vec![1.0, 2.0, 4.0, 8.0],
            shown_eps: 8.0,
            ood_images: 10_000,
            curve_images: 2_000,
        };
        let quick = Recipe {
            plan,
            attack_images: 10_000,
            table_images: 10_000,
            pgd_images: 2_000,
            autoencoder_rate: 1e-3,
            compat_rate: 1e-4,
        };
        let plan = quick.plan.clone();
        match self {
            Self::Quick => quick,
            Self::Paper => Recipe {
                plan: Plan {
                    model: "lab".to_owned(),
                    autoencoder: "ae4".to_owned(),
                    epochs: 50,
                    autoencoder_epochs: 20,
                    variants: variants(&[0.0, 2.0, 4.0]),
                    ..plan
                },
                table_images: 2_000,
                pgd_images: 1_000,
                ..quick
            },
            // Few pictures and steps: smaller batches and larger steps learn more from them. At 8/255 the robust model
            // would not leave chance in so few.
            Self::Demo => Recipe {
                plan: Plan {
                    data: "shapes".to_owned(),
                    max_train: 4_000,
                    max_test: 1_000,
                    epochs: 6,
                    autoencoder_epochs: 3,
                    batch: 64,
                    rate: 2e-3,
                    variants: variants(&[0.0, 4.0]),
                    shown_eps: 4.0,
                    ood_images: 1_000,
                    curve_images: 500,
                    ..plan
                },
                attack_images: 1_000,
                table_images: 1_000,
                pgd_images: 200,
                autoencoder_rate: 3e-3,
                compat_rate: 1e-3,
            },
            Self::Tiny => Recipe {
                plan: Plan {
                    data: "shapes".to_owned(),
                    max_train: 256,
                    max_test: 100,
                    epochs: 1,
                    autoencoder_epochs: 1,
                    batch: 64,
                    seeds: vec![0, 1],
                    variants: variants(&[0.0, 8.0]),
                    attack_eps: vec![8.0],
                    ood_images: 100,
                    curve_images: 50,
                    ..plan
                },
                attack_images: 30,
                table_images: 20,
                pgd_images: 10,
                ..quick
            },
        }
    }
}

impl Recipe {
    /// Whether the numbers make sense together; presets do, a caller's changes may not.
    pub fn check(&self) -> Result<(), LabError> {
        let plan = &self.plan;
        let counts = [plan.max_train, plan.max_test, plan.ood_images, plan.curve_images, self.attack_images];
        let problem = if plan.seeds.is_empty() || plan.variants.is_empty() {
            "the lab needs at least one seed and one variant"
        } else if plan.epochs == 0 || plan.autoencoder_epochs == 0 {
            "the lab needs at least one epoch"
        } else if counts.contains(&0) || plan.batch == 0 {
            "the lab needs at least one picture of each set, and batches of at least one"
        } else {
            return Ok(());
        };
        Err(LabError::Usage(problem.to_owned()))
    }
}
