//! Matrix products.

use crate::gpu::Gpu;
use crate::ops::matmul::Variant;

/// A product's extents, and which operands lie transposed in memory.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub flip_a: bool,
    pub flip_b: bool,
}

impl Product {
    pub fn new(m: usize, n: usize, k: usize, flip_a: bool, flip_b: bool) -> Self {
        Self { m, n, k, flip_a, flip_b }
    }

    /// Of the first operand in memory.
    pub fn a_dims(self) -> [usize; 2] {
        if self.flip_a { [self.k, self.m] } else { [self.m, self.k] }
    }

    /// Of the second one.
    pub fn b_dims(self) -> [usize; 2] {
        if self.flip_b { [self.n, self.k] } else { [self.k, self.n] }
    }

    /// Whether a kernel can compute it: some read B in whole vectors, some only B as it lies.
    pub fn fits(self, gpu: &Gpu, variant: Variant) -> bool {
        variant.fits(self.n, self.k, self.flip_b) && variant.runs_on(gpu)
    }

    /// The kernels that can.
    pub fn variants(self, gpu: &Gpu) -> impl Iterator<Item = Variant> {
        Variant::ALL.into_iter().filter(move |&variant| self.fits(gpu, variant))
    }
}

/// C = A B + bias, then ReLU.
pub fn product(case: Product, a: &[f32], b: &[f32], bias: Option<&[f32]>, relu: bool) -> Vec<f64> {
    let Product { m, n, k, flip_a, flip_b } = case;
    let mut c = Vec::with_capacity(m * n);
    for row in 0..m {
        for column in 0..n {
            let mut sum = bias.map_or(0.0, |bias| f64::from(bias[column]));
            for inner in 0..k {
                let left = if flip_a { a[inner * m + row] } else { a[row * k + inner] };
                let right = if flip_b { b[column * k + inner] } else { b[inner * n + column] };
                sum += f64::from(left) * f64::from(right);
            }
            c.push(if relu { sum.max(0.0) } else { sum });
        }
    }
    c
}
