//! Colour profiles, and their colours in sRGB by the standards' numbers and formulas.

/// A transfer function.
#[derive(Clone, Copy, Debug)]
pub enum Curve {
    Power(f64),
    Srgb,
}

/// An RGB colour space.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// The D50 XYZ of red, green and blue, one per row (Bruce Lindbloom's tables).
    pub primaries: [[f64; 3]; 3],
    pub curve: Curve,
}

pub const SRGB: Space = Space {
    primaries: [
        [0.436_074_7, 0.222_504_5, 0.013_932_2],
        [0.385_064_9, 0.716_878_6, 0.097_104_5],
        [0.143_080_4, 0.060_616_9, 0.714_173_3],
    ],
    curve: Curve::Srgb,
};
pub const DISPLAY_P3: Space = Space {
    primaries: [
        [0.515_102, 0.241_182, -0.001_050],
        [0.291_965, 0.692_236, 0.041_882],
        [0.157_153, 0.066_582, 0.784_378],
    ],
    curve: Curve::Srgb,
};
pub const ADOBE_RGB: Space = Space {
    primaries: [
        [0.609_755_9, 0.311_111_8, 0.019_481_1],
        [0.205_240_1, 0.625_656_0, 0.060_890_2],
        [0.149_224_0, 0.063_219_7, 0.744_838_7],
    ],
    curve: Curve::Power(2.199_218_75),
};
pub const PROPHOTO: Space = Space {
    primaries: [
        [0.797_674_9, 0.288_040_2, 0.0],
        [0.135_191_7, 0.711_874_1, 0.0],
        [0.031_353_4, 0.000_085_7, 0.825_210_0],
    ],
    curve: Curve::Power(1.8),
};

/// D50 XYZ to linear sRGB (Lindbloom).
const TO_SRGB: [[f64; 3]; 3] = [
    [3.133_856_1, -1.616_866_7, -0.490_614_6],
    [-0.978_768_4, 1.916_141_5, 0.033_454_0],
    [0.071_945_3, -0.228_991_4, 1.405_242_7],
];
/// The white of the profile connection space.
pub const D50: [f64; 3] = [0.9642, 1.0, 0.8249];

/// A colour in linear sRGB.
pub fn to_linear_srgb(space: &Space, colour: [f64; 3]) -> [f64; 3] {
    let light = colour.map(|value| match space.curve {
        Curve::Power(exponent) => value.powf(exponent),
        Curve::Srgb if value <= 0.04045 => value / 12.92,
        Curve::Srgb => ((value + 0.055) / 1.055).powf(2.4),
    });
    let xyz = [0, 1, 2].map(|row| (0..3).map(|n| space.primaries[n][row] * light[n]).sum());
    linear_srgb_of_xyz(xyz)
}

fn linear_srgb_of_xyz(xyz: [f64; 3]) -> [f64; 3] {
    TO_SRGB.map(|row| row.iter().zip(xyz).map(|(factor, value)| factor * value).sum())
}

/// The sRGB transfer function (IEC 61966-2-1), from linear light to a value between 0 and 1.
pub fn srgb_encoded(light: f64) -> f64 {
    if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

/// The profile of a colour space (ICC.1 version 2, matrix and curve).
pub fn profile(space: &Space) -> Vec<u8> {
    let curve = match space.curve {
        Curve::Power(exponent) => gamma(exponent),
        Curve::Srgb => [
            b"para\0\0\0\0\0\x03\0\0".to_vec(),
            numbers(&[2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045]),
        ]
        .concat(),
    };
    matrix_profile(space, curve)
}

/// A profile of RGB with the primaries of the space, and this curve for each channel.
pub fn matrix_profile(space: &Space, curve: Vec<u8>) -> Vec<u8> {
    let colorant = |n: usize| xyz(space.primaries[n]);
    let tags = [
        (b"wtpt", xyz(D50)),
        (b"rXYZ", colorant(0)),
        (b"gXYZ", colorant(1)),
        (b"bXYZ", colorant(2)),
        (b"rTRC", curve.clone()),
        (b"gTRC", curve.clone()),
        (b"bTRC", curve),
    ];
    written(b"mntr", b"RGB ", b"XYZ ", &tags)
}

/// A gray profile with a gamma curve.
pub fn gray_profile(exponent: f64) -> Vec<u8> {
    written(b"mntr", b"GRAY", b"XYZ ", &[(b"wtpt", xyz(D50)), (b"kTRC", gamma(exponent))])
}

/// A profile of another kind, with a table from three channels that is black and white at its ends: lightness is
/// proportional, and the middle of each axis has a tint.
pub fn table_profile(class: &[u8; 4], space: &[u8; 4], connection: &[u8; 4]) -> Vec<u8> {
    written(class, space, connection, &[(b"wtpt", xyz(D50)), (b"A2B0", table(40))])
}

/// A profile of RGB with a table for perceptual intent, and one for colorimetric intent that tints much more.
pub fn profile_with_two_tables() -> Vec<u8> {
    let tags = [(b"wtpt", xyz(D50)), (b"A2B0", table(40)), (b"A2B1", table(80))];
    written(b"scnr", b"RGB ", b"Lab ", &tags)
}

/// An `mft1` (ICC.1 §10.10) with two steps for each of three channels.
fn table(tint: i32) -> Vec<u8> {
    let mut lut = b"mft1\0\0\0\0\x03\x03\x02\0".to_vec();
    lut.extend(numbers(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]));
    let identity: Vec<u8> = (0..=255).collect();
    lut.extend(identity.repeat(3));
    for n in 0..8 {
        let [r, g, b] = [n >> 2 & 1, n >> 1 & 1, n & 1];
        lut.extend(
            [60 * r + 120 * g + 75 * b, 128 + tint * (r - g), 128 + tint * (g - b)]
                .map(|v| v as u8),
        );
    }
    lut.extend(identity.repeat(3));
    lut
}

