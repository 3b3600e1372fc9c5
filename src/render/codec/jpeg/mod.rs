//! JPEG (ITU T.81).

mod coefficients;
mod completion;
pub mod eighth;
mod entropy;
mod frame;
mod header;
mod huffman;
mod idct;
mod lookup;
mod planes;
mod progressive;
mod refusal;
mod scan;
mod scans;
mod sequential;
pub mod transcode;

pub use completion::{complete, may_be_completed};
pub use refusal::Refusal;

use super::cursor::Cursor;
use super::{ImageInfo, check};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const COM: u8 = 0xfe;
const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const ICC: &[u8] = b"ICC_PROFILE\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// 64 coefficients (T.81 A.3.3) of two bytes.
const BLOCK_BYTES: u64 = 128;

/// A frame header (T.81 B.2.2).
#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    width: u16,
    height: u16,
    components: u8,
    depth: u8,
    is_progressive: bool,
    /// Bytes of the coefficients of all components.
    coefficient_bytes: u64,
}

/// Reads the markers up to the first scan or, if the decoder buffers all coefficients, to the end of the image.
pub(super) fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut cursor = Cursor::new(bytes);
    let mut frame: Option<FrameHeader> = None;
    let mut scans = 0_u32;
    let mut metadata_bytes = 0_u64;
    let mut profile_bytes = 0_u64;
    let mut is_buffered = false;
    while let Some(marker) = next_marker(&mut cursor) {
        match marker {
            SOI | 0xd0..=0xd7 => continue,
            // TEM and reserved markers. Where a restart should be, libjpeg passes over the marker, not over a segment
            // (`jpeg_resync_to_restart` of jdmarker.c), which would hide scans from this count.
            ..0xc0 => continue,
            // Bytes after the end, a second image included, are not decoded.
            EOI => break,
            _ => {}
        }
        let Some(length) = cursor.u16_be() else { break };
        let segment = cursor.take_at_most(usize::from(length).saturating_sub(2));
        match marker {
            // All SOF markers; DHT, JPG and DAC lie in the same range.
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                let header = FrameHeader::parse(marker, segment)?;
                frame = Some(frame.map_or(header, |first| first.max(header)));
            }
            0xe0..=0xef | COM => {
                metadata_bytes += segment.len() as u64;
                if marker == APP2 && segment.starts_with(ICC) {
                    profile_bytes += segment.len() as u64;
                }
            }
            SOS => {
                let frame = frame?;
                scans = scans.saturating_add(1);
                let components = segment.first().copied().unwrap_or(0);
                is_buffered |= frame.is_progressive || components < frame.components;
                if !is_buffered {
                    // The only scan that is decoded, line by line.
                    break;
                }
            }
            _ => {}
        }
    }
    let frame = frame?;
    let bytes_per_sample = u64::from(frame.depth.div_ceil(8).max(1));
    let bands = u64::from(frame.components.clamp(1, 4));
    Some(ImageInfo {
        buffered_bytes: if is_buffered { frame.coefficient_bytes } else { 0 },
        scans: scans.max(1),
        metadata_bytes,
        profile_bytes,
        ..ImageInfo::streamed(frame.width.into(), frame.height.into(), bytes_per_sample * bands)
    })
}

/// Whether the first frame is progressive (T.81 §4.5).
pub(super) fn is_progressive(bytes: &[u8]) -> Option<bool> {
    let mut cursor = Cursor::new(bytes);
    while let Some(marker) = next_marker(&mut cursor) {
        match marker {
            SOI | ..0xc0 | 0xd0..=0xd7 => continue,
            EOI | SOS => break,
            _ => {}
        }
        let length = cursor.u16_be()?;
        let segment = cursor.take_at_most(usize::from(length).saturating_sub(2));
        if (0xc0..=0xcf).contains(&marker) && ![0xc4, 0xc8, 0xcc].contains(&marker) {
            return FrameHeader::parse(marker, segment).map(|frame| frame.is_progressive);
        }
    }
    None
}

/// Inserts EXIF (CIPA DC-008 §4.5.4).
pub(super) fn insert_exif(image: &[u8], exif: &[u8]) -> Option<Vec<u8>> {
    insert_app1(image, b"Exif\0\0", exif)
}

/// Inserts XMP (ISO 16684-3 §6.2).
pub(super) fn insert_xmp(image: &[u8], xmp: &[u8]) -> Option<Vec<u8>> {
    insert_app1(image, XMP, xmp)
}

/// Inserts an APP1 segment after the start of image and JFIF's APP0.
fn insert_app1(image: &[u8], name: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let start = match image.get(..4)? {
        [0xff, SOI, 0xff, APP0] => {
            4 + usize::from(u16::from_be_bytes(image.get(4..6)?.try_into().ok()?))
        }
        [0xff, SOI, ..] => 2,
        _ => return None,
    };
    let length = u16::try_from(2 + name.len() + data.len()).ok()?.to_be_bytes();
    Some([image.get(..start)?, &[0xff, APP1], &length, name, data, image.get(start..)?].concat())
}

