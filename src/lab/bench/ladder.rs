//! The ladder: every way in which `shaders/` computes the same thing, from the naive one upwards, on this adapter.

use serde::Serialize;

use crate::gpu::{AdapterSummary, Gpu, GpuError, Tensor, Work};
use crate::ops::choices;
use crate::ops::conv2d::Window;
use crate::ops::matmul::{Epilogue, Variant, matmul_with, plain};
use crate::ops::tiles::{self, ConvVariant};

use super::ceiling::Ceilings;
use super::clock::{Budget, Timing, ratio, time};
use super::convolutions::{PASSES, Place};
use super::row::{KernelRow, Label};
use super::{LabError, random};

/// Which ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ladder {
    /// A product of square matrices.
    Matmul,
    /// The three passes of a 3 x 3 convolution of 64 to 128 channels over 32 x 32 pixels, `lab`'s third.
    Conv2d,
}

/// One rung.
#[derive(Clone, Debug, Serialize)]
pub struct Rung {
    /// The file under `shaders/`.
    pub file: &'static str,
    #[serde(flatten)]
    pub row: KernelRow,
    /// How many times as fast as the first rung: by the processor's time on a software adapter, else by the median.
    pub speedup: f64,
    /// The largest difference from the first rung's result, over the largest value there.
    pub difference: f64,
}

/// A whole ladder.
#[derive(Clone, Debug, Serialize)]
pub struct LadderReport {
    pub version: &'static str,
    pub command: Vec<String>,
    pub adapter: AdapterSummary,
    /// `f32`, or `f16` where products may be of f16.
    pub precision: &'static str,
    /// Which kernel variants computed, and their tiles where those were tuned; `--kernels` takes them again.
    pub kernel_choices: choices::Table,
    pub ceilings: Ceilings,
    pub rungs: Vec<Rung>,
    /// Rungs that this adapter cannot stand on.
    pub missing: Vec<&'static str>,
}

/// The size of the problem where none is given: extents of the matrices, or pictures. Software adapters get small ones.
fn default_size(gpu: &Gpu, ladder: Ladder) -> usize {
    match (ladder, gpu.adapter().is_software()) {
        (Ladder::Matmul, true) => 512,
        (Ladder::Matmul, false) => 2048,
        (Ladder::Conv2d, true) => 4,
        (Ladder::Conv2d, false) => 128,
    }
}

/// Runs each rung.
pub fn climb(
    gpu: &Gpu,
    ladder: Ladder,
    size: Option<usize>,
    budget: Budget,
    command: &[String],
    watch: &mut dyn FnMut(&str),
) -> Result<LadderReport, LabError> {
    let size = size.unwrap_or(default_size(gpu, ladder));
    if size == 0 || ladder == Ladder::Matmul && !size.is_multiple_of(4) {
        let problem = format!("the ladder's size must be a multiple of 4 and more than 0, not {size}");
        return Err(GpuError::operand("bench", problem).into());
    }
    watch("ceilings");
    let ceilings = Ceilings::measure(gpu)?;
    let (rungs, missing) = match ladder {
        Ladder::Matmul => matmul(gpu, size, budget, &ceilings, watch)?,
        Ladder::Conv2d => {
            let before = gpu.forced_variant(tiles::CONV2D);
            let rungs = conv2d(gpu, size, budget, &ceilings, watch);
            gpu.force_variant(tiles::CONV2D, before.as_deref());
            rungs?
        }
    };
    Ok(LadderReport {
        version: env!("CARGO_PKG_VERSION"),
        command: command.to_vec(),
        adapter: gpu.adapter().clone(),
        precision: gpu.precision().name(),
        kernel_choices: choices::record(gpu)?,
        ceilings,
        rungs,
        missing,
    })
}

