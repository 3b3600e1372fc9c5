//! `crop`, distances in `g`, `fit`, `min-w` and `min-h`, `rot` by any angle, `trim` by colour and side, and `round`: by
//! pixels, compared with what the crate `image` or whole numbers give.

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageBuffer, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::json;

use crate::support::directory::Directory;
use crate::support::icc;
use crate::support::images::{self, Image, Kind, animated_gif, animated_webp, gradient, within};
use crate::support::merged;
use crate::support::server::{Server, data};

/// Left, top, width and height.
type Area = [u32; 4];

fn serve(directory: &Directory) -> Server {
    Server::with_handler(merged(directory.handler(), json!({"error_status": "precise"})))
}

#[track_caller]
fn fetch(server: &Server, target: &str) -> Image {
    Image::decode(&server.get(target).ok().body)
}

fn cut(image: &RgbaImage, [left, top, width, height]: Area) -> RgbaImage {
    imageops::crop_imm(image, left, top, width, height).to_image()
}

/// The mean difference of two images of one size, in channels.
#[track_caller]
fn mean_difference(one: &RgbaImage, other: &RgbaImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one.iter().zip(other.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len() as f64
}

/// Each pixel tells where it is: red is the column, green the line.
fn places(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 77]))
}

#[test]
fn crop_has_the_pixels_of_the_original() {
    let image = places(90, 70);
    let mut transparent = DynamicImage::from(image.clone()).into_rgba8();
    transparent.pixels_mut().for_each(|pixel| pixel[3] = pixel[0] + 100);
    let deep = ImageBuffer::from_fn(90, 70, |x, y| Rgb([x as u16 * 257, y as u16 * 257, 300]));
    let directory = Directory::new()
        .with("rgb.png", &images::png(image.clone()))
        .with("rgba.png", &images::png(transparent.clone()))
        .with("deep.png", &images::png(DynamicImage::ImageRgb16(deep)))
        .with("gray.png", &images::png(DynamicImage::from(image.clone()).into_luma8()))
        .with("rgb.webp", &images::webp(image.clone()))
        .with("rgba.webp", &images::webp(transparent));
    let server = serve(&directory);
    for (crop, area) in [
        ("3:5:20:30", [3, 5, 20, 30]),
        ("80:60:20:30", [80, 60, 10, 10]),
        ("0:0:1:1:px", [0, 0, 1, 1]),
        ("89:69:1:1", [89, 69, 1, 1]),
        ("0.1:0.1:0.5:0.25", [9, 7, 45, 18]),
        ("0.5:0:1:1", [45, 0, 45, 70]),
        ("0%3A0%3A40%3A99999999999", [0, 0, 40, 70]),
    ] {
        for name in ["rgb.png", "rgba.png", "deep.png", "gray.png", "rgb.webp", "rgba.webp"] {
            let target = format!("/h/{name}?f=png&crop={crop}");
            let found = fetch(&server, &target).pixels;
            let expected = match name {
                "gray.png" | "deep.png" => {
                    cut(&fetch(&server, &format!("/h/{name}?f=png")).pixels, area)
                }
                _ => {
                    let original = std::fs::read(directory.path().join(name)).unwrap();
                    cut(&Image::decode(&original).pixels, area)
                }
            };
            assert!(found == expected, "{target}");
        }
    }
}

#[test]
fn crop_is_in_upright_coordinates_of_every_orientation() {
    let directory = Directory::new();
    for orientation in 1..=8 {
        for kind in [Kind::Jpeg, Kind::Png, Kind::Webp] {
            let exif = Some(images::exif(orientation));
            let image = images::with_metadata(kind, &gradient(96, 64), exif, None);
            directory.put(&format!("{orientation}.{}", kind.name()), &image);
        }
    }
    for name in ["irot-1", "irot-3-imir-0", "clap-irot-1", "clap", "quarters", "grid", "odd"] {
        directory.put(&format!("{name}.avif"), &data(&format!("{name}.avif")));
    }
    directory.put("moving.gif", &data("anim.gif"));
    let server = serve(&directory);
    let files = directory.files();
    for file in files.iter().filter(|file| !file.ends_with("config.json")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let whole = fetch(&server, &format!("/h/{name}?f=png")).pixels;
        let (width, height) = whole.dimensions();
        let area = [width / 3, height / 4, width / 2, height / 3];
        let [x, y, w, h] = area;
        let target = format!("/h/{name}?f=png&crop={x}:{y}:{w}:{h}");
        assert!(fetch(&server, &target).pixels == cut(&whole, area), "{target}");
        // Rotated after it.
        let turned = fetch(&server, &format!("{target}&rot=90")).pixels;
        assert!(turned == imageops::rotate90(&cut(&whole, area)), "{target}");
    }
}

