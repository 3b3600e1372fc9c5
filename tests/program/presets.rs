//! Restricting variants: presets, `allowed_sizes` and `max_variants`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::documentation::assert_covers_image_options;
use crate::support::client::{Answer, Client};
use crate::support::directory::Directory;
use crate::support::images::{self, Kind, size_of};
use crate::support::origin::{self, RawOrigin, object};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged, settled};
use crate::token;

/// A directory with one 400×300 image, `a.png`.
fn landscape() -> Directory {
    Directory::new().with("a.png", &images::png(images::gradient(400, 300)))
}

fn server(originals: &Directory, cache: &Directory, fields: Value) -> Server {
    let cached = merged(originals.handler(), json!({"cache_path": cache.path()}));
    Server::with_handler(merged(cached, fields))
}

fn thumb() -> Value {
    json!({"presets": {"thumb": "w=160&h=160&c=true&f=auto", "wide": "w=200&f=png", "own": ""}})
}

fn state(answer: &Answer) -> &str {
    answer.expect("X-Cache")
}

/// Fails unless the request is refused with a sentence that starts like this.
#[track_caller]
fn expect_refused(server: &Server, target: &str, start: &str) -> String {
    let answer = server.get(target);
    assert_eq!(answer.status, 400, "{target}: {answer:?}");
    let sentence = String::from_utf8(answer.body).unwrap();
    assert!(sentence.starts_with(start), "{target}: {sentence}");
    sentence
}

#[track_caller]
fn expect_size(server: &Server, target: &str, size: (u32, u32)) {
    assert_eq!(size_of(&server.get(target).ok().body), size, "{target}");
}

#[test]
fn presets_and_their_queries_share_a_cache_entry() {
    let originals = landscape();
    let cache = Directory::new();
    let server = server(&originals, &cache, thumb());
    let accepts = [("Accept", "image/webp")];
    let preset = server.get_with("/h/a.png?p=thumb", &accepts).ok();
    assert_eq!((state(&preset), Kind::of(&preset.body)), ("miss", Some(Kind::Webp)));
    assert_eq!(size_of(&preset.body), (160, 160));
    assert!(preset.varies_on("Accept"));
    for target in
        ["/h/a.png?w=160&h=160&c=true&f=auto", "/h/a.png?h=160&w=160&f=auto", "/h/a.png?p=%74humb"]
    {
        let explicit = server.get_with(target, &accepts).ok();
        assert_eq!(
            (state(&explicit), explicit.expect("ETag")),
            ("hit", preset.expect("ETag")),
            "{target}"
        );
    }
    assert_eq!(cache.files().len(), 1);
    let tag = preset.expect("ETag").to_owned();
    let known = server.get_with("/h/a.png?p=thumb", &[accepts[0], ("If-None-Match", &tag)]);
    assert_eq!(known.status, 304);
    assert!(known.varies_on("Accept"));
    // Another client gets another format.
    let other = server.get("/h/a.png?p=thumb").ok();
    assert_eq!(Kind::of(&other.body), Some(Kind::Png));
    // A preset without f=auto does not vary.
    let wide = server.get_with("/h/a.png?p=wide", &accepts).ok();
    assert_eq!((Kind::of(&wide.body), size_of(&wide.body)), (Some(Kind::Png), (200, 150)));
    assert!(!wide.varies_on("Accept"));
    server.log.access("/h/a.png?p=wide");
}

#[test]
fn query_parameters_override_the_preset() {
    let originals = landscape();
    let cache = Directory::new();
    let server = server(&originals, &cache, thumb());
    for (target, size) in [
        ("/h/a.png?p=thumb&w=80", (80, 160)),
        ("/h/a.png?h=40&p=thumb", (160, 40)),
        ("/h/a.png?p=thumb&c=false", (160, 120)),
        ("/h/a.png?p=wide&dpr=0.5", (100, 75)),
        ("/h/a.png?p=own", (400, 300)),
        ("/h/a.png?p=own&w=20", (20, 15)),
        ("/h/a.png?p=wide&unknown=1&t=2", (200, 150)),
        ("/h/a.png", (400, 300)),
    ] {
        expect_size(&server, target, size);
    }
    let answer = server.get_with("/h/a.png?p=thumb&f=jpg", &[("Accept", "image/webp")]).ok();
    assert_eq!(Kind::of(&answer.body), Some(Kind::Jpeg));
    assert!(!answer.varies_on("Accept"), "the format is fixed");
}

