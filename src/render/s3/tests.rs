use std::collections::HashSet;
use std::io::Write;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::endpoint::canonical_endpoint;
use super::signing::Action;
use super::write::Field;
use super::*;
use crate::render::origin::testing::{self, Server, response};
use std::io;

impl Bucket {
    fn deadline(&self) -> Deadline {
        Deadline::after(self.limits.origin_timeout, "limits.origin_timeout")
    }

    fn get_if(&self, key: &str, if_none_match: Option<&str>) -> Result<Got, Failure> {
        self.get(key, if_none_match, self.deadline(), &mut 0)
    }

    fn get_object(&self, key: &str) -> Result<Object, Failure> {
        match self.get_if(key, None)? {
            Got::Object(object) => Ok(object),
            Got::NotModified => panic!("not modified without a condition"),
        }
    }
}

fn bucket(server: &Server) -> Bucket {
    open(&testing::s3(&server.url()), &testing::limits())
}

fn open(config: &S3, limits: &Limits) -> Bucket {
    Bucket::open(config, Role::Origin, limits).unwrap_or_else(|failure| panic!("{failure}"))
}

fn with_directory(server: &Server, directory: &str) -> Bucket {
    let fields = format!(
        r#""endpoint": "{}", "aws_access": "AKID", "aws_secret": "SECRET", "file_path": "{directory}""#,
        server.url()
    );
    open(&testing::s3_with(&fields), &testing::limits())
}

fn ok(body: &[u8]) -> Vec<u8> {
    response("200 OK", "ETag: \"abc\"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n", body)
}

fn refused(bucket: &Bucket, key: &str) -> Failure {
    let failure = bucket.get_object(key).unwrap_err();
    let detail = &failure.detail;
    assert!(detail.contains(&format!("{key:?} in bucket images: ")), "{detail}");
    for secret in ["AKID", "SECRET", "X-Amz", "Signature="] {
        assert!(!detail.contains(secret), "{detail}");
    }
    failure
}

#[test]
fn an_object_is_fetched_with_its_metadata() {
    let server = Server::answering(|_| ok(b"image"));
    let original = bucket(&server).get_object("a.jpg").unwrap();
    assert_eq!(original.bytes, b"image");
    assert_eq!(original.etag.as_deref(), Some("\"abc\""));
    let date = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
    assert_eq!(original.last_modified, Some(date));

    let request = server.requests().remove(0);
    let lower = request.to_ascii_lowercase();
    assert!(
        request.starts_with("GET /images/a.jpg?X-Amz-Algorithm=AWS4-HMAC-SHA256&"),
        "{request}"
    );
    assert!(
        lower.contains(&format!("host: {}\r\n", &server.url()["http://".len()..])),
        "{request}"
    );
    assert!(lower.contains("accept-encoding: identity\r\n"), "{request}");
    assert!(!lower.contains("authorization:"), "{request}");
}

#[test]
fn an_object_may_be_empty_and_without_metadata() {
    let server = Server::answering(|_| response("200 OK", "", b""));
    let original = bucket(&server).get_object("a").unwrap();
    let object = Object { bytes: vec![], etag: None, last_modified: None, cache_control: None };
    assert_eq!(original, object);
}

