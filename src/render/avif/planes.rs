//! From interleaved samples to the planes that are encoded: full range, BT.601 (H.273 equations 38 to 40, Kr 0.299,
//! Kb 0.114) or, without loss, green, blue and red as they are.

use super::Chroma;
use super::sample::Sample;

/// Planes without padding; those that an image has not are empty.
#[derive(Debug, Default)]
pub struct Planar {
    /// Luma, or green.
    pub y: Vec<u8>,
    /// Cb, or blue.
    pub u: Vec<u8>,
    /// Cr, or red.
    pub v: Vec<u8>,
    /// Alpha.
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

    /// Luma and chroma, and alpha if `bands` is 4. A chroma sample of 4:2:0 is that of the mean of four pixels; beyond
    /// the last column and row these are repeated.
    pub fn bt601(samples: &[u8], bands: usize, (width, height): (usize, usize), chroma: Chroma) -> Planar {
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
            one.luma(y);
            if is_full {
                one.chroma(1.0, u, v);
                continue;
            }
            let below = rows.next().zip(luma_rows.next());
            if let Some((row, y)) = below {
                other.read(row, bands);
                other.luma(y);
                sums.sum(&one, &other);
            } else {
                sums.sum(&one, &one);
            }
            sums.chroma(0.25, u, v);
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

/// The red, green and blue of a row, to an even width. The last pixel of an odd width is repeated.
struct Row([Vec<u16>; 3]);

impl Row {
    fn new(width: usize) -> Row {
        Row([(); 3].map(|()| vec![0; width.next_multiple_of(2)]))
    }

    fn read(&mut self, row: &[u8], bands: usize) {
        let Row([red, green, blue]) = self;
        let mut planes = red.iter_mut().zip(green).zip(blue);
        let mut lay = |[r, g, b]: [u8; 3]| {
            if let Some(((red, green), blue)) = planes.next() {
                (*red, *green, *blue) = (r.into(), g.into(), b.into());
            }
        };
        if bands == 3 {
            row.as_chunks().0.iter().for_each(|pixel| lay(*pixel));
            row.last_chunk().into_iter().for_each(|pixel| lay(*pixel));
        } else {
            row.as_chunks().0.iter().for_each(|[red, green, blue, _]| lay([*red, *green, *blue]));
            row.last_chunk().into_iter().for_each(|[red, green, blue, _]| lay([*red, *green, *blue]));
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

    fn luma(&self, out: &mut [u8]) {
        let Row([red, green, blue]) = self;
        for (out, ((red, green), blue)) in out.iter_mut().zip(red.iter().zip(green).zip(blue)) {
            *out = u8::rounded(weigh(LUMA, [*red, *green, *blue]));
        }
    }

    fn chroma(&self, scale: f32, u: &mut [u8], v: &mut [u8]) {
        let Row([red, green, blue]) = self;
        let out = u.iter_mut().zip(v);
        for ((u, v), ((red, green), blue)) in out.zip(red.iter().zip(green).zip(blue)) {
            *u = u8::rounded(weigh(CB, [*red, *green, *blue]) * scale + 128.0);
            *v = u8::rounded(weigh(CR, [*red, *green, *blue]) * scale + 128.0);
        }
    }
}

#[inline(always)]
fn weigh([r, g, b]: Factors, samples: [u16; 3]) -> f32 {
    let [red, green, blue] = samples.map(f32::from);
    r * red + g * green + b * blue
}
