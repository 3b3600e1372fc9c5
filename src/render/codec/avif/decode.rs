//! Decodes a still AVIF image to samples.

use super::canvas::{Canvas, Window};
use super::convert::{Conversion, Expansion};
use super::decode_error::DecodeError;
use super::matrix::ConvertedSample;
use super::sample::Sample;
use super::shrink::{AveragedSample, Shrink};
use super::{Avif, Coded};
use crate::render::codec::av1::{self, Frame};

/// Decodes an image into `out`, row by row, with [`Avif::bands`] interleaved samples per pixel, alpha last and not
/// premultiplied. Crop and orientation are not applied. `S` is `u8`, or `u16` if [`Avif::is_deep`]. `check` is called
/// before each tile; its error stops the work.
pub fn decode<S: ConvertedSample + AveragedSample>(
    avif: &Avif<'_>,
    out: &mut [S],
    check: impl FnMut() -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    decode_shrunk(avif, Shrink::NONE, out, check)
}

/// Like [`decode`], with the mean of each block of pixels, taken before the conversion to RGB. `shrink` must be one
/// that [`Shrink::to_at_least`] gives for this image.
pub fn decode_shrunk<S: ConvertedSample + AveragedSample>(
    avif: &Avif<'_>,
    shrink: Shrink,
    out: &mut [S],
    mut check: impl FnMut() -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    check_sizes(avif, shrink, out)?;
    let mut canvas = Canvas::new(avif, shrink, out);
    let conversion = colour_conversion(avif)?;
    for_each_tile(&avif.colour, &mut check, |frame, window| {
        canvas.write_colour(frame, window, &conversion)
    })?;
    if let Some(alpha) = &avif.alpha {
        let expansion = alpha_expansion::<S>(alpha);
        for_each_tile(alpha, &mut check, |frame, window| {
            canvas.write_alpha(frame, window, expansion)
        })?;
        if avif.is_premultiplied {
            canvas.unpremultiply();
        }
    }
    Ok(())
}

/// The conversion of the colours of an image.
pub(super) fn colour_conversion<S: ConvertedSample>(
    avif: &Avif<'_>,
) -> Result<Conversion<S>, DecodeError> {
    let sequence = avif.colour.sequence;
    Conversion::new(avif.nclx.unwrap_or(sequence.nclx), sequence.chroma, sequence.depth)
}

pub(super) fn alpha_expansion<S: Sample>(alpha: &Coded<'_>) -> Expansion {
    Expansion::new::<S>(alpha.sequence.depth, alpha.sequence.nclx.is_full_range)
}

/// Decodes one tile after another and calls `write` with the visible part of each.
fn for_each_tile(
    coded: &Coded<'_>,
    check: &mut impl FnMut() -> Result<(), DecodeError>,
    mut write: impl FnMut(&Frame, Window) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let tile = (coded.tile_width, coded.tile_height);
    let max_pixels =
        u32::try_from(u64::from(tile.0) * u64::from(tile.1)).map_err(|_| av1::Error::TooLarge)?;
    if coded.columns == 0
        || coded.tiles.len() as u64 != u64::from(coded.columns) * u64::from(coded.rows)
    {
        return Err(DecodeError::Mismatch("number of tiles"));
    }
    for (index, stream) in (0_u32..).zip(&coded.tiles) {
        check()?;
        let frame = av1::decode(stream, max_pixels)?;
        check_frame(coded, &frame)?;
        let place = |at: u32, tile: u32, whole: u32| {
            let start = at.saturating_mul(tile);
            (start, tile.min(whole.saturating_sub(start)))
        };
        let (left, width) = place(index % coded.columns, tile.0, coded.width);
        let (top, height) = place(index / coded.columns, tile.1, coded.height);
        write(&frame, Window { left, top, width, height })?;
    }
    Ok(())
}

/// Compares a frame with its container.
pub(super) fn check_frame(coded: &Coded<'_>, frame: &Frame) -> Result<(), DecodeError> {
    if (frame.width(), frame.height()) != (coded.tile_width, coded.tile_height) {
        return Err(DecodeError::Mismatch("size"));
    }
    if frame.depth() != coded.sequence.depth {
        return Err(DecodeError::Mismatch("depth"));
    }
    if frame.chroma() != coded.sequence.chroma {
        return Err(DecodeError::Mismatch("subsampling"));
    }
    Ok(())
}

