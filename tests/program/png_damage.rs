//! PNGs with chunks that are damaged, repeated, or in a wrong place: shown as Chromium 156 shows them.

use image::{GrayImage, Luma, RgbImage};

use crate::support::directory::Directory;
use crate::support::icc::{self, Curve, Space};
use crate::support::images::{self, Image, within};
use crate::support::png_chunks::{self, chunk, damaged, with_chunks, with_damaged};
use crate::support::server::Server;

/// Stored, and with the exponent 1, of Display P3, and with the exponent 2.2, in sRGB.
const STORED: [[u8; 3]; 2] = [[60, 120, 200], [16, 40, 80]];
const LINEAR: [[u8; 3]; 2] = [[133, 183, 229], [71, 110, 152]];
const P3: [[u8; 3]; 2] = [[30, 122, 206], [5, 41, 83]];
const POWER: [[u8; 3]; 2] = [[57, 121, 201], [7, 35, 79]];

fn stored() -> RgbImage {
    images::columns(32, 16, &STORED)
}

fn space(space: &Space) -> Vec<u8> {
    png_chunks::profile(&icc::profile(space))
}

fn linear() -> Vec<u8> {
    space(&Space { curve: Curve::Power(1.0), ..icc::SRGB })
}

fn chromaticities(numbers: [u32; 8]) -> Vec<u8> {
    chunk(b"cHRM", numbers.map(u32::to_be_bytes).as_flattened())
}

#[test]
fn damaged_and_repeated_colour_chunks_do_not_count() {
    let (linear, p3) = (linear(), space(&icc::DISPLAY_P3));
    let gamma = |value: u32| chunk(b"gAMA", &value.to_be_bytes());
    let damaged_gamma = damaged(b"gAMA", &100_000_u32.to_be_bytes());
    let srgb_points =
        chromaticities([31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000]);
    // The compressed data without its first byte, with a wrong checksum, without one, and with more after it.
    let compressed = |change: fn(&mut Vec<u8>)| {
        let mut data = linear.clone();
        change(&mut data);
        chunk(b"iCCP", &data)
    };
    let profile = chunk(b"iCCP", &linear);
    let renamed = |name: &[u8]| chunk(b"iCCP", &[name, &linear[1..]].concat());
    let resized = |change: i32| {
        let mut profile = icc::profile(&Space { curve: Curve::Power(1.0), ..icc::SRGB });
        let length = (profile.len() as i32 + change).to_be_bytes();
        profile[..4].copy_from_slice(&length);
        chunk(b"iCCP", &png_chunks::profile(&profile))
    };
    let cases = [
        ("iCCP", vec![profile.clone()], LINEAR),
        ("iCCP, CRC", vec![damaged(b"iCCP", &linear)], STORED),
        ("iCCP, CRC, then another", vec![damaged(b"iCCP", &linear), chunk(b"iCCP", &p3)], P3),
        ("iCCP, then another", vec![profile.clone(), chunk(b"iCCP", &p3)], LINEAR),
        ("iCCP, then a damaged one", vec![profile.clone(), damaged(b"iCCP", &p3)], LINEAR),
        ("iCCP, CRC, and gAMA", vec![damaged(b"iCCP", &p3), gamma(100_000)], LINEAR),
        ("iCCP, checksum", vec![compressed(|data| *data.last_mut().unwrap() ^= 1)], STORED),
        ("iCCP, checksum missing", vec![compressed(|data| data.truncate(data.len() - 4))], STORED),
        ("iCCP, truncated", vec![compressed(|data| data.truncate(data.len() - 60))], STORED),
        ("iCCP, block", vec![compressed(|data| data[5] = 7)], STORED),
        ("iCCP, more", vec![compressed(|data| data.extend(b"more"))], LINEAR),
        ("iCCP, method", vec![compressed(|data| data[2] = 1)], STORED),
        ("iCCP, block, and gAMA", vec![compressed(|data| data[5] = 7), gamma(100_000)], LINEAR),
        ("iCCP, empty", vec![chunk(b"iCCP", b"")], STORED),
        ("iCCP, too long", vec![resized(8)], STORED),
        ("iCCP, too short", vec![resized(-8)], STORED),
        ("iCCP, long name", vec![renamed(&[b'p'; 80])], LINEAR),
        ("iCCP, spaces", vec![renamed(b" a  b ")], LINEAR),
        ("iCCP, no name", vec![renamed(b"")], STORED),
        ("gAMA", vec![gamma(100_000)], LINEAR),
        ("gAMA, CRC", vec![damaged_gamma.clone()], STORED),
        ("gAMA, CRC, then another", vec![damaged_gamma, gamma(100_000)], LINEAR),
        ("gAMA, then another", vec![gamma(100_000), gamma(45_455)], LINEAR),
        ("gAMA of sRGB, then another", vec![gamma(45_455), gamma(100_000)], STORED),
        ("gAMA, zero, then another", vec![gamma(0), gamma(100_000)], LINEAR),
        ("gAMA, length", vec![chunk(b"gAMA", &[0, 1, 0x86])], STORED),
        ("gAMA and cHRM", vec![gamma(45_455), srgb_points.clone()], POWER),
        ("cHRM alone", vec![srgb_points], STORED),
        ("sRGB, CRC, and gAMA", vec![damaged(b"sRGB", &[0]), gamma(100_000)], LINEAR),
        ("sRGB, value, and gAMA", vec![chunk(b"sRGB", &[9]), gamma(100_000)], LINEAR),
        ("sRGB and gAMA", vec![gamma(100_000), chunk(b"sRGB", &[0])], STORED),
        ("cICP", vec![chunk(b"cICP", &[12, 13, 0, 1])], P3),
        ("cICP, CRC", vec![damaged(b"cICP", &[12, 13, 0, 1])], STORED),
        ("cICP, CRC, and iCCP", vec![damaged(b"cICP", &[12, 13, 0, 1]), profile.clone()], LINEAR),
        ("text, CRC", vec![damaged(b"tEXt", b"Comment\0text")], STORED),
    ];
    let png = images::png(stored());
    let directory = Directory::new();
    for (index, (_, chunks, _)) in cases.iter().enumerate() {
        directory.put(&format!("{index}.png"), &with_chunks(&png, chunks));
    }
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    for (index, (name, _, expected)) in cases.iter().enumerate() {
        for query in ["f=webp&lossless=true", "f=png&w=16"] {
            let image = Image::decode(&client.get(&format!("/h/{index}.png?{query}")).ok().body);
            for (x, expected) in [25, 75].into_iter().zip(*expected) {
                let shown = image.at(x, 50);
                assert!(within(shown, expected, 2), "{name}: {shown:?}, not {expected:?}");
            }
        }
    }
}

