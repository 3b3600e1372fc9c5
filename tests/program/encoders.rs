//! The settings of the encoders, by the bytes of results, and originals that replace larger results.

use image::{GrayImage, Luma};

use crate::support::directory::Directory;
use crate::support::images::{self, Image, holds};
use crate::support::server::{Server, data};

fn example(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/examples/images/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A comment that no result may contain.
const SECRET: &[u8] = b"the photographer's address";

fn with_comment(jpeg: &[u8]) -> Vec<u8> {
    let length = u16::try_from(SECRET.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xfe], &length, SECRET, &jpeg[2..]].concat()
}

#[test]
fn an_original_without_metadata_replaces_a_larger_result() {
    // 600 × 400.
    let photo = image::DynamicImage::from(Image::decode(&data("orient-1.jpg")).pixels).into_rgb8();
    let plain = images::jpeg(photo);
    let originals = [
        ("plain.jpg", plain.clone()),
        ("trailing.jpg", [&plain[..], SECRET].concat()),
        ("comment.jpg", with_comment(&plain)),
        ("upright.jpg", data("orient-1.jpg")),
        ("turned.jpg", data("orient-6.jpg")),
        ("gps.jpg", data("gps.jpg")),
        ("a.webp", example("seedling.webp")),
        ("a.gif", example("anim.gif")),
    ];
    let directory = Directory::new();
    for (name, bytes) in &originals {
        directory.put(name, bytes);
    }
    let server = Server::with_handler(directory.handler());
    for (name, query, is_original) in [
        ("plain.jpg", "q=100", true),
        ("plain.jpg", "q=100&w=600&h=400", true),
        ("plain.jpg", "q=100&w=900", true),
        ("plain.jpg", "q=100&f=jpg&bg=000000", true),
        ("plain.jpg", "q=100&w=600&h=400&pad=true", true),
        ("plain.jpg", "q=20", false),
        ("plain.jpg", "q=100&f=webp", false),
        ("plain.jpg", "q=100&w=599", false),
        ("plain.jpg", "q=100&w=900&e=true", false),
        ("plain.jpg", "q=100&w=300&h=400", false),
        ("plain.jpg", "q=100&rot=180", false),
        ("plain.jpg", "q=100&flip=h", false),
        ("plain.jpg", "q=100&blur=1", false),
        ("plain.jpg", "q=100&sharp=1", false),
        ("plain.jpg", "q=100&trim=10", false),
        ("plain.jpg", "q=100&strip=false", false),
        ("plain.jpg", "q=100&w=610&h=400&pad=true", false),
        // An original with metadata, or bytes after its end, is encoded, even if the result is larger.
        ("trailing.jpg", "q=100", false),
        ("comment.jpg", "q=100", false),
        ("upright.jpg", "q=100", false),
        ("turned.jpg", "q=100", false),
        ("gps.jpg", "q=100", false),
        ("a.webp", "q=100", true),
        ("a.webp", "q=100&h=100", false),
        ("a.gif", "frames=2", false),
    ] {
        let target = format!("/h/{name}?{query}");
        let answer = server.get(&target).ok();
        let original = &originals.iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!(answer.body == *original, is_original, "{target}");
        for absent in [SECRET, b"Exif", b"GPS"] {
            assert!(!holds(&answer.body, absent), "{target}: {}", absent.escape_ascii());
        }
    }
}

#[test]
fn a_broken_original_does_not_replace_a_result() {
    // The chunks are well-formed, but their data can't be decompressed.
    let mut broken = example("transparent.png");
    let middle = broken.len() / 2;
    broken[middle..middle + 64].fill(0);
    let directory = Directory::new().with("a.png", &broken);
    let server = Server::with_handler(directory.handler());
    server.get("/h/a.png").failed("corrupt_image");
}

#[test]
fn the_same_q_takes_fewer_bytes_in_newer_formats() {
    let directory = Directory::new().with("a.jpg", &example("photo.jpg"));
    let server = Server::with_handler(directory.handler());
    for q in [50, 75, 85, 95] {
        let bytes =
            |format: &str| server.get(&format!("/h/a.jpg?w=400&q={q}&f={format}")).ok().body.len();
        // WebP and AVIF are as similar to the original as JPEG, by different measures.
        let (jpeg, webp, avif) = (bytes("jpg"), bytes("webp"), bytes("avif"));
        assert!(webp < jpeg && avif < jpeg, "q={q}: {jpeg}, {webp}, {avif}");
    }
}

