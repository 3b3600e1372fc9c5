//! Still images of every format: depth, channels, profile, transparency and orientation.

use super::exif::{self, Block};
use super::jpeg::{self, Components};
use super::png::{self, Layout, Pixels};
use super::profiles::{self, Named};
use super::{
    Case, EXACT, Fault, MANAGED, MANAGED_16, TABLE, Tolerance, YUV, avif_stills, webp_stills,
};
use crate::support::icc;
use crate::support::png_chunks;
use crate::support::server::data;

type Chunk = (&'static [u8; 4], Vec<u8>);

pub fn cases() -> Vec<Case> {
    [
        png_colours(),
        png_orientations(),
        jpeg_colours(),
        jpeg_orientations(),
        jpeg_samplings(),
        webp_stills::cases(),
        avif_stills::cases(),
        files(),
    ]
    .concat()
}

/// Every profile with its kind.
pub fn every_profile() -> Vec<(&'static str, Named)> {
    let kind = |name: &'static str, profiles: Vec<Named>| {
        profiles.into_iter().map(move |profile| (name, profile))
    };
    kind("RGB profile", profiles::rgb())
        .chain(kind(TABLES, profiles::tables()))
        .chain(kind("gray profile", profiles::gray()))
        .chain(kind("foreign profile", profiles::foreign()))
        .collect()
}

const TABLES: &str = "RGB table";

/// What the conversion from a kind of profile may lose.
pub fn tolerance(kind: &str) -> Tolerance {
    if kind == TABLES { TABLE } else { MANAGED }
}

/// Colour chunks of a PNG, by kind and name.
fn colour_chunks() -> Vec<(&'static str, String, Vec<Chunk>)> {
    let gamma = |value: u32| (b"gAMA", value.to_be_bytes().to_vec());
    let chromaticities = |numbers: [u32; 8]| (b"cHRM", numbers.map(u32::to_be_bytes).concat());
    let p3 = chromaticities([31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000]);
    let adobe = chromaticities([31_270, 32_900, 64_000, 33_000, 21_000, 71_000, 15_000, 6_000]);
    let bt709 = chromaticities([31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000]);
    let srgb = || (b"sRGB", vec![0]);
    let mut found: Vec<(&'static str, String, Vec<Chunk>)> = every_profile()
        .into_iter()
        .map(|(kind, (name, profile))| {
            (kind, format!("icc-{name}"), vec![(b"iCCP", png_chunks::profile(&profile))])
        })
        .collect();
    let chunks: [(&str, Vec<Chunk>); 12] = [
        ("none", vec![]),
        ("srgb", vec![srgb()]),
        ("gama-1.0", vec![gamma(100_000)]),
        ("gama-1.8", vec![gamma(55_556)]),
        ("gama-2.2", vec![gamma(45_455)]),
        ("chrm-p3", vec![p3.clone()]),
        ("gama-2.2-chrm-p3", vec![gamma(45_455), p3.clone()]),
        ("gama-2.2-chrm-adobe", vec![gamma(45_455), adobe]),
        ("gama-1.8-chrm-709", vec![gamma(55_556), bt709.clone()]),
        ("gama-2.2-chrm-709", vec![gamma(45_455), bt709]),
        ("srgb-gama-1.0", vec![srgb(), gamma(100_000)]),
        (
            "icc-p3-gama-1.0",
            vec![(b"iCCP", png_chunks::profile(&profiles::rgb()[1].1)), gamma(100_000)],
        ),
    ];
    for (name, chunks) in chunks {
        found.push(("gAMA, cHRM", name.to_owned(), chunks));
    }
    for points in [
        [1, 13, 0, 1],
        [12, 13, 0, 1],
        [9, 13, 0, 1],
        [1, 8, 0, 1],
        [1, 1, 0, 1],
        [12, 4, 0, 1],
        [9, 1, 0, 1],
        [9, 14, 0, 1],
        [1, 5, 0, 1],
        [1, 13, 0, 0],
        [1, 13, 1, 1],
        [2, 2, 0, 1],
    ] {
        let name = points.map(|point: u8| point.to_string()).join("-");
        found.push(("cICP", format!("cicp-{name}"), vec![(b"cICP", points.to_vec())]));
    }
    found
}

fn png_colours() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, name, chunks) in colour_chunks() {
        for layout in png::layouts() {
            if layout.is_interlaced && name != "none" {
                continue;
            }
            let kind = if name == "none" { "no profile" } else { kind };
            let tolerance = match tolerance(kind) {
                _ if ["none", "srgb"].contains(&&*name) => EXACT,
                MANAGED if layout.depth == 16 => MANAGED_16,
                tolerance => tolerance,
            };
            let file = format!("{}-{name}.png", layout.name());
            let channels = channels(layout);
            cases.push(Case::still(
                format!("png {channels}, {kind}"),
                file,
                layout.png(&chunks, &[]),
                tolerance,
            ));
        }
    }
    cases
}

fn channels(layout: Layout) -> &'static str {
    match layout.pixels {
        _ if layout.is_gray() => "gray",
        Pixels::Palette => "palette",
        _ => "RGB",
    }
}

fn png_orientations() -> Vec<Case> {
    let mut cases = Vec::new();
    let layout = |pixels, depth| Layout { pixels, depth, has_trns: false, is_interlaced: false };
    let rgb = layout(Pixels::Rgb, 8);
    let layouts = [
        layout(Pixels::Gray, 1),
        layout(Pixels::Gray, 16),
        layout(Pixels::Palette, 4),
        rgb,
        layout(Pixels::Rgba, 16),
    ];
    for orientation in 1..=8 {
        let chunk = [(b"eXIf", Block::regular(orientation).bytes())];
        for layout in layouts {
            for (place, file) in
                [("before", layout.png(&chunk, &[])), ("after", layout.png(&[], &chunk))]
            {
                let name = format!("{}-exif-{orientation}-{place}.png", layout.name());
                cases.push(Case::still("png orientation", name, file, EXACT));
            }
        }
    }
    for (name, block, _) in exif::irregular() {
        let file = rgb.png(&[(b"eXIf", block)], &[]);
        cases.push(Case::still("png irregular EXIF", format!("exif-{name}.png"), file, EXACT));
    }
    cases
}

