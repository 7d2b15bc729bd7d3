//! Which of two pictures is kept.

/// Whether each picture is taken for another class with `confidence`, and is nearer than the nearest so far.
pub fn judged(margin: &[f32], distance: &[f32], best: &[f32], confidence: f32) -> Vec<bool> {
    let better = |n: usize| margin[n] < 0.0 && margin[n] <= -confidence && distance[n] < best[n];
    (0..margin.len()).map(better).collect()
}

/// The pictures of `into` with those of `from` where they are chosen.
pub fn replaced(chosen: &[bool], from: &[f32], into: &[f32]) -> Vec<f32> {
    let size = from.len() / chosen.len();
    (0..from.len()).map(|at| if chosen[at / size] { from[at] } else { into[at] }).collect()
}
