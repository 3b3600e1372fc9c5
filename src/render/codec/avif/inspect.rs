//! The work and the memory that decoding an AVIF takes, as [`parse`] finds them in its container.

use std::borrow::Cow;

use super::{Avif, Chroma, Coded, Error, Frames, parse};
use crate::error::{Code, Failure};
use crate::render::codec::{ImageInfo, area};

/// dav1d rounds the sides of its frames up to multiples of this many pixels.
const ALIGNMENT: u32 = 128;

/// Reads the container, which must be complete and well-formed.
pub fn inspect(bytes: &[u8]) -> Result<ImageInfo, Failure> {
    let image = parse(bytes).map_err(|error| failure(&error))?;
    let Avif { colour, alpha, .. } = &image;
    let bands = if alpha.is_some() { 4 } else { 3 };
    let info = ImageInfo::streamed(colour.width, colour.height, bands * bytes_per_sample(colour));
    let output = info.frame_pixels.saturating_mul(info.bytes_per_pixel);
    let coded = || [Some(colour), alpha.as_ref()].into_iter().flatten();
    let pixels = coded().map(decoded_pixels).max().unwrap_or(0);
    let buffered = coded().map(|coded| decoder_bytes(coded).saturating_add(copied_bytes(coded)));
    let frames = image.frames.as_ref().map_or(1, Frames::count);
    Ok(ImageInfo {
        frames,
        frame_pixels: pixels,
        total_pixels: pixels.saturating_mul(frames.into()),
        truncated_frame: image.frames.as_ref().and_then(Frames::first_missing),
        buffered_bytes: buffered.fold(output, u64::saturating_add),
        metadata_bytes: image.metadata_bytes,
        profile_bytes: image.icc.map_or(0, |icc| icc.len() as u64),
        ..info
    })
}

fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::Corrupt(_) => Code::CorruptImage,
        Error::Unsupported(_) => Code::UnsupportedFormat,
    };
    Failure::new(code, format!("the original can't be decoded as avif: {error}"))
}

/// Pixels of all tiles, which may overhang the image.
fn decoded_pixels(coded: &Coded) -> u64 {
    let tiles = u64::from(coded.columns) * u64::from(coded.rows);
    area(coded.tile_width, coded.tile_height).saturating_mul(tiles)
}

fn bytes_per_sample(coded: &Coded) -> u64 {
    if coded.sequence.depth > 8 { 2 } else { 1 }
}

/// Memory of dav1d while it decodes one tile or a sequence: its frames, and a quarter of a frame for block data.
fn decoder_bytes(coded: &Coded) -> u64 {
    let aligned = |side: u32| side.next_multiple_of(ALIGNMENT);
    let (max_width, max_height) = coded.max_frame_size;
    // A frame of the same area may be one row or one column.
    let pixels = area(aligned(coded.tile_width), aligned(coded.tile_height))
        .max(area(aligned(max_width), ALIGNMENT))
        .max(area(ALIGNMENT, aligned(max_height)));
    let half_samples_per_pixel = match coded.sequence.chroma {
        Chroma::Monochrome => 2,
        Chroma::Yuv420 => 3,
        Chroma::Yuv422 => 4,
        Chroma::Yuv444 => 6,
    };
    let frame = pixels.saturating_mul(half_samples_per_pixel * bytes_per_sample(coded)) / 2;
    frame.saturating_mul(coded.frames.into()).saturating_add(frame / 4)
}

