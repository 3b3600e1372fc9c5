//! Options other than size and format, by the pixels of the result: pad, rot, flip, trim, blur, sharp, lossless,
//! page, frames.

use image::{Rgba, RgbaImage};

use crate::support::directory::Directory;
use crate::support::images::{
    self, BLACK, BLUE, GREEN, Image, Kind, RED, WHITE, avif_has_alpha, close, colour_at, size_of,
    within,
};
use crate::support::server::{Server, data};

/// An image with a border.
fn bordered(
    inner: &RgbaImage,
    border: Rgba<u8>,
    [left, top, right, bottom]: [u32; 4],
) -> RgbaImage {
    let (width, height) = inner.dimensions();
    let mut whole = RgbaImage::from_pixel(left + width + right, top + height + bottom, border);
    image::imageops::replace(&mut whole, inner, i64::from(left), i64::from(top));
    whole
}

fn opaque(image: image::RgbImage) -> RgbaImage {
    image::DynamicImage::from(image).into_rgba8()
}

#[track_caller]
fn fetch(server: &Server, target: &str) -> Image {
    Image::decode(&server.get(target).ok().body)
}

/// The colours of the quarters: upper left, upper right, lower left, lower right.
fn corners(pixels: &RgbaImage) -> [[u8; 4]; 4] {
    [(20, 20), (80, 20), (20, 80), (80, 80)].map(|(x, y)| colour_at(pixels, x, y))
}

#[track_caller]
fn expect_corners(pixels: &RgbaImage, expected: [[u8; 3]; 4], what: &str) {
    let found = corners(pixels);
    for (one, other) in found.into_iter().zip(expected) {
        assert!(within(one, other, 24) && one[3] == 255, "{what}: {found:?} and not {expected:?}");
    }
}

/// `rot` and `flip`, the quarters afterwards, and whether the sides are swapped.
const ROTATIONS: [(&str, [[u8; 3]; 4], bool); 14] = [
    ("rot=0", [RED, GREEN, BLUE, WHITE], false),
    ("rot=90", [BLUE, RED, WHITE, GREEN], true),
    ("rot=180", [WHITE, BLUE, GREEN, RED], false),
    ("rot=270", [GREEN, WHITE, RED, BLUE], true),
    ("flip=h", [GREEN, RED, WHITE, BLUE], false),
    ("flip=v", [BLUE, WHITE, RED, GREEN], false),
    ("flip=hv", [WHITE, BLUE, GREEN, RED], false),
    ("flip=none", [RED, GREEN, BLUE, WHITE], false),
    ("rot=90&flip=h", [RED, BLUE, GREEN, WHITE], true),
    ("rot=90&flip=v", [WHITE, GREEN, BLUE, RED], true),
    ("rot=180&flip=h", [BLUE, WHITE, RED, GREEN], false),
    ("rot=180&flip=hv", [RED, GREEN, BLUE, WHITE], false),
    ("rot=270&flip=h", [WHITE, GREEN, BLUE, RED], true),
    ("flip=v&rot=270", [RED, BLUE, GREEN, WHITE], true),
];

#[test]
fn rot_is_clockwise_and_flip_follows_it() {
    let directory = Directory::new().with("a.avif", &data("quarters.avif"));
    for kind in [Kind::Jpeg, Kind::Png, Kind::Webp, Kind::Gif] {
        directory.put(&format!("a.{}", kind.name()), &images::in_format(kind, &images::quarters()));
    }
    let server = Server::with_handler(directory.handler());
    for kind in Kind::ALL {
        for (rotation, expected, swapped) in ROTATIONS {
            let target = format!("/h/a.{}?f=png&{rotation}", kind.name());
            let image = fetch(&server, &target);
            assert_eq!(image.size(), if swapped { (48, 64) } else { (64, 48) }, "{target}");
            expect_corners(&image.pixels, expected, &target);
        }
    }
}

