//! The quality that the encoder of a format gets.

use super::quality::encoder_quality;
use crate::format::Format;
use crate::quality::Level;

/// The quality on the scale of the format's encoder.
pub fn native(format: Format, level: Level) -> u8 {
    match level {
        Level::Scaled(quality) => encoder_quality(format, quality),
        Level::Native(quality) => quality,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_native_level_is_not_scaled() {
        assert_eq!(native(Format::Avif, Level::Scaled(75)), 63);
        assert_eq!(native(Format::Avif, Level::Native(75)), 75);
        assert_eq!(native(Format::Jpeg, Level::Scaled(75)), 75);
    }
}
