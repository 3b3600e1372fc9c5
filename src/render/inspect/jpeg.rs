//! JPEG (ITU T.81): the markers, up to the first scan or, where the decoder keeps all of them, through every scan.

use super::ImageInfo;
use crate::render::container::cursor::Cursor;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const COM: u8 = 0xfe;
const TEM: u8 = 0x01;
const ICC: &[u8] = b"ICC_PROFILE\0";
/// A coefficient is two bytes, a block has 64 (T.81 A.3.3).
const BLOCK_BYTES: u64 = 128;

/// What a frame header (T.81 B.2.2) says.
#[derive(Clone, Copy, Debug)]
struct Frame {
    width: u16,
    height: u16,
    components: u8,
    depth: u8,
    progressive: bool,
    /// All coefficients.
    coefficients: u64,
}

pub(super) fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut cursor = Cursor::new(bytes);
    let mut frame: Option<Frame> = None;
    let (mut scans, mut metadata, mut profile) = (0_u32, 0_u64, 0_u64);
    let mut keeps_all = false;
    while let Some(marker) = next_marker(&mut cursor) {
        match marker {
            SOI | TEM | 0xd0..=0xd7 => continue,
            // What follows is another image, or no image.
            EOI => break,
            _ => {}
        }
        let Some(length) = cursor.u16_be() else { break };
        let segment = cursor.take_at_most(usize::from(length).saturating_sub(2));
        match marker {
            // Huffman, arithmetic and lossless coding; not DHT, JPG and DAC, which lie among them.
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                let read = read_frame(marker, segment)?;
                frame = Some(frame.map_or(read, |first| first.larger(read)));
            }
            0xe0..=0xef | COM => {
                metadata += segment.len() as u64;
                if marker == 0xe2 && segment.starts_with(ICC) {
                    profile += segment.len() as u64;
                }
            }
            SOS => {
                let frame = frame?;
                scans = scans.saturating_add(1);
                let in_scan = segment.first().copied().unwrap_or(0);
                keeps_all |= frame.progressive || in_scan < frame.components;
                if !keeps_all {
                    // The decoder hands out the lines of the one scan that it reads.
                    break;
                }
            }
            _ => {}
        }
    }
    let frame = frame?;
    let depth = u64::from(frame.depth.div_ceil(8).max(1));
    let info = ImageInfo::streamed(
        u32::from(frame.width),
        u32::from(frame.height),
        depth * u64::from(frame.components.clamp(1, 4)),
    );
    let held = if keeps_all { frame.coefficients } else { 0 };
    Some(ImageInfo {
        held,
        scans: scans.max(1),
        metadata_bytes: metadata,
        profile_bytes: profile,
        ..info
    })
}

impl Frame {
    fn larger(self, other: Frame) -> Frame {
        let pixels = |frame: &Frame| u32::from(frame.width) * u32::from(frame.height);
        let larger = if pixels(&other) > pixels(&self) { other } else { self };
        let progressive = self.progressive || other.progressive;
        Frame { progressive, coefficients: self.coefficients.max(other.coefficients), ..larger }
    }
}

fn read_frame(marker: u8, segment: &[u8]) -> Option<Frame> {
    let mut cursor = Cursor::new(segment);
    let (depth, height, width) = (cursor.u8()?, cursor.u16_be()?, cursor.u16_be()?);
    let components = cursor.u8()?;
    let sampling = || cursor.rest().chunks(3).map(|part| part.get(1).copied().unwrap_or(0x11));
    let factors = |byte: u8| (u64::from(byte >> 4).clamp(1, 4), u64::from(byte & 15).clamp(1, 4));
    let (most_h, most_v) =
        sampling().map(factors).fold((1, 1), |(h, v), (own_h, own_v)| (own_h.max(h), own_v.max(v)));
    let blocks = |length: u16, own: u64, most: u64| {
        // libjpeg rounds up to whole MCUs.
        u64::from(length).div_ceil(8 * most) * own
    };
    let coefficients = sampling()
        .take(usize::from(components))
        .map(factors)
        .map(|(h, v)| blocks(width, h, most_h) * blocks(height, v, most_v) * BLOCK_BYTES)
        .fold(0, u64::saturating_add);
    // SOF2, 6, 10 and 14.
    let progressive = marker & 3 == 2;
    Some(Frame { width, height, components, depth, progressive, coefficients })
}

