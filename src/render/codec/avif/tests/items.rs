//! The boxes `meta`, `iinf`, `iloc` and `iref`.

use std::borrow::Cow;

use super::boxed;
use super::file::{File, av1c_444, be, full, ispe, streams};
use crate::render::codec::avif::{Error, parse};

#[test]
fn avif_unused_items_of_known_types_are_ignored() {
    let mut file = File::single();
    for kind in [b"av01", b"grid", b"Exif", b"mime", b"uri ", b"tmap"] {
        file.item(kind, b"1234", &[]);
    }
    // A tone map and the images that it is derived from.
    file.refer(b"dimg", 7, &[1, 2]);
    file.parsed(|image| assert_eq!((image.colour.width, image.metadata_bytes), (64, 12)));
}

#[test]
fn avif_items_of_unknown_types_are_refused() {
    for kind in [
        b"iden",
        b"iovl",
        b"mski",
        b"hvc1",
        b"j2k1",
        b"unci",
        b"jpeg",
        b"vvc1",
        b"rgan",
        b"\0\xff\"`",
    ] {
        let mut file = File::single();
        file.item(kind, b"1234", &[]);
        let sentence = format!("item 2: its type `{}` is not supported", kind.escape_ascii());
        assert_eq!(file.error(), sentence);
        // An `iden` has no data, so `iloc` does not list it.
        file.items[1].data = None;
        assert_eq!(file.error(), sentence);
    }
}

#[test]
fn avif_items_are_limited_to_300() {
    let mut file = File::single();
    for _ in 1..300 {
        file.item(b"av01", b"", &[]);
    }
    file.parsed(|image| assert_eq!(image.colour.width, 64));
    file.item(b"av01", b"", &[]);
    assert_eq!(file.error(), "`iinf` lists 301 items; at most 300 are allowed");
    // A wrong count.
    let infe = full(b"infe", 2, b"\0\x01\0\0av01\0");
    file.replaced = vec![full(b"iinf", 0, &[b"\0\x02", &infe[..]].concat())];
    assert_eq!(file.error(), "`iinf` declares 2 items and has 1");
    let mut infes = Vec::new();
    for id in 1..=302 {
        infes.extend(full(b"infe", 2, &[&be(&[id, 0])[..], b"av01\0"].concat()));
    }
    file.replaced = vec![full(b"iinf", 0, &[b"\0\x02", &infes[..]].concat())];
    assert_eq!(file.error(), "`iinf` has more than 300 items");
    // Nothing is allocated for a huge count.
    file.replaced = vec![full(b"iinf", 1, b"\xff\xff\xff\xff")];
    assert_eq!(file.error(), "`iinf` lists 4294967295 items; at most 300 are allowed");
}

#[test]
fn avif_iinf_entries_must_have_types_and_unique_ids() {
    let mut file = File::single();
    let wide = full(b"infe", 3, b"\0\0\0\x01\0\0av01\0");
    file.replaced = vec![full(b"iinf", 1, &[b"\0\0\0\x01", &wide[..]].concat())];
    file.parsed(|image| assert_eq!(image.colour.width, 64));
    for version in [0, 1] {
        let old = full(b"infe", version, b"\0\x01\0\0av01\0");
        file.replaced = vec![full(b"iinf", 0, &[b"\0\x01", &old[..]].concat())];
        assert_eq!(
            file.error(),
            format!("box `infe` has version {version}, which has no item type")
        );
    }
    let newer = full(b"infe", 4, b"\0\x01\0\0av01\0");
    file.replaced = vec![full(b"iinf", 0, &[b"\0\x01", &newer[..]].concat())];
    assert_eq!(file.error(), "box `infe` has the unknown version 4");
    file.replaced = vec![full(b"iinf", 0, &[b"\0\x01", &boxed(b"free", b"")[..]].concat())];
    assert_eq!(file.error(), "`iinf` contains `free`");
    let mut twice = File::single();
    twice.item(b"av01", b"", &[]);
    twice.items[1].id = 1;
    assert_eq!(twice.error(), "item 1: `iinf` lists it twice");
}

