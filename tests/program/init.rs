//! `s3imageserver init`: the configuration that it prints is accepted, and serves images.

use std::path::Path;
use std::process::Output;

use crate::support::directory::Directory;
use crate::support::images::{self, RED};
use crate::support::s3::{IMAGES, S3};
use crate::support::server::{PROGRAM, Setup, command, run};

fn program(directory: &Directory, arguments: &[&str]) -> Output {
    run(command(Path::new(PROGRAM), directory.path()).args(arguments))
}

#[test]
fn init_prints_a_configuration_that_check_accepts() {
    let directory = Directory::new();
    let output = program(&directory, &["init", "--bucket", "my-bucket", "--region", "eu-west-1"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    directory.put("config.json", &output.stdout);
    let output = program(&directory, &["--check"]);
    assert!(output.status.success(), "{output:?}");
    // The command itself creates no file.
    let empty = Directory::new();
    program(&empty, &["init", "--bucket", "b"]);
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn init_prints_a_configuration_that_serves() {
    let s3 = S3::start();
    s3.put(&IMAGES, "a.png", &images::png(images::solid(40, 30, RED)));
    let directory = Directory::new();
    let endpoint = s3.aws(&IMAGES)["endpoint"].as_str().unwrap().to_owned();
    let output = program(&directory, &["init", "--bucket", IMAGES.name, "--endpoint", &endpoint]);
    let text = String::from_utf8(output.stdout).unwrap();
    let server = Setup::verbatim(&text, false)
        .env("PORT", "0")
        .env("AWS_ACCESS_KEY_ID", IMAGES.access)
        .env("AWS_SECRET_ACCESS_KEY", IMAGES.secret)
        .start();
    let answer = server.get("/images/a.png?w=20").ok();
    assert_eq!(images::size_of(&answer.body), (20, 15));
}

#[test]
fn init_with_an_invalid_value_exits_with_2() {
    let directory = Directory::new();
    for (arguments, part) in [
        (&["init"][..], "--bucket"),
        (&["init", "--bucket", "a/b"], "--bucket: may contain"),
        (&["init", "--bucket", "b", "--endpoint", "minio"], "--endpoint: must be"),
    ] {
        let output = program(&directory, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part) && output.stdout.is_empty(), "{said}");
    }
}