/// A crop that is made smaller is not moved, whatever the decoder does: it is closest to the resized rectangle, and less
/// close to one that is a pixel of the result off.
#[test]
fn a_crop_that_is_made_smaller_stays_in_place() {
    let photo = data("photo-2mp.jpg");
    let directory = Directory::new()
        .with("photo.jpg", &photo)
        .with("progressive.jpg", &data("jpeg/photo-progressive.jpg"))
        .with("turned.jpg", &data("orient-6.jpg"));
    let server = serve(&directory);
    // AVIF and lossy WebP of another server's making would need more files; the decoders are not the encoders.
    for format in ["webp", "avif", "png"] {
        let made = server.get(&format!("/h/photo.jpg?f={format}&q=95")).ok().body;
        directory.put(&format!("photo.{format}"), &made);
    }
    for name in
        ["photo.jpg", "progressive.jpg", "turned.jpg", "photo.webp", "photo.avif", "photo.png"]
    {
        let whole = fetch(&server, &format!("/h/{name}?f=png")).pixels;
        let (width, height) = whole.dimensions();
        for (area, to) in [
            ([width / 8 * 8 / 4, height / 16 * 8 / 2, width / 16 * 8, height / 16 * 4], 24),
            ([width / 5, height / 7, width / 2, height / 2], 20),
            ([(width / 5) | 1, (height / 7) | 1, width / 2, height / 2], 60),
            ([(width / 3) | 1, (height / 3) | 1, (width / 3) | 1, (height / 3) | 1], 100),
            ([0, 0, width, height - 1], 96),
        ] {
            let [x, y, w, h] = area;
            let to = to.min(w);
            let target = format!("/h/{name}?f=png&crop={x}:{y}:{w}:{h}&w={to}");
            let found = fetch(&server, &target).pixels;
            let small = |left: u32, top: u32| {
                let [x, y] = [(x + left).min(width - w), (y + top).min(height - h)];
                let (to_width, to_height) = found.dimensions();
                imageops::resize(
                    &cut(&whole, [x, y, w, h]),
                    to_width,
                    to_height,
                    FilterType::Lanczos3,
                )
            };
            let difference = mean_difference(&found, &small(0, 0));
            // Half a pixel of the result.
            let step = w / to / 2;
            if step > 0 && x + step + w <= width {
                let moved = mean_difference(&found, &small(step, 0));
                assert!(difference < 0.75 * moved, "{target}: {difference}, {moved} if moved");
            }
            assert!(difference < 3.0, "{target}: {difference}");
        }
    }
}

#[test]
fn crop_applies_to_each_frame() {
    let frames: Vec<(RgbaImage, u32)> = (0..4)
        .map(|n| {
            let frame = RgbaImage::from_fn(60, 40, |x, y| {
                let inside = (x / 5 + y / 5 + n) % 3;
                Rgba([80 * inside as u8, (n * 60) as u8, 30, 255])
            });
            (frame, 50 + 10 * n)
        })
        .collect();
    let directory = Directory::new()
        .with("a.gif", &animated_gif(&frames))
        .with("a.webp", &animated_webp(&frames));
    let server = serve(&directory);
    let area = [7, 9, 30, 20];
    for name in ["a.gif", "a.webp"] {
        let whole = Image::decode(&std::fs::read(directory.path().join(name)).unwrap());
        let small =
            |image: &RgbaImage| imageops::resize(&cut(image, area), 15, 10, FilterType::Lanczos3);
        // Frames of a WebP are blended by a decoder that rounds.
        for (query, most) in
            [("", 1.0), ("&w=15", 3.0), ("&rot=180&flip=hv", 1.0), ("&w=60&e=true", 9.0)]
        {
            let target = format!("/h/{name}?crop=7:9:30:20&f=webp&lossless=true{query}");
            let found = fetch(&server, &target);
            assert_eq!(found.frames.len(), whole.frames.len(), "{target}");
            for ((found, delay), (whole, expected_delay)) in found.frames.iter().zip(&whole.frames)
            {
                let expected = match query {
                    "&w=15" => small(whole),
                    "&w=60&e=true" => {
                        imageops::resize(&cut(whole, area), 60, 40, FilterType::CatmullRom)
                    }
                    _ => cut(whole, area),
                };
                assert_eq!(delay, expected_delay, "{target}");
                let difference = mean_difference(found, &expected);
                assert!(difference <= most, "{target}: {difference}");
            }
        }
        let target = format!("/h/{name}?crop=7:9:30:20&f=gif&frames=3");
        assert_eq!(fetch(&server, &target).frames.len(), 3, "{target}");
    }
}

