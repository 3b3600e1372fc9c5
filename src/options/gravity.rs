//! `g`: the part of an image that a crop keeps, and the position of a padded image in its box.

use std::fmt;

use super::values::decimal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// The position as fractions of the free space, in ten-thousandths: 0 is left or top, 5000 the centre, 10000
    /// right or bottom.
    At(u16, u16),
    /// `fp:x:y`: centred on this point of the image, in ten-thousandths.
    Focus(u16, u16),
    /// `smart`: the attention strategy of libvips' `smartcrop`.
    Smart,
}

const WHOLE: u16 = 10_000;
const HALF: u16 = WHOLE / 2;

/// The values of `g` other than `fp:x:y`.
pub(super) const NAMED: [(&str, Gravity); 10] = [
    ("ce", Gravity::CENTRE),
    ("n", Gravity::At(HALF, 0)),
    ("s", Gravity::At(HALF, WHOLE)),
    ("e", Gravity::At(WHOLE, HALF)),
    ("w", Gravity::At(0, HALF)),
    ("ne", Gravity::At(WHOLE, 0)),
    ("nw", Gravity::At(0, 0)),
    ("se", Gravity::At(WHOLE, WHOLE)),
    ("sw", Gravity::At(0, WHOLE)),
    ("smart", Gravity::Smart),
];

impl Gravity {
    /// The default of `g`.
    pub const CENTRE: Gravity = Gravity::At(HALF, HALF);

    /// The values other than `fp:x:y`.
    pub fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    /// A name, or `fp:x:y`.
    pub fn parse(text: &str) -> Option<Gravity> {
        if let Some((_, gravity)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Some(*gravity);
        }
        let (x, y) = text.strip_prefix("fp:")?.split_once(':')?;
        let fraction = |text| {
            let value = decimal(text).filter(|value| (0.0..=1.0).contains(value))?;
            Some((value * f64::from(WHOLE)).round() as u16)
        };
        Some(Gravity::Focus(fraction(x)?, fraction(y)?))
    }
}

impl fmt::Display for Gravity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Gravity::Focus(x, y) => {
                let whole = f64::from(WHOLE);
                write!(f, "fp:{}:{}", f64::from(x) / whole, f64::from(y) / whole)
            }
            named => f.write_str(
                NAMED.iter().find(|(_, known)| *known == named).map_or("ce", |pair| pair.0),
            ),
        }
    }
}
