use std::io::Write;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::render::origin::testing::{self, Server, response};

const DATE: &str = "Date: Wed, 21 Oct 2015 07:28:01 GMT\r\n";
const MODIFIED: &str = "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n";

fn config(server: &Server, fields: &str) -> Http {
    let url = server.url();
    testing::http(&format!(r#"{{"url": "{url}/base", "allow_private": true{fields}}}"#))
}

fn open(config: &Http, limits: &Limits) -> WebServer {
    WebServer::open(config, limits).unwrap_or_else(|failure| panic!("{failure}"))
}

impl WebServer {
    fn ask(&self, key: &str, etag: Option<&str>) -> Result<Fetched, Failure> {
        let deadline = Deadline::after(self.limits.origin_timeout, "limits.origin_timeout");
        self.fetch(key, etag, deadline, &mut 0)
    }

    fn original(&self, key: &str) -> Original {
        match self.ask(key, None) {
            Ok(Fetched::Original(original)) => original,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&self, key: &str) -> Failure {
        self.ask(key, None).unwrap_err()
    }
}

fn web_server(server: &Server) -> WebServer {
    open(&config(server, ""), &testing::limits())
}

fn ok(headers: &str) -> Vec<u8> {
    response("200 OK", headers, b"image")
}

#[test]
fn a_key_is_fetched_with_the_configured_fields() {
    let headers = format!("ETag: \"e\"\r\n{MODIFIED}Cache-Control: max-age=60\r\n");
    let server = Server::answering(move |_| ok(&headers));
    let fields = r#", "headers": {"Authorization": "Bearer hush", "X-Tenant": "a b"}"#;
    let web = open(&config(&server, fields), &testing::limits());
    let original = web.original("a/b.jpg");
    assert_eq!(
        (original.bytes.as_slice(), original.etag.as_deref()),
        (&b"image"[..], Some("\"e\""))
    );
    let date = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
    assert_eq!(original.last_modified, Some(date));
    assert_eq!(original.cache_control, CacheControl::parse("max-age=60"));
    assert!(original.cache_control.is_some());
    let request = server.requests().remove(0);
    let lower = request.to_ascii_lowercase();
    assert!(request.starts_with("GET /base/a/b.jpg HTTP/1.1\r\n"), "{request}");
    for line in
        ["authorization: bearer hush\r\n", "x-tenant: a b\r\n", "accept-encoding: identity\r\n"]
    {
        assert_eq!(lower.matches(line).count(), 1, "{line} in {request}");
    }
    let host = format!("host: {}\r\n", &server.url()["http://".len()..]);
    assert_eq!(lower.matches(&host).count(), 1, "{request}");
}

#[test]
fn keys_stay_below_the_directory_and_choose_no_host() {
    let server = Server::answering(|_| ok(""));
    let web = web_server(&server);
    let mut expected = Vec::new();
    for (key, path) in [
        ("a//b", "a//b"),
        ("/a", "/a"),
        ("//evil.example/a", "//evil.example/a"),
        ("@evil.example/a", "%40evil.example/a"),
        ("http://evil.example/a", "http%3A//evil.example/a"),
        ("a?b=c", "a%3Fb%3Dc"),
        ("a#b", "a%23b"),
        ("a%2fb", "a%252fb"),
        ("a b+c", "a%20b%2Bc"),
        ("é", "%C3%A9"),
        ("a\r\nX: y", "a%0D%0AX%3A%20y"),
        ("...", "..."),
        ("a;b,c", "a%3Bb%2Cc"),
        ("a/", "a/"),
        ("~a._-", "~a._-"),
        ("a:80", "a%3A80"),
        ("\\", "%5C"),
        ("100%", "100%25"),
    ] {
        web.original(key);
        expected.push(format!("/base/{path}"));
    }
    // The paths without a query: nothing became one.
    assert_eq!(server.paths(), expected);
    assert!(server.requests().iter().all(|request| !request.contains("\nX:")));
    for key in [
        "..",
        "a/../b",
        "./a",
        "..\\a",
        "a\\..\\..\\b",
        "%2e%2e/a",
        "a/%2e%2e%2fb",
        "%252e%252e/a",
        "..;/a",
        "a\0b",
    ] {
        assert_eq!(web.refused(key).code, Code::InvalidKey, "{key:?}");
    }
    assert_eq!(server.requests().len(), expected.len());
}

#[test]
fn only_404_and_410_mean_that_there_is_no_such_key() {
    for (status, code, part) in [
        ("404 Not Found", Code::NotFound, "answered 404"),
        ("410 Gone", Code::NotFound, "answered 410"),
        ("401 Unauthorized", Code::OriginError, "answered 401: check handlers[0].http.headers"),
        ("403 Forbidden", Code::OriginError, "answered 403: check handlers[0].http.headers"),
        ("400 Bad Request", Code::OriginError, "answered 400"),
        ("204 No Content", Code::OriginError, "answered 204"),
        ("206 Partial Content", Code::OriginError, "answered 206"),
        ("304 Not Modified", Code::OriginError, "answered 304"),
        ("429 Slow down", Code::OriginError, "answered 429"),
        ("500 Oh", Code::OriginError, "answered 500 twice"),
        ("503 Later", Code::OriginError, "answered 503 twice"),
    ] {
        let server = Server::answering(move |_| response(status, "", b"<html>"));
        let failure = web_server(&server).refused("a");
        assert_eq!(failure.code, code, "{status}");
        assert!(failure.detail.contains(part), "{failure}");
        assert!(failure.detail.starts_with("key \"a\" at http://127.0.0.1:"), "{failure}");
    }
}

#[test]
fn an_original_is_revalidated_by_its_entity_tag_or_its_date() {
    let server = Server::answering(|number| match number {
        0 => ok(&format!("ETag: W/\"e\"\r\n{MODIFIED}{DATE}")),
        1 => ok(&format!("{MODIFIED}{DATE}")),
        _ => response("304 Not Modified", "", b""),
    });
    let web = web_server(&server);
    let [tagged, dated] = ["a", "b"].map(|key| web.original(key));
    assert_eq!(tagged.etag.as_deref(), Some("W/\"e\""));
    assert_eq!(dated.etag.as_deref(), Some("\"s3imageserver-last-modified-1445412480\""));
    for (etag, field) in [
        (&tagged.etag, "\r\nif-none-match: w/\"e\"\r\n"),
        (&dated.etag, "\r\nif-modified-since: wed, 21 oct 2015 07:28:00 gmt\r\n"),
    ] {
        assert_eq!(web.ask("a", etag.as_deref()), Ok(Fetched::Unchanged));
        let request = server.requests().pop().unwrap().to_ascii_lowercase();
        assert!(request.contains(field), "{request}");
        assert_eq!(request.matches("\r\nif-").count(), 1, "{request}");
    }
}

#[test]
fn dates_that_prove_nothing_are_no_validators() {
    for headers in [
        // Without the server's time, or within the same second.
        MODIFIED.to_owned(),
        format!("{MODIFIED}Date: Wed, 21 Oct 2015 07:28:00 GMT\r\n"),
        format!("Last-Modified: yesterday\r\n{DATE}"),
        // The names of the server's own.
        "ETag: \"s3imageserver-last-modified-1\"\r\n".to_owned(),
        "ETag: not-quoted\r\n".to_owned(),
    ] {
        let shown = headers.clone();
        let server = Server::answering(move |_| ok(&headers));
        assert_eq!(web_server(&server).original("a").etag, None, "{shown}");
    }
    for etag in
        ["\"s3imageserver-last-modified-253402300800\"", "\"s3imageserver-last-modified-x\""]
    {
        assert_eq!(date_of(etag), None, "{etag}");
    }
}

#[test]
fn bodies_are_read_whole_or_refused() {
    let whole = |body: &[u8]| response("200 OK", "", body);
    let mut small = testing::limits();
    small.origin_max_bytes = 5;
    for (bytes, code) in [
        (whole(b"123456"), Code::TooLarge),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec(), Code::TooLarge),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n0\r\n\r\n"
                .to_vec(),
            Code::TooLarge,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234".to_vec(), Code::OriginTruncated),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n".to_vec(),
            Code::OriginTruncated,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n1234".to_vec(), Code::OriginError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n1234".to_vec(), Code::OriginError),
        (b"SSH-2.0-x\r\n\r\n".to_vec(), Code::OriginError),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let server = Server::scripted(move |_, stream| {
            let _ = stream.write_all(&bytes);
            false
        });
        let failure = open(&config(&server, ""), &small).refused("a");
        assert_eq!(failure.code, code, "{shown}: {failure}");
    }
    let server = Server::answering(move |_| whole(b"12345"));
    assert_eq!(open(&config(&server, ""), &small).original("a").bytes, b"12345");
}

#[test]
fn content_codings_are_undone() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&[b'x'; 100]).unwrap();
    let bytes = encoder.finish().unwrap();
    let server =
        Server::answering(move |_| response("200 OK", "Content-Encoding: gzip\r\n", &bytes));
    assert_eq!(web_server(&server).original("a").bytes, [b'x'; 100]);
    let mut small = testing::limits();
    small.origin_max_bytes = 99;
    assert_eq!(open(&config(&server, ""), &small).refused("a").code, Code::TooLarge);
}

