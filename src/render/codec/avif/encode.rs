//! Encodes a still AVIF image of 8 bits per sample, and chooses how pixels become samples of AV1.

use std::ffi::CStr;

use super::effort::Effort;
use super::planes::Planar;
use super::write::{File, write};
use super::{Chroma, Metadata, Nclx};
use crate::format::Format;
use crate::render::codec::av1::{self, Error, Planes, Settings};

/// Encoder settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding<'e> {
    /// 0 to 100 (best), mapped to libaom's quantizer from 63 to 0. Ignored if lossless.
    pub quality: u8,
    /// Every sample is preserved.
    pub is_lossless: bool,
    /// 4:4:4 instead of 4:2:0.
    pub is_full_chroma: bool,
    /// libaom options by name, set after those chosen here.
    pub options: &'e [(&'e CStr, &'e str)],
}

/// H.273 table 2, 3: unspecified.
const UNSPECIFIED: u8 = 2;

/// Encodes `width` × `height` pixels of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) samples. They are sRGB, or
/// of the profile in `metadata`; alpha is not premultiplied.
pub fn encode(
    samples: &[u8],
    width: u32,
    height: u32,
    bands: usize,
    encoding: &Encoding<'_>,
    metadata: Metadata,
) -> Result<Vec<u8>, Error> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > Format::Avif.max_pixels() {
        return Err(Error::TooLarge);
    }
    if !(1..=4).contains(&bands) || samples.len() as u64 != pixels * bands as u64 {
        return Err(Error::Planes);
    }
    let coding = Coding::of(bands, encoding, metadata.icc.is_some());
    let planar = coding.planar(samples, bands, width, height);
    let colour = encode_stream(&coding.planes(&planar, width, height), encoding, "iq")?;
    let alpha = if planar.alpha.is_empty() {
        None
    } else {
        let alpha = alpha_planes(&planar, width, height);
        // `iq` quantises high frequencies more, which colours hide and edges of alpha do not.
        Some(encode_stream(&alpha, encoding, "ssim")?)
    };
    let file = File {
        width,
        height,
        colour: &colour,
        chroma: coding.chroma,
        nclx: coding.nclx(),
        metadata,
        alpha: alpha.as_deref(),
    };
    write(&file).ok_or(Error::Encoder)
}

/// How pixels become samples of AV1.
#[derive(Clone, Copy, Debug)]
pub struct Coding {
    pub chroma: Chroma,
    matrix: u8,
    primaries: u8,
    transfer: u8,
}

impl Coding {
    pub fn of(bands: usize, encoding: &Encoding<'_>, has_profile: bool) -> Coding {
        let (chroma, matrix) = match bands {
            1 | 2 => (Chroma::Monochrome, 6),
            _ if encoding.is_lossless => (Chroma::Yuv444, 0),
            _ if encoding.is_full_chroma => (Chroma::Yuv444, 6),
            _ => (Chroma::Yuv420, 6),
        };
        let (primaries, transfer) = if has_profile { (UNSPECIFIED, UNSPECIFIED) } else { (1, 13) };
        Coding { chroma, matrix, primaries, transfer }
    }

    pub fn planar(self, samples: &[u8], bands: usize, width: u32, height: u32) -> Planar {
        match (bands, self.matrix) {
            (1 | 2, _) => Planar::gray(samples, bands),
            (_, 0) => Planar::identity(samples, bands),
            _ => Planar::bt601(samples, bands, (width as usize, height as usize), self.chroma),
        }
    }

    pub fn planes(self, planar: &Planar, width: u32, height: u32) -> Planes<'_> {
        let Coding { chroma, matrix, primaries, transfer } = self;
        let planes = [&planar.y[..], &planar.u, &planar.v];
        Planes { width, height, chroma, primaries, transfer, matrix, planes }
    }

    pub fn nclx(self) -> Nclx {
        Nclx {
            primaries: self.primaries.into(),
            transfer: self.transfer.into(),
            matrix: self.matrix.into(),
            is_full_range: true,
        }
    }
}

