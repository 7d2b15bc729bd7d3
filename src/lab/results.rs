//! What `shadegrad lab` finds: its `result.json`, and everything that the report is made from.
//!
//! Every number of the report comes from here and nowhere else. Shares and accuracies are in [0, 1]; epsilon is in
//! pixel units on [0, 1] and written as a multiple of 1/255; scores are higher for in-distribution (ID) pictures.

use std::collections::BTreeMap;
use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::data::{DIMS, SIZE};
use crate::gpu::AdapterSummary;
use crate::ood::metrics::Metrics;
use crate::ops::choices;

/// One picture: 3 x 32 x 32 bytes, planar RGB. Written to JSON as a PNG in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(pub Vec<u8>);

impl Serialize for Picture {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let png = self.to_png().map_err(S::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(png))
    }
}

impl<'de> Deserialize<'de> for Picture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let png = STANDARD.decode(text).map_err(D::Error::custom)?;
        Self::from_png(&png).map_err(D::Error::custom)
    }
}

impl Picture {
    /// The picture as a PNG of its own size.
    pub fn to_png(&self) -> Result<Vec<u8>, image::ImageError> {
        let plane = SIZE / 3;
        let pixels: Vec<u8> =
            (0..plane).flat_map(|at| [self.0[at], self.0[plane + at], self.0[2 * plane + at]]).collect();
        let mut png = Cursor::new(Vec::new());
        image::write_buffer_with_format(
            &mut png,
            &pixels,
            DIMS[2] as u32,
            DIMS[1] as u32,
            image::ExtendedColorType::Rgb8,
            image::ImageFormat::Png,
        )?;
        Ok(png.into_inner())
    }

    /// Reads what [`Picture::to_png`] wrote.
    pub fn from_png(png: &[u8]) -> Result<Self, String> {
        let mut reader = image::ImageReader::with_format(Cursor::new(png), image::ImageFormat::Png);
        // A damaged result may claim a picture of any size; none is unpacked but one of ours.
        let mut limits = image::Limits::default();
        (limits.max_image_width, limits.max_image_height) = (Some(DIMS[2] as u32), Some(DIMS[1] as u32));
        reader.limits(limits);
        let rgb = reader.decode().map_err(|error| error.to_string())?.into_rgb8();
        if rgb.as_raw().len() != SIZE {
            return Err(format!("a picture of {} x {} is not 32 x 32", rgb.width(), rgb.height()));
        }
        let bytes = rgb.as_raw();
        Ok(Self((0..3).flat_map(|channel| bytes.iter().skip(channel).step_by(3).copied()).collect()))
    }
}

/// The whole of a run of the lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabResult {
    pub version: String,
    pub command: Vec<String>,
    pub adapter: AdapterSummary,
    /// Which kernel variants computed, and their tiles where those were tuned; `--kernels` takes them again.
    #[serde(default)]
    pub kernel_choices: choices::Table,
    pub plan: Plan,
    /// Names of the classes, in the order of their numbers.
    pub classes: Vec<String>,
    pub train_images: usize,
    pub test_images: usize,
    /// The first pictures of the test set and of FakeData.
    pub id_samples: Vec<Picture>,
    pub ood_samples: Vec<Picture>,
    /// A model for each variant and seed, baseline first.
    pub classifiers: Vec<Classifier>,
    pub autoencoder: Autoencoder,
    /// The autoencoder as the lab trained it (inputs in [-1, 1], sigmoid at the end).
    pub autoencoder_compat: Option<Autoencoder>,
    /// One for each variant, of the first seed's model.
    pub attacks: Vec<Attacks>,
    /// The baseline attacked by the lab's own conventions.
    pub attacks_compat: Option<Attacks>,
    pub stages: Vec<Stage>,
    /// Seconds of all stages, whenever they ran.
    pub seconds: f64,
}

/// What was to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub preset: String,
    /// As `--data` takes it, and what the set calls itself.
    pub data: String,
    pub data_name: String,
    pub model: String,
    pub autoencoder: String,
    /// Training and test pictures used at the most (all, if there are fewer).
    pub max_train: usize,
    pub max_test: usize,
    pub epochs: u32,
    pub autoencoder_epochs: u32,
    pub batch: usize,
    pub rate: f64,
    pub seeds: Vec<u64>,
    /// The baseline and the robust models.
    pub variants: Vec<Variant>,
    pub adversarial_ratio: f64,
    /// Multiples of 1/255 at which every variant is attacked.
    pub attack_eps: Vec<f64>,
    /// Epsilon of the table of targets and of the victims.
    pub shown_eps: f64,
    pub ood_images: usize,
    /// FakeData pictures of the score after each epoch.
    pub curve_images: usize,
}

/// A way to train the classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// `baseline`, `fgsm-2` (trained with FGSM at 2/255) ...
    pub name: String,
    /// Multiples of 1/255; 0 for the baseline.
    pub eps: f64,
}

