//! Whether two training runs left the same.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What may differ between equal runs: how long they took, and what memory they had by then.
const MACHINE: [&str; 5] = ["seconds", "images_per_second", "gpu_bytes", "peak_gpu_bytes", "memory"];

/// A run's files as they must be whatever happened on the way.
fn outcome(out: &Path) -> Vec<(String, Vec<u8>)> {
    let timeless = |text: &str| {
        let mut value: Value = serde_json::from_str(text).unwrap();
        value.as_object_mut().unwrap().retain(|key, _| !MACHINE.contains(&key.as_str()));
        value.to_string()
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap() != ".shadegrad.lock");
    paths.sort();
    let file = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let bytes = match name.as_str() {
            "metrics.jsonl" => std::str::from_utf8(&bytes).unwrap().lines().map(timeless).collect::<String>().into(),
            "result.json" => timeless(std::str::from_utf8(&bytes).unwrap()).into(),
            _ => bytes,
        };
        (name, bytes)
    };
    paths.into_iter().map(file).collect()
}

pub fn assert_same(found: &Path, wanted: &Path, what: &str) {
    let (found, wanted) = (outcome(found), outcome(wanted));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted), "{what}");
    for ((name, found), (_, wanted)) in found.iter().zip(&wanted) {
        assert!(found == wanted, "{what}: {name} is not that of a run that was never interrupted");
    }
}
