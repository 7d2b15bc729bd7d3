//! shadegrad
pub mod gpu;
pub mod ops;
pub mod random;
