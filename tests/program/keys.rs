//! Keys reach the origin byte for byte.

use serde_json::json;

use crate::support::images::{self, GREEN, RED};
use crate::support::merged;
use crate::support::origin::{RawOrigin, object};
use crate::support::s3::{IMAGES, S3};
use crate::support::server::Server;

/// Keys with characters that URL libraries decode, encode or normalise, and the path of each.
const SPECIAL: [(&str, &str); 32] = [
    ("a b.png", "a%20b.png"),
    ("a+b.png", "a+b.png"),
    ("a+b too.png", "a%2Bb%20too.png"),
    ("a%2Bb.png", "a%252Bb.png"),
    ("100%.png", "100%25.png"),
    ("%41.png", "%2541.png"),
    ("what?.png", "what%3F.png"),
    ("a#b.png", "a%23b.png"),
    ("a&b=c.png", "a&b=c.png"),
    ("a=b.png", "a%3Db.png"),
    ("ä ö ü.png", "%C3%A4%20%C3%B6%20%C3%BC.png"),
    // One letter as one code point and as two: different keys.
    ("\u{e9}.png", "%C3%A9.png"),
    ("e\u{301}.png", "e%CC%81.png"),
    ("日本語.png", "%E6%97%A5%E6%9C%AC%E8%AA%9E.png"),
    ("🦀.png", "%F0%9F%A6%80.png"),
    ("a;b,c.png", "a;b,c.png"),
    ("a:b@c.png", "a:b@c.png"),
    ("(a)'b'!.png", "(a)'b'!.png"),
    ("a*b~c_d-e.png", "a*b~c_d-e.png"),
    ("$price.png", "$price.png"),
    ("a\"b.png", "a%22b.png"),
    ("a<b>c.png", "a%3Cb%3Ec.png"),
    ("a\\b.png", "a%5Cb.png"),
    ("a^b`c.png", "a%5Eb%60c.png"),
    ("a{b}|c.png", "a%7Bb%7D%7Cc.png"),
    ("a[b].png", "a%5Bb%5D.png"),
    ("tab\there.png", "tab%09here.png"),
    ("deep/er/still.png", "deep/er%2Fstill.png"),
    ("...", "..."),
    ("..a/b..png", "..a/b..png"),
    (".hidden", ".hidden"),
    ("UPPER.PNG", "UPPER.PNG"),
];

#[test]
fn keys_with_special_characters_are_signed_and_fetched() {
    let s3 = S3::start();
    for (key, _) in SPECIAL {
        s3.put(&IMAGES, key, &images::png(images::solid(4, 4, RED)));
        s3.put(&IMAGES, &format!("below a+b/{key}"), &images::png(images::solid(4, 4, GREEN)));
    }
    let server = Server::start(json!({"handlers": [
        s3.handler(),
        {"name": "f", "aws": merged(s3.aws(&IMAGES), json!({"file_path": "below a+b"}))},
    ]}));
    let mut client = server.client();
    for (key, path) in SPECIAL {
        for (route, directory) in [("h", ""), ("f", "below a+b/")] {
            let answer = client.get(&format!("/{route}/{path}"));
            assert_eq!(
                s3.statuses(&IMAGES, &format!("{directory}{key}")),
                [200],
                "{route}: {key:?}"
            );
            answer.ok();
        }
    }
}

#[test]
fn request_paths_at_the_origin_decode_to_the_key() {
    let origin = RawOrigin::always(object(&images::png(images::solid(4, 4, RED))));
    let server = Server::with_handler(origin.handler());
    let more = [
        ("a//b.png", "a//b.png"),
        ("/a.png", "/a.png"),
        ("//a.png", "//a.png"),
        ("a/", "a/"),
        ("a//", "a//"),
        ("/", "/"),
        ("\u{1}\u{7f}", "%01%7F"),
        ("new\nline", "new%0Aline"),
        ("cr\r\nX-Evil: 1", "cr%0D%0AX-Evil:%201"),
    ];
    for (number, (key, path)) in SPECIAL.into_iter().chain(more).enumerate() {
        let _ = server.get(&format!("/h/{path}"));
        let requests = origin.requests();
        assert_eq!(requests.len(), number + 1, "{key:?} is one request");
        assert_eq!(requests[number].path(), format!("/bucket/{key}"));
        // The encoding that S3 signs: all but the unreserved characters and the slash are escaped.
        let path = requests[number].target.split('?').next().unwrap();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
        assert!(path.bytes().all(plain), "{path}");
        assert_eq!(requests[number].header("x-evil"), None);
    }
}