#[test]
fn sizes_and_gravity_apply_after_rot_and_flip() {
    let directory = Directory::new().with("a.png", &images::png(images::quarters()));
    for n in [1, 3, 6, 8] {
        directory.put(&format!("{n}.jpg"), &data(&format!("orient-{n}.jpg")));
    }
    let server = Server::with_handler(directory.handler());
    for (query, size) in [
        ("rot=90&w=24", (24, 32)),
        ("rot=90&h=32", (24, 32)),
        ("rot=270&w=24&h=24", (24, 24)),
        ("rot=90&w=24&h=24&c=false", (18, 24)),
        ("rot=90&w=96&e=true", (96, 128)),
        ("rot=90&w=100&h=10", (48, 10)),
        ("rot=180&w=32", (32, 24)),
        ("rot=90&w=12&dpr=2", (24, 32)),
    ] {
        let target = format!("/h/a.png?{query}");
        assert_eq!(size_of(&server.get(&target).ok().body), size, "{target}");
    }
    // Rotated by 90 degrees: blue and red above white and green.
    for (query, x, colour) in [
        ("rot=90&w=24&h=10&g=n", 10, BLUE),
        ("rot=90&w=24&h=10&g=n", 90, RED),
        ("rot=90&w=24&h=10&g=n&flip=h", 10, RED),
        ("rot=90&w=24&h=10&g=fp:1:1", 90, GREEN),
        ("rot=90&w=8&h=32&g=w&flip=v", 50, WHITE),
        ("rot=90&w=8&h=32&g=e&flip=v", 50, GREEN),
    ] {
        let image = fetch(&server, &format!("/h/a.png?{query}"));
        assert!(close(image.at(x, 20), colour), "{query}: {:?}", image.at(x, 20));
    }
    // The EXIF orientation is applied first.
    for n in [1, 3, 6, 8] {
        for (query, size, places) in [
            ("rot=90", (400, 600), [(97, 2, 0), (97, 97, 1), (2, 2, 2)]),
            ("rot=90&w=200", (200, 300), [(97, 2, 0), (97, 97, 1), (2, 2, 2)]),
            ("flip=h", (600, 400), [(97, 2, 0), (2, 2, 1), (97, 97, 2)]),
        ] {
            let target = format!("/h/{n}.jpg?f=png&{query}");
            let image = fetch(&server, &target);
            assert_eq!(image.size(), size, "{target}");
            for (x, y, channel) in places {
                let corner = image.at(x, y);
                let strongest = (0..3).max_by_key(|index| corner[*index]);
                assert_eq!(strongest, Some(channel), "{target}: {corner:?} at {x} %, {y} %");
            }
        }
    }
}

#[test]
fn pad_fills_the_box() {
    let directory = Directory::new();
    for kind in [Kind::Jpeg, Kind::Png, Kind::Webp, Kind::Gif] {
        directory.put(
            &format!("a.{}", kind.name()),
            &images::in_format(kind, &images::solid(80, 40, RED)),
        );
    }
    let server = Server::with_handler(directory.handler());
    // The query, the box, points on the image and beside it (in percent), and the colour of the rest.
    let cases = [
        ("w=60&h=60&pad=true", (60, 60), [(50, 50), (1, 30)], [(50, 10), (50, 90)], WHITE),
        (
            "w=60&h=60&pad=true&bg=0000ff",
            (60, 60),
            [(50, 50), (99, 70)],
            [(50, 10), (50, 90)],
            BLUE,
        ),
        (
            "w=60&h=60&pad=true&g=n&bg=000000",
            (60, 60),
            [(1, 1), (99, 40)],
            [(50, 60), (1, 99)],
            BLACK,
        ),
        (
            "w=60&h=60&pad=true&g=se&bg=00ff00",
            (60, 60),
            [(50, 99), (1, 60)],
            [(50, 40), (1, 1)],
            GREEN,
        ),
        ("w=60&h=60&pad=true&g=smart", (60, 60), [(50, 50), (1, 30)], [(50, 10), (50, 90)], WHITE),
        ("w=60&h=60&pad=true&g=fp:0:0", (60, 60), [(50, 50), (1, 30)], [(50, 10), (50, 90)], WHITE),
        // Not enlarged, so that all four sides are padded.
        ("w=200&h=100&pad=true", (200, 100), [(50, 50), (35, 40)], [(27, 50), (50, 72)], WHITE),
        ("w=200&h=100&pad=true&g=w", (200, 100), [(2, 50), (35, 40)], [(42, 50), (20, 72)], WHITE),
        (
            "w=200&h=200&pad=true&e=true",
            (200, 200),
            [(1, 30), (99, 70)],
            [(50, 20), (50, 80)],
            WHITE,
        ),
        // `pad` overrides `c`, and `dpr` multiplies the box.
        (
            "w=30&h=30&dpr=2&pad=true&c=true",
            (60, 60),
            [(50, 50), (1, 30)],
            [(50, 10), (50, 90)],
            WHITE,
        ),
        ("rot=90&w=60&h=60&pad=true", (60, 60), [(50, 1), (50, 99)], [(10, 50), (90, 50)], WHITE),
    ];
    for kind in [Kind::Jpeg, Kind::Png, Kind::Webp, Kind::Gif] {
        for (query, size, on, beside, colour) in cases {
            let target = format!("/h/a.{}?{query}", kind.name());
            let image = fetch(&server, &target);
            assert_eq!(image.size(), size, "{target}");
            for (x, y) in on {
                assert!(
                    within(image.at(x, y), RED, 24),
                    "{target}: {:?} at {x}, {y}",
                    image.at(x, y)
                );
            }
            for (x, y) in beside {
                let found = image.at(x, y);
                assert!(
                    within(found, colour, 24) && found[3] == 255,
                    "{target}: {found:?} at {x}, {y}"
                );
            }
        }
    }
    assert_eq!(size_of(&server.get("/h/a.png?f=avif&w=60&h=50&pad=true").ok().body), (60, 50));
    // One side is no box.
    assert_eq!(size_of(&server.get("/h/a.png?w=40&pad=true").ok().body), (40, 20));
    assert_eq!(size_of(&server.get("/h/a.png?pad=true").ok().body), (80, 40));
}

