//! The tape: it records operations going forward and walks them once, newest first, going backward.
//!
//! [`Tape::backward`] takes the variables that are wanted and launches only the kernels that reach them: a
//! training step wants the weights, an attack wants the pixels and runs no weight-gradient kernel.

mod record;
mod tape;
mod value;

pub use record::BatchNorm;
pub use tape::{Gradients, Start, Tape, Var};
