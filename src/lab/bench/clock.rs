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
    /// On a software adapter, where the system tells: the processor's time for a round, over all cores. What else the
    /// machine does slows the clock on the wall by any factor, and this one by little.
    pub ms_processor: Option<f64>,
}

/// How many times as long the one took as the other: by the processor's time where both have it.
pub(super) fn ratio(one: Timing, other: Timing) -> f64 {
    match (one.ms_processor, other.ms_processor) {
        (Some(one), Some(other)) => one / other,
        _ => one.ms_median / other.ms_median,
    }
}

/// The processor's time of this process so far, in milliseconds; Linux counts it in hundredths of a second.
fn processor() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may hold anything; user and system time are the 14th and 15th.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 * 10.0)
}

/// Reads the processor's time over some rounds.
pub(super) struct Processor(Option<f64>);

impl Processor {
    /// Starts, if kernels run on the processor at all.
    pub(super) fn start(gpu: &Gpu) -> Self {
        Self(processor().filter(|_| gpu.adapter().is_software()))
    }

    /// For each of so many rounds; nothing where the count's steps are too coarse.
    pub(super) fn each(self, rounds: usize) -> Option<f64> {
        let spent = processor()? - self.0?;
        (spent >= 100.0).then(|| spent / rounds as f64)
    }
}

impl Timing {
    /// From what each round took.
    pub(super) fn of(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_by(f64::total_cmp);
        let rounds = milliseconds.len();
        let at = |index: usize| milliseconds.get(index).copied().unwrap_or(f64::NAN);
        let ms_median = 0.5 * (at(rounds / 2) + at(rounds.saturating_sub(1) / 2));
        Self { ms_median, ms_min: at(0), ms_max: at(rounds.saturating_sub(1)), rounds, ms_processor: None }
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
        let spent = Processor::start(gpu);
        for _ in 0..rounds {
            launch()?;
            // Systems stop a device that is busy with one submit for seconds.
            gpu.flush()?;
        }
        let samples = gpu.take_profile()?;
        // Every round launches the same.
        let each = (samples.len() / rounds).max(1);
        let sums = samples.chunks_exact(each).map(|round| round.iter().map(|one| one.nanoseconds() * 1e-6).sum());
        let timing = Timing { ms_processor: spent.each(rounds), ..Timing::of(sums.collect()) };
        // A driver whose clock is too coarse for this kernel says that it took no time.
        if timing.ms_min > 0.0 {
            return Ok(timing);
        }
    }
    let mut milliseconds = Vec::with_capacity(rounds);
    let spent = Processor::start(gpu);
    for _ in 0..rounds {
        let begun = Instant::now();
        launch()?;
        gpu.wait()?;
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Timing { ms_processor: spent.each(rounds), ..Timing::of(milliseconds) })
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
