//! Batches from a set of bytes: two buffers, levels, flips and reflected shifts, all to the bit, and fair draws.

mod common;

use std::collections::HashMap;

use common::cases::{assert_uniform, extent, for_cases, refused};
use common::{gpu, random};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use shadegrad::gpu::Gpu;
use shadegrad::ops::gather::{self, Augment, ByteSet};
use shadegrad::random::{Purpose, Stream};
use shadegrad::selftest::reference::gather::{Draw, augmented, draw};

type Dims = [usize; 3];

/// Channels, height and a width that is a multiple of four, as a set needs it.
fn dims() -> impl Strategy<Value = Dims> {
    prop_oneof![
        Just([3, 32, 32]),
        [extent(4), extent(17), extent(9)].prop_map(|[c, h, w]| [c, h, 4 * w]),
        [extent(1), extent(17), extent(4)].prop_map(|[c, h, w]| [4 * c, h, 4 * w]),
    ]
}

/// Random pictures and labels.
struct Pictures {
    dims: Dims,
    bytes: Vec<u8>,
    labels: Vec<u8>,
}

impl Pictures {
    fn new(dims: Dims, count: usize) -> Self {
        let mut stream = Stream::new(1, Purpose::Test, 0);
        let mut draw = |count: usize| (0..count).map(|_| (stream.next_word() >> 24) as u8).collect();
        Self { dims, bytes: draw(count * dims.iter().product::<usize>()), labels: draw(count) }
    }

    fn upload(&self, gpu: &Gpu, limit: usize) -> ByteSet {
        ByteSet::with_limit(gpu, self.dims, &self.bytes, &self.labels, limit).unwrap()
    }

    /// Picture `image` as bytes, flipped and shifted.
    fn picture(&self, image: u32, draw: Draw, shift: usize) -> Vec<u8> {
        let [channels, height, width] = self.dims;
        let plane = height * width;
        let planes = self.bytes[image as usize * channels * plane..].chunks(plane).take(channels);
        planes.flat_map(|plane| augmented(plane, width, draw, shift)).collect()
    }
}

/// The values of a batch as a slice of bytes would have them, k / 255.
fn pixels(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect()
}

#[test]
fn batches_hold_the_ordered_images_of_both_buffers() {
    let gpu = gpu();
    for_cases(24, (dims(), 1..40usize, any::<u64>(), 0.5..=1.0f64), |(dims, count, seed, share)| {
        let pictures = Pictures::new(dims, count);
        let size: usize = dims.iter().product();
        // Each buffer takes half of the images or more; at a share of one the second stays empty.
        let in_first = (count as f64 * share).ceil() as usize;
        let set = pictures.upload(&gpu, in_first * size);
        let order = Stream::new(seed, Purpose::Test, 0).permutation(count as u32);
        let first = seed as usize % count;
        let batch = count - first;
        let (x, labels) = gather::batch(&gpu, &set, &gpu.words(&order).unwrap(), first, batch, None).unwrap();
        assert_eq!(x.dims(), [batch, dims[0], dims[1], dims[2]]);
        let images = &order[first..];
        let bytes: Vec<u8> = images.iter().flat_map(|&image| pictures.picture(image, Draw::default(), 0)).collect();
        assert_eq!(gpu.read(&x).unwrap(), pixels(&bytes));
        let wanted: Vec<u32> = images.iter().map(|&image| u32::from(pictures.labels[image as usize])).collect();
        assert_eq!(gpu.read_words(&labels).unwrap(), wanted);
    });
}

#[test]
fn an_order_may_repeat_images() {
    let gpu = gpu();
    let pictures = Pictures::new([3, 4, 4], 7);
    let set = pictures.upload(&gpu, 4 * 48);
    let order = [6, 0, 6, 3, 4, 3];
    let (x, _) = gather::batch(&gpu, &set, &gpu.words(&order).unwrap(), 0, 6, None).unwrap();
    let bytes: Vec<u8> = order.iter().flat_map(|&image| pictures.picture(image, Draw::default(), 0)).collect();
    assert_eq!(gpu.read(&x).unwrap(), pixels(&bytes));
}

#[test]
fn every_byte_has_its_level_in_every_channel() {
    let gpu = gpu();
    // Channel c holds all bytes, rotated by 10 c, so that a level of the wrong channel shows.
    let bytes: Vec<u8> = (0..3u8).flat_map(|c| (0..=255u8).map(move |k| k.wrapping_add(10 * c))).collect();
    let set = ByteSet::new(&gpu, [3, 16, 16], &bytes, &[9]).unwrap();
    let order = gpu.words(&[0]).unwrap();
    let read = |set: &ByteSet| gpu.read(&gather::batch(&gpu, set, &order, 0, 1, None).unwrap().0).unwrap();
    assert_eq!(read(&set), pixels(&bytes), "without levels of one's own a byte is k / 255");

    let levels = random(2, 3 * 256);
    let set = set.with_levels(&gpu, &levels).unwrap();
    let wanted: Vec<f32> = bytes.iter().enumerate().map(|(i, &byte)| levels[i / 256 * 256 + byte as usize]).collect();
    assert_eq!(read(&set), wanted);
}

#[test]
fn flips_and_reflected_shifts_match_the_reference() {
    let gpu = gpu();
    let augment = (any::<bool>(), 0..5usize, any::<u64>(), any::<u32>());
    for_cases(32, (dims(), augment, 0..9usize), |(dims, (flip, shift, seed, epoch), first)| {
        // A reflection cannot reach further than the picture.
        let shift = shift.min(dims[1].min(dims[2]) - 1);
        let augment = Augment { flip, shift, seed, epoch };
        let pictures = Pictures::new(dims, 20);
        let set = pictures.upload(&gpu, 11 * dims.iter().product::<usize>());
        let order = Stream::new(seed, Purpose::Test, 1).permutation(20);
        let words = gpu.words(&order).unwrap();
        let (x, _) = gather::batch(&gpu, &set, &words, first, 20 - first, Some(augment)).unwrap();
        let bytes: Vec<u8> =
            (first..20).flat_map(|place| pictures.picture(order[place], draw(augment, place), shift)).collect();
        assert_eq!(gpu.read(&x).unwrap(), pixels(&bytes));
    });
}