#[test]
fn crop_outside_is_refused_and_a_bomb_is_not_decoded() {
    let directory = Directory::new()
        .with("a.png", &images::png(places(90, 70)))
        .with("bomb.png", &data("bomb-15000x15000-rgb.png"))
        .with("6.jpg", &data("orient-6.jpg"));
    let handler = merged(directory.handler(), json!({"error_status": "precise"}));
    let server = Server::with_limits(
        handler,
        json!({"source_max_pixels": 1_000_000, "result_max_pixels": 100_000}),
    );
    // 600 × 400 upright, whatever is stored.
    for target in [
        "/h/a.png?crop=90:0:9:9",
        "/h/a.png?crop=0:70:1:1:px",
        "/h/6.jpg?crop=600:0:1:1&w=9",
        "/h/6.jpg?crop=0:400:1:1&f=auto",
    ] {
        let answer = server.get(target);
        assert_eq!(
            (answer.status, answer.header("X-Error")),
            (400, Some("crop_outside")),
            "{target}"
        );
    }
    assert_eq!(fetch(&server, "/h/6.jpg?crop=599:399:9:9").size(), (1, 1));
    let answer = server.get("/h/bomb.png?crop=0:0:9:9");
    assert_eq!((answer.status, answer.header("X-Error")), (413, Some("too_many_pixels")));
    // A result is limited, not the rectangle.
    for (query, outcome) in [
        ("min-w=2000", 413),
        ("w=400&h=400&fit=stretch", 413),
        ("w=200&h=200&fit=stretch", 200),
        ("w=300&h=400&fit=outside&e=true", 413),
        ("w=3000&h=1&fit=stretch&rot=45", 200),
        ("w=3000&h=2&fit=outside&e=true&rot=45", 413),
        ("crop=0:0:1:1:px&min-h=400", 413),
        ("crop=0:0:1:1:px&min-h=300&round=max", 200),
    ] {
        let answer = server.get(&format!("/h/a.png?f=png&{query}"));
        assert_eq!(answer.status, outcome, "{query}: {:?}", answer.header("X-Error"));
        assert_eq!(answer.header("X-Error").is_some(), outcome == 413, "{query}");
    }
    // 600 × 400 rotated has 707 × 707.
    let answer = server.get("/h/6.jpg?rot=45");
    assert_eq!((answer.status, answer.header("X-Error")), (413, Some("result_too_large")));
    assert_eq!(fetch(&server, "/h/6.jpg?rot=45&w=100").size(), (100, 100));
}

#[test]
fn distances_move_the_crop_and_the_padded_image() {
    let directory = Directory::new().with("a.png", &images::png(places(100, 80)));
    let server = serve(&directory);
    // Of 100 × 80 pixels, a box keeps lines or columns; the first pixel tells which.
    for (query, first) in [
        ("w=100&h=20&g=n:0:7", [0, 7]),
        ("w=100&h=20&g=s:0:7", [0, 53]),
        ("w=100&h=20&g=ce:0:7", [0, 37]),
        ("w=100&h=20&g=w:3:7", [0, 37]),
        ("w=100&h=20&g=n:9:0.25", [0, 5]),
        ("w=100&h=20&g=n:0:99", [0, 60]),
        ("w=100&h=20&g=s:0:99", [0, 0]),
        ("w=20&h=80&g=ne:7:0", [73, 0]),
        ("w=20&h=80&g=nw:0.5:9", [10, 0]),
        ("w=20&h=80&g=s:7:0", [47, 0]),
        ("w=10&h=40&dpr=2&g=w:7:0", [14, 0]),
        ("w=20&h=80&fit=ratio&g=e:7:0", [73, 0]),
        ("w=200&h=100&fit=ratio&g=n:0:7", [0, 7]),
        ("w=30&min-h=80&g=e:7:0", [63, 0]),
        ("w=30&h=20&min-h=80&c=false&g=se:7:9", [63, 51]),
    ] {
        let found = fetch(&server, &format!("/h/a.png?f=png&{query}")).pixels;
        assert_eq!(found.get_pixel(0, 0).0[..2], first, "{query}");
    }
    for (query, corner) in [
        ("g=nw:7:9", [7, 9]),
        ("g=se:7:9", [100 - 7, 120 - 9]),
        ("g=n:7:9", [50 + 7, 9]),
        ("g=ce:7:9", [50 + 7, 60 + 9]),
        ("g=e:0.25:0", [100 - 50, 60]),
        ("g=nw:500:500", [100, 120]),
        ("g=se:500:500", [0, 0]),
        ("g=fp:0:0", [50, 60]),
    ] {
        let query = format!("w=200&h=200&pad=true&bg=ff00ff&{query}");
        let found = fetch(&server, &format!("/h/a.png?f=png&{query}")).pixels;
        assert_eq!(found.dimensions(), (200, 200), "{query}");
        let [x, y] = corner;
        assert!(
            cut(&found, [x, y, 100, 80]) == DynamicImage::from(places(100, 80)).into_rgba8(),
            "{query}"
        );
        let rest = found
            .enumerate_pixels()
            .filter(|(px, py, _)| !((x..x + 100).contains(px) && (y..y + 80).contains(py)));
        assert!(rest.clone().count() == 200 * 200 - 100 * 80, "{query}");
        assert!(
            rest.map(|(_, _, pixel)| pixel.0).all(|pixel| pixel == [255, 0, 255, 255]),
            "{query}"
        );
    }
}

