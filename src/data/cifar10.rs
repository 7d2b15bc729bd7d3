//! CIFAR-10's binary files (Krizhevsky 2009): records of one label byte and 3072 bytes of planar RGB.

use std::path::Path;

use crate::files::{self, FileError};

use super::{DataError, DataSet, Images, SIZE};

pub(super) const RECORD: usize = 1 + SIZE;

/// Classes that a label can name.
pub(super) const CLASSES: usize = 10;

/// Much more than any of the files has (30,730,000 bytes).
const MAX_BYTES: u64 = 400 << 20;

/// Reads `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin` and `batches.meta.txt`.
pub(super) fn read(folder: &Path) -> Result<DataSet, DataError> {
    let mut train = Images::default();
    for number in 1..=5 {
        append(&folder.join(format!("data_batch_{number}.bin")), &mut train)?;
    }
    let mut test = Images::default();
    append(&folder.join("test_batch.bin"), &mut test)?;
    let meta = folder.join("batches.meta.txt");
    let classes =
        class_names(&files::read(&meta, 1 << 16)?).map_err(|problem| DataError::Damaged { path: meta, problem })?;
    let name = if classes[0] == "airplane" { "cifar10" } else { "cifar10-layout" };
    Ok(DataSet { name: name.to_owned(), classes, train, test })
}

fn append(path: &Path, images: &mut Images) -> Result<(), DataError> {
    let bytes = files::read(path, MAX_BYTES)?;
    append_records(&bytes, images).map_err(|problem| DataError::Damaged { path: path.to_owned(), problem })
}

/// The names of `batches.meta.txt`, or what is wrong with them.
pub fn class_names(bytes: &[u8]) -> Result<Vec<String>, String> {
    let text = String::from_utf8_lossy(bytes);
    let names: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if names.len() != CLASSES {
        return Err(format!("it names {} classes, not {CLASSES}", names.len()));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Adds the pictures of a batch; or says what is wrong with it.
pub fn append_records(bytes: &[u8], images: &mut Images) -> Result<(), String> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        let (whole, rest) = (bytes.len() / RECORD, bytes.len() % RECORD);
        return Err(format!(
            "the file is cut off: {whole} whole records of {RECORD} bytes and {rest} bytes more; fetch it again"
        ));
    }
    for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
        if usize::from(record[0]) >= CLASSES {
            return Err(format!("record {index} has label {}, but labels are 0 to 9", record[0]));
        }
        images.push(record[0], &record[1..]);
    }
    Ok(())
}

/// Writes a data set in the same layout; the training set is shared out over five files.
pub fn write(data: &DataSet, folder: &Path) -> Result<(), FileError> {
    files::prepare_folder(folder)?;
    let records = |images: &Images, range: std::ops::Range<usize>| -> Vec<u8> {
        range
            .flat_map(|i| {
                std::iter::once(images.labels[i]).chain(images.bytes[i * SIZE..(i + 1) * SIZE].iter().copied())
            })
            .collect()
    };
    // Shared out to within one picture, so that no file is left empty.
    let start = |number: usize| number * data.train.count() / 5;
    for number in 0..5 {
        let range = start(number)..start(number + 1);
        files::write(&folder.join(format!("data_batch_{}.bin", number + 1)), &records(&data.train, range))?;
    }
    files::write(&folder.join("test_batch.bin"), &records(&data.test, 0..data.test.count()))?;
    files::write(&folder.join("batches.meta.txt"), format!("{}\n", data.classes.join("\n")).as_bytes())
}
