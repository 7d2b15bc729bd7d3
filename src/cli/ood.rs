//! `shadegrad ood`.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::data::{self, DataSet};
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::detect::{self, Outcome, Pair};
use crate::lab::fitted;
use crate::lab::score::{Scorer, Wanted};
use crate::lab::train::write_json;
use crate::lock::FolderLock;
use crate::models;
use crate::nn::Network;
use crate::ood::fit::{Fit, Settings};
use crate::ood::scores::Score;
use crate::ops::choices;

use super::{Device, Subject, length, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Out-of-distribution pictures: noise (fake: torchvision's FakeData), the test pictures of a data set or of CIFAR-100 or
    /// SVHN (as downloaded, or their test.bin, test_32x32.mat, or folder), a folder of pictures, or 'held-out': the classes
    /// that --data NAME-without:CLASS,CLASS leaves out
    #[arg(
        long,
        default_value = "fake",
        value_name = "fake|uniform|gaussian|rademacher|constant|blobs|shapes|cifar10|cifar100|svhn|held-out|FILE|FOLDER"
    )]
    ood: String,
    /// At most so many pictures of each set [default: all test pictures, and as many of noise]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,
    /// Scores, with commas between: a classifier's, in the field's terms; 'all' for all
    #[arg(long, value_delimiter = ',', default_value = "max-logit,max-softmax,energy")]
    score: Vec<Name>,
    /// ODIN's step against the gradient's sign, in pixel units: k/255 or a decimal
    #[arg(long, value_parser = length, default_value = "0.0014")]
    odin_eps: f64,
    /// Temperature of ODIN
    #[arg(long, default_value_t = 1000.0)]
    odin_temperature: f64,
    /// Which neighbour counts for KNN
    #[arg(long, default_value_t = 50)]
    knn_k: usize,
    /// Share of the features that ASH sets to 0
    #[arg(long, default_value_t = 0.65)]
    ash_percentile: f64,
    /// Percentile of the training features at which ReAct clips, as a share
    #[arg(long, value_parser = length, default_value = "0.9")]
    react_percentile: f64,
    /// Dimension of ViM's principal subspace [default: half of the features; of 768 and more, 512; of 2048, 1000]
    #[arg(long)]
    vim_dim: Option<usize>,
    /// Where the fit of the training set is kept, which knn, mahalanobis, vim and react need; one of other weights,
    /// pictures or settings is made anew [default: beside the weights, NAME.fit.safetensors]
    #[arg(long, value_name = "FILE")]
    fit: Option<PathBuf>,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for result.json, scores.csv and the pictures
    #[arg(long, default_value = "out/ood", value_name = "DIR")]
    out: PathBuf,
    /// Print result.json instead of a table
    #[arg(long)]
    json: bool,
}

/// A score, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    /// Every score below
    All,
    /// The largest logit (Hendrycks et al. 2022)
    #[value(alias = "mls", alias = "max_logit")]
    MaxLogit,
    /// The largest probability (Hendrycks and Gimpel 2017)
    #[value(alias = "msp", alias = "max_softmax")]
    MaxSoftmax,
    /// Log-sum-exp of the logits (Liu et al. 2020)
    #[value(alias = "ebo")]
    Energy,
    /// The largest probability, heated, after a step against the gradient (Liang et al. 2018)
    Odin,
    /// Distance to the k-th nearest training feature (Sun et al. 2022)
    Knn,
    /// Distance to the nearest class mean (Lee et al. 2018)
    #[value(alias = "mds")]
    Mahalanobis,
    /// Energy minus a virtual logit (Wang et al. 2022)
    Vim,
    /// Energy of clipped features (Sun et al. 2021)
    React,
    /// Energy of pruned and scaled features (Djurisic et al. 2023)
    #[value(alias = "ash", alias = "ash_s")]
    AshS,
    /// Energy of pruned and binarized features
    #[value(alias = "ash_b")]
    AshB,
    /// Energy of pruned features
    #[value(alias = "ash_p")]
    AshP,
}

impl Name {
    fn score(self) -> Option<Score> {
        Some(match self {
            Self::All => return None,
            Self::MaxLogit => Score::MaxLogit,
            Self::MaxSoftmax => Score::MaxSoftmax,
            Self::Energy => Score::Energy,
            Self::Odin => Score::Odin,
            Self::Knn => Score::Knn,
            Self::Mahalanobis => Score::Mahalanobis,
            Self::Vim => Score::Vim,
            Self::React => Score::React,
            Self::AshS => Score::AshS,
            Self::AshB => Score::AshB,
            Self::AshP => Score::AshP,
        })
    }
}

