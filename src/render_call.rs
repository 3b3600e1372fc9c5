//! What `s3imageserver render` and its renderer say to each other, through the pipes of that process.
//!
//! The renderer is the same binary with [`VARIABLE`] in its environment. It gets a [`Setup`], a handler, a canonical query
//! and the original, and answers with the image or a failure.

use std::io::{self, BufRead, Read, Write};

use crate::error::{Code, Failure};
use crate::media_type::MediaType;
use crate::wire::{self, Setup};

/// The environment variable of a process that renders one image and exits.
pub const VARIABLE: &str = "S3IMAGESERVER_RENDER_ONCE";

/// The largest body of an answer. A renderer that an image has taken over must not fill the memory.
const MAX_BODY: u64 = 4 << 30;
/// The longest head of an answer: a name and a number.
const MAX_HEAD: u64 = 64;

/// One image to render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub setup: Setup,
    /// The handler whose settings apply.
    pub route: String,
    /// The canonical query.
    pub query: String,
    pub original: Vec<u8>,
}

pub fn send_call(out: &mut impl Write, call: &Call) -> io::Result<()> {
    wire::send_setup(out, &call.setup)?;
    writeln!(out, "{}", serde_json::json!([call.route, call.query]))?;
    out.write_all(&call.original)?;
    out.flush()
}

/// Reads the call that [`send_call`] writes, to the end of the pipe.
pub fn receive_call(input: &mut impl BufRead) -> io::Result<Call> {
    let setup = wire::receive_setup(input)?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    let (route, query) = serde_json::from_str(&line).map_err(io::Error::other)?;
    let mut original = Vec::new();
    input.read_to_end(&mut original)?;
    Ok(Call { setup, route, query, original })
}

/// Writes the name of a type or of an error code, the length of the body and the body: an image, or the sentence of a
/// failure.
pub fn send_answer(
    out: &mut impl Write,
    answer: &Result<(Vec<u8>, MediaType), Failure>,
) -> io::Result<()> {
    let (name, body) = match answer {
        Ok((image, media_type)) => (media_type.name(), image.as_slice()),
        Err(failure) => (failure.code.name(), failure.detail.as_bytes()),
    };
    writeln!(out, "{name} {}", body.len())?;
    out.write_all(body)?;
    out.flush()
}

/// Reads the answer that [`send_answer`] writes. `None` if it is not complete: the renderer has exited before.
pub fn receive_answer(input: &mut impl BufRead) -> Option<Result<(Vec<u8>, MediaType), Failure>> {
    let mut head = String::new();
    input.take(MAX_HEAD).read_line(&mut head).ok()?;
    let (name, length) = head.strip_suffix('\n')?.split_once(' ')?;
    let length: u64 = length.parse().ok().filter(|length| *length <= MAX_BODY)?;
    let mut body = Vec::new();
    input.take(length).read_to_end(&mut body).ok()?;
    if body.len() as u64 != length {
        return None;
    }
    if let Some(media_type) = MediaType::parse(name) {
        return Some(Ok((body, media_type)));
    }
    let detail = String::from_utf8(body).ok()?;
    Some(Err(Failure::new(Code::from_name(name)?, detail)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Resolved};
    use crate::format::Format;
    use crate::machine::Machine;

    #[test]
    fn a_call_round_trips_and_one_without_query_is_an_error() {
        let setup = Setup {
            text: "{}".into(),
            environment: Environment::default(),
            machine: Machine { processors: 2, is_cpu_limited: false, memory: Some(1) },
            resolved: vec![Resolved {
                directories: Vec::new(),
                error_image: b"x".as_slice().into(),
                watermarks: vec![b"w"[..].into()],
            }],
        };
        let query = "w=3&bg=00ff00".to_owned();
        let original = b"\xff\xd8\n\0[]".to_vec();
        let call = Call { setup, route: "a \"b\"\n\u{fc}".into(), query, original };
        let mut pipe = Vec::new();
        send_call(&mut pipe, &call).unwrap();
        assert_eq!(receive_call(&mut &pipe[..]).unwrap(), call);
        let end = pipe.len() - call.original.len();
        for end in (0..end - 1).step_by(3) {
            assert!(receive_call(&mut &pipe[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn an_answer_round_trips_and_an_incomplete_one_is_none() {
        let failure = Failure::new(Code::CorruptImage, "it \u{fc}\nis");
        for answer in [
            Ok((b"\0RIFF\n".to_vec(), MediaType::Image(Format::Webp))),
            Ok((b"{}".to_vec(), MediaType::Json)),
            Err(failure),
        ] {
            let mut pipe = Vec::new();
            send_answer(&mut pipe, &answer).unwrap();
            assert_eq!(receive_answer(&mut &pipe[..]), Some(answer));
            for end in 0..pipe.len() {
                assert_eq!(receive_answer(&mut &pipe[..end]), None, "cut at {end}");
            }
        }
        for pipe in [
            &b"webp 4294967297\nx"[..],
            b"webp -1\n",
            b"webp x\n",
            b"other 1\nx",
            b"not_found 1\n\xff",
            b"webp\n",
            b"+1\n",
            &[b'1'; 1000],
        ] {
            assert_eq!(receive_answer(&mut &*pipe), None, "{pipe:?}");
        }
    }
}
