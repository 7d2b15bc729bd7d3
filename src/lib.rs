//! shadegrad
pub mod autograd;
pub mod files;
pub mod gpu;
pub mod models;
pub mod nn;
pub mod ops;
pub mod random;