#[test]
fn unknown_presets_are_refused() {
    let originals = landscape();
    let cache = Directory::new();
    let server = server(&originals, &cache, thumb());
    for (target, start) in [
        ("/h/a.png?p=other", "p: there is no preset \"other\""),
        ("/h/a.png?p=THUMB", "p: there is no preset \"THUMB\""),
        ("/h/a.png?p=", "p: there is no preset \"\""),
        ("/h/a.png?p", "p: there is no preset \"\""),
        ("/h/a.png?p=thumb&p=thumb", "p: given twice"),
        ("/h/a.png?p=%ff", "p: its value is not"),
        ("/h/a.png?p=thumb&w=x", "w: must be"),
        // The query is checked before the key is looked up.
        ("/h/missing.png?p=other", "p: there is no preset"),
    ] {
        expect_refused(&server, target, start);
    }
    let refused = server.log.access("/h/a.png?p=THUMB");
    assert_eq!(refused.last().map(String::as_str), Some("bad_request"));
    assert_eq!(cache.files(), Vec::<PathBuf>::new());
    // A handler without presets.
    let without = Server::with_handler(originals.handler());
    expect_refused(&without, "/h/a.png?p=thumb", "p: there is no preset");
}

#[test]
fn presets_only_refuses_other_image_options() {
    let originals = landscape();
    let cache = Directory::new();
    let server = server(&originals, &cache, merged(thumb(), json!({"presets_only": true})));
    for target in ["/h/a.png?p=thumb", "/h/a.png?t=1&p=thumb", "/h/a.png?p=thumb&utm=1&W=9&exp=9"] {
        let answer = server.get_with(target, &[("Accept", "image/webp")]).ok();
        assert_eq!(
            (size_of(&answer.body), Kind::of(&answer.body)),
            ((160, 160), Some(Kind::Webp)),
            "{target}"
        );
        assert!(answer.varies_on("Accept"));
    }
    for query in [
        "w=160",
        "h=1",
        "c=true",
        "f=auto",
        "q=75",
        "dpr=1",
        "g=ce",
        "e=false",
        "bg=ffffff",
        "%77=1",
    ] {
        let name = query.split('=').next().unwrap().replace("%77", "w");
        for target in [
            format!("/h/a.png?{query}"),
            format!("/h/a.png?p=thumb&{query}"),
            format!("/h/a.png?{query}&t=1"),
        ] {
            expect_refused(&server, &target, &format!("{name}: not allowed here"));
        }
    }
    for target in ["/h/a.png", "/h/a.png?", "/h/a.png?t=1", "/h/a.png?utm=1"] {
        expect_refused(&server, target, "p: required here");
    }
    expect_refused(&server, "/h/a.png?p=default", "p: there is no preset");
    assert_eq!(cache.files().len(), 1, "refused requests store nothing");
}

#[test]
fn the_default_preset_applies_without_p() {
    let originals = landscape();
    let cache = Directory::new();
    let presets = json!({"default": "w=100&f=auto", "wide": "w=200"});
    let fields = json!({"presets": presets, "presets_only": true});
    let only = server(&originals, &cache, fields);
    for target in ["/h/a.png", "/h/a.png?t=1&utm=2", "/h/a.png?p=default"] {
        expect_size(&only, target, (100, 75));
        assert!(only.get(target).ok().varies_on("Accept"), "{target}");
    }
    expect_size(&only, "/h/a.png?p=wide", (200, 150));
    expect_refused(&only, "/h/a.png?w=100", "w: not allowed here");
    let cache = Directory::new();
    let also = server(&originals, &cache, json!({"presets": presets}));
    expect_size(&also, "/h/a.png", (400, 300));
}

