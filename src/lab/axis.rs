//! Axes with round ticks, and numbers as people read them: for the plots and for the report.

/// How the values of an axis are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::lab) enum Unit {
    Plain,
    /// The value is a share and is written in percent.
    Percent,
}

/// A linear axis with round ticks.
pub(in crate::lab) struct Axis {
    pub(in crate::lab) low: f64,
    pub(in crate::lab) high: f64,
    step: f64,
    unit: Unit,
}

impl Axis {
    /// An axis over exactly `low..high` with about `count` ticks inside.
    pub(in crate::lab) fn exact(low: f64, high: f64, count: f64, unit: Unit) -> Self {
        let step = round_step((high - low) / count);
        Self { low, high, step, unit }
    }

    /// As [`Axis::exact`], with the ends moved outward to the next tick.
    pub(in crate::lab) fn rounded(low: f64, high: f64, count: f64, unit: Unit) -> Self {
        let step = round_step((high - low) / count);
        // The slack keeps an end that is a tick up to rounding from gaining another step.
        Self { low: (low / step + 1e-9).floor() * step, high: (high / step - 1e-9).ceil() * step, step, unit }
    }

    /// An axis for the epochs 1 to `count`, ticked on whole epochs.
    pub(in crate::lab) fn epochs(count: usize, ticks: f64) -> Self {
        let last = count as f64;
        let (low, high) = if count > 1 { (1.0, last) } else { (0.5, 1.5) };
        Self { low, high, step: round_step((high - low) / ticks).max(1.0).round(), unit: Unit::Plain }
    }

    /// Where a value stands, 0 at the low end and 1 at the high end, held to that range.
    pub(in crate::lab) fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    pub(in crate::lab) fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-9).ceil();
        let count = ((self.high / self.step + 1e-9).floor() - first).max(0.0);
        // The cap is for axes so far from zero that adding a step does nothing.
        (0..=(count as usize).min(50)).map(|i| (first + i as f64) * self.step).collect()
    }

    /// A tick's text.
    pub(in crate::lab) fn label(&self, value: f64) -> String {
        match self.unit {
            Unit::Plain => number(value, self.step),
            Unit::Percent => number(value * 100.0, self.step * 100.0) + " %",
        }
    }
}

/// The next of 1, 2, 2.5 and 5 times a power of ten that is at least `step`: a distance between
/// ticks that people can add in their heads.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let times = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|times| times * power >= step * 0.999).unwrap_or(10.0);
    times * power
}

/// A tick's value with the decimals its step needs, a true minus and thousands apart.
fn number(value: f64, step: f64) -> String {
    // Zero may come out as -0 or as a rest of rounding.
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    let largest = value.abs().max(step);
    let text = if value == 0.0 && !(1e-5..1e7).contains(&step) {
        "0".to_owned()
    } else if !(1e-4..1e7).contains(&largest) {
        format!("{value:.1e}")
    } else {
        let decimals = (0..6usize).find(|&d| {
            let scaled = step * 10f64.powi(d as i32);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        });
        thousands(&format!("{value:.*}", decimals.unwrap_or(6)))
    };
    text.replace('-', "\u{2212}")
}

/// Commas between the groups of three digits before the decimal point.
pub(in crate::lab) fn thousands(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// A length in pixel units as a multiple of 1/255, as names and people have it.
pub(crate) fn in_255ths(eps: f64) -> f64 {
    // What was a whole number is one again, whatever rounding the division left.
    (eps * 255.0 * 1e4).round() / 1e4
}

/// Three decimals with a true minus, and a plus where it is wanted.
pub(in crate::lab) fn signed(value: f64, plus: bool) -> String {
    let text = if plus { format!("{value:+.3}") } else { format!("{value:.3}") };
    text.replace('-', "\u{2212}")
}

/// A share to so many decimals, never rounded up to 1 nor down to 0; a dash for what is no number.
pub(in crate::lab) fn share(value: f64, decimals: usize) -> String {
    let half = 0.5 * 10f64.powi(-(decimals as i32));
    if !value.is_finite() {
        "–".to_owned()
    } else if value < 1.0 && value > 1.0 - half {
        format!("> {:.decimals$}", 1.0 - 2.0 * half)
    } else if value > 0.0 && value < half {
        format!("< {:.decimals$}", 2.0 * half)
    } else {
        format!("{value:.decimals$}")
    }
}
