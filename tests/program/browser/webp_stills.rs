//! Still WebPs with profiles, orientations and irregular containers.

use super::exif::{self, Block};
use super::png::{HEIGHT, WIDTH};
use super::profiles;
use super::stills::{every_profile, tolerance};
use super::webp::{self, Stream};
use super::{Case, EXACT, Fault, MANAGED};

pub fn cases() -> Vec<Case> {
    [colours(), orientations(), containers()].concat()
}

fn colours() -> Vec<Case> {
    let mut cases = Vec::new();
    for stream in webp::ALL {
        let named = |name: &str| format!("webp-{stream:?}-{name}.webp").to_lowercase();
        cases.push(Case::still("webp, no profile", named("none"), stream.webp(None, None), EXACT));
        for (group, (name, profile)) in every_profile() {
            let file = stream.webp(Some(&profile), None);
            cases.push(Case::still(format!("webp, {group}"), named(name), file, tolerance(group)));
        }
    }
    cases
}

fn orientations() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |kind: &str, name: String, file, orientation| {
        let fault = Fault::IgnoresOrientation(orientation);
        cases.push(Case::still(kind, name, file, EXACT).with(fault));
    };
    for stream in webp::ALL {
        for orientation in 1..=8 {
            let file = stream.webp(None, Some(&Block::regular(orientation).bytes()));
            let name = format!("webp-{stream:?}-exif-{orientation}.webp").to_lowercase();
            add("webp orientation", name, file, orientation);
        }
    }
    let exif = |orientation| webp::chunk(b"EXIF", &Block::regular(orientation).bytes());
    let pixels = Stream::Lossless.bitstream();
    let head = |flags| webp::extended(flags, WIDTH, HEIGHT);
    let mut files: Vec<(&str, Vec<u8>, u32)> = exif::irregular()
        .into_iter()
        .map(|(name, block, shown)| (name, Stream::Lossless.webp(None, Some(&block)), shown))
        .collect();
    let mut file = |name, chunks: &[Vec<u8>], shown| files.push((name, webp::riff(chunks), shown));
    let xmp = webp::chunk(b"XMP ", b"<x/>");
    let unknown = webp::chunk(b"what", b"abc");
    let odd = webp::chunk(b"EXIF", &[&Block::regular(6).bytes()[..], b"x"].concat());
    file("no-flag", &[head(0), pixels.clone(), exif(6)], 1);
    file("before-pixels", &[head(webp::EXIF), exif(6), pixels.clone()], 6);
    file("two-chunks", &[head(webp::EXIF), pixels.clone(), exif(6), exif(3)], 6);
    file("after-xmp", &[head(webp::EXIF | webp::XMP), pixels.clone(), xmp, exif(6)], 6);
    file("not-extended", &[pixels.clone(), exif(6)], 1);
    file("odd-length", &[head(webp::EXIF), pixels.clone(), odd], 6);
    file("unknown-chunk", &[head(webp::EXIF), unknown, pixels, exif(6)], 6);
    for (name, file, shown) in files {
        add("webp irregular EXIF", format!("exif-{name}.webp"), file, shown);
    }
    cases
}

/// Files whose chunks are not as RFC 9649 §2.7 wants them.
fn containers() -> Vec<Case> {
    let head = |flags| webp::extended(flags, WIDTH, HEIGHT);
    let opaque = Stream::Lossless.bitstream();
    let lossy = Stream::LossyAlpha.bitstream();
    let profile = webp::chunk(b"ICCP", &profiles::rgb()[1].1);
    let simple = webp::riff(std::slice::from_ref(&opaque));
    let sized = |change: i64| {
        let size = u32::from_le_bytes(simple[4..8].try_into().unwrap());
        let size = (i64::from(size) + change) as u32;
        [&simple[..4], &size.to_le_bytes(), &simple[8..]].concat()
    };
    let reserved = [&head(0)[..8], &[0xc1, 1, 2, 3], &head(0)[12..]].concat();
    let files = [
        ("lossy-alpha-without-flag", webp::riff(&[head(0), lossy.clone()])),
        ("alpha-of-a-simple-file", webp::riff(&[lossy])),
        ("flag-without-alpha", webp::riff(&[head(webp::ALPHA), opaque.clone()])),
        ("profile-without-flag", webp::riff(&[head(0), profile.clone(), opaque.clone()])),
        (
            "profile-after-pixels",
            webp::riff(&[head(webp::PROFILE), opaque.clone(), profile.clone()]),
        ),
        (
            "two-profiles",
            webp::riff(&[
                head(webp::PROFILE),
                webp::chunk(b"ICCP", &profiles::rgb()[2].1),
                profile,
                opaque.clone(),
            ]),
        ),
        ("larger-canvas", webp::riff(&[webp::extended(0, 48, 32), opaque.clone()])),
        ("smaller-canvas", webp::riff(&[webp::extended(0, 12, 8), opaque.clone()])),
        ("short-riff", sized(-2)),
        ("long-riff", sized(100)),
        ("trailing-bytes", [&simple[..], b"trailing bytes"].concat()),
        ("animated-without-frames", webp::riff(&[head(webp::ANIMATION), opaque.clone()])),
        ("two-images", webp::riff(&[head(0), opaque.clone(), opaque.clone()])),
        ("reserved-bits", webp::riff(&[reserved, opaque.clone()])),
        ("unknown-chunk-first", webp::riff(&[webp::chunk(b"what", b"abc"), opaque])),
    ];
    let case = |(name, file): (&str, Vec<u8>)| {
        Case::still("webp irregular container", format!("webp-{name}.webp"), file, MANAGED)
    };
    files.into_iter().map(case).collect()
}