#[test]
fn query_errors_require_a_valid_token() {
    let originals = landscape();
    let fields = json!({"presets": {"a": "w=9"}, "presets_only": true});
    let config = json!({"handlers": [merged(originals.handler(), fields)]});
    let server = Setup::new(config).program(token::example()).start();
    for query in ["p=a", "p=other", "w=1", ""] {
        server.get(&format!("/h/a.png?{query}&t=wrong")).failed("token_refused");
    }
    expect_refused(&server, "/h/a.png?p=other&t=letmein", "p: there is no preset");
    expect_refused(&server, "/h/a.png?t=letmein", "p: required here");
    expect_size(&server, "/h/a.png?p=a&t=letmein", (9, 7));
}

#[test]
fn allowed_sizes_refuse_other_sizes() {
    let originals = landscape();
    let cache = Directory::new();
    let fields = json!({
        "allowed_sizes": [[120, 80], [150, 0], [0, 60]],
        "max_dimension": 290,
        "presets": {"tiny": "w=20", "big": "w=99&dpr=2.5", "high": "w=20&min-h=30"},
    });
    let server = server(&originals, &cache, fields);
    for (query, size) in [
        ("w=120&h=80", (120, 80)),
        ("p=high", (20, 30)),
        ("w=120&h=80&fit=stretch", (120, 80)),
        ("w=120&h=80&c=false", (107, 80)),
        ("h=80&w=0120&q=9&t=1", (120, 80)),
        ("w=150", (150, 113)),
        ("h=60", (80, 60)),
        ("h=60&dpr=1", (80, 60)),
        ("h=60&dpr=1.5", (120, 90)),
        ("h=60&dpr=2", (160, 120)),
        ("h=60&dpr=3", (240, 180)),
        // Clamped to max_dimension.
        ("w=150&dpr=2", (290, 218)),
        ("p=tiny", (20, 15)),
        ("p=tiny&dpr=2", (40, 30)),
        ("p=tiny&w=150", (150, 113)),
        ("p=big", (248, 186)),
    ] {
        expect_size(&server, &format!("/h/a.png?{query}"), size);
    }
    let before = cache.files().len();
    for (query, start) in [
        ("", "w, h: "),
        ("f=webp", "w, h: "),
        ("t=1", "w, h: "),
        ("w=120", "w, h: "),
        ("h=80", "w, h: "),
        ("w=80&h=120", "w, h: "),
        ("w=121&h=80", "w, h: "),
        ("w=150&h=60", "w, h: "),
        ("w=75&dpr=2", "w, h: "),
        ("w=99999999999999", "w, h: "),
        ("p=tiny&h=15", "w, h: "),
        ("p=tiny&w=21", "w, h: "),
        ("w=150&dpr=1.1", "dpr: must be 1, 1.5, 2 or 3 here"),
        ("w=150&dpr=0.5", "dpr: must be 1, 1.5, 2 or 3 here"),
        ("w=150&dpr=8", "dpr: must be 1, 1.5, 2 or 3 here"),
        ("p=tiny&dpr=8", "dpr: must be 1, 1.5, 2 or 3 here"),
        ("w=150&min-w=200", "min-w: not allowed here"),
        ("p=tiny&min-h=200", "min-h: not allowed here"),
        ("w=0", "w: must be"),
        ("p=other", "p: there is no preset"),
    ] {
        let sentence = expect_refused(&server, &format!("/h/a.png?{query}"), start);
        for side in ["120", "80", "150", "60"] {
            assert!(!sentence.contains(side), "the list must not be revealed: {sentence}");
        }
    }
    assert_eq!(cache.files().len(), before);
    let cache = Directory::new();
    let original = self::server(&originals, &cache, json!({"allowed_sizes": [[0, 0], [50, 0]]}));
    expect_size(&original, "/h/a.png", (400, 300));
    expect_size(&original, "/h/a.png?f=jpg", (400, 300));
    expect_refused(&original, "/h/a.png?w=400", "w, h: ");
}

