//! Images with known pixels, and decoding of the images in responses.

use std::io::Cursor;

use super::jxl;
use image::codecs::gif::{GifDecoder, GifEncoder, Repeat};
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::codecs::png::{PngDecoder, PngEncoder};
use image::codecs::webp::{WebPDecoder, WebPEncoder};
use image::metadata::LoopCount;
use image::{
    AnimationDecoder, Delay, DynamicImage, Frame, ImageDecoder, ImageEncoder, Rgb, RgbImage, Rgba,
    RgbaImage,
};

pub const RED: [u8; 3] = [255, 0, 0];
pub const GREEN: [u8; 3] = [0, 255, 0];
pub const BLUE: [u8; 3] = [0, 0, 255];
pub const WHITE: [u8; 3] = [255, 255, 255];
pub const BLACK: [u8; 3] = [0, 0, 0];
pub const MAGENTA: [u8; 3] = [255, 0, 255];

/// The formats that the server writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Jpeg,
    Png,
    Webp,
    Gif,
    Avif,
    Jxl,
}

impl Kind {
    /// Those that it reads, too.
    pub const ALL: [Kind; 5] = [Kind::Jpeg, Kind::Png, Kind::Webp, Kind::Gif, Kind::Avif];

    /// The format of these bytes, by the signature in the format's specification.
    pub fn of(bytes: &[u8]) -> Option<Kind> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Some(Kind::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Kind::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Kind::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Kind::Webp),
            [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => {
                Some(Kind::Avif)
            }
            [0xff, 0x0a, ..] => Some(Kind::Jxl),
            [0, 0, 0, 0x0c, b'J', b'X', b'L', b' ', b'\r', b'\n', 0x87, b'\n', ..] => {
                Some(Kind::Jxl)
            }
            _ => None,
        }
    }

    /// The value of the parameter `f`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Jpeg => "jpg",
            Kind::Png => "png",
            Kind::Webp => "webp",
            Kind::Gif => "gif",
            Kind::Avif => "avif",
            Kind::Jxl => "jxl",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Kind::Jpeg => "image/jpeg",
            Kind::Png => "image/png",
            Kind::Webp => "image/webp",
            Kind::Gif => "image/gif",
            Kind::Avif => "image/avif",
            Kind::Jxl => "image/jxl",
        }
    }
}

/// An image of one colour.
pub fn solid(width: u32, height: u32, colour: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb(colour))
}

/// Vertical stripes of equal width.
pub fn columns(width: u32, height: u32, colours: &[[u8; 3]]) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| {
        Rgb(colours[(x * colours.len() as u32 / width) as usize])
    })
}

/// Horizontal stripes of equal height.
pub fn rows(width: u32, height: u32, colours: &[[u8; 3]]) -> RgbImage {
    RgbImage::from_fn(width, height, |_, y| {
        Rgb(colours[(y * colours.len() as u32 / height) as usize])
    })
}

/// 64 × 48 with red, green, blue and white quarters, as `quarters.avif` of tests/data.
pub fn quarters() -> RgbImage {
    RgbImage::from_fn(64, 48, |x, y| {
        Rgb(match (x < 32, y < 24) {
            (true, true) => RED,
            (false, true) => GREEN,
            (true, false) => BLUE,
            (false, false) => WHITE,
        })
    })
}

/// A smooth image in which no two neighbouring pixels are equal, so that it does not compress trivially.
pub fn gradient(width: u32, height: u32) -> RgbImage {
    let part = |value: u32, whole: u32| (value * 255 / whole.max(1)) as u8;
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([part(x, width), part(y, height), part(x + y, width + height)])
    })
}

/// Noise, which does not compress.
pub fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    RgbImage::from_fn(width, height, |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [a, b, c, ..] = state.to_le_bytes();
        Rgb([a, b, c])
    })
}

fn encoded(image: DynamicImage, with: impl FnOnce(&mut Cursor<Vec<u8>>, &DynamicImage)) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    with(&mut out, &image);
    out.into_inner()
}

pub fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image.into(), |out, image| image.write_with_encoder(PngEncoder::new(out)).unwrap())
}

pub fn jpeg(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image.into(), |out, image| {
        image.write_with_encoder(JpegEncoder::new_with_quality(out, 98)).unwrap();
    })
}

