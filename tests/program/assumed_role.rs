//! Roles that credentials assume at STS, whose requests are signed; and requests that a requester pays for.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::images::{self, Image, RED, close};
use crate::support::origin::{self, RawOrigin, Request, object};
use crate::support::s3::{IMAGES, S3};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, merged};

fn image() -> Vec<u8> {
    images::png(images::solid(16, 16, RED))
}

/// The user that may assume the role.
const ACCESS: &str = "AKUSER";
const SECRET: &str = "secret/of+the-user";

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut code = Hmac::<Sha256>::new_from_slice(key).unwrap();
    code.update(text.as_bytes());
    code.finalize().into_bytes().to_vec()
}

/// Whether a request has a valid Signature Version 4 for STS in this region, computed from the fields that it says it
/// signs.
fn is_signed(request: &Request, region: &str, session_token: Option<&str>) -> bool {
    let authorization = request.header("authorization").unwrap_or_default();
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(name)?;
        rest.split(", ").next()
    };
    let time = request.header("x-amz-date").unwrap_or_default();
    let date = time.split('T').next().unwrap();
    let scope = format!("{date}/{region}/sts/aws4_request");
    let signed = part("SignedHeaders=").unwrap_or_default();
    let mut names: Vec<&str> = signed.split(';').collect();
    let is_sorted = names.is_sorted();
    let fields: String = names
        .iter()
        .map(|name| format!("{name}:{}\n", request.header(name).unwrap_or("absent")))
        .collect();
    names.retain(|name| ["host", "x-amz-date", "content-type"].contains(name));
    let body = hexadecimal(&Sha256::digest(&request.body));
    let canonical = format!("{}\n{}\n\n{fields}\n{signed}\n{body}", request.method, request.target);
    let digest = hexadecimal(&Sha256::digest(canonical));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in [date, region, "sts", "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hexadecimal(&hmac(&key, &text));
    is_sorted
        && names.len() == 3
        && request.header("x-amz-security-token") == session_token
        && (session_token.is_none() || signed.contains("x-amz-security-token"))
        && part("Credential=") == Some(&format!("{ACCESS}/{scope}"))
        && part("Signature=") == Some(&signature)
}

/// An STS that gives the account of the bucket, for so many seconds, to requests signed for this region.
fn sts(region: &'static str, session_token: Option<&'static str>, seconds: u64) -> RawOrigin {
    RawOrigin::start(move |request, peer| {
        if !is_signed(request, region, session_token) {
            let body =
                b"<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>";
            return peer.send(&origin::answer(403, &[], body));
        }
        let end = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
        let end = httpdate::fmt_http_date(end);
        // RFC 3339, from "Sun, 06 Nov 1994 08:49:37 GMT".
        let words: Vec<&str> = end.split(' ').collect();
        let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(words[2]).unwrap() / 3 + 1;
        let end = format!("{}-{month:02}-{}T{}Z", words[3], words[1], words[4]);
        let body = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
             <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
             <SessionToken>a+session/token=</SessionToken><Expiration>{end}</Expiration></Credentials>\
             </AssumeRoleResult></AssumeRoleResponse>",
            IMAGES.access, IMAGES.secret
        );
        peer.send(&origin::answer(200, &[("Content-Type", "text/xml")], body.as_bytes()))
    })
}

fn form(request: &Request) -> Vec<(String, String)> {
    let body = String::from_utf8(request.body.clone()).unwrap();
    let decode =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let field =
        |field: &str| field.split_once('=').map(|(name, value)| (decode(name), decode(value)));
    body.split('&').filter_map(field).collect()
}

/// A bucket whose role must be assumed.
fn handler(s3: &S3, name: &str, fields: Value) -> Value {
    let role = json!({
        "role_arn": "arn:aws:iam::123456789012:role/path/images",
        "region": "eu-central-1",
        "aws_access": ACCESS,
        "aws_secret": SECRET,
    });
    json!({"name": name, "aws": merged(merged(s3.aws(&IMAGES), role), fields)})
}

fn start(sts: &RawOrigin, handlers: Value) -> Server {
    Setup::new(json!({"handlers": handlers}))
        .env("AWS_ENDPOINT_URL_STS", format!("http://{}", sts.address()))
        .start()
}

