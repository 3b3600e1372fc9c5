//! AVIF (AV1 in HEIF, ISO/IEC 23008-12): the boxes that describe its items, and the sequence headers of their AV1.
//!
//! The `ispe` box of an item says how large it is and binds no decoder: what counts is the largest size that any box
//! or any stream names.

mod items;
mod pieces;
mod sequence;

use super::Facts;
use crate::render::container::cursor::{Cursor, index};
use items::Item;
use pieces::Pieces;

/// What has been seen so far.
#[derive(Debug)]
struct Seen {
    obus_left: usize,
    width: u32,
    height: u32,
    pixels: u64,
    /// Of the largest single picture, of which grids are made.
    tile: u64,
    most_tiles: u64,
    deep: bool,
    alpha: bool,
    metadata: u64,
    profile: u64,
}

pub(super) fn inspect(bytes: &[u8]) -> Option<Facts> {
    let meta = child(bytes, b"meta")?;
    // A full box: version and flags come first.
    let meta = meta.get(4..)?;
    let mut seen = Seen::new();
    if let Some(properties) = child(meta, b"iprp").and_then(|properties| child(properties, b"ipco")) {
        for (kind, payload) in boxes(properties) {
            seen.property(kind, payload)?;
        }
    }
    items::each(meta, bytes, |item| seen.item(item))?;
    seen.most_tiles = items::most_parts(meta);
    let sides = (seen.width, seen.height);
    let bands = if seen.alpha { 4 } else { 3 };
    let facts = Facts::streamed(sides.0, sides.1, bands * if seen.deep { 2 } else { 1 });
    // The tiles of a grid may overhang it, by less than what it shows of them.
    let coded = seen.tile.saturating_mul(seen.most_tiles) / 2;
    let pixels = facts.frame_pixels.max(seen.pixels).max(coded);
    Some(Facts {
        frame_pixels: pixels,
        total_pixels: pixels,
        // The frame as it is decoded and the references that libaom keeps, libheif's copy of its planes and the
        // pixels it makes of them.
        held: pixels.saturating_mul(facts.bytes_per_pixel * 5 + 1),
        metadata_bytes: seen.metadata,
        profile_bytes: seen.profile,
        ..facts
    })
}

/// The code points of colours (ITU-T H.273) that the first `colr` box of type `nclx` names (ISO/IEC 14496-12 §12.1.5):
/// primaries and transfer.
pub fn code_points(bytes: &[u8]) -> Option<(u8, u8)> {
    let meta = child(bytes, b"meta")?.get(4..)?;
    let properties = child(meta, b"iprp").and_then(|properties| child(properties, b"ipco"))?;
    let mut found = boxes(properties).filter(|(kind, _)| *kind == b"colr").map(|(_, payload)| payload);
    match found.find_map(|payload| payload.strip_prefix(b"nclx"))? {
        [_, primaries, _, transfer, ..] => Some((*primaries, *transfer)),
        _ => None,
    }
}

impl Seen {
    fn new() -> Seen {
        Seen {
            obus_left: sequence::MOST_OBUS,
            width: 0,
            height: 0,
            pixels: 0,
            tile: 0,
            most_tiles: 0,
            deep: false,
            alpha: false,
            metadata: 0,
            profile: 0,
        }
    }

    fn size(&mut self, width: u32, height: u32) {
        let pixels = super::area(width, height);
        if pixels > self.pixels {
            (self.pixels, self.width, self.height) = (pixels, width, height);
        }
    }

    fn property(&mut self, kind: &[u8], payload: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(payload);
        match kind {
            b"ispe" => {
                cursor.skip(4);
                if let (Some(width), Some(height)) = (cursor.u32_be(), cursor.u32_be()) {
                    self.size(width, height);
                }
            }
            b"av1C" => {
                // high_bitdepth (AV1-ISOBMFF §2.3.3).
                self.deep |= payload.get(2).is_some_and(|flags| flags & 0x40 != 0);
                self.stream(payload.get(4..).unwrap_or_default().into())?;
            }
            b"colr" => {
                if matches!(payload.get(..4), Some(b"prof" | b"rICC")) {
                    self.profile += payload.len() as u64;
                    self.metadata += payload.len() as u64;
                }
            }
            b"auxC" => self.alpha = true,
            _ => {}
        }
        Some(())
    }

    fn stream(&mut self, obus: Pieces) -> Option<()> {
        let mut left = self.obus_left;
        sequence::sizes(obus, &mut left, |width, height| {
            self.tile = self.tile.max(super::area(width, height));
            self.size(width, height);
        })?;
        self.obus_left = left;
        Some(())
    }

    /// `None` for one that AVIF has no use for and that could stand for any number of others.
    fn item(&mut self, mut item: Item) -> Option<()> {
        match &item.kind {
            b"av01" => self.stream(item.bytes)?,
            // version, flags, rows, columns, and the size of what they make (§6.6.2.3).
            b"grid" => {
                let mut grid = [0; 12];
                let length = item.bytes.read(&mut grid);
                let mut cursor = Cursor::new(grid.get(..length)?);
                let flags = cursor.take(2)?.last().copied()?;
                cursor.skip(2);
                let length = if flags & 1 == 0 { 2 } else { 4 };
                let mut side = || u32::try_from(cursor.uint_be(length)?).ok();
                let (width, height) = (side()?, side()?);
                self.size(width, height);
            }
            b"iovl" | b"iden" => return None,
            b"Exif" | b"mime" | b"uri " => self.metadata += item.bytes.len(),
            _ => {}
        }
        Some(())
    }
}

