//! The download of other sets than CIFAR-10, against servers on this machine: what of them is kept, and what is refused.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/server.rs"]
mod server;
#[path = "common/tarball.rs"]
mod tarball;

use std::fs;
use std::path::Path;
use std::time::Duration;

use folder::{TempFolder, listing};
use md5::{Digest, Md5};
use server::{Server, good_server};
use shadegrad::data;
use shadegrad::data::download::{self, CIFAR100, DownloadError, SVHN, Set, Source};
use tarball::{Entry, gzip, tar};

const PATIENCE: Duration = Duration::from_millis(300);

/// A set's file as a server on this machine has it.
fn source(set: &'static Set, file: &[u8], server: &Server) -> Source {
    let md5 = Md5::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
    Source { set, url: server.address.clone(), bytes: file.len() as u64, md5 }
}

#[test]
fn the_test_pictures_of_cifar100_come_out_of_its_archive() {
    let temp = TempFolder::new("download-cifar100");
    let record = |fine: u8| [&[fine / 5, fine][..], &[fine; 3072]].concat();
    let inside = |name: &str, bytes: Vec<u8>| Entry::file(&format!("cifar-100-binary/{name}"), bytes);
    let all = || {
        vec![
            Entry::folder("cifar-100-binary/"),
            inside("train.bin", record(3)),
            inside("fine_label_names.txt", b"apple\n".to_vec()),
            inside("test.bin", [record(7), record(99)].concat()),
        ]
    };
    let fetch = |entries: &[Entry], folder: &Path| {
        let archive = gzip(&tar(entries));
        let server = good_server(&archive);
        download::download(&source(&CIFAR100, &archive, &server), folder, PATIENCE, &mut |_| {})
    };
    let folder = temp.path().join("good");
    fetch(&all(), &folder).unwrap();
    assert_eq!(listing(&folder), ["test.bin"], "what is not used takes no room");
    let images = data::outliers(folder.to_str().unwrap(), 9).unwrap();
    assert_eq!((images.labels, images.bytes[3072]), (vec![7, 99], 99));

    type Change = fn(&mut Vec<Entry>);
    let cases: [(Change, &str); 5] = [
        (|all| drop(all.remove(3)), "'test.bin' is missing"),
        (|all| all[3].claims = 30_740_001, "more than the 30740000"),
        (|all| all[1].claims = 153_700_001, "none of the data set's files"),
        (|all| all[2].bytes = vec![0; 1 << 17], "none of the data set's files"),
        (|all| all[2].path = "cifar-100-binary/deeper/x".to_owned(), "none of the data set's files"),
    ];
    for (change, words) in cases {
        let (mut entries, folder) = (all(), temp.path().join("bad"));
        change(&mut entries);
        entries[2].claims = entries[2].bytes.len() as u64;
        let text = fetch(&entries, &folder).unwrap_err().to_string();
        assert!(text.contains(words) && !text.contains('\n'), "{text}");
        assert!(!folder.exists(), "{words}");
    }
}

#[test]
fn a_set_of_one_file_is_kept_as_it_is() {
    let temp = TempFolder::new("download-svhn");
    let (file, folder) = ((0..200_000u32).map(|at| (at % 251) as u8).collect::<Vec<_>>(), temp.path().join("svhn"));
    // Broken off once, it goes on.
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("test_32x32.mat.part"), &file[..150_000]).unwrap();
    let server = good_server(&file);
    download::download(&source(&SVHN, &file, &server), &folder, PATIENCE, &mut |_| {}).unwrap();
    assert_eq!(server.asked()[0].1, Some(150_000));
    assert_eq!(listing(&folder), ["test_32x32.mat"]);
    assert!(fs::read(folder.join("test_32x32.mat")).unwrap() == file);
    // Another file of that length is none.
    let (other, folder) = (vec![1; file.len()], temp.path().join("other"));
    let server = good_server(&other);
    let outcome = download::download(&source(&SVHN, &file, &server), &folder, PATIENCE, &mut |_| {});
    assert!(matches!(outcome, Err(DownloadError::Checksum { .. })), "{outcome:?}");
    assert!(!folder.exists());
}
