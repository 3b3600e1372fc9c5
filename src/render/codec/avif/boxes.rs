//! Boxes (ISO/IEC 14496-12 §4.2) and their fields.

use super::error::Error;
use crate::render::codec::cursor::Cursor;

/// Four-character code of a box, an item type, a reference type or a property.
pub type Name = [u8; 4];

/// A name for a sentence, with unprintable bytes escaped.
pub fn quoted(name: Name) -> String {
    format!("`{}`", name.escape_ascii())
}

/// The unread fields of a box, or of an item with fields like a box.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'b> {
    pub name: Name,
    cursor: Cursor<'b>,
}

impl<'b> Fields<'b> {
    pub fn new(name: Name, payload: &'b [u8]) -> Fields<'b> {
        Fields { name, cursor: Cursor::new(payload) }
    }

    pub fn rest(&self) -> &'b [u8] {
        self.cursor.rest()
    }

    pub fn take(&mut self, length: usize) -> Result<&'b [u8], Error> {
        self.cursor.take(length).ok_or_else(|| self.truncated())
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        self.cursor.u8().ok_or_else(|| self.truncated())
    }

    pub fn u16(&mut self) -> Result<u16, Error> {
        self.cursor.u16_be().ok_or_else(|| self.truncated())
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.cursor.u32_be().ok_or_else(|| self.truncated())
    }

    /// Four bytes if `is_wide`, otherwise two.
    pub fn u16_or_u32(&mut self, is_wide: bool) -> Result<u32, Error> {
        if is_wide { self.u32() } else { self.u16().map(u32::from) }
    }

    /// Eight bytes if `is_wide`, otherwise four.
    pub fn u32_or_u64(&mut self, is_wide: bool) -> Result<u64, Error> {
        self.sized_uint(if is_wide { 8 } else { 4 })
    }

    /// A number of 0, 4 or 8 bytes, the sizes that `iloc` allows (§8.11.3.2).
    pub fn sized_uint(&mut self, length: u8) -> Result<u64, Error> {
        match length {
            0 => Ok(0),
            4 => self.u32().map(u64::from),
            8 => self.cursor.uint_be(8).ok_or_else(|| self.truncated()),
            _ => Err(Error::corrupt(format!(
                "box {} has fields of {length} bytes",
                quoted(self.name)
            ))),
        }
    }

    pub fn name(&mut self) -> Result<Name, Error> {
        self.cursor.array().ok_or_else(|| self.truncated())
    }

    /// Version and flags of a full box (§4.2); a version above `max_version` is refused.
    pub fn version_and_flags(&mut self, max_version: u8) -> Result<(u8, u32), Error> {
        let both = self.u32()?;
        let [version, ..] = both.to_be_bytes();
        if version > max_version {
            let sentence = format!("box {} has the unknown version {version}", quoted(self.name));
            return Err(Error::unsupported(sentence));
        }
        Ok((version, both & 0xff_ffff))
    }

    fn truncated(&self) -> Error {
        Error::corrupt(format!("box {} ends early", quoted(self.name)))
    }
}

/// Consecutive boxes. The iterator ends after an error.
#[derive(Clone, Debug)]
pub struct Boxes<'b> {
    parent: Name,
    cursor: Cursor<'b>,
}

impl<'b> Boxes<'b> {
    /// The child boxes in the rest of a box; each must be complete.
    pub fn children(fields: &Fields<'b>) -> Boxes<'b> {
        Boxes { parent: fields.name, cursor: fields.cursor }
    }

    fn header(&mut self) -> Option<(Name, Option<usize>)> {
        let length = self.cursor.u32_be()?;
        let name = self.cursor.array()?;
        let length = match length {
            // The box extends to the end of its parent.
            0 => Some(self.cursor.rest().len()),
            1 => self
                .cursor
                .uint_be(8)?
                .checked_sub(16)
                .and_then(|length| usize::try_from(length).ok()),
            _ => length.checked_sub(8).and_then(|length| usize::try_from(length).ok()),
        };
        Some((name, length))
    }
}

impl<'b> Iterator for Boxes<'b> {
    type Item = Result<Fields<'b>, Error>;

    fn next(&mut self) -> Option<Result<Fields<'b>, Error>> {
        if self.cursor.is_empty() {
            return None;
        }
        let next = match self.header() {
            None => {
                Err(Error::corrupt(format!("box {} ends within a box header", quoted(self.parent))))
            }
            Some((name, length)) => length
                .and_then(|length| self.cursor.take(length))
                .map(|payload| Fields::new(name, payload))
                .ok_or_else(|| {
                    Error::corrupt(format!(
                        "box {} in {} has a wrong length",
                        quoted(name),
                        quoted(self.parent)
                    ))
                }),
        };
        if next.is_err() {
            self.cursor = Cursor::new(&[]);
        }
        Some(next)
    }
}

