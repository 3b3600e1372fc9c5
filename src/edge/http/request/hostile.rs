//! A fuzz test: mutated heads, whose results are compared with those of a second parser, which is slow and simple.
//!
//! `HOSTILE_HEADS=1000000 cargo test --lib hostile` tries more heads, and `HOSTILE_SEED` sets the first seed. A failure
//! names the seed that reproduces it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::from_utf8;

use super::*;

/// Heads that are tried if `HOSTILE_HEADS` is not set.
const DEFAULT_COUNT: u64 = 200_000;

const VALID: [&str; 7] = [
    "GET /h/photo.jpg?w=300&h=200&c=true&f=webp HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /h/a%20b.png HTTP/1.1\r\nhost: images.example:8080\r\nAccept: image/avif,*/*;q=0.8\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET /h/a HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: [::1]:80\r\n\r\n",
    "GET http://other.example:81/h/a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHOST:\tx \r\nX-Empty:\r\n\r\n",
    "\r\nPOST /h/a HTTP/1.1\r\nIf-None-Match: \"a\", W/\"b\"\r\nHost: x\r\nConnection: x, Keep-Alive\r\n\r\n",
];

const FIELDS: [&str; 32] = [
    "Host: x",
    "Host: y:80",
    "Host:",
    "Host: a b",
    "Host: a,b",
    "Host: user@x",
    "Host: x/y",
    "Host: [::1]",
    "Host: [::1",
    "Host: :80",
    "Host: b%C3%BCcher",
    "Host: b%zz",
    "Host : x",
    "\u{e9}: x",
    "Content-Length: 0",
    "Content-Length: 00",
    "Content-Length: 1",
    "Content-Length: +0",
    "Content-Length: 0, 0",
    "Content-Length: -1",
    "Content-Length:",
    "Content-Length: 0\u{a0}",
    "Content-Length: 18446744073709551616",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding:",
    "Transfer-Encoding : chunked",
    "Connection: close",
    "Connection: close, keep-alive",
    "connection: KEEP-ALIVE",
    "Connection: closed,\t,",
    ": empty",
];

const TARGETS: [&str; 20] = [
    "*",
    "x",
    "?x",
    "//x/a",
    "/%",
    "/%00%zz",
    "/a#b",
    "/b\u{fc}cher",
    "/..//.",
    "http://y",
    "http://y/a",
    "HTTPS://y:1?q",
    "http:///a",
    "http://user@y/a",
    "http://y/a#b",
    "http://y:80:80/",
    "http://[::1]:80/a",
    "http:/y",
    "ftp://y/a",
    "y:443",
];

const ENDS: [&str; 9] =
    ["\n", "\r", "\r\r\n", "\n\r", "\r\n ", "\r\n\t", "\r\n\r\n", "\n\n", "\0\r\n"];
const BYTES: &[u8] = b"\r\n\0 \t:/?#*%@,;[]\x7f\x80\xc3\xbc\xffAa01\x0b\x0c\\\"";

/// A xorshift generator, so that a seed always gives the same head.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first numbers of adjacent seeds are alike.
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % bound as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

