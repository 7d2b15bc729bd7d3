//! The little of MATLAB's level 5 files that SVHN's are made of: numeric arrays, compressed or not.
//!
//! A file is a header of 128 bytes and elements; an element is a tag (type and length) and its data, filled up to eight
//! bytes. Everything is checked against what is there: lengths are never believed.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// All arrays of a file together never take more than this once they are unpacked (SVHN's training set takes 215 MiB).
const MAX_BYTES: u64 = 400 << 20;

/// A numeric array of a file, column by column.
#[derive(Debug)]
pub(super) struct Array {
    pub name: String,
    pub dims: Vec<usize>,
    /// As whole numbers from 0 to 255; other values are refused.
    pub values: Vec<u8>,
}

const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT16: u32 = 3;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// What is left to read.
struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let cut = || "the file is cut off: fetch it again".to_owned();
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// The next element: its type and its data. Up to four bytes of data share the tag's place.
    fn element(&mut self) -> Result<(u32, &'b [u8]), String> {
        let first = self.word()?;
        if first >> 16 != 0 {
            let data = self.take(4)?;
            let length = (first >> 16) as usize;
            let data = data.get(..length).ok_or_else(|| format!("an element of {length} bytes stands in four"))?;
            return Ok((first & 0xffff, data));
        }
        let length = self.word()? as usize;
        let data = self.take(length)?;
        // Compressed elements are not filled up; the last one need not be.
        if first != COMPRESSED {
            let fill = (length.next_multiple_of(8) - length).min(self.0.len());
            self.take(fill)?;
        }
        Ok((first, data))
    }
}

/// Every numeric array of a file.
pub(super) fn arrays(bytes: &[u8]) -> Result<Vec<Array>, String> {
    let mut cursor = Cursor(bytes);
    let header = cursor.take(128)?;
    if !header.starts_with(b"MATLAB 5.0") || &header[126..] != b"IM" {
        return Err("it is not a MATLAB 5.0 file with its low bytes first".to_owned());
    }
    let mut found = Vec::new();
    let mut left = MAX_BYTES;
    while !cursor.0.is_empty() {
        let (kind, data) = cursor.element()?;
        match kind {
            COMPRESSED => {
                let mut unpacked = Vec::new();
                let mut decoder = ZlibDecoder::new(data).take(left + 1);
                decoder.read_to_end(&mut unpacked).map_err(|error| format!("it cannot be unpacked: {error}"))?;
                let remains = left.checked_sub(unpacked.len() as u64);
                left = remains.ok_or_else(|| format!("arrays of more than {} MiB are too much", MAX_BYTES >> 20))?;
                let (kind, data) = Cursor(&unpacked).element()?;
                if kind == MATRIX {
                    found.push(array(data)?);
                }
            }
            MATRIX => found.push(array(data)?),
            _ => {}
        }
    }
    Ok(found)
}

fn array(data: &[u8]) -> Result<Array, String> {
    let mut cursor = Cursor(data);
    let (_, flags) = cursor.element()?;
    // Classes 6 to 15 are numbers; 0x0800 marks complex ones.
    let class = flags.first().copied().unwrap_or(0);
    if !(6..=15).contains(&class) || flags.get(1).is_some_and(|bits| bits & 0x08 != 0) {
        return Err("an array holds something that is not plain numbers".to_owned());
    }
    let dims = match cursor.element()? {
        (INT32, dims) => {
            let sides = dims.chunks_exact(4).map(|side| i32::from_le_bytes([side[0], side[1], side[2], side[3]]));
            sides.map(|side| usize::try_from(side).map_err(|_| "an array has a negative side".to_owned())).collect()
        }
        (kind, _) => Err(format!("an array's sides are of type {kind}")),
    }?;
    let dims: Vec<usize> = dims;
    let (_, name) = cursor.element()?;
    let name = String::from_utf8_lossy(name).into_owned();
    let (kind, data) = cursor.element()?;
    let values = numbers(kind, data).map_err(|problem| format!("array '{name}': {problem}"))?;
    let count = dims.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
    if count != Some(values.len()) {
        return Err(format!("array '{name}' has {} values, which do not fill its sides {dims:?}", values.len()));
    }
    Ok(Array { name, dims, values })
}

/// Numbers of any type that are all whole and from 0 to 255.
fn numbers(kind: u32, data: &[u8]) -> Result<Vec<u8>, String> {
    let outside = || "a value is not a whole number from 0 to 255".to_owned();
    let wide = |width: usize, read: &dyn Fn(&[u8]) -> f64| -> Result<Vec<u8>, String> {
        let exact = |value: f64| ((0.0..=255.0).contains(&value) && value.fract() == 0.0).then_some(value as u8);
        data.chunks_exact(width).map(|bytes| exact(read(bytes)).ok_or_else(outside)).collect()
    };
    match kind {
        UINT8 => Ok(data.to_vec()),
        INT8 => wide(1, &|b| f64::from(b[0] as i8)),
        INT16 => wide(2, &|b| f64::from(i16::from_le_bytes([b[0], b[1]]))),
        UINT16 => wide(2, &|b| f64::from(u16::from_le_bytes([b[0], b[1]]))),
        INT32 => wide(4, &|b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        UINT32 => wide(4, &|b| f64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        DOUBLE => wide(8, &|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])),
        _ => Err(format!("numbers of type {kind} are not known here")),
    }
}
