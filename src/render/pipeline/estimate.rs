//! Estimates the memory that a render takes from the container.
//!
//! The factors were measured with the decoders and encoders that `native/` builds, and rounded up. The estimate decides
//! which renders run at the same time, not which are allowed: a render above the whole budget runs beside small ones
//! only.

use super::geometry::Layout;
use super::{batch_resize, drawing, load, watermark};
use crate::format::Format;
use crate::options::Options;
use crate::render::codec::ImageInfo;

/// For every render: the arena of the thread, tables, a few lines.
const BASE: u64 = 8 << 20;
/// Lines of a streamed image that are in memory at the same time.
const LINES: u64 = 256;
/// Bytes per pixel of a canvas: red, green, blue and transparency.
const CANVAS: u64 = 4;
/// Bytes per pixel of a frame of an animated AVIF, measured and rounded up: an encoder of colours (80 in 4:4:4, 46 in
/// 4:2:0) and one of alpha (44), which keep frames to predict from.
const AVIF_SEQUENCE: u64 = 124;
/// What the two encoders take for the smallest frame. The encoded frames are counted as two bytes per pixel.
const AVIF_SEQUENCE_BASE: u64 = 16 << 20;

/// Bytes per pixel of an encoded image that is kept while it is encoded again: more than a photograph takes at q=100.
const KEPT_RESULT: u64 = 2;

/// The peak in bytes of a render of this many frames.
pub fn bytes(
    info: &ImageInfo,
    original_format: Format,
    frames: u32,
    options: &Options,
    format: Format,
) -> u64 {
    let Options {
        size: _,
        minimum: _,
        enlarge: _,
        rectangle,
        trim,
        pixelate,
        blur,
        sharp,
        round,
        lossless,
        watermarks,
        // `mixes_channels`; channels are changed one by one as they are encoded.
        brightness: _,
        contrast: _,
        gamma: _,
        saturation: _,
        hue: _,
        gray: _,
        tint: _,
        duotone: _,
        negative: _,
        max_bytes,
        // The image that is rotated is counted in any case; the others take no memory of their own.
        rotation: _,
        format: _,
        quality: _,
        background: _,
        page: _,
        frames: _,
        strip: _,
        raw: _,
    } = options;
    // Grayscale with a profile may become RGB.
    let bytes_per_pixel = match info.bytes_per_pixel {
        gray @ ..3 if info.profile_bytes > 0 => 3 * gray,
        bytes => bytes,
    };
    let line = u64::from(info.width).saturating_mul(bytes_per_pixel);
    let Pixels { used, resized, canvas } = pixels(info, options);
    let all = resized.saturating_mul(u64::from(frames));
    let decoder = match original_format {
        // Two canvases, scaled if libwebp scales, in addition to the buffers of the decoder. Frames are composed on a
        // canvas of full size.
        Format::Webp => {
            // Around a rectangle, much more may be decoded than is used.
            let is_full_size = info.frames > 1
                || trim.is_some()
                || rectangle.is_some()
                || !load::scales_webp(info);
            let decoded =
                if is_full_size { info.frame_pixels } else { resized.min(info.frame_pixels) };
            decoded.saturating_mul(2 * CANVAS)
        }
        // At scale 1/8, the samples of all planes beside their pixels. `buffered_bytes` counts them otherwise.
        Format::Jpeg if info.buffered_bytes == 0 => {
            (info.frame_pixels / 64).saturating_mul(2 * bytes_per_pixel)
        }
        _ => 0,
    };
    let encoder = match format {
        Format::Avif if frames > 1 => AVIF_SEQUENCE_BASE
            .saturating_add(canvas.saturating_mul(AVIF_SEQUENCE))
            .saturating_add(canvas.saturating_mul(u64::from(frames)).saturating_mul(2)),
        _ => format.encoder_bytes(*lossless, canvas),
    };
    // An image that is rotated, or cropped by `smart`, is in memory. All frames of an animation are, and once more
    // while a step is applied to them or their palette is searched: before or after the step, whichever is larger.
    let copied = if frames > 1 { all.max(canvas.saturating_mul(u64::from(frames))) } else { 0 };
    let kept =
        all.saturating_add(copied).saturating_mul(CANVAS * if bytes_per_pixel > 4 { 2 } else { 1 });
    // The border is searched in the whole image.
    let trimmed = match trim {
        Some(_) => used.saturating_mul(u64::from(frames)).saturating_mul(2 * bytes_per_pixel),
        None => 0,
    };
    // The rectangle of each frame of an animation, and one more.
    let cut = match rectangle {
        Some(_) if frames > 1 => {
            used.saturating_mul(u64::from(frames).saturating_add(1)).saturating_mul(CANVAS)
        }
        _ => 0,
    };
    // The image, or frame, that these steps have changed is in memory beside the original one.
    let effects = match (options.mixes_channels(), pixelate, blur, sharp) {
        (false, 1, None, None) => 0,
        _ => resized.saturating_mul(CANVAS),
    };
    // A frame of the result with its corners: before, with them, and in between.
    let rounded = if round.is_some() { canvas.saturating_mul(3 * CANVAS) } else { 0 };
    // A batch of frames that is downscaled: before, after and in between.
    let batch = info
        .frame_pixels
        .saturating_mul(u64::from(frames))
        .min(info.frame_pixels.max(batch_resize::MAX_PIXELS.into()));
    // The pixels of all frames, and their indices.
    let recoloured =
        if format == Format::Gif { canvas.saturating_mul(u64::from(frames)) } else { 0 };
    let animation = if frames > 1 {
        batch.saturating_mul(3 * CANVAS).saturating_add(recoloured.saturating_mul(CANVAS + 1))
    } else {
        0
    };
    // Watermarks while they are decoded, and the image below them, which is in memory if it has transparency.
    let marks = watermarks.iter().map(|watermark| watermark::memory(watermark));
    let marked = match watermarks.is_empty() {
        true => 0,
        false => marks.fold(canvas.saturating_mul(CANVAS), u64::saturating_add),
    };
    // All pixels of the result, and the best of its encodings beside the next.
    let repeated = match max_bytes {
        Some(_) if format.has_quality() && !lossless => canvas
            .saturating_mul(frames.into())
            .saturating_mul(CANVAS * if bytes_per_pixel > 4 { 2 } else { 1 } + KEPT_RESULT),
        _ => 0,
    };
    // A drawing is encoded once more, from all of its pixels.
    let drawing = match drawing::lossless_format(options, original_format, format, frames, canvas) {
        Some(lossless) => {
            let more = lossless.encoder_bytes(true, canvas);
            let more = more.saturating_sub(format.encoder_bytes(false, canvas));
            canvas.saturating_mul(CANVAS + KEPT_RESULT).saturating_add(more)
        }
        None => 0,
    };
    let parts = [
        line.saturating_mul(LINES),
        info.buffered_bytes,
        info.inflated_bytes,
        decoder,
        kept,
        cut,
        trimmed,
        effects,
        rounded,
        animation,
        marked,
        encoder,
        repeated,
        drawing,
    ];
    parts.into_iter().fold(BASE, u64::saturating_add)
}

