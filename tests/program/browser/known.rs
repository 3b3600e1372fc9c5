//! Differences from Chromium that are known: they are counted, and fail no test.

use super::Case;

/// A part of the kind, and of the name.
const DIFFERENCES: &[(&str, &str)] = &[
    // A profile of RGB is not applied to grayscale.
    ("gray, RGB", ""),
    ("gray, gray profile", "-gray-1.0"),
    // Primaries other than BT.709, BT.2020 and Display P3 are ignored, and their transfer with them.
    (", nclx", ""),
    // The inverse of the transfer of BT.709 is applied.
    (", cICP", "-1-0-1"),
    (", cICP", "-14-0-1"),
    // Chromaticities are applied without a gamma, and a gamma of 1/2.2 is the curve of sRGB with any.
    ("gAMA, cHRM", "chrm-"),
    // WebP has no grayscale, and the profile is dropped.
    ("to WebP, profile kept", "gray-"),
    // A frame that is not transparent is disposed to the background colour.
    ("gif disposal", "2o"),
    ("gif detail", "background-opaque"),
    // Chromium shows black.
    ("gif detail", "short-palette"),
];

pub fn is_known(case: &Case) -> bool {
    DIFFERENCES.iter().any(|(kind, name)| case.kind.contains(kind) && case.name.contains(name))
}