#[test]
fn fit_and_minimum_give_the_stated_sizes() {
    let photo = gradient(200, 100);
    let directory = Directory::new()
        .with("a.png", &images::png(photo.clone()))
        .with("a.jpg", &images::jpeg(photo.clone()));
    let server = serve(&directory);
    for (query, size) in [
        ("w=50&h=90&fit=stretch", (50, 90)),
        ("w=300&h=20&fit=stretch", (300, 20)),
        ("w=50&h=40&fit=outside", (80, 40)),
        ("w=50&h=10&fit=outside", (50, 25)),
        ("w=500&h=10&fit=outside", (200, 100)),
        ("w=500&h=10&fit=outside&e=true", (500, 250)),
        ("w=300&h=300&fit=ratio", (100, 100)),
        ("w=300&h=60&fit=ratio", (200, 40)),
        ("w=60&h=300&fit=ratio", (20, 100)),
        ("w=60&h=50&fit=ratio", (60, 50)),
        ("w=300&h=300&fit=ratio&e=true", (300, 300)),
        ("w=300&h=300&fit=cover", (200, 100)),
        ("w=300&h=300&fit=contain", (200, 100)),
        ("w=300&h=300&fit=pad", (300, 300)),
        ("min-w=300", (300, 150)),
        ("min-w=300&min-h=300", (600, 300)),
        ("min-w=100&min-h=10", (200, 100)),
        ("w=50&min-h=80", (50, 80)),
        ("h=50&min-w=160", (160, 50)),
        ("w=60&h=60&c=false&min-h=60", (60, 60)),
        ("w=60&h=70&fit=pad&min-h=60", (60, 70)),
        ("w=30&h=30&min-w=40&dpr=2", (60, 60)),
        ("w=50&h=50&fit=outside&min-w=150", (150, 75)),
        ("w=50&h=50&fit=stretch&min-w=150", (50, 50)),
        ("rot=90&w=30&h=30&fit=outside", (30, 60)),
        ("crop=0:0:50:100&w=300&h=100&fit=ratio", (50, 17)),
    ] {
        for name in ["a.png", "a.jpg"] {
            let target = format!("/h/{name}?{query}");
            assert_eq!(fetch(&server, &target).size(), size, "{target}");
        }
    }
    let stretched = fetch(&server, "/h/a.png?f=png&w=50&h=90&fit=stretch").pixels;
    let expected =
        imageops::resize(&DynamicImage::from(photo).into_rgba8(), 50, 90, FilterType::Lanczos3);
    assert!(mean_difference(&stretched, &expected) < 2.0);
}

#[test]
fn fit_replaces_the_older_words_of_a_preset_and_neutral_values_share_an_entry() {
    let cache = Directory::new();
    let directory = Directory::new().with("a.png", &images::png(gradient(200, 100)));
    let presets = json!({
        "cache_path": cache.path(),
        "presets": {"whole": "w=60&h=60&c=false", "shape": "w=300&h=300&fit=ratio"},
    });
    let server = Server::with_handler(merged(directory.handler(), presets));
    for (query, size) in [
        ("p=whole", (60, 30)),
        ("p=whole&fit=stretch", (60, 60)),
        ("p=whole&fit=outside", (120, 60)),
        ("p=shape", (100, 100)),
        ("p=shape&c=false", (200, 100)),
        ("p=shape&pad=true", (300, 300)),
    ] {
        assert_eq!(fetch(&server, &format!("/h/a.png?{query}")).size(), size, "{query}");
    }
    let answer = server.get("/h/a.png?p=shape&fit=cover&c=true");
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("fit: can't be given together with c"), "{}", answer.text());
    let cached =
        |query: &str| server.get(&format!("/h/a.png?{query}")).ok().expect("X-Cache").to_owned();
    assert_eq!(cached("w=70&h=70"), "miss");
    for query in [
        "crop=0:0:1:1",
        "crop=none",
        "round=0",
        "rot=360",
        "rot=0.001",
        "fit=cover",
        "g=ce:0:0",
        "trim=none",
    ] {
        assert_eq!(cached(&format!("w=70&h=70&{query}")), "hit", "{query}");
    }
    assert_eq!(cached("w=70&h=70&c=false"), "miss");
    assert_eq!(cached("w=70&h=70&fit=contain"), "hit");
}

