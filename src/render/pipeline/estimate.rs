//! How much memory the work on an image takes, by what its container says.
//!
//! Measured with the decoders and encoders that `native/` builds, and rounded up. It decides who may work beside
//! whom and not what is allowed: what takes more than the whole budget works beside small ones only.

use super::geometry::plan;
use super::{batch_resize, load, palette};
use crate::format::Format;
use crate::options::{Options, Size};
use crate::render::codec::ImageInfo;

/// For what every image needs: the thread's arena, tables, a few lines.
const BASE: u64 = 8 << 20;
/// So many lines of an image that is handed out line by line are there at the same time.
const LINES: u64 = 256;
/// Red, green, blue and transparency.
const CANVAS: u64 = 4;

/// The most bytes that are held at the same time for an image of so many frames.
pub fn bytes(
    info: &ImageInfo,
    source: Format,
    frames: u32,
    options: &Options,
    format: Format,
) -> u64 {
    let line = u64::from(info.width).saturating_mul(info.bytes_per_pixel);
    let (resized, canvas) = resized_pixels(info, options);
    let all = resized.saturating_mul(u64::from(frames));
    let decoder = match source {
        // Two canvases beside what the decoder keeps, as large as it is asked for; the first one of an animation
        // may be needed whole.
        Format::Webp => {
            let is_whole = info.frames > 1 || options.trim.is_some() || !load::is_scaled(info);
            let asked_for =
                if is_whole { info.frame_pixels } else { resized.min(info.frame_pixels) };
            asked_for.saturating_mul(2 * CANVAS)
        }
        _ => 0,
    };
    let encoder = canvas.saturating_mul(format.encoder_bytes_per_pixel(options.lossless));
    // An image that is looked at for its attention, or turned, is kept. Of an animation all frames are, and while a
    // step goes over them, or they are looked at for their palette, once more: as they were before or as they are then.
    let copied = if frames > 1 { all.max(canvas.saturating_mul(u64::from(frames))) } else { 0 };
    let kept = all
        .saturating_add(copied)
        .saturating_mul(CANVAS * if info.bytes_per_pixel > 4 { 2 } else { 1 });
    // A border is looked for in the whole image.
    let trimmed = match options.trim {
        Some(_) => info
            .frame_pixels
            .saturating_mul(u64::from(frames))
            .saturating_mul(2 * info.bytes_per_pixel),
        None => 0,
    };
    // A blurred image, or frame, is held beside the one that it is made of.
    let effects = match (options.blur, options.sharp) {
        (None, None) => 0,
        _ => resized.saturating_mul(CANVAS),
    };
    // Frames that are made smaller together, and those that get the colours of one palette: as they were, as they become,
    // and in between.
    let together =
        info.frame_pixels.saturating_mul(u64::from(frames)).min(batch_resize::MOST_PIXELS.into());
    let recoloured = if format == Format::Gif { all.min(palette::MOST_PIXELS) } else { 0 };
    let moving = if frames > 1 { 3 * CANVAS * (together + recoloured) } else { 0 };
    let parts = [
        line.saturating_mul(LINES),
        info.buffered_bytes,
        info.inflated_bytes,
        decoder,
        kept,
        trimmed,
        effects,
        moving,
    ];
    parts.into_iter().chain([encoder]).fold(BASE, u64::saturating_add)
}