/// Without CMYK, which Chromium converts by subtraction unless there is a profile.
fn jpeg_colours() -> Vec<Case> {
    let mut cases = Vec::new();
    for components in jpeg::ALL {
        let kind = if components == Components::Gray { "gray" } else { "RGB" };
        let named = |name: &str| format!("jpeg-{components:?}-{name}.jpg").to_lowercase();
        let file = jpeg::jpeg(components, &[]);
        cases.push(Case::still(format!("jpeg {kind}, no profile"), named("none"), file, EXACT));
        for (group, (name, profile)) in every_profile() {
            let tolerance = tolerance(group);
            let file = jpeg::jpeg(components, &jpeg::profile_segments(&profile));
            cases.push(Case::still(format!("jpeg {kind}, {group}"), named(name), file, tolerance));
        }
    }
    cases
}

fn jpeg_orientations() -> Vec<Case> {
    let mut cases = Vec::new();
    let exif = |orientation| jpeg::exif_segment(&Block::regular(orientation).bytes());
    let profile = jpeg::profile_segments(&icc::cmyk_profile());
    for orientation in 1..=8 {
        for components in jpeg::ALL {
            let name = format!("jpeg-{components:?}-exif-{orientation}.jpg").to_lowercase();
            let file = jpeg::jpeg(components, &exif(orientation));
            cases.push(Case::still("jpeg orientation", name, file, EXACT));
        }
        for components in jpeg::INKS {
            let name = format!("jpeg-{components:?}-exif-{orientation}.jpg").to_lowercase();
            let segments = [exif(orientation), profile.clone()].concat();
            let file = jpeg::jpeg(components, &segments);
            cases.push(Case::still("jpeg CMYK, CMYK profile", name, file, TABLE));
        }
    }
    let block = |orientation| Block::regular(orientation).bytes();
    let mut segments: Vec<(&str, Vec<u8>)> = exif::irregular()
        .into_iter()
        .map(|(name, block, _)| (name, jpeg::exif_segment(&block)))
        .collect();
    let xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation='6'/></rdf:RDF></x:xmpmeta>";
    segments.push((
        "two-blocks-6-3",
        [jpeg::exif_segment(&block(6)), jpeg::exif_segment(&block(3))].concat(),
    ));
    segments.push((
        "two-blocks-1-3",
        [jpeg::exif_segment(&block(1)), jpeg::exif_segment(&block(3))].concat(),
    ));
    segments.push((
        "noise-then-6",
        [jpeg::exif_segment(b"noise"), jpeg::exif_segment(&block(6))].concat(),
    ));
    segments.push(("xmp", jpeg::segment(0xe1, xmp)));
    segments
        .push(("xmp-then-3", [jpeg::segment(0xe1, xmp), jpeg::exif_segment(&block(3))].concat()));
    segments.push(("app2", jpeg::segment(0xe2, &[b"Exif\0\0", &block(6)[..]].concat())));
    segments.push(("no-prefix", jpeg::segment(0xe1, &block(6))));
    segments.push(("lower-case", jpeg::segment(0xe1, &[b"exif\0\0", &block(6)[..]].concat())));
    for (name, segments) in segments {
        let file = jpeg::jpeg(Components::Yuv, &segments);
        cases.push(Case::still("jpeg irregular EXIF", format!("exif-{name}.jpg"), file, EXACT));
    }
    cases
}

fn jpeg_samplings() -> Vec<Case> {
    let mut cases = Vec::new();
    for sampling in ["1x1", "2x1", "1x2", "2x2", "4x1"] {
        for scans in ["", "-progressive", "-restart"] {
            let name = format!("{sampling}{scans}.jpg");
            let file = data(&format!("browser/{name}"));
            cases.push(Case::still("jpeg sampling and scans", name, file, EXACT));
        }
    }
    cases
}

/// Images of tests/data. Chromium ignores `clap` unless the window starts at the corner, and interpolates chroma across
/// the tiles of a grid, which are encoded one by one.
fn files() -> Vec<Case> {
    const NAMES: [&str; 31] = [
        "10-bit-444.avif",
        "10-bit.avif",
        "12-bit-limited-range.avif",
        "alpha-10-bit.avif",
        "alpha-premultiplied.avif",
        "alpha.avif",
        "anim.gif",
        "bt709.avif",
        "disc-lossy.webp",
        "exif-xmp.avif",
        "fading.avif",
        "gps.jpg",
        "icc.avif",
        "imir-0.avif",
        "imir-1.avif",
        "irot-1.avif",
        "irot-3-imir-0.avif",
        "limited-range-alpha.avif",
        "limited-range.avif",
        "lossless.avif",
        "monochrome.avif",
        "odd.avif",
        "orient-6.jpg",
        "p3-primaries.jpg",
        "pasp.avif",
        "patches-nclx.avif",
        "turned-irot.avif",
        "ycgco.avif",
        "yuv420.avif",
        "yuv422.avif",
        "yuv444.avif",
    ];
    let case = |name: &&str| {
        let is_avif = name.ends_with(".avif");
        let fault = if is_avif { Fault::AlphaOfAvif } else { Fault::None };
        Case::still("tests/data", (*name).to_owned(), data(name), YUV).with(fault)
    };
    NAMES.iter().map(case).collect()
}
