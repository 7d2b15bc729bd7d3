//! A made-up result of the lab: nothing was trained, but its numbers hang together as a run's do.

use shadegrad::data::{SIZE, fake_data, shapes};
use shadegrad::gpu::AdapterSummary;
use shadegrad::lab::results::*;
use shadegrad::ood::metrics::{self, Metrics};
use shadegrad::random::{Purpose, Stream};

/// What the result is made of.
pub struct Recipe {
    pub seeds: Vec<u64>,
    /// Multiples of 1/255; 0 is the baseline.
    pub eps: Vec<f64>,
    pub epochs: u32,
    pub compat: bool,
    pub pgd: bool,
    pub classes: Vec<String>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seeds: vec![0, 1, 2, 3, 4],
            eps: vec![0.0, 1.0, 2.0, 8.0],
            epochs: 15,
            compat: true,
            pgd: true,
            classes: shapes::CLASSES.map(str::to_owned).to_vec(),
        }
    }
}

/// Numbers from a counter: the same in every run.
struct Dice(Stream);

impl Dice {
    fn new(item: u32) -> Self {
        Self(Stream::new(77, Purpose::Test, item))
    }

    fn uniform(&mut self) -> f64 {
        f64::from(self.0.uniform())
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

pub fn shape(index: u32) -> Picture {
    let mut bytes = [0; SIZE];
    shapes::picture(1, index, &mut bytes);
    Picture(bytes.to_vec())
}

pub fn noise(index: u32) -> Picture {
    Picture(fake_data(0, index, 1).bytes)
}

fn changed(picture: &Picture, mut with: impl FnMut(usize, i32) -> i32) -> Picture {
    let change = |(at, &byte): (usize, &u8)| with(at, i32::from(byte)).clamp(0, 255) as u8;
    Picture(picture.0.iter().enumerate().map(change).collect())
}

/// A 3 x 3 mean: what a small autoencoder makes of a picture, about.
fn blurred(picture: &Picture) -> Picture {
    changed(picture, |at, _| {
        let (plane, y, x) = (at / 1024, at / 32 % 32, at % 32);
        let around = (y.saturating_sub(1)..=(y + 1).min(31))
            .flat_map(|y| (x.saturating_sub(1)..=(x + 1).min(31)).map(move |x| (y, x)));
        let values: Vec<i32> = around.map(|(y, x)| i32::from(picture.0[plane * 1024 + y * 32 + x])).collect();
        values.iter().sum::<i32>() / values.len() as i32
    })
}

/// Scores with these middles and widths, counted and judged.
pub fn facts(item: u32, id: (f64, f64), ood: (f64, f64), count: usize) -> ScoreFacts {
    let mut dice = Dice::new(item);
    let mut draw =
        |(middle, width): (f64, f64)| -> Vec<f64> { (0..count).map(|_| middle + width * dice.bell()).collect() };
    let (id, ood) = (draw(id), draw(ood));
    let all = || id.iter().chain(&ood).copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    const BINS: usize = 61;
    let counts = |scores: &[f64]| {
        let mut counts = vec![0; BINS];
        for score in scores {
            counts[(((score - low) / (high - low) * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        counts
    };
    let roc = metrics::roc_curve(&id, &ood).unwrap();
    let last = roc.len() - 1;
    let roc = (0..=256).map(|i| roc[i * last / 256]).collect();
    ScoreFacts {
        metrics: Metrics::from_scores(&id, &ood).unwrap(),
        histogram: Histogram {
            edges: (0..=BINS).map(|i| low + (high - low) * i as f64 / BINS as f64).collect(),
            id: counts(&id),
            ood: counts(&ood),
        },
        roc,
    }
}

fn detection(scores: Vec<(&str, ScoreFacts)>) -> Detection {
    Detection {
        ood: "FakeData".to_owned(),
        id_images: 2000,
        ood_images: 2000,
        scores: scores.into_iter().map(|(name, facts)| (name.to_owned(), facts)).collect(),
    }
}

fn classifier(recipe: &Recipe, at: usize, seed: u64) -> Classifier {
    let eps = recipe.eps[at];
    let mut dice = Dice::new(1000 * (at as u32 + 1) + seed as u32);
    let name = if eps == 0.0 { "baseline".to_owned() } else { format!("fgsm-{eps}") };
    let shift = if eps == 0.0 { dice.between(-0.8, 0.8) } else { dice.between(2.0, 2.8) };
    let item = 100 * (at as u32 + 1) + 10 * seed as u32;
    let scores = vec![
        ("max_logit", facts(item, (6.0, 2.0), (6.0 - shift, 0.5), 2000)),
        ("max_softmax", facts(item + 1, (-0.7, 0.3), (-0.7 - 0.2 * shift, 0.1), 2000)),
        ("energy", facts(item + 2, (6.6, 1.9), (6.7 - shift, 0.5), 2000)),
    ];
    let final_accuracy = 0.85 - 0.015 * eps + dice.between(-0.01, 0.01);
    let epochs = (1..=recipe.epochs)
        .map(|epoch| {
            let way = 1.0 - (-f64::from(epoch) / 4.0).exp();
            let overfitted = eps == 8.0 && seed == 1 && epoch > 11;
            let fgsm = 0.2 + (0.4 - 0.01 * eps) * way + if overfitted { 0.2 } else { 0.0 };
            EpochFacts {
                epoch,
                train_loss: 2.3 - 1.6 * way,
                test_accuracy: 0.1 + (final_accuracy - 0.1) * way,
                auroc: scores
                    .iter()
                    .map(|(name, facts)| {
                        let wander = dice.between(-0.1, 0.1) * (1.0 - 0.5 * way);
                        ((*name).to_owned(), (facts.metrics.auroc + wander).clamp(0.0, 1.0))
                    })
                    .collect(),
                fgsm_accuracy: (eps > 0.0).then_some(fgsm),
                pgd_accuracy: (eps > 0.0 && recipe.pgd).then_some(if overfitted { 0.03 } else { fgsm - 0.04 }),
                alarm: overfitted && epoch == 12,
            }
        })
        .collect();
    let logits = |high: f32| -> Vec<f32> {
        (0..10).map(|class| if class == 3 { high } else { -3.0 + class as f32 * 0.6 }).collect()
    };
    Classifier {
        variant: Variant { name: name.clone(), eps },
        seed,
        weights: format!("{name}-{seed}/last.safetensors"),
        test_accuracy: final_accuracy,
        train_loss: 0.7,
        images_per_second: 1736.4,
        epochs,
        detection: detection(scores),
        logits: (seed == recipe.seeds[0]).then(|| LogitPair {
            id: shape(3),
            id_label: 3,
            id_logits: logits(7.25),
            ood: noise(0),
            ood_logits: logits(4.5),
        }),
    }
}

fn reconstruction(picture: Picture, white: f64) -> Reconstruction {
    let rebuilt = blurred(&picture);
    let error = changed(&picture, |at, _| {
        let sum: i32 = (0..3)
            .map(|c| (i32::from(picture.0[c * 1024 + at % 1024]) - i32::from(rebuilt.0[c * 1024 + at % 1024])).pow(2))
            .sum();
        (f64::from(sum) / 65025.0 / white * 255.0) as i32
    });
    let sum: f64 = picture.0.iter().zip(&rebuilt.0).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    Reconstruction {
        original: picture,
        reconstruction: rebuilt,
        error,
        error_white: white,
        mse: sum / SIZE as f64 / 65025.0,
    }
}

fn autoencoder(item: u32, ood_middle: f64) -> Autoencoder {
    Autoencoder {
        weights: "autoencoder/last.safetensors".to_owned(),
        epochs: 10,
        test_mse: 0.00487,
        detection: detection(vec![("neg_mse", facts(item, (-0.005, 0.002), (ood_middle, 0.001), 2000))]),
        id_examples: (0..8).map(|index| reconstruction(shape(index), 0.3)).collect(),
        ood_examples: (0..8).map(|index| reconstruction(noise(index), 0.3)).collect(),
    }
}

fn attacks(recipe: &Recipe, at: usize, convention: &str) -> Attacks {
    let eps = recipe.eps[at];
    let mut dice = Dice::new(5000 + at as u32);
    let clean_accuracy = 0.85 - 0.015 * eps;
    let by_eps = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0].map(|k: f64| {
        let kept = (-k / (if convention == "lab" { 2.2 } else { 1.5 } + eps)).exp();
        ByEps {
            eps: k / 255.0,
            accuracy: clean_accuracy * kept,
            success: 1.0 - kept,
            targeted_success: 0.5 * (1.0 - kept),
            pgd_accuracy: recipe.pgd.then_some(clean_accuracy * kept * kept),
        }
    });
    let mut share = |is_target: bool| is_target.then(|| dice.uniform().powi(2));
    let targets: Vec<Vec<_>> = (0..10).map(|label| (0..10).map(|target| share(label != target)).collect()).collect();
    let victims = (0..8).map(|index: u32| {
        let clean = shape(20 + index);
        let sign: Vec<i32> = (0..SIZE).map(|_| if dice.uniform() < 0.5 { -8 } else { 8 }).collect();
        Victim {
            index: 20 + index as usize,
            label: index as usize % 10,
            eps: 8.0 / 255.0,
            target: (index % 3 == 2).then_some((index as usize + 1) % 10),
            perturbation: changed(&clean, |at, _| 128 + 15 * sign[at]),
            factor: 15.0,
            adversarial: changed(&clean, |at, byte| byte + sign[at]),
            clean,
            predicted_clean: index as usize % 10,
            confidence_clean: dice.between(0.5, 1.0),
            predicted_adversarial: (index as usize + 1) % 10,
            confidence_adversarial: dice.between(0.4, 1.0),
        }
    });
    Attacks {
        variant: Variant { name: if eps == 0.0 { "baseline".to_owned() } else { format!("fgsm-{eps}") }, eps },
        seed: recipe.seeds[0],
        images: 2000,
        pgd_images: if recipe.pgd { 200 } else { 0 },
        table_images: 500,
        convention: convention.to_owned(),
        clean_accuracy,
        by_eps: by_eps.to_vec(),
        targets,
        victims: victims.collect(),
    }
}

/// The whole result.
pub fn result(recipe: &Recipe) -> LabResult {
    let both = || (0..recipe.eps.len()).flat_map(|at| recipe.seeds.iter().map(move |&seed| (at, seed)));
    let classifiers: Vec<Classifier> = both().map(|(at, seed)| classifier(recipe, at, seed)).collect();
    let variants: Vec<Variant> = (0..recipe.eps.len()).map(|at| attacks(recipe, at, "pixels").variant).collect();
    let mut stages: Vec<Stage> = classifiers
        .iter()
        .map(|run| Stage {
            name: format!("train-{}-seed{}", run.variant.name, run.seed),
            title: format!("train {} with seed {}", run.variant.name, run.seed),
            command: Some(format!(
                "shadegrad train --model lenet --data shapes --epochs {} --seed {}",
                recipe.epochs, run.seed
            )),
            seconds: 71.3 + run.seed as f64,
            kept: run.seed == 2,
        })
        .collect();
    stages.push(Stage {
        name: "report".to_owned(),
        title: "write the report".to_owned(),
        command: None,
        seconds: 0.42,
        kept: false,
    });
    LabResult {
        version: "0.1.0".to_owned(),
        command: ["shadegrad", "lab", "--data", "shapes", "--out", "out"].map(str::to_owned).to_vec(),
        adapter: AdapterSummary {
            name: "llvmpipe (LLVM 15.0.6, 256 bits)".to_owned(),
            backend: "vulkan".to_owned(),
            driver: "llvmpipe Mesa 22.3.6 (LLVM 15.0.6)".to_owned(),
            device_type: "software".to_owned(),
        },
        kernel_choices: std::collections::BTreeMap::from([("conv2d".to_owned(), "subgroup".to_owned())]),
        plan: Plan {
            preset: "small".to_owned(),
            data: "shapes".to_owned(),
            data_name: "shapes".to_owned(),
            model: "lenet".to_owned(),
            autoencoder: "ae3".to_owned(),
            max_train: 20_000,
            max_test: 2000,
            epochs: recipe.epochs,
            autoencoder_epochs: 10,
            batch: 128,
            rate: 1e-3,
            seeds: recipe.seeds.clone(),
            variants,
            adversarial_ratio: 0.5,
            attack_eps: vec![0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
            shown_eps: 8.0,
            ood_images: 2000,
            curve_images: 1000,
        },
        classes: recipe.classes.clone(),
        train_images: 20_000,
        test_images: 2000,
        id_samples: (0..20).map(shape).collect(),
        ood_samples: (0..20).map(noise).collect(),
        classifiers,
        autoencoder: autoencoder(9000, -0.078),
        autoencoder_compat: recipe.compat.then(|| autoencoder(9001, -0.009)),
        attacks: (0..recipe.eps.len()).map(|at| attacks(recipe, at, "pixels")).collect(),
        attacks_compat: recipe.compat.then(|| attacks(recipe, 0, "lab")),
        seconds: stages.iter().map(|stage| stage.seconds).sum(),
        stages,
    }
}
