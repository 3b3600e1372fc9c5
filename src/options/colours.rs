//! The values of the colour effects: numbers in hundredths, a tint and a duotone.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use super::values::{Colour, WriteCanonical, boolean, decimal};

/// A number in hundredths, so that equal ones compare as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hundredths(u16);

impl Hundredths {
    pub const ZERO: Hundredths = Hundredths(0);
    pub const ONE: Hundredths = Hundredths(100);
    /// In hundredths of a degree.
    const TURN: i32 = 36_000;

    /// A number in a range, which ends at 655 at the latest.
    pub fn parse(text: &str, range: RangeInclusive<f64>) -> Option<Hundredths> {
        let number = decimal(text).filter(|number| range.contains(number))?;
        // The range makes the conversion exact.
        Some(Hundredths((number * 100.0).round() as u16))
    }

    /// A number from 0 to 1, `true` for 1 or `false` for 0.
    pub fn parse_amount(text: &str) -> Option<Hundredths> {
        match boolean(text) {
            Some(true) => Some(Hundredths::ONE),
            Some(false) => Some(Hundredths::ZERO),
            None => Hundredths::parse(text, 0.0..=1.0),
        }
    }

    /// An angle from -360 to 360 degrees, as the equal one from 0.
    pub fn parse_angle(text: &str) -> Option<Hundredths> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let degrees = decimal(digits).filter(|degrees| (0.0..=360.0).contains(degrees))?;
        let hundredths = sign * (degrees * 100.0).round() as i32;
        u16::try_from(hundredths.rem_euclid(Hundredths::TURN)).ok().map(Hundredths)
    }

    pub fn value(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

impl WriteCanonical for Hundredths {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

/// `tint`: a colour, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tint {
    colour: Colour,
    strength: Hundredths,
}

impl Tint {
    /// `rrggbb:strength`, `rrggbb` with a strength of 1, or `none`. A strength of 0 is none.
    pub fn parse(text: &str) -> Option<Option<Tint>> {
        if text == "none" {
            return Some(None);
        }
        let (colour, strength) = text.split_once(':').unwrap_or((text, "1"));
        let colour = opaque(colour)?;
        let strength = Hundredths::parse(strength, 0.0..=1.0)?;
        Some((strength != Hundredths::ZERO).then_some(Tint { colour, strength }))
    }

    pub fn colour(self) -> [u8; 3] {
        self.colour.rgb()
    }

    /// Above 0, up to 1.
    pub fn strength(self) -> f64 {
        self.strength.value()
    }

    /// Whether only the luminance of a pixel is left.
    pub fn is_full(self) -> bool {
        self.strength == Hundredths::ONE
    }
}

impl WriteCanonical for Tint {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.colour, self.strength)
    }
}

/// `duo`: the colours of black and of white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duotone {
    dark: Colour,
    light: Colour,
}

impl Duotone {
    /// `rrggbb:rrggbb` or `none`.
    pub fn parse(text: &str) -> Option<Option<Duotone>> {
        if text == "none" {
            return Some(None);
        }
        let (dark, light) = text.split_once(':')?;
        Some(Some(Duotone { dark: opaque(dark)?, light: opaque(light)? }))
    }

    pub fn dark(self) -> [u8; 3] {
        self.dark.rgb()
    }

    pub fn light(self) -> [u8; 3] {
        self.light.rgb()
    }
}

impl WriteCanonical for Duotone {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.dark, self.light)
    }
}

/// `rrggbb` only.
fn opaque(text: &str) -> Option<Colour> {
    if text.len() == 6 { Colour::parse(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_angle_is_normalized_to_one_turn() {
        for (text, hundredths) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("360", Some(0)),
            ("-360", Some(0)),
            ("359.999", Some(0)),
            ("90", Some(9000)),
            ("-90", Some(27_000)),
            ("-0.01", Some(35_999)),
            ("12.345", Some(1235)),
            ("360.01", None),
            ("-361", None),
            ("--1", None),
            ("-", None),
            ("+1", None),
            ("1e1", None),
            ("90deg", None),
        ] {
            let parsed = Hundredths::parse_angle(text).map(|angle| angle.0);
            assert_eq!(parsed, hundredths, "{text}");
        }
    }

    #[test]
    fn a_strength_of_nothing_is_no_tint() {
        for text in ["none", "ff0000:0", "ff0000:0.004", "ff0000:0.0"] {
            assert_eq!(Tint::parse(text), Some(None), "{text}");
        }
        let tint = Tint::parse("FF8000:0.255").unwrap().unwrap();
        assert_eq!((tint.colour(), tint.strength()), ([255, 128, 0], 0.26));
        assert_eq!(Tint::parse("ff8000"), Tint::parse("ff8000:1"));
    }
}
