//! Damage for parsers: every round is a function of its number, so that a failure can be repeated.

/// Counter-based numbers (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(round: u64) -> Self {
        Self(round.wrapping_mul(0xA24B_AED4_963E_E407) ^ 0x9E6C_63D0_876A_9A35)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.word() % end.max(1) as u64) as usize
    }

    pub fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Numbers that break arithmetic: zeros, ends of ranges, and just beyond them.
const EDGES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Damages a file in one to four places.
pub fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..1 + dice.below(4) {
        let (at, length) = (dice.below(bytes.len()), dice.below(40));
        let end = (at + length).min(bytes.len());
        match dice.below(9) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 if !bytes.is_empty() => bytes[at] = dice.word() as u8,
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let copy = bytes[at..end].to_vec();
                let to = dice.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            6 => {
                let fresh: Vec<u8> = (0..length).map(|_| dice.word() as u8).collect();
                bytes.splice(at..at, fresh);
            }
            _ => {
                // A number of one to eight bytes, in either order.
                let width = [1, 2, 4, 8][dice.below(4)];
                let edge = EDGES[dice.below(EDGES.len())];
                let mut number = edge.to_le_bytes()[..width].to_vec();
                if dice.below(2) == 0 {
                    number.reverse();
                }
                let end = (at + width).min(bytes.len());
                bytes.splice(at..end, number);
            }
        }
    }
}

/// Replaces one of a text's numbers or words by something else that a reader may meet there.
pub fn damage_text(text: &str, words: &[&str], dice: &mut Dice) -> String {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts: Vec<usize> = text
        .char_indices()
        .zip(std::iter::once(' ').chain(text.chars()))
        .filter(|&((_, c), before)| known(c) && !known(before))
        .map(|((at, _), _)| at)
        .collect();
    let Some(&start) = starts.get(dice.below(starts.len())) else { return text.to_owned() };
    let rest = &text[start..];
    let end = start + rest.find(|c| !known(c)).unwrap_or(rest.len());
    let fresh = match dice.below(3) {
        0 => EDGES[dice.below(EDGES.len())].to_string(),
        1 => dice.below(300).to_string(),
        _ => dice.one_of(words).to_owned(),
    };
    format!("{}{fresh}{}", &text[..start], &text[end..])
}

/// A safetensors file with the checksum that its bytes should have, where it has one: damage that its reader would
/// otherwise never look at.
pub fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    const MARK: &[u8] = b"\"md5\":\"";
    let Some(at) = file.windows(MARK.len()).position(|part| part == MARK).map(|at| at + MARK.len()) else {
        return file;
    };
    if let Some(place) = file.get_mut(at..at + 32) {
        place.fill(b'0');
        let sum = shadegrad::files::fingerprint([&file[..]]);
        file[at..at + 32].copy_from_slice(sum.as_bytes());
    }
    file
}
