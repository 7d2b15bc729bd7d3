//! Pictures in folders, read through the `image` crate and scaled to 32 x 32.

use std::fs;
use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageError};

use crate::files::{self, FileError};

use super::{DataError, DataSet, Images};

/// No picture may claim more pixels than this a side, nor fill more memory than this (111 million pixels of RGB).
const MAX_SIDE: u32 = 16_384;
const MAX_ALLOCATION: u64 = 320 << 20;

const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "gif", "webp"];

/// Reads `folder/train/CLASS/*` and `folder/test/CLASS/*`; classes are numbered by name.
pub(super) fn read(folder: &Path) -> Result<DataSet, DataError> {
    let classes = class_names(&folder.join("train"))?;
    let part = |name: &str| {
        let paths = classes.iter().map(|class| pictures(&folder.join(name).join(class)));
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        let mut images = Images::default();
        // The classes take turns, so that the first pictures of a set (--count) are of every class.
        for turn in 0..paths.iter().map(Vec::len).max().unwrap_or(0) {
            for (label, of_class) in paths.iter().enumerate() {
                if let Some(path) = of_class.get(turn) {
                    images.push(label as u8, &picture(path)?);
                }
            }
        }
        if images.count() == 0 { Err(DataError::NoPictures { path: folder.join(name) }) } else { Ok(images) }
    };
    let (train, test) = (part("train")?, part("test")?);
    Ok(DataSet { name: folder.display().to_string(), classes, train, test })
}

/// Every picture of a folder and its subfolders, all with label 0: an OOD set.
pub fn read_flat(folder: &Path, count: usize) -> Result<Images, DataError> {
    let mut paths = pictures(folder)?;
    for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        paths.extend(pictures(&class)?);
    }
    let mut images = Images::default();
    for path in paths.iter().take(count) {
        images.push(0, &picture(path)?);
    }
    if images.count() == 0 { Err(DataError::NoPictures { path: folder.to_owned() }) } else { Ok(images) }
}

fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    let names: Vec<String> =
        folders.filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned())).collect();
    if names.is_empty() || names.len() > 10 {
        let problem = format!("it has {} class folders; this program's classifiers know 1 to 10", names.len());
        return Err(DataError::Damaged { path: folder.to_owned(), problem });
    }
    Ok(names)
}

/// What a folder holds, in the order of names, so that every machine reads it alike.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |error: std::io::Error| FileError::Read { path: folder.to_owned(), reason: files::reason(&error) };
    let mut found = fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| Ok(entry.map_err(failed)?.path()))
        .collect::<Result<Vec<_>, FileError>>()?;
    found.sort();
    Ok(found)
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        path.is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
    };
    Ok(entries(folder)?.into_iter().filter(is_picture).collect())
}

/// One picture as planar RGB bytes: the middle square, scaled to 32 x 32.
pub fn picture(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |reason: String| DataError::Picture { path: path.to_owned(), reason };
    let file = fs::File::open(path).map_err(|error| failed(files::reason(&error)))?;
    decode_picture(BufReader::new(file)).map_err(failed)
}

/// The same of a picture from anywhere, or what is wrong with it. Holds at most 1280 MiB of memory, whatever the
/// picture says about itself: the worst is a progressive JPEG of four channels, whose decoder keeps eight bytes a pixel
/// beside the three that come out.
pub fn decode_picture(source: impl BufRead + Seek) -> Result<Vec<u8>, String> {
    let say = |error: ImageError| files::one_line(&error.to_string());
    let mut reader = image::ImageReader::new(source).with_guessed_format().map_err(|error| files::reason(&error))?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOCATION);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(say)?;
    // As it is stored and as RGB, which can be three times as large.
    let (width, height) = decoder.dimensions();
    let stored = decoder.total_bytes();
    if stored.max(u64::from(width) * u64::from(height) * 3) > MAX_ALLOCATION {
        return Err(format!("{width} x {height} pixels are too many"));
    }
    limits.max_alloc = Some(MAX_ALLOCATION - stored);
    decoder.set_limits(limits).map_err(say)?;
    let decoded = DynamicImage::from_decoder(decoder).map_err(say)?;
    let decoded = decoded.into_rgb8();
    let side = width.min(height);
    let square = image::imageops::crop_imm(&decoded, (width - side) / 2, (height - side) / 2, side, side);
    let small = image::imageops::resize(&*square, 32, 32, FilterType::Triangle);
    let pixels = small.as_raw();
    Ok((0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect())
}
