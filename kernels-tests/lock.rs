//! An output folder belongs to one process at a time, and to nobody once that process is dead.

#[path = "common/folder.rs"]
mod folder;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use folder::TempFolder;
use shadegrad::files::FileError;
use shadegrad::lock::FolderLock;

/// What the second process is told: the folder that it should hold until it is killed.
const HOLD: &str = "SHADEGRAD_TEST_HOLD";

/// Not a test of its own: the second process of the tests below.
#[test]
fn hold() {
    let Some(folder) = std::env::var_os(HOLD) else { return };
    let _lock = FolderLock::take(Path::new(&folder)).unwrap();
    println!("holding");
    loop {
        std::thread::park();
    }
}

/// Another process that has the folder.
fn other(folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["hold", "--exact", "--nocapture", "--test-threads=1"])
        .env(HOLD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("holding")), "the second process ended");
    child
}

#[test]
fn a_folder_has_one_holder_at_a_time() {
    let temp = TempFolder::new("lock");
    let folder = temp.path().join("made").join("on the way");
    let first = FolderLock::take(&folder).unwrap();
    let text = FolderLock::take(&folder).unwrap_err().to_string();
    for part in [&folder.display().to_string(), "another run", "--out"] {
        assert!(text.contains(part) && !text.contains('\n'), "{text}");
    }
    // Another folder is free.
    FolderLock::take(temp.path()).unwrap();
    drop(first);
    FolderLock::take(&folder).unwrap();
}

#[test]
fn the_lock_of_a_dead_process_holds_nobody_up() {
    let temp = TempFolder::new("lock");
    let mut child = other(temp.path());
    let outcome = FolderLock::take(temp.path());
    let text = outcome.unwrap_err().to_string();
    if cfg!(unix) {
        assert!(text.contains(&format!("process {}", child.id())), "{text}");
    }
    // No chance to tidy up.
    child.kill().unwrap();
    child.wait().unwrap();
    let _lock = FolderLock::take(temp.path()).unwrap();
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".shadegrad.lock"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_no_busy_one() {
    let temp = TempFolder::new("lock");
    let file = temp.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(FolderLock::take(&file.join("in")), Err(FileError::Write { .. })));
    // Nor is one whose lock's place is taken by something else.
    fs::create_dir(temp.path().join(".shadegrad.lock")).unwrap();
    assert!(matches!(FolderLock::take(temp.path()), Err(FileError::Write { .. })));
}
