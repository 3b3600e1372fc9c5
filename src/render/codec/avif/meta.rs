//! The `meta` box (ISO/IEC 14496-12 §8.11): its items with their references and data.
//!
//! Every count in the file is compared with a limit before anything is allocated.

use std::borrow::Cow;

use super::boxes::{Boxes, Fields, Name, children, quoted, required};
use super::error::Error;
use super::items::{Item, MAX_ITEMS, read_items, read_locations};
use super::properties::{self, Property};

/// Boxes in `iref`: each item may be described by Exif and XMP and have a thumbnail and alpha.
const MAX_REFERENCES: usize = 4 * MAX_ITEMS;
/// Items that the boxes in `iref` name in total: each tile may be named by a grid, alpha, Exif and XMP.
const MAX_TARGETS: usize = 4 * MAX_ITEMS;

/// The `meta` box of a file.
#[derive(Debug)]
pub struct Meta<'b> {
    file: &'b [u8],
    idat: &'b [u8],
    /// The item to show (`pitm`, §8.11.4).
    pub primary: u32,
    /// All items of `iinf`, used or not.
    pub items: Vec<Item<'b>>,
    references: Vec<Reference<'b>>,
    /// The boxes of `ipco`.
    pub properties: Vec<Property<'b>>,
}

/// A box of `iref` (§8.11.12).
#[derive(Debug)]
struct Reference<'b> {
    kind: Name,
    from: u32,
    is_wide: bool,
    /// Item ids of two or four bytes.
    to: &'b [u8],
}

impl Reference<'_> {
    fn to(&self) -> impl Iterator<Item = u32> {
        let length = if self.is_wide { 4 } else { 2 };
        self.to
            .chunks_exact(length)
            .map(|id| id.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}

impl<'b> Meta<'b> {
    /// Reads the `meta` box of a file.
    pub fn read(file: &'b [u8], mut meta: Fields<'b>) -> Result<Meta<'b>, Error> {
        meta.version_and_flags(0)?;
        let names = [*b"hdlr", *b"pitm", *b"iinf", *b"iloc", *b"iref", *b"iprp", *b"idat"];
        let [hdlr, pitm, iinf, iloc, iref, iprp, idat] = children(&meta, names)?;
        let required = |name, found| required(&meta, name, found);
        check_handler(required(*b"hdlr", hdlr)?)?;
        let primary = read_primary(required(*b"pitm", pitm)?)?;
        let mut items = read_items(required(*b"iinf", iinf)?)?;
        let references = iref.map_or(Ok(Vec::new()), read_references)?;
        read_locations(required(*b"iloc", iloc)?, &mut items)?;
        let properties = properties::read(required(*b"iprp", iprp)?, &mut items)?;
        let idat = idat.map_or(&[][..], |idat| idat.rest());
        Ok(Meta { file, idat, primary, items, references, properties })
    }

    /// The item that a reference or `pitm` names.
    pub fn item(&self, id: u32) -> Result<&Item<'b>, Error> {
        let found = self.items.iter().find(|item| item.id == id);
        found.ok_or_else(|| Error::corrupt(format!("item {id} is referenced but not in `iinf`")))
    }

    /// The items that this one refers to.
    pub fn references_from(&self, kind: Name, from: u32) -> impl Iterator<Item = u32> {
        self.references
            .iter()
            .filter(move |reference| reference.kind == kind && reference.from == from)
            .flat_map(Reference::to)
    }

    /// The items that refer to this one.
    pub fn references_to(&self, kind: Name, to: u32) -> impl Iterator<Item = u32> {
        self.references
            .iter()
            .filter(move |reference| reference.kind == kind && reference.to().any(|id| id == to))
            .map(|reference| reference.from)
    }

    /// The data of an item: borrowed if it is one extent, otherwise copied. `copies_left` bounds the copy before
    /// anything is allocated.
    pub fn data(&self, item: &Item<'b>, copies_left: &mut usize) -> Result<Cow<'b, [u8]>, Error> {
        if item.is_protected {
            return Err(Error::unsupported("it is encrypted"));
        }
        let location = item.location.as_ref().filter(|location| !location.extents.is_empty());
        let location = location.ok_or_else(|| Error::corrupt("`iloc` does not locate it"))?;
        let whole = if location.is_in_idat { self.idat } else { self.file };
        if let [extent] = location.extents[..] {
            return slice(whole, extent).map(Cow::Borrowed).ok_or_else(past_end);
        }
        let parts =
            location.extents.iter().map(|extent| slice(whole, *extent)).collect::<Option<Vec<_>>>();
        let parts = parts.ok_or_else(past_end)?;
        let length = parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.len()));
        spend(copies_left, length)?;
        Ok(Cow::Owned(parts.concat()))
    }

    /// Bytes of an item that are in the file.
    pub fn stored_bytes(&self, item: &Item) -> u64 {
        let Some(location) = &item.location else { return 0 };
        let end = if location.is_in_idat { self.idat.len() } else { self.file.len() } as u64;
        location.extents.iter().fold(0, |sum: u64, (offset, length)| {
            let present = end.saturating_sub(*offset);
            sum.saturating_add(if *length == 0 { present } else { present.min(*length) })
        })
    }
}

