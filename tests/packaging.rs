//! packaging/dist.sh with a stub in place of the binary: contents and reproducibility of the packages.
//!
//! It takes the tools that the script takes: tar, gzip and dpkg-deb.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAM: &str = env!("CARGO_BIN_EXE_s3imageserver");
/// 2026-01-02T03:04:05Z
const EPOCH: &str = "1767323045";
const VERSION: &str = "1.2.3";

/// `e_machine` of an ELF header.
const X86_64: u8 = 0x3e;
const AARCH64: u8 = 0xb7;

/// The script's inputs and output directory.
struct Packaging(TempDir);

impl Packaging {
    fn new() -> Packaging {
        let packaging =
            Packaging(tempfile::Builder::new().prefix("s3imageserver-test-").tempdir().unwrap());
        packaging.put("licences/libvips-COPYING", b"the text of libvips\n");
        packaging.put("crates.txt", b"the texts of the crates\n");
        packaging.put("sbom.json", b"{}\n");
        packaging.put_binary(X86_64);
        packaging
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// An ELF header for this machine and bytes that compress moderately.
    fn put_binary(&self, machine: u8) {
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
        bytes.extend([machine, 0]);
        let mut state: u32 = 1;
        bytes.extend(
            std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 28) as u8
            })
            .take(300_000),
        );
        self.put("binary", &bytes);
        fs::set_permissions(self.path("binary"), Permissions::from_mode(0o700)).unwrap();
    }

    /// The script with its inputs and without the settings of this machine.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(ROOT).join("packaging/dist.sh"));
        command.args(arguments).current_dir(self.0.path());
        for name in ["TARGET", "ARCH", "MAINTAINER", "TAR_OPTIONS", "GZIP", "XZ_DEFAULTS", "XZ_OPT"]
        {
            command.env_remove(name);
        }
        command
            .env("BINARY", self.path("binary"))
            .env("LICENCES", self.path("licences"))
            .env("CRATE_LICENCES", self.path("crates.txt"))
            .env("SBOM", self.path("sbom.json"))
            .env("OUT", self.path("out"))
            .env("ARCH", "x86_64")
            .env("VERSION", VERSION)
            .env("REVISION", "0123456789abcdef")
            .env("SOURCE_DATE_EPOCH", EPOCH);
        command
    }

    /// Packs these formats.
    #[track_caller]
    fn pack(&self, arguments: &[&str]) {
        succeeded(&mut self.command(arguments));
    }

    /// The file of this name in `out`, unpacked by tar.
    #[track_caller]
    fn unpacked(&self, name: &str) -> TempDir {
        let place = tempfile::tempdir().unwrap();
        succeeded(
            Command::new("tar")
                .arg("-xf")
                .arg(self.path("out").join(name))
                .arg("-C")
                .arg(place.path()),
        );
        place
    }
}

#[track_caller]
fn succeeded(command: &mut Command) -> Vec<u8> {
    let Output { stdout, stderr, status } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    stdout
}

#[track_caller]
fn text(command: &mut Command) -> String {
    String::from_utf8(succeeded(command)).unwrap()
}

/// Path to mode and owner, as tar lists them: `-rwxr-xr-x 0/0 …`.
#[track_caller]
fn listed(lines: &str) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    for line in lines.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, _, date, time, path] = fields[..] else { panic!("{line}") };
        assert_eq!((date, &time[..5]), ("2026-01-02", "03:04"), "{line}");
        let before = entries.insert(path.to_owned(), format!("{mode} {owner}"));
        assert_eq!(before, None, "{path} is there twice");
    }
    entries
}

#[track_caller]
fn list(archive: &Path) -> BTreeMap<String, String> {
    listed(&text(
        Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(archive).env("TZ", "UTC"),
    ))
}

