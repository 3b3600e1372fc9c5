//! The protocol between edge and renderer: headers on the private socket, and the pipes of the renderer process.
//!
//! The renderer is the same binary with [`SOCKET_VARIABLE`] in its environment. The edge writes the [`Setup`] to the
//! renderer's standard input and leaves it open; it closes when the edge exits for any reason, and the renderer exits
//! as well. The renderer writes [`READY`] to its standard output once it accepts connections, and then a
//! [`DecodeEvent`] whenever libvips starts or ends work for a request, so that the edge knows which requests were
//! decoding at a crash.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Environment, Resolved};
use crate::machine::Machine;

/// The environment variable with the socket's path. A process that has it is a renderer.
pub const SOCKET_VARIABLE: &str = "S3IMAGESERVER_RENDERER_SOCKET";
/// The environment variable with the edge's process id. A renderer with another parent exits.
pub const EDGE_VARIABLE: &str = "S3IMAGESERVER_EDGE_PROCESS";
/// A line on the renderer's standard output: it accepts connections.
pub const READY: &str = "ready";
/// Answered by the accept loop without a worker thread; proves that the connection is being read. The body is a
/// [`crate::renderer_status::RendererStatus`].
pub const PING_PATH: &str = "/-/ping";
/// Followed by a handler's route and a canonical query: the error image of the handler, resized.
pub const ERROR_IMAGE_PATH: &str = "/-/error/";
/// Followed by a handler's route: a JSON array of up to [`MAX_KEYS`] of its keys, and one more if there are more.
pub const KEYS_PATH: &str = "/-/keys/";
pub const MAX_KEYS: usize = 500;
/// Followed by a handler's route: the renderer sends the handler's purge hook for the [`crate::cache_tag::PurgeScope`]s in
/// the body, a JSON array. The answer is a [`HookAnswer`] in JSON.
pub const HOOK_PATH: &str = "/-/hook/";
/// Maximum bytes of the body: 256 keys of 1024 bytes, each of which JSON may escape with six.
pub const MAX_HOOK_BODY: usize = 2 << 20;
/// Followed by the ARN of a configured SNS topic, a slash and a file name: the certificate of that name at the topic's
/// host, as PEM.
pub const SNS_CERTIFICATE_PATH: &str = "/-/sns/certificate/";
/// Followed by the ARN of a configured SNS topic, a slash and a token: confirms the subscription that has it.
pub const SNS_CONFIRM_PATH: &str = "/-/sns/confirm/";
/// Timeout of the renderer's request to SNS, which itself waits 15 seconds for the response to a message.
pub const SNS_TIMEOUT: Duration = Duration::from_secs(8);
/// What the following begin with.
pub const JOURNAL_PATH: &str = "/-/journal/";
/// Followed by a handler's route, a slash, and the name after which to read: a page of the journal in its results bucket, a
/// [`crate::shared_journal::Page`] in JSON.
pub const JOURNAL_READ_PATH: &str = "/-/journal/read/";
/// Followed by a handler's route, a slash, a key or a prefix, `?key&` or `?prefix&`, and the number of the edge's process:
/// records a purge there, and removes the results that it concerns.
pub const JOURNAL_RECORD_PATH: &str = "/-/journal/record/";
/// In a request: the id in its decode events. Without it there are none.
pub const REQUEST_ID_HEADER: &str = "X-Request-Id";
/// In a request: the id that the client gets, for the renderer's log. Without it its lines have none.
pub const CLIENT_REQUEST_ID_HEADER: &str = "X-Client-Request-Id";
/// SHA-256 of the body in hexadecimal.
pub const SHA256_HEADER: &str = "X-Sha256";
/// When the original was last modified, in Unix seconds.
pub const LAST_MODIFIED_HEADER: &str = "X-Last-Modified";
/// `Cache-Control` of the original.
pub const CACHE_CONTROL_HEADER: &str = "X-Cache-Control";
/// The quality that was found for `max_bytes`: [`crate::quality::Level`].
pub const QUALITY_HEADER: &str = "X-Quality";
/// The short name of the body's type: [`crate::media_type::MediaType::name`].
pub const FORMAT_HEADER: &str = "X-Format";
/// What the request took, also if it failed: [`crate::phases::Phases`].
pub const PHASES_HEADER: &str = "X-Phases";
/// The code of a failure. The body is its message.
pub const ERROR_HEADER: &str = "X-Error";
/// The renderer's sandbox does not match the file system any more: the edge should start a new renderer and, if this is
/// a failure, retry the request there.
pub const OUTDATED_HEADER: &str = "X-Outdated";
/// The size of the image's cache entry on disk in bytes; absent if it was not stored.
pub const DISK_BYTES_HEADER: &str = "X-Disk-Bytes";
/// In a request: the image must come from an origin request after this time, in milliseconds since 1970.
pub const NOT_BEFORE_HEADER: &str = "X-Not-Before";
/// In a request with [`NOT_BEFORE_HEADER`]: [`NotBefore::purge`].
pub const PURGE_HEADER: &str = "X-Purge";
/// When the origin was last asked for the original, in milliseconds since 1970.
pub const VALIDATED_AT_HEADER: &str = "X-Validated-At";
/// The original has not changed, so the image is the cached one.
pub const REVALIDATED_HEADER: &str = "X-Revalidated";
/// The image is a shared result.
pub const SHARED_HEADER: &str = "X-Shared";
/// The size of the original's cache entry on disk in bytes, if it was written, or [`ORIGINAL_USED`].
pub const ORIGINAL_HEADER: &str = "X-Original";
/// The original was read from its cache.
pub const ORIGINAL_USED: &str = "used";

