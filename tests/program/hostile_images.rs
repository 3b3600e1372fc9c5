//! Images made to hurt: each is answered as tests/data/hostile/MANIFEST.tsv says, in time, with little memory, by a
//! renderer that lives on. What the files are is in tests/data/hostile/generate.py.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind, RED, holds, size_of};
use crate::support::process::Process;
use crate::support::server::{Server, data};
use crate::support::{eventually, merged};

/// Within this anything is answered.
const DEADLINE: Duration = Duration::from_secs(20);

/// A line of the list.
struct Row {
    file: String,
    /// What may be answered where one frame is wanted, and where all are.
    still: Vec<String>,
    kept: Vec<String>,
    note: String,
}

fn rows() -> Vec<Row> {
    let text = String::from_utf8(data("hostile/MANIFEST.tsv")).unwrap();
    let answers = |field: &str| field.split('|').map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [file, still, kept, note] = fields[..] else { panic!("{line}") };
            let kept = if kept == "=" { still } else { kept };
            Row { file: file.into(), still: answers(still), kept: answers(kept), note: note.into() }
        })
        .collect()
}

#[test]
fn each_is_answered_as_the_list_says_and_the_renderer_lives_on() {
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
        let own_keeps = [".gif", ".webp"].iter().any(|ending| name.ends_with(ending));
        let own = if own_keeps { &row.kept } else { &row.still };
        let mut queries = vec![
            ("w=100", own),
            ("w=100&f=png", &row.still),
            ("w=80&h=80&f=webp", &row.kept),
            ("w=100&f=gif", &row.kept),
            ("w=90&h=50&f=webp&rot=90&blur=1&sharp=1", &row.kept),
        ];
        if !row.note.contains("held whole") {
            queries.push(("q=75", own));
            queries.push(("w=90&h=50&f=gif&trim=3&pad=true&sharp=1", &row.kept));
        }
        for (query, expected) in queries {
            let begun = Instant::now();
            let answer = client.get(&format!("/h/{name}?{query}"));
            let took = begun.elapsed();
            let said = if answer.status == 200 { "ok" } else { answer.expect("X-Error") };
            if !expected.iter().any(|code| code == said) {
                wrong.push(format!("{name}?{query}: {said} and not {expected:?}"));
            }
            if answer.status == 200 {
                let decoded = answer.ok();
                size_of(&decoded.body);
                assert!(
                    !holds(&decoded.body, b"<?php"),
                    "{name}?{query}: it passes on what is no image"
                );
            }
            assert!(took < DEADLINE, "{name}?{query}: {took:?}");
            if took > Duration::from_millis(700) {
                eprintln!("{name}?{query}: {took:?}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What looking at one of them takes, many of them could take at the same time.
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
    assert_eq!(server.renderer(), renderer, "it must refuse them, not survive them");
    let peak = renderer.peak();
    assert!(peak < 400 << 20, "{peak} bytes");
    assert_eq!(size_of(&server.get("/h/good.png?w=40").ok().body), (40, 30));
}

#[test]
fn the_directories_of_exif_are_not_followed() {
    let name = "exif-follow.jpg";
    let directory = Directory::new().with(name, &data(&format!("hostile/{name}")));
    let server = Server::with_handler(directory.handler());
    // Each would take seconds.
    let begun = Instant::now();
    for width in 1..=8 {
        assert_eq!(size_of(&server.get(&format!("/h/{name}?w={width}&f=png")).ok().body).0, width);
    }
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
}

#[test]
fn metadata_of_any_kind_is_bounded() {
    let jpeg = images::jpeg(images::gradient(16, 16));
    // After SOI, so many segments of 64 KB each.
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
fn each_limit_is_its_own() {
    let frame = |shade: u8| (images_rgba(40, 30, shade), 50);
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
        // Frames that nobody wants are not counted.
        if target == "/h/a.gif" {
            server.get("/h/a.gif?f=png").ok();
            server.get("/h/a.gif?frames=5").ok();
        }
        // At the limit itself it is served.
        let (name, most) = limits.as_object().unwrap().iter().next().unwrap();
        if name != "origin_max_bytes" {
            let more = json!({name.clone(): most.as_u64().unwrap() + 1});
            Server::with_limits(directory.handler(), more).get(target).ok();
        }
    }
}

#[test]
fn frames_beyond_ten_thousand_are_frames_where_they_are_allowed() {
    let directory = Directory::new().with("a.gif", &data("hostile/frames-12000.gif"));
    let server = Server::with_limits(directory.handler(), json!({"source_max_frames": 12_000}));
    for query in ["page=3&f=png", "page=11999&f=png", "page=11997", "page=11997&f=webp"] {
        server.get(&format!("/h/a.gif?{query}")).ok();
    }
    server.get("/h/a.gif?page=12000").failed("page_missing");
    let server = Server::with_limits(directory.handler(), json!({"source_max_frames": 11_999}));
    server.get("/h/a.gif?page=11997&f=webp").failed("too_many_frames");
}

fn images_rgba(width: u32, height: u32, shade: u8) -> image::RgbaImage {
    image::RgbaImage::from_pixel(width, height, image::Rgba([shade * 20, 0, 0, 255]))
}

#[test]
fn large_images_wait_for_memory_and_are_all_answered() {
    const BUDGET: u64 = 160 << 20;
    const BASE: u64 = 100 << 20;
    // Each of them is held whole: 48 MB of coefficients or 16 MB of pixels, and what it is made into.
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
    // Far more than one at a time.
    assert!(peak > 100 << 20, "{} MiB", peak >> 20);
}

#[test]
fn an_image_larger_than_the_budget_is_worked_on_all_the_same() {
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
fn work_that_takes_too_long_is_stopped_and_the_renderer_goes_on() {
    let directory = Directory::new().with("a.png", &images::png(images::solid(9, 9, RED)));
    for n in 0..4 {
        directory.put(&format!("{n}.gif"), &data("anim.gif"));
    }
    let limits = json!({"decode_timeout": 0.4, "renders_at_once": 1});
    let server = Server::with_limits(directory.handler(), limits);
    let renderer = server.renderer();
    // Many seconds of work each, frame by frame. The last of them waits for its turn longer than it may take itself.
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
    assert_eq!(server.renderer(), renderer, "nobody had to end it");
    // Once is forgiven when something comes of it, and twice is not.
    server.get("/h/0.gif?w=20&f=png").ok();
    server.get(&slow(0)).failed("decode_timeout");
    server.get(&slow(0)).failed("decode_timeout");
    server.get("/h/0.gif?w=20&f=png").failed("crashes_renderer");
    server.get("/h/1.gif?w=20&f=png").ok();
}

#[test]
fn work_that_can_not_be_stopped_ends_with_its_renderer() {
    let directory = Directory::new()
        .with("a.png", &images::png(images::noise(2400, 1800)))
        .with("b.png", &images::png(images::solid(9, 9, RED)));
    let limits = json!({"decode_timeout": 0.3, "render_timeout": 1.5, "renders_at_once": 1});
    let server = Server::with_limits(directory.handler(), limits);
    let old = server.renderer();
    // The encoder gets all pixels and then looks at nothing any more.
    let mut slow = server.client();
    slow.send(&request("GET", "/h/a.png?f=avif&q=95", &[]));
    slow.read().failed("render_timeout");
    let begun = Instant::now();
    eventually("another one has the turn", || server.get("/h/b.png?w=5").status == 200);
    eventually("the old one is gone", || !old.lives());
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    let children: Vec<Process> = server.children();
    assert!(!children.contains(&old));
}

#[test]
fn no_part_of_an_image_is_taken_for_all_of_it() {
    let small = images::gradient(8, 6);
    let wholes = [
        ("jpg", images::jpeg(small.clone())),
        ("png", images::png(small.clone())),
        ("webp", images::webp(small.clone())),
        ("gif", images::gif(small)),
        ("avif", data("quarters.avif")),
    ];
    let directory = Directory::new();
    for (format, whole) in &wholes {
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
    for (format, whole) in &wholes {
        let shown =
            Image::decode(&client.get(&format!("/h/{format}/{}?f=png", whole.len())).ok().body)
                .pixels;
        let mut served = 0;
        for end in 0..whole.len() {
            // The lenient one shows too much to be asked for every part.
            let handlers = if end % 5 == 0 { &["h", "lenient"][..] } else { &["h"] };
            for handler in handlers.iter().copied() {
                let answer = client.get(&format!("/{handler}/{format}/{end}?f=png"));
                if answer.status == 200 {
                    let pixels = Image::decode(&answer.body).pixels;
                    assert_eq!(pixels.dimensions(), shown.dimensions(), "{format}, {end} bytes");
                    // Nothing is missing but what nobody needs.
                    assert!(
                        handler == "lenient" || pixels == shown,
                        "{format}, {end} bytes: half an image"
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
        assert!(*format != "jpg" || served > 3, "a lenient handler shows what there is");
    }
    assert_eq!(server.renderer(), renderer);
}

#[test]
fn an_animation_that_is_cut_off_is_not_shown_as_a_shorter_one() {
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
        // All that is asked for is there.
        server.get(&format!("/h/{percent}.gif?w=20&frames=3")).ok();
        server.get(&format!("/h/{percent}.gif?w=20&f=png")).ok();
        let shown = Image::decode(&server.get(&format!("/lenient/{percent}.gif?w=20")).ok().body);
        assert!((3..42).contains(&shown.frames.len()), "{}", shown.frames.len());
    }
}
