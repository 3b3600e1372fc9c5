//! `f=auto`: the format is chosen by what the client accepts and by what can hold the result.

use std::sync::atomic::{AtomicUsize, Ordering};

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::{Value, json};

use crate::admin::{cache_status, cached, config, send_ok, stat};
use crate::cache_command::cache as cache_command;
use crate::support::client::{Answer, request};
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{
    self, BLACK, BLUE, GREEN, Image, Kind, RED, WHITE, avif_has_alpha, close, size_of,
};
use crate::support::merged;
use crate::support::origin::{self, RawOrigin, object};
use crate::support::server::Server;

const CHROME: &str = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
const FIREFOX: &str = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5";
const OLD_CHROME: &str = "image/webp,image/apng,image/*,*/*;q=0.8";

/// The response to a request with this `Accept`, which must be an image that varies on it.
#[track_caller]
fn get(server: &Server, target: &str, accept: &str) -> Answer {
    let answer = server.get_with(target, &[("Accept", accept)]).ok();
    assert!(answer.varies_on("Accept"), "{target}: {:?}", answer.headers);
    let kind = Kind::of(&answer.body).expect("an image");
    assert_eq!(answer.expect("Content-Type"), kind.media_type(), "{target}");
    answer
}

fn kind_of(answer: &Answer) -> Kind {
    Kind::of(&answer.body).expect("an image")
}

/// A sample that is noisy, as in a photograph: `f=auto` has other rules for drawings.
fn noisy(sample: u8, seed: u32) -> u8 {
    let noise = (seed.wrapping_mul(2_654_435_761) >> 29) as u8;
    if sample < 128 { sample + noise } else { sample - noise }
}

/// Width and height of the animation: `f=auto` has other rules for images of 100 × 100 pixels or less.
const FRAME: (u32, u32) = (150, 100);

/// Four frames with a red left half; the right half and the delay of each differ.
fn animation() -> Vec<u8> {
    let frames = [(GREEN, 100), (BLUE, 200), (BLACK, 300), (WHITE, 50)];
    let (width, height) = FRAME;
    let frame = |[r, g, b]: [u8; 3]| {
        RgbaImage::from_fn(width, height, |x, y| {
            let at = y * width + x;
            if x < width / 2 {
                Rgba([255, 0, 0, 255])
            } else {
                Rgba([noisy(r, at), noisy(g, at + 7), noisy(b, at + 9), 255])
            }
        })
    };
    images::animated_gif(&frames.map(|(colour, time)| (frame(colour), time)))
}

/// Noisy red, with a transparent lower half.
fn half_transparent(width: u32, height: u32) -> Vec<u8> {
    let pixel = |x, y| {
        let at = y * width + x;
        let alpha = if y < height / 2 { 255 } else { 0 };
        Rgba([noisy(255, at), noisy(0, at + 7), noisy(0, at + 9), alpha])
    };
    images::png(RgbaImage::from_fn(width, height, pixel))
}

/// Handlers for one directory: `h` with JPEG as its default format, `own` without one, and `png`, `webp` and `gif`.
fn server(directory: &Directory, limits: Value) -> Server {
    // A small one is converted fast.
    let error_image = directory.put("error.png", &images::png(images::solid(8, 8, RED)));
    let handler = |name: &str, format: &str| {
        let fields = json!({"name": name, "output_format": format, "error_image": error_image});
        merged(directory.handler(), fields)
    };
    let handlers = [("h", "jpg"), ("own", ""), ("png", "png"), ("webp", "webp"), ("gif", "gif")];
    let handlers = handlers.map(|(name, format)| handler(name, format));
    Server::start(json!({"handlers": handlers, "limits": limits}))
}

