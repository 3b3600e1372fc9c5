//! `s3imageserver render`: one image without a server.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind, size_of};
use crate::support::process::Process;
use crate::support::server::{self, PROGRAM, Server, data};
use crate::support::{eventually, merged};

/// Lossless AVIF takes seconds, and libaom can't be stopped within an image.
const SLOW: &str = "f=avif&lossless=true";

fn command(directory: &Directory, arguments: &[&str]) -> Command {
    let mut command = server::command(Path::new(PROGRAM), directory.path());
    command.arg("render").args(arguments);
    command
}

/// What a command says, without the warning on a kernel that has no Landlock.
fn said(stderr: &[u8]) -> String {
    let lines = std::str::from_utf8(stderr).unwrap().lines();
    let lines: Vec<&str> = lines.filter(|line| !line.contains("event=not_sandboxed")).collect();
    lines.join("\n")
}

/// Standard output of a command that succeeds without a word.
#[track_caller]
fn render(directory: &Directory, arguments: &[&str]) -> Vec<u8> {
    let Output { stdout, stderr, status } = server::run(&mut command(directory, arguments));
    assert_eq!((status.code(), said(&stderr).as_str()), (Some(0), ""));
    stdout
}

/// The sentence of a command that fails with this status.
#[track_caller]
fn refused(directory: &Directory, arguments: &[&str], expected: i32) -> String {
    let Output { stdout, stderr, status } = server::run(&mut command(directory, arguments));
    let stderr = said(&stderr);
    assert_eq!((status.code(), stdout.len()), (Some(expected), 0), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.trim_end().strip_prefix("s3imageserver: ").expect(&stderr).to_owned()
}

#[track_caller]
fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse the options before it reads.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A command with its renderer.
fn start(directory: &Directory, arguments: &[&str]) -> (Child, Process) {
    let mut command = command(directory, arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut renderers = Vec::new();
    eventually("the renderer is started", || {
        renderers = Process::children_of(child.id());
        !renderers.is_empty()
    });
    (child, renderers.remove(0))
}

/// A command that has a renderer at work.
fn at_work(directory: &Directory, arguments: &[&str]) -> (Child, Process) {
    let (child, renderer) = start(directory, arguments);
    renderer.wait_until_at_work();
    (child, renderer)
}

fn names(directory: &Directory) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_result_is_that_of_the_server() {
    let directory = Directory::new()
        .with("photo.jpg", &data("orient-6.jpg"))
        .with("drawing.png", &images::png(images::gradient(80, 60)))
        .with("anim.gif", &data("anim.gif"))
        .with("alpha.avif", &data("alpha.avif"));
    let server = Server::with_handler(directory.handler());
    for input in ["photo.jpg", "drawing.png", "anim.gif", "alpha.avif"] {
        for (query, kind) in [
            ("w=40&h=30&f=webp", Kind::Webp),
            ("w=50&blur=1&rot=90&f=jpg&q=60", Kind::Jpeg),
            ("pad=true&w=30&h=30&bg=00ff0080&f=png", Kind::Png),
            ("strip=false&w=20&f=avif", Kind::Avif),
            ("w=20&f=gif", Kind::Gif),
            ("w=30&f=jxl", Kind::Jxl),
        ] {
            let expected = server.get(&format!("/h/{input}?{query}")).ok().body;
            assert_eq!(Kind::of(&expected), Some(kind));
            render(&directory, &[input, "out", query]);
            let got = fs::read(directory.path().join("out")).unwrap();
            assert!(got == expected, "{input} {query}");
            assert!(render(&directory, &[input, "-", query]) == expected, "{input} {query}");
        }
        for query in ["w=30&f=json", "f=blurhash"] {
            let expected = server.get(&format!("/h/{input}?{query}")).body;
            assert!(render(&directory, &[input, "-", query]) == expected, "{input} {query}");
        }
        // Without options: the original's format.
        let expected = server.get(&format!("/h/{input}")).ok().body;
        assert!(render(&directory, &[input, "-"]) == expected, "{input}");
    }
}

#[test]
fn the_name_of_the_output_gives_the_format_unless_the_options_do() {
    let directory = Directory::new().with("a.png", &images::png(images::gradient(80, 60)));
    for (output, query, kind) in [
        ("a.webp", "", Kind::Webp),
        ("a.JPEG", "w=10", Kind::Jpeg),
        ("a", "", Kind::Png),
        ("a.jpg", "f=gif", Kind::Gif),
        ("a.tmp", "f=webp", Kind::Webp),
    ] {
        render(&directory, &["a.png", output, query]);
        let got = fs::read(directory.path().join(output)).unwrap();
        assert_eq!(Kind::of(&got), Some(kind), "{output} {query}");
    }
    let sentence = refused(&directory, &["a.png", "a.tif"], 2);
    assert!(sentence.starts_with("a.tif: .tif is not the extension of a format"), "{sentence}");
    assert!(!directory.path().join("a.tif").exists());
}

#[test]
fn standard_input_and_output_are_dashes() {
    let directory = Directory::new();
    let original = images::png(images::gradient(80, 60));
    let Output { stdout, stderr, status } =
        with_input(&mut command(&directory, &["-", "-", "w=20&f=webp"]), &original);
    assert_eq!((status.code(), said(&stderr).as_str()), (Some(0), ""));
    assert_eq!((Kind::of(&stdout), size_of(&stdout)), (Some(Kind::Webp), (20, 15)));
    let output = with_input(&mut command(&directory, &["-", "out.jpg"]), &original);
    assert!(output.status.success() && output.stdout.is_empty());
    let got = fs::read(directory.path().join("out.jpg")).unwrap();
    assert_eq!((Kind::of(&got), size_of(&got)), (Some(Kind::Jpeg), (80, 60)));
    for (input, sentence) in [
        (&b""[..], "standard input: the original is not a JPEG, "),
        (b"<html>", "standard input: the original is not a JPEG, "),
        (&original[..200], "standard input: the original can't be "),
    ] {
        let Output { stdout, stderr, status } =
            with_input(&mut command(&directory, &["-", "-", "f=png"]), input);
        let stderr = said(&stderr);
        assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{stderr}");
        assert!(stderr.starts_with(&format!("s3imageserver: {sentence}")), "{stderr}");
    }
    // A reader that has gone.
    let mut child = command(&directory, &["out.jpg", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let Output { stderr, status, .. } = child.wait_with_output().unwrap();
    let stderr = said(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard output: can't be written: Broken pipe"), "{stderr}");
}

#[test]
fn a_handler_gives_its_presets_limits_and_defaults() {
    let directory = Directory::new().with("a.png", &images::png(images::gradient(80, 60)));
    let config = |fields: Value, limits: Value| {
        let handler = merged(directory.handler(), fields);
        let config = json!({"handlers": [handler], "limits": limits}).to_string();
        directory.put("config.json", config.as_bytes());
    };
    let presets = json!({"card": "w=30&h=30&f=webp"});
    config(json!({"presets": presets, "presets_only": true, "output_format": "gif"}), json!({}));
    let with = |arguments: &[&str]| {
        let all = [arguments, &["--handler", "h"]].concat();
        render(&directory, &all)
    };
    let card = with(&["a.png", "-", "p=card"]);
    assert_eq!((Kind::of(&card), size_of(&card)), (Some(Kind::Webp), (30, 30)));
    let narrow = with(&["a.png", "-", "p=card&w=10"]);
    assert_eq!(size_of(&narrow), (10, 30));
    assert_eq!(Kind::of(&with(&["a.png", "-"])), Some(Kind::Gif));
    // Of the handler's defaults, with and without a preset. The name of the output precedes their format.
    config(json!({"presets": {"low": "h=30"}, "defaults": "w=20&f=webp&c=false"}), json!({}));
    for (query, output, expected) in [
        ("", "-", (Kind::Webp, (20, 15))),
        ("w=40", "-", (Kind::Webp, (40, 30))),
        ("p=low", "-", (Kind::Webp, (20, 15))),
        ("p=low&c=true&f=png", "-", (Kind::Png, (20, 30))),
        ("", "out.jpg", (Kind::Jpeg, (20, 15))),
        ("p=low", "out.jpg", (Kind::Jpeg, (20, 15))),
        ("f=png", "out.jpg", (Kind::Png, (20, 15))),
    ] {
        let printed = with(&["a.png", output, query]);
        let written = || fs::read(directory.path().join(output)).unwrap();
        let image = if output == "-" { printed } else { written() };
        assert_eq!((Kind::of(&image).unwrap(), size_of(&image)), expected, "{query:?} {output}");
    }
    // Without the handler they do not apply.
    assert_eq!(size_of(&render(&directory, &["a.png", "-"])), (80, 60));
    config(json!({"presets": {"auto": "w=10&f=auto"}, "defaults": "f=auto"}), json!({}));
    for query in ["", "p=auto"] {
        let sentence = refused(&directory, &["a.png", "-", query, "--handler", "h"], 2);
        assert_eq!(sentence, "f: auto asks what a browser accepts; give a format", "{query:?}");
        with(&["a.png", "auto.gif", query]);
        let written = fs::read(directory.path().join("auto.gif")).unwrap();
        assert_eq!(Kind::of(&written), Some(Kind::Gif), "{query:?}");
    }
    config(json!({}), json!({"source_max_pixels": 1000}));
    let sentence = refused(&directory, &["a.png", "-", "--handler", "h", "-c", "config.json"], 1);
    assert_eq!(
        sentence,
        "a.png: the original has 80 x 60 pixels (4800 to decode), more than \
         limits.source_max_pixels (1000) (too_many_pixels)"
    );
    config(json!({}), json!({"origin_max_bytes": 100}));
    let sentence = refused(&directory, &["a.png", "-", "--handler", "h"], 1);
    assert_eq!(sentence, "a.png: has more bytes than limits.origin_max_bytes (100)");
    for (arguments, expected) in [
        (&["a.png", "-", "--handler", "other"][..], "the configuration has no handler \"other\""),
        (&["a.png", "-", "--handler", "h", "-c", "none.json"], "none.json"),
        (&["a.png", "-", "-c", "config.json"], "render takes -c FILE together with --handler"),
        (&["a.png", "-", "p=card"], "p: presets are those of a handler"),
        (
            &["a.png", "-", "p=card", "--handler", "h"],
            "p: the handler \"h\" has no preset \"card\"",
        ),
        (&["a.png", "-", "w=x"], "w: must be a whole number"),
        (&["a.png", "-", "colour=red"], "unknown parameter \"colour=red\""),
        (&["a.png", "-", "t=x"], "t: is for requests to a server"),
        (&["a.png", "-", "f=auto"], "f: auto asks what a browser accepts"),
    ] {
        let Output { stderr, status, .. } = server::run(&mut command(&directory, arguments));
        let stderr = said(&stderr);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn an_output_is_replaced_by_a_complete_one_or_stays() {
    let original = images::png(images::gradient(80, 60));
    let directory = Directory::new()
        .with("a.png", &original)
        .with("kept.jpg", b"kept")
        .with("target.png", b"old")
        .with("broken.png", &original[..original.len() / 2]);
    let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
    for (input, sentence) in [
        ("broken.png", "broken.png: the original can't be "),
        ("missing.png", "missing.png: can't be read: No such file"),
        (".", ".: can't be read: Is a directory"),
    ] {
        let got = refused(&directory, &[input, "kept.jpg", "w=20"], 1);
        assert!(got.starts_with(sentence), "{got}");
        assert_eq!(read("kept.jpg"), b"kept");
    }
    let all = ["a.png", "broken.png", "kept.jpg", "target.png"];
    assert_eq!(names(&directory), all, "no temporary file");

    // A link stays, and the file keeps its permissions.
    let target = directory.path().join("target.png");
    fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
    symlink("target.png", directory.path().join("link.png")).unwrap();
    render(&directory, &["a.png", "link.png", "w=20"]);
    assert!(fs::symlink_metadata(directory.path().join("link.png")).unwrap().is_symlink());
    assert_eq!(size_of(&read("target.png")), (20, 15));
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);

    // Nothing is where these lead.
    for (link, to) in [("dangling.png", "nowhere.png"), ("loop.png", "loop.png")] {
        let path = directory.path().join(link);
        symlink(to, &path).unwrap();
        let got = refused(&directory, &["a.png", link, "w=20"], 1);
        let sentence = format!("{link}: can't be written: it is a link that leads to no file: ");
        assert!(got.starts_with(&sentence), "{got}");
        assert_eq!(fs::read_link(&path).unwrap(), Path::new(to));
        fs::remove_file(path).unwrap();
    }

    // The output may be the input.
    render(&directory, &["a.png", "a.png", "w=40"]);
    assert_eq!(size_of(&read("a.png")), (40, 30));

    for (output, sentence) in [
        ("no/such/out.png", "no/such/out.png: can't be written: No such file or directory"),
        (".", ".: can't be written: is a directory"),
        ("a.png/out.png", "a.png/out.png: can't be written: Not a directory"),
        ("/dev/full", "/dev/full: can't be written: No space left on device"),
    ] {
        let got = refused(&directory, &["a.png", output, "f=png"], 1);
        assert!(got.starts_with(sentence), "{got}");
    }
    // A disk that is full after the first block (EFBIG, because the shell ignores SIGXFSZ).
    let mut limited = server::command(Path::new("/bin/sh"), directory.path());
    let script =
        format!("trap '' XFSZ; ulimit -f 1; exec {PROGRAM} render a.png kept.jpg 'w=600&e=true'");
    let Output { stderr, status, .. } = server::run(limited.args(["-c", &script]));
    let stderr = said(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("kept.jpg: can't be written: File too large"), "{stderr}");
    assert_eq!(read("kept.jpg"), b"kept");
    // A device or a pipe is written to, and stays.
    render(&directory, &["a.png", "/dev/null", "f=png"]);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let mut all = all.to_vec();
    all.insert(3, "link.png");
    assert_eq!(names(&directory), all, "no temporary file");
}

#[test]
fn a_crash_and_a_timeout_of_the_decoder_are_sentences() {
    let directory = Directory::new()
        .with("noise.png", &images::png(images::noise(1600, 1200)))
        .with("out.avif", b"kept");
    let failed = |child: Child| {
        let Output { stderr, status, .. } = child.wait_with_output().unwrap();
        assert_eq!(fs::read(directory.path().join("out.avif")).unwrap(), b"kept");
        assert_eq!(names(&directory).iter().filter(|name| name.starts_with('.')).count(), 0);
        let stderr = said(&stderr);
        assert_eq!(status.code(), Some(1), "{stderr}");
        stderr.lines().last().unwrap().to_owned()
    };
    for (signal, name) in [(Signal::SEGV, "SIGSEGV"), (Signal::KILL, "SIGKILL")] {
        let (child, renderer) = at_work(&directory, &["noise.png", "out.avif", SLOW]);
        // Rust's stack overflow handler consumes the first SIGSEGV.
        eventually("the renderer has crashed", || {
            renderer.signal(signal);
            !renderer.lives()
        });
        let sentence = failed(child);
        let start =
            "s3imageserver: noise.png: the renderer exited while it worked on this image: signal: ";
        assert!(sentence.starts_with(start) && sentence.contains(name), "{sentence}");
    }
    let limits = |limits: Value| {
        let config = json!({"handlers": [directory.handler()], "limits": limits});
        directory.put("config.json", config.to_string().as_bytes());
    };
    limits(json!({"render_timeout": 1}));
    let (child, renderer) = start(&directory, &["noise.png", "out.avif", SLOW, "--handler", "h"]);
    let sentence = failed(child);
    assert_eq!(
        sentence,
        "s3imageserver: noise.png: is not ready after limits.render_timeout (1 s)"
    );
    eventually("the renderer is killed", || !renderer.lives());
    limits(json!({"decode_timeout": 0.001}));
    let arguments = &["noise.png", "out.avif", "w=900&blur=20&f=webp", "--handler", "h"];
    let sentence = refused(&directory, arguments, 1);
    assert!(sentence.ends_with("longer than limits.decode_timeout (decode_timeout)"), "{sentence}");
}

#[test]
fn hostile_images_are_refused_and_leave_nothing() {
    let directory = Directory::new();
    let manifest = String::from_utf8(data("hostile/MANIFEST.tsv")).unwrap();
    let mut count = 0;
    for line in manifest.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        // Some files are accepted, or refused in one of several ways.
        if fields[1] == "ok" || fields[1].contains('|') || count == 12 {
            continue;
        }
        count += 1;
        directory.put("in", &data(&format!("hostile/{}", fields[0])));
        let sentence = refused(&directory, &["in", "out.png", "w=50"], 1);
        let code = format!("({})", fields[1]);
        assert!(sentence.starts_with("in: ") && sentence.ends_with(&code), "{line}: {sentence}");
        assert_eq!(names(&directory), ["in"]);
    }
    assert!(count > 5, "{count}");
}

#[test]
fn the_renderer_is_sandboxed_without_any_file_and_exits_with_the_command() {
    let directory = Directory::new().with("noise.png", &images::png(images::noise(1600, 1200)));
    let (mut child, renderer) = at_work(&directory, &["noise.png", "out.avif", SLOW]);
    let proc = format!("/proc/{}", renderer.id);
    let field = |file: &str, name: &str| -> Vec<String> {
        let text = fs::read_to_string(format!("{proc}/{file}")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.split_whitespace().map(str::to_owned).collect()
    };
    let threads = fs::read_dir(format!("{proc}/task")).unwrap().flatten();
    let mut count = 0;
    for thread in threads {
        let file = format!("task/{}/status", thread.file_name().display());
        assert_eq!(field(&file, "NoNewPrivs:"), ["1"]);
        count += 1;
    }
    assert!(count > 1, "{count}");
    assert_eq!(field("limits", "Max core file size")[..2], ["0", "0"]);
    for name in ["Max data size", "Max open files"] {
        let found = field("limits", name);
        assert!(found[0] != "unlimited" && found[0] == found[1], "{name}: {found:?}");
    }
    for entry in fs::read_dir(format!("{proc}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap();
        let is_file = target.starts_with(directory.path()) || target.ends_with("noise.png");
        assert!(!is_file, "{}", target.display());
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(said(&output.stderr), "");
    eventually("the renderer exits with the command", || !renderer.lives());
    assert_eq!(names(&directory), ["noise.png"]);
}

#[test]
fn a_pipe_is_written_when_the_result_is_complete() {
    let directory = Directory::new().with("a.png", &images::png(images::gradient(80, 60)));
    let fifo = directory.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let mut command = command(&directory, &["a.png", "fifo", "w=20&f=webp"]);
    let mut child = command.spawn().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut File::open(&fifo).unwrap(), &mut bytes).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(Image::decode(&bytes).size(), (20, 15));
}
