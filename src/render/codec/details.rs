//! What an image says of itself that neither limits nor decoders need.

use super::{avif, gif, jpeg, png, webp};
use crate::format::Format;

/// Details of a file, for a description of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// A progressive JPEG, or an interlaced PNG or GIF: it is shown coarsely first.
    pub is_progressive: bool,
    /// The duration of all frames in milliseconds, as stored.
    pub duration: u64,
    /// How often the animation is shown; 0 is for ever.
    pub plays: u32,
}

impl Details {
    /// Reads the container. What can't be read has the default.
    pub fn read(bytes: &[u8], format: Format) -> Details {
        let still = |is_progressive: Option<bool>| Details {
            is_progressive: is_progressive.unwrap_or(false),
            ..Details::default()
        };
        match format {
            Format::Jpeg => still(jpeg::is_progressive(bytes)),
            Format::Png => still(png::is_interlaced(bytes)),
            Format::Gif => gif::times(bytes).map_or_else(Details::default, |times| {
                let (duration, plays, is_progressive) = times;
                Details { is_progressive, duration, plays }
            }),
            Format::Webp => {
                webp::times(bytes).map_or_else(Details::default, |(duration, plays)| Details {
                    is_progressive: false,
                    duration,
                    plays,
                })
            }
            Format::Avif => {
                let frames = avif::parse(bytes).ok().and_then(|image| image.frames);
                frames.map_or_else(Details::default, |frames| Details {
                    is_progressive: false,
                    duration: frames.duration(),
                    plays: frames.plays,
                })
            }
            // JPEG XL is not read.
            Format::Jxl => Details::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Details {
        let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        Details::read(&bytes, Format::of_bytes(&bytes).unwrap())
    }

    #[test]
    fn details_of_real_files() {
        assert_eq!(read("photo-2mp.jpg"), Details::default());
        assert!(read("hostile/progressive-16mpx.jpg").is_progressive);
        assert!(read("hostile/interlaced-16mpx.png").is_progressive);
        // Its 42 delays, by another decoder.
        let moving = Details { is_progressive: false, duration: 2660, plays: 0 };
        assert_eq!(read("anim.gif"), moving);
        // Three frames of a thirtieth of a second, without an edit list.
        let moving = Details { is_progressive: false, duration: 100, plays: 0 };
        assert_eq!(read("animated.avif"), moving);
        assert_eq!(read("quarters.avif"), Details::default());
    }

    #[test]
    fn a_truncated_file_has_details_or_none() {
        for file in ["gps.jpg", "anim.gif", "header-2147483647.png", "disc-lossy.webp"] {
            let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
            let bytes = std::fs::read(path).unwrap();
            let format = Format::of_bytes(&bytes).unwrap();
            for end in 0..bytes.len().min(3000) {
                let _ = Details::read(&bytes[..end], format);
            }
        }
    }
}
