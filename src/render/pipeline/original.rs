//! The original's own bytes in place of a result that is larger.
//!
//! They are served only if they hold nothing but pixels: this is a list of what an image may consist of, so that
//! metadata that is unknown here, or follows the end of the image, is never served.

use super::job::Job;
use super::steps::STEPS;
use crate::format::Format;
use crate::options::Options;
use crate::render::codec::cursor::Cursor;
use crate::render::codec::gif::{
    EXTENSION, GRAPHIC_CONTROL, IMAGE, TRAILER, skip_blocks, table_length,
};
use crate::render::codec::png::{self, crc};
use crate::render::codec::webp::{self, HAS_ALPHA, IS_ANIMATED};

/// Whether the original can be served in place of the encoded result: it is smaller, shows the same pixels, and has no
/// metadata. The result has been encoded by then, so that a broken original has failed.
pub fn can_replace(encoded: &[u8], original: &[u8], job: &Job) -> bool {
    let Options {
        strip,
        // Those of the steps, and of the format.
        size: _,
        enlarge: _,
        background: _,
        rotation: _,
        trim: _,
        blur: _,
        sharp: _,
        page: _,
        frames: _,
        format: _,
        // An original that is smaller has lost no less than was asked for.
        quality: _,
        lossless: _,
    } = job.options;
    original.len() < encoded.len()
        && *strip
        && job.format == job.source
        && !STEPS.iter().any(|step| (step.applies)(job))
        && has_only_pixels(original, job.source)
}

/// Whether an image has no metadata, no profile, no orientation, and nothing after its end.
fn has_only_pixels(bytes: &[u8], format: Format) -> bool {
    let found = match format {
        Format::Jpeg => jpeg(bytes),
        Format::Png => png(bytes),
        Format::Webp => webp(bytes),
        Format::Gif => gif(bytes),
        // Its boxes can hold anything.
        Format::Avif => None,
    };
    found.is_some()
}

/// `Some` if a condition holds, for `?`.
fn check(is_met: bool) -> Option<()> {
    is_met.then_some(())
}

/// ITU T.81 Annex B.
fn jpeg(bytes: &[u8]) -> Option<()> {
    const SOI: u8 = 0xd8;
    const EOI: u8 = 0xd9;
    const SOS: u8 = 0xda;
    let mut cursor = Cursor::new(bytes);
    check(cursor.take(2)? == [0xff, SOI])?;
    let mut frames = 0;
    let mut scans = 0;
    loop {
        check(cursor.u8()? == 0xff)?;
        let marker = cursor.u8()?;
        if marker == EOI {
            return check(frames == 1 && scans > 0 && cursor.is_empty());
        }
        let length = usize::from(cursor.u16_be()?);
        let body = cursor.take(length.checked_sub(2)?)?;
        match marker {
            // JFIF without a thumbnail; Adobe's segment (T.872 §6.5.3). They say how colours are stored.
            0xe0 => check(body.starts_with(b"JFIF\0") && body.len() == 14)?,
            0xee => check(body.starts_with(b"Adobe") && body.len() == 12)?,
            // Baseline, extended and progressive; four components are CMYK.
            0xc0..=0xc2 => {
                frames += 1;
                check(matches!(body.get(5), Some(1 | 3)))?;
            }
            // Tables and the restart interval.
            0xc4 | 0xdb | 0xdd => {}
            SOS => {
                scans += 1;
                cursor.skip(entropy_coded(cursor.rest())?);
            }
            _ => return None,
        }
    }
}

/// The length of the data up to the next marker that is not a restart (T.81 B.1.1.5).
fn entropy_coded(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == 0xff)?;
        match bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => from = at + 2,
            _ => return Some(at),
        }
    }
}

