//! EXIF: reads the orientation and the copyright of an original and whether it has a position, and writes a block with the copyright.
//!
//! A block is a TIFF file (TIFF 6.0 §2, CIPA DC-008 §4.5.2): a header and directories of 12-byte entries. Only the
//! first directory and that of the position are read, and only up to [`MAX_ENTRIES`], so that any block takes microseconds.

/// Types of values: a NUL-terminated string, and a 16-bit number (TIFF 6.0 §2).
const ASCII: u16 = 2;
const SHORT: u16 = 3;
/// Tags (CIPA DC-008 §4.6).
const ORIENTATION: u16 = 0x0112;
const ARTIST: u16 = 0x013b;
const COPYRIGHT: u16 = 0x8298;
/// The offset of the directory with the position (CIPA DC-008 §4.6.3).
const GPS_DIRECTORY: u16 = 0x8825;
/// Of that directory: latitude and longitude, and those of the destination.
const POSITIONS: [u16; 4] = [2, 4, 20, 22];
/// Cameras write about twenty entries.
const MAX_ENTRIES: u16 = 512;
const ENTRY_BYTES: usize = 12;
/// Longer texts are dropped, so that a written block fits a JPEG segment.
const MAX_TEXT: usize = 4096;

/// The orientation in a block, with or without JPEG's `Exif` prefix: 1 is upright, 2 to 8 have to be rotated or
/// mirrored. 1 if there is none, if it is invalid or if the block can't be read.
pub fn orientation(block: &[u8]) -> u32 {
    match stored_orientation(block) {
        Some(orientation @ 1..=8) => u32::from(orientation),
        _ => 1,
    }
}

/// The orientation as stored: 1 if the block has none, `None` if it is malformed or can't be read to the end.
fn stored_orientation(block: &[u8]) -> Option<u16> {
    let tiff = Tiff::new(block)?;
    match tiff.entry(ORIENTATION) {
        Some(Entry { kind: SHORT, count: 1, value_offset }) => tiff.short(value_offset),
        Some(_) => None,
        None => tiff.is_complete().then_some(1),
    }
}

/// Whether a block, with or without JPEG's `Exif` prefix, has a position. Also true of a position that can't be read:
/// another reader may.
pub fn has_position(block: &[u8]) -> bool {
    let Some(tiff) = Tiff::new(block) else { return false };
    let Some(entry) = tiff.entry(GPS_DIRECTORY) else { return false };
    let directory = tiff.long(entry.value_offset).and_then(|at| tiff.directory(at));
    directory.is_none_or(|gps| {
        !gps.is_complete() || POSITIONS.into_iter().any(|tag| gps.entry(tag).is_some())
    })
}

/// The author fields of an original, without the terminating NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copyright {
    artist: Vec<u8>,
    copyright: Vec<u8>,
}

impl Copyright {
    /// The fields of a block, with or without JPEG's `Exif` prefix; `None` if it has neither.
    pub fn parse(block: &[u8]) -> Option<Copyright> {
        let tiff = Tiff::new(block)?;
        let field = |tag| tiff.text(tag).unwrap_or_default();
        let found = Copyright { artist: field(ARTIST), copyright: field(COPYRIGHT) };
        (found != Copyright::default()).then_some(found)
    }

    /// A big-endian block with these fields only.
    pub fn to_exif(&self) -> Vec<u8> {
        let fields = [(ARTIST, &self.artist), (COPYRIGHT, &self.copyright)];
        let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let mut block = b"MM\0\x2a\0\0\0\x08".to_vec();
        let mut values = Vec::new();
        // The header, the number of entries, the entries, and the offset of the next directory.
        let values_offset = 8 + 2 + ENTRY_BYTES * fields.len() + 4;
        block.extend((fields.len() as u16).to_be_bytes());
        for (tag, value) in fields {
            let length = value.len() + 1;
            block.extend(tag.to_be_bytes());
            block.extend(ASCII.to_be_bytes());
            block.extend((length as u32).to_be_bytes());
            let mut text = value.clone();
            text.push(0);
            if length <= 4 {
                text.resize(4, 0);
                block.extend(text);
            } else {
                block.extend(((values_offset + values.len()) as u32).to_be_bytes());
                values.extend(text);
                // Values start at an even offset.
                values.resize(values.len().next_multiple_of(2), 0);
            }
        }
        // No next directory.
        block.extend([0; 4]);
        block.extend(values);
        block
    }
}

