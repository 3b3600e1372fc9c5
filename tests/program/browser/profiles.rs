//! Colour profiles of every kind (ICC.1): matrix, lookup table, grayscale, and those that fit no image.

use crate::support::icc::{self, ADOBE_RGB, Curve, D50, DISPLAY_P3, PROPHOTO, SRGB, Space};

/// A profile with its name.
pub type Named = (&'static str, Vec<u8>);

/// Profiles of RGB.
pub fn rgb() -> Vec<Named> {
    let power = |exponent| Space { curve: Curve::Power(exponent), ..SRGB };
    vec![
        ("srgb", icc::profile(&SRGB)),
        ("p3", icc::profile(&DISPLAY_P3)),
        ("adobe", icc::profile(&ADOBE_RGB)),
        ("prophoto", icc::profile(&PROPHOTO)),
        ("linear", icc::profile(&power(1.0))),
        ("gamma-1.8", icc::profile(&power(1.8))),
        ("p3-v4", version_4(icc::profile(&DISPLAY_P3))),
        ("adobe-scanner", class(icc::profile(&ADOBE_RGB), b"scnr")),
        ("adobe-space", class(icc::profile(&ADOBE_RGB), b"spac")),
        ("table", table_curves(&DISPLAY_P3)),
    ]
}

/// Profiles of RGB with a lookup table, which engines interpolate in their own ways.
pub fn tables() -> Vec<Named> {
    vec![("lut-lab", lut_to_lab(&ADOBE_RGB, 17)), ("mab", version_4(matrix_in_mab(&DISPLAY_P3)))]
}

/// Profiles of grayscale.
pub fn gray() -> Vec<Named> {
    vec![
        ("gray-1.0", icc::gray_profile(1.0)),
        ("gray-1.8", icc::gray_profile(1.8)),
        ("gray-2.2", icc::gray_profile(2.2)),
        ("gray-1.8-v4", version_4(icc::gray_profile(1.8))),
    ]
}

/// Profiles that no image of RGB or grayscale can have, and broken ones.
pub fn foreign() -> Vec<Named> {
    let p3 = icc::profile(&DISPLAY_P3);
    vec![
        ("cmyk", icc::cmyk_profile()),
        ("output", class(p3.clone(), b"prtr")),
        ("to-nothing", patched(p3.clone(), 20, b"RGB ")),
        ("half", p3[..p3.len() / 2].to_vec()),
        ("no-signature", patched(p3, 36, b"nope")),
    ]
}

fn patched(mut profile: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    profile[at..at + bytes.len()].copy_from_slice(bytes);
    profile
}

fn version_4(profile: Vec<u8>) -> Vec<u8> {
    patched(profile, 8, &[4, 0x20, 0, 0])
}

fn class(profile: Vec<u8>, class: &[u8; 4]) -> Vec<u8> {
    patched(profile, 12, class)
}

/// Linear light, from 0 to 1, for a stored value from 0 to 1.
fn light(space: &Space, value: f64) -> f64 {
    match space.curve {
        Curve::Power(exponent) => value.powf(exponent),
        _ if value <= 0.04045 => value / 12.92,
        _ => ((value + 0.055) / 1.055).powf(2.4),
    }
}

fn shorts(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    values.into_iter().flat_map(|value| (value.round() as u16).to_be_bytes()).collect()
}

/// A matrix profile whose curves are tables.
fn table_curves(space: &Space) -> Vec<u8> {
    let count = 1024_u32;
    let values = (0..count).map(|n| 65_535.0 * light(space, f64::from(n) / f64::from(count - 1)));
    let curve = [b"curv\0\0\0\0".to_vec(), count.to_be_bytes().to_vec(), shorts(values)].concat();
    icc::matrix_profile(space, curve)
}

const IDENTITY: [f64; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

/// An `lut16Type` of three channels: curves, a grid of these sides, and no output curves.
fn lut(curve: &[u8], grid: &[u8], side: u8) -> Vec<u8> {
    let count = (curve.len() / 2) as u16;
    let mut lut = b"mft2\0\0\0\0\x03\x03".to_vec();
    lut.extend([side, 0]);
    lut.extend(icc::numbers(&IDENTITY));
    lut.extend([count.to_be_bytes(), 2_u16.to_be_bytes()].concat());
    lut.extend(curve.repeat(3));
    lut.extend(grid);
    lut.extend([0, 0, 0xff, 0xff].repeat(3));
    lut
}

/// The corners of a grid, with red changing slowest.
fn corners(side: u8) -> impl Iterator<Item = [f64; 3]> {
    let step = move |n: u8| f64::from(n) / f64::from(side - 1);
    (0..side).flat_map(move |r| {
        (0..side).flat_map(move |g| (0..side).map(move |b| [step(r), step(g), step(b)]))
    })
}

fn to_xyz(space: &Space, light: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|row| (0..3).map(|n| space.primaries[n][row] * light[n]).sum())
}

/// A lookup table with Lab as its connection space.
fn lut_to_lab(space: &Space, side: u8) -> Vec<u8> {
    let root = |t: f64| {
        if t > (6.0_f64 / 29.0).powi(3) {
            t.cbrt()
        } else {
            t / 3.0 * (29.0_f64 / 6.0).powi(2) + 4.0 / 29.0
        }
    };
    // Version 2: L* of 100 is 0xff00, and a* and b* of 0 are 0x8000.
    let lab = |corner: [f64; 3]| {
        let xyz = to_xyz(space, corner.map(|value| light(space, value)));
        let [x, y, z] = [0, 1, 2].map(|n| root((xyz[n] / D50[n]).max(0.0)));
        let l = 116.0 * y - 16.0;
        let a = 500.0 * (x - y);
        let b = 200.0 * (y - z);
        [l * 652.8, (a + 128.0) * 256.0, (b + 128.0) * 256.0]
            .map(|value| value.clamp(0.0, 65_535.0))
    };
    let grid = shorts(corners(side).flat_map(lab));
    let lut = lut(&shorts([0.0, 65_535.0]), &grid, side);
    let tags = [(b"wtpt", icc::xyz(D50)), (b"A2B0", lut.clone()), (b"A2B1", lut)];
    icc::written(b"mntr", b"RGB ", b"Lab ", &tags)
}

/// A `lutAToBType` with M curves, a matrix and B curves only.
fn matrix_in_mab(space: &Space) -> Vec<u8> {
    // XYZ of 1 is 32768 of 65535.
    let scale = 32_768.0 / 65_535.0;
    let matrix: Vec<f64> =
        (0..3).flat_map(|row| (0..3).map(move |n| space.primaries[n][row] * scale)).collect();
    let parametric = [
        b"para\0\0\0\0\0\x03\0\0".to_vec(),
        icc::numbers(&[2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045]),
    ]
    .concat();
    let identity = b"curv\0\0\0\0\0\0\0\0".to_vec();
    let (b_at, matrix_at) = (32_u32, 32 + 3 * 12);
    let m_at = matrix_at + 12 * 4;
    let offsets = [b_at, matrix_at, m_at, 0, 0].map(u32::to_be_bytes).concat();
    let mab = [
        b"mAB \0\0\0\0\x03\x03\0\0".to_vec(),
        offsets,
        identity.repeat(3),
        icc::numbers(&matrix),
        icc::numbers(&[0.0; 3]),
        parametric.repeat(3),
    ]
    .concat();
    icc::written(b"mntr", b"RGB ", b"XYZ ", &[(b"wtpt", icc::xyz(D50)), (b"A2B0", mab)])
}
