//! Reads coded images, single or in a grid, and their Exif and XMP from the items of a file.

use std::borrow::Cow;

use super::boxes::{Fields, Name, quoted};
use super::error::Error;
use super::items::Item;
use super::meta::{Meta, spend};
use super::properties::{Av1Config, Description, check_size, describe};
use super::sequence::{Header, MAX_OBUS, Stream, scan};
use super::{Chroma, Coded};

/// Tiles of one grid. Each is decoded separately.
const MAX_TILES: u32 = 256;

/// Reads images within limits for the whole file.
pub(super) struct Reader<'m, 'b> {
    pub(super) meta: &'m Meta<'b>,
    /// Bytes that may still be copied.
    copies_left: usize,
    /// OBUs that may still be scanned.
    obus_left: usize,
}

/// One AV1 stream.
struct Tile<'b> {
    bytes: Cow<'b, [u8]>,
    header: Header,
    frames: u32,
}

/// The fields of a `grid` item (ISO/IEC 23008-12 §6.6.2.3.2).
pub(super) struct Grid {
    pub(super) rows: u32,
    pub(super) columns: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl<'m, 'b> Reader<'m, 'b> {
    pub(super) fn new(meta: &'m Meta<'b>, file_bytes: usize) -> Reader<'m, 'b> {
        // Items may share their data, so copies of overlapping extents could exceed the file many times over.
        Reader { meta, copies_left: file_bytes.saturating_mul(2), obus_left: MAX_OBUS }
    }

    pub(super) fn describe(&self, item: &Item<'b>) -> Result<Description<'b>, Error> {
        describe(item, &self.meta.properties)
    }

    /// Reads an image that is a single stream or a grid of streams.
    pub(super) fn read_coded(
        &mut self,
        item: &Item<'b>,
        description: &Description<'b>,
    ) -> Result<Coded<'b>, Error> {
        let coded = match &item.kind {
            b"av01" => self.read_single(item, description),
            b"grid" => self.read_grid(item, description),
            _ => Err(Error::unsupported(format!("its type {} is not an image", quoted(item.kind)))),
        };
        coded.map_err(|error| error.in_item(item.id))
    }

    fn read_single(
        &mut self,
        item: &Item<'b>,
        description: &Description<'b>,
    ) -> Result<Coded<'b>, Error> {
        let tile = self.read_tile(item, description)?;
        let size = (description.width, description.height);
        join_tiles(&Grid { rows: 1, columns: 1, width: size.0, height: size.1 }, size, vec![tile])
    }

