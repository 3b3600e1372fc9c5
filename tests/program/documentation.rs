//! The documents, against the server, the source and the measurements.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::images::{Image, Kind, size_of};
use crate::support::merged;
use crate::support::server::{PROGRAM, Server, command, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Markdown document for users and developers, relative to the root.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in ["", "docs"] {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found
}

/// Files with this extension below a directory.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

/// Each example with the name of its image, in the form of docs/options.sh: | `/samples/…` | ![](images/…) |
fn examples(page: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let (target, image) =
            line.strip_prefix("| `")?.strip_suffix(") |")?.split_once("` | ![](images/")?;
        let names_format = target.contains("?f=") || target.contains("&f=");
        let target = if names_format { target.to_owned() } else { format!("{target}&f=webp&q=60") };
        Some((target, image.to_owned()))
    };
    page.lines().filter_map(row).collect()
}

/// A watermark of the documents.
const LOGO: &str = "examples/images/logo.png";

/// The handler of the examples in docs/options.md.
fn samples(page: &str) -> Value {
    let directory = root().join("examples/images");
    let written = blocks(page, "json").into_iter().find(|text| text.starts_with("\"watermarks\""));
    let written = written.unwrap().replace(LOGO, root().join(LOGO).to_str().unwrap());
    let watermarks: Value = serde_json::from_str(&format!("{{{written}}}")).unwrap();
    merged(json!({"name": "samples", "directory": directory}), watermarks)
}

