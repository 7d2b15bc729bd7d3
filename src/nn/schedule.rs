//! Learning rates over a run.

use serde::Serialize;

/// How the learning rate changes. Progress is counted in steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Multiplied by `factor` after each `every` steps.
    Step { every: u64, factor: f64 },
    /// Half a cosine from the full rate to zero (Loshchilov and Hutter 2017).
    Cosine,
    /// Linearly up from zero until the share `peak` of the run, then linearly down to zero: the
    /// triangle that one-cycle training uses (Smith 2017).
    Triangular { peak: f64 },
}

impl Schedule {
    /// The rate of step `step` (from 0) of `total`, for a full rate of `rate`.
    pub fn rate(self, rate: f64, step: u64, total: u64) -> f64 {
        let progress = step as f64 / total.max(1) as f64;
        match self {
            Self::Constant => rate,
            Self::Step { every, factor } => rate * libm::pow(factor, (step / every.max(1)) as f64),
            Self::Cosine => rate * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress)),
            Self::Triangular { peak } => {
                // The middle of the step, so that neither the first nor the last step is without effect.
                let middle = (step as f64 + 0.5) / total.max(1) as f64;
                rate * if middle < peak { middle / peak } else { (1.0 - middle) / (1.0 - peak) }.max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn schedules_have_their_known_values() {
        assert_eq!(Schedule::Constant.rate(0.1, 7, 10), 0.1);
        assert_eq!(Schedule::Step { every: 3, factor: 0.5 }.rate(1.0, 6, 10), 0.25);
        assert_eq!(Schedule::Cosine.rate(1.0, 0, 10), 1.0);
        assert!((Schedule::Cosine.rate(1.0, 5, 10) - 0.5).abs() < 1e-12);
        assert!(Schedule::Cosine.rate(1.0, 10, 10).abs() < 1e-12);
        let triangle = Schedule::Triangular { peak: 0.25 };
        let rates: Vec<f64> = (0..8).map(|step| triangle.rate(1.0, step, 8)).collect();
        assert!((rates[0] - 0.25).abs() < 1e-12 && (rates[1] - 0.75).abs() < 1e-12);
        assert!(rates[2..].windows(2).all(|pair| pair[0] > pair[1]) && rates[7] > 0.0);
    }
}