#[test]
fn double_slashes_are_not_normalised() {
    // The file system of this S3 server treats two slashes as one, its signature check does not.
    let s3 = S3::start();
    s3.put(&IMAGES, "a/b.png", &images::png(images::solid(4, 4, RED)));
    let server = Server::with_handler(s3.handler());
    server.get("/h/a//b.png").ok();
    assert_eq!(s3.statuses(&IMAGES, "a//b.png"), [200]);
}

#[test]
fn keys_with_dot_segments_do_not_reach_the_origin() {
    let origin = RawOrigin::always(object(&images::png(images::solid(4, 4, RED))));
    let aws = merged(origin.aws(), json!({"file_path": "directory"}));
    let server = Server::with_handler(json!({"name": "h", "aws": aws}));
    for path in [
        "..",
        ".",
        "../x",
        "./x",
        "a/../x",
        "a/./x",
        "a/..",
        "a/.",
        "%2e%2e/x",
        "%2E%2E%2Fx",
        "a%2F..%2Fx",
        "..%2f",
        ".%2e/x",
        "%2e",
        "a/%2e/x",
        "../../../../x",
        "/../x",
        "a//../x",
    ] {
        server.get(&format!("/h/{path}")).failed("invalid_key");
    }
    assert_eq!(origin.accepted(), 0);
    // Decoded once: the name of this object has percent signs.
    server.get("/h/%252e%252e/x").ok();
    assert_eq!(origin.requests()[0].path(), "/bucket/directory/%2e%2e/x");
}

#[test]
fn invalid_keys_are_refused() {
    let origin = RawOrigin::always(object(&images::png(images::solid(4, 4, RED))));
    let server = Server::with_handler(origin.handler());
    let long = "k".repeat(1025);
    for path in ["", "%00", "a%00.png", &long] {
        server.get(&format!("/h/{path}")).failed("invalid_key");
    }
    // Malformed escapes and invalid UTF-8: a bad request or an invalid key.
    for path in
        ["%", "%4", "%zz", "a%.png", "100%", "%ff", "%C3%28.png", "%ED%A0%80", "%C0%AE%C0%AE/x"]
    {
        let answer = server.get(&format!("/h/{path}"));
        let refused = answer.status == 400
            || (answer.status == 404 && answer.header("X-Error") == Some("invalid_key"));
        assert!(refused, "{path}: {} {:?}", answer.status, answer.headers);
    }
    assert_eq!(origin.accepted(), 0);
    let longest = "k".repeat(1024);
    server.get(&format!("/h/{longest}")).ok();
}

#[test]
fn keys_that_differ_in_a_byte_have_different_cache_entries() {
    let cache = crate::support::directory::Directory::new();
    let origin = RawOrigin::start(|request, peer| {
        let width = u32::try_from(request.number).unwrap() + 1;
        peer.send(&object(&images::png(images::solid(width, 1, RED))))
    });
    let server =
        Server::with_handler(merged(origin.handler(), json!({"cache_path": cache.path()})));
    let paths = [
        "a.png", "A.png", "a.jpg", "a", "a.png/", "/a.png", "a//png", "a/png", "%C3%A9", "e%CC%81",
        "a%2520", "a%20", "a+", "a%3Fw=1",
    ];
    for (n, path) in paths.iter().enumerate() {
        let answer = server.get(&format!("/h/{path}")).ok();
        assert_eq!(answer.expect("X-Cache"), "miss", "{path}");
        assert_eq!(images::size_of(&answer.body).0 as usize, n + 1, "{path}");
    }
    for (n, path) in paths.iter().enumerate() {
        let answer = server.get(&format!("/h/{path}")).ok();
        assert_eq!(answer.expect("X-Cache"), "hit", "{path}");
        assert_eq!(images::size_of(&answer.body).0 as usize, n + 1, "{path}");
    }
    // Two spellings of one key share an entry.
    for path in ["%61.png", "a%2Epng", "%2Fa.png", "a%2fpng", "%c3%a9", "a%2B"] {
        assert_eq!(server.get(&format!("/h/{path}")).ok().expect("X-Cache"), "hit", "{path}");
    }
}