#[test]
fn avif_primary_item_must_be_an_image() {
    for kind in [b"mime", b"Exif", b"uri ", b"tmap"] {
        let mut file = File::single();
        file.primary = file.item(kind, b"1234", &[ispe(64, 48)]);
        let kind = kind.escape_ascii();
        assert_eq!(file.error(), format!("item 2: its type `{kind}` is not an image"));
    }
    let mut file = File::single();
    file.primary = 9;
    assert_eq!(file.error(), "item 9 is referenced but not in `iinf`");
    let mut file = File::single();
    file.items[0].protection = 1;
    assert_eq!(file.error(), "item 1: it is encrypted");
    // An unused item may be encrypted.
    let mut file = File::single();
    file.item(b"av01", b"", &[]);
    file.items[1].protection = 1;
    file.parsed(|image| assert_eq!(image.colour.width, 64));
}

#[test]
fn avif_meta_must_have_each_box_once() {
    for name in [b"hdlr", b"pitm", b"iinf", b"iloc", b"iprp"] {
        let mut bytes = File::single().to_bytes();
        let at = bytes.windows(4).position(|window| window == name).unwrap();
        bytes[at..at + 4].copy_from_slice(b"free");
        let sentence = format!("`meta` has no `{}` box", name.escape_ascii());
        assert_eq!(parse(&bytes).unwrap_err(), Error::corrupt(sentence));
    }
    let mut file = File::single();
    file.replaced = vec![[file_box(&file, b"pitm"), file_box(&file, b"pitm")].concat()];
    assert_eq!(file.error(), "`meta` has two `pitm` boxes");
    file.replaced = vec![full(b"hdlr", 0, b"\0\0\0\0vide")];
    assert_eq!(file.error(), "the handler of `meta` is `vide`, not `pict`");
    file.replaced = vec![boxed(b"uuid", &[7; 20])];
    file.parsed(|image| assert_eq!(image.colour.width, 64));
}

/// The bytes of a box of a file.
fn file_box(file: &File, name: &[u8; 4]) -> Vec<u8> {
    let bytes = file.to_bytes();
    let at = bytes.windows(4).position(|window| window == name).unwrap() - 4;
    let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    bytes[at..at + length].to_vec()
}

/// A file whose `iloc` has these extents, with fields of four bytes, for its only item.
fn located(method: u16, data_reference: u16, extents: &[(u32, u32)]) -> File {
    let mut file = File::single();
    let mut iloc = be(&[0x4400, 1, 1, method, data_reference, extents.len() as u16]);
    for (offset, length) in extents {
        iloc.extend([offset.to_be_bytes(), length.to_be_bytes()].concat());
    }
    file.replaced = vec![full(b"iloc", 1, &iloc)];
    file
}

#[test]
fn avif_item_data_is_joined_from_its_extents() {
    let stream = &streams("quarters.avif")[0];
    let length = stream.len() as u32;
    located(1, 0, &[(0, 30), (30, 1), (31, length - 31)]).parsed(|image| {
        assert!(matches!(&image.colour.tiles[..], [Cow::Owned(bytes)] if bytes == stream));
    });
    // A length of 0 extends to the end.
    for extents in [&[(0, length)][..], &[(0, 0)]] {
        located(1, 0, extents).parsed(|image| {
            assert!(matches!(&image.colour.tiles[..], [Cow::Borrowed(bytes)] if bytes == stream));
        });
    }
    let not_located = "item 1: `iloc` does not locate it";
    assert_eq!(located(1, 0, &[]).error(), not_located);
    let mut file = File::single();
    file.items[0].data = None;
    assert_eq!(file.error(), not_located);
}

#[test]
fn avif_item_data_must_lie_inside_the_file() {
    let length = streams("quarters.avif")[0].len() as u32;
    for extents in [
        &[(0, length + 1)][..],
        &[(1, length)],
        &[(u32::MAX, 0)],
        &[(0, u32::MAX)],
        &[(0, 30), (30, length)],
    ] {
        assert_eq!(
            located(1, 0, extents).error(),
            "item 1: its data extends past the end of the file"
        );
    }
    // An offset above 2⁶⁴.
    let mut file = File::single();
    let mut iloc = be(&[0x8880, 1, 1, 1, 0]);
    iloc.extend([0xff; 8]);
    iloc.extend(be(&[1]));
    iloc.extend([0xff; 16]);
    file.replaced = vec![full(b"iloc", 1, &iloc)];
    assert_eq!(file.error(), "item 1: its data extends past the end of the file");
}