#[test]
fn pad_keeps_transparency_and_the_box_has_the_opacity_of_bg() {
    let disc = RgbaImage::from_fn(40, 20, |x, _| Rgba([255, 0, 0, if x < 20 { 255 } else { 0 }]));
    let gray = image::GrayImage::from_pixel(40, 20, image::Luma([90]));
    let directory = Directory::new()
        .with("a.png", &images::png(disc))
        .with("opaque.png", &images::png(images::solid(40, 20, RED)))
        .with("gray.png", &images::png(gray));
    let server = Server::with_handler(directory.handler());
    let alpha = |image: &Image, x, y| image.at(x, y)[3];
    for format in ["png", "webp&q=100"] {
        let query = format!("w=40&h=40&pad=true&f={format}");
        let image = fetch(&server, &format!("/h/a.png?{query}"));
        assert!(close(image.at(25, 50), RED) && alpha(&image, 25, 50) == 255, "{query}");
        assert!(alpha(&image, 75, 50) == 0, "{query}: {:?}", image.at(75, 50));
        assert!(close(image.at(50, 10), WHITE) && alpha(&image, 50, 10) == 255, "{query}");
        for name in ["a", "opaque"] {
            let image = fetch(&server, &format!("/h/{name}.png?{query}&bg=00ff0080"));
            let [.., seen] = image.at(50, 10);
            assert!(
                within(image.at(50, 10), GREEN, 6) && seen.abs_diff(128) < 3,
                "{name}: {query}: {seen}"
            );
            let image = fetch(&server, &format!("/h/{name}.png?{query}&bg=00ff0000"));
            assert_eq!(alpha(&image, 50, 10), 0, "{name}: {query}");
            assert!(
                close(image.at(25, 50), RED) && alpha(&image, 25, 50) == 255,
                "{name}: {query}"
            );
        }
    }
    assert!(avif_has_alpha(
        &server.get("/h/opaque.png?w=40&h=40&pad=true&bg=00000000&f=avif").ok().body
    ));
    // In a format without transparency, the opacity of bg is ignored.
    let image = fetch(&server, "/h/a.png?w=40&h=40&pad=true&bg=0000ff80&f=jpg");
    assert!(within(image.at(50, 10), BLUE, 20) && within(image.at(90, 50), BLUE, 20));
    assert!(!fetch(&server, "/h/opaque.png?w=40&h=40&pad=true").has_alpha);
    // A grayscale image with a colour in bg becomes sRGB.
    let image = fetch(&server, "/h/gray.png?w=40&h=40&pad=true&bg=ff0000");
    assert!(within(image.at(50, 10), RED, 4) && within(image.at(50, 50), [90; 3], 4));
    let image = fetch(&server, "/h/gray.png?w=40&h=40&pad=true&bg=202020");
    assert!(within(image.at(50, 10), [0x20; 3], 4) && within(image.at(50, 50), [90; 3], 4));
}

