//! Fully connected layers, `y = x W^T + b` on PyTorch's weight layout [out, in]; ReLU can be fused.
//! The kernels are matmul's.

use super::activation::{self, Activation};
use super::matmul::{Epilogue, matmul_into, plain, transposed};
use super::{dims2, reduce};
use crate::gpu::{Gpu, GpuError, Result, Tensor};

/// `x` [N, in], `weight` [out, in], `bias` [out] to [N, out].
pub fn forward(gpu: &Gpu, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, relu: bool) -> Result<Tensor> {
    let name = "linear";
    let ([rows, input], [out, _]) = (dims2(name, "the input", x)?, dims2(name, "the weight", weight)?);
    GpuError::expect_shape(name, "the weight", weight.shape(), [out, input].into())?;
    if let Some(bias) = bias {
        GpuError::expect_shape(name, "the bias", bias.shape(), [out].into())?;
    }
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
    let name = "linear_backward_data";
    let ([rows, out], [_, input]) = (dims2(name, "the gradient", dy)?, dims2(name, "the weight", weight)?);
    GpuError::expect_shape(name, "the weight", weight.shape(), [out, input].into())?;
    GpuError::expect_shape(name, "the input's gradient", dx.shape(), [rows, input].into())?;
    matmul_into(gpu, plain(dy), plain(weight), Epilogue::default(), dx)
}

/// `dW = dy^T x`.
pub fn backward_weights(gpu: &Gpu, x: &Tensor, dy: &Tensor, dw: &Tensor) -> Result<()> {
    let name = "linear_backward_weights";
    let ([rows, input], [_, out]) = (dims2(name, "the input", x)?, dims2(name, "the gradient", dy)?);
    GpuError::expect_shape(name, "the gradient", dy.shape(), [rows, out].into())?;
    GpuError::expect_shape(name, "the weight's gradient", dw.shape(), [out, input].into())?;
    matmul_into(gpu, transposed(dy), plain(x), Epilogue::default(), dw)
}

/// `db` = the sum of `dy` over the rows.
pub fn backward_bias(gpu: &Gpu, dy: &Tensor, db: &Tensor) -> Result<()> {
    let name = "linear_backward_bias";
    let [rows, out] = dims2(name, "the gradient", dy)?;
    GpuError::expect_shape(name, "the bias's gradient", db.shape(), [out].into())?;
    reduce::sum_into(gpu, dy, [1, rows, out], db)
}
