//! The program from outside.
#![allow(dead_code)] // each test file uses its own part of this one

use std::path::PathBuf;
use std::process::{Command, Output};

/// Where the program finds what it keeps of adapters (and Mesa its compiled kernels): not where the person who runs the
/// tests keeps theirs. Nothing writes a verdict or a tuner's choices there.
pub fn cache() -> PathBuf {
    std::env::temp_dir().join("shadegrad-tests-cache")
}

/// The program, with a cache that is nobody's.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadegrad"));
    command.env("XDG_CACHE_HOME", cache());
    command
}

pub fn shadegrad(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command that must succeed; its standard output.
pub fn succeed(arguments: &[&str]) -> String {
    let output = shadegrad(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that must fail with one line that has all the `parts`.
pub fn refused(arguments: &[&str], parts: &[&str]) {
    let output = shadegrad(arguments);
    let stderr = text(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} must fail");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("warning: this is a software")).collect();
    assert_eq!(errors.len(), 1, "one line: {stderr}");
    assert!(errors[0].starts_with("error: "), "{stderr}");
    for part in parts {
        assert!(errors[0].contains(part), "'{part}' is missing in: {stderr}");
    }
}
