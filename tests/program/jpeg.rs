//! JPEG originals at every scale of libjpeg: those that lack only their end, those at 1/8, which the server decodes
//! itself, and those of several scans, which it transcodes, with the same results as through libjpeg.

use serde_json::json;

use crate::support::client::Answer;
use crate::support::directory::Directory;
use crate::support::images::Image;
use crate::support::merged;
use crate::support::server::{Server, data};

const EOI: [u8; 2] = [0xff, 0xd9];
/// Of a photo of 600 × 400 pixels: the denominators 8, 4, 2 and 1.
const QUERIES: [&str; 4] = ["w=75", "w=150", "w=300&f=png", "w=500"];

fn serve(directory: &Directory) -> Server {
    Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), json!({"name": "strict", "fail_on": "warning"})),
        merged(directory.handler(), json!({"name": "lenient", "fail_on": "none"})),
    ]}))
}

/// The same photo, baseline and progressive.
fn photos() -> [(&'static str, Vec<u8>); 2] {
    [("baseline", data("gps.jpg")), ("progressive", data("jpeg/photo-progressive.jpg"))]
}

fn expect_same(server: &Server, targets: [String; 2]) {
    let [one, other] = targets.map(|target| (server.get(&target).ok().body, target));
    assert!(one.0 == other.0, "{} and {} differ", one.1, other.1);
}

#[test]
fn jpeg_that_lacks_only_its_end_is_shown() {
    let directory = Directory::new();
    for (kind, whole) in photos() {
        let without = whole.strip_suffix(&EOI).unwrap();
        let put = |name: &str, bytes: &[u8]| directory.put(&format!("{kind}-{name}.jpg"), bytes);
        put("whole", &whole);
        put("without", without);
        put("half", &[without, &[0xff]].concat());
        put("filled", &[without, &[0xff, 0xff], &EOI].concat());
        put("trailing", &[&whole[..], b"\xff\0\xff\xd8PK\x03\x04"].concat());
        for missing in 3..=20 {
            put(&format!("minus-{missing}"), &whole[..whole.len() - missing]);
        }
    }
    let server = serve(&directory);
    for kind in ["baseline", "progressive"] {
        for query in QUERIES {
            for name in ["without", "half", "filled", "trailing"] {
                let target =
                    |handler: &str, name: &str| format!("/{handler}/{kind}-{name}.jpg?{query}");
                expect_same(&server, [target("h", name), target("h", "whole")]);
                expect_same(&server, [target("lenient", name), target("lenient", "whole")]);
            }
        }
        let refused = |handler: &str, missing: usize, query: &str| -> Answer {
            server.get(&format!("/{handler}/{kind}-minus-{missing}.jpg?{query}"))
        };
        for missing in 3..=20 {
            refused("h", missing, QUERIES[0]).failed("corrupt_image");
        }
        for query in QUERIES {
            refused("h", 3, query).failed("corrupt_image");
            refused("strict", 3, query).failed("corrupt_image");
            refused("lenient", 3, query).ok();
        }
        let target = |handler: &str, name: &str| format!("/{handler}/{kind}-{name}.jpg?w=75");
        expect_same(&server, [target("strict", "without"), target("h", "whole")]);
    }
}

#[test]
fn progressive_jpeg_without_its_last_scans_is_refused() {
    let [_, (_, whole)] = photos();
    let directory = Directory::new();
    let scans: Vec<usize> =
        (0..whole.len()).filter(|at| whole[*at..].starts_with(&[0xff, 0xda])).collect();
    assert!(scans.len() > 5);
    for (number, at) in scans.iter().enumerate() {
        directory.put(&format!("{number}.jpg"), &whole[..*at]);
    }
    let server = serve(&directory);
    for number in 0..scans.len() {
        for query in QUERIES {
            server.get(&format!("/h/{number}.jpg?{query}")).failed("corrupt_image");
        }
    }
}

#[test]
fn jpeg_is_the_same_as_through_libjpeg() {
    let [baseline, progressive] = photos();
    let others = ["orient-6.jpg", "orient-8.jpg", "p3-primaries.jpg"];
    let files = others.map(|name| (name, data(name)));
    let directory = Directory::new();
    let mut names = Vec::new();
    for (name, bytes) in files.into_iter().chain([baseline, progressive]) {
        directory.put(&format!("{name}-own.jpg"), &bytes);
        // A byte between two segments, with which libjpeg is content.
        let tables = bytes.windows(2).position(|pair| pair == [0xff, 0xdb]).unwrap();
        let left = [&bytes[..tables], &[0], &bytes[tables..]].concat();
        directory.put(&format!("{name}-libjpeg.jpg"), &left);
        names.push(name);
    }
    let server = serve(&directory);
    for name in names {
        for query in [
            "w=20&h=20&f=png",
            "w=30&f=jpg&strip=false",
            "h=24&f=webp&strip=false",
            "w=40&h=20&g=smart&f=png",
            "w=20&h=30&pad=true&rot=90&flip=h",
            "w=24&h=24&blur=1&f=png&strip=false",
            "w=100&f=png&strip=false",
            "w=200&f=jpg",
            "w=320&h=200&g=smart&f=webp&strip=false",
            "w=300&trim=1&f=png",
            "f=png&strip=false",
        ] {
            expect_same(
                &server,
                ["own", "libjpeg"].map(|kind| format!("/h/{name}-{kind}.jpg?{query}")),
            );
        }
    }
}

#[test]
fn jpeg_with_any_number_of_faults_is_shown() {
    let whole = data("hostile/restarts.jpg");
    let mut faulty = whole.clone();
    let mut faults = 0;
    for at in 0..whole.len() - 1 {
        // A restart marker far from the expected one is taken for it, with a warning.
        if let [0xff, marker @ 0xd0..=0xd7] = whole[at..at + 2] {
            faulty[at + 1] = 0xd0 | ((marker + 3) & 7);
            faults += 1;
        }
    }
    assert!(faults > 4000);
    let directory = Directory::new().with("whole.jpg", &whole).with("faulty.jpg", &faulty);
    let server = serve(&directory);
    for query in ["w=128", "w=256", "w=512", "w=1024&f=png"] {
        for handler in ["h", "lenient"] {
            let target = |name: &str| format!("/{handler}/{name}.jpg?{query}");
            expect_same(&server, [target("faulty"), target("whole")]);
        }
        server.get(&format!("/strict/faulty.jpg?{query}")).failed("corrupt_image");
    }
}

#[test]
fn damaged_jpeg_is_left_to_libjpeg() {
    let directory = Directory::new();
    // Without half of the data of a scan.
    let damage = |bytes: &[u8], scan: usize| {
        let data = scan + 2 + usize::from(bytes[scan + 3]);
        let more = &bytes[data..];
        let is_end = |pair: &[u8]| pair[0] == 0xff && pair[1] != 0;
        let length = more.windows(2).position(is_end).unwrap();
        [&bytes[..data + length / 2], &more[length..]].concat()
    };
    for (kind, bytes) in photos() {
        let is_scan = |pair: &[u8]| pair == [0xff, 0xda];
        // The first scan of a progressive image holds DC coefficients; the last one is not read at 1/8.
        let first = bytes.windows(2).position(is_scan).unwrap();
        let last = bytes.windows(2).rposition(is_scan).unwrap();
        directory.put(&format!("{kind}.jpg"), &bytes);
        directory.put(&format!("{kind}-damaged.jpg"), &damage(&bytes, first));
        directory.put(&format!("{kind}-later.jpg"), &damage(&bytes, last));
    }
    let server = serve(&directory);
    for kind in ["baseline", "progressive"] {
        for query in QUERIES.into_iter().chain(["w=500&trim=1"]) {
            let whole = Image::decode(&server.get(&format!("/h/{kind}.jpg?{query}")).ok().body);
            for handler in ["h", "lenient"] {
                let target = format!("/{handler}/{kind}-damaged.jpg?{query}");
                let damaged = Image::decode(&server.get(&target).ok().body);
                assert_eq!(damaged.size(), whole.size());
                assert!(damaged.pixels != whole.pixels);
            }
            for damage in ["damaged", "later"] {
                let target = format!("/strict/{kind}-{damage}.jpg?{query}");
                server.get(&target).failed("corrupt_image");
            }
        }
    }
    expect_same(&server, ["", "-later"].map(|name| format!("/h/progressive{name}.jpg?w=75")));
}