/// The next marker; bytes in front of it are passed over, as libjpeg does, and so are the stuffed ones of a scan.
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

/// Where the first byte 0xff is. Eight bytes at a time: a progressive JPEG is searched from end to end.
fn find_ff(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, _) = bytes.as_chunks::<8>();
    let without = words.iter().take_while(|word| {
        let inverted = !u64::from_ne_bytes(**word);
        // The usual test for a byte that is zero.
        inverted.wrapping_sub(ONES) & !inverted & HIGHS == 0
    });
    let start = without.count() * 8;
    bytes.get(start..)?.iter().position(|byte| *byte == 0xff).map(|at| start + at)
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
        // Data with a stuffed byte and a restart marker, which end nothing.
        bytes.extend(b"\x12\xff\0\x34\xff\xd3\x56");
        bytes
    }

    /// A frame with 4:2:0 and so many scans; not one coefficient in them.
    pub fn progressive(width: u16, height: u16, scans: usize) -> Vec<u8> {
        let mut bytes = vec![0xff, SOI];
        bytes.extend(segment(0xe1, b"Exif\0\0MM"));
        bytes.extend(frame(0xc2, width, height, &[0x22, 0x11, 0x11]));
        (0..scans).for_each(|_| bytes.extend(scan(1)));
        bytes.extend([0xff, EOI]);
        bytes
    }

    #[test]
    fn scans_are_counted_up_to_the_end_of_the_image() {
        let mut bytes = progressive(100, 80, 7);
        bytes.extend(progressive(9000, 9000, 50));
        let info = inspect(&bytes).unwrap();
        assert_eq!((info.width, info.height, info.scans, info.bytes_per_pixel), (100, 80, 7, 3));
        // 7 × 5 MCUs of six blocks.
        assert_eq!(info.held, 7 * 5 * 6 * 128);
        assert_eq!(info.metadata_bytes, 8);
    }

    #[test]
    fn a_baseline_image_is_held_only_when_its_components_come_one_after_the_other() {
        for (components, held, scans) in [(3, 0, 1), (1, 13 * 10 * 3 * 128, 3)] {
            let mut bytes = vec![0xff, SOI];
            bytes.extend(frame(0xc0, 100, 80, &[0x11; 3]));
            (0..3).for_each(|_| bytes.extend(scan(components)));
            let info = inspect(&bytes).unwrap();
            assert_eq!((info.held, info.scans), (held, scans));
        }
    }

    #[test]
    fn a_second_frame_header_hides_nothing() {
        let mut bytes = vec![0xff, SOI];
        bytes.extend(frame(0xc0, 10, 10, &[0x11; 3]));
        bytes.extend(frame(0xc2, 5000, 4000, &[0x11; 3]));
        bytes.extend(scan(3));
        let info = inspect(&bytes).unwrap();
        assert_eq!((info.width, info.height), (5000, 4000));
        assert!(info.held >= 5000 * 4000 * 6);
    }

    #[test]
    fn metadata_is_added_up_and_thumbnails_in_it_are_not_images() {
        let mut bytes = vec![0xff, SOI];
        let inner = progressive(30_000, 30_000, 3);
        bytes.extend(segment(0xe1, &inner));
        bytes.extend(segment(0xe2, b"ICC_PROFILE\0\x01\x01profile"));
        bytes.extend(segment(COM, b"words"));
        bytes.extend(b"junk between");
        bytes.extend(frame(0xc0, 10, 12, &[0x11]));
        bytes.extend(scan(1));
        let info = inspect(&bytes).unwrap();
        assert_eq!((info.width, info.height, info.bytes_per_pixel), (10, 12, 1));
        assert_eq!((info.metadata_bytes, info.profile_bytes), (inner.len() as u64 + 26, 21));
    }

    #[test]
    fn every_byte_is_found() {
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
