//! The stages of a run: their names, what people and keys are told of them, and how much work they are.

use serde_json::{Value, json};

use crate::attack::Convention;
use crate::data::DataSet;
use crate::lab::results::Variant;

use super::plan::Recipe;
use super::stage::{Planned, Stages};
use super::{WEIGHTS, attacks};

/// Work of a model on one picture beside training lenet on it, as measured on processors: a training step, and a pass
/// forward. For the time left only; what a run measures puts it right.
const COST: [(&str, f64, f64); 4] = [("lenet", 1.0, 0.4), ("lab", 75.0, 25.0), ("ae3", 2.0, 0.8), ("ae4", 2.6, 1.1)];

/// A gradient by the pixels beside a training step.
const GRADIENT: f64 = 0.9;

fn cost(model: &str) -> (f64, f64) {
    let model = model.trim_end_matches("-lab");
    COST.iter().find(|(name, ..)| *name == model).map_or((1.0, 0.3), |&(_, step, forward)| (step, forward))
}

/// A word of a command line, in quotes where a shell would take it apart.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:,@%".contains(letter);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// What is to be done, on which pictures, with results where.
pub struct Order<'a> {
    pub recipe: &'a Recipe,
    pub data: &'a DataSet,
    /// Fingerprint of the pictures.
    pub pictures: &'a str,
    /// The folder of the run as a command line names it.
    pub out: String,
    /// Whether the plan uses all training pictures and all test pictures, as the other commands do.
    pub whole: [bool; 2],
}

