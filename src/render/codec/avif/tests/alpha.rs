//! Alpha planes: `auxl` and `prem`.

use super::boxed;
use super::file::{File, alpha_type, av1c_400, av1c_420, clap, full, grid, ispe, masks, streams};
use crate::render::codec::avif::Chroma;

#[test]
fn avif_alpha_is_an_auxiliary_item_of_the_primary_item() {
    File::with_alpha().parsed(|image| {
        let alpha = image.alpha.as_ref().unwrap();
        assert_eq!(
            (alpha.width, alpha.height, alpha.sequence.chroma),
            (64, 48, Chroma::Monochrome)
        );
        assert_eq!(alpha.tiles, masks("alpha.avif"));
        assert!(!image.is_premultiplied);
    });
    // HEVC's name for alpha.
    let mut file = File::with_alpha();
    let place = file.properties.iter_mut().find(|property| **property == alpha_type()).unwrap();
    *place = full(b"auxC", 0, b"urn:mpeg:hevc:2015:auxid:1\0");
    file.parsed(|image| assert!(image.alpha.is_some()));
}

#[test]
fn avif_auxiliary_items_other_than_alpha_are_ignored() {
    for name in [
        &b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth\0"[..],
        b"urn:mpeg:hevc:2015:auxid:2\0",
        b"",
    ] {
        let mut file = File::with_alpha();
        let place = file.properties.iter_mut().find(|property| **property == alpha_type()).unwrap();
        *place = full(b"auxC", 0, name);
        file.parsed(|image| assert!(image.alpha.is_none()));
    }
    // Alpha of another item.
    let mut file = File::with_alpha();
    file.references.clear();
    file.refer(b"auxl", 2, &[9]);
    file.parsed(|image| assert!(image.alpha.is_none()));
}

#[test]
fn avif_alpha_must_have_the_size_and_depth_of_colour() {
    let with = |stream: &[u8], size: (u32, u32), codec: &[u8]| {
        let mut file = File::single();
        let alpha =
            file.item(b"av01", stream, &[ispe(size.0, size.1), codec.to_vec(), alpha_type()]);
        file.refer(b"auxl", alpha, &[1]);
        file.error()
    };
    let mask = &masks("grid-alpha.avif")[0];
    assert_eq!(with(mask, (64, 64), &av1c_400()), "item 1: its alpha plane has a different size");
    let sentence = "item 2: its AV1 has 64 x 64 pixels and its `ispe` says 64 x 48";
    assert_eq!(with(mask, (64, 48), &av1c_400()), sentence);
    let deep = &masks("alpha-10-bit.avif")[0];
    let codec = boxed(b"av1C", &[0x81, 0, 0x5c, 0]);
    assert_eq!(with(deep, (64, 48), &codec), "item 1: its alpha plane has a different depth");
}

#[test]
fn avif_alpha_is_unique_and_has_no_alpha() {
    let mut file = File::with_alpha();
    let mask = &masks("alpha.avif")[0];
    let other = file.item(b"av01", mask, &[ispe(64, 48), av1c_400(), alpha_type()]);
    let one = file.clone();
    file.refer(b"auxl", other, &[1]);
    assert_eq!(file.error(), "item 1: it has two alpha planes");
    let mut file = one;
    file.refer(b"auxl", other, &[2]);
    assert_eq!(file.error(), "item 2: it is an alpha plane and has one itself");
    // A cycle of two.
    let mut file = File::with_alpha();
    file.describe(1, &alpha_type(), false);
    file.refer(b"auxl", 1, &[2]);
    assert_eq!(file.error(), "item 2: it is an alpha plane and has one itself");
    let mut file = File::single();
    file.describe(1, &alpha_type(), false);
    file.refer(b"auxl", 1, &[1]);
    assert_eq!(file.error(), "item 1: it is an alpha plane and has one itself");
    // The same reference twice is one alpha.
    let mut file = File::with_alpha();
    file.refer(b"auxl", 2, &[1]);
    file.parsed(|image| assert!(image.alpha.is_some()));
}

#[test]
fn avif_alpha_must_be_an_image() {
    let mut file = File::with_alpha();
    file.items[1].kind = *b"mime";
    assert_eq!(file.error(), "item 2: its type `mime` is not an image");
    let mut file = File::single();
    file.refer(b"auxl", 9, &[1]);
    assert_eq!(file.error(), "item 9 is referenced but not in `iinf`");
    let mut file = File::with_alpha();
    file.describe(2, &boxed(b"abcd", b""), true);
    assert_eq!(file.error(), "item 2: its essential property `abcd` is not supported");
}

