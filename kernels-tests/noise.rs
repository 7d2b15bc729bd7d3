//! Uniform and normal noise: the same bits as on the CPU, moments, distribution, and streams that share nothing.

mod common;

use std::collections::HashSet;

use common::cases::{assert_uniform, extent, for_cases};
use common::gpu;
use proptest::prelude::any;
use shadegrad::gpu::Gpu;
use shadegrad::ops::noise::{self, Quantiles, Source, normal_of_word, quantile_table};
use shadegrad::random::{Purpose, Stream, unit};

fn source(seed: u64, launch: u32) -> Source {
    Source { seed, purpose: Purpose::Noise, launch }
}

fn stream(source: Source) -> Stream {
    Stream::new(source.seed, source.purpose, source.launch)
}

fn uniform(gpu: &Gpu, source: Source, low: f32, high: f32, count: usize) -> Vec<f32> {
    let out = gpu.empty([count]).unwrap();
    noise::uniform(gpu, source, low, high, &out).unwrap();
    gpu.read(&out).unwrap()
}

fn normal(gpu: &Gpu, source: Source, mean: f32, deviation: f32, count: usize) -> Vec<f32> {
    let out = gpu.empty([count]).unwrap();
    noise::normal(gpu, source, &Quantiles::new(gpu).unwrap(), mean, deviation, &out).unwrap();
    gpu.read(&out).unwrap()
}

fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_gpus_numbers_are_the_cpus_to_the_bit() {
    let gpu = gpu();
    let table = quantile_table();
    for_cases(24, (any::<u64>(), any::<u32>(), extent(257), extent(67)), |(seed, launch, rows, columns)| {
        let (source, count) = (source(seed, launch), rows * columns);
        let words: Vec<u32> = (0..count as u32).map(|index| stream(source).word(index)).collect();
        // Factors that are powers of two: their products are exact, so that an adapter that fuses product and sum
        // (WGSL allows it) has the same bits.
        for (offset, factor) in [(0.0, 1.0), (-0.5, 1.0), (3.0, 0.125)] {
            let wanted = bits(words.iter().map(|&word| offset + factor * unit(word)));
            assert_eq!(bits(uniform(&gpu, source, offset, offset + factor, count)), wanted);
            let wanted = bits(words.iter().map(|&word| offset + factor * normal_of_word(&table, word)));
            assert_eq!(bits(normal(&gpu, source, offset, factor, count)), wanted);
        }
        // Any other factor is rounded once or twice.
        let (low, high) = (-8.0 / 255.0, 8.0 / 255.0);
        for (found, &word) in uniform(&gpu, source, low, high, count).into_iter().zip(&words) {
            let wanted = f64::from(low) + (f64::from(high) - f64::from(low)) * f64::from(unit(word));
            assert!(
                (f64::from(found) - wanted).abs() <= f64::from(high - low) * 2f64.powi(-23),
                "{found}, not {wanted}"
            );
        }
    });
}

#[test]
fn normal_of_word_is_the_quantile() {
    // P(Z > z) falls, so the quantile of a tail lies within an error of z exactly if the tails at z - error and
    // z + error enclose it: no inverse is needed. 2^-20 is a step of the fixed point.
    let table = quantile_table();
    let tail_of = |z: f64| 0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2);
    let mut stream = Stream::new(1, Purpose::Test, 0);
    let octaves = (0..31).flat_map(|octave| [(1u32 << octave) - 1, 1 << octave, (3u32 << octave) >> 1]);
    let words: Vec<u32> = octaves.chain((0..20_000).map(|_| stream.next_word() >> 1)).collect();
    for word in words.into_iter().filter(|&word| word > 0) {
        let z = normal_of_word(&table, word);
        let (tail, error) = (f64::from(word) * 2f64.powi(-32), 2.5e-6);
        assert!(tail_of(f64::from(z) - error) >= tail && tail_of(f64::from(z) + error) <= tail, "word {word}: {z}");
        assert_eq!(normal_of_word(&table, word | 1 << 31), -z, "the top bit is the sign");
    }
    let most = normal_of_word(&table, 0);
    assert!((6.2..6.4).contains(&most), "the largest number is {most}");
    assert!(normal_of_word(&table, i32::MAX as u32).abs() < 2e-6, "half of all numbers lie above zero");
}

#[test]
fn uniform_numbers_are_evenly_spread() {
    let gpu = gpu();
    let count = 200_000;
    let values = uniform(&gpu, source(2, 0), -1.0, 3.0, count);
    let mut parts = [0; 128];
    for value in &values {
        assert!((-1.0..3.0).contains(value));
        parts[((value + 1.0) * 32.0) as usize] += 1;
    }
    assert_uniform("128 parts of the interval", &parts);
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count as f64;
    let deviation = 4.0 / (12.0 * count as f64).sqrt();
    assert!((mean - 1.0).abs() < 4.0 * deviation, "mean {mean}");
}

