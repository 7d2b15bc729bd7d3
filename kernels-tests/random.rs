//! The random numbers: Philox's published answers, the same words in WGSL, streams, and what is drawn from them.

mod common;

use std::collections::HashSet;

use common::cases::{assert_uniform, for_cases};
use common::gpu;
use proptest::prelude::{Just, any, prop_oneof};
use rand::RngCore;
use shadegrad::gpu::{Grid, Kernel};
use shadegrad::random::{Purpose, Stream, philox4x32, unit};

const PURPOSES: [Purpose; 10] = [
    Purpose::Weights,
    Purpose::Shuffle,
    Purpose::Augment,
    Purpose::Dropout,
    Purpose::Noise,
    Purpose::FakeData,
    Purpose::UniformImages,
    Purpose::ConstantImages,
    Purpose::Shapes,
    Purpose::Test,
];

/// `philox4x32 10` of the test vectors that Random123 ships (`tests/kat_vectors`).
#[test]
fn philox_gives_the_published_answers() {
    let answers = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, words) in answers {
        assert_eq!(philox4x32(counter, key), words, "counter {counter:08x?}, key {key:08x?}");
    }
}

/// Writes the raw words of a stream, which no kernel of the program does.
static WORDS: Kernel = Kernel {
    name: "raw_words",
    source: concat!(
        include_str!("../shaders/random.wgsl"),
        "
        struct Params { count: u32, item: u32, purpose: u32, seed_low: u32, seed_high: u32, first_block: u32 }
        @group(0) @binding(0) var<uniform> p: Params;
        @group(0) @binding(1) var<storage, read_write> words: array<u32>;
        @compute @workgroup_size(64)
        fn raw_words(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x >= p.count { return; }
            let seed = vec2<u32>(p.seed_low, p.seed_high);
            words[id.x] = random_block(p.first_block + id.x / 4u, p.item, p.purpose, seed)[id.x % 4u];
        }"
    ),
    entry: "raw_words",
    access: "w",
};

#[test]
fn the_gpu_draws_the_same_words() {
    let gpu = gpu();
    let number = || prop_oneof![Just(0), Just(u32::MAX), any::<u32>()];
    let seed = prop_oneof![Just(0), Just(1 << 32), Just(u64::MAX), any::<u64>()];
    for_cases(24, (seed, 0..PURPOSES.len(), number(), 0..1u32 << 29), |(seed, purpose, item, first_block)| {
        let (stream, count) = (Stream::new(seed, PURPOSES[purpose], item), 130);
        let words = gpu.words(&vec![0; count]).unwrap();
        let purpose = PURPOSES[purpose] as u32;
        let params = [count as u32, item, purpose, seed as u32, (seed >> 32) as u32, first_block];
        gpu.launch(&WORDS, &[], &params, &[words.span()], Grid::linear(count, 64)).unwrap();
        let wanted: Vec<u32> = (0..count as u32).map(|index| stream.word(4 * first_block + index)).collect();
        assert_eq!(gpu.read_words(&words).unwrap(), wanted);
    });
}

#[test]
fn a_stream_is_philox_of_its_counters() {
    let (seed, item) = (0x0123_4567_89ab_cdef, 77);
    let mut stream = Stream::new(seed, Purpose::Test, item);
    let fixed = stream.clone();
    for block in 0..5 {
        let wanted = philox4x32([block, item, Purpose::Test as u32, 0], [0x89ab_cdef, 0x0123_4567]);
        for (place, word) in wanted.into_iter().enumerate() {
            assert_eq!(fixed.word(4 * block + place as u32), word);
            assert_eq!(stream.next_word(), word);
        }
    }
}

#[test]
fn streams_share_no_block() {
    let mut seen = HashSet::new();
    for seed in [0, 1, 1 << 32, u64::MAX] {
        for purpose in PURPOSES {
            for item in [0, 1, 2, 1 << 31] {
                let stream = Stream::new(seed, purpose, item);
                for block in 0..16 {
                    let words = [0, 1, 2, 3].map(|place| stream.word(4 * block + place));
                    assert!(seen.insert(words), "{purpose:?} under seed {seed}, item {item}, block {block} is not new");
                }
            }
        }
    }
}

