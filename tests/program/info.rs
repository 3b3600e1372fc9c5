//! `f=json`, `f=thumbhash` and `f=blurhash`.

use std::f64::consts::PI;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{Rgba, RgbaImage};
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images::{
    self, BLACK, BLUE, GREEN, Image, Kind, MAGENTA, RED, WHITE, columns, quarters, size_of,
};
use crate::support::merged;
use crate::support::png_chunks::{damaged, with_chunks};
use crate::support::server::{Server, Setup, data};
use crate::support::tokens::{hmac, signed};

#[track_caller]
fn text(answer: Answer, media_type: &str) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.expect("Content-Type"), media_type);
    assert_eq!(answer.expect("X-Content-Type-Options"), "nosniff");
    assert_eq!(answer.expect("Content-Length"), answer.body.len().to_string());
    String::from_utf8(answer.body).unwrap()
}

/// The document of a target with `f=json`.
#[track_caller]
fn describe(server: &Server, target: &str) -> Value {
    serde_json::from_str(&text(server.get(target), "application/json")).unwrap()
}

#[track_caller]
fn hash(server: &Server, target: &str) -> String {
    text(server.get(target), "text/plain; charset=utf-8")
}

/// A colour as in CSS.
#[track_caller]
fn rgb(value: &Value) -> [u8; 3] {
    let digits = value.as_str().and_then(|text| text.strip_prefix('#')).expect("#rrggbb");
    assert_eq!(digits.len(), 6);
    [0, 2, 4].map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
}

fn is_near(one: [u8; 3], other: [u8; 3], most: u8) -> bool {
    one.iter().zip(other).all(|(one, other)| one.abs_diff(other) <= most)
}

/// The mean of all samples, by their opacity.
fn mean(pixels: &RgbaImage) -> [u8; 3] {
    let mut sums = [0_u64; 4];
    for Rgba([red, green, blue, alpha]) in pixels.pixels() {
        let alpha = u64::from(*alpha);
        for (sum, sample) in sums.iter_mut().zip([red, green, blue]) {
            *sum += u64::from(*sample) * alpha;
        }
        sums[3] += alpha;
    }
    [0, 1, 2].map(|channel| (sums[channel] as f64 / sums[3] as f64).round() as u8)
}

/// Decodes a BlurHash of 4 × 3 components to 40 × 30 pixels, as its specification (Algorithm.md) says.
fn decode_blurhash(hash: &str) -> RgbaImage {
    const DIGITS: &str =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";
    let number = |from: usize, to: usize| {
        let digits = hash[from..to].chars().map(|digit| DIGITS.find(digit).unwrap());
        digits.fold(0, |number, digit| number * 83 + digit)
    };
    assert_eq!((hash.len(), number(0, 1)), (28, 3 + 2 * 9));
    let most = (number(1, 2) + 1) as f64 / 166.0;
    let linear = |sample: usize| {
        let value = sample as f64 / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let mut components = vec![[16, 8, 0].map(|shift| linear(number(2, 6) >> shift & 255))];
    for index in 0..11 {
        let code = number(6 + 2 * index, 8 + 2 * index);
        components.push([code / 361, code / 19 % 19, code % 19].map(|level| {
            let value = (level as f64 - 9.0) / 9.0;
            value * value.abs() * most
        }));
    }
    RgbaImage::from_fn(40, 30, |x, y| {
        let channel = |channel: usize| {
            let mut light = 0.0;
            for (index, component) in components.iter().enumerate() {
                let (i, j) = ((index % 4) as f64, (index / 4) as f64);
                let across = (PI * f64::from(x) / 40.0 * i).cos();
                light += component[channel] * across * (PI * f64::from(y) / 30.0 * j).cos();
            }
            let light = light.clamp(0.0, 1.0);
            let value = if light <= 0.0031308 {
                light * 12.92
            } else {
                1.055 * light.powf(1.0 / 2.4) - 0.055
            };
            (value * 255.0).round() as u8
        };
        Rgba([channel(0), channel(1), channel(2), 255])
    })
}

/// The mean colour, the opacity and the ratio of width to height in a ThumbHash (Wallace).
fn read_thumbhash(hash: &str) -> ([u8; 3], Option<f64>, f64) {
    let bytes = STANDARD.decode(hash).unwrap();
    let start = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    let next = u16::from_le_bytes([bytes[3], bytes[4]]);
    let part = |shift: u32| f64::from(start >> shift & 63);
    let (l, p, q) = (part(0) / 63.0, part(6) / 31.5 - 1.0, part(12) / 31.5 - 1.0);
    let blue = l - 2.0 / 3.0 * p;
    let red = (3.0 * l - blue + q) / 2.0;
    let colour = [red, red - q, blue].map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8);
    let has_alpha = start >> 23 == 1;
    let (longest, shortest) = (if has_alpha { 5.0 } else { 7.0 }, f64::from(next & 7));
    let ratio = if next >> 15 == 1 { longest / shortest } else { shortest / longest };
    (colour, has_alpha.then(|| f64::from(bytes[5] & 15) / 15.0), ratio)
}

