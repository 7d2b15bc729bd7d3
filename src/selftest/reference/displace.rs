//! Directions and lengths of each picture's own. Pictures lie one after the other, `size` values each.

use super::wide;

/// Each picture's sum of `term`s.
pub fn sums(values: &[f32], size: usize, term: impl Fn(f64) -> f64) -> Vec<f64> {
    values.chunks_exact(size).map(|one| one.iter().map(|&value| term(f64::from(value))).sum()).collect()
}

/// Each picture's L2 norm.
fn norms(values: &[f32], size: usize) -> Vec<f64> {
    sums(values, size, |value| value * value).into_iter().map(f64::sqrt).collect()
}

/// `x - centre` after a step of L2 length `step` along `g`.
pub fn along(x: &[f32], centre: &[f32], g: &[f32], size: usize, step: f32) -> Vec<f64> {
    let norms = norms(g, size);
    let moved = |at: usize| f64::from(step) * f64::from(g[at]) / (norms[at / size] + 1e-10);
    (0..x.len()).map(|at| f64::from(x[at]) - f64::from(centre[at]) + moved(at)).collect()
}

/// `centre + d`, with `d` shortened to the L2 length `eps` where it is longer.
pub fn into_ball(centre: &[f32], d: &[f32], size: usize, eps: f32) -> Vec<f64> {
    let eps = f64::from(eps);
    let shares: Vec<f64> = norms(d, size).into_iter().map(|norm| if norm > eps { eps / norm } else { 1.0 }).collect();
    (0..d.len()).map(|at| (f64::from(centre[at]) + shares[at / size] * f64::from(d[at])).clamp(0.0, 1.0)).collect()
}

/// `x + lengths[n] d`.
pub fn by(x: &[f32], d: &[f32], lengths: &[f32], size: usize) -> Vec<f64> {
    let length = |at: usize| f64::from(lengths[at / size]);
    (0..d.len()).map(|at| (f64::from(x[at]) + length(at) * f64::from(d[at])).clamp(0.0, 1.0)).collect()
}

/// `decay m + g / mean |g|`.
pub fn momentum(m: &[f32], g: &[f32], size: usize, decay: f32) -> Vec<f64> {
    let means: Vec<f64> = sums(g, size, f64::abs).into_iter().map(|sum| sum / size as f64).collect();
    let pairs = wide(m).into_iter().zip(wide(g)).enumerate();
    pairs.map(|(at, (m, g))| f64::from(decay) * m + g / means[at / size]).collect()
}
