//! Unpacks a set's `tar.gz` and nothing else: known names, bounded sizes, plain files only. No path of the archive is ever
//! used as a path here.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use crate::files;

use super::sets::{Contents, Layout, MAX_TEXT, Set};
use super::{DownloadError, write_error};

/// Many more than any of the archives has.
const MAX_ENTRIES: usize = 64;

/// All that may come out of the compressed stream.
fn most(layout: &Layout) -> u64 {
    let files = layout.kept.iter().chain(layout.passed_over);
    files.map(|(_, bytes)| bytes).sum::<u64>() + (1 << 20)
}

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

/// Reads an archive and gives each of the data set's files to `take`, by its name in the layout; `take` reads it and says how
/// many bytes there were. The first oddity ends the walk. Says which names came.
pub fn walk(
    archive: impl Read,
    layout: &Layout,
    take: &mut dyn FnMut(&'static str, &mut dyn Read) -> Result<u64, DownloadError>,
) -> Result<Vec<&'static str>, DownloadError> {
    let mut found = Vec::new();
    let mut archive = Archive::new(GzDecoder::new(archive).take(most(layout)));
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
        let inside = bare.strip_prefix(layout.folder.as_bytes());
        if kind == EntryType::Directory && size == 0 && (inside == Some(b"") || inside == Some(b"/")) {
            continue;
        }
        if kind != EntryType::Regular {
            return odd("is neither a plain file nor the one known folder");
        }
        let Some(name) = inside.and_then(|name| name.strip_prefix(b"/")) else {
            return odd("lies outside the one known folder");
        };
        let known = |files: &[(&'static str, u64)]| files.iter().find(|(known, _)| known.as_bytes() == name).copied();
        let Some((name, limit)) = known(layout.kept) else {
            match known(layout.passed_over) {
                Some((_, limit)) if size <= limit => continue,
                None if layout.passes_over_others && size <= MAX_TEXT && !name.contains(&b'/') => continue,
                _ => return odd("is none of the data set's files"),
            }
        };
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
    match layout.kept.iter().find(|(name, _)| !found.contains(name)) {
        Some((missing, _)) => Err(problem(format!("'{missing}' is missing"))),
        None => Ok(found),
    }
}

/// Writes what is kept of a set's file into a fresh folder; says the names.
pub(super) fn unpack(file: impl Read, set: &Set, into: &Path) -> Result<Vec<&'static str>, DownloadError> {
    // An earlier run may have been stopped here.
    if into.exists() {
        fs::remove_dir_all(into).map_err(write_error(into))?;
    }
    fs::create_dir(into).map_err(write_error(into))?;
    let mut keep = |name: &'static str, contents: &mut dyn Read| copy(contents, &into.join(name));
    match &set.contents {
        Contents::Archive(layout) => walk(BufReader::new(file), layout, &mut keep),
        Contents::Plain => keep(set.file, &mut BufReader::new(file)).map(|_| vec![set.file]),
    }
}

/// Copies to a new file; says how many bytes there were.
fn copy(contents: &mut dyn Read, path: &Path) -> Result<u64, DownloadError> {
    let mut file = File::create_new(path).map_err(write_error(path))?;
    let (mut written, mut chunk) = (0, vec![0; 1 << 16]);
    // By hand, because a fault of the archive and a fault of the disk are told apart.
    loop {
        match contents.read(&mut chunk) {
            Ok(0) => return file.sync_all().map(|()| written).map_err(write_error(path)),
            Ok(count) => {
                file.write_all(&chunk[..count]).map_err(write_error(path))?;
                written += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&error)),
        }
    }
}
