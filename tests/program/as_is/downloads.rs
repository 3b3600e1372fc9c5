//! `dl`: the name under which a browser saves a response.

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::{PDF, SVG, start};
use crate::admin::cache_status;
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::merged;
use crate::support::server::Server;
use crate::support::tokens::{SECRET, hmac, signed, token, with_token};

/// The name in a `Content-Disposition`, as a recipient reads it (RFC 6266 §4.1, §4.3): `filename*` before `filename`.
#[track_caller]
fn name_in(field: &str) -> String {
    let (kind, mut rest) = field.split_once(';').unwrap();
    assert_eq!(kind, "attachment", "{field}");
    let (mut plain, mut extended) = (None, None);
    loop {
        let (name, value) = rest.split_once('=').unwrap();
        match name.trim() {
            "filename" => {
                let quoted = value.strip_prefix('"').unwrap();
                let end = quoted.find('"').unwrap();
                let text = &quoted[..end];
                // RFC 9110 §5.6.4, without quoted pairs.
                let is_text = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'\\';
                assert!(text.bytes().all(is_text) && plain.is_none(), "{field}");
                plain = Some(text.to_owned());
                rest = &quoted[end + 1..];
            }
            "filename*" => {
                let encoded = value.strip_prefix("UTF-8''").unwrap();
                let end = encoded.find(';').unwrap_or(encoded.len());
                let text = &encoded[..end];
                // RFC 8187 §3.2.1: attr-char and pct-encoded.
                let is_attr =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~%".contains(&byte);
                assert!(text.bytes().all(is_attr) && extended.is_none(), "{field}");
                extended = Some(percent_decode_str(text).decode_utf8().unwrap().into_owned());
                rest = &encoded[end..];
            }
            other => panic!("{other}: {field}"),
        }
        match rest.strip_prefix(';') {
            Some(more) => rest = more,
            None => break assert_eq!(rest, "", "{field}"),
        }
    }
    extended.or(plain).unwrap()
}

fn directory() -> Directory {
    let png = images::png(images::gradient(8, 6));
    Directory::new().with("a.png", &png).with("a.svg", SVG).with("a.pdf", PDF)
}

