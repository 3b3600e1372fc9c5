use super::*;
use crate::cache::CacheTime;

/// Needs no file and no directory.
fn minimal(handler_fields: &str, top_fields: &str) -> String {
    format!(
        r#"{{"handlers": [{{"name": "h", "aws": {{"bucket_name": "b", "anonymous": true}}, {handler_fields}}}],
        {top_fields}}}"#
    )
}

fn error(text: &str) -> String {
    parse(text, "config.json").expect_err(text).to_string()
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = parse(&minimal("", ""), "config.json").unwrap();
    assert_eq!((config.http_port, config.https.is_some(), config.address), (Some(80), false, None));
    let handler = &config.handlers[0];
    assert_eq!(handler.cache_time, CacheTime::Seconds(604_800));
    assert_eq!(
        (handler.max_dimension, handler.output_format, handler.precise_errors),
        (3064, None, false)
    );
    let Origin::S3(s3) = &handler.origin else { panic!("not S3") };
    assert_eq!((s3.region.as_str(), s3.path_style), ("us-east-1", false));
    assert_eq!(config.limits.origin_max_bytes, 64 << 20);
}

#[test]
fn handler_errors_name_their_path() {
    for (fields, expected) in [
        (
            r#""output_format": "bmp""#,
            r#"handlers[0].output_format: must be jpg, png, webp, avif or gif, not "bmp""#,
        ),
        (r#""cache_time": "x""#, "handlers[0].cache_time: must be a whole number, not a string"),
        (r#""cache_time": -2"#, "handlers[0].cache_time: must be from -1 to 4294967295, not -2"),
        (r#""cache_enabled": true"#, "handlers[0].cache_path: required when cache_enabled is true"),
        (
            r#""cache_time": -1, "negative_cache_time": "abc""#,
            "handlers[0].negative_cache_time: must be a whole number, not a string",
        ),
        (r#""error_image": "/no/such""#, "handlers[0].error_image: /no/such: can't be read: "),
        (
            r#""error_image": "/proc/self/cmdline""#,
            "handlers[0].error_image: /proc/self/cmdline: is not a JPEG",
        ),
        (r#""prefix": "a/b""#, r#"handlers[0].prefix: "a/b" must not contain a slash"#),
        (r#""prefix": "-""#, r#"handlers[0].prefix: "-" can't be a path segment of ours"#),
        (
            r#""directory": "/""#,
            "handlers[0].directory: a handler has either aws or directory, not both",
        ),
        (
            r#""allowed_formats": ["jpg", 1]"#,
            "handlers[0].allowed_formats[1]: must be an extension",
        ),
        (r#""error_status": "exact""#, "handlers[0].error_status: must be"),
        (r#""fail_on": "x""#, "handlers[0].fail_on: must be none, truncated, error or warning"),
        (r#""max_dimension": 0"#, "handlers[0].max_dimension: must be from 1 to 16383, not 0"),
        (r#""cors_origin": "a\r\nb""#, "handlers[0].cors_origin: must be"),
        (r#""cors_origin": "foo""#, "handlers[0].cors_origin: must be * or one origin"),
        (
            r#""cors_origin": "https://a,https://b""#,
            "handlers[0].cors_origin: must be * or one origin",
        ),
        (r#""nam": 1"#, "handlers[0].nam: unknown field, did you mean name?"),
        (r#""presets": [1]"#, "handlers[0].presets: must be an object, not an array"),
        (
            r#""presets": {"": "w=1"}"#,
            "handlers[0].presets: a preset's name must have 1 to 32 letters",
        ),
        (
            r#""presets": {"a b": "w=1"}"#,
            "handlers[0].presets: a preset's name must have 1 to 32 letters",
        ),
        (
            r#""presets": {"a": 1}"#,
            "handlers[0].presets.a: must be a query, as \"w=300&h=200\", not a number",
        ),
        (r#""presets": {"a": "w=1&x=1"}"#, r#"handlers[0].presets.a: unknown parameter "x=1""#),
        (r#""presets": {"a": "p=a"}"#, "handlers[0].presets.a: p: can't be in a preset"),
        (
            r#""presets": {"a": "w=1", "b": "w=0"}"#,
            "handlers[0].presets.b: w: must be a whole number",
        ),
        (
            r#""presets": {"a": "dpr=9"}"#,
            "handlers[0].presets.a: dpr: must be a number from 0.1 to 8",
        ),
        (r#""presets_only": true"#, "handlers[0].presets_only: needs presets"),
        (r#""presets_only": true, "presets": {}"#, "handlers[0].presets_only: needs presets"),
        (r#""presets_only": 1"#, "handlers[0].presets_only: must be true or false"),
        (
            r#""presets_only": true, "presets": {"a": ""}, "allowed_sizes": [[1, 1]]"#,
            "handlers[0].allowed_sizes: has no effect with presets_only",
        ),
        (r#""allowed_sizes": {}"#, "handlers[0].allowed_sizes: must be an array"),
        (r#""allowed_sizes": []"#, "handlers[0].allowed_sizes: must list a size"),
        (
            r#""allowed_sizes": [[1, 1], [1]]"#,
            "handlers[0].allowed_sizes[1]: must be [width, height]",
        ),
        (
            r#""allowed_sizes": [[1, 1, 1]]"#,
            "handlers[0].allowed_sizes[0]: must be [width, height]",
        ),
        (r#""allowed_sizes": ["1x1"]"#, "handlers[0].allowed_sizes[0]: must be [width, height]"),
        (r#""allowed_sizes": [[1, -1]]"#, "handlers[0].allowed_sizes[0]: must be [width, height]"),
        (r#""allowed_sizes": [[1.5, 1]]"#, "handlers[0].allowed_sizes[0]: must be [width, height]"),
        (
            r#""allowed_sizes": [[1, null]]"#,
            "handlers[0].allowed_sizes[0]: must be [width, height]",
        ),
        (
            r#""max_dimension": 100, "allowed_sizes": [[100, 0], [0, 101]]"#,
            "handlers[0].allowed_sizes[1]: must be [width, height], whole numbers from 0 to 100",
        ),
        (r#""max_variants": -1"#, "handlers[0].max_variants: must be from 0 to 10000, not -1"),
        (
            r#""max_variants": 10001"#,
            "handlers[0].max_variants: must be from 0 to 10000, not 10001",
        ),
        (r#""token": {"type": "hmac"}"#, "handlers[0].token.secrets: required"),
    ] {
        let got = error(&minimal(fields, ""));
        assert!(got.starts_with(expected), "{fields}: {got}");
    }
}

#[test]
fn origin_errors_name_their_path() {
    for (aws, expected) in [
        ("{}", "handlers[0].aws.bucket_name: required"),
        (
            r#"{"bucket_nam": "b"}"#,
            "handlers[0].aws.bucket_nam: unknown field, did you mean bucket_name?",
        ),
        (
            r#"{"bucket_name": "b", "file_pat": ""}"#,
            "handlers[0].aws.file_pat: unknown field, did you mean file_path?",
        ),
        (r#"{"bucket_name": "a/b"}"#, "handlers[0].aws.bucket_name: may contain"),
        (
            r#"{"bucket_name": "b", "file_path": "a/../b"}"#,
            "handlers[0].aws.file_path: must not have",
        ),
        (r#"{"bucket_name": "b", "region": "eu west"}"#, "handlers[0].aws.region: must be"),
        (
            r#"{"bucket_name": "b", "endpoint": "minio:9000"}"#,
            "handlers[0].aws.endpoint: must be http:// or",
        ),
        (
            r#"{"bucket_name": "b", "endpoint": "http://h/path"}"#,
            "handlers[0].aws.endpoint: must be http:// or",
        ),
        (
            r#"{"bucket_name": "b", "endpoint": "http://:80"}"#,
            "handlers[0].aws.endpoint: must be http:// or",
        ),
        (
            r#"{"bucket_name": "b", "endpoint": "http://h:99999"}"#,
            "handlers[0].aws.endpoint: must be http:// or",
        ),
        (r#"{"bucket_name": "b", "aws_access": "a"}"#, "handlers[0].aws.aws_secret: required"),
        (r#"{"bucket_name": "b", "aws_secret": "a"}"#, "handlers[0].aws.aws_access: required"),
        (
            r#"{"bucket_name": "b", "anonymous": true, "aws_access": "a"}"#,
            "handlers[0].aws.anonymous: is true",
        ),
        (r#"{"bucket_name": "b", "session_token": "a"}"#, "handlers[0].aws.session_token: needs"),
        (
            r#"{"bucket_name": "b", "aws_access": "$S3IS_NOT_SET", "aws_secret": "x"}"#,
            "handlers[0].aws.aws_access: the environment variable S3IS_NOT_SET is not set",
        ),
        (
            r#"{"bucket_name": "b", "ca_file": "/no/such"}"#,
            "handlers[0].aws.ca_file: /no/such: can't be read",
        ),
        ("1", "handlers[0].aws: must be an object, not a number"),
    ] {
        let got = error(&format!(r#"{{"handlers": [{{"name": "h", "aws": {aws}}}]}}"#));
        assert!(got.starts_with(expected), "{aws}: {got}");
    }
    let got = error(r#"{"handlers": [{"name": "h"}]}"#);
    assert!(got.starts_with("handlers[0].aws: required"), "{got}");
    let got = error(r#"{"handlers": [{"name": "h", "directory": "/no/such"}]}"#);
    assert!(got.starts_with("handlers[0].directory: /no/such: can't be opened"), "{got}");
}

#[test]
fn top_level_errors_name_their_path() {
    for (fields, expected) in [
        (r#""http_port": 65536"#, "http_port: must be from 0 to 65535, not 65536"),
        (r#""http_prt": 1"#, "http_prt: unknown field, did you mean http_port?"),
        (r#""address": "localhost""#, "address: must be an IPv4 or IPv6 address"),
        (r#""https_enabled": true"#, "https_port: required when https_enabled is true"),
        (
            r#""https_enabled": true, "https_port": 443"#,
            "https_cert: required when https_enabled is true",
        ),
        (r#""https_enabled": true, "https_port": 443, "https_cert": "c""#, "https_key: required"),
        (
            r#""https_enabled": true, "https_port": 80, "https_cert": "c", "https_key": "k""#,
            "https_port: 80 is also the http_port",
        ),
        (
            r#""https_strict": true"#,
            "https_strict: redirects to HTTPS, so https_enabled must be true",
        ),
        (
            r#""limits": {"head_timeout": 0}"#,
            "limits.head_timeout: must be from 0.001 to 86400 seconds, not 0",
        ),
        (
            r#""limits": {"head_timout": 1}"#,
            "limits.head_timout: unknown field, did you mean head_timeout?",
        ),
        (r#""limits": []"#, "limits: must be an object, not an array"),
        (r#""admin": {}"#, "admin.secret: required"),
    ] {
        let got = error(&minimal("", fields));
        assert!(got.starts_with(expected), "{fields}: {got}");
    }
    assert!(error("{}").starts_with("handlers: required"));
    assert!(error(r#"{"handlers": []}"#).starts_with("handlers: must list"));
    assert!(error(r#"{"handlers": [1]}"#).starts_with("handlers[0]: must be an object"));
    assert!(error("[]").starts_with("the configuration: must be an object"));
    assert!(error("{").starts_with("config.json: not valid JSON: "));
}

#[test]
fn two_handlers_need_two_routes() {
    let aws = r#""aws": {"bucket_name": "b", "anonymous": true}"#;
    let text = format!(
        r#"{{"handlers": [{{"name": "x", "prefix": "h", {aws}}}, {{"name": "h", {aws}}}]}}"#
    );
    assert_eq!(error(&text), "handlers[1].name: handlers[0] already answers at /h/");
}

#[test]
fn what_distinguishes_origins_distinguishes_cache_keys() {
    let identity = |aws: &str| {
        let text =
            format!(r#"{{"handlers": [{{"name": "h", "aws": {{"anonymous": true, {aws}}}}}]}}"#);
        parse(&text, "").unwrap().handlers[0].identity()
    };
    let one = identity(r#""bucket_name": "b""#);
    assert_eq!(one, identity(r#""bucket_name": "b", "file_path": "/""#));
    assert_ne!(one, identity(r#""bucket_name": "c""#));
    assert_ne!(one, identity(r#""bucket_name": "b", "file_path": "f""#));
    assert_ne!(one, identity(r#""bucket_name": "b", "endpoint": "http://localhost:9000""#));
}

#[test]
fn secrets_are_not_shown() {
    let aws = r#"{"bucket_name": "b", "aws_access": "AKIA", "aws_secret": "hush"}"#;
    let config = parse(&format!(r#"{{"handlers": [{{"name": "h", "aws": {aws}}}]}}"#), "").unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hush") && !shown.contains("AKIA"), "{shown}");
}
