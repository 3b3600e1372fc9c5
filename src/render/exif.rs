//! EXIF as far as anybody here reads it: one tag of its first directory, wherever in the file the block comes from.
//!
//! A block is a TIFF file (TIFF 6.0 §2, CIPA DC-008 §4.5.2): a header, then a directory of 12-byte entries. Nothing
//! follows the directories that one may point to, and of the first one only so many entries are read, so that a block is
//! read in microseconds whatever it holds.

/// Type of a text, which ends with NUL, and of a number of 16 bits.
pub const ASCII: u16 = 2;
const SHORT: u16 = 3;
/// How the camera was held (CIPA DC-008 §4.6.4).
const ORIENTATION: u16 = 0x0112;
/// The most entries that are read. Cameras write some twenty.
const MOST_ENTRIES: u16 = 512;
const ENTRY: usize = 12;

/// The orientation that a block gives, with or without JPEG's `Exif` in front: 1 is upright, the other seven up to 8 have
/// to be turned or mirrored. Upright where it gives none, one that there isn't, or can't be read.
pub fn orientation(block: &[u8]) -> u32 {
    match stored_orientation(block) {
        Some(orientation @ 1..=8) => u32::from(orientation),
        _ => 1,
    }
}

/// The orientation as it is stored; 1 where the block has none, `None` where it can't be read or not to its end.
pub fn stored_orientation(block: &[u8]) -> Option<u16> {
    let tiff = Tiff::new(block)?;
    match tiff.entry(ORIENTATION) {
        Some(Entry { kind: SHORT, count: 1, value }) => tiff.short(value),
        Some(_) => None,
        None => tiff.is_whole().then_some(1),
    }
}

/// A block and its first directory.
#[derive(Clone, Copy, Debug)]
pub struct Tiff<'b> {
    bytes: &'b [u8],
    is_big: bool,
    /// Where its entries begin, and how many there are said to be.
    entries: usize,
    count: u16,
}

/// An entry of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The type of its values.
    pub kind: u16,
    /// How many values it has.
    pub count: u32,
    /// Where its four bytes stand that are the values, or say where they are.
    pub value: usize,
}

