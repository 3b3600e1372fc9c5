//! The quality of a lossy image: a number from 1 to 100 (best) on one of two scales.

use std::fmt::{self, Display};

/// The smallest and the largest quality, on each scale.
pub const MIN_QUALITY: u8 = 1;
pub const MAX_QUALITY: u8 = 100;
/// The default of `q`.
pub const DEFAULT_QUALITY: u8 = 75;
/// Precedes a number on the encoder's own scale in texts.
const NATIVE: &str = "native";

/// The quality of an image in one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// On JPEG's scale, as `q`: the encoder gets the quality that looks like it.
    Scaled(u8),
    /// On the scale of the format's encoder.
    Native(u8),
}

impl Level {
    pub const DEFAULT: Level = Level::Scaled(DEFAULT_QUALITY);

    /// Parses what [`Level`]'s `Display` writes.
    pub fn parse(text: &str) -> Option<Level> {
        let (number, level): (&str, fn(u8) -> Level) = match text.strip_prefix(NATIVE) {
            Some(number) => (number, Level::Native),
            None => (text, Level::Scaled),
        };
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_number)?;
        (MIN_QUALITY..=MAX_QUALITY).contains(&number).then(|| level(number))
    }
}

/// `60`, or `native60` on the encoder's scale.
impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Scaled(number) => write!(f, "{number}"),
            Level::Native(number) => write!(f, "{NATIVE}{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_parsed_from_its_text_and_from_no_other() {
        for number in MIN_QUALITY..=MAX_QUALITY {
            for level in [Level::Scaled(number), Level::Native(number)] {
                assert_eq!(Level::parse(&level.to_string()), Some(level));
            }
        }
        for text in [
            "",
            "0",
            "101",
            "256",
            "+5",
            "-1",
            "1.5",
            " 5",
            "native",
            "native0",
            "nativenative5",
            "5native",
        ] {
            assert_eq!(Level::parse(text), None, "{text}");
        }
    }
}
