//! What is known of an adapter from one run to the next: files in the user's cache folder, one for each kind of knowledge
//! and each adapter, driver and set of kernels. Whoever deletes them loses nothing that cannot be found again.

use std::path::{Path, PathBuf};

use etcetera::base_strategy::{self, BaseStrategy};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{self, FileError};
use crate::gpu::AdapterSummary;
use crate::ops::sources::SOURCES;

/// A kept file is small; a larger one is not ours.
const LIMIT: u64 = 1 << 20;

/// A kept file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is damaged: {problem} (delete it, or run 'shadegrad {command}' again)", .path.display())]
    Damaged { path: PathBuf, problem: String, command: &'static str },
}

/// Where this is kept: `shadegrad` in the user's cache folder. There is none for a user without a home.
pub fn folder() -> Option<PathBuf> {
    Some(base_strategy::choose_native_strategy().ok()?.cache_dir().join("shadegrad"))
}

/// The kernels that this program was built with, and its version: what was found for others counts no longer.
pub fn kernels() -> String {
    let texts = SOURCES.iter().flat_map(|source| [source.name.as_bytes(), source.text.as_bytes()]);
    files::fingerprint([env!("CARGO_PKG_VERSION").as_bytes()].into_iter().chain(texts))
}

/// The file for an adapter, under its driver and these kernels.
pub fn place(folder: &Path, kind: &str, adapter: &AdapterSummary) -> PathBuf {
    let kernels = kernels();
    let parts = [&adapter.name, &adapter.backend, &adapter.driver, &kernels];
    // A separator that no name has, so that no two adapters look like one.
    let key = files::fingerprint(parts.into_iter().flat_map(|part| [part.as_bytes(), b"\n"]));
    folder.join(format!("{kind}-{key}.json"))
}

/// Writes what was found.
pub fn keep(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let failed = |reason: String| FileError::Write { path: path.to_owned(), reason };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| files::write_error(folder, &error))?;
    }
    let text = serde_json::to_string_pretty(value).map_err(|error| failed(error.to_string()))?;
    files::write(path, text.as_bytes())
}

/// Reads it again, if there is something; `command` makes it anew.
pub fn recall<T: DeserializeOwned>(path: &Path, command: &'static str) -> Result<Option<T>, KeptError> {
    if !path.exists() {
        return Ok(None);
    }
    from_bytes(path, &files::read(path, LIMIT)?, command).map(Some)
}

/// The same for a file's contents; `path` is for messages.
pub fn from_bytes<T: DeserializeOwned>(path: &Path, bytes: &[u8], command: &'static str) -> Result<T, KeptError> {
    serde_json::from_slice(bytes).map_err(|error| KeptError::Damaged {
        path: path.to_owned(),
        problem: files::one_line(&error.to_string()),
        command,
    })
}