impl<'b> Tiff<'b> {
    /// A block, with or without JPEG's `Exif` in front; `None` if it has no directory.
    pub fn new(block: &'b [u8]) -> Option<Tiff<'b>> {
        let bytes = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
        let is_big = match bytes.get(..4)? {
            b"MM\0\x2a" => true,
            b"II\x2a\0" => false,
            _ => return None,
        };
        let header = Tiff { bytes, is_big, entries: 0, count: 0 };
        let directory = usize::try_from(header.long(4)?).ok()?;
        Some(Tiff { entries: directory.checked_add(2)?, count: header.short(directory)?, ..header })
    }

    /// The first entry with this tag.
    pub fn entry(&self, tag: u16) -> Option<Entry> {
        let entries = self.bytes.get(self.entries..)?.chunks_exact(ENTRY);
        let number = entries.take(usize::from(self.count.min(MOST_ENTRIES))).position(|entry| {
            entry.first_chunk().is_some_and(|bytes| self.number(*bytes) == tag)
        })?;
        let at = self.entries.checked_add(ENTRY * number)?;
        Some(Entry { kind: self.short(at + 2)?, count: self.long(at + 4)?, value: at + 8 })
    }

    /// Whether all entries are there, and no more than are read.
    fn is_whole(&self) -> bool {
        let length = ENTRY * usize::from(self.count);
        self.count <= MOST_ENTRIES && self.bytes(self.entries, length).is_some()
    }

    /// The number of 16 bits at this place.
    pub fn short(&self, at: usize) -> Option<u16> {
        Some(self.number(self.bytes(at, 2)?.try_into().ok()?))
    }

    /// The number of 32 bits at this place.
    pub fn long(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes(at, 4)?.try_into().ok()?;
        Some(if self.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// So many bytes from this place on.
    pub fn bytes(&self, at: usize, length: usize) -> Option<&'b [u8]> {
        self.bytes.get(at..at.checked_add(length)?)
    }

    fn number(&self, bytes: [u8; 2]) -> u16 {
        if self.is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with these entries: tag, type, count, and the value's four bytes as a number.
    fn block(is_big: bool, entries: &[(u16, u16, u32, u32)]) -> Vec<u8> {
        let short = |number: u16| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let long = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut block = if is_big { b"MM\0\x2a".to_vec() } else { b"II\x2a\0".to_vec() };
        block.extend(long(8));
        block.extend(short(u16::try_from(entries.len()).unwrap()));
        for (tag, kind, count, value) in entries {
            block.extend([short(*tag), short(*kind)].as_flattened());
            block.extend([long(*count), long(*value)].as_flattened());
        }
        block.extend(long(0));
        block
    }

    /// The four bytes that begin with this number of 16 bits.
    fn first(is_big: bool, number: u16) -> u32 {
        if is_big { u32::from(number) << 16 } else { u32::from(number) }
    }

    #[test]
    fn eight_orientations_are_read_in_either_byte_order_and_with_either_beginning() {
        for is_big in [true, false] {
            for stored in 0..=300 {
                let given = if (1..=8).contains(&stored) { u32::from(stored) } else { 1 };
                let value = first(is_big, stored);
                for entries in [
                    vec![(ORIENTATION, SHORT, 1, value)],
                    // Behind others, whatever follows, and before another of the same.
                    vec![
                        (0x010f, ASCII, 4, 0x4142_4300),
                        (0x8769, 4, 1, 8),
                        (ORIENTATION, SHORT, 1, value),
                    ],
                    vec![
                        (ORIENTATION, SHORT, 1, value | first(!is_big, 0x0707)),
                        (ORIENTATION, SHORT, 1, 2),
                    ],
                ] {
                    let block = block(is_big, &entries);
                    assert_eq!(orientation(&block), given, "{block:?}");
                    assert_eq!(
                        orientation(&[b"Exif\0\0", &block[..]].concat()),
                        given,
                        "{block:?}"
                    );
                    assert_eq!(stored_orientation(&block), Some(stored), "{block:?}");
                }
            }
        }
    }

    #[test]
    fn what_gives_none_is_upright_and_what_is_odd_is_so_too_but_not_told_as_read() {
        assert_eq!(stored_orientation(&block(true, &[])), Some(1));
        assert_eq!(stored_orientation(&block(false, &[(0x010f, ASCII, 4, 0)])), Some(1));
        for (kind, count) in [
            (1, 1),
            (ASCII, 1),
            (4, 1),
            (8, 1),
            (0xffff, 1),
            (SHORT, 0),
            (SHORT, 2),
            (SHORT, u32::MAX),
        ] {
            for is_big in [true, false] {
                let block = block(is_big, &[(ORIENTATION, kind, count, first(is_big, 6))]);
                assert_eq!(
                    (orientation(&block), stored_orientation(&block)),
                    (1, None),
                    "{kind} {count}"
                );
            }
        }
        let six = block(true, &[(ORIENTATION, SHORT, 1, first(true, 6))]);
        for odd in [
            [b"Exif\0\xff", &six[..]].concat(),
            [b"Exif\0\0Exif\0\0", &six[..]].concat(),
            [b"MM\0\x2b", &six[4..]].concat(),
            [b"II\x2a\0", &six[4..]].concat(),
            // The directory begins behind the end, or so far that its end can't be said.
            [&six[..4], &[0, 0, 1, 0], &six[8..]].concat(),
            [&six[..4], &[0xff; 4], &six[8..]].concat(),
        ] {
            assert_eq!((orientation(&odd), stored_orientation(&odd)), (1, None), "{odd:?}");
        }
    }

    #[test]
    fn no_block_is_too_short_or_too_broken() {
        for is_big in [true, false] {
            let whole = block(
                is_big,
                &[
                    (0x010f, ASCII, 4, 0),
                    (ORIENTATION, SHORT, 1, first(is_big, 6)),
                    (0x0131, ASCII, 4, 0),
                ],
            );
            // The header, the count, and two entries of which the second tells.
            let told = 8 + 2 + 2 * ENTRY;
            for end in 0..=whole.len() {
                assert_eq!(orientation(&whole[..end]), if end < told { 1 } else { 6 }, "{end}");
                if end < told {
                    assert_eq!(stored_orientation(&whole[..end]), None, "{end}");
                }
            }
            for at in 0..whole.len() {
                for value in 0..=255 {
                    let mut broken = whole.clone();
                    broken[at] = value;
                    assert!((1..=8).contains(&orientation(&broken)));
                }
            }
        }
    }

    #[test]
    fn a_block_is_read_so_far_and_no_further() {
        let with_orientation_behind = |others: usize| {
            let mut entries = vec![(0x8769, 4, 1, 8); others];
            entries.push((ORIENTATION, SHORT, 1, first(true, 6)));
            block(true, &entries)
        };
        assert_eq!(orientation(&with_orientation_behind(511)), 6);
        for others in [512, 5400] {
            let block = with_orientation_behind(others);
            assert_eq!((orientation(&block), stored_orientation(&block)), (1, None), "{others}");
        }
        // As many as can be said, of which one is there; and a directory that its own header is part of.
        let mut few = block(true, &[(ORIENTATION, SHORT, 1, first(true, 6))]);
        few[8..10].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(orientation(&few), 6);
        for directory in 0..16 {
            few[7] = directory;
            assert!([1, 6].contains(&orientation(&few)));
        }
    }
}
