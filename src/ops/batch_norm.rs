//! Batch normalisation, training and evaluation (`shaders/batch_norm.wgsl`).

use bytemuck::NoUninit;

use super::{FLAT, dims4, kernel, launch_flat};
use crate::gpu::{Const, Gpu, GpuError, Grid, Kernel, Result, Tensor};

static STATISTICS: Kernel = kernel!("batch_norm_statistics", "tree" "batch_norm", "statistics", "rwwww");
static FROZEN: Kernel = kernel!("batch_norm_frozen", "tree" "batch_norm", "frozen", "rw");
static APPLY: Kernel = kernel!("batch_norm", "tree" "batch_norm", "apply", "rrrrrw");
static SUMS: Kernel = kernel!("batch_norm_sums", "tree" "batch_norm", "sums", "rrrrww");
static GRADIENT: Kernel = kernel!("batch_norm_backward", "tree" "batch_norm", "gradient", "rrrrrrrw");

/// The statistics that a layer keeps between steps, each of shape [C].
#[derive(Clone, Debug)]
pub struct Running {
    pub mean: Tensor,
    pub variance: Tensor,
}

/// Added to the variance, and the weight of the newest batch in the running statistics; PyTorch's
/// defaults are 1e-5 and 0.1.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub epsilon: f32,
    pub momentum: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { epsilon: 1e-5, momentum: 0.1 }
    }
}

/// What the backward pass needs: mean and 1 / sqrt(variance + epsilon) of each channel, and whether they
/// depend on the input.
#[derive(Clone, Debug)]
pub struct Saved {
    mean: Tensor,
    rstd: Tensor,
    training: bool,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    batch: u32,
    channels: u32,
    epsilon: f32,
    momentum: f32,
}

fn params(x: &Tensor, settings: Settings) -> Result<Params> {
    let [batch, channels, ..] = dims4("batch_norm", "the input", x)?;
    if channels > Grid::LIMIT as usize {
        let problem = format!("{channels} channels are more than the {} that a grid takes", Grid::LIMIT);
        return Err(GpuError::operand("batch_norm", problem));
    }
    Ok(Params {
        batch: batch as u32,
        channels: channels as u32,
        epsilon: settings.epsilon,
        momentum: settings.momentum,
    })
}

fn consts(x: &Tensor, training: bool) -> Result<[Const; 3]> {
    let [.., height, width] = dims4("batch_norm", "the input", x)?;
    Ok(constants(height * width, training))
}

fn constants(inner: usize, training: bool) -> [Const; 3] {
    [("TRAINING", u32::from(training)), ("INNER", inner as u32), ("TURNS", 4)]
}

/// A channel's elements to an invocation of `apply` and `gradient`: what belongs to the channel is read once for all of them.
const EACH: usize = 8;

/// A column of workgroups for each channel, and in it enough workgroups for the channel's elements.
fn over_elements(x: &Tensor, channels: u32) -> Grid {
    let elements = x.count() / channels as usize;
    let groups = elements.div_ceil(FLAT * EACH).clamp(1, Grid::LIMIT as usize);
    Grid([channels, groups as u32, 1])
}

/// Normalises each channel of `x` [N, C, H, W]. Training uses the batch's statistics and moves the
/// running ones; evaluation uses the running ones and changes nothing.
pub fn forward(
    gpu: &Gpu,
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    running: &Running,
    settings: Settings,
    training: bool,
) -> Result<(Tensor, Saved)> {
    let params = params(x, settings)?;
    let channels = params.channels as usize;
    for (what, tensor) in [
        ("gamma", gamma),
        ("beta", beta),
        ("the running mean", &running.mean),
        ("the running variance", &running.variance),
    ] {
        GpuError::expect_shape("batch_norm", what, tensor.shape(), [channels].into())?;
    }
    let consts = consts(x, training)?;
    let rstd = gpu.empty([channels])?;
    let mean = if training {
        let mean = gpu.empty([channels])?;
        let spans = [x.span(), mean.span(), rstd.span(), running.mean.span(), running.variance.span()];
        gpu.launch(&STATISTICS, &consts, &params, &spans, Grid([params.channels, 1, 1]))?;
        mean
    } else {
        // Its text has the others' constants, too; one pipeline does for planes of any extent.
        let consts = constants(1, false);
        launch_flat(gpu, &FROZEN, &consts, &params, &[running.variance.span(), rstd.span()], channels)?;
        running.mean.clone()
    };
    let y = gpu.empty(x.shape())?;
    let spans = [x.span(), mean.span(), rstd.span(), gamma.span(), beta.span(), y.span()];
    gpu.launch(&APPLY, &consts, &params, &spans, over_elements(x, params.channels))?;
    Ok((y, Saved { mean, rstd, training }))
}

/// The gradients of gamma and beta, [C] each; the input's gradient is made from them.
pub fn backward_sums(gpu: &Gpu, x: &Tensor, saved: &Saved, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    let params = params(x, Settings::default())?;
    GpuError::expect_shape("batch_norm_backward", "the gradient", dy.shape(), x.shape())?;
    let (dgamma, dbeta) = (gpu.empty([params.channels as usize])?, gpu.empty([params.channels as usize])?);
    let spans = [x.span(), saved.mean.span(), saved.rstd.span(), dy.span(), dgamma.span(), dbeta.span()];
    gpu.launch(&SUMS, &consts(x, saved.training)?, &params, &spans, Grid([params.channels, 1, 1]))?;
    Ok((dgamma, dbeta))
}

/// The gradient of the input, from the sums of [`backward_sums`]; in evaluation it does not depend on them.
pub fn backward_data(
    gpu: &Gpu,
    x: &Tensor,
    saved: &Saved,
    gamma: &Tensor,
    dy: &Tensor,
    sums: Option<&(Tensor, Tensor)>,
    dx: &Tensor,
) -> Result<()> {
    let params = params(x, Settings::default())?;
    for (what, tensor) in [("the gradient", dy), ("the result", dx)] {
        GpuError::expect_shape("batch_norm_backward", what, tensor.shape(), x.shape())?;
    }
    if saved.training && sums.is_none() {
        return Err(GpuError::operand("batch_norm_backward", "in training the input's gradient needs the sums"));
    }
    // Without the sums something must be bound all the same; the kernel does not read it.
    let (sum_dy_xhat, sum_dy) = sums.map_or((&saved.rstd, &saved.rstd), |(first, second)| (first, second));
    let spans = [
        x.span(),
        saved.mean.span(),
        saved.rstd.span(),
        dy.span(),
        gamma.span(),
        sum_dy_xhat.span(),
        sum_dy.span(),
        dx.span(),
    ];
    gpu.launch(&GRADIENT, &consts(x, saved.training)?, &params, &spans, over_elements(x, params.channels))
}
