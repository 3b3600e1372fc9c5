//! The items of the `meta` box (ISO/IEC 14496-12 §8.11): types, locations and associations with properties.
//!
//! Every count in the file is compared with a limit before anything is allocated.

use super::boxes::{Boxes, Fields, Name, quoted};
use super::error::Error;

/// Enough for a grid of 256 tiles with alpha and metadata. libavif, libheif and browsers have similar limits.
pub const MAX_ITEMS: usize = 300;
/// Extents of one item. libavif writes one per layer.
const MAX_EXTENTS: u16 = 32;

/// An entry of `iinf` (§8.11.6) with its entries of `iloc` and `ipma`.
#[derive(Debug)]
pub struct Item<'b> {
    pub id: u32,
    /// For example `av01`, `grid` or `Exif`.
    pub kind: Name,
    pub is_protected: bool,
    /// `None` if `iloc` does not list the item.
    pub location: Option<Location>,
    /// `None` if `ipma` does not list the item.
    pub associations: Option<Associations<'b>>,
}

/// An entry of `iloc` (§8.11.3).
#[derive(Debug)]
pub struct Location {
    /// Construction method 1: offsets are relative to `idat`, not to the file.
    pub is_in_idat: bool,
    /// Offset and length of each extent. A length of 0 extends to the end.
    pub extents: Vec<(u64, u64)>,
}

/// The properties of one item as `ipma` lists them.
#[derive(Clone, Copy, Debug)]
pub struct Associations<'b> {
    is_wide: bool,
    /// Flag and index of each property, in one or two bytes.
    entries: &'b [u8],
}

impl Associations<'_> {
    /// Whether a property is essential, and its index in `ipco`, counted from 1.
    pub fn iter(&self) -> impl Iterator<Item = (bool, usize)> {
        let (length, bits) = if self.is_wide { (2, 15) } else { (1, 7) };
        self.entries.chunks_exact(length).map(move |entry| {
            let number = entry.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
            (number >> bits == 1, number & ((1 << bits) - 1))
        })
    }
}

fn check_count(name: &str, count: u32) -> Result<(), Error> {
    if usize::try_from(count).is_ok_and(|count| count <= MAX_ITEMS) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "`{name}` lists {count} items; at most {MAX_ITEMS} are allowed"
    )))
}

/// `iinf` (§8.11.6). Items that nothing locates or uses count as well.
pub fn read_items<'b>(mut iinf: Fields<'b>) -> Result<Vec<Item<'b>>, Error> {
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

/// Reads `iloc` (§8.11.3).
pub fn read_locations(mut iloc: Fields, items: &mut [Item]) -> Result<(), Error> {
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
        if let Some(item) = items.iter_mut().find(|item| item.id == id)
            && item.location.replace(Location { is_in_idat: method == 1, extents }).is_some()
        {
            return Err(Error::corrupt("`iloc` lists it twice").in_item(id));
        }
    }
    Ok(())
}

/// Reads `ipma` (ISO/IEC 23008-12 §9.3.1).
pub fn read_associations<'b>(mut ipma: Fields<'b>, items: &mut [Item<'b>]) -> Result<(), Error> {
    let (version, flags) = ipma.version_and_flags(1)?;
    let is_wide = flags & 1 == 1;
    let count = ipma.u32()?;
    if usize::try_from(count).is_ok_and(|count| count > MAX_ITEMS) {
        let sentence = format!("`ipma` lists {count} items; at most {MAX_ITEMS} are allowed");
        return Err(Error::unsupported(sentence));
    }
    for _ in 0..count {
        let id = ipma.u16_or_u32(version == 1)?;
        let count = usize::from(ipma.u8()?);
        let entries = ipma.take(count * if is_wide { 2 } else { 1 })?;
        if let Some(item) = items.iter_mut().find(|item| item.id == id)
            && item.associations.replace(Associations { is_wide, entries }).is_some()
        {
            return Err(Error::corrupt("`ipma` lists it twice").in_item(id));
        }
    }
    Ok(())
}
