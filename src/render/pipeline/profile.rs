//! Builds ICC profiles for images that describe their colours otherwise (`cICP`, `gAMA` and `cHRM` in a PNG; `nclx` in an
//! AVIF), since libvips reads profiles only.

use crate::render::codec::avif::{Avif, Chroma};
use crate::render::codec::icc::{D50, Profile};
use crate::render::codec::primaries::{BT709, Chromaticities, chromaticities};
use crate::render::codec::{png, png_repair};

/// A parametric curve from the stored value to linear light (ICC.1 §10.18).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Curve {
    /// Type 0.
    Power(f64),
    /// Type 3: `((x + a) / (1 + a)) ^ g` from `d` on, and `x / c` below.
    Linear { g: f64, a: f64, c: f64, d: f64 },
}

const SRGB: Curve = Curve::Linear { g: 2.4, a: 0.055, c: 12.92, d: 0.04045 };
/// ITU-R BT.1886: how displays show the curves of BT.709, BT.601 and BT.2020.
const BT1886: Curve = Curve::Power(2.4);
/// SMPTE ST 240.
const ST240_CURVE: Curve = Curve::Linear { g: 1.0 / 0.45, a: 0.1115, c: 4.0, d: 0.0912 };

/// The profile of a PNG whose colours its chunks describe. Which of them counts, with the profile in the file, is the
/// order of W3C PNG §4.3.
pub enum FromPng {
    /// Instead of the profile in the file.
    Overriding(Vec<u8>),
    /// Unless the file has a profile.
    Default(Option<Vec<u8>>),
}

/// Reads the colour chunks as browsers do: `cHRM` counts together with `gAMA` only.
pub fn from_png(bytes: &[u8]) -> FromPng {
    let chunks = Chunks::read(bytes);
    if let Some((points, curve)) = chunks.cicp.and_then(code_points) {
        return FromPng::Overriding(build(points, curve, chunks.is_gray));
    }
    FromPng::Default(chunks.gamma.filter(|_| !chunks.is_srgb).and_then(|gamma| {
        let points = match chunks.points {
            None if png::is_srgb_gamma(gamma) => return None,
            None => BT709,
            Some(points) => Some(stored_chromaticities(points)).filter(are_usable)?,
        };
        // `gAMA` can be any number, ICC's end at 32768, and no display has an exponent above 4.
        let curve = Curve::Power((100_000.0 / f64::from(gamma)).clamp(0.1, 10.0));
        Some(build(points, curve, chunks.is_gray))
    }))
}

/// The profile of an AVIF that has none and is not sRGB. The transfer functions of video are shown with sRGB's curve,
/// as in browsers.
pub fn from_avif(avif: &Avif) -> Option<Vec<u8>> {
    let sequence = avif.colour.sequence;
    // Without an `nclx` property, the code points of the AV1 sequence header apply (AVIF §2.2.1).
    let nclx = avif.nclx.unwrap_or(sequence.nclx);
    let transfer = if matches!(nclx.transfer, 1 | 2 | 6 | 14 | 15) { 13 } else { nclx.transfer };
    // Unspecified primaries are those of sRGB (MIAF §7.3.6.4).
    let points = if nclx.primaries == 2 { BT709 } else { chromaticities(nclx.primaries)? };
    let curve = transfer_curve(transfer)?;
    let is_gray = sequence.chroma == Chroma::Monochrome;
    let is_srgb = curve == SRGB && (is_gray || points == BT709);
    (!is_srgb).then(|| build(points, curve, is_gray))
}

/// The grayscale profile that gives gray what this profile gives equal red, green and blue, if that is gray.
pub fn gray_of(profile: &Profile) -> Option<Vec<u8>> {
    let curve = profile.gray_curve()?;
    Some(written(b"GRAY", &[(b"wtpt", xyz(D50)), (b"kTRC", curve.to_vec())]))
}

/// The profile with the primaries of this one, and sRGB's curve.
pub fn with_srgb_curve(profile: &Profile) -> Option<Vec<u8>> {
    let [red, green, blue] = profile.colorants()?.map(<[u8]>::to_vec);
    let mut tags: Vec<(&[u8; 4], Vec<u8>)> = vec![(b"wtpt", xyz(D50))];
    tags.extend([(b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue)]);
    tags.extend([b"rTRC", b"gTRC", b"bTRC"].map(|name| (name, parametric(SRGB))));
    Some(written(b"RGB ", &tags))
}

/// The primaries and the curve of `cICP`. High dynamic range is not supported: it takes more than a profile.
fn code_points(
    [primaries, transfer, matrix, full_range]: [u8; 4],
) -> Option<(Chromaticities, Curve)> {
    let points = chromaticities(primaries.into())?;
    let curve = transfer_curve(transfer.into())?;
    (matrix == 0 && full_range == 1).then_some((points, curve))
}

