//! Small archives in the shape of CIFAR-10's, honest and otherwise.
#![allow(dead_code)] // each test file uses its own part of this one

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

/// An entry of an archive: its path as it stands there, its kind, the length it claims, and its bytes.
#[derive(Clone)]
pub struct Entry {
    pub path: String,
    pub kind: EntryType,
    pub claims: u64,
    pub bytes: Vec<u8>,
}

impl Entry {
    pub fn file(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), kind: EntryType::Regular, claims: bytes.len() as u64, bytes }
    }

    pub fn folder(path: &str) -> Self {
        Self { kind: EntryType::Directory, ..Self::file(path, Vec::new()) }
    }

    /// Its name within CIFAR-10's folder.
    #[allow(dead_code)] // not every test asks
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

pub const CIFAR10: &str = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

/// All the files, with three records each, in the order of the official archive.
pub fn entries() -> Vec<Entry> {
    let record = |label: u8, seed: u8| (0..3072).map(move |at: u32| (at as u8) ^ seed).fold(vec![label], push);
    let batch = |seed: u8| (0..3).flat_map(|label| record(label, seed.wrapping_mul(17) ^ label)).collect();
    let file = |name: &str, bytes: Vec<u8>| Entry::file(&format!("cifar-10-batches-bin/{name}"), bytes);
    vec![
        Entry::folder("cifar-10-batches-bin/"),
        file("data_batch_1.bin", batch(1)),
        file("batches.meta.txt", CIFAR10.into()),
        file("data_batch_3.bin", batch(3)),
        file("data_batch_4.bin", batch(4)),
        file("test_batch.bin", batch(6)),
        file("readme.html", b"<html></html>".to_vec()),
        file("data_batch_5.bin", batch(5)),
        file("data_batch_2.bin", batch(2)),
    ]
}

fn push(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

/// The tar file; paths are written as they are, the way an attacker would.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_size(entry.claims);
        header.set_mode(0o644);
        if entry.kind.is_symlink() || entry.kind.is_hard_link() {
            header.set_link_name_literal("/etc/passwd").unwrap();
        }
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&entry.bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// As [`gzip`], without compression: quicker to make.
#[allow(dead_code)] // not every test asks
pub fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
