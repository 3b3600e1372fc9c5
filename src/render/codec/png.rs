//! PNG (W3C PNG, third edition).

use std::ops::RangeInclusive;

use super::cursor::{Cursor, index};
use super::{ImageInfo, area, check};

/// First bytes of a file (§5.2).
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The keyword of XMP with its end (ISO 16684-3 §6.5).
const XMP: &[u8] = b"XML:com.adobe.xmp\0";

/// 1 / 2.2 in the unit of gAMA (§11.3.2.2), and what differs from it by less than 5 %, as in libpng
/// (`PNG_GAMMA_THRESHOLD`) and browsers.
const SRGB_GAMMA: RangeInclusive<u32> = 43_182..=47_727;
/// sRGB's white point and primaries in the unit of cHRM (§11.3.2.5).
const SRGB_CHROMATICITIES: [u32; 8] =
    [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];
/// Differences from `SRGB_CHROMATICITIES` below this are not visible.
const CHROMATICITY_TOLERANCE: u32 = 100;
/// Highest compression ratio of deflate.
const MAX_DEFLATE_RATIO: u64 = 1032;
/// libvips' limit for all chunks that libspng keeps, in bytes.
const MAX_CHUNK_BYTES: u64 = 60 << 20;

/// A chunk (§5.3), possibly truncated by the end of the file.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'b> {
    /// For example `IDAT`.
    pub kind: [u8; 4],
    pub data: &'b [u8],
    /// Whether `data` is complete.
    pub is_whole: bool,
    /// The stored CRC.
    crc: Option<[u8; 4]>,
}

impl Chunk<'_> {
    /// Whether the chunk is complete and has the CRC of its type and data.
    pub fn is_intact(&self) -> bool {
        self.is_whole && self.crc == Some(crc(&self.kind, self.data).to_be_bytes())
    }
}

/// The chunks of a file; `None` without the signature.
pub fn chunks(bytes: &[u8]) -> Option<impl Iterator<Item = Chunk<'_>>> {
    let mut cursor = Cursor::new(bytes.strip_prefix(SIGNATURE)?);
    Some(std::iter::from_fn(move || {
        let length = index(cursor.u32_be()?);
        let kind = cursor.array()?;
        let data = cursor.take_at_most(length);
        Some(Chunk { kind, data, is_whole: data.len() == length, crc: cursor.array() })
    }))
}

/// The CRC of a chunk (§5.3), which covers its type and its data.
pub(super) fn crc(kind: &[u8; 4], data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind);
    hasher.update(data);
    hasher.finalize()
}

/// The data of a chunk as exactly `N` numbers.
pub fn numbers<const N: usize>(data: &[u8]) -> Option<[u32; N]> {
    let (words, rest) = data.as_chunks::<4>();
    let words: &[[u8; 4]; N] = words.try_into().ok().filter(|_| rest.is_empty())?;
    Some(words.map(u32::from_be_bytes))
}

/// Whether a gAMA value is sRGB's.
pub fn is_srgb_gamma(gamma: u32) -> bool {
    SRGB_GAMMA.contains(&gamma)
}

/// Whether cHRM values are sRGB's.
pub fn are_srgb_chromaticities(stored: &[u32; 8]) -> bool {
    let is_near = |(stored, srgb): (&u32, u32)| stored.abs_diff(srgb) < CHROMATICITY_TOLERANCE;
    stored.iter().zip(SRGB_CHROMATICITIES).all(is_near)
}

pub(super) fn inspect(bytes: &[u8]) -> Option<ImageInfo> {
    let mut chunks = chunks(bytes)?;
    // The header is the first chunk (§5.6).
    let header = chunks.next().filter(|chunk| &chunk.kind == b"IHDR")?;
    let [width, height] = numbers(header.data.get(..8)?)?;
    let [depth, color_type, _, _, interlace]: [u8; 5] = header.data.get(8..)?.try_into().ok()?;
    let mut metadata_bytes = 0_u64;
    let mut profile_bytes = 0_u64;
    let mut inflated_bytes = 0_u64;
    let mut has_alpha = color_type & 4 != 0;
    for chunk in chunks {
        let length = chunk.data.len() as u64;
        match &chunk.kind {
            b"iCCP" | b"zTXt" | b"iTXt" => {
                metadata_bytes += length;
                inflated_bytes += length.saturating_mul(MAX_DEFLATE_RATIO);
                if &chunk.kind == b"iCCP" {
                    profile_bytes += length;
                }
            }
            b"eXIf" | b"tEXt" | b"sPLT" => metadata_bytes += length,
            b"tRNS" => has_alpha = true,
            b"IEND" => break,
            _ => {}
        }
    }
    // A palette image is decoded to RGB.
    let bands = if color_type & 2 != 0 { 3 } else { 1 } + u64::from(has_alpha);
    let bytes_per_pixel = bands * if depth > 8 { 2 } else { 1 };
    let buffered_bytes =
        if interlace != 0 { area(width, height).saturating_mul(bytes_per_pixel) } else { 0 };
    Some(ImageInfo {
        buffered_bytes,
        metadata_bytes,
        profile_bytes,
        inflated_bytes: inflated_bytes.min(MAX_CHUNK_BYTES),
        ..ImageInfo::streamed(width, height, bytes_per_pixel)
    })
}

