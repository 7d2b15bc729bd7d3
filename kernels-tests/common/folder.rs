//! A folder for one test's files, removed when the test ends, whichever way it ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct TempFolder(PathBuf);

impl TempFolder {
    /// A fresh folder; `name` is for whoever looks at a machine in the middle of a test.
    pub fn new(name: &str) -> Self {
        // Tests of one file share a process, and test files run side by side.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("shadegrad-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // A test that failed has more to say than that its folder is still there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The names of what lies in a folder.
#[allow(dead_code)] // not every test asks
pub fn listing(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
