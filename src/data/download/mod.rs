//! Fetches a data set's official file, goes on where an earlier attempt stopped, checks and unpacks it.
//!
//! The file grows as a `.part` file inside the wanted folder. Only when it has the published length and MD5 is it
//! unpacked, beside the files' places, and only when all of them are whole do they get their names.

mod archive;
mod fetch;
mod sets;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::base_strategy::{self, BaseStrategy};
use md5::{Digest, Md5};

use crate::files::{self, FileError};

pub use archive::walk;
pub use sets::{CIFAR10, CIFAR10_FILES, CIFAR100, Contents, Layout, SVHN, Set};

/// How long a server may keep silent.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where a set's file is, and how to know it.
#[derive(Clone, Debug)]
pub struct Source {
    pub set: &'static Set,
    pub url: String,
    pub bytes: u64,
    /// As hexadecimal digits, the way it is published.
    pub md5: String,
}

impl Source {
    /// Its authors' own.
    pub fn of(set: &'static Set) -> Self {
        Self { set, url: set.url.to_owned(), bytes: set.bytes, md5: set.md5.to_owned() }
    }
}

/// What can go wrong on the way from a server to a folder.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot write {}: {reason} (make room, or choose another place with --to)", .path.display())]
    Write { path: PathBuf, reason: String },
    #[error("{} is being filled by another download; wait for it, or choose another place with --to", .folder.display())]
    Busy { folder: PathBuf },
    #[error("'{url}' is no address to download from: {reason} (it begins with http:// or https://)")]
    Address { url: String, reason: String },
    #[error("no answer from {url}: {reason}; check the connection, or name a mirror with --url")]
    NoAnswer { url: String, reason: String },
    #[error("{url} answers with status {status} ({meaning}); name a mirror with --url")]
    Status { url: String, status: u16, meaning: &'static str },
    #[error("{url} sends on to other addresses more than {limit} times; name a mirror with --url")]
    Redirects { url: String, limit: u32 },
    #[error(
        "{url} fell silent for {seconds} s after {received} of {total} bytes; the same command again goes on from there"
    )]
    Stalled { url: String, seconds: f64, received: u64, total: u64 },
    #[error(
        "the connection to {url} broke after {received} of {total} bytes ({reason}); the same command again goes on \
         from there"
    )]
    Broken { url: String, reason: String, received: u64, total: u64 },
    #[error(
        "{url} offers a file of {found} bytes, but the official one has {wanted}: name another \
         mirror with --url"
    )]
    Length { url: String, found: u64, wanted: u64 },
    #[error(
        "checksum differs: what came from {url} has the MD5 {found}, but the official file has {wanted}; it was removed: \
         try again, or name another mirror with --url"
    )]
    Checksum { url: String, found: String, wanted: String },
    #[error("the archive is not the data set's: {problem}; nothing was unpacked: name another mirror with --url")]
    Archive { problem: String },
}

/// What a download is doing, for whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are here, those of earlier attempts among them.
    Received(u64),
    Checking,
    Unpacking,
}

/// The folder where a set's download lives: `shadegrad/cifar-10-batches-bin` in the user's data folder, and so on. There is
/// none for a user without a home.
pub fn folder(set: &Set) -> Option<PathBuf> {
    let places = base_strategy::choose_native_strategy().ok()?;
    // Windows copies its roaming data folder over the network at every login, so the local one is better.
    let data = if cfg!(windows) { places.cache_dir() } else { places.data_dir() };
    Some(data.join("shadegrad").join(set.folder))
}

fn write_error(path: &Path) -> impl Fn(io::Error) -> DownloadError {
    move |error| DownloadError::Write { path: path.to_owned(), reason: files::reason(&error) }
}

/// Fetches and checks a set's file, and unpacks it into `folder`; `patience` is how long a server may keep silent.
pub fn download(
    source: &Source,
    folder: &Path,
    patience: Duration,
    watch: &mut dyn FnMut(Progress),
) -> Result<(), DownloadError> {
    let agent = fetch::agent(source, patience)?;
    let fresh = !folder.exists();
    fs::create_dir_all(folder).map_err(write_error(folder))?;
    let mut part = Part::open(folder, source.set)?;
    let outcome = fetch::fetch(&agent, source, &mut part, patience, watch)
        .and_then(|()| check(source, &mut part, watch))
        .and_then(|()| place(folder, source.set, &mut part, watch));
    if outcome.is_ok() || part.worthless {
        part.remove()?;
    }
    if outcome.is_err() && fresh {
        // Goes only if nothing came to lie in it.
        let _ = fs::remove_dir(folder);
    }
    outcome
}

/// The file as far as it is here. The file is locked while it is open, and everything goes through this one handle.
struct Part {
    file: File,
    path: PathBuf,
    /// There is nothing here to go on from.
    worthless: bool,
}

impl Drop for Part {
    /// As [`crate::lock::FolderLock`] does, and for its reason.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Part {
    fn open(folder: &Path, set: &Set) -> Result<Self, DownloadError> {
        let path = folder.join(format!("{}.part", set.file));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(write_error(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DownloadError::Busy { folder: folder.to_owned() }),
            // Some network file systems know no locks; the download works without.
            Err(TryLockError::Error(_)) => {}
        }
        let worthless = file.metadata().map_err(write_error(&path))?.len() == 0;
        Ok(Self { file, path, worthless })
    }

    fn length(&self) -> Result<u64, DownloadError> {
        Ok(self.file.metadata().map_err(write_error(&self.path))?.len())
    }

    /// From its beginning.
    fn reader(&mut self) -> Result<&mut File, DownloadError> {
        self.file.rewind().map_err(|error| self.unreadable(&error))?;
        Ok(&mut self.file)
    }

    fn unreadable(&self, error: &io::Error) -> DownloadError {
        FileError::Read { path: self.path.clone(), reason: files::reason(error) }.into()
    }

    fn remove(&self) -> Result<(), DownloadError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(&self.path)(error)),
            _ => Ok(()),
        }
    }
}

/// Compares the file's MD5 with the published one.
fn check(source: &Source, part: &mut Part, watch: &mut dyn FnMut(Progress)) -> Result<(), DownloadError> {
    watch(Progress::Checking);
    let mut hasher = Md5::new();
    let mut chunk = vec![0; 1 << 16];
    part.reader()?;
    loop {
        match part.file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => hasher.update(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(part.unreadable(&error)),
        }
    }
    let found = files::hexadecimal(&hasher.finalize());
    if found.eq_ignore_ascii_case(&source.md5) {
        return Ok(());
    }
    part.worthless = true;
    Err(DownloadError::Checksum { url: source.url.clone(), found, wanted: source.md5.clone() })
}

/// Unpacks the file beside the files' places, and gives them their names when all are whole.
fn place(folder: &Path, set: &Set, part: &mut Part, watch: &mut dyn FnMut(Progress)) -> Result<(), DownloadError> {
    watch(Progress::Unpacking);
    let beside = folder.join(format!(".{}.unpacking", set.file));
    let outcome = archive::unpack(part.reader()?, set, &beside).and_then(|names| {
        for name in names {
            let place = folder.join(name);
            fs::rename(beside.join(name), &place).map_err(write_error(&place))?;
        }
        Ok(())
    });
    // What is left there is worthless either way; that it may not be removable changes nothing.
    let _ = fs::remove_dir_all(&beside);
    // An archive that cannot be unpacked is no better the next time; one that only found no room is kept.
    part.worthless = matches!(outcome, Err(DownloadError::Archive { .. }));
    outcome
}
