//! Image formats: one file (for some, a directory) handles the container of a format: its structure, the values that
//! limits apply to, the place of kept metadata, and the parts that pixels alone need.
//!
//! Pixels are decoded and encoded by libvips (`render::vips`), except for AVIF, JPEG XL and GIF, which are done here.

mod av1;
pub mod avif;
mod cursor;
mod details;
pub mod exif;
pub mod gif;
pub mod icc;
pub mod icc_curve;
pub mod jpeg;
pub mod jxl;
mod only_pixels;
pub mod png;
pub mod png_repair;
pub mod primaries;
mod webp;
pub mod xmp;

pub use details::Details;
pub use only_pixels::has_only_pixels;

use crate::error::{Code, Failure};
use crate::format::Format;

/// The work and the memory that decoding an original takes, according to its container.
///
/// Where two places in a file disagree, the larger number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Width of the canvas as stored, before it is rotated upright.
    pub width: u32,
    /// Height of one frame as stored.
    pub height: u32,
    /// Frames that the decoder can be asked for.
    pub frames: u32,
    /// Pixels to decode for the largest frame: more than `width` × `height` where frames or tiles overhang the canvas.
    pub frame_pixels: u64,
    /// Pixels to decode for all frames.
    pub total_pixels: u64,
    /// Bands × bytes per sample of the decoded image.
    pub bytes_per_pixel: u64,
    /// Bytes that the decoder buffers for one frame, for a result of any size; 0 if it streams line by line.
    pub buffered_bytes: u64,
    /// Passes over the image: the scans of a JPEG.
    pub scans: u32,
    /// Bytes of profiles, EXIF, XMP, comments and text, as stored.
    pub metadata_bytes: u64,
    /// The part of `metadata_bytes` that is a colour profile.
    pub profile_bytes: u64,
    /// Upper bound of the bytes that compressed metadata inflates to.
    pub inflated_bytes: u64,
    /// Index of the frame in which the file ends too early. Only for GIF and AVIF: what is there of the frame, or the frame
    /// before it, could be shown.
    pub truncated_frame: Option<u32>,
}

impl ImageInfo {
    /// A single image that is decoded line by line and has no metadata.
    fn streamed(width: u32, height: u32, bytes_per_pixel: u64) -> ImageInfo {
        let pixels = area(width, height);
        ImageInfo {
            width,
            height,
            frames: 1,
            frame_pixels: pixels,
            total_pixels: pixels,
            bytes_per_pixel,
            buffered_bytes: 0,
            scans: 1,
            metadata_bytes: 0,
            profile_bytes: 0,
            inflated_bytes: 0,
            truncated_frame: None,
        }
    }
}

/// Reads the container of an image. Nothing is decoded and almost nothing allocated, so no permit is needed.
///
/// An image without a size is refused: its cost is unknown. Other damage is left to libvips, which applies `fail_on`,
/// except for AVIF, which libvips does not read: its container must be complete and well-formed, but for frames after the
/// first.
pub fn inspect(bytes: &[u8], format: Format) -> Result<ImageInfo, Failure> {
    let info = match format {
        Format::Jpeg => jpeg::inspect(bytes),
        Format::Png => png::inspect(bytes),
        Format::Gif => gif::inspect(bytes),
        Format::Webp => webp::inspect(bytes),
        Format::Avif => return avif::inspect(bytes),
        // Not read.
        Format::Jxl => None,
    };
    info.filter(|info| info.width > 0 && info.height > 0).ok_or_else(|| {
        let sentence =
            format!("the original can't be decoded as {}: it has no size", format.name());
        Failure::new(Code::CorruptImage, sentence)
    })
}

/// Inserts an EXIF block into an image that the server has just encoded. `None` if the format has no place for it or
/// the file is not laid out as expected.
pub fn insert_exif(image: &[u8], format: Format, exif: &[u8]) -> Option<Vec<u8>> {
    match format {
        Format::Jpeg => jpeg::insert_exif(image, exif),
        Format::Png => png::insert_exif(image, exif),
        Format::Webp => webp::insert_exif(image, exif),
        Format::Jxl => jxl::insert_exif(image, exif),
        Format::Avif | Format::Gif => None,
    }
}

/// Inserts an XMP packet, see [`insert_exif`]. Before EXIF, which comes first in a JPEG (CIPA DC-008 §4.5.4).
pub fn insert_xmp(image: &[u8], format: Format, xmp: &[u8]) -> Option<Vec<u8>> {
    match format {
        Format::Jpeg => jpeg::insert_xmp(image, xmp),
        Format::Png => png::insert_xmp(image, xmp),
        Format::Webp => webp::insert_xmp(image, xmp),
        Format::Jxl => jxl::insert_xmp(image, xmp),
        // An AVIF is written with it.
        Format::Avif | Format::Gif => None,
    }
}

/// The first XMP packet of an image. That of an AVIF is found by [`avif::parse`].
pub fn find_xmp(image: &[u8], format: Format) -> Option<&[u8]> {
    match format {
        Format::Jpeg => jpeg::find_xmp(image),
        Format::Png => png::find_xmp(image),
        Format::Webp => webp::find_xmp(image),
        Format::Avif | Format::Jxl | Format::Gif => None,
    }
}

/// `Some` if a condition holds, for `?`.
fn check(is_met: bool) -> Option<()> {
    is_met.then_some(())
}

