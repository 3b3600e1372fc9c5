//! AVIF images of given AV1 streams, as [`parse`](super::super::parse) describes them.

use super::super::{Avif, Chroma, Coded, Nclx, Sequence};

/// A grid of tiles of this size.
pub fn grid(
    size: (u32, u32),
    tile: (u32, u32),
    chroma: Chroma,
    tiles: Vec<Vec<u8>>,
) -> Coded<'static> {
    let nclx = Nclx { primaries: 1, transfer: 13, matrix: 6, is_full_range: true };
    Coded {
        width: size.0,
        height: size.1,
        tile_width: tile.0,
        tile_height: tile.1,
        columns: size.0.div_ceil(tile.0),
        rows: size.1.div_ceil(tile.1),
        max_frame_size: tile,
        frames: 1,
        tiles: tiles.into_iter().map(Into::into).collect(),
        sequence: Sequence { depth: 8, chroma, nclx },
    }
}

/// An image without metadata.
pub fn still(colour: Coded<'static>, alpha: Option<Coded<'static>>) -> Avif<'static> {
    Avif {
        colour,
        alpha,
        is_premultiplied: false,
        crop: None,
        orientation: Vec::new(),
        nclx: None,
        icc: None,
        exif: None,
        xmp: None,
        metadata_bytes: 0,
        frames: None,
    }
}