/// The gray of a neutral value of a table above.
pub fn gray_of_table(value: u8) -> f64 {
    let lightness = f64::from(value) / 2.55;
    let light =
        if lightness > 8.0 { ((lightness + 16.0) / 116.0).powi(3) } else { lightness / 903.3 };
    255.0 * srgb_encoded(light)
}

/// The CIE Lab colour of each combination of inks: cyan is bit 8, magenta 4, yellow 2, black 1.
const LAB_OF_INKS: [[u8; 3]; 16] = {
    let mut table = [[0; 3]; 16];
    let mut n = 0;
    while n < 16 {
        let (c, m, y, k) =
            ((n >> 3 & 1) as i32, (n >> 2 & 1) as i32, (n >> 1 & 1) as i32, (n & 1) as i32);
        // Light colours within the sRGB gamut, as bytes of ICC's `mft1`.
        table[n] = [
            (245 - 40 * c - 45 * m - 15 * y - 60 * k) as u8,
            (128 - 14 * c + 22 * m - 4 * y) as u8,
            (128 - 16 * c - 6 * m + 24 * y) as u8,
        ];
        n += 1;
    }
    table
};

/// The CMYK profile of a press with the colours of the table, interpolated between them.
pub fn cmyk_profile() -> Vec<u8> {
    let mut lut = b"mft1\0\0\0\0\x04\x03\x02\0".to_vec();
    lut.extend(numbers(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]));
    let identity: Vec<u8> = (0..=255).collect();
    lut.extend(identity.repeat(4));
    lut.extend(LAB_OF_INKS.concat());
    lut.extend(identity.repeat(3));
    written(
        b"prtr",
        b"CMYK",
        b"Lab ",
        &[(b"wtpt", xyz(D50)), (b"A2B0", lut.clone()), (b"A2B1", lut)],
    )
}

/// The colour of full or no inks on that press, if it is within the sRGB gamut.
pub fn srgb_of_inks(inks: [u8; 4]) -> Option<[f64; 3]> {
    let at = inks.iter().fold(0, |at, ink| at << 1 | usize::from(*ink > 127));
    let [l, a, b] = LAB_OF_INKS[at].map(f64::from);
    let l = l * 100.0 / 255.0;
    let a = a - 128.0;
    let b = b - 128.0;
    let middle = (l + 16.0) / 116.0;
    let light = |t: f64| {
        if t > 6.0 / 29.0 { t.powi(3) } else { 3.0 * (6.0_f64 / 29.0).powi(2) * (t - 4.0 / 29.0) }
    };
    let relative = [light(middle + a / 500.0), light(middle), light(middle - b / 200.0)];
    let linear = linear_srgb_of_xyz([0, 1, 2].map(|n| relative[n] * D50[n]));
    linear
        .iter()
        .all(|value| (0.0..=1.0).contains(value))
        .then(|| linear.map(|value| 255.0 * srgb_encoded(value)))
}

fn gamma(exponent: f64) -> Vec<u8> {
    [&b"curv\0\0\0\0\0\0\0\x01"[..], &((exponent * 256.0).round() as u16).to_be_bytes(), &[0, 0]]
        .concat()
}

/// An `XYZType`.
pub fn xyz(light: [f64; 3]) -> Vec<u8> {
    [b"XYZ \0\0\0\0".to_vec(), numbers(&light)].concat()
}

/// Values of `s15Fixed16Number`.
pub fn numbers(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| ((value * 65_536.0).round() as i32).to_be_bytes()).collect()
}

