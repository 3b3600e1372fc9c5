use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::super::tests::{error_of, parse};
use super::super::{Environment, read};
use super::*;
use crate::documents::assert_says;

fn text(fields: &str) -> String {
    format!(
        r#"{{"handlers": [{{"name": "h", "aws": {{"bucket_name": "b", "anonymous": true}}, {fields}}}]}}"#
    )
}

fn cdn(fields: &str) -> Cdn {
    parse(&text(fields)).handlers.remove(0).cdn
}

#[track_caller]
fn assert_error(fields: &str, expected: &str) {
    let error = error_of(&text(fields));
    assert!(error.starts_with(&format!("handlers[0].{expected}")), "{fields}: {error}");
}

#[test]
fn without_the_fields_nothing_is_sent() {
    let Cdn { cache_tags, cache_policy, headers, purge_hook } = cdn(r#""cache_time": 5"#);
    assert!(cache_tags.is_none() && headers.is_empty() && purge_hook.is_none());
    assert_eq!(cache_policy, CachePolicy::CacheTime);
}

#[test]
fn tags_are_separated_as_their_field_requires() {
    for (name, separator) in [
        ("Surrogate-Key", " "),
        ("surrogate-key", " "),
        ("xkey", " "),
        ("Cache-Tag", ","),
        ("X", ","),
    ] {
        let tags = cdn(&format!(r#""cache_tags": "{name}""#)).cache_tags.unwrap();
        let value = tags.value("h", "a/b");
        assert_eq!(value.split(separator).count(), 3, "{name}: {value}");
        assert!(value.split(separator).all(|tag| tag.len() == cache_tag::LENGTH), "{value}");
    }
}

#[test]
fn hostile_names_and_values_of_response_fields_are_refused() {
    for (field, expected) in [
        (r#""X-A": "1\r\nSet-Cookie: a=b""#, "X-A: must be ASCII without line breaks"),
        (r#""X-A": "a\u0000b""#, "X-A: must be ASCII without line breaks"),
        (r#""X-A": "ü""#, "X-A: must be ASCII"),
        (r#""X-A": """#, "X-A: must not be empty"),
        (r#""X-A": "1\n""#, "X-A: begins or ends with white space"),
        (r#""X-A": 1"#, "X-A: must be a string, not a number"),
        (r#""X A": "1""#, "X A: must be a field name"),
        (r#""X-A:": "1""#, "X-A:: must be a field name"),
        (r#""": "1""#, ": must be a field name"),
        (r#""Set-Cookie": "a=b""#, "Set-Cookie: must not be set"),
        (r#""connection": "close""#, "connection: is about the connection"),
        (r#""Transfer-Encoding": "chunked""#, "Transfer-Encoding: is about the connection"),
        (r#""ETag": "x""#, "ETag: is a field that the server sends itself"),
        (r#""Vary": "Accept""#, "Vary: is a field that the server sends itself"),
        (
            r#""Access-Control-Allow-Origin": "*""#,
            "Access-Control-Allow-Origin: has a field of its own",
        ),
        (r#""CDN-Cache-Control": "max-age=9""#, "CDN-Cache-Control: tells caches how long"),
        (r#""Surrogate-Control": "max-age=9""#, "Surrogate-Control: tells caches how long"),
        (r#""X-Accel-Expires": "9""#, "X-Accel-Expires: tells caches how long"),
        (r#""Expires": "0""#, "Expires: tells caches how long"),
        (r#""x-a": "1", "X-A": "2""#, "X-A: occurs twice"),
    ] {
        assert_error(&format!(r#""headers": {{{field}}}"#), &format!("headers.{expected}"));
    }
    let many: Vec<String> = (0..33).map(|number| format!(r#""X-{number}": "1""#)).collect();
    assert_error(&format!(r#""headers": {{{}}}"#, many.join(",")), "headers: must have at most 32");
    let long = format!(r#""headers": {{"X-A": "{}"}}"#, "a".repeat(5000));
    assert_error(&long, "headers: must have at most 4096 bytes together, not 5007");
    for (name, expected) in [
        ("", "cache_tags: must not be empty"),
        ("A B", "cache_tags: must be a field name"),
        ("Cache-Control", "cache_tags: tells caches how long"),
        ("X-Cache", "cache_tags: is a field that the server sends itself"),
    ] {
        assert_error(&format!(r#""cache_tags": "{name}""#), expected);
    }
    let twice = r#""cache_tags": "Cache-Tag", "headers": {"cache-tag": "a"}"#;
    assert_error(twice, "headers.cache-tag: is the field of cache_tags");
}

#[test]
fn each_field_that_the_server_sends_is_refused() {
    fn names(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names(&path, found);
                continue;
            }
            let source = fs::read_to_string(path).unwrap_or_default();
            let calls = source.split(".with(").skip(1);
            let name = |rest: &str| {
                let name = rest.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned();
                name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(name)
            };
            found.extend(calls.filter_map(name));
        }
    }
    let mut found = BTreeSet::new();
    names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/edge"), &mut found);
    assert!(found.len() > 15, "{found:?}");
    // Those of every response: `Response::write_head`.
    let always = [
        "Server",
        "Date",
        "X-Content-Type-Options",
        "Content-Security-Policy",
        "X-Request-Id",
        "Strict-Transport-Security",
        "Content-Length",
        "Connection",
    ];
    found.extend(always.map(str::to_owned));
    let allowed: Vec<&String> =
        found.iter().filter(|name| field::name_problem(name).is_none()).collect();
    assert!(allowed.is_empty(), "{allowed:?}");
}

#[test]
fn an_error_never_repeats_the_value_of_a_variable() {
    let text = text(
        r#""headers": {"X-A": "$SECRET"}, "purge_hook": {"url": "http://a/", "headers": {"B": "$SECRET"}}"#,
    );
    let read = |secret: &'static str| {
        read(&text, "c", None, |value| Environment::read(value, &|_: &str| Some(secret.into())))
    };
    for secret in ["hush\r\nhush", "hush\u{fc}", "hush "] {
        let error = read(secret).unwrap_err().to_string();
        assert!(error.contains("X-A") && !error.contains("hush"), "{error}");
    }
    // A brace of a variable is one of the template, too.
    let error = read("{hush}").unwrap_err().to_string();
    assert!(error.contains("purge_hook.headers.B: ") && !error.contains("hush"), "{error}");
    let config = read("hush-hush").unwrap();
    let cdn = &config.handlers[0].cdn;
    assert_eq!(cdn.headers, [("X-A".to_owned(), "hush-hush".to_owned())]);
    let shown = format!("{:?}", cdn.purge_hook);
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn strings_of_a_body_may_come_from_the_environment() {
    let body = r#"{"a": ["$VALUE", 1, {"$VALUE": "$$x", "b": "x$VALUE"}]}"#;
    let text = text(&format!(r#""purge_hook": {{"url": "http://a/", "body": {body}}}"#));
    let config =
        read(&text, "c", None, |value| Environment::read(value, &|_: &str| Some("v".into())));
    let hook = config.unwrap().handlers.remove(0).cdn.purge_hook.unwrap();
    let Some(HookBody::Json(json)) = hook.body else { panic!() };
    let filled = json.fill(&Purged { route: "h", scopes: &[] });
    assert_eq!(filled, serde_json::json!({"a": ["v", 1, {"$VALUE": "$x", "b": "x$VALUE"}]}));
}

#[test]
fn cache_control_is_read() {
    let fixed = |fields: &str| match cdn(fields).cache_policy {
        CachePolicy::Fixed { value, counts_from_response } => {
            (value.to_string(), counts_from_response)
        }
        other => panic!("{other:?}"),
    };
    let all = r#""cache_time": 9, "cache_control": {"s_maxage": 1, "immutable": true, "stale_while_revalidate": 2, "stale_if_error": 3, "max_age": 4}"#;
    let expected =
        "public, max-age=4, s-maxage=1, immutable, stale-while-revalidate=2, stale-if-error=3";
    assert_eq!(fixed(all), (expected.to_owned(), true));
    let few = r#""cache_time": 9, "cache_control": {"immutable": true}"#;
    assert_eq!(fixed(few), ("public, max-age=9, immutable".to_owned(), false));
    let forever = r#""cache_time": 0, "cache_control": {}"#;
    assert_eq!(fixed(forever), (format!("public, max-age={MAX_AGE_FOREVER}"), false));
    assert_eq!(cdn(r#""cache_control": "origin""#).cache_policy, CachePolicy::Original);
    for (value, expected) in [
        (r#""public""#, r#"cache_control: must be "origin" or an object, not "public""#),
        ("1", "cache_control: must be a string or an object, not a number"),
        (r#"{"s-maxage": 1}"#, "cache_control.s-maxage: unknown field, did you mean s_maxage?"),
        (r#"{"s_maxage": -1}"#, "cache_control.s_maxage: must be from 0"),
        (r#"{"immutable": 1}"#, "cache_control.immutable: must be true or false"),
    ] {
        assert_error(&format!(r#""cache_control": {value}"#), expected);
    }
    for value in [r#""origin""#, "{}"] {
        let fields = format!(r#""cache_time": -1, "cache_control": {value}"#);
        assert_error(&fields, "cache_control: has no effect: cache_time is -1");
    }
}

#[test]
fn a_purge_hook_is_read_with_the_number_of_purges_that_a_request_may_be_for() {
    let hook = |fields: &str| cdn(&format!(r#""purge_hook": {{{fields}}}"#)).purge_hook.unwrap();
    let plain = hook(r#""url": "https://cdn.example.com:8443/purge?a=b""#);
    assert_eq!((plain.method, plain.origin()), ("POST", "https://cdn.example.com:8443"));
    assert_eq!((plain.max_purges, plain.timeout.as_secs()), (usize::MAX, 5));
    assert_eq!(hook(r#""url": "http://[::1]:8/{tag}""#).max_purges, 1);
    assert_eq!(hook(r#""url": "http://a/{handler}""#).max_purges, usize::MAX);
    assert_eq!(hook(r#""url": "http://a", "body": {"x": ["{tags}"]}"#).max_purges, 100);
    let few = r#""url": "http://a/", "max_tags": 3, "headers": {"Surrogate-Key": "{tags}"}"#;
    assert_eq!(hook(few).max_purges, 3);
    assert_eq!(hook(r#""url": "http://a/", "method": "GET""#).origin(), "http://a");
    let shared = |more: &str| {
        let results = r#"{"bucket_name": "r", "aws_access": "a", "aws_secret": "s"}"#;
        let fields = format!(
            r#""cache_path": "/c", "results": {results}, "purge_hook": {{"url": "http://a"{more}}}"#
        );
        cdn(&fields).purge_hook.unwrap().repeat_after.as_secs()
    };
    assert_eq!((shared(""), shared(r#", "repeat_after": 0"#)), (10, 0));
    assert!(plain.repeat_after.is_zero());
}

#[test]
fn hostile_purge_hooks_are_refused() {
    for (fields, expected) in [
        ("", "url: required"),
        (r#""url": "ftp://a/""#, "url: must begin with http:// or https://"),
        (r#""url": "a/b""#, "url: must begin with"),
        (r#""url": "http://""#, "url: must begin with"),
        (r#""url": "http://user:pass@a/""#, "url: must begin with"),
        (r#""url": "http://{handler}/""#, "url: must begin with"),
        (r#""url": "http://a:99999/""#, "url: must begin with"),
        (r#""url": "http://a/ b""#, "url: must be a URL without spaces"),
        (r#""url": "http://a/\r\nX: y""#, "url: must be a URL without spaces"),
        (r#""url": "http://a/#x""#, "url: must be a URL without spaces"),
        (r#""url": "http://a/{file}""#, "url: has an unknown placeholder"),
        (r#""url": "http://a/{tag}", "body": ["{tags}"]"#, "url: {tags} is for several purges"),
        (r#""url": "http://a/", "method": "CONNECT""#, "method: must be POST"),
        (r#""url": "http://a/", "method": "GET", "body": {}"#, "body: is not for the method GET"),
        (r#""url": "http://a/", "body": 1"#, "body: must be an object, an array or a string"),
        (r#""url": "http://a/", "body": {"a": ["{x}"]}"#, "body: has an unknown placeholder"),
        (r#""url": "http://a/", "headers": {"Host": "b"}"#, "headers.Host: is a field that"),
        (
            r#""url": "http://a/", "headers": {"Content-Length": "1"}"#,
            "headers.Content-Length: is a",
        ),
        (r#""url": "http://a/", "headers": {"Upgrade": "b"}"#, "headers.Upgrade: is about the"),
        (r#""url": "http://a/", "headers": {"A": "b\r\nC: d"}"#, "headers.A: must be ASCII"),
        (r#""url": "http://a/", "headers": {"A": "{b}"}"#, "headers.A: has an unknown"),
        (r#""url": "http://a/", "timeout": 61"#, "timeout: must be at most 60 seconds"),
        (r#""url": "http://a/", "max_tags": 257"#, "max_tags: must be from 1 to 256"),
    ] {
        assert_error(&format!(r#""purge_hook": {{{fields}}}"#), &format!("purge_hook.{expected}"));
    }
    let long = format!(r#""purge_hook": {{"url": "http://a/{}"}}"#, "a".repeat(2100));
    assert_error(&long, "purge_hook.url: must have at most 2048 bytes");
    let long =
        format!(r#""purge_hook": {{"url": "http://a/", "body": ["{}"]}}"#, "a".repeat(17_000));
    assert_error(&long, "purge_hook.body: must have at most 16384 bytes");
}

#[test]
fn limits_of_fields_are_as_documented() {
    let limits = format!("at most {MAX_HEADERS} with {MAX_HEADER_BYTES} bytes");
    assert_says("docs/configuration.md", &limits);
}
