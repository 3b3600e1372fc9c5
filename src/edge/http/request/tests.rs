use super::*;
use crate::documents::assert_says;

fn status(head: &str) -> u16 {
    match parse(head.as_bytes()) {
        Ok(Head::Complete(..)) => 200,
        Ok(Head::Partial) => 0,
        Err(error) => error.status,
    }
}

#[test]
fn parses_a_request() {
    let bytes = b"GET /h/a%20b?w=1 HTTP/1.1\r\nHost: x\r\nAccept: a\r\naccept: b\r\n\r\nGET";
    let Ok(Head::Complete(request, length)) = parse(bytes) else { panic!("not complete") };
    assert_eq!((request.path(), request.query(), request.host), ("/h/a%20b", "w=1", "x"));
    assert_eq!(request.list("accept").as_deref(), Some("a, b"));
    assert!(request.keep_alive && request.method == Method::Get);
    assert_eq!(&bytes[length..], b"GET");
}

#[test]
fn every_prefix_of_a_request_is_partial() {
    let bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for end in 0..bytes.len() {
        assert!(matches!(parse(&bytes[..end]), Ok(Head::Partial)), "{end}");
    }
}

#[test]
fn keep_alive_depends_on_the_version_and_the_connection_field() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", true),
    ] {
        let Ok(Head::Complete(request, _)) = parse(head.as_bytes()) else { panic!("{head}") };
        assert_eq!(request.keep_alive, expected, "{head}");
    }
}