/// The first XMP packet before the first scan.
pub(super) fn find_xmp(bytes: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(bytes);
    while let Some(marker) = next_marker(&mut cursor) {
        match marker {
            SOI | 0xd0..=0xd7 | ..0xc0 => continue,
            EOI | SOS => return None,
            _ => {}
        }
        let length = usize::from(cursor.u16_be()?).saturating_sub(2);
        let segment = cursor.take(length)?;
        if marker == APP1
            && let Some(packet) = segment.strip_prefix(XMP)
        {
            return Some(packet);
        }
    }
    None
}

impl FrameHeader {
    fn parse(marker: u8, segment: &[u8]) -> Option<FrameHeader> {
        let mut cursor = Cursor::new(segment);
        let depth = cursor.u8()?;
        let height = cursor.u16_be()?;
        let width = cursor.u16_be()?;
        let components = cursor.u8()?;
        // Horizontal and vertical sampling factors of each component.
        let sampling = || {
            cursor.rest().chunks(3).map(|component| {
                let factors = component.get(1).copied().unwrap_or(0x11);
                (u64::from(factors >> 4).clamp(1, 4), u64::from(factors & 15).clamp(1, 4))
            })
        };
        let (max_h, max_v) =
            sampling().fold((1, 1), |(max_h, max_v), (h, v)| (max_h.max(h), max_v.max(v)));
        // libjpeg rounds up to whole MCUs.
        let blocks = |side: u16, factor: u64, max: u64| u64::from(side).div_ceil(8 * max) * factor;
        let coefficient_bytes = sampling()
            .take(usize::from(components))
            .map(|(h, v)| blocks(width, h, max_h) * blocks(height, v, max_v) * BLOCK_BYTES)
            .fold(0, u64::saturating_add);
        // SOF2, 6, 10 and 14.
        let is_progressive = marker & 3 == 2;
        Some(FrameHeader { width, height, components, depth, is_progressive, coefficient_bytes })
    }

    /// The larger of two frames, progressive if either is.
    fn max(self, other: FrameHeader) -> FrameHeader {
        let pixels = |frame: &FrameHeader| u32::from(frame.width) * u32::from(frame.height);
        let larger = if pixels(&other) > pixels(&self) { other } else { self };
        FrameHeader {
            is_progressive: self.is_progressive || other.is_progressive,
            coefficient_bytes: self.coefficient_bytes.max(other.coefficient_bytes),
            ..larger
        }
    }
}

/// The next marker. Like libjpeg, skips bytes before it, such as entropy-coded data and its stuffed bytes.
fn next_marker(cursor: &mut Cursor) -> Option<u8> {
    loop {
        cursor.skip(find_ff(cursor.rest())?);
        let mut byte = 0xff;
        while byte == 0xff {
            byte = cursor.u8()?;
        }
        if byte != 0 {
            return Some(byte);
        }
    }
}

/// Index of the first byte 0xff. Eight bytes at a time, since a progressive JPEG is searched from end to end.
fn find_ff(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, _) = bytes.as_chunks::<8>();
    let without = words.iter().take_while(|word| {
        let inverted = !u64::from_ne_bytes(**word);
        // The usual test for a zero byte.
        inverted.wrapping_sub(ONES) & !inverted & HIGHS == 0
    });
    let start = without.count() * 8;
    bytes.get(start..)?.iter().position(|byte| *byte == 0xff).map(|at| start + at)
}

/// `Some` if the file has only segments that pixels need (T.81 Annex B).
pub(super) fn check_only_pixels(bytes: &[u8]) -> Option<()> {
    let mut cursor = Cursor::new(bytes);
    check(cursor.take(2)? == [0xff, SOI])?;
    let mut frames = 0;
    let mut scans = 0;
    loop {
        check(cursor.u8()? == 0xff)?;
        let marker = cursor.u8()?;
        if marker == EOI {
            return check(frames == 1 && scans > 0 && cursor.is_empty());
        }
        let length = usize::from(cursor.u16_be()?);
        let body = cursor.take(length.checked_sub(2)?)?;
        match marker {
            // JFIF without a thumbnail; Adobe's segment (T.872 §6.5.3). They say how colours are stored.
            APP0 => check(body.starts_with(b"JFIF\0") && body.len() == 14)?,
            0xee => check(body.starts_with(b"Adobe") && body.len() == 12)?,
            // Baseline, extended and progressive; four components are CMYK.
            0xc0..=0xc2 => {
                frames += 1;
                check(matches!(body.get(5), Some(1 | 3)))?;
            }
            // Tables and the restart interval.
            0xc4 | 0xdb | 0xdd => {}
            SOS => {
                scans += 1;
                cursor.skip(entropy_coded(cursor.rest())?);
            }
            _ => return None,
        }
    }
}

