//! Differences from Chromium that are known: they are counted, and fail no test.

use super::Case;

/// A part of the kind, and of the name.
const DIFFERENCES: &[(&str, &str)] = &[
    // A frame that is not transparent is disposed to the background colour.
    ("gif disposal", "2o"),
    ("gif detail", "background-opaque"),
    // Chromium shows black.
    ("gif detail", "short-palette"),
];

pub fn is_known(case: &Case) -> bool {
    DIFFERENCES.iter().any(|(kind, name)| case.kind.contains(kind) && case.name.contains(name))
}
