//! The chromaticities of colour primaries (ITU-T H.273 table 2).

/// The x and y of red, green, blue and white (CIE 1931).
pub type Chromaticities = [(f64, f64); 4];

pub const D65: (f64, f64) = (0.3127, 0.3290);
const C: (f64, f64) = (0.310, 0.316);

/// ITU-R BT.709, as in sRGB.
pub const BT709: Chromaticities = [(0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65];

/// `None` for values that are reserved or unspecified, and for SMPTE ST 428-1 (10), whose primaries are no colours.
pub fn chromaticities(primaries: u16) -> Option<Chromaticities> {
    Some(match primaries {
        1 => BT709,
        4 => [(0.67, 0.33), (0.21, 0.71), (0.14, 0.08), C],
        5 => [(0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65],
        6 | 7 => [(0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65],
        8 => [(0.681, 0.319), (0.243, 0.692), (0.145, 0.049), C],
        9 => [(0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65],
        11 => [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)],
        12 => [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65],
        22 => [(0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65],
        _ => return None,
    })
}