    fn read_grid(
        &mut self,
        item: &Item<'b>,
        description: &Description<'b>,
    ) -> Result<Coded<'b>, Error> {
        let grid = self.read_grid_fields(item)?;
        if (grid.width, grid.height) != (description.width, description.height) {
            return Err(Error::corrupt("the grid and its `ispe` have different sizes"));
        }
        let tiles = self.grid_items(item, &grid)?;
        self.read_tiles(&grid, &tiles)
    }

    fn read_grid_fields(&mut self, item: &Item<'b>) -> Result<Grid, Error> {
        let bytes = self.meta.data(item, &mut self.copies_left)?;
        let mut fields = Fields::new(*b"grid", &bytes);
        let version = fields.u8()?;
        let flags = fields.u8()?;
        if version != 0 {
            return Err(Error::unsupported(format!("the grid has the unknown version {version}")));
        }
        let rows = u32::from(fields.u8()?) + 1;
        let columns = u32::from(fields.u8()?) + 1;
        let is_wide = flags & 1 == 1;
        let width = fields.u16_or_u32(is_wide)?;
        let height = fields.u16_or_u32(is_wide)?;
        check_size("grid", width, height)?;
        if rows * columns > MAX_TILES {
            let sentence =
                format!("the grid has {rows} x {columns} tiles; at most {MAX_TILES} are allowed");
            return Err(Error::unsupported(sentence));
        }
        Ok(Grid { rows, columns, width, height })
    }

    /// The items of a grid, which must be distinct `av01` items.
    fn grid_items(&self, item: &Item<'b>, grid: &Grid) -> Result<Vec<u32>, Error> {
        let count = grid.rows * grid.columns;
        let references = self.meta.references_from(*b"dimg", item.id);
        let ids: Vec<u32> = references.take(MAX_TILES as usize + 1).collect();
        if u32::try_from(ids.len()) != Ok(count) {
            let sentence = format!("the grid has {count} tiles but `dimg` names another number");
            return Err(Error::corrupt(sentence));
        }
        for (number, id) in ids.iter().enumerate() {
            let kind = self.meta.item(*id)?.kind;
            if kind != *b"av01" {
                let sentence = format!("its tile {id} has type {}, not `av01`", quoted(kind));
                return Err(Error::unsupported(sentence));
            }
            if ids.iter().take(number).any(|other| other == id) {
                return Err(Error::corrupt(format!("its tile {id} is named twice")));
            }
        }
        Ok(ids)
    }

    pub(super) fn read_tiles(&mut self, grid: &Grid, ids: &[u32]) -> Result<Coded<'b>, Error> {
        let mut first_size = None;
        let mut tiles = Vec::with_capacity(ids.len());
        for id in ids {
            let item = self.meta.item(*id)?;
            let description = self.describe(item)?;
            check_untransformed(&description).map_err(|error| error.in_item(item.id))?;
            let size = (description.width, description.height);
            if *first_size.get_or_insert(size) != size {
                return Err(Error::corrupt("its tiles have different sizes"));
            }
            let tile = self.read_tile(item, &description);
            tiles.push(tile.map_err(|error| error.in_item(item.id))?);
        }
        let size = first_size.ok_or_else(|| Error::corrupt("the grid has no tiles"))?;
        join_tiles(grid, size, tiles)
    }

    /// The stream of an `av01` item.
    fn read_tile(
        &mut self,
        item: &Item<'b>,
        description: &Description<'b>,
    ) -> Result<Tile<'b>, Error> {
        let bytes = self.meta.data(item, &mut self.copies_left)?;
        let (config, stream) = scan_described(description, "`ispe`", &bytes, &mut self.obus_left)?;
        let header = stream.header;
        // Layers below the last one may be smaller than the image.
        if description.layer.is_some_and(|layer| layer != header.last_layer) {
            return Err(Error::unsupported("`lsel` selects a layer that is not the last one"));
        }
        let bytes = if stream.is_complete {
            bytes
        } else {
            spend(&mut self.copies_left, config.obus.len().saturating_add(bytes.len()))?;
            Cow::Owned([config.obus, &bytes].concat())
        };
        Ok(Tile { bytes, header, frames: stream.frames })
    }

    /// The Exif that describes an item, from its TIFF header on (ISO/IEC 23008-12 §A.2.1).
    pub(super) fn read_exif(
        &mut self,
        described: &Item<'b>,
    ) -> Result<Option<Cow<'b, [u8]>>, Error> {
        let Some(item) = self.describing(*b"Exif", described) else { return Ok(None) };
        let bytes =
            self.meta.data(item, &mut self.copies_left).map_err(|error| error.in_item(item.id))?;
        // exif_tiff_header_offset. If it is invalid, the Exif is dropped and the image is shown.
        let Some((offset, _)) = bytes.split_first_chunk() else { return Ok(None) };
        let start =
            usize::try_from(u32::from_be_bytes(*offset)).unwrap_or(usize::MAX).saturating_add(4);
        Ok(match bytes {
            Cow::Borrowed(bytes) => bytes.get(start..).map(Cow::Borrowed),
            Cow::Owned(bytes) => bytes.get(start..).map(|exif| Cow::Owned(exif.to_vec())),
        })
    }

    /// The XMP that describes an item (ISO/IEC 23008-12 §A.3). No image is refused because of it: one that can't be read
    /// is none.
    pub(super) fn read_xmp(&mut self, described: &Item<'b>) -> Option<Cow<'b, [u8]>> {
        let item = self.describing(*b"mime", described)?;
        self.meta.data(item, &mut self.copies_left).ok()
    }

    /// The first item of this type that describes an item.
    fn describing(&self, kind: Name, described: &Item<'b>) -> Option<&'m Item<'b>> {
        self.meta.items.iter().find(|item| {
            let mut described_ids = self.meta.references_from(*b"cdsc", item.id);
            item.kind == kind && described_ids.any(|id| id == described.id)
        })
    }
}

