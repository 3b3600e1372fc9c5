//! Animations of every combination of disposal, transparency, place and blending.

use super::exif::Block;
use super::gif::{self, Frame as GifFrame, Gif, HEIGHT, WIDTH};
use super::webp::{self, Frame as WebpFrame, Stream};
use super::{Case, Fault, MANAGED, png};
use crate::support::chromium::As;

pub fn cases() -> Vec<Case> {
    let mut cases = gif_disposals();
    cases.extend(gif_details());
    cases.extend(gif_numbers());
    cases.extend(webp_blends());
    cases.extend(webp_details());
    cases.extend(as_other_formats(&cases));
    cases
}

/// The properties of one frame: the lowest bits are transparency and place, and the others disposal or blending.
fn bit(n: u32, bit: u32) -> bool {
    n >> bit & 1 == 1
}

fn gif_disposals() -> Vec<Case> {
    let frame = |n: u32, window, first: u8| {
        let window = if bit(n, 1) { window } else { (0, 0, WIDTH, HEIGHT) };
        let frame = GifFrame::pattern(window, first, bit(n, 0));
        GifFrame { disposal: (n >> 2) as u8, time: 4 + u16::from(first), ..frame }
    };
    let mut cases = Vec::new();
    for one in 0..16 {
        for two in 0..16 {
            let last = GifFrame::pattern((8, 4, 6, 6), 5, true);
            let frames = vec![frame(one, (2, 1, 9, 8), 0), frame(two, (5, 3, 8, 9), 2), last];
            let name = format!("gif-{}-{}.gif", named(one), named(two));
            cases.push(Case::animation("gif disposal", name, Gif::of(frames).bytes()));
        }
    }
    cases
}

fn named(n: u32) -> String {
    let transparency = if bit(n, 0) { "t" } else { "o" };
    let place = if bit(n, 1) { "p" } else { "f" };
    format!("{}{transparency}{place}", n >> 2)
}

/// Palettes, backgrounds, interlacing, windows outside of the screen.
fn gif_details() -> Vec<Case> {
    let full = (0, 0, WIDTH, HEIGHT);
    let first = GifFrame::pattern(full, 0, false);
    let part = GifFrame::pattern((4, 2, 8, 6), 3, true);
    let frames = vec![first.clone(), part.clone()];
    let gif = Gif::of(frames.clone());
    let with = |frame: GifFrame| Gif::of(vec![first.clone(), frame, part.clone()]);
    let other: Vec<[u8; 3]> = gif::colours().into_iter().rev().collect();
    let cleared = GifFrame { disposal: 2, ..part.clone() };
    let cases = [
        ("interlaced", with(GifFrame { is_interlaced: true, ..part.clone() })),
        ("local-palette", with(GifFrame { palette: Some(other.clone()), ..part.clone() })),
        ("short-palette", with(GifFrame { palette: Some(other[..4].to_vec()), ..part.clone() })),
        (
            "only-local-palettes",
            Gif {
                palette: None,
                frames: frames
                    .iter()
                    .map(|frame| GifFrame { palette: Some(other.clone()), ..frame.clone() })
                    .collect(),
                ..gif.clone()
            },
        ),
        ("background", Gif { background: 5, ..with(cleared.clone()) }),
        (
            "background-opaque",
            Gif { background: 5, ..with(GifFrame { transparent: None, ..cleared.clone() }) },
        ),
        ("background-beyond-palette", Gif { background: 200, ..with(cleared) }),
        ("first-part", Gif { background: 5, ..Gif::of(vec![part.clone(), first.clone()]) }),
        (
            "first-part-opaque",
            Gif {
                background: 5,
                ..Gif::of(vec![GifFrame::pattern((4, 2, 8, 6), 3, false), part.clone()])
            },
        ),
        ("first-restores", Gif::of(vec![GifFrame { disposal: 3, ..first.clone() }, part.clone()])),
        ("transparent-beyond-palette", with(GifFrame { transparent: Some(200), ..part.clone() })),
        ("transparent-3", with(GifFrame { transparent: Some(3), ..part.clone() })),
        ("right-of-screen", with(GifFrame::pattern((12, 2, 8, 6), 3, false))),
        ("below-screen", with(GifFrame::pattern((2, 9, 8, 6), 3, false))),
        ("outside", with(GifFrame::pattern((40, 40, 4, 4), 3, false))),
        ("larger-than-screen", with(GifFrame::pattern((0, 0, 20, 16), 3, false))),
        (
            "first-larger-than-screen",
            Gif::of(vec![GifFrame::pattern((0, 0, 20, 16), 3, false), part.clone()]),
        ),
        ("screen-0", Gif { size: (0, 0), ..gif.clone() }),
        ("no-control", with(GifFrame { has_control: false, ..GifFrame::pattern(full, 4, false) })),
        (
            "control-of-first-only",
            Gif::of(vec![
                GifFrame { disposal: 2, ..part.clone() },
                GifFrame { has_control: false, ..first },
            ]),
        ),
        ("one", Gif::of(vec![part])),
    ];
    let named = |(name, gif): (&str, Gif)| {
        Case::animation("gif detail", format!("gif-{name}.gif"), gif.bytes())
    };
    cases.into_iter().map(named).chain(gif_reserved()).collect()
}

