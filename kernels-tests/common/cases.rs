//! Random cases that are the same in every run, places inside larger buffers, refusals, and evenness.
#![allow(dead_code)] // each test file uses its own part of this one

use proptest::prelude::Strategy;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use shadegrad::gpu::{Gpu, GpuError, Result, Shape, Tensor};

/// Runs `check` on `cases` values of `strategy`. A value that fails is made smaller before it is shown; each
/// attempt at that may compile kernels, so there are few.
pub fn for_cases<S: Strategy>(cases: u32, strategy: S, check: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 64, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let outcome = TestRunner::new_with_rng(config, random).run(&strategy, |case| {
        check(case);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Extents up to `most`: one, primes, and the neighbours of powers of two and of the workgroup's 64.
pub fn extent(most: usize) -> impl Strategy<Value = usize> {
    let all = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 37, 63, 64, 65, 67, 127, 128, 129, 131, 257];
    select(all.into_iter().filter(|&extent| extent <= most).collect::<Vec<usize>>())
}

/// What stands in the memory around a [`Place`].
const NEIGHBOUR: f32 = 1234.5;

/// A tensor full of NaN in the midst of a larger buffer, as a parameter's gradient lies in the flat one.
pub struct Place {
    pub tensor: Tensor,
    whole: Tensor,
}

impl Place {
    const START: usize = 64;

    pub fn new(gpu: &Gpu, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        let whole = gpu.filled([2 * Self::START + shape.count()], NEIGHBOUR).unwrap();
        let tensor = whole.slice(Self::START, shape).unwrap();
        gpu.fill(&tensor, f32::NAN).unwrap();
        Self { tensor, whole }
    }

    /// The elements, after a look at the neighbours.
    pub fn read(&self, gpu: &Gpu) -> Vec<f32> {
        let whole = gpu.read(&self.whole).unwrap();
        let end = Self::START + self.tensor.count();
        for (index, &value) in whole.iter().enumerate() {
            let inside = (Self::START..end).contains(&index);
            assert!(
                inside || value == NEIGHBOUR,
                "element {index} of a neighbour of {}..{end} was changed",
                Self::START
            );
        }
        whole[Self::START..end].to_vec()
    }
}

/// The call must be refused with a message that has all of `parts`: the operation's name and the shapes.
pub fn refused<T>(result: Result<T>, parts: &[&str]) {
    let error = result.err().unwrap_or_else(|| panic!("a call that should say {parts:?} went through"));
    assert!(matches!(error, GpuError::Operand { .. }), "{error}");
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "'{message}' does not name '{part}'");
    }
}

/// The bits of each element: equal where `==` would call -0 and 0 equal, or NaN and NaN different.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Asserts that `counts` of equally likely values are as even as chance makes them: Pearson's chi-square, made
/// normal as Wilson and Hilferty (1931) do, within 4.5 standard deviations.
pub fn assert_uniform(what: &str, counts: &[u64]) {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    assert!(expected >= 5.0, "{what}: too few draws for the statistic");
    let statistic: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    let spread = 2.0 / (9.0 * freedom);
    let distance = ((statistic / freedom).cbrt() - (1.0 - spread)) / spread.sqrt();
    assert!(distance.abs() <= 4.5, "{what}: chi-square {statistic:.1} at {freedom} degrees of freedom");
}
