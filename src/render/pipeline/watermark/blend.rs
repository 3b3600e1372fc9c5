//! Draws a layer over an image: the operator "source over" (W3C Compositing and Blending §9.1.4) on the bytes of the
//! colours.
//!
//! libvips' `composite` truncates its fractions, also where the layer is transparent. Here, a pixel that the layer does
//! not cover keeps its bytes, and lines are computed when the encoder asks for them.

use std::ffi::CStr;

use crate::render::vips::{Error, Image, Value, call, pixels};

/// The fewest pixels of a side of a tile that is repeated: each copy of a tile costs a call.
const MIN_TILE: u32 = 128;

/// `VipsExtend`
const EXTEND_BLACK: i32 = 0;
const EXTEND_WHITE: i32 = 4;
/// `VipsOperationRelational`
const EQUAL: i32 = 0;

/// Colours, with their transparency: 255 where nothing is drawn.
pub struct Layer<'b> {
    pub colours: Image<'b>,
    pub transparency: Image<'b>,
}

impl<'b> Layer<'b> {
    /// The layer at this corner of a canvas.
    pub fn placed(
        &self,
        (left, top): (u32, u32),
        (width, height): (u32, u32),
    ) -> Result<Layer<'b>, Error> {
        let place = |image: &Image<'b>, extend: i32| {
            let arguments = [
                (c"x", pixels(left)),
                (c"y", pixels(top)),
                (c"width", pixels(width)),
                (c"height", pixels(height)),
                (c"extend", Value::Int(extend)),
            ];
            image.apply(c"embed", &arguments)
        };
        Ok(Layer {
            colours: place(&self.colours, EXTEND_BLACK)?,
            transparency: place(&self.transparency, EXTEND_WHITE)?,
        })
    }

    /// The layer repeated over a canvas, with one copy at this corner, and this distance between copies.
    pub fn tiled(
        &self,
        (left, top): (u32, u32),
        (across, down): (u32, u32),
        (width, height): (u32, u32),
    ) -> Result<Layer<'b>, Error> {
        let cell_width = self.colours.width().saturating_add(across).max(1);
        let cell_height = self.colours.height().saturating_add(down).max(1);
        let cell = self.placed((0, 0), (cell_width, cell_height))?;
        // So far from the left and the top that a copy is at the corner.
        let skipped_x = (cell_width - left % cell_width) % cell_width;
        let skipped_y = (cell_height - top % cell_height) % cell_height;
        let repeat = |image: &Image<'b>| {
            let columns = skipped_x.saturating_add(width).div_ceil(cell_width);
            let rows = skipped_y.saturating_add(height).div_ceil(cell_height);
            repeated(image, columns, rows)?.crop(skipped_x, skipped_y, width, height)
        };
        Ok(Layer { colours: repeat(&cell.colours)?, transparency: repeat(&cell.transparency)? })
    }
}

/// An image that repeats this one at least so often.
fn repeated<'b>(image: &Image<'b>, columns: u32, rows: u32) -> Result<Image<'b>, Error> {
    let replicate = |image: &Image<'b>, columns: u32, rows: u32| {
        image.apply(c"replicate", &[(c"across", pixels(columns)), (c"down", pixels(rows))])
    };
    let in_tile = |side: u32, count: u32| MIN_TILE.div_ceil(side.max(1)).min(count).max(1);
    let tile_columns = in_tile(image.width(), columns);
    let tile_rows = in_tile(image.height(), rows);
    if (tile_columns, tile_rows) == (1, 1) {
        return replicate(image, columns, rows);
    }
    let tile = replicate(image, tile_columns, tile_rows)?.copy_memory()?;
    replicate(&tile, columns.div_ceil(tile_columns), rows.div_ceil(tile_rows))
}

/// Draws a layer of the size and the colours of an image over it.
pub fn over<'b>(image: &Image<'b>, layer: &Layer<'b>) -> Result<Image<'b>, Error> {
    if image.has_transparency() {
        over_transparency(image, layer)
    } else {
        blend(&layer.transparency, image, &layer.colours)
    }
}

/// `(weight × one + (255 − weight) × other) / 255`, rounded. What has no weight is not computed.
fn blend<'b>(weight: &Image<'b>, one: &Image<'b>, other: &Image<'b>) -> Result<Image<'b>, Error> {
    choose(weight, one, other, true)
}

fn choose<'b>(
    condition: &Image<'b>,
    one: &Image<'b>,
    other: &Image<'b>,
    is_blended: bool,
) -> Result<Image<'b>, Error> {
    let arguments = [
        (c"cond", Value::Image(condition)),
        (c"in1", Value::Image(one)),
        (c"in2", Value::Image(other)),
        (c"blend", Value::Bool(is_blended)),
    ];
    call(c"ifthenelse", &arguments)?.image(c"out")
}

/// With t the transparency of the layer, a the opacity of the image, both from 0 to 1: the opacity of the result is
/// `1 − t × (1 − a)`, and its colour is the mean of both colours with weights `t × a` and `1 − t`.
fn over_transparency<'b>(image: &Image<'b>, layer: &Layer<'b>) -> Result<Image<'b>, Error> {
    let colours = image.bands().saturating_sub(1);
    let band = |first: u32, count: u32| {
        image.apply(c"extract_band", &[(c"band", pixels(first)), (c"n", pixels(count))])
    };
    let opacity = band(colours, 1)?;
    let transparency = &layer.transparency;
    let opaque = linear(&opacity, 0.0, 255.0, true)?;
    let new_opacity = blend(transparency, &opacity, &opaque)?;
    let product = binary(c"multiply", transparency, &opacity)?;
    // 255 × 255 times the opacity of the result, without rounding.
    let divisor = binary(c"add", &linear(transparency, -255.0, 65_025.0, false)?, &product)?;
    let fraction = binary(c"divide", &product, &divisor)?;
    // A cast to bytes truncates.
    let weight = linear(&fraction, 255.0, 0.5, true)?;
    let mixed = blend(&weight, &band(0, colours)?, &layer.colours)?;
    let both = [mixed, new_opacity];
    let drawn = call(c"bandjoin", &[(c"in", Value::Images(&both))])?.image(c"out")?;
    let arguments = [(c"relational", Value::Int(EQUAL)), (c"c", Value::Doubles(&[255.0]))];
    let is_kept = transparency.apply(c"relational_const", &arguments)?;
    choose(&is_kept, image, &drawn, false)
}

fn linear<'b>(
    image: &Image<'b>,
    factor: f64,
    summand: f64,
    to_bytes: bool,
) -> Result<Image<'b>, Error> {
    let arguments = [
        (c"a", Value::Doubles(&[factor])),
        (c"b", Value::Doubles(&[summand])),
        (c"uchar", Value::Bool(to_bytes)),
    ];
    image.apply(c"linear", &arguments)
}

fn binary<'b>(operation: &CStr, left: &Image<'b>, right: &Image<'b>) -> Result<Image<'b>, Error> {
    let arguments = [(c"left", Value::Image(left)), (c"right", Value::Image(right))];
    call(operation, &arguments)?.image(c"out")
}
