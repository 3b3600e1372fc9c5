//! The samples of a still AVIF image.

use std::fmt;

use super::convert::{Conversion, Expansion};
use super::sample::{Sample, blocks};
use super::upsample::Upsampler;
use super::{Avif, Chroma, Coded};
use crate::render::av1::{self, Frame};

/// Why an image was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The caller's check stopped it.
    Stopped,
    /// The decoder failed.
    Decoder(av1::Error),
    /// A frame is not of the size, depth or subsampling that the container says.
    Promise(&'static str),
    /// Matrix coefficients (H.273 table 4) that are not known, or not with this subsampling.
    Matrix(u16),
    /// The caller's buffer does not fit the image.
    Buffer,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Stopped => formatter.write_str("AVIF: stopped"),
            Error::Decoder(error) => error.fmt(formatter),
            Error::Promise(what) => {
                write!(formatter, "AVIF: a stream has another {what} than its container says")
            }
            Error::Matrix(matrix) => {
                write!(
                    formatter,
                    "AVIF: matrix coefficients {matrix} are not supported with this subsampling"
                )
            }
            Error::Buffer => formatter.write_str("AVIF: the buffer does not fit the image"),
        }
    }
}

impl std::error::Error for Error {}

impl From<av1::Error> for Error {
    fn from(error: av1::Error) -> Error {
        Error::Decoder(error)
    }
}

/// Decodes an image into `out`: row by row, [`Avif::bands`] interleaved samples per pixel, alpha last and never
/// premultiplied. It is the coded image: neither cropped nor oriented. `S` is `u8`, or `u16` if [`Avif::is_deep`].
/// `check` is called before each tile and ends the work by an error.
pub fn decode<S: Sample>(
    avif: &Avif<'_>,
    out: &mut [S],
    mut check: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let bands = avif.bands();
    let color = &avif.color;
    let samples = u64::from(color.width) * u64::from(color.height) * bands as u64;
    if out.len() as u64 != samples || avif.is_deep() != (S::MAX > 255) {
        return Err(Error::Buffer);
    }
    let mut canvas = Canvas { samples: out, stride: color.width as usize * bands, bands };

    let nclx = avif.nclx.unwrap_or(color.sequence.nclx);
    let sequence = color.sequence;
    let conversion: Conversion<S> = Conversion::new(nclx, sequence.chroma, sequence.depth)?;
    each_tile(color, &mut check, |frame, window| canvas.lay_color(frame, window, &conversion))?;

    if let Some(alpha) = &avif.alpha {
        if (alpha.width, alpha.height) != (color.width, color.height) {
            return Err(Error::Promise("size of alpha"));
        }
        let expansion = Expansion::new::<S>(alpha.sequence.depth, alpha.sequence.nclx.is_full_range);
        each_tile(alpha, &mut check, |frame, window| canvas.lay_alpha(frame, window, expansion))?;
        if avif.is_premultiplied {
            unpremultiply(canvas.samples, bands);
        }
    }
    Ok(())
}

/// Where a tile is seen.
#[derive(Clone, Copy)]
struct Window {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

/// Decodes one tile after the other.
fn each_tile(
    coded: &Coded<'_>,
    check: &mut impl FnMut() -> Result<(), Error>,
    mut lay: impl FnMut(&Frame, Window) -> Result<(), Error>,
) -> Result<(), Error> {
    let tile = (coded.tile_width, coded.tile_height);
    let most = u32::try_from(u64::from(tile.0) * u64::from(tile.1)).map_err(|_| av1::Error::TooLarge)?;
    if coded.columns == 0 || coded.tiles.len() as u64 != u64::from(coded.columns) * u64::from(coded.rows) {
        return Err(Error::Promise("number of tiles"));
    }
    for (index, stream) in (0_u32..).zip(&coded.tiles) {
        check()?;
        let frame = av1::decode(stream, most)?;
        if (frame.width(), frame.height()) != tile {
            return Err(Error::Promise("size"));
        }
        if frame.depth() != coded.sequence.depth {
            return Err(Error::Promise("depth"));
        }
        if frame.chroma() != coded.sequence.chroma {
            return Err(Error::Promise("subsampling"));
        }
        let place = |at: u32, tile: u32, whole: u32| {
            let start = at.saturating_mul(tile);
            (start, tile.min(whole.saturating_sub(start)))
        };
        let (left, width) = place(index % coded.columns, tile.0, coded.width);
        let (top, height) = place(index / coded.columns, tile.1, coded.height);
        lay(&frame, Window { left, top, width, height })?;
    }
    Ok(())
}

/// The caller's buffer.
struct Canvas<'o, S> {
    samples: &'o mut [S],
    stride: usize,
    bands: usize,
}

