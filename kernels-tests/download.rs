//! The download of CIFAR-10 against servers and archives of every kind, on this machine; and the check of a folder.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/server.rs"]
mod server;
#[path = "common/tarball.rs"]
mod tarball;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use folder::{TempFolder, listing};
use md5::{Digest, Md5};
use server::{Server, good_server, keep_silent, reply, serve};
use shadegrad::data::download::{self, CIFAR10, DownloadError, Progress, Source};
use shadegrad::data::{self, verify};
use tar::EntryType;
use tarball::{Entry, entries, gzip, tar};

const PATIENCE: Duration = Duration::from_millis(300);
const PART: &str = "cifar-10-binary.tar.gz.part";

/// An archive that a server has, and the folder that it should come to.
struct Case {
    temp: TempFolder,
    archive: Vec<u8>,
}

impl Case {
    fn new(entries: &[Entry]) -> Self {
        Self { temp: TempFolder::new("download"), archive: gzip(&tar(entries)) }
    }

    fn good() -> Self {
        Self::new(&entries())
    }

    fn folder(&self) -> PathBuf {
        self.temp.path().join("data").join("cifar")
    }

    fn part(&self) -> PathBuf {
        self.folder().join(PART)
    }

    /// Lets an earlier attempt have left these bytes.
    fn leave(&self, bytes: &[u8]) {
        fs::create_dir_all(self.folder()).unwrap();
        fs::write(self.part(), bytes).unwrap();
    }

    fn source(&self, server: &Server) -> Source {
        let md5 = Md5::digest(&self.archive).iter().map(|byte| format!("{byte:02X}")).collect();
        Source { set: &CIFAR10, url: format!("{}/archive", server.address), bytes: self.archive.len() as u64, md5 }
    }

    fn run(&self, server: &Server) -> Result<(), DownloadError> {
        download::download(&self.source(server), &self.folder(), PATIENCE, &mut |_| {})
    }

    /// What must hold after a success: these files, byte for byte, and no others.
    fn assert_whole(&self) {
        let wanted: Vec<Entry> =
            entries().into_iter().filter(|entry| download::CIFAR10_FILES.contains(&entry.name())).collect();
        for entry in &wanted {
            assert!(fs::read(self.folder().join(entry.name())).unwrap() == entry.bytes, "{}", entry.path);
        }
        assert_eq!(listing(&self.folder()).len(), wanted.len(), "{:?}", listing(&self.folder()));
        assert_eq!(data::open(self.folder().to_str().unwrap()).unwrap().train.count(), 15);
    }

    /// What must hold after a failure: one line with these words, and no file that looks finished.
    fn assert_refused(&self, outcome: Result<(), DownloadError>, words: &[&str]) {
        let text = outcome.unwrap_err().to_string();
        assert!(!text.contains('\n') && !text.contains("Error {") && !text.contains("os error"), "{text}");
        for word in words {
            assert!(text.contains(word), "no '{word}' in: {text}");
        }
        let left = listing(&self.folder());
        assert!(left.is_empty() || left == [PART], "{left:?} after: {text}");
        let outside = listing(self.temp.path());
        assert!(outside.is_empty() || outside == ["data"], "{outside:?}");
    }
}

