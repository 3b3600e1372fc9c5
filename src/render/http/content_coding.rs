//! Undoes the `Content-Encoding` of an object (RFC 9110 §8.4), as it was given at the upload: S3 sends it unasked.
//!
//! The decoded bytes have the limit of an original, `origin_max_bytes`, after each coding. Decoding ends with the time
//! of the fetch.

use std::io::{self, BufRead, ErrorKind, Read};
use std::time::Instant;

use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use ureq::http::{HeaderMap, header};

use crate::error::Code;
use crate::format::Format;

/// Codings that are undone for one object. More than one is a mistake, which some tools make.
const MAX_CODINGS: usize = 4;
/// The longest name of a coding that is repeated in an error.
const MAX_NAME: usize = 40;
/// Bytes between two checks of the time, and of the limit.
const CHUNK: usize = 64 << 10;
/// The first bytes of a gzip member (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Where decoding has to end.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes that an original may have (`limits.origin_max_bytes`).
    pub max_bytes: u64,
    pub deadline: Instant,
}

/// Why an object can't be decoded: the code for the client, and the rest of a sentence about the object.
pub type Problem = (Code, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }

    fn undo(self, encoded: &[u8], bounds: Bounds) -> io::Result<Vec<u8>> {
        let input = TimedReader { rest: encoded, deadline: bounds.deadline };
        let mut output = Output { bytes: Vec::new(), max_bytes: bounds.max_bytes };
        match self {
            Coding::Gzip => gunzip(input, &mut output)?,
            Coding::Deflate => inflate(input, &mut output)?,
        }
        Ok(output.bytes)
    }
}

/// Undoes the codings that the header names.
///
/// Bytes that start like an image are not encoded, whatever the header says, as after an upload with a wrong header.
pub fn decode(mut bytes: Vec<u8>, headers: &HeaderMap, bounds: Bounds) -> Result<Vec<u8>, Problem> {
    let is_image = |bytes: &[u8]| Format::of_bytes(bytes).is_some();
    if !headers.contains_key(header::CONTENT_ENCODING) || is_image(&bytes) {
        return Ok(bytes);
    }
    // In the order in which they were applied.
    for coding in codings(headers)?.into_iter().rev() {
        bytes = coding.undo(&bytes, bounds).map_err(|error| explain(&error, coding, bounds))?;
        if is_image(&bytes) {
            break;
        }
    }
    Ok(bytes)
}

fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Problem> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let value = String::from_utf8_lossy(value.as_bytes());
        for name in value.split(',').map(str::trim) {
            match name.to_ascii_lowercase().as_str() {
                // §8.4.1.3: x-gzip is the same.
                "gzip" | "x-gzip" => codings.push(Coding::Gzip),
                "deflate" => codings.push(Coding::Deflate),
                // An empty element of a list (§5.6.1.2), or no coding: S3 undoes aws-chunked, which is the framing of an
                // upload, and may keep its name.
                // <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>
                "" | "identity" | "aws-chunked" => {}
                _ => {
                    let short: String = name.chars().take(MAX_NAME).collect();
                    let problem = format!(
                        "has the Content-Encoding {short:?}; only gzip and deflate are decoded"
                    );
                    return Err((Code::UnsupportedFormat, problem));
                }
            }
        }
    }
    if codings.len() > MAX_CODINGS {
        let problem = format!("has more than {MAX_CODINGS} codings in Content-Encoding");
        return Err((Code::UnsupportedFormat, problem));
    }
    Ok(codings)
}

fn explain(error: &io::Error, coding: Coding, bounds: Bounds) -> Problem {
    let name = coding.name();
    match error.kind() {
        ErrorKind::FileTooLarge => {
            let limit = bounds.max_bytes;
            let problem = format!(
                "is larger than {limit} bytes (limits.origin_max_bytes) without its Content-Encoding {name}"
            );
            (Code::TooLarge, problem)
        }
        ErrorKind::TimedOut => {
            let problem =
                format!("its Content-Encoding {name} was not decoded within limits.origin_timeout");
            (Code::OriginTimeout, problem)
        }
        ErrorKind::OutOfMemory => {
            (Code::OriginError, "can't allocate memory to decode it".to_owned())
        }
        _ => {
            let problem =
                format!("has the Content-Encoding {name} and is not valid {name}: {error}");
            (Code::CorruptImage, problem)
        }
    }
}

/// RFC 1952: members one after the other. Bytes after the last member are ignored, as gzip(1) and browsers do.
fn gunzip(mut input: TimedReader, output: &mut Output) -> io::Result<()> {
    loop {
        let mut member = GzDecoder::new(input);
        output.read_from(&mut member)?;
        input = member.into_inner();
        if !input.rest.starts_with(&GZIP) {
            return Ok(());
        }
    }
}

