//! The adapter's own ceilings, and how near to the nearer one a kernel comes (a roofline: Williams et al. 2009).

use serde::Serialize;

use crate::gpu::{Gpu, Result, Work};
use crate::ops::ceiling::{self, Form};

use super::clock::{Budget, time};

/// What the adapter reaches when it does one thing only.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceilings {
    /// Multiply-adds in registers.
    pub gflops: f64,
    /// A copy of 64 MiB, read and written bytes counted both.
    pub gbps: f64,
    /// A copy of 2 MiB, which caches may hold: the ceiling of kernels that touch no more than [`CACHED`] bytes.
    pub gbps_cached: f64,
}

/// Up to here a kernel's operands may lie in a cache.
const CACHED: u64 = 32 << 20;

/// Which ceiling is the nearer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    Arithmetic,
    Memory,
}

impl Ceilings {
    /// Measures them. Several forms of the arithmetic kernel are tried, since adapters differ in what they like.
    pub fn measure(gpu: &Gpu) -> Result<Self> {
        // The best of the rounds counts, so there must be several, however short the rest of the benchmark is to be.
        let budget = Budget { seconds: 0.0, rounds: Some(10) };
        let mut gflops = 0.0f64;
        for (chains, vectors, fused) in [(8, false, true), (16, false, true), (4, true, true), (8, true, false)] {
            gflops = gflops.max(arithmetic(gpu, budget, Form { chains, vectors, fused })?);
        }
        let [gbps, small] = [64 << 20, 2 << 20].map(|bytes| copy(gpu, budget, bytes));
        let gbps = gbps?;
        Ok(Self { gflops, gbps, gbps_cached: gbps.max(small?) })
    }

    /// The share of the nearer ceiling that work done in so many milliseconds reaches, and which one that is.
    pub fn share(&self, work: Work, milliseconds: f64) -> (f64, Bound) {
        let gbps = if work.bytes <= CACHED { self.gbps_cached } else { self.gbps };
        let (arithmetic, memory) = (work.flops as f64 / self.gflops * 1e-6, work.bytes as f64 / gbps * 1e-6);
        let bound = if arithmetic >= memory { Bound::Arithmetic } else { Bound::Memory };
        (arithmetic.max(memory) / milliseconds, bound)
    }
}

/// Floating-point operations a second, in billions.
fn arithmetic(gpu: &Gpu, budget: Budget, form: Form) -> Result<f64> {
    let out = gpu.empty([4 * if gpu.adapter().is_software() { 1 << 12 } else { 1 << 18 }])?;
    let mut rounds = 32;
    loop {
        let mut launch = || ceiling::multiply_add(gpu, form, rounds, &out);
        let timing = time(gpu, budget, &mut launch)?;
        if timing.ms_min > 2.0 || rounds >= 1 << 20 {
            let values = if form.vectors { 4 } else { 1 };
            let flops = 8.0 * out.count() as f64 * f64::from(rounds) * f64::from(form.chains * values);
            return Ok(flops / timing.ms_min * 1e-6);
        }
        rounds *= 8;
    }
}

/// Bytes read and written a second, in billions.
fn copy(gpu: &Gpu, budget: Budget, bytes: usize) -> Result<f64> {
    let count = bytes.min(gpu.max_binding_bytes() as usize) / 16 * 4;
    let (from, to) = (gpu.filled([count], 1.0)?, gpu.empty([count])?);
    let timing = time(gpu, budget, &mut || ceiling::copy(gpu, &from, &to))?;
    Ok(8.0 * count as f64 / timing.ms_min * 1e-6)
}

#[cfg(test)]
mod tests {
    use super::{Bound, Ceilings, Work};

    #[test]
    fn the_nearer_ceiling_counts() {
        let ceilings = Ceilings { gflops: 100.0, gbps: 10.0, gbps_cached: 20.0 };
        let share = |flops, bytes| ceilings.share(Work { flops, bytes }, 2.0);
        assert_eq!(share(100_000_000, 1000), (0.5, Bound::Arithmetic));
        assert_eq!(share(1000, 20_000_000), (0.5, Bound::Memory));
        assert_eq!(share(1000, 40_000_000), (2.0, Bound::Memory), "too large for a cache");
    }
}
