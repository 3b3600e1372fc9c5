//! Animations: partial frames, disposal, loops, and the edges of frames.

use image::{Rgba, RgbaImage};

use crate::support::directory::Directory;
use crate::support::images::{self, Image, MAGENTA, RED, WHITE, close, colour_at, within};
use crate::support::server::{Server, data};

/// A frame of a GIF (89a): its window, its colour (0 is transparent, 1 to 3 are red, green and blue), its disposal (1
/// keeps it, 2 clears it, 3 restores the canvas before it), and its delay in hundredths of a second.
#[derive(Clone, Copy)]
struct Part {
    window: (u16, u16, u16, u16),
    colour: u8,
    disposal: u8,
    time: u16,
}

const COLOURS: [[u8; 4]; 4] = [[0, 0, 0, 0], [255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]];

/// A GIF with this number of loops; `None` has no loop extension, and is shown once.
fn gif(width: u16, height: u16, shown: Option<u16>, parts: &[Part]) -> Vec<u8> {
    let mut out = b"GIF89a".to_vec();
    out.extend([width, height].into_iter().flat_map(u16::to_le_bytes));
    out.extend([0x81, 0, 0]);
    // The colour of transparent pixels, which must not be visible.
    out.extend(MAGENTA);
    out.extend(COLOURS[1..].iter().flat_map(|colour| &colour[..3]));
    if let Some(shown) = shown {
        out.extend(b"\x21\xff\x0bNETSCAPE2.0\x03\x01");
        out.extend(shown.to_le_bytes());
        out.push(0);
    }
    for part in parts {
        out.extend([0x21, 0xf9, 4, part.disposal << 2 | 1]);
        out.extend(part.time.to_le_bytes());
        out.extend([0, 0, 0x2c]);
        let (left, top, width, height) = part.window;
        out.extend([left, top, width, height].into_iter().flat_map(u16::to_le_bytes));
        out.extend([0, 2]);
        // Codes of three bits: a clear code before every second pixel, so that the code size never grows.
        let pixels = usize::from(width) * usize::from(height);
        let codes = (0..pixels)
            .flat_map(|n| (n % 2 == 0).then_some(4).into_iter().chain([part.colour]))
            .chain([5]);
        let mut bytes = Vec::new();
        let mut bits = 0_u32;
        let mut count = 0;
        for code in codes {
            bits |= u32::from(code) << count;
            count += 3;
            while count >= 8 {
                bytes.push(bits as u8);
                bits >>= 8;
                count -= 8;
            }
        }
        bytes.push(bits as u8);
        for block in bytes.chunks(255) {
            out.push(block.len() as u8);
            out.extend_from_slice(block);
        }
        out.push(0);
    }
    out.push(0x3b);
    out
}

/// The canvas after each frame.
fn compose(width: u32, height: u32, parts: &[Part]) -> Vec<RgbaImage> {
    let mut canvas = RgbaImage::new(width, height);
    let mut canvases = Vec::new();
    for part in parts {
        let before = canvas.clone();
        let (left, top, across, down) = part.window;
        let fill = |canvas: &mut RgbaImage, colour: [u8; 4]| {
            for y in top..top + down {
                for x in left..left + across {
                    canvas.put_pixel(x.into(), y.into(), Rgba(colour));
                }
            }
        };
        // Transparent pixels show the frame before.
        if part.colour != 0 {
            fill(&mut canvas, COLOURS[usize::from(part.colour)]);
        }
        canvases.push(canvas.clone());
        match part.disposal {
            2 => fill(&mut canvas, [0; 4]),
            3 => canvas = before,
            _ => {}
        }
    }
    canvases
}

const PARTS: [Part; 6] = [
    Part { window: (0, 0, 60, 40), colour: 1, disposal: 1, time: 10 },
    Part { window: (0, 0, 20, 20), colour: 2, disposal: 3, time: 20 },
    Part { window: (20, 20, 20, 20), colour: 3, disposal: 2, time: 30 },
    Part { window: (40, 0, 20, 40), colour: 2, disposal: 2, time: 40 },
    Part { window: (0, 0, 60, 40), colour: 0, disposal: 1, time: 50 },
    Part { window: (0, 20, 20, 20), colour: 3, disposal: 1, time: 60 },
];

