//! The quality that the encoder of a format gets.

use super::quality::encoder_quality;
use crate::format::Format;
use crate::quality::{Level, MIN_QUALITY};

/// The quality on the scale of the format's encoder.
pub fn native(format: Format, level: Level) -> u8 {
    match level {
        Level::Scaled(quality) => encoder_quality(format, quality),
        Level::Native(quality) => quality,
    }
}

/// The numbers up to this one, on one scale, with which the encoder of a format gets different qualities.
pub fn distinct(format: Format, number: u8, scale: fn(u8) -> Level) -> Vec<u8> {
    let mut numbers: Vec<u8> = (MIN_QUALITY..=number).collect();
    // Of equal ones, the last.
    numbers.reverse();
    numbers.dedup_by_key(|number| native(format, scale(*number)));
    numbers.reverse();
    numbers
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

    #[test]
    fn distinct_numbers_end_with_the_one_that_was_asked_for() {
        assert_eq!(distinct(Format::Jpeg, 75, Level::Scaled), (1..=75).collect::<Vec<_>>());
        assert_eq!(distinct(Format::Webp, 50, Level::Native), (1..=50).collect::<Vec<_>>());
        // WebP gets 1 at q=1 and 6 at q=10.
        let numbers = distinct(Format::Webp, 10, Level::Scaled);
        assert_eq!((numbers.len(), numbers.last()), (6, Some(&10)));
        assert_eq!(distinct(Format::Avif, 1, Level::Scaled), [1]);
    }
}
