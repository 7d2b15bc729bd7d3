//! What a map is made of: its cells, the pictures they work on, and which of them a process takes.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::{self, DataSet, Images};
use crate::files::fingerprint;
use crate::lab::LabError;
use crate::lab::axis::in_255ths;
use crate::lab::score::Wanted;
use crate::lab::train::{Adversarial, Settings};
use crate::models;
use crate::nn::Task;
use crate::ood::scores::Score;

/// The defence that is none: training on clean pictures.
pub const NONE: &str = "none";

/// More than anybody trains.
pub const MAX_SEEDS: u64 = 10_000;
const MAX_CELLS: u64 = 100_000;

/// The seed of noise: one set of it for all cells.
const NOISE: u64 = 0;

/// All that decides what a map's numbers are, but for the pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub models: Vec<String>,
    /// `none`, which has no epsilon and one cell a seed, or what adversarial training has names for.
    pub defences: Vec<String>,
    /// Of the defences, in pixel units on [0, 1].
    pub eps: Vec<f64>,
    /// After which epochs a cell is measured, rising; it is trained to the last of them.
    pub epochs: Vec<u32>,
    /// How many seeds, counted from 0.
    pub seeds: u64,
    pub scores: Vec<String>,
    pub batch: usize,
    pub lr: f64,
    /// Of FGSM and PGD, in pixel units.
    pub attack_eps: Vec<f64>,
    /// The first so many test pictures are attacked.
    pub attack_images: usize,
}

/// One training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Its folder.
    pub name: String,
    pub model: String,
    pub defence: String,
    /// In pixel units; none for the defence `none`.
    pub eps: Option<f64>,
    pub seed: u64,
}

/// Refuses a list that is empty or names something twice.
fn each_once<T>(option: &str, values: impl IntoIterator<Item = T>) -> Result<(), LabError>
where
    T: Eq + Hash + fmt::Display,
{
    let mut seen = std::collections::HashSet::new();
    for value in values {
        if seen.contains(&value) {
            return Err(LabError::Usage(format!("{option} names {value} twice")));
        }
        seen.insert(value);
    }
    if seen.is_empty() { Err(LabError::Usage(format!("{option} needs at least one value"))) } else { Ok(()) }
}

impl Plan {
    /// The epsilons of a defence, in the plan's order.
    pub fn strengths(&self, defence: &str) -> Vec<Option<f64>> {
        if defence == NONE { vec![None] } else { self.eps.iter().map(|&eps| Some(eps)).collect() }
    }

    /// Every cell, in the order of their numbers: seed by seed, so that a map that is left early has whole seeds.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for seed in 0..self.seeds {
            for (model, defence) in
                self.models.iter().flat_map(|model| self.defences.iter().map(move |one| (model, one)))
            {
                for eps in self.strengths(defence) {
                    let strength = eps.map_or_else(String::new, |eps| format!("-{}", in_255ths(eps)));
                    cells.push(Cell {
                        name: format!("{model}-{defence}{strength}-seed{seed}"),
                        model: model.clone(),
                        defence: defence.clone(),
                        eps,
                        seed,
                    });
                }
            }
        }
        cells
    }

    /// How many cells there are, without making them, where nothing is named twice.
    fn size(&self) -> u64 {
        let none = u64::from(self.defences.iter().any(|defence| defence == NONE));
        let kinds = none + (self.defences.len() as u64 - none).saturating_mul(self.eps.len() as u64);
        kinds.saturating_mul(self.models.len() as u64).saturating_mul(self.seeds)
    }

    /// How a cell is trained.
    pub fn settings(&self, cell: &Cell) -> Result<Settings, LabError> {
        let epochs = self.epochs.last().copied().unwrap_or(0);
        let adversarial = cell.eps.map(|eps| Adversarial::named(&cell.defence, eps)).transpose()?;
        Ok(Settings { adversarial, ..Settings::plain(&cell.model, epochs, self.batch, self.lr, cell.seed) })
    }

    /// The scores, with their papers' settings.
    pub fn wanted(&self) -> Wanted {
        let chosen = |score: &Score| self.scores.iter().any(|name| name == score.name());
        Wanted { scores: Score::ALL.into_iter().filter(chosen).collect(), ..Wanted::default() }
    }

    /// Refuses what cannot be done, before anything is read, opened or made for it.
    pub fn check(&self) -> Result<(), LabError> {
        each_once("--model", &self.models)?;
        each_once("--defence", &self.defences)?;
        let numbers = |eps: &[f64]| eps.iter().map(|&eps| format!("{}/255", in_255ths(eps))).collect::<Vec<_>>();
        each_once("--eps", numbers(&self.eps))?;
        each_once("--attack-eps", numbers(&self.attack_eps))?;
        each_once("--epochs", &self.epochs)?;
        each_once("--score", &self.scores)?;
        if !(1..=MAX_SEEDS).contains(&self.seeds) {
            return Err(LabError::Usage(format!("--seeds must be 1 to {MAX_SEEDS}, not {}", self.seeds)));
        }
        if self.size() > MAX_CELLS {
            let problem = format!("a map of {} cells is too large: it may have {MAX_CELLS}", self.size());
            return Err(LabError::Usage(problem));
        }
        for model in &self.models {
            if models::architecture(model)?.task != Task::Classify {
                return Err(LabError::Usage(format!("a map is of classifiers (lenet, lab), not of '{model}'")));
            }
        }
        self.cells().iter().try_for_each(|cell| self.settings(cell)?.check())
    }
}

/// Where the pictures come from. Two machines may have the same ones in different places.
#[derive(Clone, Debug)]
pub struct Sources {
    pub data: String,
    pub ood: Vec<String>,
    /// At most so many of each set; of other pictures without a number, as many as test pictures.
    pub train_images: usize,
    pub test_images: usize,
    pub ood_images: Option<usize>,
}

