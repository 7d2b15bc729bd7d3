//! Files are written beside their place and renamed, so that nobody ever reads half of one.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

/// A file or folder that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot write {}: {reason} (choose another place, or make this one writable)", .path.display())]
    Write { path: PathBuf, reason: String },
    #[error("cannot read {}: {reason}", .path.display())]
    Read { path: PathBuf, reason: String },
    #[error(
        "another run of shadegrad{holder} is writing to {}: wait for it, or choose another folder with --out", .path.display()
    )]
    Busy { path: PathBuf, holder: String },
}

/// What an operating system error says, without its number.
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        io::ErrorKind::NotADirectory => "a part of the path is not a folder".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().to_owned(),
    }
}

/// What a library says about bad input, fit for one line: it may quote the input, line ends and all.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let shown: String = words.join(" ").chars().take(300).map(|c| if c.is_control() { '?' } else { c }).collect();
    if shown.is_empty() { "no reason is given".to_owned() } else { shown }
}

pub(crate) fn write_error(path: &Path, error: &io::Error) -> FileError {
    FileError::Write { path: path.to_owned(), reason: reason(error) }
}

/// A path with more at its name's end.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(more);
    path.with_file_name(name)
}

/// Writes a file and makes sure that it has reached the disk: some file systems rename first and write later.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What no other process has, on this machine or on another: containers that share a folder share their numbers, too.
fn unique() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

/// Writes a file that nobody has written yet, whole. Of processes that try at once one does: each reads afterwards whose
/// it is.
pub fn write_first(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    if path.exists() {
        return Ok(());
    }
    let part = beside(path, &format!(".{}.part", unique()));
    let place = || match fs::hard_link(&part, path) {
        Ok(()) => Ok(()),
        Err(_) if path.exists() => Ok(()),
        // Not every file system has links. There the last of several at once wins.
        Err(_) => fs::rename(&part, path),
    };
    let outcome = write_synced(&part, bytes).and_then(|()| place());
    // Worthless from here on, whatever came of it.
    let _ = fs::remove_file(&part);
    outcome.map_err(|error| write_error(path, &error))
}

/// Writes a whole file, or leaves what was there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let beside = beside(path, ".part");
    write_synced(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(|error| {
        // The part is worthless; that it may not be removable either changes nothing.
        let _ = fs::remove_file(&beside);
        write_error(path, &error)
    })
}

/// MD5 of the parts, one after the other: tells contents apart, and is no guard against forgers.
pub fn fingerprint<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> String {
    let mut digest = Md5::new();
    parts.into_iter().for_each(|part| digest.update(part));
    hexadecimal(&digest.finalize())
}

/// Bytes as people compare them.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a folder for results and checks that files can be made in it.
pub fn prepare_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|error| write_error(path, &error))?;
    // Of this process alone: two that try one folder at once must not remove each other's.
    let probe = path.join(format!(".shadegrad-probe-{}", unique()));
    fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(|error| write_error(path, &error))
}

/// Reads a whole file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |reason: String| FileError::Read { path: path.to_owned(), reason };
    let too_large =
        |size: &str| failed(format!("it has {size} bytes, more than the {limit} that are sensible for such a file"));
    let metadata = fs::metadata(path).map_err(|error| failed(reason(&error)))?;
    if metadata.is_dir() {
        return Err(failed("it is a folder".to_owned()));
    }
    // A device or a pipe may never end, and says nothing of its length.
    if !metadata.is_file() {
        return Err(failed("it is not a plain file".to_owned()));
    }
    let size = metadata.len();
    if size > limit {
        return Err(too_large(&size.to_string()));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // It may grow while it is read, and some files of the system say that they are empty.
    let file = fs::File::open(path).map_err(|error| failed(reason(&error)))?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| failed(reason(&error)))?;
    if bytes.len() as u64 > limit { Err(too_large(&format!("over {limit}"))) } else { Ok(bytes) }
}
