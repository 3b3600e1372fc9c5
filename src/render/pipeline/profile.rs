//! The colours of an image that says them in words of its own (W3C PNG §4.3: `cICP`, `gAMA`, `cHRM`; `nclx` in an AVIF)
//! and not with an ICC profile: libvips reads profiles alone, so the words are made into one.

use crate::render::codec::avif::{Avif, Chroma};
use crate::render::codec::png;

/// The points of red, green, blue and white in the plane of CIE 1931.
type Chromaticities = [(f64, f64); 4];

const D65: (f64, f64) = (0.3127, 0.3290);
/// ITU-R BT.709, which are sRGB's.
const BT709: Chromaticities = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65];
const BT2020: Chromaticities = [(0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65];
/// SMPTE EG 432-1.
const DISPLAY_P3: Chromaticities = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65];

/// From a stored value to light: the parameters of ICC's parametric curves (ICC.1 §10.18).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Curve {
    /// Type 0.
    Power(f64),
    /// Type 3: `((x + a) / (1 + a)) ^ g` from `d` on, and below it a line that falls by `c`.
    Linear { g: f64, a: f64, c: f64, d: f64 },
}

const SRGB: Curve = Curve::Linear { g: 2.4, a: 0.055, c: 12.92, d: 0.04045 };
const BT709_CURVE: Curve = Curve::Linear { g: 1.0 / 0.45, a: 0.099, c: 4.5, d: 0.081 };

/// The profile of a PNG that has none and is not sRGB.
pub fn of_png(bytes: &[u8]) -> Option<Vec<u8>> {
    let chunks = Chunks::read(bytes);
    if let Some((points, curve)) = chunks.cicp.and_then(code_points) {
        return Some(written(points, curve, chunks.is_gray));
    }
    if chunks.has_profile || chunks.is_srgb {
        return None;
    }
    let gamma = chunks.gamma.filter(|gamma| *gamma > 0 && !png::is_srgb_gamma(*gamma));
    let points =
        chunks.points.filter(|points| !png::are_srgb_chromaticities(points)).map(chromaticities);
    let points = points.filter(have_an_area);
    if gamma.is_none() && (points.is_none() || chunks.is_gray) {
        return None;
    }
    // A curve in words can be as steep as one likes; ICC's numbers end at 32768, and no display's is above 4.
    let curve =
        gamma.map_or(SRGB, |gamma| Curve::Power((100_000.0 / f64::from(gamma)).clamp(0.1, 10.0)));
    Some(written(points.unwrap_or(BT709), curve, chunks.is_gray))
}

/// The profile of an AVIF that has none and names another space than sRGB. What only says that it was coded like video
/// has sRGB's curve to everybody who shows it.
pub fn of_avif(avif: &Avif) -> Option<Vec<u8>> {
    let sequence = avif.color.sequence;
    // Without an `nclx` property the code points of the AV1 sequence header count (AVIF §2.2.1).
    let nclx = avif.nclx.unwrap_or(sequence.nclx);
    let (primaries, transfer) =
        (u8::try_from(nclx.primaries).ok()?, u8::try_from(nclx.transfer).ok()?);
    let transfer = if matches!(transfer, 1 | 2 | 6 | 14 | 15) { 13 } else { transfer };
    let (points, curve) = code_points([primaries, transfer, 0, 1])?;
    let is_gray = sequence.chroma == Chroma::Monochrome;
    let is_srgb = curve == SRGB && (is_gray || points == BT709);
    (!is_srgb).then(|| written(points, curve, is_gray))
}

/// The primaries and the transfer function of code points (ITU-T H.273 tables 2 and 3). High dynamic range is none of them:
/// to show it takes more than a profile.
fn code_points(
    [primaries, transfer, matrix, full_range]: [u8; 4],
) -> Option<(Chromaticities, Curve)> {
    let points = match primaries {
        1 => BT709,
        9 => BT2020,
        12 => DISPLAY_P3,
        _ => return None,
    };
    let curve = match transfer {
        1 | 6 | 14 | 15 => BT709_CURVE,
        4 => Curve::Power(2.2),
        5 => Curve::Power(2.8),
        8 => Curve::Power(1.0),
        13 => SRGB,
        _ => return None,
    };
    (matrix == 0 && full_range == 1).then_some((points, curve))
}

