//! Several handlers side by side, each with settings of its own.

use rustls::version::TLS13;
use serde_json::json;

use crate::support::certificates::Certificates;
use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::images::{self, BLUE, GREEN, Image, Kind, MAGENTA, RED, WHITE, close, size_of};
use crate::support::merged;
use crate::support::origin::{RawOrigin, object};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{Server, Setup, data};

#[track_caller]
fn expect_colour(server: &Server, target: &str, colour: [u8; 3]) {
    let image = Image::decode(&server.get(target).ok().body);
    assert!(close(image.at(50, 50), colour), "{target}: {:?}", image.at(50, 50));
}

#[test]
fn each_handler_has_its_own_bucket_directory_and_credentials() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &images::png(images::solid(8, 8, RED)));
    s3.put(&IMAGES, "deep/er/a.png", &images::png(images::solid(8, 8, GREEN)));
    s3.put(&ARCHIVE, "a.png", &images::png(images::solid(8, 8, BLUE)));
    let local = Directory::new().with("a.png", &images::png(images::solid(8, 8, WHITE)));
    let cache = Directory::new();
    let in_directory = merged(s3.aws(&IMAGES), json!({"file_path": "deep/er"}));
    // The account of the archive has no access to this bucket.
    let mut wrong_account = s3.aws(&IMAGES);
    for field in ["aws_access", "aws_secret"] {
        wrong_account[field] = s3.aws(&ARCHIVE)[field].clone();
    }
    // All of them share one cache directory, as in the sample of 2015.
    let handler =
        |fields| merged(json!({"cache_path": cache.path(), "output_format": "png"}), fields);
    let server = Server::start(json!({"handlers": [
        handler(json!({"name": "top", "aws": s3.aws(&IMAGES)})),
        handler(json!({"name": "directory", "aws": in_directory})),
        handler(json!({"name": "archive", "prefix": "old", "aws": s3.aws(&ARCHIVE)})),
        handler(json!({"name": "wrong", "aws": wrong_account, "negative_cache_time": 0})),
        handler(json!({"name": "local", "directory": local.path()})),
    ]}));
    // Rendered first, then from the cache.
    for _ in 0..2 {
        for (route, colour) in [("top", RED), ("directory", GREEN), ("old", BLUE), ("local", WHITE)]
        {
            expect_colour(&server, &format!("/{route}/a.png"), colour);
        }
        server.get("/wrong/a.png").failed("not_found");
    }
    expect_colour(&server, "/top/deep/er/a.png", GREEN);
    assert_eq!(s3.statuses(&IMAGES, "a.png").iter().filter(|status| **status == 403).count(), 2);
    // With a prefix, the name is not a route.
    assert_eq!(server.get("/archive/a.png").expect("X-Error"), "no_such_handler");
}

#[test]
fn both_handlers_of_the_sample_of_2015_serve_images() {
    let origin = RawOrigin::always(object(&images::png(images::solid(40, 30, GREEN))));
    let certificates = Certificates::new();
    // The sample without privileged ports and Amazon.
    let sample = String::from_utf8(data("sample-config-2015.json")).unwrap();
    let endpoint = format!("\"aws\": {{ \"endpoint\": \"http://{}\",", origin.address());
    let text = sample
        .replace("\"http_port\": 80,", "\"address\": \"127.0.0.1\", \"http_port\": 0,")
        .replace("\"https_port\": 443,", "\"https_port\": 0,")
        .replace("\"aws\": {", &endpoint);
    let server = Setup::verbatim(&text, true)
        .file("error_image.jpg", &images::jpeg(images::solid(8, 8, RED)))
        .file("bundle.crt", certificates.chain_pem.as_bytes())
        .file("cert.key", certificates.key_pem.as_bytes())
        .start();
    let tls = || {
        Client::connect_tls(server.https(), "localhost", certificates.client(&[&TLS13])).unwrap()
    };
    for (target, asked) in [
        ("/h/photo.jpg?w=30&h=20&c=true", "/bucketName/imagesLarge/photo.jpg"),
        ("/h2/photo.jpg?w=20", "/bucketName2/photo.jpg"),
    ] {
        let answer = server.get(target).ok();
        assert_eq!(
            (answer.expect("Content-Type"), answer.expect("X-Cache")),
            ("image/jpeg", "miss"),
            "{target}"
        );
        assert_eq!(answer.expect("Cache-Control"), "public, max-age=604800");
        assert_eq!(origin.requests().last().unwrap().path(), asked);
        let again = tls().get(target).ok();
        assert_eq!((again.expect("X-Cache"), &again.body), ("hit", &answer.body), "{target}");
        assert_eq!(Kind::of(&server.get(&format!("{target}&f=webp")).ok().body), Some(Kind::Webp));
    }
    for target in ["/handlerName/photo.jpg", "/secondHandlerName/photo.jpg"] {
        assert_eq!(
            server.get(target).expect("X-Error"),
            "no_such_handler",
            "the prefix replaces the name"
        );
    }
    server.get("/h/..").failed("invalid_key");
    assert!(server.directory().path().join("cache").is_dir());
}