/// The curve of transfer characteristics (ITU-T H.273 table 3).
fn transfer_curve(transfer: u16) -> Option<Curve> {
    Some(match transfer {
        1 | 6 | 11 | 14 | 15 => BT1886,
        4 => Curve::Power(2.2),
        5 => Curve::Power(2.8),
        7 => ST240_CURVE,
        8 => Curve::Power(1.0),
        13 => SRGB,
        _ => return None,
    })
}

/// The colour chunks that count. A profile in the file is libvips' to read.
#[derive(Debug, Default)]
struct Chunks {
    is_gray: bool,
    cicp: Option<[u8; 4]>,
    is_srgb: bool,
    /// The exponent from linear light to the stored value, times 100,000.
    gamma: Option<u32>,
    /// White and the primaries as stored: times 100,000.
    points: Option<[u32; 8]>,
}

impl Chunks {
    fn read(bytes: &[u8]) -> Chunks {
        let mut chunks = Chunks::default();
        for chunk in png_repair::valid_chunks(bytes) {
            let data = chunk.data;
            match &chunk.kind {
                b"IHDR" => chunks.is_gray = matches!(data.get(9), Some(0 | 4)),
                b"cICP" => chunks.cicp = data.try_into().ok(),
                b"sRGB" => chunks.is_srgb = true,
                b"gAMA" => chunks.gamma = png::numbers(data).map(|[gamma]| gamma),
                b"cHRM" => chunks.points = png::numbers(data),
                _ => {}
            }
        }
        chunks
    }
}

fn stored_chromaticities(stored: [u32; 8]) -> Chromaticities {
    let [wx, wy, rx, ry, gx, gy, bx, by] = stored.map(|number| f64::from(number) / 100_000.0);
    [(rx, ry), (gx, gy), (bx, by), (wx, wy)]
}

/// Whether the primaries span a triangle, and no point has infinite light.
fn are_usable(points: &Chromaticities) -> bool {
    let [(rx, ry), (gx, gy), (bx, by), _] = *points;
    let area = (rx - bx) * (gy - by) - (gx - bx) * (ry - by);
    area.abs() > 0.01 && points.iter().all(|(x, y)| *x < 1.0 && (0.001..1.0).contains(y))
}

type Matrix = [[f64; 3]; 3];

/// Chromatic adaptation (ICC.1 annex E).
const BRADFORD: Matrix =
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];

/// XYZ of red, green and blue, adapted to D50. Each is a column.
fn colorants(points: Chromaticities) -> Matrix {
    let light = |(x, y): (f64, f64)| [x / y, 1.0, (1.0 - x - y) / y];
    let [red, green, blue, white] = points.map(light);
    let primaries = transpose([red, green, blue]);
    let amounts = multiply_vector(invert(primaries), white);
    let seen = primaries.map(|row| std::array::from_fn(|column| row[column] * amounts[column]));
    let from = multiply_vector(BRADFORD, white);
    let to = multiply_vector(BRADFORD, D50);
    let adapted: Matrix =
        std::array::from_fn(|row| BRADFORD[row].map(|factor| factor * to[row] / from[row]));
    multiply(invert(BRADFORD), multiply(adapted, seen))
}

fn transpose(m: Matrix) -> Matrix {
    std::array::from_fn(|row| std::array::from_fn(|column| m[column][row]))
}

