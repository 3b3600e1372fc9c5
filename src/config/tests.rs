use super::*;
use crate::cache::CacheTime;
use crate::documents::assert_says;
use crate::format::{Format, formats_that, or_list};

/// Needs no file and no directory.
fn minimal(handler_fields: &str, top_fields: &str) -> String {
    format!(
        r#"{{"handlers": [{{"name": "h", "aws": {{"bucket_name": "b", "anonymous": true}}, {handler_fields}}}],
        {top_fields}}}"#
    )
}

/// The configuration of a text without an error.
pub fn parse(text: &str) -> Config {
    super::parse(text, "config.json").unwrap_or_else(|error| panic!("{error}"))
}

/// The error of a text without its position in the file.
pub fn error_of(text: &str) -> String {
    let error = super::parse(text, "config.json").expect_err(text);
    assert!(error.location.is_some(), "{error}");
    ConfigError { location: None, ..error }.to_string()
}

#[test]
fn missing_fields_have_their_defaults() {
    let config = parse(&minimal("", ""));
    assert_eq!((config.http_port, config.https.is_some(), config.address), (Some(80), false, None));
    let handler = &config.handlers[0];
    assert_eq!(handler.cache_time, CacheTime::Seconds(604_800));
    assert_eq!(
        (handler.max_dimension, handler.output_format, handler.precise_errors),
        (3840, None, false)
    );
    let Some(Origin::S3(s3)) = handler.origins.first() else { panic!("not S3") };
    assert_eq!((s3.region.as_str(), s3.path_style), ("us-east-1", false));
    assert_eq!(config.limits.origin_max_bytes, 64 << 20);
}

#[test]
fn render_on_change_has_the_options_of_its_presets() {
    let fields = r#""cache_path": "/tmp/c", "presets": {"a": "w=1", "b": "w=2&f=auto", "c": "w=3"},
        "render_on_change": ["b", "a", "a"]"#;
    let config = parse(&minimal(fields, ""));
    let options: Vec<String> =
        config.handlers[0].options_on_change("a.jpg").map(|options| options.canonical()).collect();
    assert_eq!(options.len(), 2);
    assert!(options[0].contains("w=1") && options[1].contains("w=2"), "{options:?}");
    assert!(options[1].contains("auto:avif:webp"), "{options:?}");
    let many = format!("[{}]", vec![r#""a""#; 17].join(","));
    let fields = format!(r#""presets": {{"a": "w=1"}}, "render_on_change": {many}"#);
    let error = error_of(&minimal(&fields, ""));
    assert_eq!(error, "handlers[0].render_on_change: must list at most 16 presets");
    let directory = r#"{"handlers": [{"name": "h", "directory": "/", "cache_path": "/tmp/c",
        "presets": {"a": "w=1"}, "render_on_change": ["a"]}]}"#;
    assert!(error_of(directory).starts_with("handlers[0].render_on_change: needs aws"));
}

#[test]
fn defaults_in_words_are_as_documented() {
    let port = format!("| {DEFAULT_HTTP_PORT}; none with an `http_socket` |");
    assert_says("docs/configuration.md", &port);
    let max_dimension = parse(&minimal("", "")).handlers[0].max_dimension;
    assert_says("docs/options.md", &format!("`max_dimension` ({max_dimension})"));
    let names = formats_that(Format::is_written).flat_map(Format::names);
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let names = or_list(names.iter().map(String::as_str));
    assert_says(
        "docs/configuration.md",
        &format!("if the request has no `f`: {names}, in any case"),
    );
}

