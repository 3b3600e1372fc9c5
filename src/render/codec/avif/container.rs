//! From the bytes of a file to its primary image, the alpha of that image and what is done to both when they are shown.

use std::borrow::Cow;

use super::boxes::{Fields, shown};
use super::convert;
use super::error::Error;
use super::items::{Item, Meta, spend};
use super::properties::{Codec, Described, check_size, describe, is_alpha};
use super::sequence::{Header, MAX_OBUS, scan};
use super::{Avif, Chroma, Coded, Sequence};

/// Tiles of one grid. Each is decoded apart.
const MAX_TILES: u32 = 256;

/// Reads the container. Everything that a decoder is given has been looked at: sizes, formats, numbers of frames.
pub fn parse(file: &[u8]) -> Result<Avif<'_>, Error> {
    let meta = Meta::read(file)?;
    // Items may share their bytes. Copies of pieces that overlap could be any number of times as large as the file.
    let mut reader =
        Reader { meta: &meta, copies_left: file.len().saturating_mul(2), obus_left: MAX_OBUS };
    let primary = meta.item(meta.primary)?;
    let described = reader.describe(primary)?;
    let color = reader.coded(primary, &described)?;
    let alpha = reader.alpha(primary, &described, &color)?;
    check_matrix(&described, color.sequence).map_err(|error| error.of_item(primary.id))?;
    let exif = reader.exif(primary)?;
    let icc = described.icc.filter(|icc| !icc.is_empty());
    let metadata =
        meta.items.iter().filter(|item| matches!(&item.kind, b"Exif" | b"mime" | b"uri "));
    let stored = metadata.fold(0, |sum: u64, item| sum.saturating_add(meta.stored(item)));
    let (alpha, is_premultiplied) =
        alpha.map_or((None, false), |alpha| (Some(alpha.coded), alpha.is_premultiplied));
    Ok(Avif {
        color,
        alpha,
        is_premultiplied,
        crop: described.crop,
        orientation: described.orientation,
        nclx: described.nclx,
        icc,
        exif,
        metadata_bytes: stored.saturating_add(icc.map_or(0, |icc| icc.len() as u64)),
    })
}

struct Reader<'m, 'b> {
    meta: &'m Meta<'b>,
    /// How many bytes may still be copied.
    copies_left: usize,
    /// How many OBUs may still be looked at.
    obus_left: usize,
}

struct Alpha<'b> {
    coded: Coded<'b>,
    is_premultiplied: bool,
}

/// One AV1 stream.
struct Tile<'b> {
    bytes: Cow<'b, [u8]>,
    header: Header,
    frames: u32,
}

/// The fields of a `grid` item (ISO/IEC 23008-12 §6.6.2.3.2).
struct Grid {
    rows: u32,
    columns: u32,
    width: u32,
    height: u32,
}

impl<'m, 'b> Reader<'m, 'b> {
    fn describe(&self, item: &Item<'b>) -> Result<Described<'b>, Error> {
        describe(item, &self.meta.properties)
    }

    /// An image that is a single stream or a grid of them.
    fn coded(&mut self, item: &Item<'b>, described: &Described<'b>) -> Result<Coded<'b>, Error> {
        let coded = match &item.kind {
            b"av01" => self.single(item, described),
            b"grid" => self.grid(item, described),
            _ => Err(Error::unsupported(format!("its type {} is not an image", shown(item.kind)))),
        };
        coded.map_err(|error| error.of_item(item.id))
    }