#[test]
fn trim_removes_a_border_before_sizes_are_computed() {
    let inner = opaque(images::quarters());
    let sides = [30, 10, 6, 22];
    let clear = Rgba([9, 99, 199, 0]);
    let mut noisy = bordered(&inner, Rgba([128, 128, 128, 255]), sides);
    // Transparent pixels are equal, whatever their colours.
    let mut transparent = bordered(&inner, clear, sides);
    for x in 0..30 {
        noisy.put_pixel(x, 40, Rgba([128, 136, 120, 255]));
        transparent.put_pixel(x, 40, Rgba([200, 10, x as u8, 0]));
    }
    let directory = Directory::new()
        .with("black.png", &images::png(bordered(&inner, Rgba([0, 0, 0, 255]), sides)))
        .with("black.webp", &images::webp(bordered(&inner, Rgba([0, 0, 0, 255]), sides)))
        .with("black.gif", &images::gif(bordered(&inner, Rgba([0, 0, 0, 255]), sides)))
        .with("noisy.png", &images::png(noisy))
        .with("clear.png", &images::png(transparent.clone()))
        .with("clear.webp", &images::webp(transparent))
        .with("uniform.png", &images::png(images::solid(20, 30, BLUE)))
        .with(
            "dot.png",
            &images::png(bordered(&opaque(images::solid(1, 1, RED)), clear, [5, 6, 7, 8])),
        )
        .with("none.png", &images::png(inner.clone()));
    let gray = image::DynamicImage::from(bordered(&inner, Rgba([0, 0, 0, 255]), sides)).to_luma8();
    directory.put("gray.png", &images::png(gray));
    let rotated = images::with_metadata(
        Kind::Jpeg,
        &image::DynamicImage::from(image::imageops::rotate270(&bordered(
            &inner,
            Rgba([0, 0, 0, 255]),
            sides,
        )))
        .to_rgb8(),
        Some(images::exif(6)),
        None,
    );
    directory.put("turned.jpg", &rotated);
    let server = Server::with_handler(directory.handler());
    for name in [
        "black.png",
        "black.webp",
        "black.gif",
        "clear.png",
        "clear.webp",
        "turned.jpg",
        "gray.png",
    ] {
        for (query, size) in [
            ("trim=14", (64, 48)),
            ("trim=14&w=32", (32, 24)),
            ("trim=14&w=24&h=24", (24, 24)),
            ("trim=14&w=128&e=true&c=false", (128, 96)),
        ] {
            let target = format!("/h/{name}?f=png&{query}");
            let image = fetch(&server, &target);
            assert_eq!(image.size(), size, "{target}");
            if name != "gray.png" {
                expect_corners(&image.pixels, [RED, GREEN, BLUE, WHITE], &target);
            }
        }
        let target = format!("/h/{name}?f=png&trim=14&rot=90&w=24");
        let image = fetch(&server, &target);
        assert_eq!(image.size(), (24, 32), "{target}");
    }
    for (target, size) in [
        ("/h/noisy.png?trim=8", (64, 48)),
        // The noisy line reaches the left side.
        ("/h/noisy.png?trim=7", (94, 48)),
        ("/h/noisy.png?trim=0", (94, 48)),
        // Red differs by 127 from gray, green and white by as much.
        ("/h/noisy.png?trim=200", (100, 80)),
        ("/h/none.png?trim=0", (64, 48)),
        ("/h/none.png?trim=255", (64, 48)),
        ("/h/uniform.png?trim=0", (20, 30)),
        ("/h/uniform.png?trim=0&w=10", (10, 15)),
        ("/h/dot.png?trim=0", (1, 1)),
        ("/h/dot.png?trim=0&w=9&h=9&pad=true", (9, 9)),
        ("/h/black.png?trim=none", (100, 80)),
    ] {
        assert_eq!(size_of(&server.get(target).ok().body), size, "{target}");
    }
}

/// Black on the left, white on the right.
fn edge() -> image::RgbImage {
    images::columns(120, 40, &[BLACK, WHITE])
}