#[test]
fn a_good_server_fills_the_folder_and_every_byte_is_seen() {
    let case = Case::good();
    let server = good_server(&case.archive);
    let mut seen = Vec::new();
    download::download(&case.source(&server), &case.folder(), PATIENCE, &mut |progress| seen.push(progress)).unwrap();
    case.assert_whole();
    assert_eq!(seen[0], Progress::Received(0));
    let end = [Progress::Received(case.archive.len() as u64), Progress::Checking, Progress::Unpacking];
    assert!(seen.ends_with(&end), "{seen:?}");
    assert_eq!(server.asked(), [("/archive".to_owned(), None)]);
    // Once more over what is there: the same again.
    fs::write(case.folder().join("data_batch_2.bin"), b"damaged").unwrap();
    case.run(&server).unwrap();
    case.assert_whole();
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let case = Case::good();
    let (file, half) = (case.archive.clone(), case.archive.len() / 2);
    let times = AtomicUsize::new(0);
    let server = Server::new(move |request, stream| match times.fetch_add(1, Ordering::Relaxed) {
        0 => reply(stream, "200 OK", &[], Some(file.len()), &file[..half]),
        _ => serve(stream, request, &file),
    });
    let outcome = case.run(&server);
    assert!(matches!(outcome, Err(DownloadError::Broken { received, .. }) if received == half as u64), "{outcome:?}");
    case.assert_refused(outcome, &["broke after", &half.to_string(), "goes on from there"]);
    assert!(fs::read(case.part()).unwrap() == case.archive[..half], "the half that came is kept");
    case.run(&server).unwrap();
    assert_eq!(server.asked()[1], ("/archive".to_owned(), Some(half)));
    case.assert_whole();
}

#[test]
fn a_server_without_ranges_starts_over() {
    let case = Case::good();
    case.leave(&[7; 100]);
    let file = case.archive.clone();
    let server = Server::new(move |_, stream| reply(stream, "200 OK", &[], Some(file.len()), &file));
    case.run(&server).unwrap();
    assert_eq!(server.asked(), [("/archive".to_owned(), Some(100))]);
    case.assert_whole();
}

