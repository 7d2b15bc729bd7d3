//! Convolution and transposed convolution (`shaders/conv2d*.wgsl`).
//!
//! A transposed convolution has no kernel of its own: its forward pass is convolution's backward-data, its
//! backward-data is convolution's forward, and its weight gradient is convolution's with the roles of
//! input and output gradient swapped.

use bytemuck::NoUninit;

use super::choices;
use super::conv2d_ends::Ends;
use super::conv2d_walk::Walk;
use super::conv2d_winograd::Ending;
use super::tiles::{self, ConvVariant, WeightTile};
use super::{
    conv2d_coop, conv2d_gemm as gemm, conv2d_naive as naive, conv2d_winograd as winograd, dims4, kernel, launch_flat,
    reduce, value_kernels,
};
use crate::gpu::{Const, Gpu, GpuError, Grid, Kernel, Place, Result, Shape, Tensor};

pub(super) const BACKWARD_DATA: &str = "conv2d_backward_data";

static PACK: Kernel = kernel!("conv2d_pack", "conv2d_pack", "conv2d_pack", "rw");
static WEIGHTS: Kernel = kernel!("conv2d_backward_weights", "conv2d_weights", "conv2d_weights", "rrw");
/// With values read one at a time, and by fours: of x and dy, and of dy.
static WEIGHTS_SUBGROUP: [Kernel; 2] =
    value_kernels!("conv2d_backward_weights", "conv2d_weights_subgroup", "conv2d_weights", "rrw");
static WEIGHTS_LINES: [Kernel; 2] =
    value_kernels!("conv2d_backward_weights", "conv2d_weights_lines", "conv2d_weights", "rrw");

/// Stride and padding of a convolution, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub stride: usize,
    pub padding: usize,
}

impl Window {
    /// A window with the given stride and padding.
    pub fn new(stride: usize, padding: usize) -> Self {
        Self { stride, padding }
    }

    /// The output's extent for an input's and a kernel's: floor((in + 2 padding - kernel) / stride) + 1.
    pub fn output(self, operation: &'static str, input: usize, kernel: usize) -> Result<usize> {
        let padded = input + 2 * self.padding;
        if self.stride == 0 || kernel == 0 || padded < kernel {
            let problem = format!(
                "a kernel of {kernel} at stride {} does not fit {input} pixels with padding {}",
                self.stride, self.padding
            );
            return Err(GpuError::operand(operation, problem));
        }
        Ok((padded - kernel) / self.stride + 1)
    }

    /// A transposed convolution's output extent: (in - 1) stride - 2 padding + kernel.
    fn transposed_output(self, input: usize, kernel: usize) -> Result<usize> {
        let full = (input - 1) * self.stride + kernel;
        if self.stride == 0 || full <= 2 * self.padding {
            let problem =
                format!("stride {} with padding {} leaves nothing of {full} pixels", self.stride, self.padding);
            return Err(GpuError::operand("conv_transpose2d", problem));
        }
        Ok(full - 2 * self.padding)
    }
}

/// Checks a weight of [out, in, k, k] against the channels that it meets; returns k.
fn square_kernel(
    operation: &'static str,
    weight: &Tensor,
    outer: Option<usize>,
    inner: Option<usize>,
) -> Result<usize> {
    let [found_outer, found_inner, height, width] = dims4(operation, "the weight", weight)?;
    let fits = |found, wanted: Option<usize>| wanted.is_none_or(|wanted| wanted == found);
    if height != width || !fits(found_outer, outer) || !fits(found_inner, inner) {
        let wanted = |extent: Option<usize>| extent.map_or("_".to_owned(), |extent| extent.to_string());
        let problem = format!(
            "the weight has shape {}, but [{}, {}, k, k] is needed",
            weight.shape(),
            wanted(outer),
            wanted(inner)
        );
        return Err(GpuError::operand(operation, problem));
    }
    Ok(height)
}

/// Checks a convolution's two sides and its weight against each other; returns k. `wide` is the side with the
/// input's extents, `narrow` the one with the output's; a transposed convolution runs from narrow to wide.
fn check_sides(
    operation: &'static str,
    wide: (&str, &Tensor),
    narrow: (&str, &Tensor),
    weight: &Tensor,
    window: Window,
) -> Result<usize> {
    let [batch, in_c, in_h, in_w] = dims4(operation, wide.0, wide.1)?;
    let [_, out_c, _, _] = dims4(operation, narrow.0, narrow.1)?;
    let kernel = square_kernel(operation, weight, Some(out_c), Some(in_c))?;
    let (out_h, out_w) = (window.output(operation, in_h, kernel)?, window.output(operation, in_w, kernel)?);
    GpuError::expect_shape(operation, narrow.0, narrow.1.shape(), [batch, out_c, out_h, out_w].into())?;
    Ok(kernel)
}