/// Pixels of the resized image, of one frame; and of what of it is encoded at the same time.
fn resized_pixels(info: &ImageInfo, options: &Options) -> (u64, u64) {
    // Whether it stands upright is not known yet.
    let [one, other] =
        [(info.width, info.height), (info.height, info.width)].map(|(width, height)| {
            let plan = plan(options.size, options.enlarge, width, height);
            u64::from(plan.width).saturating_mul(u64::from(plan.height))
        });
    let resized = one.max(other);
    let result = match options.size {
        Size::Fill(width, height, _) => {
            resized.min(u64::from(width).saturating_mul(u64::from(height)))
        }
        Size::Pad(width, height, _) => u64::from(width).saturating_mul(u64::from(height)),
        _ => resized,
    };
    (resized, result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::options::Query;
    use crate::render::codec::inspect;

    const MIB: u64 = 1 << 20;

    fn estimated(file: &str, query: &str) -> u64 {
        let root = env!("CARGO_MANIFEST_DIR");
        let original = std::fs::read(format!("{root}/tests/data/{file}")).unwrap();
        let config =
            parse(&format!(r#"{{"handlers": [{{"name": "h", "directory": {root:?}}}]}}"#), "test")
                .unwrap();
        let options =
            Options::resolve(&Query::parse(query).unwrap(), "", config.handlers[0].defaults())
                .unwrap();
        let source = Format::of_bytes(&original).unwrap();
        let info = inspect(&original, source).unwrap();
        let format = options.format_of(source);
        let frames = if format.keeps_animation() { info.frames } else { 1 };
        bytes(&info, source, frames, &options, format)
    }

    #[test]
    fn what_is_handed_out_line_by_line_takes_little() {
        assert!(estimated("photo-2mp.jpg", "w=300") < 12 * MIB);
        assert!(estimated("bomb-15000x15000-rgb.png", "w=300") < 24 * MIB);
    }

    #[test]
    fn what_is_held_whole_takes_all_of_it() {
        // Coefficients of two bytes, one and a half for each pixel; a byte for each; four for each.
        assert!(estimated("hostile/progressive-16mpx.jpg", "w=100") > 16_000_000 * 3);
        assert!(estimated("hostile/interlaced-16mpx.png", "w=100") > 16_000_000);
        assert!(estimated("hostile/lossless-25mpx.webp", "w=100") > 25_000_000 * 4);
        // Three of the result and nearly two of planes.
        assert!(estimated("hostile/flat-9000x9000.avif", "w=100") > 81_000_000 * 9 / 2);
        assert!(
            estimated("photo-2mp.jpg", "w=300&trim=10")
                > estimated("photo-2mp.jpg", "w=300") + 6_000_000
        );
    }

    #[test]
    fn a_webp_that_its_decoder_does_not_scale_is_there_whole() {
        // To be searched for its border, in a copy.
        let whole = 25_000_000 * 8;
        let [plain, trimmed] = ["", "&trim=3"]
            .map(|query| estimated("hostile/lossless-25mpx.webp", &format!("w=100{query}")));
        assert!(trimmed > plain + 2 * whole - MIB, "{plain} {trimmed}");
        // Because of its transparency.
        assert!(estimated("disc-lossy.webp", "w=10") >= BASE + 200 * 200 * 8);
    }

    #[test]
    fn what_a_step_makes_is_there_beside_what_it_is_made_of() {
        let plain = estimated("photo-2mp.jpg", "");
        for effect in ["blur=1", "sharp=1"] {
            assert!(estimated("photo-2mp.jpg", effect) >= plain + 2_000_000 * 4);
        }
        // Of an animation all frames are.
        let (still, moving) = (estimated("anim.gif", "f=png"), estimated("anim.gif", "f=gif"));
        assert!(moving > still + 2 * 41 * 245 * 245 * 4);
        let padded = |query: &str| estimated("anim.gif", &format!("{query}&w=500&h=500&pad=true"));
        assert!(padded("f=gif") > padded("f=png") + 41 * (245 * 245 + 500 * 500) * 4);
    }

    #[test]
    fn results_and_all_their_frames_count() {
        assert!(
            estimated("photo-2mp.jpg", "w=1600&f=avif")
                > estimated("photo-2mp.jpg", "w=1600") + 40_000_000
        );
        let (still, moving) = (estimated("anim.gif", "f=png"), estimated("anim.gif", "f=gif"));
        assert!(moving > still + 41 * 245 * 245 * 4);
        // What of the frames is held at once, and their colours.
        assert!(moving > 6 * (2 << 20) * 4);
        assert!(estimated("anim.gif", "f=gif&w=490&e=true") > moving + 42 * 245 * 245 * 4 * 3);
    }
}
