//! What attacks are made of besides a gradient: steps and balls with a length of each picture's own, margins between
//! logits, and the choice between two pictures.

use super::reference::displace as reference;
use super::reference::margin::{margins as margins_of, slopes};
use super::reference::select::{judged, replaced};
use super::reference::{random, wide};
use super::trial::{Subject, Trial, Within, operand};
use crate::gpu::{Result, Tensor};
use crate::ops::reduce::{Reduction, each_image};
use crate::ops::{displace, margin, select};

/// Pictures of so many values: whole vectors, and not.
const SIZES: [[usize; 2]; 3] = [[3, 64], [5, 7], [2, 3072]];

fn pixels(item: u32, count: usize) -> Vec<f32> {
    random(item, count).iter().map(|value| (0.7 * value + 0.5).clamp(0.0, 1.0)).collect()
}

pub(super) fn pictures(trial: &mut Trial<'_>) -> Result<()> {
    for dims in SIZES {
        directions(trial, dims)?;
        choices(trial, dims)?;
    }
    for [rows, classes] in [[1, 2], [65, 10], [7, 33]] {
        margins(trial, rows, classes)?;
    }
    Ok(())
}

fn directions(trial: &mut Trial<'_>, [images, size]: [usize; 2]) -> Result<()> {
    let case = format!("{images} pictures of {size}");
    let (gpu, count, dims) = (trial.gpu, images * size, [images, size]);
    let (x, centre) = (pixels(1, count), pixels(2, count));
    let (x_tensor, centre_tensor) = (gpu.tensor(dims, &x)?, gpu.tensor(dims, &centre)?);
    let (g, slopes) = operand(gpu, 3, dims)?;
    let (m, before) = operand(gpu, 4, dims)?;
    let (lengths, each) = operand(gpu, 5, [images])?;
    let (squares, absolute) = (each_image(gpu, Reduction::SumSquares, &g)?, each_image(gpu, Reduction::SumAbs, &g)?);
    let (eps, decay) = (0.25f32, 0.5f32);
    let along = reference::along(&x, &centre, &slopes, size, eps);
    let ball = reference::into_ball(&centre, &slopes, size, eps);
    let by = reference::by(&x, &slopes, &each, size);
    let momentum = reference::momentum(&before, &slopes, size, decay);
    type Run<'a> = &'a dyn Fn() -> Result<Tensor>;
    let passes: [(&'static str, &[f64], Run<'_>); 4] = [
        ("along", &along, &|| displace::along(gpu, &x_tensor, &centre_tensor, &g, &squares, eps)),
        ("ball", &ball, &|| displace::into_ball(gpu, &centre_tensor, &g, &squares, eps)),
        ("by", &by, &|| displace::by(gpu, &x_tensor, &g, &lengths)),
        ("momentum", &momentum, &|| displace::momentum(gpu, &m, &g, &absolute, decay)),
    ];
    for (pass, wanted, run) in passes {
        trial.check(Subject::one("displace", pass), &case, wanted, Within::Terms(8), &|gpu| gpu.read(&run()?))?;
    }
    Ok(())
}

fn choices(trial: &mut Trial<'_>, [images, size]: [usize; 2]) -> Result<()> {
    let case = format!("{images} pictures of {size}");
    let gpu = trial.gpu;
    let (margin, margins) = operand(gpu, 6, [images])?;
    let (distance, distances) = operand(gpu, 7, [images])?;
    let best = random(8, images);
    let better = judged(&margins, &distances, &best, 0.125);
    let mut wanted: Vec<f64> = better.iter().map(|&better| f64::from(u8::from(better))).collect();
    wanted.extend((0..images).map(|n| f64::from(if better[n] { distances[n] } else { best[n] })));
    trial.check(Subject::one("select", "judge"), &case, &wanted, Within::Exactly, &|gpu| {
        let nearest = gpu.tensor([images], &best)?;
        let mut found = gpu.read(&select::judge(gpu, &margin, &distance, &nearest, 0.125)?)?;
        found.extend(gpu.read(&nearest)?);
        Ok(found)
    })?;
    let (from, source) = operand(gpu, 9, [images, size])?;
    let before = random(10, images * size);
    let chosen: Vec<bool> = (0..images).map(|n| n % 2 == 0).collect();
    let marks: Vec<f32> = chosen.iter().map(|&chosen| f32::from(u8::from(chosen))).collect();
    let kept = wide(&replaced(&chosen, &source, &before));
    trial.check(Subject::one("select", "replace"), &case, &kept, Within::Exactly, &|gpu| {
        let into = gpu.tensor([images, size], &before)?;
        select::replace(gpu, &gpu.tensor([images], &marks)?, &from, &into)?;
        gpu.read(&into)
    })
}

fn margins(trial: &mut Trial<'_>, rows: usize, classes: usize) -> Result<()> {
    let case = format!("{rows} rows of {classes}");
    let gpu = trial.gpu;
    let (logits, values) = operand(gpu, 11, [rows, classes])?;
    let (upstream, weights) = operand(gpu, 12, [rows])?;
    let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
    let words = gpu.words(&labels)?;
    let wanted = margins_of(&values, &labels, -1.0);
    let slopes = slopes(&values, &labels, -1.0, &weights);
    trial.check(Subject::one("margin", "forward"), &case, &wanted, Within::Terms(1), &|gpu| {
        gpu.read(&margin::forward(gpu, &logits, &words, -1.0)?)
    })?;
    trial.check(Subject::one("margin", "backward"), &case, &slopes, Within::Exactly, &|gpu| {
        let place = gpu.empty([rows, classes])?;
        margin::backward(gpu, &logits, &words, -1.0, &upstream, &place)?;
        gpu.read(&place)
    })
}
