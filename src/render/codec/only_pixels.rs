//! Whether a file holds nothing but pixels.
//!
//! For each format this is an allow-list of the parts of a file, so that unknown metadata, or metadata after the end of
//! the image, is noticed.

use super::{gif, jpeg, png, png_repair, webp};
use crate::format::Format;

/// Whether an image has no metadata, no profile, no orientation, and nothing after its end.
pub fn has_only_pixels(bytes: &[u8], format: Format) -> bool {
    let found = match format {
        Format::Jpeg => jpeg::check_only_pixels(bytes),
        // What browsers ignore is not left to other readers.
        Format::Png if png_repair::needs_repair(bytes) != Ok(false) => None,
        Format::Png => png::check_only_pixels(bytes),
        Format::Webp => webp::check_only_pixels(bytes),
        Format::Gif => gif::check_only_pixels(bytes),
        // Its boxes can hold anything.
        Format::Avif => None,
        // Not read.
        Format::Jxl => None,
    };
    found.is_some()
}

#[cfg(test)]
mod tests {
    use super::super::gif::table_length;
    use super::super::png::crc;
    use super::super::webp::{HAS_ALPHA, IS_ANIMATED};
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
