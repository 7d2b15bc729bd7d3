//! The tile of `conv2d_subgroup.wgsl` at stride 1: the one that costs least by what its parts were found to cost.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::gpu::{AdapterKind, Gpu};

use super::tiles::{ConvVariant, MOST_CHOSEN_SUMS, has_few_taps, shared};

/// What a walk over the output computes, as far as it decides a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Walked {
    /// Channels that are summed over, and channels that are made.
    pub channels: [usize; 2],
    /// Height and width of what is made.
    pub grid: [usize; 2],
    /// Rows and columns of the kernel.
    pub taps: [usize; 2],
    /// Rows of padding above what is read, and columns to the left of it; negative where it begins before the output.
    pub padding: isize,
    pub pooling: Pooling,
}

/// What a max-pooling of 2 x 2 at stride 2 has to do with a walk. With one, lines are to fall into vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    None,
    /// The output is pooled as it is stored: tiles are to hold whole windows.
    Stored,
    /// What is read is the gradient of something that was pooled, of which a quarter is left.
    Read,
}

/// Nanoseconds for eight lanes, fitted to the times of 54 tiles of lenet's convolutions on either Mesa, which they foretell
/// within 8 % (root mean square; `shaders/NOTES.md`, 2026-11-30).
struct Prices {
    /// A value of x, read by fours; by other vectors [`READ`] times as much.
    read: f64,
    /// A weight for each lane.
    weight: f64,
    product: f64,
    /// A value of x that the next row of taps needs, too.
    carry: f64,
    /// A turn of the loop over rows of taps.
    turn: f64,
    /// A sum's store by fours, with all that is done to it on the way; by other vectors [`STORE`] times as much.
    store: f64,
    /// More sums take too long to compile: each is text, and a store.
    sums: usize,
    /// No more rows and positions than these.
    most: [usize; 2],
    /// Tiles that cost up to so many times the cheapest are taken for equal, and the one with the fewest sums is compiled soonest.
    alike: f64,
}

/// By the instructions for each value that llvmpipe of Mesa 22 makes of a read of one, two (a word of 64 bits) and four values, and
/// of a store.
const READ: [f64; 3] = [160.0 / 56.0, 80.0 / 56.0, 1.0];
const STORE: [f64; 3] = [128.0 / 74.0, 92.0 / 74.0, 1.0];

const MESA_22: Prices = Prices {
    read: 1.92,
    weight: 1.7,
    product: 0.22,
    carry: 0.94,
    turn: 41.0,
    store: 33.0,
    sums: 192,
    most: [8, 32],
    alike: 1.04,
};
const MESA_25: Prices = Prices { read: 0.63, weight: 3.9, carry: 1.07, turn: 18.0, ..MESA_22 };
/// Nobody has measured this kernel on a GPU; it has no room for many sums. And SwiftShader takes twice as long to compile it
/// with each store more.
const OTHERS: Prices = Prices { sums: 32, most: [2, 4], alike: 1.0, ..MESA_22 };

/// Values of x at a time, from which on prices rise.
const MOST_HELD: usize = 60;
const MOST_CHANNELS: usize = 32;

/// A walk on one kind of adapter, and what was chosen of its tile beforehand.
type Asked = (Walked, AdapterKind, Option<[usize; 2]>);

thread_local! {
    /// Tiles found so far: a launch is to cost microseconds, and a thousand tiles are looked at.
    static FOUND: RefCell<HashMap<Asked, Option<[usize; 3]>>> = RefCell::default();
}

impl Walked {
    /// The walk of a convolution at this stride, forward over x with this padding, or with a flipped kernel over the
    /// gradient of what a forward pass with this padding made; nothing where another kernel walks, or rows share no line.
    pub fn of(
        (variant, stride): (ConvVariant, usize),
        channels: [usize; 2],
        grid: [usize; 2],
        kernel: usize,
        (flip, padding): (bool, usize),
    ) -> Option<Self> {
        let padding = padding as isize;
        let padding = if flip { kernel as isize - 1 - padding } else { padding };
        let is_its = variant == ConvVariant::Subgroup && stride == 1 && !has_few_taps(kernel, 1);
        is_its.then_some(Self { channels, grid, taps: [kernel; 2], padding, pooling: Pooling::None })
    }

