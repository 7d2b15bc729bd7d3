//! Data sets: CIFAR-10's files, our own procedural `shapes`, folders of pictures, noise, and others' pictures.

pub mod cifar10;
pub mod download;
mod folder;
mod foreign;
mod held_out;
mod mat;
mod noise;
mod outlier_noise;
mod outside;
pub mod shapes;
mod shapes_draw;
pub mod verify;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

pub use cifar10::write as write_cifar10;
pub use folder::{decode_picture, picture as read_picture, read_flat as read_pictures};
pub use foreign::{cifar100, outliers, read_foreign, svhn};
pub use noise::{constant_colours, fake_data, uniform_noise};
pub use outlier_noise::{blobs, gaussian_noise, rademacher_noise};
pub use outside::{is_noise, outside, shown_name};

/// Channels, height and width of every picture.
pub const DIMS: [usize; 3] = [3, 32, 32];

/// Bytes of a picture.
pub const SIZE: usize = 3 * 32 * 32;

/// Pictures as bytes: planar RGB, one after the other, with a label each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    pub bytes: Vec<u8>,
    pub labels: Vec<u8>,
}

impl Images {
    /// How many pictures there are.
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    fn push(&mut self, label: u8, bytes: &[u8]) {
        self.labels.push(label);
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `count` pictures, or all if there are fewer.
    pub fn truncated(mut self, count: usize) -> Self {
        self.labels.truncate(count);
        self.bytes.truncate(self.labels.len() * SIZE);
        self
    }
}

/// A training and a test set.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// What it is, for results.
    pub name: String,
    pub classes: Vec<String>,
    pub train: Images,
    pub test: Images,
}

impl DataSet {
    /// Keeps at most the first `train` and `test` pictures.
    pub fn truncated(self, train: usize, test: usize) -> Self {
        Self { train: self.train.truncated(train), test: self.test.truncated(test), ..self }
    }

    /// Tells contents apart: pictures, labels and the classes' names, but not what the set is called.
    pub fn fingerprint(&self) -> String {
        let names = self.classes.join("\n");
        let sets = [&self.train, &self.test].map(|images| [&images.bytes[..], &images.labels[..]]);
        files::fingerprint(sets.into_iter().flatten().chain([names.as_bytes()]))
    }
}

/// What can be wrong with data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{} is not a data set: it holds neither CIFAR-10's binary files (data_batch_1.bin ..., test_batch.bin) nor \
         folders 'train' and 'test' of class folders; for the built-in data use --data shapes", .path.display()
    )]
    NotADataSet { path: PathBuf },
    #[error("{}: {problem}", .path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("{}: cannot read this picture: {reason}", .path.display())]
    Picture { path: PathBuf, reason: String },
    #[error("{} holds no pictures (png, jpg, bmp, gif or webp)", .path.display())]
    NoPictures { path: PathBuf },
    #[error("there is no class '{name}' to leave out: choose from {classes}, or numbers from 0")]
    NoSuchClass { name: String, classes: String },
    #[error("without those classes nothing is left of {name}")]
    NothingLeft { name: String },
    #[error("no class of '{name}' is held out: name some in --data, as in 'cifar10-without:cat,dog'")]
    NothingHeldOut { name: String },
    #[error(transparent)]
    Download(#[from] download::DownloadError),
    #[error(
        "{} is not at {}: 'shadegrad data download {}' fetches it ({} MiB); or give the folder that holds its files",
        .set.title, .path.display(), .set.name, .set.bytes >> 20
    )]
    NotDownloaded { set: &'static download::Set, path: PathBuf },
    #[error("there is no home folder to keep downloads in: give a folder")]
    NoHome,
}

/// What stands between a data set's name and the classes that are left out of it.
const WITHOUT: &str = "-without:";

/// A name's data set and left-out classes, if there are any. A folder may be called anything.
fn parted(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once(WITHOUT).filter(|_| !Path::new(name).exists())
}

/// The test pictures of the classes that `NAME-without:CLASS,CLASS` leaves out.
pub fn held_out(name: &str) -> Result<Images, DataError> {
    let (base, classes) = parted(name).ok_or_else(|| DataError::NothingHeldOut { name: name.to_owned() })?;
    Ok(open(base)?.without(classes)?.1)
}

/// The folder of a set that was downloaded.
fn downloaded(set: &'static download::Set) -> Result<PathBuf, DataError> {
    let path = download::folder(set).ok_or(DataError::NoHome)?;
    if path.join(set.test.0).exists() { Ok(path) } else { Err(DataError::NotDownloaded { set, path }) }
}

/// Opens `shapes`, the downloaded `cifar10`, a folder of CIFAR-10's files, or a folder with `train` and `test`;
/// or any of these without some classes, `NAME-without:CLASS,CLASS`.
pub fn open(name: &str) -> Result<DataSet, DataError> {
    if let Some((base, classes)) = parted(name) {
        return Ok(open(base)?.without(classes)?.0);
    }
    if name == "shapes" {
        return Ok(built_in());
    }
    if name == "cifar10" {
        return cifar10::read(&downloaded(&download::CIFAR10)?);
    }
    let path = Path::new(name);
    let missing = |reason: &str| FileError::Read { path: path.to_owned(), reason: reason.to_owned() };
    if !path.exists() {
        return Err(
            missing("it does not exist (give a folder with CIFAR-10's binary files, 'cifar10' or 'shapes')").into()
        );
    }
    if !path.is_dir() {
        return Err(missing("it is not a folder").into());
    }
    if path.join("data_batch_1.bin").exists() || path.join("test_batch.bin").exists() {
        cifar10::read(path)
    } else if path.join("train").is_dir() && path.join("test").is_dir() {
        folder::read(path)
    } else {
        Err(DataError::NotADataSet { path: path.to_owned() })
    }
}

/// Pictures of the built-in data set: enough to learn from, few enough to draw in a moment.
const SHAPES: [u32; 2] = [20_000, 4_000];

/// The built-in `shapes`.
pub fn built_in() -> DataSet {
    few_shapes(SHAPES[0], SHAPES[1])
}

/// So many of the built-in `shapes`: training and test pictures come from two seeds.
pub fn few_shapes(train: u32, test: u32) -> DataSet {
    DataSet {
        name: "shapes".to_owned(),
        classes: shapes::CLASSES.map(str::to_owned).to_vec(),
        train: drawn(0, train),
        test: drawn(1, test),
    }
}

/// The first `count` pictures of a seed, drawn on all cores: each depends on nothing but seed and index.
fn drawn(seed: u64, count: u32) -> Images {
    let mut images = Images { bytes: vec![0; count as usize * SIZE], labels: vec![0; count as usize] };
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = (count as usize).div_ceil(threads).max(1);
    let parts = images.bytes.chunks_mut(share * SIZE).zip(images.labels.chunks_mut(share));
    std::thread::scope(|scope| {
        for (part, (pictures, labels)) in parts.enumerate() {
            scope.spawn(move || {
                for (index, (picture, label)) in (part * share..).zip(pictures.as_chunks_mut().0.iter_mut().zip(labels))
                {
                    *label = shapes::picture(seed, index as u32, picture);
                }
            });
        }
    });
    images
}