#[test]
fn every_bit_is_a_fair_coin_and_neighbours_are_independent() {
    let draws = 1 << 16;
    let mut stream = Stream::new(3, Purpose::Test, 0);
    let words: Vec<u32> = (0..draws).map(|_| stream.next_word()).collect();
    for bit in 0..32 {
        let ones = words.iter().filter(|&word| word >> bit & 1 == 1).count() as u64;
        assert_uniform(&format!("bit {bit}"), &[ones, draws - ones]);
    }
    // The top three bits of two neighbours make 64 equally likely pairs.
    let mut pairs = [0; 64];
    for pair in words.chunks_exact(2) {
        pairs[(pair[0] >> 29 << 3 | pair[1] >> 29) as usize] += 1;
    }
    assert_uniform("pairs of neighbours", &pairs);
}

#[test]
fn below_and_between_are_unbiased() {
    for bound in [1, 2, 3, 7, 10, 64, 1000] {
        let mut stream = Stream::new(4, Purpose::Test, bound);
        let mut counts = vec![0; bound as usize];
        for _ in 0..200_000 {
            counts[stream.below(bound) as usize] += 1;
        }
        if bound > 1 {
            assert_uniform(&format!("below {bound}"), &counts);
        }
    }
    let mut stream = Stream::new(5, Purpose::Test, 0);
    let mut counts = [0; 7];
    for _ in 0..70_000 {
        counts[(stream.between(-3, 3) + 3) as usize] += 1;
    }
    assert_uniform("between -3 and 3", &counts);
    // The largest bound still stays below itself, and reaches its upper half.
    let large: Vec<u32> = (0..1000).map(|_| stream.below(u32::MAX)).collect();
    assert!(large.iter().all(|&value| value < u32::MAX) && large.iter().any(|&value| value > u32::MAX / 2));
}

#[test]
fn uniform_numbers_fill_the_unit_interval() {
    assert_eq!(unit(0), 0.0);
    assert_eq!(unit(255), 0.0, "the lower eight bits do not count");
    assert_eq!(unit(u32::MAX), 1.0 - 2.0f32.powi(-24), "one is never reached");
    let mut stream = Stream::new(6, Purpose::Test, 0);
    let mut counts = [0; 100];
    for _ in 0..100_000 {
        counts[(stream.uniform() * 100.0) as usize] += 1;
    }
    assert_uniform("hundredths", &counts);
}

#[test]
fn a_permutation_holds_everything_once() {
    for_cases(32, (any::<u64>(), 0..300u32), |(seed, length)| {
        let mut order = Stream::new(seed, Purpose::Shuffle, 1).permutation(length);
        order.sort_unstable();
        assert_eq!(order, (0..length).collect::<Vec<u32>>());
    });
    let draw = |seed, epoch| Stream::new(seed, Purpose::Shuffle, epoch).permutation(100);
    assert_eq!(draw(1, 1), draw(1, 1));
    assert_ne!(draw(1, 1), draw(2, 1), "another seed");
    assert_ne!(draw(1, 1), draw(1, 2), "another epoch");
}

#[test]
fn all_permutations_are_equally_likely() {
    // Fisher and Yates's usual mistake (an index below `length` at each step) shows in the counts of all 24.
    let mut counts = std::collections::BTreeMap::new();
    let mut stream = Stream::new(8, Purpose::Test, 0);
    for _ in 0..24_000 {
        *counts.entry(stream.permutation(4)).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 24);
    assert_uniform("orders of four", &counts.into_values().collect::<Vec<u64>>());
}

#[test]
fn as_a_rand_generator_a_stream_gives_its_words_in_order() {
    let fixed = Stream::new(9, Purpose::Test, 0);
    let mut stream = fixed.clone();
    assert_eq!(stream.next_u32(), fixed.word(0));
    assert_eq!(stream.next_u64(), u64::from(fixed.word(1)) | u64::from(fixed.word(2)) << 32);
    let mut bytes = [0; 7];
    stream.fill_bytes(&mut bytes);
    assert_eq!(bytes[..4], fixed.word(3).to_le_bytes());
    assert_eq!(bytes[4..], fixed.word(4).to_le_bytes()[..3]);
}
