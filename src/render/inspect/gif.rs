//! GIF87a and 89a: the screen and its frames.

use super::{ImageInfo, area};
use crate::render::container::cursor::Cursor;
use crate::render::container::gif::{EXTENSION, GRAPHIC_CONTROL, IMAGE, skip_blocks, table_length};

pub(super) fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(6)?;
    let (mut width, mut height) = (u32::from(cursor.u16_le()?), u32::from(cursor.u16_le()?));
    let flags = cursor.u8()?;
    cursor.skip(2);
    cursor.skip(table_length(flags));
    let (mut frames, mut largest, mut coded, mut metadata) = (0_u32, 0_u64, 0_u64, 0_u64);
    let mut breaks_off = None;
    while let Some(block) = cursor.u8() {
        match block {
            EXTENSION => {
                let is_metadata = cursor.u8() != Some(GRAPHIC_CONTROL);
                let (length, _) = skip_blocks(&mut cursor);
                if is_metadata {
                    metadata += length;
                }
            }
            IMAGE => {
                let Some(rectangle) = cursor.take(8) else {
                    breaks_off = Some(frames);
                    break;
                };
                let mut rectangle = Cursor::new(rectangle);
                let mut number = || rectangle.u16_le().map(u32::from);
                let (left, top, wide, high) = (number()?, number()?, number()?, number()?);
                // libnsgif lets the first frame widen the screen and cuts what the others have more.
                if frames == 0 {
                    (width, height) = (width.max(left + wide), height.max(top + high));
                }
                frames = frames.saturating_add(1);
                largest = largest.max(area(wide, high));
                coded = coded.saturating_add(area(wide, high));
                let flags = cursor.u8().unwrap_or(0);
                cursor.skip(table_length(flags));
                // The size of the first code.
                cursor.skip(1);
                let (_, has_end) = skip_blocks(&mut cursor);
                if !has_end {
                    breaks_off = Some(frames.saturating_sub(1));
                }
            }
            // The trailer, or something that no decoder goes on after.
            _ => break,
        }
    }
    let frames = frames.max(1);
    let canvas = area(width, height);
    let info = ImageInfo::streamed(width, height, 4);
    // libnsgif keeps the screen, and a copy of it where a frame is to be taken away again.
    let held = canvas.saturating_mul(8);
    let total_pixels = canvas.saturating_mul(u64::from(frames)).max(coded);
    Some(ImageInfo {
        frames,
        frame_pixels: canvas.max(largest),
        total_pixels,
        held,
        metadata_bytes: metadata,
        breaks_off,
        ..info
    })
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

    /// With a comment and a loop.
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
    fn frames_are_counted_and_so_is_what_else_is_there() {
        let info = inspect(&three_frames()).unwrap();
        assert_eq!((info.width, info.height, info.frames), (20, 10, 3));
        assert_eq!((info.frame_pixels, info.total_pixels), (200, 600));
        assert_eq!(info.metadata_bytes, 11 + 3 + 5);
    }

    #[test]
    fn the_frame_in_which_a_file_ends_is_named() {
        let whole = three_frames();
        assert_eq!(inspect(&whole).unwrap().breaks_off, None);
        // Many files lack the trailer, and nothing of the image with it.
        assert_eq!(inspect(&whole[..whole.len() - 1]).unwrap().breaks_off, None);
        let frame = frame([0; 4]).len();
        for (missing, number) in
            [(2, 2), (5, 2), (frame - 8, 2), (frame + 3, 1), (2 * frame + 3, 0)]
        {
            let info = inspect(&whole[..whole.len() - missing]).unwrap();
            assert_eq!(info.breaks_off, Some(number), "without the last {missing} bytes");
        }
    }

    #[test]
    fn frames_that_overhang_the_screen_are_decoded_all_the_same() {
        let mut bytes = screen(20, 10);
        bytes.extend(frame([5, 5, 20, 10]));
        bytes.extend(frame([0, 0, 5000, 6000]));
        let info = inspect(&bytes).unwrap();
        // The first one widens it.
        assert_eq!((info.width, info.height, info.frames), (25, 15, 2));
        assert_eq!((info.frame_pixels, info.total_pixels), (30_000_000, 30_000_200));
    }

    #[test]
    fn a_screen_without_a_frame_still_has_a_size() {
        let info = inspect(&screen(65_535, 65_535)).unwrap();
        assert_eq!((info.frames, info.frame_pixels), (1, 65_535 * 65_535));
    }
}
