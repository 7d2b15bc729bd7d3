//! One process at a time in an output folder: two runs that write the same names would leave a mixture of both.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::files::{self, FileError};

/// The file that carries the lock. It stays: removing it would let a third process lock a file that a second one
/// still waits for.
const NAME: &str = ".shadegrad.lock";

/// A folder that belongs to this process until this is dropped. The operating system holds the lock, so a process that
/// dies, however it dies, leaves none behind.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Makes the folder, checks that files can be made in it, and takes it; refuses at once if another process has it.
    pub fn take(folder: &Path) -> Result<Self, FileError> {
        files::prepare_folder(folder)?;
        let path = folder.join(NAME);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(|error| files::write_error(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Windows does not let a locked file be read; then the number is not known.
                let mut holder = String::new();
                let known = Read::by_ref(&mut file).take(20).read_to_string(&mut holder).is_ok() && !holder.is_empty();
                let holder = if known { format!(" (process {})", holder.trim()) } else { String::new() };
                return Err(FileError::Busy { path: folder.to_owned(), holder });
            }
            // Some network file systems have no locks. Better to work there without than not at all.
            Err(TryLockError::Error(_)) => {}
        }
        // For the message above only, so a disk that is too full for it is no reason to stop here.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { file })
    }
}

impl Drop for FolderLock {
    /// Closing the file is not enough: a process that another thread is just starting has it open, too, until it becomes its
    /// own program.
    fn drop(&mut self) {
        // Where there was no lock to take, there is none to give back.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_again_whoever_still_has_its_file_open() {
        let folder = std::env::temp_dir().join(format!("shadegrad-lock-free-{}", std::process::id()));
        let lock = FolderLock::take(&folder).unwrap();
        // As a process does between its start and its program.
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(FolderLock::take(&folder), Err(FileError::Busy { .. })));
        drop(lock);
        FolderLock::take(&folder).unwrap();
        drop(copy);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
