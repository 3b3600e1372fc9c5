//! Hostile images: each gets the response that tests/data/hostile/MANIFEST.tsv lists, in time and in little memory, and
//! the renderer survives. tests/data/hostile/generate.py makes and describes the files.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind, RED, holds, size_of};
use crate::support::process::Process;
use crate::support::server::{Server, data};
use crate::support::{eventually, merged};

/// Longest time to any response.
const DEADLINE: Duration = Duration::from_secs(20);

/// A line of the manifest.
struct Row {
    file: String,
    /// Allowed results, `ok` or an `X-Error` code, if one frame is decoded and if all are.
    still: Vec<String>,
    animated: Vec<String>,
    note: String,
}

fn rows() -> Vec<Row> {
    let text = String::from_utf8(data("hostile/MANIFEST.tsv")).unwrap();
    let results = |field: &str| field.split('|').map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [file, still, animated, note] = fields[..] else { panic!("{line}") };
            let animated = if animated == "=" { still } else { animated };
            Row {
                file: file.into(),
                still: results(still),
                animated: results(animated),
                note: note.into(),
            }
        })
        .collect()
}

#[test]
fn hostile_images_get_the_response_of_the_manifest_and_the_renderer_survives() {
    let directory = Directory::new().with("good.png", &images::png(images::gradient(80, 60)));
    let rows = rows();
    for row in &rows {
        directory.put(row.file.trim_start_matches("../"), &data(&format!("hostile/{}", row.file)));
    }
    let server = Server::with_handler(directory.handler());
    let renderer = server.renderer();
    let mut client = server.client();
    let mut wrong = Vec::new();
    for row in &rows {
        let name = row.file.trim_start_matches("../");
        let is_animated = [".gif", ".webp", ".avif"].iter().any(|ending| name.ends_with(ending));
        let same_format = if is_animated { &row.animated } else { &row.still };
        let mut queries = vec![
            ("w=100", same_format),
            ("w=100&f=png", &row.still),
            ("w=80&h=80&f=webp", &row.animated),
            ("w=100&f=gif", &row.animated),
            ("w=90&h=50&f=webp&rot=90&blur=1&sharp=1", &row.animated),
            ("w=90&h=50&f=webp&bri=2&sat=3&tint=ff8000:0.5&neg=1&pix=7", &row.animated),
            ("w=100&f=json", &row.still),
            ("f=thumbhash", &row.still),
        ];
        if !row.note.contains("held whole") {
            queries.push(("q=75", same_format));
            queries.push(("w=90&h=50&f=gif&trim=3&pad=true&sharp=1", &row.animated));
        }
        for (query, expected) in queries {
            let start = Instant::now();
            let answer = client.get(&format!("/h/{name}?{query}"));
            let took = start.elapsed();
            let result = if answer.status == 200 { "ok" } else { answer.expect("X-Error") };
            if !expected.iter().any(|code| code == result) {
                wrong.push(format!("{name}?{query}: {result}, not {expected:?}"));
            }
            if answer.status == 200 && query.contains("json") {
                assert!(
                    serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok(),
                    "{name}"
                );
            } else if answer.status == 200 && !query.contains("hash") {
                let decoded = answer.ok();
                size_of(&decoded.body);
                assert!(
                    !holds(&decoded.body, b"<?php"),
                    "{name}?{query}: it passes on bytes that are not an image"
                );
            }
            assert!(took < DEADLINE, "{name}?{query}: {took:?}");
            if took > Duration::from_millis(700) {
                eprintln!("{name}?{query}: {took:?}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Inspection needs no permit, so many requests inspect at the same time.
    let mut clients: Vec<Client> = (0..16)
        .map(|n| {
            let mut client = server.client();
            client.send(&request("GET", &format!("/h/items-in-pieces.avif?w={}", 100 + n), &[]));
            client
        })
        .collect();
    for client in &mut clients {
        client.read().failed("unsupported_format");
    }
    assert_eq!(
        server.renderer(),
        renderer,
        "the renderer must refuse the images, not crash and restart"
    );
    let peak = renderer.peak();
    assert!(peak < 400 << 20, "{peak} bytes");
    assert_eq!(size_of(&server.get("/h/good.png?w=40").ok().body), (40, 30));
}

#[test]
fn exif_directory_offsets_are_not_followed() {
    let name = "exif-follow.jpg";
    let directory = Directory::new().with(name, &data(&format!("hostile/{name}")));
    let server = Server::with_handler(directory.handler());
    // Following them would take seconds for each request.
    let start = Instant::now();
    for width in 1..=8 {
        assert_eq!(size_of(&server.get(&format!("/h/{name}?w={width}&f=png")).ok().body).0, width);
    }
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
}

#[test]
fn metadata_of_every_kind_is_limited() {
    let jpeg = images::jpeg(images::gradient(16, 16));
    // `count` segments of 64 KB after SOI.
    let with = |marker: u8, count: usize| {
        let mut segment = vec![0xff, marker, 0xff, 0xff];
        segment.resize(4 + 0xfffd, b'x');
        [&jpeg[..2], &segment.repeat(count), &jpeg[2..]].concat()
    };
    let exif = |length: usize| {
        images::with_metadata(Kind::Png, &images::gradient(16, 16), Some(vec![b'M'; length]), None)
    };
    let directory = Directory::new()
        .with("app1-few.jpg", &with(0xe1, 60))
        .with("app1-many.jpg", &with(0xe1, 70))
        .with("com-many.jpg", &with(0xfe, 70))
        .with("exif-few.png", &exif(4_000_000))
        .with("exif-many.png", &exif(5_000_000));
    let server = Server::with_handler(directory.handler());
    for name in ["app1-few.jpg", "exif-few.png"] {
        server.get(&format!("/h/{name}?w=8")).ok();
    }
    for name in ["app1-many.jpg", "com-many.jpg", "exif-many.png"] {
        server.get(&format!("/h/{name}?w=8")).failed("metadata_too_large");
    }
}

#[test]
fn source_and_result_limits_have_their_own_codes() {
    let frame = |shade: u8| (solid_frame(40, 30, shade), 50);
    let moving = images::animated_gif(&(0..10).map(frame).collect::<Vec<_>>());
    let directory = Directory::new()
        .with("a.png", &images::png(images::gradient(40, 30)))
        .with("a.gif", &moving)
        .with("scans.jpg", &data("hostile/scans-90.jpg"));
    for (limits, target, code) in [
        (json!({"source_max_pixels": 1199}), "/h/a.png", "too_many_pixels"),
        (json!({"source_max_side": 39}), "/h/a.png", "side_too_long"),
        (json!({"source_max_frames": 9}), "/h/a.gif", "too_many_frames"),
        (json!({"source_max_total_pixels": 11_999}), "/h/a.gif", "animation_too_large"),
        (json!({"source_max_scans": 89}), "/h/scans.jpg?w=20", "too_many_scans"),
        (json!({"result_max_pixels": 1199}), "/h/a.png", "result_too_large"),
        (json!({"origin_max_bytes": 60}), "/h/a.png", "too_large"),
    ] {
        let precise = merged(directory.handler(), json!({"error_status": "precise"}));
        let server = Server::with_limits(precise, limits.clone());
        let answer = server.get(target);
        assert_eq!((answer.status, answer.header("X-Error")), (413, Some(code)), "{limits}");
        assert!(answer.cache_control().contains(&"no-store"));
        // Frames that are not decoded are not counted.
        if target == "/h/a.gif" {
            server.get("/h/a.gif?f=png").ok();
            server.get("/h/a.gif?frames=5").ok();
        }
        // An image exactly at the limit is served.
        let (name, limit) = limits.as_object().unwrap().iter().next().unwrap();
        if name != "origin_max_bytes" {
            let more = json!({name.clone(): limit.as_u64().unwrap() + 1});
            Server::with_limits(directory.handler(), more).get(target).ok();
        }
    }
}

#[test]
fn frames_above_ten_thousand_are_served_if_source_max_frames_allows() {
    let directory = Directory::new().with("a.gif", &data("hostile/frames-12000.gif"));
    let server = Server::with_limits(directory.handler(), json!({"source_max_frames": 12_000}));
    for query in ["page=3&f=png", "page=11999&f=png", "page=11997", "page=11997&f=webp"] {
        server.get(&format!("/h/a.gif?{query}")).ok();
    }
    server.get("/h/a.gif?page=12000").failed("page_missing");
    let server = Server::with_limits(directory.handler(), json!({"source_max_frames": 11_999}));
    server.get("/h/a.gif?page=11997&f=webp").failed("too_many_frames");
}

fn solid_frame(width: u32, height: u32, shade: u8) -> image::RgbaImage {
    image::RgbaImage::from_pixel(width, height, image::Rgba([shade * 20, 0, 0, 255]))
}

#[test]
fn large_images_wait_for_memory_budget_and_are_all_served() {
    const BUDGET: u64 = 160 << 20;
    const BASE: u64 = 100 << 20;
    // Each decoder buffers a whole image: 48 MB of coefficients or 16 MB of pixels. The JPEG is left to libjpeg, since
    // its scans are incomplete: it waits for little memory, and then for all.
    let directory = Directory::new()
        .with("a.jpg", &data("hostile/progressive-16mpx.jpg"))
        .with("b.png", &data("hostile/interlaced-16mpx.png"));
    let limits = json!({
        "memory_budget": BUDGET, "renders_at_once": 20, "fetches_at_once": 20, "renderer_max_rss": 0,
    });
    let server = Server::with_limits(directory.handler(), limits);
    let renderer = server.renderer();
    let targets = (0..20).map(|n| {
        let name = if n % 4 == 0 { "b.png" } else { "a.jpg" };
        let steps = ["&trim=3", "&blur=2&sharp=1", "&rot=90", ""][n / 3 % 4];
        format!("/h/{name}?w={}{steps}", 100 + n)
    });
    let mut clients: Vec<(Client, u32)> = targets
        .enumerate()
        .map(|(n, target)| {
            let mut client = server.client();
            client.send(&request("GET", &target, &[]));
            (client, 100 + n as u32)
        })
        .collect();
    for (client, width) in &mut clients {
        assert_eq!(size_of(&client.read().ok().body).0, *width);
    }
    assert_eq!(server.renderer(), renderer);
    let peak = renderer.peak();
    assert!(peak < BUDGET + BASE, "{} MiB", peak >> 20);
    // Several run at the same time.
    assert!(peak > 100 << 20, "{} MiB", peak >> 20);
}

#[test]
fn progressive_jpeg_is_not_buffered() {
    let directory = Directory::new().with("a.jpg", &data("hostile/run-of-ends.jpg"));
    let server = Server::with_limits(directory.handler(), json!({"memory_budget": 64 << 20}));
    let renderer = server.renderer();
    // Each of the scales 1/8, 1/4, 1/2 and 1.
    for width in [400, 900, 1800, 3000] {
        let answer = server.get(&format!("/h/a.jpg?w={width}&h=200")).ok();
        assert_eq!(size_of(&answer.body), (width, 200));
    }
    assert_eq!(server.renderer(), renderer);
    let peak = renderer.peak();
    // libjpeg would buffer 48 MB of coefficients.
    assert!(peak < 64 << 20, "{} MiB", peak >> 20);
}

#[test]
fn image_larger_than_memory_budget_is_served() {
    let directory = Directory::new().with("a.jpg", &data("hostile/progressive-16mpx.jpg"));
    let server = Server::with_limits(directory.handler(), json!({"memory_budget": 1 << 20}));
    let mut clients: Vec<Client> = (0..3)
        .map(|n| {
            let mut client = server.client();
            client.send(&request("GET", &format!("/h/a.jpg?w={}", 100 + n), &[]));
            client
        })
        .collect();
    for client in &mut clients {
        client.read().ok();
    }
}

#[test]
fn decode_timeout_stops_the_work_and_keeps_the_renderer() {
    let directory = Directory::new().with("a.png", &images::png(images::solid(9, 9, RED)));
    for n in 0..4 {
        directory.put(&format!("{n}.gif"), &data("anim.gif"));
    }
    let limits = json!({"decode_timeout": 0.4, "renders_at_once": 1});
    let server = Server::with_limits(directory.handler(), limits);
    let renderer = server.renderer();
    // Each takes many seconds, frame by frame. The last one waits for its permit longer than decode_timeout.
    let slow = |n: usize| format!("/h/{n}.gif?w=1000&e=true&f=webp");
    let mut clients: Vec<Client> = (0..4)
        .map(|n| {
            let mut client = server.client();
            client.send(&request("GET", &slow(n), &[]));
            client
        })
        .collect();
    let mut last = server.client();
    last.send(&request("GET", "/h/a.png?w=5", &[]));
    for client in &mut clients {
        client.read().failed("decode_timeout");
    }
    last.read().ok();
    assert_eq!(server.renderer(), renderer, "the renderer did not have to be killed");
    // Two timeouts block these options, however they are spelled, and no others of the key.
    server.get(&slow(0)).failed("decode_timeout");
    server.get(&slow(0)).failed("crashes_renderer");
    server.get("/h/0.gif?f=webp&e=true&w=1000&q=75").failed("crashes_renderer");
    server.log.event_with("key_blocked", "/h/0.gif?w=1000&");
    server.get("/h/0.gif?w=20&f=png").ok();
    server.get(&slow(0).replace("1000", "999")).failed("decode_timeout");
    server.get("/h/0.gif?w=20&f=jpg").ok();
    // With others, each is counted by itself.
    server.get(&slow(1)).failed("decode_timeout");
    assert_eq!(server.renderer(), renderer);
}

#[test]
fn render_timeout_replaces_a_renderer_that_can_not_be_stopped() {
    let directory = Directory::new()
        .with("a.png", &images::png(images::noise(2400, 1800)))
        .with("b.png", &images::png(images::solid(9, 9, RED)));
    let limits = json!({"decode_timeout": 0.3, "render_timeout": 1.5, "renders_at_once": 1});
    let server = Server::with_limits(directory.handler(), limits);
    let old = server.renderer();
    // The encoder, once it has all pixels, can't be interrupted.
    let mut slow = server.client();
    slow.send(&request("GET", "/h/a.png?f=avif&lossless=true", &[]));
    slow.read().failed("render_timeout");
    let start = Instant::now();
    eventually("a new renderer serves", || server.get("/h/b.png?w=5").status == 200);
    eventually("the old renderer has exited", || !old.lives());
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    let children: Vec<Process> = server.children();
    assert!(!children.contains(&old));
}

#[test]
fn truncated_images_are_refused_unless_fail_on_is_none() {
    let small = images::gradient(8, 6);
    let images = [
        ("jpg", images::jpeg(small.clone())),
        ("png", images::png(small.clone())),
        ("webp", images::webp(small.clone())),
        ("gif", images::gif(small)),
        ("avif", data("quarters.avif")),
    ];
    let directory = Directory::new();
    for (format, whole) in &images {
        assert!(whole.len() <= 1024, "{format}: {}", whole.len());
        for end in 0..=whole.len() {
            directory.put(&format!("{format}/{end}"), &whole[..end]);
        }
    }
    let server = Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), json!({"name": "lenient", "fail_on": "none"})),
    ]}));
    let renderer = server.renderer();
    let mut client = server.client();
    for (format, whole) in &images {
        let shown =
            Image::decode(&client.get(&format!("/h/{format}/{}?f=png", whole.len())).ok().body)
                .pixels;
        let mut served = 0;
        for end in 0..whole.len() {
            // The lenient handler is slower, since it renders most parts.
            let handlers = if end % 5 == 0 { &["h", "lenient"][..] } else { &["h"] };
            for handler in handlers.iter().copied() {
                let answer = client.get(&format!("/{handler}/{format}/{end}?f=png"));
                if answer.status == 200 {
                    let pixels = Image::decode(&answer.body).pixels;
                    assert_eq!(pixels.dimensions(), shown.dimensions(), "{format}, {end} bytes");
                    // Only bytes without an effect on pixels are missing.
                    assert!(
                        handler == "lenient" || pixels == shown,
                        "{format}, {end} bytes: pixels are missing"
                    );
                    served += usize::from(handler == "lenient");
                } else {
                    let code = answer.expect("X-Error").to_owned();
                    assert!(
                        ["corrupt_image", "unsupported_format"].contains(&&*code),
                        "{format}, {end}: {code}"
                    );
                }
            }
        }
        assert!(*format != "jpg" || served > 3, "fail_on=none shows truncated images");
    }
    assert_eq!(server.renderer(), renderer);
}

#[test]
fn truncated_animation_is_not_served_as_a_shorter_one() {
    let whole = data("anim.gif");
    let directory = Directory::new();
    for percent in [30, 50, 90] {
        directory.put(&format!("{percent}.gif"), &whole[..whole.len() * percent / 100]);
    }
    let server = Server::start(json!({"handlers": [
        directory.handler(),
        merged(directory.handler(), json!({"name": "lenient", "fail_on": "none"})),
    ]}));
    for percent in [30, 50, 90] {
        for query in ["w=20", "w=20&f=webp", "f=gif"] {
            server.get(&format!("/h/{percent}.gif?{query}")).failed("corrupt_image");
        }
        // The requested frames are complete.
        server.get(&format!("/h/{percent}.gif?w=20&frames=3")).ok();
        server.get(&format!("/h/{percent}.gif?w=20&f=png")).ok();
        let shown = Image::decode(&server.get(&format!("/lenient/{percent}.gif?w=20")).ok().body);
        assert!((3..42).contains(&shown.frames.len()), "{}", shown.frames.len());
    }
}