/// How often each combination of flip and shift was drawn for `count` samples, seen from the pixels alone.
fn drawn(gpu: &Gpu, augment: Augment, count: usize) -> HashMap<Draw, u64> {
    // No pixel is like another, so that a picture tells what was done to it.
    let bytes: Vec<u8> = (0..64).collect();
    let set = ByteSet::new(gpu, [1, 8, 8], &bytes, &[0]).unwrap();
    let mut known = HashMap::new();
    let reach = augment.shift as i32;
    for flip in [false, true] {
        for rows in -reach..=reach {
            for columns in -reach..=reach {
                let draw = Draw { flip, rows, columns };
                known.insert(augmented(&bytes, 8, draw, augment.shift), draw);
            }
        }
    }
    assert_eq!(known.len(), 2 * (2 * augment.shift + 1).pow(2), "every combination has a picture of its own");
    let order = gpu.words(&vec![0; count]).unwrap();
    let x = gpu.read(&gather::batch(gpu, &set, &order, 0, count, Some(augment)).unwrap().0).unwrap();
    let mut counts = HashMap::new();
    for picture in x.chunks(64) {
        let seen: Vec<u8> = picture.iter().map(|value| (value * 255.0).round() as u8).collect();
        *counts.entry(known[&seen]).or_insert(0) += 1;
    }
    counts
}

#[test]
fn every_flip_and_shift_is_equally_likely() {
    let gpu = gpu();
    for (flip, shift, combinations) in [(true, 2, 50), (false, 2, 25), (true, 0, 2), (false, 3, 49), (false, 0, 1)] {
        let counts = drawn(&gpu, Augment { flip, shift, seed: 5, epoch: 1 }, 5000);
        assert_eq!(counts.len(), combinations, "flip {flip}, shift {shift}: each value appears");
        assert!(flip || counts.keys().all(|draw| !draw.flip));
        if combinations > 1 {
            assert_uniform(&format!("flip {flip}, shift {shift}"), &counts.into_values().collect::<Vec<u64>>());
        }
    }
}

#[test]
fn a_sample_is_drawn_by_its_place_in_the_epoch() {
    let gpu = gpu();
    let pictures = Pictures::new([3, 8, 8], 24);
    let set = pictures.upload(&gpu, usize::MAX);
    let order = gpu.words(&(0..24).collect::<Vec<u32>>()).unwrap();
    let read = |first, count, seed, epoch| {
        let augment = Augment { flip: true, shift: 2, seed, epoch };
        gpu.read(&gather::batch(&gpu, &set, &order, first, count, Some(augment)).unwrap().0).unwrap()
    };
    let whole = read(0, 24, 1, 1);
    for batch in [1, 5, 8] {
        let parts: Vec<f32> =
            (0..24).step_by(batch).flat_map(|first| read(first, batch.min(24 - first), 1, 1)).collect();
        assert_eq!(parts, whole, "batches of {batch}");
    }
    assert_ne!(read(0, 24, 1, 2), whole, "another epoch");
    assert_ne!(read(0, 24, 2, 1), whole, "another seed");
    assert_ne!(read(0, 24, 1 | 1 << 32, 1), whole, "another seed in its upper half");
}

#[test]
fn wrong_operands_are_errors_that_name_them() {
    let gpu = gpu();
    let new = |dims, bytes: usize, labels: usize| ByteSet::new(&gpu, dims, &vec![0; bytes], &vec![0; labels]);
    refused(new([3, 4, 4], 95, 2), &["gather", "95 bytes", "2 images", "[3, 4, 4]"]);
    refused(new([1, 3, 3], 9, 1), &["gather", "9 bytes", "[1, 3, 3]"]);
    refused(new([4, 3, 3], 36, 1), &["gather", "36 bytes", "[4, 3, 3]"]);
    refused(new([3, 4, 4], 0, 0), &["gather", "0 images"]);
    refused(new([3, 0, 4], 0, 1), &["gather", "[3, 0, 4]"]);
    let result = ByteSet::with_limit(&gpu, [1, 1, 4], &[0; 20], &[0; 5], 2 * 4);
    refused(result, &["gather", "5 images", "two buffers of 2 images"]);
    let result = ByteSet::with_limit(&gpu, [1, 1, 4], &[0; 20], &[0; 5], 3);
    refused(result, &["gather", "5 images", "two buffers of 0 images"]);

    let set = new([3, 5, 4], 120, 2).unwrap();
    refused(set.clone().with_levels(&gpu, &[0.0; 256]), &["256 values", "[768]"]);
    let order = gpu.words(&[1, 0]).unwrap();
    let batch = |first, count, augment| gather::batch(&gpu, &set, &order, first, count, augment);
    refused(batch(0, 3, None), &["gather", "0..3", "2"]);
    refused(batch(2, 1, None), &["gather", "2..3", "2"]);
    refused(batch(1, 0, None), &["gather", "1..1"]);
    let far = Augment { flip: false, shift: 4, seed: 0, epoch: 0 };
    refused(batch(0, 2, Some(far)), &["gather", "4 pixels", "5 x 4"]);
    assert!(batch(0, 2, Some(Augment { shift: 3, ..far })).is_ok(), "the farthest shift");
}