/// `x` [N, Cin, H, W], `weight` [Cout, Cin, k, k], `bias` [Cout] to [N, Cout, oH, oW]; ReLU can be fused.
pub fn forward(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: Window,
    relu: bool,
) -> Result<Tensor> {
    let (kernel, dims) = output_dims(x, weight, bias, window)?;
    let out = gpu.empty(dims)?;
    gather(gpu, x, weight, kernel, (bias, relu), window, &out)?;
    Ok(out)
}

/// Checks a convolution's operands; returns the kernel's extent and the output's dimensions.
pub(super) fn output_dims(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: Window,
) -> Result<(usize, [usize; 4])> {
    let [batch, in_c, in_h, in_w] = dims4("conv2d", "the input", x)?;
    let kernel = square_kernel("conv2d", weight, None, Some(in_c))?;
    let out_c = weight.dims()[0];
    if let Some(bias) = bias {
        GpuError::expect_shape("conv2d", "the bias", bias.shape(), [out_c].into())?;
    }
    let out_h = window.output("conv2d", in_h, kernel)?;
    Ok((kernel, [batch, out_c, out_h, window.output("conv2d", in_w, kernel)?]))
}

/// Forward: every element of `out` gathers a k x k window of `x`.
fn gather(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    kernel: usize,
    epilogue: (Option<&Tensor>, bool),
    window: Window,
    out: &Tensor,
) -> Result<()> {
    let place = choices::convolution("forward", [x.dims()[1], out.dims()[1]], kernel, window.stride, out.dims()[3]);
    let choice = choose(gpu, place, dims4("conv2d", "the output", out)?, weight, window)?;
    if choice.0 == ConvVariant::Winograd {
        let (bias, relu) = epilogue;
        return winograd::forward(gpu, x, weight, Ending { bias, relu, gate: None }, window, out);
    }
    if choice.0 == ConvVariant::Naive {
        return naive::forward(gpu, x, weight, epilogue, window, out);
    }
    Walk::forward(kernel, window, choice).launch(gpu, &Ends::Plain { x, out }, weight, epilogue)
}

/// The variant of one pass and its tile. Where the weights, or the side that has the output's extents, make Winograd's arrays
/// larger than the adapter takes, another variant is chosen.
pub(super) fn choose(
    gpu: &Gpu,
    place: Place,
    [_, _, height, width]: [usize; 4],
    weight: &Tensor,
    window: Window,
) -> Result<(ConvVariant, Option<[usize; 2]>)> {
    let choice = tiles::conv2d_at(gpu, place)?;
    let [outer, inner, ..] = dims4("conv2d", "the weight", weight)?;
    if choice.0 == ConvVariant::Winograd && !winograd::fits(gpu, [outer, inner], [height, width], window) {
        return Ok((tiles::conv2d_but_winograd(gpu, place)?, None));
    }
    Ok(choice)
}

/// The gradient with respect to the input, written to `dx` [N, Cin, H, W].
pub fn backward_data(gpu: &Gpu, dy: &Tensor, weight: &Tensor, window: Window, dx: &Tensor) -> Result<()> {
    let sides = (("the input's gradient", dx), ("the gradient", dy));
    check_sides(BACKWARD_DATA, sides.0, sides.1, weight, window)?;
    spread(gpu, dy, weight, Ending::default(), window, dx).map(|_| ())
}

/// As [`backward_data`], and then through the ReLU that the layer's input `x` came out of, if the kernel that is chosen can do
/// that as it stores: whether it did. It saves the launch of [`super::linear::backward_relu`], and a read and a write of
/// everything.
pub fn backward_data_relu(
    gpu: &Gpu,
    dy: &Tensor,
    weight: &Tensor,
    window: Window,
    x: &Tensor,
    dx: &Tensor,
) -> Result<bool> {
    let sides = (("the input's gradient", dx), ("the gradient", dy));
    check_sides(BACKWARD_DATA, sides.0, sides.1, weight, window)?;
    GpuError::expect_shape(BACKWARD_DATA, "the input", x.shape(), dx.shape())?;
    spread(gpu, dy, weight, Ending { gate: Some(x), ..Ending::default() }, window, dx)
}

