//! Damaged files of every kind that is read: an error or a result, never a panic, a hang or a heap of memory.
//!
//! `SHADEGRAD_FUZZ_ROUNDS=200000` makes it thorough. A failure names its round, which is all that it depends on.

#[path = "common/fuzzing.rs"]
mod fuzzing;
#[path = "common/mat.rs"]
mod mat;
#[path = "common/mutate.rs"]
mod mutate;
#[path = "common/pictures.rs"]
mod pictures;
#[path = "common/tarball.rs"]
mod tarball;

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::Path;

use fuzzing::{MIB, Target, parse, run};
use mutate::{Dice, damage, damage_text, sealed};
use safetensors::tensor::{Dtype, TensorView};
use shadegrad::data::download::{CIFAR10, Contents};
use shadegrad::data::{self, Images, cifar10, download};
use shadegrad::nn::StateDict;

#[test]
fn batches_of_cifar10() {
    let whole: Vec<u8> = (0..3u8).flat_map(|label| [&[label][..], &[label * 9; 3072]].concat()).collect();
    let make = |dice: &mut Dice| {
        let mut bytes = whole.clone();
        damage(&mut bytes, dice);
        if dice.below(2) == 0 {
            bytes.resize(bytes.len().next_multiple_of(3073), 0);
        }
        bytes
    };
    let parser = |bytes: &[u8]| cifar10::append_records(bytes, &mut Images::default());
    run(Target { name: "batches", share: 1, make: &make, parser: &parser, bound: |length| 3 * length + 4096 });
}

#[test]
fn files_of_cifar100() {
    let whole: Vec<u8> =
        (0..3u8).flat_map(|label| [&[label * 7, label * 33][..], &[label * 9; 3072]].concat()).collect();
    let make = |dice: &mut Dice| {
        let mut bytes = whole.clone();
        damage(&mut bytes, dice);
        if dice.below(2) == 0 {
            bytes.resize(bytes.len().next_multiple_of(3074), 0);
        }
        bytes
    };
    let parser = |bytes: &[u8]| data::cifar100(bytes, usize::MAX).map(drop);
    run(Target { name: "CIFAR-100", share: 1, make: &make, parser: &parser, bound: |length| 3 * length + 4096 });
}

/// Stated in `mat.rs`: all arrays of a file once they are unpacked, twice while they grow, and their copies.
const MAT: usize = 1280 * MIB;

fn read_mat(bytes: &[u8]) -> Result<(), String> {
    data::svhn(bytes, usize::MAX).map(drop)
}

#[test]
fn files_of_svhn() {
    let (x, y) = mat::digits([1, 10]);
    let plain = mat::mat(&[x.clone(), y.clone()]);
    let seeds = [plain.clone(), mat::mat(&[mat::compressed(&x), mat::compressed(&y)])];
    for seed in &seeds {
        assert_eq!(parse(seed, &read_mat).map(|found| found.0), Ok(true));
    }
    let make = |dice: &mut Dice| match dice.below(4) {
        // Before and behind the pixels, where tags, sides and labels are.
        0 => {
            let (begin, end) = (200, plain.len() - 120);
            let mut ends = [&plain[..begin], &plain[end..]].concat();
            damage(&mut ends, dice);
            let (first, last) = ends.split_at(ends.len().min(begin));
            [first, &plain[begin..end], last].concat()
        }
        // What is compressed is whole, but holds damage.
        1 => {
            let mut inner = if dice.below(2) == 0 { x.clone() } else { y.clone() };
            let mut tags = inner[..72].to_vec();
            damage(&mut tags, dice);
            inner.splice(..72, tags);
            mat::mat(&[mat::compressed(&inner), x.clone(), y.clone()])
        }
        _ => {
            let mut bytes = seeds[dice.below(2)].clone();
            damage(&mut bytes, dice);
            bytes
        }
    };
    // Deflate makes at most 1032 bytes of one; twice that while they grow, and their copies.
    let bound = |length: usize| (4096 * length + 65_536).min(MAT);
    run(Target { name: "SVHN", share: 2, make: &make, parser: &read_mat, bound });
}

