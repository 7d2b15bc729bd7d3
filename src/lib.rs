//! shadegrad: a GPU tensor engine written from nothing, and the laboratory that stands on it.
//!
//! Hand-written WGSL kernels under [`ops`] feed a small autograd tape ([`autograd`]); on it stand layers
//! and optimisers ([`nn`]), models ([`models`]), data ([`data`]), attacks ([`attack`]), out-of-distribution scores
//! ([`ood`]) and the experiments ([`lab`]). [`gpu`] is the only floor that knows wgpu. A module uses only those below
//! it: `cli` over `lab` and [`selftest`] over `attack`, `ood`, `models` and `data` over `nn` over `autograd` over `ops` over
//! `gpu`.

pub mod attack;
pub mod autograd;
pub mod cli;
pub mod data;
pub mod files;
pub mod gpu;
pub mod kept;
pub mod lab;
pub mod lock;
pub mod models;
pub mod nn;
pub mod ood;
pub mod ops;
pub mod random;
pub mod selftest;
