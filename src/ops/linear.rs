//! Fully connected layers, `y = x W^T + b` on PyTorch's weight layout [out, in]; ReLU can be fused.
//! The kernels are matmul's.

use super::activation::{self, Activation};
use super::matmul::{Epilogue, matmul_into, plain, transposed};
use super::{dims2, reduce};
use crate::gpu::{Gpu, Result, Tensor};

/// `x` [N, in], `weight` [out, in], `bias` [out] to [N, out].
pub fn forward(gpu: &Gpu, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, relu: bool) -> Result<Tensor> {
    let ([rows, _], [out, _]) = (dims2("linear", "the input", x)?, dims2("linear", "the weight", weight)?);
    let y = gpu.empty([rows, out])?;
    matmul_into(gpu, plain(x), transposed(weight), Epilogue { bias, relu }, &y)?;
    Ok(y)
}

/// With ReLU fused, the gradient before it: `dy` where the output `y` is positive. Every gradient below
/// starts from this.
pub fn backward_relu(gpu: &Gpu, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let masked = gpu.empty(dy.shape())?;
    activation::backward(gpu, Activation::Relu, y, dy, &masked)?;
    Ok(masked)
}

/// `dx = dy W`.
pub fn backward_data(gpu: &Gpu, dy: &Tensor, weight: &Tensor, dx: &Tensor) -> Result<()> {
    matmul_into(gpu, plain(dy), plain(weight), Epilogue::default(), dx)
}

/// `dW = dy^T x`.
pub fn backward_weights(gpu: &Gpu, x: &Tensor, dy: &Tensor, dw: &Tensor) -> Result<()> {
    matmul_into(gpu, transposed(dy), plain(x), Epilogue::default(), dw)
}

/// `db` = the sum of `dy` over the rows.
pub fn backward_bias(gpu: &Gpu, dy: &Tensor, db: &Tensor) -> Result<()> {
    let [rows, out] = dims2("linear", "the gradient", dy)?;
    reduce::sum_into(gpu, dy, [1, rows, out], db)
}