#[track_caller]
fn expect_parts(body: &[u8], shown: Option<u32>, what: &str) {
    let image = Image::decode(body);
    let expected = compose(60, 40, &PARTS);
    assert_eq!(image.frames.len(), PARTS.len(), "{what}");
    assert_eq!(image.shown, shown, "{what}");
    for (n, ((frame, time), expected)) in image.frames.iter().zip(&expected).enumerate() {
        assert_eq!(*time, u32::from(PARTS[n].time) * 10, "{what}: frame {n}");
        for (x, y) in [(16, 25), (50, 25), (84, 25), (16, 75), (50, 75), (84, 75)] {
            let one = images::colour_at(frame, x, y);
            let other = images::colour_at(expected, x, y);
            assert_eq!(
                one[3] > 127,
                other[3] > 127,
                "{what}: frame {n} at {x} %, {y} %: {one:?} {other:?}"
            );
            let [r, g, b, alpha] = other;
            assert!(
                alpha == 0 || within(one, [r, g, b], 24),
                "{what}: frame {n} at {x} %, {y} %: {one:?} {other:?}"
            );
        }
    }
}

#[test]
fn disposal_delays_and_loops_are_kept_in_every_conversion() {
    let directory = Directory::new()
        .with("a.gif", &gif(60, 40, Some(0), &PARTS))
        .with("thrice.gif", &gif(60, 40, Some(3), &PARTS));
    let server = Server::with_handler(directory.handler());
    let again = Directory::new();
    // GIF counts repetitions, and WebP counts how often it is shown.
    let sources = [("a", [0, 0]), ("thrice", [3, 4])];
    for (name, [in_gif, in_webp]) in sources {
        for query in ["", "&w=30", "&w=120&h=80&e=true"] {
            for (format, shown) in [("gif", in_gif), ("webp", in_webp)] {
                let target = format!("/h/{name}.gif?f={format}&q=95{query}");
                expect_parts(&server.get(&target).ok().body, Some(shown), &target);
            }
        }
        again.put(
            &format!("{name}.webp"),
            &server.get(&format!("/h/{name}.gif?f=webp&q=100")).ok().body,
        );
    }
    let server = Server::with_handler(again.handler());
    for (name, [in_gif, in_webp]) in sources {
        for query in ["", "&w=30"] {
            for (format, shown) in [("gif", in_gif), ("webp", in_webp)] {
                let target = format!("/h/{name}.webp?f={format}&q=95{query}");
                expect_parts(&server.get(&target).ok().body, Some(shown), &target);
            }
        }
    }
}

#[test]
fn an_animated_avif_has_every_frame_and_its_time() {
    let directory = Directory::new()
        .with("a.gif", &gif(60, 40, Some(0), &PARTS))
        .with("one.gif", &gif(60, 40, Some(0), &PARTS[..1]));
    let server = Server::with_handler(directory.handler());
    for (query, count) in [("", 6), ("&w=30&q=95", 6), ("&lossless=true", 6), ("&frames=4", 4)] {
        let avif = server.get(&format!("/h/a.gif?f=avif{query}")).ok().body;
        let times: Vec<u32> = PARTS.iter().map(|part| u32::from(part.time) * 10).collect();
        assert_eq!(images::avif_times(&avif), times[..count], "{query}");
        assert!(images::avif_has_alpha(&avif), "{query}");
    }
    for still in ["/h/one.gif?f=avif", "/h/a.gif?f=avif&frames=1", "/h/a.gif?f=avif&page=5"] {
        assert!(images::avif_times(&server.get(still).ok().body).is_empty(), "{still}");
    }
    // It is an original as well.
    let again = Directory::new();
    again.put("a.avif", &server.get("/h/a.gif?f=avif&lossless=true").ok().body);
    let server = Server::with_handler(again.handler());
    let first = Image::decode(&server.get("/h/a.avif?f=png").ok().body);
    assert_eq!(first.size(), (60, 40));
    assert!(first.pixels == compose(60, 40, &PARTS)[0]);
    for format in ["webp", "gif"] {
        let target = format!("/h/a.avif?f={format}&q=95");
        expect_parts(&server.get(&target).ok().body, Some(0), &target);
    }
}

