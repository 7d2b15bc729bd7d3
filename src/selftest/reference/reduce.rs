//! Sum, mean, maximum, log-sum-exp and sums of absolute values and of squares along one dimension.

use crate::gpu::Shape;
use crate::ops::reduce::Reduction;

/// The lines of a tensor along dimension `dim`, in the order of the result: for each the indices of its elements.
pub fn lines(shape: Shape, dim: usize) -> Vec<Vec<usize>> {
    let dims = shape.dims();
    let (length, inner): (usize, usize) = (dims[dim], dims[dim + 1..].iter().product());
    let starts = (0..shape.count()).filter(|index| index / inner % length == 0);
    starts.map(|start| (0..length).map(|r| start + r * inner).collect()).collect()
}

/// What becomes of one line.
pub fn reduced(reduction: Reduction, line: &[f64]) -> f64 {
    let top = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match reduction {
        Reduction::Sum => line.iter().sum(),
        Reduction::Mean => line.iter().sum::<f64>() / line.len() as f64,
        Reduction::Max => top,
        Reduction::SumAbs => line.iter().map(|value| value.abs()).sum(),
        Reduction::SumSquares => line.iter().map(|value| value * value).sum(),
        Reduction::LogSumExp => top + line.iter().map(|value| (value - top).exp()).sum::<f64>().ln(),
    }
}

/// How the result of one line changes with each of its elements.
pub fn slopes(reduction: Reduction, line: &[f64]) -> Vec<f64> {
    let top = reduced(Reduction::Max, line);
    let first = line.iter().position(|&value| value == top);
    let total: f64 = line.iter().map(|value| (value - top).exp()).sum();
    let slope = |(r, value): (usize, &f64)| match reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean => 1.0 / line.len() as f64,
        Reduction::Max => f64::from(u8::from(first == Some(r))),
        Reduction::SumAbs => value.signum() * f64::from(u8::from(*value != 0.0)),
        Reduction::SumSquares => 2.0 * value,
        Reduction::LogSumExp => (value - top).exp() / total,
    };
    line.iter().enumerate().map(slope).collect()
}
