//! Which profile applies to which image, and which results keep it. The numbers are what Chromium 156 shows on a
//! canvas, which for gray are also the formula's.

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage};

use crate::support::directory::Directory;
use crate::support::icc::{self, Curve, Space};
use crate::support::images::{self, Image, Kind, holds, within};
use crate::support::png_chunks::{self, with_chunk};
use crate::support::server::{Server, data};

const TONES: [u8; 5] = [16, 63, 112, 159, 208];
/// `TONES` with the exponent 1, in sRGB.
const LINEAR: [u8; 5] = [71, 136, 177, 207, 233];
const LINEAR_SPACE: Space = Space { curve: Curve::Power(1.0), ..icc::SRGB };
const WIDTH: u32 = 16 * TONES.len() as u32;

fn tone(x: u32) -> u8 {
    TONES[(x / 16) as usize]
}

/// An image with `TONES` in columns: grayscale of 8 or 16 bits with or without transparency, or gray RGB.
fn sources() -> Vec<(&'static str, DynamicImage)> {
    let wide = |x| u16::from(tone(x)) * 257;
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(WIDTH, 16, |x, _| Luma([wide(x)]));
    let clear: ImageBuffer<LumaA<u8>, Vec<u8>> =
        ImageBuffer::from_fn(WIDTH, 16, |x, _| LumaA([tone(x), 128]));
    vec![
        ("gray", gray().into()),
        ("deep", deep.into()),
        ("clear", clear.into()),
        ("rgb", RgbImage::from_fn(WIDTH, 16, |x, _| Rgb([tone(x); 3])).into()),
    ]
}

fn gray() -> GrayImage {
    GrayImage::from_fn(WIDTH, 16, |x, _| Luma([tone(x)]))
}

/// A palette image of `TONES`: color type 3, one filter byte per line, stored deflate blocks.
fn palette() -> Vec<u8> {
    let header = [&WIDTH.to_be_bytes()[..], &16_u32.to_be_bytes(), &[8, 3, 0, 0, 0]].concat();
    let line: Vec<u8> = [0].into_iter().chain((0..WIDTH).map(|x| (x / 16) as u8)).collect();
    // The compressed data is written as that of a profile is, after its name.
    let pixels = &png_chunks::profile(&line.repeat(16))[3..];
    let chunks = [
        png_chunks::chunk(b"IHDR", &header),
        png_chunks::chunk(b"PLTE", TONES.map(|tone| [tone; 3]).as_flattened()),
        png_chunks::chunk(b"IDAT", pixels),
        png_chunks::chunk(b"IEND", b""),
    ];
    [b"\x89PNG\r\n\x1a\n", &chunks.concat()[..]].concat()
}

fn in_png(png: &[u8], profile: &[u8]) -> Vec<u8> {
    with_chunk(png, b"iCCP", &png_chunks::profile(profile))
}

#[track_caller]
fn expect_tones(name: &str, body: &[u8], expected: [u8; 5]) {
    // Resized transparent pixels are rounded when they are multiplied by their alpha, in the space of the profile.
    let most = if name.contains("clear") { 4 } else { 2 };
    let image = Image::decode(body);
    for (n, expected) in expected.into_iter().enumerate() {
        let shown = image.at(20 * n as u32 + 10, 50);
        assert!(within(shown, [expected; 3], most), "{name}: {shown:?}, not {expected}");
    }
}