#[test]
fn a_damaged_exif_chunk_does_not_turn_the_image() {
    let upright = (32, 16);
    let turned = (16, 32);
    let [six, one] = [images::exif(6), images::exif(1)];
    let cases = [
        (vec![chunk(b"eXIf", &six)], turned),
        (vec![damaged(b"eXIf", &six)], upright),
        (vec![damaged(b"eXIf", &one), chunk(b"eXIf", &six)], turned),
        (vec![chunk(b"eXIf", &six), chunk(b"eXIf", &one)], turned),
        (vec![chunk(b"eXIf", &one), chunk(b"eXIf", &six)], upright),
        (vec![chunk(b"eXIf", b"nonsense"), chunk(b"eXIf", &six)], upright),
        (vec![chunk(b"eXIf", b""), chunk(b"eXIf", &six)], upright),
        (vec![chunk(b"eXIf", &[b"Exif\0\0", &six[..]].concat())], upright),
    ];
    let png = images::png(stored());
    let directory = Directory::new();
    for (index, (chunks, _)) in cases.iter().enumerate() {
        directory.put(&format!("{index}.png"), &with_chunks(&png, chunks));
    }
    // Browsers ignore one after the pixels.
    let end = png.len() - 12;
    let late = [&png[..end], &chunk(b"eXIf", &six), &png[end..]].concat();
    directory.put("late.png", &late);
    let server = Server::with_handler(directory.handler());
    for (index, (_, size)) in cases.iter().enumerate() {
        let body = server.get(&format!("/h/{index}.png?f=png")).ok().body;
        assert_eq!(images::size_of(&body), *size, "{index}");
    }
    let body = server.get("/h/late.png?f=webp").ok().body;
    assert_eq!(images::size_of(&body), upright);
}

#[test]
fn a_damaged_transparency_chunk_makes_nothing_transparent() {
    let gray = images::png(GrayImage::from_fn(32, 16, |x, _| Luma([if x < 16 { 112 } else { 9 }])));
    let colours = images::png(stored());
    let first = [0, 60, 0, 120, 0, 200];
    let second = [0, 16, 0, 40, 0, 80];
    let long = [&first[..], &[0, 0]].concat();
    // Whether the left and the right half are transparent.
    let cases = [
        (&gray, vec![chunk(b"tRNS", &[0, 112])], [true, false]),
        (&gray, vec![chunk(b"tRNS", &[1, 112])], [true, false]),
        (&gray, vec![chunk(b"tRNS", &[0, 112, 0, 0])], [true, false]),
        (&gray, vec![chunk(b"tRNS", &[112])], [false; 2]),
        (&gray, vec![damaged(b"tRNS", &[0, 112])], [false; 2]),
        (&colours, vec![chunk(b"tRNS", &first)], [true, false]),
        (&colours, vec![chunk(b"tRNS", &long)], [true, false]),
        (&colours, vec![chunk(b"tRNS", &first[..5])], [false; 2]),
        (&colours, vec![damaged(b"tRNS", &first)], [false; 2]),
        (&colours, vec![damaged(b"tRNS", &first), chunk(b"tRNS", &second)], [false, true]),
        (&colours, vec![chunk(b"tRNS", &first), chunk(b"tRNS", &second)], [true, false]),
    ];
    let directory = Directory::new();
    for (index, (png, chunks, _)) in cases.iter().enumerate() {
        directory.put(&format!("{index}.png"), &with_chunks(png, chunks));
    }
    let server = Server::with_handler(directory.handler());
    for (index, (_, _, transparent)) in cases.iter().enumerate() {
        let target = format!("/h/{index}.png?f=webp&lossless=true");
        let image = Image::decode(&server.get(&target).ok().body);
        let shown = [25, 75].map(|x| image.at(x, 50)[3] == 0);
        assert_eq!(shown, *transparent, "{index}");
    }
}

