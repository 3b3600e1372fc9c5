//! What a GIF (87a, 89a) contains, without decompressing it.

use super::super::cursor::Cursor;
use super::super::{ImageInfo, check};
use super::area::Area;
use super::blocks::{
    APPLICATION, Block, Blocks, Disposal, EXTENSION, Frame, GRAPHIC_CONTROL, IMAGE, TRAILER,
    skip_blocks, table_length,
};

/// What the frames have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub width: u32,
    pub height: u32,
    /// 0 if the file has none.
    pub frames: u32,
    /// How often the animation is shown; 0 is for ever.
    pub plays: u32,
    /// Whether a pixel may be transparent, if no frame is damaged.
    pub may_have_transparency: bool,
}

/// The size of the canvas: the first frame enlarges it, and the others are cropped to it.
pub fn canvas_size(screen: (usize, usize), first: Option<&Frame>) -> (usize, usize) {
    let (width, height) = screen;
    first.map_or(screen, |frame| (width.max(frame.area.right), height.max(frame.area.bottom)))
}

/// Reads all blocks. `None` if there is no complete logical screen descriptor.
pub fn summarize(bytes: &[u8]) -> Option<Summary> {
    let mut blocks = Blocks::new(bytes)?;
    let mut size = blocks.screen;
    let mut frames = 0_u32;
    let mut may_have_transparency = false;
    let mut whole = Area::default();
    // The pixels that may be transparent before the next frame is drawn.
    let mut transparent = Area::default();
    for block in blocks.by_ref() {
        let Block::Frame(frame) = block else { continue };
        if frames == 0 {
            size = canvas_size(size, Some(&frame));
            whole = Area::whole(size.0, size.1);
            transparent = whole;
        }
        frames = frames.saturating_add(1);
        let drawn = frame.area.intersection(whole);
        let before = transparent;
        if frame.control.transparent.is_none() && drawn.union(transparent) == drawn {
            transparent = Area::default();
        }
        may_have_transparency |= !transparent.is_empty();
        match frame.control.disposal {
            Disposal::Keep => {}
            Disposal::Clear => transparent = transparent.union(drawn),
            Disposal::Restore => transparent = before,
        }
    }
    let [width, height] = [size.0, size.1].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    Some(Summary { width, height, frames, plays: blocks.plays, may_have_transparency })
}

pub fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut blocks = Blocks::new(bytes)?;
    let mut size = blocks.screen;
    let mut frames = 0_u32;
    let mut largest = 0_u64;
    let mut pixels = 0_u64;
    let mut metadata_bytes = 0_u64;
    let mut truncated_frame = None;
    for block in blocks.by_ref() {
        match block {
            Block::Extension(GRAPHIC_CONTROL, _) => {}
            Block::Extension(_, length) => metadata_bytes += length,
            Block::Frame(frame) => {
                if frames == 0 {
                    size = canvas_size(size, Some(&frame));
                }
                if !frame.is_complete {
                    truncated_frame = Some(frames);
                }
                frames = frames.saturating_add(1);
                let frame_pixels = area(frame.area.width(), frame.area.height());
                largest = largest.max(frame_pixels);
                pixels = pixels.saturating_add(frame_pixels);
            }
        }
    }
    if blocks.is_truncated {
        truncated_frame = Some(frames);
    }
    let frames = frames.max(1);
    let canvas = area(size.0, size.1);
    let [width, height] = [size.0, size.1].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    Some(ImageInfo {
        frames,
        frame_pixels: canvas.max(largest),
        total_pixels: canvas.saturating_mul(u64::from(frames)).max(pixels),
        // The canvas, what a frame is restored to, and the indices of the largest frame.
        buffered_bytes: canvas.saturating_mul(8).saturating_add(largest),
        metadata_bytes,
        truncated_frame,
        ..ImageInfo::streamed(width, height, 4)
    })
}

/// The delays of all frames together in milliseconds as they are stored, how often they are shown (0 is for ever), and
/// whether the first is interlaced.
pub fn times(bytes: &[u8]) -> Option<(u64, u32, bool)> {
    let mut blocks = Blocks::new(bytes)?;
    let mut duration = 0_u64;
    let mut is_interlaced = None;
    for block in blocks.by_ref() {
        if let Block::Frame(frame) = block {
            duration = duration.saturating_add(u64::from(frame.control.delay) * 10);
            is_interlaced.get_or_insert(frame.is_interlaced);
        }
    }
    Some((duration, blocks.plays, is_interlaced.unwrap_or(false)))
}

fn area(width: usize, height: usize) -> u64 {
    (width as u64).saturating_mul(height as u64)
}

/// `Some` if the file has only blocks that pixels need.
pub fn check_only_pixels(bytes: &[u8]) -> Option<()> {
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
pub mod tests {
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
    fn opaque_animations_are_recognised() {
        let whole = [0, 0, 20, 10];
        let part = [5, 0, 10, 10];
        let may = |frames: &[([u16; 4], u8)]| {
            let mut bytes = screen(20, 10);
            for (place, flags) in frames {
                let mut frame = frame(*place);
                frame[3] = *flags;
                bytes.extend(frame);
            }
            summarize(&bytes).unwrap().may_have_transparency
        };
        let (keep, clear, restore, transparent) = (0x04, 0x08, 0x0c, 0x01);
        assert!(!may(&[(whole, keep), (part, keep), (part, restore), (part, clear)]));
        assert!(!may(&[(whole, clear), (whole, clear), (whole, restore)]));
        assert!(!may(&[(whole, keep), (part, clear), (whole, keep)]));
        assert!(may(&[(part, keep), (whole, keep)]));
        assert!(may(&[(whole, keep | transparent)]));
        assert!(may(&[(whole, clear), (part, keep)]));
        assert!(may(&[(whole, restore), (part, keep)]));
        assert!(may(&[(whole, keep), (part, clear), (part, keep | transparent)]));
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
}
