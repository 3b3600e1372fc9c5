//! What the edge and the renderer say to each other: the names on the private socket and the start-up handshake.
//!
//! The renderer is the same binary with [`SOCKET_VARIABLE`] in its environment. Its standard input brings the
//! [`Setup`] and stays open: when the edge is gone, however it
//! went, the pipe closes and the renderer ends. Its standard output carries [`READY`] once it can be connected to,
//! and from then on a [`DecodeEvent`] whenever libvips begins or ends work for a id: when the renderer ends, the edge
//! knows what it was decoding.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::config::Resolved;

/// The environment variable that names the socket and so makes a process the renderer.
pub const SOCKET_VARIABLE: &str = "S3IMAGESERVER_RENDERER_SOCKET";
/// The environment variable with the edge's process id: a renderer without that parent ends.
pub const EDGE_VARIABLE: &str = "S3IMAGESERVER_EDGE_PROCESS";
/// The line on the renderer's standard output after which it accepts connections.
pub const READY: &str = "ready";
/// Answered by the loop itself: proves that a connection is read from.
pub const PING_PATH: &str = "/-/ping";
/// Before a route and a canonical query: the handler's error image, resized.
pub const ERROR_IMAGE_PATH: &str = "/-/error/";
/// The number that a request's marks carry. Whoever drives a renderer by hand leaves it out.
pub const REQUEST_ID_HEADER: &str = "X-Request-Id";
/// SHA-256 of the body, computed once by the renderer.
pub const SHA256_HEADER: &str = "X-Sha256";
/// When the original last changed, in Unix seconds.
pub const LAST_MODIFIED_HEADER: &str = "X-Last-Modified";
/// The short name of the body's format.
pub const FORMAT_HEADER: &str = "X-Format";
/// The failure's code; the body is then its sentence.
pub const ERROR_HEADER: &str = "X-Error";
/// The file system has changed under the renderer's rights: the edge should start another. With a failure: and
/// should ask that one, because the failure may be due to it.
pub const OUTDATED_HEADER: &str = "X-Outdated";
/// How many bytes of the disk the image takes as a cache entry; left out when it was not stored.
pub const STORED_HEADER: &str = "X-Stored";
/// In a request: nothing that the origin was asked for then or before, in milliseconds since 1970, is good enough.
pub const NOT_BEFORE_HEADER: &str = "X-Not-Before";
/// When the origin was asked for what the image is made from, in milliseconds since 1970.
pub const ASKED_HEADER: &str = "X-Asked";
/// The origin said that the original has not changed, so the image is the one that was in the cache.
pub const REVALIDATED_HEADER: &str = "X-Revalidated";
/// What became of the original in its cache: how many bytes of the disk it takes now, or [`ORIGINAL_USED`].
pub const ORIGINAL_HEADER: &str = "X-Original";
/// The original came out of its cache.
pub const ORIGINAL_USED: &str = "used";

/// No configuration and no error image is longer.
const LONGEST_PART: usize = 16 << 20;

/// A line on the renderer's standard output about the request with this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeEvent {
    /// `+17`: libvips begins to work for it.
    Start(u64),
    /// `-17`: libvips is done with it.
    End(u64),
}

impl DecodeEvent {
    /// The bytes of the longest mark.
    pub const LONGEST: usize = "+18446744073709551615".len();

    /// Reads a line without its end.
    pub fn parse(line: &[u8]) -> Option<DecodeEvent> {
        let (sign, digits) = line.split_first()?;
        if digits.len() >= DecodeEvent::LONGEST || !digits.iter().all(u8::is_ascii_digit) {
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

/// What a renderer is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The configuration as it stands in its file.
    pub text: String,
    /// What the edge found in the file system for each handler.
    pub resolved: Vec<Resolved>,
}

/// Hands the setup to a renderer: the text, then a directory and an error image for each handler, each behind a line
/// with its length.
pub fn send_setup(out: &mut impl Write, setup: &Setup) -> io::Result<()> {
    send(out, setup.text.as_bytes())?;
    for handler in &setup.resolved {
        send(
            out,
            handler
                .directory
                .as_ref()
                .map_or(&[][..], |directory| directory.as_os_str().as_bytes()),
        )?;
        send(out, &handler.error_image)?;
    }
    // An empty directory and an empty image end the list: no handler has an empty image.
    send(out, &[])?;
    send(out, &[])?;
    out.flush()
}

/// Takes the setup that [`send_setup`] wrote.
pub fn receive_setup(input: &mut impl BufRead) -> io::Result<Setup> {
    let text = String::from_utf8(receive(input)?)
        .map_err(|_| invalid("the configuration is not UTF-8"))?;
    let mut resolved = Vec::new();
    loop {
        let (directory, error_image) = (receive(input)?, receive(input)?);
        if error_image.is_empty() {
            return Ok(Setup { text, resolved });
        }
        let directory =
            (!directory.is_empty()).then(|| PathBuf::from(OsString::from_vec(directory)));
        resolved.push(Resolved { directory, error_image: error_image.into() });
    }
}

fn send(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    writeln!(out, "{}", bytes.len())?;
    out.write_all(bytes)
}

fn receive(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    input.by_ref().take(24).read_line(&mut line)?;
    let digits = line.strip_suffix('\n').ok_or_else(|| invalid("a length is missing"))?;
    let length: usize = digits.parse().map_err(|_| invalid("a length is missing"))?;
    if length > LONGEST_PART {
        return Err(invalid("a part is too long"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the edge's setup is not ours: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(text: &str) -> Setup {
        let handler = |directory: Option<&str>, image: &[u8]| Resolved {
            directory: directory.map(PathBuf::from),
            error_image: image.into(),
        };
        let resolved = vec![handler(Some("/a b/\u{fc}"), b"\xff\xd8\n"), handler(None, b"x")];
        Setup { text: text.to_owned(), resolved }
    }

    #[test]
    fn the_setup_survives_the_pipe() {
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
    fn a_mark_is_read_as_it_was_written() {
        for mark in [DecodeEvent::Start(0), DecodeEvent::End(17), DecodeEvent::Start(u64::MAX)] {
            let line = mark.to_string();
            assert!(line.len() <= DecodeEvent::LONGEST);
            assert_eq!(DecodeEvent::parse(line.as_bytes()), Some(mark));
        }
        for line in
            ["", "+", "-", "17", "*17", "++17", "+-17", "+ 17", "+17 ", "+18446744073709551616"]
        {
            assert_eq!(DecodeEvent::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn a_broken_handshake_is_an_error() {
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