#[test]
fn avif_extents_are_limited_and_must_not_overlap() {
    let length = streams("quarters.avif")[0].len() as u32;
    let mut extents = vec![(0, 1); 32];
    extents.push((1, length - 1));
    assert_eq!(
        located(1, 0, &extents).error(),
        "item 1: it has 33 extents; at most 32 are allowed"
    );
    let overlapping = "item 1: its extents overlap: the items are larger than the file";
    assert_eq!(located(1, 0, &[(0, length); 32]).error(), overlapping);
}

#[test]
fn avif_item_data_must_be_in_the_file_or_in_idat() {
    let elsewhere = "item 1: its data is in another item or another file";
    for (method, data_reference) in [(2, 0), (1, 1), (3, 0), (0, 1)] {
        assert_eq!(located(method, data_reference, &[(0, 0)]).error(), elsewhere);
    }
    // The upper twelve bits are reserved.
    located(0x1231, 0, &[(0, 0)]).parsed(|image| assert_eq!(image.colour.width, 64));
}

#[test]
fn avif_iloc_versions_and_field_sizes() {
    let mut file = File::single();
    file.items[0].data.as_mut().unwrap().push(0);
    let stream = &streams("quarters.avif")[0];
    let length = stream.len() as u16;
    // Version 2 with wide numbers, a base of four bytes, offsets and an index of eight.
    let mut iloc = be(&[0x8448, 0, 1, 0, 1, 1, 0, 0, 0, 1]);
    iloc.extend([&[0; 8][..], &[0; 8], &be(&[0, length])].concat());
    file.replaced = vec![full(b"iloc", 2, &iloc)];
    file.parsed(|image| assert_eq!(&image.colour.tiles[0][..], stream));
    // In version 0 offsets are always relative to the file.
    let bytes = file.to_bytes();
    let start = bytes.windows(stream.len()).position(|window| window == stream).unwrap() as u16;
    // The replaced `iloc` is shorter, so the data moves.
    let iloc = |start: u16| full(b"iloc", 0, &be(&[0x4400, 1, 1, 0, 1, 0, start, 0, length]));
    let start = start - (full(b"iloc", 2, &iloc_payload(&file)).len() - iloc(0).len()) as u16;
    file.replaced = vec![iloc(start)];
    file.parsed(|image| assert_eq!(&image.colour.tiles[0][..], stream));
    file.replaced = vec![full(b"iloc", 3, b"")];
    assert_eq!(file.error(), "box `iloc` has the unknown version 3");
    file.replaced = vec![full(b"iloc", 1, &be(&[0x2200, 1, 1, 1, 0, 1, 0, length]))];
    assert_eq!(file.error(), "box `iloc` has fields of 2 bytes");
}

fn iloc_payload(file: &File) -> Vec<u8> {
    file_box(file, b"iloc")[12..].to_vec()
}

#[test]
fn avif_iloc_must_list_an_item_once() {
    let mut file = File::single();
    let entry = be(&[1, 1, 0, 1, 0, 0, 0, 0]);
    file.replaced = vec![full(b"iloc", 1, &[&be(&[0x4400, 2])[..], &entry, &entry].concat())];
    assert_eq!(file.error(), "item 1: `iloc` lists it twice");
    file.replaced = vec![full(b"iloc", 1, &be(&[0x4400, 301]))];
    assert_eq!(file.error(), "`iloc` lists 301 items; at most 300 are allowed");
    file.replaced = vec![full(b"iloc", 1, &be(&[0x4400, 2, 1, 1]))];
    assert_eq!(file.error(), "box `iloc` ends early");
}

