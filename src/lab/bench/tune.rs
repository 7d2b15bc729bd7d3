//! A short tuner: the kernels and a few tiles for each layer of the models, measured; what beats the table is kept.

use serde::{Deserialize, Serialize};

use crate::gpu::{AdapterSummary, Choice, Gpu, Place as Problem, Precision};
use crate::kept;
use crate::models;
use crate::nn::Layer;
use crate::ops::choices::{self, Table};
use crate::ops::matmul::{Epilogue, Variant, matmul_with, plain, transposed};
use crate::ops::tiles::{self, ConvVariant};

use super::clock::time;
use super::convolutions::{PASSES, places};
use super::{LabError, Options, random};

/// Under this name it is kept ([`kept::place`]).
pub const fn kept_as(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "tuned",
        Precision::F16 => "tuned-f16",
    }
}

/// What is kept in the user's cache folder, and what `--kernels` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tuned {
    pub version: String,
    pub kernels_fingerprint: String,
    pub adapter: AdapterSummary,
    pub kernel_choices: Table,
}

/// One problem and what was tried on it.
#[derive(Clone, Debug, Serialize)]
pub struct TunedRow {
    /// The layer that has it, and the pass there.
    pub layer: String,
    /// As tables of choices write it.
    pub problem: String,
    /// Each kernel and tile, and milliseconds at best; the table's own first.
    pub tried: Vec<(String, f64)>,
    /// What is kept; nothing where the table's own is as good.
    pub kept: Option<String>,
}

/// All that the tuner found.
#[derive(Clone, Debug, Serialize)]
pub struct TuneReport {
    pub command: Vec<String>,
    #[serde(flatten)]
    pub tuned: Tuned,
    pub rows: Vec<TunedRow>,
}

/// What is tried on products beside the table's own.
const FAST: [Variant; 6] =
    [Variant::Blocked, Variant::Shared, Variant::Subgroup, Variant::SplitK, Variant::Registers, Variant::Coop];

/// A choice must be so much faster than the table's own: what differs by less is noise, and not worth other bits.
const WORTH: f64 = 0.9;

/// Turns that the candidates take, so that a busy moment of the machine does not decide.
const TURNS: usize = 2;

/// Pictures of a convolution on a software adapter: as many as show the difference.
const SOFTWARE_BATCH: usize = 8;

/// Tries the layers of the models; `watch` hears what is measured now. The device's own choices are as before in the end.
pub fn tune(
    gpu: &Gpu,
    options: &Options,
    command: &[String],
    watch: &mut dyn FnMut(&str),
) -> Result<TuneReport, LabError> {
    let before = gpu.choices();
    gpu.set_choices([]);
    let outcome = rows(gpu, options, watch);
    gpu.set_choices(before);
    let (rows, chosen) = outcome?;
    let kernel_choices =
        chosen.into_iter().map(|(problem, choice)| (choices::name(problem), choices::value(choice))).collect();
    let tuned = Tuned {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernels_fingerprint: kept::kernels(),
        adapter: gpu.adapter().clone(),
        kernel_choices,
    };
    Ok(TuneReport { command: command.to_vec(), tuned, rows })
}

type Chosen = Vec<(Problem, Choice)>;

fn rows(gpu: &Gpu, options: &Options, watch: &mut dyn FnMut(&str)) -> Result<(Vec<TunedRow>, Chosen), LabError> {
    let (mut rows, mut chosen) = (Vec::new(), Chosen::new());
    for model in options.models() {
        let software = gpu.adapter().is_software() && options.batch.is_none();
        let batch = if software { options.batch(model).min(SOFTWARE_BATCH) } else { options.batch(model) };
        for place in places(model, batch)? {
            let arrays = place.arrays(gpu)?;
            for (pass, name) in PASSES.into_iter().enumerate() {
                let layer = format!("{} {name}", place.name);
                watch(&layer);
                let problem = place.problem(pass);
                let mut launch = || match pass {
                    // As the network runs it: a tile that cannot pool as it stores pays for a launch of its own.
                    0 if place.pooled => place.launch_pooled(gpu, &arrays).map(drop),
                    _ => place.launch(gpu, &arrays, pass).map(drop),
                };
                let candidates = convolutions(gpu, problem, place.window.padding)?;
                let row = best(gpu, options, (layer, problem), &candidates, &mut chosen, &mut launch)?;
                rows.extend(row);
            }
        }
        for (layer, pass, [m, n, k], flip) in products(model, options.batch(model))? {
            let (layer, problem) = (format!("{layer} {pass}"), choices::product(m, n, k, flip[0], flip[1]));
            watch(&layer);
            let a = random(gpu, 0, if flip[0] { [k, m] } else { [m, k] })?;
            let b = random(gpu, 1, if flip[1] { [n, k] } else { [k, n] })?;
            let out = gpu.empty([m, n])?;
            let mut launch = || {
                let variant = tiles::matmul_at(gpu, [m, n, k], flip)?;
                let a = if flip[0] { transposed(&a) } else { plain(&a) };
                let b = if flip[1] { transposed(&b) } else { plain(&b) };
                matmul_with(gpu, variant, a, b, Epilogue::default(), &out)
            };
            let own = tiles::matmul_at(gpu, [m, n, k], flip)?;
            // The slow rungs of the ladder are there to be read; so is workgroup memory on software adapters.
            let pays = |one: &Variant| *one != Variant::Shared || !gpu.adapter().is_software();
            let mut candidates = Vec::new();
            for variant in
                [own].into_iter().chain(FAST).filter(|one| pays(one) && one.runs_on(gpu) && one.fits(n, k, flip[1]))
            {
                let choice = Choice { variant: variant.name(), tile: None };
                if !candidates.contains(&choice) {
                    candidates.push(choice);
                }
            }
            let row = best(gpu, options, (layer, problem), &candidates, &mut chosen, &mut launch)?;
            rows.extend(row);
        }
    }
    Ok((rows, chosen))
}