/// Backward-data: every element of `small` [N, c, h, w] is spread over a k x k window of `out`. Whether the ending's gate was
/// taken.
fn spread(
    gpu: &Gpu,
    small: &Tensor,
    weight: &Tensor,
    ending: Ending<'_>,
    window: Window,
    out: &Tensor,
) -> Result<bool> {
    let [c, m, kernel, _] = dims4(BACKWARD_DATA, "the weight", weight)?;
    let place = choices::convolution("backward-data", [c, m], kernel, window.stride, out.dims()[3]);
    let choice = choose(gpu, place, dims4(BACKWARD_DATA, "the gradient", small)?, weight, window)?;
    if choice.0 == ConvVariant::Winograd {
        winograd::backward_data(gpu, small, weight, ending, window, out)?;
        return Ok(ending.gate.is_some());
    }
    let epilogue = (ending.bias, ending.relu);
    if choice.0 == ConvVariant::Naive {
        naive::backward_data(gpu, small, weight, epilogue, window, out)?;
        return Ok(false);
    }
    let ends = Ends::Plain { x: small, out };
    let walk = Walk::backward(kernel, window, choice);
    walk.launch(gpu, &ends, &in_order(gpu, &walk, weight, window)?, epilogue)?;
    Ok(false)
}

/// A weight [c, m, k, k] in the order in which backward-data's walk reads it.
pub(super) fn in_order(gpu: &Gpu, walk: &Walk, weight: &Tensor, window: Window) -> Result<Tensor> {
    if walk.turns_weights() {
        return Ok(weight.clone());
    }
    let [c, m, kernel, _] = dims4(BACKWARD_DATA, "the weight", weight)?;
    let taps = kernel.div_ceil(window.stride);
    let count = window.stride * window.stride * m * c * taps * taps;
    let packed = gpu.empty([count])?;
    let params = [count, c, m, kernel, window.stride, window.padding, taps].map(|value| value as u32);
    launch_flat(gpu, &PACK, &[], &params, &[weight.span(), packed.span()], count)?;
    Ok(packed)
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct WeightsParams {
    batch: u32,
    input: [u32; 3],
    output: [u32; 3],
    padding: u32,
    images: u32,
    turns: u32,
}

/// The gradient with respect to the weights, written to `dw` [Cout, Cin, k, k].
pub fn backward_weights(gpu: &Gpu, x: &Tensor, dy: &Tensor, window: Window, dw: &Tensor) -> Result<()> {
    let kernel = check_sides(WEIGHTS.name, ("the input", x), ("the gradient", dy), dw, window)?;
    weight_gradient(gpu, x, dy, kernel, window, dw)
}

fn weight_gradient(gpu: &Gpu, x: &Tensor, dy: &Tensor, kernel: usize, window: Window, dw: &Tensor) -> Result<()> {
    let ([batch, in_c, in_h, in_w], [_, out_c, out_h, out_w]) =
        (dims4(WEIGHTS.name, "the input", x)?, dims4(WEIGHTS.name, "the gradient", dy)?);
    let place = choices::convolution("backward-weights", [in_c, out_c], kernel, window.stride, out_w);
    let (variant, tile) = choose(gpu, place, dims4(WEIGHTS.name, "the gradient", dy)?, dw, window)?;
    if variant == ConvVariant::Winograd {
        return winograd::backward_weights(gpu, x, dy, window, dw);
    }
    if variant == ConvVariant::Naive {
        return naive::backward_weights(gpu, x, dy, window, dw);
    }
    if variant == ConvVariant::Gemm {
        return gemm::backward_weights(gpu, x, dy, tile, window, dw);
    }
    if variant == ConvVariant::Coop {
        return conv2d_coop::backward_weights(gpu, x, dy, window, dw);
    }
    let lanes = tiles::lanes(gpu, variant);
    let WeightTile { lines, channels: channel_block, rows, positions: row_block } =
        tiles::weight_tile(gpu, variant, [in_c, out_c], [kernel, window.stride, out_w], tile);
    // What the lanes run over: input channels, or rows of taps.
    let row_groups =
        if lines { in_c.div_ceil(lanes as usize) } else { (in_c * kernel).div_ceil(lanes as usize * rows) };
    // What takes turns at the stores: rows of taps, or with `lines` all taps of a channel.
    let (turns, turn) = if lines { (channel_block, kernel * kernel) } else { (rows * channel_block, kernel) };
    let kept = kernel.saturating_sub(window.stride);
    let groups = row_groups * out_c.div_ceil(channel_block);
    // Enough workgroups to keep the device busy, and no more: each split costs a copy of the weights.
    let wanted: usize = if gpu.adapter().is_software() { 16 } else { 1024 };
    let images = batch.div_ceil(wanted.div_ceil(groups).min(batch));
    let splits = batch.div_ceil(images);
    let span = (row_block - 1) * window.stride + kernel;
    // Every line begins and ends with a whole vector of four values, which of x lies in the padding or outside it; with
    // `lines` only those of dy are read so.
    let x_falls_into_fours =
        window.stride == 1 && [in_w, window.padding, kept].iter().all(|extent| extent.is_multiple_of(4));
    let by_fours = variant == ConvVariant::Subgroup
        && [out_w, row_block].iter().all(|extent| extent.is_multiple_of(4))
        && (lines || x_falls_into_fours);
    let each = if by_fours { 4 } else { 1 };
    let consts: [Const; 16] = [
        ("KH", kernel as u32),
        ("KW", kernel as u32),
        ("KEPT", kept as u32),
        ("FRESH", (kernel - kept) as u32),
        ("S", window.stride as u32),
        ("MB", channel_block as u32),
        ("CB", rows as u32),
        ("TAPS", (rows * channel_block * kernel) as u32),
        ("REST", ((turns - 1) * turn) as u32),
        ("XB", row_block as u32),
        ("SPAN", span as u32),
        ("LANES", lanes),
        ("EACH", each as u32),
        ("AT_FIRST", (kept / each) as u32),
        ("READS", ((span - kept) / each) as u32),
        ("HELD", ((channel_block * row_block / each) as u32).div_ceil(lanes)),
    ];
    let launched = match variant {
        ConvVariant::Subgroup if lines => &WEIGHTS_LINES[usize::from(by_fours)],
        ConvVariant::Subgroup => &WEIGHTS_SUBGROUP[usize::from(by_fours)],
        _ => &WEIGHTS,
    };
    let params = WeightsParams {
        batch: batch as u32,
        input: [in_c as u32, in_h as u32, in_w as u32],
        output: [out_c as u32, out_h as u32, out_w as u32],
        padding: window.padding as u32,
        images: images as u32,
        turns: turns as u32,
    };
    gpu.next_work(2 * dy.count() * in_c * kernel * kernel, 4 * (x.count() + dy.count() + dw.count()));
    let grid = Grid([row_groups as u32, splits as u32, out_c.div_ceil(channel_block) as u32]);
    if splits == 1 {
        return gpu.launch(launched, &consts, &params, &[x.span(), dy.span(), dw.span()], grid);
    }
    let partial = gpu.empty([splits, dw.count()])?;
    gpu.launch(launched, &consts, &params, &[x.span(), dy.span(), partial.span()], grid)?;
    reduce::sum_into(gpu, &partial, [1, splits, dw.count()], dw)
}

/// The gradient with respect to the bias: the sum of `dy` over batch and plane, written to `db` [Cout].
pub fn backward_bias(gpu: &Gpu, dy: &Tensor, db: &Tensor) -> Result<()> {
    let [_, channels, _, _] = dims4("conv2d_backward_bias", "the gradient", dy)?;
    GpuError::expect_shape("conv2d_backward_bias", "the bias's gradient", db.shape(), [channels].into())?;
    reduce::sum_channels_into(gpu, dy, db)
}

/// Transposed convolution: `x` [N, Cin, H, W], `weight` [Cin, Cout, k, k] (PyTorch's layout), `bias` [Cout] to
/// [N, Cout, (H - 1) stride - 2 padding + k, ...]; ReLU can be fused.
pub fn transpose_forward(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: Window,
    relu: bool,
) -> Result<Tensor> {
    let [batch, in_c, in_h, in_w] = dims4("conv_transpose2d", "the input", x)?;
    let kernel = square_kernel("conv_transpose2d", weight, Some(in_c), None)?;
    let out_c = weight.dims()[1];
    if let Some(bias) = bias {
        GpuError::expect_shape("conv_transpose2d", "the bias", bias.shape(), [out_c].into())?;
    }
    let shape: Shape =
        [batch, out_c, window.transposed_output(in_h, kernel)?, window.transposed_output(in_w, kernel)?].into();
    let out = gpu.empty(shape)?;
    spread(gpu, x, weight, Ending { bias, relu, gate: None }, window, &out)?;
    Ok(out)
}

/// Transposed convolution's gradient with respect to its input, written to `dx`.
pub fn transpose_backward_data(gpu: &Gpu, dy: &Tensor, weight: &Tensor, window: Window, dx: &Tensor) -> Result<()> {
    let sides = (("the gradient", dy), ("the input's gradient", dx));
    let kernel = check_sides("conv_transpose2d_backward_data", sides.0, sides.1, weight, window)?;
    gather(gpu, dy, weight, kernel, (None, false), window, dx)
}

/// Transposed convolution's gradient with respect to its weight, written to `dw` [Cin, Cout, k, k].
pub fn transpose_backward_weights(gpu: &Gpu, x: &Tensor, dy: &Tensor, window: Window, dw: &Tensor) -> Result<()> {
    let sides = (("the gradient", dy), ("the input", x));
    let kernel = check_sides("conv_transpose2d_backward_weights", sides.0, sides.1, dw, window)?;
    weight_gradient(gpu, dy, x, kernel, window, dw)
}
