//! The order of the steps: two options of one request give the pixels of two requests, one after the other, in the order
//! of docs/options.md and in no other.

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::json;

use crate::support::directory::Directory;
use crate::support::images::{self, Image, RED};
use crate::support::merged;
use crate::support::server::Server;

/// Every two of these do not commute, for this image: the earlier step first.
const PAIRS: [(&str, &str); 14] = [
    ("crop=5:3:30:20", "trim=12"),
    ("crop=5:3:30:20", "flip=h"),
    ("trim=12:auto:l", "rot=90"),
    ("rot=90", "flip=h"),
    ("flip=h", "w=20&h=40&g=w"),
    ("w=16&h=40&g=smart", "gray=1"),
    ("w=20&h=16", "pix=4"),
    ("con=10", "pix=5"),
    ("pix=5", "blur=2"),
    ("blur=1", "sharp=3"),
    ("sharp=3", "w=60&h=60&pad=true&bg=4060ff"),
    ("w=60&h=60&pad=true&bg=4060ff", "round=20"),
    ("neg=1", "w=60&h=60&pad=true&bg=4060ff"),
    ("blur=2", "round=10"),
];

/// Something at each place, more of it in a corner, and a border.
fn picture() -> RgbImage {
    let noise = images::noise(48, 40);
    RgbImage::from_fn(48, 40, |x, y| {
        let is_border = x < 4 || y < 2 || x >= 45 || y >= 39;
        if is_border {
            return Rgb([250, 240, 230]);
        }
        let Rgb(bytes) = *noise.get_pixel(x / 3, y / 3);
        if x > 30 { Rgb([bytes[0], 0, 0]) } else { Rgb(bytes.map(|byte| 100 + byte / 4)) }
    })
}

#[track_caller]
fn fetch(server: &Server, name: &str, query: &str) -> RgbaImage {
    Image::decode(&server.get(&format!("/h/{name}?f=png&{query}")).ok().body).pixels
}

#[test]
fn two_options_are_two_requests_in_the_order_of_the_documentation() {
    let directory = Directory::new().with("a.png", &images::png(picture()));
    let server = Server::with_handler(directory.handler());
    let mut number = 0;
    let mut in_turn = |one: &str, other: &str| {
        number += 1;
        let between = format!("{number}.png");
        directory.put(&between, &images::png(fetch(&server, "a.png", one)));
        fetch(&server, &between, other)
    };
    for (first, second) in PAIRS {
        let both = fetch(&server, "a.png", &format!("{second}&{first}"));
        let expected = in_turn(first, second);
        assert_eq!(both.dimensions(), expected.dimensions(), "{first}, {second}");
        assert!(both == expected, "{first}, {second}");
        assert!(in_turn(second, first) != expected, "{first} and {second} commute");
    }
}

#[test]
fn a_watermark_is_drawn_last() {
    let marks = Directory::new();
    let logo = marks.put("logo.png", &images::png(images::solid(8, 8, RED)));
    let directory = Directory::new().with("a.png", &images::png(picture()));
    let fields = json!({"watermarks": {"logo": {"file": logo, "position": "nw"}}});
    let server = Server::with_handler(merged(directory.handler(), fields));
    for query in [
        "neg=1",
        "pix=5",
        "blur=2",
        "sharp=3",
        "flip=h",
        "rot=180",
        "w=20&h=20",
        "w=60&h=60&pad=true&bg=00ff00",
        "round=20",
        "trim=12",
    ] {
        let mut expected = fetch(&server, "a.png", query);
        for (x, y) in (0..8).flat_map(|x| (0..8).map(move |y| (x, y))) {
            expected.put_pixel(x, y, Rgba([255, 0, 0, 255]));
        }
        assert!(fetch(&server, "a.png", &format!("wm=logo&{query}")) == expected, "{query}");
    }
}
