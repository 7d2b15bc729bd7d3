//! The filters that make small patches of pictures uncorrelated, for a first convolution that is not trained.

use nalgebra::{DMatrix, SymmetricEigen};

/// Added to the eigenvalues, so that directions in which patches hardly vary are not blown up (of pixels normalised to
/// deviation 1; Jordan 2024).
pub const EPSILON: f64 = 5e-4;

/// The statistics are those of the first so many training pictures.
pub const PICTURES: usize = 5_000;

/// An eigenvector has no sign of its own: the first of its elements that is this near to the largest is made positive.
const ALIKE: f64 = 1.0 - 1e-6;

/// Filters and their biases.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    /// [2 D, channels, k, k] for D = channels k k: the eigenvectors of the patches' covariance, by falling eigenvalue, each
    /// divided by sqrt(eigenvalue + epsilon), and then their negatives.
    pub weights: Vec<f32>,
    /// [2 D]: minus what each filter makes of the mean patch, so that its outputs have mean 0.
    pub bias: Vec<f32>,
}

/// Whitening for the k x k patches of `pictures`, bytes [N, channels, height, width] that the layer before brings to
/// (byte / 255 - mean) / std.
///
/// All sums are sums of whole numbers, so their order does not matter; what follows is f64. Without pictures, patches
/// count as never varying.
pub fn whitening(
    pictures: &[u8],
    [channels, height, width]: [usize; 3],
    kernel: usize,
    (mean, std): ([f32; 3], [f32; 3]),
    epsilon: f64,
) -> Whitening {
    let size = channels * kernel * kernel;
    let place = |at: usize| [at / (kernel * kernel), at / kernel % kernel, at % kernel];
    let (rows, columns) = (height + 1 - kernel, width + 1 - kernel);
    let (mut count, mut sums, mut products) = (0u64, vec![0u64; size], vec![0u64; size * size]);
    for picture in pictures.chunks_exact(channels * height * width) {
        count += (rows * columns) as u64;
        let row = |at: usize, y: usize| {
            let [channel, down, right] = place(at);
            let first = (channel * height + y + down) * width + right;
            &picture[first..first + columns]
        };
        for a in 0..size {
            for y in 0..rows {
                sums[a] += u64::from(row(a, y).iter().map(|&byte| u32::from(byte)).sum::<u32>());
                for b in a..size {
                    let pairs = row(a, y).iter().zip(row(b, y));
                    products[a * size + b] += u64::from(pairs.map(|(&a, &b)| u32::from(a) * u32::from(b)).sum::<u32>());
                }
            }
        }
    }
    let all = count.max(1) as f64;
    let scale = |at: usize| 255.0 * f64::from(std[place(at)[0]]);
    let covariance = DMatrix::from_fn(size, size, |a, b| {
        let (a, b) = (a.min(b), a.max(b));
        let difference =
            i128::from(count) * i128::from(products[a * size + b]) - i128::from(sums[a]) * i128::from(sums[b]);
        difference as f64 / (all * all * scale(a) * scale(b))
    });
    let middle =
        |at: usize| (sums[at] as f64 / all / 255.0 - f64::from(mean[place(at)[0]])) / f64::from(std[place(at)[0]]);
    let found = SymmetricEigen::new(covariance);
    let vectors = found.eigenvectors.column_iter().map(|column| column.iter().copied().collect());
    let mut pairs: Vec<(f64, Vec<f64>)> = found.eigenvalues.iter().copied().zip(vectors).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut weights, mut bias) = (Vec::new(), Vec::new());
    for (value, vector) in pairs {
        let largest = vector.iter().fold(0.0f64, |largest, element| largest.max(element.abs()));
        let first = vector.iter().find(|element| element.abs() >= ALIKE * largest);
        let factor = first.map_or(1.0, |first| first.signum()) / libm::sqrt(value.max(0.0) + epsilon);
        bias.push(-vector.iter().enumerate().map(|(at, element)| factor * element * middle(at)).sum::<f64>());
        weights.extend(vector.iter().map(|element| factor * element));
    }
    let with_negatives = |values: &[f64]| -> Vec<f32> {
        values.iter().map(|&value| value as f32).chain(values.iter().map(|&value| -value as f32)).collect()
    };
    Whitening { weights: with_negatives(&weights), bias: with_negatives(&bias) }
}

