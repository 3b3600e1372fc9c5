//! The S3 origin: signatures, connections, timeouts, and everything that an origin can do wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::directory::Directory;
use crate::support::gate::Gate;
use crate::support::images::{self, RED, size_of};
use crate::support::origin::{self, RawOrigin, Then, object};
use crate::support::s3::{ARCHIVE, IMAGES, S3};
use crate::support::server::{Server, Setup};
use crate::support::unused_port::UnusedPort;
use crate::support::{TIMEOUT, merged};

fn image() -> Vec<u8> {
    images::png(images::solid(40, 30, RED))
}

/// Longer than any request with a timeout takes.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn originals_are_fetched_with_a_signature_that_s3_accepts() {
    let s3 = S3::start();
    s3.put(&IMAGES, "imagesLarge/a.png", &image());
    let aws =
        merged(s3.aws(&IMAGES), json!({"file_path": "imagesLarge", "region": "eu-central-1"}));
    let server = Server::with_handler(json!({"name": "h", "aws": aws}));
    let answer = server.get("/h/a.png?w=20").ok();
    assert_eq!(size_of(&answer.body), (20, 15));
    let stored =
        std::fs::metadata(s3.file(&IMAGES, "imagesLarge/a.png")).unwrap().modified().unwrap();
    assert_eq!(answer.expect("Last-Modified"), httpdate::fmt_http_date(stored));
    assert_eq!(s3.statuses(&IMAGES, "imagesLarge/a.png"), [200], "one request and no more");
}

#[test]
fn the_region_and_the_session_token_are_part_of_the_signature() {
    let origin = RawOrigin::always(object(&image()));
    let with = |fields: Value| json!({"name": "h", "aws": merged(origin.aws(), fields)});
    let fields = json!({"region": "eu-north-1", "session_token": "the+token/of=today"});
    Server::with_handler(with(fields)).get("/h/a.png").ok();
    Server::with_handler(with(json!({}))).get("/h/a.png").ok();
    let [regional, plain] = &origin.requests()[..] else { panic!("two requests") };
    let signed = |request: &origin::Request| {
        let query = request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let text = format!("{query} {}", request.header("authorization").unwrap_or_default());
        let token = request.header("x-amz-security-token").unwrap_or_default();
        percent_encoding::percent_decode_str(&format!("{text} {token}"))
            .decode_utf8()
            .unwrap()
            .into_owned()
    };
    assert!(signed(regional).contains("/eu-north-1/s3/aws4_request"), "{}", signed(regional));
    assert!(signed(regional).contains("the+token/of=today"), "{}", signed(regional));
    assert!(signed(plain).contains("/us-east-1/s3/aws4_request"), "{}", signed(plain));
    assert!(signed(plain).contains("AKRAW/") && !signed(plain).contains("raw-secret"));
}

#[test]
fn an_anonymous_handler_signs_nothing() {
    let origin = RawOrigin::always(object(&image()));
    let endpoint = origin.aws()["endpoint"].clone();
    let aws = json!({"bucket_name": "public", "endpoint": endpoint, "anonymous": true});
    let server = Setup::new(json!({"handlers": [{"name": "h", "aws": aws}]}))
        .env("AWS_ACCESS_KEY_ID", "AKSTRAY")
        .env("AWS_SECRET_ACCESS_KEY", "stray")
        .start();
    server.get("/h/a.png").ok();
    let request = &origin.requests()[0];
    assert_eq!(request.target, "/public/a.png");
    assert_eq!((request.method.as_str(), request.header("authorization")), ("GET", None));
}

#[test]
fn credentials_are_found_in_the_environment_and_the_profile() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let config = with_chain(&s3);
    let server = Setup::new(config.clone())
        .env("AWS_ACCESS_KEY_ID", IMAGES.access)
        .env("AWS_SECRET_ACCESS_KEY", IMAGES.secret)
        .start();
    server.get("/h/a.png").ok();

    let profile = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        IMAGES.access, IMAGES.secret
    );
    let server = Setup::new(config.clone()).file(".aws/credentials", profile.as_bytes()).start();
    server.get("/h/a.png").ok();

    let without = Setup::new(config).start();
    without.get("/h/a.png").failed("no_credentials");
}

