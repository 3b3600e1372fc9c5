use super::*;

fn status(head: &str) -> u16 {
    match parse(head.as_bytes()) {
        Ok(Head::Whole(..)) => 200,
        Ok(Head::Partial) => 0,
        Err(refusal) => refusal.status,
    }
}

#[test]
fn a_request_is_read() {
    let bytes = b"GET /h/a%20b?w=1 HTTP/1.1\r\nHost: x\r\nAccept: a\r\naccept: b\r\n\r\nGET";
    let Ok(Head::Whole(request, length)) = parse(bytes) else { panic!("not whole") };
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
fn connections_are_kept_as_the_version_says() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n", true),
    ] {
        let Ok(Head::Whole(request, _)) = parse(head.as_bytes()) else { panic!("{head}") };
        assert_eq!(request.keep_alive, expected, "{head}");
    }
}

#[test]
fn the_absolute_form_replaces_host() {
    for (target, expected) in [
        ("/a?b", ("sent", "/a?b")),
        ("http://x/a?b", ("x", "/a?b")),
        ("HTTPS://x:1/a", ("x:1", "/a")),
        ("http://[::1]", ("[::1]", "/")),
        ("/http://x/", ("sent", "/http://x/")),
        ("//x/a", ("sent", "//x/a")),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: sent\r\n\r\n");
        let Ok(Head::Whole(request, _)) = parse(head.as_bytes()) else { panic!("{target}") };
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
    // Host is required all the same.
    assert_eq!(status("GET http://x/a HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(status("GET http://x/a HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
}

#[test]
fn targets_are_paths() {
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
    assert!(matches!(parse(bytes), Ok(Head::Whole(_, length)) if length == bytes.len()));
    assert_eq!(status("\r\n\r\nGET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
    for no_line in ["\n", "\n\r\n", "\rG", "\r\r", "\r\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        assert_eq!(status(no_line), 400, "{no_line:?}");
    }
    assert!(parse(&b"\r\n".repeat(LONGEST_HEAD / 2)).is_err());
}

#[test]
fn values_are_what_was_sent() {
    let bytes = b"GET / HTTP/1.1\r\nHost:\t x \t\r\nA: caf\xe9\r\nA: \xc2\xa0b\xc2\xa0\r\n\r\n";
    let Ok(Head::Whole(request, _)) = parse(bytes) else { panic!("not whole") };
    assert_eq!(request.host, "x");
    assert_eq!(request.all("a").collect::<Vec<_>>(), ["", "\u{a0}b\u{a0}"]);
    assert_eq!(request.raw("a").next_back(), Some("\u{a0}b\u{a0}".as_bytes()));
    assert_eq!(request.raw("a").next(), Some(&b"caf\xe9"[..]));
    // No space that Unicode knows is white space here.
    assert_eq!(status("GET / HTTP/1.1\r\nHost: x\u{a0}\r\n\r\n"), 400);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\u{a0}\r\n\r\n"), 400);
}

#[test]
fn hostile_heads_are_refused() {
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
fn long_heads_are_refused_with_what_is_too_long() {
    let path = "p".repeat(LONGEST_PATH);
    assert_eq!(status(&format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n")), 414);
    assert_eq!(status(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")), 400);
    assert_eq!(status(&format!("GET /?{path} HTTP/1.1\r\nHost: x\r\n\r\n")), 200);
    assert_eq!(status(&format!("GET /{}", "p".repeat(LONGEST_HEAD))), 414);
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(LONGEST_HEAD))),
        431
    );
    let fields = "A: b\r\n".repeat(MOST_FIELDS + 1);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")), 431);
}
