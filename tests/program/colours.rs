//! Colours: every way in which an image can specify its colour space, compared with the formulas of the standards.

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

use crate::support::directory::Directory;
use crate::support::icc::{self, ADOBE_RGB, Curve, DISPLAY_P3, PROPHOTO, Space};
use crate::support::images::{self, Image, Kind, within};
use crate::support::png_chunks::{self, with_chunk};
use crate::support::server::{Server, data};

/// Width and height of a patch.
const PATCH: u32 = 16;

/// Colours inside the gamut of sRGB.
fn patches() -> Vec<[u8; 3]> {
    let mut patches: Vec<[u8; 3]> = Vec::new();
    for red in [60, 120, 200] {
        for green in [60, 120, 200] {
            for blue in [60, 120, 200] {
                patches.push([red, green, blue]);
            }
        }
    }
    patches
}

fn in_a_row(patches: &[[u8; 3]]) -> RgbImage {
    images::columns(PATCH * patches.len() as u32, PATCH, patches)
}

/// The mean difference, in 255ths, of the patches in the gamut of sRGB. The image is a row of patches of any width.
#[track_caller]
fn mean_difference(
    body: &[u8],
    patches: &[[u8; 3]],
    reference: impl Fn([u8; 3]) -> Option<[f64; 3]>,
) -> f64 {
    let image = Image::decode(body);
    let width = f64::from(image.size().0) / patches.len() as f64;
    let mut sum = 0.0;
    let mut count = 0.0;
    for (n, patch) in patches.iter().enumerate() {
        let Some(expected) = reference(*patch) else { continue };
        let x = ((n as f64 + 0.5) * width) as u32;
        let shown = image.pixels.get_pixel(x, image.size().1 / 2).0;
        for (one, other) in shown.iter().zip(expected) {
            sum += (f64::from(*one) - other).abs();
            count += 1.0;
        }
    }
    assert!(count >= 24.0, "too few patches are in the gamut");
    sum / count
}

/// The sRGB value of a colour of another space; `None` outside of the gamut.
fn in_srgb(space: &Space) -> impl Fn([u8; 3]) -> Option<[f64; 3]> {
    |patch| {
        let linear = icc::to_linear_srgb(space, patch.map(|value| f64::from(value) / 255.0));
        linear
            .iter()
            .all(|value| (0.02..0.98).contains(value))
            .then(|| linear.map(|value| 255.0 * icc::srgb_encoded(value)))
    }
}

fn unchanged(patch: [u8; 3]) -> Option<[f64; 3]> {
    Some(patch.map(f64::from))
}

const QUERIES: [&str; 4] =
    ["f=png", "f=png&w=216", "f=png&w=432&h=16&g=smart", "f=jpg&q=100&w=324"];

#[test]
fn icc_profiles_are_applied_in_every_format_that_has_them() {
    let patches = patches();
    let source = in_a_row(&patches);
    let wide = deep(&source);
    let directory = Directory::new();
    let spaces = [("p3", DISPLAY_P3), ("adobe", ADOBE_RGB), ("prophoto", PROPHOTO)];
    for (name, space) in &spaces {
        let profile = icc::profile(space);
        for kind in [Kind::Jpeg, Kind::Png, Kind::Webp] {
            let bytes = images::with_metadata(kind, &source, None, Some(profile.clone()));
            directory.put(&format!("{name}.{}", kind.name()), &bytes);
        }
        let deep = with_chunk(&images::png(wide.clone()), b"iCCP", &png_chunks::profile(&profile));
        directory.put(&format!("{name}-16.png"), &deep);
    }
    let server = Server::with_handler(directory.handler());
    for (name, space) in &spaces {
        for source in ["jpg", "png", "webp", "16.png"] {
            let file = if source == "16.png" {
                format!("{name}-16.png")
            } else {
                format!("{name}.{source}")
            };
            for query in QUERIES {
                let target = format!("/h/{file}?{query}");
                let body = server.get(&target).ok().body;
                let off = mean_difference(&body, &patches, in_srgb(space));
                assert!(off <= 2.0, "{target}: {off:.2} of 255 off");
                assert!(!Image::decode(&body).has_profile, "{target}");
                let untouched = mean_difference(&body, &patches, unchanged);
                assert!(untouched > 3.0, "{target}: the profile makes a difference");
            }
        }
    }
}

