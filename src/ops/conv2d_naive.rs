//! The convolution's passes as their sums are written (`shaders/conv2d_naive.wgsl`): the ladder's first rung, and what
//! the faster kernels are compared with. [`super::conv2d`] checks the shapes and calls them where the variant is forced.

use bytemuck::NoUninit;

use super::conv2d::Window;
use super::tiles::{self, ConvVariant};
use super::{dims4, kernel};
use crate::gpu::{Gpu, Grid, Kernel, Result, Tensor};

static FORWARD: Kernel = kernel!("conv2d", "conv2d_naive", "forward", "rrrw");
static BACKWARD_DATA: Kernel = kernel!("conv2d_backward_data", "conv2d_naive", "backward_data", "rrrw");
static BACKWARD_WEIGHTS: Kernel = kernel!("conv2d_backward_weights", "conv2d_naive", "backward_weights", "rrrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    batch: u32,
    wide: [u32; 3],
    narrow: [u32; 3],
}

/// The two sides of a convolution: `wide` has the input's extents, `narrow` the output's.
struct Sides<'a> {
    wide: &'a Tensor,
    narrow: &'a Tensor,
    window: Window,
    kernel: usize,
}

impl Sides<'_> {
    /// Launches a pass that reads `read` and writes `out`. `bias` and `relu` go into the store.
    fn launch(
        &self,
        gpu: &Gpu,
        pass: &'static Kernel,
        read: [&Tensor; 2],
        (bias, relu): (Option<&Tensor>, bool),
        out: &Tensor,
    ) -> Result<()> {
        let Window { stride, padding } = self.window;
        let [batch, wide @ ..] = dims4(pass.name, "the input", self.wide)?.map(|extent| extent as u32);
        let [_, narrow @ ..] = dims4(pass.name, "the output", self.narrow)?.map(|extent| extent as u32);
        let lanes = tiles::lanes(gpu, ConvVariant::Naive);
        let consts = [
            ("K", self.kernel as u32),
            ("S", stride as u32),
            ("P", padding as u32),
            ("LANES", lanes),
            ("BIAS", u32::from(bias.is_some())),
            ("RELU", u32::from(relu)),
        ];
        let products = self.narrow.count() * wide[0] as usize * self.kernel * self.kernel;
        gpu.next_work(2 * products, 4 * (read[0].count() + read[1].count() + out.count()));
        let [first, second] = read.map(Tensor::span);
        let spans = [first, second, bias.map_or(second, Tensor::span), out.span()];
        let grid = Grid::linear(out.count(), lanes as usize);
        gpu.launch(pass, &consts, &Params { batch, wide, narrow }, &spans, grid)
    }
}

/// `out` = the convolution of `x`.
pub(super) fn forward(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    epilogue: (Option<&Tensor>, bool),
    window: Window,
    out: &Tensor,
) -> Result<()> {
    let sides = Sides { wide: x, narrow: out, window, kernel: weight.dims()[3] };
    sides.launch(gpu, &FORWARD, [x, weight], epilogue, out)
}

/// `out` = `small` spread by the convolution's transpose.
pub(super) fn backward_data(
    gpu: &Gpu,
    small: &Tensor,
    weight: &Tensor,
    epilogue: (Option<&Tensor>, bool),
    window: Window,
    out: &Tensor,
) -> Result<()> {
    let sides = Sides { wide: out, narrow: small, window, kernel: weight.dims()[3] };
    sides.launch(gpu, &BACKWARD_DATA, [small, weight], epilogue, out)
}

/// `dw` = the gradient with respect to the weights.
pub(super) fn backward_weights(gpu: &Gpu, x: &Tensor, dy: &Tensor, window: Window, dw: &Tensor) -> Result<()> {
    let sides = Sides { wide: x, narrow: dy, window, kernel: dw.dims()[3] };
    sides.launch(gpu, &BACKWARD_WEIGHTS, [x, dy], (None, false), dw)
}