/// Requests `count` widths of an image, from 1 on, and expects a miss for each.
fn fill(client: &mut Client, key: &str, count: u32) {
    for width in 1..=count {
        let answer = client.get(&format!("/h/{key}?w={width}")).ok();
        assert_eq!((state(&answer), size_of(&answer.body).0), ("miss", width));
    }
}

#[test]
fn max_variants_limits_stored_variants_and_serves_the_others() {
    let originals = landscape();
    let cache = Directory::new();
    originals.put("b.png", &images::png(images::gradient(40, 30)));
    let server = server(&originals, &cache, json!({}));
    let mut client = server.client();
    fill(&mut client, "a.png", 70);
    assert_eq!(cache.files().len(), 64);
    for (width, expected) in
        [(1, "hit"), (64, "hit"), (65, "miss"), (70, "miss"), (65, "miss"), (2, "hit")]
    {
        let answer = client.get(&format!("/h/a.png?w={width}")).ok();
        assert_eq!((state(&answer), size_of(&answer.body).0), (expected, width));
    }
    // The limit is per key.
    fill(&mut client, "b.png", 3);
    assert_eq!(state(&client.get("/h/b.png?w=3").ok()), "hit");
    assert_eq!(cache.files().len(), 67);
    // A removed entry makes room.
    let files = cache.files();
    std::fs::remove_file(files.iter().find(|file| file.parent() == files[32].parent()).unwrap())
        .unwrap();
    assert_eq!(state(&client.get("/h/a.png?w=99").ok()), "miss");
    assert_eq!(state(&client.get("/h/a.png?w=99").ok()), "hit");
    assert_eq!(state(&client.get("/h/a.png?w=98").ok()), "miss");
    assert_eq!(state(&client.get("/h/a.png?w=98").ok()), "miss");
    assert_eq!(cache.files().len(), 67);
}

#[test]
fn max_variants_depends_on_the_configuration() {
    let originals = landscape();
    let presets: serde_json::Map<String, Value> =
        (1..=70).map(|width| (format!("w{width}"), json!(format!("w={width}")))).collect();
    let sizes: Vec<[u32; 2]> = (1..=70).map(|width| [width, 0]).collect();
    for (fields, expected) in [
        (json!({"max_variants": 0}), 70),
        (json!({"max_variants": 1}), 1),
        (json!({"allowed_sizes": sizes}), 70),
        (json!({"allowed_sizes": sizes, "max_variants": 5}), 5),
        (json!({"presets": presets}), 64),
    ] {
        let cache = Directory::new();
        fill(&mut server(&originals, &cache, fields.clone()).client(), "a.png", 70);
        assert_eq!(cache.files().len(), expected, "{fields}");
    }
    let cache = Directory::new();
    let server = server(&originals, &cache, json!({"presets": presets, "presets_only": true}));
    (1..=70).for_each(|width| drop(server.get(&format!("/h/a.png?p=w{width}")).ok()));
    assert_eq!(cache.files().len(), 70, "one for each preset");
}

#[test]
fn max_variants_does_not_prevent_revalidation_and_replacement() {
    let original = Arc::new(Mutex::new((1, images::png(images::gradient(40, 30)))));
    let current = Arc::clone(&original);
    let origin = RawOrigin::start(move |request, peer| {
        let (version, body) = current.lock().unwrap().clone();
        let etag = format!("\"{version}\"");
        if request.header("if-none-match") == Some(&etag) {
            peer.send(format!("HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n").as_bytes())
        } else {
            peer.send(&origin::answer(200, &[("ETag", &etag)], &body))
        }
    });
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "cache_time": 2, "max_variants": 2});
    let server = Server::with_handler(merged(origin.handler(), fields));
    let mut client = server.client();
    fill(&mut client, "a.png", 3);
    assert_eq!(cache.files().len(), 2);
    eventually("it is revalidated", || state(&client.get("/h/a.png?w=1").ok()) == "revalidated");
    // If it were not stored, each request would revalidate it again.
    eventually("the revalidated one is stored", || {
        state(&client.get("/h/a.png?w=1").ok()) == "hit"
    });
    *original.lock().unwrap() = (2, images::png(images::gradient(40, 20)));
    eventually("the new one replaces the old one", || {
        let answer = client.get("/h/a.png?w=2").ok();
        size_of(&answer.body) == (2, 1) && state(&answer) == "hit"
    });
    assert_eq!(cache.files().len(), 2);
    assert_eq!(state(&client.get("/h/a.png?w=3").ok()), "miss");
}