/// The length of the data up to the next marker that is not a restart (T.81 B.1.1.5).
fn entropy_coded(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + find_ff(bytes.get(from..)?)?;
        match bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => from = at + 2,
            // A fill byte.
            0xff => from = at + 1,
            _ => return Some(at),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn segment(marker: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff, marker];
        bytes.extend((payload.len() as u16 + 2).to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn frame(marker: u8, width: u16, height: u16, sampling: &[u8]) -> Vec<u8> {
        let mut payload = vec![8];
        payload.extend(height.to_be_bytes());
        payload.extend(width.to_be_bytes());
        payload.push(sampling.len() as u8);
        for (id, factors) in sampling.iter().enumerate() {
            payload.extend([id as u8, *factors, 0]);
        }
        segment(marker, &payload)
    }

    fn scan(components: u8) -> Vec<u8> {
        let mut bytes = segment(SOS, &[components, 0, 0, 63, 0]);
        // A stuffed byte and a restart marker do not end the scan.
        bytes.extend(b"\x12\xff\0\x34\xff\xd3\x56");
        bytes
    }

    /// A 4:2:0 frame with `scans` scans that hold no coefficients.
    pub fn progressive(width: u16, height: u16, scans: usize) -> Vec<u8> {
        let mut bytes = vec![0xff, SOI];
        bytes.extend(segment(APP1, b"Exif\0\0MM"));
        bytes.extend(frame(0xc2, width, height, &[0x22, 0x11, 0x11]));
        (0..scans).for_each(|_| bytes.extend(scan(1)));
        bytes.extend([0xff, EOI]);
        bytes
    }

    #[test]
    fn jpeg_scans_are_counted_up_to_the_end_of_image() {
        let mut bytes = progressive(100, 80, 7);
        bytes.extend(progressive(9000, 9000, 50));
        let info = inspect(&bytes).unwrap();
        assert_eq!((info.width, info.height, info.scans, info.bytes_per_pixel), (100, 80, 7, 3));
        // 7 × 5 MCUs of six blocks.
        assert_eq!(info.buffered_bytes, 7 * 5 * 6 * 128);
        assert_eq!(info.metadata_bytes, 8);
    }

    #[test]
    fn jpeg_baseline_is_buffered_only_if_its_scans_are_not_interleaved() {
        for (components, buffered_bytes, scans) in [(3, 0, 1), (1, 13 * 10 * 3 * 128, 3)] {
            let mut bytes = vec![0xff, SOI];
            bytes.extend(frame(0xc0, 100, 80, &[0x11; 3]));
            (0..3).for_each(|_| bytes.extend(scan(components)));
            let info = inspect(&bytes).unwrap();
            assert_eq!((info.buffered_bytes, info.scans), (buffered_bytes, scans));
        }
    }

    #[test]
    fn jpeg_scans_behind_a_reserved_marker_are_counted() {
        let bytes = progressive(100, 80, 4);
        let end = bytes.len() - 2;
        for marker in [0x02, 0x4f, 0xbf] {
            let hidden = [&bytes[..end], &[0xff, marker, 0xff, 0xff], &scan(1), &scan(1)].concat();
            assert_eq!(inspect(&hidden).unwrap().scans, 6, "{marker:x}");
        }
    }

    #[test]
    fn jpeg_second_frame_header_counts_if_larger() {
        let mut bytes = vec![0xff, SOI];
        bytes.extend(frame(0xc0, 10, 10, &[0x11; 3]));
        bytes.extend(frame(0xc2, 5000, 4000, &[0x11; 3]));
        bytes.extend(scan(3));
        let info = inspect(&bytes).unwrap();
        assert_eq!((info.width, info.height), (5000, 4000));
        assert!(info.buffered_bytes >= 5000 * 4000 * 6);
    }

    #[test]
    fn jpeg_metadata_is_summed_and_thumbnails_are_not_frames() {
        let mut bytes = vec![0xff, SOI];
        let thumbnail = progressive(30_000, 30_000, 3);
        bytes.extend(segment(APP1, &thumbnail));
        bytes.extend(segment(APP2, b"ICC_PROFILE\0\x01\x01profile"));
        bytes.extend(segment(COM, b"words"));
        bytes.extend(b"junk between");
        bytes.extend(frame(0xc0, 10, 12, &[0x11]));
        bytes.extend(scan(1));
        let info = inspect(&bytes).unwrap();
        assert_eq!((info.width, info.height, info.bytes_per_pixel), (10, 12, 1));
        assert_eq!((info.metadata_bytes, info.profile_bytes), (thumbnail.len() as u64 + 26, 21));
    }

    #[test]
    fn find_ff_finds_every_position() {
        for length in 0..40 {
            let mut bytes = vec![0xfe; length];
            assert_eq!(find_ff(&bytes), None);
            for at in (0..length).rev() {
                bytes[at] = 0xff;
                assert_eq!(find_ff(&bytes), Some(at));
            }
        }
    }
}
