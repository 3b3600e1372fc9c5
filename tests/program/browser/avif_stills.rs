//! AVIFs of every depth and subsampling, with profiles, code points, alpha and rotations.

use super::avif::{self, Avif};
use super::stills::every_profile;
use super::{Case, Fault, MANAGED_YUV, Tolerance, YUV};
use crate::support::server::data;

pub fn cases() -> Vec<Case> {
    [streams(), colours(), orientations()].concat()
}

/// Half transparent pixels lose more.
const ALPHA: Tolerance = Tolerance { greatest: 10, mean: 1.3 };

const ALPHAS: [&str; 8] = [
    "alpha-8",
    "alpha-10",
    "alpha-12",
    "premultiplied-8",
    "premultiplied-10",
    "premultiplied-12",
    "alpha-420-limited",
    "premultiplied-420-limited",
];

fn streams() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |kind: &str, name: &str, fault| {
        let file = data(&format!("browser/{name}.avif"));
        cases.push(Case::still(kind, format!("{name}.avif"), file, ALPHA).with(fault));
    };
    for depth in [8, 10, 12] {
        for range in ["full", "limited"] {
            for chroma in ["400", "420", "422", "444"] {
                // Chromium repeats the chroma of 12 bits instead of interpolating it.
                if (chroma, depth) != ("420", 12) {
                    add("avif streams", &format!("{chroma}-{depth}-{range}"), Fault::None);
                }
            }
        }
    }
    ALPHAS.iter().for_each(|name| add("avif alpha", name, Fault::AlphaOfAvif));
    add("avif sequence", "frames", Fault::ColoursOfSequence);
    add("avif sequence", "frames-premultiplied", Fault::ColoursOfSequence);
    cases
}

fn fault(name: &str) -> Fault {
    if ALPHAS.contains(&name) { Fault::AlphaOfAvif } else { Fault::None }
}

fn colours() -> Vec<Case> {
    const STREAMS: [&str; 8] = [
        "444-8-full",
        "420-8-limited",
        "400-8-full",
        "400-10-limited",
        "444-10-full",
        "422-12-limited",
        "alpha-8",
        "premultiplied-10",
    ];
    let mut cases = Vec::new();
    for stream in STREAMS {
        let channels = if stream.starts_with("400") { "gray" } else { "RGB" };
        let mut add = |kind: &str, name: &str, file: Avif, tolerance| {
            let kind = format!("avif {channels}, {kind}");
            let case = Case::still(kind, format!("{stream}-{name}.avif"), file.bytes(), tolerance);
            cases.push(case.with(fault(stream)));
        };
        let original = Avif::of(stream);
        for (kind, (name, profile)) in every_profile() {
            let file = original.clone().with(avif::profile(&profile));
            add(kind, &format!("icc-{name}"), file, MANAGED_YUV);
        }
        let bare = original.without(b"colr");
        let nclx = |primaries, transfer, matrix, is_full_range| {
            bare.clone().with(avif::nclx(primaries, transfer, matrix, is_full_range))
        };
        for primaries in [1, 2, 4, 5, 6, 9, 11, 12, 22] {
            for transfer in [1, 2, 4, 5, 6, 8, 13, 14, 15] {
                let file = nclx(primaries, transfer, 6, !stream.contains("limited"));
                add("nclx", &format!("nclx-{primaries}-{transfer}"), file, MANAGED_YUV);
            }
        }
        for matrix in [0, 1, 2, 4, 5, 6, 7, 8, 9, 12] {
            // Chromium shows nothing of the identity matrix with subsampled chroma, or of YCgCo in limited range.
            if matrix == 0 && stream.starts_with("42") {
                continue;
            }
            for (range, is_full_range) in [("full", true), ("limited", false)] {
                let file = nclx(1, 13, matrix, is_full_range);
                add("matrix", &format!("matrix-{matrix}-{range}"), file, MANAGED_YUV);
            }
        }
        add("no colr", "no-colr", bare, YUV);
    }
    cases
}

fn orientations() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |stream: &str, kind: &str, properties: &[Vec<u8>], name: String| {
        let file = properties.iter().fold(Avif::of(stream), |file, property| file.turned(property));
        let case = Case::still(kind, format!("{stream}-{name}.avif"), file.bytes(), YUV);
        cases.push(case.with(fault(stream)));
    };
    let (irot, imir) = (avif::irot, avif::imir);
    for stream in ["444-8-full", "420-8-limited", "400-10-limited", "alpha-8", "premultiplied-8"] {
        for quarters in 0..4 {
            let kind = "avif orientation";
            add(stream, kind, &[irot(quarters)], format!("irot-{quarters}"));
            for axis in [0, 1] {
                let name = format!("irot-{quarters}-imir-{axis}");
                add(stream, kind, &[irot(quarters), imir(axis)], name);
                let name = format!("imir-{axis}-irot-{quarters}");
                add(stream, "avif orientation, irregular", &[imir(axis), irot(quarters)], name);
            }
        }
        for axis in [0, 1] {
            add(stream, "avif orientation", &[imir(axis)], format!("imir-{axis}"));
        }
        let twice = [
            ("irot-1-irot-1", [irot(1), irot(1)]),
            ("irot-1-irot-2", [irot(1), irot(2)]),
            ("imir-0-imir-1", [imir(0), imir(1)]),
            ("imir-1-imir-1", [imir(1), imir(1)]),
        ];
        for (name, properties) in twice {
            add(stream, "avif orientation, twice", &properties, name.to_owned());
        }
    }
    cases
}
