//! supply/audit.py and supply/sbom.py with fictitious versions, advisories and a fictitious native build, offline.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory with one file.
fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// A script of supply/, offline and without the caller's settings.
fn script(name: &str) -> Command {
    let mut command = Command::new(root().join("supply").join(name));
    command.env("CARGO_NET_OFFLINE", "true").env_remove("ADVISORY_DB").env_remove("TARGET");
    command
}

/// Whether a command succeeded, and its output.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Audits C libraries with these versions and rows; `|` separates fields.
fn audit(versions: &str, rows: &[&str]) -> (bool, String) {
    let directory = TempDir::new().unwrap();
    let versions = write(&directory, "versions.txt", versions);
    let advisories = write(&directory, "advisories.tsv", &rows.join("\n").replace('|', "\t"));
    run(script("audit.py")
        .arg("libraries")
        .arg("--versions")
        .arg(versions)
        .arg("--advisories")
        .arg(advisories))
}

#[test]
fn audit_fails_for_an_open_reachable_advisory() {
    let (passes, text) =
        audit("libx 1.2\n", &["CVE-2026-1111|libx|-|1.3|high|yes|Its loader is used."]);
    assert!(!passes);
    assert!(text.contains("FAILED: open and reachable: CVE-2026-1111 in libx 1.2\n"), "{text}");
}

#[test]
fn audit_prints_an_open_unreachable_advisory_and_passes() {
    let (passes, text) =
        audit("libx 1.2\n", &["CVE-2026-1111|libx|-|-|high|no|Its loader is blocked."]);
    assert!(passes, "{text}");
    assert!(
        text.contains(
            "not reachable: CVE-2026-1111 (high; no fix)\n      Its loader is blocked.\n"
        ),
        "{text}"
    );
}

#[test]
fn audit_compares_a_version_with_the_fixes_of_its_release() {
    let cases = [
        // (linked, since, fixed, whether the advisory is open)
        ("1.2", "-", "1.3", true),
        ("1.3", "-", "1.3", false),
        ("1.10", "-", "1.3", false),
        ("1.2", "1.3", "1.4", false),
        ("1.3", "1.3", "1.4", true),
        ("2.74.6-2+deb12u8", "-", "2.74.6-2+deb12u9 2.84.4-3~deb13u2", true),
        ("2.74.6-2+deb12u9", "-", "2.74.6-2+deb12u9 2.84.4-3~deb13u2", false),
        ("2.74.6-2+deb12u10", "-", "2.74.6-2+deb12u9 2.84.4-3~deb13u2", false),
        // A fix in an older release says nothing of a newer upstream version.
        ("2.80.0-1", "-", "2.74.6-2+deb12u9 2.84.4-3~deb13u2", true),
        ("2.84.4-3~deb13u1", "-", "2.74.6-2+deb12u9 2.84.4-3~deb13u2", true),
        ("2.84.4-3~deb13u2", "-", "2.84.4-3~deb13u2 2.74.6-2+deb12u9", false),
        ("2.88.0-1", "-", "2.74.6-2+deb12u9 2.84.4-3~deb13u2", false),
        // A package's fix does not fix upstream's own source.
        ("3.12.1", "-", "3.12.1-1+deb13u1 3.14.1", true),
        ("1.2", "-", "1.3 patch:patches/libvips-no-gio.patch", false),
        ("1.2", "-", "1.3 patch:patches/none.patch", true),
    ];
    for (linked, since, fixed, is_open) in cases {
        let row = format!("CVE-2026-1111|libx|{since}|{fixed}|high|yes|Its loader is used.");
        let (passes, text) = audit(&format!("libx {linked}\n"), &[&row]);
        assert_eq!(passes, !is_open, "{linked}, since {since}, fixed {fixed}: {text}");
    }
}

#[test]
fn audit_requires_a_row_for_each_library() {
    let row = "-|libx|-|-|-|-|No advisory known as of 2026-11-29.";
    let (passes, text) = audit("libx 1.2\n", &[row]);
    assert!(passes, "{text}");
    let (passes, text) = audit("libx 1.2\nliby 3\n", &[row]);
    assert!(!passes);
    assert!(text.contains("has no row for liby:"), "{text}");
}

