//! Batches of bytes, flipped and shifted.

use crate::ops::gather::Augment;
use crate::random::{Purpose, Stream};

/// What happens to a sample: mirrored or not, and by how far rows and columns are read off their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Draw {
    pub flip: bool,
    pub rows: i32,
    pub columns: i32,
}

/// The draw of place `place` of the epoch.
pub fn draw(augment: Augment, place: usize) -> Draw {
    let stream = Stream::new(augment.seed, Purpose::Augment, augment.epoch);
    let word = |index| stream.word(4 * place as u32 + index);
    let range = 2 * augment.shift as u64 + 1;
    let offset = |index| ((u64::from(word(index)) * range) >> 32) as i32 - augment.shift as i32;
    Draw { flip: augment.flip && word(0) & 1 == 1, rows: offset(1), columns: offset(2) }
}

/// A sequence with `by` of its elements mirrored at each end, the end itself not repeated.
pub fn padded<T: Clone>(line: &[T], by: usize) -> Vec<T> {
    let before = line[1..=by].iter().rev();
    let after = line.iter().rev().skip(1).take(by);
    before.chain(line).chain(after).cloned().collect()
}

/// One plane: padded by reflection, cropped at the drawn offset, then mirrored.
pub fn augmented(plane: &[u8], width: usize, draw: Draw, shift: usize) -> Vec<u8> {
    let crop = |start: i32, count: usize| (start + shift as i32) as usize..(start + shift as i32) as usize + count;
    let rows: Vec<&[u8]> = plane.chunks(width).collect();
    let height = rows.len();
    let lines = padded(&rows, shift)[crop(draw.rows, height)].to_vec();
    let pixels = lines.into_iter().flat_map(|line| {
        let mut line = padded(line, shift)[crop(draw.columns, width)].to_vec();
        if draw.flip {
            line.reverse();
        }
        line
    });
    pixels.collect()
}
