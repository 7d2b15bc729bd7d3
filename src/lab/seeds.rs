//! What several seeds say together: mean, spread, and whether two models can be told apart.

use serde::Serialize;

use crate::lab::axis::share;

/// Student's t: 97.5 % of the distribution lie below, for 1 to 30 degrees of freedom.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// For degrees of freedom rounded down, which makes intervals wider rather than narrower. (The slack keeps a whole number
/// whole that was computed a bit below.)
fn t(freedom: f64) -> f64 {
    let at = (freedom + 1e-9).floor().max(1.0) as usize;
    T.get(at - 1).copied().unwrap_or(T[29])
}

/// One number of several seeds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    pub(super) values: Vec<f64>,
    pub(super) mean: f64,
    /// Of the sample (n - 1); none for one seed.
    pub(super) deviation: Option<f64>,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Summary {
    /// `None` without values.
    pub(super) fn of(values: Vec<f64>) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean,
            deviation: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            values,
        })
    }

    /// `0.512 ± 0.110`, or the number alone where there is but one.
    pub(super) fn text(&self) -> String {
        let mean = share(self.mean, 3);
        self.deviation
            .filter(|deviation| deviation.is_finite())
            .map_or_else(|| mean.clone(), |deviation| format!("{mean}\u{a0}±\u{a0}{deviation:.3}"))
    }

    /// The same for shares in percent.
    pub(super) fn percent(&self) -> String {
        if !self.mean.is_finite() {
            return "–".to_owned();
        }
        let mean = format!("{:.1}", 100.0 * self.mean);
        match self.deviation {
            Some(deviation) => format!("{mean}\u{a0}±\u{a0}{:.1}\u{a0}%", 100.0 * deviation),
            None => format!("{mean}\u{a0}%"),
        }
    }

    /// The 95 % interval of the mean, by Student's t; none for one seed.
    pub(super) fn interval(&self) -> Option<(f64, f64)> {
        let half = t(self.values.len() as f64 - 1.0) * self.error()?.sqrt();
        Some((self.mean - half, self.mean + half))
    }

    /// Square of the mean's standard error.
    fn error(&self) -> Option<f64> {
        self.deviation.map(|deviation| deviation * deviation / self.values.len() as f64)
    }
}

/// How one number stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Verdict {
    Higher,
    Lower,
    Undecided,
    /// Without a spread there is nothing to compare by.
    OneSeed,
}

impl Verdict {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Undecided => "cannot be told apart with these seeds",
            Self::OneSeed => "one seed only, no spread to judge by",
        }
    }

    pub(super) fn from_interval(middle: f64, half: f64) -> Self {
        if middle - half > 0.0 {
            Self::Higher
        } else if middle + half < 0.0 {
            Self::Lower
        } else {
            Self::Undecided
        }
    }
}

/// How far the mean of `a` lies above that of `b`, and half of the difference's 95 % interval (Welch, who lets the two
/// have different spreads); none where one of them has one seed.
pub(super) fn difference(a: &Summary, b: &Summary) -> Option<(f64, f64)> {
    let (ea, eb) = (a.error()?, b.error()?);
    let parts = ea * ea / (a.values.len() as f64 - 1.0) + eb * eb / (b.values.len() as f64 - 1.0);
    let freedom = if parts > 0.0 { (ea + eb).powi(2) / parts } else { 1.0 };
    Some((a.mean - b.mean, t(freedom) * (ea + eb).sqrt()))
}

/// Whether `a` is higher or lower than `b`: the 95 % interval of the difference of means must leave out zero.
pub(super) fn compare(a: &Summary, b: &Summary) -> Verdict {
    difference(a, b).map_or(Verdict::OneSeed, |(middle, half)| Verdict::from_interval(middle, half))
}

/// How the mean stands to a fixed number.
pub(super) fn compare_to(a: &Summary, level: f64) -> Verdict {
    match a.error() {
        Some(error) => Verdict::from_interval(a.mean - level, t(a.values.len() as f64 - 1.0) * error.sqrt()),
        None => Verdict::OneSeed,
    }
}

#[cfg(test)]
mod tests {
    use super::{Summary, Verdict, compare, compare_to, difference};

    fn summary(values: &[f64]) -> Summary {
        Summary::of(values.to_vec()).unwrap()
    }

    #[test]
    fn spread_is_the_samples() {
        let two = summary(&[0.4, 0.6]);
        assert!((two.deviation.unwrap() - 0.02f64.sqrt()).abs() < 1e-12);
        assert_eq!(two.text(), "0.500\u{a0}±\u{a0}0.141");
        assert_eq!(summary(&[0.5]).text(), "0.500");
        assert_eq!(summary(&[0.5]).percent(), "50.0\u{a0}%");
        assert!(Summary::of(Vec::new()).is_none());
    }

    /// By hand: of 1, 2, 3 the deviation is 1 and t for 2 degrees of freedom is 4.303; of 1, 2, 3 and 4, 6, 8 Welch has
    /// standard errors squared of 1/3 and 4/3, so (5/3)^2 / ((1/9 + 16/9) / 2) = 2.94 degrees of freedom, rounded down.
    #[test]
    fn intervals_by_hand() {
        let (low, high) = summary(&[1.0, 2.0, 3.0]).interval().unwrap();
        assert!((low - (2.0 - 4.303 / 3f64.sqrt())).abs() < 1e-12 && (high + low - 4.0).abs() < 1e-12);
        assert!(summary(&[1.0]).interval().is_none());
        let (middle, half) = difference(&summary(&[4.0, 6.0, 8.0]), &summary(&[1.0, 2.0, 3.0])).unwrap();
        assert!((middle - 4.0).abs() < 1e-12 && (half - 4.303 * (5.0f64 / 3.0).sqrt()).abs() < 1e-12);
        // The same spread on both sides: 4 degrees of freedom, whatever the rounding.
        let (_, half) = difference(&summary(&[0.1, 0.2, 0.3]), &summary(&[0.4, 0.5, 0.6])).unwrap();
        assert!((half - 2.776 * (2.0f64 / 300.0).sqrt()).abs() < 1e-9);
        assert!(difference(&summary(&[1.0]), &summary(&[1.0, 2.0])).is_none());
    }

    #[test]
    fn verdicts() {
        let (low, high) = (summary(&[0.3, 0.4, 0.35, 0.45, 0.5]), summary(&[0.9, 0.91, 0.92, 0.9, 0.93]));
        assert_eq!(compare(&high, &low), Verdict::Higher);
        assert_eq!(compare(&low, &high), Verdict::Lower);
        assert_eq!(compare(&low, &low), Verdict::Undecided);
        assert_eq!(compare(&low, &summary(&[0.9])), Verdict::OneSeed);
        // Two seeds each, close together within and not far apart between: 12.7 standard errors are a lot.
        assert_eq!(compare(&summary(&[0.5, 0.52]), &summary(&[0.56, 0.6])), Verdict::Undecided);
        assert_eq!(compare(&summary(&[1.0, 1.0]), &summary(&[0.9, 0.9])), Verdict::Higher);
        assert_eq!(compare(&summary(&[1.0, 1.0]), &summary(&[1.0, 1.0])), Verdict::Undecided);
        assert_eq!(compare_to(&low, 0.5), Verdict::Lower);
        assert_eq!(compare_to(&high, 0.5), Verdict::Higher);
        assert_eq!(compare_to(&summary(&[0.4, 0.6]), 0.5), Verdict::Undecided);
    }
}
