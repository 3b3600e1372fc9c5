//! The values of parameters: numbers, words and colours, and the sentence about one that is none.

use super::query::{BadQuery, Query};

/// The sentence about a value that breaks its rule.
pub fn bad(name: &str, rule: &str, written: &str) -> BadQuery {
    let shown: String = written.chars().take(32).collect();
    BadQuery(format!("{name}: {rule}, not {shown:?}"))
}

/// The value of a parameter, or the default of one that is not there. What `parse` does not take breaks the rule.
pub fn value<T>(
    query: &Query,
    name: &str,
    default: T,
    rule: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, BadQuery> {
    match query.get(name) {
        None => Ok(default),
        Some(written) => parse(written).ok_or_else(|| bad(name, rule, written)),
    }
}

/// `true` or `false`, and nothing that looks like it.
pub fn boolean(query: &Query, name: &str, default: bool) -> Result<bool, BadQuery> {
    value(query, name, default, "must be true or false", |written| match written {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    })
}

/// Decimal digits only; a number too large for `u32` is as good as the largest, since sizes are clamped.
pub fn digits(written: &str) -> Option<u32> {
    if written.is_empty() || !written.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(written.parse().unwrap_or(u32::MAX))
}

/// A plain decimal fraction: no sign, no exponent, no `inf`.
pub fn decimal(written: &str) -> Option<f64> {
    let plain = written.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { written.parse().ok() } else { None }
}

/// How far an effect reaches: a standard deviation in hundredths of a pixel, so that equal ones are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sigma(u16);

impl Sigma {
    /// The smallest that can be seen.
    const LEAST: f64 = 0.5;

    /// A number from 0.5 to `most`, or 0, which is none.
    pub fn parse(written: &str, most: f64) -> Option<Option<Sigma>> {
        let pixels = decimal(written)?;
        if pixels == 0.0 {
            return Some(None);
        }
        // The range makes the conversion exact.
        (Sigma::LEAST..=most)
            .contains(&pixels)
            .then(|| Some(Sigma((pixels * 100.0).round() as u16)))
    }

    /// In pixels.
    pub fn pixels(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// A colour with its opacity: red, green, blue, alpha.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub [u8; 4]);

impl Colour {
    /// The default of `bg`.
    pub const WHITE: Colour = Colour([0xff; 4]);

    /// `rrggbb`, or `rrggbbaa` for one that can be seen through.
    pub fn parse(written: &str) -> Option<Colour> {
        if !matches!(written.len(), 6 | 8) || !written.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return None;
        }
        let number = u32::from_str_radix(written, 16).ok()?;
        Some(Colour(if written.len() == 8 { number } else { number << 8 | 0xff }.to_be_bytes()))
    }

    /// Without its opacity.
    pub fn rgb(self) -> [u8; 3] {
        let [red, green, blue, _] = self.0;
        [red, green, blue]
    }

    /// How much of it there is: 0 nothing, 255 all.
    pub fn alpha(self) -> u8 {
        self.0[3]
    }

    /// The same, without a hole in it.
    pub fn opaque(self) -> Colour {
        let [red, green, blue, _] = self.0;
        Colour([red, green, blue, 0xff])
    }
}