#[test]
fn auto_keeps_animations_in_the_first_accepted_format_with_frames() {
    let directory = Directory::new().with("a.gif", &animation());
    let server = server(&directory, json!({}));
    let webp = server.get("/h/a.gif?f=webp").ok().body;
    directory.put("a.webp", &webp);
    for (target, accept, kind, count) in [
        ("/h/a.gif?f=auto", CHROME, Kind::Avif, 4),
        ("/own/a.gif?f=auto", FIREFOX, Kind::Avif, 4),
        ("/own/a.gif?f=auto", OLD_CHROME, Kind::Webp, 4),
        ("/h/a.gif?f=auto", "image/webp;q=0.1,image/avif,image/jpeg", Kind::Avif, 4),
        ("/h/a.gif?f=auto", "image/avif,*/*;q=0.1", Kind::Avif, 4),
        ("/h/a.gif?f=auto", "image/avif;q=0.1,image/gif", Kind::Avif, 4),
        ("/h/a.gif?f=auto", "image/avif,image/gif;q=0.1", Kind::Avif, 4),
        ("/own/a.gif?f=auto", "*/*", Kind::Gif, 4),
        ("/h/a.gif?f=auto", "*/*", Kind::Gif, 4),
        ("/h/a.gif?f=auto", "", Kind::Gif, 4),
        ("/h/a.webp?f=auto", "*/*", Kind::Gif, 4),
        ("/h/a.webp?f=auto", CHROME, Kind::Avif, 4),
        ("/own/a.webp?f=auto", "*/*", Kind::Webp, 4),
        // No accepted format has frames.
        ("/h/a.gif?f=auto", "image/jpeg", Kind::Jpeg, 1),
        ("/png/a.gif?f=auto", "image/png,image/jpeg", Kind::Png, 1),
        ("/h/a.gif?f=auto", "*/*,image/gif;q=0", Kind::Jpeg, 1),
        ("/h/a.gif?f=auto&lossless=true", "*/*", Kind::Png, 1),
        ("/h/a.gif?f=auto&lossless=true", CHROME, Kind::Avif, 4),
        // `frames` and `page` leave one or more.
        ("/h/a.gif?f=auto&frames=3", CHROME, Kind::Avif, 3),
        ("/h/a.gif?f=auto&frames=3", OLD_CHROME, Kind::Webp, 3),
        ("/h/a.gif?f=auto&page=2", OLD_CHROME, Kind::Webp, 2),
        ("/h/a.gif?f=auto&frames=2&page=1", "*/*", Kind::Gif, 2),
        ("/h/a.gif?f=auto&frames=1", OLD_CHROME, Kind::Webp, 1),
        ("/h/a.gif?f=auto&page=3", "*/*", Kind::Jpeg, 1),
        ("/h/a.gif?f=auto&trim=3&w=10", OLD_CHROME, Kind::Webp, 4),
        ("/h/a.gif?f=auto&pad=true&w=50&h=50&bg=00000000", "*/*", Kind::Gif, 4),
    ] {
        let answer = get(&server, target, accept);
        let what = format!("{target}, {accept}");
        assert_eq!(kind_of(&answer), kind, "{what}");
        let times: Vec<u32> = match kind {
            Kind::Avif => images::avif_times(&answer.body),
            _ => Image::decode(&answer.body).frames.iter().map(|(_, time)| *time).collect(),
        };
        assert_eq!(times.len(), count, "{what}");
        if count == 4 {
            assert_eq!(times, [100, 200, 300, 50], "{what}");
        }
    }
    for (target, accept) in [
        ("/h/a.gif?f=auto", "image/avif,image/jpeg"),
        ("/h/a.gif?f=auto&frames=1", CHROME),
        ("/own/a.gif?f=auto&page=3", CHROME),
    ] {
        assert_eq!(kind_of(&get(&server, target, accept)), Kind::Avif, "{target}, {accept}");
    }
    let missing = server.get_with("/h/a.gif?f=auto&page=4", &[("Accept", CHROME)]);
    missing.failed("page_missing");
}