/// The same colours in 16 bits.
fn deep(source: &RgbImage) -> DynamicImage {
    DynamicImage::ImageRgb16(ImageBuffer::from_fn(source.width(), source.height(), |x, y| {
        Rgb(source.get_pixel(x, y).0.map(|value| u16::from(value) * 257))
    }))
}

#[test]
fn colour_chunks_of_a_png_are_applied() {
    let patches = patches();
    let source = in_a_row(&patches);
    let plain = images::png(source.clone());
    let deep = images::png(deep(&source));
    let gamma = |value: u32| (b"gAMA", value.to_be_bytes().to_vec());
    let chromaticities = |numbers: [u32; 8]| {
        (b"cHRM", numbers.iter().flat_map(|number| number.to_be_bytes()).collect())
    };
    let p3 = chromaticities([31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000]);
    let bt709 = chromaticities([31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000]);
    let degenerate = chromaticities([31_270, 32_900, 64_000, 33_000, 64_000, 33_000, 15_000, 0]);
    let cicp = |points: [u8; 4]| (b"cICP", points.to_vec());
    let srgb = (b"sRGB", vec![0]);
    let adobe = (b"iCCP", png_chunks::profile(&icc::profile(&ADOBE_RGB)));
    let power = |exponent| Space { curve: Curve::Power(exponent), ..icc::SRGB };
    let linear = power(1.0);
    let bt1886 = Space { curve: Curve::Power(2.4), ..icc::SRGB };
    // The chunks, and the space they specify; `None` is sRGB.
    let cases = [
        ("linear", vec![gamma(100_000)], Some(linear)),
        ("1.8", vec![gamma(55_556)], Some(power(1.8))),
        ("near 2.2", vec![gamma(47_000)], None),
        ("2.2", vec![gamma(45_455), bt709.clone()], Some(power(2.2))),
        ("gamma and sRGB", vec![gamma(45_455), bt709.clone(), srgb.clone()], None),
        ("zero", vec![gamma(0)], None),
        ("sRGB wins", vec![gamma(100_000), srgb.clone()], None),
        ("chromaticities alone", vec![p3.clone()], None),
        (
            "all",
            vec![p3.clone(), gamma(55_556)],
            Some(Space { curve: Curve::Power(1.8), ..DISPLAY_P3 }),
        ),
        ("degenerate", vec![degenerate, gamma(100_000)], None),
        ("cICP P3", vec![cicp([12, 13, 0, 1])], Some(DISPLAY_P3)),
        ("cICP linear", vec![cicp([1, 8, 0, 1])], Some(linear)),
        ("cICP BT.709", vec![cicp([1, 1, 0, 1])], Some(bt1886)),
        ("cICP after it", vec![cicp([1, 1, 0, 1]), cicp([12, 13, 0, 1])], Some(bt1886)),
        ("cICP sRGB wins", vec![cicp([1, 13, 0, 1]), adobe.clone(), gamma(100_000)], None),
        ("cICP wins", vec![cicp([12, 13, 0, 1]), adobe.clone()], Some(DISPLAY_P3)),
        ("HDR is not understood", vec![cicp([9, 16, 0, 1]), adobe.clone()], Some(ADOBE_RGB)),
        ("iCCP wins", vec![adobe, gamma(100_000)], Some(ADOBE_RGB)),
        (
            "too short",
            vec![(b"gAMA", vec![0, 1]), (b"cICP", vec![12]), (b"cHRM", vec![0; 31])],
            None,
        ),
    ];
    let directory = Directory::new();
    let name = |case: &str| case.replace(' ', "-");
    for (case, chunks, _) in &cases {
        for (depth, bytes) in [(8, &plain), (16, &deep)] {
            let bytes = chunks
                .iter()
                .rev()
                .fold(bytes.clone(), |bytes, (kind, data)| with_chunk(&bytes, kind, data));
            directory.put(&format!("{}.{depth}.png", name(case)), &bytes);
        }
    }
    let server = Server::with_handler(directory.handler());
    for (case, _, space) in &cases {
        // libspng refuses a chunk of the wrong length, and browsers don't: either is fine.
        if *case == "too short" {
            assert!([200, 404].contains(&server.get("/h/too-short.8.png?f=png").status));
            continue;
        }
        for depth in [8, 16] {
            for query in ["f=png", "f=png&w=216"] {
                let target = format!("/h/{}.{depth}.png?{query}", name(case));
                let body = server.get(&target).ok().body;
                let off = match space {
                    Some(space) => mean_difference(&body, &patches, in_srgb(space)),
                    None => mean_difference(&body, &patches, unchanged),
                };
                assert!(off <= 2.0, "{target}: {off:.2} of 255 off");
            }
        }
    }
}

