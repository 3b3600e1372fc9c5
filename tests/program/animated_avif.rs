//! Originals that are animated AVIFs: image sequences of avifenc, ffmpeg and Pillow, and of the server.

use image::{Rgba, RgbaImage};
use serde_json::json;

use crate::support::directory::Directory;
use crate::support::images::{self, BLUE, GREEN, Image, RED, WHITE, within};
use crate::support::merged;
use crate::support::server::{Server, data};

/// The times of the frames of animated-lossless.avif in milliseconds.
const TIMES: [u32; 8] = [40, 50, 60, 70, 80, 90, 100, 110];

/// A frame of animated-lossless.avif: `moving` of generate-avif.py.
fn moving(frame: u32) -> RgbaImage {
    RgbaImage::from_fn(32, 24, |x, y| {
        let is_inside = (2 * frame..2 * frame + 8).contains(&x) && (frame..frame + 8).contains(&y);
        let outside = [8 * x as u8, 10 * y as u8, 99, 255];
        Rgba(if is_inside { [250, 20 * frame as u8, 30, 128] } else { outside })
    })
}

#[track_caller]
fn expect_frames(body: &[u8], frames: std::ops::Range<u32>, what: &str) {
    let image = Image::decode(body);
    assert_eq!(image.frames.len(), frames.len(), "{what}");
    for ((found, time), number) in image.frames.iter().zip(frames) {
        assert_eq!(*time, TIMES[number as usize], "{what}: frame {number}");
        assert!(*found == moving(number), "{what}: frame {number}");
    }
}

#[test]
fn frames_times_and_loops_of_an_avif_are_kept() {
    let directory = Directory::new().with("a.avif", &data("animated-lossless.avif"));
    // Three plays: 1830 of 610 ms, in the headers of both tracks (ISO/IEC 14496-12 §8.3.2).
    let mut thrice = data("animated-loop.avif");
    let tracks = thrice.windows(4).enumerate().filter(|(_, name)| *name == b"tkhd");
    for at in tracks.map(|(at, _)| at).collect::<Vec<_>>() {
        thrice[at + 32..at + 40].copy_from_slice(&1830_u64.to_be_bytes());
    }
    directory.put("thrice.avif", &thrice);
    directory.put("ever.avif", &data("animated-loop.avif"));
    directory.put("hidden.avif", &data("animated-hidden.avif"));
    let server = Server::with_handler(directory.handler());

    let webp = server.get("/h/a.avif?f=webp&lossless=true").ok().body;
    expect_frames(&webp, 0..8, "WebP");
    let gif = Image::decode(&server.get("/h/a.avif?f=gif").ok().body);
    assert_eq!(gif.frames.iter().map(|(_, time)| *time).collect::<Vec<_>>(), TIMES);
    let avif = server.get("/h/a.avif?lossless=true").ok().body;
    assert_eq!((images::avif_times(&avif), images::avif_has_alpha(&avif)), (TIMES.to_vec(), true));
    directory.put("again.avif", &avif);
    let webp = server.get("/h/again.avif?f=webp&lossless=true").ok().body;
    expect_frames(&webp, 0..8, "AVIF of the server");

    // GIF counts repetitions, and WebP counts how often it is shown.
    for (name, in_gif, in_webp) in [("thrice", 2, 3), ("ever", 0, 0), ("a", 0, 0)] {
        let shown = |format: &str| {
            Image::decode(&server.get(&format!("/h/{name}.avif?f={format}")).ok().body).shown
        };
        assert_eq!((shown("gif"), shown("webp")), (Some(in_gif), Some(in_webp)), "{name}");
    }
    directory.put("thrice-again.avif", &server.get("/h/thrice.avif?w=8").ok().body);
    let again = Image::decode(&server.get("/h/thrice-again.avif?f=webp").ok().body);
    assert_eq!((again.shown, again.frames.len(), again.size()), (Some(3), 3, (8, 6)));

    // A bar that moves by four pixels; frames that are not shown are between them.
    let bars = Image::decode(&server.get("/h/hidden.avif?f=webp&lossless=true").ok().body);
    assert_eq!(bars.frames.len(), 12);
    for (number, (frame, time)) in (0..).zip(&bars.frames) {
        let is_white = |x: u32| frame.get_pixel(x, 20).0[0] > 250;
        let whites: Vec<u32> = (0..64).filter(|x| is_white(*x)).collect();
        assert_eq!((whites, *time), ((4 * number..4 * number + 8).collect(), 40), "{number}");
    }
}