    fn single(&mut self, item: &Item<'b>, described: &Described<'b>) -> Result<Coded<'b>, Error> {
        let tile = self.tile(item, described)?;
        let size = (described.width, described.height);
        joined(&Grid { rows: 1, columns: 1, width: size.0, height: size.1 }, size, vec![tile])
    }

    fn grid(&mut self, item: &Item<'b>, described: &Described<'b>) -> Result<Coded<'b>, Error> {
        let grid = self.grid_fields(item)?;
        if (grid.width, grid.height) != (described.width, described.height) {
            return Err(Error::corrupt("the grid and its `ispe` have different sizes"));
        }
        let tiles = self.grid_items(item, &grid)?;
        self.joined_tiles(&grid, &tiles)
    }

    fn grid_fields(&mut self, item: &Item<'b>) -> Result<Grid, Error> {
        let bytes = self.meta.bytes(item, &mut self.copies_left)?;
        let mut fields = Fields::new(*b"grid", &bytes);
        let (version, flags) = (fields.u8()?, fields.u8()?);
        if version != 0 {
            return Err(Error::unsupported(format!("the grid has the unknown version {version}")));
        }
        let (rows, columns) = (u32::from(fields.u8()?) + 1, u32::from(fields.u8()?) + 1);
        let is_wide = flags & 1 == 1;
        let (width, height) = (fields.number(is_wide)?, fields.number(is_wide)?);
        check_size("grid", width, height)?;
        if rows * columns > MAX_TILES {
            let sentence =
                format!("the grid has {rows} x {columns} tiles; {MAX_TILES} are allowed");
            return Err(Error::unsupported(sentence));
        }
        Ok(Grid { rows, columns, width, height })
    }

    /// The items that a grid is made of: AV1 each, and each of them once.
    fn grid_items(&self, item: &Item<'b>, grid: &Grid) -> Result<Vec<u32>, Error> {
        let count = grid.rows * grid.columns;
        let ids: Vec<u32> =
            self.meta.from(*b"dimg", item.id).take(MAX_TILES as usize + 1).collect();
        if u32::try_from(ids.len()) != Ok(count) {
            let sentence = format!("the grid has {count} tiles and `dimg` does not name as many");
            return Err(Error::corrupt(sentence));
        }
        for (number, id) in ids.iter().enumerate() {
            let kind = self.meta.item(*id)?.kind;
            if kind != *b"av01" {
                let sentence = format!("its tile {id} is of type {} and not `av01`", shown(kind));
                return Err(Error::unsupported(sentence));
            }
            if ids.iter().take(number).any(|other| other == id) {
                return Err(Error::corrupt(format!("its tile {id} is named twice")));
            }
        }
        Ok(ids)
    }

    fn joined_tiles(&mut self, grid: &Grid, ids: &[u32]) -> Result<Coded<'b>, Error> {
        let mut size = None;
        let mut tiles = Vec::with_capacity(ids.len());
        for id in ids {
            let item = self.meta.item(*id)?;
            let described = self.describe(item)?;
            check_untransformed(&described, "a tile").map_err(|error| error.of_item(item.id))?;
            let own = (described.width, described.height);
            if *size.get_or_insert(own) != own {
                return Err(Error::corrupt("its tiles have different sizes"));
            }
            tiles.push(self.tile(item, &described).map_err(|error| error.of_item(item.id))?);
        }
        joined(grid, size.ok_or_else(|| Error::corrupt("the grid has no tiles"))?, tiles)
    }

    /// The stream of an `av01` item.
    fn tile(&mut self, item: &Item<'b>, described: &Described<'b>) -> Result<Tile<'b>, Error> {
        let codec = described.codec.ok_or_else(|| Error::corrupt("it has no `av1C`"))?;
        let bytes = self.meta.bytes(item, &mut self.copies_left)?;
        let stream = scan(codec.obus, &bytes, &mut self.obus_left)?;
        let header = stream.header;
        if (header.width, header.height) != (described.width, described.height) {
            return Err(Error::corrupt(format!(
                "its AV1 has {} x {} pixels and its `ispe` says {} x {}",
                header.width, header.height, described.width, described.height
            )));
        }
        let said = Codec {
            profile: header.profile,
            depth: header.sequence.depth,
            chroma: header.sequence.chroma,
            ..codec
        };
        if said != codec {
            return Err(Error::corrupt(
                "its `av1C` says another profile, depth or subsampling than its AV1",
            ));
        }
        // Layers below the last one may be smaller than the image.
        if described.layer.is_some_and(|layer| layer != header.last_layer) {
            return Err(Error::unsupported("`lsel` selects a layer that is not the last one"));
        }
        let bytes = if stream.is_complete {
            bytes
        } else {
            spend(&mut self.copies_left, codec.obus.len().saturating_add(bytes.len()))?;
            Cow::Owned([codec.obus, &bytes].concat())
        };
        Ok(Tile { bytes, header, frames: stream.frames })
    }

    /// The alpha of an image (MIAF §7.3.5.2).
    fn alpha(
        &mut self,
        color: &Item<'b>,
        described: &Described<'b>,
        coded: &Coded<'b>,
    ) -> Result<Option<Alpha<'b>>, Error> {
        let alpha = match self.alpha_of(color)? {
            Some(item) => Some(self.own_alpha(color, described, item)?),
            None if color.kind == *b"grid" => self.alpha_of_tiles(color, coded)?,
            None => None,
        };
        let Some(alpha) = alpha else {
            return match self.meta.from(*b"prem", color.id).next() {
                None => Ok(None),
                Some(_) => {
                    Err(Error::corrupt("it is premultiplied and has no alpha").of_item(color.id))
                }
            };
        };
        if (alpha.coded.width, alpha.coded.height) != (coded.width, coded.height) {
            return Err(Error::corrupt("its alpha has another size").of_item(color.id));
        }
        // AVIF §4.1: a converter reads color and alpha in step.
        if alpha.coded.sequence.depth != coded.sequence.depth {
            return Err(Error::unsupported("its alpha has another depth").of_item(color.id));
        }
        Ok(Some(alpha))
    }

    /// The one alpha of an item.
    fn alpha_of(&self, color: &Item<'b>) -> Result<Option<&'m Item<'b>>, Error> {
        let mut found: Option<&'m Item<'b>> = None;
        for id in self.meta.to(*b"auxl", color.id) {
            let item = self.meta.item(id)?;
            // Depth and gain maps are not shown.
            if !is_alpha(item, &self.meta.properties)? {
                continue;
            }
            if found.is_some_and(|other| other.id != id) {
                return Err(Error::corrupt("it has two alphas").of_item(color.id));
            }
            found = Some(item);
        }
        Ok(found)
    }

    fn own_alpha(
        &mut self,
        color: &Item<'b>,
        described: &Described<'b>,
        item: &Item<'b>,
    ) -> Result<Alpha<'b>, Error> {
        self.check_last(item)?;
        let own = self.describe(item)?;
        // Color and alpha are transformed together. libavif gives both the properties, others only color.
        let is_untransformed = own.crop.is_none() && own.orientation.is_empty();
        if !is_untransformed
            && (own.crop, &own.orientation) != (described.crop, &described.orientation)
        {
            return Err(
                Error::unsupported("alpha is transformed unlike its image").of_item(item.id)
            );
        }
        let is_premultiplied = self.is_premultiplied(color, item)?;
        Ok(Alpha { coded: self.coded(item, &own)?, is_premultiplied })
    }

    /// A grid without alpha whose tiles have one each, which libavif reads: a grid of alphas.
    fn alpha_of_tiles(
        &mut self,
        color: &Item<'b>,
        coded: &Coded<'b>,
    ) -> Result<Option<Alpha<'b>>, Error> {
        let tiles: Vec<u32> = self.meta.from(*b"dimg", color.id).take(coded.tiles.len()).collect();
        let mut alphas = Vec::with_capacity(tiles.len());
        let mut premultiplied = 0;
        for tile in &tiles {
            let tile = self.meta.item(*tile)?;
            let Some(alpha) = self.alpha_of(tile)? else { continue };
            self.check_last(alpha)?;
            if alpha.kind != *b"av01" || alphas.contains(&alpha.id) {
                return Err(Error::unsupported(
                    "alpha of a tile is not one `av01` item of its own",
                )
                .of_item(alpha.id));
            }
            premultiplied += usize::from(self.is_premultiplied(tile, alpha)?);
            alphas.push(alpha.id);
        }
        if alphas.is_empty() {
            return Ok(None);
        }
        if self.meta.from(*b"prem", color.id).next().is_some() {
            let sentence = "it is premultiplied and only its tiles have alpha";
            return Err(Error::unsupported(sentence).of_item(color.id));
        }
        if alphas.len() != tiles.len() || ![0, tiles.len()].contains(&premultiplied) {
            let sentence = "some of its tiles have alpha, or are premultiplied, and some are not";
            return Err(Error::unsupported(sentence).of_item(color.id));
        }
        let grid = Grid {
            rows: coded.rows,
            columns: coded.columns,
            width: coded.width,
            height: coded.height,
        };
        let coded = self.joined_tiles(&grid, &alphas).map_err(|error| error.of_item(color.id))?;
        Ok(Some(Alpha { coded, is_premultiplied: premultiplied > 0 }))
    }

    /// An alpha has no alpha, so that no chain of them leads anywhere.
    fn check_last(&self, alpha: &Item<'b>) -> Result<(), Error> {
        match self.alpha_of(alpha)? {
            None => Ok(()),
            Some(_) => Err(Error::corrupt("it is alpha and has alpha").of_item(alpha.id)),
        }
    }

    /// `prem` (MIAF §7.3.5.2) goes from color to the alpha that it is multiplied by.
    fn is_premultiplied(&self, color: &Item<'b>, alpha: &Item<'b>) -> Result<bool, Error> {
        let mut ids = self.meta.from(*b"prem", color.id);
        match ids.next() {
            None => Ok(false),
            Some(id) if id == alpha.id && ids.all(|id| id == alpha.id) => Ok(true),
            Some(_) => {
                Err(Error::corrupt("it is premultiplied by something that is not its alpha")
                    .of_item(color.id))
            }
        }
    }

    /// The Exif that describes an item, from its TIFF header on (ISO/IEC 23008-12 §A.2.1).
    fn exif(&mut self, described: &Item<'b>) -> Result<Option<Cow<'b, [u8]>>, Error> {
        let describes = |item: &&Item| {
            item.kind == *b"Exif" && self.meta.from(*b"cdsc", item.id).any(|id| id == described.id)
        };
        let Some(item) = self.meta.items.iter().find(describes) else { return Ok(None) };
        let bytes =
            self.meta.bytes(item, &mut self.copies_left).map_err(|error| error.of_item(item.id))?;
        // exif_tiff_header_offset. What is too short for it is no Exif and keeps no image from being shown.
        let Some((offset, _)) = bytes.split_first_chunk() else { return Ok(None) };
        let start =
            usize::try_from(u32::from_be_bytes(*offset)).unwrap_or(usize::MAX).saturating_add(4);
        Ok(match bytes {
            Cow::Borrowed(bytes) => bytes.get(start..).map(Cow::Borrowed),
            Cow::Owned(bytes) => bytes.get(start..).map(|exif| Cow::Owned(exif.to_vec())),
        })
    }
}