/// What an image must be later than.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotBefore {
    /// The image must come from an origin request after this time, in milliseconds since 1970; 0: after any time.
    pub time: u64,
    /// The time of the purge in the shared journal because of which it must, if there is one, else 0. A shared result with
    /// the mark of this purge or a later one is as good, whatever the clock of the server that made it.
    pub purge: u64,
}

/// Bytes of a configuration, a path, an error image or a watermark.
const MAX_PART: usize = 16 << 20;

/// A line on the renderer's standard output about the request with this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeEvent {
    /// `+17`: libvips starts work for request 17.
    Start(u64),
    /// `-17`: libvips has ended work for request 17.
    End(u64),
}

impl DecodeEvent {
    /// Bytes of a line without its newline.
    pub const MAX_BYTES: usize = "+18446744073709551615".len();

    /// Parses a line without its newline.
    pub fn parse(line: &[u8]) -> Option<DecodeEvent> {
        let (sign, digits) = line.split_first()?;
        if digits.len() >= DecodeEvent::MAX_BYTES || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let id = std::str::from_utf8(digits).ok()?.parse().ok()?;
        match sign {
            b'+' => Some(DecodeEvent::Start(id)),
            b'-' => Some(DecodeEvent::End(id)),
            _ => None,
        }
    }
}

impl fmt::Display for DecodeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeEvent::Start(id) => write!(f, "+{id}"),
            DecodeEvent::End(id) => write!(f, "-{id}"),
        }
    }
}

/// What became of a purge hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookAnswer {
    Done,
    /// Another attempt may succeed. The sentence says why this one did not.
    Retry(String),
    /// Another attempt would fail, too.
    Refused(String),
}

/// The configuration of a renderer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The text of the configuration file.
    pub text: String,
    /// The values of the environment variables that the text refers to, as the edge has read them.
    pub environment: Environment,
    /// The processors and the memory at the start of the edge.
    pub machine: Machine,
    /// For each handler, the data that the edge has read from the file system.
    pub resolved: Vec<Resolved>,
}

/// Writes the text, each reference to an environment variable with its value, processors and memory, then the directories,
/// the error image and the watermarks of each handler. Each part follows a line with its length in bytes.
pub fn send_setup(out: &mut impl Write, setup: &Setup) -> io::Result<()> {
    send_part(out, setup.text.as_bytes())?;
    for (written, value) in setup.environment.iter() {
        send_part(out, written.as_bytes())?;
        send_part(out, value.as_bytes())?;
    }
    // An empty reference ends the list.
    send_part(out, &[])?;
    let Machine { processors, is_cpu_limited, memory } = setup.machine;
    let memory = memory.unwrap_or_default();
    send_part(out, format!("{processors} {is_cpu_limited} {memory}").as_bytes())?;
    for handler in &setup.resolved {
        for directory in &handler.directories {
            send_part(out, directory.as_os_str().as_bytes())?;
        }
        // No directory has an empty path.
        send_part(out, &[])?;
        send_part(out, &handler.error_image)?;
        for watermark in &handler.watermarks {
            send_part(out, watermark)?;
        }
        // No watermark is empty.
        send_part(out, &[])?;
    }
    // An empty error image, which no handler has, ends the list.
    send_part(out, &[])?;
    send_part(out, &[])?;
    out.flush()
}

