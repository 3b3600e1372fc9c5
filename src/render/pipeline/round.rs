//! `round`: makes the corners transparent.

use super::job::RenderJob;
use super::step::{FrameStep, Stage, Step};
use crate::options::Radius;
use crate::render::vips::{Error, Image, Work};

pub const STEP: Step = Step {
    name: "round",
    applies: |job| job.options.round.is_some(),
    stage: Stage::Frame(FrameStep { apply: round, needs_memory: |_| false }),
};

/// Lines of samples in each pixel of which the part is taken that is within the corner.
const LINES: u32 = 16;

fn round<'b>(image: Image<'b>, job: &RenderJob) -> Result<Image<'b>, Error> {
    let Some(radius) = job.options.round else { return Ok(image) };
    let image = if image.has_transparency() { image } else { image.apply(c"addalpha", &[])? }
        .copy_memory()?;
    let mut samples = image.samples()?.to_vec();
    let (width, bands) = (image.width(), image.bands() as usize);
    round_corners(&mut samples, (width, image.height()), bands, radius)?;
    image.with_samples(width, &samples)
}

/// Multiplies the last of the samples of each pixel by the part of the pixel that is within the rounded rectangle.
fn round_corners(
    samples: &mut [u8],
    (width, height): (u32, u32),
    bands: usize,
    radius: Radius,
) -> Result<(), Error> {
    let radius = radius.pixels(width, height);
    let side = radius.ceil() as u32;
    let columns = (width as usize).saturating_mul(bands);
    for y in 0..side {
        Work::check()?;
        for x in 0..side {
            let part = covered(radius, (width, height), x, y);
            if part >= 1.0 {
                // So are the pixels that follow.
                break;
            }
            // The same in all corners; a line or column in the middle is in two of them.
            let opposite = |at: u32, side: u32| Some(side - 1 - at).filter(|other| *other != at);
            for y in [Some(y), opposite(y, height)].into_iter().flatten() {
                for x in [Some(x), opposite(x, width)].into_iter().flatten() {
                    let alpha = (y as usize * columns + x as usize * bands + bands).checked_sub(1);
                    if let Some(alpha) = alpha.and_then(|index| samples.get_mut(index)) {
                        *alpha = (f64::from(*alpha) * part).round() as u8;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The part of a pixel that is within a rectangle of this size with rounded corners.
fn covered(radius: f64, (width, height): (u32, u32), x: u32, y: u32) -> f64 {
    let (width, height) = (f64::from(width), f64::from(height));
    let (left, right) = (f64::from(x), f64::from(x) + 1.0);
    let line = |line: u32| {
        let y = f64::from(y) + (f64::from(line) + 0.5) / f64::from(LINES);
        // How far the line is above or below the centres of the circles.
        let distance = (radius - y).max(y - (height - radius)).max(0.0);
        let cut = radius - (radius * radius - distance * distance).max(0.0).sqrt();
        (right.min(width - cut) - left.max(cut)).clamp(0.0, 1.0)
    };
    (0..LINES).map(line).sum::<f64>() / f64::from(LINES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Options, Query};

    fn rounded(query: &str, width: u32, height: u32) -> Vec<u8> {
        let defaults = crate::options::Defaults::for_tests(None);
        let options = Options::resolve(&Query::parse(query).unwrap(), "", defaults).unwrap();
        let mut samples = vec![255; (width * height * 2) as usize];
        round_corners(&mut samples, (width, height), 2, options.round.unwrap()).unwrap();
        assert!(samples.iter().step_by(2).all(|gray| *gray == 255));
        samples.into_iter().skip(1).step_by(2).collect()
    }

    /// The part of a pixel within a rounded rectangle, of 64 × 64 points.
    fn expected(radius: f64, (width, height): (u32, u32), x: u32, y: u32) -> f64 {
        let within =
            |at: f64, side: u32| (radius - at).max(at - (f64::from(side) - radius)).max(0.0);
        let point = |n: u32| (f64::from(n) + 0.5) / 64.0;
        let points = (0..64 * 64).filter(|n| {
            let across = within(f64::from(x) + point(n % 64), width);
            let down = within(f64::from(y) + point(n / 64), height);
            across * across + down * down <= radius * radius
        });
        points.count() as f64 / 4096.0
    }

    #[test]
    fn corners_are_quarters_of_a_circle() {
        for (query, radius, size) in [
            ("round=1", 1.0, (9, 7)),
            ("round=3", 3.0, (9, 7)),
            // Half of the shorter side at most, as `border-radius`.
            ("round=4", 3.5, (9, 7)),
            ("round=max", 3.5, (9, 7)),
            ("round=99999999999", 10.0, (20, 20)),
            ("round=8", 8.0, (40, 17)),
            ("round=max", 8.5, (17, 17)),
            ("round=max", 0.5, (1, 5)),
            ("round=5&dpr=2", 10.0, (40, 30)),
        ] {
            let alpha = rounded(query, size.0, size.1);
            for (n, alpha) in alpha.iter().enumerate() {
                let (x, y) = (n as u32 % size.0, n as u32 / size.0);
                let part = expected(radius, size, x, y);
                let difference = (f64::from(*alpha) / 255.0 - part).abs();
                assert!(difference < 0.02, "{query} of {size:?} at {x}, {y}: {alpha} for {part}");
            }
        }
    }

    #[test]
    fn a_stopped_render_rounds_no_corner() {
        let query = Query::parse("round=2").unwrap();
        let defaults = crate::options::Defaults::for_tests(None);
        let radius = Options::resolve(&query, "", defaults).unwrap().round.unwrap();
        let work = Work::begin();
        work.stop_handle().stop();
        let mut samples = [255; 2 * 4 * 4];
        assert!(round_corners(&mut samples, (4, 4), 2, radius).is_err());
        assert_eq!(samples, [255; 2 * 4 * 4]);
    }
}