#[test]
fn frames_of_an_avif_are_selected_and_others_not_needed() {
    let whole = data("animated-lossless.avif");
    // Without the last byte, and with a frame of no meaning.
    let cut = &whole[..whole.len() - 1];
    let mut damaged = whole.clone();
    let (start, length) = colour_sample(&whole, 5);
    damaged[start..start + length].fill(0xff);
    let directory = Directory::new()
        .with("a.avif", &whole)
        .with("cut.avif", cut)
        .with("damaged.avif", &damaged);
    let server = Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), json!({"name": "lenient", "fail_on": "none"})),
    ]}));
    let get = |target: &str| server.get(&format!("/{target}"));
    for (query, frames) in
        [("page=3&frames=2", 3..5), ("page=7", 7..8), ("frames=1", 0..1), ("page=4", 4..8)]
    {
        let body = get(&format!("h/a.avif?f=webp&lossless=true&{query}")).ok().body;
        match frames.len() {
            // A still image has no time.
            1 => assert!(Image::decode(&body).pixels == moving(frames.start), "{query}"),
            _ => expect_frames(&body, frames, query),
        }
    }
    for page in [0, 1, 6] {
        let png = get(&format!("h/a.avif?f=png&page={page}")).ok().body;
        assert!(Image::decode(&png).pixels == moving(page), "{page}");
    }
    get("h/a.avif?f=png&page=8").failed("page_missing");

    for (name, broken) in [("cut", 7), ("damaged", 5)] {
        // What is decoded is whole.
        let png = get(&format!("h/{name}.avif?f=png")).ok().body;
        assert!(Image::decode(&png).pixels == moving(0), "{name}");
        let target = format!("h/{name}.avif?f=webp&lossless=true&frames={broken}");
        expect_frames(&get(&target).ok().body, 0..broken, name);
        for query in ["f=webp", "f=gif&w=9", "", &format!("f=png&page={broken}")] {
            get(&format!("h/{name}.avif?{query}")).failed("corrupt_image");
        }
        // The frame before it stays.
        let target = format!("lenient/{name}.avif?f=webp&lossless=true");
        let frames = Image::decode(&get(&target).ok().body).frames;
        assert!(frames[broken as usize - 1].0 == moving(broken - 1));
        let times: Vec<u32> = frames.iter().map(|(_, time)| *time).collect();
        match times.len() {
            8 => assert!(frames[broken as usize].0 == moving(broken - 1)),
            // Equal frames may be joined.
            _ => assert_eq!(times.iter().sum::<u32>(), TIMES.iter().sum::<u32>()),
        }
        let png = get(&format!("lenient/{name}.avif?f=png&page={broken}")).ok().body;
        assert!(Image::decode(&png).pixels == moving(broken - 1), "{name}");
    }
    directory.put("none.avif", &whole[..colour_sample(&whole, 0).0 + 5]);
    for handler in ["h", "lenient"] {
        get(&format!("{handler}/none.avif?f=png")).failed("corrupt_image");
    }
}

/// Start and length of a frame in a file whose first track has one chunk.
fn colour_sample(file: &[u8], number: usize) -> (usize, usize) {
    let at = |name: &[u8]| file.windows(4).position(|window| window == name).unwrap();
    let number_at = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let sizes = at(b"stsz") + 16;
    let size = |number: usize| number_at(sizes + 4 * number);
    (number_at(at(b"stco") + 12) + (0..number).map(size).sum::<usize>(), size(number))
}

#[test]
fn every_frame_of_an_avif_is_transformed_by_its_boxes() {
    let directory = Directory::new()
        .with("a.avif", &data("animated-clap-irot.avif"))
        .with("deep.avif", &data("animated-10-bit.avif"))
        .with("premultiplied.avif", &data("premultiplied-animated.avif"));
    let server = Server::with_handler(directory.handler());
    let quarters = [RED, GREEN, BLUE, WHITE];
    for (query, size) in [("", (30, 40)), ("&w=15", (15, 20)), ("&crop=0:0:1:1", (30, 40))] {
        let target = format!("/h/a.avif?f=webp&lossless=true{query}");
        let image = Image::decode(&server.get(&target).ok().body);
        assert_eq!((image.size(), image.frames.len()), (size, 3), "{target}");
        for (shift, (frame, _)) in image.frames.iter().enumerate() {
            // The window starts at 20, 14 and is turned counterclockwise: the quarters meet at 10, 28 of 30 × 40.
            for ((x, y), place) in [((15, 85), 0), ((15, 20), 1), ((70, 85), 2), ((70, 20), 3)] {
                let (found, expected) =
                    (images::colour_at(frame, x, y), quarters[(place + 4 - shift) % 4]);
                assert!(within(found, expected, 8), "{target} {shift} {place}: {found:?}");
            }
        }
    }
    let deep = Image::decode(&server.get("/h/deep.avif?f=webp&lossless=true").ok().body);
    assert_eq!(deep.frames.iter().map(|(_, time)| *time).collect::<Vec<_>>(), [67, 166, 34]);
    for (shift, (frame, _)) in deep.frames.iter().enumerate() {
        for (place, (x, y)) in [(25, 25), (75, 25), (25, 75), (75, 75)].into_iter().enumerate() {
            let from = (place + 4 - shift) % 4;
            let found = images::colour_at(frame, x, y);
            let alpha: u8 = [255, 192, 128, 0][from];
            assert!(found[3].abs_diff(alpha) <= 2, "{shift} {place}: {found:?}");
            assert!(alpha == 0 || within(found, quarters[from], 6), "{shift} {place}: {found:?}");
        }
    }
    let divided =
        Image::decode(&server.get("/h/premultiplied.avif?f=webp&lossless=true").ok().body);
    for (frame, _) in &divided.frames {
        let found = images::colour_at(frame, 25, 75);
        assert!(within(found, [120, 200, 60], 5) && found[3].abs_diff(128) <= 1, "{found:?}");
    }
}