/// Pixels of a frame.
struct Pixels {
    /// Of the original: all of them, or those of the rectangle of `crop`.
    used: u64,
    /// After the resize and `rot`.
    resized: u64,
    /// Of the result.
    canvas: u64,
}

fn pixels(info: &ImageInfo, options: &Options) -> Pixels {
    let area = |(width, height): (u32, u32)| u64::from(width).saturating_mul(u64::from(height));
    // The orientation is not known yet.
    let layouts = [(info.width, info.height), (info.height, info.width)]
        .map(|size| Layout::new(options, size).unwrap_or_else(|| Layout::of_size(options, size)));
    let largest = |pixels: &dyn Fn(&Layout) -> u64| layouts.iter().map(pixels).max().unwrap_or(0);
    let is_whole = layouts.iter().any(|layout| layout.window.is_none());
    Pixels {
        used: if is_whole { info.frame_pixels } else { largest(&|layout| area(layout.size)) },
        resized: largest(&|layout| {
            let turned = layout.turn.map_or(0, |turn| area(turn.canvas).max(area(turn.loaded)));
            area(layout.plan.size()).max(turned)
        }),
        canvas: largest(&|layout| area(layout.plan.result(options.size))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::options::{Needs, Query};
    use crate::render::codec::inspect;

    const MIB: u64 = 1 << 20;

    fn data(file: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn options(query: &str) -> Options {
        let root = env!("CARGO_MANIFEST_DIR");
        let logo = format!("{root}/tests/data/alpha.avif");
        let config = parse(
            &format!(
                r#"{{"handlers": [{{"name": "h", "directory": {root:?}, "watermarks": {{
                    "a": {{"file": {logo:?}}}, "b": {{"file": {logo:?}, "tile": true}}}}}}]}}"#
            ),
            "test",
        )
        .unwrap();
        Options::resolve(&Query::parse(query).unwrap(), "", config.handlers[0].defaults()).unwrap()
    }

    fn estimated(file: &str, query: &str) -> u64 {
        let original = data(file);
        let options = options(query);
        let original_format = Format::of_bytes(&original).unwrap();
        let info = inspect(&original, original_format).unwrap();
        let needs = Needs { animation: info.frames > 1, transparency: false };
        let format = options.formats(original_format, needs)[0];
        let frames = if format.keeps_animation() { info.frames } else { 1 };
        bytes(&info, original_format, frames, &options, format)
    }

    #[test]
    fn streamed_images_take_a_few_lines() {
        assert!(estimated("photo-2mp.jpg", "w=300") < 12 * MIB);
        assert!(estimated("bomb-15000x15000-rgb.png", "w=300") < 24 * MIB);
    }

    #[test]
    fn a_baseline_jpeg_takes_its_pixels_at_an_eighth() {
        let original = data("photo-2mp.jpg");
        let info = inspect(&original, Format::Jpeg).unwrap();
        let tall = ImageInfo { width: 10_000, height: 65_000, frame_pixels: 650_000_000, ..info };
        let options = options("w=100");
        let bytes = bytes(&tall, Format::Jpeg, 1, &options, Format::Jpeg);
        // 3 bands, twice.
        assert!(bytes > BASE + 60_000_000);
    }

    #[test]
    fn buffered_images_take_all_of_their_pixels() {
        // Coefficients of two bytes, one and a half per pixel; one byte per pixel; four bytes per pixel.
        assert!(estimated("hostile/progressive-16mpx.jpg", "w=100") > 16_000_000 * 3);
        assert!(estimated("hostile/interlaced-16mpx.png", "w=100") > 16_000_000);
        assert!(estimated("hostile/lossless-25mpx.webp", "w=100") > 25_000_000 * 4);
        // Three bytes of the result and nearly two of the planes.
        assert!(estimated("hostile/flat-9000x9000.avif", "w=100") > 81_000_000 * 9 / 2);
        assert!(
            estimated("photo-2mp.jpg", "w=300&trim=10")
                > estimated("photo-2mp.jpg", "w=300") + 6_000_000
        );
    }

    #[test]
    fn a_webp_that_is_not_scaled_on_load_takes_its_full_size() {
        // The border is searched in a copy.
        let whole = 25_000_000 * 8;
        let [plain, trimmed] = ["", "&trim=3"]
            .map(|query| estimated("hostile/lossless-25mpx.webp", &format!("w=100{query}")));
        assert!(trimmed > plain + 2 * whole - MIB, "{plain} {trimmed}");
        // Because of its transparency.
        assert!(estimated("disc-lossy.webp", "w=10") >= BASE + 200 * 200 * 8);
    }

    #[test]
    fn effects_and_frames_are_counted_before_and_after_a_step() {
        let plain = estimated("photo-2mp.jpg", "");
        for effect in ["sat=2", "duo=000000:ff0000", "pix=2", "blur=1", "sharp=1"] {
            assert!(estimated("photo-2mp.jpg", effect) >= plain + 2_000_000 * 4);
        }
        // All frames of an animation are.
        let still = estimated("anim.gif", "f=png");
        let animated = estimated("anim.gif", "f=gif");
        assert!(animated > still + 2 * 41 * 245 * 245 * 4);
        let padded = |query: &str| estimated("anim.gif", &format!("{query}&w=500&h=500&pad=true"));
        assert!(padded("f=gif") > padded("f=png") + 41 * (245 * 245 + 500 * 500) * 4);
    }

    #[test]
    fn watermarks_and_the_image_below_them_are_counted() {
        let info = inspect(&data("alpha.avif"), Format::Avif).unwrap();
        let mark = info.frame_pixels * 16;
        for (query, marks) in [("wm=a", 1), ("wm=b", 1), ("wm=a,b", 2)] {
            let [plain, marked] = ["", query]
                .map(|query| estimated("photo-2mp.jpg", &format!("w=800&h=600&{query}")));
            assert_eq!(marked - plain, 800 * 600 * 4 + marks * mark, "{query}");
        }
    }

    #[test]
    fn the_pixels_that_are_encoded_again_are_counted() {
        let plain = estimated("photo-2mp.jpg", "w=1000&f=webp");
        assert!(estimated("photo-2mp.jpg", "w=1000&f=webp&max_bytes=9999") > plain + 600_000 * 4);
        let animated = estimated("anim.gif", "f=webp");
        assert!(estimated("anim.gif", "f=webp&max_bytes=9999") > animated + 41 * 245 * 245 * 4);
        for without in ["f=png", "f=webp&lossless=true", "f=gif"] {
            let limited = format!("{without}&max_bytes=9999");
            assert_eq!(estimated("photo-2mp.jpg", &limited), estimated("photo-2mp.jpg", without));
        }
    }

    #[test]
    fn the_lossless_drawing_of_f_auto_is_counted() {
        let original = data("photo-2mp.jpg");
        let info = inspect(&original, Format::Jpeg).unwrap();
        let bytes_of = |query: &str| {
            let options = options(query);
            bytes(&info, Format::Jpeg, 1, &options, Format::Jpeg)
        };
        // The header of these tests accepts no WebP.
        let pixels = 1000 * 750;
        assert!(bytes_of("w=1000&f=auto") >= bytes_of("w=1000&f=jpg") + pixels * 4);
        assert_eq!(bytes_of("w=1000&f=auto&strip=false"), bytes_of("w=1000&f=jpg"));
    }

    #[test]
    fn geometry_is_counted() {
        // A rectangle of a lossless WebP is cut out of all of it.
        let whole = 25_000_000 * 8;
        assert!(estimated("hostile/lossless-25mpx.webp", "crop=0:0:9:9") > whole);
        // Trimmed: twice the rectangle, in place of twice the image.
        let trimmed = |crop: &str| estimated("photo-2mp.jpg", &format!("w=9&trim=10&crop={crop}"));
        assert!(trimmed("0:0:1:1") > trimmed("0:0:100:100") + 2 * (1664 * 1248 - 100_000) * 3);
        // Rectangles of all frames are in memory.
        let cut = estimated("anim.gif", "w=9&crop=0:0:200:200&f=gif");
        assert!(cut > estimated("anim.gif", "w=9&f=gif") + 42 * 200 * 200 * 4);
        // The rotated image has twice the pixels of a square one, also if it is stretched after it.
        let turned = estimated("photo-2mp.jpg", "rot=45");
        let pixels = 2059 * 2059;
        assert!(turned > pixels * 4 && turned > estimated("photo-2mp.jpg", "rot=90"));
        assert!(estimated("photo-2mp.jpg", "rot=45&w=2059&h=1&fit=stretch") > pixels * 4);
        // A result that is larger than its box.
        let outside = estimated("photo-2mp.jpg", "w=100&h=2496&fit=outside&e=true");
        assert!(outside > 4 * 1664 * 1248 * 4);
        assert!(estimated("photo-2mp.jpg", "min-w=3000") > 3000 * 2250 * 4);
        let plain = estimated("photo-2mp.jpg", "w=800");
        assert!(estimated("photo-2mp.jpg", "w=800&round=3") >= plain + 3 * 800 * 600 * 4);
        // The options of an impossible rectangle are refused later.
        assert!(estimated("photo-2mp.jpg", "crop=9999:0:1:1") > 0);
    }

    #[test]
    fn the_result_and_all_its_frames_are_counted() {
        assert!(
            estimated("photo-2mp.jpg", "w=1600&f=avif")
                > estimated("photo-2mp.jpg", "w=1600") + 40_000_000
        );
        // The encoder of JPEG XL takes 7 MB for a small image and 75 MB at 1600 x 1200.
        for (query, encoder) in [("w=300", 7 * MIB), ("w=1600", 75 * MIB)] {
            for lossless in ["", "&lossless=true"] {
                let jxl = estimated("photo-2mp.jpg", &format!("{query}&f=jxl{lossless}"));
                assert!(jxl > estimated("photo-2mp.jpg", query) + encoder, "{query}{lossless}");
            }
        }
        let still = estimated("anim.gif", "f=png");
        let animated = estimated("anim.gif", "f=gif");
        assert!(animated > still + 41 * 245 * 245 * 4);
        // A batch of frames, and their colours.
        assert!(animated > 6 * (2 << 20) * 4);
        assert!(estimated("anim.gif", "f=gif&w=490&e=true") > animated + 42 * 245 * 245 * 4 * 3);
    }
}
