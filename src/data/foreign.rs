//! Test sets of other pictures, for what they are out of distribution to: CIFAR-100's binary files (Krizhevsky 2009) and
//! SVHN's cropped digits (Netzer et al. 2011), as they are distributed.

use std::path::{Path, PathBuf};

use crate::files;

use super::download::{CIFAR10, CIFAR100, SVHN};
use super::{DataError, Images, SIZE, folder, mat};

/// More than any of these files has.
const MAX_BYTES: u64 = 400 << 20;

/// A record of CIFAR-100: coarse and fine label, and a picture.
const RECORD: usize = 2 + SIZE;

/// Any set of pictures that can be out of distribution, of at most `count`: the test pictures of a data set ('shapes',
/// 'cifar10' or a folder in CIFAR-10's layout), CIFAR-100 (the downloaded 'cifar100', `test.bin` or its folder), SVHN (the
/// downloaded 'svhn', `test_32x32.mat` or its folder), or a folder of pictures.
pub fn outliers(name: &str, count: usize) -> Result<Images, DataError> {
    if name == "shapes" || name == "cifar10" {
        return Ok(super::open(name)?.test.truncated(count));
    }
    let path = match name {
        "cifar100" => &super::downloaded(&CIFAR100)?,
        "svhn" => &super::downloaded(&SVHN)?,
        _ => Path::new(name),
    };
    let inside = |file: &str| -> Option<PathBuf> { Some(path.join(file)).filter(|path| path.is_file()) };
    if inside(CIFAR10.test.0).is_some() {
        return Ok(super::open(name)?.test.truncated(count));
    }
    let itself = || Some(path.to_owned()).filter(|path| path.is_file() && (has(path, "bin") || has(path, "mat")));
    match inside(CIFAR100.test.0).or_else(|| inside(SVHN.test.0)).or_else(itself) {
        Some(file) => read_foreign(&file, count),
        None => folder::read_flat(path, count),
    }
}

fn has(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// At most `count` pictures of a file of SVHN's (`.mat`) or of CIFAR-100's.
pub fn read_foreign(path: &Path, count: usize) -> Result<Images, DataError> {
    let bytes = files::read(path, MAX_BYTES)?;
    let read = if has(path, "mat") { svhn(&bytes, count) } else { cifar100(&bytes, count) };
    read.map_err(|problem| DataError::Damaged { path: path.to_owned(), problem })
}

/// CIFAR-100's records; labels are the fine ones.
pub fn cifar100(bytes: &[u8], count: usize) -> Result<Images, String> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        let (whole, rest) = (bytes.len() / RECORD, bytes.len() % RECORD);
        return Err(format!(
            "it is not CIFAR-100's: {whole} whole records of {RECORD} bytes and {rest} bytes more; fetch it again"
        ));
    }
    let mut images = Images::default();
    for (index, record) in bytes.chunks_exact(RECORD).take(count).enumerate() {
        if record[0] >= 20 || record[1] >= 100 {
            let [coarse, fine] = [record[0], record[1]];
            return Err(format!("record {index} has labels {coarse} and {fine}, but there are 20 and 100 classes"));
        }
        images.push(record[1], &record[2..]);
    }
    Ok(images)
}

/// SVHN's cropped digits: `X`, rows x columns x channels x pictures, and `y`, where the digit 0 is 10.
pub fn svhn(bytes: &[u8], count: usize) -> Result<Images, String> {
    // Names and sides come from the file.
    digits(bytes, count).map_err(|problem| files::one_line(&problem))
}

fn digits(bytes: &[u8], count: usize) -> Result<Images, String> {
    let arrays = mat::arrays(bytes)?;
    let find = |name: &str| {
        let found = arrays.iter().find(|array| array.name == name);
        found.ok_or_else(|| format!("it has no array '{name}': SVHN's cropped digits (test_32x32.mat) have X and y"))
    };
    let (x, y) = (find("X")?, find("y")?);
    if x.dims.len() != 4 || x.dims[..3] != [32, 32, 3] || y.values.len() != x.dims[3] {
        return Err(format!("X has sides {:?} and y {:?}, not 32 x 32 x 3 x N and N", x.dims, y.dims));
    }
    let mut images = Images::default();
    for (columns, &label) in x.values.chunks_exact(SIZE).zip(&y.values).take(count) {
        if !(1..=10).contains(&label) {
            return Err(format!("a label is {label}, but labels are 1 to 10"));
        }
        // Column by column to row by row.
        let picture: Vec<u8> = (0..SIZE).map(|at| columns[at / 1024 * 1024 + at % 32 * 32 + at / 32 % 32]).collect();
        images.push(label % 10, &picture);
    }
    Ok(images)
}