/// Subtracts the length of a copy from the bytes that may still be copied.
pub fn spend(copies_left: &mut usize, length: usize) -> Result<(), Error> {
    *copies_left = copies_left.checked_sub(length).ok_or_else(|| {
        Error::unsupported("its extents overlap: the items are larger than the file")
    })?;
    Ok(())
}

fn past_end() -> Error {
    Error::corrupt("its data extends past the end of the file")
}

/// A complete extent.
fn slice(whole: &[u8], (offset, length): (u64, u64)) -> Option<&[u8]> {
    let rest = whole.get(usize::try_from(offset).ok()?..)?;
    if length == 0 { Some(rest) } else { rest.get(..usize::try_from(length).ok()?) }
}

/// `hdlr` (§8.4.3): the handler of images is `pict`.
fn check_handler(mut hdlr: Fields) -> Result<(), Error> {
    hdlr.version_and_flags(0)?;
    hdlr.u32()?;
    let handler = hdlr.name()?;
    if handler != *b"pict" {
        return Err(Error::corrupt(format!(
            "the handler of `meta` is {}, not `pict`",
            quoted(handler)
        )));
    }
    Ok(())
}

/// `pitm` (§8.11.4)
fn read_primary(mut pitm: Fields) -> Result<u32, Error> {
    let (version, _) = pitm.version_and_flags(1)?;
    pitm.u16_or_u32(version == 1)
}

/// `iref` (§8.11.12). Reference types that are not used are dropped.
fn read_references<'b>(mut iref: Fields<'b>) -> Result<Vec<Reference<'b>>, Error> {
    let (version, _) = iref.version_and_flags(1)?;
    let is_wide = version == 1;
    let mut references = Vec::new();
    let mut targets: usize = 0;
    for (number, reference) in Boxes::children(&iref).enumerate() {
        let mut reference = reference?;
        if number >= MAX_REFERENCES {
            return Err(Error::unsupported(format!(
                "`iref` has more than {MAX_REFERENCES} references"
            )));
        }
        let from = reference.u16_or_u32(is_wide)?;
        let count = reference.u16()?;
        if usize::from(count) > MAX_ITEMS {
            let sentence = format!("it refers to {count} items; at most {MAX_ITEMS} are allowed");
            return Err(Error::unsupported(sentence).in_item(from));
        }
        let to = reference.take(usize::from(count) * if is_wide { 4 } else { 2 })?;
        targets = targets.saturating_add(count.into());
        if targets > MAX_TARGETS {
            return Err(Error::unsupported(format!("`iref` names more than {MAX_TARGETS} items")));
        }
        if matches!(&reference.name, b"dimg" | b"auxl" | b"prem" | b"cdsc") {
            references.push(Reference { kind: reference.name, from, is_wide, to });
        }
    }
    Ok(references)
}
