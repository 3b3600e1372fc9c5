//! Decodes watermarks.

use std::borrow::Cow;
use std::sync::Arc;

use super::kept::KEPT;
use super::place;
use crate::config::FailOn;
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::options::{Defaults, Options, Query, Size, Watermark};
use crate::render::codec::{inspect, png_repair};
use crate::render::pipeline::frames::Frames;
use crate::render::pipeline::geometry::plan;
use crate::render::pipeline::header::Header;
use crate::render::pipeline::job::RenderJob;
use crate::render::pipeline::limits::Bounds;
use crate::render::pipeline::load;
use crate::render::pipeline::overlay::Overlay;
use crate::render::vips::{Error, Vips};

/// Width × height of a watermark, which is decoded again for each new size.
const MAX_PIXELS: u64 = 4_000_000;
/// Bytes of memory for each pixel while a watermark is decoded: at most 8 for a sample of 16 bits in each of four
/// channels, which a decoder may have twice.
const DECODER_BYTES: u64 = 16;

/// Checks the container of a watermark. Nothing is decoded.
pub fn check(watermark: &Watermark, bounds: &Bounds) -> Result<(), Failure> {
    let info = inspect(&watermark.image, watermark.format)?;
    let refuse = |sentence| Err(Failure::new(Code::TooManyPixels, sentence));
    if info.frames > 1 {
        return refuse(format!("has {} frames; a watermark is a still image", info.frames));
    }
    if info.frame_pixels > MAX_PIXELS {
        let sides = format!("{} x {} pixels", info.width, info.height);
        return refuse(format!("has {sides}; a watermark has at most {MAX_PIXELS} in all"));
    }
    bounds.check_source(&info, 1)
}

/// Decodes a watermark, so that a damaged one is refused when a renderer starts.
pub fn decode_once(watermark: &Watermark, bounds: &Bounds) -> Result<(), Failure> {
    check(watermark, bounds)?;
    let corrupt = |error: Error| Failure::new(Code::CorruptImage, error.0);
    decode(watermark, |size| size).map(drop).map_err(corrupt)
}

/// The bytes of memory that it takes to decode and draw a watermark.
pub fn memory(watermark: &Watermark) -> u64 {
    let pixels = inspect(&watermark.image, watermark.format).map_or(0, |info| info.frame_pixels);
    pixels.min(MAX_PIXELS).saturating_mul(DECODER_BYTES)
}

/// The overlay of a watermark for a result of this size.
pub fn find(watermark: &Watermark, result: (u32, u32)) -> Result<Arc<Overlay>, Error> {
    let fitted = |(width, height): (u32, u32)| {
        let (box_width, box_height) = place::box_of(&watermark.placement, result);
        let plan = plan(Size::Fit(box_width, box_height), false, None, (width, height));
        (plan.width, plan.height)
    };
    let digest = watermark.digest();
    {
        let mut kept = KEPT.lock();
        let own = kept.own_size(digest);
        if let Some(overlay) = own.and_then(|own| kept.find(digest, fitted(own))) {
            return Ok(overlay);
        }
    }
    // Without the lock, which others would wait for: two threads may do this at the same time.
    let (own, overlay) = decode(watermark, fitted)?;
    let overlay = Arc::new(overlay);
    KEPT.lock().insert(digest, own, &overlay);
    Ok(overlay)
}

