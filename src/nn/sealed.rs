//! Safetensors files that show when they are damaged: among the notes stands the MD5 of the whole file, taken with zeros
//! in the place of its 32 digits. Other programs read such a file like any other.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{SafeTensorError, SafeTensors, TensorView};

use crate::files::{fingerprint, one_line};

/// The note that holds the checksum.
const NOTE: &str = "md5";

/// Digits of a checksum.
const DIGITS: usize = 32;

/// A file that was read.
pub(crate) struct Sealed<'b> {
    pub arrays: SafeTensors<'b>,
    pub notes: HashMap<String, String>,
    /// Whether its bytes have the checksum that it notes; nothing is known of a file without one.
    pub intact: Option<bool>,
}

/// The bytes of a file with these arrays and notes, its checksum among them. The same arrays and notes are the same bytes:
/// the notes are sorted, since the hash map has another order in each run.
pub(crate) fn encode(
    arrays: Vec<(&str, TensorView<'_>)>,
    mut notes: HashMap<String, String>,
) -> Result<Vec<u8>, SafeTensorError> {
    notes.insert(NOTE.to_owned(), "0".repeat(DIGITS));
    let mut file = safetensors::serialize(arrays, Some(notes))?;
    let (length, _) = SafeTensors::read_metadata(&file)?;
    let room = &mut file[8..8 + length];
    let header: BTreeMap<String, BTreeMap<String, serde_json::Value>> = serde_json::from_slice(room)?;
    let sorted = serde_json::to_vec(&header)?;
    room[..sorted.len()].copy_from_slice(&sorted);
    let (at, sum) = checksum(&file, length, &"0".repeat(DIGITS)).ok_or(SafeTensorError::InvalidHeaderLength)?;
    file[at..at + DIGITS].copy_from_slice(sum.as_bytes());
    Ok(file)
}

/// Reads a file's contents.
pub(crate) fn decode(bytes: &[u8]) -> Result<Sealed<'_>, String> {
    let reason = |error: SafeTensorError| one_line(&error.to_string());
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(reason)?;
    let notes = header.metadata().clone().unwrap_or_default();
    let intact = notes.get(NOTE).map(|noted| checksum(bytes, length, noted).is_some_and(|(_, sum)| sum == *noted));
    Ok(Sealed { arrays: SafeTensors::deserialize(bytes).map_err(reason)?, notes, intact })
}

/// Where a file's checksum begins, and what it should be; none where the note does not stand in the header, which has so
/// many bytes, as it is written here.
fn checksum(file: &[u8], header: usize, noted: &str) -> Option<(usize, String)> {
    let mark = format!("\"{NOTE}\":\"");
    let whole = format!("{mark}{noted}\"");
    let at = 8 + file.get(8..8 + header)?.windows(whole.len()).position(|part| part == whole.as_bytes())? + mark.len();
    let rest = file.get(at + DIGITS..).filter(|_| noted.len() == DIGITS)?;
    Some((at, fingerprint([&file[..at], "0".repeat(DIGITS).as_bytes(), rest])))
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::Dtype;

    use super::*;

    fn file() -> Vec<u8> {
        let values: Vec<u8> = (0..24).collect();
        let array = |bytes| TensorView::new(Dtype::F32, vec![3], bytes).unwrap();
        let notes = [("model", "lenet"), ("note", "of \"md5\":\"00000000000000000000000000000000\"")];
        let notes = notes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        encode(vec![("a", array(&values[..12])), ("b", array(&values[12..]))], HashMap::from(notes)).unwrap()
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let bytes = file();
        let read = decode(&bytes).unwrap();
        assert_eq!(read.intact, Some(true));
        assert_eq!((read.notes.len(), read.notes["model"].as_str()), (3, "lenet"));
        assert_eq!(read.arrays.tensor("b").unwrap().data(), (12..24).collect::<Vec<u8>>());
        assert_eq!(bytes, file());
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let bytes = file();
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            // Where the word "md5" itself is hit, no checksum is known any more.
            if let Ok(read) = decode(&damaged) {
                assert!(read.intact == Some(false) || !read.notes.contains_key(NOTE), "bit {at}");
            }
        }
    }

    #[test]
    fn a_file_without_the_note_says_nothing_of_itself() {
        let bytes = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        assert_eq!(decode(&bytes).unwrap().intact, None);
        for noted in ["", "0", "zz", "\u{e9}0000000000000000000000000000000"] {
            let notes = HashMap::from([(NOTE.to_owned(), noted.to_owned())]);
            let bytes = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), Some(notes)).unwrap();
            assert_eq!(decode(&bytes).unwrap().intact, Some(false), "{noted}");
        }
    }
}