/// The boxes (ISO/IEC 14496-12 §4.2) one after the other, the last one perhaps cut off.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut cursor = Cursor::new(bytes);
    std::iter::from_fn(move || {
        let (length, kind) = (cursor.u32_be()?, cursor.take(4)?);
        let payload = match length {
            // To the end.
            0 => usize::MAX,
            1 => usize::try_from(cursor.uint_be(8)?.checked_sub(16)?).unwrap_or(usize::MAX),
            _ => index(length.checked_sub(8)?),
        };
        Some((kind, cursor.take_at_most(payload)))
    })
}

/// The contents of the first box of a type.
fn child<'b>(bytes: &'b [u8], wanted: &[u8; 4]) -> Option<&'b [u8]> {
    boxes(bytes).find_map(|(kind, payload)| (kind == wanted).then_some(payload))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn boxed(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32 + 8).to_be_bytes().to_vec();
        bytes.extend(kind);
        bytes.extend(payload);
        bytes
    }

    fn full(kind: &[u8; 4], version: u8, payload: &[u8]) -> Vec<u8> {
        boxed(kind, &[&[version, 0, 0, 0], payload].concat())
    }

    fn avif(items: &[(&[u8; 4], &[u8])], properties: &[u8], references: &[u8]) -> Vec<u8> {
        let count = (items.len() as u16).to_be_bytes();
        let (mut infe, mut iloc, mut idat) = (count.to_vec(), vec![0x44, 0], Vec::new());
        iloc.extend(count);
        for (id, (kind, bytes)) in items.iter().enumerate() {
            let id = (id as u16 + 1).to_be_bytes();
            infe.extend(full(b"infe", 2, &[&id[..], &[0, 0], &kind[..], &[0]].concat()));
            iloc.extend(id);
            // Construction method 1: in the idat box.
            iloc.extend([0, 1, 0, 0, 0, 1]);
            iloc.extend((idat.len() as u32).to_be_bytes());
            iloc.extend((bytes.len() as u32).to_be_bytes());
            idat.extend(*bytes);
        }
        let meta = [
            full(b"hdlr", 0, b"pict"),
            full(b"iloc", 1, &iloc),
            full(b"iinf", 0, &infe),
            full(b"iref", 0, references),
            boxed(b"iprp", &boxed(b"ipco", properties)),
            boxed(b"idat", &idat),
        ];
        [boxed(b"ftyp", b"avif\0\0\0\0avif"), full(b"meta", 0, &meta.concat())].concat()
    }

    fn ispe(width: u32, height: u32) -> Vec<u8> {
        full(b"ispe", 0, &[width.to_be_bytes(), height.to_be_bytes()].concat())
    }

    /// So many rows and columns of square tiles, whose streams have no header.
    pub fn grid(rows: u8, columns: u8, tile: u32) -> Vec<u8> {
        let (width, height) = (tile * u32::from(columns), tile * u32::from(rows));
        let payload =
            [&[0, 1, rows - 1, columns - 1][..], &width.to_be_bytes(), &height.to_be_bytes()].concat();
        let parts = u16::from(rows) * u16::from(columns);
        let mut references = vec![0, 1];
        references.extend(parts.to_be_bytes());
        (0..parts).for_each(|part| references.extend((part + 2).to_be_bytes()));
        let stream = sequence::tests::header(tile, tile);
        avif(
            &[(b"grid", &payload), (b"av01", &stream), (b"Exif", b"1234MM")],
            &ispe(10, 10),
            &boxed(b"dimg", &references),
        )
    }

    #[test]
    fn a_grid_is_as_large_as_it_says_or_as_its_tiles_are() {
        let facts = inspect(&grid(2, 3, 512)).unwrap();
        assert_eq!((facts.width, facts.height, facts.metadata_bytes), (1536, 1024, 6));
        assert_eq!(facts.frame_pixels, 1536 * 1024);
        // Tiles that are mostly outside.
        let stream = sequence::tests::header(4096, 4096);
        let payload = [0, 0, 9, 9, 0, 100, 0, 100];
        let mut references = vec![0, 1, 0, 100];
        (0..100_u16).for_each(|_| references.extend(2_u16.to_be_bytes()));
        let bytes =
            avif(&[(b"grid", &payload), (b"av01", &stream)], &ispe(100, 100), &boxed(b"dimg", &references));
        assert_eq!(inspect(&bytes).unwrap().frame_pixels, 100 * 4096 * 4096 / 2);
    }

    #[test]
    fn properties_say_what_a_pixel_takes() {
        let properties = [
            ispe(300, 200),
            boxed(b"av1C", &[0x81, 0x20, 0x40, 0]),
            full(b"auxC", 0, b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"),
            boxed(b"colr", b"profabcdef"),
            boxed(b"colr", b"nclx\0\x01\0\x01\0\x01\x80"),
        ];
        let facts = inspect(&avif(&[], &properties.concat(), b"")).unwrap();
        assert_eq!((facts.width, facts.height, facts.bytes_per_pixel), (300, 200, 8));
        assert_eq!((facts.profile_bytes, facts.metadata_bytes), (10, 10));
    }

    #[test]
    fn pictures_that_stand_for_any_number_of_others_are_none() {
        for kind in [b"iovl", b"iden"] {
            assert_eq!(inspect(&avif(&[(kind, &[0; 20])], &ispe(10, 10), b"")), None);
        }
        let bytes = avif(&[(b"tmap", &[0; 20])], &ispe(10, 10), b"");
        assert!(inspect(&bytes).is_some(), "a gain map is none of our business");
    }
}
