//! Puts an EXIF block into an image that our encoders have written.

use crate::render::container::webp::{self, HAS_ALPHA, HAS_EXIF};
use crate::render::crc::crc;

/// Behind the start of image and JFIF's APP0: an APP1 segment (CIPA DC-008 §4.5.4).
pub fn jpeg(image: &[u8], exif: &[u8]) -> Option<Vec<u8>> {
    let start = match image.get(..4)? {
        [0xff, 0xd8, 0xff, 0xe0] => {
            4 + usize::from(u16::from_be_bytes(image.get(4..6)?.try_into().ok()?))
        }
        [0xff, 0xd8, ..] => 2,
        _ => return None,
    };
    let length = u16::try_from(2 + 6 + exif.len()).ok()?.to_be_bytes();
    Some(
        [image.get(..start)?, &[0xff, 0xe1], &length, b"Exif\0\0", exif, image.get(start..)?]
            .concat(),
    )
}

/// Behind the header: a chunk `eXIf` (W3C PNG §11.3.4.5).
pub fn png(image: &[u8], exif: &[u8]) -> Option<Vec<u8>> {
    // The signature, and a chunk of 13 bytes with its length, type and check.
    const BEHIND_HEADER: usize = 8 + 4 + 4 + 13 + 4;
    image.get(12..16).filter(|kind| kind == b"IHDR")?;
    let length = u32::try_from(exif.len()).ok()?.to_be_bytes();
    let checked = [b"eXIf", exif].concat();
    let check = crc(&[&checked]).to_be_bytes();
    let (before, behind) = image.split_at_checked(BEHIND_HEADER)?;
    Some([before, &length, &checked, &check, behind].concat())
}

/// At the end: a chunk `EXIF`, which needs the extended format (RFC 9649 §2.7).
pub fn webp(image: &[u8], exif: &[u8]) -> Option<Vec<u8>> {
    let kind: &[u8; 4] = image.get(12..16)?.try_into().ok()?;
    let mut chunks = image.get(12..)?.to_vec();
    match kind {
        b"VP8X" => *chunks.get_mut(8)? |= HAS_EXIF,
        b"VP8 " | b"VP8L" => {
            let (width, height, alpha) = canvas(kind, image.get(20..)?)?;
            let flags = HAS_EXIF | if alpha { HAS_ALPHA } else { 0 };
            let mut extended = b"VP8X\x0a\0\0\0".to_vec();
            extended.extend([flags, 0, 0, 0]);
            for side in [width, height] {
                extended.extend(side.checked_sub(1)?.to_le_bytes().get(..3)?);
            }
            chunks = [extended, chunks].concat();
        }
        _ => return None,
    }
    chunks.extend(b"EXIF");
    chunks.extend(u32::try_from(exif.len()).ok()?.to_le_bytes());
    chunks.extend(exif);
    // A chunk has an even length.
    chunks.resize(chunks.len().next_multiple_of(2), 0);
    let length = u32::try_from(chunks.len().checked_add(4)?).ok()?.to_le_bytes();
    Some([&b"RIFF"[..], &length, b"WEBP", &chunks].concat())
}

/// Width, height and whether there is transparency, by the header of the only frame.
fn canvas(kind: &[u8; 4], data: &[u8]) -> Option<(u32, u32, bool)> {
    if kind == b"VP8L" {
        return webp::lossless_size(data);
    }
    webp::lossy_size(data).map(|(width, height)| (width, height, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_of_ours_is_left_alone() {
        for bytes in
            [&b""[..], b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0"]
        {
            assert_eq!(
                (jpeg(bytes, b"x"), png(bytes, b"x"), webp(bytes, b"x")),
                (None, None, None),
                "{bytes:?}"
            );
        }
    }
}
