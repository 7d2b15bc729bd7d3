//! Steps along the gradient's sign and random starts, against the same arithmetic in f64.

mod common;

use common::cases::{Place, assert_uniform, bits, extent, for_cases, refused};
use common::{gpu, random};
use proptest::prelude::*;
use shadegrad::gpu::{Gpu, Result, Shape, Tensor};
use shadegrad::ops::noise::Source;
use shadegrad::ops::perturb::{Ball, Step, odin_step, random_corner, random_start};
use shadegrad::random::{Purpose, Stream, unit};
use shadegrad::selftest::reference::perturb::stepped as wanted;

fn step(gpu: &Gpu, x: &Tensor, gradient: &Tensor, length: f32, ball: Option<Ball<'_>>) -> Result<Tensor> {
    Step { x, length, ball }.along(gpu, gradient)
}

/// Pixels as bytes make them, among them 0 and 1.
fn pixels(item: u32, count: usize) -> Vec<f32> {
    let mut stream = Stream::new(98, Purpose::Test, item);
    (0..count)
        .map(|_| match stream.below(8) {
            0 => 0.0,
            1 => 1.0,
            _ => (stream.next_word() >> 24) as f32 / 255.0,
        })
        .collect()
}

/// Gradients with zeros of both signs and numbers that an adapter may flush to zero among them.
fn slopes(item: u32, count: usize) -> Vec<f32> {
    let special = [0.0, -0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 1e-42, -1e-42, f32::MAX, f32::MIN];
    let pick = |(index, value): (usize, f32)| if index % 3 == 0 { special[index / 3 % special.len()] } else { value };
    random(item, count).into_iter().enumerate().map(pick).collect()
}

fn check(dims: &[usize]) {
    let gpu = gpu();
    let shape = Shape::new(dims).unwrap();
    let (clean, g) = (pixels(0, shape.count()), slopes(1, shape.count()));
    let moved: Vec<f32> =
        clean.iter().zip(random(2, clean.len())).map(|(x, d)| (x + 0.04 * d).clamp(0.0, 1.0)).collect();
    let upload = |values: &[f32]| gpu.tensor(shape, values).unwrap();
    let (x0, x, gradient) = (upload(&clean), upload(&moved), upload(&g));
    for eps in [0.0, 1.0 / 255.0, 8.0 / 255.0, 0.3] {
        for length in [eps, -eps] {
            let place = Place::new(&gpu, shape);
            Step { x: &x0, length, ball: None }.along_into(&gpu, &gradient, &place.tensor).unwrap();
            let all: Vec<f32> = clean.iter().zip(&g).map(|(&x, &g)| wanted(x, g, length, None)).collect();
            assert_eq!(bits(&place.read(&gpu)), bits(&all), "{shape}: one step of {length}");
            // What the definition asks for and the kernel leaves out is a step that changes nothing.
            let ball = Some(Ball { centre: &x0, eps });
            let projected = step(&gpu, &x0, &gradient, length, ball).unwrap();
            assert_eq!(bits(&gpu.read(&projected).unwrap()), bits(&all), "{shape}: projected step of {length}");

            let found = gpu.read(&step(&gpu, &x, &gradient, length / 4.0, ball).unwrap()).unwrap();
            let pairs = moved.iter().zip(&g).zip(&clean);
            let all: Vec<f32> =
                pairs.map(|((&x, &g), &centre)| wanted(x, g, length / 4.0, Some((centre, eps)))).collect();
            assert_eq!(bits(&found), bits(&all), "{shape}: from within a ball of {eps}");
        }
    }
}

#[test]
fn random_shapes_match_the_cpu() {
    let shapes =
        prop::collection::vec(extent(67), 1..=4).prop_filter("small", |dims| dims.iter().product::<usize>() < 40_000);
    for_cases(16, shapes, |dims| check(&dims));
}

#[test]
fn workgroup_edges_match_the_cpu() {
    for count in [1, 3, 4, 252, 255, 256, 257, 260, 4097] {
        check(&[count]);
    }
}

#[test]
fn a_grid_that_one_dimension_cannot_hold_is_folded() {
    let gpu = gpu();
    for count in [65_535 * 64 + 1, 65_535 * 256 + 4] {
        let x = gpu.filled([count], 0.5).unwrap();
        let found = gpu.read(&step(&gpu, &x, &x, 0.25, None).unwrap()).unwrap();
        assert!(found.iter().all(|&value| value == 0.75));
    }
}

#[test]
fn a_gradient_that_is_not_finite_becomes_the_pixel() {
    let gpu = gpu();
    for count in [8, 9] {
        let mut g = vec![1.0; count];
        (g[1], g[3], g[6]) = (f32::NAN, f32::NEG_INFINITY, f32::INFINITY);
        let (x, gradient) = (gpu.filled([count], 0.5).unwrap(), gpu.tensor([count], &g).unwrap());
        for ball in [None, Some(Ball { centre: &x, eps: 0.1 })] {
            let found = gpu.read(&step(&gpu, &x, &gradient, 0.1, ball).unwrap()).unwrap();
            for (index, (found, g)) in found.iter().zip(&g).enumerate() {
                let same = if g.is_finite() { *found == 0.6 } else { found.to_bits() == g.to_bits() };
                assert!(same, "element {index} of {count}: {found} for a gradient of {g}");
            }
        }
    }
}

