//! The two fields of EXIF that say whose an image is, read from a block of anybody's and written into one of ours.

use crate::render::exif::{ASCII, Tiff};

/// The tags, and the longest value that is kept, which keeps the block within a segment of JPEG.
const ARTIST: u16 = 0x013b;
const COPYRIGHT: u16 = 0x8298;
const LONGEST: usize = 4096;

/// What an original says of its author, without the NUL at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copyright {
    artist: Vec<u8>,
    copyright: Vec<u8>,
}

impl Copyright {
    /// The fields of an EXIF block, with or without JPEG's `Exif` in front; `None` if it has none of them.
    pub fn read(block: &[u8]) -> Option<Copyright> {
        let tiff = Tiff::new(block)?;
        let field = |tag| text(&tiff, tag).unwrap_or_default();
        let found = Copyright { artist: field(ARTIST), copyright: field(COPYRIGHT) };
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

/// The value of an entry of type ASCII: in the entry itself where it fits. A NUL stands between the photographer's and the
/// editor's copyright, so only those at the end are taken off.
fn text(tiff: &Tiff, tag: u16) -> Option<Vec<u8>> {
    let entry = tiff.entry(tag).filter(|entry| entry.kind == ASCII)?;
    let length = usize::try_from(entry.count).ok()?;
    let start =
        if length <= 4 { entry.value } else { usize::try_from(tiff.long(entry.value)?).ok()? };
    let value = tiff.bytes(start, length)?;
    let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let value = value.get(..end)?;
    (!value.is_empty() && value.len() <= LONGEST).then(|| value.to_vec())
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
        for block in [
            &b""[..],
            b"Exif\0\0",
            b"MM\0\x2a",
            b"XX\0\x2a\0\0\0\x08\0\0",
            b"MM\0\x2a\xff\xff\xff\xff",
        ] {
            assert_eq!(Copyright::read(block), None);
        }
    }
}