#[test]
fn auto_passes_over_formats_in_which_an_animation_is_over_a_limit() {
    let directory = Directory::new().with("a.gif", &animation());
    for limits in [
        json!({"source_max_frames": 3}),
        json!({"source_max_total_pixels": 4 * FRAME.0 * FRAME.1 - 1}),
        json!({"result_max_pixels": 4 * FRAME.0 * FRAME.1 - 1}),
    ] {
        let server = server(&directory, limits.clone());
        for accept in [CHROME, OLD_CHROME, "*/*"] {
            let answer = get(&server, "/h/a.gif?f=auto", accept);
            assert_eq!(kind_of(&answer), Kind::Jpeg, "{limits}: {accept}");
            assert_eq!(size_of(&answer.body), FRAME);
        }
        // A last resort that the client may not have named.
        let still = get(&server, "/gif/a.gif?f=auto", "image/gif");
        assert!(matches!(kind_of(&still), Kind::Jpeg | Kind::Png), "{limits}");
        for target in ["/own/a.gif", "/h/a.gif?f=gif", "/h/a.gif?f=webp", "/h/a.gif?f=avif"] {
            assert_eq!(server.get(target).status, 404, "{limits}: {target}");
        }
        assert_eq!(kind_of(&get(&server, "/h/a.gif?f=auto&frames=3", OLD_CHROME)), Kind::Webp);
    }
}

#[test]
fn auto_passes_over_formats_that_can_not_hold_the_size() {
    let blue = |x: u32, y: u32| {
        let at = y * 20 + x;
        Rgb([noisy(0, at), noisy(0, at + 7), noisy(255, at + 9)])
    };
    let tall = |height| RgbImage::from_fn(20, height, blue);
    // With a border of 1000 red lines.
    let bordered =
        RgbImage::from_fn(20, 17_000, |x, y| if y < 1000 { Rgb(RED) } else { blue(x, y) });
    let directory = Directory::new()
        .with("17000.jpg", &images::jpeg(tall(17_000)))
        .with("33000.jpg", &images::jpeg(tall(33_000)))
        .with("33000.png", &half_transparent(20, 33_000))
        .with("bordered.png", &images::png(bordered))
        .with("line.png", &images::png(images::solid(1, 2000, BLUE)));
    let server = server(&directory, json!({}));
    for (target, accept, kind, size) in [
        ("/h/17000.jpg?f=auto", CHROME, Kind::Avif, (20, 17_000)),
        ("/h/17000.jpg?f=auto", OLD_CHROME, Kind::Jpeg, (20, 17_000)),
        ("/h/33000.jpg?f=auto", CHROME, Kind::Jpeg, (20, 33_000)),
        ("/own/33000.jpg?f=auto", CHROME, Kind::Jpeg, (20, 33_000)),
        ("/webp/33000.jpg?f=auto", "*/*", Kind::Jpeg, (20, 33_000)),
        ("/webp/33000.jpg?f=auto", "image/webp", Kind::Jpeg, (20, 33_000)),
        ("/webp/33000.jpg?f=auto&lossless=true", CHROME, Kind::Png, (20, 33_000)),
        ("/webp/33000.png?f=auto", CHROME, Kind::Png, (20, 33_000)),
        ("/own/33000.png?f=auto", CHROME, Kind::Png, (20, 33_000)),
        ("/h/33000.png?f=auto", OLD_CHROME, Kind::Png, (20, 33_000)),
        ("/h/33000.png?f=auto", "*/*", Kind::Jpeg, (20, 33_000)),
        // Trimmed and padded results are smaller.
        ("/webp/bordered.png?f=auto", "*/*", Kind::Jpeg, (20, 17_000)),
        ("/webp/bordered.png?f=auto&trim=9", "*/*", Kind::Webp, (20, 16_000)),
        ("/h/33000.jpg?f=auto&w=90&h=90&pad=true", OLD_CHROME, Kind::Webp, (90, 90)),
        ("/h/33000.jpg?f=auto&h=50", OLD_CHROME, Kind::Webp, (1, 50)),
        // Enlarged results are larger.
        ("/png/line.png?f=auto&e=true&w=9", OLD_CHROME, Kind::Png, (9, 18_000)),
    ] {
        let answer = get(&server, target, accept);
        assert_eq!(kind_of(&answer), kind, "{target}, {accept}");
        assert_eq!(size_of(&answer.body), size, "{target}, {accept}");
    }
    let kept = Image::decode(&get(&server, "/webp/33000.png?f=auto", CHROME).body);
    assert!(close(kept.at(50, 25), RED) && kept.at(50, 25)[3] == 255 && kept.at(50, 75)[3] == 0);
    // Explicit formats fail as before, and so does what no format holds.
    server.get("/h/33000.jpg?f=avif").failed("result_too_large");
    server.get("/h/17000.jpg?f=webp").failed("result_too_large");
    let all = server.get_with("/h/line.png?f=auto&e=true&w=160", &[("Accept", CHROME)]);
    all.failed("result_too_large");
}

