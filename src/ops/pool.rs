//! Max, average and global average pooling (`shaders/max_pool.wgsl`, `shaders/avg_pool.wgsl`).

use bytemuck::NoUninit;

use super::conv2d::Window;
use super::{dims4, kernel, launch_flat};
use crate::gpu::{Const, Gpu, GpuError, Kernel, Result, Tensor, Words};

static MAX: Kernel = kernel!("max_pool", "side_by_side" "max_pool", "forward", "rww");
static MAX_BACKWARD: Kernel = kernel!("max_pool_backward", "side_by_side" "max_pool", "backward", "rrw");
static MAX_BACKWARD_TILES: Kernel = kernel!("max_pool_backward", "side_by_side" "max_pool", "backward_tiles", "rrw");
static MAX_PAIRS: Kernel = kernel!("max_pool", "max_of_four" "max_pool_pairs", "forward", "rww");
static MAX_BACKWARD_PAIRS: Kernel = kernel!("max_pool_backward", "max_of_four" "max_pool_pairs", "backward", "rrw");
static PACK_WINNERS: [Kernel; 2] = [
    kernel!("pack_winners", "stored" "vec4" "pack_winners", "pack_winners", "rw"),
    kernel!("pack_winners", "stored" "vec2" "pack_winners", "pack_winners", "rw"),
];
static AVERAGE: Kernel = kernel!("avg_pool", "side_by_side" "avg_pool", "forward", "rw");
static AVERAGE_BACKWARD: Kernel = kernel!("avg_pool_backward", "side_by_side" "avg_pool", "backward", "rw");
static AVERAGE_BACKWARD_TILES: Kernel = kernel!("avg_pool_backward", "side_by_side" "avg_pool", "backward_tiles", "rw");

/// Extents are constants of the kernels.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    planes: u32,
    padding: u32,
}

fn params(input: [usize; 4], padding: usize) -> Params {
    Params { planes: (input[0] * input[1]) as u32, padding: padding as u32 }
}

fn extents(input: [usize; 4], output: [usize; 4], stride: usize) -> [Const; 6] {
    let [[.., in_h, in_w], [.., out_h, out_w]] = [input, output].map(|dims| dims.map(|extent| extent as u32));
    let stride = stride as u32;
    let whole = [(in_h, out_h), (in_w, out_w)].iter().all(|&(input, output)| input == output * stride);
    [("IN_H", in_h), ("IN_W", in_w), ("OUT_H", out_h), ("OUT_W", out_w), ("S", stride), ("WHOLE", u32::from(whole))]
}

fn output_dims(operation: &'static str, x: &Tensor, kernel: [usize; 2], window: Window) -> Result<[usize; 4]> {
    let [batch, channels, height, width] = dims4(operation, "the input", x)?;
    if 2 * window.padding > kernel[0].min(kernel[1]) {
        let problem = format!("padding {} is more than half of the window {kernel:?}", window.padding);
        return Err(GpuError::operand(operation, problem));
    }
    let height = window.output(operation, height, kernel[0])?;
    Ok([batch, channels, height, window.output(operation, width, kernel[1])?])
}

/// The largest of each k x k window, and where in its plane it stood. ReLU can be fused: where it lets nothing through, nobody
/// has won, which is written as `u32::MAX`.
pub fn max_forward(gpu: &Gpu, x: &Tensor, kernel: usize, window: Window, relu: bool) -> Result<(Tensor, Words)> {
    let dims = output_dims("max_pool", x, [kernel; 2], window)?;
    let (y, winners) = (gpu.empty(dims)?, gpu.empty_words(dims.iter().product())?);
    let input = dims4("max_pool", "the input", x)?;
    let consts = max_consts(kernel, window, relu, input, dims);
    let params = params(input, window.padding);
    let spans = [x.span(), y.span(), winners.span()];
    if in_pairs(kernel, window, input) {
        launch_flat(gpu, &MAX_PAIRS, &consts, &params, &spans, y.count() / 2)?;
    } else {
        launch_flat(gpu, &MAX, &consts, &params, &spans, y.count())?;
    }
    Ok((y, winners))
}

/// The winners of 2 x 2 windows that tile planes of these extents, [N, C, H, W], eight windows of a row to a word
/// (`shaders/pack_winners.wgsl`).
pub(super) fn pack_winners(gpu: &Gpu, winners: &Words, [batch, channels, height, width]: [usize; 4]) -> Result<Words> {
    let (height, words) = (height / 2, (width / 2).div_ceil(8));
    let count = batch * channels * height * words;
    let packed = gpu.empty_words(count)?;
    let by_twos = (width / 2).is_multiple_of(2);
    let read = if by_twos { 2 } else { 1 };
    let consts = [
        ("OUT_H", height),
        ("OUT_W", width / 2),
        ("IN_W", width),
        ("WORDS", words),
        ("READ", read),
        ("READS", 8 / read),
    ];
    let consts = consts.map(|(name, value)| (name, value as u32));
    let launched = if by_twos { &PACK_WINNERS[0] } else { &PACK_WINNERS[1] };
    launch_flat(gpu, launched, &consts, &[count as u32], &[winners.span(), packed.span()], count)?;
    Ok(packed)
}