#[test]
fn options_examples_return_the_images_in_the_page() {
    let page = read("docs/options.md");
    let examples = examples(&page);
    assert_eq!(
        examples.len(),
        page.matches("](images/").count(),
        "a row does not have the form of an example"
    );
    let server = Server::with_handler(samples(&page));
    let mut client = server.client();
    let mut shown = BTreeSet::new();
    for (target, name) in examples {
        assert!(shown.insert(name.clone()), "{name} belongs to two examples");
        let path = root().join("docs/images").join(&name);
        let image = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let answer = client.get(&target).ok().body;
        let kind = Kind::of(&answer).unwrap();
        assert_eq!(Some(kind), Kind::of(&image), "{target}");
        assert!(name.ends_with(kind.name()), "{name} is a {kind:?}");
        assert_eq!(size_of(&answer), size_of(&image), "{target}");
        if kind == Kind::Avif {
            continue;
        }
        // Another version of an encoder may write other bytes, but not another image.
        let answer = Image::decode(&answer);
        let image = Image::decode(&image);
        assert_eq!(answer.frames.len(), image.frames.len(), "{target}");
        assert_eq!(answer.has_alpha, image.has_alpha, "{target}");
        let all = answer.pixels.iter().zip(image.pixels.iter());
        let sum: u64 = all.map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
        let mean = sum as f64 / answer.pixels.len() as f64;
        assert!(mean < 8.0, "{target}: mean difference {mean}; run make docs");
    }
    let files = fs::read_dir(root().join("docs/images")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    // tests/program/browser/page.rs takes the screenshots.
    let files: BTreeSet<String> = files.filter(|name| !name.starts_with("screenshot-")).collect();
    assert_eq!(files, shown, "an image without an example");
}

#[test]
fn examples_of_migrating_have_the_sizes_in_the_page() {
    let page = read("docs/migrating.md");
    let fields = blocks(&page, "json").remove(0).replace(LOGO, root().join(LOGO).to_str().unwrap());
    let fields: Value = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
    let handler = json!({"name": "samples", "directory": root().join("examples/images")});
    let server = Server::with_handler(merged(handler, fields));
    let mut client = server.client();
    let mut count = 0;
    for line in page.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [_, here, result] = cells[..] else { continue };
        let Some(rest) = here.strip_prefix("`/samples/") else { continue };
        let target = format!("/samples/{}", rest.split_once('`').unwrap().0);
        let (width, height) = result.trim_end_matches(" |").split_once(" × ").unwrap();
        let image = client.get(&target).ok().body;
        let size = size_of(&image);
        assert_eq!(size, (width.parse().unwrap(), height.parse().unwrap()), "{target}");
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

/// The names of the image options in the table of docs/options.md, which is generated from the code.
pub fn image_options() -> BTreeSet<String> {
    let page = read("docs/options.md");
    let (_, table) = page.split_once("<!-- generated:parameters -->").unwrap();
    let (table, _) = table.split_once("<!-- /generated -->").unwrap();
    // The parameters of the request, such as `t`, have no section on the page.
    let name = |row: &str| Some(row.strip_prefix("| [`")?.split_once("`](#")?.0.to_owned());
    let names: BTreeSet<String> = table.lines().filter_map(name).collect();
    assert!(names.len() >= 19, "{names:?}");
    names
}

/// Fails if an image option is missing from the queries of a test that covers them all.
#[track_caller]
pub fn assert_covers_image_options<'q>(queries: impl IntoIterator<Item = &'q str>) {
    let pairs = queries.into_iter().flat_map(|query| query.split('&'));
    let covered: BTreeSet<String> =
        pairs.map(|pair| pair.split('=').next().unwrap().to_owned()).collect();
    let missing: Vec<_> = image_options().difference(&covered).cloned().collect();
    assert!(missing.is_empty(), "add {} to this test", missing.join(", "));
}

#[test]
fn each_image_option_has_an_example_that_it_changes() {
    let page = read("docs/options.md");
    let examples = examples(&page);
    let server = Server::with_handler(samples(&page));
    let mut client = server.client();
    // The samples have no metadata for `strip` to keep; keep.rs tests it. This server does not serve originals as they
    // are; as_is tests that. Unsigned URLs must not have `max_bytes`.
    let shown = |option: &String| !["strip", "raw", "max_bytes"].contains(&option.as_str());
    for option in image_options().into_iter().filter(shown) {
        let has_effect = examples.iter().any(|(target, _)| {
            let (path, query) = target.split_once('?').unwrap();
            let is_option = |pair: &&str| pair.split('=').next() == Some(option.as_str());
            let rest: Vec<&str> = query.split('&').filter(|pair| !is_option(pair)).collect();
            rest.len() < query.split('&').count()
                && client.get(target).ok().body
                    != client.get(&format!("{path}?{}", rest.join("&"))).ok().body
        });
        assert!(has_effect, "{option} changes no example in docs/options.md");
    }
}

#[test]
fn bench_tables_equal_the_results() {
    let check = |document: &Path| {
        let output =
            Command::new(root().join("bench/publish.sh")).arg("--check").arg(document).output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for name in ["README.md", "docs/performance.md"] {
        let (is_equal, diff) = check(Path::new(name));
        assert!(is_equal, "run bench/publish.sh:\n{diff}");
        let page = read(name);
        assert!(page.contains("<!-- bench:unmet -->"), "{name} hides missed targets");
        // A changed number in a copied table must be found.
        let (before, after) = page.split_once("| ≥ ").unwrap();
        let copy = Directory::new().with("page.md", format!("{before}| ≥ 9{after}").as_bytes());
        assert!(!check(&copy.path().join("page.md")).0, "{name}");
    }
}

#[test]
fn readme_has_at_most_12_kilobytes() {
    let length = read("README.md").len();
    assert!(length <= 12 << 10, "{length} bytes");
}

#[test]
fn generated_markers_are_paired() {
    for document in documents() {
        let mut open = None;
        for line in read(&document).lines().filter(|line| line.starts_with("<!-- ")) {
            let is_end = line.starts_with("<!-- /");
            assert_eq!(is_end, open.is_some(), "{}: {line}, {open:?}", document.display());
            open = if is_end { None } else { Some(line.to_owned()) };
        }
        assert_eq!(open, None, "{}", document.display());
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

/// The text outside of fenced code blocks.
fn prose(page: &str) -> String {
    page.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

#[test]
fn links_lead_to_files_and_headings() {
    for document in documents() {
        let page = prose(&read(&document));
        let inline = page.match_indices("](").map(|(at, _)| &page[at + 2..]);
        let inline = inline.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in inline.filter(|link| !link.starts_with("https://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let name = document.display();
            assert!(root().join(&target).exists(), "{name}: no file for {link}");
            if !heading.is_empty() {
                let text = prose(&read(&target));
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors =
                    headings.map(|line| anchor(line.trim_start_matches('#').trim_start()));
                assert!(anchors.any(|anchor| anchor == heading), "{name}: no heading for {link}");
            }
        }
    }
}

/// The code blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let rest = page.split(&fence).skip(1);
    rest.map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}

/// The variables of docs/cdn.md.
const CDN_VARIABLES: [&str; 4] =
    ["CDN_AUTHORIZATION", "CLOUDFLARE_AUTHORIZATION", "FASTLY_TOKEN", "PURGE_SECRET"];

#[test]
fn example_configurations_are_accepted() {
    let mut count = 0;
    for document in documents() {
        for block in blocks(&read(&document), "json") {
            let directory = Directory::new();
            let cache = directory.path().join("cache");
            let samples = root().join("examples/images").display().to_string();
            // A block without braces shows fields of a handler.
            let config = if block.starts_with('{') {
                block.clone()
            } else if block.starts_with("\"aws\"") {
                format!(r#"{{"handlers": [{{"name": "h", {block}}}]}}"#)
            } else {
                format!(r#"{{"handlers": [{{"name": "h", "directory": "{samples}", {block}}}]}}"#)
            };
            let config = config
                .replace("/var/cache/s3imageserver", &cache.display().to_string())
                .replace("\"examples/images\"", &format!("{samples:?}"))
                .replace(LOGO, root().join(LOGO).to_str().unwrap());
            directory.put("config.json", config.as_bytes());
            let mut check = command(Path::new(PROGRAM), directory.path());
            let variables = [
                "ADMIN_SECRET",
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "EXTERNAL_ID",
                "JWT_KEY",
                "LEGACY_TOKEN",
                "SIGNING_KEY",
            ];
            for name in variables.into_iter().chain(CDN_VARIABLES) {
                check.env(name, "0123456789abcdef0123456789abcdef");
            }
            let output = run(check.arg("--check"));
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {stderr}\n{block}", document.display());
            count += 1;
        }
    }
    assert!(count >= 6, "{count}");
}

/// The log events in the source, each with its levels.
fn events() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut events: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for path in files(&root().join("src"), "rs") {
        let source = fs::read_to_string(path).unwrap();
        for (call, level) in [
            ("error!(", "error"),
            ("warn!(", "warn"),
            ("warn_ratelimited!(", "warn"),
            ("error_ratelimited!(", "error"),
            (".warn(", "warn"),
            ("info!(", "info"),
            ("debug!(", "debug"),
            ("Level::Error, ", "error"),
            ("Level::Warn, ", "warn"),
        ] {
            for rest in source.split(call).skip(1) {
                let name = rest.trim_start().strip_prefix('"');
                let Some((name, _)) = name.and_then(|name| name.split_once('"')) else { continue };
                let is_name =
                    |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                if name.contains('_') && is_name(name) || is_word(name) {
                    events.entry(name.to_owned()).or_default().insert(level);
                }
            }
        }
    }
    events
}

/// Event names of one word, which look like any other string.
fn is_word(name: &str) -> bool {
    ["listening", "stopping", "stopped"].contains(&name)
}

#[test]
fn log_events_are_documented_with_their_levels() {
    let page = read("docs/http.md");
    let mut documented: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for line in page.split_once("### Events").unwrap().1.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, levels, _, ""] = cells[..]
            && let Some((name, _)) = name.strip_prefix('`').and_then(|name| name.split_once('`'))
        {
            documented.insert(name.to_owned(), levels.split(", ").collect());
        }
    }
    assert_eq!(documented, events());
}

/// Whether a test, or a module of tests if the name ends with `::`, exists below a directory of sources.
fn test_exists(sources: &Path, name: &str) -> bool {
    let (modules, test) = name.rsplit_once("::").unwrap();
    let mut module = sources.to_owned();
    for part in modules.split("::") {
        let next = module.join(part);
        let exists = next.is_dir() || next.with_extension("rs").is_file();
        if !exists && part == "tests" {
            // A module within the file.
            break;
        }
        if !exists {
            return false;
        }
        module = next;
    }
    let file = module.with_extension("rs");
    let mut found = if module.is_dir() { files(&module, "rs") } else { Vec::new() };
    found.extend(file.is_file().then_some(file));
    let declaration = format!("fn {test}(");
    test.is_empty()
        || found.iter().any(|file| fs::read_to_string(file).unwrap().contains(&declaration))
}

#[test]
fn tests_named_in_security_exist() {
    let page = read("SECURITY.md");
    let names: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains("::") && !name.contains(' ') && *name != "::")
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let tests = root().join("tests/program");
    let source = root().join("src");
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| !test_exists(&tests, name) && !test_exists(&source, name))
        .collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that do not exist: {missing:#?}");
}

#[test]
fn files_and_functions_named_in_architecture_and_contributing_exist() {
    let mut missing = Vec::new();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let page = prose(&read(document));
        for line in page.lines() {
            let mut file = None;
            for code in line.split('`').skip(1).step_by(2) {
                let is_path = ["src/", "tests/", "docs/", "native/", "bench/"]
                    .iter()
                    .any(|directory| code.starts_with(directory));
                if is_path && !code.contains(['*', '{', ' ']) {
                    file = Some(code);
                    if !root().join(code).exists() {
                        missing.push(format!("{document}: {code}"));
                    }
                } else if let (Some(file), Some(function)) = (file, code.strip_suffix("()")) {
                    let source = fs::read_to_string(root().join(file)).unwrap_or_default();
                    if !source.contains(&format!("fn {function}("))
                        && !source.contains(&format!("fn {function}<"))
                    {
                        missing.push(format!("{document}: {file} {function}()"));
                    }
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
