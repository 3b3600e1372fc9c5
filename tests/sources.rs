//! native/fetch.sh with fake clients that deliver the right archive, a wrong one or none. No network is used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The contents of the right archive.
const RIGHT: &str = "the source of a library\n";

/// A copy of native/ with one library, and fake clients controlled by environment variables.
struct Recipe {
    directory: TempDir,
}

impl Recipe {
    /// The places of the library, each `kind place`.
    fn new(places: &[&str]) -> Recipe {
        let recipe = Recipe { directory: TempDir::new().unwrap() };
        let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("native");
        for script in ["build.sh", "fetch.sh", "debian.sh", "compile.sh", "fetch-sdist.py"] {
            recipe.write(
                &format!("native/{script}"),
                &fs::read_to_string(native.join(script)).unwrap(),
            );
        }
        recipe.write("native/sources.tsv", "# comment\nthing\t1.0\tMIT\n");
        let sha = sha256(RIGHT);
        let rows = places
            .iter()
            .map(|place| format!("thing\t{}\t{sha}\tthing-1.0\n", place.replace(' ', "\t")));
        recipe.write("native/places.tsv", &rows.collect::<String>());

        recipe.client("cargo", "mkdir -p $CARGO_HOME/registry/cache/any; answer crate >$CARGO_HOME/registry/cache/any/thing-sys-3.crate");
        recipe.client(
            "apt-get",
            "echo http://mirror.invalid/debian; echo http://mirror.invalid/debian",
        );
        recipe.client(
            "apt-helper",
            r#"shift 3; echo "pool asked for $1" >>"$LOG_OF_CLIENTS"; answer pool >"$2""#,
        );
        recipe.client("python", r#"case $1 in -c) exit 0 ;; esac; answer sdist >"$4""#);
        recipe.client("curl", r#"while [ "$1" != -o ]; do shift; done; answer url >"$2""#);
        recipe
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A client that logs its call. `answer KIND` prints the archive that the variable KIND selects, or fails.
    fn client(&self, name: &str, script: &str) {
        let text = format!(
            r#"#!/usr/bin/env bash
echo "{name}" >>"$LOG_OF_CLIENTS"
answer() {{
    case $(eval "echo \${{$1:-fails}}") in
    right) printf 'the source of a library\n' ;;
    wrong) printf 'something else\n' ;;
    *) exit 1 ;;
    esac
}}
{script}
"#
        );
        let path = self.write(&format!("bin/{name}"), &text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs build.sh with an option. `answers` are `kind=right` or `kind=wrong`; the other kinds fail. Returns whether it
    /// succeeded, its output, and the clients that were called.
    fn run(
        &self,
        option: &str,
        answers: &[&str],
        given: Option<&Path>,
    ) -> (bool, String, Vec<String>) {
        let log = self.path("clients.log");
        let _ = fs::remove_file(&log);
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command
            .arg(self.path("native/build.sh"))
            .arg(option)
            .env("PATH", path)
            .env("CARGO_HOME", self.path("cargo"))
            .env("APT_HELPER", self.path("bin/apt-helper"))
            .env("PYTHON", self.path("bin/python"))
            .env("LOG_OF_CLIENTS", &log)
            .env("S3IMAGESERVER_NATIVE_ROOT", self.path("root"))
            .env_remove("NATIVE_SOURCES")
            .env_remove("TARGET")
            .envs(answers.iter().filter_map(|answer| answer.split_once('=')));
        if let Some(given) = given {
            command.env("NATIVE_SOURCES", given);
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let called =
            fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect();
        (output.status.success(), String::from_utf8(text).unwrap(), called)
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

const PLACES: [&str; 4] = [
    "crate thing-sys/3",
    "pool main/t/thing_1.0.tar.gz",
    "sdist pything/pything-2.tar.gz",
    "url https://thing.invalid/t.tgz",
];

#[test]
fn first_place_is_used() {
    let recipe = Recipe::new(&PLACES);
    let (works, text, called) = recipe.run("--fetch", &["crate=right"], None);
    assert!(works, "{text}");
    assert_eq!(called, ["cargo"]);
    let archive = recipe.path("root/sources/thing-sys-3.crate");
    assert_eq!(text, format!("thing 1.0 {}\n", archive.display()));
    assert_eq!(fs::read_to_string(archive).unwrap(), RIGHT);

    let (works, _, called) = recipe.run("--fetch", &[], None);
    assert!(works && called.is_empty(), "an existing archive is not fetched again: {called:?}");
}

#[test]
fn later_places_are_fallbacks() {
    for (answers, last, file) in [
        (
            &["pool=right"][..],
            "pool asked for http://mirror.invalid/debian/pool/main/t/thing_1.0.tar.gz",
            "thing_1.0.tar.gz",
        ),
        (
            &["crate=wrong", "pool=right"],
            "pool asked for http://mirror.invalid/debian/pool/main/t/thing_1.0.tar.gz",
            "thing_1.0.tar.gz",
        ),
        (&["pool=wrong", "sdist=right"], "python", "pything-2.tar.gz"),
        (&["url=right"], "curl", "t.tgz"),
    ] {
        let recipe = Recipe::new(&PLACES);
        let (works, text, called) = recipe.run("--fetch", answers, None);
        assert!(works, "{answers:?}: {text}");
        assert_eq!(called.last().unwrap(), last, "{answers:?}");
        let archive = recipe.path("root/sources").join(file);
        assert_eq!(fs::read_to_string(archive).unwrap(), RIGHT, "{answers:?}");
    }
}

#[test]
fn missing_source_is_reported_with_its_places() {
    let recipe = Recipe::new(&PLACES);
    let (works, text, called) = recipe.run("--fetch", &["url=wrong"], None);
    assert!(!works);
    assert_eq!(called.last().unwrap(), "curl");
    assert!(text.contains("the SHA-256 of url https://thing.invalid/t.tgz is not "), "{text}");
    assert!(text.contains("thing 1.0 could not be fetched from any of its places:"), "{text}");
    for place in PLACES {
        assert!(text.contains(&format!("\n  {place}\n")), "{place}: {text}");
    }
    let left = fs::read_dir(recipe.path("root/sources")).unwrap().count();
    assert_eq!(left, 0, "no archive with a wrong hash remains");
}

#[test]
fn native_sources_directory_replaces_all_places() {
    let recipe = Recipe::new(&PLACES);
    let given = recipe.write("given/t.tgz", RIGHT);
    let (works, text, called) = recipe.run("--fetch", &["crate=right"], given.parent());
    assert!(works && called.is_empty(), "{text} {called:?}");

    let recipe = Recipe::new(&PLACES);
    let given = recipe.write("given/t.tgz", "something else\n");
    let (works, text, called) = recipe.run("--fetch", &["crate=right"], given.parent());
    assert!(!works && called.is_empty(), "{text} {called:?}");
    assert!(text.contains("t.tgz is not "), "{text}");
    assert!(text.contains("thing-sys-3.crate thing_1.0.tar.gz pything-2.tar.gz t.tgz"), "{text}");
}

#[test]
fn check_sources_tests_every_place_and_needs_one_good_one() {
    let recipe = Recipe::new(&PLACES);
    let (works, text, called) =
        recipe.run("--check-sources", &["crate=wrong", "sdist=right"], None);
    assert!(works, "{text}");
    for client in ["cargo", "apt-helper", "python", "curl"] {
        assert!(called.iter().any(|name| name == client), "{client}: {called:?}");
    }
    let rows: Vec<Vec<&str>> =
        text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let answers: Vec<&[&str]> = rows.iter().map(|row| &row[row.len() - 2..]).collect();
    assert_eq!(answers, [["yes", "wrong"], ["no", "-"], ["yes", "right"], ["no", "-"]]);

    let (works, text, _) = recipe.run("--check-sources", &["crate=wrong"], None);
    assert!(!works);
    assert!(text.contains("thing 1.0 has no good place"), "{text}");
}

#[test]
fn sources_have_two_places_with_a_hash_and_no_suite() {
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("native");
    let table = |name: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(native.join(name)).unwrap();
        let rows = text.lines().filter(|line| !line.starts_with('#'));
        rows.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    };
    let places = table("places.tsv");
    for source in table("sources.tsv") {
        let of_source: Vec<_> = places.iter().filter(|place| place[0] == source[0]).collect();
        assert!(of_source.len() >= 2, "{} has {} places", source[0], of_source.len());
    }
    for place in &places {
        assert_eq!(place.len(), 5, "{place:?}");
        assert!(
            place[3].len() == 64 && place[3].bytes().all(|digit| digit.is_ascii_hexdigit()),
            "{place:?}"
        );
        assert!(!place[2].contains("bookworm") && !place[2].contains("trixie"), "{place:?}");
    }
}
