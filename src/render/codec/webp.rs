//! WebP (RFC 9649): a RIFF file of chunks.

use super::cursor::{Cursor, index};
use super::{ImageInfo, area, check};

/// Flags of `VP8X` (§2.7.1).
pub(super) const HAS_ALPHA: u8 = 0x10;
const HAS_EXIF: u8 = 0x08;
const HAS_XMP: u8 = 0x04;
pub(super) const IS_ANIMATED: u8 = 0x02;
/// Bytes of an `ANMF` before its chunks: position, size, duration and flags (§2.7.1.1).
const FRAME_HEADER: usize = 16;

/// A chunk (§2.3), possibly truncated by the end of the file.
#[derive(Clone, Copy, Debug)]
struct Chunk<'b> {
    /// For example `VP8L`.
    kind: [u8; 4],
    data: &'b [u8],
    /// Whether `data` is complete, and so is the padding byte of an odd length.
    is_whole: bool,
}

/// The next chunk.
fn chunk<'b>(cursor: &mut Cursor<'b>) -> Option<Chunk<'b>> {
    let kind = cursor.array()?;
    let length = index(cursor.u32_le()?);
    let data = cursor.take_at_most(length);
    let is_padded = length.is_multiple_of(2) || cursor.u8() == Some(0);
    Some(Chunk { kind, data, is_whole: data.len() == length && is_padded })
}

/// Width and height of a `VP8 ` key frame (RFC 6386 §9.1): a frame tag, a start code, and two sides of 14 bits.
fn lossy_size(data: &[u8]) -> Option<(u32, u32)> {
    let mut cursor = Cursor::new(data);
    cursor.take(6)?;
    let mut side = || cursor.u16_le().map(|side| u32::from(side & 0x3fff));
    Some((side()?, side()?))
}

/// Width, height and the alpha flag of a `VP8L` image (RFC 9649 §3.4): a signature, two sides of 14 bits less one, and
/// one bit.
fn lossless_size(data: &[u8]) -> Option<(u32, u32, bool)> {
    let mut cursor = Cursor::new(data);
    cursor.take(1)?;
    let bits = cursor.u32_le()?;
    Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1, bits >> 28 & 1 == 1))
}

/// Sums over the chunks of a file.
#[derive(Debug, Default)]
struct Totals {
    canvas: Option<(u32, u32)>,
    frames: u32,
    /// Width and height of the largest bitstream.
    largest_size: (u32, u32),
    largest_pixels: u64,
    pixels: u64,
    /// libwebp buffers a whole lossless image and a whole alpha plane.
    buffered_bytes: u64,
    metadata_bytes: u64,
    profile_bytes: u64,
}

pub(super) fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(4)?;
    let length = index(cursor.u32_le()?);
    let mut cursor = Cursor::new(cursor.take_at_most(length));
    cursor.take(4)?;
    let mut totals = Totals::default();
    while let Some(Chunk { kind, data, .. }) = chunk(&mut cursor) {
        match &kind {
            b"VP8X" => {
                let mut fields = Cursor::new(data);
                fields.skip(4);
                let width = fields.u24_le()? + 1;
                let height = fields.u24_le()? + 1;
                totals.canvas.get_or_insert((width, height));
            }
            b"ANMF" => {
                totals.frames = totals.frames.saturating_add(1);
                let mut frame = Cursor::new(data);
                frame.skip(FRAME_HEADER);
                while let Some(Chunk { kind, data, .. }) = chunk(&mut frame) {
                    totals.add_bitstream(kind, data);
                }
            }
            b"ICCP" => {
                totals.metadata_bytes += data.len() as u64;
                totals.profile_bytes += data.len() as u64;
            }
            b"EXIF" | b"XMP " => totals.metadata_bytes += data.len() as u64,
            _ => totals.add_bitstream(kind, data),
        }
    }
    let (width, height) = totals.canvas.unwrap_or(totals.largest_size);
    let canvas = area(width, height);
    let frames = totals.frames.max(1);
    Some(ImageInfo {
        frames,
        frame_pixels: canvas.max(totals.largest_pixels),
        total_pixels: canvas.saturating_mul(u64::from(frames)).max(totals.pixels),
        buffered_bytes: totals.buffered_bytes,
        metadata_bytes: totals.metadata_bytes,
        profile_bytes: totals.profile_bytes,
        ..ImageInfo::streamed(width, height, 4)
    })
}

impl Totals {
    fn add_bitstream(&mut self, kind: [u8; 4], data: &[u8]) {
        let (size, buffered_bytes_per_pixel) = match &kind {
            b"VP8 " => (lossy_size(data), 0),
            b"VP8L" => (lossless_size(data).map(|(width, height, _)| (width, height)), 4),
            // An alpha plane precedes its image and has the same size.
            b"ALPH" => {
                let (width, height) = self.canvas.unwrap_or_default();
                self.buffered_bytes = self.buffered_bytes.max(area(width, height));
                return;
            }
            _ => return,
        };
        let Some((width, height)) = size else { return };
        let pixels = area(width, height);
        if pixels > self.largest_pixels {
            self.largest_pixels = pixels;
            self.largest_size = (width, height);
        }
        self.pixels = self.pixels.saturating_add(pixels);
        let buffered_bytes = pixels.saturating_mul(buffered_bytes_per_pixel);
        self.buffered_bytes = self.buffered_bytes.max(buffered_bytes);
    }
}