#[test]
fn a_profile_applies_to_images_with_its_channels() {
    let table = TONES.map(|tone| icc::gray_of_table(tone).round() as u8);
    let linear = icc::profile(&LINEAR_SPACE);
    // The results for grayscale and for RGB.
    let profiles = [
        ("gray", icc::gray_profile(1.0), LINEAR, TONES),
        ("linear", linear.clone(), LINEAR, LINEAR),
        ("table", icc::table_profile(b"scnr", b"RGB ", b"Lab "), table, table),
        ("tables", icc::profile_with_two_tables(), table, table),
        ("inks", icc::cmyk_profile(), TONES, TONES),
        ("link", icc::table_profile(b"link", b"RGB ", b"RGB "), TONES, TONES),
        ("abstract", icc::table_profile(b"abst", b"Lab ", b"Lab "), TONES, TONES),
        ("lab", icc::table_profile(b"spac", b"Lab ", b"XYZ "), TONES, TONES),
        ("ycc", icc::table_profile(b"scnr", b"YCbr", b"Lab "), TONES, TONES),
        ("named", icc::table_profile(b"nmcl", b"RGB ", b"Lab "), TONES, TONES),
        ("half", linear[..linear.len() / 2].to_vec(), TONES, TONES),
    ];
    let directory = Directory::new();
    let mut cases = Vec::new();
    for (name, profile, for_gray, for_rgb) in &profiles {
        let mut put = |kind: &str, bytes: Vec<u8>, expected: [u8; 5]| {
            directory.put(&format!("{name}-{kind}"), &bytes);
            cases.push((format!("{name}-{kind}"), expected));
        };
        for (kind, source) in sources() {
            let expected = if kind == "rgb" { *for_rgb } else { *for_gray };
            put(&format!("{kind}.png"), in_png(&images::png(source), profile), expected);
        }
        put("palette.png", in_png(&palette(), profile), *for_rgb);
        let jpeg = images::jpeg(gray());
        put("gray.jpg", images::jpeg_with_profile(&jpeg, profile), *for_gray);
        let [.., (_, rgb)] = &sources()[..] else { panic!("an image") };
        let rgb = rgb.to_rgb8();
        for kind in [Kind::Jpeg, Kind::Webp] {
            let bytes = images::with_metadata(kind, &rgb, None, Some(profile.clone()));
            put(&format!("rgb.{}", kind.name()), bytes, *for_rgb);
        }
    }
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    for (name, expected) in cases {
        for query in ["f=png", "f=png&w=40"] {
            let target = format!("/h/{name}?{query}");
            let body = client.get(&target).ok().body;
            expect_tones(&target, &body, expected);
            let stays_gray = !name.contains("rgb") && !name.contains("palette");
            if stays_gray && !name.starts_with("table") {
                assert!(matches!(body[25], 0 | 4), "{target}: the color type is {}", body[25]);
            }
        }
    }
}

#[test]
fn dark_gray_is_converted_without_steps() {
    let dark = GrayImage::from_fn(256, 8, |x, _| Luma([x as u8]));
    let png = in_png(&images::png(dark), &icc::gray_profile(1.0));
    let directory = Directory::new().with("a.png", &png);
    let server = Server::with_handler(directory.handler());
    let image = Image::decode(&server.get("/h/a.png?f=png").ok().body);
    for x in 0..=255_u32 {
        let expected = 255.0 * icc::srgb_encoded(f64::from(x) / 255.0);
        let shown = f64::from(image.pixels.get_pixel(x, 4).0[0]);
        assert!((shown - expected).abs() < 1.0, "{x}: {shown}, not {expected:.1}");
    }
}

#[test]
fn deep_colours_are_converted_precisely() {
    // The last ones are outside the gamut of sRGB in P3, and clipped.
    let colours =
        [[60, 120, 200], [3, 2, 1], [16, 40, 80], [200, 120, 60], [120, 200, 60], [0, 255, 0]];
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> = ImageBuffer::from_fn(96, 8, |x, _| {
        Rgb(colours[(x / 16) as usize].map(|value: u8| u16::from(value) * 257))
    });
    let png = images::png(DynamicImage::ImageRgb16(deep));
    let directory = Directory::new();
    let spaces = [("p3", icc::DISPLAY_P3), ("adobe", icc::ADOBE_RGB), ("linear", LINEAR_SPACE)];
    for (name, space) in &spaces {
        directory.put(&format!("{name}.png"), &in_png(&png, &icc::profile(space)));
    }
    let server = Server::with_handler(directory.handler());
    for (name, space) in &spaces {
        let image = Image::decode(&server.get(&format!("/h/{name}.png?f=png")).ok().body);
        for (n, colour) in colours.into_iter().enumerate() {
            let light = icc::to_linear_srgb(space, colour.map(|value| f64::from(value) / 255.0));
            let expected = light.map(|light| 255.0 * icc::srgb_encoded(light.clamp(0.0, 1.0)));
            let shown = image.pixels.get_pixel(16 * n as u32 + 8, 4).0;
            for (shown, expected) in shown.iter().zip(expected) {
                let off = (f64::from(*shown) - expected).abs();
                assert!(off <= 2.0, "{name} {colour:?}: {shown}, not {expected:.1}");
            }
        }
    }
}

