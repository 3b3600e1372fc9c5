//! Converts interleaved samples to the planes that are encoded: full range BT.601 (H.273 equations 38 to 40, Kr 0.299,
//! Kb 0.114) or, for lossless encoding, green, blue and red unchanged.

use super::Chroma;
use super::sample::Sample;

/// Planes without padding; missing ones are empty.
#[derive(Debug, Default)]
pub struct Planar {
    /// Luma, or green.
    pub y: Vec<u8>,
    /// Cb, or blue.
    pub u: Vec<u8>,
    /// Cr, or red.
    pub v: Vec<u8>,
    pub alpha: Vec<u8>,
}

impl Planar {
    /// Gray, and alpha if `bands` is 2.
    pub fn gray(samples: &[u8], bands: usize) -> Planar {
        Planar { y: band(samples, bands, 0), alpha: alpha(samples, bands), ..Planar::default() }
    }

    /// Green, blue and red, and alpha if `bands` is 4.
    pub fn identity(samples: &[u8], bands: usize) -> Planar {
        let [v, y, u] = [0, 1, 2].map(|index| band(samples, bands, index));
        Planar { y, u, v, alpha: alpha(samples, bands) }
    }

    /// Luma and chroma, and alpha if `bands` is 4. A chroma sample of 4:2:0 is the mean of four pixels; the last column
    /// and row are repeated.
    pub fn bt601(
        samples: &[u8],
        bands: usize,
        (width, height): (usize, usize),
        chroma: Chroma,
    ) -> Planar {
        let mut y = vec![0; width * height];
        let is_full = chroma == Chroma::Yuv444;
        let (chroma_width, chroma_height) =
            if is_full { (width, height) } else { (width.div_ceil(2), height.div_ceil(2)) };
        let [mut u, mut v] = [(); 2].map(|()| vec![0; chroma_width * chroma_height]);
        let mut rows = samples.chunks_exact((width * bands).max(1));
        let mut luma_rows = y.chunks_exact_mut(width.max(1));
        let chroma_rows =
            u.chunks_exact_mut(chroma_width.max(1)).zip(v.chunks_exact_mut(chroma_width.max(1)));
        let [mut one, mut other, mut sums] = [(); 3].map(|()| Row::new(width));
        for (u, v) in chroma_rows {
            let (Some(row), Some(y)) = (rows.next(), luma_rows.next()) else { break };
            one.read(row, bands);
            one.write_luma(y);
            if is_full {
                one.write_chroma(1.0, u, v);
                continue;
            }
            let below = rows.next().zip(luma_rows.next());
            if let Some((row, y)) = below {
                other.read(row, bands);
                other.write_luma(y);
                sums.sum(&one, &other);
            } else {
                sums.sum(&one, &one);
            }
            sums.write_chroma(0.25, u, v);
        }
        Planar { y, u, v, alpha: alpha(samples, bands) }
    }
}

fn band(samples: &[u8], bands: usize, index: usize) -> Vec<u8> {
    samples.iter().skip(index).step_by(bands.max(1)).copied().collect()
}

fn alpha(samples: &[u8], bands: usize) -> Vec<u8> {
    if bands.is_multiple_of(2) { band(samples, bands, bands.saturating_sub(1)) } else { Vec::new() }
}

/// Factors of red, green and blue.
type Factors = [f32; 3];

const LUMA: Factors = [0.299, 0.587, 0.114];
const CB: Factors = [-0.299 / 1.772, -0.587 / 1.772, 0.5];
const CR: Factors = [0.5, -0.587 / 1.402, -0.114 / 1.402];

/// Red, green and blue of a row, padded to an even width with the last pixel.
struct Row([Vec<u16>; 3]);

impl Row {
    fn new(width: usize) -> Row {
        Row([(); 3].map(|()| vec![0; width.next_multiple_of(2)]))
    }

    fn read(&mut self, row: &[u8], bands: usize) {
        if bands == 3 {
            self.fill(row.as_chunks().0, |[red, green, blue]| [red, green, blue]);
        } else {
            self.fill(row.as_chunks().0, |[red, green, blue, _]| [red, green, blue]);
        }
    }

    #[inline(always)]
    fn fill<const BANDS: usize>(
        &mut self,
        pixels: &[[u8; BANDS]],
        colour: impl Fn([u8; BANDS]) -> [u8; 3],
    ) {
        let Row([red, green, blue]) = self;
        for (((red, green), blue), pixel) in red.iter_mut().zip(green).zip(blue).zip(pixels) {
            [*red, *green, *blue] = colour(*pixel).map(u16::from);
        }
        if !pixels.len().is_multiple_of(2) {
            for plane in &mut self.0 {
                if let [.., before, last] = &mut plane[..] {
                    *last = *before;
                }
            }
        }
    }