#[test]
fn handler_errors_name_their_path() {
    for (fields, expected) in [
        (
            r#""output_format": "bmp""#,
            r#"handlers[0].output_format: must be jpg, png, webp, avif, jxl or gif, not "bmp""#,
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
        (r#""prefix": "..""#, r#"handlers[0].prefix: ".." is reserved"#),
        (r#""output_format": 1"#, "handlers[0].output_format: must be a string, not a number"),
        (r#""cache_enabled": "true""#, "handlers[0].cache_enabled: must be true or false"),
        (r#""cache_path": 1"#, "handlers[0].cache_path: must be a string, not a number"),
        (r#""cache_time": 0.5"#, "handlers[0].cache_time: must be a whole number, not 0.5"),
        (r#""allowed_formats": "jpg""#, "handlers[0].allowed_formats: must be an array"),
        (r#""max_dimension": "1""#, "handlers[0].max_dimension: must be a whole number"),
        (r#""cache_tme": 1"#, "handlers[0].cache_tme: unknown field, did you mean cache_time?"),
        (r#""prefix": "a/b""#, r#"handlers[0].prefix: "a/b" must not contain a slash"#),
        (r#""prefix": "-""#, r#"handlers[0].prefix: "-" is reserved"#),
        (
            r#""allowed_formats": ["jpg", 1]"#,
            "handlers[0].allowed_formats[1]: must be an extension",
        ),
        (r#""error_status": "exact""#, "handlers[0].error_status: must be"),
        (
            r#""render_on_change": ["thumb"]"#,
            r#"handlers[0].render_on_change[0]: there is no preset "thumb""#,
        ),
        (
            r#""presets": {"a": "w=1"}, "render_on_change": [1]"#,
            "handlers[0].render_on_change[0]: must be the name of a preset, not a number",
        ),
        (
            r#""presets": {"a": "w=1"}, "render_on_change": ["a"]"#,
            "handlers[0].render_on_change: needs a cache_path",
        ),
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
            "handlers[0].presets.: a preset's name must have 1 to 32 letters",
        ),
        (
            r#""presets": {"a b": "w=1"}"#,
            "handlers[0].presets.a b: a preset's name must have 1 to 32 letters",
        ),
        (
            r#""presets": {"a": 1}"#,
            "handlers[0].presets.a: must be a query, such as \"w=300&h=200\", or an object with one, not a number",
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
        let got = error_of(&minimal(fields, ""));
        assert!(got.starts_with(expected), "{fields}: {got}");
    }
}

#[test]
fn a_handler_has_a_name_or_a_prefix() {
    for (handler, expected) in [
        (r#"{"name": 1}"#, "must be a string, not a number"),
        (r#"{"directory": "/"}"#, "required when there is no prefix"),
    ] {
        let got = error_of(&format!(r#"{{"handlers": [{handler}]}}"#));
        assert_eq!(got, format!("handlers[0].name: {expected}"));
    }
}

#[test]
fn a_handler_has_exactly_one_origin() {
    let got = error_of(r#"{"handlers": [{"name": "h"}]}"#);
    assert_eq!(
        got,
        "handlers[0].aws: required: where the originals are (aws, directory, http or origins)"
    );
    let got = error_of(&minimal(r#""directory": "/""#, ""));
    assert_eq!(
        got,
        "handlers[0].directory: only one of these may be given: aws, directory, http or origins"
    );
    for (directory, expected) in [
        (r#""/no/such""#, "/no/such: can't be opened: "),
        (r#""/dev/null""#, "/dev/null: is not a directory"),
        ("true", "must be a string, not a boolean"),
    ] {
        let text = format!(r#"{{"handlers": [{{"name": "h", "directory": {directory}}}]}}"#);
        let got = error_of(&text);
        assert!(got.starts_with(&format!("handlers[0].directory: {expected}")), "{got}");
    }
}

#[test]
fn top_level_errors_name_their_path() {
    for (fields, expected) in [
        (r#""http_port": 65536"#, "http_port: must be from 0 to 65535, not 65536"),
        (r#""http_port": "80""#, "http_port: must be a whole number, not a string"),
        (r#""http_port": -1"#, "http_port: must be from 0 to 65535, not -1"),
        (r#""http_port": 80.5"#, "http_port: must be a whole number, not 80.5"),
        (r#""http_port": null"#, "http_port: must be a whole number, not null"),
        (r#""http_socket": """#, "http_socket: must not be empty"),
        (r#""address": 1"#, "address: must be a string, not a number"),
        (r#""access_log": "yes""#, "access_log: must be true or false, not a string"),
        (r#""log_level": "all""#, "log_level: must be error, warn, info or debug, not \"all\""),
        (r#""https_enabled": "true""#, "https_enabled: must be true or false, not a string"),
        (r#""https_certificates": [{"cert": "a"}]"#, "https_certificates[0].key: required"),
        (r#""memory_cache": -1"#, "memory_cache: must be from 0 to 1099511627776, not -1"),
        (
            r#""trusted_proxies": ["10.0.0.1/8"]"#,
            "trusted_proxies[0]: 10.0.0.1/8 has bits set after its prefix",
        ),
        (r#""trusted_proxies": ["::/0", 1]"#, "trusted_proxies[1]: must be a network"),
        (r#""proxy_protocol": true"#, "proxy_protocol: needs trusted_proxies"),
        (r#""limits": {"connections": 0}"#, "limits.connections: must be from 1 to 1000000, not 0"),
        (r#""limits": {"min_write_rate": 0}"#, "limits.min_write_rate: must be from 1"),
        (r#""limits": {"origin_max_bytes": 1.5}"#, "limits.origin_max_bytes: must be a whole"),
        (
            r#""limits": {"head_timeout": "1"}"#,
            "limits.head_timeout: must be a number of seconds, not a string",
        ),
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
        let got = error_of(&minimal("", fields));
        assert!(got.starts_with(expected), "{fields}: {got}");
    }
    assert!(error_of("{}").starts_with("handlers: required"));
    assert!(error_of(r#"{"handlers": []}"#).starts_with("handlers: must list"));
    assert!(error_of(r#"{"handlers": [1]}"#).starts_with("handlers[0]: must be an object"));
    assert_eq!(error_of("[]"), "the configuration must be an object, not an array");
    assert!(error_of("{").starts_with("not valid JSON: "));
}

#[test]
fn errors_have_the_position_of_their_field() {
    let handler = r#"{"name": "h", "aws": {"bucket_name": "b"}"#;
    for (text, expected) in [
        ("{\"handlers\": [\n  oops\n]}", "config.json:2:3: not valid JSON: unexpected word"),
        (
            "\u{feff}{ // é\n  /* é */ \"http_port\": 1,\n  \"http_port\": 2\n}",
            "config.json:3:3: not valid JSON: the field \"http_port\" occurs twice",
        ),
        ("[]", "config.json:1:1: the configuration must be an object, not an array"),
        ("\n {}", "config.json:2:2: handlers: required: a list with at least one handler"),
        (
            &format!("{{\"handlers\": [\n  {handler},\n   \"zz\": 1}}]}}"),
            "config.json:3:4: handlers[0].zz: unknown field",
        ),
        (
            "{\"handlers\": [{\"name\": \"h\", \"aws\":\n  {}}]}",
            "config.json:1:29: handlers[0].aws.bucket_name: required",
        ),
        (
            &format!("{{\"handlers\": [{handler},\n\"allowed_sizes\": [[1, 1],\n\t[1]]}}]}}"),
            "config.json:3:2: handlers[0].allowed_sizes[1]: must be [width, height], whole numbers from 0 to 3840",
        ),
        (
            &format!(
                "{{\"handlers\": [{handler},\n\"presets\": {{\"a\": \"\",\n  \"a.b\": \"\"}}}}]}}"
            ),
            "config.json:3:3: handlers[0].presets.a.b: a preset's name must have 1 to 32 letters, digits, hyphens and underscores",
        ),
    ] {
        assert_eq!(super::parse(text, "config.json").unwrap_err().to_string(), expected);
    }
    let config = parse(&format!("{{\"handlers\": [\n{handler}}}]}}"));
    let error = ConfigError::new("handlers[0].aws.ca_file", "found later");
    assert_eq!(
        config.locate(error).to_string(),
        "config.json:2:15: handlers[0].aws.ca_file: found later"
    );
}

#[test]
fn errors_quote_the_ends_of_what_is_long() {
    let long = "ü".repeat(500_000);
    for (fields, start, end) in [
        (format!(r#""{long}": 1"#), "c:2:9: üü", "üü: unknown field"),
        (format!(r#""address": "{long}""#), "c:2:9: address: must be an IPv4 or IPv6", "üü\""),
        (r#""http_port": 1e300"#.into(), "c:2:9: http_port: must be from 0 to", "00"),
        (
            r#""http_port": 1e-300"#.into(),
            "c:2:9: http_port: must be a whole number, not 0.0",
            "01",
        ),
        (
            format!(r#""trusted_proxies": ["{long}"]"#),
            "c:2:29: trusted_proxies[0]: must be",
            "üü\"",
        ),
        (format!(r#""{long}": 1, "{long}": 2"#), "c:2:500016: not valid JSON: the field", "twice"),
    ] {
        let error = super::parse(&minimal("", &fields), "c").unwrap_err().to_string();
        assert!(error.starts_with(start) && error.ends_with(end), "{error:.500}");
        assert!(error.chars().count() < 500 && error.contains('…'), "{error:.500}");
    }
}

#[test]
fn two_handlers_need_two_routes() {
    let aws = r#""aws": {"bucket_name": "b", "anonymous": true}"#;
    let text = format!(
        r#"{{"handlers": [{{"name": "x", "prefix": "h", {aws}}}, {{"name": "h", {aws}}}]}}"#
    );
    assert_eq!(error_of(&text), "handlers[1].name: handlers[0] already has the route /h/");
}

#[test]
fn the_identity_differs_between_origins() {
    let identity = |aws: &str| {
        let text =
            format!(r#"{{"handlers": [{{"name": "h", "aws": {{"anonymous": true, {aws}}}}}]}}"#);
        parse(&text).handlers[0].identity()
    };
    let one = identity(r#""bucket_name": "b""#);
    assert_eq!(one, identity(r#""bucket_name": "b", "file_path": "/""#));
    assert_ne!(one, identity(r#""bucket_name": "c""#));
    assert_ne!(one, identity(r#""bucket_name": "b", "file_path": "f""#));
    assert_ne!(one, identity(r#""bucket_name": "b", "endpoint": "http://localhost:9000""#));
}

#[test]
fn files_without_an_end_are_errors() {
    let error = read_file(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(error.contains("/dev/zero: is longer than 16777216 bytes"), "{error}");
    for path in ["/dev/zero", "/"] {
        let text = minimal(&format!(r#""error_image": "{path}""#), r#""http_port": 0"#);
        let problem = format!("handlers[0].error_image: {path}: is not a regular file");
        assert_eq!(error_of(&text), problem);
    }
}