pub fn alpha_planes(planar: &Planar, width: u32, height: u32) -> Planes<'_> {
    Planes {
        width,
        height,
        chroma: Chroma::Monochrome,
        primaries: UNSPECIFIED,
        transfer: UNSPECIFIED,
        matrix: UNSPECIFIED,
        planes: [&planar.alpha, &[], &[]],
    }
}

/// libaom's `cq-level`.
pub fn quantizer(encoding: &Encoding<'_>) -> u32 {
    let quantizer = (100 - u32::from(encoding.quality.min(100))) * 63;
    (quantizer + 50) / 100
}

fn encode_stream(
    planes: &Planes<'_>,
    encoding: &Encoding<'_>,
    tune: &str,
) -> Result<Vec<u8>, Error> {
    let quantizer = quantizer(encoding).to_string();
    let effort = Effort::of(planes.planes[0]).cpu_used();
    let lossy: &[(&CStr, &str)] =
        &[(c"cpu-used", effort), (c"tune", tune), (c"cq-level", &quantizer)];
    let lossless: &[(&CStr, &str)] =
        &[(c"cpu-used", Effort::Search.cpu_used()), (c"lossless", "1")];
    let options = [if encoding.is_lossless { lossless } else { lossy }, encoding.options].concat();
    av1::encode(planes, &Settings { options: &options })
}

#[cfg(test)]
mod tests {
    use super::super::{decode, parse};
    use super::*;

    const PLAIN: Encoding =
        Encoding { quality: 90, is_lossless: false, is_full_chroma: false, options: &[] };

    /// A gradient with noise.
    fn samples(width: u32, height: u32, bands: usize) -> Vec<u8> {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let sample = |x: u32, y: u32, band: u32| {
            let noise = (x * 31 + y * 17 + band).wrapping_mul(2_654_435_761) >> 29;
            (x * 255 / width * band.min(1) + y * 255 / height * (1 - band.min(1)) + noise).min(255)
                as u8
        };
        pixels.flat_map(|(x, y)| (0..bands as u32).map(move |band| sample(x, y, band))).collect()
    }

    fn decode_file(file: &[u8]) -> (Vec<u8>, usize) {
        let avif = parse(file).unwrap();
        let mut out = vec![0; (avif.colour.width * avif.colour.height) as usize * avif.bands()];
        decode(&avif, &mut out, || Ok(())).unwrap();
        (out, avif.bands())
    }

    #[test]
    fn avif_lossless_encoding_round_trips() {
        let lossless = Encoding { is_lossless: true, ..PLAIN };
        for bands in 1..=4 {
            for (width, height) in [(1, 1), (33, 7), (64, 70)] {
                let samples = samples(width, height, bands);
                let file =
                    encode(&samples, width, height, bands, &lossless, Metadata::default()).unwrap();
                assert_eq!(decode_file(&file), (samples, bands), "{width}x{height}");
            }
        }
    }

    #[test]
    fn avif_lossy_encoding_has_a_small_error() {
        for encoding in [PLAIN, Encoding { is_full_chroma: true, ..PLAIN }] {
            for bands in 1..=4 {
                for (width, height) in [(1, 1), (33, 27), (200, 100)] {
                    let samples = samples(width, height, bands);
                    let file =
                        encode(&samples, width, height, bands, &encoding, Metadata::default())
                            .unwrap();
                    let (out, out_bands) = decode_file(&file);
                    assert_eq!(out_bands, bands);
                    let squares =
                        samples.iter().zip(&out).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
                    let mean = squares.sum::<f64>() / samples.len() as f64;
                    assert!(mean < 20.0, "{encoding:?} {bands} {width}x{height}: {mean}");
                }
            }
        }
    }

    #[test]
    fn avif_size_grows_with_quality() {
        let samples = samples(128, 128, 3);
        let size = |quality| {
            encode(&samples, 128, 128, 3, &Encoding { quality, ..PLAIN }, Metadata::default())
                .unwrap()
                .len()
        };
        let sizes = [0, 30, 60, 90, 100].map(size);
        assert!(sizes.is_sorted() && sizes[0] * 4 < sizes[4], "{sizes:?}");
        assert_eq!(size(100), size(255));
    }

