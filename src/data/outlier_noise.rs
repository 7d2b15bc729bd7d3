//! Noise that papers on out-of-distribution detection use beside FakeData: Gaussian, Rademacher and blobs, as in "Deep
//! Anomaly Detection with Outlier Exposure" (Hendrycks et al. 2019, OE below), whose pictures are in [-1, 1].
//!
//! Every picture is a function of the seed and its number alone.

use crate::random::{Purpose, Stream};

use super::noise::normal_pair;
use super::{Images, SIZE};

/// Draws each picture from its own stream.
fn each(seed: u64, purpose: Purpose, count: usize, mut draw: impl FnMut(&mut Stream) -> Vec<u8>) -> Images {
    let mut images = Images::default();
    for index in 0..count as u32 {
        images.push(0, &draw(&mut Stream::new(seed, purpose, index)));
    }
    images
}

/// OE's Gaussian noise: normal with mean 0 and deviation 0.5 on [-1, 1], cut off there: in bytes 127.5 and 63.75, rounded.
/// (pytorch-ood's has mean and deviation 128.)
pub fn gaussian_noise(seed: u64, count: usize) -> Images {
    each(seed, Purpose::GaussianImages, count, |stream| {
        let mut picture = Vec::with_capacity(SIZE);
        while picture.len() < SIZE {
            // A float becomes the nearest byte that there is.
            picture.extend(normal_pair(stream).map(|z| libm::round(127.5 + 63.75 * z) as u8));
        }
        picture
    })
}

/// OE's Rademacher noise: every value is the smallest or the largest, as likely as not.
pub fn rademacher_noise(seed: u64, count: usize) -> Images {
    each(seed, Purpose::RademacherImages, count, |stream| {
        (0..SIZE).map(|_| if stream.next_word() >> 31 == 1 { 255 } else { 0 }).collect()
    })
}

/// OE's blobs: values that are 1 with probability 0.7 and else 0, blurred by a Gaussian of deviation 1.5 over rows,
/// columns and (OE's filter does not know channels from pixels) channels; what is below 0.75 becomes 0.
pub fn blobs(seed: u64, count: usize) -> Images {
    let weights = gaussian_weights();
    each(seed, Purpose::BlobImages, count, |stream| {
        // 0.7 of all words.
        let mut values: Vec<f64> = (0..SIZE).map(|_| f64::from(u8::from(stream.next_word() < 3_006_477_107))).collect();
        // Planar: channels are 1024 apart, rows 32, columns 1.
        for (length, stride) in [(32, 32), (32, 1), (3, 1024)] {
            values = blurred(&values, length, stride, &weights);
        }
        values.iter().map(|&value| if value < 0.75 { 0 } else { libm::round(255.0 * value) as u8 }).collect()
    })
}

/// Deviation 1.5, cut off at four of them, as scipy's filter is.
fn gaussian_weights() -> [f64; 13] {
    let raw: [f64; 13] = std::array::from_fn(|at| libm::exp(-0.5 * ((at as f64 - 6.0) / 1.5).powi(2)));
    let sum: f64 = raw.iter().sum();
    raw.map(|weight| weight / sum)
}

/// Blurs along one dimension, with the value at the edge beyond it.
fn blurred(values: &[f64], length: usize, stride: usize, weights: &[f64; 13]) -> Vec<f64> {
    let last = length as i64 - 1;
    (0..values.len())
        .map(|index| {
            let place = (index / stride % length) as i64;
            let start = index - place as usize * stride;
            let near = |(offset, weight): (i64, &f64)| {
                weight * values[start + (place + offset - 6).clamp(0, last) as usize * stride]
            };
            (0i64..).zip(weights).map(near).sum()
        })
        .collect()
}
