//! MATLAB's level 5 files as SVHN has them.
#![allow(dead_code)] // each test file uses its own part of this one

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use shadegrad::data::SIZE;

/// The picture that files below are made of: planar.
pub fn planar(number: usize) -> Vec<u8> {
    (0..SIZE).map(|at| (at * 7 + at / 1024 * 31 + number * 13) as u8).collect()
}

/// An element: tag and data, filled up to eight bytes.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// One whose data share the tag's place.
fn small(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (kind | (data.len() as u32) << 16).to_le_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(8, 0);
    bytes
}

/// An array.
pub fn matrix(name: &str, class: u8, dims: &[i32], kind: u32, data: &[u8]) -> Vec<u8> {
    let sides: Vec<u8> = dims.iter().flat_map(|side| side.to_le_bytes()).collect();
    let flags = [class, 0, 0, 0, 0, 0, 0, 0];
    element(14, &[element(6, &flags), element(5, &sides), small(1, name.as_bytes()), element(kind, data)].concat())
}

/// The same, compressed.
pub fn compressed(element: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(element).unwrap();
    let data = encoder.finish().unwrap();
    [&15u32.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), &data].concat()
}

/// A file.
pub fn mat(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut header = b"MATLAB 5.0 MAT-file, made by a test".to_vec();
    header.resize(124, b' ');
    header.extend([0, 1, b'I', b'M']);
    [header, elements.concat()].concat()
}

/// Two digits, column by column, as SVHN has them.
pub fn digits(labels: [u8; 2]) -> (Vec<u8>, Vec<u8>) {
    let columns = |number: usize| {
        let picture = planar(number);
        (0..SIZE).map(move |at| picture[at / 1024 * 1024 + at % 32 * 32 + at / 32 % 32]).collect::<Vec<u8>>()
    };
    let x = matrix("X", 9, &[32, 32, 3, 2], 2, &[columns(0), columns(1)].concat());
    (x, matrix("y", 6, &[2, 1], 9, &labels.map(|label| f64::from(label).to_le_bytes()).concat()))
}