#[test]
fn the_background_is_converted_to_the_profile_that_is_kept() {
    // Transparent, so that only the background is seen.
    let clear = image::RgbaImage::new(16, 16);
    let gray: ImageBuffer<LumaA<u8>, Vec<u8>> = ImageBuffer::new(16, 16);
    let linear = icc::profile(&LINEAR_SPACE);
    let directory = Directory::new()
        .with("p3.png", &in_png(&images::png(clear.clone()), &icc::profile(&icc::DISPLAY_P3)))
        .with("linear.png", &in_png(&images::png(clear.clone()), &linear))
        .with(
            "gray.png",
            &in_png(&images::png(DynamicImage::ImageLumaA8(gray)), &icc::gray_profile(1.8)),
        )
        .with(
            "table.png",
            &in_png(&images::png(clear), &icc::table_profile(b"scnr", b"RGB ", b"Lab ")),
        );
    let server = Server::with_handler(directory.handler());
    // 200, 120, 60 in each space; its luminance is 0.2604.
    for (name, expected) in [
        ("p3", [189, 124, 72]),
        ("linear", [147, 48, 12]),
        ("gray", [121; 3]),
        // Its table only leads to Lab.
        ("table", [200, 120, 60]),
    ] {
        for query in ["f=jpg&q=100", "f=jpg&q=100&w=32&h=8&pad=true", "f=png&w=32&h=8&pad=true"] {
            let target = format!("/h/{name}.png?strip=false&bg=c8783c&{query}");
            let shown = Image::decode(&server.get(&target).ok().body).at(3, 50);
            assert!(within(shown, expected, 3), "{target}: {shown:?}, not {expected:?}");
        }
    }
}

#[test]
fn a_monochrome_avif_with_a_gray_profile_is_converted() {
    let directory = Directory::new().with("a.avif", &data("gray-profile.avif"));
    let server = Server::with_handler(directory.handler());
    for query in ["f=png", "f=png&w=32", "f=webp&lossless=true"] {
        let image = Image::decode(&server.get(&format!("/h/a.avif?{query}")).ok().body);
        for ((x, y), expected) in
            [(25, 25), (75, 25), (25, 75), (75, 75)].into_iter().zip([71, 136, 177, 233])
        {
            let shown = image.at(x, y);
            assert!(within(shown, [expected; 3], 2), "{query}: {shown:?}, not {expected}");
        }
    }
    // Kept, and applied to the kept tones by the next reader.
    let kept = server.get("/h/a.avif?f=png&strip=false").ok().body;
    assert!(within(Image::decode(&kept).at(25, 25), [16; 3], 2) && holds(&kept, b"iCCP"));
}