#[test]
fn nclx_primaries_of_an_avif_are_applied() {
    let stored = [[180, 120, 90], [110, 150, 120], [90, 100, 160]];
    let avif = data("patches-nclx.avif");
    let at = avif.windows(4).position(|bytes| bytes == b"nclx").expect("its primaries") + 5;
    let directory = Directory::new();
    for primaries in [1, 12, 99] {
        let mut avif = avif.clone();
        assert_eq!(std::mem::replace(&mut avif[at], primaries), 1);
        directory.put(&format!("{primaries}.avif"), &avif);
    }
    let server = Server::with_handler(directory.handler());
    for query in ["f=png", "f=png&w=48"] {
        for primaries in [1, 12, 99] {
            let target = format!("/h/{primaries}.avif?{query}");
            let image = Image::decode(&server.get(&target).ok().body);
            for (x, patch) in [17, 50, 83].into_iter().zip(stored) {
                let shown =
                    if primaries == 12 { in_srgb(&DISPLAY_P3)(patch) } else { unchanged(patch) };
                let shown =
                    shown.expect("a colour inside the gamut").map(|value| value.round() as u8);
                assert!(
                    within(image.at(x, 50), shown, 4),
                    "{target}: {:?}, not {shown:?}",
                    image.at(x, 50)
                );
            }
        }
    }
}

#[test]
fn a_profile_that_can_not_be_used_is_ignored() {
    let patches = patches();
    let source = in_a_row(&patches);
    let whole = icc::profile(&DISPLAY_P3);
    let mut without_curves = whole.clone();
    for at in 0..without_curves.len() - 4 {
        if &without_curves[at..at + 4] == b"para" {
            without_curves[at..at + 4].copy_from_slice(b"nope");
        }
    }
    let profiles = [
        ("noise", (0..200).map(|n| (n * 37 % 251) as u8).collect()),
        ("short", whole[..whole.len() / 2].to_vec()),
        ("head", whole[..128].to_vec()),
        ("curves", without_curves),
        ("gray", icc::gray_profile(1.8)),
        ("inks", icc::cmyk_profile()),
    ];
    let directory = Directory::new();
    for (name, profile) in &profiles {
        for kind in [Kind::Jpeg, Kind::Webp] {
            let bytes = images::with_metadata(kind, &source, None, Some(profile.clone()));
            directory.put(&format!("{name}.{}", kind.name()), &bytes);
        }
    }
    let server = Server::with_handler(directory.handler());
    for (name, _) in &profiles {
        for kind in ["jpg", "webp"] {
            for query in ["f=png", "f=png&w=216"] {
                let target = format!("/h/{name}.{kind}?{query}");
                let off = mean_difference(&server.get(&target).ok().body, &patches, unchanged);
                assert!(off <= 2.0, "{target}: {off:.2} of 255 off");
            }
        }
    }
}

/// Whether a JPEG has one component, or a PNG is grayscale.
fn is_gray(body: &[u8]) -> bool {
    match Kind::of(body) {
        Some(Kind::Jpeg) => {
            let mut at = 2;
            loop {
                let length = usize::from(u16::from_be_bytes([body[at + 2], body[at + 3]]));
                // SOF0 to SOF2 (T.81 B.2.2).
                if (0xc0..=0xc2).contains(&body[at + 1]) {
                    return body[at + 9] == 1;
                }
                at += 2 + length;
            }
        }
        Some(Kind::Png) => body[25] == 0 || body[25] == 4,
        _ => panic!("not a JPEG or PNG"),
    }
}