/// The durations of all frames together in milliseconds, and how often they are shown: 0 is for ever (§2.7.1.1).
pub(super) fn times(bytes: &[u8]) -> Option<(u64, u32)> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(4)?;
    let length = index(cursor.u32_le()?);
    let mut cursor = Cursor::new(cursor.take_at_most(length));
    cursor.take(4)?;
    let (mut duration, mut plays) = (0_u64, 0);
    while let Some(Chunk { kind, data, .. }) = chunk(&mut cursor) {
        let mut fields = Cursor::new(data);
        match &kind {
            b"ANIM" => {
                fields.skip(4);
                plays = u32::from(fields.u16_le()?);
            }
            b"ANMF" => {
                fields.skip(12);
                duration = duration.saturating_add(u64::from(fields.u24_le().unwrap_or(0)));
            }
            _ => {}
        }
    }
    Some((duration, plays))
}

/// Appends an `EXIF` chunk.
pub(super) fn insert_exif(image: &[u8], exif: &[u8]) -> Option<Vec<u8>> {
    append(image, b"EXIF", HAS_EXIF, exif)
}

/// Appends an `XMP ` chunk.
pub(super) fn insert_xmp(image: &[u8], xmp: &[u8]) -> Option<Vec<u8>> {
    append(image, b"XMP ", HAS_XMP, xmp)
}

/// The first XMP packet.
pub(super) fn find_xmp(bytes: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(4)?;
    let length = index(cursor.u32_le()?);
    let mut cursor = Cursor::new(cursor.take_at_most(length));
    cursor.take(4)?;
    let mut chunks = std::iter::from_fn(|| chunk(&mut cursor));
    chunks
        .find(|chunk| &chunk.kind == b"XMP ")
        .filter(|chunk| chunk.is_whole)
        .map(|chunk| chunk.data)
}

/// Appends a chunk of metadata with its flag, and turns a simple file into an extended one, which it needs (§2.7).
fn append(image: &[u8], metadata: &[u8; 4], flag: u8, data: &[u8]) -> Option<Vec<u8>> {
    let kind: &[u8; 4] = image.get(12..16)?.try_into().ok()?;
    let mut chunks = image.get(12..)?.to_vec();
    match kind {
        b"VP8X" => *chunks.get_mut(8)? |= flag,
        b"VP8 " | b"VP8L" => {
            let bitstream = image.get(20..)?;
            let (width, height, has_alpha) = if kind == b"VP8L" {
                lossless_size(bitstream)?
            } else {
                let (width, height) = lossy_size(bitstream)?;
                (width, height, false)
            };
            let flags = flag | if has_alpha { HAS_ALPHA } else { 0 };
            let mut extended = b"VP8X\x0a\0\0\0".to_vec();
            extended.extend([flags, 0, 0, 0]);
            for side in [width, height] {
                extended.extend(side.checked_sub(1)?.to_le_bytes().get(..3)?);
            }
            chunks = [extended, chunks].concat();
        }
        _ => return None,
    }
    chunks.extend(metadata);
    chunks.extend(u32::try_from(data.len()).ok()?.to_le_bytes());
    chunks.extend(data);
    // Chunks are padded to an even length.
    chunks.resize(chunks.len().next_multiple_of(2), 0);
    let length = u32::try_from(chunks.len().checked_add(4)?).ok()?.to_le_bytes();
    Some([&b"RIFF"[..], &length, b"WEBP", &chunks].concat())
}

/// `Some` if the file has only chunks that pixels need (RFC 9649 §2.7).
pub(super) fn check_only_pixels(bytes: &[u8]) -> Option<()> {
    let mut cursor = Cursor::new(bytes);
    check(cursor.take(4)? == b"RIFF")?;
    let size = u32::from_le_bytes(cursor.array()?);
    check(usize::try_from(size).ok()? == cursor.rest().len())?;
    check(cursor.take(4)? == b"WEBP")?;
    let mut flags = None;
    let mut images = 0;
    let mut is_first = true;
    while !cursor.is_empty() {
        let Chunk { kind, data, .. } = chunk(&mut cursor).filter(|chunk| chunk.is_whole)?;
        let is_animated = flags.is_some_and(|flags| flags & IS_ANIMATED != 0);
        match &kind {
            b"VP8X" if is_first => {
                let [own, 0, 0, 0, ..]: [u8; 10] = data.try_into().ok()? else { return None };
                check(own & !(HAS_ALPHA | IS_ANIMATED) == 0)?;
                flags = Some(own);
            }
            b"VP8 " | b"VP8L" => {
                check((is_first || flags.is_some()) && !is_animated && images == 0)?;
                images += 1;
            }
            b"ALPH" => check(flags.is_some() && !is_animated && images == 0)?,
            // The background colour and the number of loops (§2.7.1.1).
            b"ANIM" => check(is_animated && data.len() == 6)?,
            b"ANMF" => {
                check(is_animated)?;
                check_frame(data)?;
                images += 1;
            }
            _ => return None,
        }
        is_first = false;
    }
    check(images > 0)
}

