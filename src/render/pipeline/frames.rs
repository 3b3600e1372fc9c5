//! `page` and `frames`: which frames of an animation are rendered, and how each is taken out of it.
//!
//! As in libvips, an animation is one image with its frames below each other.

use crate::error::{Code, Failure};
use crate::format::Format;
use crate::options::Options;
use crate::render::vips::{Error, Image};

/// Consecutive frames of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// The number of the first one, from 0.
    pub first: u32,
    /// Never 0.
    pub count: u32,
}

impl Frames {
    /// Selects the frames to render in this format from the frames of a file.
    pub fn select(in_file: u32, options: &Options, format: Format) -> Result<Frames, Failure> {
        let frames = Frames::select_all(in_file, options)?;
        Ok(if format.keeps_animation() { frames } else { Frames { count: 1, ..frames } })
    }

    /// Selects the frames to render in a format with animation.
    pub fn select_all(in_file: u32, options: &Options) -> Result<Frames, Failure> {
        let first = options.page;
        if first >= in_file {
            let sentence =
                format!("the original has no page {first}: it has {in_file}, counted from 0");
            return Err(Failure::new(Code::PageMissing, sentence));
        }
        let max = options.frames.unwrap_or(u32::MAX);
        Ok(Frames { first, count: (in_file - first).min(max).max(1) })
    }

    pub fn are_several(self) -> bool {
        self.count > 1
    }

    /// The number of frames to decode: each is drawn on those before it.
    pub fn decoded(self) -> u32 {
        self.first.saturating_add(self.count)
    }
}

/// The most milliseconds of all frames together. libvips' WebP encoder counts them in 31 bits, and counts 100 for a frame
/// of 10 or less.
const MAX_TOTAL: u32 = 2_000_000_000;

/// Shortens the last ones of these delays, in milliseconds, if they are too long together.
pub fn limit_total(delays: &mut [u32]) {
    let mut rest = MAX_TOTAL;
    for delay in delays {
        *delay = (*delay).min(rest);
        rest -= *delay;
    }
}

/// Copies an image to memory and splits it into its frames: a decoder gives lines once, in their order.
pub fn split(image: Image<'_>, count: u32) -> Result<Vec<Image<'_>>, Error> {
    let image = image.copy_memory()?;
    if count < 2 {
        return Ok(vec![image]);
    }
    each(&image, image.height() / count).collect()
}

/// The frames of an animation, the first one first.
pub fn each<'i, 'b>(
    image: &'i Image<'b>,
    frame_height: u32,
) -> impl Iterator<Item = Result<Image<'b>, Error>> + use<'i, 'b> {
    let count = image.height() / frame_height.max(1);
    (0..count).map(move |frame| image.crop(0, frame * frame_height, image.width(), frame_height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::options::{Output, Query};

    #[test]
    fn the_sum_of_delays_is_limited() {
        let mut delays = [u32::MAX, 5];
        limit_total(&mut delays);
        assert_eq!(delays, [MAX_TOTAL, 0]);
        let mut delays = [MAX_TOTAL - 30, 20, 20, 1];
        limit_total(&mut delays);
        assert_eq!(delays, [MAX_TOTAL - 30, 20, 10, 0]);
    }

    #[test]
    fn frames_start_at_page_and_stop_at_the_end_of_the_file() {
        let directory = env!("CARGO_MANIFEST_DIR");
        let text = format!(r#"{{"handlers": [{{"name": "h", "directory": "{directory}"}}]}}"#);
        let handler = config::parse(&text, "test").unwrap().handlers.remove(0);
        for (query, in_file, expected) in [
            ("f=gif", 1, Some((0, 1))),
            ("f=gif", 9, Some((0, 9))),
            ("f=jpg", 9, Some((0, 1))),
            ("f=jpg&page=8", 9, Some((8, 1))),
            ("f=gif&page=8", 9, Some((8, 1))),
            ("f=gif&page=3", 9, Some((3, 6))),
            ("f=gif&page=3&frames=2", 9, Some((3, 2))),
            ("f=gif&page=8&frames=2", 9, Some((8, 1))),
            ("f=gif&frames=1", 9, Some((0, 1))),
            ("f=gif&frames=100000", 9, Some((0, 9))),
            ("f=gif&page=9", 9, None),
            ("f=jpg&page=1", 1, None),
        ] {
            let query_parsed = Query::parse(query).unwrap();
            let options = Options::resolve(&query_parsed, "", handler.defaults()).unwrap();
            let Output::Format(format) = options.format else { panic!("{query} has a format") };
            let got = Frames::select(in_file, &options, format);
            let got =
                got.map(|frames| (frames.first, frames.count)).map_err(|failure| failure.code);
            assert_eq!(got, expected.ok_or(Code::PageMissing), "{query} of {in_file}");
        }
    }
}
