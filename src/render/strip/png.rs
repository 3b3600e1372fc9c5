//! PNG (W3C PNG, third edition): only the chunks that make the image are kept.

use super::kept::Kept;
use crate::render::codec::png;

/// Colour type 3 has a palette (§11.2.1).
const INDEXED: u8 = 3;

/// The image without metadata.
pub fn stripped(bytes: &[u8], mut out: Kept) -> Option<Vec<u8>> {
    let chunks = png::chunks(bytes)?;
    out.add(png::SIGNATURE)?;
    let (mut has_header, mut has_palette, mut has_pixels) = (false, false, false);
    let mut indexed = false;
    for chunk in chunks {
        let png::Chunk { kind, data: body, .. } = chunk;
        // It stands behind all of the data.
        let check = chunk.crc?;
        // The header comes first, and once.
        if (&kind == b"IHDR") == has_header {
            return None;
        }
        let keep = match &kind {
            b"IHDR" => {
                let [depth, colour] = body.get(8..10)?.try_into().ok()?;
                // A 16-bit image is made smaller by our encoder for good.
                if body.len() != 13 || depth > 8 {
                    return None;
                }
                (has_header, indexed) = (true, colour == INDEXED);
                true
            }
            b"PLTE" => {
                has_palette = true;
                true
            }
            b"tRNS" => true,
            b"IDAT" => {
                has_pixels = true;
                true
            }
            b"IEND" => true,
            // They say what is so without them: the samples are sRGB.
            b"sRGB" => false,
            b"gAMA" if png::numbers(body).is_some_and(|[gamma]| png::is_srgb_gamma(gamma)) => false,
            b"cHRM"
                if png::numbers(body)
                    .is_some_and(|points| png::are_srgb_chromaticities(&points)) =>
            {
                false
            }
            b"tEXt" | b"zTXt" | b"iTXt" | b"tIME" | b"pHYs" | b"bKGD" | b"hIST" | b"sPLT" => false,
            // eXIf may turn the image, iCCP, cICP, gAMA and cHRM colour it, acTL move it; others are unknown.
            _ => return None,
        };
        if keep {
            let length = u32::try_from(body.len()).ok()?.to_be_bytes();
            for part in [&length[..], &kind, body, &check] {
                out.add(part)?;
            }
            // libvips reads on where a check is wrong, and others don't.
            if png::crc(&kind, body).to_be_bytes() != check {
                return None;
            }
        }
        if &kind == b"IEND" {
            return (has_pixels && has_palette >= indexed && body.is_empty())
                .then(|| out.into_bytes());
        }
    }
    None
}