#[test]
fn files_of_svhn_that_swell() {
    let zeros = mat::compressed(&mat::matrix("Z", 9, &[150 << 20], 2, &vec![0; 150 << 20]));
    for (count, wanted) in [(1, "no array 'X'"), (3, "400 MiB")] {
        let bytes = mat::mat(&vec![zeros.clone(); count]);
        let parser = |bytes: &[u8]| match read_mat(bytes) {
            Err(text) if text.contains(wanted) => Err(text),
            other => panic!("{count} arrays: {other:?}"),
        };
        let (good, peak) = parse(&bytes, &parser).unwrap();
        println!("{count} x 150 MiB of zeros in {} bytes: {} MiB held", bytes.len(), peak / MIB);
        assert!(!good && peak <= MAT, "{count}: {} MiB held", peak / MIB);
    }
}

#[test]
fn lists_of_class_names() {
    let make = |dice: &mut Dice| {
        let mut bytes = tarball::CIFAR10.as_bytes().to_vec();
        damage(&mut bytes, dice);
        bytes
    };
    let parser = |bytes: &[u8]| cifar10::class_names(bytes).map(drop);
    run(Target { name: "class names", share: 1, make: &make, parser: &parser, bound: |length| 40 * length + 4096 });
}

fn weights() -> Vec<u8> {
    let values: Vec<u8> = (0..60u8).collect();
    let tensors = [("conv.weight", vec![3, 1, 2, 2], 48), ("conv.bias", vec![3], 12), ("empty", vec![0], 0)];
    let views =
        tensors.map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape, &values[..bytes]).unwrap()));
    let notes = [("model", "lenet".to_owned()), ("md5", "0".repeat(32))].map(|(key, value)| (key.to_owned(), value));
    sealed(safetensors::serialize(views, Some(HashMap::from(notes))).unwrap())
}

fn read_weights(bytes: &[u8]) -> Result<(), String> {
    let state = StateDict::from_bytes(Path::new("weights"), bytes).map_err(|error| error.to_string())?;
    state.shapes().for_each(drop);
    Ok(())
}

#[test]
fn weights_files() {
    let whole = weights();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let (header, values) = (std::str::from_utf8(&whole[8..8 + length]).unwrap(), &whole[8 + length..]);
    let words = ["F16", "BF16", "I64", "BOOL", "F4", "null", "shape", "dtype", "data_offsets", "__metadata__", "-1"];
    let make = |dice: &mut Dice| {
        // Half of the damage is to the header's words, with a length that fits again.
        if dice.below(2) == 0 {
            let text = (0..1 + dice.below(3)).fold(header.to_owned(), |text, _| damage_text(&text, &words, dice));
            return sealed([&(text.len() as u64).to_le_bytes(), text.as_bytes(), values].concat());
        }
        let mut bytes = whole.clone();
        damage(&mut bytes, dice);
        if dice.below(2) == 0 { bytes } else { sealed(bytes) }
    };
    assert_eq!(parse(&whole, &read_weights).map(|found| found.0), Ok(true));
    run(Target { name: "weights", share: 1, make: &make, parser: &read_weights, bound: |length| 32 * length + 65_536 });
}

#[test]
fn weights_that_lie_about_their_size() {
    let file =
        |length: u64, header: &str, bytes: usize| [&length.to_le_bytes(), header.as_bytes(), &vec![0; bytes]].concat();
    let honest = |header: &str, bytes: usize| file(header.len() as u64, header, bytes);
    let tensor =
        |shape: &str, offsets: &str| format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let two = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases = [
        ("no header", file(0, "", 0)),
        ("a header longer than the file", file(1 << 20, "{}", 0)),
        ("a header of 100 MB", file(100_000_000, "{}", 64)),
        ("a header of 2^63 bytes", file(1 << 63, "{}", 0)),
        ("a header of 2^64-1 bytes", file(u64::MAX, "{}", 0)),
        ("offsets that overlap", honest(two, 12)),
        ("offsets beyond the end", honest(&tensor("[2]", "[0,8]"), 4)),
        ("offsets that go back", honest(&tensor("[2]", "[8,0]"), 8)),
        ("a hole", honest(&tensor("[1]", "[4,8]"), 8)),
        ("an end of 2^64-1", honest(&tensor("[2]", "[0,18446744073709551615]"), 8)),
        ("a shape that overflows", honest(&tensor("[4294967296,4294967296,2]", "[0,8]"), 8)),
        ("a shape that overflows to the right size", honest(&tensor("[4611686018427387906]", "[0,8]"), 8)),
        ("more bytes than are named", honest(&tensor("[1]", "[0,4]"), 8)),
        ("a header without end", honest(&deep, 0)),
        ("half precision", honest(&tensor("[2]", "[0,4]").replace("F32", "F16"), 4)),
        ("an unknown type", honest(&tensor("[2]", "[0,8]").replace("F32", "F31"), 8)),
    ];
    for (name, bytes) in cases {
        let (good, peak) = parse(&bytes, &read_weights).unwrap_or_else(|text| panic!("{name}: {text}"));
        assert!(!good, "{name} is read");
        assert!(peak < MIB, "{name}: {peak} bytes held");
    }
}