impl<S: Sample> Canvas<'_, S> {
    /// The samples of the rows of a window, from its first row on.
    fn rows(&mut self, window: Window) -> impl Iterator<Item = &mut [S]> {
        let (start, end) = (window.left as usize, (window.left + window.width) as usize);
        let (start, end) = (start * self.bands, end * self.bands);
        let rows = self.samples.chunks_exact_mut(self.stride.max(1));
        rows.skip(window.top as usize)
            .take(window.height as usize)
            .map(move |row| row.get_mut(start..end).unwrap_or_default())
    }

    fn lay_color(&mut self, frame: &Frame, window: Window, conversion: &Conversion<S>) -> Result<(), Error> {
        let plane = |index| S::plane(frame, index).ok_or(Error::Promise("depth"));
        let (chroma, bands, width) = (frame.chroma(), self.bands, window.width as usize);
        let luma = plane(0)?;
        let mut chromas = match chroma {
            Chroma::Monochrome => None,
            _ => Some(
                [plane(1)?, plane(2)?]
                    .map(|plane| Upsampler::new(plane, chroma, window.width, window.height)),
            ),
        };
        let mut y = blocks::<S>(width);
        let [mut red, mut green, mut blue] = [(); 3].map(|()| blocks::<S>(width));
        for (at, row) in self.rows(window).enumerate() {
            y.as_flattened_mut().iter_mut().zip(luma.row(at)).for_each(|(to, from)| *to = *from);
            let uv = match &mut chromas {
                Some([u, v]) => [u.row(at), v.row(at)],
                None => [&[][..]; 2],
            };
            conversion.row(&y, uv, [&mut red, &mut green, &mut blue]);
            match bands {
                1 | 2 => lay_band(row, bands, 0, green.as_flattened()),
                3 => S::lay_rgb(row, [&red, &green, &blue]),
                _ => {
                    for (band, plane) in [&red, &green, &blue].into_iter().enumerate() {
                        lay_band(row, bands, band, plane.as_flattened());
                    }
                }
            }
        }
        Ok(())
    }

    fn lay_alpha(&mut self, frame: &Frame, window: Window, expansion: Expansion) -> Result<(), Error> {
        let bands = self.bands;
        let mut alpha = vec![S::default(); window.width as usize];
        for (at, row) in self.rows(window).enumerate() {
            if let Some(plane) = frame.plane_u8(0) {
                expansion.row(plane.row(at), &mut alpha);
            } else if let Some(plane) = frame.plane_u16(0) {
                expansion.row(plane.row(at), &mut alpha);
            }
            lay_band(row, bands, bands - 1, &alpha);
        }
        Ok(())
    }
}

fn lay_band<S: Copy>(row: &mut [S], bands: usize, band: usize, samples: &[S]) {
    for (out, sample) in row.iter_mut().skip(band).step_by(bands).zip(samples) {
        *out = *sample;
    }
}

/// Divides color by alpha, rounding to the nearest; where alpha is 0 color is 0.
fn unpremultiply<S: Sample>(samples: &mut [S], bands: usize) {
    let max = u64::from(S::MAX);
    for pixel in samples.chunks_exact_mut(bands) {
        let Some((alpha, color)) = pixel.split_last_mut() else { continue };
        let alpha = u64::from(alpha.code());
        for sample in color {
            let divided = (u64::from(sample.code()) * max + alpha / 2).checked_div(alpha);
            *sample = S::rounded(divided.unwrap_or(0).min(max) as f32);
        }
    }
}