/// A set of other pictures, by what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    pub name: String,
    pub images: usize,
    pub fingerprint: String,
}

/// The pictures of a map, by what they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pictures {
    pub data: String,
    pub train_images: usize,
    pub test_images: usize,
    pub fingerprint: String,
    pub ood: Vec<Outside>,
}

/// The pictures themselves.
pub struct Material {
    pub data: DataSet,
    pub ood: Vec<Images>,
    pub pictures: Pictures,
}

impl Sources {
    /// What a set of other pictures is called in files, whatever folder it is in.
    fn label(name: &str) -> &str {
        name.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or(name)
    }

    /// Names that can be told apart.
    pub fn check(&self) -> Result<(), LabError> {
        each_once("--ood", self.ood.iter().map(|name| Self::label(name)))
    }

    /// Reads everything. No device is needed for data that will not do.
    pub fn open(&self, plan: &Plan) -> Result<Material, LabError> {
        let data = data::open(&self.data)?.truncated(self.train_images, self.test_images);
        plan.wanted().check(Task::Classify, data.train.count())?;
        let count = self.ood_images.unwrap_or(data.test.count());
        let open = |name: &String| data::outside(name, &self.data, (NOISE, count));
        let ood = self.ood.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let outside = self.ood.iter().zip(&ood).map(|(name, images)| Outside {
            name: Self::label(name).to_owned(),
            images: images.count(),
            fingerprint: fingerprint([&images.bytes[..]]),
        });
        let pictures = Pictures {
            data: data.name.clone(),
            train_images: data.train.count(),
            test_images: data.test.count(),
            fingerprint: data.fingerprint(),
            ood: outside.collect(),
        };
        Ok(Material { data, ood, pictures })
    }
}

/// `map.json`: a map is this, and what differs in any of it is another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    pub version: String,
    pub plan: Plan,
    pub pictures: Pictures,
}

impl Map {
    /// Of this program.
    pub fn new(plan: Plan, pictures: Pictures) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), plan, pictures }
    }
}

/// The `index`-th of `of` shares of a map, counted from 1: the cells whose number, counted from 1, is `index`, `index` +
/// `of`, `index` + 2 `of` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    index: usize,
    of: usize,
}

impl Share {
    /// Whether the cell of this number, counted from 0, is one of them.
    pub fn has(self, number: usize) -> bool {
        number % self.of == self.index - 1
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let parts = text.split_once('/').and_then(|(index, of)| Some((number(index)?, number(of)?)));
        match parts {
            None => Err("a share i/n is needed, such as 3/30".to_owned()),
            Some((_, 0)) => Err("there is no share of 0".to_owned()),
            Some((0, of)) => {
                Err(format!("shares are counted from 1 to {of}: for a scheduler that counts from 0, add 1"))
            }
            Some((index, of)) if index > of => Err(format!("shares are counted from 1 to {of}")),
            Some((index, of)) => Ok(Self { index, of }),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// What is measured of a cell, under the names that the training loop keeps it by.
pub(super) type Flat = BTreeMap<String, f64>;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            models: vec!["lenet".to_owned()],
            defences: vec!["none".to_owned(), "fgsm".to_owned()],
            eps: vec![2.0 / 255.0, 0.01],
            epochs: vec![1, 2],
            seeds: 2,
            scores: vec!["energy".to_owned()],
            batch: 32,
            lr: 1e-3,
            attack_eps: vec![2.0 / 255.0],
            attack_images: 10,
        }
    }

    #[test]
    fn cells_are_named_by_what_they_are() {
        let names: Vec<String> = plan().cells().into_iter().map(|cell| cell.name).collect();
        let wanted = ["lenet-none-seed0", "lenet-fgsm-2-seed0", "lenet-fgsm-2.55-seed0", "lenet-none-seed1"];
        assert_eq!(names[..4], wanted);
        assert_eq!((names.len(), plan().size()), (6, 6));
        plan().check().unwrap();
    }

    #[test]
    fn shares_are_disjoint_and_whole() {
        for of in 1..9 {
            let mut seen = [0; 7];
            for index in 1..=of {
                let share: Share = format!("{index}/{of}").parse().unwrap();
                (0..7).filter(|&number| share.has(number)).for_each(|number| seen[number] += 1);
            }
            assert_eq!(seen, [1; 7]);
        }
        for (text, word) in [("0/3", "add 1"), ("4/3", "from 1 to 3"), ("1/0", "of 0"), ("3", "i/n"), ("a/b", "i/n")] {
            assert!(text.parse::<Share>().unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |change: &dyn Fn(&mut Plan), word: &str| {
            let mut plan = plan();
            change(&mut plan);
            let said = plan.check().unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        };
        refused(&|plan| plan.defences.push("none".to_owned()), "--defence names none twice");
        refused(&|plan| plan.eps.push(0.0078431), "--eps names 2/255 twice");
        refused(&|plan| plan.eps.push(0.0), "eps");
        refused(&|plan| plan.models = vec!["ae3".to_owned()], "'ae3'");
        refused(&|plan| plan.models = vec!["vgg".to_owned()], "'vgg'");
        refused(&|plan| plan.defences.push("prayer".to_owned()), "'prayer'");
        refused(&|plan| plan.epochs.clear(), "--epochs");
        refused(&|plan| plan.seeds = 0, "--seeds must be 1 to 10000, not 0");
        refused(&|plan| plan.seeds = u64::MAX, "not 18446744073709551615");
        let many = |plan: &mut Plan| {
            plan.eps = (1..100).map(|eps| f64::from(eps) / 255.0).collect();
            plan.seeds = MAX_SEEDS;
        };
        refused(&many, "a map of 1000000 cells");
    }
}
