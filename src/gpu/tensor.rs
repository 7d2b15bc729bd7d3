//! Arrays on the device: `f32` tensors and `u32` words.

use std::fmt;
use std::rc::Rc;

use super::pool::Storage;
use super::{GpuError, Result};

/// The extent of a tensor: one to four dimensions, outermost first (NCHW for pictures).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; 4],
    rank: usize,
}

impl Shape {
    /// A shape from its dimensions (at most four; more are an error).
    pub fn new(dims: &[usize]) -> Result<Self> {
        let rank = dims.len();
        if rank == 0 || rank > 4 {
            return Err(GpuError::operand("shape", format!("{dims:?} has {rank} dimensions, 1 to 4 are possible")));
        }
        let mut padded = [1; 4];
        padded[..rank].copy_from_slice(dims);
        Ok(Self { dims: padded, rank })
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// How many dimensions there are.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many elements a tensor of this shape has.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }
}

macro_rules! shape_from_array {
    ($($rank:literal),*) => {$(
        impl From<[usize; $rank]> for Shape {
            fn from(dims: [usize; $rank]) -> Self {
                let mut padded = [1; 4];
                padded[..$rank].copy_from_slice(&dims);
                Self { dims: padded, rank: $rank }
            }
        }
    )*};
}
shape_from_array!(1, 2, 3, 4);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A stretch of a buffer: what a kernel binds. Clones share the memory.
#[derive(Clone, Debug)]
pub struct Span {
    pub(super) storage: Rc<Storage>,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Whether what is written there is to be looked at for NaN and infinities: `f32` that has no gaps ([`Tensor::with_gaps`]),
    /// and not `u32`.
    pub(super) is_checked: bool,
}

/// A contiguous `f32` array on the device. Clones share the memory; the buffer goes back to the pool
/// with the last of them.
#[derive(Clone, Debug)]
pub struct Tensor {
    span: Span,
    shape: Shape,
}

impl Tensor {
    pub(super) fn new(storage: Rc<Storage>, shape: Shape) -> Self {
        Self { span: Span { storage, offset: 0, bytes: 4 * shape.count() as u64, is_checked: true }, shape }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// How many elements there are.
    pub fn count(&self) -> usize {
        self.shape.count()
    }

    /// What a kernel binds.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The same elements under another shape.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.count() != self.count() {
            return Err(GpuError::operand("reshape", format!("{} cannot become {shape}", self.shape)));
        }
        Ok(Self { span: self.span.clone(), shape })
    }

    /// Elements `start..start + shape.count()` as a tensor of their own, sharing the memory.
    /// `start` must be a multiple of 64, the largest alignment that adapters ask of a binding.
    pub fn slice(&self, start: usize, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if !start.is_multiple_of(64) || shape.count() == 0 || start + shape.count() > self.count() {
            let problem = format!("{shape} from element {start} is not an aligned part of {}", self.shape);
            return Err(GpuError::operand("slice", problem));
        }
        let span = Span {
            storage: self.span.storage.clone(),
            offset: self.span.offset + 4 * start as u64,
            bytes: 4 * shape.count() as u64,
            is_checked: self.span.is_checked,
        };
        Ok(Self { span, shape })
    }

    /// The same, but nothing that is written to it is looked at for NaN and infinities: it has gaps that nobody writes.
    pub(crate) fn with_gaps(mut self) -> Self {
        self.span.is_checked = false;
        self
    }

    /// Whether both share the same elements.
    pub fn is_same_memory(&self, other: &Self) -> bool {
        self.span.storage.id == other.span.storage.id && self.span.offset == other.span.offset
    }
}

/// A `u32` array on the device: labels, indices, or bytes four to a word.
#[derive(Clone, Debug)]
pub struct Words {
    span: Span,
    count: usize,
}

impl Words {
    pub(super) fn new(storage: Rc<Storage>, count: usize) -> Self {
        Self { span: Span { storage, offset: 0, bytes: 4 * count as u64, is_checked: false }, count }
    }

    /// How many words there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What a kernel binds.
    pub fn span(&self) -> &Span {
        &self.span
    }
}
