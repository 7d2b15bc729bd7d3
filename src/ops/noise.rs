//! Uniform and normal random numbers made on the GPU, with the same bits everywhere (`shaders/noise.wgsl`).
//!
//! A normal number is the quantile of a 32-bit word, read from a table in fixed point (2^-20) and
//! interpolated in integers. The table is made here in f64 with `libm`, which is software arithmetic and
//! so the same on every machine. Each halving of the tail probability has 256 knots; the interpolation
//! error is below 2e-6 and the largest number is about 6.2.

use bytemuck::NoUninit;

use super::{kernel, launch_flat};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor, Words};
use crate::random::Purpose;

static UNIFORM: Kernel = kernel!("uniform_noise", "random" "noise", "uniform_noise", "w");
static NORMAL: Kernel = kernel!("normal_noise", "random" "noise", "normal_noise", "wr");

static NORMAL_OF_IMAGES: Kernel = kernel!("normal_noise", "random" "noise", "normal_of_images", "wr");

/// Which numbers: the stream `(seed, purpose, launch)`.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub seed: u64,
    pub purpose: Purpose,
    /// A number of its own for each launch of a run.
    pub launch: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    count: u32,
    item: u32,
    purpose: u32,
    seed: [u32; 2],
    offset: f32,
    factor: f32,
    blocks: u32,
}

impl Source {
    fn params(self, out: &Tensor, offset: f32, factor: f32) -> Params {
        Params {
            count: out.count() as u32,
            item: self.launch,
            purpose: self.purpose as u32,
            seed: [self.seed as u32, (self.seed >> 32) as u32],
            offset,
            factor,
            blocks: 0,
        }
    }
}

/// Fills `out` with numbers from `low` to `high`; `high` itself appears only where a sum is rounded up to it.
pub fn uniform(gpu: &Gpu, source: Source, low: f32, high: f32, out: &Tensor) -> Result<()> {
    let params = source.params(out, low, high - low);
    launch_flat(gpu, &UNIFORM, &[], &params, &[out.span()], out.count().div_ceil(4))
}

/// Fills `out` with normal numbers.
pub fn normal(gpu: &Gpu, source: Source, quantiles: &Quantiles, mean: f32, deviation: f32, out: &Tensor) -> Result<()> {
    let params = source.params(out, mean, deviation);
    launch_flat(gpu, &NORMAL, &[], &params, &[out.span(), quantiles.words.span()], out.count().div_ceil(4))
}

/// Fills `out` [N, ...] with standard normal numbers: image `i` of it from the stream of item `source.launch + i`, so that
/// an image's numbers do not depend on the batch that it is in. An image's size must be a multiple of four.
pub fn normal_of_images(gpu: &Gpu, source: Source, quantiles: &Quantiles, out: &Tensor) -> Result<()> {
    let size = out.count() / out.dims()[0];
    if !size.is_multiple_of(4) {
        let problem = format!("pictures of {size} elements, which is no multiple of four");
        return Err(GpuError::operand("normal_noise", problem));
    }
    let params = Params { blocks: (size / 4) as u32, ..source.params(out, 0.0, 1.0) };
    launch_flat(gpu, &NORMAL_OF_IMAGES, &[], &params, &[out.span(), quantiles.words.span()], out.count() / 4)
}

/// The table of normal quantiles on the device.
#[derive(Clone, Debug)]
pub struct Quantiles {
    words: Words,
}

impl Quantiles {
    /// Makes the table and uploads it.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let table: Vec<u32> = quantile_table().into_iter().map(|knot| knot as u32).collect();
        Ok(Self { words: gpu.words(&table)? })
    }
}

const KNOTS: usize = 256;
const OCTAVES: usize = 31;

/// Knot `j` of octave `o` is the upper quantile of (1 + j / 256) 2^(30 - o) / 2^32, times 2^20.
/// The last octave holds the word 0 too, which gets the quantile of the word 1.
pub fn quantile_table() -> Vec<i32> {
    let mut table = Vec::with_capacity(OCTAVES * (KNOTS + 1));
    for octave in 0..OCTAVES {
        for knot in 0..=KNOTS {
            let share = (1.0 + knot as f64 / KNOTS as f64) * libm::exp2(30.0 - octave as f64 - 32.0);
            table.push(libm::round(upper_quantile(share.min(0.5)) * 1_048_576.0) as i32);
        }
    }
    table
}

/// The z with P(Z > z) = tail, for a tail of at most one half: Newton's method on the complementary error
/// function, from Hastings' approximation (Abramowitz and Stegun 26.2.23).
fn upper_quantile(tail: f64) -> f64 {
    let t = libm::sqrt(-2.0 * libm::log(tail));
    let mut z =
        t - (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    for _ in 0..3 {
        let density = libm::exp(-0.5 * z * z) / libm::sqrt(2.0 * std::f64::consts::PI);
        z += (0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2) - tail) / density;
    }
    z
}

/// The normal number of one word, as the kernel computes it.
pub fn normal_of_word(table: &[i32], word: u32) -> f32 {
    let tail = word & 0x7fff_ffff;
    let octave = (tail.leading_zeros() - 1).min(30);
    let width = 30 - octave;
    let shifted = (tail & ((1u32 << width) - 1)) << (31 - width);
    let knot = (octave as usize) * (KNOTS + 1) + (shifted >> 23) as usize;
    let step = (table[knot] - table[knot + 1]) as u32;
    let fraction = (shifted >> 7) & 0xffff;
    let magnitude = (table[knot] - ((step * fraction) >> 16) as i32) as f32 * (1.0 / 1_048_576.0);
    if word >> 31 == 1 { -magnitude } else { magnitude }
}