#[test]
fn strip_false_keeps_a_profile_where_the_format_has_its_channels() {
    let gray_png = images::png(gray());
    let gray_jpeg = images::jpeg(gray());
    let profile = icc::gray_profile(1.0);
    let linear = icc::profile(&LINEAR_SPACE);
    let table = icc::table_profile(b"scnr", b"RGB ", b"Lab ");
    let directory = Directory::new()
        .with("gray.png", &in_png(&gray_png, &profile))
        .with("gray.jpg", &images::jpeg_with_profile(&gray_jpeg, &profile))
        .with("linear.jpg", &images::jpeg_with_profile(&gray_jpeg, &linear))
        .with("linear.png", &in_png(&gray_png, &linear))
        .with("table.jpg", &images::jpeg_with_profile(&gray_jpeg, &table))
        .with("inks.jpg", &images::jpeg_with_profile(&gray_jpeg, &icc::cmyk_profile()));
    let server = Server::with_handler(directory.handler());
    let get =
        |name: &str, query: &str| server.get(&format!("/h/{name}?strip=false&{query}")).ok().body;
    for name in ["gray.png", "gray.jpg", "linear.jpg", "linear.png"] {
        for query in ["f=jpg&q=98", "f=png", "f=png&w=40"] {
            let body = get(name, query);
            assert_eq!(profile_channels(&body).as_ref(), Some(b"GRAY"), "{name} {query}");
            expect_tones(&format!("{name} {query}"), &body, TONES);
        }
        let kept = get(name, "f=avif&lossless=true");
        assert_eq!(profile_channels(&kept).as_ref(), Some(b"GRAY"), "{name} as AVIF");
        let kept_name = format!("{}.avif", name.replace('.', "-"));
        directory.put(&kept_name, &kept);
        let shown = server.get(&format!("/h/{kept_name}?f=png")).ok().body;
        expect_tones(&kept_name, &shown, LINEAR);
        // These formats have no grayscale, so the colours are converted and need no profile.
        for query in ["f=webp&lossless=true", "f=gif"] {
            let body = get(name, query);
            assert_eq!(profile_channels(&body), None, "{name} {query}");
            expect_tones(&format!("{name} {query}"), &body, LINEAR);
        }
        // A padded box has its own colour in sRGB, and its luminance beside grayscale of a profile.
        let padded = "w=80&h=40&pad=true&bg=ff0000";
        let shown = Image::decode(&get(name, &format!("f=webp&lossless=true&{padded}")));
        assert_eq!(shown.at(50, 2), [255, 0, 0, 255], "{name}");
        let shown = Image::decode(&get(name, &format!("f=png&{padded}")));
        assert_eq!(shown.at(50, 2), [57, 57, 57, 255], "{name}");
    }
    // A profile of RGB that could give gray a tint is kept with red, green and blue.
    for query in ["f=jpg&q=98", "f=png", "f=webp&lossless=true"] {
        let body = get("table.jpg", query);
        assert_eq!(profile_channels(&body).as_ref(), Some(b"RGB "), "{query}");
        expect_tones(query, &body, TONES);
    }
    // One for other channels is not kept: a browser does not even show an AVIF with it.
    for query in ["f=jpg&q=98", "f=png", "f=webp&lossless=true", "f=avif"] {
        assert_eq!(profile_channels(&get("inks.jpg", query)), None, "{query}");
    }
}

/// The channels that the profile of a result is for (ICC.1 §7.2.6).
fn profile_channels(body: &[u8]) -> Option<[u8; 4]> {
    let of_profile = |profile: &[u8]| profile[16..20].try_into().unwrap();
    if Kind::of(body) == Some(Kind::Avif) {
        // The signature is in byte 36 (§7.2.11).
        let at = body.windows(4).position(|window| window == b"acsp")?;
        return Some(of_profile(&body[at - 36..]));
    }
    images::profile_of(body).map(|profile| of_profile(&profile))
}

#[test]
fn inks_are_converted_with_a_profile_of_inks_only() {
    let inks: Vec<[u8; 4]> =
        (0..8_u8).map(|n| [n & 1, n >> 1 & 1, n >> 2 & 1, 0].map(|on| on * 255)).collect();
    let linear = icc::profile(&LINEAR_SPACE);
    let directory = Directory::new()
        .with("plain.jpg", &icc::cmyk_jpeg(&inks, None))
        .with("rgb.jpg", &icc::cmyk_jpeg(&inks, Some(&linear)))
        .with("gray.jpg", &icc::cmyk_jpeg(&inks, Some(&icc::gray_profile(1.0))))
        .with("ycck.jpg", &icc::ycck_jpeg(&inks, None))
        .with("profile.jpg", &icc::cmyk_jpeg(&inks, Some(&icc::cmyk_profile())))
        .with("ycck-profile.jpg", &icc::ycck_jpeg(&inks, Some(&icc::cmyk_profile())));
    let server = Server::with_handler(directory.handler());
    let shown = |name: &str, query: &str| {
        Image::decode(&server.get(&format!("/h/{name}?{query}")).ok().body)
    };
    for query in ["f=png", "f=png&strip=false"] {
        for (name, same) in [
            ("rgb.jpg", "plain.jpg"),
            ("gray.jpg", "plain.jpg"),
            ("ycck.jpg", "plain.jpg"),
            ("ycck-profile.jpg", "profile.jpg"),
        ] {
            let [one, other] = [shown(name, query), shown(same, query)];
            for x in (4..100).step_by(12) {
                let [red, green, blue, _] = other.at(x, 50);
                let found = one.at(x, 50);
                assert!(within(found, [red, green, blue], 3), "{name}: {found:?} at {x} %");
            }
            assert!(!one.has_profile, "{name}: sRGB needs no profile");
        }
        let profile = shown("profile.jpg", query);
        assert!(!within(profile.at(12, 50), [0, 174, 239], 24), "the profile makes a difference");
    }
}