/// A block and its first directory.
#[derive(Clone, Copy, Debug)]
struct Tiff<'b> {
    bytes: &'b [u8],
    is_big_endian: bool,
    /// Offset of the first entry.
    entries: usize,
    /// Number of entries, as stored.
    count: u16,
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Type of the values.
    kind: u16,
    /// Number of values.
    count: u32,
    /// Offset of the four bytes that hold the values or their offset.
    value_offset: usize,
}

impl<'b> Tiff<'b> {
    /// `None` if the block has no directory.
    fn new(block: &'b [u8]) -> Option<Tiff<'b>> {
        let bytes = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
        let is_big_endian = match bytes.get(..4)? {
            b"MM\0\x2a" => true,
            b"II\x2a\0" => false,
            _ => return None,
        };
        let header = Tiff { bytes, is_big_endian, entries: 0, count: 0 };
        header.directory(header.long(4)?)
    }

    /// The directory at this offset.
    fn directory(&self, offset: u32) -> Option<Tiff<'b>> {
        let start = usize::try_from(offset).ok()?;
        Some(Tiff { entries: start.checked_add(2)?, count: self.short(start)?, ..*self })
    }

    /// The first entry with this tag.
    fn entry(&self, tag: u16) -> Option<Entry> {
        let entries = self.bytes.get(self.entries..)?.chunks_exact(ENTRY_BYTES);
        let index = entries.take(usize::from(self.count.min(MAX_ENTRIES))).position(|entry| {
            entry.first_chunk().is_some_and(|bytes| self.decode_short(*bytes) == tag)
        })?;
        let at = self.entries.checked_add(ENTRY_BYTES * index)?;
        Some(Entry { kind: self.short(at + 2)?, count: self.long(at + 4)?, value_offset: at + 8 })
    }

    /// The text of an entry of type ASCII, without trailing NULs. A NUL inside separates the photographer's copyright
    /// from the editor's (CIPA DC-008 §4.6.4).
    fn text(&self, tag: u16) -> Option<Vec<u8>> {
        let entry = self.entry(tag).filter(|entry| entry.kind == ASCII)?;
        let length = usize::try_from(entry.count).ok()?;
        // A value of at most four bytes is in the entry itself.
        let start = if length <= 4 {
            entry.value_offset
        } else {
            usize::try_from(self.long(entry.value_offset)?).ok()?
        };
        let value = self.bytes(start, length)?;
        let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let value = value.get(..end)?;
        (!value.is_empty() && value.len() <= MAX_TEXT).then(|| value.to_vec())
    }

    /// Whether all entries are present, and no more than are read.
    fn is_complete(&self) -> bool {
        let length = ENTRY_BYTES * usize::from(self.count);
        self.count <= MAX_ENTRIES && self.bytes(self.entries, length).is_some()
    }

    fn short(&self, at: usize) -> Option<u16> {
        Some(self.decode_short(self.bytes(at, 2)?.try_into().ok()?))
    }

