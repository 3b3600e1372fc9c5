//! docs/options.md and its images, against what the server answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::images::{Image, Kind, size_of};
use crate::support::server::Server;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Each example with the name of its image, as docs/options.sh finds them: | `/samples/…` | ![](images/…) |
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

#[test]
fn every_example_of_the_options_is_answered_with_its_image() {
    let page = fs::read_to_string(docs().join("options.md")).unwrap();
    let examples = examples(&page);
    assert_eq!(
        examples.len(),
        page.matches("](images/").count(),
        "a row is not written as the others"
    );
    let directory = docs().parent().unwrap().join("examples/images");
    let server = Server::start(json!({"handlers": [{"name": "samples", "directory": directory}]}));
    let mut client = server.client();
    let mut shown = BTreeSet::new();
    for (target, name) in examples {
        assert!(shown.insert(name.clone()), "{name} is the image of two examples");
        let path = docs().join("images").join(&name);
        let image = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let answer = client.get(&target).ok().body;
        let kind = Kind::of(&answer).unwrap();
        assert_eq!(Some(kind), Kind::of(&image), "{target}");
        assert!(name.ends_with(kind.name()), "{name} is a {kind:?}");
        assert_eq!(size_of(&answer), size_of(&image), "{target}");
        if kind == Kind::Avif {
            continue;
        }
        // Encoders may change; what they show may not.
        let (answer, image) = (Image::decode(&answer), Image::decode(&image));
        assert_eq!(answer.frames.len(), image.frames.len(), "{target}");
        assert_eq!(answer.has_alpha, image.has_alpha, "{target}");
        let all = answer.pixels.iter().zip(image.pixels.iter());
        let sum: u64 = all.map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
        let mean = sum as f64 / answer.pixels.len() as f64;
        assert!(mean < 8.0, "{target}: another image ({mean}); make docs");
    }
    let files = fs::read_dir(docs().join("images")).unwrap();
    let files: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, shown, "an image is of no example");
}