/// Lossless WebP.
pub fn webp(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image.into(), |out, image| {
        image.write_with_encoder(WebPEncoder::new_lossless(out)).unwrap()
    })
}

pub fn gif(image: impl Into<DynamicImage>) -> Vec<u8> {
    animated_gif(&[(image.into().into_rgba8(), 100)])
}

/// An animation of these frames and their delays in milliseconds, repeated forever.
pub fn animated_gif(frames: &[(RgbaImage, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = GifEncoder::new(&mut out);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    for (image, time) in frames {
        let delay = Delay::from_numer_denom_ms(*time, 1);
        encoder.encode_frame(Frame::from_parts(image.clone(), 0, 0, delay)).unwrap();
    }
    drop(encoder);
    out
}

/// The same as a lossless WebP (RFC 9649 §2.7.1): `VP8X`, `ANIM`, and an `ANMF` for each frame, which fills the canvas.
pub fn animated_webp(frames: &[(RgbaImage, u32)]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut out = [kind, &(data.len() as u32).to_le_bytes()[..], data].concat();
        out.resize(out.len().next_multiple_of(2), 0);
        out
    };
    let u24 = |number: u32| number.to_le_bytes()[..3].to_vec();
    let (width, height) = frames[0].0.dimensions();
    let sides = [u24(width - 1), u24(height - 1)].concat();
    // The flags of animation and transparency.
    let mut chunks = chunk(b"VP8X", &[&[0x12, 0, 0, 0][..], &sides].concat());
    chunks.extend(chunk(b"ANIM", &[0; 6]));
    for (image, time) in frames {
        let file = webp(image.clone());
        let bitstream = &file[12..];
        assert!(bitstream.starts_with(b"VP8L"));
        // Without blending.
        let head = [&[0; 6][..], &sides, &u24(*time), &[2]].concat();
        chunks.extend(chunk(b"ANMF", &[&head, bitstream].concat()));
    }
    chunk(b"RIFF", &[b"WEBP", &chunks[..]].concat())
}

/// The image in a format that the crate `image` can encode: all but AVIF and JPEG XL.
pub fn in_format(kind: Kind, image: &RgbImage) -> Vec<u8> {
    match kind {
        Kind::Jpeg => jpeg(image.clone()),
        Kind::Png => png(image.clone()),
        Kind::Webp => webp(image.clone()),
        Kind::Gif => gif(image.clone()),
        Kind::Avif => panic!("AVIF sources are in tests/data"),
        Kind::Jxl => panic!("JPEG XL is not read"),
    }
}

/// A JPEG, PNG or WebP with an EXIF block or a colour profile.
pub fn with_metadata(
    kind: Kind,
    image: &RgbImage,
    exif: Option<Vec<u8>>,
    profile: Option<Vec<u8>>,
) -> Vec<u8> {
    fn write(
        mut encoder: impl ImageEncoder,
        image: &RgbImage,
        exif: Option<Vec<u8>>,
        profile: Option<Vec<u8>>,
    ) {
        if let Some(exif) = exif {
            encoder.set_exif_metadata(exif).unwrap();
        }
        if let Some(profile) = profile {
            encoder.set_icc_profile(profile).unwrap();
        }
        let (width, height) = image.dimensions();
        encoder.write_image(image, width, height, image::ExtendedColorType::Rgb8).unwrap();
    }
    let mut out = Vec::new();
    match kind {
        Kind::Jpeg => write(JpegEncoder::new_with_quality(&mut out, 98), image, exif, profile),
        Kind::Png => write(PngEncoder::new(&mut out), image, exif, profile),
        Kind::Webp => write(WebPEncoder::new_lossless(&mut out), image, exif, profile),
        Kind::Gif | Kind::Avif | Kind::Jxl => panic!("{kind:?} with metadata is not written here"),
    }
    out
}

/// A JPEG with this profile in one segment after the start of image (ICC.1 annex B.4).
pub fn jpeg_with_profile(jpeg: &[u8], profile: &[u8]) -> Vec<u8> {
    let length = (2 + 14 + profile.len() as u16).to_be_bytes();
    let (start, rest) = jpeg.split_at(2);
    [start, b"\xff\xe2", &length, b"ICC_PROFILE\0\x01\x01", profile, rest].concat()
}

/// An EXIF block (TIFF 6.0, big-endian) with an orientation and a GPS latitude reference.
pub fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"MM\0\x2a\0\0\0\x08".to_vec();
    block.extend_from_slice(&[0, 2]);
    // Orientation: tag 0x0112, SHORT, one value.
    block.extend_from_slice(&[0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    // The GPS directory: tag 0x8825, LONG, at offset 38.
    block.extend_from_slice(&[0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38]);
    block.extend_from_slice(&[0, 0, 0, 0]);
    block.extend_from_slice(&[0, 1]);
    // GPSLatitudeRef: tag 1, ASCII, "N".
    block.extend_from_slice(&[0, 1, 0, 2, 0, 0, 0, 2, b'N', 0, 0, 0]);
    block.extend_from_slice(&[0, 0, 0, 0]);
    block
}

/// The colour profile of any format but AVIF.
pub fn profile_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let input = Cursor::new(bytes);
    match Kind::of(bytes).expect("an image") {
        Kind::Jpeg => JpegDecoder::new(input).unwrap().icc_profile().unwrap(),
        Kind::Png => PngDecoder::new(input).unwrap().icc_profile().unwrap(),
        Kind::Webp => WebPDecoder::new(input).unwrap().icc_profile().unwrap(),
        Kind::Gif => None,
        Kind::Jxl => jxl::read(bytes).original_icc().map(<[u8]>::to_vec),
        Kind::Avif => panic!("no decoder for AVIF"),
    }
}

/// The colour profile of a JPEG.
pub fn profile_of_jpeg(bytes: &[u8]) -> Vec<u8> {
    JpegDecoder::new(Cursor::new(bytes)).unwrap().icc_profile().unwrap().expect("a profile")
}

/// A decoded image.
pub struct Image {
    /// The first frame.
    pub pixels: RgbaImage,
    /// All frames with their delays in milliseconds; one for a still image.
    pub frames: Vec<(RgbaImage, u32)>,
    /// The loop count of an animation; 0 is forever.
    pub shown: Option<u32>,
    pub has_alpha: bool,
    pub has_profile: bool,
}

impl Image {
    /// Decodes any format but AVIF, for which there is no decoder here but the program's own.
    #[track_caller]
    pub fn decode(bytes: &[u8]) -> Image {
        let kind = Kind::of(bytes).expect("an image");
        let input = Cursor::new(bytes);
        let (still, animated, has_profile) = match kind {
            Kind::Jpeg => still(JpegDecoder::new(input).unwrap()),
            Kind::Png => still(PngDecoder::new(input).unwrap()),
            Kind::Gif => {
                let decoder = GifDecoder::new(input).unwrap();
                let count = decoder.loop_count();
                (None, Some((decoder.into_frames(), count)), false)
            }
            Kind::Webp => {
                let mut decoder = WebPDecoder::new(input).unwrap();
                let has_profile = decoder.icc_profile().unwrap().is_some();
                if decoder.has_animation() {
                    let count = decoder.loop_count();
                    (None, Some((decoder.into_frames(), count)), has_profile)
                } else {
                    (Some(DynamicImage::from_decoder(decoder).unwrap()), None, has_profile)
                }
            }
            Kind::Jxl => {
                let image = jxl::read(bytes);
                (Some(jxl::pixels(&image)), None, image.original_icc().is_some())
            }
            Kind::Avif => panic!("no decoder for AVIF"),
        };
        if let Some((frames, count)) = animated {
            let frames: Vec<(RgbaImage, u32)> = frames
                .map(|frame| {
                    let frame = frame.expect("a whole frame");
                    let (milliseconds, part) = frame.delay().numer_denom_ms();
                    (frame.into_buffer(), milliseconds / part)
                })
                .collect();
            let shown = match count {
                LoopCount::Infinite => 0,
                LoopCount::Finite(count) => count.get(),
            };
            let pixels = frames[0].0.clone();
            let has_alpha = pixels.pixels().any(|pixel| pixel.0[3] < 255);
            return Image { pixels, frames, shown: Some(shown), has_alpha, has_profile };
        }
        let still = still.unwrap();
        let has_alpha = still.color().has_alpha();
        let pixels = still.into_rgba8();
        Image { frames: vec![(pixels.clone(), 0)], pixels, shown: None, has_alpha, has_profile }
    }

    pub fn size(&self) -> (u32, u32) {
        self.pixels.dimensions()
    }

    /// The colour at a place given in percent of width and height.
    pub fn at(&self, x: u32, y: u32) -> [u8; 4] {
        colour_at(&self.pixels, x, y)
    }
}

type Animated<'a> = Option<(image::Frames<'a>, LoopCount)>;