/// Whether it is interlaced (§8.2).
pub(super) fn is_interlaced(bytes: &[u8]) -> Option<bool> {
    let header = chunks(bytes)?.next().filter(|chunk| &chunk.kind == b"IHDR")?;
    header.data.get(12).map(|method| *method != 0)
}

/// Inserts an eXIf chunk (§11.3.4.5).
pub(super) fn insert_exif(image: &[u8], exif: &[u8]) -> Option<Vec<u8>> {
    insert(image, b"eXIf", exif)
}

/// Inserts XMP as uncompressed text without a language (§11.3.3.4, ISO 16684-3 §6.5).
pub(super) fn insert_xmp(image: &[u8], xmp: &[u8]) -> Option<Vec<u8>> {
    insert(image, b"iTXt", &[XMP, &[0; 4], xmp].concat())
}

/// Inserts a chunk after the header.
fn insert(image: &[u8], kind: &[u8; 4], data: &[u8]) -> Option<Vec<u8>> {
    // The signature, and IHDR: length, type, 13 bytes of data, CRC.
    const AFTER_HEADER: usize = 8 + 4 + 4 + 13 + 4;
    image.get(12..16).filter(|kind| kind == b"IHDR")?;
    let (before, after) = image.split_at_checked(AFTER_HEADER)?;
    let length = u32::try_from(data.len()).ok()?.to_be_bytes();
    let crc = crc(kind, data).to_be_bytes();
    Some([before, &length, kind, data, &crc, after].concat())
}

/// The first XMP packet that is not compressed.
pub(super) fn find_xmp(bytes: &[u8]) -> Option<&[u8]> {
    chunks(bytes)?.take_while(|chunk| &chunk.kind != b"IEND").find_map(|chunk| {
        let text = Some(chunk.data).filter(|_| &chunk.kind == b"iTXt")?.strip_prefix(XMP)?;
        // Compression flag and method, language and translated keyword.
        let text = text.strip_prefix(&[0])?.get(1..)?;
        let mut parts = text.splitn(3, |byte| *byte == 0);
        let packet = parts.nth(2)?;
        chunk.is_intact().then_some(packet)
    })
}

