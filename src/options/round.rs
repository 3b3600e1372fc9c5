//! `round`: the radius of the corners.

use std::fmt;

use super::values::{WriteCanonical, digits};

/// The radius of the corners in pixels of the result: at most half of the shorter side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Radius(u32);

const MAX: &str = "max";

impl Radius {
    /// A number of pixels, `max`, or 0 for none.
    pub(super) fn parse(text: &str) -> Option<Option<Radius>> {
        let pixels = if text == MAX { u32::MAX } else { digits(text)? };
        Some((pixels > 0).then_some(Radius(pixels)))
    }

    /// Multiplied by the device pixel ratio.
    pub(super) fn times(self, ratio: f64) -> Radius {
        if self.0 == u32::MAX {
            return self;
        }
        Radius((f64::from(self.0) * ratio).round().max(1.0) as u32)
    }

    /// In a result of this size.
    pub fn pixels(self, width: u32, height: u32) -> f64 {
        f64::from(self.0).min(f64::from(width.min(height)) / 2.0)
    }
}

impl WriteCanonical for Radius {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u32::MAX => f.write_str(MAX),
            pixels => write!(f, "{pixels}"),
        }
    }
}