    fn long(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes(at, 4)?.try_into().ok()?;
        Some(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn bytes(&self, at: usize, length: usize) -> Option<&'b [u8]> {
        self.bytes.get(at..at.checked_add(length)?)
    }

    fn decode_short(&self, bytes: [u8; 2]) -> u16 {
        if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with these entries: tag, type, count, and the four bytes of the value as a number.
    fn block(is_big_endian: bool, entries: &[(u16, u16, u32, u32)]) -> Vec<u8> {
        let short =
            |number: u16| if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let long =
            |number: u32| if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut block = if is_big_endian { b"MM\0\x2a".to_vec() } else { b"II\x2a\0".to_vec() };
        block.extend(long(8));
        block.extend(short(u16::try_from(entries.len()).unwrap()));
        for (tag, kind, count, value) in entries {
            block.extend([short(*tag), short(*kind)].as_flattened());
            block.extend([long(*count), long(*value)].as_flattened());
        }
        block.extend(long(0));
        block
    }

    #[test]
    fn a_position_is_a_latitude_or_a_longitude() {
        for is_big_endian in [false, true] {
            // The first directory ends after 8 + 2 + 12 + 4 bytes.
            let with_gps = |entries: &[(u16, u16, u32, u32)]| {
                let gps = &block(is_big_endian, entries)[8..];
                [&block(is_big_endian, &[(GPS_DIRECTORY, 4, 1, 26)])[..], gps].concat()
            };
            // The version of the directory is written without a position, too.
            assert!(!has_position(&with_gps(&[(0, 1, 4, 2)])));
            assert!(!has_position(&with_gps(&[])));
            for tag in POSITIONS {
                let block = with_gps(&[(0, 1, 4, 2), (tag, 5, 3, 0)]);
                assert!(has_position(&block));
                assert!(has_position(&[b"Exif\0\0", &block[..]].concat()));
                for end in 26..block.len() - 4 {
                    assert!(has_position(&block[..end]), "can't be read to the end: {end}");
                }
            }
            assert!(has_position(&block(is_big_endian, &[(GPS_DIRECTORY, 4, 1, u32::MAX)])));
            assert!(!has_position(&block(is_big_endian, &[(ORIENTATION, 3, 1, 1)])));
        }
        assert!(!has_position(b"") && !has_position(b"Exif\0\0MM\0\x2a"));
    }

    /// A value field that starts with this 16-bit number.
    fn short_value(is_big_endian: bool, number: u16) -> u32 {
        if is_big_endian { u32::from(number) << 16 } else { u32::from(number) }
    }

    #[test]
    fn exif_orientation_is_read_in_both_byte_orders_with_and_without_prefix() {
        for is_big_endian in [true, false] {
            for stored in 0..=300 {
                let expected = if (1..=8).contains(&stored) { u32::from(stored) } else { 1 };
                let value = short_value(is_big_endian, stored);
                for entries in [
                    vec![(ORIENTATION, SHORT, 1, value)],
                    // After other entries, with garbage in the unused bytes, and before a duplicate.
                    vec![
                        (0x010f, ASCII, 4, 0x4142_4300),
                        (0x8769, 4, 1, 8),
                        (ORIENTATION, SHORT, 1, value),
                    ],
                    vec![
                        (ORIENTATION, SHORT, 1, value | short_value(!is_big_endian, 0x0707)),
                        (ORIENTATION, SHORT, 1, 2),
                    ],
                ] {
                    let block = block(is_big_endian, &entries);
                    assert_eq!(orientation(&block), expected, "{block:?}");
                    assert_eq!(
                        orientation(&[b"Exif\0\0", &block[..]].concat()),
                        expected,
                        "{block:?}"
                    );
                    assert_eq!(stored_orientation(&block), Some(stored), "{block:?}");
                }
            }
        }
    }

    #[test]
    fn exif_without_orientation_is_upright_and_a_malformed_one_is_unknown() {
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
            for is_big_endian in [true, false] {
                let block = block(
                    is_big_endian,
                    &[(ORIENTATION, kind, count, short_value(is_big_endian, 6))],
                );
                assert_eq!(
                    (orientation(&block), stored_orientation(&block)),
                    (1, None),
                    "{kind} {count}"
                );
            }
        }
        let six = block(true, &[(ORIENTATION, SHORT, 1, short_value(true, 6))]);
        for malformed in [
            [b"Exif\0\xff", &six[..]].concat(),
            [b"Exif\0\0Exif\0\0", &six[..]].concat(),
            [b"MM\0\x2b", &six[4..]].concat(),
            [b"II\x2a\0", &six[4..]].concat(),
            // The directory starts past the end, or so far that its end overflows.
            [&six[..4], &[0, 0, 1, 0], &six[8..]].concat(),
            [&six[..4], &[0xff; 4], &six[8..]].concat(),
        ] {
            assert_eq!(
                (orientation(&malformed), stored_orientation(&malformed)),
                (1, None),
                "{malformed:?}"
            );
        }
    }

    #[test]
    fn exif_truncated_and_corrupted_blocks_are_handled() {
        for is_big_endian in [true, false] {
            let whole = block(
                is_big_endian,
                &[
                    (0x010f, ASCII, 4, 0),
                    (ORIENTATION, SHORT, 1, short_value(is_big_endian, 6)),
                    (0x0131, ASCII, 4, 0),
                ],
            );
            // The header, the count, and two entries, the second of which is the orientation.
            let needed = 8 + 2 + 2 * ENTRY_BYTES;
            for end in 0..=whole.len() {
                assert_eq!(orientation(&whole[..end]), if end < needed { 1 } else { 6 }, "{end}");
                if end < needed {
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
    fn exif_is_read_up_to_max_entries() {
        let with_orientation_after = |others: usize| {
            let mut entries = vec![(0x8769, 4, 1, 8); others];
            entries.push((ORIENTATION, SHORT, 1, short_value(true, 6)));
            block(true, &entries)
        };
        assert_eq!(orientation(&with_orientation_after(511)), 6);
        for others in [512, 5400] {
            let block = with_orientation_after(others);
            assert_eq!((orientation(&block), stored_orientation(&block)), (1, None), "{others}");
        }
        // The largest count, with one entry present; and a directory that overlaps the header.
        let mut block = block(true, &[(ORIENTATION, SHORT, 1, short_value(true, 6))]);
        block[8..10].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(orientation(&block), 6);
        for directory in 0..16 {
            block[7] = directory;
            assert!([1, 6].contains(&orientation(&block)));
        }
    }

    fn fields(artist: &str, copyright: &str) -> Copyright {
        Copyright { artist: artist.into(), copyright: copyright.into() }
    }

    #[test]
    fn exif_copyright_round_trips() {
        for copyright in [
            fields("Aitzol", "CC-BY"),
            fields("", "©"),
            fields("abc", ""),
            fields("abcd", "x"),
            fields("photographer", "one\0other"),
            fields("a", &"y".repeat(MAX_TEXT)),
        ] {
            assert_eq!(Copyright::parse(&copyright.to_exif()), Some(copyright.clone()));
            let prefixed = [b"Exif\0\0", &copyright.to_exif()[..]].concat();
            assert_eq!(Copyright::parse(&prefixed), Some(copyright));
        }
        assert_eq!(Copyright::parse(&Copyright::default().to_exif()), None);
    }

    #[test]
    fn exif_copyright_is_read_from_little_endian_blocks_with_other_tags() {
        let mut block = b"II\x2a\0\x08\0\0\0\x03\0".to_vec();
        block.extend(*b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0");
        block.extend(*b"\x3b\x01\x02\0\x04\0\0\0Ann\0");
        block.extend(*b"\x98\x82\x02\0\x06\0\0\0\x32\0\0\0\0\0\0\0mine!\0");
        assert_eq!(Copyright::parse(&block), Some(fields("Ann", "mine!")));
        // Truncated or corrupted anywhere: no panic, and no bytes of other fields.
        for end in 0..block.len() {
            if let Some(found) = Copyright::parse(&block[..end]) {
                assert_eq!(found, fields("Ann", ""));
            }
        }
        for at in 0..block.len() {
            for value in [0, 0x7f, 0xff] {
                let mut broken = block.clone();
                broken[at] = value;
                let _ = Copyright::parse(&broken);
            }
        }
    }

    #[test]
    fn exif_copyright_that_is_too_long_or_not_text_is_dropped() {
        assert_eq!(Copyright::parse(&fields("", &"y".repeat(MAX_TEXT + 1)).to_exif()), None);
        let mut number = fields("", "mine!").to_exif();
        number[13] = 4;
        assert_eq!(Copyright::parse(&number), None);
        for block in [
            &b""[..],
            b"Exif\0\0",
            b"MM\0\x2a",
            b"XX\0\x2a\0\0\0\x08\0\0",
            b"MM\0\x2a\xff\xff\xff\xff",
        ] {
            assert_eq!(Copyright::parse(block), None);
        }
    }
}
