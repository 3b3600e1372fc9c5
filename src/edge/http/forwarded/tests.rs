use super::*;
use crate::config;
use crate::edge::http::request::{Head, parse};

const PROXY: &str = "10.0.0.1";

fn trusted() -> TrustedProxies {
    let text = r#"{"handlers": [{"name": "h", "aws": {"bucket_name": "b", "anonymous": true}}],
        "trusted_proxies": ["10.0.0.0/8", "2001:db8:f::/48", "unix:"]}"#;
    config::parse(text, "config.json").unwrap().trusted_proxies
}

/// The client and scheme of a request from `peer` with these fields.
fn seen_from(peer: &str, secure: bool, fields: &[u8]) -> (String, bool) {
    let head = [b"GET / HTTP/1.1\r\nHost: x\r\n", fields, b"\r\n"].concat();
    let Ok(Head::Complete(request, _)) = parse(&head) else {
        panic!("{:?}", fields.escape_ascii())
    };
    let peer = (peer != "unix").then(|| peer.parse().unwrap());
    let client = client(&request, peer, secure, &trusted());
    (client.address.map_or_else(|| "unix".to_owned(), |address| address.to_string()), client.secure)
}

fn address(fields: &str) -> String {
    seen_from(PROXY, false, fields.as_bytes()).0
}

#[test]
fn forwarding_fields_count_only_from_a_trusted_proxy() {
    let fields =
        b"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1;proto=https\r\n";
    for (peer, expected) in [
        ("10.0.0.1", ("1.1.1.1", true)),
        ("::ffff:10.0.0.1", ("1.1.1.1", true)),
        ("2001:db8:f::1", ("1.1.1.1", true)),
        ("unix", ("1.1.1.1", true)),
        ("11.0.0.1", ("11.0.0.1", false)),
        ("::ffff:11.0.0.1", ("11.0.0.1", false)),
        ("2001:db8::1", ("2001:db8::1", false)),
    ] {
        let (address, secure) = seen_from(peer, false, fields);
        assert_eq!((address.as_str(), secure), expected, "{peer}");
    }
    for peer in ["10.0.0.1", "unix", "11.0.0.1"] {
        assert_eq!(seen_from(peer, true, b""), (peer.to_owned(), true), "no fields");
    }
}