/// The zlib format (RFC 9110 §8.4.1.2), or without its header and checksum, which some software sends under this name.
fn inflate(mut input: TimedReader, output: &mut Output) -> io::Result<()> {
    let mut inflater = Decompress::new(is_zlib(input.rest));
    let mut chunk = vec![0; CHUNK];
    loop {
        let (read, written) = (inflater.total_in(), inflater.total_out());
        let status = inflater.decompress(input.fill_buf()?, &mut chunk, FlushDecompress::None)?;
        let [read, written] = [inflater.total_in() - read, inflater.total_out() - written]
            .map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        input.consume(read);
        output.add(chunk.get(..written).unwrap_or_default())?;
        if status == Status::StreamEnd {
            return Ok(());
        }
        if read == 0 && written == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it ends too early"));
        }
    }
}

/// Whether the bytes start with a zlib header (RFC 1950 §2.2): the method, and a check that makes both divisible by 31.
fn is_zlib(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

/// Encoded bytes in pieces, until the deadline: a stream can take much time without any output.
struct TimedReader<'b> {
    rest: &'b [u8],
    deadline: Instant,
}

impl BufRead for TimedReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if Instant::now() >= self.deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(self.rest.get(..CHUNK).unwrap_or(self.rest))
    }

    fn consume(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }
}

impl Read for TimedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// Decoded bytes within their limit.
struct Output {
    bytes: Vec<u8>,
    max_bytes: u64,
}