/// Disposals that are not defined.
fn gif_reserved() -> Vec<Case> {
    let case = |disposal: u8| {
        let full = GifFrame::pattern((0, 0, WIDTH, HEIGHT), 0, false);
        let part = GifFrame { disposal, ..GifFrame::pattern((2, 1, 9, 8), 2, false) };
        let gif = Gif::of(vec![full, part, GifFrame::pattern((8, 4, 6, 6), 5, true)]);
        Case::animation("gif detail", format!("gif-disposal-{disposal}.gif"), gif.bytes())
    };
    (4..8).map(case).collect()
}

/// Loops and delays.
fn gif_numbers() -> Vec<Case> {
    let frames = |times: [u16; 3]| {
        let frame = |n: usize| GifFrame {
            time: times[n],
            ..GifFrame::pattern((0, 0, WIDTH, HEIGHT), n as u8 * 2, false)
        };
        (0..3).map(frame).collect()
    };
    let mut cases = Vec::new();
    for loops in [None, Some(0), Some(1), Some(2), Some(65_534)] {
        let gif = Gif { loops, ..Gif::of(frames([10; 3])) };
        let name = loops.map_or("none".to_owned(), |loops| loops.to_string());
        cases.push(Case::animation("gif loops", format!("gif-loops-{name}.gif"), gif.bytes()));
    }
    for times in [[0; 3], [1; 3], [2; 3], [0, 5, 0], [3, 1, 7], [10, 0, 1], [65_535, 2, 65_535]] {
        let gif = Gif::of(frames(times)).bytes();
        let name = times.map(|time| time.to_string()).join("-");
        cases.push(Case::animation("gif delays", format!("gif-delays-{name}.gif"), gif));
    }
    cases
}

const CANVAS: (u32, u32) = (16, 12);

fn webp_blends() -> Vec<Case> {
    let frame = |n: u32, window, number| {
        let window = if bit(n, 1) { window } else { (0, 0, CANVAS.0, CANVAS.1) };
        let frame = WebpFrame::pattern(window, number, bit(n, 0));
        WebpFrame { disposes: bit(n, 2), blends: bit(n, 3), time: 40 + number * 10, ..frame }
    };
    let name = |n: u32| {
        let disposes = if bit(n, 2) { "d" } else { "k" };
        let blends = if bit(n, 3) { "b" } else { "s" };
        format!("{disposes}{blends}{}", &named(n & 3)[1..])
    };
    let mut cases = Vec::new();
    for one in 0..16 {
        for two in 0..16 {
            let last = WebpFrame::pattern((8, 4, 6, 6), 2, true);
            let frames = [frame(one, (2, 2, 9, 8), 0), frame(two, (6, 2, 8, 9), 1), last];
            let background = [0, 0, 255, [0, 255][((one + two) % 2) as usize]];
            let file = webp::animation(CANVAS, background, 0, &frames);
            let name = format!("webp-{}-{}.webp", name(one), name(two));
            cases.push(Case::animation("webp blend", name, file));
        }
    }
    cases
}

fn webp_details() -> Vec<Case> {
    let full = (0, 0, CANVAS.0, CANVAS.1);
    let frames = |times: [u32; 3]| -> Vec<WebpFrame> {
        let frame =
            |n: u32| WebpFrame { time: times[n as usize], ..WebpFrame::pattern(full, n, n == 1) };
        (0..3).map(frame).collect()
    };
    let mut cases = Vec::new();
    for loops in [0, 1, 2, 65_535] {
        let file = webp::animation(CANVAS, [0; 4], loops, &frames([100; 3]));
        cases.push(Case::animation("webp loops", format!("webp-loops-{loops}.webp"), file));
    }
    for times in
        [[0; 3], [1; 3], [10; 3], [11; 3], [11, 12, 14], [20, 0, 15], [16_777_215, 20, 16_777_215]]
    {
        let file = webp::animation(CANVAS, [0; 4], 0, &frames(times));
        let name = times.map(|time| time.to_string()).join("-");
        cases.push(Case::animation("webp delays", format!("webp-delays-{name}.webp"), file));
    }
    cases.extend(webp_containers(&frames([50; 3])));
    cases
}