#[test]
fn trim_removes_a_colour_at_the_sides_that_are_named() {
    // A border of white, 4 wide at the left, 9 at the right, 6 above, 3 below; around it 2 of black.
    let inner = DynamicImage::from(places(30, 20)).into_rgba8();
    let framed = |outer: Rgba<u8>, around: u32| {
        let (left, top) = (4 + around, 6 + around);
        let mut image = RgbaImage::from_pixel(43 + 2 * around, 29 + 2 * around, outer);
        let white = RgbaImage::from_pixel(43, 29, Rgba([255; 4]));
        imageops::replace(&mut image, &white, i64::from(around), i64::from(around));
        imageops::replace(&mut image, &inner, i64::from(left), i64::from(top));
        image
    };
    let black = Rgba([0, 0, 0, 255]);
    let mut transparent = framed(black, 0);
    for pixel in transparent.pixels_mut().filter(|pixel| pixel.0 == [255; 4]) {
        pixel[3] = 0;
    }
    let mut gray = image::GrayImage::from_pixel(43, 29, image::Luma([255]));
    imageops::replace(
        &mut gray,
        &image::GrayImage::from_fn(30, 20, |x, y| image::Luma([(x + y) as u8])),
        4,
        6,
    );
    let directory = Directory::new()
        .with("white.png", &images::png(framed(black, 0)))
        .with("black.png", &images::png(framed(black, 2)))
        .with("clear.png", &images::png(transparent))
        .with("gray.png", &images::png(gray))
        .with("white.gif", &images::gif(framed(black, 0)))
        .with("white.webp", &images::webp(framed(black, 0)));
    let server = serve(&directory);
    // The area that is left, of 43 × 29 pixels.
    let all = [4, 6, 30, 20];
    for (name, query, area) in [
        ("white.png", "5", all),
        ("white.png", "5:ffffff", all),
        ("white.png", "5:auto:l", [4, 0, 39, 29]),
        ("white.png", "5:ffffff:r", [0, 0, 34, 29]),
        ("white.png", "5:auto:lr", [4, 0, 30, 29]),
        ("white.png", "5:auto:tb", [0, 6, 43, 20]),
        ("white.png", "5:auto:h", [4, 0, 35, 29]),
        ("white.png", "5:auto:v", [0, 3, 43, 23]),
        ("white.png", "5:ffffff:hv", [4, 3, 35, 23]),
        ("white.png", "5:ffffff:ht", [4, 6, 35, 23]),
        ("white.png", "5:fefefe", all),
        ("white.png", "5:f0f0f0", [0, 0, 43, 29]),
        ("white.png", "5:ffffff00", [0, 0, 43, 29]),
        ("white.gif", "5:ffffff:l", [4, 0, 39, 29]),
        ("white.webp", "5:ffffff:hv", [4, 3, 35, 23]),
        ("clear.png", "5", all),
        ("clear.png", "5:00000000", all),
        ("clear.png", "5:ff00ff00:t", [0, 6, 43, 23]),
        ("clear.png", "5:ffffff", [0, 0, 43, 29]),
        ("gray.png", "5:ffffff", all),
        ("gray.png", "5:ff0000", [0, 0, 43, 29]),
        // No pixel of an opaque image is transparent.
        ("gray.png", "5:ffffff00", [0, 0, 43, 29]),
        ("gray.png", "5:fffffffb", all),
        // After the rectangle, which is without the black.
        ("black.png", "5:ffffff&crop=2:2:43:29", all),
        ("black.png", "5&crop=2:2:43:29", all),
    ] {
        let target = format!("/h/{name}?f=png&trim={query}");
        let found = fetch(&server, &target).pixels;
        let whole = match name {
            "black.png" => framed(black, 0),
            _ => fetch(&server, &format!("/h/{name}?f=png")).pixels,
        };
        let expected = cut(&whole, area);
        assert_eq!(found.dimensions(), expected.dimensions(), "{target}");
        assert!(found == expected, "{target}");
    }
    // A colour that is not there leaves everything, and so does black around white.
    assert_eq!(fetch(&server, "/h/black.png?trim=5:ffffff").size(), (47, 33));
    assert_eq!(fetch(&server, "/h/black.png?trim=5").size(), (43, 29));
}

