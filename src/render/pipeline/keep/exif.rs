//! The two fields of EXIF that say whose a picture is, read from a block of anybody's and written into one of ours.
//!
//! A block is a TIFF file (TIFF 6.0 §2, CIPA DC-008 §4.5.2): a header, then a directory of 12-byte entries.

/// Tag, type ASCII and the longest value that is kept, which keeps the block within a segment of JPEG.
const ARTIST: u16 = 0x013b;
const COPYRIGHT: u16 = 0x8298;
const ASCII: u16 = 2;
const LONGEST: usize = 4096;
/// The most entries of the directory that are read.
const MOST_ENTRIES: u16 = 1000;

/// What an original says of its author, without the NUL at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copyright {
    artist: Vec<u8>,
    copyright: Vec<u8>,
}

impl Copyright {
    /// The fields of an EXIF block, with or without JPEG's `Exif` in front; `None` if it has none of them.
    pub fn read(block: &[u8]) -> Option<Copyright> {
        let tiff = Tiff::new(block.strip_prefix(b"Exif\0\0").unwrap_or(block))?;
        let directory = usize::try_from(tiff.long(4)?).ok()?;
        let mut found = Copyright::default();
        for number in 0..tiff.short(directory)?.min(MOST_ENTRIES) {
            let entry = directory.checked_add(2 + 12 * usize::from(number))?;
            let Some(tag) = tiff.short(entry) else { break };
            let place = match tag {
                ARTIST => &mut found.artist,
                COPYRIGHT => &mut found.copyright,
                _ => continue,
            };
            if let Some(value) = tiff.text(entry) {
                *place = value;
            }
        }
        (found != Copyright::default()).then_some(found)
    }

    /// A block with these fields alone, big-endian.
    pub fn exif(&self) -> Vec<u8> {
        let fields = [(ARTIST, &self.artist), (COPYRIGHT, &self.copyright)];
        let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let mut block = b"MM\0\x2a\0\0\0\x08".to_vec();
        let mut values = Vec::new();
        // Behind the header: the number of entries, the entries, and that no other directory follows.
        let behind = 8 + 2 + 12 * fields.len() + 4;
        block.extend((fields.len() as u16).to_be_bytes());
        for (tag, value) in fields {
            let length = value.len() + 1;
            block.extend(tag.to_be_bytes());
            block.extend(ASCII.to_be_bytes());
            block.extend((length as u32).to_be_bytes());
            let mut written = value.clone();
            written.push(0);
            if length <= 4 {
                written.resize(4, 0);
                block.extend(written);
            } else {
                block.extend(((behind + values.len()) as u32).to_be_bytes());
                values.extend(written);
                // A value begins at a word.
                values.resize(values.len().next_multiple_of(2), 0);
            }
        }
        block.extend([0; 4]);
        block.extend(values);
        block
    }
}

struct Tiff<'b> {
    bytes: &'b [u8],
    is_big: bool,
}

impl<'b> Tiff<'b> {
    fn new(bytes: &'b [u8]) -> Option<Tiff<'b>> {
        let is_big = match bytes.get(..4)? {
            b"MM\0\x2a" => true,
            b"II\x2a\0" => false,
            _ => return None,
        };
        Some(Tiff { bytes, is_big })
    }

    fn short(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// The value of an entry of type ASCII: in the entry itself where it fits. A NUL stands between the photographer's
    /// and the editor's copyright, so only those at the end are taken off.
    fn text(&self, entry: usize) -> Option<Vec<u8>> {
        if self.short(entry.checked_add(2)?)? != ASCII {
            return None;
        }
        let length = usize::try_from(self.long(entry.checked_add(4)?)?).ok()?;
        let place = entry.checked_add(8)?;
        let start = if length <= 4 { place } else { usize::try_from(self.long(place)?).ok()? };
        let value = self.bytes.get(start..start.checked_add(length)?)?;
        let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let value = value.get(..end)?;
        (!value.is_empty() && value.len() <= LONGEST).then(|| value.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(artist: &str, copyright: &str) -> Copyright {
        Copyright { artist: artist.into(), copyright: copyright.into() }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for fields in [
            of("Aitzol", "CC-BY"),
            of("", "©"),
            of("abc", ""),
            of("abcd", "x"),
            of("photographer", "one\0other"),
            of("a", &"y".repeat(LONGEST)),
        ] {
            assert_eq!(Copyright::read(&fields.exif()), Some(fields.clone()));
            let prefixed = [b"Exif\0\0", &fields.exif()[..]].concat();
            assert_eq!(Copyright::read(&prefixed), Some(fields));
        }
        assert_eq!(Copyright::read(&Copyright::default().exif()), None);
    }

    #[test]
    fn little_endian_is_read_and_other_tags_are_passed_over() {
        let mut block = b"II\x2a\0\x08\0\0\0\x03\0".to_vec();
        block.extend(*b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0");
        block.extend(*b"\x3b\x01\x02\0\x04\0\0\0Ann\0");
        block.extend(*b"\x98\x82\x02\0\x06\0\0\0\x32\0\0\0\0\0\0\0mine!\0");
        assert_eq!(Copyright::read(&block), Some(of("Ann", "mine!")));
        // The same with each byte missing or wrong: never a panic, never bytes from elsewhere.
        for end in 0..block.len() {
            if let Some(found) = Copyright::read(&block[..end]) {
                assert_eq!(found, of("Ann", ""));
            }
        }
        for at in 0..block.len() {
            for value in [0, 0x7f, 0xff] {
                let mut broken = block.clone();
                broken[at] = value;
                let _ = Copyright::read(&broken);
            }
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_is_left_out() {
        assert_eq!(Copyright::read(&of("", &"y".repeat(LONGEST + 1)).exif()), None);
        let mut number = of("", "mine!").exif();
        number[13] = 4;
        assert_eq!(Copyright::read(&number), None);
        for block in
            [&b""[..], b"Exif\0\0", b"MM\0\x2a", b"XX\0\x2a\0\0\0\x08\0\0", b"MM\0\x2a\xff\xff\xff\xff"]
        {
            assert_eq!(Copyright::read(block), None);
        }
    }
}
