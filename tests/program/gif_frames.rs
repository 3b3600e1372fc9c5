//! GIF frames are composed as browsers do, and delays survive every conversion. tests/data/generate-gif.py makes the
//! files, and asks Chromium what it shows of them.

use image::{Rgba, RgbaImage};
use serde_json::json;

use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::images::{self, Image};
use crate::support::merged;
use crate::support::server::{Server, data};

/// File, how its data ends, the canvas after each frame.
fn manifest() -> Vec<(String, String, Vec<String>)> {
    let text = String::from_utf8(data("gif/MANIFEST.tsv")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, end, canvases] = fields[..] else { panic!("{line}") };
            (name.into(), end.into(), canvases.split(' ').map(str::to_owned).collect())
        })
        .collect()
}

fn letters(frame: &RgbaImage) -> String {
    let colours = [
        ('W', [255; 3]),
        ('R', [255, 0, 0]),
        ('G', [0, 255, 0]),
        ('B', [0, 0, 255]),
        ('K', [0; 3]),
    ];
    let letter = |pixel: &Rgba<u8>| match pixel.0 {
        [_, _, _, 0] => '.',
        [_, _, _, 255] => {
            // The decoder of WebP here rounds when it draws a frame on another.
            let found = colours.iter().find(|(_, colour)| images::within(pixel.0, *colour, 2));
            found.map_or('?', |(letter, _)| *letter)
        }
        _ => '?',
    };
    let rows = frame.rows().map(|row| row.map(letter).collect());
    rows.collect::<Vec<String>>().join("|")
}

/// Canvases one after the other; encoders may join equal ones.
fn shown(body: &[u8]) -> Vec<String> {
    let mut shown: Vec<String> =
        Image::decode(body).frames.iter().map(|(frame, _)| letters(frame)).collect();
    shown.dedup();
    shown
}

fn flip(canvas: &str) -> String {
    let rows = canvas.split('|').map(|row| row.chars().rev().collect());
    rows.collect::<Vec<String>>().join("|")
}

fn handlers(directory: &Directory) -> Server {
    Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), json!({"name": "lenient", "fail_on": "none"})),
        merged(directory.handler(), json!({"name": "strict", "fail_on": "error"})),
    ]}))
}

#[test]
fn frames_are_composed_as_browsers_do() {
    let directory = Directory::new();
    for (name, ..) in manifest() {
        directory.put(&name, &data(&format!("gif/{name}")));
    }
    let server = handlers(&directory);
    let again = Directory::new();
    let second = Server::with_handler(merged(again.handler(), json!({"cache_time": -1})));
    let mut client = server.client();
    let mut second_client = second.client();
    for (name, end, mut canvases) in manifest() {
        let handlers: &[(&str, bool)] = match &*end {
            "ok" => &[("strict", true)],
            "short" => &[("h", true), ("lenient", true), ("strict", false)],
            _ => &[("h", false), ("lenient", true), ("strict", false)],
        };
        for (handler, is_shown) in handlers {
            for (number, canvas) in canvases.iter().enumerate() {
                let target = format!("/{handler}/{name}?f=png&page={number}");
                let answer = client.get(&target);
                // The frames up to the requested one may be whole.
                if *is_shown || answer.status == 200 {
                    let body = answer.ok().body.clone();
                    assert_eq!(letters(&Image::decode(&body).pixels), *canvas, "{target}");
                } else {
                    answer.failed("corrupt_image");
                }
            }
        }
        canvases.dedup();
        // A result that is flipped is not replaced by the original.
        let flipped: Vec<String> = canvases.iter().map(|canvas| flip(canvas)).collect();
        for (handler, is_shown) in handlers {
            let gif = client.get(&format!("/{handler}/{name}?f=gif&flip=h"));
            let webp = client.get(&format!("/{handler}/{name}?f=webp&lossless=true"));
            if *is_shown {
                assert_eq!(shown(&gif.ok().body), flipped, "{name}");
                again.put(&name, &webp.ok().body);
                assert_eq!(shown_by(&mut second_client, &name), canvases, "{name}");
            } else {
                gif.failed("corrupt_image");
                webp.failed("corrupt_image");
            }
        }
    }
}

/// The canvases of a WebP. The decoder of these tests does not clear frames that are disposed to the background.
fn shown_by(client: &mut Client, name: &str) -> Vec<String> {
    let mut shown = Vec::new();
    loop {
        let answer = client.get(&format!("/h/{name}?f=png&page={}", shown.len()));
        if answer.status != 200 {
            answer.failed("page_missing");
            return shown;
        }
        shown.push(letters(&Image::decode(&answer.body).pixels));
    }
}