/// Filters for patches of which nothing is known: each element of a patch, and its negative.
pub fn unknown(size: usize) -> Vec<f32> {
    let one = |row: usize, column: usize| if row % size == column { if row < size { 1.0 } else { -1.0 } } else { 0.0 };
    (0..2 * size).flat_map(|row| (0..size).map(move |column| one(row, column))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    const MEAN: [f32; 3] = [0.4, 0.5, 0.6];
    const STD: [f32; 3] = [0.3, 0.25, 0.2];
    const DIMS: [usize; 3] = [3, 9, 7];

    /// Pictures whose neighbours are alike, in rows, columns and channels.
    fn pictures(count: usize) -> Vec<u8> {
        let mut stream = Stream::new(3, Purpose::Test, 0);
        let mut noise = || (stream.next_word() >> 26) as usize;
        let mut bytes = Vec::new();
        for _ in 0..count {
            let shade = noise();
            for channel in 0..3 {
                let tint = noise();
                bytes.extend((0..63).map(|at| (shade + tint + noise() / 2 + 3 * (at / 7) + 10 * channel) as u8));
            }
        }
        bytes
    }

    /// Mean and covariance of what the filters make of all patches, straight from the definition.
    fn moments(pictures: &[u8], found: &Whitening) -> (Vec<f64>, Vec<f64>) {
        let (mut count, mut sums, mut products) = (0.0, vec![0.0; 24], vec![0.0; 24 * 24]);
        for picture in pictures.chunks_exact(3 * 63) {
            for (y, x) in (0..8).flat_map(|y| (0..6).map(move |x| (y, x))) {
                let out: Vec<f64> = (0..24)
                    .map(|filter| {
                        let mut sum = f64::from(found.bias[filter]);
                        for at in 0..12 {
                            let (channel, down, right) = (at / 4, at / 2 % 2, at % 2);
                            let byte = f64::from(picture[channel * 63 + (y + down) * 7 + x + right]);
                            let value = (byte / 255.0 - f64::from(MEAN[channel])) / f64::from(STD[channel]);
                            sum += f64::from(found.weights[filter * 12 + at]) * value;
                        }
                        sum
                    })
                    .collect();
                count += 1.0;
                for a in 0..24 {
                    sums[a] += out[a];
                    for b in 0..24 {
                        products[a * 24 + b] += out[a] * out[b];
                    }
                }
            }
        }
        let means: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        let covariance = (0..24 * 24).map(|at| products[at] / count - means[at / 24] * means[at % 24]).collect();
        (means, covariance)
    }

    #[test]
    fn whitened_patches_have_mean_0_and_the_identity_for_covariance() {
        let pictures = pictures(40);
        let found = whitening(&pictures, DIMS, 2, (MEAN, STD), 0.0);
        let (means, covariance) = moments(&pictures, &found);
        for a in 0..24 {
            assert!(means[a].abs() < 1e-4, "mean {a}: {}", means[a]);
            for b in 0..24 {
                let wanted = if a == b {
                    1.0
                } else if a % 12 == b % 12 {
                    -1.0
                } else {
                    0.0
                };
                let value = covariance[24 * a + b];
                assert!((value - wanted).abs() < 1e-4, "covariance of {a} and {b}: {value}");
            }
        }
        // Falling eigenvalues are rising filters; with epsilon a variance v becomes v / (v + epsilon).
        let norm = |of: &Whitening, row: usize| -> f64 {
            of.weights[12 * row..12 * row + 12].iter().map(|&w| f64::from(w).powi(2)).sum()
        };
        assert!((1..12).all(|row| norm(&found, row) >= norm(&found, row - 1)));
        let damped = whitening(&pictures, DIMS, 2, (MEAN, STD), 0.01);
        for row in 0..12 {
            let variance = 1.0 / norm(&found, row);
            let ratio = norm(&damped, row) * (variance + 0.01);
            assert!((ratio - 1.0).abs() < 1e-4, "row {row}: {ratio}");
        }
    }

    #[test]
    fn signs_are_fixed_and_nothing_is_no_trouble() {
        let pictures = pictures(10);
        let found = whitening(&pictures, DIMS, 2, (MEAN, STD), EPSILON);
        assert_eq!(found, whitening(&pictures, DIMS, 2, (MEAN, STD), EPSILON));
        for row in found.weights.chunks_exact(12).take(12) {
            let top = row.iter().copied().fold(0.0f32, |top, w| if w.abs() > 1.00001 * top.abs() { w } else { top });
            assert!(top > 0.0, "{row:?}");
        }
        assert!(found.weights[..144].iter().zip(&found.weights[144..]).all(|(a, b)| *a == -b));
        // One grey picture: every eigenvalue is 0.
        let flat = whitening(&[7; 3 * 63], DIMS, 2, (MEAN, STD), EPSILON);
        assert!(flat.weights.iter().chain(&flat.bias).all(|value| value.is_finite()));
        assert_eq!(unknown(2), [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0]);
    }
}
