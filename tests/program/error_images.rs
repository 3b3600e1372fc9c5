//! What the client may choose of an error image: no enlargement, no more than a second, and nothing that blocks it.

use serde_json::json;

use crate::support::directory::Directory;
use crate::support::images::{self, MAGENTA, size_of};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

#[test]
fn error_images_are_not_enlarged() {
    let directory =
        Directory::new().with("error.png", &images::png(images::solid(60, 40, MAGENTA)));
    let error_image = json!({"error_image": directory.path().join("error.png")});
    let server = Server::with_handler(merged(directory.handler(), error_image));
    for (query, size) in [
        ("w=120&e=true", (60, 40)),
        ("w=120&h=120&e=true", (60, 40)),
        ("min-w=120", (60, 40)),
        ("w=30&min-h=40", (30, 20)),
        ("w=120&h=120&fit=outside&e=true", (60, 40)),
        ("w=30&h=30&fit=outside&e=true", (45, 30)),
        ("w=120&h=120&fit=stretch", (60, 40)),
        ("w=120&h=20&fit=stretch", (60, 20)),
        ("w=20&h=30&fit=stretch", (20, 30)),
        ("w=80&h=70&pad=true&e=true", (80, 70)),
    ] {
        let answer = server.get(&format!("/h/missing.png?{query}")).failed("not_found");
        assert_eq!(size_of(&answer.body), size, "{query}");
    }
}

#[test]
fn an_error_image_that_takes_too_long_is_sent_as_it_is_and_blocks_nothing() {
    let file = images::png(images::noise(2000, 1500));
    let directory = Directory::new().with("error.png", &file);
    let error_image = json!({"error_image": directory.path().join("error.png")});
    let limits = json!({"renders_at_once": 2});
    let handler = merged(directory.handler(), error_image);
    let server = Setup::new(json!({"handlers": [handler], "limits": limits}))
        .env("S3IMAGESERVER_TEST_ERROR_IMAGE_SECONDS", "1")
        .start();
    let renderer = server.renderer();
    // Each takes many seconds. The encoder of GIF can be stopped, that of AVIF can't.
    for query in ["f=gif", "f=gif", "f=gif", "f=avif&q=100"] {
        let answer = server.get(&format!("/h/missing.png?{query}")).failed("not_found");
        assert!(answer.body == file, "{query}: it is not the file");
    }
    eventually("an error image is resized", || {
        let answer = server.get("/h/missing.png?w=20&f=png").failed("not_found");
        size_of(&answer.body) == (20, 15)
    });
    assert_eq!(server.log.count("key_blocked"), 0);
    assert_eq!(server.renderer(), renderer);
}
