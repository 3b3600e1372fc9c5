//! Writes a still AVIF image of 8 bits per sample.

use std::ffi::CStr;

use super::planes::Planar;
use super::write::{File, write};
use super::{Chroma, Nclx};
use crate::render::av1::{self, Error, Planes, Settings};

/// How an image is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// From 0 to 100, the best; libaom's quantizer is the nearest of 63 to 0. Without loss it does not matter.
    pub quality: u8,
    /// Every sample is kept as it is.
    pub is_lossless: bool,
    /// 4:4:4 instead of 4:2:0.
    pub is_full_chroma: bool,
    /// Speed.
    pub speed: u8,
    /// Tune.
    pub tune: &'static str,
}

/// The largest number of pixels: libavif, and with it browsers, refuses more.
pub const MAX_PIXELS: u64 = 1 << 28;

/// H.273 table 2, 3: unspecified.
const UNSPECIFIED: u8 = 2;

/// Encodes `width` × `height` pixels of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) samples. They are sRGB, or
/// of the profile `icc`; alpha is not premultiplied.
pub fn encode(
    samples: &[u8],
    width: u32,
    height: u32,
    bands: usize,
    encoding: &Encoding,
    icc: Option<&[u8]>,
) -> Result<Vec<u8>, Error> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(Error::TooLarge);
    }
    if !(1..=4).contains(&bands) || samples.len() as u64 != pixels * bands as u64 {
        return Err(Error::Planes);
    }
    let (chroma, matrix) = match bands {
        1 | 2 => (Chroma::Monochrome, 6),
        _ if encoding.is_lossless => (Chroma::Yuv444, 0),
        _ if encoding.is_full_chroma => (Chroma::Yuv444, 6),
        _ => (Chroma::Yuv420, 6),
    };
    let planar = match (bands, matrix) {
        (1 | 2, _) => Planar::gray(samples, bands),
        (_, 0) => Planar::identity(samples, bands),
        _ => Planar::bt601(samples, bands, (width as usize, height as usize), chroma),
    };
    let (primaries, transfer) = if icc.is_some() { (UNSPECIFIED, UNSPECIFIED) } else { (1, 13) };
    let color = Planes {
        width,
        height,
        chroma,
        primaries,
        transfer,
        matrix,
        planes: [&planar.y, &planar.u, &planar.v],
    };
    let color = stream(&color, encoding)?;
    let alpha = if planar.alpha.is_empty() {
        None
    } else {
        let alpha = Planes {
            width,
            height,
            chroma: Chroma::Monochrome,
            primaries: UNSPECIFIED,
            transfer: UNSPECIFIED,
            matrix: UNSPECIFIED,
            planes: [&planar.alpha, &[], &[]],
        };
        Some(stream(&alpha, encoding)?)
    };
    let file = File {
        width,
        height,
        color: &color,
        chroma,
        nclx: Nclx {
            primaries: primaries.into(),
            transfer: transfer.into(),
            matrix: matrix.into(),
            is_full_range: true,
        },
        icc,
        alpha: alpha.as_deref(),
    };
    write(&file).ok_or(Error::Encoder)
}

fn stream(planes: &Planes<'_>, encoding: &Encoding) -> Result<Vec<u8>, Error> {
    let quantizer = (100 - u32::from(encoding.quality.min(100))) * 63;
    let quantizer = ((quantizer + 50) / 100).to_string();
    let speed = encoding.speed.to_string();
    let lossy: &[(&CStr, &str)] = &[
        (c"cpu-used", &speed),
        (c"tune", encoding.tune),
        (c"cq-level", &quantizer),
        (c"enable-intrabc", "0"),
    ];
    let lossless: &[(&CStr, &str)] = &[(c"cpu-used", &speed), (c"lossless", "1")];
    let options = if encoding.is_lossless { lossless } else { lossy };
    av1::encode(planes, &Settings { options })
}
