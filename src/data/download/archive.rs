//! Unpacks CIFAR-10's `tar.gz` and nothing else: known names, bounded sizes, plain files only. No path of the
//! archive is ever used as a path here.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use crate::files;

use super::{DownloadError, write_error};

/// The files that make the data set.
pub const NAMES: [&str; 7] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
    "batches.meta.txt",
];

/// Nothing here needs the page that lies beside them; it is passed over.
const README: &str = "readme.html";

/// The folder that all of them lie in.
const FOLDER: &str = "cifar-10-batches-bin";

/// A batch has 10,000 records of 3,073 bytes.
const MAX_BATCH: u64 = 30_730_000;
const MAX_TEXT: u64 = 1 << 16;

/// Many more than the archive has (nine).
const MAX_ENTRIES: usize = 64;

/// All that may come out of the compressed stream.
const MAX_TOTAL: u64 = 6 * MAX_BATCH + (1 << 20);

fn problem(problem: String) -> DownloadError {
    DownloadError::Archive { problem }
}

fn unreadable(error: &io::Error) -> DownloadError {
    problem(format!("it cannot be read ({})", files::one_line(&files::reason(error))))
}

/// A name of the archive for a message: it may be anything.
fn shown(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name).chars().take(100).collect();
    text.escape_debug().to_string()
}

/// Reads an archive and gives each of the data set's files to `take`, by its name of [`NAMES`]; `take` reads it and
/// says how many bytes there were. The first oddity ends the walk. Says which names came.
pub fn walk(
    archive: impl Read,
    take: &mut dyn FnMut(&'static str, &mut dyn Read) -> Result<u64, DownloadError>,
) -> Result<Vec<&'static str>, DownloadError> {
    let mut found = Vec::new();
    let mut archive = Archive::new(GzDecoder::new(archive).take(MAX_TOTAL));
    // Raw: entries that only rename or resize the next one come as what they are, unread.
    let entries = archive.entries().map_err(|error| unreadable(&error))?.raw(true);
    for (number, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        if number >= MAX_ENTRIES {
            return Err(problem(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let (kind, size, path) = (entry.header().entry_type(), entry.size(), entry.path_bytes().into_owned());
        // Comments of some tar programs; they may not say anything about the files here.
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) && size <= MAX_TEXT {
            continue;
        }
        let odd = |what: &str| Err(problem(format!("its entry '{}' {what}", shown(&path))));
        let bare = path.strip_prefix(b"./").unwrap_or(&path);
        let inside = bare.strip_prefix(FOLDER.as_bytes());
        if kind == EntryType::Directory && size == 0 && (inside == Some(b"") || inside == Some(b"/")) {
            continue;
        }
        if kind != EntryType::Regular {
            return odd("is neither a plain file nor the one known folder");
        }
        let Some(name) = inside.and_then(|name| name.strip_prefix(b"/")) else {
            return odd("lies outside the one known folder");
        };
        if name == README.as_bytes() && size <= MAX_TEXT {
            continue;
        }
        let Some(name) = NAMES.into_iter().find(|known| known.as_bytes() == name) else {
            return odd("is none of the data set's files");
        };
        let limit = if name.ends_with(".bin") { MAX_BATCH } else { MAX_TEXT };
        if size > limit {
            return odd(&format!("has {size} bytes, more than the {limit} that it may have"));
        }
        if found.contains(&name) {
            return odd("comes twice");
        }
        if take(name, &mut entry)? != size {
            return odd("is cut off");
        }
        found.push(name);
    }
    match NAMES.into_iter().find(|name| !found.contains(name)) {
        Some(missing) => Err(problem(format!("'{missing}' is missing"))),
        None => Ok(found),
    }
}

/// Unpacks an archive's files into a fresh folder; says their names.
pub(super) fn unpack(archive: impl Read, into: &Path) -> Result<Vec<&'static str>, DownloadError> {
    // An earlier run may have been stopped here.
    if into.exists() {
        fs::remove_dir_all(into).map_err(write_error(into))?;
    }
    fs::create_dir(into).map_err(write_error(into))?;
    let mut chunk = vec![0; 1 << 16];
    walk(BufReader::new(archive), &mut |name, contents| {
        let path = into.join(name);
        let mut file = File::create_new(&path).map_err(write_error(&path))?;
        let mut written = 0;
        // By hand, because a fault of the archive and a fault of the disk are told apart.
        loop {
            match contents.read(&mut chunk) {
                Ok(0) => return file.sync_all().map(|()| written).map_err(write_error(&path)),
                Ok(count) => {
                    file.write_all(&chunk[..count]).map_err(write_error(&path))?;
                    written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
    })
}
