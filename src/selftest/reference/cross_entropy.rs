//! Cross-entropy of each row.

use crate::random::{Purpose, Stream};

pub fn labels(rows: usize, classes: usize) -> Vec<u32> {
    let mut stream = Stream::new(99, Purpose::Test, 50);
    (0..rows).map(|_| stream.below(classes as u32)).collect()
}

pub fn log_softmax(row: &[f32]) -> Vec<f64> {
    let top = row.iter().fold(f64::NEG_INFINITY, |top, &z| top.max(f64::from(z)));
    let sum: f64 = row.iter().map(|&z| (f64::from(z) - top).exp()).sum();
    row.iter().map(|&z| f64::from(z) - top - sum.ln()).collect()
}

/// What the target asks of each class: most of it of the label, and the smoothed share of all alike.
pub fn target(classes: usize, label: u32, smoothing: f32) -> Vec<f64> {
    let smoothing = f64::from(smoothing);
    let share = |class| if class == label as usize { 1.0 - smoothing } else { 0.0 };
    (0..classes).map(|class| share(class) + smoothing / classes as f64).collect()
}

pub fn losses(logits: &[f32], labels: &[u32], smoothing: f32) -> Vec<f64> {
    let classes = logits.len() / labels.len();
    let each = logits.chunks(classes).zip(labels).map(|(row, &label)| {
        let terms = log_softmax(row).into_iter().zip(target(classes, label, smoothing));
        // A class that the target leaves out counts nothing, however unlikely it is.
        -terms.filter(|&(_, share)| share != 0.0).map(|(log, share)| log * share).sum::<f64>()
    });
    each.collect()
}

/// The gradient when row n's loss is weighed by `upstream(n)`.
pub fn gradient(logits: &[f32], labels: &[u32], smoothing: f32, upstream: impl Fn(usize) -> f64) -> Vec<f64> {
    let classes = logits.len() / labels.len();
    let rows = logits.chunks(classes).zip(labels).enumerate();
    rows.flat_map(|(n, (row, &label))| {
        let (weight, target) = (upstream(n), target(classes, label, smoothing));
        log_softmax(row).into_iter().zip(target).map(move |(log, share)| (log.exp() - share) * weight)
    })
    .collect()
}