/// Rotates by a matrix, with bilinear interpolation, onto a background.
fn rotated(image: &RgbaImage, degrees: f64, size: (u32, u32), background: [u8; 4]) -> RgbaImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let premultiplied = |[r, g, b, a]: [u8; 4]| {
        let alpha = f64::from(a) / 255.0;
        [f64::from(r) * alpha, f64::from(g) * alpha, f64::from(b) * alpha, f64::from(a)]
    };
    let at = |x: i64, y: i64| {
        let inside = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        let pixel = inside.and_then(|(x, y)| image.get_pixel_checked(x, y));
        premultiplied(pixel.map_or(background, |pixel| pixel.0))
    };
    RgbaImage::from_fn(size.0, size.1, |x, y| {
        let dx = f64::from(x) + 0.5 - f64::from(size.0) / 2.0;
        let dy = f64::from(y) + 0.5 - f64::from(size.1) / 2.0;
        // The inverse of a clockwise rotation, with y downwards.
        let sx = dx * cos + dy * sin + width / 2.0 - 0.5;
        let sy = -dx * sin + dy * cos + height / 2.0 - 0.5;
        let (left, top) = (sx.floor(), sy.floor());
        let (right, down) = (sx - left, sy - top);
        let mut sums = [0.0; 4];
        for (ox, oy, part) in [
            (0, 0, (1.0 - right) * (1.0 - down)),
            (1, 0, right * (1.0 - down)),
            (0, 1, (1.0 - right) * down),
            (1, 1, right * down),
        ] {
            let pixel = at(left as i64 + ox, top as i64 + oy);
            sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += part * value);
        }
        let alpha = sums[3] / 255.0;
        let straight = |value: f64| if alpha > 0.0 { (value / alpha).round() as u8 } else { 0 };
        Rgba([straight(sums[0]), straight(sums[1]), straight(sums[2]), sums[3].round() as u8])
    })
}