#[test]
fn a_document_describes_the_original_and_the_result() {
    let photo = data("photo-2mp.jpg");
    let directory = Directory::new().with("a.jpg", &photo);
    let server = Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), json!({"name": "webp", "output_format": "webp"})),
    ]}));
    let document = describe(&server, "/h/a.jpg?f=json");
    assert_eq!(
        document["original"],
        json!({"format": "jpg", "media_type": "image/jpeg", "bytes": photo.len(), "width": 1664, "height": 1248,
            "stored_width": 1664, "stored_height": 1248, "orientation": 1, "frames": 1, "duration_ms": null,
            "loop": null, "alpha": false, "profile": null, "progressive": false, "exif": false, "gps": false})
    );
    let result = |format: &str, width: u32, height: u32| {
        let media_type = format!("image/{}", format.replace("jpg", "jpeg"));
        json!({"format": format, "media_type": media_type, "width": width, "height": height, "frames": 1})
    };
    assert_eq!(document["result"], result("jpg", 1664, 1248));
    // The result is that of the same query without `f`.
    for query in [
        "w=300",
        "w=301&h=200",
        "w=5000&e=true",
        "h=77&rot=90",
        "w=90&h=80&pad=true",
        "w=9&h=8&c=false",
        "lossless=true&w=99",
    ] {
        for handler in ["h", "webp"] {
            let plain = server.get(&format!("/{handler}/a.jpg?{query}")).ok();
            let (width, height) = size_of(&plain.body);
            let document = describe(&server, &format!("/{handler}/a.jpg?{query}&f=json"));
            let format = Kind::of(&plain.body).unwrap().name();
            assert_eq!(document["result"], result(format, width, height), "{handler} {query}");
        }
    }
    // Names, for those who read them.
    let names: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(names, ["original", "placeholder", "result"]);
    let names: Vec<&String> = document["placeholder"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["average", "blurhash", "dominant", "thumbhash"]);
}