/// Checks a gradient `dy` of the output against one of the input, `dx`; returns the dimensions of both.
fn gradient_dims(
    operation: &'static str,
    dy: &Tensor,
    dx: &Tensor,
    kernel: [usize; 2],
    window: Window,
) -> Result<([usize; 4], [usize; 4])> {
    let output = output_dims(operation, dx, kernel, window)?;
    GpuError::expect_shape(operation, "the gradient", dy.shape(), output.into())?;
    Ok((dims4(operation, "the input", dx)?, output))
}

/// Checks winners against the gradient that they are to be sent.
pub(super) fn check_winners(operation: &'static str, winners: &Words, dy: &Tensor) -> Result<()> {
    if winners.count() == dy.count() {
        return Ok(());
    }
    let problem = format!("{} winners do not fit a gradient of {}", winners.count(), dy.shape());
    Err(GpuError::operand(operation, problem))
}

/// Sends each `dy` to the pixel that won its window, if one did: `winners` are [`max_forward`]'s.
pub fn max_backward(gpu: &Gpu, dy: &Tensor, winners: &Words, kernel: usize, window: Window, dx: &Tensor) -> Result<()> {
    let name = MAX_BACKWARD.name;
    let (input, output) = gradient_dims(name, dy, dx, [kernel; 2], window)?;
    check_winners(name, winners, dy)?;
    // The forward pass has been through ReLU.
    let consts = max_consts(kernel, window, false, input, output);
    let params = params(input, window.padding);
    let spans = [dy.span(), winners.span(), dx.span()];
    if in_pairs(kernel, window, input) {
        return launch_flat(gpu, &MAX_BACKWARD_PAIRS, &consts, &params, &spans, dy.count() / 2);
    }
    if let Some(tiles) = tiles([kernel; 2], window, input) {
        return launch_flat(gpu, &MAX_BACKWARD_TILES, &consts, &params, &spans, tiles);
    }
    launch_flat(gpu, &MAX_BACKWARD, &consts, &params, &spans, dx.count())
}

/// Where windows lie side by side: how many it takes to cover all planes, with those that the planes' ends cut short.
fn tiles(kernel: [usize; 2], window: Window, [batch, channels, height, width]: [usize; 4]) -> Option<usize> {
    let side_by_side = kernel == [window.stride; 2] && window.padding == 0;
    side_by_side.then(|| batch * channels * height.div_ceil(window.stride) * width.div_ceil(window.stride))
}

/// Whether windows tile the plane in pairs, whose pixels are vectors of four: `shaders/max_pool_pairs.wgsl` pools them.
pub(crate) fn in_pairs(kernel: usize, window: Window, [_, _, height, width]: [usize; 4]) -> bool {
    kernel == 2 && window == Window::new(2, 0) && height.is_multiple_of(2) && width.is_multiple_of(4)
}

fn max_consts(kernel: usize, window: Window, relu: bool, input: [usize; 4], output: [usize; 4]) -> Vec<Const> {
    let own = [("K", kernel as u32), ("RELU", u32::from(relu))];
    own.into_iter().chain(extents(input, output, window.stride)).collect()
}

/// The mean of each window of `kernel` = [height, width]; padding counts as zeros.
pub fn average_forward(gpu: &Gpu, x: &Tensor, kernel: [usize; 2], window: Window) -> Result<Tensor> {
    let dims = output_dims("avg_pool", x, kernel, window)?;
    let y = gpu.empty(dims)?;
    let input = dims4("avg_pool", "the input", x)?;
    let consts = average_consts(kernel, window, input, dims);
    launch_flat(gpu, &AVERAGE, &consts, &params(input, window.padding), &[x.span(), y.span()], y.count())?;
    Ok(y)
}

/// Spreads each `dy` evenly over its window.
pub fn average_backward(gpu: &Gpu, dy: &Tensor, kernel: [usize; 2], window: Window, dx: &Tensor) -> Result<()> {
    let (input, output) = gradient_dims("avg_pool_backward", dy, dx, kernel, window)?;
    let consts = average_consts(kernel, window, input, output);
    let (launched, count) = match tiles(kernel, window, input) {
        Some(tiles) => (&AVERAGE_BACKWARD_TILES, tiles),
        None => (&AVERAGE_BACKWARD, dx.count()),
    };
    launch_flat(gpu, launched, &consts, &params(input, window.padding), &[dy.span(), dx.span()], count)
}

fn average_consts(kernel: [usize; 2], window: Window, input: [usize; 4], output: [usize; 4]) -> Vec<Const> {
    let own = [("KH", kernel[0] as u32), ("KW", kernel[1] as u32)];
    own.into_iter().chain(extents(input, output, window.stride)).collect()
}