#[test]
fn audit_reports_line_and_field_of_a_malformed_row() {
    let good = "CVE-2026-1111|libx|-|1.3|high|no|Its loader is blocked.";
    let cases = [
        ("CVE-2026-1111|libx|-|1.3|high|no", "advisories.tsv:2: 6 fields"),
        ("CVE-26-1|libx|-|1.3|high|no|Blocked.", "advisories.tsv:2: ids: 'CVE-26-1' is not"),
        ("CVE-2026-1111|libx|new|1.3|high|no|Blocked.", "advisories.tsv:2: since: 'new' is not"),
        ("CVE-2026-1111|libx|-|soon|high|no|Blocked.", "advisories.tsv:2: fixed: 'soon' is not"),
        (
            "CVE-2026-1111|libx|-|1.3|bad|no|Blocked.",
            "advisories.tsv:2: severity: 'bad' is not one of low",
        ),
        (
            "CVE-2026-1111|libx|-|1.3|high|maybe|Blocked.",
            "advisories.tsv:2: reachable: 'maybe' is not yes or no",
        ),
        ("CVE-2026-1111|libx|-|1.3|high|no|", "advisories.tsv:2: reason: is empty"),
        (
            "-|libx|-|1.3|-|-|No advisory known as of 2026-11-29.",
            "advisories.tsv:2: fixed: '1.3' is not a dash",
        ),
        (
            "-|libx|-|-|-|-|No advisory known.",
            "advisories.tsv:2: reason: 'No advisory known.' is not",
        ),
    ];
    for (row, wanted) in cases {
        let (passes, text) = audit("libx 1.2\n", &[good, row]);
        assert!(!passes && text.contains(wanted), "{row}: {text}");
    }
    let (passes, text) = audit("libx\n", &[good]);
    assert!(
        !passes && text.contains("versions.txt:1: 'libx' is not a name and a version"),
        "{text}"
    );
}

#[test]
fn audit_has_a_row_for_every_linked_library() {
    let names = |table: &str, column: usize| -> BTreeSet<String> {
        let text = fs::read_to_string(root().join("native").join(table)).unwrap();
        let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        rows.map(|row| row.split('\t').nth(column).unwrap().to_owned()).collect()
    };
    let linked = &names("sources.tsv", 0) | &names("archives.tsv", 0);
    let versions: String = linked.iter().map(|name| format!("{name} 0\n")).collect();
    let directory = TempDir::new().unwrap();
    let versions = write(&directory, "versions.txt", &versions);
    let (_, text) = run(script("audit.py").arg("libraries").arg("--versions").arg(versions));
    assert!(
        text.contains(&format!("{} linked", linked.len())) && !text.contains("NOTHING KNOWN"),
        "{text}"
    );
    assert!(!text.contains("rows may go"), "{text}");
}

/// Audits crates with a stub of cargo-audit that reports an advisory on one crate of Cargo.lock.
fn audit_crates(name: &str) -> (bool, String) {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
    let (version, _) = after.split_once('"').unwrap();
    let report = json!({
        "database": {"advisory-count": 1, "last-updated": null},
        "lockfile": {"dependency-count": 1},
        "vulnerabilities": {"list": [{
            "advisory": {"id": "RUSTSEC-2026-9999", "title": "It hurts"},
            "versions": {"patched": [">=99"]},
            "package": {"name": name, "version": version},
        }]},
        "warnings": {},
    });
    let directory = TempDir::new().unwrap();
    let answer = format!(
        "#!/bin/sh\ncase $2 in --version) echo cargo-audit 0 ;; *) echo '{report}'; exit 1 ;; esac\n"
    );
    let program = write(&directory, "bin/cargo-audit", &answer);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    run(script("audit.py").arg("crates").env("PATH", path))
}

#[test]
fn audit_fails_for_an_advisory_on_a_crate_that_ships() {
    let (passes, text) = audit_crates("httparse");
    assert!(!passes);
    assert!(text.contains("SHIPS: RUSTSEC-2026-9999 in httparse"), "{text}");
}

#[test]
fn audit_reports_an_advisory_on_a_test_crate_and_passes() {
    let (passes, text) = audit_crates("tokio");
    assert!(passes, "{text}");
    assert!(text.contains("tests and examples only: RUSTSEC-2026-9999 in tokio"), "{text}");
}

/// A native build with every linked library, and the archive of one.
fn native() -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut versions = String::new();
    for table in ["sources.tsv", "archives.tsv"] {
        let text = fs::read_to_string(root().join("native").join(table)).unwrap();
        for row in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<_> = row.split('\t').collect();
            // Debian's versions have a plus sign, which is escaped in a package URL.
            let version = if table == "sources.tsv" { fields[1] } else { "1.0-1+deb12u1" };
            versions += &format!("{} {version}\n", fields[0]);
        }
    }
    write(&directory, "versions.txt", &versions);
    write(&directory, "lib/libexpat.a", "an archive");
    write(&directory, "complete", "");
    directory
}

/// The text of a native build's bill of materials.
fn sbom(native: &TempDir) -> String {
    let mut command = script("sbom.py");
    command
        .args(["--output", "-"])
        .env("S3IMAGESERVER_NATIVE", native.path())
        .env("SOURCE_DATE_EPOCH", "1764417600");
    let (succeeds, text) = run(&mut command);
    assert!(succeeds, "{text}");
    text
}

/// Validates a document against the CycloneDX schema; returns the error, if any.
fn validate(document: &Value) -> Option<String> {
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    for name in ["bom-1.6.SNAPSHOT", "spdx.SNAPSHOT", "jsf-0.82.SNAPSHOT"] {
        let schema =
            fs::read(root().join(format!("tests/data/cyclonedx/{name}.schema.json"))).unwrap();
        let schema = serde_json::from_slice(&schema).unwrap();
        compiler
            .add_resource(&format!("http://cyclonedx.org/schema/{name}.schema.json"), schema)
            .unwrap();
    }
    let mut schemas = boon::Schemas::new();
    let schema = compiler
        .compile("http://cyclonedx.org/schema/bom-1.6.SNAPSHOT.schema.json", &mut schemas)
        .unwrap();
    schemas.validate(document, schema).err().map(|error| format!("{error:#}"))
}