fn source(seed: u64, launch: u32) -> Source {
    Source { seed, purpose: Purpose::Noise, launch }
}

fn start(x: &Tensor, eps: f32, source: Source) -> Vec<f32> {
    let gpu = gpu();
    gpu.read(&random_start(&gpu, x, eps, source).unwrap()).unwrap()
}

#[test]
fn odins_step_takes_zero_for_positive_and_may_leave_the_pixels_range() {
    let gpu = gpu();
    for count in [1, 4, 255, 256, 4097] {
        let (clean, g) = (pixels(3, count), slopes(4, count));
        let (x, gradient) = (gpu.tensor([count], &clean).unwrap(), gpu.tensor([count], &g).unwrap());
        for eps in [0.0014f32, 0.25] {
            let found = gpu.read(&odin_step(&gpu, &x, &gradient, eps).unwrap()).unwrap();
            let wanted: Vec<f32> =
                clean.iter().zip(&g).map(|(&x, &g)| if g >= 0.0 { x - eps } else { x + eps }).collect();
            assert_eq!(bits(&found), bits(&wanted), "{count} by {eps}");
        }
    }
    let (a, b) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([3, 2]).unwrap());
    refused(odin_step(&gpu, &a, &b, 0.1), &["odin_step", "[2, 3]", "[3, 2]"]);
    refused(odin_step(&gpu, &a, &a, f32::NAN), &["odin_step", "NaN"]);
}

#[test]
fn a_random_start_is_the_images_own_stream() {
    let gpu = gpu();
    for_cases(16, (any::<u64>(), 0u32..1000, extent(9), extent(257)), |(seed, first, images, size)| {
        let clean = pixels(first, images * size);
        let x = gpu.tensor([images, size], &clean).unwrap();
        for eps in [0.0, 8.0 / 255.0] {
            let found = start(&x, eps, source(seed, first));
            for (index, (&found, &clean)) in found.iter().zip(&clean).enumerate() {
                let stream = Stream::new(seed, Purpose::Noise, first + (index / size) as u32);
                let drawn = 2.0 * f64::from(unit(stream.word((index % size) as u32))) - 1.0;
                let wanted = (f64::from(clean) + f64::from(eps) * drawn).clamp(0.0, 1.0);
                assert!((f64::from(found) - wanted).abs() <= 1.2e-7, "element {index}: {found}, not {wanted}");
                assert!((0.0..=1.0).contains(&found));
                assert!((f64::from(found) - f64::from(clean)).abs() <= f64::from(eps) + 6e-8, "outside the ball");
                assert!(eps > 0.0 || found.to_bits() == clean.to_bits(), "a ball of 0 moved a pixel");
            }
        }
    });
}

#[test]
fn a_random_corner_has_the_streams_top_bits_as_signs() {
    let gpu = gpu();
    for_cases(16, (any::<u64>(), 0u32..1000, extent(9), extent(257)), |(seed, first, images, size)| {
        let clean = pixels(first, images * size);
        let x = gpu.tensor([images, size], &clean).unwrap();
        let eps = 4.0f32 / 255.0;
        let found = gpu.read(&random_corner(&gpu, &x, eps, source(seed, first)).unwrap()).unwrap();
        for (index, (&found, &clean)) in found.iter().zip(&clean).enumerate() {
            let stream = Stream::new(seed, Purpose::Noise, first + (index / size) as u32);
            let sign = if stream.word((index % size) as u32) >> 31 == 1 { 1.0 } else { -1.0 };
            assert_eq!(found.to_bits(), (clean + sign * eps).clamp(0.0, 1.0).to_bits(), "element {index}");
        }
    });
    refused(random_corner(&gpu, &gpu.zeros([1]).unwrap(), -0.1, source(0, 0)), &["random_start", "-0.1"]);
}

#[test]
fn a_random_start_does_not_depend_on_the_batch_and_fills_the_ball_evenly() {
    let gpu = gpu();
    let x = gpu.filled([6, 3072], 0.5).unwrap();
    let all = start(&x, 0.25, source(5, 40));
    let alone = start(&x.slice(2 * 3072, [1, 3072]).unwrap(), 0.25, source(5, 42));
    assert_eq!(bits(&all[2 * 3072..3 * 3072]), bits(&alone));
    assert_ne!(bits(&start(&x, 0.25, source(6, 40))), bits(&all));
    let mut counts = [0u64; 32];
    for value in all {
        counts[((value - 0.25) * 64.0) as usize] += 1;
    }
    assert_uniform("random start", &counts);
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let (a, b) = (gpu.filled([2, 3], 0.5).unwrap(), gpu.filled([3, 2], 0.5).unwrap());
    let shapes = ["perturb", "[2, 3]", "[3, 2]"];
    refused(step(&gpu, &a, &b, 0.1, None), &shapes);
    refused(step(&gpu, &a, &a, 0.1, Some(Ball { centre: &b, eps: 0.1 })), &shapes);
    refused(Step { x: &a, length: 0.1, ball: None }.along_into(&gpu, &a, &b), &shapes);
    refused(step(&gpu, &a, &a, f32::NAN, None), &["perturb", "NaN"]);
    refused(step(&gpu, &a, &a, 0.1, Some(Ball { centre: &a, eps: -0.1 })), &["perturb", "-0.1"]);
    refused(random_start(&gpu, &a, f32::INFINITY, source(0, 0)), &["random_start", "inf"]);
}