impl Order<'_> {
    /// The weights that a training stage leaves, as a word of a command line.
    fn weights(&self, trained: &str) -> String {
        quoted(&format!("{}/{}", self.out, Stages::place(trained, WEIGHTS)))
    }

    /// The key of a stage that uses the pictures.
    fn key(&self, what: &str, mut more: Value) -> Value {
        more["what"] = json!(what);
        more["pictures"] = json!(self.pictures);
        more
    }

    fn train_command(&self, model: &str, epochs: u32, rate: f64, seed: u64, more: &str, stage: &str) -> String {
        let plan = &self.recipe.plan;
        let (data, batch) = (quoted(&plan.data), plan.batch);
        let limit = |whole: bool, set: &str, count: usize| {
            if whole { String::new() } else { format!(" --{set}-images {count}") }
        };
        let train = limit(self.whole[0], "train", self.data.train.count());
        let test = limit(self.whole[1], "test", self.data.test.count());
        format!(
            "shadegrad train --model {model} --data {data}{train}{test} --epochs {epochs} --batch {batch} --lr {rate}{more} \
             --seed {seed} --out out/{stage}"
        )
    }

    /// `ood` takes as many of FakeData as of the test set, and begins with the same picture.
    fn score_command(&self, trained: &str, stage: &str) -> Option<String> {
        let plan = &self.recipe.plan;
        let count = self.data.test.count();
        (count == plan.ood_images).then(|| {
            let limit = if self.whole[1] { String::new() } else { format!(" --count {count}") };
            let (weights, data) = (self.weights(trained), quoted(&plan.data));
            format!("shadegrad ood --weights {weights} --data {data} --ood fake{limit} --out out/{stage}")
        })
    }

    /// FGSM at every epsilon; with the table, if it is of the last one and of the same pictures. PGD is another command.
    fn attack_command(&self, trained: &str, images: usize, compat: bool, stage: &str) -> String {
        let (recipe, plan) = (self.recipe, &self.recipe.plan);
        let eps: Vec<String> = plan.attack_eps.iter().map(|eps| format!("{eps}/255")).collect();
        let same = plan.attack_eps.last() == Some(&plan.shown_eps) && recipe.table_images >= images;
        format!(
            "shadegrad attack --weights {} --data {} --eps {} --count {images} --seed {}{}{} --out out/{stage}",
            self.weights(trained),
            quoted(&plan.data),
            eps.join(","),
            plan.seeds[0],
            if same { " --table" } else { "" },
            if compat { " --lab-compat" } else { "" },
        )
    }

    pub fn train(&self, variant: &Variant, seed: u64) -> Planned {
        let plan = &self.recipe.plan;
        let name = format!("train-{}-seed{seed}", variant.name);
        let robust = variant.eps > 0.0;
        let ratio = plan.adversarial_ratio;
        let (step, forward) = cost(&plan.model);
        // An attack is a pass forward and most of one backward, then there are two batches to learn from, and each epoch
        // ends with more attacks.
        let step = if robust { 4.0 * step } else { step };
        let judged = (self.data.test.count() + 2 * plan.curve_images) as f64;
        let how = if robust { format!(", with FGSM at {}/255", variant.eps) } else { String::new() };
        let more = if robust {
            format!(" --adv fgsm --adv-eps {}/255 --adv-ratio {ratio}", variant.eps)
        } else {
            String::new()
        };
        Planned {
            title: format!("Train {} on {}{how}, seed {seed}", plan.model, plan.data_name),
            command: Some(self.train_command(&plan.model, plan.epochs, plan.rate, seed, &more, &name)),
            key: self.key(
                "train a classifier",
                json!({
                    "model": plan.model,
                    "epochs": plan.epochs,
                    "batch": plan.batch,
                    "rate": plan.rate,
                    "seed": seed,
                    "eps": variant.eps,
                    "ratio": robust.then_some(ratio),
                    "curve_images": plan.curve_images,
                }),
            ),
            weight: f64::from(plan.epochs) * (self.data.train.count() as f64 * step + judged * forward),
            name,
        }
    }

    pub fn score(&self, variant: &Variant, seed: u64) -> Planned {
        let plan = &self.recipe.plan;
        let name = format!("ood-{}-seed{seed}", variant.name);
        Planned {
            title: format!("Score {} {}, seed {seed}, against FakeData", plan.model, variant.name),
            command: self.score_command(&self.train(variant, seed).name, &name),
            key: self.key("score a classifier", json!({ "ood_images": plan.ood_images })),
            weight: (self.data.test.count() + plan.ood_images) as f64 * cost(&plan.model).1,
            name,
        }
    }

    /// Name and learning rate of an autoencoder: ours, or the one trained as the lab did.
    pub fn autoencoder(&self, compat: bool) -> (String, f64) {
        let (name, recipe) = (&self.recipe.plan.autoencoder, self.recipe);
        if compat { (format!("{name}-lab"), recipe.compat_rate) } else { (name.clone(), recipe.autoencoder_rate) }
    }

    pub fn train_autoencoder(&self, compat: bool) -> Planned {
        let plan = &self.recipe.plan;
        let (model, rate) = self.autoencoder(compat);
        let name = format!("train-{model}");
        let (step, forward) = cost(&model);
        let (train, test) = (self.data.train.count() as f64, self.data.test.count() as f64);
        let (epochs, seed) = (plan.autoencoder_epochs, plan.seeds[0]);
        Planned {
            title: format!("Train {model} on {}{}", plan.data_name, if compat { ", as the lab did" } else { "" }),
            command: Some(self.train_command(&model, epochs, rate, seed, "", &name)),
            key: self.key(
                "train an autoencoder",
                json!({ "model": model, "epochs": epochs, "batch": plan.batch, "rate": rate, "seed": seed }),
            ),
            weight: f64::from(epochs) * (train * step + test * forward),
            name,
        }
    }

    pub fn score_autoencoder(&self, compat: bool) -> Planned {
        let plan = &self.recipe.plan;
        let (model, _) = self.autoencoder(compat);
        let name = format!("ood-{model}");
        Planned {
            title: format!("Score {model} against FakeData"),
            command: self.score_command(&format!("train-{model}"), &name),
            key: self.key("score an autoencoder", json!({ "ood_images": plan.ood_images })),
            weight: (self.data.test.count() + plan.ood_images) as f64 * cost(&model).1,
            name,
        }
    }

    /// The first seed's model of a variant under attack.
    pub fn attack(&self, variant: &Variant, convention: Convention) -> Planned {
        let (recipe, plan) = (self.recipe, &self.recipe.plan);
        let (step, forward) = cost(&plan.model);
        let images = recipe.attack_images.min(self.data.test.count());
        let compat = convention == Convention::Lab;
        let name = format!("attack-{}{}", variant.name, if compat { "-lab" } else { "" });
        // Two gradients for all epsilons, ten for the table, and PGD's; and what becomes of each attacked picture.
        let eps = plan.attack_eps.len() as f64;
        let gradient = GRADIENT * step;
        let fgsm = images as f64 * (2.0 * gradient + 2.0 * eps * forward);
        let table = images.min(recipe.table_images) as f64 * self.data.classes.len() as f64 * (gradient + forward);
        let pgd = images.min(recipe.pgd_images) as f64 * eps * f64::from(attacks::STEPS) * gradient;
        Planned {
            title: format!("Attack {} {}{}", plan.model, variant.name, if compat { " as the lab did" } else { "" }),
            command: Some(self.attack_command(&self.train(variant, plan.seeds[0]).name, images, compat, &name)),
            key: self.key(
                "attack a classifier",
                json!({
                    "variant": variant,
                    "seed": plan.seeds[0],
                    "convention": convention.name(),
                    "eps": plan.attack_eps,
                    "shown_eps": plan.shown_eps,
                    "images": [images, recipe.table_images, recipe.pgd_images],
                }),
            ),
            weight: fgsm + table + if compat { 0.0 } else { pgd },
            name,
        }
    }

    /// All stages in the order of the run.
    pub fn all(&self) -> Vec<Planned> {
        let plan = &self.recipe.plan;
        let mut stages = Vec::new();
        for variant in &plan.variants {
            for &seed in &plan.seeds {
                stages.push(self.train(variant, seed));
                stages.push(self.score(variant, seed));
            }
        }
        stages.extend(plan.variants.iter().map(|variant| self.attack(variant, Convention::Pixels)));
        stages.push(self.attack(&plan.variants[0], Convention::Lab));
        for compat in [false, true] {
            stages.push(self.train_autoencoder(compat));
            stages.push(self.score_autoencoder(compat));
        }
        stages
    }
}