/// W3C PNG, third edition.
fn png(bytes: &[u8]) -> Option<()> {
    let mut end = png::SIGNATURE.len();
    let mut has_pixels = false;
    for (index, chunk) in png::chunks(bytes)?.enumerate() {
        let png::Chunk { kind, data, .. } = chunk;
        check((&kind == b"IHDR") == (index == 0))?;
        // libspng goes on after a wrong checksum, which other decoders refuse.
        check(crc(&kind, data).to_be_bytes() == chunk.crc?)?;
        end += 12 + data.len();
        match &kind {
            // The encoder writes 8 bits.
            b"IHDR" => check(data.len() == 13 && *data.get(8)? <= 8)?,
            b"PLTE" | b"tRNS" => {}
            b"IDAT" => has_pixels = true,
            b"IEND" => return check(has_pixels && data.is_empty() && end == bytes.len()),
            b"sRGB" => check(data.len() == 1)?,
            b"gAMA" => check(png::numbers(data).is_some_and(|[gamma]| png::is_srgb_gamma(gamma)))?,
            b"cHRM" => check(
                png::numbers(data).is_some_and(|points| png::are_srgb_chromaticities(&points)),
            )?,
            _ => return None,
        }
    }
    None
}

/// RFC 9649.
fn webp(bytes: &[u8]) -> Option<()> {
    let mut cursor = Cursor::new(bytes);
    check(cursor.take(4)? == b"RIFF")?;
    let size = u32::from_le_bytes(cursor.array()?);
    check(usize::try_from(size).ok()? == cursor.rest().len())?;
    check(cursor.take(4)? == b"WEBP")?;
    let mut flags = None;
    let mut images = 0;
    let mut is_first = true;
    while !cursor.is_empty() {
        let webp::Chunk { kind, data, .. } =
            webp::chunk(&mut cursor).filter(|chunk| chunk.is_whole)?;
        let is_animated = flags.is_some_and(|flags| flags & IS_ANIMATED != 0);
        match &kind {
            b"VP8X" if is_first => {
                let [own, 0, 0, 0, ..]: [u8; 10] = data.try_into().ok()? else { return None };
                check(own & !(HAS_ALPHA | IS_ANIMATED) == 0)?;
                flags = Some(own);
            }
            b"VP8 " | b"VP8L" => {
                check((is_first || flags.is_some()) && !is_animated && images == 0)?;
                images += 1;
            }
            b"ALPH" => check(flags.is_some() && !is_animated && images == 0)?,
            // The background colour and the number of loops (§2.7.1.1).
            b"ANIM" => check(is_animated && data.len() == 6)?,
            b"ANMF" => {
                check(is_animated)?;
                webp_frame(data)?;
                images += 1;
            }
            _ => return None,
        }
        is_first = false;
    }
    check(images > 0)
}

/// A frame (RFC 9649 §2.7.1.1) that has one image and nothing else.
fn webp_frame(data: &[u8]) -> Option<()> {
    let mut cursor = Cursor::new(data);
    cursor.skip(webp::FRAME_HEADER);
    let mut has_image = false;
    while !cursor.is_empty() {
        let chunk = webp::chunk(&mut cursor).filter(|chunk| chunk.is_whole)?;
        check(!has_image && matches!(&chunk.kind, b"ALPH" | b"VP8 " | b"VP8L"))?;
        has_image = &chunk.kind != b"ALPH";
    }
    check(has_image)
}