#[test]
fn a_range_that_the_server_cannot_give_is_asked_for_no_more() {
    // 416; another range than the wanted one; no word about which range it is.
    let other = ["Content-Range: bytes 0-9/10".to_owned()];
    for (status, headers) in [("416 No", &[][..]), ("206 Partial Content", &other), ("206 Partial Content", &[])] {
        let case = Case::good();
        case.leave(&case.archive[..100]);
        let (file, headers) = (case.archive.clone(), headers.to_vec());
        let server = Server::new(move |request, stream| match request.from {
            Some(_) => reply(stream, status, &headers, Some(10), &[0; 10]),
            None => serve(stream, request, &file),
        });
        case.run(&server).unwrap();
        assert_eq!(server.asked().iter().map(|asked| asked.1).collect::<Vec<_>>(), [Some(100), None]);
        case.assert_whole();
    }
    // Nor does a server that never has anything to give keep us for ever.
    let case = Case::good();
    case.leave(&case.archive[..100]);
    let server = Server::new(move |_, stream| reply(stream, "416 No", &[], Some(0), b""));
    case.assert_refused(case.run(&server), &["status 416"]);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn what_is_whole_already_is_not_fetched_and_what_is_too_long_is_not_believed() {
    let case = Case::good();
    case.leave(&case.archive);
    let server = good_server(&case.archive);
    case.run(&server).unwrap();
    assert!(server.asked().is_empty());
    case.assert_whole();
    case.leave(&[&case.archive[..], b"more"].concat());
    case.run(&server).unwrap();
    assert_eq!(server.asked(), [("/archive".to_owned(), None)]);
    case.assert_whole();
}

#[test]
fn redirects_are_followed_but_not_in_circles() {
    let case = Case::good();
    case.leave(&case.archive[..50]);
    let file = case.archive.clone();
    let to = |stream: &mut _, place: &str| reply(stream, "302 Found", &[format!("Location: {place}")], Some(0), b"");
    let server = Server::new(move |request, stream| match request.path.as_str() {
        "/archive" => to(stream, "/moved/once"),
        "/moved/once" => to(stream, "/moved/twice"),
        _ => serve(stream, request, &file),
    });
    case.run(&server).unwrap();
    assert_eq!(server.asked()[2], ("/moved/twice".to_owned(), Some(50)), "the range travels along");
    case.assert_whole();

    let case = Case::good();
    let server = Server::new(move |_, stream| to(stream, "/archive"));
    let outcome = case.run(&server);
    assert!(matches!(outcome, Err(DownloadError::Redirects { .. })), "{outcome:?}");
    case.assert_refused(outcome, &["more than 5 times", "--url"]);
    assert!(server.asked().len() <= 6);

    // Nor to a place that is no web address.
    let server = Server::new(move |_, stream| to(stream, "file:///etc/passwd"));
    case.assert_refused(case.run(&server), &[&server.address]);
}

#[test]
fn a_silent_server_is_left() {
    let case = Case::good();
    let file = case.archive.clone();
    let begun = Instant::now();
    let server = Server::new(move |_, stream| {
        reply(stream, "200 OK", &[], Some(file.len()), &file[..200]);
        keep_silent(stream);
    });
    let outcome = case.run(&server);
    assert!(matches!(outcome, Err(DownloadError::Stalled { received: 200, .. })), "{outcome:?}");
    case.assert_refused(outcome, &["silent for 0.3 s after 200 of", "goes on from there"]);
    assert_eq!(fs::metadata(case.part()).unwrap().len(), 200);

    let case = Case::good();
    let server = Server::new(|_, stream| keep_silent(stream));
    case.assert_refused(case.run(&server), &["no answer from", "silent for 0.3 s"]);
    assert!(!case.folder().exists(), "nothing came, so nothing is left");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn wrong_bytes_are_removed() {
    let case = Case::good();
    let mut file = case.archive.clone();
    file[100] ^= 1;
    let outcome = case.run(&good_server(&file));
    assert!(matches!(outcome, Err(DownloadError::Checksum { .. })), "{outcome:?}");
    case.assert_refused(outcome, &["checksum differs", "removed", "--url"]);
    assert!(!case.part().exists());
    // Nor does a wrong beginning from an earlier attempt live for ever.
    case.leave(&[9; 100]);
    let server = good_server(&case.archive);
    case.assert_refused(case.run(&server), &["checksum differs"]);
    case.run(&server).unwrap();
    case.assert_whole();
}

#[test]
fn another_file_than_the_archive_is_not_fetched() {
    let case = Case::good();
    case.leave(&case.archive[..100]);
    let server = Server::new(|_, stream| reply(stream, "200 OK", &[], Some(12), b"<html></html"));
    let outcome = case.run(&server);
    assert!(matches!(outcome, Err(DownloadError::Length { found: 12, .. })), "{outcome:?}");
    case.assert_refused(outcome, &["12 bytes", "but the official one has"]);
    assert!(fs::read(case.part()).unwrap() == case.archive[..100], "what came before is kept");

    // Without an announced length the excess shows at the end, and an early end looks like a broken connection.
    let mut long = case.archive.clone();
    long.push(0);
    let server = Server::new(move |_, stream| reply(stream, "200 OK", &[], None, &long));
    let outcome = case.run(&server);
    assert!(matches!(outcome, Err(DownloadError::Length { .. })), "{outcome:?}");
    assert!(!case.part().exists());
    let short = case.archive[..50].to_vec();
    let server = Server::new(move |_, stream| reply(stream, "200 OK", &[], None, &short));
    let outcome = case.run(&server);
    assert!(matches!(outcome, Err(DownloadError::Broken { received: 50, .. })), "{outcome:?}");
}

#[test]
fn a_server_that_has_nothing_is_named() {
    for (status, words) in [
        ("404 Not Found", ["status 404", "not there"]),
        ("403 Forbidden", ["status 403", "not allowed"]),
        ("500 Internal Server Error", ["status 500", "the server itself"]),
        ("503 Busy", ["status 503", "try later"]),
        ("204 No Content", ["status 204", "cannot use"]),
    ] {
        let case = Case::good();
        let server = Server::new(move |_, stream| reply(stream, status, &[], Some(0), b""));
        let outcome = case.run(&server);
        assert!(matches!(outcome, Err(DownloadError::Status { .. })), "{outcome:?}");
        case.assert_refused(outcome, &[&server.address, words[0], words[1]]);
        assert!(!case.folder().exists());
    }
    // No server at all, no web server, and no address.
    let case = Case::good();
    let mut server = Server::new(|_, _| {});
    case.assert_refused(case.run(&server), &["no answer from"]);
    for (address, words) in [
        ("http://127.0.0.1:1", ["no answer from", "refused"]),
        ("ftp://127.0.0.1", ["no address", "'ftp'"]),
        ("cifar.example", ["no address", "http:// or https://"]),
        ("http://", ["no address", "http:// or https://"]),
        ("http://a b", ["no address", "http:// or https://"]),
    ] {
        server.address = address.to_owned();
        case.assert_refused(case.run(&server), &words);
        assert!(!case.folder().exists(), "{address}");
    }
}

#[test]
fn two_downloads_to_one_folder_do_not_mix() {
    let case = Case::good();
    let file = case.archive.clone();
    let server = Server::new(move |request, stream| serve(stream, request, &file));
    let mut second = None;
    download::download(&case.source(&server), &case.folder(), PATIENCE, &mut |_| {
        second.get_or_insert_with(|| case.run(&server));
    })
    .unwrap();
    assert!(matches!(second, Some(Err(DownloadError::Busy { .. }))), "{second:?}");
    case.assert_whole();
}

#[test]
fn an_archive_may_hold_nothing_but_the_data_set() {
    type Change = fn(&mut Vec<Entry>);
    let inside = |name: &str| format!("cifar-10-batches-bin/{name}");
    let cases: [(&str, Change, &[&str]); 16] = [
        ("a way out", |all| all.push(Entry::file("../evil", vec![1])), &["'../evil'", "outside"]),
        (
            "a way out from inside",
            |all| all.push(Entry::file("cifar-10-batches-bin/../../evil", vec![1])),
            &["'cifar-10-batches-bin/../../evil'", "none of the data set's files"],
        ),
        ("an absolute path", |all| all.insert(0, Entry::file("/tmp/evil", vec![1])), &["'/tmp/evil'", "outside"]),
        ("a known name elsewhere", |all| all[1].path = "data_batch_1.bin".into(), &["'data_batch_1.bin'", "outside"]),
        ("a symlink", |all| all[1].kind = EntryType::Symlink, &["data_batch_1.bin", "neither a plain file"]),
        ("a hard link", |all| all[3].kind = EntryType::Link, &["data_batch_3.bin", "neither a plain file"]),
        ("a device", |all| all[3].kind = EntryType::Char, &["data_batch_3.bin", "neither a plain file"]),
        ("a sparse file", |all| all[3].kind = EntryType::GNUSparse, &["data_batch_3.bin", "neither a plain file"]),
        ("a long name", |all| all[3].kind = EntryType::GNULongName, &["data_batch_3.bin", "neither a plain file"]),
        ("a folder", |all| all.push(Entry::folder("cifar-10-batches-bin/more/")), &["more/", "neither a plain file"]),
        ("too large", |all| all[1].claims = 30_730_001, &["data_batch_1.bin", "30730001 bytes", "more than the"]),
        ("a large list", |all| all[2].claims = 1 << 17, &["batches.meta.txt", "131072 bytes"]),
        ("cut off", |all| all[8].claims = 30_730_000, &["data_batch_2.bin", "cut off"]),
        (
            "unknown",
            |all| all.push(Entry::file("cifar-10-batches-bin/evil.sh", vec![1])),
            &["evil.sh", "none of the data set's files"],
        ),
        ("twice", |all| all.push(all[1].clone()), &["data_batch_1.bin", "comes twice"]),
        ("missing", |all| drop(all.remove(5)), &["'test_batch.bin' is missing"]),
    ];
    assert!(entries()[1].path == inside("data_batch_1.bin"));
    for (name, change, words) in cases {
        let mut all = entries();
        change(&mut all);
        let case = Case::new(&all);
        let outcome = case.run(&good_server(&case.archive));
        assert!(matches!(outcome, Err(DownloadError::Archive { .. })), "{name}: {outcome:?}");
        case.assert_refused(outcome, words);
        assert!(!case.part().exists(), "{name}: an archive that will never do is kept");
    }
}

#[test]
fn what_is_no_archive_is_refused_and_many_entries_are_too() {
    let many: Vec<Entry> = (0..100).map(|_| Entry::folder("cifar-10-batches-bin")).collect();
    let good = gzip(&tar(&entries()));
    for (archive, words) in [
        (b"this is text, not an archive".to_vec(), "cannot be read"),
        (gzip(b"compressed, but no tar file"), "cannot be read"),
        (good[..good.len() / 2].to_vec(), "c"),
        (gzip(&tar(&many)), "more than 64 entries"),
        (gzip(&[]), "is missing"),
    ] {
        let case = Case { archive, ..Case::good() };
        let outcome = case.run(&good_server(&case.archive));
        assert!(matches!(outcome, Err(DownloadError::Archive { .. })), "{outcome:?}");
        case.assert_refused(outcome, &["not the data set's", words]);
    }
}

#[test]
fn comments_and_other_spellings_of_the_folder_are_passed_over() {
    let mut all = entries();
    for entry in &mut all {
        entry.path = format!("./{}", entry.path);
    }
    all[0].path = "./cifar-10-batches-bin".to_owned();
    let comment = |kind| Entry { kind, ..Entry::file("pax", b"30 mtime=1.5\n".to_vec()) };
    all.insert(0, comment(EntryType::XGlobalHeader));
    all.insert(3, comment(EntryType::XHeader));
    let case = Case::new(&all);
    case.run(&good_server(&case.archive)).unwrap();
    case.assert_whole();
}

fn write_batches(folder: &Path, records: usize) {
    let batch: Vec<u8> = (0..records).flat_map(|index| [&[(index % 10) as u8][..], &[0; 3072]].concat()).collect();
    for name in &download::CIFAR10_FILES[..6] {
        fs::write(folder.join(name), &batch).unwrap();
    }
    fs::write(folder.join(download::CIFAR10_FILES[6]), tarball::CIFAR10).unwrap();
}

#[test]
fn a_folder_is_checked_file_by_file() {
    let temp = TempFolder::new("verify");
    let folder = temp.path();
    let problems = || {
        let report = verify::verify(folder, 20);
        let files = report.files.into_iter().filter_map(|file| Some(format!("{}: {}", file.file, file.problem?)));
        files.chain(report.problems).collect::<Vec<_>>()
    };
    write_batches(folder, 20);
    assert!(problems().is_empty(), "{:?}", problems());
    let report = verify::verify(folder, 20);
    assert_eq!((report.train_classes, report.test_classes), ([10; 10], [2; 10]));

    let path = folder.join("data_batch_4.bin");
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[7 * 3073] = 10;
    let mut skewed = good.clone();
    skewed[7 * 3073] = 8;
    for (bytes, wanted) in [
        (&good[..good.len() - 1], &["data_batch_4.bin: 20 records of 3073 bytes, 61460 bytes, are needed"][..]),
        (&[good.clone(), good.clone()].concat(), &["data_batch_4.bin: 20 records"]),
        (&bad, &["data_batch_4.bin: record 7 has label 10"]),
        (&skewed, &["training set has 9 of class 'horse', not 10", "training set has 11 of class 'ship', not 10"]),
    ] {
        fs::write(&path, bytes).unwrap();
        let found = problems();
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.contains(wanted), "{found}");
        }
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::remove_file(folder.join("test_batch.bin")).unwrap();
    fs::write(folder.join("batches.meta.txt"), "disc\nring\n").unwrap();
    let found = problems();
    for (found, wanted) in found.iter().zip(["not a file", "does not exist", "ten are needed: airplane, automobile"]) {
        assert!(found.contains(wanted), "{found}");
    }
    assert_eq!(found.len(), 3, "{found:?}");
}

/// The program, with its downloads in `home`.
fn shadegrad(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadegrad"));
    for name in ["HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "APPDATA", "LOCALAPPDATA", "USERPROFILE"] {
        command.env(name, home);
    }
    command.args(arguments).output().unwrap()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

#[test]
fn the_command_says_what_is_wrong_in_one_line() {
    let temp = TempFolder::new("download-cli");
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = shadegrad(temp.path(), arguments);
        let errors = lines(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors:?}");
        assert_eq!(errors.len(), 1, "{errors:?}");
        for word in words {
            assert!(errors[0].contains(word), "no '{word}' in {errors:?}");
        }
        lines(&output.stdout)
    };
    let server = Server::new(|_, stream| reply(stream, "404 Not Found", &[], Some(0), b""));
    refused(&["data", "download", "cifar10", "--url", &server.address], &["error: ", "status 404"]);
    let server = Server::new(|_, stream| keep_silent(stream));
    refused(&["data", "download", "cifar10", "--patience", "1", "--url", &server.address], &["silent for 1 s"]);
    let file = temp.path().join("file");
    fs::write(&file, b"").unwrap();
    let under = file.join("data").display().to_string();
    refused(&["data", "download", "cifar10", "--to", &under], &["cannot write", "--to"]);
    let said = refused(&["data", "verify"], &["does not hold CIFAR-10", "data_batch_1.bin", "6 faults more"]);
    assert_eq!(said.len(), 7, "a line a file: {said:?}");
    for (set, megabytes) in [("cifar100", "160 MiB"), ("svhn", "61 MiB")] {
        let arguments = ["ood", "--weights", "assets/lenet.safetensors", "--data", "shapes", "--ood", set];
        refused(&arguments, &["is not at", &format!("'shadegrad data download {set}'"), megabytes]);
    }
    let unknown = shadegrad(temp.path(), &["data", "download", "cifar1000"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(lines(&unknown.stderr)[0].contains("cifar1000"), "{:?}", lines(&unknown.stderr));
}

/// Where downloads live is another place on every system; here it is set by a variable.
#[cfg(target_os = "linux")]
#[test]
fn what_was_downloaded_is_found() {
    let temp = TempFolder::new("downloaded");
    let folder = temp.path().join("shadegrad").join("cifar-10-batches-bin");
    fs::create_dir_all(&folder).unwrap();
    // As many records as CIFAR-10 has; one file stands for all six.
    write_batches(&folder, 10);
    let batch = folder.join("test_batch.bin");
    let some = fs::read(&batch).unwrap();
    fs::write(&batch, some.repeat(1000)).unwrap();
    for name in &download::CIFAR10_FILES[..5] {
        fs::remove_file(folder.join(name)).unwrap();
        fs::hard_link(&batch, folder.join(name)).unwrap();
    }
    let said = |arguments: &[&str]| {
        let output = shadegrad(temp.path(), arguments);
        assert!(output.status.success(), "{:?}", lines(&output.stderr));
        lines(&output.stdout)
    };
    let checked = said(&["data", "verify"]);
    assert_eq!(checked.len(), 8, "{checked:?}");
    assert!(checked[0].ends_with("10000 records, 30730000 bytes: good"), "{checked:?}");
    assert!(checked[7].contains("whole: 5000 and 1000"), "{checked:?}");
    let json = said(&["data", "verify", "--json"]).concat();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["train_classes"][9], 5000);
    let words = ["already", "--data cifar10"];
    assert!(words.iter().all(|word| said(&["data", "download", "cifar10"])[0].contains(word)));
    // So are others' test pictures, as many as there should be.
    let folder = temp.path().join("shadegrad").join("cifar-100-binary");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("test.bin"), vec![0; 3074 * 10_000]).unwrap();
    let words = ["already", "--ood cifar100"];
    assert!(words.iter().all(|word| said(&["data", "download", "cifar100"])[0].contains(word)));
    let scores = temp.path().join("scores").display().to_string();
    let weights = ["ood", "--weights", "assets/lenet.safetensors", "--data", "cifar10"];
    let found = said(&[&weights[..], &["--ood", "cifar100", "--count", "20", "--out", &scores]].concat()).concat();
    assert!(found.contains("20 cifar100 images") && found.contains("AUROC"), "{found}");
}