    /// Sums of 2 × 2 pixels of two rows.
    fn sum(&mut self, one: &Row, other: &Row) {
        for ((sums, one), other) in self.0.iter_mut().zip(&one.0).zip(&other.0) {
            let pairs = one.as_chunks().0.iter().zip(other.as_chunks().0);
            for (sum, ([a, b], [c, d])) in sums.iter_mut().zip(pairs) {
                *sum = a + b + c + d;
            }
        }
    }

    fn write_luma(&self, out: &mut [u8]) {
        let Row([red, green, blue]) = self;
        for (out, ((red, green), blue)) in out.iter_mut().zip(red.iter().zip(green).zip(blue)) {
            *out = u8::from_f32(weigh(LUMA, [*red, *green, *blue]));
        }
    }

    fn write_chroma(&self, scale: f32, u: &mut [u8], v: &mut [u8]) {
        let Row([red, green, blue]) = self;
        let out = u.iter_mut().zip(v);
        for ((u, v), ((red, green), blue)) in out.zip(red.iter().zip(green).zip(blue)) {
            *u = u8::from_f32(weigh(CB, [*red, *green, *blue]) * scale + 128.0);
            *v = u8::from_f32(weigh(CR, [*red, *green, *blue]) * scale + 128.0);
        }
    }
}

#[inline(always)]
fn weigh([r, g, b]: Factors, samples: [u16; 3]) -> f32 {
    let [red, green, blue] = samples.map(f32::from);
    r * red + g * green + b * blue
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// H.273 equations 38 to 40 of the mean of some pixels.
    fn exact(pixels: &[&[u8]]) -> [f64; 3] {
        let mean = |index: usize| {
            pixels.iter().map(|pixel| f64::from(pixel[index])).sum::<f64>() / pixels.len() as f64
        };
        let [red, green, blue] = [mean(0), mean(1), mean(2)];
        let y = 0.299 * red + 0.587 * green + 0.114 * blue;
        [y, (blue - y) / 1.772 + 128.0, (red - y) / 1.402 + 128.0]
    }

    #[test]
    fn planes_match_the_formulas() {
        for (width, height, bands) in [(1, 1, 3), (5, 3, 3), (6, 4, 4), (7, 2, 4), (2, 5, 3)] {
            let samples = noise(width * height * bands);
            let pixel = |x: usize, y: usize| {
                &samples[(y.min(height - 1) * width + x.min(width - 1)) * bands..][..3]
            };
            let near = |sample: u8, exact: f64| {
                assert!((f64::from(sample) - exact.min(255.0)).abs() < 0.51, "{sample} {exact}");
            };
            let planes = Planar::bt601(&samples, bands, (width, height), Chroma::Yuv444);
            assert_eq!([&planes.y, &planes.u, &planes.v].map(Vec::len), [width * height; 3]);
            for at in 0..width * height {
                let [y, u, v] = exact(&[pixel(at % width, at / width)]);
                near(planes.y[at], y);
                near(planes.u[at], u);
                near(planes.v[at], v);
            }
            let planes = Planar::bt601(&samples, bands, (width, height), Chroma::Yuv420);
            let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
            assert_eq!([&planes.u, &planes.v].map(Vec::len), [chroma_width * chroma_height; 2]);
            for at in 0..planes.u.len() {
                let (x, y) = (at % chroma_width * 2, at / chroma_width * 2);
                let four = [pixel(x, y), pixel(x + 1, y), pixel(x, y + 1), pixel(x + 1, y + 1)];
                let [_, u, v] = exact(&four);
                near(planes.u[at], u);
                near(planes.v[at], v);
            }
            let alpha: Vec<u8> = samples.iter().copied().skip(3).step_by(4).collect();
            assert_eq!(planes.alpha, if bands == 4 { alpha } else { Vec::new() });
        }
    }

    #[test]
    fn planes_of_gray_have_no_chroma() {
        let samples: Vec<u8> = (0..=255).flat_map(|code| [code; 3]).collect();
        let planes = Planar::bt601(&samples, 3, (32, 8), Chroma::Yuv444);
        assert!(planes.y.iter().copied().eq(0..=255));
        assert!(planes.u.iter().chain(&planes.v).all(|code| *code == 128));
    }

    #[test]
    fn planes_of_lossless_encoding_are_unchanged() {
        let planes = Planar::identity(&[1, 2, 3, 4, 5, 6, 7, 8], 4);
        assert_eq!((planes.v, planes.y, planes.u), (vec![1, 5], vec![2, 6], vec![3, 7]));
        assert_eq!(planes.alpha, [4, 8]);
        let planes = Planar::gray(&[1, 2, 3, 4], 2);
        assert_eq!((planes.y, planes.alpha), (vec![1, 3], vec![2, 4]));
        assert!(Planar::gray(&[1, 2], 1).alpha.is_empty());
    }
}