#[test]
fn colours_and_hashes_are_those_of_the_pixels() {
    let picture = columns(600, 300, &[RED, RED, RED, BLUE, BLUE, WHITE]);
    let photo = Image::decode(&data("photo-2mp.jpg")).pixels;
    let directory = Directory::new()
        .with("a.png", &images::png(picture.clone()))
        .with("photo.jpg", &data("photo-2mp.jpg"));
    let server = Server::with_handler(directory.handler());
    let placeholder = describe(&server, "/h/a.png?f=json")["placeholder"].clone();
    let dominant = placeholder["dominant"].as_array().unwrap();
    for ((found, colour), share) in dominant.iter().zip([RED, BLUE, WHITE]).zip([0.5, 0.333, 0.167])
    {
        assert!(is_near(rgb(&found["rgb"]), colour, 10), "{found}");
        assert!((found["share"].as_f64().unwrap() - share).abs() < 0.03, "{found}");
    }
    for (name, pixels) in
        [("a.png", image::DynamicImage::from(picture).into_rgba8()), ("photo.jpg", photo)]
    {
        let expected = mean(&pixels);
        let document = describe(&server, &format!("/h/{name}?f=json"));
        let placeholder = &document["placeholder"];
        let average = rgb(&placeholder["average"]);
        assert!(is_near(average, expected, 2), "{name}: {average:?}, not {expected:?}");
        let shares = placeholder["dominant"].as_array().unwrap().iter();
        let sum: f64 = shares.map(|one| one["share"].as_f64().unwrap()).sum();
        assert!((0.97..=1.005).contains(&sum), "{sum}");
        // Those of `f=thumbhash` and `f=blurhash`, of any size.
        let [thumbhash, blurhash] = ["thumbhash", "blurhash"].map(|format| {
            let found = hash(&server, &format!("/h/{name}?f={format}"));
            assert_eq!(placeholder[format], found);
            assert_eq!(found, hash(&server, &format!("/h/{name}?f={format}&w=40")));
            let sized = describe(&server, &format!("/h/{name}?f=json&w=333&q=3"));
            assert_eq!(sized["placeholder"][format], found);
            found
        });
        let (colour, opacity, ratio) = read_thumbhash(&thumbhash);
        assert!(is_near(colour, expected, 9), "{colour:?}, not {expected:?}");
        let (width, height) = pixels.dimensions();
        assert!((ratio - f64::from(width) / f64::from(height)).abs() < 0.3, "{ratio}");
        assert_eq!(opacity, None);
        // Each ninth of the placeholder has about the colour of that part of the image.
        let decoded = decode_blurhash(&blurhash);
        for (x, y) in [0, 1, 2].into_iter().flat_map(|x| [0, 1, 2].map(|y| (x, y))) {
            let part = |image: &RgbaImage| {
                let (width, height) = (image.width() / 3, image.height() / 3);
                let view = image::imageops::crop_imm(image, x * width, y * height, width, height);
                mean(&view.to_image())
            };
            let (found, expected) = (part(&decoded), part(&pixels));
            // Four components swing over the edges of stripes.
            let most = if name == "photo.jpg" { 45 } else { 90 };
            assert!(is_near(found, expected, most), "{name} {x} {y}: {found:?}, not {expected:?}");
        }
    }
}

#[test]
fn a_crop_and_other_steps_change_what_is_described() {
    // From the left: a quarter of each.
    let picture = images::png(columns(800, 200, &[RED, GREEN, BLUE, BLACK]));
    let directory = Directory::new().with("a.png", &picture);
    let server = Server::with_handler(directory.handler());
    for (query, expected, ratio) in [
        ("w=100&h=100&g=w", RED, 1.0),
        ("w=10&h=10&g=w", RED, 1.0),
        ("w=100&h=100&g=fp:0.375:0.5", GREEN, 1.0),
        ("w=50&h=100&g=e", BLACK, 0.5),
        ("w=100&h=100&g=w&flip=h", BLACK, 1.0),
        ("w=100&h=100&g=s&rot=90", BLACK, 1.0),
        ("w=400&h=400&g=w&e=true", RED, 1.0),
    ] {
        let document = describe(&server, &format!("/h/a.png?{query}&f=json"));
        let average = rgb(&document["placeholder"]["average"]);
        assert!(is_near(average, expected, 6), "{query}: {average:?}");
        let thumbhash = hash(&server, &format!("/h/a.png?{query}&f=thumbhash"));
        let (colour, _, found) = read_thumbhash(&thumbhash);
        assert!(is_near(colour, expected, 12), "{query}: {colour:?}");
        assert!((found - ratio).abs() < 0.1, "{query}: {found}");
    }
    // The padding is not described.
    let [plain, padded] = ["w=100", "w=100&h=100&pad=true&bg=00ff00"]
        .map(|query| describe(&server, &format!("/h/a.png?{query}&f=json")));
    assert_eq!(plain["placeholder"]["thumbhash"], padded["placeholder"]["thumbhash"]);
    assert_eq!(plain["placeholder"]["average"], padded["placeholder"]["average"]);
    assert_eq!(
        (&plain["result"]["height"], &padded["result"]["height"]),
        (&json!(25), &json!(100))
    );
    // A border goes.
    let framed = image::RgbImage::from_fn(300, 200, |x, y| {
        image::Rgb(if (100..200).contains(&x) && (50..100).contains(&y) { MAGENTA } else { WHITE })
    });
    directory.put("framed.png", &images::png(framed));
    let document = describe(&server, "/h/framed.png?f=json&trim=10&w=50");
    let result = &document["result"];
    assert_eq!((&result["width"], &result["height"]), (&json!(50), &json!(25)));
    let expected = json!([{"rgb": "#ff00ff", "share": 1.0}]);
    assert_eq!(document["placeholder"]["dominant"], expected);
}

