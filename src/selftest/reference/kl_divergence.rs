//! The divergence between two rows' predictions.

use super::cross_entropy::log_softmax;

/// Logarithms of both rows' softmax, row after row.
fn rows(a: &[f32], b: &[f32], classes: usize) -> impl Iterator<Item = Vec<(f64, f64)>> {
    a.chunks(classes).zip(b.chunks(classes)).map(|(a, b)| log_softmax(a).into_iter().zip(log_softmax(b)).collect())
}

fn divergence(row: &[(f64, f64)]) -> f64 {
    row.iter().map(|(p, q)| p.exp() * (p - q)).sum()
}

/// KL(softmax(a) || softmax(b)) of each row.
pub fn divergences(a: &[f32], b: &[f32], classes: usize) -> Vec<f64> {
    rows(a, b, classes).map(|row| divergence(&row)).collect()
}

/// The gradients of `a` and of `b`, from the divergences'.
pub fn gradients(a: &[f32], b: &[f32], classes: usize, upstream: &[f32]) -> [Vec<f64>; 2] {
    let mut found = [Vec::new(), Vec::new()];
    for (row, &weight) in rows(a, b, classes).zip(upstream) {
        let (k, weight) = (divergence(&row), f64::from(weight));
        found[0].extend(row.iter().map(|(p, q)| p.exp() * (p - q - k) * weight));
        found[1].extend(row.iter().map(|(p, q)| (q.exp() - p.exp()) * weight));
    }
    found
}
