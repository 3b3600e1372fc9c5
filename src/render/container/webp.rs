//! WebP (RFC 9649): its chunks, and what the heads of its bitstreams say.

use super::cursor::{Cursor, index};

/// A flag of `VP8X` (§2.7.1).
pub const HAS_ALPHA: u8 = 0x10;
/// A flag of `VP8X`.
pub const HAS_EXIF: u8 = 0x08;
/// A flag of `VP8X`.
pub const IS_ANIMATED: u8 = 0x02;
/// What stands in front of the chunks of an `ANMF`: place, size, time and flags (§2.7.1.1).
pub const FRAME_HEAD: usize = 16;

/// A chunk, as far as it is there (§2.3).
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'b> {
    /// As `VP8L`.
    pub kind: [u8; 4],
    /// The data, or the first of them.
    pub data: &'b [u8],
    /// Whether that is all of them and, where their length is odd, the 0 behind them.
    pub is_whole: bool,
}

/// The next chunk.
pub fn chunk<'b>(cursor: &mut Cursor<'b>) -> Option<Chunk<'b>> {
    let (kind, length) = (cursor.array()?, index(cursor.u32_le()?));
    let data = cursor.take_at_most(length);
    let is_padded = length.is_multiple_of(2) || cursor.u8() == Some(0);
    Some(Chunk { kind, data, is_whole: data.len() == length && is_padded })
}

/// Width and height of a `VP8 ` key frame (RFC 6386 §9.1): a tag, a start code, and two sides of 14 bits.
pub fn lossy_size(data: &[u8]) -> Option<(u32, u32)> {
    let mut cursor = Cursor::new(data);
    cursor.take(6)?;
    let mut side = || cursor.u16_le().map(|side| u32::from(side & 0x3fff));
    Some((side()?, side()?))
}

/// Width and height of a `VP8L` image (RFC 9649 §3.4), and whether there is transparency: a signature, two sides of
/// 14 bits less one, and a bit.
pub fn lossless_size(data: &[u8]) -> Option<(u32, u32, bool)> {
    let mut cursor = Cursor::new(data);
    cursor.take(1)?;
    let bits = cursor.u32_le()?;
    Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1, bits >> 28 & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_read_as_far_as_they_are_there() {
        let all = |bytes: &[u8]| -> Vec<_> {
            let mut cursor = Cursor::new(bytes);
            std::iter::from_fn(|| chunk(&mut cursor))
                .map(|chunk| (chunk.kind, chunk.data.to_vec(), chunk.is_whole))
                .collect()
        };
        let odd = |padding: u8| [b"ABCD\x03\0\0\0xyz", &[padding][..], b"EFGH\0\0\0\0"].concat();
        let read =
            |is_whole| vec![(*b"ABCD", b"xyz".to_vec(), is_whole), (*b"EFGH", Vec::new(), true)];
        assert_eq!((all(&odd(0)), all(&odd(1))), (read(true), read(false)));
        for end in 8..12 {
            let cut = vec![(*b"ABCD", b"xyz"[..3.min(end - 8)].to_vec(), false)];
            assert_eq!(all(&odd(0)[..end]), cut, "{end}");
        }
        assert!(all(&odd(0)[..7]).is_empty());
    }

    #[test]
    fn bitstreams_say_their_size() {
        let lossless = (299_u32 | 199 << 14 | 1 << 28).to_le_bytes();
        assert_eq!(lossless_size(&[&[0x2f][..], &lossless].concat()), Some((300, 200, true)));
        // The two highest bits of a side are how it is to be shown.
        assert_eq!(lossy_size(b"\0\0\0\x9d\x01\x2a\x2c\x41\xc8\x80"), Some((300, 200)));
        assert_eq!((lossless_size(&[0x2f, 0, 0, 0]), lossy_size(&[0; 9])), (None, None));
    }
}