/// Refuses a buffer that does not have the samples of an image, and alpha that does not have its size.
pub(super) fn check_sizes<S: Sample>(
    avif: &Avif<'_>,
    shrink: Shrink,
    out: &[S],
) -> Result<(), DecodeError> {
    let colour = &avif.colour;
    let (width, height) = (shrink.side(colour.width), shrink.side(colour.height));
    let samples = u64::from(width) * u64::from(height) * avif.bands() as u64;
    if out.len() as u64 != samples || avif.is_deep() != (S::MAX > 255) {
        return Err(DecodeError::Buffer);
    }
    let fits = |alpha: &Coded| {
        shrink == Shrink::NONE && (alpha.width, alpha.height) == (colour.width, colour.height)
    };
    if avif.alpha.as_ref().is_some_and(|alpha| !fits(alpha)) {
        return Err(DecodeError::Mismatch("alpha size"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::coded::{grid, still};
    use super::super::{Chroma, Nclx};
    use super::*;
    use crate::render::codec::av1::{Planes, Settings};

    fn lossless(width: u32, height: u32, chroma: Chroma, planes: [&[u8]; 3]) -> Vec<u8> {
        let image = Planes { width, height, chroma, primaries: 1, transfer: 13, matrix: 6, planes };
        let settings = Settings { options: &[(c"lossless", "1"), (c"cpu-used", "9")] };
        av1::encode(&image, &settings).unwrap()
    }

    fn gray(width: u32, height: u32, samples: &[u8]) -> Vec<u8> {
        lossless(width, height, Chroma::Monochrome, [samples, &[], &[]])
    }

    fn decode_to_vec(avif: &Avif<'_>) -> Result<Vec<u8>, DecodeError> {
        let mut out = vec![1; (avif.colour.width * avif.colour.height) as usize * avif.bands()];
        decode(avif, &mut out, || Ok(())).map(|()| out)
    }

    #[test]
    fn avif_decode_joins_tiles_and_crops_overhang() {
        // 2 × 2 tiles of 40 × 3 make 70 × 5.
        let at = |x: u32, y: u32| (x * 3 + y * 40) as u8;
        let tile = |left: u32, top: u32| {
            let samples: Vec<u8> =
                (0..120).map(|index| at(left + index % 40, top + index / 40)).collect();
            gray(40, 3, &samples)
        };
        let tiles = vec![tile(0, 0), tile(40, 0), tile(0, 3), tile(40, 3)];
        let avif = still(grid((70, 5), (40, 3), Chroma::Monochrome, tiles), None);
        let expected: Vec<u8> = (0..350).map(|index| at(index % 70, index / 70)).collect();
        assert_eq!(decode_to_vec(&avif).unwrap(), expected);
    }

    #[test]
    fn avif_decode_stops_between_tiles() {
        let tiles = vec![gray(8, 8, &[7; 64]); 4];
        let avif = still(grid((16, 16), (8, 8), Chroma::Monochrome, tiles), None);
        for allowed in 0..4 {
            let mut left = allowed;
            let mut out = vec![0_u8; 256];
            let result = decode(&avif, &mut out, || {
                left -= 1;
                if left < 0 { Err(DecodeError::Stopped) } else { Ok(()) }
            });
            assert_eq!(result, Err(DecodeError::Stopped));
            assert_eq!(out.iter().filter(|sample| **sample == 7).count(), allowed as usize * 64);
        }
    }

    #[test]
    fn avif_decode_interpolates_chroma() {
        // 5 × 3 pixels. Only U varies, so blue is compared.
        let u = [100, 140, 180, 60, 128, 200];
        let stream = lossless(5, 3, Chroma::Yuv420, [&[100; 15], &u, &[128; 6]]);
        let avif = still(grid((5, 3), (5, 3), Chroma::Yuv420, vec![stream]), None);
        let rgb = decode_to_vec(&avif).unwrap();
        for (at, pixel) in rgb.chunks_exact(3).enumerate() {
            let at_place = |place: usize, last: usize| {
                let near = place / 2;
                let far = if place.is_multiple_of(2) { near.saturating_sub(1) } else { near + 1 };
                [(near, 0.75), (far.min(last), 0.25)]
            };
            let mut sum = 0.0;
            for (column, weight) in at_place(at % 5, 2) {
                for (row, other) in at_place(at / 5, 1) {
                    sum += weight * other * f64::from(u[row * 3 + column]);
                }
            }
            let blue = (100.0 + 1.772 * (sum - 128.0)).clamp(0.0, 255.0);
            assert!((f64::from(pixel[2]) - blue).abs() < 0.7, "{at}: {pixel:?} {blue}");
        }
    }

    #[test]
    fn avif_decode_interleaves_alpha_and_unpremultiplies() {
        let alpha = || {
            grid(
                (4, 1),
                (2, 1),
                Chroma::Monochrome,
                vec![gray(2, 1, &[0, 255]), gray(2, 1, &[128, 51])],
            )
        };
        let colour =
            || grid((4, 1), (4, 1), Chroma::Monochrome, vec![gray(4, 1, &[10, 20, 60, 90])]);
        let mut avif = still(colour(), Some(alpha()));
        assert_eq!(decode_to_vec(&avif).unwrap(), [10, 0, 20, 255, 60, 128, 90, 51]);
        avif.is_premultiplied = true;
        // 60 · 255 / 128 = 119.5; 90 exceeds its alpha and is clamped.
        assert_eq!(decode_to_vec(&avif).unwrap(), [0, 0, 20, 255, 120, 128, 255, 51]);

        let planes: [&[u8]; 3] = [&[50; 4], &[128; 4], &[128; 4]];
        let stream = lossless(4, 1, Chroma::Yuv444, planes);
        let colour = grid((4, 1), (4, 1), Chroma::Yuv444, vec![stream]);
        let avif = still(colour, Some(alpha()));
        let expected = [50, 50, 50, 0, 50, 50, 50, 255, 50, 50, 50, 128, 50, 50, 50, 51];
        assert_eq!(decode_to_vec(&avif).unwrap(), expected);
    }

    #[test]
    fn avif_decode_expands_limited_range() {
        let samples = [0, 16, 17, 125, 126, 235, 255];
        let mut colour = grid((7, 1), (7, 1), Chroma::Monochrome, vec![gray(7, 1, &samples)]);
        colour.sequence.nclx.is_full_range = false;
        let mut alpha = grid((7, 1), (7, 1), Chroma::Monochrome, vec![gray(7, 1, &samples)]);
        alpha.sequence.nclx.is_full_range = false;
        let expected = [0, 0, 1, 127, 128, 255, 255];
        let pairs: Vec<u8> = expected.into_iter().flat_map(|sample| [sample; 2]).collect();
        let mut avif = still(colour, Some(alpha));
        assert_eq!(decode_to_vec(&avif).unwrap(), pairs);
        // `nclx` of the container overrides the colour stream, not alpha.
        avif.nclx = Some(Nclx { is_full_range: true, ..avif.colour.sequence.nclx });
        let pairs: Vec<u8> =
            samples.into_iter().zip(expected).flat_map(|(colour, alpha)| [colour, alpha]).collect();
        assert_eq!(decode_to_vec(&avif).unwrap(), pairs);
    }

    #[test]
    fn avif_decode_refuses_streams_that_differ_from_the_container() {
        let tile = || gray(8, 8, &[7; 64]);
        let plain = || grid((8, 8), (8, 8), Chroma::Monochrome, vec![tile()]);
        let error = |change: fn(&mut Coded<'_>)| {
            let mut colour = plain();
            change(&mut colour);
            decode_to_vec(&still(colour, None)).err()
        };
        assert_eq!(error(|_| {}), None);
        assert_eq!(error(|coded| coded.tile_height = 9), Some(DecodeError::Mismatch("size")));
        assert_eq!(
            error(|coded| coded.tile_width = 7),
            Some(DecodeError::Decoder(av1::Error::TooLarge))
        );
        assert_eq!(
            error(|coded| coded.sequence.chroma = Chroma::Yuv420),
            Some(DecodeError::Mismatch("subsampling"))
        );
        assert_eq!(
            error(|coded| coded.columns = 2),
            Some(DecodeError::Mismatch("number of tiles"))
        );
        assert_eq!(
            error(|coded| coded.columns = 0),
            Some(DecodeError::Mismatch("number of tiles"))
        );
        assert_eq!(
            error(|coded| coded.tiles.clear()),
            Some(DecodeError::Mismatch("number of tiles"))
        );
        assert_eq!(
            error(|coded| coded.tile_width = u32::MAX),
            Some(DecodeError::Decoder(av1::Error::TooLarge))
        );
        let mut deep = plain();
        deep.sequence.depth = 10;
        let avif = still(deep, None);
        assert_eq!(decode(&avif, &mut [0_u16; 64], || Ok(())), Err(DecodeError::Mismatch("depth")));
        assert_eq!(decode(&avif, &mut [0_u8; 64], || Ok(())), Err(DecodeError::Buffer));
        let avif = still(plain(), None);
        assert_eq!(decode(&avif, &mut [0_u8; 63], || Ok(())), Err(DecodeError::Buffer));
        assert_eq!(decode(&avif, &mut [0_u16; 64], || Ok(())), Err(DecodeError::Buffer));
        let narrow = grid((8, 4), (8, 4), Chroma::Monochrome, vec![gray(8, 4, &[7; 32])]);
        let avif = still(plain(), Some(narrow));
        assert_eq!(decode_to_vec(&avif), Err(DecodeError::Mismatch("alpha size")));
    }
}
