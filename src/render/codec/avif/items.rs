//! The items of the `meta` box (ISO/IEC 14496-12 §8.11): types, locations and references.
//!
//! Every count in the file is compared with a limit before anything is allocated.

use std::borrow::Cow;

use super::boxes::{Boxes, Fields, Name, quoted};
use super::error::Error;
use super::properties::{Associations, Property};

/// Enough for a grid of 256 tiles with alpha and metadata. libavif, libheif and browsers have similar limits.
pub const MAX_ITEMS: usize = 300;
/// Extents of one item. libavif writes one per layer.
const MAX_EXTENTS: u16 = 32;
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

/// An entry of `iinf` (§8.11.6) with its entries of `iloc` and `ipma`.
#[derive(Debug)]
pub struct Item<'b> {
    pub id: u32,
    /// For example `av01`, `grid` or `Exif`.
    pub kind: Name,
    is_protected: bool,
    /// `None` if `iloc` does not list the item.
    location: Option<Location>,
    /// `None` if `ipma` does not list the item.
    pub associations: Option<Associations<'b>>,
}

/// An entry of `iloc` (§8.11.3).
#[derive(Debug)]
struct Location {
    /// Construction method 1: offsets are relative to `idat`, not to the file.
    is_in_idat: bool,
    /// Offset and length of each extent. A length of 0 extends to the end.
    extents: Vec<(u64, u64)>,
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
    pub fn read(file: &'b [u8]) -> Result<Meta<'b>, Error> {
        let mut meta = super::boxes::find_meta(file)?;
        meta.version_and_flags(0)?;
        let mut found: [(Name, Option<Fields<'b>>); 7] =
            [*b"hdlr", *b"pitm", *b"iinf", *b"iloc", *b"iref", *b"iprp", *b"idat"]
                .map(|name| (name, None));
        for inner in Boxes::children(&meta) {
            let inner = inner?;
            if let Some((_, slot)) = found.iter_mut().find(|(name, _)| *name == inner.name)
                && slot.replace(inner).is_some()
            {
                return Err(Error::corrupt(format!("`meta` has two {} boxes", quoted(inner.name))));
            }
        }
        let [hdlr, pitm, iinf, iloc, iref, iprp, idat] = found;
        let required = |(name, fields): (Name, Option<Fields<'b>>)| {
            fields.ok_or_else(|| Error::corrupt(format!("`meta` has no {} box", quoted(name))))
        };
        check_handler(required(hdlr)?)?;
        let mut meta = Meta {
            file,
            idat: idat.1.map_or(&[], |idat| idat.rest()),
            primary: read_primary(required(pitm)?)?,
            items: read_items(required(iinf)?)?,
            references: iref.1.map_or(Ok(Vec::new()), read_references)?,
            properties: Vec::new(),
        };
        meta.read_locations(required(iloc)?)?;
        meta.properties = super::properties::read(required(iprp)?, &mut meta.items)?;
        Ok(meta)
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

    /// Reads `iloc` (§8.11.3).
    fn read_locations(&mut self, mut iloc: Fields<'b>) -> Result<(), Error> {
        let (version, _) = iloc.version_and_flags(2)?;
        let sizes = iloc.u16()?;
        let size = |shift: u16| (sizes >> shift & 15) as u8;
        let offset_size = size(12);
        let length_size = size(8);
        let base_size = size(4);
        let index_size = if version == 0 { 0 } else { size(0) };
        let is_wide = version == 2;
        let count = iloc.u16_or_u32(is_wide)?;
        check_count("iloc", count)?;
        for _ in 0..count {
            let id = iloc.u16_or_u32(is_wide)?;
            let method = if version == 0 { 0 } else { iloc.u16()? & 15 };
            let data_reference = iloc.u16()?;
            let base = iloc.sized_uint(base_size)?;
            let count = iloc.u16()?;
            if method > 1 || data_reference != 0 {
                return Err(
                    Error::unsupported("its data is in another item or another file").in_item(id)
                );
            }
            if count > MAX_EXTENTS {
                let sentence = format!("it has {count} extents; at most {MAX_EXTENTS} are allowed");
                return Err(Error::unsupported(sentence).in_item(id));
            }
            let mut extents = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                iloc.sized_uint(index_size)?;
                let offset = base.saturating_add(iloc.sized_uint(offset_size)?);
                extents.push((offset, iloc.sized_uint(length_size)?));
            }
            // Entries without an item are ignored.
            if let Some(item) = self.items.iter_mut().find(|item| item.id == id)
                && item.location.replace(Location { is_in_idat: method == 1, extents }).is_some()
            {
                return Err(Error::corrupt("`iloc` lists it twice").in_item(id));
            }
        }
        Ok(())
    }
}

/// Subtracts the length of a copy from what may still be copied.
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

fn check_count(name: &str, count: u32) -> Result<(), Error> {
    if usize::try_from(count).is_ok_and(|count| count <= MAX_ITEMS) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "`{name}` lists {count} items; at most {MAX_ITEMS} are allowed"
    )))
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

/// `iinf` (§8.11.6). Items that nothing locates or uses count as well.
fn read_items<'b>(mut iinf: Fields<'b>) -> Result<Vec<Item<'b>>, Error> {
    let (version, _) = iinf.version_and_flags(1)?;
    let count = iinf.u16_or_u32(version == 1)?;
    check_count("iinf", count)?;
    let mut items: Vec<Item> = Vec::new();
    for infe in Boxes::children(&iinf) {
        let infe = infe?;
        if infe.name != *b"infe" {
            return Err(Error::corrupt(format!("`iinf` contains {}", quoted(infe.name))));
        }
        let item = read_item(infe)?;
        if items.iter().any(|other| other.id == item.id) {
            return Err(Error::corrupt("`iinf` lists it twice").in_item(item.id));
        }
        items.push(item);
        if items.len() > MAX_ITEMS {
            return Err(Error::unsupported(format!("`iinf` has more than {MAX_ITEMS} items")));
        }
    }
    if u32::try_from(items.len()) != Ok(count) {
        let sentence = format!("`iinf` declares {count} items and has {}", items.len());
        return Err(Error::corrupt(sentence));
    }
    Ok(items)
}

/// `infe`. Versions 0 and 1 have no item type (§8.11.6.2).
fn read_item<'b>(mut infe: Fields<'b>) -> Result<Item<'b>, Error> {
    let (version, _) = infe.version_and_flags(3)?;
    if version < 2 {
        return Err(Error::unsupported(format!(
            "box `infe` has version {version}, which has no item type"
        )));
    }
    let id = infe.u16_or_u32(version == 3)?;
    let is_protected = infe.u16()? != 0;
    let kind = infe.name()?;
    match &kind {
        // A tone map is ignored; the image that it is derived from is shown.
        b"av01" | b"grid" | b"Exif" | b"mime" | b"uri " | b"tmap" => {}
        _ => {
            let sentence = format!("its type {} is not supported", quoted(kind));
            return Err(Error::unsupported(sentence).in_item(id));
        }
    }
    Ok(Item { id, kind, is_protected, location: None, associations: None })
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
