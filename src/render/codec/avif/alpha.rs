//! The alpha plane of an image: an auxiliary item, or one for each tile of a grid.

use super::Coded;
use super::error::Error;
use super::items::Item;
use super::properties::{Description, is_alpha};
use super::reader::{Grid, Reader};

/// An alpha plane.
pub(super) struct Alpha<'b> {
    pub(super) coded: Coded<'b>,
    /// Whether the colour samples are multiplied by it.
    pub(super) is_premultiplied: bool,
}

impl<'m, 'b> Reader<'m, 'b> {
    /// Reads the alpha plane of an image (MIAF §7.3.5.2).
    pub(super) fn read_alpha(
        &mut self,
        colour: &Item<'b>,
        description: &Description<'b>,
        coded: &Coded<'b>,
    ) -> Result<Option<Alpha<'b>>, Error> {
        let alpha = match self.alpha_item(colour)? {
            Some(item) => Some(self.read_alpha_item(colour, description, item)?),
            None if colour.kind == *b"grid" => self.read_alpha_of_tiles(colour, coded)?,
            None => None,
        };
        let Some(alpha) = alpha else {
            return match self.meta.references_from(*b"prem", colour.id).next() {
                None => Ok(None),
                Some(_) => {
                    Err(Error::corrupt("it is premultiplied and has no alpha").in_item(colour.id))
                }
            };
        };
        if (alpha.coded.width, alpha.coded.height) != (coded.width, coded.height) {
            return Err(Error::corrupt("its alpha plane has a different size").in_item(colour.id));
        }
        // AVIF §4.1: colour and alpha are converted together.
        if alpha.coded.sequence.depth != coded.sequence.depth {
            return Err(
                Error::unsupported("its alpha plane has a different depth").in_item(colour.id)
            );
        }
        Ok(Some(alpha))
    }

    /// The auxiliary item with the alpha plane of `colour`.
    fn alpha_item(&self, colour: &Item<'b>) -> Result<Option<&'m Item<'b>>, Error> {
        let mut found: Option<&'m Item<'b>> = None;
        for id in self.meta.references_to(*b"auxl", colour.id) {
            let item = self.meta.item(id)?;
            // Depth and gain maps are ignored.
            if !is_alpha(item, &self.meta.properties)? {
                continue;
            }
            if found.is_some_and(|other| other.id != id) {
                return Err(Error::corrupt("it has two alpha planes").in_item(colour.id));
            }
            found = Some(item);
        }
        Ok(found)
    }

    fn read_alpha_item(
        &mut self,
        colour: &Item<'b>,
        colour_description: &Description<'b>,
        alpha: &Item<'b>,
    ) -> Result<Alpha<'b>, Error> {
        self.check_without_alpha(alpha)?;
        let description = self.describe(alpha)?;
        // Colour and alpha are transformed together. libavif writes the properties for both, others for colour only.
        let is_untransformed = description.crop.is_none() && description.orientation.is_empty();
        let is_transformed_like_colour = description.crop == colour_description.crop
            && description.orientation == colour_description.orientation;
        if !is_untransformed && !is_transformed_like_colour {
            let sentence = "alpha and its image have different transformations";
            return Err(Error::unsupported(sentence).in_item(alpha.id));
        }
        let is_premultiplied = self.is_premultiplied(colour, alpha)?;
        Ok(Alpha { coded: self.read_coded(alpha, &description)?, is_premultiplied })
    }

    /// Reads the alpha planes of the tiles of a grid that has none itself, as libavif does: they make a grid.
    fn read_alpha_of_tiles(
        &mut self,
        colour: &Item<'b>,
        coded: &Coded<'b>,
    ) -> Result<Option<Alpha<'b>>, Error> {
        let references = self.meta.references_from(*b"dimg", colour.id);
        let tiles: Vec<u32> = references.take(coded.tiles.len()).collect();
        let mut alphas = Vec::with_capacity(tiles.len());
        let mut premultiplied = 0;
        for tile in &tiles {
            let tile = self.meta.item(*tile)?;
            let Some(alpha) = self.alpha_item(tile)? else { continue };
            self.check_without_alpha(alpha)?;
            if alpha.kind != *b"av01" || alphas.contains(&alpha.id) {
                let sentence = "the alpha plane of a tile must be an `av01` item of its own";
                return Err(Error::unsupported(sentence).in_item(alpha.id));
            }
            premultiplied += usize::from(self.is_premultiplied(tile, alpha)?);
            alphas.push(alpha.id);
        }
        if alphas.is_empty() {
            return Ok(None);
        }
        if self.meta.references_from(*b"prem", colour.id).next().is_some() {
            let sentence = "it is premultiplied and only its tiles have alpha";
            return Err(Error::unsupported(sentence).in_item(colour.id));
        }
        if alphas.len() != tiles.len() || ![0, tiles.len()].contains(&premultiplied) {
            let sentence = "some of its tiles have alpha, or are premultiplied, and some are not";
            return Err(Error::unsupported(sentence).in_item(colour.id));
        }
        let grid = Grid {
            rows: coded.rows,
            columns: coded.columns,
            width: coded.width,
            height: coded.height,
        };
        let coded = self.read_tiles(&grid, &alphas).map_err(|error| error.in_item(colour.id))?;
        Ok(Some(Alpha { coded, is_premultiplied: premultiplied > 0 }))
    }

    /// An alpha plane must not have one itself, which also rules out cycles.
    fn check_without_alpha(&self, alpha: &Item<'b>) -> Result<(), Error> {
        match self.alpha_item(alpha)? {
            None => Ok(()),
            Some(_) => {
                Err(Error::corrupt("it is an alpha plane and has one itself").in_item(alpha.id))
            }
        }
    }

    /// Whether `prem` (MIAF §7.3.5.2) refers from colour to its alpha plane.
    fn is_premultiplied(&self, colour: &Item<'b>, alpha: &Item<'b>) -> Result<bool, Error> {
        let mut ids = self.meta.references_from(*b"prem", colour.id);
        match ids.next() {
            None => Ok(false),
            Some(id) if id == alpha.id && ids.all(|id| id == alpha.id) => Ok(true),
            Some(_) => {
                Err(Error::corrupt("it is premultiplied by something that is not its alpha")
                    .in_item(colour.id))
            }
        }
    }
}
