//! Out-of-distribution scores and the metrics that judge them.

pub mod metrics;
pub mod scores;
