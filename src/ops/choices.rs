//! Choices of kernels as results write them down and `--kernels` takes them again: a table of names.
//!
//! `conv2d` and `matmul` name the variant that everything is computed by (the table's own `subgroup` takes in `lanes` and, on
//! software adapters, `winograd`, where those are faster), `matmul nt` the one for products whose second
//! operand lies transposed; an entry with a problem behind the operation names the one for that problem, and its tile
//! (channels x positions of one invocation) where that was tuned:
//!
//! ```json
//! { "conv2d": "subgroup", "matmul": "vec4", "matmul nt": "subgroup", "conv2d forward 3>6 k5 s1 w28": "subgroup 6x4",
//!   "matmul nt 120x400": "vec4" }
//! ```
//!
//! Problems leave the batch out, so that a choice serves every batch of its layer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::matmul::Variant;
use super::tiles::{self, CONV2D, ConvVariant, MATMUL};
use crate::files;
use crate::gpu::{Choice, Gpu, Place, Result};

/// The table: operation or problem, and variant with tile.
pub type Table = BTreeMap<String, String>;

/// An entry that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("kernel choice '{entry}': {problem}")]
pub struct ChoiceError {
    entry: String,
    problem: String,
}

/// The passes of a convolution, as kernels know them: a transposed convolution's forward is another's backward-data.
pub const PASSES: [&str; 3] = ["forward", "backward-data", "backward-weights"];

/// Which operand of a product lies transposed.
const PRODUCTS: [&str; 4] = ["nn", "nt", "tn", "tt"];

/// A tile beyond this compiles for minutes.
const MOST: usize = 512;

/// Variants of the convolution whose kernels have one tile: an output an invocation, the matrices of the adapter, those of
/// Winograd.
const TILELESS: [&str; 3] = [ConvVariant::Naive.name(), ConvVariant::Coop.name(), ConvVariant::Winograd.name()];

/// The problem of one pass of a convolution: channels that are summed over and made (of a weight gradient, of input and
/// output), the kernel's extent, the stride, and the width of what is made (of a weight gradient, of the output).
pub fn convolution(pass: &'static str, channels: [usize; 2], kernel: usize, stride: usize, width: usize) -> Place {
    (pass, [channels[0], channels[1], kernel, stride, width])
}

/// The problem of a product of [m, k] and [k, n], whose batch is m, or k where the first operand is transposed.
pub fn product(m: usize, n: usize, k: usize, flip_a: bool, flip_b: bool) -> Place {
    let pass = PRODUCTS[2 * usize::from(flip_a) + usize::from(flip_b)];
    (pass, [n, if flip_a { m } else { k }, 0, 0, 0])
}

/// All products whose second operand lies transposed.
pub(super) const TRANSPOSED: Place = (PRODUCTS[1], [0; 5]);

/// A whole operation.
pub(super) fn whole(operation: &'static str) -> Place {
    (operation, [0; 5])
}

/// The entry's name.
pub fn name((pass, [a, b, kernel, stride, width]): Place) -> String {
    if (pass, [a, b, kernel, stride, width]) == TRANSPOSED {
        format!("{MATMUL} {pass}")
    } else if PASSES.contains(&pass) {
        format!("{CONV2D} {pass} {a}>{b} k{kernel} s{stride} w{width}")
    } else if PRODUCTS.contains(&pass) {
        format!("{MATMUL} {pass} {a}x{b}")
    } else {
        pass.to_owned()
    }
}

/// The entry's value.
pub fn value(choice: Choice) -> String {
    match choice.tile {
        Some([channels, positions]) => format!("{} {channels}x{positions}", choice.variant),
        None => choice.variant.to_owned(),
    }
}

/// What this device will compute by, all of it: the table for results.
pub fn record(gpu: &Gpu) -> Result<Table> {
    let mut table: Table = gpu.choices().into_iter().map(|(place, choice)| (name(place), value(choice))).collect();
    table.insert(CONV2D.to_owned(), tiles::conv2d(gpu)?.name().to_owned());
    table.insert(MATMUL.to_owned(), tiles::matmul(gpu, false)?.name().to_owned());
    table.insert(name(TRANSPOSED), tiles::matmul(gpu, true)?.name().to_owned());
    Ok(table)
}