/// A handler without credentials.
fn with_chain(s3: &S3) -> Value {
    let mut aws = s3.aws(&IMAGES);
    for field in ["aws_access", "aws_secret"] {
        aws.as_object_mut().unwrap().remove(field);
    }
    json!({"handlers": [{"name": "h", "aws": aws}]})
}

/// STS with these credentials.
fn sts(secret: &str) -> RawOrigin {
    let answer = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>a+session/token=</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
         </AssumeRoleWithWebIdentityResponse>",
        IMAGES.access
    );
    RawOrigin::always(origin::answer(200, &[("Content-Type", "text/xml")], answer.as_bytes()))
}

/// The credentials of a container or an instance.
fn metadata(secret: &str) -> RawOrigin {
    let body = json!({
        "AccessKeyId": IMAGES.access,
        "SecretAccessKey": secret,
        "Token": "a+session/token=",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    RawOrigin::always(origin::answer(
        200,
        &[("Content-Type", "application/json")],
        body.to_string().as_bytes(),
    ))
}

#[test]
fn white_space_around_found_credentials_is_refused_by_name() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let with_line_end = format!("{}\n", IMAGES.secret);
    let sts = sts(&with_line_end);
    let metadata = metadata(&with_line_end);
    let token = Directory::new();
    let token = token.put("token", b"identity");
    let endpoint = format!("http://{}", sts.address());
    let uri = format!("http://{}/credentials", metadata.address());
    let profile = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = \"{} \"\n",
        IMAGES.access, IMAGES.secret
    );
    let setup = || Setup::new(with_chain(&s3));
    for (setup, names) in [
        (
            setup()
                .env("AWS_ACCESS_KEY_ID", IMAGES.access)
                .env("AWS_SECRET_ACCESS_KEY", &*with_line_end),
            vec!["environment: AWS_SECRET_ACCESS_KEY "],
        ),
        (
            setup()
                .env("AWS_ACCESS_KEY_ID", format!("{}\r", IMAGES.access))
                .env("AWS_SECRET_ACCESS_KEY", IMAGES.secret),
            vec!["environment: AWS_ACCESS_KEY_ID "],
        ),
        (
            setup()
                .env("AWS_ACCESS_KEY_ID", IMAGES.access)
                .env("AWS_SECRET_ACCESS_KEY", IMAGES.secret)
                .env("AWS_SESSION_TOKEN", " hush"),
            vec!["environment: AWS_SESSION_TOKEN "],
        ),
        (
            setup().file(".aws/credentials", profile.as_bytes()),
            vec!["profile: ~/.aws/credentials", "aws_secret_access_key "],
        ),
        (
            setup()
                .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/images")
                .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap())
                .env("AWS_ENDPOINT_URL_STS", &*endpoint),
            vec!["web identity: ", "SecretAccessKey "],
        ),
        (
            setup().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*uri),
            vec!["container: ", "SecretAccessKey "],
        ),
        (
            setup()
                .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*uri)
                .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hush\n"),
            vec!["container: ", "AWS_CONTAINER_AUTHORIZATION_TOKEN "],
        ),
    ] {
        let server = setup.start();
        server.get("/h/a.png").failed("no_credentials");
        let said = server.log.event_with("image_failed", "no_credentials");
        for name in names {
            assert!(said.contains(name), "{name}: {said}");
        }
        assert!(said.contains("begins or ends with white space"), "{said}");
        assert!(!said.contains(IMAGES.secret) && !said.contains("hush"), "{said}");
    }
    assert_eq!(s3.accepted(), 0, "nothing is signed");
}