/// `Some` if the file has only chunks that pixels need, and sRGB if it names a colour space.
pub(super) fn check_only_pixels(bytes: &[u8]) -> Option<()> {
    let mut end = SIGNATURE.len();
    let mut has_pixels = false;
    let [mut is_srgb, mut has_gamma, mut has_chromaticities] = [false; 3];
    for (number, chunk) in chunks(bytes)?.enumerate() {
        let Chunk { kind, data, .. } = chunk;
        check((&kind == b"IHDR") == (number == 0))?;
        // libspng goes on after a wrong checksum, which other decoders refuse.
        check(chunk.is_intact())?;
        end += 12 + data.len();
        match &kind {
            // The encoder writes 8 bits.
            b"IHDR" => check(data.len() == 13 && *data.get(8)? <= 8)?,
            b"PLTE" | b"tRNS" => check(!has_pixels)?,
            b"IDAT" => has_pixels = true,
            b"IEND" => {
                check(has_pixels && data.is_empty() && end == bytes.len())?;
                // Together they are taken at their word, as in the pipeline.
                return check(is_srgb || !has_gamma || !has_chromaticities);
            }
            b"sRGB" => {
                check(data.len() == 1)?;
                is_srgb = true;
            }
            b"gAMA" => {
                check(numbers(data).is_some_and(|[gamma]| is_srgb_gamma(gamma)))?;
                has_gamma = true;
            }
            b"cHRM" => {
                check(numbers(data).is_some_and(|points| are_srgb_chromaticities(&points)))?;
                has_chromaticities = true;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
        bytes.extend(kind);
        bytes.extend(payload);
        // The inspector does not verify the CRC.
        bytes.extend([0; 4]);
        bytes
    }

    fn header(width: u32, height: u32, depth: u8, color_type: u8, interlace: u8) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut payload = width.to_be_bytes().to_vec();
        payload.extend(height.to_be_bytes());
        payload.extend([depth, color_type, 0, 0, interlace]);
        bytes.extend(chunk(b"IHDR", &payload));
        bytes
    }

    /// A PNG with every kind of metadata.
    pub fn with_metadata() -> Vec<u8> {
        let mut bytes = header(30, 20, 8, 2, 0);
        for (kind, length) in
            [(b"iCCP", 7), (b"tEXt", 11), (b"IDAT", 100), (b"zTXt", 13), (b"eXIf", 17)]
        {
            bytes.extend(chunk(kind, &vec![b'x'; length]));
        }
        bytes.extend(chunk(b"IEND", b""));
        bytes.extend(b"\0\0\0\x20tEXt after the end of the image");
        bytes
    }

    #[test]
    fn png_metadata_is_counted_up_to_iend() {
        let info = inspect(&with_metadata()).unwrap();
        assert_eq!((info.width, info.height), (30, 20));
        assert_eq!((info.metadata_bytes, info.profile_bytes), (7 + 11 + 13 + 17, 7));
        assert_eq!(info.inflated_bytes, (7 + 13) * 1032);
    }

    #[test]
    fn png_color_type_and_depth_give_bytes_per_pixel_and_interlacing_buffers() {
        for (depth, color_type, has_trns, bytes_per_pixel) in [
            (8, 0, false, 1),
            (1, 0, true, 2),
            (16, 0, false, 2),
            (8, 4, false, 2),
            (8, 2, false, 3),
            (8, 3, false, 3),
            (4, 3, true, 4),
            (8, 6, false, 4),
            (16, 6, false, 8),
        ] {
            for interlace in [0, 1] {
                let mut file = header(1000, 500, depth, color_type, interlace);
                if has_trns {
                    file.extend(chunk(b"tRNS", b"\0\0"));
                }
                let info = inspect(&file).unwrap();
                assert_eq!(info.bytes_per_pixel, bytes_per_pixel, "{depth} {color_type}");
                assert_eq!(info.buffered_bytes, u64::from(interlace) * 500_000 * bytes_per_pixel);
            }
        }
    }

    #[test]
    fn png_truncated_chunk_counts_its_actual_bytes() {
        let mut bytes = header(30, 20, 8, 2, 0);
        bytes.extend(b"\xff\xff\xff\xffiTXt and no more");
        let info = inspect(&bytes).unwrap();
        assert_eq!(info.metadata_bytes, 12);
        assert_eq!(inspect(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT0123456789abc"), None);
    }

    #[test]
    fn png_chunks_are_read_up_to_the_end_of_the_file() {
        let bytes = [SIGNATURE, b"\0\0\0\x03ABCDxyz1234", b"\0\0\0\0IEND5678", b"\0\0\0\x03EFGHxy"]
            .concat();
        let read = |end: usize| -> Vec<_> {
            let fields =
                |chunk: Chunk| (chunk.kind, chunk.data.to_vec(), chunk.is_whole, chunk.crc);
            chunks(&bytes[..end]).into_iter().flatten().map(fields).collect()
        };
        let all = [
            (*b"ABCD", b"xyz".to_vec(), true, Some(*b"1234")),
            (*b"IEND", Vec::new(), true, Some(*b"5678")),
            (*b"EFGH", b"xy".to_vec(), false, None),
        ];
        assert_eq!(read(bytes.len()), all);
        assert_eq!(read(8 + 13), [(*b"ABCD", b"xyz".to_vec(), true, None)]);
        assert_eq!(read(8 + 9), [(*b"ABCD", b"x".to_vec(), false, None)]);
        assert!(read(8 + 7).is_empty() && chunks(&bytes[1..]).is_none());
    }

    #[test]
    fn png_gamma_and_chromaticities_near_srgb_are_srgb() {
        assert!(is_srgb_gamma(45_455) && !is_srgb_gamma(100_000) && !is_srgb_gamma(0));
        let mut points = SRGB_CHROMATICITIES;
        points[2] += 99;
        assert!(are_srgb_chromaticities(&points));
        points[2] += 1;
        assert!(!are_srgb_chromaticities(&points));
        assert_eq!(numbers(&[0, 0, 0, 1, 0, 0, 1, 0]), Some([1, 256]));
        assert_eq!((numbers::<1>(&[0; 5]), numbers::<2>(&[0; 4])), (None, None));
    }
}