/// Fails unless these are the entries, apart from directories of root with the mode 755.
#[track_caller]
fn expect_entries(entries: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let ordinary = "drwxr-xr-x 0/0";
    let found: Vec<(&str, &str)> = entries
        .iter()
        .map(|(path, kind)| (path.as_str(), kind.as_str()))
        .filter(|(_, kind)| *kind != ordinary)
        .collect();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// The samples in a directory.
fn samples(directory: &str) -> Vec<String> {
    let names = [
        "LICENCES.tsv",
        "anim.gif",
        "logo.png",
        "photo.jpg",
        "portrait.jpg",
        "seedling.webp",
        "transparent.png",
    ];
    names.iter().map(|name| format!("{directory}/{name}")).collect()
}

/// README.md, SECURITY.md, docs/ and contrib/ with their modes, in a directory.
fn pages(directory: &str) -> Vec<(String, &'static str)> {
    let root = Path::new(ROOT);
    let mut files = vec![root.join("README.md"), root.join("SECURITY.md")];
    for directory in ["docs", "docs/images", "contrib"] {
        files
            .extend(fs::read_dir(root.join(directory)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let is_tool = |path: &&PathBuf| path.parent().unwrap().ends_with("contrib") && path.is_dir();
    let tools: Vec<PathBuf> = files.iter().filter(is_tool).cloned().collect();
    for directory in tools {
        files.extend(fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()));
    }
    let is_page = |path: &PathBuf| path.is_file() && !path.ends_with("docs/options.sh");
    let entry = |path: &Path| {
        let is_program = fs::metadata(path).unwrap().permissions().mode() & 0o100 != 0;
        let name = path.strip_prefix(root).unwrap().display().to_string();
        (format!("{directory}{name}"), if is_program { PROGRAM_FILE } else { FILE })
    };
    files.iter().filter(|path| is_page(path)).map(|path| entry(path)).collect()
}

fn with_pages<'e>(
    mut entries: Vec<(&'e str, &'e str)>,
    pages: &'e [(String, &'static str)],
) -> Vec<(&'e str, &'e str)> {
    entries.extend(pages.iter().map(|(path, kind)| (path.as_str(), *kind)));
    entries
}

fn with_samples<'e>(
    entries: &[(&'e str, &'e str)],
    samples: &'e [String],
) -> Vec<(&'e str, &'e str)> {
    let samples = samples.iter().map(|path| (path.as_str(), FILE));
    entries.iter().copied().chain(samples).collect()
}

const FILE: &str = "-rw-r--r-- 0/0";
const PROGRAM_FILE: &str = "-rwxr-xr-x 0/0";

fn digest(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    format!("{:x}", Sha256::digest(bytes))
}

/// Fails unless the program accepts this configuration in this directory.
#[track_caller]
fn expect_accepted(configuration: &str, directory: &Path) {
    let said =
        text(Command::new(PROGRAM).args(["--check", "-c", configuration]).current_dir(directory));
    assert_eq!(said, format!("{configuration}: ok\n"));
}

/// Fails unless a packaged configuration is accepted, with its absolute paths moved below the unpacked package.
#[track_caller]
fn expect_accepted_below(configuration: &str, root: &Path) {
    let written = fs::read_to_string(root.join(configuration)).unwrap();
    assert!(written.contains("\"/usr/share/") && written.contains("\"/var/cache/s3imageserver\""));
    let moved = written
        .replace("\"/usr/", &format!("\"{}/usr/", root.display()))
        .replace("\"/var/", &format!("\"{}/var/", root.display()));
    fs::write(root.join("moved.json"), moved).unwrap();
    expect_accepted("moved.json", root);
}

#[test]
fn packages_are_reproducible() {
    let one = Packaging::new();
    let two = Packaging::new();
    one.pack(&[]);
    // With another umask, time zone and locale, and files of another age.
    let age = fs::File::open(two.path("binary")).unwrap();
    age.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let mut script = two.command(&[]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 077; exec \"$0\""])
        .arg(script.get_program())
        .current_dir(two.path(""));
    for (name, value) in script.env("TZ", "Asia/Tokyo").env("LC_ALL", "C.UTF-8").get_envs() {
        if let Some(value) = value {
            command.env(name, value)
        } else {
            command.env_remove(name)
        };
    }
    succeeded(&mut command);
    let sums =
        |packaging: &Packaging| fs::read_to_string(packaging.path("out/SHA256SUMS")).unwrap();
    assert_eq!(sums(&one), sums(&two));
    let names: Vec<String> =
        sums(&one).lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect();
    assert_eq!(
        names,
        [
            "s3imageserver-1.2.3-linux-amd64.tar.gz",
            "s3imageserver-1.2.3-oci-amd64.tar",
            "s3imageserver_1.2.3_amd64.deb"
        ]
    );
    succeeded(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(one.path("out")),
    );
}

