//! What stands at the two ends of a walk ([`super::conv2d_walk`]): the arrays that it reads and writes, what else it does on the
//! way in and out, and the kernels that do so.

use super::normalize::Pending;
use super::perturb::Step;
use super::{dims4, kernel};
use crate::gpu::{Const, Kernel, Result, Span, Tensor, Words};

/// Forward and backward-data by the same files.
macro_rules! both {
    ($($file:literal)+, $access:literal) => {
        [kernel!("conv2d", $($file)+, "conv2d", $access), kernel!("conv2d_backward_data", $($file)+, "conv2d", $access)]
    };
}
pub(super) use both;

/// Kernels that do the same with weights in a storage buffer, and in a uniform one.
pub(super) type Twins = [[Kernel; 2]; 2];

/// By fours and by twos, with weights in a storage buffer, and in a uniform one. Access is that of what follows the weights.
macro_rules! vectors {
    ($name:literal, $after:literal, $($file:literal)+) => {
        [
            vectors!(@ $name, concat!("rr", $after), "table_storage" $($file)+),
            vectors!(@ $name, concat!("ru", $after), "table_uniform" $($file)+),
        ]
    };
    (@ $name:literal, $access:expr, $($file:literal)+) => {
        [
            kernel!($name, "stored" "vec4" $($file)+ "conv2d_subgroup", "conv2d", $access),
            kernel!($name, "stored" "vec2" $($file)+ "conv2d_subgroup", "conv2d", $access),
        ]
    };
}

static SUBGROUP: Twins = [
    both!("scalar" "table_storage" "conv2d_read" "conv2d_store" "conv2d_subgroup", "rrrw"),
    both!("scalar" "table_uniform" "conv2d_read" "conv2d_store" "conv2d_subgroup", "rurw"),
];
static SUBGROUP_FORWARD: Twins = vectors!("conv2d", "rw", "conv2d_read" "conv2d_store");
static SUBGROUP_BACKWARD: Twins = vectors!("conv2d_backward_data", "rw", "conv2d_read" "conv2d_store");
static POOLED: Twins = vectors!("conv2d_max_pool", "rww", "conv2d_read" "max_of_four" "conv2d_store_pooled");
static NORMALIZED_POOLED: Twins =
    vectors!("conv2d_max_pool", "rwwrr", "conv2d_read_normalized" "max_of_four" "conv2d_store_pooled");
static UNPOOLED: Twins = vectors!("conv2d_max_pool_backward", "rwr", "conv2d_read_unpooled" "conv2d_store");
static UNPOOLED_STEP: Twins =
    vectors!("conv2d_max_pool_step", "rwrrr", "conv2d_read_unpooled" "sign_step" "conv2d_store_step");

/// A walk's ends. Extents are [N, C, H, W].
pub(super) enum Ends<'a> {
    /// A tensor to a tensor.
    Plain { x: &'a Tensor, out: &'a Tensor },
    /// A tensor, or what a normalisation would make of one, to what an output of extents `dims` pools to by 2 x 2, and where in
    /// its plane each winner stood.
    Pooled { x: Input<'a>, dims: [usize; 4], y: &'a Tensor, winners: &'a Words },
    /// The gradient of what an output of extents `dims` was pooled to, with its winners packed, to the gradient of that output's
    /// input; or to the pixels that a step along its signs makes of them.
    Unpooled { dy: &'a Tensor, packed: &'a Words, dims: [usize; 4], step: Option<Step<'a>>, out: &'a Tensor },
}

/// What a convolution convolves: a tensor as it is, or what a normalisation would make of it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub(super) x: &'a Tensor,
    /// Factor and offset of each channel.
    pub(super) affine: Option<[&'a Tensor; 2]>,
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(x: &'a Tensor) -> Self {
        Self { x, affine: None }
    }
}

impl<'a> From<&'a Pending> for Input<'a> {
    fn from(pending: &'a Pending) -> Self {
        Self { x: &pending.x, affine: Some([&pending.factor, &pending.offset]) }
    }
}

impl<'a> Ends<'a> {
    /// Extents of what is convolved, and of what that makes, before any pooling.
    pub fn dims(&self) -> Result<[[usize; 4]; 2]> {
        Ok(match self {
            Self::Plain { x, out } => [dims4("conv2d", "the input", x)?, dims4("conv2d", "the output", out)?],
            Self::Pooled { x, dims, .. } => [dims4("conv2d", "the input", x.x)?, *dims],
            Self::Unpooled { dims, out, .. } => [*dims, dims4("conv2d", "the output", out)?],
        })
    }

    /// The tensor that is read.
    pub fn read(&self) -> &'a Tensor {
        match self {
            Self::Plain { x, .. } => x,
            Self::Pooled { x, .. } => x.x,
            Self::Unpooled { dy, .. } => dy,
        }
    }

    /// The arrays that kernels bind after the input and those of the convolution itself.
    pub fn spans(&self) -> Vec<&'a Span> {
        match self {
            Self::Plain { out, .. } => vec![out.span()],
            Self::Pooled { x, y, winners, .. } => {
                let written = [y.span(), winners.span()];
                written.into_iter().chain(x.affine.into_iter().flatten().map(Tensor::span)).collect()
            }
            Self::Unpooled { packed, step, out, .. } => {
                let beside = step.iter().flat_map(|step| [step.x.span(), step.centre().span()]);
                [out.span(), packed.span()].into_iter().chain(beside).collect()
            }
        }
    }

    /// Values that are read at the least, but for weights, and values that are written.
    pub fn values(&self) -> [usize; 2] {
        match self {
            Self::Plain { x, out } => [x.count(), out.count()],
            Self::Pooled { x, y, .. } => [x.x.count(), 2 * y.count()],
            Self::Unpooled { dy, packed, step, out, .. } => {
                let pixels = if step.is_some() { out.count() } else { 0 };
                [dy.count() + packed.count() + pixels, out.count()]
            }
        }
    }

    /// The kernel of conv2d_subgroup.wgsl's that does this, of so many values at a time, forward or backward-data, with weights in
    /// a uniform buffer or not.
    pub fn kernel(&self, each: usize, flip: bool, in_uniform: bool) -> &'static Kernel {
        let vectors = match self {
            Self::Plain { .. } if each == 1 => return &SUBGROUP[usize::from(in_uniform)][usize::from(flip)],
            Self::Plain { .. } if flip => &SUBGROUP_BACKWARD,
            Self::Plain { .. } => &SUBGROUP_FORWARD,
            Self::Pooled { x, .. } if x.affine.is_some() => &NORMALIZED_POOLED,
            Self::Pooled { .. } => &POOLED,
            Self::Unpooled { step: None, .. } => &UNPOOLED,
            Self::Unpooled { .. } => &UNPOOLED_STEP,
        };
        &vectors[usize::from(in_uniform)][usize::from(each == 2)]
    }

    /// Constants that only a step asks for, and its part of the parameters.
    pub fn step(&self) -> (Vec<Const>, [f32; 4]) {
        match self {
            Self::Unpooled { step: Some(step), .. } => (step.consts().to_vec(), step.params()),
            _ => (Vec::new(), [0.0; 4]),
        }
    }
}