#[test]
fn auto_keeps_transparency_unless_only_the_default_format_is_accepted() {
    let directory = Directory::new()
        .with("a.png", &half_transparent(120, 100))
        .with("opaque.jpg", &images::jpeg(images::gradient(160, 80)));
    let server = server(&directory, json!({}));
    for (target, accept, kind) in [
        ("/h/a.png?f=auto", "image/webp;q=0.1,image/jpeg", Kind::Webp),
        ("/h/a.png?f=auto", "image/webp;q=0.1,*/*", Kind::Webp),
        ("/own/a.png?f=auto", "*/*", Kind::Png),
        ("/png/a.png?f=auto", "image/jpeg", Kind::Png),
    ] {
        let answer = get(&server, target, accept);
        assert_eq!(kind_of(&answer), kind, "{target}, {accept}");
        assert_eq!(Image::decode(&answer.body).at(50, 75)[3], 0, "{target}, {accept}");
    }
    for (target, accept) in [
        ("/h/a.png?f=auto", "image/avif;q=0.1,image/jpeg"),
        ("/h/a.png?f=auto", CHROME),
        ("/h/opaque.jpg?f=auto&w=160&h=160&pad=true&bg=00000000", "image/avif;q=0.1,image/jpeg"),
    ] {
        let answer = get(&server, target, accept);
        assert_eq!(kind_of(&answer), Kind::Avif, "{target}, {accept}");
        assert!(avif_has_alpha(&answer.body), "{target}, {accept}");
    }
    // `output_format` decides, and `bg` is behind the transparency.
    for accept in ["*/*", "image/png,*/*;q=0.5", "image/jpeg", ""] {
        let flat = get(&server, "/h/a.png?f=auto&bg=0000ff", accept);
        assert_eq!(kind_of(&flat), Kind::Jpeg, "{accept}");
        assert!(close(Image::decode(&flat.body).at(50, 75), BLUE), "{accept}");
    }
    // Without transparency, the weights count.
    let opaque = get(&server, "/h/opaque.jpg?f=auto", "image/webp;q=0.1,image/jpeg");
    assert_eq!(kind_of(&opaque), Kind::Jpeg);
}

#[test]
fn auto_without_an_acceptable_format_sends_the_default() {
    let directory = Directory::new()
        .with("a.png", &images::png(images::gradient(40, 30)))
        .with("a.gif", &animation());
    let server = server(&directory, json!({}));
    let nothing = "image/avif;q=0,image/webp;q=0,image/jpeg;q=0,image/png;q=0,image/gif;q=0,\
                   image/*;q=0,*/*;q=0";
    for accept in [nothing, "text/html", "*/*;q=0", "image/jxl", ";", "image/png;q=7"] {
        assert_eq!(kind_of(&get(&server, "/h/a.png?f=auto", accept)), Kind::Jpeg, "{accept}");
        assert_eq!(kind_of(&get(&server, "/own/a.png?f=auto", accept)), Kind::Png, "{accept}");
        // As without the header.
        let moving = get(&server, "/h/a.gif?f=auto", accept);
        assert_eq!((kind_of(&moving), Image::decode(&moving.body).frames.len()), (Kind::Gif, 4));
    }
}

