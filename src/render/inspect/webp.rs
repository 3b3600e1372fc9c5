//! WebP (RFC 9649): the chunks of the RIFF file, and the size in each bitstream's head.

use super::{ImageInfo, area};
use crate::render::container::cursor::{Cursor, index};
use crate::render::container::webp::{self, Chunk};

/// What has been seen so far.
#[derive(Debug, Default)]
struct Seen {
    canvas: Option<(u32, u32)>,
    frames: u32,
    /// Of the largest bitstream.
    sides: (u32, u32),
    largest: u64,
    coded: u64,
    /// libwebp decodes a lossless image, or a plane of transparency, as a whole.
    held: u64,
    metadata: u64,
    profile: u64,
}

pub(super) fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(4)?;
    let length = index(cursor.u32_le()?);
    let mut cursor = Cursor::new(cursor.take_at_most(length));
    cursor.take(4)?;
    let mut seen = Seen::default();
    while let Some(Chunk { kind, data: payload, .. }) = webp::chunk(&mut cursor) {
        match &kind {
            b"VP8X" => {
                let mut payload = Cursor::new(payload);
                payload.skip(4);
                let (width, height) = (payload.u24_le()? + 1, payload.u24_le()? + 1);
                seen.canvas.get_or_insert((width, height));
            }
            b"ANMF" => {
                seen.frames = seen.frames.saturating_add(1);
                let mut frame = Cursor::new(payload);
                frame.skip(webp::FRAME_HEAD);
                while let Some(Chunk { kind, data, .. }) = webp::chunk(&mut frame) {
                    seen.bitstream(kind, data);
                }
            }
            b"ICCP" => {
                seen.metadata += payload.len() as u64;
                seen.profile += payload.len() as u64;
            }
            b"EXIF" | b"XMP " => seen.metadata += payload.len() as u64,
            _ => seen.bitstream(kind, payload),
        }
    }
    let (width, height) = seen.canvas.unwrap_or(seen.sides);
    let (canvas, frames) = (area(width, height), seen.frames.max(1));
    let info = ImageInfo::streamed(width, height, 4);
    Some(ImageInfo {
        frames,
        frame_pixels: canvas.max(seen.largest),
        total_pixels: canvas.saturating_mul(u64::from(frames)).max(seen.coded),
        held: seen.held,
        metadata_bytes: seen.metadata,
        profile_bytes: seen.profile,
        ..info
    })
}

impl Seen {
    fn bitstream(&mut self, kind: [u8; 4], payload: &[u8]) {
        let (size, held_per_pixel) = match &kind {
            b"VP8 " => (webp::lossy_size(payload), 0),
            b"VP8L" => (webp::lossless_size(payload).map(|(width, height, _)| (width, height)), 4),
            // As large as the image it belongs to, which follows.
            b"ALPH" => {
                let (width, height) = self.canvas.unwrap_or_default();
                self.held = self.held.max(area(width, height));
                return;
            }
            _ => return,
        };
        let Some((width, height)) = size else { return };
        let pixels = area(width, height);
        if pixels > self.largest {
            (self.largest, self.sides) = (pixels, (width, height));
        }
        self.coded = self.coded.saturating_add(pixels);
        self.held = self.held.max(pixels.saturating_mul(held_per_pixel));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_vec();
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len() + payload.len() % 2, 0);
        bytes
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = chunks.concat();
        let mut bytes = b"RIFF".to_vec();
        bytes.extend((body.len() as u32 + 4).to_le_bytes());
        bytes.extend(b"WEBP");
        bytes.extend(body);
        bytes
    }

    fn vp8l(width: u32, height: u32) -> Vec<u8> {
        let mut payload = vec![0x2f];
        payload.extend(((width - 1) | (height - 1) << 14).to_le_bytes());
        chunk(b"VP8L", &payload)
    }

    fn vp8(width: u16, height: u16) -> Vec<u8> {
        let mut payload = b"\x10\0\0\x9d\x01\x2a".to_vec();
        payload.extend(width.to_le_bytes());
        payload.extend(height.to_le_bytes());
        chunk(b"VP8 ", &payload)
    }

    fn extended(width: u32, height: u32) -> Vec<u8> {
        let mut payload = vec![0x02, 0, 0, 0];
        payload.extend(&(width - 1).to_le_bytes()[..3]);
        payload.extend(&(height - 1).to_le_bytes()[..3]);
        chunk(b"VP8X", &payload)
    }

    /// An image's head and nothing behind it.
    pub fn lossless(width: u32, height: u32) -> Vec<u8> {
        riff(&[vp8l(width, height)])
    }

    /// Two frames of different coding, with metadata.
    pub fn animation() -> Vec<u8> {
        let frame = |bitstream: &[u8]| chunk(b"ANMF", &[&[0; 16], bitstream].concat());
        riff(&[
            extended(100, 50),
            chunk(b"ICCP", b"profile"),
            chunk(b"ANIM", &[0; 6]),
            frame(&vp8(60, 50)),
            frame(&vp8l(100, 50)),
            chunk(b"EXIF", b"MM"),
            chunk(b"XMP ", b"<x/>"),
        ])
    }

    #[test]
    fn the_size_is_in_the_bitstream_or_in_front_of_it() {
        let info = inspect(&lossless(16_383, 12_345)).unwrap();
        assert_eq!((info.width, info.height, info.held), (16_383, 12_345, 16_383 * 12_345 * 4));
        let info = inspect(&riff(&[vp8(640, 480)])).unwrap();
        assert_eq!((info.width, info.height, info.held), (640, 480, 0));
    }

    #[test]
    fn frames_and_metadata_are_counted() {
        let info = inspect(&animation()).unwrap();
        assert_eq!((info.width, info.height, info.frames), (100, 50, 2));
        assert_eq!((info.total_pixels, info.held), (10_000, 20_000));
        assert_eq!((info.metadata_bytes, info.profile_bytes), (13, 7));
    }

    #[test]
    fn a_canvas_hides_no_larger_bitstream() {
        let info = inspect(&riff(&[extended(10, 10), vp8l(10_000, 10_000)])).unwrap();
        assert_eq!((info.width, info.frame_pixels), (10, 100_000_000));
        assert_eq!((info.total_pixels, info.held), (100_000_000, 400_000_000));
    }
}
