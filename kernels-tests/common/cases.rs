//! Random cases from a fixed seed, so that every run of a test sees the same ones.
#![allow(dead_code)] // each test file uses its own part of this one

use std::fmt::Debug;

use proptest::prelude::Strategy;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use shadegrad::gpu::GpuError;

/// Runs `test` on `count` values; a failing one is shrunk before it is shown.
pub fn for_each<S: Strategy>(count: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config { cases: count, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |value| {
        test(value);
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

/// Asserts that a call failed as an operation's operand error, with a text that holds all of `parts`.
pub fn assert_operand_error<T: Debug>(result: Result<T, GpuError>, parts: &[&str]) {
    let error = result.expect_err("the operands do not fit");
    assert!(matches!(error, GpuError::Operand { .. }), "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "'{text}' does not name '{part}'");
    }
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
