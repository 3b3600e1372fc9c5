//! Decodes a still AVIF image to samples.

use super::convert::{Conversion, Expansion};
use super::decode_error::DecodeError;
use super::matrix::ConvertedSample;
use super::sample::{Block, Sample, blocks};
use super::shrink::{AveragedSample, Averager, Shrink};
use super::upsample::{SCALE, Upsampler};
use super::{Avif, Chroma, Coded};
use crate::render::codec::av1::{self, Frame, Plane};

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
    let bands = avif.bands();
    let colour = &avif.colour;
    let (width, height) = (shrink.side(colour.width), shrink.side(colour.height));
    let samples = u64::from(width) * u64::from(height) * bands as u64;
    if out.len() as u64 != samples || avif.is_deep() != (S::MAX > 255) {
        return Err(DecodeError::Buffer);
    }
    let mut canvas = Canvas { samples: out, stride: width as usize * bands, bands, shrink };

    let nclx = avif.nclx.unwrap_or(colour.sequence.nclx);
    let sequence = colour.sequence;
    let conversion: Conversion<S> = Conversion::new(nclx, sequence.chroma, sequence.depth)?;
    for_each_tile(colour, &mut check, |frame, window| {
        canvas.write_colour(frame, window, &conversion)
    })?;

    if let Some(alpha) = &avif.alpha {
        if shrink != Shrink::NONE {
            return Err(DecodeError::Mismatch("alpha size"));
        }
        if (alpha.width, alpha.height) != (colour.width, colour.height) {
            return Err(DecodeError::Mismatch("alpha size"));
        }
        let expansion =
            Expansion::new::<S>(alpha.sequence.depth, alpha.sequence.nclx.is_full_range);
        for_each_tile(alpha, &mut check, |frame, window| {
            canvas.write_alpha(frame, window, expansion)
        })?;
        if avif.is_premultiplied {
            unpremultiply(canvas.samples, bands);
        }
    }
    Ok(())
}

/// The visible part of a tile, in the image.
#[derive(Clone, Copy)]
struct Window {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
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
        if (frame.width(), frame.height()) != tile {
            return Err(DecodeError::Mismatch("size"));
        }
        if frame.depth() != coded.sequence.depth {
            return Err(DecodeError::Mismatch("depth"));
        }
        if frame.chroma() != coded.sequence.chroma {
            return Err(DecodeError::Mismatch("subsampling"));
        }
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

/// The caller's buffer.
struct Canvas<'o, S> {
    samples: &'o mut [S],
    stride: usize,
    bands: usize,
    shrink: Shrink,
}

/// The rows of the planes of a tile, each at the size at which it is converted.
enum Rows<'f, S: AveragedSample> {
    Whole(Plane<'f, S>, Option<[Upsampler<'f, S>; 2]>),
    Shrunk(Averager<'f, S>, Option<[Averager<'f, S>; 2]>, [Vec<Block<u16>>; 2]),
}

impl<'f, S: AveragedSample> Rows<'f, S> {
    fn new(frame: &'f Frame, window: Window, shrink: Shrink) -> Result<Self, DecodeError> {
        let plane = |index| S::plane(frame, index).ok_or(DecodeError::Mismatch("depth"));
        let chroma = frame.chroma();
        let luma = plane(0)?;
        let planes = if chroma == Chroma::Monochrome { None } else { Some([plane(1)?, plane(2)?]) };
        if shrink == Shrink::NONE {
            let chromas = planes.map(|planes| {
                planes.map(|plane| Upsampler::new(plane, chroma, window.width, window.height))
            });
            return Ok(Rows::Whole(luma, chromas));
        }
        let luma = Averager::new(luma, shrink.luma_block(), (window.width, window.height));
        let size = chroma.plane_size(window.width, window.height);
        let chromas = planes.map(|planes| {
            planes.map(|plane| Averager::new(plane, shrink.chroma_block(chroma), size))
        });
        let row = || blocks(shrink.side(window.width) as usize);
        Ok(Rows::Shrunk(luma, chromas, [row(), row()]))
    }