#[test]
fn avif_references_are_limited() {
    let mut file = File::single();
    for _ in 0..1200 {
        file.refer(b"thmb", 1, &[1]);
    }
    file.parsed(|image| assert_eq!(image.colour.width, 64));
    file.refer(b"thmb", 1, &[]);
    assert_eq!(file.error(), "`iref` has more than 1200 references");
    let mut file = File::single();
    for _ in 0..4 {
        file.refer(b"thmb", 1, &[1; 300]);
    }
    file.parsed(|image| assert_eq!(image.colour.width, 64));
    file.refer(b"thmb", 1, &[1]);
    assert_eq!(file.error(), "`iref` names more than 1200 items");
    let mut file = File::single();
    file.refer(b"cdsc", 1, &[1; 301]);
    assert_eq!(file.error(), "item 1: it refers to 301 items; at most 300 are allowed");
    file.references = vec![boxed(b"cdsc", &be(&[1, 2, 1]))];
    assert_eq!(file.error(), "box `cdsc` ends early");
}

#[test]
fn avif_exif_starts_at_its_tiff_header_offset() {
    let described = |data: &[u8]| {
        let mut file = File::single();
        let exif = file.item(b"Exif", data, &[]);
        file.refer(b"cdsc", exif, &[1]);
        file.item(b"Exif", b"\0\0\0\0of nothing", &[]);
        file
    };
    described(b"\0\0\0\0MM\0*")
        .parsed(|image| assert_eq!(image.exif.as_deref(), Some(&b"MM\0*"[..])));
    described(b"\0\0\0\x06Exif\0\0II*\0")
        .parsed(|image| assert_eq!(image.exif.as_deref(), Some(&b"II*\0"[..])));
    // Malformed Exif is dropped; Exif without data is an error.
    for data in [&b"\0\0\0\x09MM\0*"[..], b"\xff\xff\xff\xffMM", b"\0\0"] {
        described(data).parsed(|image| assert_eq!(image.exif.as_deref().unwrap_or_default(), b""));
    }
    let mut file = described(b"\0\0\0\0MM\0*");
    file.items[1].data = None;
    assert_eq!(file.error(), "item 2: `iloc` does not locate it");
}

#[test]
fn avif_xmp_is_that_of_the_primary_item_and_refuses_no_image() {
    let mut file = File::single();
    file.item(b"mime", b"of nothing", &[]);
    let xmp = file.item(b"mime", b"<x:xmpmeta/>", &[]);
    file.refer(b"cdsc", xmp, &[1]);
    file.parsed(|image| assert_eq!(image.xmp.as_deref(), Some(&b"<x:xmpmeta/>"[..])));
    let without = |change: &dyn Fn(&mut File)| {
        let mut file = file.clone();
        change(&mut file);
        file.parsed(|image| assert_eq!(image.xmp, None));
    };
    without(&|file| file.items[2].data = None);
    without(&|file| file.items[2].protection = 1);
    without(&|file| file.items[2].kind = *b"uri ");
    without(&|file| file.references.clear());
}

#[test]
fn avif_metadata_counts_bytes_that_are_in_the_file() {
    let mut file = File::single();
    file.item(b"mime", &[0; 100], &[]);
    file.item(b"uri ", &[0; 10], &[]);
    file.describe(1, &boxed(b"colr", b"prof12345"), false);
    file.parsed(|image| assert_eq!((image.icc, image.metadata_bytes), (Some(&b"12345"[..]), 115)));
    let entry = |id: u16, length: u16| be(&[id, 1, 0, 1, 0, 0, 0, length]);
    let iloc =
        [be(&[0x4400, 2]), entry(1, streams("quarters.avif")[0].len() as u16), entry(2, 0xffff)];
    file.replaced = vec![full(b"iloc", 1, &iloc.concat())];
    let present = file_box(&file, b"idat").len() as u64 - 8;
    file.parsed(|image| assert_eq!(image.metadata_bytes, present + 5));
}

#[test]
fn avif_boxes_may_come_before_meta() {
    let mut bytes = boxed(b"moov", &[0; 3]);
    bytes.extend(File::single().with_property(&av1c_444(), false).to_bytes());
    assert_eq!(parse(&bytes).unwrap_err().to_string(), "item 1: it has two `av1C` properties");
}
