//! Out-of-distribution detection: scores of two sets, their metrics, a table of all scores, and pictures.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::data::{Images, SIZE};
use crate::files;
use crate::gpu::AdapterSummary;
use crate::ood::metrics::{self, Metrics};
use crate::ood::scores::Score;
use crate::ops::choices;

use super::LabError;
use super::evaluate::Outputs;
use super::plots;
use super::score::Scorer;

/// One set's scores: what is ranked, and what is written to the table.
#[derive(Debug)]
pub struct Scored {
    labels: Vec<u8>,
    /// The scores that the network has, and the values that are ranked by.
    pub columns: Vec<(Score, Vec<f64>)>,
}

impl Scored {
    /// Every score of pictures with these labels, from what a network makes of them.
    pub fn new(outputs: &Outputs, labels: &[u8]) -> Self {
        let columns = match outputs {
            Outputs::Logits(logits) => {
                let classes = (logits.len() / labels.len().max(1)).max(1);
                let of = |score: Score| logits.chunks_exact(classes).filter_map(|row| score.of_logits(row)).collect();
                [Score::MaxLogit, Score::MaxSoftmax, Score::Energy].map(|score| (score, of(score))).to_vec()
            }
            Outputs::Errors(errors) => vec![(Score::NegMse, errors.iter().map(|&error| -f64::from(error)).collect())],
        };
        Self { labels: labels.to_vec(), columns }
    }

    /// Scores that are computed already.
    pub(super) fn of_columns(labels: &[u8], columns: Vec<(Score, Vec<f64>)>) -> Self {
        Self { labels: labels.to_vec(), columns }
    }
}

/// `result.json`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub command: Vec<String>,
    pub version: &'static str,
    pub model: String,
    pub weights: String,
    pub data: String,
    pub ood: String,
    pub id_images: usize,
    pub ood_images: usize,
    pub seed: u64,
    pub adapter: AdapterSummary,
    /// Which kernel variants computed, and their tiles where those were tuned; `--kernels` takes them again.
    pub kernel_choices: choices::Table,
    /// Higher means more in-distribution, for every score.
    pub scores: BTreeMap<&'static str, Metrics>,
    pub seconds: f64,
}

/// Two sets to tell apart, and what they are called.
#[derive(Debug)]
pub struct Pair<'a> {
    pub id: &'a Images,
    pub id_name: &'a str,
    pub ood: &'a Images,
    pub ood_name: &'a str,
}

/// Scores both sets and leaves `scores.csv` and the pictures in `out`; returns each score's metrics.
pub fn detect(
    scorer: &Scorer<'_>,
    pair: &Pair<'_>,
    out: &Path,
    mut seen: impl FnMut(usize),
) -> Result<BTreeMap<&'static str, Metrics>, LabError> {
    files::prepare_folder(out)?;
    let network = scorer.network;
    let id = scorer.score(pair.id, &mut seen)?;
    let ood = scorer.score(pair.ood, |done| seen(pair.id.count() + done))?;
    write_table(&out.join("scores.csv"), [("id", &id), ("ood", &ood)])?;
    let mut all = BTreeMap::new();
    let mut curves = Vec::new();
    for ((score, of_id), (_, of_ood)) in id.columns.iter().zip(&ood.columns) {
        let metrics = Metrics::from_scores(of_id, of_ood)?;
        curves.push((score.name().replace('_', " "), metrics::roc_curve(of_id, of_ood)?, metrics.auroc));
        let title = format!("{} · {} and {}", network.architecture().name, pair.id_name, pair.ood_name);
        let path = out.join(format!("histogram_{}", score.name()));
        plots::score_histogram(&path, &title, score.axis(), pair.id_name, of_id, pair.ood_name, of_ood)?;
        all.insert(score.name(), metrics);
    }
    let title = format!("{} · {} against {}", network.architecture().name, pair.id_name, pair.ood_name);
    plots::roc(&out.join("roc"), &title, &curves)?;
    sample_sheet(&out.join("samples.png"), pair)?;
    Ok(all)
}

/// `set,index,label,` and a column a score, ODIN's as a logarithm. Max softmax is a probability here; `max_softmax_rank` is its
/// logarithm, which is what is ranked: near 1 the probability runs out of digits.
pub fn write_table(path: &Path, sets: [(&str, &Scored); 2]) -> Result<(), LabError> {
    let mut text = String::from("set,index,label");
    for (score, _) in &sets[0].1.columns {
        text.push_str(&format!(",{}", score.name()));
        if *score == Score::MaxSoftmax {
            text.push_str(",max_softmax_rank");
        }
    }
    text.push('\n');
    for (set, scored) in sets {
        for (index, label) in scored.labels.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{set},{index},{label}");
            for (score, values) in &scored.columns {
                let value = values[index];
                if *score == Score::MaxSoftmax {
                    let _ = write!(text, ",{}", libm::exp(value));
                }
                let _ = write!(text, ",{value}");
            }
            text.push('\n');
        }
    }
    Ok(files::write(path, text.as_bytes())?)
}

/// Eight pictures of each set, four times their size.
fn sample_sheet(path: &Path, pair: &Pair<'_>) -> Result<(), LabError> {
    const ACROSS: u32 = 8;
    const CELL: u32 = 136;
    let mut sheet = image::RgbImage::from_pixel(ACROSS * CELL + 8, 2 * CELL + 8, image::Rgb([255; 3]));
    for (row, images) in [pair.id, pair.ood].into_iter().enumerate() {
        for column in 0..(ACROSS as usize).min(images.count()) {
            let picture = &images.bytes[column * SIZE..(column + 1) * SIZE];
            for y in 0..128u32 {
                for x in 0..128u32 {
                    let at = (y / 4 * 32 + x / 4) as usize;
                    let pixel = image::Rgb([picture[at], picture[1024 + at], picture[2048 + at]]);
                    sheet.put_pixel(8 + column as u32 * CELL + x, 8 + row as u32 * CELL + y, pixel);
                }
            }
        }
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    sheet
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|error| LabError::Usage(format!("cannot encode the sample sheet: {error}")))?;
    Ok(files::write(path, &bytes.into_inner())?)
}