#[test]
fn avif_alpha_may_be_a_grid() {
    let (colour, tiles) = (streams("grid.avif"), masks("grid-alpha.avif"));
    let mut file = File::new();
    file.item(b"av01", &colour[0], &[ispe(64, 64), av1c_420()]);
    let alpha = file.item(b"grid", &grid(1, 1, (64, 64)), &[ispe(64, 64), alpha_type()]);
    let tile = file.item(b"av01", &tiles[0], &[ispe(64, 64), av1c_400()]);
    file.refer(b"dimg", alpha, &[tile]);
    file.refer(b"auxl", alpha, &[1]);
    file.parsed(|image| assert_eq!(image.alpha.as_ref().unwrap().tiles, tiles[..1]));
}

#[test]
fn avif_alpha_of_all_tiles_makes_a_grid() {
    let tiles = masks("grid-alpha.avif");
    File::grid_with_alpha_of_tiles().parsed(|image| {
        let alpha = image.alpha.as_ref().unwrap();
        assert_eq!((alpha.width, alpha.columns, alpha.tile_height), (128, 2, 64));
        assert_eq!(alpha.tiles, tiles);
        assert!(!image.is_premultiplied);
    });
    let some = "item 1: some of its tiles have alpha, or are premultiplied, and some are not";
    let mut file = File::grid_with_alpha_of_tiles();
    file.references.pop();
    assert_eq!(file.error(), some);
    // Alpha of the grid takes precedence over alpha of its tiles.
    let mut file = File::grid_with_alpha_of_tiles();
    let whole = file.item(b"grid", &grid(2, 2, (128, 128)), &[ispe(128, 128), alpha_type()]);
    file.refer(b"dimg", whole, &[9, 8, 7, 6]);
    file.refer(b"auxl", whole, &[1]);
    file.parsed(|image| assert_eq!(image.alpha.as_ref().unwrap().tiles[0], tiles[3]));
    // One alpha for all tiles.
    let mut file = File::grid_with_alpha_of_tiles();
    file.references.truncate(1);
    file.refer(b"auxl", 6, &[2, 3, 4, 5]);
    assert_eq!(file.error(), "item 6: the alpha plane of a tile must be an `av01` item of its own");
    // Alpha of another size than its tile.
    let mut file = File::grid_with_alpha_of_tiles();
    for id in 6..10 {
        file.items[id - 1].data = Some(masks("alpha.avif")[0].clone());
        file.items[id - 1].properties.clear();
        [ispe(64, 48), av1c_400(), alpha_type()]
            .iter()
            .for_each(|property| file.describe(id as u16, property, false));
    }
    assert_eq!(
        file.error(),
        "item 1: 2 x 2 tiles of 64 x 48 pixels do not make a grid of 128 x 128"
    );
}

#[test]
fn avif_prem_must_refer_to_the_alpha_of_the_item() {
    let mut file = File::with_alpha();
    file.refer(b"prem", 1, &[2]);
    file.parsed(|image| assert!(image.is_premultiplied));
    let mut file = File::with_alpha();
    file.refer(b"prem", 2, &[1]);
    file.parsed(|image| assert!(!image.is_premultiplied));
    let mut file = File::with_alpha();
    file.refer(b"prem", 1, &[1]);
    assert_eq!(file.error(), "item 1: it is premultiplied by something that is not its alpha");
    for to in [&[2][..], &[1]] {
        let mut file = File::single();
        file.refer(b"prem", 1, to);
        assert_eq!(file.error(), "item 1: it is premultiplied and has no alpha");
    }
}

#[test]
fn avif_prem_applies_to_all_tiles_of_a_grid_or_to_none() {
    let mut file = File::grid_with_alpha_of_tiles();
    for tile in 2..6 {
        file.refer(b"prem", tile, &[tile + 4]);
    }
    file.parsed(|image| assert!(image.is_premultiplied));
    file.references.pop();
    let some = "item 1: some of its tiles have alpha, or are premultiplied, and some are not";
    assert_eq!(file.error(), some);
    file.refer(b"prem", 1, &[6]);
    file.refer(b"prem", 5, &[9]);
    assert_eq!(file.error(), "item 1: it is premultiplied and only its tiles have alpha");
}

#[test]
fn avif_alpha_has_the_transformations_of_colour_or_none() {
    let (rotation, crop) = (boxed(b"irot", b"\x01"), clap([8, 1, 8, 1, 0, 1, 0, 1]));
    let transformed = |ids: &[u16]| {
        let mut file = File::with_alpha();
        for id in ids {
            file.describe(*id, &crop, true);
            file.describe(*id, &rotation, true);
        }
        file
    };
    for ids in [&[1][..], &[1, 2]] {
        transformed(ids)
            .parsed(|image| assert_eq!((image.orientation.len(), image.crop.is_some()), (1, true)));
    }
    assert_eq!(
        transformed(&[2]).error(),
        "item 2: alpha and its image have different transformations"
    );
}