/// What the chunks before the pixels say.
#[derive(Debug, Default)]
struct Chunks {
    is_gray: bool,
    cicp: Option<[u8; 4]>,
    has_profile: bool,
    is_srgb: bool,
    /// The exponent from light to the stored value, in hundred-thousandths.
    gamma: Option<u32>,
    /// White and the primaries, as they are stored.
    points: Option<[u32; 8]>,
}

impl Chunks {
    fn read(bytes: &[u8]) -> Chunks {
        let mut chunks = Chunks::default();
        // The checks are libvips' to check.
        for chunk in png::chunks(bytes).into_iter().flatten().take_while(|chunk| chunk.is_whole) {
            let data = chunk.data;
            match &chunk.kind {
                b"IDAT" => break,
                b"IHDR" => chunks.is_gray = matches!(data.get(9), Some(0 | 4)),
                b"cICP" => chunks.cicp = data.try_into().ok(),
                b"iCCP" => chunks.has_profile = true,
                b"sRGB" => chunks.is_srgb = true,
                b"gAMA" => chunks.gamma = png::numbers(data).map(|[gamma]| gamma),
                b"cHRM" => chunks.points = png::numbers(data),
                _ => {}
            }
        }
        chunks
    }
}

fn chromaticities(stored: [u32; 8]) -> Chromaticities {
    let [wx, wy, rx, ry, gx, gy, bx, by] = stored.map(|number| f64::from(number) / 100_000.0);
    [(rx, ry), (gx, gy), (bx, by), (wx, wy)]
}

/// Whether the primaries span a triangle, and no point's light is without end.
fn have_an_area(points: &Chromaticities) -> bool {
    let [(rx, ry), (gx, gy), (bx, by), _] = *points;
    let area = (rx - bx) * (gy - by) - (gx - bx) * (ry - by);
    area.abs() > 0.01 && points.iter().all(|(x, y)| *x < 1.0 && (0.001..1.0).contains(y))
}

type Matrix = [[f64; 3]; 3];

/// ICC's white, D50 (ICC.1 §7.2.16).
const D50: [f64; 3] = [0.9642, 1.0, 0.8249];
/// To the cones' answers, in which one white is turned into another (ICC.1 annex E).
const BRADFORD: Matrix =
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];

/// The light of red, green and blue, one a column, seen under D50.
fn colorants(points: Chromaticities) -> Matrix {
    let light = |(x, y): (f64, f64)| [x / y, 1.0, (1.0 - x - y) / y];
    let [red, green, blue, white] = points.map(light);
    let primaries = transposed([red, green, blue]);
    let amounts = times(inverse(primaries), white);
    let seen = primaries.map(|row| std::array::from_fn(|column| row[column] * amounts[column]));
    let (from, to) = (times(BRADFORD, white), times(BRADFORD, D50));
    let adapted: Matrix =
        std::array::from_fn(|row| BRADFORD[row].map(|factor| factor * to[row] / from[row]));
    product(inverse(BRADFORD), product(adapted, seen))
}

fn transposed(m: Matrix) -> Matrix {
    std::array::from_fn(|row| std::array::from_fn(|column| m[column][row]))
}

