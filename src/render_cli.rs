//! `s3imageserver render`: renders one image from a file into a file, with the pipeline of the server.
//!
//! This process reads and writes the files and decodes nothing. Its child renders in the sandbox of a renderer, without
//! any file: original and result go through pipes, so that a crafted image can at most make the child fail.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::config::{self, Config, Handler};
use crate::format::{Format, formats_that, or_list};
use crate::machine;
use crate::options::{BadQuery, Options, Query};
use crate::render_call::{self, Call};
use crate::renderer_command::renderer_command;
use crate::wire::Setup;

/// The name of standard input and of standard output.
const STANDARD: &str = "-";
/// The limits and defaults without a configuration: those of the server, except that no side is clamped. Its directory is
/// not read.
const DEFAULT_CONFIG: &str =
    r#"{"handlers": [{"name": "render", "directory": "/", "max_dimension": 16383}]}"#;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// A file, or `-`.
    pub input: String,
    /// A file, or `-`.
    pub output: String,
    /// A query with options of an image.
    pub options: String,
    /// The handler whose settings and presets apply. Without one, the configuration is [`default_config`].
    pub handler: Option<String>,
}

/// Why there is no result, as a sentence.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// The command line is wrong.
    Usage(String),
    /// The original can't be rendered, or a file can't be read or written.
    Failed(String),
}

pub fn default_config() -> Result<Config, String> {
    config::parse(DEFAULT_CONFIG, "render").map_err(|error| error.to_string())
}

/// Renders one image. The output appears when it is complete.
pub fn run(arguments: &Arguments, config: &Config) -> Result<(), Problem> {
    let handler = find_handler(arguments, config).map_err(Problem::Usage)?;
    let options = options(arguments, handler).map_err(Problem::Usage)?;
    let original = read(&arguments.input, config.limits.origin_max_bytes).map_err(|problem| {
        Problem::Failed(format!("{}: {problem}", name(&arguments.input, "standard input")))
    })?;
    let call = Call {
        setup: setup(config),
        route: handler.route.clone(),
        query: options.canonical(),
        original,
    };
    let image = render(&call, config.limits.render_timeout).map_err(|problem| {
        Problem::Failed(format!("{}: {problem}", name(&arguments.input, "standard input")))
    })?;
    write(&arguments.output, &image).map_err(|error| {
        let output = name(&arguments.output, "standard output");
        Problem::Failed(format!("{output}: can't be written: {error}"))
    })
}

fn name<'a>(path: &'a str, standard: &'a str) -> &'a str {
    if path == STANDARD { standard } else { path }
}

fn find_handler<'c>(arguments: &Arguments, config: &'c Config) -> Result<&'c Handler, String> {
    let found = match &arguments.handler {
        None => config.handlers.first(),
        Some(route) => config.handlers.iter().find(|handler| handler.route == *route),
    };
    found.ok_or_else(|| {
        let routes = or_list(config.handlers.iter().map(|handler| handler.route.as_str()));
        let route = arguments.handler.as_deref().unwrap_or_default();
        format!("the configuration has no handler {route:?}; --handler must be {routes}")
    })
}

/// The options of the image: those of the query, then the format of the name of the output, then those of the preset and
/// of the handler's defaults.
fn options(arguments: &Arguments, handler: &Handler) -> Result<Options, String> {
    let sentence = |bad: BadQuery| bad.0;
    let query = Query::parse_command(&arguments.options).map_err(sentence)?;
    let of_name = if query.has_any(&["f"]) { None } else { format_of_name(&arguments.output)? };
    let query = match of_name {
        Some(format) => query.with_format(format),
        None => query,
    };
    let query = match query.preset() {
        None => handler.size_policy.with_defaults(&query),
        Some(_) if arguments.handler.is_none() => {
            return Err("p: presets are those of a handler, which --handler names".to_owned());
        }
        Some(preset) => Cow::Owned(query.over(find_preset(preset, handler)?)),
    };
    if query.is_raw() {
        return Err("raw: the original is the input itself".to_owned());
    }
    if query.varies() {
        return Err("f: auto asks what a browser accepts; give a format".to_owned());
    }
    Options::resolve(&query, "", handler.defaults()).map_err(sentence)
}