/// Puts tiles of one size together after all of them have been compared.
fn joined<'b>(
    grid: &Grid,
    (width, height): (u32, u32),
    tiles: Vec<Tile<'b>>,
) -> Result<Coded<'b>, Error> {
    let first = tiles.first().ok_or_else(|| Error::corrupt("it has no tiles"))?.header;
    if tiles
        .iter()
        .any(|tile| (tile.header.profile, tile.header.sequence) != (first.profile, first.sequence))
    {
        return Err(Error::corrupt("its tiles have different formats"));
    }
    // ISO/IEC 23008-12 §6.6.2.3.1: the tiles cover the image, and none of them is outside of it.
    let fits = |tile: u32, count: u32, side: u32| {
        let (tile, count, side) = (u64::from(tile), u64::from(count), u64::from(side));
        tile * count >= side && tile * count.saturating_sub(1) < side
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
    let longest =
        |side: fn(&Header) -> u32| tiles.iter().map(|tile| side(&tile.header)).max().unwrap_or(0);
    Ok(Coded {
        width: grid.width,
        height: grid.height,
        tile_width: width,
        tile_height: height,
        columns: grid.columns,
        rows: grid.rows,
        max_frame_size: (
            longest(|header| header.max_frame_size.0),
            longest(|header| header.max_frame_size.1),
        ),
        frames: tiles.iter().map(frames).max().unwrap_or(1),
        sequence: first.sequence,
        tiles: tiles.into_iter().map(|tile| tile.bytes).collect(),
    })
}

/// MIAF §7.3.11.4.1: only the image that is made of them is transformed.
fn check_untransformed(described: &Described, what: &str) -> Result<(), Error> {
    if described.crop.is_none() && described.orientation.is_empty() {
        return Ok(());
    }
    Err(Error::unsupported(format!("{what} has `clap`, `irot` or `imir`")))
}

/// ITU-T H.273 §8.3: with the identity matrix, chroma planes are colors, which are not subsampled.
fn check_matrix(described: &Described, sequence: Sequence) -> Result<(), Error> {
    let nclx = described.nclx.unwrap_or(sequence.nclx);
    if nclx.matrix == 0 && matches!(sequence.chroma, Chroma::Yuv420 | Chroma::Yuv422) {
        return Err(Error::corrupt("its identity matrix needs chroma planes of full size"));
    }
    if !convert::is_known(nclx, sequence.chroma) {
        return Err(Error::unsupported(format!(
            "its matrix coefficients {} are not supported",
            nclx.matrix
        )));
    }
    Ok(())
}