#[test]
fn files_of_credentials_may_end_in_a_line_end() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let directory = Directory::new();
    let token = directory.put("token", b"the-token\r\n");
    let token = token.to_str().unwrap();
    let profile = format!(
        "[default]\r\naws_access_key_id = {} \r\naws_secret_access_key =\t{}\t\r\n\r\n",
        IMAGES.access, IMAGES.secret
    );
    Setup::new(with_chain(&s3))
        .file(".aws/credentials", profile.as_bytes())
        .start()
        .get("/h/a.png")
        .ok();

    let sts = sts(IMAGES.secret);
    Setup::new(with_chain(&s3))
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/images")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token)
        .env("AWS_ENDPOINT_URL_STS", format!("http://{}", sts.address()))
        .start()
        .get("/h/a.png")
        .ok();
    let body = String::from_utf8(sts.requests().remove(0).body).unwrap();
    assert!(body.ends_with("&WebIdentityToken=the%2Dtoken"), "{body}");

    let metadata = metadata(IMAGES.secret);
    Setup::new(with_chain(&s3))
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/x", metadata.address()))
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
        .start()
        .get("/h/a.png")
        .ok();
    assert_eq!(metadata.requests()[0].header("authorization"), Some("the-token"));
}

#[test]
fn a_web_identity_is_exchanged_for_credentials() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let sts = sts(IMAGES.secret);
    let directory = Directory::new();
    let token = directory.put("token", b"the-identity-token");
    let server = Setup::new(with_chain(&s3))
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/images")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap())
        .env("AWS_ENDPOINT_URL_STS", format!("http://{}", sts.address()))
        .start();
    for width in 1..=5 {
        server.get(&format!("/h/a.png?w={width}")).ok();
    }
    let [request] = &sts.requests()[..] else {
        panic!("{} requests instead of one", sts.requests().len())
    };
    let asked = format!("{}&{}", request.target, String::from_utf8_lossy(&request.body));
    let asked = percent_encoding::percent_decode_str(&asked).decode_utf8().unwrap();
    for part in ["Action=AssumeRoleWithWebIdentity", "=the-identity-token", "role/images"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[test]
fn uncached_requests_reuse_origin_connections() {
    let s3 = S3::start();
    for n in 0..1000 {
        s3.put(&IMAGES, &format!("{n}.png"), &images::png(images::solid(4, 4, RED)));
    }
    let server = Server::with_handler(s3.handler());
    std::thread::scope(|scope| {
        for part in 0..4 {
            let mut client = server.client();
            scope.spawn(move || {
                for n in (part..1000).step_by(4) {
                    client.get(&format!("/h/{n}.png")).ok();
                }
            });
        }
    });
    assert_eq!(s3.requests().len(), 1000);
    assert!(s3.requests().values().all(|count| *count == 1), "each is fetched once");
    assert!(s3.accepted() <= 8, "{} connections for 4 clients", s3.accepted());
}

#[test]
fn an_origin_that_is_down_and_comes_back_is_used_again() {
    let mut s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let server = Server::with_handler(s3.handler());
    s3.stop();
    server.get("/h/a.png?w=1").failed("origin_unreachable");
    s3.restart();
    server.get("/h/a.png?w=1").ok();
    // The restart closed the kept connection; the client does not notice.
    s3.restart();
    server.get("/h/a.png?w=2").ok();
}

#[test]
fn a_host_name_that_can_not_be_resolved_is_a_failure() {
    let aws = json!({
        "bucket_name": "b",
        "endpoint": "http://nowhere.invalid:1",
        "aws_access": "a",
        "aws_secret": "s",
    });
    let server = Server::with_handler(json!({"name": "h", "aws": aws}));
    server.get("/h/a.png").failed("origin_unreachable");
}

#[test]
fn origin_connect_timeout_bounds_connecting() {
    // A listener that never accepts, with a queue that is full: further connections hang.
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let address = std::net::SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let waiting: Vec<_> = std::iter::from_fn(|| connect().ok()).take(64).collect();
    assert!(waiting.len() < 64, "the queue never filled");

    let aws = json!({"bucket_name": "b", "endpoint": format!("http://{address}"), "aws_access": "a", "aws_secret": "s"});
    let server = Server::with_limits(
        json!({"name": "h", "aws": aws}),
        json!({"origin_connect_timeout": 0.4}),
    );
    let started = Instant::now();
    server.get("/h/a.png").failed("origin_timeout");
    assert!(
        started.elapsed() >= Duration::from_millis(400) && started.elapsed() < LONG,
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn origin_first_byte_timeout_bounds_the_response_head_without_a_retry() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::start(move |_, _| {
        held.pass();
        Then::Close
    });
    let server = Server::with_limits(origin.handler(), json!({"origin_first_byte_timeout": 0.5}));
    let started = Instant::now();
    server.get("/h/a.png").failed("origin_timeout");
    assert!(
        started.elapsed() >= Duration::from_millis(500) && started.elapsed() < LONG,
        "{:?}",
        started.elapsed()
    );
    assert_eq!(origin.requests().len(), 1, "a timeout is not retried");
    gate.open();
}

#[test]
fn origin_timeout_bounds_the_whole_object() {
    // The origin never stops sending, a byte at a time.
    let gone = Arc::new(AtomicBool::new(false));
    let seen = gone.clone();
    let origin = RawOrigin::start(move |_, peer| {
        let mut going = peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").is_ok();
        let started = Instant::now();
        while going && started.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
            going = peer.write(&[0x89]).is_ok();
        }
        seen.store(!going, Ordering::SeqCst);
        Then::Close
    });
    let server = Server::with_limits(origin.handler(), json!({"origin_timeout": 0.8}));
    let started = Instant::now();
    server.get("/h/a.png").failed("origin_timeout");
    assert!(
        started.elapsed() >= Duration::from_millis(800) && started.elapsed() < LONG,
        "{:?}",
        started.elapsed()
    );
    crate::support::eventually("the connection is closed", || gone.load(Ordering::SeqCst));
}

#[test]
fn an_original_above_the_size_limit_is_not_read() {
    let origin = RawOrigin::start(|request, peer| match request.path().as_str() {
        "/bucket/small" => peer.send(&object(&image())),
        "/bucket/announced" => {
            let _ = peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
            // No body follows: only Content-Length can be the reason.
            let _ = std::io::Read::read(peer, &mut [0; 1]);
            Then::Close
        }
        "/bucket/chunked" => {
            let _ = peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while peer.write(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes()).is_ok() {}
            Then::Close
        }
        "/bucket/until-close" => {
            let _ = peer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while peer.write(&[b'x'; 1024]).is_ok() {}
            Then::Close
        }
        _ => unreachable!(),
    });
    let server = Server::with_limits(origin.handler(), json!({"origin_max_bytes": 10_000}));
    for key in ["announced", "chunked"] {
        server.get(&format!("/h/{key}")).failed("too_large");
    }
    // Without a length, a truncated body can not be detected, so it is refused.
    let endless = server.get("/h/until-close");
    assert_eq!(endless.status, 404);
    assert!(
        ["too_large", "origin_error"].contains(&endless.expect("X-Error")),
        "{:?}",
        endless.headers
    );
    server.get("/h/small").ok();
}

#[test]
fn an_original_of_exactly_the_size_limit_is_read() {
    let exact = image();
    let origin = RawOrigin::always(object(&exact));
    let limit = exact.len();
    Server::with_limits(origin.handler(), json!({"origin_max_bytes": limit})).get("/h/a.png").ok();
    Server::with_limits(origin.handler(), json!({"origin_max_bytes": limit - 1}))
        .get("/h/a.png")
        .failed("too_large");
}

#[test]
fn a_truncated_body_is_a_failure() {
    let whole = image();
    let origin = RawOrigin::start(move |request, peer| {
        let _ = match request.path().as_str() {
            // Every byte of the image, but fewer than Content-Length.
            "/bucket/padded" => peer
                .write(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len() + 1)
                        .as_bytes(),
                )
                .and_then(|()| peer.write(&whole)),
            "/bucket/half" => peer
                .write(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len())
                        .as_bytes(),
                )
                .and_then(|()| peer.write(&whole[..whole.len() / 2])),
            "/bucket/chunked" => peer
                .write(
                    format!(
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                        whole.len()
                    )
                    .as_bytes(),
                )
                .and_then(|()| peer.write(&whole)),
            "/bucket/nothing" => peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
            _ => unreachable!(),
        };
        Then::Close
    });
    let cache = Directory::new();
    let server =
        Server::with_handler(merged(origin.handler(), json!({"cache_path": cache.path()})));
    for key in ["padded", "half", "chunked", "nothing"] {
        server.get(&format!("/h/{key}")).failed("origin_truncated");
    }
    assert_eq!(cache.files(), Vec::<std::path::PathBuf>::new(), "a failure is not stored");
}