/// GIF 89a.
fn gif(bytes: &[u8]) -> Option<()> {
    const APPLICATION: u8 = 0xff;
    let mut cursor = Cursor::new(bytes);
    check(matches!(cursor.take(6)?, b"GIF87a" | b"GIF89a"))?;
    let [.., flags, _background, _aspect]: [u8; 7] = cursor.array()?;
    cursor.take(table_length(flags))?;
    let mut images = 0;
    loop {
        match cursor.u8()? {
            EXTENSION => {
                let label = cursor.u8()?;
                let start = cursor.rest();
                check(skip_blocks(&mut cursor).1)?;
                let blocks = start.get(..start.len() - cursor.rest().len())?;
                match label {
                    // §23
                    GRAPHIC_CONTROL => check(matches!(blocks, [4, _, _, _, _, 0]))?,
                    // The number of loops.
                    APPLICATION => {
                        check(matches!(blocks.strip_prefix(b"\x0bNETSCAPE2.0")?, [3, 1, _, _, 0]))?
                    }
                    _ => return None,
                }
            }
            IMAGE => {
                let [.., flags]: [u8; 9] = cursor.array()?;
                cursor.take(table_length(flags))?;
                let _code_size = cursor.u8()?;
                check(skip_blocks(&mut cursor).1)?;
                images += 1;
            }
            TRAILER => return check(images > 0 && cursor.is_empty()),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = include_bytes!("../../../tests/data/gps.jpg");
    const GIF: &[u8] = include_bytes!("../../../tests/data/anim.gif");
    const WEBP: &[u8] = include_bytes!("../../../examples/images/seedling.webp");
    const PNG: &[u8] = include_bytes!("../../../examples/images/transparent.png");

    fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
        [&[0xff, marker], &length[..], body].concat()
    }

    /// A JPEG with these segments before the others, and with only the pixels of `JPEG`.
    fn in_jpeg(more: &[u8]) -> Vec<u8> {
        let tables = JPEG.windows(2).position(|pair| pair == [0xff, 0xdb]).unwrap();
        [&JPEG[..2], more, &JPEG[tables..]].concat()
    }

    fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[..], kind, body, &crc(kind, body).to_be_bytes()].concat()
    }

    fn in_png(more: &[u8]) -> Vec<u8> {
        [&PNG[..33], more, &PNG[33..]].concat()
    }

    fn riff(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        [kind, &length[..], body, &b"\0"[..body.len() % 2]].concat()
    }

    /// A file with these flags, with more chunks after those of the image.
    fn in_webp(flags: u8, image: &[u8], more: &[u8]) -> Vec<u8> {
        let header = riff(b"VP8X", &[flags, 0, 0, 0, 0xaf, 0x04, 0, 0xa2, 0x02, 0]);
        riff(b"RIFF", &[b"WEBP", &header[..], image, more].concat())
    }

    fn in_webp_frame(chunks: &[&[u8]]) -> Vec<u8> {
        let frame = riff(b"ANMF", &[&[0; 16][..], &chunks.concat()].concat());
        in_webp(IS_ANIMATED, &riff(b"ANIM", &[0; 6]), &frame)
    }

    fn in_gif(more: &[u8]) -> Vec<u8> {
        let start = 13 + table_length(GIF[10]);
        [&GIF[..start], more, &GIF[start..]].concat()
    }

    #[test]
    fn images_of_pixels_alone_are_recognised() {
        let srgb = [31_270_u32, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000]
            .map(u32::to_be_bytes);
        let alpha = riff(b"ALPH", b"a");
        let image = &WEBP[12..];
        for (name, bytes) in [
            ("JPEG", in_jpeg(b"")),
            ("JFIF", in_jpeg(&segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"))),
            ("Adobe", in_jpeg(&segment(0xee, b"Adobe\0\x64\0\0\0\0\x01"))),
            ("PNG", PNG.to_vec()),
            ("sRGB", in_png(&chunk(b"sRGB", &[0]))),
            ("gamma of sRGB", in_png(&chunk(b"gAMA", &45_455_u32.to_be_bytes()))),
            ("primaries of sRGB", in_png(&chunk(b"cHRM", srgb.as_flattened()))),
            ("palette", in_png(&chunk(b"PLTE", &[1, 2, 3]))),
            ("WebP", WEBP.to_vec()),
            ("extended WebP", in_webp(0, image, b"")),
            ("transparent WebP", in_webp(HAS_ALPHA, &alpha, image)),
            ("frame", in_webp_frame(&[image])),
            ("transparent frame", in_webp_frame(&[&alpha, image])),
            ("GIF", GIF.to_vec()),
            ("graphic control", in_gif(b"\x21\xf9\x04\0\0\0\0\0")),
            ("loops", in_gif(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")),
        ] {
            let format = Format::of_bytes(&bytes).unwrap();
            assert!(has_only_pixels(&bytes, format), "{name}");
            // Nothing may follow, and nothing may be missing.
            assert!(
                !has_only_pixels(&[&bytes[..], b"x"].concat(), format),
                "{name}: trailing data"
            );
            for end in (0..bytes.len().min(300)).chain(bytes.len() - 100..bytes.len()) {
                assert!(!has_only_pixels(&bytes[..end], format), "{name}: {end} bytes of it");
            }
        }
    }

    #[test]
    fn metadata_profiles_and_orientation_are_recognised() {
        let tiff = b"II*\0\x08\0\0\0\0\0\0\0\0\0";
        let exif = [&b"Exif\0\0"[..], tiff].concat();
        let image = &WEBP[12..];
        let unknown = riff(b"ABCD", b"a secret");
        let alpha = riff(b"ALPH", b"a");
        let mut damaged = chunk(b"PLTE", &[1, 2, 3]);
        *damaged.last_mut().unwrap() ^= 1;
        for (name, bytes) in [
            ("EXIF", in_jpeg(&segment(0xe1, &exif))),
            ("XMP", in_jpeg(&segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x/>"))),
            ("JPEG profile", in_jpeg(&segment(0xe2, b"ICC_PROFILE\0\x01\x01profile"))),
            ("other images", in_jpeg(&segment(0xe2, b"MPF\0"))),
            ("IPTC", in_jpeg(&segment(0xed, b"Photoshop 3.0\0"))),
            ("JPEG comment", in_jpeg(&segment(0xfe, b"a comment"))),
            ("thumbnail", in_jpeg(&segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\x01\x01abc"))),
            ("JFIF extension", in_jpeg(&segment(0xe0, b"JFXX\0\x10abcdefgh"))),
            ("more after Adobe", in_jpeg(&segment(0xee, b"Adobe\0\x64\0\0\0\0\x01a secret"))),
            ("lossless", in_jpeg(&segment(0xc3, &[8, 0, 1, 0, 1, 1]))),
            ("two frames", in_jpeg(&segment(0xc0, &[8, 0, 1, 0, 1, 1]))),
            ("four components", in_jpeg(&segment(0xc0, &[8, 0, 1, 0, 1, 4]))),
            ("no marker", in_jpeg(&[&segment(0xdd, &[0, 0])[..], &[0]].concat())),
            ("text", in_png(&chunk(b"tEXt", b"Comment\0a comment"))),
            ("time", in_png(&chunk(b"tIME", &[0; 7]))),
            ("linear", in_png(&chunk(b"gAMA", &100_000_u32.to_be_bytes()))),
            ("other primaries", in_png(&chunk(b"cHRM", &[1; 32]))),
            ("PNG profile", in_png(&chunk(b"iCCP", b"p\0\0"))),
            ("code points", in_png(&chunk(b"cICP", &[9, 16, 0, 1]))),
            ("PNG EXIF", in_png(&chunk(b"eXIf", tiff))),
            ("APNG", in_png(&chunk(b"acTL", &[0; 8]))),
            ("unknown chunk of PNG", in_png(&chunk(b"prVt", b"a secret"))),
            ("two headers", in_png(&PNG[8..33])),
            ("damaged palette", in_png(&damaged)),
            ("WebP EXIF", in_webp(0x08, image, &riff(b"EXIF", tiff))),
            ("EXIF without its flag", in_webp(0, image, &riff(b"EXIF", tiff))),
            ("WebP XMP", in_webp(0x04, image, &riff(b"XMP ", b"<x/>"))),
            ("WebP profile", in_webp(0x20, image, &riff(b"ICCP", b"profile!"))),
            ("unknown chunk", in_webp(0, image, &unknown)),
            ("two stills", in_webp(0, image, image)),
            ("frame in a still", in_webp(0, image, &riff(b"ANMF", &[0; 16]))),
            ("more in a frame", in_webp_frame(&[image, &unknown])),
            ("more before it", in_webp_frame(&[&unknown, image])),
            ("transparency after it", in_webp_frame(&[image, &alpha])),
            ("two in a frame", in_webp_frame(&[image, image])),
            ("none in a frame", in_webp_frame(&[])),
            ("GIF comment", in_gif(b"\x21\xfe\x09a comment\0")),
            ("plain text", in_gif(b"\x21\x01\0")),
            ("application", in_gif(b"\x21\xff\x0bXMP DataXMP\0")),
            ("more in the loop", in_gif(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\x08a secret\0")),
            ("more in a graphic control", in_gif(b"\x21\xf9\x04\0\0\0\0\x08a secret\0")),
            ("AVIF", include_bytes!("../../../tests/data/quarters.avif").to_vec()),
        ] {
            let format = Format::of_bytes(&bytes).unwrap();
            assert!(!has_only_pixels(&bytes, format), "{name}");
        }
    }
}
