//! Results in every format, with and without the profile of the original.

use super::exif::Block;
use super::gif::{Frame, Gif, HEIGHT, WIDTH};
use super::jpeg::{self, Components};
use super::png::{Layout, Pixels};
use super::webp::Stream;
use super::{Case, Fault, MANAGED_YUV, Tolerance, YUV, profiles};
use crate::support::png_chunks;
use crate::support::server::data;

/// An original: its name, whether it has no half transparent pixels, and its bytes.
type Original = (&'static str, bool, Vec<u8>);

fn originals() -> Vec<Original> {
    let layout = |pixels, depth| Layout { pixels, depth, has_trns: false, is_interlaced: false };
    let png = |pixels, depth| layout(pixels, depth).png(&[], &[]);
    let profile = |n: usize| profiles::rgb()[n].1.clone();
    let with_profile = |pixels, profile: &[u8]| {
        layout(pixels, 8).png(&[(b"iCCP", png_chunks::profile(profile))], &[])
    };
    let turned = [(b"eXIf", Block::regular(6).bytes())];
    let gray = profiles::gray()[1].1.clone();
    vec![
        ("gray-1.png", true, png(Pixels::Gray, 1)),
        ("gray-16.png", true, png(Pixels::Gray, 16)),
        ("gray-alpha-8.png", false, png(Pixels::GrayAlpha, 8)),
        ("palette-4.png", true, png(Pixels::Palette, 4)),
        (
            "palette-trns.png",
            false,
            Layout { has_trns: true, ..layout(Pixels::Palette, 8) }.png(&[], &[]),
        ),
        ("rgb-8.png", true, png(Pixels::Rgb, 8)),
        ("rgba-8.png", false, png(Pixels::Rgba, 8)),
        ("rgba-16.png", false, png(Pixels::Rgba, 16)),
        ("turned.png", false, layout(Pixels::Rgba, 8).png(&turned, &[])),
        (
            "background.png",
            false,
            layout(Pixels::Rgba, 8).png(&[(b"bKGD", vec![0, 255, 0, 0, 0, 255])], &[]),
        ),
        ("p3.png", true, with_profile(Pixels::Rgb, &profile(1))),
        ("p3-alpha.png", false, with_profile(Pixels::Rgba, &profile(1))),
        ("adobe.png", true, with_profile(Pixels::Rgb, &profile(2))),
        ("linear.png", false, with_profile(Pixels::Rgba, &profile(4))),
        ("gray-profile.png", true, with_profile(Pixels::Gray, &gray)),
        ("gray-alpha-profile.png", false, with_profile(Pixels::GrayAlpha, &gray)),
        ("gray.jpg", true, jpeg::jpeg(Components::Gray, &[])),
        ("gray-profile.jpg", true, jpeg::jpeg(Components::Gray, &jpeg::profile_segments(&gray))),
        ("yuv.jpg", true, jpeg::jpeg(Components::Yuv, &[])),
        ("p3.jpg", true, jpeg::jpeg(Components::Yuv, &jpeg::profile_segments(&profile(1)))),
        ("lossless-alpha.webp", false, Stream::LosslessAlpha.webp(None, None)),
        ("p3.webp", false, Stream::LosslessAlpha.webp(Some(&profile(1)), None)),
        ("444.avif", true, data("browser/444-8-full.avif")),
        ("alpha.avif", false, data("browser/alpha-8.avif")),
        ("a.gif", true, Gif::of(vec![Frame::pattern((0, 0, WIDTH, HEIGHT), 1, true)]).bytes()),
    ]
}

/// Lossy.
const JPEG: Tolerance = Tolerance { greatest: 16, mean: 1.5 };
/// At most 256 colours.
const GIF: Tolerance = Tolerance { greatest: 64, mean: 6.0 };

pub fn cases() -> Vec<Case> {
    let formats = [
        ("PNG", ["f=png", "f=png&strip=false"], YUV),
        ("WebP", ["f=webp&lossless=true", "f=webp&lossless=true&strip=false"], YUV),
        ("AVIF", ["f=avif&lossless=true", "f=avif&lossless=true&strip=false"], MANAGED_YUV),
        ("JPEG", ["f=jpg&q=100", "f=jpg&q=100&strip=false"], JPEG),
        ("GIF", ["f=gif", "f=gif&strip=false"], GIF),
    ];
    let mut cases = Vec::new();
    for (format, queries, tolerance) in formats {
        for (query, kept) in queries.into_iter().zip(["", ", profile kept"]) {
            for (name, is_opaque, bytes) in originals() {
                // A GIF has no half transparent pixels, and a profile that is kept applies to the background as well.
                if !is_opaque && (format == "GIF" || (format == "JPEG" && !kept.is_empty())) {
                    continue;
                }
                let fault = match (name.ends_with(".avif"), format) {
                    (false, "AVIF") => Fault::AlphaOfResult,
                    (true, format) if format != "AVIF" => Fault::AlphaOfAvif,
                    _ => Fault::None,
                };
                let kind = format!("to {format}{kept}");
                let case = Case::still(kind, name.to_owned(), bytes, tolerance).with(fault);
                cases.push(Case { query, is_flat: format == "JPEG", ..case });
            }
        }
    }
    cases
}