#[test]
fn grayscale_stays_grayscale() {
    let shades = |x: u32| (x / PATCH * 25) as u8;
    let gray = GrayImage::from_fn(160, PATCH, |x, _| Luma([shades(x)]));
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(160, PATCH, |x, _| Luma([u16::from(shades(x)) * 257]));
    let clear = ImageBuffer::from_fn(160, PATCH, |x, _| LumaA([shades(x), 255]));
    let clear_deep: ImageBuffer<LumaA<u16>, Vec<u16>> =
        ImageBuffer::from_fn(160, PATCH, |x, _| LumaA([u16::from(shades(x)) * 257, 65_535]));
    let profile =
        |bytes: &[u8], profile: &[u8]| with_chunk(bytes, b"iCCP", &png_chunks::profile(profile));
    let jpeg = images::jpeg(gray.clone());
    let png = images::png(gray.clone());
    // The exponent of each curve; `None` is that of sRGB.
    let sources = [
        ("a.jpg", jpeg, None),
        ("a.png", png.clone(), None),
        ("deep.png", images::png(DynamicImage::ImageLuma16(deep)), None),
        ("clear.png", images::png(DynamicImage::ImageLumaA8(clear)), None),
        ("clear-deep.png", images::png(DynamicImage::ImageLumaA16(clear_deep)), None),
        ("profile.png", profile(&png, &icc::gray_profile(1.8)), Some(1.8)),
        ("wrong-profile.png", profile(&png, &icc::profile(&DISPLAY_P3)), None),
        ("gamma.png", with_chunk(&png, b"gAMA", &100_000_u32.to_be_bytes()), Some(1.0)),
    ];
    let directory = Directory::new();
    for (name, bytes, _) in &sources {
        directory.put(name, bytes);
    }
    let server = Server::with_handler(directory.handler());
    for (name, _, gamma) in &sources {
        for query in
            ["f=png", "f=png&w=80", "f=jpg&q=98", "f=jpg&q=98&w=80&h=8", "f=jpg&q=98&bg=808080"]
        {
            let target = format!("/h/{name}?{query}");
            let body = server.get(&target).ok().body;
            assert!(is_gray(&body), "{target}");
            let image = Image::decode(&body);
            for patch in 0..10 {
                let shade = shades(patch * PATCH);
                let expected = gamma.map_or(f64::from(shade), |gamma| {
                    255.0 * icc::srgb_encoded((f64::from(shade) / 255.0).powf(gamma))
                });
                let shown = image.at(patch * 10 + 5, 50);
                assert!(
                    (f64::from(shown[0]) - expected).abs() < 3.0,
                    "{target}: {shown:?} and not {expected:.1}"
                );
                assert!(shown[0] == shown[1] && shown[1] == shown[2], "{target}: {shown:?}");
            }
        }
        // These formats have no grayscale, but the colours must be gray.
        for format in ["webp", "gif"] {
            let shown =
                Image::decode(&server.get(&format!("/h/{name}?f={format}&q=100")).ok().body)
                    .at(55, 50);
            assert!(
                shown[0].abs_diff(shown[1]) < 3 && shown[1].abs_diff(shown[2]) < 3,
                "{name} {format}: {shown:?}"
            );
        }
    }
}

#[test]
fn a_transparent_grayscale_image_is_flattened_on_any_colour() {
    let half: ImageBuffer<LumaA<u8>, Vec<u8>> =
        ImageBuffer::from_fn(90, 30, |x, _| LumaA([100, [255, 128, 0][(x / 30) as usize]]));
    let deep: ImageBuffer<LumaA<u16>, Vec<u16>> = ImageBuffer::from_fn(90, 30, |x, _| {
        LumaA([100 * 257, [65_535, 32_896, 0][(x / 30) as usize]])
    });
    let directory = Directory::new()
        .with("8.png", &images::png(DynamicImage::ImageLumaA8(half)))
        .with("16.png", &images::png(DynamicImage::ImageLumaA16(deep)));
    let server = Server::with_handler(directory.handler());
    for depth in [8, 16] {
        for query in ["", "&w=60"] {
            let target = format!("/h/{depth}.png?f=jpg&q=98&bg=ff0000{query}");
            let body = server.get(&target).ok().body;
            assert!(!is_gray(&body), "{target}");
            let image = Image::decode(&body);
            for (x, colour) in [(16, [100, 100, 100]), (50, [177, 50, 50]), (84, [255, 0, 0])] {
                assert!(
                    within(image.at(x, 50), colour, 8),
                    "{target}: {:?} at {x} %",
                    image.at(x, 50)
                );
            }
            let kept = server.get(&format!("/h/{depth}.png?f=png{query}")).ok().body;
            let kept_image = Image::decode(&kept);
            assert!(is_gray(&kept) && kept_image.has_alpha, "{target}");
            let middle = kept_image.at(50, 50);
            assert!(
                within(middle, [100; 3], 3) && middle[3].abs_diff(128) < 3,
                "{target}: {middle:?}"
            );
        }
    }
}