fn find_preset<'h>(name: &str, handler: &'h Handler) -> Result<&'h Query, String> {
    let found = handler.size_policy.presets().find(|(known, _)| *known == name);
    let (_, query) = found
        .ok_or_else(|| format!("p: the handler {:?} has no preset {name:?}", handler.route))?;
    Ok(query)
}

/// The format that the output's extension names; `None` without an extension.
fn format_of_name(output: &str) -> Result<Option<Format>, String> {
    let extension = match Path::new(output).extension().map(OsStr::to_string_lossy) {
        Some(extension) if output != STANDARD => extension.to_ascii_lowercase(),
        _ => return Ok(None),
    };
    let format = Format::parse(&extension).filter(|format| format.is_written());
    format.map(Some).ok_or_else(|| {
        let names = or_list(formats_that(Format::is_written).flat_map(Format::names).copied());
        format!(
            "{output}: .{extension} is not the extension of a format ({names}); give one with f"
        )
    })
}

fn read(path: &str, max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = match path {
        STANDARD => io::stdin().take(max.saturating_add(1)).read_to_end(&mut bytes),
        path => File::open(path)
            .and_then(|file| file.take(max.saturating_add(1)).read_to_end(&mut bytes)),
    };
    read.map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > max {
        return Err(format!("has more bytes than limits.origin_max_bytes ({max})"));
    }
    Ok(bytes)
}

fn setup(config: &Config) -> Setup {
    Setup {
        text: config.text().to_owned(),
        environment: config.environment().clone(),
        machine: machine::current(),
        resolved: config.handlers.iter().map(Handler::resolved).collect(),
    }
}

/// Has the child render.
fn render(call: &Call, timeout: Duration) -> Result<Vec<u8>, String> {
    let mut child = renderer_command()
        .env(render_call::VARIABLE, "1")
        .spawn()
        .map_err(|error| format!("the renderer can't be started: {error}"))?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("the renderer was started without pipes".to_owned());
    };
    let (sender, answers) = mpsc::channel();
    let receive = move || {
        // The receiver is gone after the timeout.
        let _ = sender.send(render_call::receive_answer(&mut BufReader::new(stdout)));
    };
    let started = thread::Builder::new().name("answer".into()).spawn(receive);
    started.map_err(|error| format!("a thread can't be started: {error}"))?;
    // A renderer that exits before it has read the call tells why by its status.
    let _ = render_call::send_call(&mut BufWriter::new(stdin), call);
    match answers.recv_timeout(timeout) {
        Ok(Some(answer)) => {
            let _ = child.wait();
            answer
                .map(|(image, _)| image)
                .map_err(|failure| format!("{} ({})", failure.detail, failure.code.name()))
        }
        Err(RecvTimeoutError::Timeout) => {
            let _ = kill(&mut child);
            let seconds = timeout.as_secs_f64();
            Err(format!("is not ready after limits.render_timeout ({seconds} s)"))
        }
        Ok(None) | Err(RecvTimeoutError::Disconnected) => Err(match kill(&mut child) {
            Ok(status) => format!("the renderer exited while it worked on this image: {status}"),
            Err(error) => format!("the renderer exited while it worked on this image: {error}"),
        }),
    }
}

/// Ends the child, unless it has exited, and returns its status.
fn kill(child: &mut Child) -> io::Result<ExitStatus> {
    // One that has closed its output may need a moment to exit: its own status says more.
    for _ in 0..100 {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    child.wait()
}

/// Writes the output. A file that exists is replaced by a complete one, or stays as it is.
fn write(path: &str, image: &[u8]) -> io::Result<()> {
    if path == STANDARD {
        let mut out = io::stdout();
        return out.write_all(image).and_then(|()| out.flush());
    }
    // A link stays, and what it leads to is replaced.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if Path::new(path).is_symlink() => {
            let sentence = format!("it is a link that leads to no file: {error}");
            return Err(io::Error::new(error.kind(), sentence));
        }
        Err(_) => PathBuf::from(path),
    };
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => replace(&path, image, Some(metadata.permissions())),
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // A device or a pipe.
        Ok(_) => File::options().write(true).open(&path)?.write_all(image),
        Err(_) => replace(&path, image, None),
    }
}