fn place(entry: &str) -> Option<Place> {
    let mut words = entry.split(' ');
    let first = words.next()?;
    let operation = [CONV2D, MATMUL].into_iter().find(|&one| one == first)?;
    let Some(pass) = words.next() else { return Some(whole(operation)) };
    let number = |word: Option<&str>, mark: &str| word?.strip_prefix(mark)?.parse::<usize>().ok();
    let found = if operation == CONV2D {
        let pass = PASSES.into_iter().find(|&one| one == pass)?;
        let (from, to) = words.next()?.split_once('>')?;
        let channels = [from.parse().ok()?, to.parse().ok()?];
        let [kernel, stride, width] = ["k", "s", "w"].map(|mark| number(words.next(), mark));
        convolution(pass, channels, kernel?, stride?, width?)
    } else {
        let pass = PRODUCTS.into_iter().find(|&one| one == pass)?;
        match words.next() {
            None if pass == TRANSPOSED.0 => TRANSPOSED,
            sizes => {
                let (a, b) = sizes?.split_once('x')?;
                // Without extents it would be the entry for all of them.
                let [a, b] = [a, b].map(|extent| extent.parse().ok().filter(|&extent| extent > 0));
                (pass, [a?, b?, 0, 0, 0])
            }
        }
    };
    words.next().is_none().then_some(found)
}

/// The variants of an operation, and whether this device runs each.
fn variants(gpu: &Gpu, operation: &str) -> Vec<(&'static str, bool)> {
    if operation == CONV2D {
        ConvVariant::ALL.iter().map(|one| (one.name(), one.runs_on(gpu))).collect()
    } else {
        Variant::ALL.iter().map(|one| (one.name(), one.runs_on(gpu))).collect()
    }
}

fn choice(gpu: &Gpu, entry: &str, value: &str) -> std::result::Result<(Place, Choice), String> {
    let place = place(entry).ok_or_else(|| {
        format!("no such operation; there are {CONV2D} and {MATMUL}, each alone or with a problem as results write it")
    })?;
    let operation = entry.split(' ').next().unwrap_or_default();
    let (named, tile) = value.split_once(' ').map_or((value, None), |(named, tile)| (named, Some(tile)));
    let known = variants(gpu, operation);
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let &(variant, runs) = known
        .iter()
        .find(|(name, _)| *name == named)
        .ok_or_else(|| format!("no variant '{}'; there are {}", named.escape_debug(), names.join(", ")))?;
    if variant == Variant::Coop.name() && gpu.cooperative().is_none() {
        return Err(format!("the variant '{variant}' needs --precision f16"));
    }
    if !runs {
        return Err(format!("this adapter cannot run the variant '{variant}', or computes wrong numbers with it"));
    }
    if let (pass, [_, _, kernel, stride, _]) = place
        && PASSES.contains(&pass)
        && ConvVariant::ALL.iter().any(|one| one.name() == variant && !one.has_kernels_for(kernel, stride))
    {
        return Err(format!("the variant '{variant}' has no kernel for k{kernel} s{stride}: only for k3 at s1 and s2"));
    }
    let tile = match tile {
        None => None,
        Some(_) if PASSES.contains(&place.0) && TILELESS.contains(&variant) => {
            return Err(format!("the variant '{variant}' has no tile to choose: leave it out"));
        }
        Some(text) => {
            let sides =
                text.split_once('x').and_then(|(a, b)| Some([a.parse::<usize>().ok()?, b.parse::<usize>().ok()?]));
            let fits = |&[a, b]: &[usize; 2]| a > 0 && b > 0 && a <= MOST && b <= MOST && a * b <= MOST;
            let tile = sides.filter(|tile| PASSES.contains(&place.0) && fits(tile));
            Some(tile.ok_or_else(|| {
                format!(
                    "no tile '{}': a convolution's problem takes channels x positions, {MOST} at the most",
                    text.escape_debug()
                )
            })?)
        }
    };
    Ok((place, Choice { variant, tile }))
}

/// The table of a file's contents: an earlier run's `result.json`, or the table alone. An error goes on after the file's
/// name.
pub fn from_bytes(bytes: &[u8]) -> std::result::Result<Table, String> {
    let mut value: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("is not JSON: {}", files::one_line(&error.to_string())))?;
    let table = value.get_mut("kernel_choices").map(Value::take).unwrap_or(value);
    serde_json::from_value(table).map_err(|_| {
        "holds no choice of kernels: the result.json of an earlier run is needed, or an object such as {\"conv2d\": \
         \"direct\", \"matmul\": \"vec4\"}"
            .to_owned()
    })
}

/// Makes a device follow a table, all of it or, where an entry cannot be followed, nothing.
pub fn follow(gpu: &Gpu, table: &Table) -> std::result::Result<(), ChoiceError> {
    let found: std::result::Result<Vec<(Place, Choice)>, ChoiceError> = table
        .iter()
        .map(|(entry, value)| {
            choice(gpu, entry, value)
                .map_err(|problem| ChoiceError { entry: entry.escape_debug().to_string(), problem })
        })
        .collect();
    gpu.set_choices(found?);
    Ok(())
}