#[test]
fn tarball_works_in_place() {
    let packaging = Packaging::new();
    packaging.pack(&["tar"]);
    let name = "s3imageserver-1.2.3-linux-amd64";
    let file = format!("{name}.tar.gz");
    let entries = list(&packaging.path("out").join(&file));
    let short = |path: &str| {
        path.strip_prefix(&format!("{name}/")).unwrap_or_else(|| panic!("{path}")).to_owned()
    };
    let entries = entries.into_iter().map(|(path, kind)| (short(&path), kind)).collect();
    let samples = samples("examples/images");
    let pages = pages("");
    let expected = [
        ("CHANGELOG.md", FILE),
        ("LICENSE", FILE),
        ("LICENSE-APACHE", FILE),
        ("LICENSE-MIT", FILE),
        ("NOTICE", FILE),
        ("config.example.json", FILE),
        ("error_image.jpg", FILE),
        ("licences/libvips-COPYING", FILE),
        ("licences/rust-crates.txt", FILE),
        ("s3imageserver", PROGRAM_FILE),
        ("s3imageserver.cdx.json", FILE),
        ("s3imageserver.service", FILE),
    ];
    expect_entries(&entries, &with_pages(with_samples(&expected, &samples), &pages));
    let place = packaging.unpacked(&file);
    let root = place.path().join(name);
    assert_eq!(digest(&root.join("s3imageserver")), digest(&packaging.path("binary")));
    expect_accepted("config.example.json", &root);
}

#[test]
fn debian_package_has_its_fields_and_files() {
    let packaging = Packaging::new();
    packaging.pack(&["deb"]);
    let file = packaging.path("out/s3imageserver_1.2.3_amd64.deb");
    let deb = |option: &str| {
        let mut command = Command::new("dpkg-deb");
        command.arg(option).arg(&file).env("TZ", "UTC").env("LC_ALL", "C");
        command
    };
    for (field, expected) in [
        ("Package", "s3imageserver"),
        ("Version", "1.2.3"),
        ("Architecture", "amd64"),
        ("Depends", ""),
        ("Section", "web"),
        ("Priority", "optional"),
    ] {
        assert_eq!(text(deb("--field").arg(field)).trim_end(), expected, "{field}");
    }
    for field in ["Maintainer", "Description", "Installed-Size"] {
        assert!(!text(deb("--field").arg(field)).trim().is_empty(), "{field}");
    }
    // Numeric owners, which dpkg-deb's own list does not show.
    let data = packaging.path("data.tar");
    fs::write(&data, succeeded(&mut deb("--fsys-tarfile"))).unwrap();
    let entries = list(&data);
    let samples = samples("./usr/share/s3imageserver/samples");
    let pages = pages("./usr/share/doc/s3imageserver/");
    let expected = [
        ("./etc/s3imageserver/config.json", FILE),
        ("./usr/bin/s3imageserver", PROGRAM_FILE),
        ("./usr/lib/systemd/system/s3imageserver.service", FILE),
        ("./usr/share/doc/s3imageserver/CHANGELOG.md.gz", FILE),
        ("./usr/share/doc/s3imageserver/NOTICE", FILE),
        ("./usr/share/doc/s3imageserver/changelog.gz", FILE),
        ("./usr/share/doc/s3imageserver/copyright", FILE),
        ("./usr/share/doc/s3imageserver/examples/config.example.json", FILE),
        ("./usr/share/doc/s3imageserver/licences/libvips-COPYING", FILE),
        ("./usr/share/doc/s3imageserver/licences/rust-crates.txt", FILE),
        ("./usr/share/doc/s3imageserver/s3imageserver.cdx.json", FILE),
        ("./usr/share/lintian/overrides/s3imageserver", FILE),
    ];
    expect_entries(&entries, &with_pages(with_samples(&expected, &samples), &pages));

    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    let control = place.path().join("control");
    succeeded(deb("--extract").arg(&root));
    succeeded(deb("--control").arg(&control));
    assert_eq!(
        fs::read_to_string(control.join("conffiles")).unwrap(),
        "/etc/s3imageserver/config.json\n"
    );
    succeeded(
        Command::new("md5sum")
            .args(["--check", "--strict"])
            .arg(control.join("md5sums"))
            .current_dir(&root),
    );
    let sums = fs::read_to_string(control.join("md5sums")).unwrap();
    assert_eq!(sums.lines().count(), entries.values().filter(|kind| kind.starts_with('-')).count());
    for script in ["postinst", "prerm", "postrm"] {
        let path = control.join(script);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755, "{script}");
        succeeded(Command::new("sh").arg("-n").arg(path));
    }
    expect_accepted_below("etc/s3imageserver/config.json", &root);
    let unit =
        fs::read_to_string(root.join("usr/lib/systemd/system/s3imageserver.service")).unwrap();
    assert!(
        unit.contains("\nExecStart=/usr/bin/s3imageserver -c /etc/s3imageserver/config.json\n"),
        "{unit}"
    );
    assert!(!unit.contains("/usr/local/"), "{unit}");
    let copyright = fs::read_to_string(root.join("usr/share/doc/s3imageserver/copyright")).unwrap();
    let mit = "\nLicense: Expat\n Permission is hereby granted, free of charge,";
    assert!(copyright.contains(mit) && !copyright.contains('@'), "{copyright}");
}