#[test]
fn max_variants_holds_for_concurrent_requests() {
    const MAX_VARIANTS: usize = 4;
    const WORKERS: usize = 3;
    let origin = RawOrigin::always(object(&images::png(images::gradient(200, 150))));
    let cache = Directory::new();
    let fields = json!({"cache_path": cache.path(), "max_variants": MAX_VARIANTS});
    let server =
        Server::with_limits(merged(origin.handler(), fields), json!({"fetches_at_once": WORKERS}));
    thread::scope(|scope| {
        for width in 1..=60 {
            let server = &server;
            scope.spawn(move || {
                assert_eq!(size_of(&server.get(&format!("/h/a.png?w={width}")).ok().body).0, width)
            });
        }
    });
    let stored = cache.files().len();
    assert!((MAX_VARIANTS..MAX_VARIANTS + WORKERS).contains(&stored), "{stored}");
}

#[test]
fn variants_beyond_max_variants_are_coalesced() {
    let gate = crate::support::gate::Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::start(move |request, peer| {
        if request.number > 0 {
            held.pass();
        }
        peer.send(&object(&images::png(images::gradient(40, 30))))
    });
    let cache = Directory::new();
    let server = Server::with_handler(merged(
        origin.handler(),
        json!({"cache_path": cache.path(), "max_variants": 1}),
    ));
    server.get("/h/a.png?w=1").ok();
    let before = settled("the server is idle", || server.process().threads());
    thread::scope(|scope| {
        let crowd: Vec<_> =
            (0..10).map(|_| scope.spawn(|| server.get("/h/a.png?w=2").ok())).collect();
        eventually("every request has a thread", || server.process().threads() >= before + 10);
        // A thread that has not joined the call yet is running; it would ask the origin again.
        eventually("every thread waits", || server.process().is_asleep());
        gate.open();
        for answer in crowd {
            assert_eq!(state(&answer.join().unwrap()), "miss");
        }
    });
    assert_eq!((origin.requests().len(), cache.files().len()), (2, 1));
}

#[test]
fn invalid_size_policies_are_startup_errors() {
    for (fields, path) in [
        (json!({"presets": "w=1"}), "presets: must be an object"),
        (json!({"presets": {"a b": "w=1"}}), "presets.a b: a preset's name"),
        (
            json!({"presets": {"x".repeat(33): "w=1"}}),
            "presets.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: a preset's name",
        ),
        (json!({"presets": {"thumb": ["w=1"]}}), "presets.thumb: must be a query"),
        (
            json!({"presets": {"thumb": "w=1&size=2"}}),
            "presets.thumb: unknown parameter \"size=2\"",
        ),
        (json!({"presets": {"thumb": "rot=361"}}), "presets.thumb: rot: must be a number of"),
        (
            json!({"presets": {"thumb": "w=1&h=1&fit=pad&c=true"}}),
            "presets.thumb: fit: can't be given together with c",
        ),
        (
            json!({"presets": {"thumb": "f=jpg&lossless=true"}}),
            "presets.thumb: lossless: can't be true",
        ),
        (json!({"presets": {"thumb": "w=1&w=1"}}), "presets.thumb: w: given twice"),
        (json!({"presets": {"thumb": "p=other"}}), "presets.thumb: p: can't be in a preset"),
        (json!({"presets": {"thumb": "t=x"}}), "presets.thumb: t: can't be in a preset"),
        (json!({"presets": {"good": "w=1", "thumb": "f=bmp"}}), "presets.thumb: f: must be"),
        (json!({"presets_only": true}), "presets_only: needs presets"),
        (
            json!({"presets_only": "yes", "presets": {"a": ""}}),
            "presets_only: must be true or false",
        ),
        (json!({"allowed_sizes": [[1, 2], [3]]}), "allowed_sizes[1]: must be [width, height]"),
        (json!({"allowed_sizes": [[5000, 0]]}), "allowed_sizes[0]: must be [width, height]"),
        (json!({"allowed_sizes": []}), "allowed_sizes: must list a size"),
        (json!({"max_variants": 0.5}), "max_variants: must be a whole number"),
    ] {
        let handler = merged(json!({"name": "h", "directory": "."}), fields);
        let output = Setup::new(json!({"handlers": [handler]})).run();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{path}: {stderr}");
        assert!(stderr.contains(&format!("handlers[0].{path}")), "no {path:?} in {stderr:?}");
    }
    let name = "aZ09_-".to_owned() + &"x".repeat(26);
    let handler = json!({"name": "h", "directory": ".", "presets": {name: "w=1"}});
    let good =
        Setup::new(json!({"handlers": [handler]})).command().arg("--check").status().unwrap();
    assert_eq!(good.code(), Some(0));
}