#[test]
fn a_cleared_area_is_transparent_at_every_size() {
    // Each pixel of the canvas is a square of 20 × 20.
    let large = |canvas: &str| {
        let rows: Vec<&[u8]> = canvas.split('|').map(str::as_bytes).collect();
        RgbaImage::from_fn(80, 80, |x, y| match rows[y as usize / 20][x as usize / 20] {
            b'R' => Rgba([255, 0, 0, 255]),
            b'G' => Rgba([0, 255, 0, 255]),
            _ => Rgba([0; 4]),
        })
    };
    let canvases = [
        "RRRR|RRRR|RRRR|RRRR",
        "RRRR|RGGR|RGGR|RRRR",
        "RRRR|R..R|R..R|RRRR",
        "....|....|....|RRRR",
    ];
    let frames: Vec<(RgbaImage, u32)> =
        canvases.iter().map(|canvas| (large(canvas), 100)).collect();
    let directory = Directory::new().with("a.gif", &images::animated_gif(&frames));
    let server = Server::with_handler(directory.handler());
    let again = Directory::new();
    again.put("a.webp", &server.get("/h/a.gif?f=webp&lossless=true").ok().body);
    again.put("a.gif", &server.get("/h/a.gif?f=gif&w=79").ok().body);
    let second = Server::with_handler(again.handler());
    for (server, source) in [(&server, "a.gif"), (&second, "a.webp"), (&second, "a.gif")] {
        for query in ["w=40", "w=23&h=31&c=false", "w=160&e=true", "w=40&h=20&rot=180&flip=v"] {
            for format in ["gif", "webp&q=100"] {
                let target = format!("/h/{source}?f={format}&{query}");
                let image = Image::decode(&server.get(&target).ok().body);
                assert_eq!(image.frames.len(), 4, "{target}");
                let visible: Vec<bool> = image
                    .frames
                    .iter()
                    .map(|(frame, _)| images::colour_at(frame, 50, 50)[3] > 127)
                    .collect();
                assert_eq!(visible, [true, true, false, false], "{target}");
                let corner = images::colour_at(&image.frames[2].0, 10, 50);
                assert!(images::within(corner, [255, 0, 0], 16), "{target}: {corner:?}");
            }
        }
    }
}

/// An animation in WebP with these delays in milliseconds.
fn webp(delays: &[u32]) -> Vec<u8> {
    let frames: Vec<(RgbaImage, u32)> = (0..delays.len())
        .map(|n| (RgbaImage::from_pixel(8, 8, Rgba([n as u8 * 20, 99, 7, 255])), 100))
        .collect();
    let directory = Directory::new().with("a.gif", &images::animated_gif(&frames));
    let server = Server::with_handler(directory.handler());
    let mut bytes = server.get("/h/a.gif?f=webp&lossless=true").ok().body.clone();
    // RFC 9649 §2.7.1.1: the duration follows 12 bytes of the frame's position and size.
    let mut delays = delays.iter();
    for at in 0..bytes.len() - 4 {
        if bytes[at..].starts_with(b"ANMF") {
            let delay = delays.next().unwrap().to_le_bytes();
            bytes[at + 20..at + 23].copy_from_slice(&delay[..3]);
        }
    }
    assert_eq!(delays.len(), 0);
    bytes
}

fn delays(body: &[u8]) -> Vec<u32> {
    Image::decode(body).frames.iter().map(|(_, delay)| *delay).collect()
}

#[test]
fn delays_that_gif_can_not_hold_are_carried_over() {
    let cases: [(&[u32], &[u32]); 6] = [
        (&[11, 12, 14, 11], &[20, 20, 20, 20]),
        (&[33, 33, 34, 33, 33, 34], &[30, 40, 30, 30, 40, 30]),
        (&[25, 25, 25, 25], &[30, 20, 30, 20]),
        (&[0, 10, 5, 100], &[0, 10, 10, 100]),
        (&[16_777_215, 40, 40], &[655_350, 40, 40]),
        (&[655_354, 1000, 14], &[655_350, 1000, 20]),
    ];
    let directory = Directory::new();
    for (number, (from, _)) in cases.iter().enumerate() {
        directory.put(&format!("{number}.webp"), &webp(from));
    }
    let server = Server::with_handler(directory.handler());
    for (number, (from, to)) in cases.iter().enumerate() {
        for query in ["f=gif", "f=gif&w=5"] {
            let body = server.get(&format!("/h/{number}.webp?{query}")).ok().body;
            assert_eq!(delays(&body), *to, "{from:?}");
        }
    }
    // The delays of the requested frames.
    let body = server.get("/h/1.webp?f=gif&page=2&frames=3").ok().body;
    assert_eq!(delays(&body), [30, 40, 30]);
}

#[test]
fn delays_of_a_gif_are_exact() {
    let frames: Vec<(RgbaImage, u32)> = [0, 10, 20, 30, 70, 655_350]
        .iter()
        .enumerate()
        .map(|(n, delay)| (RgbaImage::from_pixel(8, 8, Rgba([n as u8 * 20, 99, 7, 255])), *delay))
        .collect();
    let directory = Directory::new().with("a.gif", &images::animated_gif(&frames));
    let server = Server::with_handler(directory.handler());
    for query in ["w=5", "rot=90", "w=16&e=true"] {
        let gif = server.get(&format!("/h/a.gif?f=gif&{query}")).ok().body;
        assert_eq!(delays(&gif), [0, 10, 20, 30, 70, 655_350], "{query}");
        // libwebp's caller writes 100 ms where browsers show them.
        let webp = server.get(&format!("/h/a.gif?f=webp&{query}")).ok().body;
        assert_eq!(delays(&webp), [100, 100, 20, 30, 70, 655_350], "{query}");
    }
    let part = server.get("/h/a.gif?f=gif&page=3&frames=2&w=5").ok().body;
    assert_eq!(delays(&part), [30, 70]);
}

#[test]
fn the_longest_animation_does_not_overflow() {
    // 4000 times 655,350 ms are more than 31 bits of milliseconds.
    let frame =
        |n: u32| (RgbaImage::from_pixel(2, 2, Rgba([n as u8, (n / 256) as u8, 7, 255])), 655_350);
    let frames: Vec<(RgbaImage, u32)> = (0..4000).map(frame).collect();
    let directory = Directory::new().with("a.gif", &images::animated_gif(&frames));
    let server = Server::with_limits(directory.handler(), json!({"source_max_frames": 5000}));
    for query in ["f=gif&w=1", "f=webp&w=1", "f=gif"] {
        server.get(&format!("/h/a.gif?{query}")).ok();
    }
}
