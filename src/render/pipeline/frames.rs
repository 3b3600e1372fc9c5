//! Which frames of an animation are wanted, and each of them.

use super::animation;
use crate::error::{Code, Failure};
use crate::format::Format;
use crate::options::Options;
use crate::render::vips::{Error, Image};

/// Frames of a file that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// The number of the first of them, from 0.
    pub first: u32,
    /// How many there are; never 0.
    pub count: u32,
}

impl Frames {
    /// The frames of a file with so many that are wanted in this format.
    pub fn wanted(in_file: u32, options: &Options, format: Format) -> Result<Frames, Failure> {
        let first = options.page;
        if first >= in_file {
            let sentence = format!(
                "page {first} is asked for, and the original has {in_file}, counted from 0"
            );
            return Err(Failure::new(Code::PageMissing, sentence));
        }
        let most = if format.keeps_animation() { options.frames.unwrap_or(u32::MAX) } else { 1 };
        Ok(Frames { first, count: (in_file - first).min(most).max(1) })
    }

    /// Whether it moves.
    pub fn are_several(self) -> bool {
        self.count > 1
    }

    /// How many frames are decoded for them: each is drawn on those before it.
    pub fn decoded(self) -> u32 {
        self.first.saturating_add(self.count)
    }
}

/// So many frames of an image, held in memory.
pub fn split(image: Image<'_>, count: u32) -> Result<Vec<Image<'_>>, Error> {
    // Each frame is read on its own, and the decoder gives them once and in their order.
    let held = image.in_memory()?;
    if count < 2 {
        return Ok(vec![held]);
    }
    let (width, height) = (held.width(), held.height() / count);
    animation::windows(&held, height, (0, 0), (width, height)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::options::Query;

    #[test]
    fn frames_are_counted_from_the_page_and_end_with_the_file() {
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
            let got = Frames::wanted(in_file, &options, options.format.unwrap());
            let got =
                got.map(|frames| (frames.first, frames.count)).map_err(|failure| failure.code);
            assert_eq!(got, expected.ok_or(Code::PageMissing), "{query} of {in_file}");
        }
    }
}