#[test]
fn auto_shares_entries_between_headers_that_mean_the_same() {
    let directory = Directory::new().with("a.gif", &animation());
    let cache = Directory::new();
    let fields = json!({"output_format": "jpg", "presets": {"small": "w=30&f=auto"}});
    let server = Server::with_handler(merged(cached(directory.handler(), &cache), fields));
    let first = get(&server, "/h/a.gif?w=30&f=auto", CHROME);
    assert_eq!((cache_status(&first), kind_of(&first)), ("miss", Kind::Avif));
    let tag = first.expect("ETag");
    let other_order = "IMAGE/WEBP , image/avif;q=1.0;x=y, text/html;q=0.1, */* ; q=0.300";
    for (target, accept) in [
        ("/h/a.gif?w=30&f=auto", CHROME),
        ("/h/a.gif?w=30&f=auto", FIREFOX),
        ("/h/a.gif?f=auto&w=30&q=75", other_order),
        ("/h/a.gif?p=small", FIREFOX),
    ] {
        let answer = get(&server, target, accept);
        assert_eq!(cache_status(&answer), "hit", "{target}, {accept}");
        assert_eq!((answer.expect("ETag"), &answer.body), (tag, &first.body));
        let head = server.head_with(target, &[("Accept", accept)]);
        assert_eq!((head.status, head.expect("ETag")), (200, tag));
        assert_eq!(head.expect("Content-Type"), "image/avif");
        assert!(head.varies_on("Accept"));
        let known = server.get_with(target, &[("Accept", accept), ("If-None-Match", tag)]);
        assert_eq!(known.status, 304, "{target}, {accept}");
        assert!(known.varies_on("Accept"));
        let part = server.get_with(target, &[("Accept", accept), ("Range", "bytes=4-9")]);
        assert_eq!((part.status, &part.body[..]), (206, &first.body[4..10]));
    }
    assert_eq!(cache.files().len(), 1);
    // Each is another entry, and none is that of an explicit format.
    let others =
        [("f=auto", OLD_CHROME), ("f=auto", "*/*"), ("f=auto", "image/jpeg"), ("f=webp", CHROME)];
    for (count, (query, accept)) in (2..).zip(others) {
        let target = format!("/h/a.gif?w=30&{query}");
        let answer = server.get_with(&target, &[("Accept", accept)]).ok();
        assert_eq!((cache_status(&answer), cache.files().len()), ("miss", count), "{accept}");
    }
}

#[test]
fn auto_has_a_bounded_number_of_entries_whatever_clients_send() {
    let directory = Directory::new().with("a.png", &images::png(images::gradient(20, 10)));
    let cache = Directory::new();
    let fields = json!({"output_format": "jpg", "max_variants": 0});
    let server = Server::with_handler(merged(cached(directory.handler(), &cache), fields));
    let mut client = server.client();
    let mut state = 7_u64;
    let mut random = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % end
    };
    const TYPES: [&str; 9] = [
        "image/avif",
        "image/webp",
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/*",
        "*/*",
        "image/jxl",
        "text/html",
    ];
    for _ in 0..300 {
        let count = random(8);
        let ranges: Vec<String> = (0..count)
            .map(|_| format!("{};q=0.{}", TYPES[random(9) as usize], random(1000)))
            .collect();
        let answer = client.get_with("/h/a.png?f=auto", &[("Accept", &ranges.join(","))]).ok();
        assert!(answer.varies_on("Accept"));
    }
    // 8 KB and 1000 ranges are read like others.
    let long = format!("{}image/webp,*/*", "image/x;q=0.111,".repeat(500));
    let many = format!("{}image/webp", "a/b,".repeat(1000));
    let quotes = "\"".repeat(8000);
    let not_utf8 = [b"image/webp,\xff\xfe".as_slice()].concat();
    assert_eq!(kind_of(&get(&server, "/h/a.png?f=auto", &long)), Kind::Webp);
    assert_eq!(kind_of(&get(&server, "/h/a.png?f=auto", &many)), Kind::Webp);
    assert_eq!(kind_of(&get(&server, "/h/a.png?f=auto", &quotes)), Kind::Jpeg);
    client.send(
        &[
            b"GET /h/a.png?f=auto HTTP/1.1\r\nHost: x\r\nAccept: ".as_slice(),
            &not_utf8,
            b"\r\n\r\n",
        ]
        .concat(),
    );
    assert_eq!(kind_of(&client.read().ok()), Kind::Jpeg);
    let count = cache.files().len();
    assert!((4..=28).contains(&count), "{count} entries");
    // What is part of the cache key can't be requested.
    for query in ["f=auto:avif:webp:jpg", "f=auto:webp", "f=auto:", "f=auto%3Ajpg"] {
        assert_eq!(client.get(&format!("/h/a.png?{query}")).status, 400, "{query}");
    }
}