/// A profile of version 2.4 with these tags.
pub fn written(
    class: &[u8; 4],
    space: &[u8; 4],
    pcs: &[u8; 4],
    tags: &[(&[u8; 4], Vec<u8>)],
) -> Vec<u8> {
    let mut table = (tags.len() as u32).to_be_bytes().to_vec();
    let mut data = Vec::new();
    for (name, tag) in tags {
        table.extend_from_slice(*name);
        table.extend((128 + 4 + 12 * tags.len() as u32 + data.len() as u32).to_be_bytes());
        table.extend((tag.len() as u32).to_be_bytes());
        data.extend_from_slice(tag);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    let mut head = ((128 + table.len() + data.len()) as u32).to_be_bytes().to_vec();
    head.extend(b"\0\0\0\0\x02\x40\0\0");
    head.extend([class, space, pcs].into_iter().flatten());
    head.extend([0; 12]);
    head.extend(b"acsp");
    head.resize(68, 0);
    head.extend(numbers(&D50));
    head.resize(128, 0);
    [head, table, data].concat()
}

/// A CMYK JPEG of 16 × 16 patches side by side (T.81: baseline, four components, DC coefficients only; inverted and marked
/// as Adobe's programs do).
pub fn cmyk_jpeg(patches: &[[u8; 4]], profile: Option<&[u8]>) -> Vec<u8> {
    let stored: Vec<_> = patches.iter().map(|inks| inks.map(|ink| 255 - ink)).collect();
    four_component_jpeg((patches.len() * 2, 2), |column, _| stored[column / 2], 0, profile)
}

/// A CMYK JPEG of blocks of 8 × 8 pixels, without a profile: `inks` gives those of a block by its column and row.
pub fn cmyk_blocks(size: (usize, usize), inks: impl Fn(usize, usize) -> [u8; 4]) -> Vec<u8> {
    four_component_jpeg(size, |column, row| inks(column, row).map(|ink| 255 - ink), 0, None)
}

/// The same with the transform 2: YCCK.
pub fn ycck_jpeg(patches: &[[u8; 4]], profile: Option<&[u8]>) -> Vec<u8> {
    let stored = |[c, m, y, k]: &[u8; 4]| {
        // Decoders subtract red, green and blue from white to get the stored, inverted inks.
        let [r, g, b] = [c, m, y].map(|ink| f64::from(*ink));
        let luma = 0.299 * r + 0.587 * g + 0.114 * b;
        let [cb, cr] = [(b - luma) / 1.772, (r - luma) / 1.402].map(|chroma| chroma + 128.0);
        let [luma, cb, cr] = [luma, cb, cr].map(|value| value.round() as u8);
        [luma, cb, cr, 255 - k]
    };
    let stored: Vec<_> = patches.iter().map(stored).collect();
    four_component_jpeg((patches.len() * 2, 2), |column, _| stored[column / 2], 2, profile)
}

fn four_component_jpeg(
    (columns, rows): (usize, usize),
    samples: impl Fn(usize, usize) -> [u8; 4],
    transform: u8,
    profile: Option<&[u8]>,
) -> Vec<u8> {
    let segment = |marker: u8, data: &[u8]| {
        let mut segment = vec![0xff, marker];
        segment.extend((data.len() as u16 + 2).to_be_bytes());
        segment.extend_from_slice(data);
        segment
    };
    let mut out = vec![0xff, 0xd8];
    out.extend(segment(0xee, &[b"Adobe\0\x64\0\0\0\0", &[transform][..]].concat()));
    if let Some(profile) = profile {
        out.extend(segment(0xe2, &[b"ICC_PROFILE\0\x01\x01", profile].concat()));
    }
    // The DC coefficient of a block is eight times its mean.
    out.extend(segment(0xdb, &[&[0, 8][..], &[1; 63]].concat()));
    let mut frame = vec![8];
    frame.extend([rows, columns].into_iter().flat_map(|blocks| (blocks as u16 * 8).to_be_bytes()));
    frame.push(4);
    frame.extend((1..=4).flat_map(|component| [component, 0x11, 0]));
    out.extend(segment(0xc0, &frame));
    // DC table: twelve categories with codes of four bits. AC table: end of block only, with a code of one bit.
    let sizes: Vec<u8> = (0..12).collect();
    out.extend(segment(0xc4, &[&[0x00, 0, 0, 0, 12][..], &[0; 12], &sizes].concat()));
    out.extend(segment(0xc4, &[&[0x10, 1][..], &[0; 15], &[0]].concat()));
    out.extend(segment(0xda, &[4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]));
    let mut bits: Vec<bool> = Vec::new();
    let mut put =
        |value: u32, count: u32| bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    let mut last = [0_i32; 4];
    for row in 0..rows {
        for column in 0..columns {
            for (sample, last) in samples(column, row).iter().zip(&mut last) {
                let value = i32::from(*sample) - 128;
                let difference = value - *last;
                *last = value;
                let size = 32 - difference.unsigned_abs().leading_zeros();
                put(size, 4);
                let coded = if difference < 0 { difference - 1 } else { difference };
                put(coded as u32 & ((1 << size) - 1), size);
                put(0, 1);
            }
        }
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    for byte in bits.chunks(8) {
        let byte = byte.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        out.push(byte);
        if byte == 0xff {
            out.push(0);
        }
    }
    out.extend([0xff, 0xd9]);
    out
}
