//! The convolution's passes by cooperative matrices (`shaders/conv2d_coop.wgsl`, `shaders/conv2d_weights_coop.wgsl`).
//! [`super::conv2d`] checks the shapes, walks the phases and calls them where the table chose them.

use bytemuck::NoUninit;

use super::conv2d::Window;
use super::coop::{Tile, coop_kernels, peaks};
use super::{dims4, kernel, reduce};
use crate::gpu::{Const, Gpu, Grid, Kernel, Result, Tensor};

static FORWARD: [Kernel; 2] = coop_kernels!("conv2d", "conv2d_coop", "conv2d", "rrrrw");
static BACKWARD_DATA: [Kernel; 2] = coop_kernels!("conv2d_backward_data", "conv2d_coop", "conv2d", "rrrrw");
static WEIGHTS: [Kernel; 2] = coop_kernels!("conv2d_backward_weights", "conv2d_weights_coop", "conv2d_weights", "rrrw");

/// Kernel, tile and grid of forward or, `back`wards, backward-data: `m` output channels for each of `phases`, and `n`
/// positions.
pub(super) fn tile(
    gpu: &Gpu,
    back: bool,
    [m, n]: [usize; 2],
    phases: usize,
) -> Result<(&'static Kernel, [Const; 2], Grid)> {
    let tile = Tile::on(gpu, "conv2d")?;
    let grid = Grid::linear(n, tile.side()).layers(phases * m.div_ceil(tile.side()));
    Ok((tile.of(if back { &BACKWARD_DATA } else { &FORWARD }), tile.consts(), grid))
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct WeightsParams {
    batch: u32,
    input: [u32; 3],
    output: [u32; 3],
    padding: u32,
    chunk: u32,
}

/// Positions of a split at the least: a shorter one gives the second pass as much to do as the first.
const LEAST: usize = 64;

/// `dw` = the gradient with respect to the weights.
pub(super) fn backward_weights(gpu: &Gpu, x: &Tensor, dy: &Tensor, window: Window, dw: &Tensor) -> Result<()> {
    let tile = Tile::on(gpu, "conv2d_backward_weights")?;
    let launched = tile.of(&WEIGHTS);
    let [batch, in_c, in_h, in_w] = dims4(launched.name, "the input", x)?;
    let [_, out_c, out_h, out_w] = dims4(launched.name, "the gradient", dy)?;
    let kernel = dw.dims()[3];
    let [across, down] = [in_c * kernel * kernel, out_c].map(|extent| extent.div_ceil(tile.side()));
    // Enough workgroups to keep the device busy, and no more: each split costs a copy of the weights.
    let wanted: usize = if gpu.adapter().is_software() { 4 } else { 512 };
    let positions = batch * out_h * out_w;
    let chunk = positions.div_ceil(wanted.div_ceil(across * down)).max(LEAST);
    let splits = positions.div_ceil(chunk);
    let params = WeightsParams {
        batch: batch as u32,
        input: [in_c as u32, in_h as u32, in_w as u32],
        output: [out_c as u32, out_h as u32, out_w as u32],
        padding: window.padding as u32,
        chunk: chunk as u32,
    };
    let [lanes, subgroups] = tile.consts();
    let consts = [lanes, subgroups, ("K", kernel as u32), ("S", window.stride as u32)];
    let grid = Grid([across as u32, down as u32, splits as u32]);
    let peaks = peaks(gpu, [dy, x])?;
    gpu.next_work(2 * dy.count() * in_c * kernel * kernel, 4 * (x.count() + dy.count() + dw.count()));
    let launch =
        |out: &Tensor| gpu.launch(launched, &consts, &params, &[x.span(), dy.span(), peaks.span(), out.span()], grid);
    if splits == 1 {
        return launch(dw);
    }
    let partial = gpu.empty([splits, dw.count()])?;
    launch(&partial)?;
    reduce::sum_into(gpu, &partial, [1, splits, dw.count()], dw)
}
