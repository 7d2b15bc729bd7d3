//! Random cases that are the same in every run, places inside larger buffers, and refusals.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use shadegrad::gpu::{Gpu, Result, Shape, Tensor};

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

/// Extents that meet a tile's edge from both sides, primes, and one.
pub fn extent() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), 2usize..12, prop::sample::select(vec![13, 16, 17, 29, 32, 33, 37, 64, 67])]
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
    let message = result.err().unwrap_or_else(|| panic!("a call that should say {parts:?} went through")).to_string();
    for part in parts {
        assert!(message.contains(part), "'{message}' does not name '{part}'");
    }
}

/// The bits of each element: equal where `==` would call -0 and 0 equal, or NaN and NaN different.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
