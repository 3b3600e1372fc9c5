//! The values of parameters: numbers, booleans and colours.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

/// `true` or `false` in this spelling only.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Decimal digits only; a number beyond `u32` is clamped, as sizes are anyway.
pub fn digits(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}

/// A whole number in a range.
pub fn whole(text: &str, range: RangeInclusive<u32>) -> Option<u32> {
    digits(text).filter(|number| range.contains(number))
}

/// A whole number above 0.
pub fn positive(text: &str) -> Option<u32> {
    whole(text, 1..=u32::MAX)
}

/// A plain decimal fraction: no sign, no exponent, no `inf`.
pub fn decimal(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_plain { text.parse().ok() } else { None }
}

/// Writes a value as in the canonical query.
pub trait WriteCanonical {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Displays a value as in the canonical query.
pub struct Canonical<'v, T>(pub &'v T);

impl<T: WriteCanonical> Display for Canonical<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

macro_rules! display_is_canonical {
    ($($type:ty),*) => {
        $(impl WriteCanonical for $type {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.fmt(f)
            }
        })*
    };
}

display_is_canonical!(bool, u8, u32, Sigma, Colour);

impl<T: WriteCanonical> WriteCanonical for Option<T> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(value) => value.write(f),
            None => f.write_str("none"),
        }
    }
}

/// The strength of an effect: a standard deviation in hundredths of a pixel, so that equal ones compare as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sigma(u16);

impl Sigma {
    /// The smallest with a visible effect, in pixels.
    const MIN: f64 = 0.5;

    /// A number of pixels from 0.5 to `max`, or 0 for no effect.
    pub fn parse(text: &str, max: f64) -> Option<Option<Sigma>> {
        let pixels = decimal(text)?;
        if pixels == 0.0 {
            return Some(None);
        }
        // The range makes the conversion exact.
        (Sigma::MIN..=max).contains(&pixels).then(|| Some(Sigma((pixels * 100.0).round() as u16)))
    }

    pub fn pixels(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl Display for Sigma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pixels().fmt(f)
    }
}

/// Red, green, blue and alpha.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub [u8; 4]);

impl Colour {
    /// The default of `bg`.
    pub const WHITE: Colour = Colour([0xff; 4]);

    /// `rrggbb` or `rrggbbaa`.
    pub fn parse(text: &str) -> Option<Colour> {
        if !matches!(text.len(), 6 | 8) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(text, 16).ok()?;
        Some(Colour(if text.len() == 8 { number } else { number << 8 | 0xff }.to_be_bytes()))
    }

    pub fn rgb(self) -> [u8; 3] {
        let [red, green, blue, _] = self.0;
        [red, green, blue]
    }

    /// From 0, transparent, to 255, opaque.
    pub fn alpha(self) -> u8 {
        self.0[3]
    }

    pub fn opaque(self) -> Colour {
        let [red, green, blue, _] = self.0;
        Colour([red, green, blue, 0xff])
    }
}

/// The shorter of the two forms that [`Colour::parse`] reads.
impl Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue, alpha] = self.0;
        write!(f, "{red:02x}{green:02x}{blue:02x}")?;
        if alpha == 0xff { Ok(()) } else { write!(f, "{alpha:02x}") }
    }
}
