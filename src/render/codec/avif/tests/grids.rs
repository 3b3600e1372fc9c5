//! `grid` items.

use super::boxed;
use super::file::{File, av1c_400, av1c_420, be, grid, ispe, masks, streams};
use crate::render::codec::avif::Chroma;

#[test]
fn avif_grid_tiles_are_in_the_order_of_dimg() {
    let tiles = streams("grid.avif");
    File::grid().parsed(|image| {
        let colour = &image.colour;
        assert_eq!(
            (colour.width, colour.height, colour.tile_width, colour.tile_height),
            (128, 128, 64, 64)
        );
        assert_eq!((colour.columns, colour.rows, colour.sequence.chroma), (2, 2, Chroma::Yuv420));
        assert_eq!(colour.tiles.iter().map(|tile| tile.to_vec()).collect::<Vec<_>>(), tiles);
    });
    let mut file = File::grid();
    file.references.clear();
    file.refer(b"dimg", 1, &[5, 4, 3, 2]);
    file.parsed(|image| assert_eq!(image.colour.tiles[0], tiles[3]));
}

#[test]
fn avif_grid_size_may_have_four_bytes() {
    let mut file = File::grid();
    file.items[0].data = Some([&[0, 1, 1, 1][..], &be(&[0, 128, 0, 128])].concat());
    file.parsed(|image| assert_eq!((image.colour.width, image.colour.rows), (128, 2)));
    file.items[0].data = Some([&[0, 1, 1, 1][..], &be(&[1, 128, 0, 128])].concat());
    assert_eq!(file.error(), "item 1: `grid` says 65664 x 128 pixels; the longest side is 65536");
}

fn of_size(size: (u16, u16)) -> File {
    File::grid_of(2, 2, size, &streams("grid.avif"), (64, 64), &av1c_420())
}

#[test]
fn avif_grid_tiles_must_cover_the_image_without_excess() {
    for size in [(128, 128), (127, 127), (65, 128), (128, 65)] {
        of_size(size).parsed(|image| assert_eq!(image.colour.width, u32::from(size.0)));
    }
    for (width, height) in [(129, 128), (128, 129), (64, 128), (128, 64), (1, 1)] {
        let sentence = format!(
            "item 1: 2 x 2 tiles of 64 x 64 pixels do not make a grid of {width} x {height}"
        );
        assert_eq!(of_size((width, height)).error(), sentence);
    }
    assert_eq!(of_size((0, 128)).error(), "item 1: `ispe` says 0 x 128 pixels");
    let mut file = File::grid();
    file.items[0].data = Some(grid(2, 2, (128, 127)));
    assert_eq!(file.error(), "item 1: the grid and its `ispe` have different sizes");
}

#[test]
fn avif_grid_must_name_each_tile_once() {
    let named = |ids: &[u16]| {
        let mut file = File::grid();
        file.references.clear();
        file.refer(b"dimg", 1, ids);
        file.error()
    };
    let count = "item 1: the grid has 4 tiles but `dimg` names another number";
    for ids in [&[][..], &[2, 3, 4], &[2, 3, 4, 5, 5]] {
        assert_eq!(named(ids), count);
    }
    assert_eq!(named(&[2, 3, 4, 3]), "item 1: its tile 3 is named twice");
    assert_eq!(named(&[2, 3, 4, 9]), "item 1: item 9 is referenced but not in `iinf`");
    assert_eq!(named(&[2, 3, 4, 1]), "item 1: its tile 1 has type `grid`, not `av01`");
    let mut file = File::grid();
    file.references.clear();
    assert_eq!(file.error(), count);
    let mut file = File::grid();
    file.items[0].data = Some(grid(16, 17, (128, 128)));
    assert_eq!(file.error(), "item 1: the grid has 16 x 17 tiles; at most 256 are allowed");
}

#[test]
fn avif_grid_tiles_must_be_av01_items() {
    for kind in [b"grid", b"mime", b"tmap"] {
        let mut file = File::grid();
        file.items[3].kind = *kind;
        let sentence = format!("item 1: its tile 4 has type `{}`, not `av01`", kind.escape_ascii());
        assert_eq!(file.error(), sentence);
    }
}

#[test]
fn avif_grid_with_truncated_fields_or_unknown_version_is_refused() {
    let mut file = File::grid();
    for length in 1..8 {
        file.items[0].data = Some(grid(2, 2, (128, 128))[..length].to_vec());
        assert_eq!(file.error(), "item 1: box `grid` ends early", "{length}");
    }
    file.items[0].data = Some([&[1], &grid(2, 2, (128, 128))[1..]].concat());
    assert_eq!(file.error(), "item 1: the grid has the unknown version 1");
}

#[test]
fn avif_grid_tiles_must_have_the_same_size_and_format() {
    let mut tiles = streams("grid.avif");
    let mut file = File::new();
    file.item(b"grid", &grid(1, 2, (128, 64)), &[ispe(128, 64)]);
    let first = file.item(b"av01", &tiles[0], &[ispe(64, 64), av1c_420()]);
    let monochrome = file.item(b"av01", &masks("grid-alpha.avif")[0], &[ispe(64, 64), av1c_400()]);
    file.refer(b"dimg", 1, &[first, monochrome]);
    assert_eq!(file.error(), "item 1: its tiles have different formats");
    tiles.truncate(1);
    let mut file = File::grid_of(1, 2, (128, 64), &tiles, (64, 64), &av1c_420());
    let smaller = file.item(b"av01", &streams("yuv420.avif")[0], &[ispe(64, 48), av1c_420()]);
    file.references.clear();
    file.refer(b"dimg", 1, &[2, smaller]);
    assert_eq!(file.error(), "item 1: its tiles have different sizes");
}

#[test]
fn avif_grid_tiles_must_not_share_chroma_samples() {
    let odd = &streams("odd.avif")[0];
    let of = |rows: u8, columns: u8, size: (u16, u16)| {
        let tiles = vec![odd.clone(); usize::from(rows) * usize::from(columns)];
        File::grid_of(rows, columns, size, &tiles, (33, 17), &av1c_420())
    };
    let sentence = "item 1: its tiles of 33 x 17 pixels have odd sides and subsampled chroma";
    assert_eq!(of(2, 1, (33, 34)).error(), sentence);
    assert_eq!(of(1, 2, (66, 17)).error(), sentence);
    // One tile has no seam.
    of(1, 1, (33, 17)).parsed(|image| assert_eq!(image.colour.width, 33));
}

#[test]
fn avif_grid_tiles_must_not_be_transformed() {
    for property in [boxed(b"irot", b"\x01"), boxed(b"imir", b"\0")] {
        let mut file = File::grid();
        file.describe(3, &property, true);
        assert_eq!(file.error(), "item 1: item 3: a tile has `clap`, `irot` or `imir`");
    }
}

#[test]
fn avif_grid_errors_name_the_tile() {
    let mut file = File::grid();
    file.items[4].protection = 1;
    assert_eq!(file.error(), "item 1: item 5: it is encrypted");
    let mut file = File::grid();
    file.describe(2, &boxed(b"abcd", b""), true);
    assert_eq!(file.error(), "item 1: item 2: its essential property `abcd` is not supported");
}