#[test]
fn an_animation_of_one_frame_is_a_still_image() {
    let directory = Directory::new()
        .with("one.gif", &gif(60, 40, Some(0), &PARTS[..1]))
        .with("part.gif", &gif(60, 40, None, &PARTS[1..2]));
    let server = Server::with_handler(directory.handler());
    for source in ["one", "part"] {
        for query in ["", "&w=30"] {
            let webp = server.get(&format!("/h/{source}.gif?f=webp{query}")).ok().body;
            assert!(
                !images::holds(&webp, b"ANIM") && !images::holds(&webp, b"ANMF"),
                "{source}{query}"
            );
            let gif = server.get(&format!("/h/{source}.gif?f=gif{query}")).ok().body;
            assert_eq!(Image::decode(&gif).frames.len(), 1);
        }
    }
    let part = Image::decode(&server.get("/h/part.gif?f=png&w=30").ok().body);
    assert!(
        within(part.at(10, 10), [0, 255, 0], 8) && part.at(80, 80)[3] == 0,
        "the rest of the canvas is transparent"
    );
    for pixel in part.pixels.pixels().filter(|pixel| pixel.0[3] >= 32) {
        assert!(within(pixel.0, [0, 255, 0], 8), "{pixel:?}");
    }
}

#[test]
fn frames_do_not_bleed_into_each_other() {
    let colours = [WHITE, RED, WHITE, RED, WHITE];
    let frames: Vec<(RgbaImage, u32)> = colours
        .map(|[r, g, b]| (RgbaImage::from_pixel(245, 245, Rgba([r, g, b, 255])), 100))
        .into();
    let directory = Directory::new().with("a.gif", &images::animated_gif(&frames));
    let server = Server::with_handler(directory.handler());
    for query in ["w=100", "w=99&h=40", "w=33", "w=300&e=true"] {
        for format in ["gif", "webp&q=100"] {
            let target = format!("/h/a.gif?{query}&f={format}");
            let answer = Image::decode(&server.get(&target).ok().body);
            assert_eq!(answer.frames.len(), 5);
            for (frame, colour) in answer.frames.iter().map(|(frame, _)| frame).zip(colours) {
                let [top, bottom] = [0, frame.height() - 1].map(|y| frame.get_pixel(5, y).0);
                assert!(
                    close(top, colour) && close(bottom, colour),
                    "{target}: {top:?} and {bottom:?}, not {colour:?}"
                );
            }
        }
    }
}

#[test]
fn g_smart_uses_the_window_of_the_first_frame_for_all() {
    // A red square on gray, at the right in the first frame and at the left in the others.
    let frame = |left: u32| {
        RgbaImage::from_fn(200, 100, |x, y| {
            let inside = (left..left + 30).contains(&x) && (35..65).contains(&y);
            Rgba(if inside { [230, 40, 30, 255] } else { [128, 128, 128, 255] })
        })
    };
    let directory = Directory::new().with(
        "a.gif",
        &images::animated_gif(&[(frame(150), 100), (frame(20), 100), (frame(30), 100)]),
    );
    let server = Server::with_handler(directory.handler());
    for format in ["gif", "webp&q=95"] {
        let answer =
            Image::decode(&server.get(&format!("/h/a.gif?w=60&h=60&g=smart&f={format}")).ok().body);
        let red =
            |frame: &RgbaImage| frame.pixels().filter(|pixel| pixel.0[0] > pixel.0[1] + 80).count();
        // The later frames are equal in the window, and may be stored as one.
        assert_eq!((answer.size(), answer.frames.len() > 1), ((60, 60), true));
        let counts: Vec<usize> = answer.frames.iter().map(|(frame, _)| red(frame)).collect();
        // 18 × 18 of it.
        assert!(
            counts[0] > 200 && counts[1..].iter().all(|count| *count == 0),
            "{format}: {counts:?}"
        );
    }
}