#[test]
fn file_path_and_key_are_joined_with_one_slash() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &images::png(images::solid(8, 8, RED)));
    s3.put(&IMAGES, "deep/a.png", &images::png(images::solid(8, 8, GREEN)));
    let handlers: Vec<_> = [("none", None), ("empty", Some("")), ("slash", Some("/"))]
        .into_iter()
        .chain([
            ("bare", Some("deep")),
            ("after", Some("deep/")),
            ("both", Some("/deep/")),
            ("more", Some("//deep//")),
        ])
        .map(|(name, path)| {
            let mut aws = s3.aws(&IMAGES);
            if let Some(path) = path {
                aws["file_path"] = path.into();
            }
            json!({"name": name, "aws": aws})
        })
        .collect();
    let server = Server::start(json!({"handlers": handlers}));
    for (route, key, colour) in [
        ("none", "a.png", RED),
        ("empty", "a.png", RED),
        ("slash", "a.png", RED),
        ("bare", "deep/a.png", GREEN),
        ("after", "deep/a.png", GREEN),
        ("both", "deep/a.png", GREEN),
        ("more", "deep/a.png", GREEN),
    ] {
        let before = s3.statuses(&IMAGES, key).len();
        expect_colour(&server, &format!("/{route}/a.png"), colour);
        assert_eq!(
            s3.statuses(&IMAGES, key).len(),
            before + 1,
            "{route} must ask for exactly {key}"
        );
    }
}

#[test]
fn each_handler_has_its_own_error_image_and_format() {
    let local = Directory::new()
        .with("a.png", &images::png(images::solid(8, 8, WHITE)))
        .with("red.png", &images::png(images::solid(10, 10, RED)))
        .with("blue.jpg", &images::jpeg(images::solid(20, 20, BLUE)));
    let image = |name: &str| local.path().join(name);
    let server = Server::start(json!({"handlers": [
        {"name": "one", "directory": local.path(), "error_image": image("red.png"), "output_format": "webp"},
        {"name": "two", "directory": local.path(), "error_image": image("blue.jpg"), "output_format": "gif"},
    ]}));
    for (route, kind, colour, size) in
        [("one", Kind::Webp, RED, (10, 10)), ("two", Kind::Gif, BLUE, (20, 20))]
    {
        assert_eq!(Kind::of(&server.get(&format!("/{route}/a.png")).ok().body), Some(kind));
        let failed = server.get(&format!("/{route}/missing")).failed("not_found");
        assert_eq!(size_of(&failed.body), size);
        assert!(close(Image::decode(&failed.body).at(50, 50), colour));
    }
}

#[test]
fn each_handler_has_its_own_cache_settings() {
    let local = Directory::new().with("a.png", &images::png(images::solid(8, 8, WHITE)));
    let one = Directory::new();
    let two = Directory::new();
    let server = Server::start(json!({"handlers": [
        {"name": "one", "directory": local.path(), "cache_path": one.path(), "cache_time": 5},
        {"name": "two", "directory": local.path(), "cache_path": two.path(), "cache_time": 7},
        {"name": "off", "directory": local.path(), "cache_path": two.path(), "cache_enabled": false},
    ]}));
    for (route, seconds) in [("one", 5), ("two", 7)] {
        let answer = server.get(&format!("/{route}/a.png")).ok();
        assert_eq!(answer.expect("Cache-Control"), format!("public, max-age={seconds}"));
    }
    server.get("/off/a.png").ok();
    assert_eq!(
        (one.files().len(), two.files().len()),
        (1, 1),
        "{:?} {:?}",
        one.files(),
        two.files()
    );
}

#[test]
fn allowed_formats_are_extensions_in_any_case() {
    let bytes = images::png(images::solid(8, 8, MAGENTA));
    let local = Directory::new();
    for name in
        ["a.jpg", "a.JPG", "a.png", "a.PnG", "a.gif", "a.webp", "bare", "c.exe/b", "a.png.gif"]
    {
        local.put(name, &bytes);
    }
    let server = Server::start(json!({"handlers": [
        {"name": "some", "directory": local.path(), "allowed_formats": ["jpg", ".PNG"]},
        {"name": "any", "directory": local.path()},
        {"name": "none", "directory": local.path(), "allowed_formats": []},
    ]}));
    for name in ["a.jpg", "a.JPG", "a.png", "a.PnG", "bare", "c.exe/b"] {
        server.get(&format!("/some/{name}")).ok();
        server.get(&format!("/any/{name}")).ok();
    }
    for name in ["a.gif", "a.webp", "a.png.gif", "missing.gif"] {
        server.get(&format!("/some/{name}")).failed("format_not_allowed");
    }
    server.get("/none/a.jpg").failed("format_not_allowed");
    server.get("/none/bare").ok();
}

#[test]
fn route_prefix_may_be_percent_encoded() {
    let local = Directory::new().with("a.png", &images::png(images::solid(8, 8, WHITE)));
    let server = Server::start(json!({"handlers": [
        {"name": "my images", "directory": local.path()},
        {"name": "größe", "directory": local.path()},
    ]}));
    for target in ["/my%20images/a.png", "/gr%C3%B6%C3%9Fe/a.png", "/gr%c3%b6%c3%9fe/a.png?w=4"] {
        server.get(target).ok();
    }
    assert_eq!(server.get("/my+images/a.png").expect("X-Error"), "no_such_handler");
}