#[test]
fn rot_by_an_angle_is_the_rotation_of_each_pixel() {
    let photo = gradient(90, 60);
    let opaque = DynamicImage::from(photo.clone()).into_rgba8();
    let mut half = opaque.clone();
    half.pixels_mut().for_each(|pixel| pixel[3] = 255 - pixel[0] / 2);
    let gray = DynamicImage::from(photo.clone()).into_luma8();
    let moving: Vec<(RgbaImage, u32)> = (0..3)
        .map(|n| {
            let colour =
                [Rgba([200, 30, 40, 255]), Rgba([20, 180, 60, 255]), Rgba([20, 30, 220, 255])][n];
            (RgbaImage::from_pixel(90, 60, colour), 100)
        })
        .collect();
    let directory = Directory::new()
        .with("rgb.png", &images::png(photo.clone()))
        .with("rgba.png", &images::png(half.clone()))
        .with("gray.png", &images::png(gray.clone()))
        .with("rgb.jpg", &images::jpeg(photo))
        .with("a.gif", &animated_gif(&moving))
        .with("a.webp", &animated_webp(&moving));
    let server = serve(&directory);
    let size = |degrees: f64| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let side = |length: f64| (length - 1e-6).ceil() as u32;
        (side(90.0 * cos.abs() + 60.0 * sin.abs()), side(90.0 * sin.abs() + 60.0 * cos.abs()))
    };
    for (name, original) in [
        ("rgb.png", &opaque),
        ("rgb.jpg", &opaque),
        ("rgba.png", &half),
        ("gray.png", &DynamicImage::from(gray).into_rgba8()),
    ] {
        for degrees in [0.5, 12.34, 45.0, 89.9, 100.0, 200.25, 300.0, 359.0] {
            for (bg, colour) in [
                ("", [255; 4]),
                ("&bg=336699", [51, 102, 153, 255]),
                ("&bg=ff000000", [255, 0, 0, 0]),
            ] {
                let target = format!("/h/{name}?f=png&rot={degrees}{bg}");
                let found = fetch(&server, &target);
                assert_eq!(found.size(), size(degrees), "{target}");
                assert_eq!(found.has_alpha, colour[3] < 255 || name == "rgba.png", "{target}");
                let expected = rotated(original, degrees, found.size(), colour);
                let difference = mean_difference(&found.pixels, &expected);
                // Bicubic against bilinear: edges differ.
                assert!(difference < 2.5, "{target}: {difference}");
                let corners =
                    [(0, 0), (found.size().0 - 1, 0)].map(|(x, y)| *found.pixels.get_pixel(x, y));
                if (10.0..80.0).contains(&(degrees % 90.0)) {
                    let is_colour = |pixel: &Rgba<u8>| match colour[3] {
                        0 => pixel[3] == 0,
                        _ => pixel.0 == colour,
                    };
                    assert!(corners.iter().all(is_colour), "{target}: {corners:?}");
                }
            }
        }
    }
    // The wrong direction is far off.
    let found = fetch(&server, "/h/rgb.png?f=png&rot=30").pixels;
    assert!(mean_difference(&found, &rotated(&opaque, 330.0, found.dimensions(), [255; 4])) > 10.0);
    // Reflected after it, made smaller before it, cropped after it.
    let flipped = fetch(&server, "/h/rgb.png?f=png&rot=30&flip=h").pixels;
    assert!(flipped == imageops::flip_horizontal(&found));
    let (width, height) = size(30.0);
    for (query, small) in
        [("w=54", (54, 49)), ("w=54&h=20&fit=stretch", (54, 20)), ("w=216&e=true", (216, 194))]
    {
        let target = format!("/h/rgb.png?f=png&rot=30&{query}");
        let found = fetch(&server, &target).pixels;
        assert_eq!(found.dimensions(), small, "{target}");
        let expected = imageops::resize(
            &rotated(&opaque, 30.0, (width, height), [255; 4]),
            small.0,
            small.1,
            FilterType::CatmullRom,
        );
        let difference = mean_difference(&found, &expected);
        assert!(difference < 4.0, "{target}: {difference}");
    }
    // Every frame.
    for name in ["a.gif", "a.webp"] {
        let found = fetch(&server, &format!("/h/{name}?rot=30&bg=00000000"));
        assert_eq!(found.frames.len(), 3, "{name}");
        for ((frame, _), (original, _)) in found.frames.iter().zip(&moving) {
            assert_eq!(frame.dimensions(), size(30.0));
            assert_eq!(frame.get_pixel(1, 1)[3], 0, "{name}");
            let [r, g, b, _] = original.get_pixel(0, 0).0;
            assert!(within(frame.get_pixel(width / 2, height / 2).0, [r, g, b], 12), "{name}");
        }
    }
    // Transparency counts for `f=auto`, and a format without it gets an opaque background.
    let accept = [("Accept", "image/webp;q=0.5,*/*")];
    let kind = |target: &str| Kind::of(&server.get_with(target, &accept).ok().body);
    assert_eq!(kind("/h/rgb.jpg?f=auto&rot=30&bg=ff000000"), Some(Kind::Webp));
    assert_eq!(kind("/h/rgb.jpg?f=auto&rot=30&bg=ff0000"), Some(Kind::Jpeg));
    let found = fetch(&server, "/h/rgb.jpg?rot=30&bg=ff000000");
    assert!(
        within(found.pixels.get_pixel(1, 1).0, [255, 0, 0], 40),
        "{:?}",
        found.pixels.get_pixel(1, 1)
    );
}

