//! Pictures made to hurt: each is answered as tests/data/hostile/MANIFEST.tsv says, in time, with little memory, by a
//! renderer that lives on. What the files are is in tests/data/hostile/generate.py.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Client, request};
use crate::support::folder::Folder;
use crate::support::pictures::{self, Kind, Picture, RED, holds, size_of};
use crate::support::process::Process;
use crate::support::server::{Server, data};
use crate::support::{eventually, merged};

/// Within this anything is answered.
const DEADLINE: Duration = Duration::from_secs(20);

/// A line of the list.
struct Row {
    file: String,
    /// What may be answered where one frame is wanted, and where all are.
    still: Vec<String>,
    kept: Vec<String>,
    note: String,
}

fn rows() -> Vec<Row> {
    let text = String::from_utf8(data("hostile/MANIFEST.tsv")).unwrap();
    let answers = |field: &str| field.split('|').map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [file, still, kept, note] = fields[..] else { panic!("{line}") };
            let kept = if kept == "=" { still } else { kept };
            Row { file: file.into(), still: answers(still), kept: answers(kept), note: note.into() }
        })
        .collect()
}

#[test]
fn each_is_answered_as_the_list_says_and_the_renderer_lives_on() {
    let folder = Folder::new().with("good.png", &pictures::png(pictures::gradient(80, 60)));
    let rows = rows();
    for row in &rows {
        folder.put(row.file.trim_start_matches("../"), &data(&format!("hostile/{}", row.file)));
    }
    let server = Server::with_handler(folder.handler());
    let renderer = server.renderer();
    let mut client = server.client();
    let mut wrong = Vec::new();
    for row in &rows {
        let name = row.file.trim_start_matches("../");
        let own_keeps = [".gif", ".webp"].iter().any(|ending| name.ends_with(ending));
        let own = if own_keeps { &row.kept } else { &row.still };
        let mut queries = vec![
            ("w=100", own),
            ("w=100&f=png", &row.still),
            ("w=80&h=80&f=webp", &row.kept),
            ("w=100&f=gif", &row.kept),
        ];
        if !row.note.contains("held whole") {
            queries.push(("q=75", own));
        }
        for (query, expected) in queries {
            let begun = Instant::now();
            let answer = client.get(&format!("/h/{name}?{query}"));
            let took = begun.elapsed();
            let said = if answer.status == 200 { "ok" } else { answer.expect("X-Error") };
            if !expected.iter().any(|code| code == said) {
                wrong.push(format!("{name}?{query}: {said} and not {expected:?}"));
            }
            if answer.status == 200 {
                let decoded = answer.ok();
                size_of(&decoded.body);
                assert!(!holds(&decoded.body, b"<?php"), "{name}?{query}: it passes on what is no picture");
            }
            assert!(took < DEADLINE, "{name}?{query}: {took:?}");
            if took > Duration::from_millis(700) {
                eprintln!("{name}?{query}: {took:?}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(server.renderer(), renderer, "it must refuse them, not survive them");
    let peak = renderer.peak();
    eprintln!("peak {} MiB", peak >> 20);
    assert!(peak < 400 << 20, "{peak} bytes");
    assert_eq!(size_of(&server.get("/h/good.png?w=40").ok().body), (40, 30));
}
