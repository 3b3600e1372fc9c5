//! The recipes of docs/tokens.md: they sign as the vectors do, and the server accepts it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::images;
use crate::support::merged;
use crate::support::server::{self, Server};
use crate::support::skip::skip;

/// How a language's code block is run: its file, the driver that is appended so that it prints a JSON list of URLs, and
/// the command.
struct Language {
    name: &'static str,
    file: &'static str,
    block: &'static str,
    driver: &'static str,
    command: &'static [&'static str],
    version: &'static [&'static str],
}

const LANGUAGES: [Language; 5] = [
    Language {
        name: "Python",
        file: "recipe.py",
        block: "python",
        driver: "
import json, sys
vectors = json.load(open(sys.argv[1]))
print(json.dumps([sign(v['secret'], v['path'], v['params'], v['exp']) for v in vectors]))
for value in ['1&h=2', '1\\n', '\\x7f', '\\x85']:
    try: sign('s', '/h/a', {'w': value})
    except ValueError: continue
    sys.exit('signed ' + repr(value))
",
        command: &["python3", "recipe.py"],
        version: &["python3", "--version"],
    },
    Language {
        name: "JavaScript",
        file: "recipe.cjs",
        block: "javascript",
        driver: "
const vectors = JSON.parse(require('node:fs').readFileSync(process.argv[2]));
console.log(JSON.stringify(vectors.map(v => sign(v.secret, v.path, v.params, v.exp))));
for (const value of ['1&h=2', '1\\n', '\\x7f', '\\x85']) {
  let signed = true;
  try { sign('s', '/h/a', { w: value }); } catch { signed = false; }
  if (signed) throw new Error('signed ' + JSON.stringify(value));
}
",
        command: &["node", "recipe.cjs"],
        version: &["node", "--version"],
    },
    Language {
        name: "Go",
        file: "recipe.go",
        block: "go",
        // In a file of its own, with its own imports.
        driver: "",
        command: &["go", "run", "recipe.go", "driver.go"],
        version: &["go", "version"],
    },
    Language {
        name: "PHP",
        file: "recipe.php",
        block: "php",
        driver: "
$vectors = json_decode(file_get_contents($argv[1]), true);
echo json_encode(array_map(fn($v) => sign($v['secret'], $v['path'], $v['params'], $v['exp']), $vectors));
foreach (['1&h=2', \"1\\n\", \"\\x7f\", \"\\u{85}\"] as $value) {
    try { sign('s', '/h/a', ['w' => $value]); } catch (ValueError $e) { continue; }
    exit(1);
}
",
        command: &["php", "recipe.php"],
        version: &["php", "--version"],
    },
    Language {
        name: "Ruby",
        file: "recipe.rb",
        block: "ruby",
        driver: "
require 'json'
vectors = JSON.parse(File.read(ARGV[0], encoding: 'UTF-8'))
puts JSON.generate(vectors.map { |v| sign(v['secret'], v['path'], v['params'], v['exp']) })
['1&h=2', \"1\\n\", \"\\x7f\", \"\\u0085\"].each do |value|
  signed = begin; sign('s', '/h/a', { 'w' => value }); rescue ArgumentError; nil; end
  abort 'signed ' + value.inspect if signed
end
",
        command: &["ruby", "recipe.rb"],
        version: &["ruby", "--version"],
    },
];

const GO_DRIVER: &str = r#"package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	var vectors []struct {
		Secret, Path string
		Params       map[string]string
		Exp          int64
	}
	text, _ := os.ReadFile(os.Args[1])
	if err := json.Unmarshal(text, &vectors); err != nil {
		panic(err)
	}
	urls := []string{}
	for _, v := range vectors {
		signed, err := Sign(v.Secret, v.Path, v.Params, v.Exp)
		if err != nil {
			panic(err)
		}
		urls = append(urls, signed)
	}
	for _, value := range []string{"1&h=2", "1\n", "\x7f", "\u0085"} {
		if _, err := Sign("s", "/h/a", map[string]string{"w": value}, 0); err == nil {
			panic(value)
		}
	}
	json.NewEncoder(os.Stdout).Encode(urls)
	fmt.Println()
}
"#;

fn vectors() -> Vec<Value> {
    serde_json::from_slice(&server::data("signing.json")).unwrap()
}

