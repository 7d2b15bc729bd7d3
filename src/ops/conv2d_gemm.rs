//! The convolution's passes as products of matrices out of workgroup memory (`shaders/conv2d_gemm.wgsl`,
//! `shaders/conv2d_weights_gemm.wgsl`). [`super::conv2d`] checks the shapes, walks the phases and calls them where the
//! table chose them.

use bytemuck::NoUninit;

use super::block::Block;
use super::conv2d::Window;
use super::{dims4, kernel, reduce};
use crate::gpu::{Const, Gpu, Grid, Kernel, Result, Tensor};

pub(super) static FORWARD: Kernel = kernel!("conv2d", "conv2d_gemm", "conv2d", "rrrw");
pub(super) static BACKWARD_DATA: Kernel = kernel!("conv2d_backward_data", "conv2d_gemm", "conv2d", "rrrw");
static WEIGHTS: Kernel = kernel!("conv2d_backward_weights", "conv2d_weights_gemm", "conv2d_weights", "rrw");

/// Tile and grid of forward or backward-data: a product of `m` output channels, for each of `phases`, and `n` positions.
pub(super) fn tile(chosen: Option<[usize; 2]>, [m, n]: [usize; 2], phases: usize) -> ([Const; 7], Grid) {
    let block = Block::new(chosen, [m, n]);
    let [_, rows] = block.groups([m, n]);
    (block.consts(), Grid::linear(n, block.width()).layers(phases * rows))
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
pub(super) fn backward_weights(
    gpu: &Gpu,
    x: &Tensor,
    dy: &Tensor,
    chosen: Option<[usize; 2]>,
    window: Window,
    dw: &Tensor,
) -> Result<()> {
    let [batch, in_c, in_h, in_w] = dims4(WEIGHTS.name, "the input", x)?;
    let [_, out_c, out_h, out_w] = dims4(WEIGHTS.name, "the gradient", dy)?;
    let kernel = dw.dims()[3];
    let extents = [out_c, in_c * kernel * kernel];
    let block = Block::new(chosen, extents);
    let [across, down] = block.groups(extents);
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
    let consts = [&block.consts()[..], &[("K", kernel as u32), ("S", window.stride as u32)]].concat();
    let grid = Grid([across as u32, down as u32, splits as u32]);
    gpu.next_work(2 * dy.count() * in_c * kernel * kernel, 4 * (x.count() + dy.count() + dw.count()));
    if splits == 1 {
        return gpu.launch(&WEIGHTS, &consts, &params, &[x.span(), dy.span(), dw.span()], grid);
    }
    let partial = gpu.empty([splits, dw.count()])?;
    gpu.launch(&WEIGHTS, &consts, &params, &[x.span(), dy.span(), partial.span()], grid)?;
    reduce::sum_into(gpu, &partial, [1, splits, dw.count()], dw)
}