#[test]
fn a_few_redirects_below_the_directory_are_followed() {
    let redirect = |status: &str, location: &str| {
        response(status, &format!("Location: {location}\r\n"), b"moved")
    };
    let server = Server::answering(move |number| match number {
        0 => redirect("301 Moved", "/base/b?v=1"),
        1 => redirect("302 Found", "c/d"),
        2 => redirect("308 Moved", "e"),
        3 => ok(""),
        _ => redirect("307 Again", "/base/again"),
    });
    let web = web_server(&server);
    web.original("a");
    assert_eq!(server.paths(), ["/base/a", "/base/b", "/base/c/d", "/base/c/e"]);
    assert_eq!(server.connections(), 1, "bodies of redirects are read");
    let failure = web.refused("loop");
    assert_eq!(failure.code, Code::OriginError);
    assert!(failure.detail.contains("answered 307: more than 3 redirects"), "{failure}");
    assert_eq!(server.requests().len(), 8);
}

#[test]
fn the_number_of_redirects_is_as_documented() {
    let sentence = format!("are followed at most {MAX_REDIRECTS} times");
    crate::documents::assert_says("docs/s3.md", &sentence);
}

#[test]
fn redirects_to_other_places_are_not_followed() {
    let elsewhere = Server::answering(|_| ok(""));
    for location in [
        format!("{}/base/a", elsewhere.url()),
        format!("//{}/base/a", &elsewhere.url()["http://".len()..]),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "/other/a".to_owned(),
        "/base/../other/a".to_owned(),
        "\u{e9}".to_owned(),
    ] {
        let server = Server::answering({
            let location = location.clone();
            move |_| response("302 Found", &format!("Location: {location}\r\n"), b"")
        });
        let failure = web_server(&server).refused("a");
        assert_eq!(failure.code, Code::OriginError, "{location}");
        assert!(failure.detail.contains("the server answered 302: a redirect"), "{failure}");
        assert_eq!(server.requests().len(), 1);
    }
    let server = Server::answering(|_| response("302 Found", "", b""));
    let failure = web_server(&server).refused("a");
    assert!(failure.detail.contains("without a valid Location"), "{failure}");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn private_addresses_are_refused_unless_they_are_allowed() {
    let server = Server::answering(|_| ok(""));
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433", "0.0.0.0"]
    {
        let config = testing::http(&format!("\"http://{host}:{port}/\""));
        let failure = open(&config, &testing::limits()).refused("a");
        assert_eq!(failure.code, Code::OriginUnreachable, "{host}: {failure}");
        assert!(
            failure.detail.contains("not public")
                && failure.detail.contains("set handlers[0].http.allow_private to true"),
            "{host}: {failure}"
        );
    }
    assert_eq!(server.connections(), 0);
    let config =
        testing::http(&format!(r#"{{"url": "http://localhost:{port}/", "allow_private": true}}"#));
    open(&config, &testing::limits()).original("a");
}

#[test]
fn a_redirect_takes_no_more_time_than_its_key_has() {
    let server = Server::scripted(|_, stream| {
        std::thread::sleep(Duration::from_millis(300));
        stream.write_all(&response("302 Found", "Location: /base/a\r\n", b"")).is_ok()
    });
    let limits = Limits { origin_timeout: Duration::from_millis(500), ..testing::limits() };
    let started = Instant::now();
    assert_eq!(open(&config(&server, ""), &limits).refused("a").code, Code::OriginTimeout);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn a_probe_needs_a_server_that_tells_missing_keys_apart() {
    let probe = |status: &'static str, key: Option<&str>| {
        let server = Server::answering(move |_| response(status, "", b"12345"));
        let deadline = Deadline::after(Duration::from_secs(10), "limits.origin_timeout");
        let probed = web_server(&server).probe(key, deadline);
        (probed.map_err(|failure| failure.detail), server.paths())
    };
    let (probed, paths) = probe("404 Not Found", None);
    assert!(probed.unwrap().ends_with("/base/ answers"));
    assert_eq!(paths, ["/base/.s3imageserver-check"]);
    assert!(probe("200 OK", None).0.unwrap_err().contains("for a key that does not exist"));
    assert!(probe("403 No", None).0.unwrap_err().contains("answered 403"));
    assert!(probe("200 OK", Some("a")).0.unwrap().ends_with("has 5 bytes"));
    assert!(probe("404 Not Found", Some("a")).0.unwrap_err().contains("answered 404"));
}