#[test]
fn forbidden_and_missing_objects_are_not_found_and_not_retried() {
    let origin = RawOrigin::start(|request, peer| {
        let status = request.path().trim_start_matches("/bucket/").parse().unwrap();
        peer.send(&origin::answer(status, &[("Content-Type", "application/xml")], b"<Error/>"))
    });
    let server = Server::with_handler(origin.handler());
    for status in [403, 404] {
        server.get(&format!("/h/{status}")).failed("not_found");
    }
    assert_eq!(origin.requests().len(), 2, "neither is retried");
    server.get("/h/400").failed("origin_error");
    assert_eq!(origin.requests().len(), 3, "only a server's error is retried");
}

#[test]
fn wrong_credentials_are_an_origin_error_and_those_of_another_account_not_found() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let wrong_secret = merged(s3.aws(&IMAGES), json!({"aws_secret": "not-the-secret-of-this-key"}));
    let unknown = merged(s3.aws(&IMAGES), json!({"aws_access": "AKUNKNOWN"}));
    let foreign = merged(
        s3.aws(&IMAGES),
        json!({"aws_access": ARCHIVE.access, "aws_secret": ARCHIVE.secret}),
    );
    for (aws, code, event) in [
        (wrong_secret, "origin_error", "image_failed"),
        (unknown, "not_found", "origin_access_denied"),
        (foreign, "not_found", "origin_access_denied"),
    ] {
        let server = Server::with_handler(json!({"name": "h", "aws": aws}));
        server.get("/h/a.png").failed(code);
        server.log.event(event);
        server.log.access("/h/a.png");
        let log = server.log.lines().join("\n");
        for secret in
            ["not-the-secret-of-this-key", IMAGES.secret, ARCHIVE.secret, "X-Amz-Signature"]
        {
            assert!(!log.contains(secret), "{secret} is in the log: {log}");
        }
    }
    assert_eq!(s3.statuses(&IMAGES, "a.png"), [403, 403, 403]);
}