#[test]
fn debian_version_of_a_pre_release_sorts_before_the_release() {
    let packaging = Packaging::new();
    succeeded(packaging.command(&["deb"]).env("VERSION", "1.0.0-rc.1"));
    let file = packaging.path("out/s3imageserver_1.0.0-rc.1_amd64.deb");
    let version = text(Command::new("dpkg-deb").arg("--field").arg(file).arg("Version"));
    assert_eq!(version, "1.0.0~rc.1\n");
}

/// The blob of a descriptor; verifies its digest and size.
#[track_caller]
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let name = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let path = layout.join("blobs/sha256").join(name);
    assert_eq!(digest(&path), name);
    assert_eq!(
        Some(fs::metadata(&path).unwrap().len()),
        descriptor["size"].as_u64(),
        "{descriptor}"
    );
    path
}

#[track_caller]
fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn oci_image_matches_its_digests() {
    let packaging = Packaging::new();
    packaging.pack(&["oci"]);
    let file = "s3imageserver-1.2.3-oci-amd64.tar";
    let entries = list(&packaging.path("out").join(file));
    assert!(entries.iter().all(|(path, kind)| path.ends_with('/') || kind == FILE), "{entries:?}");
    let place = packaging.unpacked(file);
    let layout = place.path();
    assert_eq!(json(&layout.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&layout.join("index.json"));
    let found = &index["manifests"][0];
    assert_eq!(found["platform"], serde_json::json!({"architecture": "amd64", "os": "linux"}));
    assert_eq!(found["annotations"]["org.opencontainers.image.ref.name"], "s3imageserver:1.2.3");
    let manifest = json(&blob(layout, found));
    assert_eq!(manifest["mediaType"], found["mediaType"]);
    let config_blob = blob(layout, &manifest["config"]);
    let layer = blob(layout, &manifest["layers"][0]);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(layout.join("blobs/sha256")).unwrap().count(), 3);
    // Docker's manifest refers to the same blobs.
    let docker = json(&layout.join("manifest.json"));
    assert_eq!(layout.join(docker[0]["Config"].as_str().unwrap()), config_blob);
    assert_eq!(layout.join(docker[0]["Layers"][0].as_str().unwrap()), layer);

    let config = json(&config_blob);
    assert_eq!((&config["architecture"], &config["os"]), (&"amd64".into(), &"linux".into()));
    assert_eq!(config["created"], "2026-01-02T03:04:05Z");
    let tar = succeeded(Command::new("gzip").arg("-dc").arg(&layer));
    let diff = format!("sha256:{:x}", Sha256::digest(&tar));
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([diff]));
    let run = &config["config"];
    assert_eq!(run["User"], "65534:65534");
    assert_eq!(run["ExposedPorts"], serde_json::json!({"8080/tcp": {}}));
    let serve = ["/s3imageserver", "-c", "/etc/s3imageserver/config.json"];
    assert_eq!(run["Entrypoint"], serde_json::json!(serve));
    let health = ["CMD", "/s3imageserver", "health", "-c", "/etc/s3imageserver/config.json"];
    assert_eq!(run["Healthcheck"]["Test"], serde_json::json!(health));
    let labels = &run["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], VERSION);
    assert_eq!(labels["org.opencontainers.image.revision"], "0123456789abcdef");

    let samples = samples("usr/share/s3imageserver/samples");
    let expected = [
        ("etc/s3imageserver/config.json", FILE),
        ("s3imageserver", PROGRAM_FILE),
        ("tmp/", "drwxrwxrwt 0/0"),
        ("usr/share/doc/s3imageserver/LICENSE", FILE),
        ("usr/share/doc/s3imageserver/LICENSE-APACHE", FILE),
        ("usr/share/doc/s3imageserver/LICENSE-MIT", FILE),
        ("usr/share/doc/s3imageserver/NOTICE", FILE),
        ("usr/share/doc/s3imageserver/licences/libvips-COPYING", FILE),
        ("usr/share/doc/s3imageserver/licences/rust-crates.txt", FILE),
        ("usr/share/doc/s3imageserver/s3imageserver.cdx.json", FILE),
        ("var/cache/s3imageserver/", "drwxr-xr-x 65534/65534"),
    ];
    expect_entries(&list(&layer), &with_samples(&expected, &samples));
    let root = tempfile::tempdir().unwrap();
    // Setting owners needs root.
    let mut unpack = Command::new("tar");
    succeeded(unpack.arg("--no-same-owner").arg("-xzf").arg(&layer).arg("-C").arg(root.path()));
    expect_accepted_below("etc/s3imageserver/config.json", root.path());
}

