//! The GPU floor: adapter, memory, kernels and the command stream.
//!
//! One [`Gpu`] owns a device. [`Tensor`]s are contiguous `f32` arrays on it, [`Words`] are `u32`
//! arrays (labels, indices, bytes four to a word). A [`Kernel`] names a WGSL file and its bindings;
//! [`Gpu::launch`] appends a dispatch to the command stream. Nothing reaches the queue until a value
//! is read or the stream is long enough, and nothing above this floor touches wgpu.

mod adapter;
mod check;
mod context;
mod error;
mod fault;
mod kernel;
mod pipelines;
mod pool;
mod precision;
mod profile;
mod rehearsal;
mod stream;
mod tensor;
mod translate;
mod unroll;

pub use adapter::{AdapterDetails, AdapterKind, AdapterSummary, list_adapters};
pub use context::{Broken, Choice, Gpu, GpuOptions, Place, Sources};
pub use error::GpuError;
pub use kernel::{Const, Grid, Kernel};
pub use pool::MemoryStats;
pub use precision::{Cooperative, Precision};
pub use profile::{Sample, Work};
pub use tensor::{Shape, Span, Tensor, Words};
pub(crate) use translate::devices_side_by_side;

/// The result of everything that can fail on the device or for want of a fitting shape.
pub type Result<T> = std::result::Result<T, GpuError>;