fn read_picture(bytes: &[u8]) -> Result<(), String> {
    let pixels = data::decode_picture(Cursor::new(bytes))?;
    assert_eq!(pixels.len(), data::SIZE);
    Ok(())
}

/// Stated in `decode_picture`.
const PICTURE: usize = 1280 * MIB;

fn fuzz_pictures(name: &str, seeds: &[Vec<u8>]) {
    for seed in seeds {
        assert_eq!(parse(seed, &read_picture).map(|found| found.0), Ok(true), "{name}: {seed:02x?}");
    }
    let make = |dice: &mut Dice| {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        damage(&mut bytes, dice);
        if name == "png" && dice.below(4) > 0 {
            pictures::mend_png(&mut bytes);
        }
        bytes
    };
    run(Target { name, share: 2, make: &make, parser: &read_picture, bound: |_| PICTURE });
}

#[test]
fn png_pictures() {
    fuzz_pictures("png", &pictures::png());
}

#[test]
fn jpeg_pictures() {
    fuzz_pictures("jpeg", &pictures::jpeg());
}

#[test]
fn bmp_pictures() {
    fuzz_pictures("bmp", &pictures::bmp());
}

#[test]
fn gif_pictures() {
    fuzz_pictures("gif", &pictures::gif());
}

#[test]
fn webp_pictures() {
    fuzz_pictures("webp", &pictures::webp());
}

/// A copy of a file with other bytes at one place.
fn patched(bytes: &[u8], at: usize, fresh: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    copy[at..at + fresh.len()].copy_from_slice(fresh);
    copy
}

#[test]
fn pictures_that_claim_to_be_enormous() {
    let side = |side: u16| [side.to_be_bytes(), side.to_be_bytes()].concat();
    let little = |side: u16| [side.to_le_bytes(), side.to_le_bytes()].concat();
    let (jpeg, gif, bmp, webp) = (pictures::jpeg().remove(0), pictures::gif(), pictures::bmp(), pictures::webp());
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let image = gif[0].iter().position(|&byte| byte == b',').unwrap();
    let progressive = patched(&jpeg, frame, &[0xff, 0xc2]);
    let mut cases = vec![
        ("png, black and white", pictures::zero_png(16_384, 16_384, 1, 0, &[])),
        ("png, 16 bits and alpha", pictures::zero_png(9_000, 9_000, 16, 6, &[])),
        ("png, too wide", pictures::zero_png(16_385, 1, 8, 0, &[])),
        ("webp, extended", pictures::riff(&[pictures::vp8x(0, 1 << 24, 1 << 24), webp[1][12..].to_vec()])),
        ("webp, animated", pictures::riff(&[pictures::vp8x(2, 16_384, 16_384)])),
        ("webp, lossy", patched(&webp[1], 26, &little(0x3fff))),
        ("bmp", patched(&bmp[0], 18, &[0, 0x40, 0, 0, 0, 0x40, 0, 0])),
        ("bmp, run-length encoded", patched(&bmp[3], 18, &[0, 0x30, 0, 0, 0, 0x30, 0, 0])),
        ("gif, 65,535 pixels a side", patched(&gif[0], 6, &little(u16::MAX))),
        ("gif, 10,500 pixels a side", patched(&gif[0], 6, &little(10_500))),
        ("gif, its picture", patched(&gif[0], image + 5, &little(u16::MAX))),
    ];
    for size in [u16::MAX, 13_000, 10_500] {
        cases.push(("jpeg", patched(&jpeg, frame + 5, &side(size))));
        cases.push(("jpeg, progressive", patched(&progressive, frame + 5, &side(size))));
    }
    for (name, bytes) in cases {
        let begun = std::time::Instant::now();
        let (good, peak) = parse(&bytes, &read_picture).unwrap_or_else(|text| panic!("{name}: {text}"));
        println!("{name}: {} MiB held, {:.2} s, {good}", peak / MIB, begun.elapsed().as_secs_f64());
        assert!(peak <= PICTURE, "{name}: {} MiB held for {} bytes", peak / MIB, bytes.len());
    }
}

