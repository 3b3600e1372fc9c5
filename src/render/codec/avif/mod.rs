//! AVIF (AV1 Image File Format 1.1; HEIF, ISO/IEC 23008-12; MIAF, ISO/IEC 23000-22): parses the container, decodes its
//! AV1 with dav1d and encodes with libaom.
//!
//! [`parse`] is an allow-list in safe Rust: a file with an unknown item, reference or essential property is refused
//! before any of it reaches a decoder.

mod alpha;
mod boxes;
mod canvas;
mod container;
mod convert;
mod decode;
mod decode_error;
mod decode_sequence;
mod effort;
mod encode;
mod encode_sequence;
mod error;
mod frames;
mod inspect;
mod items;
mod matrix;
mod meta;
mod movie;
mod planes;
mod properties;
mod reader;
mod sample;
mod sample_table;
mod sequence;
mod shrink;
#[cfg(test)]
mod tests;
mod track;
mod upsample;
mod write;
mod write_sequence;

use std::borrow::Cow;

pub use super::av1::{Chroma, Nclx};
pub use container::parse;
pub use decode::{decode, decode_shrunk};
pub use decode_error::DecodeError;
pub use decode_sequence::FrameDecoder;
pub use encode::{Encoding, encode};
pub use encode_sequence::{Animation, encode_animation};
pub use error::Error;
pub use frames::Frames;
pub use inspect::inspect;
pub use matrix::ConvertedSample;
pub use shrink::{AveragedSample, Shrink};

/// An AVIF image as its container describes it: a still one, or the first frame of an image sequence.
#[derive(Debug)]
pub struct Avif<'b> {
    /// The primary item, or the first picture of a track.
    pub colour: Coded<'b>,
    /// Its alpha; it has the same size.
    pub alpha: Option<Coded<'b>>,
    /// `prem`: the colour samples are already multiplied by alpha.
    pub is_premultiplied: bool,
    /// `clap`, applied first.
    pub crop: Option<Crop>,
    /// `irot` and `imir` in the order of the file, applied after the crop.
    pub orientation: Vec<Orient>,
    /// `colr` of type `nclx`. It overrides the colour description of the AV1 sequence header.
    pub nclx: Option<Nclx>,
    /// `colr` of type `prof` or `rICC`.
    pub icc: Option<&'b [u8]>,
    /// The `Exif` item that describes the primary item, from its TIFF header on.
    pub exif: Option<Cow<'b, [u8]>>,
    /// The XMP that describes the primary item.
    pub xmp: Option<Cow<'b, [u8]>>,
    /// Bytes of ICC profile, Exif, XMP and other metadata, as stored.
    pub metadata_bytes: u64,
    /// All frames of an image sequence.
    pub frames: Option<Frames<'b>>,
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
    /// Largest width and height of a frame of one tile: those of the tile, or what a frame header may override them
    /// with.
    pub max_frame_size: (u32, u32),
    /// Frames that dav1d keeps of one stream at most: its layers, or those of a sequence from which others are predicted,
    /// and a copy if it adds film grain.
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
    /// Colour description of the stream.
    pub nclx: Nclx,
}

/// What a file holds beside the image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata<'m> {
    /// The colour profile.
    pub icc: Option<&'m [u8]>,
    /// An XMP packet.
    pub xmp: Option<&'m [u8]>,
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

impl Avif<'_> {
    /// Samples per pixel of the decoded image: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
    pub fn bands(&self) -> usize {
        let colour = if self.colour.sequence.chroma == Chroma::Monochrome { 1 } else { 3 };
        colour + usize::from(self.alpha.is_some())
    }

    /// Whether the colour samples have more than 8 bits, so that the image is decoded to `u16`.
    pub fn is_deep(&self) -> bool {
        self.colour.sequence.depth > 8
    }
}
