//! docs/options.md and its pictures, against what the server answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::pictures::{Kind, Picture, size_of};
use crate::support::server::Server;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Each example with the name of its picture, as docs/options.sh finds them: | `/samples/…` | ![](pictures/…) |
fn examples(page: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let (target, picture) =
            line.strip_prefix("| `")?.strip_suffix(") |")?.split_once("` | ![](pictures/")?;
        let names_format = target.contains("?f=") || target.contains("&f=");
        let target = if names_format { target.to_owned() } else { format!("{target}&f=webp&q=60") };
        Some((target, picture.to_owned()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn every_example_of_the_options_is_answered_with_its_picture() {
    let page = fs::read_to_string(docs().join("options.md")).unwrap();
    let examples = examples(&page);
    assert_eq!(examples.len(), page.matches("](pictures/").count(), "a row is not written as the others");
    let folder = docs().parent().unwrap().join("examples/pictures");
    let server = Server::start(json!({"handlers": [{"name": "samples", "directory": folder}]}));
    let mut client = server.client();
    let mut shown = BTreeSet::new();
    for (target, name) in examples {
        assert!(shown.insert(name.clone()), "{name} is the picture of two examples");
        let path = docs().join("pictures").join(&name);
        let picture = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let answer = client.get(&target).ok().body;
        let kind = Kind::of(&answer).unwrap();
        assert_eq!(Some(kind), Kind::of(&picture), "{target}");
        assert!(name.ends_with(kind.name()), "{name} is a {kind:?}");
        assert_eq!(size_of(&answer), size_of(&picture), "{target}");
        if kind == Kind::Avif {
            continue;
        }
        // Encoders may change; what they show may not.
        let (answer, picture) = (Picture::decode(&answer), Picture::decode(&picture));
        assert_eq!(answer.frames.len(), picture.frames.len(), "{target}");
        assert_eq!(answer.has_alpha, picture.has_alpha, "{target}");
        let all = answer.pixels.iter().zip(picture.pixels.iter());
        let sum: u64 = all.map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
        let mean = sum as f64 / answer.pixels.len() as f64;
        assert!(mean < 8.0, "{target}: another picture ({mean}); make docs");
    }
    let files = fs::read_dir(docs().join("pictures")).unwrap();
    let files: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, shown, "a picture is of no example");
}