/// The brightness along the middle.
fn profile(image: &Image) -> Vec<u8> {
    let (width, height) = image.size();
    (0..width).map(|x| image.pixels.get_pixel(x, height / 2).0[0]).collect()
}

#[test]
fn blur_has_its_sigma_in_pixels_of_the_result_and_sharp_steepens_an_edge() {
    let soft = image::imageops::blur(&edge(), 2.0);
    let directory = Directory::new()
        .with("edge.png", &images::png(edge()))
        .with("soft.png", &images::png(soft))
        .with("gray.png", &images::png(image::DynamicImage::from(edge()).to_luma8()));
    let server = Server::with_handler(directory.handler());
    for name in ["edge", "gray"] {
        for sigma in [1.0, 4.0, 12.0, 16.0, 20.0_f64] {
            let target = format!("/h/{name}.png?blur={sigma}");
            let image = fetch(&server, &target);
            assert_eq!(image.size(), (120, 40), "{target}");
            let line = profile(&image);
            // A blurred step reaches 16 % one sigma before the edge, and 84 % one sigma after it.
            let first = |level: u8| line.iter().position(|value| *value >= level).unwrap() as f64;
            let spread = (first(214) - first(41)) / 2.0;
            assert!((spread - sigma).abs() <= 0.2 * sigma + 1.0, "{target}: {spread}");
            assert!(line.is_sorted(), "{target}: {line:?}");
        }
    }
    let plain = profile(&fetch(&server, "/h/soft.png"));
    let sharp = profile(&fetch(&server, "/h/soft.png?sharp=2"));
    let steepest = |line: &[u8]| {
        line.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).max().unwrap()
    };
    assert!(steepest(&sharp) > steepest(&plain) + 8, "{plain:?}\n{sharp:?}");
    // Whatever the size of the original.
    let small = profile(&fetch(&server, "/h/edge.png?w=60&blur=4"));
    let spread = small.iter().filter(|value| (41..214).contains(*value)).count();
    assert!((7..=10).contains(&spread), "{small:?}");
}

#[test]
fn blur_premultiplies_colours_of_transparent_pixels() {
    // Transparent blue beside red.
    let half = RgbaImage::from_fn(60, 30, |x, _| {
        if x < 30 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 0]) }
    });
    let directory = Directory::new().with("a.png", &images::png(half));
    let server = Server::with_handler(directory.handler());
    for sigma in ["3", "20"] {
        for query in ["", "&w=30"] {
            let image = fetch(&server, &format!("/h/a.png?blur={sigma}{query}"));
            let [.., middle] = image.at(50, 50);
            assert!(middle.abs_diff(128) < 30, "{sigma}: {middle}");
            for pixel in image.pixels.pixels().filter(|pixel| pixel.0[3] > 30) {
                assert!(within(pixel.0, RED, 12), "{sigma}: {pixel:?}");
            }
        }
    }
    // A sharpened image keeps its transparency.
    let image = fetch(&server, "/h/a.png?sharp=1");
    assert_eq!((image.at(10, 50), image.at(90, 50)[3]), ([255, 0, 0, 255], 0));
    // The box is filled after the blur, which does not reach it.
    let directory = Directory::new().with("a.png", &images::png(images::solid(20, 10, RED)));
    let server = Server::with_handler(directory.handler());
    let image = fetch(&server, "/h/a.png?blur=5&w=20&h=20&pad=true");
    assert!(within(image.at(50, 27), RED, 2) && within(image.at(50, 22), WHITE, 2));
}

