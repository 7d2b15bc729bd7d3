//! What a variable stands for.

use crate::gpu::{Gpu, Result, Shape, Tensor};
use crate::ops::conv2d_max_pool::Input;
use crate::ops::normalize::Pending;

/// A tensor, or a normalisation of one that is made when somebody asks for it.
#[derive(Clone)]
pub(super) enum Value {
    There(Tensor),
    Normalized(Pending),
}

impl Value {
    pub fn shape(&self) -> Shape {
        match self {
            Self::There(tensor) => tensor.shape(),
            Self::Normalized(pending) => pending.shape(),
        }
    }

    /// The tensor.
    pub fn tensor(&self, gpu: &Gpu) -> Result<Tensor> {
        match self {
            Self::There(tensor) => Ok(tensor.clone()),
            Self::Normalized(pending) => pending.make(gpu),
        }
    }
}

impl<'a> From<&'a Value> for Input<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::There(tensor) => tensor.into(),
            Value::Normalized(pending) => pending.into(),
        }
    }
}