#[test]
fn only_the_first_frame_is_decoded_for_a_still_image() {
    // The file is truncated after the first frame.
    let whole = data("anim.gif");
    let directory = Directory::new().with("a.gif", &whole[..whole.len() / 2]);
    let server = Server::with_handler(directory.handler());
    let first = Image::decode(&server.get("/h/a.gif?f=png&w=100").ok().body);
    assert_eq!(first.size(), (100, 100));
}

#[test]
fn black_pixels_are_not_taken_for_transparent() {
    let frame = |is_opaque: bool| {
        let colour = move |x, y| {
            if is_opaque && x < 20 && y < 20 { Rgba([0, 0, 0, 255]) } else { Rgba([0; 4]) }
        };
        (RgbaImage::from_fn(40, 40, colour), 100)
    };
    let directory = Directory::new()
        .with("a.gif", &images::animated_gif(&[false, true, false, true].map(frame)));
    let server = Server::with_handler(directory.handler());
    for query in ["f=gif&w=39", "f=gif&w=20"] {
        let shown = Image::decode(&server.get(&format!("/h/a.gif?{query}")).ok().body);
        let opaque: Vec<bool> =
            shown.frames.iter().map(|(frame, _)| colour_at(frame, 20, 20)[3] > 127).collect();
        assert_eq!(opaque, [false, true, false, true], "{query}");
    }
}

/// The animated WebP with an EXIF block (RFC 9649 §2.7.1.5).
fn with_exif(webp: &[u8], block: &[u8]) -> Vec<u8> {
    let mut out = webp.to_vec();
    assert_eq!(out[12..16], *b"VP8X");
    out[20] |= 0x08;
    out.extend_from_slice(b"EXIF");
    out.extend((block.len() as u32).to_le_bytes());
    out.extend_from_slice(block);
    out.resize(out.len().next_multiple_of(2), 0);
    let size = (out.len() as u32 - 8).to_le_bytes();
    out[4..8].copy_from_slice(&size);
    out
}

#[test]
fn every_frame_of_an_animation_is_brought_upright() {
    let colours = [RED, WHITE, [0, 0, 255]];
    // The left half of each frame has its colour, and the right half is green.
    let frame = |[r, g, b]: [u8; 3]| {
        let pixel = move |x, _| if x < 30 { Rgba([r, g, b, 255]) } else { Rgba([0, 255, 0, 255]) };
        (RgbaImage::from_fn(60, 40, pixel), 80)
    };
    let directory = Directory::new().with("a.gif", &images::animated_gif(&colours.map(frame)));
    let server = Server::with_handler(directory.handler());
    let webp = server.get("/h/a.gif?f=webp&lossless=true").ok().body;
    directory.put("a.webp", &with_exif(&webp, &images::exif(6)));
    let queries = [
        ("f=webp&lossless=true", (40, 60), 3),
        ("f=gif", (40, 60), 3),
        ("f=webp&lossless=true&w=20", (20, 30), 3),
        ("f=webp&lossless=true&page=1", (40, 60), 2),
        ("f=png", (40, 60), 1),
    ];
    for (query, size, count) in queries {
        let target = format!("/h/a.webp?{query}");
        let shown = Image::decode(&server.get(&target).ok().body);
        assert_eq!((shown.size(), shown.frames.len()), (size, count), "{target}");
        let first = if query.contains("page=1") { 1 } else { 0 };
        for ((frame, time), colour) in shown.frames.iter().zip(&colours[first..]) {
            // A quarter turn clockwise takes the left to the top.
            let [top, bottom] = [10, 90].map(|y| colour_at(frame, 50, y));
            assert!(close(top, *colour), "{target}: {top:?}");
            assert!(close(bottom, [0, 255, 0]), "{target}: {bottom:?}");
            assert!(*time == 80 || count == 1, "{target}: {time} ms");
        }
    }
    // Rotated with the parameter as well, it is as stored.
    let shown = Image::decode(&server.get("/h/a.webp?f=webp&lossless=true&rot=270").ok().body);
    assert_eq!(shown.size(), (60, 40));
    assert!(close(colour_at(&shown.frames[2].0, 10, 50), [0, 0, 255]));
}
