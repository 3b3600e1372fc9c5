//! What the edge and the renderer say to each other: the names on the private socket and the start-up handshake.
//!
//! The renderer is the same binary with [`SOCKET_VARIABLE`] in its environment. Its standard input brings the
//! configuration text behind a line with the text's length, and stays open: when the edge is gone, however it
//! went, the pipe closes and the renderer ends. Its standard output carries [`READY`] once it can be connected to.

use std::io::{self, BufRead, Read, Write};

/// The environment variable that names the socket and so makes a process the renderer.
pub const SOCKET_VARIABLE: &str = "S3IMAGESERVER_RENDERER_SOCKET";
/// The line on the renderer's standard output after which it accepts connections.
pub const READY: &str = "ready";
/// Answered by the loop itself: proves that a connection is read from.
pub const PING_PATH: &str = "/-/ping";
/// Before a route and a canonical query: the handler's error image, resized.
pub const ERROR_IMAGE_PATH: &str = "/-/error/";
/// SHA-256 of the body, computed once by the renderer.
pub const SHA256_HEADER: &str = "X-Sha256";
/// When the original last changed, in Unix seconds.
pub const LAST_MODIFIED_HEADER: &str = "X-Last-Modified";
/// The short name of the body's format.
pub const FORMAT_HEADER: &str = "X-Format";
/// The failure's code; the body is then its sentence.
pub const ERROR_HEADER: &str = "X-Error";

/// No configuration is longer.
const LONGEST_CONFIG: usize = 16 << 20;

/// Hands the configuration to a renderer.
pub fn send_config(out: &mut impl Write, text: &str) -> io::Result<()> {
    write!(out, "{}\n{text}", text.len())?;
    out.flush()
}

/// Takes the configuration that [`send_config`] wrote.
pub fn receive_config(input: &mut impl BufRead) -> io::Result<String> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    input.by_ref().take(24).read_line(&mut line)?;
    let length: usize = line.trim_end().parse().map_err(|_| invalid("no length before the configuration"))?;
    if length > LONGEST_CONFIG {
        return Err(invalid("the configuration is too long"));
    }
    let mut text = vec![0; length];
    input.read_exact(&mut text)?;
    String::from_utf8(text).map_err(|_| invalid("the configuration is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_survives_the_pipe() {
        for text in ["", "{}", "{\n// ü\n}\n"] {
            let mut pipe = Vec::new();
            send_config(&mut pipe, text).unwrap();
            pipe.extend_from_slice(b"rest");
            assert_eq!(receive_config(&mut &pipe[..]).unwrap(), text);
        }
    }

    #[test]
    fn a_broken_handshake_is_an_error() {
        for pipe in ["", "x\n", "5\nabc", "99999999999999999999\n", "17000000\n"] {
            assert!(receive_config(&mut pipe.as_bytes()).is_err(), "{pipe:?}");
        }
        assert!(receive_config(&mut &b"1\n\xff"[..]).is_err());
    }
}
