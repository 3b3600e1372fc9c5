//! The quality of a lossy result, which may depend on its format.

use std::fmt::{self, Display};

use crate::format::Format;
use crate::quality::{DEFAULT_QUALITY, Level};

/// The quality of each format. The renderer knows which one it writes; with `f=auto` the edge does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// In the order of [`Format::ALL`]; the default for formats without a quality.
    levels: [Level; Format::ALL.len()],
}

impl Default for Quality {
    fn default() -> Quality {
        Quality::uniform(DEFAULT_QUALITY)
    }
}

impl Quality {
    /// The same quality for every format, on JPEG's scale.
    pub fn uniform(number: u8) -> Quality {
        Quality { levels: [Level::Scaled(number); Format::ALL.len()] }
    }

    #[must_use]
    pub fn with(mut self, format: Format, level: Level) -> Quality {
        // The scale of JPEG's encoder is JPEG's scale.
        let level = match level {
            Level::Native(number) if format == Format::Jpeg => Level::Scaled(number),
            level => level,
        };
        for (known, slot) in Format::ALL.iter().zip(&mut self.levels) {
            if *known == format {
                *slot = level;
            }
        }
        self
    }

    pub fn of(&self, format: Format) -> Level {
        let mut levels = Format::ALL.iter().zip(self.levels);
        levels.find(|(known, _)| **known == format).map_or(Level::DEFAULT, |(_, level)| level)
    }

    /// The same quality of the formats that may be written, in the one form that stands for it.
    pub(super) fn normalize(self, may_write: impl Fn(Format) -> bool) -> Quality {
        let counts = |format: &Format| format.has_quality() && may_write(*format);
        let mut written = Format::ALL.iter().copied().filter(counts);
        let Some(first) = written.next() else { return Quality::default() };
        let level = self.of(first);
        if let Level::Scaled(number) = level
            && written.all(|format| self.of(format) == level)
        {
            return Quality::uniform(number);
        }
        let mut normalized = Quality::default();
        for format in Format::ALL.iter().copied().filter(counts) {
            normalized = normalized.with(format, self.of(format));
        }
        normalized
    }

    /// Parses the canonical text of a quality that depends on the format. No client sends it.
    pub(super) fn parse(text: &str) -> Option<Quality> {
        let mut quality = Quality::default();
        let mut words = text.split(':');
        while let Some(name) = words.next() {
            let format = Format::parse(name).filter(|format| format.has_quality())?;
            quality = quality.with(format, Level::parse(words.next()?)?);
        }
        Some(quality)
    }
}

/// The canonical text: a number, or such as `webp:80:avif:native50`, without formats that have the default.
impl Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, others @ ..] = &self.levels;
        if matches!(first, Level::Scaled(_)) && others.iter().all(|level| level == first) {
            return first.fmt(f);
        }
        let mut separator = "";
        for (format, level) in Format::ALL.iter().zip(self.levels) {
            if level != Level::DEFAULT {
                write!(f, "{separator}{}:{level}", format.name())?;
                separator = ":";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_text_means_the_same_quality() {
        let default = Quality::default();
        for (quality, text) in [
            (default, "75"),
            (Quality::uniform(1), "1"),
            (default.with(Format::Avif, Level::Scaled(60)), "avif:60"),
            (default.with(Format::Avif, Level::Native(75)), "avif:native75"),
            (
                default
                    .with(Format::Avif, Level::Native(50))
                    .with(Format::Jpeg, Level::Native(80))
                    .with(Format::Webp, Level::Scaled(100)),
                "jpg:80:webp:100:avif:native50",
            ),
        ] {
            assert_eq!(quality.to_string(), text);
            if text.contains(':') {
                assert_eq!(Quality::parse(text), Some(quality));
            }
        }
    }

    #[test]
    fn quality_has_one_form_for_the_formats_that_may_be_written() {
        let mixed = Quality::uniform(80).with(Format::Avif, Level::Scaled(60));
        let only = |written: Format| move |format| format == written;
        assert_eq!(mixed.normalize(only(Format::Avif)), Quality::uniform(60));
        assert_eq!(mixed.normalize(only(Format::Webp)), Quality::uniform(80));
        assert_eq!(mixed.normalize(only(Format::Png)), Quality::default());
        assert_eq!(mixed.normalize(|format| format != Format::Avif), Quality::uniform(80));
        assert_eq!(mixed.normalize(|_| true).to_string(), "jpg:80:webp:80:avif:60:jxl:80");
        let native = Quality::uniform(9).with(Format::Webp, Level::Native(75));
        assert_eq!(native.normalize(only(Format::Webp)).to_string(), "webp:native75");
        assert_eq!(native.normalize(only(Format::Jpeg)), Quality::uniform(9));
    }

    #[test]
    fn other_texts_are_not_canonical() {
        for text in [
            "",
            "75",
            ":",
            "avif",
            "avif:",
            "avif:0",
            "avif:101",
            "avif:+5",
            "avif:native",
            "avif:nativex",
            "avif:60:",
            "avif:60:webp",
            "png:60",
            "gif:60",
            "heic:60",
            "AVIF:60",
            "avif:256",
            "avif:native101",
        ] {
            assert_eq!(Quality::parse(text), None, "{text}");
        }
    }
}
