//! The items of the `meta` box (ISO/IEC 14496-12 §8.11): their types, where their bytes are, and how they refer to
//! each other.
//!
//! Nothing is allocated in proportion to a number in the file: each count is compared with its limit first.

use std::borrow::Cow;

use super::boxes::{Boxes, Fields, Name, shown};
use super::error::Error;
use super::properties::{Associations, Property};

/// A grid of 256 tiles, its alpha and its metadata fit; libavif, libheif and browsers have limits of that kind.
pub const MAX_ITEMS: usize = 300;
/// Extents of one item. libavif writes one for each layer.
const MAX_EXTENTS: u16 = 32;
/// Boxes in `iref`: each item may be described by Exif and XMP and have a thumbnail and alpha.
const MAX_REFERENCES: usize = 4 * MAX_ITEMS;
/// Items that the boxes in `iref` name. Each tile may be named by a grid, alpha, Exif and XMP.
const MAX_TARGETS: usize = 4 * MAX_ITEMS;

/// The `meta` box of a file.
#[derive(Debug)]
pub struct Meta<'b> {
    file: &'b [u8],
    data: &'b [u8],
    /// The item that the file shows (`pitm`, §8.11.4).
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
    /// The number that others refer to.
    pub id: u32,
    /// As `av01`, `grid` or `Exif`.
    pub kind: Name,
    is_protected: bool,
    /// Where it is: `None` when `iloc` does not list it.
    place: Option<Place>,
    /// Which properties it has: `None` when `ipma` does not list it.
    pub associations: Option<Associations<'b>>,
}

/// An entry of `iloc` (§8.11.3).
#[derive(Debug)]
struct Place {
    /// Construction method 1: offsets count from the start of `idat`, not of the file.
    is_in_idat: bool,
    /// Offset and length of each extent. The length 0 reaches to the end.
    extents: Vec<(u64, u64)>,
}

