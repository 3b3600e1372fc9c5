//! The items of an AVIF: which type each has, where its bytes are, and what it is made of.

use super::pieces::Pieces;
use super::{boxes, child};
use crate::render::container::cursor::{Cursor, index};

/// libheif refuses a file with more of either.
const MOST_ITEMS: usize = 1000;
const MOST_EXTENTS: usize = 32;

/// An item with its bytes, as far as they are there.
#[derive(Debug)]
pub struct Item<'b> {
    /// As `av01`, `grid` or `Exif`.
    pub kind: [u8; 4],
    /// Its bytes.
    pub bytes: Pieces<'b>,
}

/// Shows the items of a `meta` box's contents in a file, one after the other; `None` where there is something wrong with
/// where they are, or with one of them.
pub fn each<'b>(meta: &'b [u8], file: &'b [u8], show: impl FnMut(Item<'b>) -> Option<()>) -> Option<()> {
    let kinds = child(meta, b"iinf").and_then(kinds).unwrap_or_default();
    let data = child(meta, b"idat").unwrap_or_default();
    match child(meta, b"iloc") {
        Some(iloc) => located(iloc, &kinds, file, data, show),
        None => Some(()),
    }
}

/// How many others the item that is made of the most is made of (`dimg` in the box `iref`, §8.11.12).
pub fn most_parts(meta: &[u8]) -> u64 {
    let Some(references) = child(meta, b"iref") else { return 0 };
    let wide = references.first().is_some_and(|version| *version > 0);
    let derived = boxes(references.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == b"dimg");
    let counts = derived.filter_map(|(_, payload)| {
        let mut cursor = Cursor::new(payload);
        cursor.skip(if wide { 4 } else { 2 });
        cursor.u16_be()
    });
    counts.max().map_or(0, u64::from)
}

/// The types of the box `iinf` (§8.11.6) by item number.
fn kinds(iinf: &[u8]) -> Option<Vec<(u32, [u8; 4])>> {
    let mut cursor = Cursor::new(iinf);
    let version = cursor.u32_be()? >> 24;
    cursor.skip(if version == 0 { 2 } else { 4 });
    let entries = boxes(cursor.rest()).filter(|(kind, _)| *kind == b"infe").take(MOST_ITEMS);
    let kind = |payload| {
        let mut cursor = Cursor::new(payload);
        let version = cursor.u32_be()? >> 24;
        let number = if version == 3 { cursor.u32_be()? } else { u32::from(cursor.u16_be()?) };
        cursor.skip(2);
        Some((number, *cursor.take(4)?.first_chunk()?))
    };
    Some(entries.filter_map(|(_, payload)| kind(payload)).collect())
}

/// The items of the box `iloc` (§8.11.3).
fn located<'b>(
    iloc: &'b [u8],
    kinds: &[(u32, [u8; 4])],
    file: &'b [u8],
    data: &'b [u8],
    mut show: impl FnMut(Item<'b>) -> Option<()>,
) -> Option<()> {
    let mut cursor = Cursor::new(iloc);
    let version = cursor.u32_be()? >> 24;
    let sizes = cursor.u16_be()?;
    let size = |shift: u16| usize::from((sizes >> shift) & 15);
    let (offset_size, length_size, base_size) = (size(12), size(8), size(4));
    let index_size = if version == 0 { 0 } else { size(0) };
    let wide = version >= 2;
    let count = if wide { cursor.u32_be()? } else { u32::from(cursor.u16_be()?) };
    if index(count) > MOST_ITEMS {
        return None;
    }
    for _ in 0..count {
        let number = if wide { cursor.u32_be() } else { cursor.u16_be().map(u32::from) };
        let Some(number) = number else { break };
        let method = if version == 0 { 0 } else { cursor.u16_be().unwrap_or(0) & 15 };
        cursor.skip(2);
        let place = if method == 1 { data } else { file };
        let base = cursor.uint_be(base_size);
        let (Some(base), Some(extents)) = (base, cursor.u16_be()) else { break };
        let mut pieces = Vec::new();
        let extents = usize::from(extents);
        if extents > MOST_EXTENTS {
            return None;
        }
        for _ in 0..extents {
            cursor.skip(index_size);
            let (Some(offset), Some(length)) = (cursor.uint_be(offset_size), cursor.uint_be(length_size))
            else {
                break;
            };
            pieces.push(extent(base.saturating_add(offset), length, place));
        }
        if let Some((_, kind)) = kinds.iter().find(|(known, _)| *known == number) {
            show(Item { kind: *kind, bytes: Pieces::new(pieces) })?;
        }
    }
    Some(())
}

/// What there is of an extent; one without a length goes to the end.
fn extent(offset: u64, length: u64, place: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(place);
    cursor.skip(usize::try_from(offset).unwrap_or(usize::MAX));
    let length = if length == 0 { u64::MAX } else { length };
    cursor.take_at_most(usize::try_from(length).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::inspect::avif::tests::boxed;

    /// The bytes of the items with this number.
    fn items(iloc: &[u8], file: &[u8], number: u32) -> Option<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        located(iloc, &[(number, *b"av01")], file, b"", |mut item| {
            let mut bytes = vec![0; usize::try_from(item.bytes.len()).unwrap()];
            item.bytes.read(&mut bytes);
            all.push(bytes);
            Some(())
        })?;
        Some(all)
    }

    #[test]
    fn an_item_in_pieces_is_read_as_far_as_it_is_there() {
        let file = b"0123456789";
        // Version 0, offsets and lengths of one byte, no base; item 7 with three extents.
        let iloc = [0, 0, 0, 0, 0x11, 0, 0, 1, 0, 7, 0, 0, 0, 3, 1, 2, 8, 200, 5, 1];
        assert_eq!(items(&iloc, file, 7), Some(vec![b"12895".to_vec()]));
        let mut many = iloc;
        many[13] = 33;
        assert_eq!(items(&many, file, 7), None);
        // Nobody says what an item without a type is.
        assert_eq!(items(&iloc, file, 8), Some(Vec::new()));
    }

    #[test]
    fn parts_are_counted() {
        let references =
            [boxed(b"auxl", &[0, 9, 0, 200]), boxed(b"dimg", &[0, 1, 0, 5]), boxed(b"dimg", &[0, 2, 0, 3])];
        let meta = boxed(b"iref", &[&[0; 4][..], &references.concat()].concat());
        assert_eq!(most_parts(&meta), 5);
        assert_eq!(most_parts(b""), 0);
    }
}
