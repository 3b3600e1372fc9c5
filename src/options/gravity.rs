//! `g`: the part of an image that a crop keeps, and the position of a padded image in its box.

use std::fmt;

use super::values::{decimal, digits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// The position as fractions of the free space, in ten-thousandths: 0 is left or top, 5000 the centre, 10000
    /// right or bottom.
    At(u16, u16),
    /// The same, moved horizontally and vertically: away from a side, else to the right and down.
    Moved((u16, Distance), (u16, Distance)),
    /// `fp:x:y`: centred on this point of the image, in ten-thousandths.
    Focus(u16, u16),
    /// `smart`: the attention strategy of libvips' `smartcrop`.
    Smart,
}

/// How far a position is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// Of the result.
    Pixels(u32),
    /// Ten-thousandths of the width or height of the result.
    Fraction(u16),
}

const WHOLE: u16 = 10_000;
const HALF: u16 = WHOLE / 2;

/// The values of `g` other than `fp:x:y` and those with a distance.
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

    pub(super) const RULE: &'static str = "must be ce, n, s, e, w, ne, nw, se or sw, then perhaps :x:y, each whole pixels or a fraction below 1 with a \
         point; smart; or fp:x:y with x and y from 0 to 1";

    /// The values other than `fp:x:y`, without distances.
    pub fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    /// A name, a name with distances, or `fp:x:y`.
    pub fn parse(text: &str) -> Option<Gravity> {
        let named = |text: &str| NAMED.iter().find(|(name, _)| *name == text).map(|pair| pair.1);
        if let Some(gravity) = named(text) {
            return Some(gravity);
        }
        let (name, rest) = text.split_once(':')?;
        let (x, y) = rest.split_once(':')?;
        if name == "fp" {
            return Some(Gravity::Focus(fraction(x)?, fraction(y)?));
        }
        match named(name)? {
            Gravity::At(left, top) => {
                Some(Gravity::moved((left, Distance::parse(x)?), (top, Distance::parse(y)?)))
            }
            _ => None,
        }
    }

    fn moved(x: (u16, Distance), y: (u16, Distance)) -> Gravity {
        if x.1 == Distance::NONE && y.1 == Distance::NONE {
            Gravity::At(x.0, y.0)
        } else {
            Gravity::Moved(x, y)
        }
    }

    /// With distances that are multiplied by the device pixel ratio.
    pub(super) fn times(self, ratio: f64) -> Gravity {
        match self {
            Gravity::Moved(x, y) => {
                Gravity::moved((x.0, x.1.times(ratio)), (y.0, y.1.times(ratio)))
            }
            gravity => gravity,
        }
    }

    /// The position of a part within free space, for a result of this size; both horizontally and vertically. `None` for
    /// one that depends on more.
    pub fn place(self, free: (u32, u32), result: (u32, u32)) -> Option<(u32, u32)> {
        let (x, y) = match self {
            Gravity::At(x, y) => ((x, Distance::NONE), (y, Distance::NONE)),
            Gravity::Moved(x, y) => (x, y),
            Gravity::Focus(..) | Gravity::Smart => return None,
        };
        Some((along(x, free.0, result.0), along(y, free.1, result.1)))
    }
}

/// The position in one direction.
fn along((at, distance): (u16, Distance), free: u32, side: u32) -> u32 {
    let start = scale_by_ten_thousandths(free, at);
    let distance = match distance {
        Distance::Pixels(pixels) => pixels,
        Distance::Fraction(fraction) => scale_by_ten_thousandths(side, fraction),
    };
    if at == WHOLE {
        start.saturating_sub(distance)
    } else {
        start.saturating_add(distance).min(free)
    }
}

/// Rounded down, as libvips does for its centre crop.
pub fn scale_by_ten_thousandths(length: u32, ten_thousandths: u16) -> u32 {
    u32::try_from(u64::from(length) * u64::from(ten_thousandths) / 10_000).unwrap_or(length)
}

/// A number from 0 to 1 in ten-thousandths.
fn fraction(text: &str) -> Option<u16> {
    let value = decimal(text).filter(|value| (0.0..=1.0).contains(value))?;
    Some((value * f64::from(WHOLE)).round() as u16)
}

impl Distance {
    const NONE: Distance = Distance::Pixels(0);

    /// Whole pixels, or a fraction below 1 with a point.
    fn parse(text: &str) -> Option<Distance> {
        if !text.contains('.') {
            return digits(text).map(Distance::Pixels);
        }
        decimal(text).filter(|value| *value < 1.0)?;
        match fraction(text)? {
            0 => Some(Distance::NONE),
            fraction => Some(Distance::Fraction(fraction.min(WHOLE - 1))),
        }
    }

    fn times(self, ratio: f64) -> Distance {
        match self {
            Distance::Pixels(pixels) => {
                Distance::Pixels((f64::from(pixels) * ratio).round() as u32)
            }
            fraction @ Distance::Fraction(_) => fraction,
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distance::Pixels(pixels) => pixels.fmt(f),
            Distance::Fraction(fraction) => (f64::from(*fraction) / f64::from(WHOLE)).fmt(f),
        }
    }
}

impl fmt::Display for Gravity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |gravity: Gravity| {
            NAMED.iter().find(|(_, known)| *known == gravity).map_or("ce", |pair| pair.0)
        };
        match *self {
            Gravity::Focus(x, y) => {
                let whole = f64::from(WHOLE);
                write!(f, "fp:{}:{}", f64::from(x) / whole, f64::from(y) / whole)
            }
            Gravity::Moved((x, right), (y, down)) => {
                write!(f, "{}:{right}:{down}", name(Gravity::At(x, y)))
            }
            named => f.write_str(name(named)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_lead_inwards_and_stay_within_the_free_space() {
        let place = |text: &str| Gravity::parse(text).unwrap().place((200, 100), (60, 40));
        for (text, expected) in [
            ("ce", (100, 50)),
            ("ce:10:20", (110, 70)),
            ("n:10:20", (110, 20)),
            ("s:10:20", (110, 80)),
            ("w:10:20", (10, 70)),
            ("e:10:20", (190, 70)),
            ("nw:10:20", (10, 20)),
            ("ne:10:20", (190, 20)),
            ("sw:10:20", (10, 80)),
            ("se:10:20", (190, 80)),
            // Of the result's width and height.
            ("se:0.5:0.25", (170, 90)),
            ("nw:0.5:3", (30, 3)),
            ("nw:99999999999999999999:4294967295", (200, 100)),
            ("se:4294967295:99999999999999999999", (0, 0)),
            ("ce:4294967295:0.9999", (200, 89)),
        ] {
            assert_eq!(place(text), Some(expected), "{text}");
        }
        assert_eq!(place("smart"), None);
        assert_eq!(place("fp:0.5:0.5"), None);
    }

    #[test]
    fn distances_that_change_nothing_are_dropped() {
        for text in ["ne:0:0", "ne:0.0:0", "ne:00:0.00001"] {
            assert_eq!(Gravity::parse(text).unwrap().to_string(), "ne", "{text}");
        }
        let twice = |text: &str| Gravity::parse(text).unwrap().times(2.0).to_string();
        assert_eq!(twice("sw:10:0.25"), "sw:20:0.25");
        assert_eq!(twice("sw:4294967295:0"), "sw:4294967295:0");
    }
}