#[test]
fn palette_images_with_damaged_chunks() {
    let pixels: Vec<u8> = [0, 0, 1].repeat(2);
    let header = [0, 0, 0, 2, 0, 0, 0, 2, 8, 3, 0, 0, 0];
    let palette = chunk(b"PLTE", STORED.as_flattened());
    let file = |before: &[u8], after: &[u8]| {
        [
            b"\x89PNG\r\n\x1a\n",
            &chunk(b"IHDR", &header)[..],
            before,
            &palette,
            after,
            &chunk(b"IDAT", &png_chunks::profile(&pixels)[3..]),
            &chunk(b"IEND", b""),
        ]
        .concat()
    };
    let transparency = |alpha: &[u8]| chunk(b"tRNS", alpha);
    let clear = damaged(b"tRNS", &[0]);
    let profile = chunk(b"iCCP", &linear());
    let gamma = chunk(b"gAMA", &100_000_u32.to_be_bytes());
    let points = chunk(b"cICP", &[12, 13, 0, 1]);
    let cases = [
        ("plain", file(b"", b""), STORED, 255),
        ("transparent", file(b"", &transparency(&[128])), STORED, 128),
        ("transparency, CRC", file(b"", &clear), STORED, 255),
        ("too many entries", file(b"", &transparency(&[128, 255, 9])), STORED, 128),
        ("no entry", file(b"", &transparency(&[])), STORED, 255),
        ("transparency first", file(&transparency(&[128]), b""), STORED, 255),
        ("profile first", file(&profile, b""), LINEAR, 255),
        ("palette first", file(b"", &profile), LINEAR, 255),
        ("gamma after the palette", file(b"", &gamma), LINEAR, 255),
        ("code points after the palette", file(b"", &points), STORED, 255),
    ];
    let directory = Directory::new();
    for (index, (_, bytes, ..)) in cases.iter().enumerate() {
        directory.put(&format!("{index}.png"), bytes);
    }
    let plain = file(b"", b"");
    directory.put("header.png", &with_damaged(&plain, b"IHDR"));
    directory.put("palette.png", &with_damaged(&plain, b"PLTE"));
    directory.put("palettes.png", &file(&palette, b""));
    directory.put("end.png", &with_damaged(&plain, b"IEND"));
    let server = Server::with_handler(directory.handler());
    for (index, (name, _, expected, alpha)) in cases.iter().enumerate() {
        let target = format!("/h/{index}.png?f=webp&lossless=true");
        let image = Image::decode(&server.get(&target).ok().body);
        for (x, expected) in [25, 75].into_iter().zip(*expected) {
            let shown = image.at(x, 50);
            assert!(within(shown, expected, 2), "{name}: {shown:?}, not {expected:?}");
        }
        assert_eq!(image.at(25, 50)[3], *alpha, "{name}");
    }
    for name in ["header", "palette", "palettes"] {
        server.get(&format!("/h/{name}.png?f=webp")).failed("corrupt_image");
    }
    server.get("/h/end.png?f=webp").ok();
}

#[test]
fn an_original_with_chunks_that_browsers_ignore_is_not_served() {
    let png = images::png(images::noise(24, 24));
    let directory = Directory::new()
        .with("plain.png", &png)
        .with("short.png", &with_chunks(&png, &[chunk(b"tRNS", &[0; 5])]))
        .with("damaged.png", &with_chunks(&png, &[damaged(b"tRNS", &[0; 6])]));
    let server = Server::with_handler(directory.handler());
    let get = |name: &str| server.get(&format!("/h/{name}.png?f=png")).ok().body;
    assert_eq!(get("plain"), png, "smaller than what the server encodes");
    for name in ["short", "damaged"] {
        assert!(!images::holds(&get(name), b"tRNS"), "{name}");
    }
}
