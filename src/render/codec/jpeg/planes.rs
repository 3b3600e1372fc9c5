//! The samples of each component at scale 1/8, and the pixels that libjpeg-turbo makes of them.

use super::frame::{Component, Frame};
use super::header::{Colour, Header};
use super::idct::one_sample;
use super::refusal::{Outcome, Refusal};

/// The samples of a component.
#[derive(Debug)]
pub struct Plane {
    /// Quantisation steps in zigzag order.
    pub quantiser: [i32; 64],
    /// Samples per side of a block: 1 or 2.
    pub side: usize,
    /// How often a sample is repeated in the image.
    repeat_x: usize,
    repeat_y: usize,
    stride: usize,
    samples: Vec<u8>,
}

impl Plane {
    fn new(header: &Header, component: &Component) -> Outcome<Plane> {
        let frame = &header.frame;
        let quantiser = header.quantisers.get(component.quantiser).copied().flatten();
        let quantiser = quantiser.ok_or(Refusal::Damaged("no DQT"))?;
        // libjpeg-turbo keeps them in 16 bits with sign, and does not smooth where one is 0.
        if quantiser.iter().any(|step| !(1..0x8000).contains(step)) {
            return Err(Refusal::Unsupported("quantisation"));
        }
        let (blocks_x, blocks_y) = frame.padded_blocks(component);
        let side = component.side;
        let stride = blocks_x * side;
        Ok(Plane {
            quantiser: quantiser.map(i32::from),
            side,
            repeat_x: (frame.max_h / (component.h * side)).max(1),
            repeat_y: (frame.max_v / (component.v * side)).max(1),
            stride,
            samples: vec![0; stride * blocks_y * side],
        })
    }

    /// Stores a row of blocks of one sample: the DC coefficients of `dcs` in the columns `x`, `x + step`, …
    pub fn put_row(&mut self, x: usize, step: usize, y: usize, dcs: impl Iterator<Item = i16>) {
        let quantiser = self.quantiser[0];
        let row = self.samples.chunks_exact_mut(self.stride.max(1)).nth(y).unwrap_or_default();
        for (sample, dc) in row.iter_mut().skip(x).step_by(step.max(1)).zip(dcs) {
            *sample = one_sample(i32::from(dc) * quantiser);
        }
    }

    /// Stores a block of 2 × 2 samples.
    #[inline]
    pub fn put_block(&mut self, x: usize, y: usize, [a, b, c, d]: [u8; 4]) {
        let at = 2 * y * self.stride + 2 * x;
        let mut rows = self.samples.get_mut(at..).unwrap_or_default().chunks_mut(self.stride);
        for pair in [[a, b], [c, d]] {
            if let Some(to) = rows.next().and_then(|row| row.first_chunk_mut()) {
                *to = pair;
            }
        }
    }

    /// A row of the image.
    fn repeat(&self, y: usize, row: &mut [u8]) {
        let at = y / self.repeat_y * self.stride;
        let samples = self.samples.get(at..).unwrap_or_default();
        if self.repeat_x == 1 {
            row.iter_mut().zip(samples).for_each(|(to, sample)| *to = *sample);
            return;
        }
        for (to, sample) in row.chunks_mut(self.repeat_x).zip(samples) {
            to.fill(*sample);
        }
    }
}

/// Planes for the components of a frame.
pub fn planes(header: &Header) -> Outcome<Vec<Plane>> {
    header.frame.components.iter().map(|component| Plane::new(header, component)).collect()
}

/// Interleaved samples: gray or RGB.
#[derive(Debug, PartialEq, Eq)]
pub struct Pixels {
    pub width: usize,
    pub height: usize,
    pub bands: usize,
    pub samples: Vec<u8>,
}

/// The image, whose sides are rounded down as by libvips.
pub fn interleave(frame: &Frame, colour: Colour, planes: &[Plane]) -> Pixels {
    let (width, height, bands) = (frame.width / 8, frame.height / 8, planes.len());
    let mut samples = vec![0; width * height * bands];
    let mut rows = vec![vec![0; width]; bands];
    for (y, line) in samples.chunks_exact_mut((width * bands).max(1)).enumerate() {
        if let [gray] = planes {
            gray.repeat(y, line);
            continue;
        }
        planes.iter().zip(&mut rows).for_each(|(plane, row)| plane.repeat(y, row));
        let [first, second, third] = rows.as_slice() else { continue };
        let pixels = line.as_chunks_mut::<3>().0.iter_mut();
        let components = first.iter().zip(second).zip(third);
        match colour {
            Colour::Rgb => pixels.zip(components).for_each(|(pixel, ((red, green), blue))| {
                *pixel = [*red, *green, *blue];
            }),
            Colour::YCbCr => pixels.zip(components).for_each(|(pixel, ((y, cb), cr))| {
                *pixel = rgb(*y, *cb, *cr);
            }),
        }
    }
    Pixels { width, height, bands, samples }
}

/// jdcolor.c
#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91_881 * cr + 32_768) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + 32_768) >> 16);
    let blue = y + ((116_130 * cb + 32_768) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}