/// Writes a file of another name and renames it.
fn replace(path: &Path, image: &[u8], permissions: Option<fs::Permissions>) -> io::Result<()> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let temporary = path.with_file_name(format!(".s3imageserver-{}-{now}.tmp", std::process::id()));
    let mut file = File::create_new(&temporary)?;
    let written = (|| {
        file.write_all(image)?;
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(output: &str, options: &str, handler: Option<&str>) -> Arguments {
        Arguments {
            input: "in.jpg".into(),
            output: output.into(),
            options: options.into(),
            handler: handler.map(str::to_owned),
        }
    }

    #[test]
    fn the_query_and_the_name_of_the_output_come_before_preset_and_defaults() {
        let text = r#"{"handlers": [
            {"name": "a", "directory": "/"},
            {"name": "b", "directory": "/", "output_format": "png", "max_dimension": 500,
             "presets": {"card": "w=300&f=avif", "wide": "w=900", "any": "f=auto"}, "presets_only": true},
            {"name": "c", "directory": "/", "defaults": "w=30&f=webp", "presets": {"low": "h=20"}},
            {"name": "e", "directory": "/", "defaults": "lossless=true"}]}"#;
        let config = config::parse(text, "test").unwrap();
        let default = default_config().unwrap();
        let canonical = |output: &str, query: &str, handler: Option<&str>| {
            let arguments = arguments(output, query, handler);
            let config = if handler.is_some() { &config } else { &default };
            let handler = find_handler(&arguments, config)?;
            options(&arguments, handler).map(|options| options.canonical())
        };
        for (output, query, handler, expected) in [
            ("out.webp", "w=300", None, "w=300&f=webp"),
            ("out.JPEG", "", None, "f=jpg"),
            ("-", "w=300", None, "w=300"),
            ("out", "", None, ""),
            ("dir.txt/out", "", None, ""),
            ("out.png", "f=gif", None, "f=gif"),
            ("out.txt", "f=gif", None, "f=gif"),
            ("-", "w=16383", None, "w=16383"),
            ("-", "w=300", Some("a"), "w=300"),
            ("-", "w=900", Some("b"), "w=500&f=png"),
            ("-", "p=card", Some("b"), "w=300&f=avif"),
            ("out.webp", "p=card", Some("b"), "w=300&f=webp"),
            ("out.webp", "p=card&f=gif", Some("b"), "w=300&f=gif"),
            ("out.webp", "p=any", Some("b"), "f=webp"),
            ("-", "h=9", Some("c"), "w=30&h=9&f=webp"),
            ("-", "p=low", Some("c"), "w=30&h=20&f=webp"),
            ("out.gif", "p=low&w=5", Some("c"), "w=5&h=20&f=gif"),
            ("out.jpg", "", Some("e"), "f=jpg"),
            ("out.webp", "", Some("e"), "f=webp&lossless=true"),
            ("out.webp", "p=wide", Some("b"), "w=500&f=webp"),
            ("out.webp", "p=wide&w=100", Some("b"), "w=100&f=webp"),
        ] {
            assert_eq!(
                canonical(output, query, handler).as_deref(),
                Ok(expected),
                "{output} {query}"
            );
        }
        for (output, query, handler, expected) in [
            ("out.txt", "w=3", None, "out.txt: .txt is not the extension of a format (jpg, jpeg,"),
            ("out.svg", "", None, "out.svg: .svg is not the extension of a format"),
            ("o.png", "w=0", None, "w: must be a whole number"),
            ("o.png", "w=1&w=2", None, "w: given twice"),
            ("o.png", "wdith=1", None, "unknown parameter \"wdith=1\""),
            ("o.png", "t=secret", None, "t: is for requests to a server"),
            ("o.png", "exp=1", None, "exp: is for requests to a server"),
            ("o.png", "raw=true", None, "raw: the original is the input itself"),
            ("o.jpg", "lossless=true", None, "lossless: can't be true with f=jpg"),
            ("o.png", "dl=a", None, "dl: is for requests to a server"),
            ("o.png", "p=card", None, "p: presets are those of a handler"),
            ("o.png", "p=x", Some("b"), "p: the handler \"b\" has no preset \"x\""),
            ("o.png", "f=auto", None, "f: auto asks what a browser accepts"),
            ("-", "p=any", Some("b"), "f: auto asks what a browser accepts"),
            (
                "o.png",
                "",
                Some("d"),
                "the configuration has no handler \"d\"; --handler must be a, b, c or e",
            ),
        ] {
            let sentence = canonical(output, query, handler).unwrap_err();
            assert!(sentence.starts_with(expected), "{output} {query}: {sentence}");
        }
    }
}