/// RFC 3986 §2.3 unreserved characters and `/` stay, every other byte of the UTF-8 is escaped:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html> (UriEncode).
fn by_the_rule(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

const ODD_KEYS: [&str; 20] = [
    "a b.jpg",
    "a+b",
    "a%2Bb",
    "a%b",
    "100%",
    "a?b=c",
    "a#b",
    "日本/é.jpg",
    "a=b&c",
    "/a.jpg",
    "//a",
    "a//b.jpg",
    "a/",
    "/",
    "%2e%2e/x",
    "..\\x",
    "a\tb\nc",
    "!*'();:@,[]{}|^`\"<>$~",
    "%",
    "a.jpg?X-Amz-Expires=1",
];

#[test]
fn keys_are_sent_byte_for_byte() {
    let server = Server::answering(|_| ok(b""));
    let signed = bucket(&server);
    let anonymous =
        testing::s3_with(&format!(r#""endpoint": "{}", "anonymous": true"#, server.url()));
    let anonymous = open(&anonymous, &testing::limits());
    let mut expected = Vec::new();
    for bucket in [&signed, &anonymous] {
        for key in ODD_KEYS {
            bucket.get_object(key).unwrap_or_else(|failure| panic!("{failure}"));
            expected.push(format!("/images/{}", by_the_rule(key)));
        }
    }
    assert_eq!(server.paths(), expected);
    let (signed, anonymous): (Vec<_>, Vec<_>) =
        server.requests().into_iter().partition(|request| request.contains("X-Amz-Signature="));
    assert_eq!((signed.len(), anonymous.len()), (ODD_KEYS.len(), ODD_KEYS.len()));
    assert!(
        !anonymous.iter().any(|request| request
            .lines()
            .next()
            .unwrap()
            .contains("X-Amz-Algorithm"))
    );
}

#[test]
fn directory_and_key_are_joined_with_one_slash() {
    let server = Server::answering(|_| ok(b""));
    let bucket = with_directory(&server, "/images large/x/");
    for key in ["a.jpg", "/a.jpg", ""] {
        bucket.get_object(key).unwrap();
    }
    let directory = "/images/images%20large/x";
    assert_eq!(server.paths(), ["/a.jpg", "//a.jpg", "/"].map(|rest| format!("{directory}{rest}")));
}

#[test]
fn keys_that_could_mean_another_object_are_not_sent() {
    let server = Server::answering(|_| ok(b""));
    let long = "x".repeat(1025);
    for key in ["", ".", "..", "a/../b", "../b", "a/.", "a\0", &long] {
        assert_eq!(bucket(&server).get_object(key).unwrap_err().code, Code::InvalidKey, "{key:?}");
    }
    let at_the_limit = "x".repeat(1020);
    assert_eq!(
        with_directory(&server, "directory").get_object(&at_the_limit).unwrap_err().code,
        Code::InvalidKey
    );
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_condition_is_sent_and_not_modified_is_its_answer_alone() {
    // An answer that says how long the object is, and that connection goes on without it.
    let server = Server::answering(|number| match number {
        0 => {
            b"HTTP/1.1 304 Not Modified\r\nETag: \"abc\"\r\nContent-Length: 100000\r\n\r\n".to_vec()
        }
        1 => b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
        2 => ok(b"another"),
        _ => response("304 Not Modified", "", b""),
    });
    // With an agent that no other test uses.
    let limits = Limits { fetches_at_once: 3, ..testing::limits() };
    let bucket = open(&testing::s3(&server.url()), &limits);
    assert_eq!(bucket.get_if("a", Some("\"abc\"")), Ok(Got::NotModified));
    assert_eq!(bucket.get_if("a", Some("W/\"abc\"")), Ok(Got::NotModified));
    let Ok(Got::Object(original)) = bucket.get_if("a", Some("\"old\"")) else { panic!("changed") };
    assert_eq!(original.bytes, b"another");
    let failure = refused(&bucket, "a");
    assert_eq!(failure.code, Code::OriginError);
    assert!(failure.detail.contains("answered 304"), "{}", failure.detail);

    let conditions = server.requests().into_iter().map(|request| {
        let header = request.lines().filter_map(|line| line.split_once(": "));
        let mut conditions = header.filter(|(name, _)| name.eq_ignore_ascii_case("if-none-match"));
        let condition = conditions.next().map(|(_, value)| value.to_owned());
        assert_eq!(conditions.next(), None);
        condition
    });
    let expected = [Some("\"abc\""), Some("W/\"abc\""), Some("\"old\""), None];
    assert_eq!(conditions.collect::<Vec<_>>(), expected.map(|etag| etag.map(str::to_owned)));
    assert!(server.requests()[0].contains("X-Amz-SignedHeaders=host&"), "{}", server.requests()[0]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_condition_is_tried_once_more_as_well() {
    let server = Server::scripted(|number, stream| match number {
        0 => false,
        _ => stream.write_all(&response("304 Not Modified", "", b"")).is_ok(),
    });
    assert_eq!(bucket(&server).get_if("a", Some("\"abc\"")), Ok(Got::NotModified));
    assert!(server.requests()[1].to_ascii_lowercase().contains("if-none-match: \"abc\""));
}

#[test]
fn connections_are_reused() {
    let server = Server::answering(|number| match number % 4 {
        0 => response("404 Not Found", "", b"<Error><Code>NoSuchKey</Code></Error>"),
        1 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
        2 => response("404 Not Found", "", b""),
        _ => ok(&[7; 100_000]),
    });
    let bucket = bucket(&server);
    for _ in 0..50 {
        assert_eq!(bucket.get_object("a").unwrap_err().code, Code::NotFound);
        assert_eq!(bucket.get_object("a").unwrap().bytes, b"abc");
        assert_eq!(bucket.get_object("a").unwrap_err().code, Code::NotFound);
        assert_eq!(bucket.get_object("a").unwrap().bytes.len(), 100_000);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn many_threads_share_a_few_connections() {
    let server = Server::answering(|_| ok(b"image"));
    let bucket = bucket(&server);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..250).for_each(|_| assert_eq!(bucket.get_object("a").unwrap().bytes, b"image"))
            });
        }
    });
    assert_eq!(server.requests().len(), 1000);
    assert!(server.connections() <= 4, "{}", server.connections());
}

#[test]
fn two_buckets_share_connections() {
    let server = Server::answering(|_| ok(b""));
    let one = bucket(&server);
    let other = with_directory(&server, "directory");
    for _ in 0..3 {
        one.get_object("a").unwrap();
        other.get_object("a").unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_closed_connection_is_retried_once() {
    for by_reset in [false, true] {
        let server = Server::scripted(move |number, stream| {
            if number != 0 {
                return stream.write_all(&ok(b"image")).is_ok();
            }
            if by_reset {
                testing::reset(stream);
            }
            false
        });
        assert_eq!(bucket(&server).get_object("a").unwrap().bytes, b"image", "reset: {by_reset}");
        assert_eq!((server.connections(), server.requests().len()), (2, 2));
    }
}

#[test]
fn stale_connections_of_the_pool_are_replaced() {
    // Each connection answers once and is closed when its second request comes.
    let both = Barrier::new(2);
    let used = Mutex::new(HashSet::new());
    let server = Server::scripted(move |number, stream| {
        if !used.lock().unwrap().insert(stream.peer_addr().unwrap()) {
            return false;
        }
        if number < 2 {
            both.wait();
        }
        stream.write_all(&ok(b"image")).is_ok()
    });
    let bucket = bucket(&server);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(bucket.get_object("a").unwrap().bytes, b"image"));
        }
    });
    // Two stale ones are kept now. The second try must not take the other one.
    assert_eq!(bucket.get_object("a").unwrap().bytes, b"image");
    assert_eq!((server.connections(), server.requests().len()), (3, 4));
}