/// The scores of these names in the house's order, each once.
pub(super) fn scores(names: &[Name]) -> Vec<Score> {
    let all = names.contains(&Name::All);
    let named: Vec<Score> = names.iter().filter_map(|name| name.score()).collect();
    let chosen = |score: &Score| if all { *score != Score::NegMse } else { named.contains(score) };
    Score::ALL.into_iter().filter(chosen).collect()
}

impl Args {
    fn wanted(&self) -> Wanted {
        Wanted {
            scores: scores(&self.score),
            odin_eps: self.odin_eps,
            odin_temperature: self.odin_temperature,
            knn_k: self.knn_k,
            ash_percentile: self.ash_percentile,
        }
    }
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    let (state, plan, set) = args.subject.read()?;
    let wanted = args.wanted();
    wanted.check(plan.task, set.train.count())?;
    let limit = args.count.map_or(usize::MAX, |count| count as usize);
    let id = set.test.clone().truncated(limit);
    let count = args.count.map_or(id.count(), |count| count as usize);
    // Noise cannot fail but takes a moment; a folder may be bad, and then no device is needed.
    let open = || data::outside(&args.ood, &args.subject.data, (args.seed, count));
    let pictures = if data::is_noise(&args.ood) { None } else { Some(open()?) };
    let _lock = FolderLock::take(&args.out)?;
    let gpu = device.open(args.json)?;
    let network = models::build(&gpu, &state, plan)?;
    let begun = std::time::Instant::now();
    let ood = pictures.map_or_else(open, Ok)?;
    let needs_features = wanted.scores != Wanted::default().scores;
    let head = needs_features.then(|| fitted::head(&gpu, &network)).transpose()?;
    let fit = if wanted.needs_fit() { Some(fit(args, &gpu, &network, &set)?) } else { None };
    let scorer = Scorer { gpu: &gpu, network: &network, wanted: &wanted, head, fit };
    let bar = output::bar(id.count() + ood.count(), "scoring", "images");
    let pair = Pair { id: &id, id_name: &set.name, ood: &ood, ood_name: data::shown_name(&args.ood) };
    let scores = detect::detect(&scorer, &pair, &args.out, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let outcome = Outcome {
        command: super::command_line(),
        version: env!("CARGO_PKG_VERSION"),
        model: network.architecture().name.clone(),
        weights: args.subject.weights.display().to_string(),
        data: set.name.clone(),
        ood: args.ood.clone(),
        id_images: id.count(),
        ood_images: ood.count(),
        seed: args.seed,
        adapter: gpu.adapter().clone(),
        kernel_choices: choices::record(&gpu)?,
        scores,
        seconds: begun.elapsed().as_secs_f64(),
    };
    write_json(&args.out.join("result.json"), &outcome)?;
    if args.json {
        return output::json(&outcome);
    }
    output::say(&format!(
        "{} · {} {} images against {} {} images (higher score: more in-distribution)",
        outcome.model, outcome.id_images, outcome.data, outcome.ood_images, outcome.ood
    ));
    output::say("score            AUROC  AUPR-in  AUPR-out  FPR95 (ID)  FPR95 (OOD)  detection error");
    for (name, m) in &outcome.scores {
        output::say(&format!(
            "{name:<14} {:>7.4} {:>8.4} {:>9.4} {:>11.4} {:>12.4} {:>16.4}",
            m.auroc, m.aupr_in, m.aupr_out, m.fpr95_id, m.fpr95_ood, m.detection_error
        ));
    }
    output::say(&format!("pictures, scores.csv and result.json: {}", args.out.display()));
    Ok(())
}

/// The fit of the training set, from its place or made.
fn fit(args: &Args, gpu: &Gpu, network: &Network, set: &DataSet) -> Result<Fit, LabError> {
    let path = args.fit.clone().unwrap_or_else(|| fitted::place(&args.subject.weights));
    let settings = Settings { react_percentile: args.react_percentile, vim_dimension: args.vim_dim };
    let bar = output::bar(set.train.count(), "fitting", "images");
    let seen = |done: usize| bar.set_position(done as u64);
    let (fit, made) = fitted::fitted(gpu, network, (&set.train, &path), settings, seen)?;
    bar.finish_and_clear();
    if !args.json {
        let what = if made { "made and kept at" } else { "read from" };
        output::say(&format!("fit of {} training pictures {what} {}", set.train.count(), path.display()));
    }
    Ok(fit)
}