#[test]
fn packages_of_two_architectures_coexist() {
    let packaging = Packaging::new();
    packaging.put("out/s3imageserver.cdx.json", b"{}\n");
    packaging.put("out/s3imageserver_0.0.1_amd64.deb", b"of an old version");
    packaging.pack(&[]);
    packaging.put_binary(AARCH64);
    let mut command = packaging.command(&[]);
    succeeded(
        command.env_remove("ARCH").env_remove("SBOM").env("TARGET", "aarch64-unknown-linux-gnu"),
    );
    let sums = fs::read_to_string(packaging.path("out/SHA256SUMS")).unwrap();
    let names: Vec<&str> = sums.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(
        names,
        [
            "s3imageserver-1.2.3-linux-amd64.tar.gz",
            "s3imageserver-1.2.3-linux-arm64.tar.gz",
            "s3imageserver-1.2.3-oci-amd64.tar",
            "s3imageserver-1.2.3-oci-arm64.tar",
            "s3imageserver.cdx.json",
            "s3imageserver_1.2.3_amd64.deb",
            "s3imageserver_1.2.3_arm64.deb",
        ]
    );
    let deb = packaging.path("out/s3imageserver_1.2.3_arm64.deb");
    let field = text(Command::new("dpkg-deb").arg("--field").arg(deb).arg("Architecture"));
    assert_eq!(field, "arm64\n");
    let place = packaging.unpacked("s3imageserver-1.2.3-oci-arm64.tar");
    let platform = &json(&place.path().join("index.json"))["manifests"][0]["platform"];
    assert_eq!(
        *platform,
        serde_json::json!({"architecture": "arm64", "variant": "v8", "os": "linux"})
    );
}

#[test]
fn invalid_inputs_are_refused_with_the_name_of_the_variable() {
    let packaging = Packaging::new();
    for (name, value, part) in [
        ("BINARY", "/no/such/program", "BINARY: there is no program"),
        ("BINARY", "/bin/false/", "BINARY: "),
        ("ARCH", "arm64", "is not an ELF program for arm64"),
        ("ARCH", "mips", "ARCH: mips is none of"),
        ("LICENCES", "/no/such/directory", "LICENCES: "),
        ("CRATE_LICENCES", "/no/such/file", "CRATE_LICENCES: "),
        ("SBOM", "/no/such/file", "SBOM: "),
        ("SOURCE_DATE_EPOCH", "yesterday", "SOURCE_DATE_EPOCH: "),
        ("VERSION", "1.2\n3", "VERSION: "),
        ("VERSION", "../1", "VERSION: "),
        ("REVISION", "\",\"", "REVISION: "),
    ] {
        let output = packaging.command(&[]).env(name, value).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}={value}: {said}");
        assert!(said.contains(part), "{name}={value}: {said}");
        assert!(!packaging.path("out").exists(), "{name}={value}");
    }
    let output = packaging.command(&["rpm"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
