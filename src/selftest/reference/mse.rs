//! Mean squared error of each picture.

/// The mean of (a - b)^2 over everything but the first dimension.
pub fn each_image(a: &[f32], b: &[f32], images: usize) -> Vec<f64> {
    let length = a.len() / images;
    let errors: Vec<f64> = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).collect();
    errors.chunks(length).map(|image| image.iter().sum::<f64>() / length as f64).collect()
}

/// The gradient of the first operand when image n's error is weighed by `upstream(n)`.
pub fn gradient(a: &[f32], b: &[f32], images: usize, upstream: impl Fn(usize) -> f64) -> Vec<f64> {
    let length = a.len() / images;
    let each = a
        .iter()
        .zip(b)
        .enumerate()
        .map(|(index, (&a, &b))| 2.0 * (f64::from(a) - f64::from(b)) / length as f64 * upstream(index / length));
    each.collect()
}
