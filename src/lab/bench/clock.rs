//! How long something takes on the device: warm-up, then rounds, then their median and spread.

use std::time::Instant;

use serde::Serialize;

use crate::gpu::{Gpu, Result};

/// How much time a measurement may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Seconds a row, about; three rounds are run at the least.
    pub seconds: f64,
    /// So many rounds, whatever they take.
    pub rounds: Option<usize>,
}

impl Budget {
    /// How many rounds of something that takes `seconds`.
    pub(super) fn rounds(self, seconds: f64) -> usize {
        self.rounds.unwrap_or(((self.seconds / seconds.max(1e-9)) as usize).clamp(3, 200)).max(1)
    }
}

/// What the rounds took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Timing {
    pub ms_median: f64,
    pub ms_min: f64,
    pub ms_max: f64,
    pub rounds: usize,
}

impl Timing {
    /// From what each round took.
    pub(super) fn of(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_by(f64::total_cmp);
        let rounds = milliseconds.len();
        let at = |index: usize| milliseconds.get(index).copied().unwrap_or(f64::NAN);
        let ms_median = 0.5 * (at(rounds / 2) + at(rounds.saturating_sub(1) / 2));
        Self { ms_median, ms_min: at(0), ms_max: at(rounds.saturating_sub(1)), rounds }
    }
}

/// Times what `launch` appends to the stream: on the device where it has timestamps (the sum over the dispatches of
/// a round, without the gaps between them), else from the call to the end of the wait for it.
pub fn time(gpu: &Gpu, budget: Budget, launch: &mut dyn FnMut() -> Result<()>) -> Result<Timing> {
    // The first call compiles; the second says how many there is time for.
    let mut seconds = 0.0;
    for _ in 0..2 {
        gpu.wait()?;
        let begun = Instant::now();
        launch()?;
        gpu.wait()?;
        seconds = begun.elapsed().as_secs_f64();
    }
    let rounds = budget.rounds(seconds);
    if gpu.has_timestamps() {
        gpu.start_profile()?;
        for _ in 0..rounds {
            launch()?;
            // Systems stop a device that is busy with one submit for seconds.
            gpu.flush()?;
        }
        let samples = gpu.take_profile()?;
        // Every round launches the same.
        let each = (samples.len() / rounds).max(1);
        let sums = samples.chunks_exact(each).map(|round| round.iter().map(|one| one.nanoseconds() * 1e-6).sum());
        let timing = Timing::of(sums.collect());
        // A driver whose clock is too coarse for this kernel says that it took no time.
        if timing.ms_min > 0.0 {
            return Ok(timing);
        }
    }
    let mut milliseconds = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = Instant::now();
        launch()?;
        gpu.wait()?;
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Timing::of(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::{Budget, Timing};

    #[test]
    fn medians_and_rounds() {
        assert_eq!(Timing::of(vec![3.0, 1.0, 2.0]).ms_median, 2.0);
        let even = Timing::of(vec![4.0, 1.0, 2.0, 9.0]);
        assert_eq!((even.ms_median, even.ms_min, even.ms_max, even.rounds), (3.0, 1.0, 9.0, 4));
        let budget = Budget { seconds: 0.5, rounds: None };
        assert_eq!([10.0, 0.05, 1e-6].map(|seconds| budget.rounds(seconds)), [3, 10, 200]);
        assert_eq!(Budget { rounds: Some(1), ..budget }.rounds(1e-6), 1);
    }
}