fn hostile_head(random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(&VALID).as_bytes().to_vec();
    for _ in 0..random.below(4) {
        mutate(&mut bytes, random);
    }
    match random.below(8) {
        0 => bytes.truncate(random.below(bytes.len() + 1)),
        1 => bytes.extend_from_slice(random.pick(&VALID).as_bytes()),
        2 => bytes.extend(
            (0..random.below(8)).map(|_| BYTES[random.below(BYTES.len())]).collect::<Vec<_>>(),
        ),
        _ => {}
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let line_end = find(&bytes[at..], b"\r\n").map(|length| at + length);
    let in_line = |text: &str| format!("\r\n{text}").into_bytes();
    match (random.below(10), line_end) {
        (0, _) => bytes.insert(at, BYTES[random.below(BYTES.len())]),
        (1, _) if at < bytes.len() => drop(bytes.remove(at)),
        (2, _) if at < bytes.len() => bytes[at] = BYTES[random.below(BYTES.len())],
        (3 | 4, Some(end)) => drop(bytes.splice(end..end, in_line(random.pick(&FIELDS)))),
        (5, Some(end)) => drop(bytes.splice(end..end + 2, random.pick(&ENDS).bytes())),
        // Repeats or removes a line.
        (6 | 7, Some(end)) => {
            let next = bytes[end + 2..].windows(2).position(|pair| pair == b"\r\n");
            let line = end..next.map_or(bytes.len(), |length| end + 2 + length);
            let twice =
                if random.below(2) == 0 { bytes[line.clone()].repeat(2) } else { Vec::new() };
            bytes.splice(line, twice);
        }
        (8, _) => {
            let target = random.pick(&TARGETS).as_bytes();
            if let Some(start) = bytes.iter().position(|byte| *byte == b' ') {
                let end = bytes[start + 1..].iter().position(|byte| *byte == b' ');
                bytes.splice(
                    start + 1..end.map_or(start + 1, |length| start + 1 + length),
                    target.iter().copied(),
                );
            }
        }
        // Around the limits. Rarely, because it is slow.
        (9, Some(end)) if random.below(200) == 0 => {
            let long = match random.below(3) {
                0 => "X: y\r\n".repeat(MAX_FIELDS - 3 + random.below(6)),
                1 => format!(
                    "X: {}\r\n",
                    "y".repeat(MAX_HEAD_BYTES.saturating_sub(bytes.len() + 20) + random.below(40))
                ),
                _ => "\r\n".repeat(MAX_HEAD_BYTES / 2 - 20 + random.below(30)),
            };
            bytes.splice(end + 2..end + 2, long.bytes());
        }
        (9, _) if random.below(200) == 0 => {
            let long = "z".repeat(MAX_PATH_BYTES - 20 + random.below(40));
            if let Some(slash) = bytes.iter().position(|byte| *byte == b'/') {
                bytes.splice(slash + 1..slash + 1, long.bytes());
            }
        }
        _ => {}
    }
}

/// The second parser's result.
#[derive(Debug, PartialEq)]
struct Expected<'b> {
    target: &'b str,
    host: &'b str,
    keep_alive: bool,
    is_http_10: bool,
    fields: usize,
}

/// Parses a head without its empty line by splitting it as RFC 9112 says; `None` if it is invalid.
fn parse_simply(head: &[u8]) -> Option<Expected<'_>> {
    let is_token = |text: &[u8]| {
        !text.is_empty()
            && text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    let mut lines = split(head, b"\r\n").into_iter();
    let line = lines.next()?;
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let &[method, target, version] = parts.as_slice() else { return None };
    let target = from_utf8(target).ok()?;
    let is_http_10 = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" => false,
        _ => return None,
    };
    if !is_token(method) || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#')
    {
        return None;
    }

    let mut hosts = vec![];
    let mut lengths = vec![];
    let mut options = vec![];
    let mut fields = 0;
    for line in lines {
        fields += 1;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = &line[..colon];
        let value = &line[colon + 1..];
        if !is_token(name)
            || value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
        {
            return None;
        }
        let value = value.trim_ascii();
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts.push(from_utf8(value).ok()?),
            b"content-length" => lengths.push(value),
            b"transfer-encoding" => return None,
            b"connection" => {
                options.extend(value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
            }
            _ => {}
        }
    }
    if hosts.len() > 1
        || (hosts.is_empty() && !is_http_10)
        || !hosts.iter().all(|host| is_host(host, true))
    {
        return None;
    }
    if lengths.len() > 1
        || lengths.iter().any(|digits| digits.is_empty() || digits.iter().any(|d| *d != b'0'))
    {
        return None;
    }
    let lower = target.to_ascii_lowercase();
    let (host, target) =
        match ["http://", "https://"].iter().find(|scheme| lower.starts_with(**scheme)) {
            None => (hosts.first().copied().unwrap_or_default(), target),
            Some(scheme) => {
                let rest = &target[scheme.len()..];
                let host = rest.split(['/', '?']).next()?;
                let path = &rest[host.len()..];
                if !is_host(host, false) {
                    return None;
                }
                (host, if path.starts_with('/') { path } else { "/" })
            }
        };
    if !target.starts_with('/') && (target, method) != ("*", b"OPTIONS") {
        return None;
    }
    let has = |option: &str| options.iter().any(|one| one.eq_ignore_ascii_case(option.as_bytes()));
    let keep_alive = if is_http_10 { has("keep-alive") && !has("close") } else { !has("close") };
    let is_short = fields <= MAX_FIELDS && target.split('?').next()?.len() <= MAX_PATH_BYTES;
    is_short.then_some(Expected { target, host, keep_alive, is_http_10, fields })
}

