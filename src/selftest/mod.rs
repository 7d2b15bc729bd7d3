//! Checks the engine on the user's own adapter.

pub mod reference;
