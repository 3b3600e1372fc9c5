//! Writes the frames of AV1 streams into an image.

use super::convert::{Conversion, Expansion};
use super::decode_error::DecodeError;
use super::matrix::ConvertedSample;
use super::sample::{Block, blocks};
use super::shrink::{AveragedSample, Averager, Shrink};
use super::upsample::{SCALE, Upsampler};
use super::{Avif, Chroma};
use crate::render::codec::av1::{Frame, Plane};

/// The visible part of a tile, in the image.
#[derive(Clone, Copy)]
pub struct Window {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

/// The caller's buffer.
pub struct Canvas<'o, S> {
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

impl<'o, S: ConvertedSample + AveragedSample> Canvas<'o, S> {
    /// `out` has the samples of the image.
    pub fn new(avif: &Avif<'_>, shrink: Shrink, out: &'o mut [S]) -> Canvas<'o, S> {
        let bands = avif.bands();
        let stride = shrink.side(avif.colour.width) as usize * bands;
        Canvas { samples: out, stride, bands, shrink }
    }

    /// The rows of a window, which is one of the whole image.
    fn rows(&mut self, window: Window) -> impl Iterator<Item = &mut [S]> {
        let [left, top, width, height] = [window.left, window.top, window.width, window.height]
            .map(|side| self.shrink.side(side) as usize);
        let (start, end) = (left * self.bands, (left + width) * self.bands);
        let rows = self.samples.chunks_exact_mut(self.stride.max(1));
        rows.skip(top).take(height).map(move |row| row.get_mut(start..end).unwrap_or_default())
    }

    /// Converts the colours of a frame.
    pub fn write_colour(
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

    /// Writes the luma of a frame as alpha.
    pub fn write_alpha(
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

    /// Divides colour by alpha, rounded to nearest. Fully transparent pixels become 0.
    pub fn unpremultiply(&mut self) {
        let max = u64::from(S::MAX);
        for pixel in self.samples.chunks_exact_mut(self.bands) {
            let Some((alpha, colour)) = pixel.split_last_mut() else { continue };
            let alpha = u64::from(alpha.code());
            for sample in colour {
                let divided = (u64::from(sample.code()) * max + alpha / 2).checked_div(alpha);
                *sample = S::from_f32(divided.unwrap_or(0).min(max) as f32);
            }
        }
    }
}

fn write_band<S: Copy>(row: &mut [S], bands: usize, band: usize, samples: &[S]) {
    for (out, sample) in row.iter_mut().skip(band).step_by(bands).zip(samples) {
        *out = *sample;
    }
}
