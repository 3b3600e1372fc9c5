//! AVIF (AV1 Image File Format 1.1; HEIF, ISO/IEC 23008-12; MIAF, ISO/IEC 23000-22): parses the container, decodes its
//! AV1 with dav1d and encodes with libaom.
//!
//! [`parse`] is an allow-list in safe Rust: a file with an unknown item, reference or essential property is refused
//! before any of it reaches a decoder.

mod alpha;
mod boxes;
mod container;
mod convert;
mod decode;
mod encode;
mod error;
mod inspect;
mod items;
mod matrix;
mod planes;
mod properties;
mod sample;
mod sequence;
#[cfg(test)]
mod tests;
mod upsample;
mod write;

use std::borrow::Cow;

pub use container::parse;
pub use decode::{Error as DecodeError, decode};
pub use encode::{Encoding, encode};
pub use error::Error;
pub use inspect::inspect;

/// A still AVIF image as its container describes it.
#[derive(Debug)]
pub struct Avif<'b> {
    /// The primary item.
    pub color: Coded<'b>,
    /// The alpha auxiliary image of the primary item; it has the same size.
    pub alpha: Option<Coded<'b>>,
    /// `prem`: the color samples are already multiplied by alpha.
    pub is_premultiplied: bool,
    /// `clap`, applied first.
    pub crop: Option<Crop>,
    /// `irot` and `imir` in the order of the file, applied after the crop.
    pub orientation: Vec<Orient>,
    /// `colr` of type `nclx`. It overrides what the AV1 sequence header says.
    pub nclx: Option<Nclx>,
    /// `colr` of type `prof` or `rICC`.
    pub icc: Option<&'b [u8]>,
    /// The `Exif` item that describes the primary item, from its TIFF header on.
    pub exif: Option<Cow<'b, [u8]>>,
    /// Bytes of ICC profile, Exif, XMP and other metadata, as stored.
    pub metadata_bytes: u64,
}

/// One coded image: a single AV1 stream, or a grid of them.
#[derive(Debug)]
pub struct Coded<'b> {
    /// Width in pixels (`ispe`).
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Width of one tile; equals `width` when there is one.
    pub tile_width: u32,
    /// Height of one tile.
    pub tile_height: u32,
    /// Tiles per row.
    pub columns: u32,
    /// Rows of tiles.
    pub rows: u32,
    /// Largest width and height of a frame of one tile: those of the tile, or what a frame header may override them with.
    pub max_frame_size: (u32, u32),
    /// Frames that dav1d keeps of one stream at most: its layers, and a copy if it adds film grain.
    pub frames: u32,
    /// The AV1 streams row by row. Each starts with a sequence header.
    pub tiles: Vec<Cow<'b, [u8]>>,
    /// Sample format; the same for all tiles.
    pub sequence: Sequence,
}

/// The format of the samples in an AV1 stream (AV1 §5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Bits per sample: 8, 10 or 12.
    pub depth: u8,
    /// Subsampling of the chroma planes.
    pub chroma: Chroma,
    /// Color description of the stream.
    pub nclx: Nclx,
}

/// Subsampling of the chroma planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chroma {
    /// 4:0:0, no chroma planes.
    Monochrome,
    /// 4:2:0, half the width and height.
    Yuv420,
    /// 4:2:2, half the width.
    Yuv422,
    /// 4:4:4.
    Yuv444,
}

/// Code points of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nclx {
    /// Color primaries (table 2).
    pub primaries: u16,
    /// Transfer characteristics (table 3).
    pub transfer: u16,
    /// Matrix coefficients (table 4).
    pub matrix: u16,
    /// Whether samples use the full range.
    pub is_full_range: bool,
}

/// A window in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Columns left of the window.
    pub left: u32,
    /// Rows above the window.
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

/// One `irot` or `imir` property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orient {
    /// Rotation by quarter turns, counterclockwise as in `irot`.
    Rotate(u8),
    /// Mirrors left and right (`imir` axis 1).
    MirrorHorizontally,
    /// Mirrors top and bottom (`imir` axis 0).
    MirrorVertically,
}

impl Chroma {
    /// Width and height of a chroma plane beside a luma plane of this size; 0 when there is none.
    pub fn plane_size(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Chroma::Monochrome => (0, 0),
            Chroma::Yuv420 => (width.div_ceil(2), height.div_ceil(2)),
            Chroma::Yuv422 => (width.div_ceil(2), height),
            Chroma::Yuv444 => (width, height),
        }
    }
}

impl Avif<'_> {
    /// Samples per pixel of the decoded image: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
    pub fn bands(&self) -> usize {
        let color = if self.color.sequence.chroma == Chroma::Monochrome { 1 } else { 3 };
        color + usize::from(self.alpha.is_some())
    }

    /// Whether the color samples have more than 8 bits, so that the image is decoded to `u16`.
    pub fn is_deep(&self) -> bool {
        self.color.sequence.depth > 8
    }
}
