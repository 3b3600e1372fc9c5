use super::*;

const PARTIAL: Result<Header, Malformed> = Ok(Header::Partial);

fn complete(length: usize, source: Option<&str>) -> Result<Header, Malformed> {
    Ok(Header::Complete { length, source: source.map(|text| text.parse().unwrap()) })
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap();
    [V2_SIGNATURE, &[command, family], &length.to_be_bytes(), rest].concat()
}

/// 1.1.1.1:258 to 10.0.0.1:80.
const V4: [u8; 12] = [1, 1, 1, 1, 10, 0, 0, 1, 1, 2, 0, 80];

fn v6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    [&source.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[1, 2, 0, 80]].concat()
}

/// Valid headers, with the client that each names.
fn valid() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let long = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    assert_eq!(long.len(), 104);
    let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    assert_eq!(longest.len(), MAX_V1_BYTES);
    let extensions = [&V4[..], &[0x04, 0, 3, 0, 0, 0, 0xe0, 0, 1, 9]].concat();
    let longest_v2 = [&V4[..], &[0; MAX_V2_REST_BYTES - 12]].concat();
    vec![
        (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".into(), Some("192.168.0.1:56324")),
        (
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".into(),
            Some("255.255.255.255:65535"),
        ),
        (b"PROXY TCP4 0.0.0.0 1.1.1.1 0 0\r\n".into(), Some("0.0.0.0:0")),
        (b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n".into(), Some("[2001:db8::1]:1")),
        (b"PROXY TCP6 ::ffff:1.1.1.1 ::1 1 2\r\n".into(), Some("1.1.1.1:1")),
        (long.into(), Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        (b"PROXY UNKNOWN\r\n".into(), None),
        (b"PROXY UNKNOWN whatever \xff\0  is here\r\n".into(), None),
        (longest.into(), None),
        (v2(0x21, 0x11, &V4), Some("1.1.1.1:258")),
        (v2(0x21, 0x12, &V4), Some("1.1.1.1:258")),
        (v2(0x21, 0x11, &extensions), Some("1.1.1.1:258")),
        (v2(0x21, 0x11, &longest_v2), Some("1.1.1.1:258")),
        (v2(0x21, 0x21, &v6("2001:db8::1")), Some("[2001:db8::1]:258")),
        (v2(0x21, 0x22, &v6("::ffff:1.1.1.1")), Some("1.1.1.1:258")),
        (v2(0x21, 0x31, &[b'/'; 216]), None),
        (v2(0x21, 0x00, &V4), None),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x10, &V4), None),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &V4), None),
        (v2(0x20, 0xff, &[7]), None),
    ]
}

#[test]
fn proxy_header_parsing_ignores_the_bytes_that_follow() {
    for (header, source) in valid() {
        let expected = complete(header.len(), source);
        assert_eq!(parse(&header), expected, "{}", header.escape_ascii());
        for after in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\n", b"\r\n", &[0; 5000]] {
            assert_eq!(parse(&[&header, after].concat()), expected, "{}", header.escape_ascii());
        }
    }
}

#[test]
fn every_prefix_of_a_proxy_header_is_partial() {
    for (header, _) in valid() {
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), PARTIAL, "{end} of {}", header.escape_ascii());
        }
    }
}

#[test]
fn proxy_header_with_a_wrong_signature_byte_is_refused_at_once() {
    for (header, length) in
        [(v2(0x21, 0x11, &V4), 13), (valid()[0].0.clone(), 6), (b"PROXY UNKNOWN\r\n".into(), 6)]
    {
        for at in 0..length {
            for other in 0..=u8::MAX {
                let mut changed = header.clone();
                changed[at] = other;
                let is_valid = other == header[at] || (at == 12 && other == 0x20);
                let starts_other_version = at == 0 && (other == b'P' || other == b'\r');
                assert_eq!(parse(&changed).is_ok(), is_valid, "{}", changed.escape_ascii());
                let prefix = parse(&changed[..=at]);
                assert_eq!(
                    prefix.is_ok(),
                    is_valid || starts_other_version,
                    "{}",
                    changed.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn malformed_proxy_v1_headers_are_refused() {
    for line in [
        "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1  2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 00\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2  2\r\n",
        "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 256.2.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP4 1.1.1.1 ::1 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 ::1 1.1.1.1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 \r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN \r \r\n",
        "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "GET / HTTP/1.1\r\n",
        " PROXY UNKNOWN\r\n",
    ] {
        assert!(parse(line.as_bytes()).is_err(), "{line:?}");
    }
    assert!(parse(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\xff\r\n").is_err());
    // Before the end of the line.
    for start in ["PROXY X", "PROXY TCP5", "PROXY TCP4\n", "PROXY UNKNOWN\rx"] {
        assert!(parse(start.as_bytes()).is_err(), "{start:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(endless.len(), MAX_V1_BYTES);
    assert_eq!(parse(&endless.as_bytes()[..106]), PARTIAL);
    assert!(parse(endless.as_bytes()).is_err());
    assert!(parse(format!("{}\r\n", &endless[..106]).as_bytes()).is_err(), "108 bytes");
    assert!(parse(format!("{}\r", &endless[..106]).as_bytes()).is_err(), "no room for LF");
}

#[test]
fn malformed_proxy_v2_headers_are_refused() {
    for (command, family) in [
        (0x01, 0x11),
        (0x11, 0x11),
        (0x22, 0x11),
        (0x2f, 0x00),
        (0x31, 0x11),
        (0x21, 0x13),
        (0x21, 0x41),
        (0x21, 0x03),
        (0x21, 0xff),
    ] {
        let header = v2(command, family, &[0; 300]);
        assert!(parse(&header).is_err(), "{command:x} {family:x}");
        // Before the length.
        assert!(parse(&header[..14]).is_err(), "{command:x} {family:x}");
    }
    for (family, short) in [(0x11, 11), (0x12, 0), (0x21, 35), (0x22, 12), (0x31, 215), (0x32, 36)]
    {
        let header = v2(0x21, family, &vec![0; short]);
        assert!(parse(&header).is_err() && parse(&header[..16]).is_err(), "{family:x} {short}");
    }
    for command in [0x20, 0x21] {
        let header = v2(command, 0x11, &[0; MAX_V2_REST_BYTES + 1]);
        assert!(parse(&header[..16]).is_err(), "longer than the maximum");
    }
}

#[test]
fn proxy_header_parsing_never_panics_and_more_bytes_never_change_its_result() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    let headers = valid();
    for _ in 0..20_000 {
        let mut bytes = headers[next(headers.len())].0.clone();
        bytes.truncate(next(bytes.len().min(120) + 1));
        for _ in 0..next(4) {
            if bytes.is_empty() {
                break;
            }
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes.insert(at, b" \r\n0:.\0"[next(7)]),
                _ => drop(bytes.remove(at)),
            }
        }
        let result = parse(&bytes);
        if let Ok(Header::Complete { length, .. }) = result {
            assert!(length <= bytes.len(), "{}", bytes.escape_ascii());
        }
        let first =
            (0..=bytes.len()).map(|end| parse(&bytes[..end])).find(|result| *result != PARTIAL);
        assert_eq!(first.unwrap_or(PARTIAL), result, "{}", bytes.escape_ascii());
    }
}
