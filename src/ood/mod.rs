//! Out-of-distribution scores and the metrics that judge them.

pub mod features;
pub mod fit;
pub mod metrics;
pub mod scores;
