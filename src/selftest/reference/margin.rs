//! How far a row of logits is from another prediction.

/// The first of the largest logits but the label's.
fn rival(row: &[f32], label: usize) -> usize {
    let start = usize::from(label == 0);
    (start..row.len()).fold(start, |best, class| if class != label && row[class] > row[best] { class } else { best })
}

/// `sign` times (the label's logit minus the largest other), for each row.
pub fn margins(logits: &[f32], labels: &[u32], sign: f32) -> Vec<f64> {
    rows(logits, labels)
        .map(|(row, label)| f64::from(sign) * (f64::from(row[label]) - f64::from(row[rival(row, label)])))
        .collect()
}

/// The logits' gradient, from the margins'.
pub fn slopes(logits: &[f32], labels: &[u32], sign: f32, upstream: &[f32]) -> Vec<f64> {
    let of_row = |((row, label), &upstream): ((&[f32], usize), &f32)| {
        let mut slope = vec![0.0; row.len()];
        slope[label] = f64::from(sign * upstream);
        slope[rival(row, label)] = -f64::from(sign * upstream);
        slope
    };
    rows(logits, labels).zip(upstream).flat_map(of_row).collect()
}

fn rows<'a>(logits: &'a [f32], labels: &'a [u32]) -> impl Iterator<Item = (&'a [f32], usize)> {
    logits.chunks_exact(logits.len() / labels.len()).zip(labels.iter().map(|&label| label as usize))
}