/// Without a profile: Chromium ignores that of an animation, and Firefox does not.
fn webp_containers(frames: &[WebpFrame]) -> Vec<Case> {
    let part = WebpFrame::pattern((2, 2, 9, 8), 0, true);
    let head = |flags: u8| webp::extended(webp::ANIMATION | flags, CANVAS.0, CANVAS.1);
    let anim = webp::chunk(b"ANIM", &[0; 6]);
    let pixels = frames.iter().map(WebpFrame::chunk).collect::<Vec<_>>().concat();
    let exif = webp::chunk(b"EXIF", &Block::regular(6).bytes());
    let lossy = |stream: Stream, flags: u8| {
        let [width, height] = [png::WIDTH - 1, png::HEIGHT - 1].map(|side| [side as u8, 0, 0]);
        let head = [&[0; 6][..], &width, &height, &[50, 0, 0, flags]].concat();
        webp::chunk(b"ANMF", &[head, stream.bitstream()].concat())
    };
    let mut unknown = frames[1].chunk();
    let more = webp::chunk(b"what", b"abcd");
    let length = u32::from_le_bytes(unknown[4..8].try_into().unwrap()) + more.len() as u32;
    unknown[4..8].copy_from_slice(&length.to_le_bytes());
    unknown.extend(more);
    let beyond = WebpFrame { at: (12, 8), ..part.clone() };
    let twice: Vec<WebpFrame> =
        frames.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
    let lossy_head = webp::extended(webp::ANIMATION | webp::ALPHA, png::WIDTH, png::HEIGHT);
    let alpha = webp::ALPHA;
    let files = [
        ("one", webp::animation(CANVAS, [0; 4], 0, std::slice::from_ref(&part))),
        ("equal", webp::animation(CANVAS, [0; 4], 0, &twice)),
        ("no-alpha-flag", webp::riff(&[head(0), anim.clone(), pixels.clone()])),
        ("no-anim", webp::riff(&[head(alpha), pixels.clone()])),
        (
            "unknown-chunk",
            webp::riff(&[head(alpha), anim.clone(), frames[0].chunk(), unknown, part.chunk()]),
        ),
        (
            "unknown-between",
            webp::riff(&[
                head(alpha),
                anim.clone(),
                frames[0].chunk(),
                webp::chunk(b"what", b"x"),
                part.chunk(),
            ]),
        ),
        (
            "beyond-canvas",
            webp::riff(&[head(alpha), anim.clone(), frames[0].chunk(), beyond.chunk()]),
        ),
        (
            "lossy",
            webp::riff(&[
                lossy_head,
                anim.clone(),
                lossy(Stream::Lossy, 2),
                lossy(Stream::LossyAlpha, 0),
                lossy(Stream::LossyAlpha, 3),
                lossy(Stream::Lossy, 0),
            ]),
        ),
    ];
    let named = |(name, file): (&str, Vec<u8>)| {
        let case = Case::animation("webp animation container", format!("webp-{name}.webp"), file);
        Case { tolerance: MANAGED, ..case }
    };
    let turned = webp::riff(&[head(alpha | webp::EXIF), anim, pixels, exif]);
    let turned = Case::animation("webp animation container", "webp-turned.webp".to_owned(), turned);
    let turned = turned.with(Fault::IgnoresOrientation(6));
    files.into_iter().map(named).chain([turned]).collect()
}

/// The same originals as still images, and as GIFs.
fn as_other_formats(cases: &[Case]) -> Vec<Case> {
    let details = cases
        .iter()
        .filter(|case| case.kind.ends_with("detail") || case.kind.ends_with("container"));
    let mut others = Vec::new();
    for case in details {
        let kind = |to: &str| format!("{} to {to}", case.kind);
        others.push(Case { kind: kind("PNG"), query: "f=png", how: As::Element, ..case.clone() });
        if case.kind.starts_with("gif") {
            others.push(Case { kind: kind("GIF"), query: "f=gif", ..case.clone() });
        }
    }
    others
}
