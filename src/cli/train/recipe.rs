//! Settings that go together: `shadegrad train --recipe`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::super::output;
use super::{Args, Plan, Rule};

/// What the settings are that are not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// The defaults that stand with each option
    Plain,
    /// Of the speed records: --epochs 30 --batch 1024 --lr 1.5 (less for a smaller batch, in proportion) --optimizer sgd
    /// --momentum 0.85 --nesterov --weight-decay 0.00133 --schedule triangular --peak 0.23 --smoothing 0.2 --flip
    /// --shift 2; with another --optimizer, rate, momentum and decay are the plain ones
    Fast,
}

/// The rate for a batch of [`BATCH`] pictures. Jordan (2024) has 11.5 for a sum of losses, under momentum 0.85 counted for
/// 1024 (1 + 1 / 0.15) pictures: 1.5 for their mean. His decay of 0.0153 is then an L2 penalty of 0.0153 / 11.5.
const RATE: f64 = 1.5;
const BATCH: u32 = 1024;
const DECAY: f64 = 0.00133;

impl Args {
    /// Fills in the recipe: what is not `given` on the command line is as it has it.
    pub fn by_recipe(mut self, given: &[String]) -> Self {
        let own = if self.model == "fast" { Recipe::Fast } else { Recipe::Plain };
        let recipe = *self.recipe.get_or_insert(own);
        if recipe == Recipe::Plain {
            return self;
        }
        let is_open = |name: &str| !given.iter().any(|given| given == name);
        let set = |name: &str, value: &mut f64, recipe: f64| {
            if is_open(name) {
                *value = recipe;
            }
        };
        if is_open("epochs") {
            self.epochs = 30;
        }
        if is_open("batch") {
            self.batch = BATCH;
        }
        if is_open("optimizer") {
            self.optimizer = Rule::Sgd;
        }
        if self.optimizer == Rule::Sgd {
            set("lr", &mut self.lr, RATE * f64::from(self.batch) / f64::from(BATCH));
            set("momentum", &mut self.momentum, 0.85);
            set("weight_decay", &mut self.weight_decay, DECAY);
            self.nesterov |= self.momentum > 0.0;
        }
        if is_open("schedule") {
            self.schedule = Plan::Triangular;
        }
        set("peak", &mut self.peak, 0.23);
        set("smoothing", &mut self.smoothing, 0.2);
        self.flip = true;
        if is_open("shift") {
            self.shift = 2;
        }
        self
    }

    /// Says what a recipe has filled in.
    pub fn say_recipe(&self) {
        if self.recipe != Some(Recipe::Fast) {
            return;
        }
        let rule = match self.optimizer {
            Rule::Sgd => format!("sgd --momentum {}{}", self.momentum, if self.nesterov { " --nesterov" } else { "" }),
            Rule::Adam => "adam".to_owned(),
            Rule::AdamW => "adamw".to_owned(),
        };
        let schedule = match self.schedule {
            Plan::Triangular => format!("triangular --peak {}", self.peak),
            Plan::Constant => "constant".to_owned(),
            Plan::Step => "step".to_owned(),
            Plan::Cosine => "cosine".to_owned(),
        };
        let line = format!(
            "recipe fast: --epochs {} --batch {} --lr {} --optimizer {rule} --weight-decay {} --schedule {schedule} \
             --smoothing {} --flip --shift {}",
            self.epochs, self.batch, self.lr, self.weight_decay, self.smoothing, self.shift
        );
        if self.json { output::complain(&line) } else { output::say(&line) }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser, parser::ValueSource};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(line: &str) -> Args {
        let matches = Line::command().try_get_matches_from(line.split(' ')).unwrap();
        let given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let given: Vec<String> = matches.ids().filter(given).map(ToString::to_string).collect();
        Line::from_arg_matches(&matches).unwrap().args.by_recipe(&given)
    }

    #[test]
    fn a_recipe_fills_in_what_is_not_given() {
        let all = parsed("train --model fast");
        assert_eq!((all.recipe, all.epochs, all.batch, all.lr), (Some(Recipe::Fast), 30, 1024, 1.5));
        assert!(all.optimizer == Rule::Sgd && all.schedule == Plan::Triangular && all.nesterov && all.flip);
        assert_eq!((all.momentum, all.weight_decay, all.peak), (0.85, 0.00133, 0.23));
        assert_eq!((all.smoothing, all.shift), (0.2, 2));

        let some = parsed("train --model fast --batch 128 --smoothing 0 --shift 0 --epochs 15 --schedule cosine");
        assert_eq!((some.batch, some.lr, some.smoothing, some.shift, some.epochs), (128, 0.1875, 0.0, 0, 15));
        assert!(some.schedule == Plan::Cosine && some.momentum == 0.85);
        assert_eq!(parsed("train --model fast --batch 128 --lr 0.5").lr, 0.5);
        assert!(!parsed("train --model fast --momentum 0").nesterov);

        let adam = parsed("train --model fast --optimizer adam");
        assert_eq!((adam.lr, adam.weight_decay, adam.nesterov, adam.batch), (1e-3, 0.0, false, 1024));

        // Each model may take either, and none but fast takes it unasked.
        assert_eq!(parsed("train --recipe fast").lr, 1.5);
        for line in ["train", "train --model lab", "train --model fast --recipe plain"] {
            let plain = parsed(line);
            assert_eq!((plain.recipe, plain.epochs, plain.batch, plain.lr), (Some(Recipe::Plain), 15, 128, 1e-3));
            assert!(plain.optimizer == Rule::Adam && !plain.flip && plain.shift == 0 && plain.smoothing == 0.0);
        }
    }
}
