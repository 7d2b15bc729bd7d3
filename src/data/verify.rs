//! Whether a folder holds the whole of CIFAR-10. By sizes, labels and counts: copies of the set differ in the order of
//! their records, so a file's hash says nothing.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use serde::Serialize;

use crate::files;

use super::cifar10::{CLASSES, RECORD};

const NAMES: [&str; CLASSES] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Records in each of the six batches.
pub const RECORDS: usize = 10_000;

/// What is found in one file, and what of it is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    pub file: &'static str,
    pub found: String,
    pub problem: Option<String>,
}

/// A folder's files, and what is wrong with them together.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub files: Vec<FileReport>,
    pub train_classes: [usize; CLASSES],
    pub test_classes: [usize; CLASSES],
    pub problems: Vec<String>,
}

impl Report {
    /// How many things are wrong; none if this is CIFAR-10.
    pub fn wrong(&self) -> usize {
        self.files.iter().filter(|file| file.problem.is_some()).count() + self.problems.len()
    }
}

/// Looks at every file of a folder; `records` is how many each batch should have (10,000 in CIFAR-10).
pub fn verify(folder: &Path, records: usize) -> Report {
    let batches = ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
    let mut train_classes = [0; CLASSES];
    let mut test_classes = [0; CLASSES];
    let mut files: Vec<FileReport> =
        batches.map(|name| batch(folder, name, records, &mut train_classes)).into_iter().collect();
    files.push(batch(folder, "test_batch.bin", records, &mut test_classes));
    files.push(names(folder));
    // Counts of classes say something new only where every file has what it should.
    let mut problems = Vec::new();
    if files.iter().all(|file| file.problem.is_none()) {
        for (set, counts, wanted) in
            [("training", &train_classes, 5 * records / CLASSES), ("test", &test_classes, records / CLASSES)]
        {
            for (class, &count) in NAMES.iter().zip(counts).filter(|&(_, &count)| count != wanted) {
                problems.push(format!("the {set} set has {count} of class '{class}', not {wanted}"));
            }
        }
    }
    Report { files, train_classes, test_classes, problems }
}

/// One file of records; its labels are added to `classes`.
fn batch(folder: &Path, file: &'static str, records: usize, classes: &mut [usize; CLASSES]) -> FileReport {
    let path = folder.join(file);
    let absent = |reason: String| FileReport { file, found: "nothing".to_owned(), problem: Some(reason) };
    let size = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return absent("it is not a file".to_owned()),
        Err(error) => return absent(files::reason(&error)),
    };
    let wanted = (records * RECORD) as u64;
    if size != wanted {
        let (whole, rest) = (size / RECORD as u64, size % RECORD as u64);
        let found = match rest {
            0 => format!("{whole} records, {size} bytes"),
            _ => format!("{whole} whole records and {rest} bytes more, {size} bytes"),
        };
        let problem = format!("{records} records of {RECORD} bytes, {wanted} bytes, are needed");
        return FileReport { file, found, problem: Some(problem) };
    }
    let found = format!("{records} records, {size} bytes");
    let mut reader = match File::open(&path) {
        Ok(file) => BufReader::with_capacity(1 << 18, file),
        Err(error) => return absent(files::reason(&error)),
    };
    let mut record = [0; RECORD];
    for index in 0..records {
        let problem = match reader.read_exact(&mut record) {
            Ok(()) if usize::from(record[0]) < CLASSES => {
                classes[usize::from(record[0])] += 1;
                continue;
            }
            Ok(()) => format!("record {index} has label {}, but labels are 0 to 9", record[0]),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => format!("it ends in record {index}"),
            Err(error) => format!("record {index} cannot be read: {}", files::reason(&error)),
        };
        return FileReport { file, found, problem: Some(problem) };
    }
    FileReport { file, found, problem: None }
}

/// The list of class names.
fn names(folder: &Path) -> FileReport {
    let file = "batches.meta.txt";
    let path = folder.join(file);
    let bytes = match fs::metadata(&path).map(|metadata| metadata.len()) {
        Ok(size) if size > 1 << 16 => {
            let problem = "a list of ten names is needed".to_owned();
            return FileReport { file, found: format!("{size} bytes"), problem: Some(problem) };
        }
        Ok(_) => fs::read(&path),
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let found: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let problem = (found != NAMES).then(|| format!("CIFAR-10's ten are needed: {}", NAMES.join(", ")));
            FileReport { file, found: format!("{} class names", found.len()), problem }
        }
        Err(error) => FileReport { file, found: "nothing".to_owned(), problem: Some(files::reason(&error)) },
    }
}