/// Small files in the right places: the walk does not look into them.
fn small_archive() -> Vec<tarball::Entry> {
    let mut all = tarball::entries();
    for entry in &mut all {
        entry.bytes.truncate(20);
        entry.claims = entry.bytes.len() as u64;
    }
    all
}

fn walk(bytes: &[u8]) -> Result<(), String> {
    let mut chunk = [0; 4096];
    let Contents::Archive(layout) = &CIFAR10.contents else { panic!("CIFAR-10 comes as an archive") };
    let mut take = |_: &'static str, contents: &mut dyn Read| {
        let mut total = 0;
        while let Ok(count @ 1..) = contents.read(&mut chunk) {
            total += count as u64;
        }
        Ok(total)
    };
    download::walk(bytes, layout, &mut take).map(drop).map_err(|error| error.to_string())
}

/// The decompressor's window and tables.
const ARCHIVE: usize = MIB;

#[test]
fn archives() {
    let plain = tarball::tar(&small_archive());
    let packed = tarball::gzip(&plain);
    assert_eq!(parse(&packed, &walk).map(|found| found.0), Ok(true));
    let make = |dice: &mut Dice| {
        if dice.below(4) == 0 {
            let mut bytes = packed.clone();
            damage(&mut bytes, dice);
            return bytes;
        }
        let mut bytes = plain.clone();
        // Aim at the headers, and mend their checksums most of the time.
        let block = 512 * dice.below(bytes.len() / 512);
        let mut header = bytes[block..block + 512].to_vec();
        damage(&mut header, dice);
        header.resize(512, 0);
        if dice.below(4) > 0 {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        bytes[block..block + 512].copy_from_slice(&header);
        if dice.below(4) == 0 {
            damage(&mut bytes, dice);
        }
        tarball::stored(&bytes)
    };
    run(Target { name: "archives", share: 2, make: &make, parser: &walk, bound: |_| ARCHIVE });
}

#[test]
fn archives_that_swell() {
    use tarball::Entry;
    let mut huge = small_archive();
    huge[1].claims = u64::MAX >> 2;
    let comment =
        |claims: u64, bytes: Vec<u8>| Entry { kind: tar::EntryType::XHeader, claims, ..Entry::file("x", bytes) };
    let mut endless = small_archive();
    endless.insert(1, comment(1 << 40, vec![0; 4096]));
    let mut name = small_archive();
    let long = vec![b'a'; 8 * MIB];
    name.insert(1, Entry { kind: tar::EntryType::GNULongName, ..Entry::file("././@LongLink", long) });
    // Two hundred megabytes of zeros where a header should be, in a file of two hundred kilobytes.
    let zeros = vec![0; 200 * MIB];
    let mut leading = tarball::tar(&small_archive()[..2]);
    leading.truncate(leading.len() - 1024);
    let last = leading.len() - 1024;
    leading[last + 124..last + 136].copy_from_slice(b"07777777777\0");
    leading.extend_from_slice(&zeros);
    for (what, bytes) in [
        ("a claim of 2^62 bytes", tarball::gzip(&tarball::tar(&huge))),
        ("a comment of a terabyte", tarball::gzip(&tarball::tar(&endless))),
        ("a long name", tarball::gzip(&tarball::tar(&name))),
        ("zeros", tarball::gzip(&zeros)),
        ("a swollen entry", tarball::gzip(&leading)),
    ] {
        let (good, peak) = parse(&bytes, &walk).unwrap_or_else(|text| panic!("{what}: {text}"));
        assert!(!good && peak <= ARCHIVE, "{what}: {good}, {peak} bytes held");
    }
}