#[test]
fn absolute_form_overrides_host() {
    for (target, expected) in [
        ("/a?b", ("sent", "/a?b")),
        ("http://x/a?b", ("x", "/a?b")),
        ("HTTPS://x:1/a", ("x:1", "/a")),
        ("http://[::1]", ("[::1]", "/")),
        ("/http://x/", ("sent", "/http://x/")),
        ("//x/a", ("sent", "//x/a")),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: sent\r\n\r\n");
        let Ok(Head::Complete(request, _)) = parse(head.as_bytes()) else { panic!("{target}") };
        assert_eq!((request.host, request.target), expected, "{target}");
    }
    for target in [
        "http:///a",
        "http://",
        "http://:80/a",
        "http://user@x/a",
        "http://x:80:80/a",
        "http://x\\y/a",
    ] {
        assert_eq!(status(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")), 400, "{target}");
    }
    // Host is still required.
    assert_eq!(status("GET http://x/a HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(status("GET http://x/a HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
}

#[test]
fn request_target_must_be_a_path() {
    for (line, expected) in [
        ("OPTIONS * HTTP/1.1", 200),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS *a HTTP/1.1", 400),
        ("CONNECT x:443 HTTP/1.1", 400),
        ("GET x HTTP/1.1", 400),
        ("GET ?x HTTP/1.1", 400),
        ("GET ftp://x/a HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /a?b#c HTTP/1.1", 400),
        ("GET http://x/a#b HTTP/1.1", 400),
        ("GET http://x?a#b HTTP/1.1", 400),
        ("GET /a%23b HTTP/1.1", 200),
        ("GET /bücher.jpg HTTP/1.1", 200),
    ] {
        assert_eq!(status(&format!("{line}\r\nHost: x\r\n\r\n")), expected, "{line}");
    }
    assert!(parse(b"GET /b\xfccher.jpg HTTP/1.1\r\nHost: x\r\n\r\n").is_err(), "not UTF-8");
}

#[test]
fn empty_lines_before_a_request_are_skipped_and_counted() {
    let bytes = b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for end in 0..bytes.len() {
        assert!(matches!(parse(&bytes[..end]), Ok(Head::Partial)), "{end}");
    }
    assert!(matches!(parse(bytes), Ok(Head::Complete(_, length)) if length == bytes.len()));
    assert_eq!(status("\r\n\r\nGET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
    for malformed in ["\n", "\n\r\n", "\rG", "\r\r", "\r\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        assert_eq!(status(malformed), 400, "{malformed:?}");
    }
    assert!(parse(&b"\r\n".repeat(MAX_HEAD_BYTES / 2)).is_err());
}

#[test]
fn field_values_are_passed_on_unchanged() {
    let bytes = b"GET / HTTP/1.1\r\nHost:\t x \t\r\nA: caf\xe9\r\nA: \xc2\xa0b\xc2\xa0\r\n\r\n";
    let Ok(Head::Complete(request, _)) = parse(bytes) else { panic!("not complete") };
    assert_eq!(request.host, "x");
    assert_eq!(request.all("a").collect::<Vec<_>>(), ["", "\u{a0}b\u{a0}"]);
    assert_eq!(request.raw("a").next_back(), Some("\u{a0}b\u{a0}".as_bytes()));
    assert_eq!(request.raw("a").next(), Some(&b"caf\xe9"[..]));
    // Unicode spaces are not white space in HTTP.
    assert_eq!(status("GET / HTTP/1.1\r\nHost: x\u{a0}\r\n\r\n"), 400);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\u{a0}\r\n\r\n"), 400);
}

#[test]
fn malformed_heads_are_refused() {
    for (head, expected) in [
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
        ("GET / HTTP/x\r\nHost: x\r\n\r\n", 400),
        ("GET / a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: x\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000000000000000\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: user@x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: x/y\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
    ] {
        assert_eq!(status(head), expected, "{head:?}");
    }
}

#[test]
fn a_body_is_allowed_for_a_post_to_one_path_with_a_length() {
    let result = |line: &str, fields: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        match parse_with_body(head.as_bytes(), "/-/events") {
            Ok(Head::Complete(request, _)) => Ok(request.body_length),
            Ok(Head::Partial) => panic!("{line}"),
            Err(error) => Err(error.status),
        }
    };
    let max = format!("Content-Length: {MAX_BODY_BYTES}\r\n");
    let over = format!("Content-Length: {}\r\n", MAX_BODY_BYTES + 1);
    let post = "POST /-/events";
    for (line, fields, expected) in [
        (post, "", Ok(0)),
        (post, "Content-Length: 0\r\n", Ok(0)),
        (post, "Content-Length: 007\r\n", Ok(7)),
        (post, &max, Ok(MAX_BODY_BYTES)),
        (post, &over, Err(413)),
        (post, "Content-Length: 99999999999999999999999\r\n", Err(413)),
        (post, "Content-Length: 1\r\nContent-Length: 1\r\n", Err(400)),
        (post, "Content-Length: 1, 1\r\n", Err(400)),
        (post, "Content-Length: +1\r\n", Err(400)),
        (post, "Content-Length: 1 1\r\n", Err(400)),
        (post, "Transfer-Encoding: chunked\r\n", Err(411)),
        (post, "Transfer-Encoding: identity\r\n", Err(411)),
        (post, "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Err(400)),
        (post, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", Err(400)),
        ("POST http://y/-/events?x=1", "Content-Length: 7\r\n", Ok(7)),
        ("PUT /-/events", "Content-Length: 7\r\n", Err(413)),
        ("GET /-/events", "Content-Length: 7\r\n", Err(413)),
        ("POST /-/events/", "Content-Length: 7\r\n", Err(413)),
        ("POST /-/eventsx", "Transfer-Encoding: chunked\r\n", Err(413)),
        ("POST /-/purge/h/a", "Content-Length: 7\r\n", Err(413)),
        ("GET x", "Content-Length: 7\r\n", Err(400)),
    ] {
        assert_eq!(result(line, fields), expected, "{line} {fields}");
        // Without a path, as on the public listeners.
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        if expected != Ok(0) {
            assert!([400, 413].contains(&status(&head)), "{head}");
        }
    }
}

#[test]
fn heads_over_a_limit_are_414_or_431() {
    let path = "p".repeat(MAX_PATH_BYTES);
    assert_eq!(status(&format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n")), 414);
    assert_eq!(status(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")), 400);
    assert_eq!(status(&format!("GET /?{path} HTTP/1.1\r\nHost: x\r\n\r\n")), 200);
    assert_eq!(status(&format!("GET /{}", "p".repeat(MAX_HEAD_BYTES))), 414);
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(MAX_HEAD_BYTES))),
        431
    );
    let fields = "A: b\r\n".repeat(MAX_FIELDS + 1);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")), 431);
}

#[test]
fn limits_of_a_request_head_are_as_documented() {
    let sentence = format!(
        "a request head has at most {} KiB and {MAX_FIELDS} fields, its path at most {} KiB",
        MAX_HEAD_BYTES >> 10,
        MAX_PATH_BYTES >> 10,
    );
    assert_says("docs/configuration.md", &sentence);
}
