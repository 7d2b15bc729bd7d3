//! Steps, balls and momenta with a length of each picture's own, against the same arithmetic in f64.

mod common;

use common::cases::{bits, extent, for_cases, refused};
use common::{assert_close, gpu, operand, random};
use shadegrad::gpu::Gpu;
use shadegrad::ops::displace::{along, by, into_ball, momentum};
use shadegrad::ops::reduce::{Reduction, each_image};
use shadegrad::selftest::reference::displace as reference;

/// Pixels in [0, 1], some of them 0 and 1.
fn pixels(item: u32, count: usize) -> Vec<f32> {
    random(item, count).iter().map(|value| (0.7 * value + 0.5).clamp(0.0, 1.0)).collect()
}

fn check(gpu: &Gpu, images: usize, size: usize) {
    let count = images * size;
    let dims = [images, size];
    let (x, centre, (g, slopes)) = (pixels(1, count), pixels(2, count), operand(gpu, 3, dims));
    let (x_tensor, centre_tensor) = (gpu.tensor(dims, &x).unwrap(), gpu.tensor(dims, &centre).unwrap());
    let squares = each_image(gpu, Reduction::SumSquares, &g).unwrap();

    for step in [0.0, 0.5, -0.5] {
        let found = gpu.read(&along(gpu, &x_tensor, &centre_tensor, &g, &squares, step).unwrap()).unwrap();
        let wanted = reference::along(&x, &centre, &slopes, size, step);
        assert_close(&format!("along {images} x {size}"), &found, &wanted, 8);
    }
    for eps in [0.0, 0.25, 1e6] {
        let found = gpu.read(&into_ball(gpu, &centre_tensor, &g, &squares, eps).unwrap()).unwrap();
        assert_close(&format!("ball of {eps}"), &found, &reference::into_ball(&centre, &slopes, size, eps), 8);
        assert!(eps > 0.0 || bits(&found) == bits(&centre), "a ball of 0 moves nothing");
    }
    let (lengths, each) = operand(gpu, 4, [images]);
    let found = gpu.read(&by(gpu, &x_tensor, &g, &lengths).unwrap()).unwrap();
    assert_close("by", &found, &reference::by(&x, &slopes, &each, size), 2);

    let (m, before) = operand(gpu, 5, dims);
    let absolute = each_image(gpu, Reduction::SumAbs, &g).unwrap();
    for decay in [0.0, 0.5, 1.0] {
        let found = gpu.read(&momentum(gpu, &m, &g, &absolute, decay).unwrap()).unwrap();
        assert_close("momentum", &found, &reference::momentum(&before, &slopes, size, decay), 8);
    }
}

#[test]
fn pictures_of_any_size_match_the_reference() {
    let gpu = gpu();
    for_cases(24, (extent(17), extent(131)), |(images, size)| check(&gpu, images, size));
    check(&gpu, 3, 3072);
}

#[test]
fn no_gradient_is_no_movement() {
    let gpu = gpu();
    let (x, zeros, none) = (gpu.filled([2, 6], 0.25).unwrap(), gpu.zeros([2, 6]).unwrap(), gpu.zeros([2]).unwrap());
    for found in [along(&gpu, &x, &x, &zeros, &none, 1.0).unwrap(), momentum(&gpu, &zeros, &zeros, &none, 1.0).unwrap()]
    {
        assert!(gpu.read(&found).unwrap().iter().all(|&value| value == 0.0));
    }
    let found = gpu.read(&into_ball(&gpu, &x, &zeros, &none, 1.0).unwrap()).unwrap();
    assert!(found.iter().all(|&value| value == 0.25));
}

#[test]
fn what_is_not_finite_is_seen() {
    let gpu = gpu();
    for size in [8, 7] {
        let x = gpu.filled([2, size], 0.5).unwrap();
        // Finite gradients whose squares overflow, and a NaN, both of the second picture alone.
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            let mut values = vec![0.5; 2 * size];
            values[size + 3] = bad;
            let g = gpu.tensor([2, size], &values).unwrap();
            let squares = each_image(&gpu, Reduction::SumSquares, &g).unwrap();
            let d = along(&gpu, &x, &x, &g, &squares, 0.1).unwrap();
            let squares = each_image(&gpu, Reduction::SumSquares, &d).unwrap();
            let found = gpu.read(&into_ball(&gpu, &x, &d, &squares, 0.1).unwrap()).unwrap();
            assert!(found[..size].iter().all(|value| value.is_finite()), "{bad}: {found:?}");
            assert!(found[size..].iter().any(|value| !value.is_finite()), "{bad}: {found:?}");
            let found = gpu.read(&by(&gpu, &x, &g, &gpu.filled([2], 1.0).unwrap()).unwrap()).unwrap();
            assert!(bad.is_finite() || !found[size + 3].is_finite(), "{bad}: {found:?}");
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let (a, b, each) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([3, 2]).unwrap(), gpu.zeros([2]).unwrap());
    let shapes = ["[2, 3]", "[3, 2]"];
    refused(along(&gpu, &a, &b, &a, &each, 0.1), &shapes);
    refused(along(&gpu, &a, &a, &b, &each, 0.1), &shapes);
    refused(by(&gpu, &a, &a, &gpu.zeros([3]).unwrap()), &["displace_by", "[3]", "[2]"]);
    refused(into_ball(&gpu, &a, &a, &each, -1.0), &["displace_ball", "-1"]);
    refused(momentum(&gpu, &a, &a, &each, f32::NAN), &["momentum", "NaN"]);
}
