//! An affine map for each channel.

/// y[n, c, i] = factor[c] x[n, c, i] + offset[c].
pub fn affine(dims: [usize; 4], x: &[f32], factor: &[f32], offset: &[f32]) -> Vec<f64> {
    let plane = dims[2] * dims[3];
    let affine = |(index, &value): (usize, &f32)| {
        let channel = index / plane % dims[1];
        f64::from(factor[channel]) * f64::from(value) + f64::from(offset[channel])
    };
    x.iter().enumerate().map(affine).collect()
}
