//! Pictures that are smooth, and the same in Python.

use shadegrad::data::SIZE;
use shadegrad::random::{Purpose, Stream};

/// Picture `index` of `golden/attack_methods_golden.py`.
pub fn smooth(index: u32) -> Vec<u8> {
    let stream = Stream::new(7, Purpose::Test, 4000 + index);
    let knot = |c: usize, y: usize, x: usize| (stream.word((25 * c + 5 * y + x) as u32) >> 24) as usize;
    let mut picture = Vec::with_capacity(SIZE);
    for c in 0..3 {
        for (y, x) in (0..32).flat_map(|y| (0..32).map(move |x| (y, x))) {
            let row = |x: usize| knot(c, y / 8, x) * (8 - y % 8) + knot(c, y / 8 + 1, x) * (y % 8);
            picture.push(((row(x / 8) * (8 - x % 8) + row(x / 8 + 1) * (x % 8)) / 64) as u8);
        }
    }
    picture
}