#[test]
fn round_makes_corners_transparent_or_fills_them() {
    let solid = images::solid(60, 40, [10, 120, 200]);
    let half = RgbaImage::from_pixel(60, 40, Rgba([10, 120, 200, 128]));
    let frames: Vec<(RgbaImage, u32)> = [100_u8, 200]
        .into_iter()
        .map(|red| (RgbaImage::from_pixel(60, 40, Rgba([red, 120, 200, 255])), 100))
        .collect();
    let directory = Directory::new()
        .with("a.jpg", &images::jpeg(solid.clone()))
        .with("a.png", &images::png(solid.clone()))
        .with("half.png", &images::png(half))
        .with("gray.png", &images::png(DynamicImage::from(solid.clone()).into_luma8()))
        .with("a.gif", &animated_gif(&frames));
    let server = serve(&directory);
    // The part of a pixel within the rounded rectangle, of 32 × 32 points.
    let covered = |radius: f64, (width, height): (u32, u32), x: u32, y: u32| {
        let beyond =
            |at: f64, side: u32| (radius - at).max(at - (f64::from(side) - radius)).max(0.0);
        let point = |n: u32| (f64::from(n) + 0.5) / 32.0;
        let inside = (0..1024).filter(|n| {
            let across = beyond(f64::from(x) + point(n % 32), width);
            let down = beyond(f64::from(y) + point(n / 32), height);
            across.hypot(down) <= radius
        });
        inside.count() as f64 / 1024.0
    };
    for (query, radius, size) in [
        ("round=12", 12.0, (60, 40)),
        ("round=max", 20.0, (60, 40)),
        ("round=99999", 20.0, (60, 40)),
        ("w=30&h=30&round=max", 15.0, (30, 30)),
        ("w=15&h=15&dpr=2&round=4", 8.0, (30, 30)),
        ("w=60&h=60&pad=true&round=9", 9.0, (60, 60)),
        ("rot=90&round=9", 9.0, (40, 60)),
        ("crop=0:0:20:20&round=9", 9.0, (20, 20)),
    ] {
        for (name, alpha) in
            [("a.png", 255.0), ("a.jpg", 255.0), ("gray.png", 255.0), ("half.png", 128.0)]
        {
            if name == "half.png" && query.contains("pad") {
                continue;
            }
            let target = format!("/h/{name}?f=png&{query}");
            let found = fetch(&server, &target);
            assert_eq!(found.size(), size, "{target}");
            for (x, y, pixel) in found.pixels.enumerate_pixels() {
                let expected = alpha * covered(radius, size, x, y);
                assert!(
                    (f64::from(pixel[3]) - expected).abs() <= 6.0,
                    "{target} at {x}, {y}: {pixel:?}, {expected}"
                );
            }
        }
    }
    // In a format without transparency, the corners are mixed with the background.
    let found = fetch(&server, "/h/a.png?f=jpg&q=98&round=max&bg=ff8000").pixels;
    for (x, y, pixel) in found.enumerate_pixels() {
        let part = covered(20.0, (60, 40), x, y);
        let mixed = [(10.0, 255.0), (120.0, 128.0), (200.0, 0.0)]
            .map(|(inner, outer)| (inner * part + outer * (1.0 - part)) as u8);
        assert!(within(pixel.0, mixed, 40), "{x}, {y}: {pixel:?}, {mixed:?}");
    }
    assert!(within(found.get_pixel(0, 0).0, [255, 128, 0], 12), "{:?}", found.get_pixel(0, 0));
    // A GIF has no half transparent pixels.
    let moving = fetch(&server, "/h/a.gif?round=max");
    assert_eq!(moving.frames.len(), 2);
    for (frame, _) in &moving.frames {
        assert_eq!((frame.get_pixel(0, 0)[3], frame.get_pixel(30, 20)[3]), (0, 255));
    }
    let accept = [("Accept", "image/webp;q=0.5,*/*")];
    let body = server.get_with("/h/a.jpg?f=auto&round=3", &accept).ok().body;
    assert_eq!(Kind::of(&body), Some(Kind::Webp));
}

#[test]
fn the_colour_of_a_border_is_one_of_srgb_also_in_a_kept_profile() {
    // Around black, a colour of Display P3 that is within sRGB.
    let stored = [120, 90, 160];
    let image = RgbImage::from_fn(40, 30, |x, y| {
        let is_inside = (8..30).contains(&x) && (5..25).contains(&y);
        Rgb(if is_inside { [0; 3] } else { stored })
    });
    let profile = icc::profile(&icc::DISPLAY_P3);
    let png = images::with_metadata(Kind::Png, &image, None, Some(profile));
    let directory = Directory::new().with("a.png", &png);
    let server = serve(&directory);
    let light = icc::to_linear_srgb(&icc::DISPLAY_P3, stored.map(|value| f64::from(value) / 255.0));
    let hexadecimal = |colour: [u8; 3]| colour.map(|byte| format!("{byte:02x}")).concat();
    let shown = hexadecimal(light.map(|light| (255.0 * icc::srgb_encoded(light)).round() as u8));
    let stored = hexadecimal(stored);
    assert_ne!(shown, stored);
    for (query, size) in [
        (format!("trim=2:{shown}&strip=false"), (22, 20)),
        (format!("trim=2:{shown}"), (22, 20)),
        (format!("trim=2:{stored}&strip=false"), (40, 30)),
        (format!("trim=2:{stored}"), (40, 30)),
    ] {
        assert_eq!(fetch(&server, &format!("/h/a.png?f=png&{query}")).size(), size, "{query}");
    }
}

/// With `strip=false` a border has the colour of the profile's space, and nothing else changes.
#[test]
fn geometry_keeps_a_profile() {
    let directory = Directory::new().with("p3.jpg", &data("p3-primaries.jpg"));
    let server = serve(&directory);
    let whole = fetch(&server, "/h/p3.jpg?f=png&strip=false");
    assert!(whole.has_profile);
    let (width, height) = whole.size();
    let area = [width / 4, height / 4, width / 2, height / 2];
    let [x, y, w, h] = area;
    let found = fetch(&server, &format!("/h/p3.jpg?f=png&strip=false&crop={x}:{y}:{w}:{h}"));
    assert!(found.has_profile && found.pixels == cut(&whole.pixels, area));
    let round = fetch(&server, "/h/p3.jpg?f=png&strip=false&round=max&rot=20&bg=00000000");
    assert!(round.has_profile && round.has_alpha);
}