/// Reads the setup that [`send_setup`] writes.
pub fn receive_setup(input: &mut impl BufRead) -> io::Result<Setup> {
    let text = receive_text(input)?;
    let mut environment = Environment::default();
    loop {
        let written = receive_text(input)?;
        if written.is_empty() {
            break;
        }
        environment.insert(written, receive_text(input)?);
    }
    let machine = parse_machine(&receive_text(input)?)
        .ok_or_else(|| invalid("processors and memory are missing"))?;
    let mut resolved = Vec::new();
    loop {
        let mut directories = Vec::new();
        loop {
            let directory = receive_part(input)?;
            if directory.is_empty() {
                break;
            }
            directories.push(PathBuf::from(OsString::from_vec(directory)));
        }
        let error_image = receive_part(input)?;
        if error_image.is_empty() {
            return Ok(Setup { text, environment, machine, resolved });
        }
        let mut watermarks = Vec::new();
        loop {
            let watermark = receive_part(input)?;
            if watermark.is_empty() {
                break;
            }
            watermarks.push(watermark.into());
        }
        resolved.push(Resolved { directories, error_image: error_image.into(), watermarks });
    }
}

fn send_part(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    writeln!(out, "{}", bytes.len())?;
    out.write_all(bytes)
}

fn parse_machine(text: &str) -> Option<Machine> {
    let mut words = text.split(' ');
    Some(Machine {
        processors: words.next()?.parse().ok()?,
        is_cpu_limited: words.next()?.parse().ok()?,
        // No limit is 0.
        memory: Some(words.next()?.parse().ok()?).filter(|bytes| *bytes > 0),
    })
}

fn receive_text(input: &mut impl BufRead) -> io::Result<String> {
    String::from_utf8(receive_part(input)?).map_err(|_| invalid("the configuration is not UTF-8"))
}

fn receive_part(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    input.by_ref().take(24).read_line(&mut line)?;
    let digits = line.strip_suffix('\n').ok_or_else(|| invalid("a length is missing"))?;
    let length: usize = digits.parse().map_err(|_| invalid("a length is missing"))?;
    if length > MAX_PART {
        return Err(invalid("a part is too long"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed setup from the edge: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(text: &str) -> Setup {
        let handler = |directories: &[&str], image: &[u8], watermarks: &[&[u8]]| Resolved {
            directories: directories.iter().map(PathBuf::from).collect(),
            error_image: image.into(),
            watermarks: watermarks.iter().map(|bytes| (*bytes).into()).collect(),
        };
        let resolved = vec![
            handler(&["/a b/\u{fc}", "/"], b"\xff\xd8\n", &[b"\n", b"0\n0\n"]),
            handler(&[], b"x", &[]),
        ];
        let mut environment = Environment::default();
        environment.insert("$A".into(), "1\n\u{fc}".into());
        environment.insert("${B:-}".into(), String::new());
        let machine = Machine { processors: 3, is_cpu_limited: true, memory: None };
        Setup { text: text.to_owned(), environment, machine, resolved }
    }

    #[test]
    fn setup_round_trips_and_a_truncated_one_is_an_error() {
        for text in ["", "{}", "{\n// \u{fc}\n}\n"] {
            let mut pipe = Vec::new();
            send_setup(&mut pipe, &setup(text)).unwrap();
            assert_eq!(receive_setup(&mut &pipe[..]).unwrap(), setup(text));
            for end in 0..pipe.len() {
                assert!(receive_setup(&mut &pipe[..end]).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn decode_event_round_trips_and_other_lines_do_not_parse() {
        for event in [DecodeEvent::Start(0), DecodeEvent::End(17), DecodeEvent::Start(u64::MAX)] {
            let line = event.to_string();
            assert!(line.len() <= DecodeEvent::MAX_BYTES);
            assert_eq!(DecodeEvent::parse(line.as_bytes()), Some(event));
        }
        for line in
            ["", "+", "-", "17", "*17", "++17", "+-17", "+ 17", "+17 ", "+18446744073709551616"]
        {
            assert_eq!(DecodeEvent::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn malformed_setup_is_an_error() {
        for pipe in [
            &b""[..],
            b"x\n",
            b"5\nabc",
            b"99999999999999999999\n",
            b"17000000\n",
            b"1\n\xff0\n0\n",
        ] {
            assert!(receive_setup(&mut &*pipe).is_err(), "{pipe:?}");
        }
    }
}
