//! JPEG (ITU T.81 Annex B): application data and comments are left out.

use super::exif;
use super::kept::Kept;
use crate::render::codec::cursor::Cursor;

const SOS: u8 = 0xda;
const EOI: u8 = 0xd9;
const DNL: u8 = 0xdc;

/// The image without metadata.
pub fn stripped(bytes: &[u8], mut out: Kept) -> Option<Vec<u8>> {
    let mut reader = Cursor::new(bytes);
    if reader.take(2)? != [0xff, 0xd8] {
        return None;
    }
    out.add(&[0xff, 0xd8])?;
    let (mut frames, mut scans) = (0, 0);
    let (mut has_jfif, mut has_adobe) = (false, false);
    loop {
        if reader.u8()? != 0xff {
            return None;
        }
        // Any number of fill bytes may stand before a marker (B.1.1.2).
        let marker = loop {
            match reader.u8()? {
                0xff => {}
                marker => break marker,
            }
        };
        if marker == EOI {
            out.add(&[0xff, EOI])?;
            // What follows is no part of the image: a second one, a thumbnail, anything.
            return (frames == 1 && scans > 0).then(|| out.into_bytes());
        }
        let length: [u8; 2] = reader.array()?;
        let body = reader.take(usize::from(u16::from_be_bytes(length)).checked_sub(2)?)?;
        let keep = match marker {
            // JFIF and Adobe decide how colours are stored. JFIF may hold a thumbnail, of more than is left of the image.
            0xe0 if body.starts_with(b"JFIF\0") && !has_jfif => {
                has_jfif = true;
                out.add(&[0xff, 0xe0, 0, 16])?;
                out.add(body.get(..12)?)?;
                out.add(&[0, 0])?;
                Some(false)
            }
            0xe0 => Some(false),
            // Its five letters, a version, flags, and how colours are stored (T.872 §6.5.3).
            0xee if body.starts_with(b"Adobe") => {
                let is_first = !std::mem::replace(&mut has_adobe, true);
                (is_first && body.len() == 12).then_some(true)
            }
            0xe1 => application(body),
            0xe2 if body.starts_with(b"ICC_PROFILE\0") => None,
            0xe2..=0xef | 0xfe => Some(false),
            // A frame header: baseline, extended, progressive; the others are not what our decoder reads.
            0xc0..=0xc2 => {
                frames += 1;
                // Four components are CMYK or YCCK, which are not shown as they are stored.
                matches!(body.get(5), Some(1 | 3)).then_some(true)
            }
            // Tables and the restart interval.
            0xc4 | 0xdb | 0xdd | SOS => Some(true),
            _ => None,
        }?;
        if keep {
            out.add(&[0xff, marker])?;
            out.add(&length)?;
            out.add(body)?;
        }
        if marker == SOS {
            scans += 1;
            // With the marker behind it, and no further than there is room for it.
            let within = out.room().saturating_add(2).min(reader.rest().len());
            let data = entropy_coded(reader.rest().get(..within)?)?;
            out.add(reader.take(data)?)?;
        }
    }
}

/// Whether an APP1 segment may go, as `Some(false)`: everything but an orientation may.
fn application(body: &[u8]) -> Option<bool> {
    match body.strip_prefix(b"Exif\0\0").or_else(|| body.strip_prefix(b"Exif\0\xff")) {
        Some(tiff) => exif::is_upright(tiff).then_some(false),
        None => Some(false),
    }
}

/// How many bytes stand before the next marker that is not part of the data (B.1.1.5): a stuffed 0xff or a restart.
fn entropy_coded(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|&byte| byte == 0xff)?;
        match bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => from = at + 2,
            // It would change the height that the frame header gives.
            &DNL => return None,
            _ => return Some(at),
        }
    }
}