#[test]
fn a_connection_that_is_closed_twice_is_a_failure() {
    let server = Server::scripted(|_, _| false);
    let failure = refused(&bucket(&server), "a");
    assert_eq!(failure.code, Code::OriginUnreachable);
    assert!(failure.detail.contains("the connection was closed twice"), "{}", failure.detail);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_truncated_response_head_is_retried_once() {
    let server = Server::scripted(|number, stream| match number {
        0 => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-").is_err(),
        _ => stream.write_all(&ok(b"image")).is_ok(),
    });
    assert_eq!(bucket(&server).get_object("a").unwrap().bytes, b"image");
}

#[test]
fn a_5xx_is_retried_once() {
    let server = Server::answering(|number| match number {
        0 => {
            response("500 Internal Server Error", "", b"<Error><Code>InternalError</Code></Error>")
        }
        _ => ok(b"image"),
    });
    assert_eq!(bucket(&server).get_object("a").unwrap().bytes, b"image");
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[test]
fn a_second_5xx_is_a_failure() {
    let server = Server::answering(|_| {
        response("503 Slow Down", "", b"<Error><Code>SlowDown</Code></Error>")
    });
    let failure = refused(&bucket(&server), "a");
    assert_eq!(failure.code, Code::OriginError);
    assert!(
        failure.detail.ends_with("the origin answered 503 (SlowDown) twice"),
        "{}",
        failure.detail
    );
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_4xx_is_not_retried() {
    for (status, code) in [
        ("403 Forbidden", Code::NotShown),
        ("404 Not Found", Code::NotFound),
        ("400 Bad Request", Code::OriginError),
        ("429 Too Many Requests", Code::OriginError),
        ("206 Partial Content", Code::OriginError),
    ] {
        let server =
            Server::answering(move |_| response(status, "", b"<Error><Code>Some</Code></Error>"));
        let failure = refused(&bucket(&server), "a");
        assert_eq!(failure.code, code, "{status}");
        assert!(failure.detail.contains("(Some)"), "{}", failure.detail);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Server::answering(|_| ok(b"elsewhere"));
    let location = format!("Location: {}/images/a\r\n", elsewhere.url());
    for status in
        ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        for headers in [location.clone(), String::new()] {
            let server = Server::answering(move |_| response(status, &headers, b""));
            assert_eq!(refused(&bucket(&server), "a").code, Code::OriginError, "{status}");
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_wrong_region_is_reported_with_the_right_one() {
    let server = Server::answering(|_| {
        let body = b"<Error><Code>PermanentRedirect</Code></Error>";
        response("301 Moved Permanently", "x-amz-bucket-region: eu-central-1\r\n", body)
    });
    let failure = refused(&bucket(&server), "a");
    assert_eq!(failure.code, Code::WrongRegion);
    let advice =
        "bucket images is in region eu-central-1: set handlers[0].aws.region to \"eu-central-1\"";
    assert!(failure.detail.ends_with(advice), "{}", failure.detail);
}

#[test]
fn a_body_shorter_than_announced_is_a_failure() {
    for (head, body) in [
        ("Content-Length: 100", "0123456789"),
        ("Transfer-Encoding: chunked", "a\r\n0123456789\r\n"),
        ("Transfer-Encoding: chunked", "a\r\n01234"),
        ("Transfer-Encoding: chunked", "a\r\n0123456789\r\nnonsense\r\n"),
    ] {
        let server = Server::scripted(move |_, stream| {
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes())
                .unwrap();
            false
        });
        let failure = refused(&bucket(&server), "a");
        assert_eq!(failure.code, Code::OriginTruncated, "{head} {body:?}: {}", failure.detail);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_body_cut_by_a_reset_is_a_failure() {
    let server = Server::scripted(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n01234").unwrap();
        thread::sleep(Duration::from_millis(50));
        testing::reset(stream);
        false
    });
    let failure = refused(&bucket(&server), "a");
    assert_eq!(failure.code, Code::OriginTruncated, "{}", failure.detail);
}

#[test]
fn a_body_of_unknown_length_is_a_failure() {
    let server = Server::scripted(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n01234").unwrap();
        false
    });
    assert_eq!(refused(&bucket(&server), "a").code, Code::OriginError);
}

#[test]
fn an_object_over_the_limit_is_not_read() {
    let mut limits = testing::limits();
    limits.origin_max_bytes = 10;
    // The second body would never end.
    for endless in ["Content-Length: 11", "Transfer-Encoding: chunked"] {
        let server = Server::scripted(move |_, stream| {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{endless}\r\n\r\n").as_bytes()).unwrap();
            while endless.starts_with('T') && stream.write_all(b"5\r\n01234\r\n").is_ok() {}
            true
        });
        let start = Instant::now();
        let bucket = open(&testing::s3(&server.url()), &limits);
        let stored = bucket.get_stored("a", 10, bucket.deadline()).unwrap_err();
        assert_eq!(stored.code, Code::TooLarge, "{}", stored.detail);
        let failure = refused(&bucket, "a");
        assert_eq!(failure.code, Code::TooLarge);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(
            failure.detail.ends_with("larger than 10 bytes (limits.origin_max_bytes)"),
            "{}",
            failure.detail
        );
    }
    let server = Server::answering(|_| ok(b"0123456789"));
    assert_eq!(open(&testing::s3(&server.url()), &limits).get_object("a").unwrap().bytes.len(), 10);
}

#[test]
fn each_origin_timeout_is_named_by_its_field() {
    let mut first_byte = testing::limits();
    first_byte.origin_first_byte_timeout = Duration::from_millis(100);
    let mut whole = testing::limits();
    whole.origin_timeout = Duration::from_millis(200);
    let dribble = |stream: &mut std::net::TcpStream| {
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    };
    let silent = Server::scripted(|_, stream| {
        let _ = stream.set_read_timeout(None).and_then(|()| io::Read::read(stream, &mut [0]));
        false
    });
    let slow_head = Server::scripted(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ").unwrap();
        dribble(stream);
        false
    });
    let slow_body = Server::scripted(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n").unwrap();
        dribble(stream);
        false
    });
    for (server, limits, name) in [
        (&silent, &first_byte, "limits.origin_first_byte_timeout"),
        (&silent, &whole, "limits.origin_timeout"),
        (&slow_head, &first_byte, "limits.origin_first_byte_timeout"),
        (&slow_body, &whole, "limits.origin_timeout"),
    ] {
        let start = Instant::now();
        let failure = refused(&open(&testing::s3(&server.url()), limits), "a");
        assert_eq!(failure.code, Code::OriginTimeout, "{name}: {}", failure.detail);
        assert!(failure.detail.ends_with(&format!("({name})")), "{}", failure.detail);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
    }
    assert!(silent.requests().len() <= 2 && slow_head.requests().len() <= 1, "a timeout is final");
}

#[test]
fn origin_timeout_includes_the_retry() {
    let server = Server::scripted(|number, stream| {
        thread::sleep(Duration::from_millis(if number == 0 { 200 } else { 5000 }));
        stream.write_all(&response("500 Internal Server Error", "", b"")).is_ok()
    });
    let mut limits = testing::limits();
    limits.origin_timeout = Duration::from_millis(300);
    let start = Instant::now();
    assert_eq!(refused(&open(&testing::s3(&server.url()), &limits), "a").code, Code::OriginTimeout);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn an_origin_that_refuses_connections_is_unreachable() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [format!("http://{closed}"), "http://surely-not.invalid".to_owned()] {
        let failure = refused(&open(&testing::s3(&endpoint), &testing::limits()), "a");
        assert_eq!(failure.code, Code::OriginUnreachable, "{}", failure.detail);
    }
}

#[test]
fn a_response_that_is_not_http_is_an_error() {
    for nonsense in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n"] {
        let server = Server::answering(move |_| nonsense.into());
        assert_eq!(refused(&bucket(&server), "a").code, Code::OriginError, "{nonsense}");
    }
    let server =
        Server::answering(|_| response("200 OK", &format!("X: {}\r\n", "x".repeat(100_000)), b""));
    assert_eq!(refused(&bucket(&server), "a").code, Code::OriginError);
}

#[test]
fn the_host_is_that_of_the_region() {
    let host = |fields: &str| {
        let keys = r#", "aws_access": "a", "aws_secret": "s""#;
        let bucket = open(&testing::s3_with(&format!("{fields}{keys}")), &testing::limits());
        let object = bucket.object("k").unwrap();
        let url = bucket.url(&object, &Action::Get, bucket.deadline()).unwrap();
        url.split('?').next().unwrap().to_owned()
    };
    assert_eq!(host(r#""region": "us-east-1""#), "https://images.s3.us-east-1.amazonaws.com/k");
    assert_eq!(host(r#""region": "eu-west-1""#), "https://images.s3.eu-west-1.amazonaws.com/k");
    assert_eq!(host(r#""region": "xx-new-9""#), "https://images.s3.xx-new-9.amazonaws.com/k");
    assert_eq!(
        host(r#""region": "cn-north-1""#),
        "https://images.s3.cn-north-1.amazonaws.com.cn/k"
    );
    assert_eq!(
        host(r#""region": "eu-west-1", "path_style": true"#),
        "https://s3.eu-west-1.amazonaws.com/images/k"
    );
    assert_eq!(
        host(r#""endpoint": "https://MinIO.Example:443""#),
        "https://minio.example/images/k"
    );
    assert_eq!(host(r#""endpoint": "http://minio:80""#), "http://minio/images/k");
    assert_eq!(host(r#""endpoint": "http://minio:8080""#), "http://minio:8080/images/k");
    assert_eq!(host(r#""endpoint": "https://minio:4430""#), "https://minio:4430/images/k");
    let virtual_host = r#""endpoint": "https://s3.example", "path_style": false"#;
    assert_eq!(host(virtual_host), "https://images.s3.example/k");
}

#[test]
fn the_endpoint_is_canonical_before_it_is_signed() {
    for (written, canonical) in [
        ("https://MinIO.Example:443", "https://minio.example"),
        ("http://minio:80", "http://minio"),
        ("http://minio:443", "http://minio:443"),
        ("http://minio:8080", "http://minio:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ] {
        assert_eq!(canonical_endpoint(written), canonical);
    }
}

#[test]
fn an_unusable_ca_file_is_an_error() {
    let directory = testing::TempDirectory::new();
    let file = directory.path().join("ca.pem");
    for content in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&file, content).unwrap();
        let config =
            testing::s3_with(&format!(r#""anonymous": true, "ca_file": "{}""#, file.display()));
        let problem = check(&config).unwrap_err().to_string();
        assert!(
            problem.starts_with(&format!("handlers[0].aws.ca_file: {}: ", file.display())),
            "{problem}"
        );
        let failure = Bucket::open(&config, Role::Origin, &testing::limits()).err().unwrap();
        assert_eq!(failure.detail, problem);
    }
}

#[test]
fn put_sends_the_body_with_its_checksum_and_signs_every_field() {
    let server = Server::answering(|_| response("200 OK", "ETag: \"abc\"\r\n", b""));
    let bucket = with_directory(&server, "results");
    let fields = [("cache-control", "max-age=60"), ("x-amz-meta-about", "a%20b")];
    bucket.put("v1/a", "image/png", &fields, b"image", bucket.deadline()).unwrap();
    let request = server.requests().remove(0);
    assert!(request.starts_with("PUT /images/results/v1/a?X-Amz-Algorithm="), "{request}");
    let signed = "X-Amz-SignedHeaders=cache-control%3Bcontent-type%3Bhost%3Bx-amz-checksum-sha256%3B\
                  x-amz-meta-about&";
    assert!(request.contains(signed), "{request}");
    let lower = request.to_ascii_lowercase();
    for line in [
        "content-length: 5",
        "content-type: image/png",
        "cache-control: max-age=60",
        "x-amz-meta-about: a%20b",
        // The SHA-256 of "image" in base64.
        "x-amz-checksum-sha256: yqxwzhavqaml6u1yjourvlv9u3o0n9xr7kq5f9ekpj0=",
    ] {
        assert!(lower.lines().any(|other| other == line), "{line}\n{request}");
    }
    assert!(request.ends_with("\r\n\r\nimage"), "{request}");
}

#[test]
fn writes_are_tried_once_more_and_then_fail() {
    let server = Server::answering(|number| match number {
        0 | 2 => response("503 Slow Down", "", b"<Error><Code>SlowDown</Code></Error>"),
        1 => response("200 OK", "", b""),
        3 => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => response("403 Forbidden", "", b"<Error><Code>AccessDenied</Code></Error>"),
    });
    let config = testing::s3(&server.url());
    let bucket = Bucket::open(&config, Role::Results, &testing::limits()).unwrap();
    let put = || bucket.put("a", "image/png", &[], b"image", bucket.deadline());
    put().unwrap();
    bucket.delete("a", bucket.deadline()).unwrap();
    let bodies: Vec<_> = server.requests().iter().map(|sent| sent.ends_with("image")).collect();
    assert_eq!(bodies, [true, true, false, false]);
    let lacks = |result: Result<(), Failure>, permission: &str| {
        let detail = result.unwrap_err().detail;
        let expected = format!(
            "key \"a\" in bucket images: the results bucket answered 403 (AccessDenied): the credentials lack \
             the permission {permission}"
        );
        assert_eq!(detail, expected);
    };
    lacks(put(), "s3:PutObject");
    lacks(bucket.delete("a", bucket.deadline()), "s3:DeleteObject");
    lacks(bucket.list("a", None, 1, bucket.deadline()).map(drop), "s3:ListBucket");
    assert_eq!(server.requests().len(), 7);
}

#[test]
fn deleting_a_missing_object_is_no_error() {
    let server = Server::answering(|_| {
        response("404 Not Found", "", b"<Error><Code>NoSuchKey</Code></Error>")
    });
    let bucket = bucket(&server);
    bucket.delete("a", bucket.deadline()).unwrap();
    assert!(server.requests()[0].starts_with("DELETE /images/a?"), "{:?}", server.requests());
}

#[test]
fn a_field_that_could_end_its_line_is_not_sent() {
    let server = Server::answering(|_| response("200 OK", "", b""));
    let bucket = bucket(&server);
    for value in ["a\r\nX: y", "a\nb", "a\0"] {
        let put = |content_type: &str, fields: &[Field]| {
            bucket.put("a", content_type, fields, b"", bucket.deadline()).unwrap_err().detail
        };
        assert!(put("image/png", &[("x-amz-meta-a", value)]).contains("x-amz-meta-a: is no valid"));
        assert!(put(value, &[]).contains("content-type: is no valid"));
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn list_returns_the_keys_below_the_directory() {
    let server = Server::answering(|number| {
        let list = |truncated: bool, contents: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <Name>images</Name><Prefix>x/v1/</Prefix><IsTruncated>{truncated}</IsTruncated>{contents}\
                 </ListBucketResult>\n"
            )
        };
        let text = match number {
            0 => list(
                true,
                "<Contents><Key>x/v1/a</Key><Size>1</Size></Contents>\
                 <Contents><Key>x/v1/b&amp;</Key></Contents><Contents><Key>y</Key></Contents>",
            ),
            _ => list(false, ""),
        };
        let date = if number == 0 { "Date: Wed, 21 Oct 2015 07:28:00 GMT\r\n" } else { "" };
        response("200 OK", date, text.as_bytes())
    });
    let bucket = with_directory(&server, "x");
    let listing = bucket.list("v1/", Some("v1/\u{fc} +"), 9999, bucket.deadline()).unwrap();
    let keys = vec!["v1/a".to_owned(), "v1/b&".to_owned()];
    let date = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").ok();
    assert_eq!(listing, Listing { keys, is_truncated: true, date });
    assert_eq!(bucket.list("v1/", None, 1, bucket.deadline()).unwrap(), Listing::default());
    let request = server.requests().remove(0);
    let target = request.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap();
    assert_eq!(path, "/images/");
    for parameter in
        ["list-type=2", "max-keys=1000", "prefix=x%2Fv1%2F", "start-after=x%2Fv1%2F%C3%BC%20%2B"]
    {
        assert!(query.split('&').any(|other| other == parameter), "{parameter}: {query}");
    }
}

#[test]
fn an_incomplete_list_is_a_failure() {
    for text in [
        "",
        "not XML",
        "<html></html>",
        "<ListBucketResult><Key>a</Key></ListBucketResult>",
        "<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents>",
    ] {
        let server = Server::answering(move |_| response("200 OK", "", text.as_bytes()));
        let bucket = bucket(&server);
        let failure = bucket.list("", None, 1, bucket.deadline()).unwrap_err();
        assert!(failure.detail.contains("is no list of keys"), "{text}: {}", failure.detail);
    }
    let server = Server::scripted(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n<").unwrap();
        false
    });
    let bucket = bucket(&server);
    let failure = bucket.list("", None, 1, bucket.deadline()).unwrap_err();
    assert!(failure.detail.contains("the list of keys is too long"), "{}", failure.detail);
}

#[test]
fn a_stored_object_is_not_decoded_and_comes_with_its_fields() {
    let server = Server::answering(|_| {
        response("200 OK", "x-amz-meta-entry: e\r\nContent-Encoding: gzip\r\n", b"image")
    });
    let bucket = bucket(&server);
    let object = bucket.get_stored("a", 5, bucket.deadline()).unwrap();
    assert_eq!(
        (object.bytes.as_slice(), object.field("x-amz-meta-entry")),
        (&b"image"[..], Some("e"))
    );
    assert_eq!(object.field("x-amz-meta-other"), None);
    let failure = bucket.get_stored("a", 4, bucket.deadline()).unwrap_err();
    assert_eq!(failure.code, Code::TooLarge);
    assert!(!server.requests()[0].to_ascii_lowercase().contains("content-length"));
}

#[test]
fn a_deadline_shorter_than_the_limits_is_kept_and_named() {
    let server = Server::scripted(|_, stream| {
        let _ = stream.set_read_timeout(None).and_then(|()| io::Read::read(stream, &mut [0]));
        false
    });
    let bucket = bucket(&server);
    let start = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(100), "results_timeout");
    let failure = bucket.get_stored("a", 5, deadline).unwrap_err();
    assert_eq!(failure.code, Code::OriginTimeout);
    assert!(failure.detail.ends_with("within 100ms (results_timeout)"), "{}", failure.detail);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn an_access_point_has_its_own_host_and_region() {
    let aws = r#"{"bucket_name": "arn:aws:s3:eu-west-1:123456789012:accesspoint/prod", "file_path": "d",
        "aws_access": "AKID", "aws_secret": "SECRET", "request_payer": true}"#;
    let text = format!(r#"{{"handlers": [{{"name": "x", "aws": {aws}}}]}}"#);
    let handler = crate::config::parse(&text, "test").unwrap().handlers.remove(0);
    let Some(crate::config::Origin::S3(config)) = handler.origins.first() else { panic!() };
    let bucket = open(config, &testing::limits());
    let object = bucket.object("a b.jpg").unwrap();
    let url = bucket.url(&object, &Action::Get, bucket.deadline()).unwrap();
    let host = "https://prod-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/d/a%20b.jpg?";
    assert!(url.starts_with(host), "{url}");
    for part in ["%2Feu-west-1%2Fs3%2Faws4_request", "x-amz-request-payer=requester"] {
        assert_eq!(url.matches(part).count(), 1, "{part} in {url}");
    }
}