#[test]
fn a_large_jpeg_is_progressive_and_a_small_one_is_not() {
    let directory = Directory::new().with("a.jpg", &example("photo.jpg"));
    let server = Server::with_handler(directory.handler());
    for (query, is_progressive) in [("q=50", true), ("w=1000", false), ("w=100", false)] {
        let body = server.get(&format!("/h/a.jpg?{query}")).ok().body;
        // A frame header of 17 bytes: SOF2 or SOF0 (T.81 table B.1).
        assert_eq!(holds(&body, b"\xff\xc2\0\x11\x08"), is_progressive, "{query}");
        assert_eq!(holds(&body, b"\xff\xc0\0\x11\x08"), !is_progressive, "{query}");
    }
}

#[test]
fn a_jpeg_has_no_density() {
    // The encoder of the tests writes no density: the unit 0, and 1 by 1. This is changed to 300 by 150 dpi.
    let mut original = images::jpeg(images::gradient(40, 30));
    assert!(original.starts_with(b"\xff\xd8\xff\xe0\0\x10JFIF\0"));
    original[13..18].copy_from_slice(&[1, 1, 44, 0, 150]);
    let directory = Directory::new().with("a.jpg", &original);
    let server = Server::with_handler(directory.handler());
    for query in ["w=20", "w=20&strip=false", "w=20&f=jpg&rot=90"] {
        let body = server.get(&format!("/h/a.jpg?{query}")).ok().body;
        assert_eq!(
            body[..20],
            *b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
            "{query}"
        );
    }
}

#[test]
fn a_resized_gif_keeps_its_frames_and_has_one_palette() {
    let directory = Directory::new().with("a.gif", &data("anim.gif"));
    let server = Server::with_handler(directory.handler());
    let answer = server.get("/h/a.gif?w=100").ok();
    // With a palette per frame it is half as large again.
    assert!(answer.body.len() < 45_000, "{}", answer.body.len());
    let small = Image::decode(&answer.body);
    let whole = Image::decode(&data("anim.gif"));
    assert_eq!(small.frames.len(), 42);
    for (small, whole) in small.frames.iter().zip(&whole.frames) {
        assert_eq!(small.1, whole.1, "delay");
        for (x, y) in [(3, 3), (50, 50), (97, 97)] {
            let one = images::colour_at(&small.0, x, y);
            let other = images::colour_at(&whole.0, x, y);
            assert!(images::within(one, [other[0], other[1], other[2]], 24), "{one:?}, {other:?}");
        }
    }
}

/// No pair of neighbours repeats within 4096 pixels (a de Bruijn sequence of 64 tones), so that LZW writes a code for
/// each pixel and fills its dictionary repeatedly.
fn incompressible(width: u32, height: u32) -> GrayImage {
    let mut tones = Vec::new();
    for first in 0..64 {
        tones.push(first);
        tones.extend((first + 1..64).flat_map(|second| [first, second]));
    }
    GrayImage::from_fn(width, height, |x, y| {
        Luma([tones[(y * width + x) as usize % tones.len()] * 4])
    })
}

#[test]
fn an_incompressible_gif_is_encoded_completely() {
    // The code table is cleared ten times.
    let image = incompressible(202, 201);
    let directory = Directory::new().with("a.png", &images::png(image.clone()));
    let server = Server::with_handler(directory.handler());
    let renderer = server.renderer();
    let written = Image::decode(&server.get("/h/a.png?f=gif").ok().body);
    for (x, y, tone) in image.enumerate_pixels() {
        let found = written.pixels.get_pixel(x, y).0;
        assert!(found[0].abs_diff(tone.0[0]) <= 1, "{x}, {y}: {found:?} is not {tone:?}");
    }
    assert_eq!(server.renderer(), renderer, "the renderer is the same process");
}