fn escaped(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn a_response_has_the_name_with_the_extension_of_its_type() {
    let [directory, cache] = [directory(), Directory::new()];
    let fields = json!({"passthrough": ["svg", "pdf"], "raw": true});
    let server = start(&directory, &cache, fields);
    for (target, name, expected) in [
        ("a.png?w=5", "photo", "photo.png"),
        ("a.png?f=jpg", "photo.jpg", "photo.jpg"),
        ("a.png?f=jpg", "photo.JPEG", "photo.JPEG"),
        ("a.png?f=webp", "photo.jpg", "photo.jpg.webp"),
        // A drawing is sent without loss.
        ("a.png?f=auto", "photo", "photo.webp"),
        ("a.png?raw=true", "the original", "the original.png"),
        ("a.svg", "logo", "logo.svg"),
        ("a.svg", "logo.html", "logo.html.svg"),
        ("a.pdf", "paper.pdf", "paper.pdf"),
        ("a.png", "setup.exe", "setup.exe.png"),
        ("a.png", "a; filename=b.exe, c", "a; filename=b.exe, c.png"),
        ("a.png", "it's 100%41 (new)", "it's 100%41 (new).png"),
        ("a.png", "\u{dc}bersicht", "\u{dc}bersicht.png"),
        ("a.png", "\u{65e5}\u{672c}\u{1f600}", "\u{65e5}\u{672c}\u{1f600}.png"),
        ("a.png", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}.png"),
    ] {
        let separator = if target.contains('?') { '&' } else { '?' };
        let target = format!("/h/{target}{separator}dl={}", escaped(name));
        let fields = [("Accept", "image/avif,image/webp,*/*")];
        for _ in 0..2 {
            let answer = server.get_with(&target, &fields);
            assert_eq!(answer.status, 200, "{name}");
            assert_eq!(name_in(answer.expect("Content-Disposition")), expected);
            let head = server.head_with(&target, &fields);
            assert_eq!(name_in(head.expect("Content-Disposition")), expected);
        }
        let range = server.get_with(&target, &[fields[0], ("Range", "bytes=0-1")]);
        assert_eq!(
            (range.status, name_in(range.expect("Content-Disposition"))),
            (206, expected.to_owned())
        );
    }
}

#[test]
fn a_name_changes_no_bytes_and_no_cache_key() {
    let [directory, cache] = [directory(), Directory::new()];
    let server = start(&directory, &cache, json!({"presets": {"a": "w=4"}}));
    let first = server.get("/h/a.png?w=4").ok();
    assert_eq!(first.header("Content-Disposition"), None);
    for query in ["w=4&dl=one", "dl=two&w=4", "p=a&dl=three"] {
        let answer = server.get(&format!("/h/a.png?{query}")).ok();
        assert_eq!((cache_status(&answer), &answer.body), ("hit", &first.body), "{query}");
        assert!(answer.expect("Content-Disposition").starts_with("attachment; filename="));
    }
    assert_eq!(server.get("/h/a.png?w=4").ok().header("Content-Disposition"), None);
    let etag = first.expect("ETag");
    let not_modified = server.get_with("/h/a.png?w=4&dl=one", &[("If-None-Match", etag)]);
    assert_eq!((not_modified.status, not_modified.header("Content-Disposition")), (304, None));
    assert_eq!(cache.files().len(), 1);
    let failed = server.get("/h/missing.png?dl=one").failed("not_found");
    assert_eq!(failed.header("Content-Disposition"), None);
}

#[test]
fn hostile_names_are_refused_with_the_rule() {
    let directory = directory();
    let server = Server::with_handler(directory.handler());
    let long = "a".repeat(101);
    for name in [
        "",
        ".",
        "..",
        "a.",
        " a",
        "a ",
        "../a",
        "a/b",
        "a\\b",
        "C:a",
        "a\"b",
        "a\"; filename=\"b.exe",
        "a&b",
        "a*b",
        "a?b",
        "a<b>",
        "a|b",
        "a\r\nSet-Cookie: b=c",
        "a\nb",
        "a\0b",
        "a\tb",
        "a\u{7f}b",
        "a\u{85}b",
        "a\u{2028}b",
        "invoice\u{202e}gpj.exe",
        "a\u{200b}b",
        "a\u{2066}b",
        "a\u{feff}b",
        "a\u{a0}b",
        &long,
    ] {
        let answer = server.get(&format!("/h/a.png?dl={}", escaped(name)));
        assert_eq!(answer.status, 400, "{name:?}");
        assert!(
            answer.text().starts_with("dl: must be a file name of 1 to 100 characters"),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("Content-Disposition"), None);
        assert_eq!(answer.header("Set-Cookie"), None);
    }
    for (query, sentence) in
        [("dl=%ff", "UTF-8"), ("dl=a&dl=b", "given twice"), ("dl=%zz", "percent-encoded")]
    {
        let answer = server.get(&format!("/h/a.png?{query}"));
        assert!(answer.status == 400 && answer.text().contains(sentence), "{}", answer.text());
    }
    let presets = merged(directory.handler(), json!({"presets": {"a": "dl=b"}}));
    let output = crate::support::server::Setup::new(json!({"handlers": [presets]})).run();
    assert!(String::from_utf8_lossy(&output.stderr).contains("dl: can't be in a preset"));
}

#[test]
fn a_name_is_signed() {
    let directory = directory();
    let server = Server::with_handler(merged(directory.handler(), json!({"token": hmac()})));
    let answer = server.get(&signed("/h/a.png?dl=one&w=4")).ok();
    assert_eq!(name_in(answer.expect("Content-Disposition")), "one.png");
    let without = token(SECRET, "/h/a.png?w=4");
    server.get(&with_token("/h/a.png?w=4", &without)).ok();
    server.get(&with_token("/h/a.png?w=4&dl=one", &without)).failed("token_refused");
    let other = token(SECRET, "/h/a.png?dl=one&w=4");
    server.get(&with_token("/h/a.png?w=4&dl=two", &other)).failed("token_refused");
}
