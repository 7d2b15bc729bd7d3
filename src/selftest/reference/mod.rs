//! Every operation once more, in f64 on the processor and as its definition reads: what the kernels are held against, by
//! `shadegrad selftest` on the user's adapter and by the tests in `kernels-tests` on ours.

pub mod activation;
pub mod batch_norm;
pub mod conv2d;
pub mod cross_entropy;
pub mod displace;
pub mod dropout;
pub mod gather;
pub mod kl_divergence;
pub mod margin;
pub mod matmul;
pub mod mse;
pub mod normalize;
pub mod optimizer;
pub mod perturb;
pub mod pool;
pub mod reduce;
pub mod select;

use crate::random::{Purpose, Stream};

/// `count` numbers in [-1, 1), the same for the same item.
pub fn random(item: u32, count: usize) -> Vec<f32> {
    let mut stream = Stream::new(99, Purpose::Test, item);
    (0..count).map(|_| 2.0 * stream.uniform() - 1.0).collect()
}

/// The same values with the 11 bits that f16 keeps: kernels that round to f16 then round nothing.
pub fn short(values: Vec<f32>) -> Vec<f32> {
    values.into_iter().map(|value| f32::from_bits((value.to_bits() + 0x1000) & !0x1fff)).collect()
}

/// How far an f32 result may be off. A sum of `terms` products of size about one is off by at most about `terms`
/// roundings of the largest value; the factor allows for exp, erf and divisions on the way.
pub fn tolerance(wanted: &[f64], terms: usize) -> f64 {
    let scale = wanted.iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
    scale * f64::from(f32::EPSILON) * (8.0 + 2.0 * terms as f64)
}

/// f32 as f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}
