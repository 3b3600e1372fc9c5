//! As much of EXIF as decides how a picture stands.

use crate::render::container::cursor::Cursor;

/// The tag (EXIF 3.0 §4.6.4) that says how the camera was held.
const ORIENTATION: u16 = 0x0112;

/// Whether this EXIF block, which starts with its TIFF header, leaves the picture as it is stored. One that can't be
/// read does not: a decoder may be more lenient.
pub fn is_upright(tiff: &[u8]) -> bool {
    orientation(tiff).is_some_and(|orientation| orientation == 1)
}

/// The orientation; 1 where the block has none, `None` where it can't be read.
fn orientation(tiff: &[u8]) -> Option<u16> {
    let mut header = Cursor::new(tiff);
    let little = match header.take(4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |bytes: [u8; 2]| if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    let long = |bytes: [u8; 4]| if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
    let first = usize::try_from(long(header.array()?)).ok()?;
    let mut directory = Cursor::new(tiff.get(first..)?);
    for _ in 0..short(directory.array()?) {
        let (tag, kind, count) =
            (short(directory.array()?), short(directory.array()?), long(directory.array()?));
        let value: [u8; 4] = directory.array()?;
        if tag == ORIENTATION {
            // One SHORT, which stands in the first two bytes.
            return (kind == 3 && count == 1).then(|| short([value[0], value[1]]));
        }
    }
    Some(1)
}