/// A frame (RFC 9649 §2.7.1.1) that has one image and nothing else.
fn check_frame(data: &[u8]) -> Option<()> {
    let mut cursor = Cursor::new(data);
    cursor.skip(FRAME_HEADER);
    let mut has_image = false;
    while !cursor.is_empty() {
        let chunk = chunk(&mut cursor).filter(|chunk| chunk.is_whole)?;
        check(!has_image && matches!(&chunk.kind, b"ALPH" | b"VP8 " | b"VP8L"))?;
        has_image = &chunk.kind != b"ALPH";
    }
    check(has_image)
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

    /// A file that ends after the header of its bitstream.
    pub fn lossless(width: u32, height: u32) -> Vec<u8> {
        riff(&[vp8l(width, height)])
    }

    /// An animation of a lossy and a lossless frame, with metadata.
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
    fn webp_simple_file_has_the_size_of_its_bitstream() {
        let info = inspect(&lossless(16_383, 12_345)).unwrap();
        assert_eq!(
            (info.width, info.height, info.buffered_bytes),
            (16_383, 12_345, 16_383 * 12_345 * 4)
        );
        let info = inspect(&riff(&[vp8(640, 480)])).unwrap();
        assert_eq!((info.width, info.height, info.buffered_bytes), (640, 480, 0));
    }

    #[test]
    fn webp_frames_and_metadata_are_counted() {
        let info = inspect(&animation()).unwrap();
        assert_eq!((info.width, info.height, info.frames), (100, 50, 2));
        assert_eq!((info.total_pixels, info.buffered_bytes), (10_000, 20_000));
        assert_eq!((info.metadata_bytes, info.profile_bytes), (13, 7));
    }

    #[test]
    fn webp_durations_are_added() {
        let frame = |duration: u32| {
            let fields = [&[0; 12], &duration.to_le_bytes()[..3], &[0]].concat();
            chunk(b"ANMF", &[&fields[..], &vp8(10, 10)].concat())
        };
        let bytes = riff(&[
            extended(10, 10),
            chunk(b"ANIM", &[9, 9, 9, 9, 3, 1]),
            frame(70),
            frame(0xff_ffff),
        ]);
        assert_eq!(times(&bytes), Some((70 + 0xff_ffff, 259)));
        assert_eq!(times(&lossless(1, 1)), Some((0, 0)));
    }

    #[test]
    fn webp_bitstream_larger_than_the_canvas_counts() {
        let info = inspect(&riff(&[extended(10, 10), vp8l(10_000, 10_000)])).unwrap();
        assert_eq!((info.width, info.frame_pixels), (10, 100_000_000));
        assert_eq!((info.total_pixels, info.buffered_bytes), (100_000_000, 400_000_000));
    }

    #[test]
    fn webp_chunks_are_read_up_to_the_end_of_the_file() {
        let all = |bytes: &[u8]| -> Vec<_> {
            let mut cursor = Cursor::new(bytes);
            std::iter::from_fn(|| super::chunk(&mut cursor))
                .map(|chunk| (chunk.kind, chunk.data.to_vec(), chunk.is_whole))
                .collect()
        };
        let odd = |padding: u8| [b"ABCD\x03\0\0\0xyz", &[padding][..], b"EFGH\0\0\0\0"].concat();
        let read =
            |is_whole| vec![(*b"ABCD", b"xyz".to_vec(), is_whole), (*b"EFGH", Vec::new(), true)];
        assert_eq!((all(&odd(0)), all(&odd(1))), (read(true), read(false)));
        for end in 8..12 {
            let cut = vec![(*b"ABCD", b"xyz"[..3.min(end - 8)].to_vec(), false)];
            assert_eq!(all(&odd(0)[..end]), cut, "{end}");
        }
        assert!(all(&odd(0)[..7]).is_empty());
    }

    #[test]
    fn webp_bitstream_headers_give_the_size() {
        let lossless = (299_u32 | 199 << 14 | 1 << 28).to_le_bytes();
        assert_eq!(lossless_size(&[&[0x2f][..], &lossless].concat()), Some((300, 200, true)));
        // The two highest bits of a side are the scaling for display.
        assert_eq!(lossy_size(b"\0\0\0\x9d\x01\x2a\x2c\x41\xc8\x80"), Some((300, 200)));
        assert_eq!((lossless_size(&[0x2f, 0, 0, 0]), lossy_size(&[0; 9])), (None, None));
    }
}
