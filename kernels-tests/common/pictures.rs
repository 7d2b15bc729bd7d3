//! Small pictures of every kind that the program reads, as seeds for damage; and tools to mend them afterwards.

use std::io::{Cursor, Write};

use flate2::{Compression, Crc, write::ZlibEncoder};
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, GrayImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

fn colour(x: u32, y: u32) -> [u8; 4] {
    [(x * 23) as u8, (y * 31) as u8, (x * y) as u8, 255 - (x * 9) as u8]
}

fn rgb(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([colour(x, y)[0], colour(x, y)[1], colour(x, y)[2]]))
}

fn rgba(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| Rgba(colour(x, y)))
}

fn grey(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([colour(x, y)[2]]))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn png_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(name);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes(), &name[..], data, &crc.sum().to_be_bytes()].concat()
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A PNG of any size, depth and colour type whose pixels are all zero: a small file for a large picture.
pub fn zero_png(width: u32, height: u32, depth: u8, kind: u8, extra: &[Vec<u8>]) -> Vec<u8> {
    let channels = [1, 0, 3, 1, 2, 0, 4][usize::from(kind)];
    let row = 1 + (width as usize * channels * usize::from(depth)).div_ceil(8);
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..height {
        pixels.write_all(&vec![0; row]).unwrap();
    }
    let mut head = [width.to_be_bytes(), height.to_be_bytes()].concat();
    head.extend([depth, kind, 0, 0, 0]);
    let mut chunks = vec![png_chunk(b"IHDR", &head)];
    chunks.extend_from_slice(extra);
    chunks.push(png_chunk(b"IDAT", &pixels.finish().unwrap()));
    chunks.push(png_chunk(b"IEND", &[]));
    [PNG, &chunks.concat()].concat()
}

/// Mends the checksums of a damaged PNG, so that the damage gets further than the first of them.
pub fn mend_png(bytes: &mut [u8]) {
    let mut at = PNG.len();
    while let Some(length) = bytes.get(at..at + 4).and_then(|length| length.try_into().ok()) {
        let end = (at + 8).saturating_add(u32::from_be_bytes(length) as usize);
        let Some(body) = bytes.get(at + 4..end) else { return };
        let mut crc = Crc::new();
        crc.update(body);
        let sum = crc.sum().to_be_bytes();
        let Some(place) = bytes.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&sum);
        at = end + 4;
    }
}

pub fn png() -> Vec<Vec<u8>> {
    let deep = ImageBuffer::from_fn(5, 7, |x, y| Rgb([(x * 9000) as u16, (y * 7000) as u16, 0xfffe]));
    let pair = ImageBuffer::from_fn(6, 3, |x, y| LumaA([colour(x, y)[0], colour(x, y)[3]]));
    let palette = [png_chunk(b"PLTE", &[1, 2, 3, 200, 100, 0]), png_chunk(b"tRNS", &[0, 128])];
    let animation = [png_chunk(b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0]), png_chunk(b"tEXt", b"Title\0anything")];
    vec![
        encoded(rgb(9, 6), ImageFormat::Png),
        encoded(grey(4, 4), ImageFormat::Png),
        encoded(rgba(7, 7), ImageFormat::Png),
        encoded(deep, ImageFormat::Png),
        encoded(pair, ImageFormat::Png),
        zero_png(9, 4, 1, 3, &palette),
        zero_png(5, 5, 2, 0, &[]),
        zero_png(3, 3, 8, 6, &animation),
    ]
}

pub fn jpeg() -> Vec<Vec<u8>> {
    vec![
        encoded(rgb(17, 9), ImageFormat::Jpeg),
        encoded(grey(8, 8), ImageFormat::Jpeg),
        encoded(rgb(1, 1), ImageFormat::Jpeg),
    ]
}

pub fn bmp() -> Vec<Vec<u8>> {
    // By hand: 4 x 2 pixels of 8 bits with a palette, run-length encoded.
    let (palette, runs) = ([[0u8; 4], [9, 99, 199, 0]].concat(), [4u8, 1, 0, 0, 0, 4, 1, 0, 1, 0, 0, 1]);
    let mut coded = b"BM".to_vec();
    let offset = 14 + 40 + palette.len() as u32;
    for number in [offset + runs.len() as u32, 0, offset, 40, 4, 2, 1 | 8 << 16, 1, runs.len() as u32, 0, 0, 2, 0] {
        coded.extend(number.to_le_bytes());
    }
    coded.extend(palette);
    coded.extend(runs);
    vec![
        encoded(rgb(5, 4), ImageFormat::Bmp),
        encoded(rgba(3, 3), ImageFormat::Bmp),
        encoded(grey(6, 2), ImageFormat::Bmp),
        coded,
    ]
}

pub fn gif() -> Vec<Vec<u8>> {
    let mut animated = Vec::new();
    GifEncoder::new(&mut animated).encode_frames((3..6).map(|side| Frame::new(rgba(side, side)))).unwrap();
    vec![encoded(rgba(6, 5), ImageFormat::Gif), animated]
}

fn riff_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let padding = &[0][..data.len() % 2];
    [&name[..], &(data.len() as u32).to_le_bytes(), data, padding].concat()
}

pub fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    riff_chunk(b"RIFF", &[&b"WEBP"[..], &chunks.concat()].concat())
}

/// The header of extended WebP files.
pub fn vp8x(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let sides = [&(width - 1).to_le_bytes()[..3], &(height - 1).to_le_bytes()[..3]].concat();
    riff_chunk(b"VP8X", &[&[flags, 0, 0, 0][..], &sides].concat())
}

pub fn webp() -> Vec<Vec<u8>> {
    let lossless = encoded(rgba(8, 8), ImageFormat::WebP);
    // 16 x 16 pixels of one colour (200, 30, 30), lossy, from libwebp: there is no encoder for these in the tree.
    let lossy: &[u8] =
        b"RIFF\x30\0\0\0WEBPVP8 \x24\0\0\0\x70\x01\0\x9d\x01\x2a\x10\0\x10\0\x0c\xc0\xce\x25\xa0\x02\x74\x01\
        \x40\0\0\xfe\xda\x26\x11\x86\x8d\x7e\x2e\xec\x47\x19\x24\0\0";
    let alpha = riff_chunk(b"ALPH", &[&[0][..], &[77; 256]].concat());
    let frame = |chunk: &[u8]| {
        // Place, size (8 x 8), 100 ms, no flags; then the picture.
        riff_chunk(b"ANMF", &[&[0, 0, 0, 0, 0, 0, 7, 0, 0, 7, 0, 0, 100, 0, 0, 0][..], chunk].concat())
    };
    vec![
        lossless.clone(),
        lossy.to_vec(),
        riff(&[vp8x(0x10, 16, 16), alpha, lossy[12..].to_vec()]),
        riff(&[
            vp8x(0x12, 8, 8),
            riff_chunk(b"ANIM", &[0, 0, 0, 0, 0, 0]),
            frame(&lossless[12..]),
            frame(&lossless[12..]),
        ]),
    ]
}
