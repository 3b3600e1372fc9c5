//! PNG (W3C PNG, third edition): only the chunks that make the picture are kept.

use super::kept::Kept;
use super::reader::Reader;
use crate::render::crc::crc;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// 1/2.2 in gAMA's unit, which is what sRGB files carry (§11.3.2.5).
const SRGB_GAMMA: [u8; 4] = 45_455_u32.to_be_bytes();
/// sRGB's white point and primaries in cHRM's unit (§11.3.2.5).
const SRGB_CHROMATICITIES: [u32; 8] = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];
/// Colour type 3 has a palette (§11.2.1).
const INDEXED: u8 = 3;

/// The picture without metadata.
pub fn stripped(bytes: &[u8], mut out: Kept) -> Option<Vec<u8>> {
    let mut reader = Reader(bytes);
    if reader.take(SIGNATURE.len())? != SIGNATURE {
        return None;
    }
    out.add(SIGNATURE)?;
    let (mut has_header, mut has_palette, mut has_pixels) = (false, false, false);
    let mut indexed = false;
    loop {
        let length: [u8; 4] = reader.array()?;
        let kind: [u8; 4] = reader.array()?;
        let body = reader.take(usize::try_from(u32::from_be_bytes(length)).ok()?)?;
        let checksum: [u8; 4] = reader.array()?;
        // The header comes first, and once.
        if (&kind == b"IHDR") == has_header {
            return None;
        }
        let keep = match &kind {
            b"IHDR" => {
                let [depth, colour] = body.get(8..10)?.try_into().ok()?;
                // A 16-bit picture is made smaller by our encoder for good.
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
            b"gAMA" if body == SRGB_GAMMA => false,
            b"cHRM" if is_srgb(body) => false,
            b"tEXt" | b"zTXt" | b"iTXt" | b"tIME" | b"pHYs" | b"bKGD" | b"hIST" | b"sPLT" => false,
            // eXIf may turn the picture, iCCP, cICP, gAMA and cHRM colour it, acTL move it; others are unknown.
            _ => return None,
        };
        if keep {
            for part in [&length[..], &kind, body, &checksum] {
                out.add(part)?;
            }
            // libvips reads on where a check is wrong, and others don't.
            if crc(&[&kind, body]).to_be_bytes() != checksum {
                return None;
            }
        }
        if &kind == b"IEND" {
            return (has_pixels && has_palette >= indexed && body.is_empty()).then(|| out.into_bytes());
        }
    }
}

fn is_srgb(body: &[u8]) -> bool {
    body.len() == 32
        && body
            .chunks_exact(4)
            .zip(SRGB_CHROMATICITIES)
            .all(|(written, value)| written == value.to_be_bytes())
}
