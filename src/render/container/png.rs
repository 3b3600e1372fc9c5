//! PNG (W3C PNG, third edition): its chunks, and what those that speak of colours call sRGB.

use std::ops::RangeInclusive;

use super::cursor::{Cursor, index};

/// What a file begins with (§5.2).
pub const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// 1 / 2.2 in gAMA's unit, as writers round it (§11.3.2.5).
const SRGB_GAMMA: RangeInclusive<u32> = 45_000..=46_000;
/// sRGB's white point and primaries in cHRM's unit (§11.3.2.5).
const SRGB_CHROMATICITIES: [u32; 8] =
    [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];
/// So far from them it makes no difference that anybody sees.
const NEAR: u32 = 100;

/// A chunk, as far as it is there (§5.3).
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'b> {
    /// As `IDAT`.
    pub kind: [u8; 4],
    /// The data, or the first of them.
    pub data: &'b [u8],
    /// Whether that is all of them.
    pub is_whole: bool,
    /// The checksum, which nobody has checked.
    pub check: Option<[u8; 4]>,
}

/// The chunks of a file; `None` when it does not begin as a PNG.
pub fn chunks(bytes: &[u8]) -> Option<impl Iterator<Item = Chunk<'_>>> {
    let mut cursor = Cursor::new(bytes.strip_prefix(SIGNATURE)?);
    Some(std::iter::from_fn(move || {
        let (length, kind) = (index(cursor.u32_be()?), cursor.array()?);
        let data = cursor.take_at_most(length);
        Some(Chunk { kind, data, is_whole: data.len() == length, check: cursor.array() })
    }))
}

/// The numbers that the data of a chunk are.
pub fn numbers<const N: usize>(data: &[u8]) -> Option<[u32; N]> {
    let (words, rest) = data.as_chunks::<4>();
    let words: &[[u8; 4]; N] = words.try_into().ok().filter(|_| rest.is_empty())?;
    Some(words.map(u32::from_be_bytes))
}

/// Whether the number in gAMA is that of sRGB.
pub fn is_srgb_gamma(gamma: u32) -> bool {
    SRGB_GAMMA.contains(&gamma)
}

/// Whether the numbers in cHRM are those of sRGB.
pub fn are_srgb_chromaticities(stored: &[u32; 8]) -> bool {
    stored.iter().zip(SRGB_CHROMATICITIES).all(|(number, srgb)| number.abs_diff(srgb) < NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_read_as_far_as_they_are_there() {
        let bytes = [SIGNATURE, b"\0\0\0\x03ABCDxyz1234", b"\0\0\0\0IEND5678", b"\0\0\0\x03EFGHxy"]
            .concat();
        let read = |end: usize| -> Vec<_> {
            let chunk =
                |chunk: Chunk| (chunk.kind, chunk.data.to_vec(), chunk.is_whole, chunk.check);
            chunks(&bytes[..end]).into_iter().flatten().map(chunk).collect()
        };
        let all = [
            (*b"ABCD", b"xyz".to_vec(), true, Some(*b"1234")),
            (*b"IEND", Vec::new(), true, Some(*b"5678")),
            (*b"EFGH", b"xy".to_vec(), false, None),
        ];
        assert_eq!(read(bytes.len()), all);
        assert_eq!(read(8 + 13), [(*b"ABCD", b"xyz".to_vec(), true, None)]);
        assert_eq!(read(8 + 9), [(*b"ABCD", b"x".to_vec(), false, None)]);
        assert!(read(8 + 7).is_empty() && chunks(&bytes[1..]).is_none());
    }

    #[test]
    fn numbers_are_srgb_when_nobody_sees_a_difference() {
        assert!(is_srgb_gamma(45_455) && !is_srgb_gamma(100_000) && !is_srgb_gamma(0));
        let mut points = SRGB_CHROMATICITIES;
        points[2] += 99;
        assert!(are_srgb_chromaticities(&points));
        points[2] += 1;
        assert!(!are_srgb_chromaticities(&points));
        assert_eq!(numbers(&[0, 0, 0, 1, 0, 0, 1, 0]), Some([1, 256]));
        assert_eq!((numbers::<1>(&[0; 5]), numbers::<2>(&[0; 4])), (None, None));
    }
}
