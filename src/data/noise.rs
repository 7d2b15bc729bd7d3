//! Pictures of nothing: FakeData with torchvision's distribution, uniform noise, constant colours.
//!
//! Picture i under offset k is picture i + k under offset 0, and every picture is a function of the seed
//! and its number alone.

use crate::random::{Purpose, Stream};

use super::{Images, SIZE};

/// A normal number from two words, by Box and Muller (1958), in f64 through software arithmetic (`libm`), so that
/// every machine gets the same bytes.
pub(super) fn normal_pair(stream: &mut Stream) -> [f64; 2] {
    // 53 bits each; the half keeps the logarithm's argument above zero.
    let mut unit = || {
        let (high, low) = (u64::from(stream.next_word() >> 5), u64::from(stream.next_word() >> 6));
        ((high << 26 | low) as f64 + 0.5) / 9_007_199_254_740_992.0
    };
    let radius = libm::sqrt(-2.0 * libm::log(unit()));
    let angle = 2.0 * std::f64::consts::PI * unit();
    [radius * libm::cos(angle), radius * libm::sin(angle)]
}

/// torchvision's FakeData: `randn` times 255, cut off toward zero, and wrapped modulo 256 (a saturating
/// cast would be another data set). The label is a random class.
pub fn fake_data(seed: u64, offset: u32, count: usize) -> Images {
    let mut images = Images::default();
    let mut picture = Vec::with_capacity(SIZE);
    for index in 0..count as u32 {
        let mut stream = Stream::new(seed, Purpose::FakeData, index.wrapping_add(offset));
        picture.clear();
        while picture.len() < SIZE {
            picture.extend(normal_pair(&mut stream).map(|z| ((z * 255.0) as i64 & 0xff) as u8));
        }
        images.push(stream.below(10) as u8, &picture);
    }
    images
}

/// Every byte independent and uniform.
pub fn uniform_noise(seed: u64, count: usize) -> Images {
    let mut images = Images::default();
    for index in 0..count as u32 {
        let mut stream = Stream::new(seed, Purpose::UniformImages, index);
        let picture: Vec<u8> = (0..SIZE).map(|_| (stream.next_word() >> 24) as u8).collect();
        images.push(0, &picture);
    }
    images
}

/// One random colour over the whole picture.
pub fn constant_colours(seed: u64, count: usize) -> Images {
    let mut images = Images::default();
    for index in 0..count as u32 {
        let mut stream = Stream::new(seed, Purpose::ConstantImages, index);
        let picture: Vec<u8> = (0..3).flat_map(|_| [(stream.next_word() >> 24) as u8; 1024]).collect();
        images.push(0, &picture);
    }
    images
}
