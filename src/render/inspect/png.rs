//! PNG (W3C PNG §5, §11): the chunks.

use super::{ImageInfo, area};
use crate::render::container::png;

/// What deflate can make of a byte at most.
const MOST_INFLATED: u64 = 1032;
/// libvips lets libspng keep no more of all chunks.
const MOST_KEPT: u64 = 60 << 20;

pub(super) fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut chunks = png::chunks(bytes)?;
    // The header is the first chunk (§5.6).
    let header = chunks.next().filter(|chunk| &chunk.kind == b"IHDR")?;
    let [width, height] = png::numbers(header.data.get(..8)?)?;
    let [depth, colour, _, _, interlaced]: [u8; 5] = header.data.get(8..)?.try_into().ok()?;
    let (mut metadata, mut profile, mut inflated) = (0_u64, 0_u64, 0_u64);
    let mut has_transparency = colour & 4 != 0;
    for chunk in chunks {
        let length = chunk.data.len() as u64;
        match &chunk.kind {
            b"iCCP" | b"zTXt" | b"iTXt" => {
                metadata += length;
                inflated += length.saturating_mul(MOST_INFLATED);
                if &chunk.kind == b"iCCP" {
                    profile += length;
                }
            }
            b"eXIf" | b"tEXt" | b"sPLT" => metadata += length,
            b"tRNS" => has_transparency = true,
            b"IEND" => break,
            _ => {}
        }
    }
    // A palette is handed out as its colours.
    let bands = if colour & 2 != 0 { 3 } else { 1 } + u64::from(has_transparency);
    let info = ImageInfo::streamed(width, height, bands * if depth > 8 { 2 } else { 1 });
    let held =
        if interlaced != 0 { area(width, height).saturating_mul(info.bytes_per_pixel) } else { 0 };
    let inflated_bytes = inflated.min(MOST_KEPT);
    Some(ImageInfo {
        held,
        metadata_bytes: metadata,
        profile_bytes: profile,
        inflated_bytes,
        ..info
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
        bytes.extend(kind);
        bytes.extend(payload);
        // Nobody looks at the checksum here.
        bytes.extend([0; 4]);
        bytes
    }

    fn header(width: u32, height: u32, depth: u8, colour: u8, interlace: u8) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut payload = width.to_be_bytes().to_vec();
        payload.extend(height.to_be_bytes());
        payload.extend([depth, colour, 0, 0, interlace]);
        bytes.extend(chunk(b"IHDR", &payload));
        bytes
    }

    /// Every kind of metadata around some data.
    pub fn with_metadata() -> Vec<u8> {
        let mut bytes = header(30, 20, 8, 2, 0);
        for (kind, length) in
            [(b"iCCP", 7), (b"tEXt", 11), (b"IDAT", 100), (b"zTXt", 13), (b"eXIf", 17)]
        {
            bytes.extend(chunk(kind, &vec![b'x'; length]));
        }
        bytes.extend(chunk(b"IEND", b""));
        bytes.extend(b"\0\0\0\x20tEXt and what is no part of the image");
        bytes
    }

    #[test]
    fn metadata_is_what_is_not_pixels() {
        let info = inspect(&with_metadata()).unwrap();
        assert_eq!((info.width, info.height), (30, 20));
        assert_eq!((info.metadata_bytes, info.profile_bytes), (7 + 11 + 13 + 17, 7));
        assert_eq!(info.inflated_bytes, (7 + 13) * 1032);
    }

    #[test]
    fn colour_depth_and_interlacing_say_what_a_pixel_takes() {
        for (depth, colour, transparency, bytes) in [
            (8, 0, false, 1),
            (1, 0, true, 2),
            (16, 0, false, 2),
            (8, 4, false, 2),
            (8, 2, false, 3),
            (8, 3, false, 3),
            (4, 3, true, 4),
            (8, 6, false, 4),
            (16, 6, false, 8),
        ] {
            for interlace in [0, 1] {
                let mut file = header(1000, 500, depth, colour, interlace);
                if transparency {
                    file.extend(chunk(b"tRNS", b"\0\0"));
                }
                let info = inspect(&file).unwrap();
                assert_eq!(info.bytes_per_pixel, bytes, "{depth} {colour}");
                assert_eq!(info.held, u64::from(interlace) * 500_000 * bytes);
            }
        }
    }

    #[test]
    fn a_chunk_that_claims_too_much_counts_for_what_is_there() {
        let mut bytes = header(30, 20, 8, 2, 0);
        bytes.extend(b"\xff\xff\xff\xffiTXt and no more");
        let info = inspect(&bytes).unwrap();
        assert_eq!(info.metadata_bytes, 12);
        assert_eq!(inspect(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT0123456789abc"), None);
    }
}
