//! `--check --online`: what an operator learns about credentials, bucket, region and endpoint.

use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::directory::Directory;
use crate::support::images::{self, RED};
use crate::support::merged;
use crate::support::origin::{RawOrigin, Then, answer};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{PROGRAM, command, run};
use crate::support::unused_port::UnusedPort;

struct Checked {
    status: Option<i32>,
    out: String,
    /// Standard error.
    said: String,
}

fn check_all(handlers: &Value, arguments: &[&str], environment: &[(&str, &str)]) -> Checked {
    let config = json!({
        "handlers": handlers,
        "limits": {"origin_connect_timeout": 5, "origin_first_byte_timeout": 1},
    });
    let directory = Directory::new().with("config.json", config.to_string().as_bytes());
    let mut command = command(Path::new(PROGRAM), directory.path());
    command.args(["--check", "--online"]).args(arguments).envs(environment.iter().copied());
    let output = run(&mut command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Checked { status: output.status.code(), out: text(output.stdout), said: text(output.stderr) }
}

fn check(aws: Value) -> Checked {
    check_all(&json!([{"name": "h", "aws": aws}]), &[], &[])
}

/// Fails unless the check says this about the bucket.
#[track_caller]
fn expect_wrong(checked: &Checked, part: &str) {
    let Checked { status, out, said } = checked;
    assert_eq!(*status, Some(1), "{out}{said}");
    assert!(said.contains("config.json:1:") && said.contains(": handlers[0].aws: "), "{said}");
    assert!(said.contains(part), "no {part:?} in {said}");
    assert!(out.is_empty() && !said.contains("panicked"), "{out}{said}");
    assert!(!said.contains("secret/of") && !said.contains("raw-secret"), "{said}");
}

#[test]
fn check_online_accepts_a_bucket_that_answers() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a b.png", &images::png(images::solid(8, 8, RED)));
    let directory = Directory::new();
    let handlers = json!([{"name": "h", "aws": s3.aws(&IMAGES)}, directory.handler()]);
    let handlers = json!([handlers[0], merged(handlers[1].clone(), json!({"name": "d"}))]);
    let checked = check_all(&handlers, &[], &[]);
    assert_eq!(checked.status, Some(0), "{}", checked.said);
    for start in ["handlers[0]: bucket ", "handlers[1]: /"] {
        assert!(checked.out.lines().any(|line| line.starts_with(start)), "{}", checked.out);
    }
    // Nothing but one GET for a key that need not exist.
    assert_eq!(s3.requests().values().sum::<usize>(), 1, "{:?}", s3.requests());

    let checked = check_all(&handlers, &["/h/a%20b.png"], &[]);
    assert_eq!(checked.status, Some(0), "{}", checked.said);
    assert!(checked.out.contains("a b.png"), "{}", checked.out);
    assert_eq!(checked.out.lines().count(), 1, "{}", checked.out);
    let checked = check_all(&handlers, &["/h/missing.png"], &[]);
    expect_wrong(&checked, "404 (NoSuchKey)");
    for target in ["/x/a.png", "a.png", "/h/../a"] {
        let checked = check_all(&handlers, &[target], &[]);
        assert_eq!(checked.status, Some(2), "{target}: {}", checked.said);
    }
}

#[test]
fn check_online_tells_wrong_credentials_apart() {
    let s3 = S3::start();
    let aws = |fields: Value| check(merged(s3.aws(&IMAGES), fields));
    expect_wrong(
        &aws(json!({"aws_secret": "another"})),
        "(SignatureDoesNotMatch): the secret does not",
    );
    // The server in these tests has one code for an unknown key and for a key without permission.
    expect_wrong(&aws(json!({"aws_access": "UNKNOWN"})), "answered 403 (");
    let foreign = check(merged(s3.aws(&IMAGES), json!({"bucket_name": ARCHIVE.name})));
    expect_wrong(&foreign, "(AccessDenied): the credentials may not read it");
    expect_wrong(&foreign, "name a key that exists: --check --online /HANDLER/KEY");
    // Nothing is configured: the environment has no credentials either.
    let endpoint = s3.aws(&IMAGES)["endpoint"].clone();
    let chain = json!({"bucket_name": IMAGES.name, "endpoint": endpoint});
    expect_wrong(
        &check(chain.clone()),
        "no credentials found: environment: AWS_ACCESS_KEY_ID is not set",
    );
    let environment =
        [("AWS_ACCESS_KEY_ID", IMAGES.access), ("AWS_SECRET_ACCESS_KEY", IMAGES.secret)];
    let checked = check_all(&json!([{"name": "h", "aws": chain}]), &[], &environment);
    assert_eq!(checked.status, Some(0), "{}", checked.said);
}

/// An origin that answers with this status and XML.
fn refusing(status: u16, code: &str, more: &str) -> RawOrigin {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code>{more}</Error>");
    RawOrigin::always(answer(status, &[("Content-Type", "application/xml")], body.as_bytes()))
}

