//! Encodes an animation of 8 bits per sample. Frames are predicted from those before them.

use std::ffi::CStr;

use super::Metadata;
use super::encode::{Coding, Encoding, alpha_planes, quantizer};
use super::write::{File, strip_delimiter};
use super::write_sequence::{Sequence, write};
use crate::format::Format;
use crate::render::codec::av1::{self, Error, Planes, Settings, Unit};

/// An animation to encode.
#[derive(Clone, Copy, Debug)]
pub struct Animation<'p> {
    /// The pixels of all frames, of which each has its own rows: 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha)
    /// samples. They are sRGB, or of the profile in `metadata`; alpha is not premultiplied.
    pub samples: &'p [u8],
    pub bands: usize,
    pub width: u32,
    /// Of a frame.
    pub height: u32,
    /// The time of each frame in milliseconds. Its length is the number of frames.
    pub delays: &'p [u32],
    /// How often the animation is shown; 0 is for ever.
    pub plays: u32,
    pub metadata: Metadata<'p>,
}

/// Browsers show a frame of a GIF of at most this many milliseconds for [`LONG`].
const SHORT: u32 = 10;
const LONG: u32 = 100;

/// Encodes all frames; `None` if it was stopped.
pub fn encode_animation(
    animation: &Animation<'_>,
    encoding: &Encoding<'_>,
    is_stopped: impl Fn() -> bool,
) -> Result<Option<Vec<u8>>, Error> {
    let Animation { samples, bands, width, height, metadata, .. } = *animation;
    let pixels = u64::from(width) * u64::from(height);
    if pixels > Format::Avif.max_pixels() {
        return Err(Error::TooLarge);
    }
    let frame_bytes = pixels as usize * bands;
    let count = animation.delays.len();
    if !(1..=4).contains(&bands)
        || count == 0
        || frame_bytes.checked_mul(count) != Some(samples.len())
    {
        return Err(Error::Planes);
    }
    let has_alpha = bands.is_multiple_of(2)
        && samples.iter().skip(bands - 1).step_by(bands).any(|alpha| *alpha != u8::MAX);
    let coding = Coding::of(bands, encoding, metadata.icc.is_some());
    let mut colour = Track::default();
    let mut alpha = Track::default();
    for frame in samples.chunks_exact(frame_bytes.max(1)) {
        if is_stopped() {
            return Ok(None);
        }
        let planar = coding.planar(frame, bands, width, height);
        colour.encode(&coding.planes(&planar, width, height), encoding)?;
        if has_alpha {
            alpha.encode(&alpha_planes(&planar, width, height), encoding)?;
        }
    }
    let first = |track: &'_ Track| track.units.first().map(|unit| unit.data.clone());
    let (still_colour, still_alpha) = (first(&colour).unwrap_or_default(), first(&alpha));
    let still = File {
        width,
        height,
        colour: &still_colour,
        chroma: coding.chroma,
        nclx: coding.nclx(),
        metadata,
        alpha: still_alpha.as_deref(),
    };
    let delays = animation.delays.iter();
    let delays: Vec<u32> =
        delays.map(|delay| if *delay <= SHORT { LONG } else { *delay }).collect();
    let sequence = Sequence {
        still,
        colour: &colour.units,
        alpha: has_alpha.then_some(&alpha.units),
        delays: &delays,
        plays: animation.plays,
    };
    write(&sequence).map(Some).ok_or(Error::Encoder)
}

/// The frames of colours or of alpha.
#[derive(Default)]
struct Track {
    encoder: Option<av1::Sequence>,
    units: Vec<Unit>,
}

impl Track {
    fn encode(&mut self, planes: &Planes<'_>, encoding: &Encoding<'_>) -> Result<(), Error> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(open(planes, encoding)?),
        };
        let unit = encoder.encode(planes)?;
        let data = strip_delimiter(&unit.data).to_vec();
        self.units.push(Unit { data, ..unit });
        Ok(())
    }
}

/// The quantizer is 5/4 of that of a still image, which gives the SSIM of an animated WebP of the same `q`
/// (bench/results/encoders.md).
fn open(planes: &Planes<'_>, encoding: &Encoding<'_>) -> Result<av1::Sequence, Error> {
    let quantizer = (quantizer(encoding) * 5 / 4).min(63).to_string();
    let lossy: &[(&CStr, &str)] =
        &[(c"cpu-used", "9"), (c"tune", "ssim"), (c"cq-level", &quantizer)];
    let lossless: &[(&CStr, &str)] = &[(c"cpu-used", "9"), (c"lossless", "1")];
    let options = [if encoding.is_lossless { lossless } else { lossy }, encoding.options].concat();
    av1::Sequence::open(planes, &Settings { options: &options })
}