#[test]
fn each_format_is_described() {
    let directory = Directory::new();
    for kind in [Kind::Jpeg, Kind::Png, Kind::Webp, Kind::Gif] {
        directory.put(&format!("a.{}", kind.name()), &images::in_format(kind, &quarters()));
    }
    directory.put("a.avif", &data("quarters.avif"));
    let server = Server::with_handler(directory.handler());
    for kind in Kind::ALL {
        let name = kind.name();
        let document = describe(&server, &format!("/h/a.{name}?f=json"));
        let original = &document["original"];
        assert_eq!(original["format"], name);
        assert_eq!(original["media_type"], kind.media_type());
        assert_eq!((&original["width"], &original["height"]), (&json!(64), &json!(48)), "{name}");
        assert_eq!(original["frames"], 1, "{name}");
        assert_eq!(document["result"]["format"], name);
        let dominant = document["placeholder"]["dominant"].as_array().unwrap();
        for colour in [RED, GREEN, BLUE, WHITE] {
            let found = dominant.iter().find(|one| is_near(rgb(&one["rgb"]), colour, 16));
            let share = found.map(|one| one["share"].as_f64().unwrap());
            assert!(share.is_some_and(|share| (share - 0.25).abs() < 0.03), "{name}: {dominant:?}");
        }
    }
}

#[test]
fn orientation_is_told_and_applied() {
    // Red on the left and blue on the right, as stored.
    let picture = columns(200, 100, &[RED, BLUE]);
    let directory = Directory::new();
    for value in 1..=8 {
        for kind in [Kind::Jpeg, Kind::Png, Kind::Webp] {
            let bytes = images::with_metadata(kind, &picture, Some(images::exif(value)), None);
            directory.put(&format!("{value}.{}", kind.name()), &bytes);
        }
    }
    let server = Server::with_handler(directory.handler());
    for value in 1..=8_u8 {
        for name in ["jpg", "png", "webp"] {
            let document = describe(&server, &format!("/h/{value}.{name}?f=json&w=50"));
            let original = &document["original"];
            let is_turned = value > 4;
            let (width, height) = if is_turned { (100, 200) } else { (200, 100) };
            let sides = ["width", "height", "stored_width", "stored_height"];
            let expected = [width, height, 200, 100].map(|side| json!(side));
            assert_eq!(sides.map(|side| original[side].clone()), expected, "{value} {name}");
            assert_eq!(original["orientation"], value, "{name}");
            assert_eq!((&original["exif"], &original["profile"]), (&json!(true), &Value::Null));
            // Its directory has only the reference, north.
            assert_eq!(original["gps"], false);
            assert_eq!(document["result"]["height"], if is_turned { 100 } else { 25 });
            // The upright image begins with red or blue, at the left or at the top.
            let gravity = if is_turned { "n" } else { "w" };
            let query = format!("/h/{value}.{name}?f=json&w=20&h=20&g={gravity}");
            let average = rgb(&describe(&server, &query)["placeholder"]["average"]);
            let expected = if matches!(value, 1 | 4 | 5 | 6) { RED } else { BLUE };
            assert!(is_near(average, expected, 12), "{value} {name}: {average:?}");
        }
    }
    // `irot` and `imir` of an AVIF, by the values of EXIF that mean the same.
    for (file, value) in [("irot-1", 8), ("imir-0", 4), ("imir-1", 2), ("quarters", 1)] {
        directory.put("a.avif", &data(&format!("{file}.avif")));
        let document = describe(&server, &format!("/h/a.avif?f=json&w={}", 10 + value));
        assert_eq!(document["original"]["orientation"], value, "{file}");
    }
}