/// Bytes of streams that are not borrowed from the original.
fn copied_bytes(coded: &Coded) -> u64 {
    let lengths = coded.tiles.iter().map(|tile| match tile {
        Cow::Borrowed(_) => 0,
        Cow::Owned(bytes) => bytes.len() as u64,
    });
    lengths.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn info(name: &str) -> ImageInfo {
        inspect(&data(name)).unwrap()
    }

    #[test]
    fn avif_size_is_before_clap_and_irot() {
        for name in ["yuv420.avif", "clap.avif", "irot-1.avif"] {
            let info = info(name);
            assert_eq!((info.width, info.height, info.frames), (64, 48, 1), "{name}");
        }
    }

    #[test]
    fn avif_overhanging_tiles_count_whole() {
        let info = info("grid-overhang.avif");
        assert_eq!((info.width, info.height), (100, 90));
        assert_eq!((info.frame_pixels, info.total_pixels), (128 * 128, 128 * 128));
    }

    #[test]
    fn avif_bytes_per_pixel_depend_on_alpha_and_depth() {
        for (name, bytes) in
            [("yuv420.avif", 3), ("alpha.avif", 4), ("12-bit.avif", 6), ("alpha-10-bit.avif", 8)]
        {
            assert_eq!(info(name).bytes_per_pixel, bytes, "{name}");
        }
    }

    #[test]
    fn avif_buffered_bytes_are_the_output_and_one_tile_of_colour_and_alpha() {
        let frame = 128 * 128;
        let buffered_bytes = |name: &str| info(name).buffered_bytes;
        assert_eq!(buffered_bytes("yuv420.avif"), 64 * 48 * 3 + frame * 3 / 2 * 5 / 4);
        assert_eq!(buffered_bytes("yuv422.avif"), 64 * 48 * 3 + frame * 2 * 5 / 4);
        assert_eq!(buffered_bytes("monochrome.avif"), 64 * 48 * 3 + frame * 5 / 4);
        assert_eq!(buffered_bytes("alpha.avif"), 64 * 48 * 4 + frame * 4 * 5 / 4);
        assert_eq!(buffered_bytes("12-bit.avif"), 64 * 48 * 6 + frame * 3 * 5 / 4);
        assert_eq!(buffered_bytes("grid-overhang.avif"), 100 * 90 * 3 + frame * 3 / 2 * 5 / 4);
        // 9000 pixels are rounded up to 71 alignments.
        let large: u64 = 71 * 128;
        assert_eq!(
            buffered_bytes("hostile/flat-9000x9000.avif"),
            9000 * 9000 * 3 + large * large * 3 / 2 * 5 / 4
        );
    }

    #[test]
    fn avif_frames_of_a_sequence_are_counted() {
        let info = info("animated.avif");
        assert_eq!((info.frames, info.truncated_frame), (3, None));
        assert_eq!((info.frame_pixels, info.total_pixels), (64 * 48, 3 * 64 * 48));
        // Nine frames of colour and of alpha, and a quarter of one for block data.
        let (colour, alpha) = (128 * 128 * 3 / 2, 128 * 128);
        let buffered = 64 * 48 * 4 + (colour + alpha) * 9 + (colour + alpha) / 4;
        assert_eq!(info.buffered_bytes, buffered);
        let whole = data("animated.avif");
        let cut = inspect(&whole[..whole.len() - 1]).unwrap();
        assert_eq!((cut.frames, cut.truncated_frame), (3, Some(2)));
    }

    #[test]
    fn avif_profile_and_metadata_are_counted_as_stored() {
        let icc = info("icc.avif");
        assert_eq!((icc.profile_bytes, icc.metadata_bytes), (480, 480));
        // Exif with exif_tiff_header_offset, and XMP.
        let both = info("exif-xmp.avif");
        assert_eq!((both.profile_bytes, both.metadata_bytes), (0, 4 + 26 + 37));
    }

    #[test]
    fn avif_errors_are_corrupt_or_unsupported() {
        let refused = |name: &str| inspect(&data(name)).unwrap_err();
        let broken = refused("lying-ispe.avif");
        let sentence = "the original can't be decoded as avif: item 1: its AV1 has 9000 x 9000 pixels and its `ispe` \
                        says 100 x 100";
        assert_eq!((broken.code, &broken.detail[..]), (Code::CorruptImage, sentence));
        let unknown = refused("hostile/iden-not-located.avif");
        let sentence =
            "the original can't be decoded as avif: item 2: its type `iden` is not supported";
        assert_eq!((unknown.code, &unknown.detail[..]), (Code::UnsupportedFormat, sentence));
    }
}
