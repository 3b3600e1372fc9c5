//! Boxes of metadata beside a codestream (ISO/IEC 18181-2).

/// What a codestream begins with (18181-1).
const CODESTREAM: &[u8] = b"\xff\x0a";
/// The first two boxes of a container: its signature, and `ftyp`.
const START: &[u8] = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl ";

/// Inserts an EXIF block, from its TIFF header on.
pub fn insert_exif(image: &[u8], exif: &[u8]) -> Option<Vec<u8>> {
    // The offset of the TIFF header.
    insert(image, b"Exif", &[&[0; 4], exif].concat())
}

/// Inserts an XMP packet.
pub fn insert_xmp(image: &[u8], xmp: &[u8]) -> Option<Vec<u8>> {
    insert(image, b"xml ", xmp)
}

/// Inserts a box before all others but those of [`START`], and makes a container of a codestream.
fn insert(image: &[u8], kind: &[u8; 4], data: &[u8]) -> Option<Vec<u8>> {
    let inserted = boxed(kind, data)?;
    if image.starts_with(CODESTREAM) {
        return Some([START, &inserted, &boxed(b"jxlc", image)?].concat());
    }
    let boxes = image.strip_prefix(START)?;
    // It says what the codestream needs of a decoder, and is the third box.
    let level = if boxes.get(4..8) == Some(b"jxll") { 9 } else { 0 };
    let (level, boxes) = boxes.split_at_checked(level)?;
    Some([START, level, &inserted, boxes].concat())
}

fn boxed(kind: &[u8; 4], data: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(data.len().checked_add(8)?).ok()?;
    Some([&length.to_be_bytes()[..], kind, data].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jxl_metadata_makes_a_container_of_a_codestream() {
        let image = insert_xmp(b"\xff\x0acode", b"<x/>").unwrap();
        assert_eq!(image, [START, b"\0\0\0\x0cxml <x/>\0\0\0\x0ejxlc\xff\x0acode"].concat());
        let both = insert_exif(&image, b"MM").unwrap();
        let exif = b"\0\0\0\x0eExif\0\0\0\0MM";
        assert_eq!(both, [START, exif, &image[START.len()..]].concat());
    }

    #[test]
    fn jxl_level_stays_the_third_box() {
        let level = b"\0\0\0\x09jxll\x0a";
        let image = [START, level, b"\0\0\0\x0ajxlc\xff\x0a"].concat();
        let inserted = insert_xmp(&image, b"").unwrap();
        assert_eq!(inserted, [START, level, b"\0\0\0\x08xml ", &image[START.len() + 9..]].concat());
        assert_eq!(insert_xmp(&image[..START.len() + 8], b""), None);
    }

    #[test]
    fn jxl_metadata_is_inserted_into_nothing_else() {
        for image in [&b""[..], b"\xff", b"\xff\xd8\xff", &START[..31], b"\0\0\0\x0cJXL \r\n\x87\n"]
        {
            assert_eq!(insert_exif(image, b"MM"), None);
        }
    }
}
