//! GIF87a and GIF89a (89a specification).

use super::cursor::Cursor;
use super::{ImageInfo, area, check};

/// Introduces an extension (§23 to §26).
const EXTENSION: u8 = 0x21;
/// Introduces an image descriptor (§20): a frame.
const IMAGE: u8 = 0x2c;
/// Ends the file (§27).
const TRAILER: u8 = 0x3b;
/// Label of the extension that belongs to the next frame: duration, disposal and transparency.
const GRAPHIC_CONTROL: u8 = 0xf9;
/// Label of an application extension (§26).
const APPLICATION: u8 = 0xff;

/// Bytes of the colour table that follows a descriptor with these flags (§19): the highest bit says whether there is
/// one, the lowest three give its size.
pub(super) fn table_length(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Skips data sub-blocks (§15) and their terminator. Returns the bytes of data and whether the terminator is there.
fn skip_blocks(cursor: &mut Cursor) -> (u64, bool) {
    let mut length = 0;
    loop {
        match cursor.u8() {
            None => return (length, false),
            Some(0) => return (length, true),
            Some(size) => length += cursor.take_at_most(usize::from(size)).len() as u64,
        }
    }
}

pub(super) fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(6)?;
    let mut width = u32::from(cursor.u16_le()?);
    let mut height = u32::from(cursor.u16_le()?);
    let flags = cursor.u8()?;
    cursor.skip(2);
    cursor.skip(table_length(flags));
    let mut frames = 0_u32;
    let mut largest = 0_u64;
    let mut pixels = 0_u64;
    let mut metadata_bytes = 0_u64;
    let mut truncated_frame = None;
    while let Some(block) = cursor.u8() {
        match block {
            EXTENSION => {
                let is_metadata = cursor.u8() != Some(GRAPHIC_CONTROL);
                let (length, _) = skip_blocks(&mut cursor);
                if is_metadata {
                    metadata_bytes += length;
                }
            }
            IMAGE => {
                let Some(rectangle) = cursor.take(8) else {
                    truncated_frame = Some(frames);
                    break;
                };
                let mut rectangle = Cursor::new(rectangle);
                let mut number = || rectangle.u16_le().map(u32::from);
                let left = number()?;
                let top = number()?;
                let frame_width = number()?;
                let frame_height = number()?;
                // libnsgif lets the first frame enlarge the canvas and crops the others to it.
                if frames == 0 {
                    width = width.max(left + frame_width);
                    height = height.max(top + frame_height);
                }
                frames = frames.saturating_add(1);
                let frame_pixels = area(frame_width, frame_height);
                largest = largest.max(frame_pixels);
                pixels = pixels.saturating_add(frame_pixels);
                let flags = cursor.u8().unwrap_or(0);
                cursor.skip(table_length(flags));
                // The LZW minimum code size (§22).
                cursor.skip(1);
                let (_, is_complete) = skip_blocks(&mut cursor);
                if !is_complete {
                    truncated_frame = Some(frames.saturating_sub(1));
                }
            }
            // The trailer, or an unknown block, where decoders stop.
            _ => break,
        }
    }
    let frames = frames.max(1);
    let canvas = area(width, height);
    Some(ImageInfo {
        frames,
        frame_pixels: canvas.max(largest),
        total_pixels: canvas.saturating_mul(u64::from(frames)).max(pixels),
        // libnsgif keeps the canvas, and a copy of it for frames that are disposed to the previous one.
        buffered_bytes: canvas.saturating_mul(8),
        metadata_bytes,
        truncated_frame,
        ..ImageInfo::streamed(width, height, 4)
    })
}

/// `Some` if the file has only blocks that pixels need.
pub(super) fn check_only_pixels(bytes: &[u8]) -> Option<()> {
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
pub(super) mod tests {
    use super::*;

    fn screen(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = b"GIF89a".to_vec();
        bytes.extend(width.to_le_bytes());
        bytes.extend(height.to_le_bytes());
        bytes.extend([0x80, 0, 0]);
        bytes.extend([0, 0, 0, 255, 255, 255]);
        bytes
    }

    fn frame(place: [u16; 4]) -> Vec<u8> {
        let mut bytes = b"\x21\xf9\x04\0\x0a\0\0\0".to_vec();
        bytes.push(IMAGE);
        place.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend([0x81, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
        bytes.extend(b"\x02\x02D\x01\x01\0\0");
        bytes
    }

    /// An animation with a comment and a loop count.
    pub fn three_frames() -> Vec<u8> {
        let mut bytes = screen(20, 10);
        bytes.extend(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0\x21\xfe\x05words\0");
        for left in 0..3 {
            bytes.extend(frame([left, 0, 10, 10]));
        }
        bytes.push(0x3b);
        bytes
    }

    #[test]
    fn gif_frames_and_metadata_are_counted() {
        let info = inspect(&three_frames()).unwrap();
        assert_eq!((info.width, info.height, info.frames), (20, 10, 3));
        assert_eq!((info.frame_pixels, info.total_pixels), (200, 600));
        assert_eq!(info.metadata_bytes, 11 + 3 + 5);
    }

    #[test]
    fn gif_truncated_frame_is_reported() {
        let whole = three_frames();
        assert_eq!(inspect(&whole).unwrap().truncated_frame, None);
        // Many files lack the trailer but no part of the image.
        assert_eq!(inspect(&whole[..whole.len() - 1]).unwrap().truncated_frame, None);
        let frame = frame([0; 4]).len();
        for (missing, number) in
            [(2, 2), (5, 2), (frame - 8, 2), (frame + 3, 1), (2 * frame + 3, 0)]
        {
            let info = inspect(&whole[..whole.len() - missing]).unwrap();
            assert_eq!(info.truncated_frame, Some(number), "without the last {missing} bytes");
        }
    }

    #[test]
    fn gif_frames_larger_than_the_canvas_count() {
        let mut bytes = screen(20, 10);
        bytes.extend(frame([5, 5, 20, 10]));
        bytes.extend(frame([0, 0, 5000, 6000]));
        let info = inspect(&bytes).unwrap();
        // The first frame enlarges the canvas.
        assert_eq!((info.width, info.height, info.frames), (25, 15, 2));
        assert_eq!((info.frame_pixels, info.total_pixels), (30_000_000, 30_000_200));
    }

    #[test]
    fn gif_canvas_without_a_frame_has_a_size() {
        let info = inspect(&screen(65_535, 65_535)).unwrap();
        assert_eq!((info.frames, info.frame_pixels), (1, 65_535 * 65_535));
    }

    #[test]
    fn gif_sub_blocks_end_with_an_empty_block() {
        for (bytes, expected, left) in [
            (&b"\x02ab\x01c\0rest"[..], (3, true), 4),
            (b"\0", (0, true), 0),
            (b"\x02ab\x01c", (3, false), 0),
            (b"\x05ab", (2, false), 0),
            (b"", (0, false), 0),
        ] {
            let mut cursor = Cursor::new(bytes);
            assert_eq!((skip_blocks(&mut cursor), cursor.rest().len()), (expected, left));
        }
        assert_eq!([0x00, 0x07, 0x80, 0xf7].map(table_length), [0, 0, 6, 768]);
    }
}