/// Scans a stream and compares it with its description, whose size is from `named`.
pub(super) fn scan_described<'b>(
    description: &Description<'b>,
    named: &str,
    bytes: &[u8],
    obus_left: &mut usize,
) -> Result<(Av1Config<'b>, Stream), Error> {
    let config = description.config.ok_or_else(|| Error::corrupt("it has no `av1C`"))?;
    let stream = scan(config.obus, bytes, obus_left)?;
    let header = stream.header;
    if (header.width, header.height) != (description.width, description.height) {
        return Err(Error::corrupt(format!(
            "its AV1 has {} x {} pixels and its {named} says {} x {}",
            header.width, header.height, description.width, description.height
        )));
    }
    let expected = Av1Config {
        profile: header.profile,
        depth: header.sequence.depth,
        chroma: header.sequence.chroma,
        ..config
    };
    if config != expected {
        return Err(Error::corrupt(
            "its `av1C` and its AV1 have different profiles, depths or subsamplings",
        ));
    }
    Ok((config, stream))
}

/// Joins tiles of one size after comparing all of them.
fn join_tiles<'b>(
    grid: &Grid,
    (width, height): (u32, u32),
    tiles: Vec<Tile<'b>>,
) -> Result<Coded<'b>, Error> {
    let first = tiles.first().ok_or_else(|| Error::corrupt("it has no tiles"))?.header;
    let format = |header: Header| (header.profile, header.sequence);
    if tiles.iter().any(|tile| format(tile.header) != format(first)) {
        return Err(Error::corrupt("its tiles have different formats"));
    }
    // ISO/IEC 23008-12 §6.6.2.3.1: the tiles cover the image, and none of them is outside of it.
    let fits = |tile: u32, count: u32, side: u32| {
        let length = |tiles: u32| u64::from(tile) * u64::from(tiles);
        length(count) >= u64::from(side) && length(count.saturating_sub(1)) < u64::from(side)
    };
    if !fits(width, grid.columns, grid.width) || !fits(height, grid.rows, grid.height) {
        return Err(Error::corrupt(format!(
            "{} x {} tiles of {width} x {height} pixels do not make a grid of {} x {}",
            grid.columns, grid.rows, grid.width, grid.height
        )));
    }
    // MIAF §7.3.11.4.2: no chroma sample belongs to two tiles.
    let chroma = first.sequence.chroma;
    let is_odd_across = width % 2 == 1 && matches!(chroma, Chroma::Yuv420 | Chroma::Yuv422);
    let is_odd_down = height % 2 == 1 && chroma == Chroma::Yuv420;
    if (grid.columns > 1 && is_odd_across) || (grid.rows > 1 && is_odd_down) {
        let sentence =
            format!("its tiles of {width} x {height} pixels have odd sides and subsampled chroma");
        return Err(Error::corrupt(sentence));
    }
    let frames = |tile: &Tile| tile.frames + u32::from(tile.header.has_film_grain);
    let max = |side: fn(&Header) -> u32| tiles.iter().map(|tile| side(&tile.header)).max();
    let max_width = max(|header| header.max_frame_size.0);
    let max_height = max(|header| header.max_frame_size.1);
    Ok(Coded {
        width: grid.width,
        height: grid.height,
        tile_width: width,
        tile_height: height,
        columns: grid.columns,
        rows: grid.rows,
        max_frame_size: (max_width.unwrap_or(0), max_height.unwrap_or(0)),
        frames: tiles.iter().map(frames).max().unwrap_or(1),
        sequence: first.sequence,
        tiles: tiles.into_iter().map(|tile| tile.bytes).collect(),
    })
}

/// MIAF §7.3.11.4.1: only the grid is transformed.
fn check_untransformed(tile: &Description) -> Result<(), Error> {
    if tile.crop.is_none() && tile.orientation.is_empty() {
        return Ok(());
    }
    Err(Error::unsupported("a tile has `clap`, `irot` or `imir`"))
}