#[test]
fn every_image_option_can_be_in_a_preset_and_reset_by_the_query() {
    let originals = landscape();
    let cache = Directory::new();
    let all = "w=60&h=60&pad=true&bg=0000ff&rot=90&flip=h&crop=0:0:0.5:1&trim=0&bri=2&con=2&gamma=2&sat=2&hue=9\
               &gray=1&tint=ff0000:0.5&duo=ff0000:00ff00&neg=1&pix=2&blur=1&sharp=1&round=3&f=webp&lossless=true\
               &page=0&frames=1&strip=false&wm=logo";
    // These are in other tests; some are older than presets.
    let others = "c=true&g=ce&dpr=1&q=75&e=false&raw=false&max_bytes=none&fit=&min-w=&min-h=";
    assert_covers_image_options([all, others]);
    let logo = originals.put("logo.png", &images::png(images::solid(9, 9, images::RED)));
    let presets = json!({"presets": {"all": all}, "watermarks": {"logo": {"file": logo}}});
    let server = server(&originals, &cache, presets.clone());
    let preset = server.get("/h/a.png?p=all").ok();
    assert_eq!((Kind::of(&preset.body), size_of(&preset.body)), (Some(Kind::Webp), (60, 60)));
    let explicit = server.get(&format!("/h/a.png?{all}")).ok();
    assert_eq!((state(&explicit), explicit.expect("ETag")), ("hit", preset.expect("ETag")));
    let off = "pad=false&c=false&rot=0&flip=none&crop=none&trim=none&bri=1&con=1&gamma=1&sat=1&hue=0&gray=0\
               &tint=none&duo=none&neg=0&pix=1&blur=0&sharp=0&round=0&lossless=false&frames=100000&strip=true\
               &wm=none";
    let plain = server.get("/h/a.png?w=60&h=60&c=false&f=png").ok();
    let reset = server.get(&format!("/h/a.png?p=all&f=png&{off}")).ok();
    assert_eq!((state(&reset), reset.expect("ETag")), ("hit", plain.expect("ETag")));

    let only = self::server(&originals, &cache, merged(presets, json!({"presets_only": true})));
    for query in [
        "pad=true",
        "rot=90",
        "flip=h",
        "crop=1:2:3:4",
        "trim=0",
        "bri=2",
        "con=2",
        "gamma=2",
        "sat=2",
        "hue=9",
        "gray=1",
        "tint=ff0000:1",
        "duo=ff0000:00ff00",
        "neg=1",
        "pix=2",
        "blur=1",
        "sharp=1",
        "round=3",
        "fit=cover",
        "min-w=9",
        "lossless=true",
        "page=1",
        "frames=1",
        "wm=logo",
        "wm=none",
    ] {
        expect_refused(&only, &format!("/h/a.png?p=all&{query}"), query.split('=').next().unwrap());
    }
    expect_refused(&only, "/h/a.png?p=all&strip=false", "strip: not allowed here");
}