#[test]
fn a_server_error_is_retried_once() {
    let origin = RawOrigin::start(|request, peer| {
        let answer = match (request.path().as_str(), request.number % 2) {
            ("/bucket/once", 0) => {
                origin::answer(500, &[], b"<Error><Code>InternalError</Code></Error>")
            }
            ("/bucket/slow-down", 0) => {
                origin::answer(503, &[], b"<Error><Code>SlowDown</Code></Error>")
            }
            ("/bucket/always", _) => origin::answer(500, &[], b""),
            _ => object(&image()),
        };
        peer.send(&answer)
    });
    let server = Server::with_handler(origin.handler());
    server.get("/h/once").ok();
    assert_eq!(origin.requests().len(), 2);
    server.get("/h/slow-down").ok();
    assert_eq!(origin.requests().len(), 4);
    server.get("/h/always").failed("origin_error");
    assert_eq!(origin.requests().len(), 6, "one retry and no more");
}

#[test]
fn a_connection_that_died_is_retried_once() {
    // Says that it keeps the connection and closes it after the answer.
    let fickle = RawOrigin::start(|_, peer| {
        peer.send(&object(&image()));
        Then::Close
    });
    let server = Server::with_handler(fickle.handler());
    let mut client = server.client();
    for width in 1..=10 {
        client.get(&format!("/h/a.png?w={width}")).ok();
    }

    let once = RawOrigin::start(|request, peer| match request.number {
        0 => peer.reset(),
        _ => peer.send(&object(&image())),
    });
    let server = Server::with_handler(once.handler());
    server.get("/h/a.png").ok();
    assert_eq!(once.requests().len(), 2);

    let always = RawOrigin::start(|_, peer| peer.reset());
    let server = Server::with_handler(always.handler());
    server.get("/h/a.png").failed("origin_unreachable");
    assert_eq!(always.requests().len(), 2, "one retry and no more");
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = RawOrigin::always(object(&image()));
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://{}/bucket/a.png", elsewhere.address());
        let origin = RawOrigin::always(origin::answer(status, &[("Location", &location)], b""));
        let server = Server::with_handler(origin.handler());
        let answer = server.get("/h/a.png");
        assert_eq!(answer.status, 404, "{status}");
        assert!(
            ["origin_error", "wrong_region"].contains(&answer.expect("X-Error")),
            "{:?}",
            answer.headers
        );
        assert_eq!(origin.requests().len(), 1, "{status}");
    }
    assert_eq!(elsewhere.accepted(), 0, "signed requests must not be carried elsewhere");
}