#[test]
fn a_role_is_assumed_once_for_all_handlers_that_need_it() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let sts = sts("eu-central-1", None, 3600);
    let external = json!({"external_id": "a:b/c", "role_session_name": "front-end@1"});
    let handlers = json!([
        handler(&s3, "h", external.clone()),
        handler(&s3, "i", external),
        handler(&s3, "j", json!({})),
    ]);
    let server = start(&sts, handlers);
    for route in ["h", "i", "j", "h"] {
        let answer = server.get(&format!("/{route}/a.png?w=10")).ok();
        assert!(close(Image::decode(&answer.body).at(5, 5), RED), "{route}");
    }
    let mut forms: Vec<_> = sts.requests().iter().map(form).collect();
    forms.sort();
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let common = |session: &str| {
        vec![
            field("Action", "AssumeRole"),
            field("Version", "2011-06-15"),
            field("RoleArn", "arn:aws:iam::123456789012:role/path/images"),
            field("RoleSessionName", session),
        ]
    };
    let mut with_id = common("front-end@1");
    with_id.push(field("ExternalId", "a:b/c"));
    assert_eq!(forms, [with_id, common("s3imageserver")]);
}

#[test]
fn a_role_is_assumed_with_the_credentials_of_the_chain() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let sts = sts("us-east-1", Some("the+token/of=the chain"), 3600);
    let mut aws = s3.aws(&IMAGES);
    for field in ["aws_access", "aws_secret"] {
        aws.as_object_mut().unwrap().remove(field);
    }
    aws["role_arn"] = json!("arn:aws:iam::123456789012:role/images");
    let server = Setup::new(json!({"handlers": [{"name": "h", "aws": aws}]}))
        .env("AWS_ENDPOINT_URL_STS", format!("http://{}", sts.address()))
        .env("AWS_ACCESS_KEY_ID", ACCESS)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_SESSION_TOKEN", "the+token/of=the chain")
        .start();
    server.get("/h/a.png").ok();
    eventually("it is ready", || server.get("/-/ready").status == 200);
}

#[test]
fn the_credentials_of_a_role_are_renewed_before_they_expire() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    // Renewed after three quarters of their time.
    let sts = sts("eu-central-1", None, 4);
    let server = start(&sts, json!([handler(&s3, "h", json!({}))]));
    server.get("/h/a.png").ok();
    sts.wait_for_requests(2);
    server.get("/h/a.png?w=5").ok();
}

#[test]
fn a_role_that_is_refused_is_explained_and_not_ready() {
    let s3 = S3::start();
    let sts = sts("eu-central-1", None, 3600);
    let server = start(&sts, json!([handler(&s3, "h", json!({"aws_secret": "another"}))]));
    server.get("/h/a.png").failed("no_credentials");
    let said = server.log.event("image_failed");
    for part in ["answered 403 (SignatureDoesNotMatch)", "role/path/images"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("another") && !said.contains(SECRET), "{said}");
    eventually("it is not ready", || server.get("/-/ready").status == 503);
    assert_eq!(s3.accepted(), 0);
}

#[test]
fn request_payer_is_part_of_the_signature() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &image());
    let aws = merged(s3.aws(&IMAGES), json!({"request_payer": true}));
    // It verifies the signature over all parameters.
    Server::with_handler(json!({"name": "h", "aws": aws})).get("/h/a.png").ok();

    let origin = RawOrigin::always(object(&image()));
    let with = |fields: Value| json!({"name": "h", "aws": merged(origin.aws(), fields)});
    Server::with_handler(with(json!({"request_payer": true}))).get("/h/a.png").ok();
    Server::with_handler(with(json!({}))).get("/h/a.png").ok();
    let targets: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
    assert!(targets[0].contains("&x-amz-request-payer=requester"), "{}", targets[0]);
    assert!(!targets[1].contains("request-payer"), "{}", targets[1]);
}

#[test]
fn an_object_with_a_customers_key_is_an_error_with_a_reason() {
    let body = "<Error><Code>InvalidRequest</Code><Message>The object was stored using a form of Server Side \
                Encryption. The correct parameters must be provided to retrieve the object.</Message></Error>";
    let origin = RawOrigin::always(origin::answer(400, &[], body.as_bytes()));
    let server = Server::with_handler(origin.handler());
    server.get("/h/a.png").failed("origin_error");
    let said = server.log.event("image_failed");
    assert!(said.contains("SSE-C"), "{said}");
}