#[test]
fn auto_keeps_to_max_variants() {
    let directory = Directory::new().with("a.png", &images::png(images::gradient(20, 10)));
    let cache = Directory::new();
    let fields = json!({"output_format": "jpg", "max_variants": 2});
    let server = Server::with_handler(merged(cached(directory.handler(), &cache), fields));
    for accept in [CHROME, OLD_CHROME, "*/*", "image/gif"] {
        get(&server, "/h/a.png?f=auto", accept);
    }
    assert_eq!(cache.files().len(), 2);
    for (accept, status) in [(FIREFOX, "hit"), (OLD_CHROME, "hit"), ("*/*", "miss")] {
        assert_eq!(cache_status(&get(&server, "/h/a.png?f=auto", accept)), status, "{accept}");
    }
}

#[test]
fn auto_entries_are_purged_rendered_again_and_verified() {
    let directory = Directory::new().with("a.gif", &animation());
    let cache = Directory::new();
    let handler = merged(cached(directory.handler(), &cache), json!({"output_format": "jpg"}));
    let server = Server::start(config(handler));
    for accept in [CHROME, "*/*"] {
        get(&server, "/h/a.gif?f=auto", accept);
    }
    let (output, _, status) = cache_command(server.directory(), &["verify"]);
    assert!(status == Some(0) && output.contains("2 entries valid, 0 damaged"), "{output}");
    let (stats, _, _) = cache_command(server.directory(), &["stats", "--json"]);
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["folders"][0]["handlers"][0]["results"]["entries"], json!(2));

    // The original is a still image now.
    directory.put("a.gif", &images::gif(images::gradient(150, 100)));
    let purged = send_ok(&server, "POST", "/-/purge/h/a.gif?render=1");
    assert_eq!(purged, json!({"renditions": 2, "original": false, "rendered": 2, "failed": 0}));
    for (accept, kind) in [(FIREFOX, Kind::Avif), ("image/*", Kind::Jpeg)] {
        let answer = get(&server, "/h/a.gif?f=auto", accept);
        assert_eq!((cache_status(&answer), kind_of(&answer)), ("hit", kind), "{accept}");
        assert_eq!(size_of(&answer.body), (150, 100));
    }
    directory.put("a.gif", &animation());
    let (output, _, status) = cache_command(server.directory(), &["purge", "/h/a.gif"]);
    assert!(status == Some(0), "{output}");
    let entries =
        cache.files().into_iter().filter(|file| file.starts_with(cache.path().join("v1")));
    assert_eq!(entries.count(), 0, "{output}");
    let removed = send_ok(&server, "POST", "/-/purge/h/a.gif");
    assert_eq!(removed["renditions"], json!(0));
    let again = get(&server, "/h/a.gif?f=auto", CHROME);
    assert_eq!((cache_status(&again), kind_of(&again)), ("miss", Kind::Avif));
}

#[test]
fn auto_follows_a_new_default_format() {
    let directory = Directory::new().with("a.png", &images::png(images::gradient(20, 10)));
    let cache = Directory::new();
    let with = |format: &str| {
        json!({"handlers": [
            merged(cached(directory.handler(), &cache), json!({"output_format": format}))
        ]})
    };
    let server = Server::start(with("jpg"));
    for _ in 0..2 {
        assert_eq!(kind_of(&get(&server, "/h/a.png?f=auto", "*/*")), Kind::Jpeg);
    }
    server.reload_well(with("png"));
    assert_eq!(kind_of(&get(&server, "/h/a.png?f=auto", "*/*")), Kind::Png);
}

