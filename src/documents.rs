//! Compares the documents with the code.
//!
//! `make docs` writes the text between `<!-- generated:NAME -->` and `<!-- /generated -->` in a document from the code.
//! Numbers in prose are checked by the tests of the modules that define them ([`assert_says`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::config::{self, reference};
use crate::options::{Options, Query};
use crate::{cli, error, file_type, format, log, metrics, options};

const END: &str = "<!-- /generated -->";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The generated blocks by name, in Markdown.
fn blocks() -> BTreeMap<&'static str, String> {
    let mut blocks = BTreeMap::from([
        ("errors", error::Code::markdown()),
        ("file_types", file_type::markdown()),
        ("formats", format::markdown()),
        ("help", format!("```console\n$ s3imageserver --help\n{}\n```\n", cli::help().trim_end())),
        ("log_fields", log::fields::markdown()),
        ("metrics", metrics::family::markdown()),
        ("parameters", options::markdown()),
    ]);
    for section in reference::sections() {
        blocks.insert(section, reference::markdown(section).unwrap());
    }
    blocks
}

/// Every document of the root and of docs/.
fn documents() -> Vec<PathBuf> {
    let files = ["", "docs"].into_iter().flat_map(|directory| {
        fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().path())
    });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The name in the start marker of a block.
fn start(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- generated:")?.strip_suffix(" -->")
}

/// Replaces the blocks of a page, and takes them from `blocks`.
fn update(page: &str, blocks: &mut BTreeMap<&str, String>) -> Result<String, String> {
    let mut updated = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        updated += &format!("{line}\n");
        let Some(name) = start(line) else { continue };
        let block = blocks
            .remove(name)
            .ok_or_else(|| format!("generated:{name} is unknown or occurs twice"))?;
        updated += &link_to_sections(&block, page);
        lines.find(|line| *line == END).ok_or_else(|| format!("generated:{name} has no end"))?;
        updated += &format!("{END}\n");
    }
    Ok(updated)
}

/// Makes the first cell of a row a link if the page has a section of that name: ### `w` and `h`
fn link_to_sections(table: &str, page: &str) -> String {
    let headings = page.lines().filter_map(|line| line.strip_prefix("##"));
    let sections: Vec<String> =
        headings.map(|line| line.trim_start_matches(['#', ' ']).to_lowercase()).collect();
    let link = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` |")?;
        let is_about = |section: &&String| {
            *section == name || section.split('`').skip(1).step_by(2).any(|code| code == name)
        };
        let anchor = sections.iter().find(is_about)?.replace('`', "").replace(' ', "-");
        Some(format!("| [`{name}`](#{anchor}) |{rest}\n"))
    };
    table.lines().map(|line| link(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

/// The first line in which two pages differ.
fn first_difference(page: &str, updated: &str) -> String {
    let differ = |(old, new): &(&str, &str)| old != new;
    match page.lines().zip(updated.lines()).find(differ) {
        Some((old, new)) => format!("document: {old}\ncode:     {new}"),
        None => "the numbers of lines differ".to_owned(),
    }
}

/// Asserts that a document has this sentence, whose numbers come from the code. Line breaks don't matter.
#[track_caller]
pub fn assert_says(document: &str, sentence: &str) {
    let page = fs::read_to_string(root().join(document)).unwrap();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(sentence), "{document} does not say what is in the code: {sentence}");
}

#[test]
fn generated_blocks_equal_the_code() {
    let mut blocks = blocks();
    let is_update = env::var_os("UPDATE_DOCS").is_some();
    let mut stale = Vec::new();
    for path in documents() {
        let name = path.strip_prefix(root()).unwrap().display();
        let page = fs::read_to_string(&path).unwrap();
        let updated = update(&page, &mut blocks).unwrap_or_else(|error| panic!("{name}: {error}"));
        if updated == page {
            continue;
        }
        if is_update {
            fs::write(&path, updated).unwrap();
        } else {
            stale.push(format!("{name}:\n{}", first_difference(&page, &updated)));
        }
    }
    let missing: Vec<&&str> = blocks.keys().collect();
    assert!(missing.is_empty(), "no document has the markers generated:… for {missing:?}");
    assert!(
        stale.is_empty(),
        "documents differ from the code, run make docs:\n{}",
        stale.join("\n")
    );
}

/// The queries in the second column of the tables of docs/migrating.md: `w=300&h=200`, or after a path.
fn queries_of_migrating(page: &str) -> Vec<&str> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
    let spans = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let queries = spans.map(|span| span.rsplit('?').next().unwrap_or_default());
    let is_query = |query: &&str| query.contains('=') && !query.contains(['"', ' ']);
    queries.filter(is_query).collect()
}

#[test]
fn migrating_has_no_query_that_is_refused_or_ignored() {
    let page = fs::read_to_string(root().join("docs/migrating.md")).unwrap();
    let (_, fields) = page.split_once("```json\n").unwrap();
    let (fields, _) = fields.split_once("\n```").unwrap();
    let logo = root().join("examples/images/logo.png").display().to_string();
    let fields = fields.replace("examples/images/logo.png", &logo);
    let text = format!(r#"{{"handlers": [{{"name": "samples", "directory": "/", {fields}}}]}}"#);
    let config = config::parse(&text, "migrating.md").unwrap();
    let handler = &config.handlers[0];
    let queries = queries_of_migrating(&page);
    assert!(queries.len() > 100, "{queries:?}");
    for text in queries {
        for pair in text.split('&') {
            let name = pair.split('=').next().unwrap();
            assert!(Query::names().any(|known| known == name), "{text}: {name} is unknown");
        }
        let check = || {
            let query = Query::parse(text)?;
            query.expires()?;
            query.download()?;
            let whole = handler.size_policy.with_preset(&query)?;
            Options::resolve(&whole, "", handler.defaults())
        };
        if let Err(bad) = check() {
            panic!("{text}: {}", bad.0);
        }
    }
}

#[test]
fn update_replaces_blocks_and_keeps_the_rest() {
    let page = "a\n<!-- generated:t -->\nold\nold\n<!-- /generated -->\nb\n\n### `x` and `y`\n";
    let blocks = || BTreeMap::from([("t", "| `y` | 1 |\n| `z` | 2 |\n".to_owned())]);
    let updated = update(page, &mut blocks()).unwrap();
    let table = "<!-- generated:t -->\n| [`y`](#x-and-y) | 1 |\n| `z` | 2 |\n<!-- /generated -->\n";
    assert_eq!(updated, format!("a\n{table}b\n\n### `x` and `y`\n"));
    assert_eq!(update(&updated, &mut blocks()).unwrap(), updated);
    for page in ["<!-- generated:t -->\n", "<!-- generated:unknown -->\n<!-- /generated -->\n"] {
        assert!(update(page, &mut blocks()).is_err(), "{page}");
    }
}