/// The table's own choice, the other variants, and a few tiles around its own.
fn convolutions(gpu: &Gpu, problem: Problem, padding: usize) -> Result<Vec<Choice>, LabError> {
    let (own, _) = tiles::conv2d_at(gpu, problem)?;
    let mut found = vec![Choice { variant: own.name(), tile: None }];
    let software = gpu.adapter().is_software();
    let pays = |one: ConvVariant| match one {
        ConvVariant::Naive => false,
        ConvVariant::Gemm => !software,
        ConvVariant::Winograd => one.has_kernels_for(problem.1[2], problem.1[3]),
        // Its weight gradient is that of `subgroup`.
        ConvVariant::Lanes => problem.0 != "backward-weights",
        _ => true,
    };
    let others = ConvVariant::ALL.into_iter().filter(|&one| one != own && pays(one) && one.runs_on(gpu));
    found.extend(others.map(|one| Choice { variant: one.name(), tile: None }));
    if own == ConvVariant::Gemm {
        // All that there are.
        let tiles = [[4, 4], [4, 8], [8, 4], [8, 8]];
        found.extend(tiles.map(|tile| Choice { variant: own.name(), tile: Some(tile) }));
        return Ok(found);
    }
    if matches!(own, ConvVariant::Coop | ConvVariant::Naive | ConvVariant::Winograd) {
        // They have no tile to choose.
        return Ok(found);
    }
    let [channels, positions] = tiles::default_tile(gpu, own, problem, padding);
    let tiles =
        [[channels.div_ceil(2), positions], [channels, positions.div_ceil(2)], [channels.div_ceil(2), 2 * positions]];
    let mut seen = vec![[channels, positions]];
    for tile in tiles {
        // A tile wider than the row only computes what nobody stores.
        if tile[1] <= problem.1[4].max(positions) && !seen.contains(&tile) {
            seen.push(tile);
            found.push(Choice { variant: own.name(), tile: Some(tile) });
        }
    }
    Ok(found)
}

/// A product of a linear layer: the layer, the pass, extents, and which operands lie transposed.
type Product = (String, &'static str, [usize; 3], [bool; 2]);

/// The products of a model's linear layers: forward (weights transposed), the gradient of the input, and that of the weights.
pub(super) fn products(model: &str, batch: usize) -> Result<Vec<Product>, LabError> {
    let mut found = Vec::new();
    for layer in &models::architecture(model)?.layers {
        let Layer::Linear { name, features: [inputs, outputs], .. } = layer else { continue };
        let (inputs, outputs) = (*inputs, *outputs);
        for (pass, [m, n, k], flip) in [
            ("forward", [batch, outputs, inputs], [false, true]),
            ("backward-data", [batch, inputs, outputs], [false, false]),
            ("backward-weights", [outputs, inputs, batch], [true, false]),
        ] {
            found.push((format!("{model}.{name}"), pass, [m, n, k], flip));
        }
    }
    Ok(found)
}

/// Measures the candidates in turns and keeps the best, if it is worth it. Nothing for a problem that was tried before.
fn best(
    gpu: &Gpu,
    options: &Options,
    (layer, problem): (String, Problem),
    candidates: &[Choice],
    chosen: &mut Chosen,
    launch: &mut dyn FnMut() -> crate::gpu::Result<()>,
) -> Result<Option<TunedRow>, LabError> {
    if candidates.len() < 2 || chosen.iter().any(|(known, _)| *known == problem) {
        return Ok(None);
    }
    let mut least = vec![f64::INFINITY; candidates.len()];
    for _ in 0..TURNS {
        for (least, &candidate) in least.iter_mut().zip(candidates) {
            gpu.set_choices([(problem, candidate)]);
            let timing = time(gpu, options.budget, launch);
            gpu.set_choices([]);
            *least = least.min(timing?.ms_min);
        }
    }
    let winner = (0..least.len()).min_by(|&one, &other| least[one].total_cmp(&least[other])).unwrap_or(0);
    let better = least[winner] < WORTH * least[0];
    if better {
        chosen.push((problem, candidates[winner]));
    }
    Ok(Some(TunedRow {
        layer,
        problem: choices::name(problem),
        tried: candidates.iter().map(|&choice| choices::value(choice)).zip(least).collect(),
        kept: better.then(|| choices::value(candidates[winner])),
    }))
}