fn multiply_vector(m: Matrix, v: [f64; 3]) -> [f64; 3] {
    m.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

fn multiply(one: Matrix, other: Matrix) -> Matrix {
    transpose(transpose(other).map(|column| multiply_vector(one, column)))
}

fn invert([a, b, c]: Matrix) -> Matrix {
    let cross = |u: [f64; 3], v: [f64; 3]| {
        [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    };
    let columns = [cross(b, c), cross(c, a), cross(a, b)];
    let determinant: f64 = a.iter().zip(columns[0]).map(|(one, other)| one * other).sum();
    transpose(columns).map(|row| row.map(|value| value / determinant))
}

/// A matrix or grayscale profile of a display (ICC.1 §8.4).
fn build(points: Chromaticities, curve: Curve, is_gray: bool) -> Vec<u8> {
    let mut tags: Vec<(&[u8; 4], Vec<u8>)> = vec![(b"wtpt", xyz(D50))];
    if is_gray {
        tags.push((b"kTRC", parametric(curve)));
    } else {
        let [red, green, blue] = transpose(colorants(points));
        tags.extend([(b"rXYZ", xyz(red)), (b"gXYZ", xyz(green)), (b"bXYZ", xyz(blue))]);
        tags.extend([b"rTRC", b"gTRC", b"bTRC"].map(|name| (name, parametric(curve))));
    }
    written(if is_gray { b"GRAY" } else { b"RGB " }, &tags)
}

/// A profile of these tags.
fn written(channels: &[u8; 4], tags: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut table = number(tags.len()).to_vec();
    let mut data = Vec::new();
    let first = 128 + 4 + 12 * tags.len();
    for (name, tag) in tags {
        table.extend_from_slice(*name);
        table.extend_from_slice(&number(first + data.len()));
        table.extend_from_slice(&number(tag.len()));
        data.extend_from_slice(tag);
    }
    let mut profile = number(first + data.len()).to_vec();
    profile.extend_from_slice(&[0; 4]);
    profile.extend_from_slice(&[4, 0x20, 0, 0]);
    profile.extend_from_slice(b"mntr");
    profile.extend_from_slice(channels);
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
            let mut crc = crc32fast::Hasher::new();
            crc.update(*kind);
            crc.update(data);
            out.extend_from_slice(&crc.finalize().to_be_bytes());
        }
        out
    }

    /// Whether the colour chunks of a PNG without a profile are not sRGB.
    fn is_converted(colour_type: u8, chunks: &[Chunk]) -> bool {
        match from_png(&png(colour_type, chunks)) {
            FromPng::Overriding(_) => true,
            FromPng::Default(profile) => profile.is_some(),
        }
    }

    const LINEAR: Chunk = (b"gAMA", &[0, 1, 0x86, 0xa0]);
    const GAMMA_OF_SRGB: Chunk = (b"gAMA", &[0, 0, 0xb1, 0x8f]);

    fn points(numbers: [u32; 8]) -> Vec<u8> {
        numbers.map(u32::to_be_bytes).concat()
    }

    #[test]
    fn srgb_needs_no_profile() {
        assert!(is_converted(2, &[LINEAR]));
        let p3 = points([31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000]);
        let no_colours = points([0; 8]);
        let cases: [&[Chunk]; 6] = [
            &[],
            &[GAMMA_OF_SRGB],
            &[LINEAR, (b"sRGB", &[0])],
            &[(b"IDAT", &[]), LINEAR],
            &[(b"cHRM", &p3)],
            &[LINEAR, (b"cHRM", &no_colours)],
        ];
        for chunks in cases {
            assert!(!is_converted(2, chunks), "{chunks:?}");
        }
        // With chromaticities, the exponent is taken at its word.
        assert!(is_converted(2, &[GAMMA_OF_SRGB, (b"cHRM", &p3)]));
        assert!(is_converted(0, &[GAMMA_OF_SRGB, (b"cHRM", &p3)]));
    }

    #[test]
    fn invalid_and_repeated_colour_chunks_do_not_count() {
        assert!(is_converted(2, &[(b"sRGB", &[9]), LINEAR]));
        assert!(is_converted(2, &[(b"sRGB", &[0, 0]), LINEAR]));
        assert!(is_converted(2, &[(b"gAMA", &[0; 4]), LINEAR]));
        assert!(is_converted(2, &[LINEAR, GAMMA_OF_SRGB]));
        assert!(!is_converted(2, &[GAMMA_OF_SRGB, LINEAR]));
        assert!(!is_converted(2, &[(b"cICP", &[12, 13, 0, 1, 0])]));
        assert!(!is_converted(2, &[(b"cICP", &[12, 13, 1, 1])]));
        let mut bytes = png(2, &[LINEAR]);
        let crc = bytes.len() - 13;
        bytes[crc] ^= 1;
        assert!(matches!(from_png(&bytes), FromPng::Default(None)));
    }

    #[test]
    fn malformed_colour_chunks_do_not_panic() {
        let chunks: [Chunk; 3] = [LINEAR, (b"cICP", &[12, 13, 0, 1]), (b"cHRM", &[0; 32])];
        let whole = png(0, &chunks);
        for length in 0..whole.len() {
            from_png(&whole[..length]);
        }
        for at in 8..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                from_png(&changed);
            }
        }
        for number in [0_u32, 1, 100_000, u32::MAX] {
            is_converted(2, &[(b"gAMA", &number.to_be_bytes()), (b"cHRM", &points([number; 8]))]);
        }
    }

    #[test]
    fn the_colorants_of_srgb_equal_those_of_its_published_profile() {
        // IEC 61966-2-1, adapted to D50, as published by the ICC.
        let published =
            [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]];
        for (row, expected) in colorants(BT709).iter().zip(published) {
            for (one, other) in row.iter().zip(expected) {
                assert!((one - other).abs() < 0.0005, "{row:?}");
            }
        }
    }
}