    /// Writes a row of luma and returns its chroma, scaled by [`SCALE`].
    fn read(&mut self, row: usize, y: &mut [S]) -> [&[Block<u16>]; 2] {
        match self {
            Rows::Whole(luma, chromas) => {
                y.iter_mut().zip(luma.row(row)).for_each(|(to, from)| *to = *from);
                match chromas {
                    Some([u, v]) => [u.row(row), v.row(row)],
                    None => [&[][..]; 2],
                }
            }
            Rows::Shrunk(luma, chromas, out) => {
                luma.write(row, 1, y, S::from_code);
                let Some(chromas) = chromas else { return [&[][..]; 2] };
                for (plane, out) in chromas.iter_mut().zip(out.iter_mut()) {
                    plane.write(row, SCALE, out.as_flattened_mut(), |code| code as u16);
                }
                out.each_ref().map(Vec::as_slice)
            }
        }
    }
}

impl<S: ConvertedSample + AveragedSample> Canvas<'_, S> {
    /// The rows of a window, which is one of the whole image.
    fn rows(&mut self, window: Window) -> impl Iterator<Item = &mut [S]> {
        let [left, top, width, height] = [window.left, window.top, window.width, window.height]
            .map(|side| self.shrink.side(side) as usize);
        let (start, end) = (left * self.bands, (left + width) * self.bands);
        let rows = self.samples.chunks_exact_mut(self.stride.max(1));
        rows.skip(top).take(height).map(move |row| row.get_mut(start..end).unwrap_or_default())
    }

    fn write_colour(
        &mut self,
        frame: &Frame,
        window: Window,
        conversion: &Conversion<S>,
    ) -> Result<(), DecodeError> {
        let bands = self.bands;
        let width = self.shrink.side(window.width) as usize;
        let mut planes = Rows::new(frame, window, self.shrink)?;
        let mut y = blocks::<S>(width);
        let [mut red, mut green, mut blue] = [(); 3].map(|()| blocks::<S>(width));
        for (at, row) in self.rows(window).enumerate() {
            let uv = planes.read(at, y.as_flattened_mut());
            conversion.convert_row(&y, uv, [&mut red, &mut green, &mut blue]);
            match bands {
                1 | 2 => write_band(row, bands, 0, green.as_flattened()),
                3 => S::write_rgb(row, [&red, &green, &blue]),
                _ => {
                    for (band, plane) in [&red, &green, &blue].into_iter().enumerate() {
                        write_band(row, bands, band, plane.as_flattened());
                    }
                }
            }
        }
        Ok(())
    }

    fn write_alpha(
        &mut self,
        frame: &Frame,
        window: Window,
        expansion: Expansion,
    ) -> Result<(), DecodeError> {
        let bands = self.bands;
        let mut alpha = vec![S::default(); window.width as usize];
        for (at, row) in self.rows(window).enumerate() {
            if let Some(plane) = frame.plane_u8(0) {
                expansion.expand_row(plane.row(at), &mut alpha);
            } else if let Some(plane) = frame.plane_u16(0) {
                expansion.expand_row(plane.row(at), &mut alpha);
            }
            write_band(row, bands, bands - 1, &alpha);
        }
        Ok(())
    }
}

fn write_band<S: Copy>(row: &mut [S], bands: usize, band: usize, samples: &[S]) {
    for (out, sample) in row.iter_mut().skip(band).step_by(bands).zip(samples) {
        *out = *sample;
    }
}

/// Divides colour by alpha, rounded to nearest. Fully transparent pixels become 0.
fn unpremultiply<S: Sample>(samples: &mut [S], bands: usize) {
    let max = u64::from(S::MAX);
    for pixel in samples.chunks_exact_mut(bands) {
        let Some((alpha, colour)) = pixel.split_last_mut() else { continue };
        let alpha = u64::from(alpha.code());
        for sample in colour {
            let divided = (u64::from(sample.code()) * max + alpha / 2).checked_div(alpha);
            *sample = S::from_f32(divided.unwrap_or(0).min(max) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Nclx;
    use super::super::tests::coded::{grid, still};
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