fn times(m: Matrix, v: [f64; 3]) -> [f64; 3] {
    m.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

fn product(one: Matrix, other: Matrix) -> Matrix {
    transposed(transposed(other).map(|column| times(one, column)))
}

fn inverse([a, b, c]: Matrix) -> Matrix {
    let cross = |u: [f64; 3], v: [f64; 3]| {
        [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    };
    let columns = [cross(b, c), cross(c, a), cross(a, b)];
    let determinant: f64 = a.iter().zip(columns[0]).map(|(one, other)| one * other).sum();
    transposed(columns).map(|row| row.map(|value| value / determinant))
}

/// A matrix or gray profile of a display (ICC.1 §8.4).
fn written(points: Chromaticities, curve: Curve, is_gray: bool) -> Vec<u8> {
    let mut tags: Vec<(&[u8; 4], Vec<u8>)> = vec![(b"wtpt", xyz(D50))];
    if is_gray {
        tags.push((b"kTRC", parametric(curve)));
    } else {
        let [red, green, blue] = transposed(colorants(points));
        tags.extend([(b"rXYZ", xyz(red)), (b"gXYZ", xyz(green)), (b"bXYZ", xyz(blue))]);
        tags.extend([b"rTRC", b"gTRC", b"bTRC"].map(|name| (name, parametric(curve))));
    }
    let (mut table, mut data) = (number(tags.len()).to_vec(), Vec::new());
    let first = 128 + 4 + 12 * tags.len();
    for (name, tag) in &tags {
        table.extend_from_slice(*name);
        table.extend_from_slice(&number(first + data.len()));
        table.extend_from_slice(&number(tag.len()));
        data.extend_from_slice(tag);
    }
    let mut profile = number(first + data.len()).to_vec();
    profile.extend_from_slice(&[0; 4]);
    profile.extend_from_slice(&[4, 0x20, 0, 0]);
    profile.extend_from_slice(b"mntr");
    profile.extend_from_slice(if is_gray { b"GRAY" } else { b"RGB " });
    profile.extend_from_slice(b"XYZ ");
    profile.extend_from_slice(&[0; 12]);
    profile.extend_from_slice(b"acsp");
    profile.resize(68, 0);
    profile.extend(D50.into_iter().flat_map(fixed));
    profile.resize(128, 0);
    profile.append(&mut table);
    profile.append(&mut data);
    profile
}

fn xyz(light: [f64; 3]) -> Vec<u8> {
    [b"XYZ ".to_vec(), vec![0; 4], light.into_iter().flat_map(fixed).collect()].concat()
}

fn parametric(curve: Curve) -> Vec<u8> {
    let (kind, parameters) = match curve {
        Curve::Power(g) => (0, vec![g]),
        Curve::Linear { g, a, c, d } => (3, vec![g, 1.0 / (1.0 + a), a / (1.0 + a), 1.0 / c, d]),
    };
    let parameters = parameters.into_iter().flat_map(fixed).collect();
    [b"para".to_vec(), vec![0; 4], vec![0, kind, 0, 0], parameters].concat()
}

/// `s15Fixed16Number`.
fn fixed(value: f64) -> [u8; 4] {
    ((value * 65_536.0).round() as i32).to_be_bytes()
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Chunk<'d> = (&'d [u8; 4], &'d [u8]);

    fn png(colour_type: u8, chunks: &[Chunk]) -> Vec<u8> {
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        let header = [0, 0, 0, 1, 0, 0, 0, 1, 8, colour_type, 0, 0, 0];
        let (first, last): (Chunk, Chunk) = ((b"IHDR", &header), (b"IDAT", &[]));
        for (kind, data) in [first].iter().chain(chunks).chain(&[last]) {
            out.extend_from_slice(&number(data.len()));
            out.extend_from_slice(*kind);
            out.extend_from_slice(data);
            out.extend_from_slice(&[0; 4]);
        }
        out
    }

    #[test]
    fn what_is_srgb_or_has_a_profile_needs_none() {
        let gamma: Chunk = (b"gAMA", &[0, 1, 0x86, 0xa0]);
        assert!(of_png(&png(2, &[gamma])).is_some());
        let cases: [&[Chunk]; 5] = [
            &[],
            &[(b"gAMA", &[0, 0, 0xb1, 0x8f])],
            &[gamma, (b"sRGB", &[0])],
            &[gamma, (b"iCCP", &[])],
            &[(b"IDAT", &[]), gamma],
        ];
        for chunks in cases {
            assert_eq!(of_png(&png(2, chunks)), None, "{chunks:?}");
        }
    }

    #[test]
    fn nothing_in_the_chunks_does_harm() {
        let chunks: [Chunk; 3] =
            [(b"gAMA", &[0, 1, 0x86, 0xa0]), (b"cICP", &[12, 13, 0, 1]), (b"cHRM", &[0; 32])];
        let whole = png(0, &chunks);
        for length in 0..whole.len() {
            of_png(&whole[..length]);
        }
        for at in 8..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                of_png(&changed);
            }
        }
        for number in [0_u32, 1, 100_000, u32::MAX] {
            let number = number.to_be_bytes();
            let points = number.repeat(8);
            of_png(&png(2, &[(b"gAMA", &number), (b"cHRM", &points)]));
        }
    }

    #[test]
    fn the_colorants_of_srgb_are_those_of_its_profile() {
        // IEC 61966-2-1's under D50, as the ICC publishes them.
        let published =
            [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]];
        for (row, expected) in colorants(BT709).iter().zip(published) {
            for (one, other) in row.iter().zip(expected) {
                assert!((one - other).abs() < 0.0005, "{row:?}");
            }
        }
    }
}
