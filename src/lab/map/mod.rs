//! `shadegrad map`: the lab's question over everything that may decide its answer.
//!
//! A cell is one training run: a model, a defence at an epsilon, a seed. It is measured after each epoch of the plan:
//! clean accuracy, accuracy under FGSM and PGD, and every score against every set of other pictures. Cells know nothing of
//! each other: each has a folder of its own with a lock ([`run`]), and any number of processes can work on one folder or
//! on several, which [`merge`] puts together.

mod conclude;
mod measure;
mod merge;
mod plan;
mod record;
mod run;
mod summary;

pub(in crate::lab) use conclude::NAMED;
pub use conclude::conclusions;
pub use merge::{Merged, REPORT, merge, write};
pub use plan::{Cell, MAX_SEEDS, Map, Material, NONE, Outside, Pictures, Plan, Share, Sources};
pub use record::{Attacked, CellResult, Detected, Measured, Trained};
pub use run::{CARE, Care, Outcome, Progress, begin, cell, check_plan, is_begun, read_finished};
pub use summary::Line;