/// The component whose package URL has this prefix.
fn component<'a>(document: &'a Value, purl: &str) -> Option<&'a Value> {
    let mut components = document["components"].as_array().unwrap().iter();
    components.find(|component| component["purl"].as_str().unwrap().starts_with(purl))
}

#[test]
fn sbom_is_valid_and_reproducible() {
    let native = native();
    let text = sbom(&native);
    assert_eq!(text, sbom(&native), "two runs differ");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(validate(&document), None);
    assert_eq!(document["metadata"]["timestamp"], "2025-11-29T12:00:00Z");
    // The schema must refuse invalid documents.
    for (pointer, wrong) in [
        ("/bomFormat", json!("SPDX")),
        ("/serialNumber", json!("urn:uuid:1")),
        ("/components/0/type", json!("crate")),
        ("/components/0/hashes/0/content", json!("0")),
        ("/metadata/timestamp", json!("yesterday")),
    ] {
        let mut broken = document.clone();
        *broken.pointer_mut(pointer).unwrap() = wrong;
        assert!(validate(&broken).is_some(), "{pointer} may be anything");
    }
}

#[test]
fn sbom_lists_exactly_the_linked_components() {
    let document: Value = serde_json::from_str(&sbom(&native())).unwrap();
    let server = &document["metadata"]["component"];
    assert_eq!(
        (&server["name"], &server["version"]),
        (&json!("s3imageserver"), &json!(env!("CARGO_PKG_VERSION")))
    );

    let httparse = component(&document, "pkg:cargo/httparse@").unwrap();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let hash = httparse["hashes"][0]["content"].as_str().unwrap();
    assert!(
        lock.contains(&format!("name = \"httparse\"\nversion = {}\n", httparse["version"])),
        "{httparse}"
    );
    assert!(lock.contains(&format!("checksum = \"{hash}\"")), "{httparse}");
    // Crates of tests and build scripts, and a procedural macro.
    for name in ["tokio", "serde_derive", "syn", "boon"] {
        assert_eq!(component(&document, &format!("pkg:cargo/{name}@")), None);
    }

    let expat = component(&document, "pkg:generic/expat@").unwrap();
    assert_eq!(expat["purl"], "pkg:generic/expat@1.0-1%2Bdeb12u1");
    assert_eq!(expat["components"][0]["name"], "libexpat.a");
    let vips = component(&document, "pkg:generic/libvips@").unwrap();
    assert_eq!(vips["licenses"], json!([{"expression": "LGPL-2.1-or-later"}]));
    assert_eq!(vips["externalReferences"][0]["type"], "source-distribution");
    let patch = &vips["pedigree"]["patches"][0];
    assert_eq!((&patch["type"], &patch["resolves"]), (&json!("unofficial"), &Value::Null));
}

#[test]
fn sbom_has_spdx_licences_and_dependencies_between_its_components() {
    let document: Value = serde_json::from_str(&sbom(&native())).unwrap();
    let spdx = fs::read(root().join("tests/data/cyclonedx/spdx.SNAPSHOT.schema.json")).unwrap();
    let spdx: Value = serde_json::from_slice(&spdx).unwrap();
    let known: BTreeSet<_> =
        spdx["enum"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let components = document["components"].as_array().unwrap();
    for component in components {
        let licence = &component["licenses"][0];
        let Some(expression) = licence["expression"].as_str() else {
            assert!(licence["license"]["name"].is_string(), "{component}");
            continue;
        };
        for word in expression.split(|c: char| c.is_whitespace() || "()".contains(c)) {
            assert!(
                ["", "AND", "OR", "WITH"].contains(&word) || known.contains(word),
                "{component}"
            );
        }
    }

    let reference = |component: &Value| component["bom-ref"].as_str().unwrap().to_owned();
    let mut references: BTreeSet<_> = components.iter().map(reference).collect();
    assert_eq!(references.len(), components.len(), "two components have one reference");
    references.insert(reference(&document["metadata"]["component"]));
    let mut seen = BTreeSet::new();
    for dependency in document["dependencies"].as_array().unwrap() {
        seen.insert(dependency["ref"].as_str().unwrap().to_owned());
        for called in dependency["dependsOn"].as_array().unwrap() {
            assert!(references.contains(called.as_str().unwrap()), "{called} is no component");
        }
    }
    assert_eq!(seen, references);
}

#[test]
fn sbom_fails_for_a_library_that_no_table_lists() {
    let native = native();
    write(&native, "versions.txt", "libx 1\n");
    let (succeeds, text) =
        run(script("sbom.py").args(["--output", "-"]).env("S3IMAGESERVER_NATIVE", native.path()));
    assert!(
        !succeeds && text.contains("has libx, which is neither in native/sources.tsv"),
        "{text}"
    );
}