#[test]
fn cmyk_is_converted_to_srgb() {
    // Each ink at 0 or 100 %: entries of a table with two steps, so that nothing is interpolated.
    let inks: Vec<[u8; 4]> = (0..16_u8)
        .map(|n| [n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1].map(|on| on * 255))
        .collect();
    let directory = Directory::new()
        .with("profile.jpg", &icc::cmyk_jpeg(&inks, Some(&icc::cmyk_profile())))
        .with("plain.jpg", &icc::cmyk_jpeg(&inks, None))
        .with("broken.jpg", &icc::cmyk_jpeg(&inks, Some(&icc::cmyk_profile()[..200])));
    let server = Server::with_handler(directory.handler());
    for query in ["f=png", "f=png&w=128", "f=png&w=64"] {
        let image = Image::decode(&server.get(&format!("/h/profile.jpg?{query}")).ok().body);
        let mut sum = 0.0;
        let mut count = 0.0;
        for (n, inks) in inks.iter().enumerate() {
            let shown = image
                .pixels
                .get_pixel((2 * n as u32 + 1) * image.size().0 / 32, image.size().1 / 2)
                .0;
            let Some(expected) = icc::srgb_of_inks(*inks) else { continue };
            for (one, other) in shown.iter().zip(expected) {
                sum += (f64::from(*one) - other).abs();
                count += 1.0;
            }
        }
        assert!(count > 20.0 && sum / count <= 2.0, "{query}: {} of 255 off", sum / count);
    }
    // Without a profile: as printed on coated paper (SWOP).
    for name in ["plain", "broken"] {
        let image = Image::decode(&server.get(&format!("/h/{name}.jpg?f=png")).ok().body);
        for (n, colour) in [
            (0, [255, 255, 255]),
            (1, [0, 174, 239]),
            (2, [236, 0, 140]),
            (3, [46, 49, 146]),
            (4, [255, 242, 0]),
            (5, [0, 166, 81]),
            (6, [237, 28, 36]),
            (8, [35, 31, 32]),
        ] {
            let shown = image.pixels.get_pixel(n * PATCH + PATCH / 2, 8).0;
            assert!(
                within(shown, colour, 24),
                "{name}: {:?} is {shown:?} and not {colour:?}",
                inks[n as usize]
            );
        }
    }
}

#[test]
fn a_white_disc_on_transparent_black_has_no_dark_fringe() {
    let disc = RgbaImage::from_fn(200, 200, |x, y| {
        let dx = f64::from(x) - 99.5;
        let dy = f64::from(y) - 99.5;
        if dx.hypot(dy) < 80.0 { Rgba([255; 4]) } else { Rgba([0; 4]) }
    });
    let directory = Directory::new()
        .with("a.png", &images::png(disc.clone()))
        .with("a.webp", &images::webp(disc.clone()))
        .with("lossy.webp", &data("disc-lossy.webp"))
        .with("a.gif", &images::animated_gif(&[(disc.clone(), 100), (disc, 100)]));
    let server = Server::with_handler(directory.handler());
    let mut again = 0;
    for source in ["a.png", "a.webp", "lossy.webp", "a.gif"] {
        // The noise of the encoder.
        let most = if source == "lossy.webp" { 24 } else { 8 };
        for query in ["w=67", "w=100&h=50", "w=300&h=300&e=true", "w=31&c=false"] {
            let target = format!("/h/{source}?{query}&f=png");
            let image = Image::decode(&server.get(&target).ok().body);
            assert!(image.pixels.pixels().any(|pixel| (32..224).contains(&pixel.0[3])), "{target}");
            for pixel in image.pixels.pixels().filter(|pixel| pixel.0[3] >= 32) {
                assert!(within(pixel.0, [255; 3], most), "{target}: {pixel:?}");
            }
            // Through a lossy format that codes colours and transparency separately.
            again += 1;
            directory.put(
                &format!("{again}.avif"),
                &server.get(&format!("/h/{source}?{query}&f=avif")).ok().body,
            );
            let decoded = Image::decode(&server.get(&format!("/h/{again}.avif?f=png")).ok().body);
            for pixel in decoded.pixels.pixels().filter(|pixel| pixel.0[3] >= 32) {
                assert!(within(pixel.0, [255; 3], most + 4), "{target} as AVIF: {pixel:?}");
            }
            let flat =
                Image::decode(&server.get(&format!("/h/{source}?{query}&f=jpg&q=98")).ok().body);
            for pixel in flat.pixels.pixels() {
                assert!(within(pixel.0, [255; 3], most), "{target} on white: {pixel:?}");
            }
        }
    }
}