/// Decodes a watermark in the size that `fitted` returns for its own. Returns its own size as well.
fn decode(
    watermark: &Watermark,
    fitted: impl FnOnce((u32, u32)) -> (u32, u32),
) -> Result<((u32, u32), Overlay), Error> {
    let Watermark { image, format, placement, .. } = watermark;
    let format = *format;
    let vips = Vips::start()?;
    let is_damaged = format == Format::Png
        && png_repair::needs_repair(image).map_err(|reason| Error(reason.to_string()))?;
    let readable = if is_damaged {
        Cow::Owned(png_repair::repaired(image))
    } else {
        Cow::Borrowed(&image[..])
    };
    let header = Header::read(vips, &readable, format)?;
    let options = plain_options()?;
    let frames = Frames { first: 0, count: 1 };
    // What a format that keeps everything would get.
    let job = RenderJob::new(&options, &header, (format, Format::Png), frames, FailOn::Error)
        .map_err(|failure| Error(failure.detail))?;
    // `check` has seen this already, where a server runs.
    if u64::from(job.size.0) * u64::from(job.size.1) > MAX_PIXELS {
        return Err(Error(format!("more than {MAX_PIXELS} pixels")));
    }
    let (width, height) = fitted(job.size);
    let mut image = load::load(vips, &readable, &job, (width, height))?;
    if image.bands() < 3 {
        image = image.to_srgb()?;
    }
    if !image.has_transparency() {
        image = image.apply(c"addalpha", &[])?;
    }
    let samples = image.samples()?;
    Ok((job.size, Overlay::new(samples, width, height, placement.opacity)))
}

/// The options of a PNG with all pixels of a watermark.
fn plain_options() -> Result<Options, Error> {
    let defaults = Defaults::new(Some(Format::Png), u32::MAX);
    Options::resolve(&Query::default(), "", defaults).map_err(|error| Error(error.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::options::{Length, Placement, Position};

    fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn watermark(image: &[u8], size: Option<u16>, opacity: u8) -> Watermark {
        let placement = Placement {
            position: Position(0, 0),
            offset: [Length::Pixels(0); 2],
            size,
            opacity,
            tile: None,
        };
        let format = Format::of_bytes(image).unwrap();
        Watermark::new("logo".into(), image.into(), format, placement)
    }

    fn bounds() -> Bounds {
        let text = format!(
            r#"{{"handlers": [{{"name": "h", "directory": {:?}}}]}}"#,
            env!("CARGO_MANIFEST_DIR")
        );
        Bounds::from_limits(&parse(&text, "test").unwrap().limits)
    }

    #[test]
    fn an_overlay_fits_into_its_part_of_the_result_and_is_not_enlarged() {
        // 64 x 48
        let image = data("quarters.avif");
        let size = |part, result| {
            let overlay = find(&watermark(&image, part, 255), result).unwrap();
            assert_eq!(overlay.colours.len(), 3 * overlay.transparency.len());
            assert_eq!(overlay.transparency.len() as u32, overlay.width * overlay.height);
            (overlay.width, overlay.height)
        };
        assert_eq!(size(None, (1000, 1000)), (64, 48));
        assert_eq!(size(None, (32, 1000)), (32, 24));
        assert_eq!(size(None, (1, 1)), (1, 1));
        assert_eq!(size(Some(5000), (1000, 1000)), (64, 48));
        assert_eq!(size(Some(5000), (64, 1000)), (32, 24));
        assert_eq!(size(Some(100), (1000, 1000)), (10, 8));
        assert_eq!(size(Some(100), (5, 5)), (1, 1));
    }

    #[test]
    fn animated_large_and_damaged_watermarks_are_refused() {
        let bounds = bounds();
        for (name, expected) in [
            ("anim.gif", "has 42 frames; a watermark is a still image"),
            ("bomb-15000x15000-rgb.png", "has 15000 x 15000 pixels; a watermark has at most"),
            ("header-2147483647.png", "has 2147483647"),
            ("many-scans.jpg", "pixels"),
        ] {
            let failure = check(&watermark(&data(name), None, 255), &bounds).unwrap_err();
            assert!(failure.detail.contains(expected), "{name}: {}", failure.detail);
        }
        let mut image = data("p3-primaries.jpg");
        assert!(decode_once(&watermark(&image, None, 255), &bounds).is_ok());
        image.truncate(image.len() / 2);
        let cut = watermark(&image, None, 255);
        assert!(check(&cut, &bounds).is_ok());
        assert!(decode_once(&cut, &bounds).is_err());
        assert!(find(&cut, (100, 100)).is_err());
        let large = watermark(&data("bomb-15000x15000-rgb.png"), None, 255);
        assert_eq!(find(&large, (1, 1)).unwrap_err().0, "more than 4000000 pixels");
    }
}