/// The one code block of this language in docs/tokens.md.
fn block(language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tokens.md");
    let text = fs::read_to_string(path).unwrap();
    let fence = format!("\n```{language}\n");
    let mut blocks = text.split(&fence).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("no {language} in docs/tokens.md"));
    assert!(blocks.next().is_none(), "two blocks of {language}");
    block.split_once("\n```").unwrap().0.to_owned()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// Fails unless a URL has the path, the parameters and the token of its vector.
#[track_caller]
fn check(name: &str, url: &str, vector: &Value) {
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{name}: {url}");
    let (path, query) = url.split_once('?').unwrap();
    assert_eq!(decoded(path), vector["path"].as_str().unwrap(), "{name}");
    let mut given: Vec<(String, String)> = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap();
        given.push((name.to_owned(), decoded(&value.replace('+', "%20"))));
    }
    assert_eq!(
        given.pop(),
        Some(("t".to_owned(), vector["t"].as_str().unwrap().to_owned())),
        "{name}: {url}"
    );
    given.sort();
    let mut params = vector["params"].clone();
    if let Some(exp) = vector["exp"].as_u64() {
        params["exp"] = json!(exp.to_string());
    }
    let expected: Vec<(String, String)> = params
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().into()))
        .collect();
    assert_eq!(given, expected, "{name}: {url}");
}

/// Fails unless the server accepts the token of this URL. A directory has no key with a double slash.
#[track_caller]
fn accepted(server: &Server, url: &str) {
    let answer = server.get(url);
    if url.contains("//") {
        answer.failed("not_found")
    } else {
        answer.ok()
    };
}

/// A server with an image for each vector and the secrets of the vectors.
fn start(vectors: &[Value], originals: &Directory) -> Server {
    let image = images::png(images::gradient(80, 60));
    let mut handlers: Vec<Value> = Vec::new();
    for vector in vectors {
        let (route, key) = vector["path"].as_str().unwrap()[1..].split_once('/').unwrap();
        originals.put(key, &image);
        if !handlers.iter().any(|handler| handler["name"] == route) {
            let token = json!({"type": "hmac", "secrets": [vector["secret"]]});
            handlers.push(merged(originals.handler(), json!({"name": route, "token": token})));
        }
    }
    Server::start(json!({"handlers": handlers}))
}

#[test]
fn every_signing_recipe_signs_urls_that_the_server_accepts() {
    let vectors = vectors();
    let originals = Directory::new();
    let server = start(&vectors, &originals);
    for vector in &vectors {
        let url = vector["url"].as_str().unwrap();
        check("vector", url, vector);
        accepted(&server, url);
    }
    for Language { name, file, block: language, driver, command, version } in &LANGUAGES {
        let code = block(language);
        let directory = Directory::new().with(file, format!("{code}\n{driver}").as_bytes());
        directory.put("driver.go", GO_DRIVER.as_bytes());
        let vectors_file = directory.put("vectors.json", &server::data("signing.json"));
        let mut probe = Command::new(version[0]);
        let is_here =
            probe.args(&version[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !is_here.is_ok_and(|status| status.success()) {
            skip(&format!("{name} is not installed"));
            continue;
        }
        let mut recipe = Command::new(command[0]);
        recipe.args(&command[1..]).arg(vectors_file).current_dir(directory.path());
        let Output { status, stdout, stderr } = recipe.output().unwrap();
        assert!(status.success(), "{name}: {}", String::from_utf8_lossy(&stderr));
        let urls: Vec<String> = serde_json::from_slice(&stdout).unwrap();
        assert_eq!(urls.len(), vectors.len(), "{name}");
        for (url, vector) in urls.iter().zip(&vectors) {
            check(name, url, vector);
            accepted(&server, url);
        }
    }
}

#[test]
fn the_signing_table_shows_the_signed_text() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tokens.md");
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `/h/")).collect();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let (path, query) = cells[1].split_once('?').unwrap_or((cells[1], ""));
        let mut pairs: Vec<&str> = query.split('&').collect();
        pairs.sort_unstable();
        assert_eq!(cells[2], format!("{}⏎{}", decoded(path), pairs.join("&")), "{row}");
    }
}