impl Output {
    fn read_from(&mut self, decoder: &mut impl Read) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            match decoder.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => self.add(chunk.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn add(&mut self, more: &[u8]) -> io::Result<()> {
        let length = self.bytes.len().saturating_add(more.len());
        if length as u64 > self.max_bytes {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if length > self.bytes.capacity() {
            // Doubled, but not beyond the limit.
            let limit = usize::try_from(self.max_bytes).unwrap_or(usize::MAX);
            let capacity = length.saturating_mul(2).min(limit);
            self.bytes.try_reserve_exact(capacity - self.bytes.len())?;
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const LIMIT: u64 = 1 << 20;

    fn bounds() -> Bounds {
        Bounds { max_bytes: LIMIT, deadline: Instant::now() + Duration::from_secs(60) }
    }

    /// Bytes that start like no image.
    fn text() -> Vec<u8> {
        (0..200_000_u32).map(|number| (number.wrapping_mul(number) >> 7) as u8 | 1).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
        }
        headers
    }

    fn decoded(bytes: Vec<u8>, values: &[&str]) -> Result<Vec<u8>, Problem> {
        decode(bytes, &headers(values), bounds())
    }

    #[track_caller]
    fn refused(bytes: Vec<u8>, values: &[&str]) -> Problem {
        decoded(bytes, values).expect_err("decoded")
    }

    #[test]
    fn codings_are_undone_in_reverse_order() {
        let text = text();
        for (bytes, values) in [
            (text.clone(), &[][..]),
            (gzip(&text), &["gzip"]),
            (gzip(&text), &["GZip"]),
            (gzip(&text), &["x-gzip"]),
            (zlib(&text), &["deflate"]),
            (deflate(&text), &["DEFLATE"]),
            (gzip(&gzip(&text)), &["gzip, gzip"]),
            (gzip(&gzip(&text)), &["gzip", "gzip"]),
            (gzip(&zlib(&text)), &["deflate,gzip"]),
            (zlib(&gzip(&text)), &["gzip\t,  deflate"]),
            (text.clone(), &["identity"]),
            (text.clone(), &["aws-chunked"]),
            (text.clone(), &[""]),
            (gzip(&text), &["aws-chunked,gzip"]),
            (gzip(&text), &["gzip, aws-chunked, , identity"]),
            (gzip(&[]), &["gzip"]),
        ] {
            let expected = if values == ["gzip"] && bytes.len() < 30 { &[] } else { &text[..] };
            assert!(decoded(bytes, values).as_deref() == Ok(expected), "{values:?}");
        }
    }

    #[test]
    fn other_codings_are_refused_by_name() {
        for name in ["br", "zstd", "compress", "x-compress", "gzip;q=1", "gzip gzip", "dcb"] {
            let (code, problem) = refused(text(), &[name]);
            assert_eq!(code, Code::UnsupportedFormat, "{name}");
            assert!(problem.contains(&format!("{name:?}")), "{problem}");
        }
        let (code, problem) = refused(gzip(&text()), &["gzip, br"]);
        assert!(code == Code::UnsupportedFormat && problem.contains("\"br\""), "{problem}");
        let (_, problem) = refused(text(), &[&"b".repeat(5000)]);
        assert!(problem.len() < 200, "{problem}");
        let mut strange = HeaderMap::new();
        strange.insert(header::CONTENT_ENCODING, b"\xff\t\xe9".as_slice().try_into().unwrap());
        assert_eq!(decode(text(), &strange, bounds()).unwrap_err().0, Code::UnsupportedFormat);
        let (code, problem) = refused(gzip(&text()), &["gzip, gzip, gzip, gzip, gzip"]);
        assert!(code == Code::UnsupportedFormat && problem.contains("more than 4"), "{problem}");
    }

    #[test]
    fn bytes_that_start_like_an_image_are_not_decoded() {
        let image = [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], &text()].concat();
        for values in [&["gzip"][..], &["br"], &["deflate, gzip"], &["gzip", "gzip", "gzip"]] {
            assert!(decoded(image.clone(), values).as_ref() == Ok(&image), "{values:?}");
        }
        assert!(decoded(gzip(&image), &["gzip, gzip"]).as_ref() == Ok(&image));
    }

    #[test]
    fn gzip_has_members_and_ignores_what_follows_them() {
        let (a, b) = (text(), b"end".to_vec());
        let both = [a.clone(), b.clone()].concat();
        assert!(decoded([gzip(&a), gzip(&b)].concat(), &["gzip"]).as_ref() == Ok(&both));
        for after in [&[0; 512][..], b"x", b"\x1f", b"garbage"] {
            assert!(decoded([gzip(&a), after.to_vec()].concat(), &["gzip"]).as_ref() == Ok(&a));
        }
        let many = [gzip(&[]).repeat(1000), gzip(&b)].concat();
        assert_eq!(decoded(many, &["gzip"]), Ok(b));
    }

    #[test]
    fn damaged_data_is_a_corrupt_image() {
        let text = text();
        for (whole, values) in
            [(gzip(&text), ["gzip"]), (zlib(&text), ["deflate"]), (deflate(&text), ["deflate"])]
        {
            for length in [0, 1, 2, 9, 10, 20, whole.len() / 2, whole.len() - 1] {
                let (code, problem) = refused(whole[..length].to_vec(), &values);
                assert_eq!(code, Code::CorruptImage, "{values:?} {length}");
                assert!(problem.contains(values[0]), "{problem}");
            }
        }
        for (mut whole, values) in [(gzip(&text), ["gzip"]), (zlib(&text), ["deflate"])] {
            let checksum = whole.len() - 8 + if values == ["gzip"] { 0 } else { 5 };
            whole[checksum] ^= 1;
            assert_eq!(refused(whole, &values).0, Code::CorruptImage, "{values:?} checksum");
        }
        for bytes in [text.clone(), zlib(&text), [gzip(&text), vec![0x1f, 0x8b, 8]].concat()] {
            assert_eq!(refused(bytes, &["gzip"]).0, Code::CorruptImage);
        }
        assert_eq!(refused(gzip(&text), &["gzip, gzip"]).0, Code::CorruptImage);
    }

    #[test]
    fn bombs_stop_at_the_limit_of_each_coding() {
        let exact = vec![b'a'; LIMIT as usize];
        let over = vec![b'a'; LIMIT as usize + 1];
        for encode in [gzip, zlib, deflate] {
            let name = if encode(&[])[..2] == GZIP { "gzip" } else { "deflate" };
            assert!(decoded(encode(&exact), &[name]).as_ref() == Ok(&exact), "{name}");
            let (code, problem) = refused(encode(&over), &[name]);
            assert_eq!(code, Code::TooLarge);
            assert!(problem.contains("1048576 bytes (limits.origin_max_bytes)"), "{problem}");
            // The inner stream decodes to nothing, and is large itself.
            let empty = encode(&gzip(&[]).repeat(100_000));
            assert_eq!(refused(empty, &["gzip", name]).0, Code::TooLarge);
        }
        let output = Coding::Gzip.undo(&gzip(&exact), bounds()).unwrap();
        assert!(output.capacity() as u64 <= LIMIT);
    }

    #[test]
    fn decoding_ends_at_the_deadline() {
        let late = Bounds { deadline: Instant::now(), ..bounds() };
        // Many members without any output.
        let empty = gzip(&[]).repeat(50_000);
        for (bytes, value) in [(empty, "gzip"), (gzip(&text()), "gzip"), (zlib(&text()), "deflate")]
        {
            let (code, problem) = decode(bytes, &headers(&[value]), late).unwrap_err();
            assert_eq!(code, Code::OriginTimeout);
            assert!(problem.contains("limits.origin_timeout"), "{problem}");
        }
    }
}