type Rungs = (Vec<Rung>, Vec<&'static str>);

fn matmul(
    gpu: &Gpu,
    size: usize,
    budget: Budget,
    ceilings: &Ceilings,
    watch: &mut dyn FnMut(&str),
) -> Result<Rungs, LabError> {
    let (a, b) = (random(gpu, 0, [size, size])?, random(gpu, 1, [size, size])?);
    let work = Work { flops: 2 * (size as u64).pow(3), bytes: 12 * (size as u64).pow(2) };
    let mut rungs = Vec::new();
    let mut missing = Vec::new();
    let mut first = None;
    for variant in Variant::ALL {
        if !variant.runs_on(gpu) {
            missing.push(variant.file());
            continue;
        }
        watch(&format!("{}.wgsl", variant.file()));
        let out = gpu.empty([size, size])?;
        let timing =
            time(gpu, budget, &mut || matmul_with(gpu, variant, plain(&a), plain(&b), Epilogue::default(), &out))?;
        let label = Label {
            kernel: "matmul",
            pass: "square",
            layer: None,
            shape: format!("{size}x{size} {size}x{size}"),
            variant: variant.name().to_owned(),
        };
        let row = KernelRow::new(label, work, timing, ceilings);
        rungs.push(rung(gpu, variant.file(), row, &out, &mut first)?);
    }
    Ok((rungs, missing))
}

fn conv2d(
    gpu: &Gpu,
    size: usize,
    budget: Budget,
    ceilings: &Ceilings,
    watch: &mut dyn FnMut(&str),
) -> Result<Rungs, LabError> {
    let place = Place {
        name: "lab.conv3".to_owned(),
        transposed: false,
        x: [size, 64, 32, 32],
        y: [size, 128, 32, 32],
        kernel: 3,
        window: Window::new(1, 1),
        pooled: false,
    };
    let arrays = place.arrays(gpu)?;
    let mut rungs = Vec::new();
    let mut missing = Vec::new();
    for (pass, name) in PASSES.into_iter().enumerate() {
        let mut first = None;
        // The weight gradient of `lanes` is that of `subgroup`.
        for variant in LADDER.into_iter().filter(|&variant| (variant, pass) != (ConvVariant::Lanes, 2)) {
            let file = file(variant, pass);
            if !variant.runs_on(gpu) {
                missing.push(file);
                continue;
            }
            watch(&format!("{file}.wgsl {name}"));
            gpu.force_variant(tiles::CONV2D, Some(variant.name()));
            let timing = time(gpu, budget, &mut || place.launch(gpu, &arrays, pass).map(drop))?;
            let out = place.launch(gpu, &arrays, pass)?;
            let label = Label {
                kernel: "conv2d",
                pass: name,
                layer: Some(place.name.clone()),
                shape: place.shape(),
                variant: variant.name().to_owned(),
            };
            let row = KernelRow::new(label, place.work(), timing, ceilings);
            rungs.push(rung(gpu, file, row, &out, &mut first)?);
        }
    }
    Ok((rungs, missing))
}

/// The convolution's rungs.
const LADDER: [ConvVariant; 7] = [
    ConvVariant::Naive,
    ConvVariant::Direct,
    ConvVariant::Gemm,
    ConvVariant::Subgroup,
    ConvVariant::Lanes,
    ConvVariant::Winograd,
    ConvVariant::Coop,
];

/// The file of a pass.
fn file(variant: ConvVariant, pass: usize) -> &'static str {
    match (variant, pass) {
        (ConvVariant::Naive, _) => "conv2d_naive",
        (ConvVariant::Direct, 2) => "conv2d_weights",
        (ConvVariant::Direct, _) => "conv2d",
        (ConvVariant::Coop, 2) => "conv2d_weights_coop",
        (ConvVariant::Coop, _) => "conv2d_coop",
        (ConvVariant::Gemm, 2) => "conv2d_weights_gemm",
        (ConvVariant::Gemm, _) => "conv2d_gemm",
        (ConvVariant::Subgroup | ConvVariant::Lanes, 2) => "conv2d_weights_lines",
        (ConvVariant::Lanes, _) => "conv2d_lanes",
        (ConvVariant::Winograd, _) => "conv2d_winograd",
        (ConvVariant::Subgroup, _) => "conv2d_subgroup",
    }
}

/// What the first rung gave, and how long it took.
type First = Option<(Vec<f32>, Timing)>;

fn rung(gpu: &Gpu, file: &'static str, row: KernelRow, out: &Tensor, first: &mut First) -> Result<Rung, LabError> {
    let values = gpu.read(out)?;
    let timing = row.timing;
    let (wanted, before) = first.get_or_insert((values.clone(), timing));
    let largest = wanted.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    // NaN is a difference, too.
    let apart = values.iter().zip(&*wanted).map(|(found, wanted)| f64::from((found - wanted).abs()));
    let worst = apart.fold(0.0f64, |worst, apart| if apart > worst || apart.is_nan() { apart } else { worst });
    let speedup = ratio(*before, timing);
    Ok(Rung { file, row, speedup, difference: worst / f64::from(largest) })
}