#[test]
fn x_forwarded_for_names_the_rightmost_untrusted_address() {
    for (list, expected) in [
        ("1.1.1.1", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", "1.1.1.1"),
        ("6.6.6.6,1.1.1.1,10.0.0.2", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1, 10.0.0.2, 10.0.0.3", "1.1.1.1"),
        ("10.0.0.9, 10.0.0.2, 10.0.0.3", "10.0.0.9"),
        ("10.0.0.9, 1.1.1.1", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1\r\nX-Forwarded-For: 10.0.0.2", "1.1.1.1"),
        ("6.6.6.6\r\nX-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 10.0.0.2, 10.0.0.3", "1.1.1.1"),
        // Empty entries do not count.
        (", 1.1.1.1,, ,\t,", "1.1.1.1"),
        ("", PROXY),
        (",", PROXY),
        // An invalid entry ends the walk at the proxy that wrote it.
        ("6.6.6.6, unknown", PROXY),
        ("6.6.6.6, _hidden, 10.0.0.2", "10.0.0.2"),
        ("6.6.6.6, garbage, 10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("6.6.6.6, 1.1.1.1 10.0.0.2", PROXY),
        ("garbage, 1.1.1.1", "1.1.1.1"),
    ] {
        assert_eq!(address(&format!("X-Forwarded-For: {list}\r\n")), expected, "{list:?}");
    }
    // Bytes from the client do no harm, UTF-8 or not.
    assert_eq!(seen_from(PROXY, false, b"X-Forwarded-For: \xff\xfe, 1.1.1.1\r\n").0, "1.1.1.1");
    assert_eq!(seen_from("unix", false, b"X-Forwarded-For: 1.1.1.1, \xff\r\n").0, "unix");
}

#[test]
fn forwarded_addresses_may_have_ports_and_brackets() {
    for (text, expected) in [
        ("1.1.1.1:567", Some("1.1.1.1")),
        ("1.1.1.1:_p", Some("1.1.1.1")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("2001:DB8:0::1", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("[2001:db8::1]:4711", Some("2001:db8::1")),
        ("[2001:db8::1]:_a.b-c", Some("2001:db8::1")),
        ("::ffff:1.1.1.1", Some("1.1.1.1")),
        ("[::ffff:1.1.1.1]:1", Some("1.1.1.1")),
        ("1.1.1.1:", None),
        ("1.1.1.1:123456", None),
        ("1.1.1.1:x", None),
        ("1.1.1.1:_", None),
        ("01.1.1.1", None),
        ("1.1.1", None),
        ("16843009", None),
        ("[1.1.1.1]", None),
        ("[2001:db8::1", None),
        ("[2001:db8::1]4711", None),
        ("[2001:db8::1]:", None),
        ("2001:db8::1]", None),
        ("fe80::1%eth0", None),
        ("[]", None),
        ("unknown", None),
        ("_hidden", None),
        ("localhost", None),
        ("1.1.1.1/32", None),
    ] {
        assert_eq!(
            node(text.as_bytes()).map(|address| address.to_string()).as_deref(),
            expected,
            "{text}"
        );
        if !text.is_empty() {
            assert_eq!(
                address(&format!("X-Forwarded-For: {text}\r\n")),
                expected.unwrap_or(PROXY),
                "{text}"
            );
            let element = format!("Forwarded: for=\"{text}\"\r\n");
            assert_eq!(address(&element), expected.unwrap_or(PROXY), "{element}");
        }
    }
}

#[test]
fn forwarded_is_parsed_as_rfc_7239_defines_it() {
    for (list, expected) in [
        ("for=1.1.1.1", "1.1.1.1"),
        ("For=\"1.1.1.1\"", "1.1.1.1"),
        ("FOR=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("by=203.0.113.43; proto=http ;for=192.0.2.60;", "192.0.2.60"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ("for=6.6.6.6, for=1.1.1.1;by=10.0.0.2, for=10.0.0.2", "1.1.1.1"),
        ("for=6.6.6.6\r\nForwarded: for=1.1.1.1\r\nForwarded: for=10.0.0.2", "1.1.1.1"),
        ("for=1.1.1.1;host=\"a,b;for=6.6.6.6\"", "1.1.1.1"),
        ("for=1.1.1.1;host=\"a\\\", for=6.6.6.6;x=\\\"\"", "1.1.1.1"),
        ("for=1.1.1.1;host=\"a\\\\\"", "1.1.1.1"),
        // Many proxies send these unquoted, although they should not.
        ("for=1.1.1.1:80", "1.1.1.1"),
        ("for=[2001:db8::1]:80", "2001:db8::1"),
        // The walk ends at an invalid element.
        ("for=6.6.6.6, for=unknown", PROXY),
        ("for=6.6.6.6, for=\"_hidden\", for=10.0.0.2", "10.0.0.2"),
        ("for=6.6.6.6, proto=https", PROXY),
        ("for=6.6.6.6, for", PROXY),
        ("for=6.6.6.6, for=1.1.1.1;for=1.1.1.2", PROXY),
        ("for=6.6.6.6, for=1.1.1.1;nonsense", PROXY),
        ("for=6.6.6.6, for=\"1.1.1.1", PROXY),
        ("for=6.6.6.6, for=1.1.1.1\"", PROXY),
        ("for=6.6.6.6, for=\"1\\.1.1.1\"", PROXY),
        ("for=6.6.6.6, for = 1.1.1.1", PROXY),
        ("", PROXY),
    ] {
        assert_eq!(address(&format!("Forwarded: {list}\r\n")), expected, "{list:?}");
    }
}

#[test]
fn forwarded_from_a_client_does_not_hide_what_a_proxy_adds() {
    for own in [
        "for=\"",
        "\"",
        "for=\"x\\",
        "\\",
        "for=\"6.6.6.6",
        "for=6.6.6.6;x=\"\\\"",
        ";;;",
        "=",
        ",",
        "\u{ff}",
    ] {
        for added in [
            "for=1.1.1.1",
            "for=\"1.1.1.1:80\";proto=https",
            "by=\"[::1]\";for=\"1.1.1.1\";host=\"x\"",
        ] {
            for between in [", ", ",", "\r\nForwarded: "] {
                let list = format!("Forwarded: {own}{between}{added}\r\n");
                assert_eq!(address(&list), "1.1.1.1", "{list}");
            }
        }
    }
}

#[test]
fn forwarded_and_x_forwarded_for_are_ignored_if_they_differ() {
    for (list, elements, expected) in [
        ("1.1.1.1", "for=1.1.1.1", "1.1.1.1"),
        ("1.1.1.1, 10.0.0.2", "for=1.1.1.1", "1.1.1.1"),
        ("6.6.6.6, 1.1.1.1", "for=7.7.7.7, for=\"1.1.1.1:5\"", "1.1.1.1"),
        ("1.1.1.1", "for=6.6.6.6", PROXY),
        ("6.6.6.6", "for=1.1.1.1", PROXY),
        ("1.1.1.1", "proto=https", PROXY),
        ("unknown", "for=1.1.1.1", PROXY),
        ("1.1.1.1, 10.0.0.2", "for=6.6.6.6, for=10.0.0.2", PROXY),
        // An empty field is ignored.
        ("1.1.1.1", "", "1.1.1.1"),
        (",", "for=1.1.1.1", "1.1.1.1"),
    ] {
        let fields = format!("X-Forwarded-For: {list}\r\nForwarded: {elements}\r\n");
        assert_eq!(address(&fields), expected, "{fields}");
    }
}

#[test]
fn forwarded_scheme_is_that_of_the_nearest_proxy() {
    for (fields, expected) in [
        ("X-Forwarded-Proto: https", Some(true)),
        ("X-Forwarded-Proto: HTTP", Some(false)),
        ("X-Forwarded-Proto: https, http", Some(false)),
        ("X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https", Some(true)),
        ("X-Forwarded-Proto: https,", Some(true)),
        ("X-Forwarded-Proto: wss", None),
        ("X-Forwarded-Proto: https, wss", None),
        ("X-Forwarded-Proto: \"https\"", None),
        ("X-Forwarded-Proto:", None),
        ("Forwarded: proto=https", Some(true)),
        ("Forwarded: for=1.1.1.1;Proto=\"Https\"", Some(true)),
        ("Forwarded: proto=https, proto=http", Some(false)),
        ("Forwarded: proto=https, for=1.1.1.1", None),
        ("Forwarded: proto=https;proto=https", None),
        ("Forwarded: proto=\"https", None),
        ("Forwarded: proto=https\r\nX-Forwarded-Proto: https", Some(true)),
        ("Forwarded: proto=https\r\nX-Forwarded-Proto: http", None),
        ("Forwarded: proto=http\r\nX-Forwarded-Proto: https", None),
        ("Forwarded: for=1.1.1.1\r\nX-Forwarded-Proto: https", Some(true)),
    ] {
        for own in [true, false] {
            let (_, secure) = seen_from(PROXY, own, format!("{fields}\r\n").as_bytes());
            assert_eq!(secure, expected.unwrap_or(own), "{fields:?}, own connection secure: {own}");
        }
    }
}

#[test]
fn forwarded_parsing_never_panics() {
    const PIECES: [&str; 20] = [
        "\"",
        "\\",
        ",",
        ";",
        "=",
        "for",
        "proto",
        "https",
        "1.1.1.1",
        "10.0.0.2",
        "[",
        "]",
        ":",
        "_",
        " ",
        "::1",
        "80",
        "\u{e9}",
        "%",
        "\r\nForwarded: ",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    for _ in 0..2_000 {
        let text: String = (0..next(30)).map(|_| PIECES[next(PIECES.len())]).collect();
        let fields = format!("X-Forwarded-For: {text}\r\nForwarded: {text}\r\n");
        address(&fields);
        // A line that a proxy appends applies, whatever the client sent.
        let list = format!("Forwarded: {text}\r\nForwarded: for=1.1.1.1\r\n");
        assert_eq!(address(&list), "1.1.1.1", "{text:?}");
    }
}