#[test]
fn a_wrong_region_is_named_in_the_log() {
    let moved = "<Error><Code>PermanentRedirect</Code><Endpoint>x</Endpoint></Error>";
    let malformed = "<?xml version=\"1.0\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization \
                     header is malformed; the region 'us-east-1' is wrong; expecting 'ap-south-1'</Message>\
                     <Region>ap-south-1</Region></Error>";
    let answers = [
        origin::answer(301, &[("x-amz-bucket-region", "ap-south-1")], moved.as_bytes()),
        origin::answer(400, &[("x-amz-bucket-region", "ap-south-1")], malformed.as_bytes()),
        origin::answer(400, &[], malformed.as_bytes()),
    ];
    for answer in answers {
        let origin = RawOrigin::always(answer);
        let server = Server::with_handler(origin.handler());
        server.get("/h/a.png").failed("wrong_region");
        let line = server.log.event_with("image_failed", "ap-south-1");
        assert!(line.contains("region"), "{line}");
        assert_eq!(origin.requests().len(), 1);
    }
}

#[test]
fn a_response_that_is_not_http_is_a_failure() {
    let answers: [&[u8]; 5] = [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"\0\0\0\0",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n0123456789",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ];
    for bytes in answers {
        let origin = RawOrigin::start(move |_, peer| {
            let _ = peer.write(bytes);
            Then::Close
        });
        let server = Server::with_handler(origin.handler());
        let answer = server.get("/h/a.png");
        assert_eq!(answer.status, 404, "{bytes:?}");
        assert!(answer.header("X-Error").is_some(), "{bytes:?}");
    }
    let endless_head = RawOrigin::start(|_, peer| {
        let _ = peer.write(b"HTTP/1.1 200 OK\r\n");
        while peer.write(b"X-More: and more, and more, and more\r\n").is_ok() {}
        Then::Close
    });
    let server = Server::with_handler(endless_head.handler());
    assert_eq!(server.get("/h/a.png").status, 404);
}

#[test]
fn ca_file_is_needed_for_a_private_certificate_authority() {
    let certificates = Certificates::new();
    let strangers = Certificates::new();
    let origin =
        RawOrigin::start_tls(certificates.server(), |_, peer| peer.send(&object(&image())));
    let directory = Directory::new();
    let ca = directory.put("ca.pem", certificates.root_pem.as_bytes());
    let stranger = directory.put("stranger.pem", strangers.root_pem.as_bytes());
    let handler = |aws: Value| json!({"name": "h", "aws": merged(origin.aws(), aws)});

    Server::with_handler(handler(json!({}))).get("/h/a.png").failed("origin_unreachable");
    Server::with_handler(handler(json!({"ca_file": stranger})))
        .get("/h/a.png")
        .failed("origin_unreachable");
    assert_eq!(origin.requests().len(), 0, "nothing is said to a server that is not trusted");

    let server = Server::with_handler(handler(json!({"ca_file": ca})));
    let before = origin.accepted();
    let mut client = server.client();
    for width in 1..=20 {
        client.get(&format!("/h/a.png?w={width}")).ok();
    }
    assert!(
        origin.accepted() - before <= 2,
        "{} handshakes for 20 requests",
        origin.accepted() - before
    );
}

#[test]
fn proxies_named_in_the_environment_are_not_used() {
    let origin = RawOrigin::always(object(&image()));
    let proxy = UnusedPort::new();
    let proxy = format!("http://{}", proxy.address());
    let server = Setup::new(json!({"handlers": [origin.handler()]}))
        .env("HTTP_PROXY", proxy.clone())
        .env("http_proxy", proxy.clone())
        .env("ALL_PROXY", proxy)
        .start();
    server.get("/h/a.png").ok();
}
