//! What an image's container says of it, before libvips sees a byte: sizes, frames, scans, metadata.
//!
//! Nothing is decoded and next to nothing allocated, so this needs no turn. It says what a decoder would have to do,
//! which a limit or the memory budget may forbid; a number that two places of a file give differently counts as the
//! larger. What an image's upright size is, and whether it is whole, libvips says later.

pub mod avif;
mod gif;
mod jpeg;
mod png;
mod webp;

use crate::error::{Code, Failure};
use crate::format::Format;

/// What there is to be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Width of the canvas as it is stored, not turned upright.
    pub width: u32,
    /// Height of one frame.
    pub height: u32,
    /// How many frames the decoder can be asked for.
    pub frames: u32,
    /// The most pixels that are decoded for one frame: more than its size where frames or tiles overhang it.
    pub frame_pixels: u64,
    /// The same for all frames.
    pub total_pixels: u64,
    /// Bands × depth of what is handed to libvips.
    pub bytes_per_pixel: u64,
    /// What the decoder keeps of one frame however small the result: 0 where it hands out line by line.
    pub held: u64,
    /// How often the decoder goes over the image.
    pub scans: u32,
    /// Bytes of profiles, EXIF, XMP, comments and text, as they are stored.
    pub metadata_bytes: u64,
    /// Those of them that are a colour profile.
    pub profile_bytes: u64,
    /// The most bytes that metadata may unpack to.
    pub inflated_bytes: u64,
    /// The number of the frame, from 0, in which the file ends too early, where only the container says so: libnsgif
    /// shows what there is.
    pub breaks_off: Option<u32>,
}

impl ImageInfo {
    /// An image that is handed out line by line and of which nothing else is known.
    fn streamed(width: u32, height: u32, bytes_per_pixel: u64) -> ImageInfo {
        let pixels = area(width, height);
        ImageInfo {
            width,
            height,
            frames: 1,
            frame_pixels: pixels,
            total_pixels: pixels,
            bytes_per_pixel,
            held: 0,
            scans: 1,
            metadata_bytes: 0,
            profile_bytes: 0,
            inflated_bytes: 0,
            breaks_off: None,
        }
    }
}

/// Reads the container of an image of this format.
///
/// What is cut off or malformed behind the size is libvips' to judge, which knows `fail_on`; an AVIF, which libvips does
/// not read, is whole and well-formed or refused. An image whose size can't be found is refused here: nobody could tell
/// what decoding it takes.
pub fn inspect(bytes: &[u8], format: Format) -> Result<ImageInfo, Failure> {
    let info = match format {
        Format::Jpeg => jpeg::inspect(bytes),
        Format::Png => png::inspect(bytes),
        Format::Gif => gif::inspect(bytes),
        Format::Webp => webp::inspect(bytes),
        // Its container is read by us alone, so what is wrong with it is said here or never.
        Format::Avif => return avif::inspect(bytes),
    };
    info.filter(|info| info.width > 0 && info.height > 0).ok_or_else(|| {
        let sentence =
            format!("the original can't be decoded as {}: it has no size", format.name());
        Failure::new(Code::CorruptImage, sentence)
    })
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
    fn real_images_are_read_as_they_are() {
        let sides = |name: &str| (info(name).width, info(name).height);
        assert_eq!(sides("photo-2mp.jpg"), (1664, 1248));
        assert_eq!(sides("bomb-15000x15000-rgb.png"), (15_000, 15_000));
        assert_eq!(sides("quarters.avif"), (64, 48));
        assert_eq!((sides("anim.gif"), info("anim.gif").frames), ((245, 245), 42));
        let photo = info("photo-2mp.jpg");
        assert_eq!((photo.held, photo.scans, photo.bytes_per_pixel), (0, 1, 3));
        assert!(info("p3-primaries.jpg").profile_bytes > 100);
        assert!(info("gps.jpg").metadata_bytes > 50);
        assert!(info("many-scans.jpg").scans > 1000);
        assert!(info("many-scans.jpg").held >= 16_000_000 * 2);
    }

    #[test]
    fn no_file_that_ends_early_is_read_beyond_its_end() {
        for seed in seeds() {
            let format = Format::of_bytes(&seed).unwrap();
            for end in 0..seed.len() {
                // Whatever is said of it, it is said.
                let _ = inspect(&seed[..end], format);
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let all = [Format::Jpeg, Format::Png, Format::Gif, Format::Webp, Format::Avif];
        for seed in seeds() {
            let format = Format::of_bytes(&seed).unwrap();
            for _ in 0..400 {
                let mut bytes = seed.clone();
                for _ in 0..1 + random() % 6 {
                    let at = random() % bytes.len();
                    bytes[at] = [0, 1, 0x7f, 0x80, 0xff, random() as u8][random() % 6];
                }
                let _ = inspect(&bytes, format);
            }
            // Taken for something else altogether.
            for other in all {
                let _ = inspect(&seed, other);
            }
        }
    }

    #[test]
    fn what_has_no_size_is_corrupt() {
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
}
