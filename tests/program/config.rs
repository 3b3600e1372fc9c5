//! The command line, and configurations that are refused before a port is opened.

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

#[test]
fn the_sample_of_2015_loads_as_it_is() {
    let certificates = Certificates::new();
    let directory = Directory::new()
        .with("config.json", &server::data("sample-config-2015.json"))
        .with("error_image.jpg", &images::jpeg(images::solid(8, 8, RED)))
        .with("bundle.crt", certificates.chain_pem.as_bytes())
        .with("cert.key", certificates.key_pem.as_bytes());
    // config.json is the default.
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
fn the_configuration_option_has_several_spellings() {
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
fn help_and_version_are_written_to_stdout() {
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

// Each field's errors are tested beside the code, in src/config.
#[test]
fn a_configuration_error_has_position_json_path_and_reason() {
    let directory = Directory::new();
    for (text, expected) in [
        (
            "{ // a comment\n  \"handlers\": [\n    oops\n  ]\n}",
            "config.json:3:5: not valid JSON: unexpected word",
        ),
        (
            "{\"handlers\": [\n  {\"name\": \"h\", \"directory\": \".\", \"w\": 1}\n]}",
            "config.json:2:35: handlers[0].w: unknown field",
        ),
        (
            "{\"handlers\": [\n  {\"name\": \"h\", \"aws\": {\"bucket_nam\": \"b\"}}\n]}",
            "config.json:2:25: handlers[0].aws.bucket_nam: unknown field, did you mean bucket_name?",
        ),
        (
            "{\"handlers\": [{\"name\": \"h\",\n\"directory\": \".\", \"cache_path\": \"config.json\"}]}",
            "config.json:2:19: handlers[0].cache_path: config.json: can't be written: ",
        ),
        (
            "{\"handlers\": [{\"name\": \"h\",\n\"aws\": {\"bucket_name\": \"b\", \"ca_file\": \"config.json\"}}]}",
            "config.json:2:29: handlers[0].aws.ca_file: config.json: has no certificate",
        ),
    ] {
        directory.put("config.json", text.as_bytes());
        for arguments in [&["--check"][..], &[]] {
            let output = program(&directory, arguments);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{text}: {said}");
            assert!(said.contains(expected), "no {expected:?} in {said:?}");
            assert!(!said.contains("listening on") && !said.contains("panicked"), "{said}");
        }
    }
    directory.put("config.json", b"{\"handlers\": \"\xff\"}");
    expect_refused(&program(&directory, &[]), "config.json");
}

#[test]
fn https_needs_a_certificate_a_key_and_a_port_of_its_own() {
    let certificates = Certificates::new();
    let other = Certificates::new();
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
            .file("other.key", other.key_pem.as_bytes())
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
        ("https_key", json!("other.key")),
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
    // An address of the loopback network that no other program listens on. Whether port 80 may be opened there
    // depends on the user that runs the tests; either way the error names it.
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
fn edge_and_renderer_read_values_from_the_environment_of_the_start() {
    let directory = Directory::new().with("a.png", &images::png(images::solid(40, 30, RED)));
    let text = r#"{
  "handlers": [{
    "name": "${NAME:-h}",
    "directory": "$ORIGINALS",
    "output_format": "$FORMAT",
    "allowed_formats": "$FORMATS",
    "max_dimension": "${MAX:-20}"
  }],
  "address": "127.0.0.1",
  "http_port": "${PORT:-0}",
  "limits": {"source_max_pixels": "$PIXELS"}
}"#;
    let setup = || {
        Setup::verbatim(text, false)
            .env("ORIGINALS", directory.path().to_str().unwrap())
            .env("FORMAT", "webp")
            .env("FORMATS", "png, jpg")
            .env("MAX", "")
    };
    let server = setup().env("PIXELS", "1200").start();
    let answer = server.get("/h/a.png?w=1000").ok();
    assert_eq!(
        (answer.expect("Content-Type"), images::size_of(&answer.body)),
        ("image/webp", (20, 15))
    );
    server.get("/h/a.gif").failed("format_not_allowed");
    // The renderer enforces it.
    let server = setup().env("PIXELS", "1199").start();
    server.get("/h/a.png").failed("too_many_pixels");

    let said = expect_refused(&setup().env("PIXELS", "many").run(), "limits.source_max_pixels");
    assert!(said.contains("config.json:11:14: ") && said.contains("variable PIXELS: "), "{said}");
    expect_refused(&setup().run(), "limits.source_max_pixels: environment variable PIXELS");
}

#[test]
fn white_space_around_a_secret_is_refused_with_its_position() {
    let text = r#"{
  "handlers": [{
    "name": "h",
    "aws": {
      "bucket_name": "b",
      "aws_access": "AK",
      "aws_secret": "VALUE"
    }
  }]
}"#;
    for (written, environment) in [("hush\\n", "x"), ("$TEST_SECRET", "hush\n"), ("\\thush", "x")] {
        let setup = Setup::verbatim(&text.replace("VALUE", written), false);
        let said = expect_refused(
            &setup.env("TEST_SECRET", environment).run(),
            "handlers[0].aws.aws_secret",
        );
        assert!(said.contains("config.json:7:7: ") && said.contains("white space"), "{said}");
        assert_eq!(said.contains("TEST_SECRET"), written.starts_with('$'), "{said}");
        assert!(!said.contains("hush"), "{said}");
    }
}

#[test]
fn check_tests_the_configuration_without_opening_a_port() {
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
fn the_address_is_the_one_listened_on() {
    let here = Server::start(json!({"handlers": [handler()]}));
    assert!(here.http().ip().is_loopback());
    // Without an address, the server listens on every address of the machine.
    let text = json!({"handlers": [handler()], "http_port": 0}).to_string();
    let everywhere = Setup::verbatim(&text, false).start();
    let port = everywhere.http().port();
    for address in ["127.0.0.1", "127.0.0.2"] {
        let mut client = Client::connect(format!("{address}:{port}").parse().unwrap());
        assert_eq!(client.get("/-/health").status, 200, "{address}");
    }
}
