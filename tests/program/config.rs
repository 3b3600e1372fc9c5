//! The command line, and everything that is refused before a port is opened.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::images::{self, RED};
use crate::support::merged;
use crate::support::server::{self, PROGRAM, Server, Setup, command, run};

/// The program with arguments, in a directory.
fn program(directory: &Directory, arguments: &[&str]) -> Output {
    run(command(Path::new(PROGRAM), directory.path()).args(arguments))
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Fails unless the configuration was refused with a sentence about this JSON path.
#[track_caller]
fn expect_refused(output: &Output, path: &str) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{path}: {said}");
    assert!(said.contains(&format!("{path}: ")), "no {path:?} in {said:?}");
    assert!(!said.contains("listening on"), "a port was opened: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn handler() -> Value {
    json!({"name": "h", "directory": "."})
}

fn aws() -> Value {
    json!({"bucket_name": "b", "aws_access": "a", "aws_secret": "s"})
}

#[test]
fn the_sample_of_2015_loads_as_it_is() {
    let certificates = Certificates::new();
    let directory = Directory::new()
        .with("config.json", &server::data("sample-config-2015.json"))
        .with("error_image.jpg", &images::jpeg(images::solid(8, 8, RED)))
        .with("bundle.crt", certificates.chain_pem.as_bytes())
        .with("cert.key", certificates.key_pem.as_bytes());
    // Without a word about where it is, because config.json is the default.
    let output = program(&directory, &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_sample_is_refused_when_a_file_it_names_is_missing() {
    let certificates = Certificates::new();
    let files = [
        ("error_image.jpg", images::jpeg(images::solid(8, 8, RED)), "handlers[0].error_image"),
        ("bundle.crt", certificates.chain_pem.clone().into_bytes(), "https_cert"),
        ("cert.key", certificates.key_pem.clone().into_bytes(), "https_key"),
    ];
    for (missing, _, path) in &files {
        let directory =
            Directory::new().with("config.json", &server::data("sample-config-2015.json"));
        for (name, bytes, _) in files.iter().filter(|(name, ..)| name != missing) {
            directory.put(name, bytes);
        }
        let said = expect_refused(&program(&directory, &["--check"]), path);
        assert!(said.contains(missing), "{said}");
    }
}

#[test]
fn every_spelling_of_the_configurations_name_is_understood() {
    let config = json!({"handlers": [handler()]}).to_string();
    let directory = Directory::new().with("other.json", config.as_bytes());
    for arguments in [
        &["-c", "other.json", "--check"][..],
        &["-c=other.json", "--check"],
        &["--check", "-c=other.json"],
    ] {
        let output = program(&directory, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    }
    // There is no config.json here.
    expect_refused(&program(&directory, &["--check"]), "config.json");
    expect_refused(&program(&directory, &["-c=absent.json"]), "absent.json");
}

#[test]
fn help_and_version_are_answered_on_stdout() {
    let directory = Directory::new();
    let version = program(&directory, &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let first = stdout(&version).lines().next().unwrap().to_owned();
    assert_eq!(first, concat!("s3imageserver ", env!("CARGO_PKG_VERSION")));
    assert!(stdout(&version).contains("libvips 8."), "{}", stdout(&version));

    let help = program(&directory, &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for word in ["-c", "--check", "--version"] {
        assert!(stdout(&help).contains(word), "{}", stdout(&help));
    }
}

#[test]
fn unknown_arguments_are_refused() {
    let directory = Directory::new()
        .with("config.json", json!({"handlers": [handler()]}).to_string().as_bytes());
    for arguments in
        [&["--chekc"][..], &["-x"], &["-c"], &["config.json"], &["-c", "config.json", "more"]]
    {
        let output = program(&directory, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!stderr(&output).is_empty() && stdout(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn bad_json_is_refused_with_file_and_line() {
    let directory = Directory::new()
        .with("config.json", b"{ // a comment\n  \"handlers\": [\n    oops\n  ]\n}");
    let said = expect_refused(&program(&directory, &[]), "config.json");
    assert!(said.contains("line 3"), "{said}");
    for text in [
        "",
        "[]",
        "null",
        "{} {}",
        "{\"handlers\": [}",
        "\u{0}",
        "{\"http_port\": 1, \"http_port\": 2}",
    ] {
        directory.put("config.json", text.as_bytes());
        let output = program(&directory, &[]);
        assert_eq!(output.status.code(), Some(2), "{text:?}: {}", stderr(&output));
    }
    directory.put("config.json", b"{\"handlers\": \"\xff\"}");
    expect_refused(&program(&directory, &[]), "config.json");
}

#[test]
fn an_error_at_the_top_names_its_json_path() {
    for (config, path) in [
        (json!({}), "handlers"),
        (json!({"handlers": []}), "handlers"),
        (json!({"handlers": {}}), "handlers"),
        (json!({"handlers": ["h"]}), "handlers[0]"),
        (json!({"handlers": [handler()], "http_port": "80"}), "http_port"),
        (json!({"handlers": [handler()], "http_port": 65536}), "http_port"),
        (json!({"handlers": [handler()], "http_port": -1}), "http_port"),
        (json!({"handlers": [handler()], "http_port": 80.5}), "http_port"),
        (json!({"handlers": [handler()], "http_port": null}), "http_port"),
        (json!({"handlers": [handler()], "address": "localhost"}), "address"),
        (json!({"handlers": [handler()], "address": 1}), "address"),
        (json!({"handlers": [handler()], "access_log": "yes"}), "access_log"),
        (json!({"handlers": [handler()], "https_enabled": "true"}), "https_enabled"),
        (json!({"handlers": [handler()], "https_strict": true}), "https_strict"),
        (json!({"handlers": [handler()], "limits": []}), "limits"),
        (json!({"handlers": [handler()], "limits": {"connections": 0}}), "limits.connections"),
        (
            json!({"handlers": [handler()], "limits": {"min_write_rate": 0}}),
            "limits.min_write_rate",
        ),
        (json!({"handlers": [handler()], "trusted_proxies": ["10.0.0.1/8"]}), "trusted_proxies[0]"),
        (json!({"handlers": [handler()], "trusted_proxies": ["::/0", 1]}), "trusted_proxies[1]"),
        (json!({"handlers": [handler()], "proxy_protocol": true}), "proxy_protocol"),
        (json!({"handlers": [handler()], "memory_cache": -1}), "memory_cache"),
        (
            json!({"handlers": [handler()], "https_certificates": [{"cert": "a"}]}),
            "https_certificates[0].key",
        ),
        (json!({"handlers": [handler()], "http_socket": ""}), "http_socket"),
        (json!({"handlers": [handler()], "limits": {"head_timeout": "1"}}), "limits.head_timeout"),
        (json!({"handlers": [handler()], "limits": {"idle_timeout": 0}}), "limits.idle_timeout"),
        (
            json!({"handlers": [handler()], "limits": {"origin_timeout": -1}}),
            "limits.origin_timeout",
        ),
        (
            json!({"handlers": [handler()], "limits": {"origin_max_bytes": 1.5}}),
            "limits.origin_max_bytes",
        ),
        (json!({"handlers": [handler(), handler()]}), "handlers[1].name"),
        (
            json!({"handlers": [handler(), {"name": "x", "prefix": "h", "directory": "."}]}),
            "handlers[1].prefix",
        ),
    ] {
        expect_refused(&Setup::new(config).run(), path);
    }
}

#[test]
fn an_error_in_a_handler_names_its_json_path() {
    for (field, value) in [
        ("name", json!(1)),
        ("prefix", json!("a/b")),
        ("prefix", json!("-")),
        ("prefix", json!("..")),
        ("directory", json!("absent")),
        ("directory", json!("config.json")),
        ("directory", json!(true)),
        ("error_image", json!("absent.jpg")),
        ("error_image", json!("config.json")),
        ("output_format", json!("bmp")),
        ("output_format", json!(1)),
        ("cache_enabled", json!("true")),
        ("cache_path", json!(1)),
        ("cache_path", json!("config.json")),
        ("cache_time", json!("604800")),
        ("cache_time", json!(-2)),
        ("cache_time", json!(0.5)),
        ("allowed_formats", json!("jpg")),
        ("allowed_formats[1]", json!(null)),
        ("max_dimension", json!(0)),
        ("max_dimension", json!("3064")),
        ("error_status", json!("exact")),
        ("cors_origin", json!("https://a.example\r\nX: y")),
        ("fail_on", json!("sometimes")),
    ] {
        let (member, value) = match field.split_once('[') {
            Some((member, _)) => (member, json!(["jpg", value])),
            None => (field, value),
        };
        let config = json!({"handlers": [
            {"name": "first", "directory": "."},
            merged(handler(), json!({member: value})),
        ]});
        expect_refused(&Setup::new(config).run(), &format!("handlers[1].{field}"));
    }
    expect_refused(
        &Setup::new(json!({"handlers": [{"directory": "."}]})).run(),
        "handlers[0].name",
    );
    expect_refused(&Setup::new(json!({"handlers": [{"name": "h"}]})).run(), "handlers[0].aws");
    let both = merged(handler(), json!({"aws": aws()}));
    expect_refused(&Setup::new(json!({"handlers": [both]})).run(), "handlers[0].directory");
    let nowhere = merged(handler(), json!({"cache_enabled": true}));
    expect_refused(&Setup::new(json!({"handlers": [nowhere]})).run(), "handlers[0].cache_path");
}

#[test]
fn an_error_in_an_aws_object_names_its_json_path() {
    for (field, value) in [
        ("bucket_name", json!(5)),
        ("bucket_name", json!("")),
        ("bucket_name", json!("b/../c")),
        ("file_path", json!(["x"])),
        ("file_path", json!("a/../b")),
        ("region", json!("eu west")),
        ("endpoint", json!("127.0.0.1:9000")),
        ("endpoint", json!("ftp://127.0.0.1")),
        ("endpoint", json!("http://127.0.0.1/path")),
        ("path_style", json!("yes")),
        ("aws_access", json!(1)),
        ("aws_access", json!("$S3IMAGESERVER_TEST_ABSENT")),
        ("aws_secret", json!("$S3IMAGESERVER_TEST_ABSENT")),
        ("anonymous", json!(true)),
        ("ca_file", json!("absent.pem")),
        ("ca_file", json!("config.json")),
    ] {
        let config =
            json!({"handlers": [{"name": "h", "aws": merged(aws(), json!({field: value}))}]});
        expect_refused(&Setup::new(config).run(), &format!("handlers[0].aws.{field}"));
    }
    for (aws, field) in [
        (json!({"bucket_name": "b", "aws_access": "a"}), "aws_secret"),
        (json!({"bucket_name": "b", "aws_secret": "s"}), "aws_access"),
        (json!({"aws_access": "a", "aws_secret": "s"}), "bucket_name"),
        (json!({"bucket_name": "b", "session_token": "t"}), "session_token"),
    ] {
        let config = json!({"handlers": [{"name": "h", "aws": aws}]});
        expect_refused(&Setup::new(config).run(), &format!("handlers[0].aws.{field}"));
    }
}

#[test]
fn an_unknown_field_is_refused_with_the_name_that_was_meant() {
    let misspelt = merged(aws(), json!({"bucket_nam": "b"}));
    let config = json!({"handlers": [handler(), {"name": "two", "aws": misspelt}]});
    let said = expect_refused(&Setup::new(config).run(), "handlers[1].aws.bucket_nam");
    assert!(said.contains("unknown field, did you mean bucket_name?"), "{said}");

    for (config, path, meant) in [
        (json!({"handlers": [handler()], "http_prot": 80}), "http_prot", "http_port"),
        (
            json!({"handlers": [handler()], "limits": {"conections": 1}}),
            "limits.conections",
            "connections",
        ),
        (
            json!({"handlers": [merged(handler(), json!({"cache_tme": 1}))]}),
            "handlers[0].cache_tme",
            "cache_time",
        ),
    ] {
        let said = expect_refused(&Setup::new(config).run(), path);
        assert!(said.contains(&format!("did you mean {meant}?")), "{said}");
    }
    let config = json!({"handlers": [handler()], "entirely_different": 1});
    expect_refused(&Setup::new(config).run(), "entirely_different");
}

#[test]
fn https_needs_a_certificate_a_key_and_a_port_of_its_own() {
    let certificates = Certificates::new();
    let stranger = Certificates::new();
    let whole = json!({
        "handlers": [handler()],
        "https_enabled": true,
        "https_port": 0,
        "https_cert": "bundle.crt",
        "https_key": "cert.key",
    });
    let setup = |config: Value| {
        Setup::new(config)
            .file("bundle.crt", certificates.chain_pem.as_bytes())
            .file("cert.key", certificates.key_pem.as_bytes())
            .file("stranger.key", stranger.key_pem.as_bytes())
            .file("empty.pem", b"")
    };
    for field in ["https_port", "https_cert", "https_key"] {
        let mut config = whole.clone();
        config.as_object_mut().unwrap().remove(field);
        expect_refused(&setup(config).run(), field);
    }
    for (field, value) in [
        ("https_cert", json!("absent")),
        ("https_cert", json!("config.json")),
        ("https_cert", json!("empty.pem")),
        ("https_cert", json!("cert.key")),
        ("https_key", json!("absent")),
        ("https_key", json!("config.json")),
        ("https_key", json!("empty.pem")),
        ("https_key", json!("bundle.crt")),
        ("https_key", json!("stranger.key")),
        ("https_port", json!("443")),
    ] {
        expect_refused(&setup(merged(whole.clone(), json!({field: value}))).run(), field);
    }
    let same = merged(whole, json!({"http_port": 8443, "https_port": 8443}));
    expect_refused(&setup(same).run(), "https_port");
}

#[test]
fn a_port_in_use_is_an_error_that_names_its_field() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = expect_refused(
        &Setup::new(json!({"handlers": [handler()], "http_port": port})).run(),
        "http_port",
    );
    assert!(said.contains(&port.to_string()), "{said}");

    let certificates = Certificates::new();
    let config = json!({
        "handlers": [handler()],
        "https_enabled": true,
        "https_port": port,
        "https_cert": "bundle.crt",
        "https_key": "cert.key",
    });
    let setup = Setup::new(config)
        .file("bundle.crt", certificates.chain_pem.as_bytes())
        .file("cert.key", certificates.key_pem.as_bytes());
    let output = setup.run();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("https_port: "), "{}", stderr(&output));
}

#[test]
fn a_missing_http_port_means_80() {
    // An address of the loopback network that nobody else listens on. Whether we may have port 80 there
    // depends on who runs the tests; that it is 80 shows either way.
    let text = json!({"handlers": [handler()], "address": "127.93.17.5"}).to_string();
    let directory = Directory::new().with("config.json", text.as_bytes());
    let taken = TcpListener::bind("127.93.17.5:80");
    let output = match taken {
        Ok(_held) => run(command(Path::new(PROGRAM), directory.path()).arg("-c=config.json")),
        Err(_) => program(&directory, &["-c=config.json"]),
    };
    let said = expect_refused(&output, "http_port");
    assert!(said.contains("127.93.17.5:80") || said.contains(" 80"), "{said}");
}

#[test]
fn a_secret_may_be_the_name_of_an_environment_variable() {
    let aws =
        json!({"bucket_name": "b", "aws_access": "$TEST_ACCESS", "aws_secret": "$TEST_SECRET"});
    let config = json!({"handlers": [{"name": "h", "aws": aws}]});
    let both =
        Setup::new(config.clone()).env("TEST_ACCESS", "AK").env("TEST_SECRET", "hush").start();
    assert_eq!(both.get("/-/health").status, 200);
    let said = expect_refused(
        &Setup::new(config).env("TEST_ACCESS", "AK").run(),
        "handlers[0].aws.aws_secret",
    );
    assert!(said.contains("TEST_SECRET"), "{said}");
}

#[test]
fn check_opens_no_port_and_says_whether_the_configuration_can_be_used() {
    // The port is taken: a program that tried to listen would fail.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = json!({"handlers": [handler()], "address": "127.0.0.1", "http_port": port});
    let directory = Directory::new().with("config.json", config.to_string().as_bytes());
    let good = program(&directory, &["--check"]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));

    directory.put("config.json", merged(config, json!({"http_port": true})).to_string().as_bytes());
    expect_refused(&program(&directory, &["--check"]), "http_port");
}

#[test]
fn the_address_decides_who_can_connect() {
    let here = Server::start(json!({"handlers": [handler()]}));
    assert!(here.http().ip().is_loopback());
    // Without one it is every address of the machine.
    let text = json!({"handlers": [handler()], "http_port": 0}).to_string();
    let everywhere = Setup::verbatim(&text, false).start();
    let port = everywhere.http().port();
    for address in ["127.0.0.1", "127.0.0.2"] {
        let mut client = Client::connect(format!("{address}:{port}").parse().unwrap());
        assert_eq!(client.get("/-/health").status, 200, "{address}");
    }
}
