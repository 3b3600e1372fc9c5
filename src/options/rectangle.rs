//! `crop`: a rectangle of the original.

use std::fmt;

use super::values::{WriteCanonical, decimal, digits};

/// A rectangle as it is written. An image decides which of its pixels that is ([`Rectangle::within`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rectangle {
    /// Left, top, width and height in pixels.
    Pixels([u32; 4]),
    /// Left, top, width and height in millionths of the width and height of the image.
    Fractions([u32; 4]),
}

/// Pixels of an image: not empty, and within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

impl Window {
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }
}

const WHOLE: u32 = 1_000_000;
/// The end of a rectangle in pixels, all of whose numbers are at most 1.
const IN_PIXELS: &str = ":px";

impl Rectangle {
    pub(super) const RULE: &'static str = "must be x:y:w:h, the left and upper edge, the width and the height of a rectangle: whole pixels, or \
         fractions if all four are at most 1 (x:y:w:h:px are pixels in any case); w and h must be above 0, and x and y \
         below 1 if they are fractions; or none";

    /// `x:y:w:h`, `x:y:w:h:px` or `none`. The whole image is none.
    pub(super) fn parse(text: &str) -> Option<Option<Rectangle>> {
        if text == "none" {
            return Some(None);
        }
        let in_pixels = text.strip_suffix(IN_PIXELS);
        let mut parts = in_pixels.unwrap_or(text).split(':');
        let numbers = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        if parts.next().is_some() {
            return None;
        }
        let [x, y, width, height] = numbers.map(decimal);
        let fractions = [x?, y?, width?, height?];
        if in_pixels.is_none() && fractions.iter().all(|number| *number <= 1.0) {
            // The range makes the conversion exact.
            let millionths = fractions.map(|number| (number * f64::from(WHOLE)).round() as u32);
            let [x, y, width, height] = millionths;
            let is_inside = x < WHOLE && y < WHOLE && width > 0 && height > 0;
            let is_whole = millionths == [0, 0, WHOLE, WHOLE];
            return is_inside.then_some((!is_whole).then_some(Rectangle::Fractions(millionths)));
        }
        let [x, y, width, height] = numbers.map(digits);
        let pixels = [x?, y?, width?, height?];
        (pixels[2] > 0 && pixels[3] > 0).then_some(Some(Rectangle::Pixels(pixels)))
    }

    /// The pixels in an image of this size: the rectangle without what is beyond the right and the lower edge. `None` if
    /// all of it is.
    ///
    /// The edges of fractions are rounded to the nearest pixel, so that rectangles side by side share no pixel and leave
    /// none out; such a rectangle has at least one pixel.
    pub fn within(self, (width, height): (u32, u32)) -> Option<Window> {
        let ((left, right), (top, bottom)) = match self {
            Rectangle::Pixels([x, y, w, h]) => {
                if x >= width || y >= height {
                    return None;
                }
                ((x, x.saturating_add(w).min(width)), (y, y.saturating_add(h).min(height)))
            }
            Rectangle::Fractions([x, y, w, h]) => (edges(x, w, width), edges(y, h, height)),
        };
        let window = Window {
            left,
            top,
            width: right.saturating_sub(left),
            height: bottom.saturating_sub(top),
        };
        (window.width > 0 && window.height > 0).then_some(window)
    }
}

/// The first pixel, and the one after the last, for millionths of a side.
fn edges(start: u32, length: u32, side: u32) -> (u32, u32) {
    let pixel = |millionths: u32| {
        let whole = u64::from(WHOLE);
        let pixel = (u64::from(millionths) * u64::from(side) + whole / 2) / whole;
        u32::try_from(pixel).unwrap_or(side).min(side)
    };
    let first = pixel(start).min(side.saturating_sub(1));
    (first, pixel(start.saturating_add(length)).max(first.saturating_add(1)))
}

impl WriteCanonical for Rectangle {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Rectangle::Pixels([x, y, width, height]) => {
                write!(f, "{x}:{y}:{width}:{height}")?;
                let is_ambiguous = [x, y, width, height].iter().all(|number| *number <= 1);
                f.write_str(if is_ambiguous { IN_PIXELS } else { "" })
            }
            Rectangle::Fractions(millionths) => {
                let [x, y, width, height] =
                    millionths.map(|number| f64::from(number) / f64::from(WHOLE));
                write!(f, "{x}:{y}:{width}:{height}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str, size: (u32, u32)) -> Option<[u32; 4]> {
        let rectangle = Rectangle::parse(text).expect(text).expect(text);
        let Window { left, top, width, height } = rectangle.within(size)?;
        Some([left, top, width, height])
    }

    #[test]
    fn rectangles_are_clipped_to_the_image() {
        for (text, expected) in [
            ("10:20:30:25", Some([10, 20, 30, 25])),
            ("90:40:30:40", Some([90, 40, 10, 10])),
            ("0:0:99999999999999999999:2", Some([0, 0, 100, 2])),
            ("99:49:4294967295:4294967295", Some([99, 49, 1, 1])),
            ("100:0:5:5", None),
            ("0:50:5:5", None),
            ("99999999999999999999:0:1:1", None),
            ("0:0:1:1:px", Some([0, 0, 1, 1])),
            ("1:1:1:1:px", Some([1, 1, 1, 1])),
            ("0:0:1:2", Some([0, 0, 1, 2])),
            ("0.25:0.5:0.5:0.5", Some([25, 25, 50, 25])),
            ("0.25:0.5:1:1", Some([25, 25, 75, 25])),
            ("0.999999:0.999999:1:1", Some([99, 49, 1, 1])),
            ("0:0:0.000001:1", Some([0, 0, 1, 50])),
        ] {
            assert_eq!(window(text, (100, 50)), expected, "{text}");
        }
    }

    /// Quarters of any side, by division of whole numbers.
    #[test]
    fn fractions_side_by_side_share_no_pixel_and_leave_none_out() {
        for side in 4..2000 {
            let mut next = 0;
            for part in 0..4_u32 {
                let text = format!("{}:0:0.25:1", f64::from(part) * 0.25);
                let [left, _, width, _] = window(&text, (side, 7)).unwrap();
                assert_eq!(left, next, "{text} of {side}");
                next = left + width;
                // A quarter, rounded half up.
                assert_eq!(next, ((part + 1) * side * 2 + 4) / 8, "{text} of {side}");
            }
            assert_eq!(next, side);
        }
    }
}
