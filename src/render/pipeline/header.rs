//! Reads the header of an original; no pixel is decoded.

use std::cell::{Cell, OnceCell};

use super::orientation;
use crate::format::Format;
use crate::options::Rotation;
use crate::render::codec::avif::{self, Avif, Crop, DecodeError, Frames, Shrink};
use crate::render::codec::gif;
use crate::render::vips::{Error, Image, Vips, Work};

/// An original whose header has been read.
#[derive(Debug)]
pub struct Header<'b> {
    /// Width of a frame in pixels, as stored.
    pub width: u32,
    /// Height of a frame in pixels, as stored.
    pub height: u32,
    /// Frames in the file.
    pub frames: u32,
    /// Whether the last band is transparency.
    pub has_transparency: bool,
    /// Bytes of the embedded colour profile, decompressed.
    pub profile_bytes: u64,
    pub exif: Option<Vec<u8>>,
    /// Only of an AVIF, which libvips does not load.
    pub avif: Option<Decoded<'b>>,
    /// Only of a GIF, which libvips does not load.
    pub gif: Option<GifFrames>,
    /// Of a progressive JPEG, once it has been transcoded.
    pub transcoded: OnceCell<Vec<u8>>,
    /// Set if libjpeg has to decode an image for which `memory_is_reduced`.
    pub needs_full_memory: Cell<bool>,
}

/// What is decoded of a GIF, and how often it is shown.
#[derive(Debug)]
pub struct GifFrames {
    pub plays: u32,
    /// The samples of the frames that are rendered, once they have been decoded.
    pub samples: OnceCell<Vec<u8>>,
}

/// An AVIF image. The samples of a still image, or of the first frame, are decoded once, when they are first asked for.
#[derive(Debug)]
pub struct Decoded<'b> {
    pub avif: Avif<'b>,
    samples: OnceCell<(Samples, Shrink)>,
}

#[derive(Debug)]
enum Samples {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

impl<'b> Header<'b> {
    /// Reads the header of an original of this format.
    pub fn read(vips: Vips, original: &'b [u8], format: Format) -> Result<Header<'b>, Error> {
        if format == Format::Avif {
            let avif = avif::parse(original).map_err(|error| Error(error.to_string()))?;
            return Ok(Self::from_avif(avif));
        }
        if format == Format::Gif {
            return Self::from_gif(original);
        }
        let image = vips.read_header(original)?;
        Ok(Header {
            width: image.width(),
            height: image.frame_height(),
            frames: image.frames_in_file(),
            has_transparency: image.has_transparency(),
            profile_bytes: image.profile_bytes(),
            exif: image.blob(c"exif-data"),
            avif: None,
            gif: None,
            transcoded: OnceCell::new(),
            needs_full_memory: Cell::new(false),
        })
    }

    fn from_gif(original: &'b [u8]) -> Result<Header<'b>, Error> {
        let summary = gif::summarize(original).filter(|summary| summary.frames > 0);
        let summary = summary.ok_or_else(|| Error("it has no frame".into()))?;
        Ok(Header {
            width: summary.width,
            height: summary.height,
            frames: summary.frames,
            has_transparency: summary.may_have_transparency,
            profile_bytes: 0,
            exif: None,
            avif: None,
            gif: Some(GifFrames { plays: summary.plays, samples: OnceCell::new() }),
            transcoded: OnceCell::new(),
            needs_full_memory: Cell::new(false),
        })
    }

    fn from_avif(avif: Avif<'b>) -> Header<'b> {
        let whole = Crop { left: 0, top: 0, width: avif.colour.width, height: avif.colour.height };
        let crop = avif.crop.unwrap_or(whole);
        Header {
            width: crop.width,
            height: crop.height,
            frames: avif.frames.as_ref().map_or(1, Frames::count),
            has_transparency: avif.alpha.is_some(),
            profile_bytes: avif.icc.map_or(0, |icc| icc.len() as u64),
            exif: avif.exif.as_deref().map(<[u8]>::to_vec),
            avif: Some(Decoded { avif, samples: OnceCell::new() }),
            gif: None,
            transcoded: OnceCell::new(),
            needs_full_memory: Cell::new(false),
        }
    }

    /// The rotation that brings the original upright.
    pub fn orientation(&self) -> Rotation {
        match (&self.avif, &self.exif) {
            // Its EXIF only repeats `irot` and `imir` (ISO/IEC 23008-12 §A.2).
            (Some(decoded), _) => orientation::from_avif(&decoded.avif.orientation),
            (None, Some(exif)) => orientation::from_exif(exif),
            (None, None) => Rotation::default(),
        }
    }
}

impl Decoded<'_> {
    /// The image with its `clap` applied, in its stored orientation; shrunk, if this is the first time that it is asked
    /// for. And how much it is.
    pub fn image(&self, vips: Vips, shrink: Shrink) -> Result<(Image<'_>, Shrink), Error> {
        let (samples, shrink) = match self.samples.get() {
            Some(samples) => samples,
            None => {
                let samples = self.decode(shrink)?;
                self.samples.get_or_init(|| (samples, shrink))
            }
        };
        let Avif { colour, crop, .. } = &self.avif;
        let (width, height) = (shrink.side(colour.width), shrink.side(colour.height));
        let bands = self.avif.bands();
        let image = match samples {
            Samples::Bytes(samples) => vips.image_from_samples(samples, width, height, bands)?,
            Samples::Words(samples) => vips.image_from_samples(samples, width, height, bands)?,
        };
        let image = match *crop {
            None => image,
            Some(Crop { left, top, width, height }) => image.crop(left, top, width, height)?,
        };
        Ok((image, *shrink))
    }

    fn decode(&self, shrink: Shrink) -> Result<Samples, Error> {
        let [width, height] = [self.avif.colour.width, self.avif.colour.height]
            .map(|side| u64::from(shrink.side(side)));
        let count = width * height * self.avif.bands() as u64;
        let count = usize::try_from(count).map_err(|error| Error(error.to_string()))?;
        let check = || if Work::is_stopped() { Err(DecodeError::Stopped) } else { Ok(()) };
        let failed = |error: DecodeError| Error(error.to_string());
        if self.avif.is_deep() {
            let mut samples = vec![0_u16; count];
            avif::decode_shrunk(&self.avif, shrink, &mut samples, check).map_err(failed)?;
            Ok(Samples::Words(samples))
        } else {
            let mut samples = vec![0_u8; count];
            avif::decode_shrunk(&self.avif, shrink, &mut samples, check).map_err(failed)?;
            Ok(Samples::Bytes(samples))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exif_orientation_is_read() {
        let photo = include_bytes!("../../../tests/data/orient-6.jpg");
        let header = Header::read(Vips::start().unwrap(), photo, Format::Jpeg).unwrap();
        assert_eq!(header.orientation(), Rotation::new(1, &[]));
    }
}
