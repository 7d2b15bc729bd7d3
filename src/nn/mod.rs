//! Layers, networks and what trains them: initialisation, optimisers, schedules, checkpoints.

mod checkpoint;
mod layer;
mod network;
mod optimizer;
mod parameters;
mod schedule;
pub(crate) mod sealed;
pub mod whitening;

pub use checkpoint::{CheckpointError, NamedArray, StateDict};
pub use layer::{Layer, Mode};
pub use network::{Architecture, Bound, Network, Task};
pub use optimizer::{Optimizer, OptimizerKind};
pub use parameters::{Initial, Parameters, Spec};
pub use schedule::Schedule;