fn still<'a>(mut decoder: impl ImageDecoder) -> (Option<DynamicImage>, Animated<'a>, bool) {
    let has_profile = decoder.icc_profile().unwrap().is_some();
    (Some(DynamicImage::from_decoder(decoder).expect("a whole image")), None, has_profile)
}

/// The colour at a place given in percent of width and height.
pub fn colour_at(pixels: &RgbaImage, x: u32, y: u32) -> [u8; 4] {
    let (width, height) = pixels.dimensions();
    let Rgba(colour) =
        pixels.get_pixel((x * width / 100).min(width - 1), (y * height / 100).min(height - 1));
    *colour
}

/// Whether two colours differ by no more than lossy compression explains.
pub fn close(one: [u8; 4], other: [u8; 3]) -> bool {
    within(one, other, 12)
}

pub fn within(one: [u8; 4], other: [u8; 3], most: u8) -> bool {
    one.iter().zip(other).all(|(a, b)| a.abs_diff(b) <= most)
}

/// Width and height of an image in any supported format.
#[track_caller]
pub fn size_of(bytes: &[u8]) -> (u32, u32) {
    match Kind::of(bytes) {
        Some(Kind::Avif) => avif_size(bytes),
        Some(Kind::Jxl) => {
            let image = jxl::read(bytes);
            (image.width(), image.height())
        }
        Some(_) => Image::decode(bytes).size(),
        None => {
            panic!("not an image: {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]))
        }
    }
}

/// The `ispe` property of an AVIF (ISO/IEC 23008-12 §6.5.3).
#[track_caller]
fn avif_size(bytes: &[u8]) -> (u32, u32) {
    let meta = child(bytes, b"meta").expect("a meta box");
    // `meta` is a full box: version and flags come first.
    let properties =
        child(&meta[4..], b"iprp").and_then(|iprp| child(iprp, b"ipco")).expect("an ipco box");
    assert!(
        child(properties, b"irot").is_none() && child(properties, b"imir").is_none(),
        "the answer is turned"
    );
    let extent = child(properties, b"ispe").expect("an ispe box");
    let number = |at: usize| u32::from_be_bytes(extent[at..at + 4].try_into().unwrap());
    (number(4), number(8))
}

/// The times of the frames of an AVIF in milliseconds: `stts` of its first track (ISO/IEC 14496-12 §8.6.1.2), which
/// counts in thousandths of a second; empty without a track.
pub fn avif_times(bytes: &[u8]) -> Vec<u32> {
    let Some(at) = bytes.windows(4).position(|name| name == b"stts") else { return Vec::new() };
    let number = |n: usize| u32::from_be_bytes(bytes[at + 4 * n..][..4].try_into().unwrap());
    let run = |n: usize| (0..number(2 * n + 3)).map(move |_| number(2 * n + 4));
    (0..number(2) as usize).flat_map(run).collect()
}

/// Whether an AVIF has an alpha plane: an auxiliary image of that type.
pub fn avif_has_alpha(bytes: &[u8]) -> bool {
    let urn = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha";
    bytes.windows(urn.len()).any(|window| window == urn)
}

/// The contents of the first box of a type.
fn child<'b>(mut boxes: &'b [u8], kind: &[u8; 4]) -> Option<&'b [u8]> {
    while boxes.len() >= 8 {
        let length = u32::from_be_bytes(boxes[..4].try_into().unwrap()) as usize;
        let end = if length == 0 { boxes.len() } else { length };
        let (this, rest) = boxes.split_at_checked(end)?;
        if this.get(4..8)? == kind {
            return Some(&this[8..]);
        }
        boxes = rest;
    }
    None
}

/// Whether these bytes occur anywhere.
pub fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