fn area(width: u32, height: u32) -> u64 {
    u64::from(width).saturating_mul(u64::from(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn info(name: &str) -> ImageInfo {
        let bytes = data(name);
        inspect(&bytes, Format::of_bytes(&bytes).unwrap()).unwrap()
    }

    /// Small files of each format.
    fn seeds() -> Vec<Vec<u8>> {
        let avif = [
            "animated.avif",
            "quarters.avif",
            "fading.avif",
            "turned-irot.avif",
            "lying-ispe.avif",
            "grid-alpha.avif",
        ];
        let mut seeds: Vec<Vec<u8>> = avif.iter().map(|name| data(name)).collect();
        seeds.push(data("p3-primaries.jpg"));
        seeds.push(data("anim.gif")[..3000].to_vec());
        seeds.push(data("bomb-15000x15000-rgb.png")[..200].to_vec());
        seeds.push(png::tests::with_metadata());
        seeds.push(gif::tests::three_frames());
        seeds.push(webp::tests::animation());
        seeds.push(webp::tests::lossless(16_383, 16_383));
        seeds.push(jpeg::tests::progressive(100, 80, 7));
        seeds
    }

    #[test]
    fn inspect_reports_size_frames_scans_and_metadata_of_real_files() {
        let size = |name: &str| (info(name).width, info(name).height);
        assert_eq!(size("photo-2mp.jpg"), (1664, 1248));
        assert_eq!(size("bomb-15000x15000-rgb.png"), (15_000, 15_000));
        assert_eq!(size("quarters.avif"), (64, 48));
        assert_eq!((size("anim.gif"), info("anim.gif").frames), ((245, 245), 42));
        let photo = info("photo-2mp.jpg");
        assert_eq!((photo.buffered_bytes, photo.scans, photo.bytes_per_pixel), (0, 1, 3));
        assert!(info("p3-primaries.jpg").profile_bytes > 100);
        assert!(info("gps.jpg").metadata_bytes > 50);
        assert!(info("many-scans.jpg").scans > 1000);
        assert!(info("many-scans.jpg").buffered_bytes >= 16_000_000 * 2);
    }

    #[test]
    fn reading_never_panics_on_a_truncated_file() {
        for seed in seeds() {
            let format = Format::of_bytes(&seed).unwrap();
            for end in 0..seed.len() {
                let _ = (inspect(&seed[..end], format), find_xmp(&seed[..end], format));
            }
        }
    }

    #[test]
    fn reading_never_panics_on_mutated_bytes_or_on_another_format() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for seed in seeds() {
            let format = Format::of_bytes(&seed).unwrap();
            for _ in 0..400 {
                let mut bytes = seed.clone();
                for _ in 0..1 + random() % 6 {
                    let at = random() % bytes.len();
                    bytes[at] = [0, 1, 0x7f, 0x80, 0xff, random() as u8][random() % 6];
                }
                let _ = (inspect(&bytes, format), find_xmp(&bytes, format));
            }
            for other in Format::ALL {
                let _ = (inspect(&seed, *other), find_xmp(&seed, *other));
            }
        }
    }

    #[test]
    fn an_image_without_a_size_is_corrupt() {
        for (bytes, format) in [
            (&b"\xff\xd8\xff\xd9"[..], Format::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Format::Png),
            (b"GIF89a", Format::Gif),
            (b"RIFF\x04\0\0\0WEBP", Format::Webp),
            (b"\0\0\0\x10ftypavif\0\0\0\0", Format::Avif),
        ] {
            assert_eq!(inspect(bytes, format).unwrap_err().code, Code::CorruptImage, "{format:?}");
        }
    }

    #[test]
    fn xmp_that_is_inserted_is_found_and_never_another_part_of_the_file() {
        let photo = data("photo-2mp.jpg");
        let drawing = include_bytes!("../../../examples/images/transparent.png");
        let simple = include_bytes!("../../../examples/images/seedling.webp");
        for (bytes, format) in [
            (&photo[..], Format::Jpeg),
            (drawing, Format::Png),
            (simple, Format::Webp),
            (&webp::tests::animation(), Format::Webp),
        ] {
            let before = find_xmp(bytes, format);
            let with_exif = insert_exif(bytes, format, b"MM").unwrap();
            assert_eq!(find_xmp(&with_exif, format), before, "{format:?}");
            if before.is_some() {
                continue;
            }
            for xmp in [&b"<x/>"[..], b"odd"] {
                let with_xmp = insert_xmp(bytes, format, xmp).unwrap();
                assert_eq!(find_xmp(&with_xmp, format), Some(xmp), "{format:?}");
                let both = insert_exif(&with_xmp, format, b"MM").unwrap();
                assert_eq!(find_xmp(&both, format), Some(xmp), "{format:?}");
                let info = |bytes: &[u8]| inspect(bytes, format).unwrap();
                let inserted = 2 + xmp.len() as u64;
                assert!(info(&both).metadata_bytes >= info(bytes).metadata_bytes + inserted);
                for end in 0..with_xmp.len().min(4000) {
                    let _ = find_xmp(&with_xmp[..end], format);
                }
            }
        }
    }

    #[test]
    fn insert_exif_refuses_files_of_an_unexpected_layout() {
        for bytes in
            [&b""[..], b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0"]
        {
            for format in Format::ALL {
                assert_eq!(insert_exif(bytes, *format, b"x"), None, "{format:?} {bytes:?}");
                assert_eq!(insert_xmp(bytes, *format, b"x"), None, "{format:?} {bytes:?}");
                assert_eq!(find_xmp(bytes, *format), None, "{format:?} {bytes:?}");
            }
        }
    }
}