fn is_host(host: &str, may_be_empty: bool) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("ip", port),
        _ => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.is_empty()
        || (port.starts_with(':') && port[1..].bytes().all(|byte| byte.is_ascii_digit()));
    let escapes_are_right = name.split('%').skip(1).all(|after| {
        after.len() >= 2 && after.bytes().take(2).all(|digit| digit.is_ascii_hexdigit())
    });
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte));
    (may_be_empty && host.is_empty())
        || (!name.is_empty() && is_name && escapes_are_right && is_port)
}

fn split<'b>(bytes: &'b [u8], by: &[u8]) -> Vec<&'b [u8]> {
    let mut parts = Vec::new();
    let mut start = 0;
    while let Some(length) = find(&bytes[start..], by) {
        parts.push(&bytes[start..start + length]);
        start += length + by.len();
    }
    parts.push(&bytes[start..]);
    parts
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|at| bytes[*at] == what[0] && bytes[*at..].starts_with(what))
}

fn check<'b>(bytes: &'b [u8], random: &mut Random) -> Result<Head<'b>, RequestError> {
    let result = parse(bytes);
    let skipped = bytes.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
    // The end of the head for a parser that accepts a bare LF as the end of a line.
    let is_end =
        |at: &usize| matches!(bytes[*at..], [b'\n', b'\n', ..] | [b'\n', b'\r', b'\n', ..]);
    let end = (skipped..bytes.len())
        .find(is_end)
        .map(|at| at + if bytes[at + 1] == b'\n' { 2 } else { 3 });
    let within = end.filter(|end| *end <= MAX_HEAD_BYTES);
    let expected =
        within.and_then(|end| parse_simply(bytes[skipped..end].strip_suffix(b"\r\n\r\n")?));
    match &result {
        Ok(Head::Partial) => {
            assert_eq!(within, None, "a head with an end is not partial");
            assert!(bytes.len() < MAX_HEAD_BYTES, "a head at the limit is not partial");
        }
        Ok(Head::Complete(request, length)) => {
            assert_eq!(Some(*length), within, "both parsers agree on the end of the head");
            assert!(!bytes[..*length].contains(&0));
            let found = Expected {
                target: request.target,
                host: request.host,
                keep_alive: request.keep_alive,
                is_http_10: request.is_http_10,
                fields: request.fields.len(),
            };
            assert_eq!(Some(found), expected, "the parsers differ");
        }
        Err(error) => {
            assert!([400, 413, 414, 431, 505].contains(&error.status), "{error:?}");
            assert_eq!(expected, None, "a valid head is refused: {error:?}");
        }
    }
    // The result must not depend on how the bytes arrive, nor on the bytes that follow.
    let ends: Vec<usize> = match random.below(400) {
        0 if bytes.len() < 1000 => (0..bytes.len()).collect(),
        _ => vec![random.below(bytes.len() + 1)],
    };
    for end in ends {
        let partial = parse(&bytes[..end]);
        assert!(
            partial == Ok(Head::Partial) || partial == result,
            "after {end} bytes: {partial:?}"
        );
    }
    if result != Ok(Head::Partial) {
        let more = [bytes, random.pick(&VALID).as_bytes()].concat();
        assert_eq!(parse(&more), result, "with more bytes after it");
    }
    result
}

#[test]
fn two_parsers_agree_on_hostile_heads() {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse().expect(name));
    let first = number("HOSTILE_SEED", 0);
    let count = number("HOSTILE_HEADS", DEFAULT_COUNT);
    let mut complete = 0;
    let mut partial = 0;
    let mut refused = 0;
    for seed in first..first + count {
        let mut random = Random::new(seed);
        let bytes = hostile_head(&mut random);
        match catch_unwind(AssertUnwindSafe(|| check(&bytes, &mut random))) {
            Ok(Ok(Head::Complete(..))) => complete += 1,
            Ok(Ok(Head::Partial)) => partial += 1,
            Ok(Err(_)) => refused += 1,
            Err(_) => panic!(
                "HOSTILE_SEED={seed} HOSTILE_HEADS=1 reproduces it: {}",
                bytes.escape_ascii()
            ),
        }
    }
    // If nearly all heads had the same result, the test would prove little.
    for part in [complete, partial, refused] {
        assert!(
            count < 1000 || part > count / 50,
            "{complete} complete, {partial} partial, {refused} refused"
        );
    }
}