/// A box of `iref` (§8.11.12).
#[derive(Debug)]
struct Reference<'b> {
    kind: Name,
    from: u32,
    is_wide: bool,
    /// Item numbers of two or four bytes.
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
    pub fn read(file: &'b [u8]) -> Result<Meta<'b>, Error> {
        let mut meta = super::boxes::meta(file)?;
        meta.full(0)?;
        let mut found: [(Name, Option<Fields<'b>>); 7] =
            [*b"hdlr", *b"pitm", *b"iinf", *b"iloc", *b"iref", *b"iprp", *b"idat"]
                .map(|name| (name, None));
        for inner in Boxes::inside(&meta) {
            let inner = inner?;
            if let Some((_, place)) = found.iter_mut().find(|(name, _)| *name == inner.name)
                && place.replace(inner).is_some()
            {
                return Err(Error::corrupt(format!("`meta` has two {} boxes", shown(inner.name))));
            }
        }
        let [hdlr, pitm, iinf, iloc, iref, iprp, idat] = found;
        let needed = |(name, fields): (Name, Option<Fields<'b>>)| {
            fields.ok_or_else(|| Error::corrupt(format!("`meta` has no {} box", shown(name))))
        };
        check_handler(needed(hdlr)?)?;
        let mut all = Meta {
            file,
            data: idat.1.map_or(&[], |idat| idat.rest()),
            primary: primary(needed(pitm)?)?,
            items: items(needed(iinf)?)?,
            references: iref.1.map_or(Ok(Vec::new()), references)?,
            properties: Vec::new(),
        };
        all.locate(needed(iloc)?)?;
        all.properties = super::properties::read(needed(iprp)?, &mut all.items)?;
        Ok(all)
    }

    /// An item that a reference, or `pitm`, names.
    pub fn item(&self, id: u32) -> Result<&Item<'b>, Error> {
        let found = self.items.iter().find(|item| item.id == id);
        found.ok_or_else(|| Error::corrupt(format!("item {id} is used and not in `iinf`")))
    }

    /// The items that this one refers to.
    pub fn from(&self, kind: Name, from: u32) -> impl Iterator<Item = u32> {
        self.references
            .iter()
            .filter(move |reference| reference.kind == kind && reference.from == from)
            .flat_map(Reference::to)
    }

    /// The items that refer to this one.
    pub fn to(&self, kind: Name, to: u32) -> impl Iterator<Item = u32> {
        self.references
            .iter()
            .filter(move |reference| reference.kind == kind && reference.to().any(|id| id == to))
            .map(|reference| reference.from)
    }

    /// The bytes of an item: borrowed where they are in one piece, and otherwise copied, which `copies_left` bounds
    /// before anything is allocated.
    pub fn bytes(&self, item: &Item<'b>, copies_left: &mut usize) -> Result<Cow<'b, [u8]>, Error> {
        if item.is_protected {
            return Err(Error::unsupported("it is encrypted"));
        }
        let place = item.place.as_ref().filter(|place| !place.extents.is_empty());
        let place = place.ok_or_else(|| Error::corrupt("`iloc` does not say where it is"))?;
        let whole = if place.is_in_idat { self.data } else { self.file };
        if let [extent] = place.extents[..] {
            return cut(whole, extent).map(Cow::Borrowed).ok_or_else(beyond);
        }
        let pieces =
            place.extents.iter().map(|extent| cut(whole, *extent)).collect::<Option<Vec<_>>>();
        let pieces = pieces.ok_or_else(beyond)?;
        let length = pieces.iter().fold(0, |sum: usize, piece| sum.saturating_add(piece.len()));
        spend(copies_left, length)?;
        Ok(Cow::Owned(pieces.concat()))
    }

    /// How many bytes an item has, as far as they are there.
    pub fn stored(&self, item: &Item) -> u64 {
        let Some(place) = &item.place else { return 0 };
        let end = if place.is_in_idat { self.data.len() } else { self.file.len() } as u64;
        place.extents.iter().fold(0, |sum: u64, (offset, length)| {
            let there = end.saturating_sub(*offset);
            sum.saturating_add(if *length == 0 { there } else { there.min(*length) })
        })
    }

    /// Reads `iloc` (§8.11.3).
    fn locate(&mut self, mut iloc: Fields<'b>) -> Result<(), Error> {
        let (version, _) = iloc.full(2)?;
        let sizes = iloc.u16()?;
        let size = |shift: u16| (sizes >> shift & 15) as u8;
        let (offset_size, length_size, base_size) = (size(12), size(8), size(4));
        let index_size = if version == 0 { 0 } else { size(0) };
        let is_wide = version == 2;
        let count = iloc.number(is_wide)?;
        check_count("iloc", count)?;
        for _ in 0..count {
            let id = iloc.number(is_wide)?;
            let method = if version == 0 { 0 } else { iloc.u16()? & 15 };
            let data_reference = iloc.u16()?;
            let base = iloc.sized(base_size)?;
            let count = iloc.u16()?;
            if method > 1 || data_reference != 0 {
                return Err(Error::unsupported("its bytes are in another item or in another file")
                    .of_item(id));
            }
            if count > MAX_EXTENTS {
                let sentence = format!("it is in {count} pieces; {MAX_EXTENTS} are allowed");
                return Err(Error::unsupported(sentence).of_item(id));
            }
            let mut extents = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                iloc.sized(index_size)?;
                let offset = base.saturating_add(iloc.sized(offset_size)?);
                extents.push((offset, iloc.sized(length_size)?));
            }
            // An entry without an item is ignored.
            if let Some(item) = self.items.iter_mut().find(|item| item.id == id)
                && item.place.replace(Place { is_in_idat: method == 1, extents }).is_some()
            {
                return Err(Error::corrupt("`iloc` lists it twice").of_item(id));
            }
        }
        Ok(())
    }
}

/// Takes the length of a copy off what copies may still have.
pub fn spend(copies_left: &mut usize, length: usize) -> Result<(), Error> {
    *copies_left = copies_left.checked_sub(length).ok_or_else(|| {
        Error::unsupported("its pieces overlap: the items are larger than the file")
    })?;
    Ok(())
}

fn beyond() -> Error {
    Error::corrupt("the file ends before its bytes do")
}

/// An extent; all of it is there.
fn cut(whole: &[u8], (offset, length): (u64, u64)) -> Option<&[u8]> {
    let rest = whole.get(usize::try_from(offset).ok()?..)?;
    if length == 0 { Some(rest) } else { rest.get(..usize::try_from(length).ok()?) }
}

fn check_count(name: &str, count: u32) -> Result<(), Error> {
    if usize::try_from(count).is_ok_and(|count| count <= MAX_ITEMS) {
        return Ok(());
    }
    Err(Error::unsupported(format!("`{name}` lists {count} items; {MAX_ITEMS} are allowed")))
}

/// `hdlr` (§8.4.3): a file whose `meta` is for images says `pict`.
fn check_handler(mut hdlr: Fields) -> Result<(), Error> {
    hdlr.full(0)?;
    hdlr.u32()?;
    let handler = hdlr.name()?;
    if handler != *b"pict" {
        return Err(Error::corrupt(format!("`meta` is for {} and not for `pict`", shown(handler))));
    }
    Ok(())
}

/// `pitm` (§8.11.4)
fn primary(mut pitm: Fields) -> Result<u32, Error> {
    let (version, _) = pitm.full(1)?;
    pitm.number(version == 1)
}

/// `iinf` (§8.11.6): each item counts, whether anything locates or uses it.
fn items<'b>(mut iinf: Fields<'b>) -> Result<Vec<Item<'b>>, Error> {
    let (version, _) = iinf.full(1)?;
    let count = iinf.number(version == 1)?;
    check_count("iinf", count)?;
    let mut items: Vec<Item> = Vec::new();
    for infe in Boxes::inside(&iinf) {
        let infe = infe?;
        if infe.name != *b"infe" {
            return Err(Error::corrupt(format!("`iinf` contains {}", shown(infe.name))));
        }
        let item = item(infe)?;
        if items.iter().any(|other| other.id == item.id) {
            return Err(Error::corrupt("`iinf` lists it twice").of_item(item.id));
        }
        items.push(item);
        if items.len() > MAX_ITEMS {
            return Err(Error::unsupported(format!("`iinf` has more than {MAX_ITEMS} items")));
        }
    }
    if u32::try_from(items.len()) != Ok(count) {
        let sentence = format!("`iinf` says that it has {count} items and has {}", items.len());
        return Err(Error::corrupt(sentence));
    }
    Ok(items)
}