/// The child boxes of these names, each of which may be there once. Others are skipped.
pub fn children<'b, const N: usize>(
    parent: &Fields<'b>,
    names: [Name; N],
) -> Result<[Option<Fields<'b>>; N], Error> {
    let mut found = [None; N];
    for inner in Boxes::children(parent) {
        let inner = inner?;
        if let Some((_, slot)) = names.iter().zip(&mut found).find(|(name, _)| **name == inner.name)
            && slot.replace(inner).is_some()
        {
            let (parent, name) = (quoted(parent.name), quoted(inner.name));
            return Err(Error::corrupt(format!("{parent} has two {name} boxes")));
        }
    }
    Ok(found)
}

/// A child box that must be there.
pub fn required<'b>(
    parent: &Fields,
    name: Name,
    found: Option<Fields<'b>>,
) -> Result<Fields<'b>, Error> {
    found.ok_or_else(|| {
        Error::corrupt(format!("{} has no {} box", quoted(parent.name), quoted(name)))
    })
}

/// The only box of this name at the top level of a file.
///
/// Boxes after it may be truncated: `iloc` tells whether the data of an item is there, and a sample table whether that of
/// a frame is.
pub fn find_box(file: &[u8], wanted: Name) -> Result<Option<Fields<'_>>, Error> {
    let mut boxes = Boxes { parent: *b"file", cursor: Cursor::new(file) };
    let mut found = None;
    while let Some((name, length)) = boxes.header() {
        let whole = length.and_then(|length| boxes.cursor.take(length));
        if name == wanted {
            let name = quoted(name);
            let payload =
                whole.ok_or_else(|| Error::corrupt(format!("box {name} is truncated")))?;
            if found.replace(Fields::new(wanted, payload)).is_some() {
                return Err(Error::corrupt(format!("the file has two {name} boxes")));
            }
        }
        if whole.is_none() {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Result<Vec<Name>, Error> {
        Boxes::children(&Fields::new(*b"test", bytes))
            .map(|inner| inner.map(|inner| inner.name))
            .collect()
    }

    #[test]
    fn box_length_has_four_or_eight_bytes_or_extends_to_the_end() {
        let bytes = b"\0\0\0\x0aabcd12\0\0\0\x01efgh\0\0\0\0\0\0\0\x113\0\0\0\0ijkl456";
        assert_eq!(names(bytes), Ok(vec![*b"abcd", *b"efgh", *b"ijkl"]));
    }

    #[test]
    fn box_must_fit_in_its_parent() {
        for bytes in [
            &b"\0\0\0\x0babcd12"[..],
            b"\0\0\0\x07abcd12",
            b"\0\0\0\x01abcd\0\0\0\0\0\0\0\x0f12",
            b"\0\0\0\x01abcd\xff\xff\xff\xff\xff\xff\xff\xff12",
        ] {
            assert_eq!(
                names(bytes),
                Err(Error::corrupt("box `abcd` in `test` has a wrong length"))
            );
        }
        let error = Error::corrupt("box `test` ends within a box header");
        assert_eq!(names(b"\0\0\0\x08abcd\0\0\0"), Err(error));
    }

    #[test]
    fn fields_end_with_their_box() {
        let mut fields = Fields::new(*b"te\0t", &[0, 1, 2, 3, 4]);
        assert_eq!(fields.version_and_flags(0), Ok((0, 0x01_0203)));
        assert_eq!(fields.u16(), Err(Error::corrupt("box `te\\x00t` ends early")));
        let mut fields = Fields::new(*b"test", &[2, 0, 0, 0]);
        assert_eq!(
            fields.version_and_flags(1),
            Err(Error::unsupported("box `test` has the unknown version 2"))
        );
        assert_eq!(
            Fields::new(*b"test", &[0; 8]).sized_uint(2),
            Err(Error::corrupt("box `test` has fields of 2 bytes"))
        );
    }

    #[test]
    fn meta_box_is_unique_and_complete_and_later_boxes_may_be_truncated() {
        let found = |bytes: &[u8]| {
            find_box(bytes, *b"meta").map(|found| found.map(|fields| fields.rest().to_vec()))
        };
        let corrupt = |sentence: &str| Err(Error::corrupt(sentence));
        assert_eq!(
            found(b"\0\0\0\x08ftyp\0\0\0\x0ameta12\0\0\xff\xffmdat12"),
            Ok(Some(b"12".to_vec()))
        );
        assert_eq!(found(b"\0\0\0\x08ftyp\0\0\0\x0bmeta12"), corrupt("box `meta` is truncated"));
        assert_eq!(found(b"\0\0\0\x08ftyp\0\0"), Ok(None));
        let two = b"\0\0\0\x08meta\0\0\0\x08meta";
        assert_eq!(found(two), corrupt("the file has two `meta` boxes"));
    }
}