#[test]
fn lossless_keeps_every_pixel() {
    let source = images::noise(61, 43);
    let mut clear = opaque(source.clone());
    for (x, y, pixel) in clear.enumerate_pixels_mut() {
        pixel.0[3] = (x * 4 + y % 4) as u8;
    }
    let directory = Directory::new()
        .with("a.png", &images::png(source.clone()))
        .with("clear.png", &images::png(clear.clone()))
        .with("a.jpg", &images::jpeg(source.clone()))
        .with("a.gif", &images::animated_gif(&animation()));
    let server = Server::with_handler(directory.handler());
    let webp = server.get("/h/a.png?f=webp&lossless=true").ok().body;
    // Not assert_eq, which would print two images as numbers.
    assert!(Image::decode(&webp).pixels == opaque(source.clone()));
    assert!(server.get("/h/a.png?f=webp&lossless=true&q=3").ok().body == webp);
    let avif = server.get("/h/a.png?f=avif&lossless=true").ok().body;
    // The tests have no decoder for AVIF: the server decodes it.
    let again = Directory::new().with("a.avif", &avif);
    let second = Server::with_handler(again.handler());
    assert!(fetch(&second, "/h/a.avif?f=png").pixels == opaque(source));
    // A transparent pixel may lose its colour.
    let seen = fetch(&server, "/h/clear.png?f=webp&lossless=true").pixels;
    for (one, other) in seen.pixels().zip(clear.pixels()) {
        assert_eq!(one.0[3], other.0[3]);
        assert!(one == other || one.0[3] == 0);
    }
    // Without `f`, a format that can be lossless.
    for (target, kind) in [
        ("/h/a.jpg?lossless=true", Kind::Png),
        ("/h/a.gif?lossless=true", Kind::Png),
        ("/h/a.jpg?lossless=true&f=auto", Kind::Png),
        ("/h/a.png?lossless=true", Kind::Png),
    ] {
        assert_eq!(Kind::of(&server.get(target).ok().body), Some(kind), "{target}");
    }
    let animated = Image::decode(&server.get("/h/a.gif?f=webp&lossless=true").ok().body);
    let original = Image::decode(&images::animated_gif(&animation()));
    assert_eq!(animated.frames.len(), 4);
    for (n, (one, other)) in animated.frames.iter().zip(&original.frames).enumerate() {
        // Frames are blended, and the decoder of the test rounds.
        let most = one.0.iter().zip(other.0.iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(most <= Some(1) && one.1 == other.1, "frame {n}: {most:?}");
    }
}

/// Four frames, each with another colour in its right half, and another delay.
fn animation() -> Vec<(RgbaImage, u32)> {
    [(GREEN, 100), (BLUE, 200), (BLACK, 300), (WHITE, 50)]
        .map(|([r, g, b], time)| {
            let frame = |x: u32| if x < 30 { Rgba([255, 0, 0, 255]) } else { Rgba([r, g, b, 255]) };
            (RgbaImage::from_fn(60, 40, |x, _| frame(x)), time)
        })
        .into()
}

#[test]
fn page_and_frames_select_frames_of_an_animation() {
    let directory = Directory::new().with("a.gif", &images::animated_gif(&animation()));
    let server = Server::with_handler(directory.handler());
    directory.put("a.webp", &server.get("/h/a.gif?f=webp&lossless=true").ok().body);
    directory.put("still.png", &images::png(images::quarters()));
    directory.put("still.jpg", &images::jpeg(images::quarters()));
    directory.put("still.avif", &data("quarters.avif"));
    for source in ["a.gif", "a.webp"] {
        for format in ["gif", "webp&q=95"] {
            for (query, first, count) in [
                ("", 0, 4),
                ("page=0", 0, 4),
                ("page=2", 2, 2),
                ("page=3", 3, 1),
                ("page=1&frames=2", 1, 2),
                ("page=1&frames=2&w=30", 1, 2),
                ("page=1&frames=100000", 1, 3),
                ("frames=3", 0, 3),
                ("frames=1", 0, 1),
                ("frames=1&page=2", 2, 1),
            ] {
                let target = format!("/h/{source}?f={format}&{query}");
                let image = fetch(&server, &target);
                assert_eq!(image.frames.len(), count, "{target}");
                for ((frame, time), (expected, expected_time)) in
                    image.frames.iter().zip(animation().into_iter().skip(first))
                {
                    let [r, g, b, _] = colour_at(&expected, 80, 50);
                    assert!(within(colour_at(frame, 80, 50), [r, g, b], 24), "{target}");
                    assert!(within(colour_at(frame, 20, 50), RED, 24), "{target}");
                    if count > 1 {
                        assert_eq!(*time, expected_time, "{target}");
                    }
                }
            }
            let answer = server.get(&format!("/h/{source}?f={format}&page=4"));
            assert_eq!(answer.status, 404);
            answer.failed("page_missing");
        }
        for (page, colour) in [(0, GREEN), (1, BLUE), (2, BLACK), (3, WHITE)] {
            for format in ["jpg", "png"] {
                let image = fetch(&server, &format!("/h/{source}?f={format}&page={page}"));
                assert_eq!(image.size(), (60, 40));
                assert!(within(image.at(80, 50), colour, 24) && within(image.at(20, 50), RED, 24));
            }
        }
        server.get(&format!("/h/{source}?f=jpg&page=4&w=20")).failed("page_missing");
    }
    for still in ["still.png", "still.jpg", "still.avif"] {
        assert_eq!(
            size_of(&server.get(&format!("/h/{still}?page=0&frames=7&f=webp")).ok().body),
            (64, 48)
        );
        server.get(&format!("/h/{still}?page=1")).failed("page_missing");
        server.get(&format!("/h/{still}?page=99999&f=gif")).failed("page_missing");
    }
}

#[test]
fn an_avif_has_its_primary_image_alone() {
    // images::quarters(), and a second image of 32×32.
    let directory = Directory::new().with("a.avif", &data("two-sizes.avif"));
    let server = Server::with_handler(directory.handler());
    for format in ["png", "jpg", "webp", "gif"] {
        let image = fetch(&server, &format!("/h/a.avif?f={format}&frames=2"));
        assert_eq!((image.size(), image.frames.len()), ((64, 48), 1), "{format}");
        expect_corners(&image.pixels, [RED, GREEN, BLUE, WHITE], format);
        server.get(&format!("/h/a.avif?f={format}&page=1")).failed("page_missing");
    }
    assert_eq!(size_of(&server.get("/h/a.avif?w=32").ok().body), (32, 24));
}

#[test]
fn steps_apply_to_each_frame_of_an_animation() {
    let flat: Vec<(RgbaImage, u32)> = [RED, GREEN, BLUE]
        .map(|[r, g, b]| (RgbaImage::from_pixel(60, 40, Rgba([r, g, b, 255])), 100))
        .into();
    let framed: Vec<(RgbaImage, u32)> = (0..3_u32)
        .map(|n| {
            let dot = opaque(images::solid(10, 10, RED));
            (bordered(&dot, Rgba([0, 0, 0, 255]), [10 + 5 * n, 10, 30 - 5 * n, 20]), 100)
        })
        .collect();
    let directory = Directory::new()
        .with("flat.gif", &images::animated_gif(&flat))
        .with("halves.gif", &images::animated_gif(&animation()))
        .with("framed.gif", &images::animated_gif(&framed));
    let server = Server::with_handler(directory.handler());
    for format in ["gif", "webp"] {
        let image = fetch(&server, &format!("/h/flat.gif?f={format}&blur=20&sharp=3"));
        for ((frame, _), colour) in image.frames.iter().zip([RED, GREEN, BLUE]) {
            for (x, y) in [(0, 0), (50, 50), (99, 99)] {
                assert!(
                    within(colour_at(frame, x, y), colour, 20),
                    "{format}: {:?}",
                    colour_at(frame, x, y)
                );
            }
        }
        let rotated = fetch(&server, &format!("/h/halves.gif?f={format}&rot=90&w=40&h=30&g=s"));
        assert_eq!(rotated.frames.len(), 4);
        assert_eq!(
            rotated.frames.iter().map(|frame| frame.1).collect::<Vec<_>>(),
            [100, 200, 300, 50]
        );
        for ((frame, _), colour) in rotated.frames.iter().zip([GREEN, BLUE, BLACK, WHITE]) {
            assert_eq!(frame.dimensions(), (40, 30));
            assert!(within(colour_at(frame, 50, 90), colour, 24), "{format}");
        }
        let target =
            format!("/h/halves.gif?f={format}&rot=270&flip=v&w=40&h=80&pad=true&bg=00ff00");
        let padded = fetch(&server, &target);
        for ((frame, _), colour) in padded.frames.iter().zip([GREEN, BLUE, BLACK, WHITE]) {
            assert_eq!(frame.dimensions(), (40, 80));
            // `rot` moves the right half up, and `flip` moves it down.
            for (y, expected) in [(3, GREEN), (20, RED), (80, colour), (97, GREEN)] {
                let found = colour_at(frame, 50, y);
                assert!(
                    within(found, expected, 40),
                    "{target}: {found:?} and not {expected:?} at {y} %"
                );
            }
        }
        // The kept area includes the dot of every frame, from 10 to 30.
        let trimmed = fetch(&server, &format!("/h/framed.gif?f={format}&trim=30"));
        assert_eq!((trimmed.size(), trimmed.frames.len()), ((20, 10), 3));
        for (n, (frame, _)) in trimmed.frames.iter().enumerate() {
            let left = 25 * n as u32;
            assert!(within(colour_at(frame, left + 25, 50), RED, 60), "{format}: frame {n}");
        }
        let small = fetch(&server, &format!("/h/framed.gif?f={format}&trim=30&w=10"));
        assert_eq!((small.size(), small.frames.len()), ((10, 5), 3));
    }
    // For a still image, only the first frame counts.
    assert_eq!(size_of(&server.get("/h/framed.gif?f=png&trim=30").ok().body), (10, 10));
}

#[test]
fn result_max_pixels_includes_padding() {
    let frames: Vec<(RgbaImage, u32)> =
        (0..4).map(|n| (RgbaImage::from_pixel(20, 20, Rgba([n * 50, 0, 0, 255])), 50)).collect();
    let directory = Directory::new()
        .with("a.png", &images::png(images::solid(20, 20, RED)))
        .with("a.gif", &images::animated_gif(&frames));
    let limits = serde_json::json!({"result_max_pixels": 40_000});
    let server = Server::with_limits(directory.handler(), limits);
    assert_eq!(size_of(&server.get("/h/a.png?w=200&h=200&pad=true").ok().body), (200, 200));
    server.get("/h/a.png?w=200&h=201&pad=true").failed("result_too_large");
    assert_eq!(size_of(&server.get("/h/a.gif?w=100&h=100&pad=true").ok().body), (100, 100));
    server.get("/h/a.gif?w=100&h=101&pad=true").failed("result_too_large");
    server.get("/h/a.gif?w=100&h=101&pad=true&frames=3").ok();
    // Sides are clamped to max_dimension, as those of other boxes.
    let wide = Server::with_handler(directory.handler());
    assert_eq!(size_of(&wide.get("/h/a.png?w=99999&h=2&pad=true&rot=90").ok().body), (3840, 2));
}

#[test]
fn error_images_ignore_options_other_than_size_and_format() {
    let directory = Directory::new().with("a.png", &images::png(images::quarters()));
    let server = Server::with_handler(directory.handler());
    let plain = server.get("/h/missing.png?w=120&h=90&f=png");
    let all = server.get(
        "/h/missing.png?w=120&h=90&f=png&rot=90&flip=h&trim=255&blur=9&sharp=9&page=7&frames=2&strip=false",
    );
    assert!(plain.failed("not_found").body == all.failed("not_found").body);
}

#[test]
fn steps_release_their_buffers_after_each_frame() {
    const FRAMES: u32 = 300;
    // Bytes of all decoded frames.
    const ALL: u64 = FRAMES as u64 * 60 * 60 * 4;
    let frame = |n: u32| {
        let colour = |x| if x < n % 50 { Rgba([0, 0, 255, 255]) } else { Rgba([0, 0, 0, 255]) };
        (RgbaImage::from_fn(60, 60, |x, _| colour(x)), 50)
    };
    let animated = images::animated_gif(&(0..FRAMES).map(frame).collect::<Vec<_>>());
    let directory = Directory::new().with("a.gif", &animated);
    let peak_of = |query: &str| {
        let server = Server::with_handler(directory.handler());
        let renderer = server.renderer();
        let body = server.get(&format!("/h/a.gif?{query}")).ok().body;
        assert_eq!(Image::decode(&body).frames.len(), FRAMES as usize, "{query}");
        renderer.peak()
    };
    let plain = peak_of("w=50");
    for query in [
        "sharp=1&blur=1",
        "blur=1",
        "trim=3&w=40",
        "rot=90&w=30&h=50&g=smart",
        "w=50&h=70&pad=true",
    ] {
        let peak = peak_of(query);
        let more =
            format!("{query}: {} KiB more than {}", peak.saturating_sub(plain) >> 10, plain >> 10);
        // Frames before and after the step, and partly used pages. One pipeline per frame takes ten times that.
        assert!(peak < plain + ALL * 4, "{more}");
    }
}