/// `infe`. Versions 0 and 1 name no type (§8.11.6.2).
fn item<'b>(mut infe: Fields<'b>) -> Result<Item<'b>, Error> {
    let (version, _) = infe.full(3)?;
    if version < 2 {
        return Err(Error::unsupported(format!(
            "box `infe` has version {version}, which names no type"
        )));
    }
    let id = infe.number(version == 3)?;
    let is_protected = infe.u16()? != 0;
    let kind = infe.name()?;
    match &kind {
        // A tone map is ignored, and what it is derived from is shown.
        b"av01" | b"grid" | b"Exif" | b"mime" | b"uri " | b"tmap" => {}
        _ => {
            let sentence = format!("its type {} is not supported", shown(kind));
            return Err(Error::unsupported(sentence).of_item(id));
        }
    }
    Ok(Item { id, kind, is_protected, place: None, associations: None })
}

/// `iref` (§8.11.12). Only references that are looked at are kept.
fn references<'b>(mut iref: Fields<'b>) -> Result<Vec<Reference<'b>>, Error> {
    let (version, _) = iref.full(1)?;
    let is_wide = version == 1;
    let mut references = Vec::new();
    let mut targets: usize = 0;
    for (number, reference) in Boxes::inside(&iref).enumerate() {
        let mut reference = reference?;
        if number >= MAX_REFERENCES {
            return Err(Error::unsupported(format!(
                "`iref` has more than {MAX_REFERENCES} references"
            )));
        }
        let from = reference.number(is_wide)?;
        let count = reference.u16()?;
        if usize::from(count) > MAX_ITEMS {
            let sentence = format!("it refers to {count} items; {MAX_ITEMS} are allowed");
            return Err(Error::unsupported(sentence).of_item(from));
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