/// One trained classifier and its scores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Classifier {
    pub variant: Variant,
    pub seed: u64,
    /// Relative to the result's folder.
    pub weights: String,
    pub test_accuracy: f64,
    pub train_loss: f64,
    pub images_per_second: f64,
    /// After each epoch.
    pub epochs: Vec<EpochFacts>,
    /// Against FakeData, after the last epoch.
    pub detection: Detection,
    /// The logits of one test picture and of one FakeData picture; kept for the first seed.
    pub logits: Option<LogitPair>,
}

/// What was measured after an epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochFacts {
    pub epoch: u32,
    pub train_loss: f64,
    pub test_accuracy: f64,
    /// AUROC on FakeData by score name.
    pub auroc: BTreeMap<String, f64>,
    /// On the fixed slice of held-out pictures; adversarial training only.
    pub fgsm_accuracy: Option<f64>,
    pub pgd_accuracy: Option<f64>,
    /// The alarm of catastrophic overfitting.
    pub alarm: bool,
}

/// The logits of a picture of each set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogitPair {
    pub id: Picture,
    pub id_label: usize,
    pub id_logits: Vec<f32>,
    pub ood: Picture,
    pub ood_logits: Vec<f32>,
}

/// Two sets told apart by every score.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detection {
    pub ood: String,
    pub id_images: usize,
    pub ood_images: usize,
    pub scores: BTreeMap<String, ScoreFacts>,
}

/// One score on two sets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoreFacts {
    pub metrics: Metrics,
    pub histogram: Histogram,
    /// Points (false positive rate, true positive rate) from (0, 0) to (1, 1), ID positive; at most 257, thinned.
    pub roc: Vec<(f64, f64)>,
}

/// Counts of two sets over common bins: bin i is `edges[i]..edges[i + 1]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Histogram {
    pub edges: Vec<f64>,
    pub id: Vec<u32>,
    pub ood: Vec<u32>,
}

/// A trained autoencoder, its scores and some of its pictures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Autoencoder {
    pub weights: String,
    pub epochs: u32,
    pub test_mse: f64,
    pub detection: Detection,
    pub id_examples: Vec<Reconstruction>,
    pub ood_examples: Vec<Reconstruction>,
}

/// A picture, what the autoencoder makes of it, and where it errs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reconstruction {
    pub original: Picture,
    pub reconstruction: Picture,
    /// Squared error summed over the channels, as shades from black (none) to white (`error_white`).
    pub error: Picture,
    pub error_white: f64,
    pub mse: f64,
}

/// One model under attack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attacks {
    pub variant: Variant,
    pub seed: u64,
    pub images: usize,
    /// The first so many of them were attacked with PGD, and the first so many towards every class.
    pub pgd_images: usize,
    pub table_images: usize,
    /// `pixels` (ours) or `lab` (the lab's conventions: epsilon on inputs in [-1, 1], model in training mode).
    pub convention: String,
    pub clean_accuracy: f64,
    pub by_eps: Vec<ByEps>,
    /// At `Plan::shown_eps`; row: label, column: target; share of the correctly classified pictures of that label
    /// that the attack turns into the target. The diagonal is empty.
    pub targets: Vec<Vec<Option<f64>>>,
    pub victims: Vec<Victim>,
}

/// FGSM at one epsilon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ByEps {
    /// In pixel units on [0, 1].
    pub eps: f64,
    pub accuracy: f64,
    /// Share of the correctly classified pictures that are misclassified after the attack.
    pub success: f64,
    /// Of the targeted attack on (label + 1) mod 10, among the correctly classified.
    pub targeted_success: f64,
    /// Accuracy under PGD with ten steps, where it was run.
    pub pgd_accuracy: Option<f64>,
}

/// One picture before and after an attack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Victim {
    /// In the test set.
    pub index: usize,
    pub label: usize,
    pub eps: f64,
    /// None: untargeted.
    pub target: Option<usize>,
    pub clean: Picture,
    /// 128 + factor x perturbation, in bytes.
    pub perturbation: Picture,
    pub factor: f64,
    pub adversarial: Picture,
    pub predicted_clean: usize,
    /// Softmax probability of the prediction.
    pub confidence_clean: f64,
    pub predicted_adversarial: usize,
    pub confidence_adversarial: f64,
}

/// One step of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    /// What it does, for people.
    pub title: String,
    /// The command that does the same alone, where there is one.
    pub command: Option<String>,
    pub seconds: f64,
    /// It was found finished from an earlier run.
    pub kept: bool,
}

#[cfg(test)]
mod tests {
    use super::{Picture, SIZE};

    #[test]
    fn a_picture_comes_back_from_json() {
        let picture = Picture((0..SIZE).map(|i| (i * 7 % 251) as u8).collect());
        let text = serde_json::to_string(&picture).unwrap();
        assert_eq!(serde_json::from_str::<Picture>(&text).unwrap(), picture);
        assert!(serde_json::from_str::<Picture>("\"AAAA\"").is_err());
    }
}