    /// Columns of a line of x where a block of so many positions is a whole row, and the padding on both sides all that the kernel
    /// reaches: then it holds those inside alone, and all of them meet every tap.
    pub fn whole(&self, positions: usize) -> Option<usize> {
        let beside = self.taps[1] - 1;
        let is_whole = positions == self.grid[1] && self.padding == beside as isize && positions > beside;
        is_whole.then(|| positions - beside)
    }

    /// How many values lie side by side in every vector that a line of x, or of the output, is made of: 4, 2 or 1, for
    /// so many positions to a line. Lines begin and end with a whole vector, which lies in the padding or outside it.
    pub fn at_a_time(&self, positions: usize) -> usize {
        // What is read is as wide as the output and the kernel's reach, less the padding on both sides.
        let extents = match self.whole(positions) {
            Some(width) => [positions, width, 0, 0],
            None => [self.grid[1], self.padding.unsigned_abs(), self.taps[1] - 1, positions],
        };
        [4, 2].into_iter().find(|each| extents.iter().all(|extent| extent.is_multiple_of(*each))).unwrap_or(1)
    }

    /// Rows, positions and output channels to one invocation; `chosen` channels and positions chosen beforehand.
    /// Nothing where no tile holds what is to be pooled.
    pub fn tile(&self, gpu: &Gpu, chosen: Option<[usize; 2]>) -> Option<[usize; 3]> {
        let kind = gpu.adapter().kind();
        let prices = match kind {
            AdapterKind::LlvmpipeSince25 => MESA_25,
            AdapterKind::Llvmpipe => MESA_22,
            AdapterKind::OtherSoftware | AdapterKind::Gpu => OTHERS,
        };
        FOUND.with_borrow_mut(|found| {
            *found.entry((*self, kind, chosen)).or_insert_with(|| self.cheapest(&prices, chosen))
        })
    }

    fn cheapest(&self, prices: &Prices, chosen: Option<[usize; 2]>) -> Option<[usize; 3]> {
        let ([_, channels], [height, width]) = (self.channels, self.grid);
        let mut tiles = Vec::new();
        let mut try_one = |tile: [usize; 3]| {
            let [rows, positions, _] = tile;
            let fits = match self.pooling {
                Pooling::None => true,
                Pooling::Stored => rows.is_multiple_of(2) && self.at_a_time(positions) > 1,
                Pooling::Read => self.at_a_time(positions) > 1,
            };
            if fits {
                tiles.push((self.cost(prices, tile), tile));
            }
        };
        for rows in 1..=prices.most[0].min(height) {
            if let Some([channels, positions]) = chosen {
                if rows == 1 || rows * positions * channels <= MOST_CHOSEN_SUMS {
                    try_one([rows, positions, channels]);
                }
                continue;
            }
            for positions in 1..=prices.most[1].min(width) {
                let fitting = (prices.sums / (rows * positions)).min(MOST_CHANNELS);
                let line = self.whole(positions).unwrap_or(positions + self.taps[1] - 1);
                if rows * positions == 1 || rows * line <= MOST_HELD {
                    // Those that channels can be shared out in evenly.
                    let blocks = (1..=fitting).filter(|&block| shared(channels, block) == block);
                    blocks.for_each(|block| try_one([rows, positions, block]));
                }
            }
        }
        let least = tiles.iter().map(|(cost, _)| *cost).fold(f64::INFINITY, f64::min);
        // What was chosen beforehand was so for its speed.
        let alike = if chosen.is_some() { 1.0 } else { prices.alike };
        tiles.retain(|(cost, _)| *cost <= alike * least);
        // Of equally many sums the cheapest.
        tiles.sort_by(|one, other| one.0.total_cmp(&other.0));
        let fewest = tiles.iter().min_by_key(|(_, tile)| tile.iter().product::<usize>()).map(|(_, tile)| *tile);
        // One of one sum is always there.
        fewest.or((self.pooling == Pooling::None).then_some([1, 1, 1]))
    }