/// The mean difference of samples.
fn difference(one: &RgbaImage, other: &RgbaImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one.iter().zip(other.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len() as f64
}

#[test]
fn frames_of_an_avif_are_resized_and_converted_as_still_images() {
    // Other primaries, in the sample entry of the pictures and in the still image.
    let mut wide = data("animated-lossless.avif");
    let colours = wide.windows(6).enumerate().filter(|(_, bytes)| *bytes == b"nclx\0\x01");
    for at in colours.map(|(at, _)| at).collect::<Vec<_>>() {
        wide[at + 5] = 12;
    }
    let directory = Directory::new()
        .with("gif.gif", &data("anim.gif"))
        .with("wide.avif", &wide)
        .with("bars.avif", &data("animated-hidden.avif"))
        .with("deep.avif", &data("animated-10-bit.avif"))
        .with("plain.avif", &data("animated-lossless.avif"));
    let server = Server::with_handler(directory.handler());
    let decoded = |target: &str| Image::decode(&server.get(target).ok().body);
    for name in ["wide", "bars", "deep"] {
        for query in ["", "&w=16", "&w=5&h=9&g=ne", "&crop=3:2:20:15&w=10", "&rot=90&trim=20"] {
            let all = decoded(&format!("/h/{name}.avif?f=webp&lossless=true{query}"));
            let first = decoded(&format!("/h/{name}.avif?f=webp&lossless=true&frames=1{query}"));
            assert!(all.frames.len() > 1, "{name}{query}");
            // The border of one frame is not that of all. Several frames are resized in another order.
            if !query.contains("trim") {
                let difference = difference(&all.pixels, &first.pixels);
                let most = if query.is_empty() { 0.0 } else { 1.0 };
                assert!(difference <= most, "{name}{query}: {difference}");
            }
        }
    }
    assert!(decoded("/h/wide.avif?f=png").pixels != decoded("/h/plain.avif?f=png").pixels);

    // The same frames in a GIF, which is decoded in another way.
    directory.put("a.avif", &server.get("/h/gif.gif?f=avif&lossless=true").ok().body);
    for query in ["", "&w=60", "&w=100&h=40", "&crop=40:40:100:100&w=50", "&w=300&e=true"] {
        let [one, other] = ["a.avif", "gif.gif"]
            .map(|name| decoded(&format!("/h/{name}?f=webp&lossless=true{query}")));
        let total = |image: &Image| image.frames.iter().map(|(_, time)| *time).sum::<u32>();
        assert_eq!((one.size(), total(&one)), (other.size(), total(&other)), "{query}");
        assert_eq!(one.frames.len(), other.frames.len(), "{query}");
        for ((one, _), (other, _)) in one.frames.iter().zip(&other.frames) {
            let difference = difference(one, other);
            assert!(difference < 2.0, "{query}: {difference}");
        }
    }
}

#[test]
fn frames_of_an_avif_are_limited_before_they_are_decoded() {
    let directory = Directory::new().with("a.avif", &data("animated-lossless.avif"));
    for (limits, error) in [
        (json!({"source_max_frames": 7}), "too_many_frames"),
        (json!({"source_max_total_pixels": 8 * 32 * 24 - 1}), "animation_too_large"),
        (json!({"result_max_pixels": 8 * 32 * 24 - 1}), "result_too_large"),
    ] {
        let server = Server::start(json!({"handlers": [directory.handler()], "limits": limits}));
        for format in ["webp", "gif", "avif"] {
            server.get(&format!("/h/a.avif?f={format}")).failed(error);
            server.get(&format!("/h/a.avif?f={format}&frames=7")).ok();
            server.get(&format!("/h/a.avif?f={format}&page=1&frames=6")).ok();
        }
        if error != "result_too_large" {
            server.get("/h/a.avif?f=png&page=7").failed(error);
        }
        server.get("/h/a.avif?f=png").ok();
        server.get("/h/a.avif?f=jpg").ok();
    }
}