#[test]
fn animations_have_frames_a_duration_and_loops() {
    let frame =
        |colour: [u8; 3]| image::DynamicImage::from(images::solid(60, 40, colour)).into_rgba8();
    let gif = images::animated_gif(&[(frame(RED), 70), (frame(GREEN), 130), (frame(BLUE), 200)]);
    let directory = Directory::new().with("a.gif", &gif);
    let server = Server::with_handler(directory.handler());
    directory.put("a.webp", &server.get("/h/a.gif?f=webp").ok().body);
    directory.put("a.avif", &server.get("/h/a.gif?f=avif&lossless=true").ok().body);
    let expected = [3, 400, 0].map(|number| json!(number));
    for name in ["a.gif", "a.webp", "a.avif"] {
        let document = describe(&server, &format!("/h/{name}?f=json"));
        let original = &document["original"];
        let found = ["frames", "duration_ms", "loop"].map(|field| original[field].clone());
        assert_eq!(found, expected, "{name}");
        assert_eq!(document["result"]["frames"], 3);
        let average = rgb(&document["placeholder"]["average"]);
        assert!(is_near(average, RED, 3), "{name}: {average:?}");
        let document = describe(&server, &format!("/h/{name}?f=json&page=1&frames=1"));
        assert_eq!(document["result"]["frames"], 1);
        let average = rgb(&document["placeholder"]["average"]);
        assert!(is_near(average, GREEN, 3), "{name}: {average:?}");
    }
    let missing = server.get("/h/a.gif?f=json&page=3").failed("page_missing");
    assert_eq!(missing.expect("Content-Type"), "application/json");
    // The border that all frames have is cut off.
    let moving = |left: u32, [red, green, blue]: [u8; 3]| {
        RgbaImage::from_fn(60, 40, |x, y| {
            let is_inside = (left..left + 10).contains(&x) && (10..20).contains(&y);
            Rgba(if is_inside { [red, green, blue, 255] } else { [255; 4] })
        })
    };
    let both = [(moving(10, RED), 100), (moving(30, BLACK), 100)];
    directory.put("b.gif", &images::animated_gif(&both));
    let result = |query: &str| {
        let document = describe(&server, &format!("/h/b.gif?f=json&trim=20{query}"));
        [&document["result"]["width"], &document["result"]["height"]].map(Value::as_u64)
    };
    assert_eq!(result(""), [Some(30), Some(10)]);
    assert_eq!(result("&frames=1"), [Some(10), Some(10)]);
    // The colours are those of the first frame: a third of what is left of it is red, the rest white.
    let placeholder = &describe(&server, "/h/b.gif?f=json&trim=20")["placeholder"];
    let average = rgb(&placeholder["average"]);
    assert!(is_near(average, [255, 170, 170], 3), "{average:?}");
    // A format without animation has one frame, and so has the result that is described.
    let fields = json!({"output_format": "jpg"});
    let still = Server::with_handler(merged(directory.handler(), fields));
    let document = describe(&still, "/h/a.gif?f=json&w=30");
    assert_eq!(
        (&document["original"]["frames"], &document["result"]["frames"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(document["result"]["format"], "jpg");
    assert_eq!(size_of(&server.get("/h/b.gif?trim=20").ok().body), (30, 10));
}

#[test]
fn metadata_is_told_and_positions_are_not() {
    let picture = images::gradient(90, 60);
    // Latitude 51.5°, in a directory at offset 26.
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x88\x25\0\x04\0\0\0\x01\0\0\0\x1a\0\0\0\0".to_vec();
    exif.extend(b"\0\x01\0\x02\0\x05\0\0\0\x03\0\0\0\x2c\0\0\0\0");
    exif.extend([51, 1, 30, 1, 0, 1].map(u32::to_be_bytes).as_flattened());
    let directory = Directory::new()
        .with("plain.jpg", &images::jpeg(picture.clone()))
        .with("icc.jpg", &data("p3-primaries.jpg"))
        .with("icc.avif", &data("icc.avif"))
        .with("progressive.jpg", &data("hostile/progressive-16mpx.jpg"))
        .with("interlaced.png", &data("hostile/interlaced-16mpx.png"))
        .with("alpha.avif", &data("alpha.avif"));
    for kind in [Kind::Jpeg, Kind::Png, Kind::Webp] {
        let bytes = images::with_metadata(kind, &picture, Some(exif.clone()), None);
        directory.put(&format!("gps.{}", kind.name()), &bytes);
    }
    let server = Server::with_handler(directory.handler());
    let original = |name: &str| describe(&server, &format!("/h/{name}?f=json"))["original"].clone();
    for name in ["gps.jpg", "gps.png", "gps.webp"] {
        let original = original(name);
        assert_eq!((&original["exif"], &original["gps"]), (&json!(true), &json!(true)), "{name}");
    }
    let plain = original("plain.jpg");
    assert_eq!(
        (&plain["exif"], &plain["gps"], &plain["profile"]),
        (&json!(false), &json!(false), &Value::Null)
    );
    for name in ["icc.jpg", "icc.avif"] {
        assert_eq!(original(name)["profile"], "sP3C", "{name}");
    }
    // The bytes at the origin, also of a file of which the decoder gets a part.
    let damaged = damaged(b"gAMA", &100_000_u32.to_be_bytes());
    let png = with_chunks(&images::png(picture.clone()), &[damaged]);
    directory.put("damaged.png", &png);
    assert_eq!(original("damaged.png")["bytes"], png.len());
    assert_eq!(original("progressive.jpg")["progressive"], true);
    assert_eq!(original("interlaced.png")["progressive"], true);
    assert_eq!(original("alpha.avif")["alpha"], true);
}

#[test]
fn transparency_is_kept_by_thumbhash_and_shows_the_background_in_blurhash() {
    // The left half is transparent, of a colour that does not show.
    let picture = RgbaImage::from_fn(80, 80, |x, _| {
        Rgba(if x < 40 { [0, 255, 0, 0] } else { [0, 0, 200, 255] })
    });
    let directory = Directory::new()
        .with("a.png", &images::png(picture))
        .with("empty.png", &images::png(RgbaImage::new(20, 10)));
    let server = Server::with_handler(directory.handler());
    let document = describe(&server, "/h/a.png?f=json");
    assert_eq!(document["original"]["alpha"], true);
    let placeholder = &document["placeholder"];
    assert_eq!(placeholder["average"], "#0000c8");
    assert_eq!(placeholder["dominant"], json!([{"rgb": "#0000c8", "share": 1.0}]));
    let (colour, opacity, _) = read_thumbhash(placeholder["thumbhash"].as_str().unwrap());
    assert!(is_near(colour, [0, 0, 200], 6), "{colour:?}");
    assert!((opacity.unwrap() - 0.5).abs() < 0.05, "{opacity:?}");
    for (query, expected) in [("", WHITE), ("&bg=ff0000", RED)] {
        let decoded = decode_blurhash(&hash(&server, &format!("/h/a.png?f=blurhash{query}")));
        let Rgba([red, green, blue, _]) = decoded[(4, 15)];
        assert!(is_near([red, green, blue], expected, 40), "{query}: {red} {green} {blue}");
    }
    let empty = &describe(&server, "/h/empty.png?f=json")["placeholder"];
    assert_eq!((&empty["average"], &empty["dominant"]), (&Value::Null, &json!([])));
}

#[test]
fn the_corners_of_a_rotated_image_are_described() {
    let directory =
        Directory::new().with("a.png", &images::png(images::solid(60, 60, [0, 200, 0])));
    let server = Server::with_handler(directory.handler());
    // A square that is turned by 45 degrees is half of the square around it.
    for (background, average, opacity) in [
        ("ff0000", [128, 100, 0], None),
        ("0000ff", [0, 100, 128], None),
        ("ffffff", [128, 228, 128], None),
        ("ff000000", [0, 200, 0], Some(0.5)),
    ] {
        let target = format!("/h/a.png?rot=45&bg={background}");
        let placeholder = describe(&server, &format!("{target}&f=json"))["placeholder"].clone();
        let found = rgb(&placeholder["average"]);
        assert!(is_near(found, average, 4), "{background}: {found:?}");
        for format in ["thumbhash", "blurhash"] {
            let found = hash(&server, &format!("{target}&f={format}"));
            assert_eq!(placeholder[format], found, "{format} {background}");
        }
        let (colour, found, _) = read_thumbhash(placeholder["thumbhash"].as_str().unwrap());
        assert!(is_near(colour, average, 12), "{background}: {colour:?}");
        assert_eq!(found.is_some(), opacity.is_some(), "{background}");
        if let (Some(found), Some(opacity)) = (found, opacity) {
            assert!((found - opacity).abs() < 0.07, "{found}");
        }
    }
}

#[test]
fn a_description_is_cached_like_an_image() {
    let directory = Directory::new().with("a.png", &images::png(quarters()));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cors_origin": "*", "cache_time": 77,
        "presets": {"about": "w=20&f=json", "hash": "f=blurhash"}});
    let server = Server::with_handler(merged(directory.handler(), fields));
    let first = server.get("/h/a.png?w=20&f=json");
    assert_eq!((first.status, first.expect("X-Cache")), (200, "miss"));
    assert_eq!(first.expect("Access-Control-Allow-Origin"), "*");
    assert!(first.cache_control().contains(&"max-age=77"), "{first:?}");
    assert!(!first.varies_on("Accept"));
    let tag = first.expect("ETag").to_owned();
    for target in [
        "/h/a.png?w=20&f=json",
        "/h/a.png?f=json&w=20&q=9&strip=false&sharp=1&blur=2&unknown=1&W=3",
        "/h/a.png?p=about",
        "/h/a.png?p=about&utm=1",
    ] {
        let again = server.get(target);
        assert_eq!((again.expect("X-Cache"), again.expect("ETag")), ("hit", &tag[..]), "{target}");
        assert_eq!((&again.body, again.expect("Content-Type")), (&first.body, "application/json"));
        let known = server.get_with(target, &[("If-None-Match", &tag)]);
        assert_eq!((known.status, known.body.len()), (304, 0), "{target}");
    }
    assert_eq!(cache.files().len(), 1);
    let head = server.head_with("/h/a.png?w=20&f=json", &[]);
    assert_eq!(head.expect("Content-Length"), first.body.len().to_string());
    assert_eq!(hash(&server, "/h/a.png?p=hash").len(), 28);
    // A request takes precedence over its preset.
    assert_eq!(Kind::of(&server.get("/h/a.png?p=about&f=png").ok().body), Some(Kind::Png));
    // After a restart it comes from the disk, with its type.
    drop(server);
    let fields = json!({"cache_path": cache.path()});
    let server = Server::with_handler(merged(directory.handler(), fields));
    let again = server.get("/h/a.png?w=20&f=json");
    assert_eq!((again.expect("X-Cache"), again.expect("ETag")), ("hit", &tag[..]));
    assert_eq!(text(again, "application/json").into_bytes(), first.body);
    // A changed original has another description.
    directory.put("a.png", &images::png(images::solid(10, 10, RED)));
    let server = Server::with_handler(directory.handler());
    assert_eq!(describe(&server, "/h/a.png?w=20&f=json")["original"]["width"], 10);
}

#[test]
fn failures_of_a_description_are_texts() {
    let directory = Directory::new()
        .with("text.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
        .with("cut.jpg", &images::jpeg(images::gradient(200, 200))[..900]);
    let precise = json!({"name": "precise", "error_status": "precise"});
    let server = Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), precise),
        merged(directory.handler(), json!({"name": "signed", "token": hmac()})),
    ]}));
    for (path, code, status) in [
        ("missing.png", "not_found", 404),
        ("text.png", "unsupported_format", 415),
        ("cut.jpg", "corrupt_image", 415),
        ("a/../b.png", "invalid_key", 404),
    ] {
        for (handler, status) in [("h", 404), ("precise", status)] {
            let answer = server.get(&format!("/{handler}/{path}?f=json"));
            assert_eq!((answer.status, answer.header("X-Error")), (status, Some(code)), "{path}");
            assert_eq!(answer.cache_control(), ["no-store"]);
            assert_eq!(answer.expect("Content-Type"), "application/json");
            assert_eq!(answer.expect("X-Content-Type-Options"), "nosniff");
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["error"]["code"], code);
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.ends_with('.') && !message.contains(['`', '[']), "{message}");
            let answer = server.get(&format!("/{handler}/{path}?f=thumbhash"));
            assert_eq!(answer.status, status);
            assert_eq!(answer.expect("Content-Type"), "text/plain; charset=utf-8");
            assert_eq!(answer.text(), format!("{code}: {message}\n"));
        }
    }
    // A token that is refused tells nothing else.
    let refused = server.get("/signed/cut.jpg?f=json").failed("token_refused");
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(body["error"]["code"], "token_refused");
    let other = server.get("/signed/missing.png?f=json&w=9").failed("token_refused");
    assert_eq!(other.body, refused.body);
    server.get(&signed("/signed/cut.jpg?f=json")).failed("corrupt_image");
    // The others are as always.
    assert!(
        server
            .get("/h/missing.png")
            .failed("not_found")
            .expect("Content-Type")
            .starts_with("image/")
    );
    for (query, start) in [
        ("f=json&w=x", "w: must be"),
        ("f=JSON", "f: must be"),
        ("f=json:jpg", "f: must be"),
        ("f=json&f=json", "f: given twice"),
        ("f=json&bg=red", "bg: must be"),
    ] {
        let answer = server.get(&format!("/h/cut.jpg?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().starts_with(start), "{}", answer.text());
    }
}

#[test]
fn a_signed_description_is_authorized_and_info_false_forbids_it() {
    let directory = Directory::new().with("a.png", &images::png(quarters()));
    let presets = json!({"name": "closed", "info": false, "presets": {"small": "w=9"}});
    let server = Server::start(json!({"handlers": [
        merged(directory.handler(), json!({"token": hmac()})),
        merged(directory.handler(), presets),
        merged(directory.handler(), json!({"name": "sizes", "allowed_sizes": [[20, 0]]})),
    ]}));
    server.get("/h/a.png?f=json&w=9").failed("token_refused");
    assert_eq!(describe(&server, &signed("/h/a.png?f=json&w=9"))["result"]["width"], 9);
    for name in ["json", "thumbhash", "blurhash"] {
        for query in [format!("f={name}"), format!("p=small&f={name}")] {
            let answer = server.get(&format!("/closed/a.png?{query}"));
            assert_eq!(answer.status, 400, "{query}");
            assert_eq!(answer.text(), format!("f: {name} is not allowed here\n"));
        }
    }
    assert_eq!(size_of(&server.get("/closed/a.png?p=small").ok().body), (9, 7));
    assert_eq!(describe(&server, "/sizes/a.png?f=json&w=20")["result"]["height"], 15);
    assert_eq!(server.get("/sizes/a.png?f=json&w=21").status, 400);
    for (fields, expected) in [
        (
            json!({"info": false, "presets": {"about": "f=thumbhash"}}),
            "info: must be true for the preset \"about\"",
        ),
        (json!({"output_format": "json"}), "output_format"),
        (json!({"presets": {"a": "f=json:jpg"}}), "presets.a: f: must be"),
    ] {
        let config = json!({"handlers": [merged(directory.handler(), fields)], "http_port": 0});
        let output = Setup::new(config).run();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn results_that_would_be_refused_are_described_as_such() {
    let frame =
        |colour: [u8; 3]| image::DynamicImage::from(images::solid(40, 40, colour)).into_rgba8();
    let frames: Vec<_> = (0..5).map(|_| (frame(RED), 100)).collect();
    let directory = Directory::new()
        .with("a.png", &images::png(images::gradient(400, 300)))
        .with("a.gif", &images::animated_gif(&frames));
    let limits = json!({"result_max_pixels": 30_000, "source_max_frames": 3});
    let server = Server::with_limits(directory.handler(), limits);
    for (target, result) in [
        ("/h/a.png?f=json", json!({"error": "result_too_large"})),
        ("/h/a.gif?f=json", json!({"error": "too_many_frames"})),
        (
            "/h/a.gif?f=json&frames=2",
            json!({"format": "gif", "media_type": "image/gif", "width": 40,
            "height": 40, "frames": 2}),
        ),
    ] {
        let document = describe(&server, target);
        assert_eq!(document["result"], result, "{target}");
        assert!(document["placeholder"]["average"].is_string());
    }
    server.get("/h/a.png").failed("result_too_large");
    server.get("/h/a.gif").failed("too_many_frames");
    // An original over a limit is not described.
    let limits = json!({"source_max_pixels": 50_000});
    let server = Server::with_limits(directory.handler(), limits);
    server.get("/h/a.png?f=json").failed("too_many_pixels");
}

#[test]
fn the_document_in_the_documentation_is_the_response() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/info.md")).unwrap();
    let (target, rest) = page.split_once("For `").unwrap().1.split_once("`, formatted").unwrap();
    let written = rest.split("```").nth(1).unwrap().trim_start_matches("text\n");
    let written: Value = serde_json::from_str(written).unwrap();
    let directory = root.join("examples/images");
    let server = Server::start(json!({"handlers": [{"name": "samples", "directory": directory}]}));
    let found = describe(&server, target);
    assert_eq!(found, written, "{found:#}");
    // Each name has a row.
    for section in ["original", "placeholder"] {
        for name in written[section].as_object().unwrap().keys() {
            let rows = page.lines().filter(|line| line.starts_with("| `"));
            let has_row = |row: &str| row.split('|').nth(1).unwrap().contains(&format!("`{name}`"));
            assert!(rows.into_iter().any(has_row), "{name}");
        }
    }
}