    /// Nanoseconds of eight images.
    fn cost(&self, prices: &Prices, [rows, positions, channels]: [usize; 3]) -> f64 {
        let ([summed, made], [height, width], [kh, kw]) = (self.channels, self.grid, self.taps);
        let sums = (rows * positions * channels) as f64;
        // Values of a line, and how many of them a row's sums meet at each tap.
        let [span, met] = self.whole(positions).map_or([positions + kw - 1, positions], |width| [width; 2]);
        let (span, products) = (span as f64, (rows * channels * met * kw) as f64);
        // Of a pooled gradient two lines come of half as many values, in vectors half as wide, and of the winners' words, which are
        // taken to cost as much again. And of a window's four sums one is stored, and its place, in such vectors, too.
        let by = self.at_a_time(positions).ilog2() as usize;
        let (line, stores) = match self.pooling {
            Pooling::None => (span * prices.read * READ[by], sums * prices.store * STORE[by]),
            Pooling::Stored => (span * prices.read * READ[by], 0.5 * sums * prices.store * STORE[by - 1]),
            Pooling::Read => {
                let windows = 0.5 * span * prices.read * READ[by - 1];
                (windows + 2.0 * span * prices.product, sums * prices.store * STORE[by])
            }
        };
        let carried = span * (rows - 1) as f64 * prices.carry;
        let weights = (channels * kw).div_ceil(8) as f64 * prices.weight;
        // A turn is a row of taps: those that meet nothing but padding are left out.
        let turn = prices.turn + weights + products * prices.product + line + carried;
        let blocks = height.div_ceil(rows);
        let read = height as isize + kh as isize - 1 - 2 * self.padding;
        let turns: isize = (0..blocks)
            .map(|block| {
                let top = (block * rows) as isize - self.padding;
                let first = (1 - top - rows as isize).clamp(0, kh as isize);
                ((read - top).clamp(0, kh as isize) - first).max(0)
            })
            .sum();
        let per_channel = turns as f64 * turn + (blocks * (rows - 1)) as f64 * line;
        let in_all = summed as f64 * per_channel + blocks as f64 * stores;
        in_all * (width.div_ceil(positions) * made.div_ceil(channels)) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONV1: Walked = Walked { channels: [3, 6], grid: [28, 28], taps: [5, 5], padding: 0, pooling: Pooling::None };

    #[test]
    fn lines_fall_into_vectors_where_all_extents_do() {
        let pixels = Walked { channels: [6, 3], grid: [32, 32], padding: 4, ..CONV1 };
        let conv2 = Walked { channels: [6, 16], grid: [10, 10], ..CONV1 };
        let same = Walked { channels: [6, 16], grid: [32, 32], taps: [3, 3], padding: 1, ..CONV1 };
        assert_eq!([CONV1, pixels, conv2, same].map(|walked| walked.at_a_time(8)), [4, 4, 2, 1]);
        assert_eq!([8, 6, 7].map(|positions| CONV1.at_a_time(positions)), [4, 2, 1]);
        assert_eq!(Walked { padding: -2, ..CONV1 }.at_a_time(8), 2);
    }

    #[test]
    fn the_cheapest_tile_wastes_nothing_and_keeps_to_its_bounds() {
        let pixels = Walked { channels: [6, 3], grid: [32, 32], padding: 4, ..CONV1 };
        let conv2 = Walked { channels: [6, 16], grid: [10, 10], ..CONV1 };
        let tiles = |prices| [CONV1, pixels, conv2].map(|walked| walked.cheapest(&prices, None).unwrap());
        assert_eq!(tiles(MESA_22), [[1, 28, 6], [2, 32, 3], [1, 10, 16]]);
        assert_eq!(tiles(MESA_25), [[1, 28, 6], [1, 32, 3], [2, 10, 8]]);
        for prices in [MESA_22, MESA_25, OTHERS] {
            for extent in 1..20 {
                for channels in [1, 5, 40] {
                    let walked = Walked { channels: [3, channels], grid: [extent, 23 - extent], ..CONV1 };
                    let [rows, positions, block] = walked.cheapest(&prices, None).unwrap();
                    assert!(rows * positions * block <= prices.sums && rows <= extent && positions <= 23 - extent);
                    assert!(rows <= prices.most[0] && positions <= prices.most[1]);
                }
            }
        }
        // Whatever is chosen, there is room for a row of it.
        assert_eq!(CONV1.cheapest(&MESA_22, Some([32, 28])), Some([1, 28, 32]));
        assert_eq!(CONV1.cheapest(&MESA_22, Some([6, 4])), Some([7, 4, 6]));
    }

    #[test]
    fn what_is_pooled_holds_whole_windows() {
        let pooled = |walked: Walked, prices| Walked { pooling: Pooling::Stored, ..walked }.cheapest(&prices, None);
        let conv2 = Walked { channels: [6, 16], grid: [10, 10], ..CONV1 };
        assert_eq!([CONV1, conv2].map(|walked| pooled(walked, MESA_22)), [Some([4, 4, 6]), Some([2, 10, 8])]);
        assert_eq!([CONV1, conv2].map(|walked| pooled(walked, MESA_25)), [Some([4, 4, 6]), Some([2, 10, 8])]);
        // A line that does not fall into vectors, and a plane of one row.
        for grid in [[28, 27], [1, 28]] {
            assert_eq!(pooled(Walked { grid, ..CONV1 }, MESA_22), None);
        }
        let chosen = |tile| Walked { pooling: Pooling::Stored, ..CONV1 }.cheapest(&MESA_22, Some(tile));
        assert_eq!([chosen([6, 7]), chosen([6, 8])], [None, Some([4, 8, 6])]);
    }

    #[test]
    fn a_gradient_that_was_pooled_is_read_by_vectors_alone() {
        let read = |walked: Walked, prices| Walked { pooling: Pooling::Read, ..walked }.cheapest(&prices, None);
        let pixels = Walked { channels: [6, 3], grid: [32, 32], padding: 4, ..CONV1 };
        let hidden = Walked { channels: [16, 6], grid: [14, 14], padding: 4, ..CONV1 };
        assert_eq!([pixels, hidden].map(|walked| read(walked, MESA_22)), [Some([2, 32, 3]), Some([2, 14, 6])]);
        assert!([pixels, hidden].iter().all(|&walked| read(walked, OTHERS).is_some()));
        assert_eq!(read(pixels, MESA_25), Some([1, 32, 3]));
        for odd in [Walked { grid: [32, 31], ..pixels }, Walked { padding: 3, ..pixels }] {
            assert_eq!(read(odd, MESA_22), None);
        }
        // Lines of more than eight windows, whose winners are two words: kernels-tests/conv2d_max_pool.rs has this one.
        let long = Walked { channels: [2, 1], grid: [16, 28], taps: [13, 13], padding: 12, ..CONV1 };
        assert!([MESA_22, MESA_25].into_iter().all(|prices| read(long, prices).unwrap()[1] + 12 > 16));
        let costs =
            [Pooling::None, Pooling::Read].map(|pooling| Walked { pooling, ..pixels }.cost(&MESA_22, [4, 8, 3]));
        assert!(costs[1] < costs[0], "of two lines one is read: {costs:?}");
    }

    #[test]
    fn padding_that_is_left_out_costs_nothing() {
        // The same sums over ten rows of x, of which taps at the edges meet less and less.
        let within = Walked { channels: [16, 6], grid: [6, 14], ..CONV1 };
        let beyond = Walked { grid: [14, 14], padding: 4, ..within };
        let turns = |walked: Walked, positions| {
            let prices = Prices { read: 0.0, weight: 0.0, product: 1.0, turn: 0.0, store: 0.0, ..MESA_22 };
            walked.cost(&prices, [1, positions, 6]) / (16.0 * 14.0 * 6.0 * 5.0)
        };
        assert_eq!([turns(within, 7), turns(beyond, 7), turns(within, 14)], [30.0, 50.0, 30.0]);
        // A whole row meets only the ten columns that are there.
        assert_eq!([within.whole(14), beyond.whole(7), beyond.whole(14)], [None, None, Some(10)]);
        assert_eq!(14.0 * turns(beyond, 14), 10.0 * 50.0);
        assert_eq!([MESA_22, MESA_25].map(|prices| beyond.cheapest(&prices, None).unwrap()[1]), [14; 2]);
        assert_eq!([beyond.at_a_time(14), Walked { grid: [14, 12], ..beyond }.at_a_time(12)], [2, 4]);
        let small = Walked { channels: [3, 2], grid: [5, 4], taps: [3, 3], padding: 2, ..CONV1 };
        assert_eq!((small.cheapest(&OTHERS, None).unwrap()[1], small.whole(4)), (4, Some(2)));
    }
}