#[test]
fn the_largest_word_does_not_pass_the_upper_end() {
    // Below 2 there is no room for 1 + (1 - 2^-24), which rounds to 2: an attack's start must not go further.
    let gpu = gpu();
    let (launch, index) = (0..)
        .flat_map(|launch| (0..1 << 16).map(move |index| (launch, index)))
        .find(|&(launch, index)| stream(source(3, launch)).word(index) >> 8 == 0x00ff_ffff)
        .unwrap();
    for (low, high) in [(1.0, 2.0), (-8.0 / 255.0, 8.0 / 255.0), (-0.1, 0.2), (0.0, 1.0)] {
        let value = uniform(&gpu, source(3, launch), low, high, index as usize + 1)[index as usize];
        assert!(value <= high && high - value <= 2f32.powi(-22), "{value} for {high}");
    }
}

#[test]
fn normal_numbers_have_the_moments_of_the_normal_distribution() {
    let gpu = gpu();
    let count = 400_000;
    let (mean, deviation) = (2.0f32, 0.5f32);
    let values = normal(&gpu, source(4, 0), mean, deviation, count);
    let scaled: Vec<f64> = values.iter().map(|&value| f64::from(value - mean) / f64::from(deviation)).collect();
    // E z^k, and the variance E z^2k - (E z^k)^2 of one draw.
    for (power, wanted, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0), (6, 15.0, 10_170.0)]
    {
        let moment = scaled.iter().map(|z: &f64| z.powi(power)).sum::<f64>() / count as f64;
        let allowed = 4.0 * (variance / count as f64).sqrt();
        assert!((moment - wanted).abs() < allowed, "moment {power} is {moment}, not {wanted} (within {allowed})");
    }
}

#[test]
fn normal_numbers_pass_kolmogorov_and_smirnov() {
    let gpu = gpu();
    for launch in 0..3 {
        let mut values = normal(&gpu, source(5, launch), 0.0, 1.0, 100_000);
        values.sort_by(f32::total_cmp);
        let count = values.len() as f64;
        let mut distance = 0.0f64;
        for (rank, &value) in values.iter().enumerate() {
            let below = 0.5 * libm::erfc(-f64::from(value) * std::f64::consts::FRAC_1_SQRT_2);
            distance = distance.max(below - rank as f64 / count).max((rank + 1) as f64 / count - below);
        }
        // The 1 % point of Kolmogorov's distribution.
        assert!(distance * count.sqrt() < 1.628, "launch {launch}: D sqrt(n) = {}", distance * count.sqrt());
    }
}

#[test]
fn streams_are_disjoint_and_uncorrelated() {
    let gpu = gpu();
    let count = 1 << 14;
    let other = Source { seed: 6, purpose: Purpose::Augment, launch: 0 };
    let sources = [source(6, 0), source(6, 1), source(7, 0), source(6 | 1 << 32, 0), source(6, u32::MAX), other];
    let drawn = sources.map(|source| uniform(&gpu, source, 0.0, 1.0, count));
    assert_eq!(bits(drawn[0].clone()), bits(uniform(&gpu, sources[0], 0.0, 1.0, count)), "the same counters");
    let mut blocks = HashSet::new();
    for values in &drawn {
        // Four numbers of 24 bits: by chance alone, no two of these blocks would be equal in 10^15 tries.
        for block in values.chunks_exact(4) {
            assert!(blocks.insert(bits(block.iter().copied())), "two streams share {block:?}");
        }
    }
    let correlation = |a: &[f32], b: &[f32]| {
        let products = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - 0.5) * (f64::from(b) - 0.5));
        12.0 * products.sum::<f64>() / a.len() as f64
    };
    let allowed = 4.5 / (count as f64).sqrt();
    for (i, first) in drawn.iter().enumerate() {
        for second in &drawn[..i] {
            assert!(correlation(first, second).abs() < allowed, "streams go together");
        }
        for lag in 1..=4 {
            assert!(correlation(&first[lag..], &first[..count - lag]).abs() < allowed, "lag {lag}");
        }
    }
}

#[test]
fn a_longer_launch_begins_with_a_shorter_one() {
    let gpu = gpu();
    let all = normal(&gpu, source(8, 2), 0.0, 1.0, 1000);
    for count in [1, 2, 3, 4, 5, 255, 256, 257] {
        assert_eq!(normal(&gpu, source(8, 2), 0.0, 1.0, count), all[..count]);
    }
}

#[test]
fn each_picture_has_a_stream_of_its_own() {
    let gpu = gpu();
    let (table, quantiles) = (quantile_table(), Quantiles::new(&gpu).unwrap());
    for_cases(16, (any::<u64>(), 0u32..1000, extent(9), extent(67)), |(seed, first, images, quarter)| {
        let (size, out) = (4 * quarter, gpu.empty([images, 4 * quarter]).unwrap());
        noise::normal_of_images(&gpu, source(seed, first), &quantiles, &out).unwrap();
        let wanted = (0..images * size).map(|index| {
            let stream = stream(source(seed, first + (index / size) as u32));
            normal_of_word(&table, stream.word((index % size) as u32))
        });
        assert_eq!(bits(gpu.read(&out).unwrap()), bits(wanted));
    });
    let odd = gpu.empty([2, 6]).unwrap();
    common::cases::refused(noise::normal_of_images(&gpu, source(0, 0), &quantiles, &odd), &["normal_noise", "6"]);
}
