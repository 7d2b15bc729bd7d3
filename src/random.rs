//! Counter-based random numbers: the same seed gives the same bits here, in WGSL and on every machine.
//!
//! The generator is Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011). It has no state: word `index` of the stream `(seed, purpose, item)` is a pure
//! function of those four numbers, so a batch can be drawn in any order, on any device, and a
//! resumed run needs nothing but its counters. `shaders/random.wgsl` computes the same function.

use rand::RngCore;

/// What a stream of random numbers is for. Two purposes never share a stream, whatever the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; `item` is the parameter's number.
    Weights = 1,
    /// The order of the training set; `item` is the epoch.
    Shuffle = 2,
    /// Flips and shifts; `item` is the epoch.
    Augment = 3,
    /// Dropout masks; `item` is the launch's number.
    Dropout = 4,
    /// Noise made on the GPU; `item` is the launch's number, or the image's where an attack starts at random.
    Noise = 5,
    /// FakeData images; `item` is the image.
    FakeData = 6,
    /// Uniform-noise images; `item` is the image.
    UniformImages = 7,
    /// Constant-colour images; `item` is the image.
    ConstantImages = 8,
    /// The procedural `shapes` images; `item` is the image.
    Shapes = 9,
    /// Reserved for tests.
    Test = 10,
    /// Gaussian-noise images; `item` is the image.
    GaussianImages = 11,
    /// Rademacher-noise images; `item` is the image.
    RademacherImages = 12,
    /// Blobs; `item` is the image.
    BlobImages = 13,
    /// Where the attack on a step of training starts; `item` is the picture's number in the run.
    Defence = 14,
}

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds of Philox-4x32: four random words for one counter and one key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let product0 = u64::from(MULTIPLIER[0]) * u64::from(counter[0]);
        let product1 = u64::from(MULTIPLIER[1]) * u64::from(counter[2]);
        counter = [
            (product1 >> 32) as u32 ^ counter[1] ^ key[0],
            product1 as u32,
            (product0 >> 32) as u32 ^ counter[3] ^ key[1],
            product0 as u32,
        ];
    }
    counter
}

/// A stream of random words: `(seed, purpose, item)`. Cheap to make, cheap to copy.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    purpose: u32,
    item: u32,
    next: u32,
    block: [u32; 4],
}

impl Stream {
    /// The stream of one item (an epoch, an image, a parameter) for one purpose under one seed.
    pub fn new(seed: u64, purpose: Purpose, item: u32) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], purpose: purpose as u32, item, next: 0, block: [0; 4] }
    }

    /// Word `index` of the stream, without moving it.
    pub fn word(&self, index: u32) -> u32 {
        self.block_at(index / 4)[(index % 4) as usize]
    }

    fn block_at(&self, block: u32) -> [u32; 4] {
        philox4x32([block, self.item, self.purpose, 0], self.key)
    }

    /// The next word.
    pub fn next_word(&mut self) -> u32 {
        if self.next.is_multiple_of(4) {
            self.block = self.block_at(self.next / 4);
        }
        let word = self.block[(self.next % 4) as usize];
        self.next = self.next.wrapping_add(1);
        word
    }

    /// A whole number in `0..bound`, by multiply-and-shift of one word (bias below `bound / 2^32`).
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next_word()) * u64::from(bound)) >> 32) as u32
    }

    /// A whole number in `low..=high`.
    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as u32) as i32
    }

    /// A number in [0, 1) with 24 random bits, exact in `f32`.
    pub fn uniform(&mut self) -> f32 {
        unit(self.next_word())
    }

    /// Fisher-Yates permutation of `0..length`.
    pub fn permutation(&mut self, length: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..length).collect();
        for last in (1..length).rev() {
            let other = self.below(last + 1);
            order.swap(last as usize, other as usize);
        }
        order
    }
}

/// The word's upper 24 bits as a number in [0, 1); exact in `f32`.
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The stream is also a `rand` generator, so that the distributions of that crate work on it.
impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        self.next_word()
    }

    fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_word());
        low | u64::from(self.next_word()) << 32
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.next_word().to_le_bytes()[..chunk.len()]);
        }
    }
}