#[test]
fn auto_requests_that_mean_the_same_are_coalesced() {
    let gate = Gate::new();
    let closed = gate.clone();
    let origin = RawOrigin::start(move |_, peer| {
        closed.pass();
        peer.send(&object(&animation()))
    });
    let cache = Directory::new();
    let server = Server::start(config(cached(origin.handler(), &cache)));
    let mut clients: Vec<_> = (0..20)
        .map(|number| {
            let accept = [CHROME, FIREFOX][number % 2];
            let mut client = server.client();
            client.send(&request("GET", "/h/a.gif?f=auto", &[("Accept", accept)]));
            client
        })
        .collect();
    origin.wait_for_requests(1);
    gate.open();
    for client in &mut clients {
        assert_eq!(kind_of(&client.read().ok()), Kind::Avif);
    }
    assert_eq!((origin.requests().len(), stat(&server, "/rendered")), (1, 1));
}

#[test]
fn auto_entries_are_revalidated_in_their_format() {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let confirmed = std::sync::Arc::clone(&count);
    let origin = RawOrigin::start(move |request, peer| match request.header("if-none-match") {
        Some("\"one\"") => {
            confirmed.fetch_add(1, Ordering::Relaxed);
            peer.send(b"HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\n\r\n")
        }
        _ => peer.send(&origin::answer(200, &[("ETag", "\"one\"")], &animation())),
    });
    let cache = Directory::new();
    let brief = json!({"cache_path": cache.path(), "cache_time": 1, "output_format": "jpg"});
    let server = Server::with_handler(merged(origin.handler(), brief));
    let first = get(&server, "/h/a.gif?f=auto", CHROME);
    let mut last = first.clone();
    crate::support::eventually("the entry is revalidated", || {
        last = get(&server, "/h/a.gif?f=auto", FIREFOX);
        assert_eq!((last.expect("ETag"), kind_of(&last)), (first.expect("ETag"), Kind::Avif));
        cache_status(&last) == "revalidated"
    });
    assert!(count.load(Ordering::Relaxed) > 0);
    assert_eq!(last.body, first.body);
}

#[test]
fn auto_error_images_are_in_an_accepted_format() {
    let directory = Directory::new()
        .with("error.gif", &animation())
        .with("error.png", &half_transparent(120, 100));
    let handler = |name: &str, file: &str| {
        let fields = json!({"name": name, "output_format": "jpg",
            "error_image": directory.path().join(file)});
        merged(directory.handler(), fields)
    };
    let server =
        Server::start(json!({"handlers": [handler("h", "error.gif"), handler("p", "error.png")]}));
    for (target, accept, kind) in [
        ("/h/none.jpg?f=auto&w=120", CHROME, Kind::Avif),
        ("/h/none.jpg?f=auto&w=120", OLD_CHROME, Kind::Webp),
        ("/h/none.jpg?f=auto&w=120", "*/*", Kind::Gif),
        ("/h/none.jpg?f=auto&w=120", "image/jpeg", Kind::Jpeg),
        ("/p/none.jpg?f=auto&w=120", CHROME, Kind::Avif),
        ("/p/none.jpg?f=auto&w=120", "image/webp;q=0.1,image/jpeg", Kind::Webp),
        ("/p/none.jpg?f=auto&w=120", "*/*", Kind::Jpeg),
    ] {
        for _ in 0..2 {
            let answer = server.get_with(target, &[("Accept", accept)]).failed("not_found");
            assert_eq!(kind_of(&answer), kind, "{target}, {accept}");
            assert_eq!(answer.expect("Content-Type"), kind.media_type());
            assert!(answer.varies_on("Accept"), "{target}");
            if kind != Kind::Avif {
                let image = Image::decode(&answer.body);
                let count = if matches!(kind, Kind::Gif)
                    || target.starts_with("/h") && kind == Kind::Webp
                {
                    4
                } else {
                    1
                };
                assert_eq!(
                    (image.size().0, image.frames.len()),
                    (120, count),
                    "{target}, {accept}"
                );
            }
        }
    }
}