#[test]
fn check_online_explains_what_s3_answers() {
    let region = "<Region>eu-west-1</Region>";
    let set_region = "set handlers[0].aws.region to \"eu-west-1\"";
    for (status, code, more, part) in [
        (403, "InvalidAccessKeyId", "", "the access key does not exist"),
        (403, "RequestTimeTooSkewed", "", "clocks"),
        (400, "ExpiredToken", "", "the session token has expired"),
        (400, "AuthorizationHeaderMalformed", region, set_region),
        (301, "PermanentRedirect", "<Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint>", set_region),
        (404, "NoSuchBucket", "", "the bucket does not exist"),
        (503, "SlowDown", "", "answered 503 (SlowDown)"),
    ] {
        let origin = refusing(status, code, more);
        expect_wrong(&check(origin.aws()), part);
    }
    let origin = refusing(404, "NoSuchKey", "");
    assert_eq!(check(origin.aws()).status, Some(0));
}

#[test]
fn check_online_explains_an_endpoint_that_is_no_s3_server() {
    let unused = UnusedPort::new();
    let at = |endpoint: &str| {
        check(json!({
            "bucket_name": "b", "aws_access": "a", "aws_secret": "s", "endpoint": endpoint,
        }))
    };
    expect_wrong(&at("http://no-such-host.invalid"), "no-such-host.invalid can't be resolved");
    expect_wrong(&at(&format!("http://{}", unused.address())), "can't be reached: ");
    // Web servers.
    for (status, body) in
        [(200, "<html>Welcome</html>"), (404, "<html>Not found</html>"), (200, "")]
    {
        let origin = RawOrigin::always(answer(status, &[], body.as_bytes()));
        expect_wrong(&check(origin.aws()), "as no S3 server does");
    }
    // HTTP for HTTPS, HTTPS for HTTP, and an untrusted certificate.
    let plain = RawOrigin::always(answer(404, &[], b""));
    expect_wrong(&at(&format!("https://{}", plain.address())), "can't be reached: ");
    let certificates = Certificates::new();
    let tls = RawOrigin::start_tls(certificates.server(), |_, _| Then::Close);
    expect_wrong(&check(tls.aws()), "certificate is not trusted");
    expect_wrong(&at(&format!("http://{}", tls.address())), "handlers[0].aws: ");
    // A server that never answers, and one that is not HTTP.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    expect_wrong(&at(&format!("http://{address}")), "limits.origin_first_byte_timeout");
    let other = RawOrigin::always(b"220 mail.example.com ESMTP\r\n".to_vec());
    expect_wrong(&check(other.aws()), "no valid response");
}

#[test]
fn check_without_online_sends_no_request() {
    let s3 = S3::start();
    let config = json!({"handlers": [{"name": "h", "aws": s3.aws(&IMAGES)}]});
    let directory = Directory::new().with("config.json", config.to_string().as_bytes());
    let output = run(command(Path::new(PROGRAM), directory.path()).arg("--check"));
    assert!(output.status.success());
    assert_eq!(s3.accepted(), 0);
}

#[test]
fn check_online_tries_a_results_bucket_and_leaves_nothing() {
    let (s3, results) = (S3::start(), S3::start());
    let cache = Directory::new();
    let with = |bucket: Value| {
        let fields = json!({"cache_path": cache.path(), "results": bucket});
        check_all(&json!([merged(s3.handler(), fields)]), &[], &[])
    };
    let checked = with(results.aws(&ARCHIVE));
    assert_eq!(checked.status, Some(0), "{}", checked.said);
    let said = "handlers[0]: bucket archive: results can be written, read, listed and removed: ok";
    assert!(checked.out.lines().any(|line| line == said), "{}", checked.out);
    for (method, status) in [("PUT", 200), ("DELETE", 204)] {
        let answered = results.answered(&ARCHIVE, method);
        assert!(
            matches!(&answered[..], [(key, known)] if key.starts_with("v1/check/") && *known == status)
        );
    }
    let [(key, _)] = &results.answered(&ARCHIVE, "PUT")[..] else { panic!("one object") };
    assert!(!results.file(&ARCHIVE, key).exists(), "{key}");

    let wrong = |bucket: Value, part: &str| {
        let Checked { status, out, said } = with(bucket);
        assert_eq!(status, Some(1), "{out}{said}");
        assert!(said.contains(": handlers[0].results: ") && said.contains(part), "{said}");
        assert!(out.starts_with("handlers[0]: bucket images"), "{out}");
        assert!(!said.contains("secret/of"), "{said}");
    };
    let aws = |fields: Value| merged(results.aws(&ARCHIVE), fields);
    wrong(aws(json!({"aws_secret": "another"})), "SignatureDoesNotMatch");
    wrong(aws(json!({"bucket_name": IMAGES.name})), "AccessDenied");
    let unused = UnusedPort::new();
    wrong(aws(json!({"endpoint": format!("http://{}", unused.address())})), "can't be reached");
    // A bucket that may only be read.
    let read_only = RawOrigin::start(|request, peer| {
        let (status, code) =
            if request.method == "GET" { (404, "NoSuchKey") } else { (403, "AccessDenied") };
        let body = format!("<Error><Code>{code}</Code></Error>");
        peer.send(&answer(status, &[], body.as_bytes()))
    });
    wrong(read_only.aws(), "the credentials lack the permission s3:PutObject");
}