    #[test]
    fn avif_effort_and_tune_are_those_of_the_content() {
        let texture = samples(64, 64, 1);
        let drawing: Vec<u8> = (0..64 * 64)
            .map(|at| if (at % 64 / 9 + at / 64 / 7) % 2 == 0 { 20 } else { 230 })
            .collect();
        let lossless = Encoding { is_lossless: true, ..PLAIN };
        for (samples, encoding, effort, other) in [
            (&drawing, PLAIN, "8", "9"),
            (&texture, PLAIN, "9", "8"),
            (&texture, lossless, "8", "9"),
        ] {
            let encoded = |cpu_used: Option<&'static str>| {
                let options: Vec<_> =
                    cpu_used.map(|value| (c"cpu-used", value)).into_iter().collect();
                encode(
                    samples,
                    64,
                    64,
                    1,
                    &Encoding { options: &options, ..encoding },
                    Metadata::default(),
                )
                .unwrap()
            };
            let default = encoded(None);
            assert!(default == encoded(Some(effort)), "{encoding:?} {effort}");
            assert!(default != encoded(Some(other)), "{encoding:?} {effort}");
        }
        let gray_and_alpha: Vec<u8> =
            texture.iter().zip(&texture).flat_map(|(gray, alpha)| [*gray, *alpha]).collect();
        let decoded = |options| {
            let encoding = Encoding { quality: 50, options, ..PLAIN };
            let file = encode(&gray_and_alpha, 64, 64, 2, &encoding, Metadata::default()).unwrap();
            let band = |first: usize| -> Vec<u8> {
                decode_file(&file).0.into_iter().skip(first).step_by(2).collect()
            };
            (band(0), band(1))
        };
        let [default, iq, ssim] = [&[][..], &[(c"tune", "iq")], &[(c"tune", "ssim")]].map(decoded);
        assert!(iq.0 != ssim.0 && iq.1 != ssim.1);
        assert!(default == (iq.0, ssim.1), "colour iq, alpha ssim");
    }

    #[test]
    fn avif_encoding_has_the_requested_subsampling_and_nclx() {
        let samples = samples(16, 16, 4);
        let full = Encoding { is_full_chroma: true, ..PLAIN };
        let lossless = Encoding { is_lossless: true, ..PLAIN };
        for (encoding, bands, chroma, matrix) in [
            (PLAIN, 1, Chroma::Monochrome, 6),
            (PLAIN, 3, Chroma::Yuv420, 6),
            (full, 4, Chroma::Yuv444, 6),
            (lossless, 3, Chroma::Yuv444, 0),
            (lossless, 2, Chroma::Monochrome, 6),
        ] {
            for (icc, primaries, transfer) in [(None, 1, 13), (Some(&b"a profile"[..]), 2, 2)] {
                let file = encode(
                    &samples[..256 * bands],
                    16,
                    16,
                    bands,
                    &encoding,
                    Metadata { icc, xmp: None },
                )
                .unwrap();
                let avif = parse(&file).unwrap();
                assert_eq!(avif.colour.sequence.chroma, chroma);
                assert_eq!(avif.icc, icc);
                let nclx = Nclx { primaries, transfer, matrix, is_full_range: true };
                assert_eq!((avif.nclx, avif.colour.sequence.nclx), (Some(nclx), nclx));
            }
        }
    }

    #[test]
    fn avif_encode_refuses_samples_of_another_size() {
        let error = |samples: &[u8], width, height, bands| {
            encode(samples, width, height, bands, &PLAIN, Metadata::default()).err()
        };
        assert_eq!(error(&[0; 12], 2, 2, 3), None);
        for (width, height, bands) in
            [(2, 2, 4), (2, 2, 2), (0, 0, 3), (0, 4, 3), (2, 2, 0), (1, 2, 6)]
        {
            assert_eq!(error(&[0; 12], width, height, bands), Some(Error::Planes));
        }
        assert_eq!(error(&[], 1 << 14, 1 << 15, 3), Some(Error::TooLarge));
        assert_eq!(error(&[], u32::MAX, u32::MAX, 3), Some(Error::TooLarge));
        assert_eq!(error(&[0; 65_537], 65_537, 1, 1), Some(Error::TooLarge));
    }
}
