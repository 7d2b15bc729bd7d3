//! Two sets told apart, as the result keeps it.

use crate::lab::LabError;
use crate::lab::detect::Scored;
use crate::lab::plots;
use crate::lab::results::{Detection, Histogram, ScoreFacts};
use crate::ood::metrics::{self, Metrics};

/// Points of a ROC curve that are kept.
const ROC_POINTS: usize = 257;

/// Metrics, histogram and ROC curve of every score.
pub fn facts(id: &Scored, ood: &Scored) -> Result<Detection, LabError> {
    let mut sizes = [0; 2];
    let mut scores = std::collections::BTreeMap::new();
    for ((score, of_id), (_, of_ood)) in id.columns.iter().zip(&ood.columns) {
        // The metrics refuse NaN, which no bin could take.
        let metrics = Metrics::from_scores(of_id, of_ood)?;
        let (edges, [id, ood]) = plots::score_bins(of_id, of_ood);
        let roc = plots::thinned(&metrics::roc_curve(of_id, of_ood)?, ROC_POINTS);
        let facts = ScoreFacts { metrics, histogram: Histogram { edges, id, ood }, roc };
        scores.insert(score.name().to_owned(), facts);
        sizes = [of_id.len(), of_ood.len()];
    }
    Ok(Detection { ood: "FakeData".to_owned(), id_images: sizes[0], ood_images: sizes[1], scores })
}
