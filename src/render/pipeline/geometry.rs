//! Computes the size of the resize and of the crop from those of the image and the requested box.

use std::cmp::Ordering;

use super::turn::{self, Turn};
use crate::options::{Gravity, Minimum, Options, Rotation, Size, Window, scale_by_ten_thousandths};

/// Everything about sizes that follows from the options and the size of the upright original.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// The rectangle of the original that is used; `None`: all of it.
    pub window: Option<Window>,
    /// Width and height of a frame before `rot`.
    pub size: (u32, u32),
    /// How it is rotated, if `rot` is no multiple of a quarter turn.
    pub turn: Option<Turn>,
    /// The resize and the crop, after `rot`.
    pub plan: Plan,
}

impl Layout {
    /// For an upright original of this size. `None` if the rectangle of `crop` is outside of it.
    pub fn new(options: &Options, upright: (u32, u32)) -> Option<Layout> {
        let window = match options.rectangle {
            None => None,
            Some(rectangle) => Some(rectangle.within(upright)?),
        };
        let window = window.filter(|window| window.size() != upright);
        let size = window.map_or(upright, |window| window.size());
        Some(Layout { window, ..Layout::of_size(options, size) })
    }

    /// For a frame of this size, of which nothing else is cut off before `rot`.
    pub fn of_size(options: &Options, size: (u32, u32)) -> Layout {
        let degrees = options.rotation.oblique();
        let (width, height) = match degrees {
            None => swap_sides(options.rotation, size),
            Some(degrees) => turn::canvas(degrees, size),
        };
        let plan = plan(options.size, options.enlarge, options.minimum, (width, height));
        let turn = degrees.map(|degrees| Turn::new(degrees, size, (width, height), plan.size()));
        Layout { window: None, size, turn, plan }
    }

    /// Width and height of a frame after the resize, before `rot`: fewer pixels are rotated after the resize.
    pub fn resized(&self, rotation: Rotation) -> (u32, u32) {
        match &self.turn {
            Some(turn) => turn.loaded,
            None => swap_sides(rotation, self.plan.size()),
        }
    }
}

/// Resize to `width` × `height`, then crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Width after the resize.
    pub width: u32,
    /// Height after the resize.
    pub height: u32,
    /// The part of the resized image that is kept.
    pub crop: Option<Crop>,
}

impl Plan {
    /// Width and height after the resize.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Width and height of the result.
    pub fn result(&self, size: Size) -> (u32, u32) {
        match (size, self.crop) {
            (Size::Pad(width, height, _), _) => (width, height),
            (_, Some(crop)) => (crop.width, crop.height),
            (_, None) => self.size(),
        }
    }
}

/// A window in the resized image, smaller than it in at least one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    pub width: u32,
    pub height: u32,
    pub gravity: Gravity,
}

impl Crop {
    /// Whether the place of the window depends on the contents of the image (`smart`).
    pub fn depends_on_pixels(&self) -> bool {
        self.gravity == Gravity::Smart
    }

    /// The upper left corner in an image of this size; `None` if it depends on the contents of the image (`smart`).
    pub fn corner(&self, width: u32, height: u32) -> Option<(u32, u32)> {
        let free_x = width.saturating_sub(self.width);
        let free_y = height.saturating_sub(self.height);
        match self.gravity {
            Gravity::Focus(x, y) => Some((
                scale_by_ten_thousandths(width, x).saturating_sub(self.width / 2).min(free_x),
                scale_by_ten_thousandths(height, y).saturating_sub(self.height / 2).min(free_y),
            )),
            gravity => gravity.place((free_x, free_y), (self.width, self.height)),
        }
    }
}

/// The sides after a rotation, and, since it is its own inverse, before it.
pub fn swap_sides(rotation: Rotation, (width, height): (u32, u32)) -> (u32, u32) {
    if rotation.swaps_sides() { (height, width) } else { (width, height) }
}

/// A factor as a fraction, so that half a pixel is not lost in a division.
#[derive(Clone, Copy, Debug)]
struct Scale {
    to: u32,
    /// Not 0.
    from: u32,
}

impl Scale {
    const ONE: Scale = Scale { to: 1, from: 1 };

    /// A length that is multiplied, rounded half up. Never 0.
    fn of(self, length: u32) -> u32 {
        let (to, from) = (u64::from(self.to), u64::from(self.from));
        let rounded = u128::from(2 * to) * u128::from(length) + u128::from(from);
        u32::try_from(rounded / u128::from(2 * from)).unwrap_or(u32::MAX).max(1)
    }
}

impl Ord for Scale {
    fn cmp(&self, other: &Scale) -> Ordering {
        let product = |to: u32, from: u32| u64::from(to) * u64::from(from);
        product(self.to, other.from).cmp(&product(other.to, self.from))
    }
}

impl PartialOrd for Scale {
    fn partial_cmp(&self, other: &Scale) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scale {
    fn eq(&self, other: &Scale) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scale {}

/// The plan for an upright and rotated image of this size.
///
/// Without `enlarge`, a box that is larger than the image in one direction is filled in the other only. Sizes are
/// rounded half up and are never 0.
pub fn plan(
    size: Size,
    enlarge: bool,
    minimum: Option<Minimum>,
    (width, height): (u32, u32),
) -> Plan {
    let (source_width, source_height) = (width.max(1), height.max(1));
    let of_width = |to: u32| Scale { to, from: source_width };
    let of_height = |to: u32| Scale { to, from: source_height };
    let limit = |scale: Scale| if enlarge { scale } else { scale.min(Scale::ONE) };
    let (across, down) = match size {
        Size::Original => (Scale::ONE, Scale::ONE),
        Size::Stretch(width, height) => (of_width(width), of_height(height)),
        Size::Width(width) => [limit(of_width(width)); 2].into(),
        Size::Height(height) => [limit(of_height(height)); 2].into(),
        Size::Fit(width, height) | Size::Pad(width, height, _) => {
            [limit(of_width(width).min(of_height(height))); 2].into()
        }
        Size::Fill(width, height, _)
        | Size::Ratio(width, height, _)
        | Size::Outside(width, height) => [limit(of_width(width).max(of_height(height))); 2].into(),
    };
    let sides = |minimum: Minimum| [minimum.width.map(of_width), minimum.height.map(of_height)];
    let least = minimum.and_then(|minimum| sides(minimum).into_iter().flatten().max());
    let at_least = |scale: Scale| least.map_or(scale, |least| scale.max(least));
    let width = at_least(across).of(source_width);
    let height = at_least(down).of(source_height);
    // What is left of the resized image.
    let cropped = match (size, minimum) {
        (Size::Ratio(box_width, box_height, _), _) if box_width > width || box_height > height => {
            largest_of_shape((box_width, box_height), (width, height))
        }
        (Size::Fill(box_width, box_height, _) | Size::Ratio(box_width, box_height, _), _) => {
            (box_width.min(width), box_height.min(height))
        }
        // Only a minimum makes it larger than the box.
        (Size::Width(_) | Size::Height(_) | Size::Fit(..) | Size::Pad(..), Some(_)) => {
            let (box_width, box_height) = size.sides();
            let within = |side: u32, box_side: Option<u32>| side.min(box_side.unwrap_or(side));
            (within(width, box_width), within(height, box_height))
        }
        _ => (width, height),
    };
    let gravity = size.gravity().or(minimum.map(|minimum| minimum.gravity));
    let crop = (cropped != (width, height)).then_some(Crop {
        width: cropped.0,
        height: cropped.1,
        gravity: gravity.unwrap_or(Gravity::CENTRE),
    });
    Plan { width, height, crop }
}

/// The largest rectangle of the shape of a box in an image of this size, rounded half up.
fn largest_of_shape(shape: (u32, u32), (width, height): (u32, u32)) -> (u32, u32) {
    let (across, down) = (u64::from(shape.0.max(1)), u64::from(shape.1.max(1)));
    let side = |other: u32, this: u64, per: u64, most: u32| {
        let side = (2 * u64::from(other) * this + per) / (2 * per);
        u32::try_from(side).unwrap_or(most).clamp(1, most.max(1))
    };
    if u64::from(width) * down > u64::from(height) * across {
        (side(height, across, down, width), height)
    } else {
        (width, side(width, down, across, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENTRE: Gravity = Gravity::At(5000, 5000);

    fn result(size: Size, enlarge: bool, width: u32, height: u32) -> (u32, u32) {
        let plan = plan(size, enlarge, None, (width, height));
        plan.crop.map_or(plan.size(), |crop| (crop.width, crop.height))
    }

    #[test]
    fn half_a_pixel_is_rounded_up() {
        // 1248 × 30 / 1664 is 22.5, and 1248 × (30 / 1664) is less in binary fractions.
        assert_eq!(result(Size::Width(30), false, 1664, 1248), (30, 23));
        let mut halves = 0;
        for (width, height) in [(1664, 1248), (400, 300), (300, 400), (1000, 1), (65535, 65535)] {
            for side in 1..=400 {
                let (_, found) = result(Size::Width(side), true, width, height);
                let expected = (2 * u64::from(height) * u64::from(side) + u64::from(width))
                    / (2 * u64::from(width));
                assert_eq!(u64::from(found), expected.max(1), "{width} × {height} to {side}");
                halves += u32::from(
                    2 * u64::from(height) * u64::from(side) % u64::from(2 * width)
                        == u64::from(width),
                );
            }
        }
        assert!(halves > 100, "{halves}");
    }

    #[test]
    fn fill_has_the_size_of_the_box_if_the_image_is_large_enough() {
        for (width, height) in
            [(1600, 1200), (1200, 1600), (1000, 1000), (301, 200), (300, 201), (10_000, 200)]
        {
            assert_eq!(result(Size::Fill(300, 200, CENTRE), false, width, height), (300, 200));
        }
    }

    #[test]
    fn fill_has_no_rounding_error() {
        for width in 1..120 {
            for height in 1..120 {
                for (w, h) in [(1, 1), (7, 5), (33, 100), (99, 98)] {
                    let got = result(Size::Fill(w, h, CENTRE), false, width, height);
                    assert_eq!(got, (w.min(width), h.min(height)), "{width}x{height} into {w}x{h}");
                    assert_eq!(result(Size::Fill(w, h, CENTRE), true, width, height), (w, h));
                }
            }
        }
    }

    #[test]
    fn fit_stays_inside_the_box_and_touches_one_side() {
        assert_eq!(result(Size::Fit(300, 200), false, 1600, 1200), (267, 200));
        assert_eq!(result(Size::Fit(300, 200), false, 1200, 1600), (150, 200));
        assert_eq!(result(Size::Fit(300, 200), false, 1, 1000), (1, 200));
        assert_eq!(result(Size::Fit(300, 200), false, 1000, 1), (300, 1));
        assert_eq!(result(Size::Fit(300, 200), false, 30, 20), (30, 20));
        assert_eq!(result(Size::Fit(300, 200), true, 30, 40), (150, 200));
        // The image in a padded box has the size of `Fit`.
        assert_eq!(result(Size::Pad(300, 200, CENTRE), false, 1600, 1200), (267, 200));
    }

    #[test]
    fn width_or_height_alone_keeps_the_aspect_ratio() {
        assert_eq!(result(Size::Width(300), false, 1600, 1200), (300, 225));
        assert_eq!(result(Size::Height(300), false, 1600, 1200), (400, 300));
        assert_eq!(result(Size::Width(300), false, 100, 50), (100, 50));
        assert_eq!(result(Size::Width(300), true, 100, 50), (300, 150));
        assert_eq!(result(Size::Original, true, 17, 19), (17, 19));
    }

    #[test]
    fn gravity_places_the_crop_inside_the_image() {
        let at = |gravity| Crop { width: 100, height: 50, gravity }.corner(300, 200);
        assert_eq!(at(CENTRE), Some((100, 75)));
        assert_eq!(at(Gravity::At(0, 0)), Some((0, 0)));
        assert_eq!(at(Gravity::At(10_000, 10_000)), Some((200, 150)));
        assert_eq!(at(Gravity::Focus(5000, 5000)), Some((100, 75)));
        assert_eq!(at(Gravity::Focus(0, 10_000)), Some((0, 150)));
        assert_eq!(at(Gravity::Focus(2500, 2500)), Some((25, 25)));
        assert_eq!(at(Gravity::Smart), None);
    }
    /// A fraction of whole numbers, rounded half up and never 0.
    fn rounded(numerator: u64, denominator: u64) -> u32 {
        u32::try_from((2 * numerator + denominator) / (2 * denominator)).unwrap().max(1)
    }

    /// The sides of the image, resized by `numerator / denominator`.
    fn times(size: (u32, u32), numerator: u32, denominator: u32) -> (u32, u32) {
        let side =
            |side: u32| rounded(u64::from(side) * u64::from(numerator), u64::from(denominator));
        (side(size.0), side(size.1))
    }

    /// Sizes and boxes for a comparison with whole numbers: halves are exact in both.
    const SIDES: [u32; 9] = [1, 2, 3, 7, 40, 64, 99, 100, 257];

    fn sizes_and_boxes() -> impl Iterator<Item = ((u32, u32), (u32, u32))> {
        let pairs = || SIDES.into_iter().flat_map(|one| SIDES.map(|other| (one, other)));
        pairs().flat_map(move |size| pairs().map(move |box_size| (size, box_size)))
    }

    /// Whether the width decides the scale of an image that covers a box.
    fn width_covers((width, height): (u32, u32), (across, down): (u32, u32)) -> bool {
        u64::from(across) * u64::from(height) >= u64::from(down) * u64::from(width)
    }

    #[test]
    fn stretch_is_the_box_and_outside_covers_it() {
        for (size, box_size @ (across, down)) in sizes_and_boxes() {
            let name = format!("{size:?} to {box_size:?}");
            for enlarge in [false, true] {
                let stretched = result(Size::Stretch(across, down), enlarge, size.0, size.1);
                assert_eq!(stretched, box_size, "{name}");
            }
            let by_width = width_covers(size, box_size);
            let covering =
                if by_width { times(size, across, size.0) } else { times(size, down, size.1) };
            let outside = Size::Outside(across, down);
            assert_eq!(result(outside, true, size.0, size.1), covering, "{name}");
            assert!(covering.0 >= across && covering.1 >= down, "{name}");
            let is_larger = if by_width { across > size.0 } else { down > size.1 };
            let expected = if is_larger { size } else { covering };
            assert_eq!(result(outside, false, size.0, size.1), expected, "{name}");
        }
    }

    #[test]
    fn ratio_has_the_shape_of_the_box_and_enlarges_nothing() {
        for (size @ (width, height), box_size @ (across, down)) in sizes_and_boxes() {
            let found = result(Size::Ratio(across, down, CENTRE), false, width, height);
            let name = format!("{size:?} to {box_size:?}");
            if across <= width && down <= height {
                assert_eq!(found, box_size, "{name}");
                continue;
            }
            // The longer side that the shape allows is whole.
            let [w, h, a, d] = [width, height, across, down].map(u64::from);
            let expected = if w * d > h * a {
                (rounded(h * a, d), height)
            } else {
                (width, rounded(w * d, a))
            };
            assert_eq!(found, expected, "{name}");
            assert!(found.0 <= width.max(1) && found.1 <= height, "{name}");
        }
    }

    #[test]
    fn a_minimum_enlarges_and_the_box_crops() {
        let minimum = |width: u32, height: u32| {
            let side = |side: u32| (side > 0).then_some(side);
            Some(Minimum { width: side(width), height: side(height), gravity: Gravity::At(0, 0) })
        };
        for (size, least, source, resized, cropped) in [
            (Size::Original, minimum(200, 0), (100, 50), (200, 100), None),
            (Size::Original, minimum(200, 150), (100, 50), (300, 150), None),
            (Size::Original, minimum(50, 0), (100, 50), (100, 50), None),
            (Size::Width(300), minimum(0, 400), (600, 400), (600, 400), Some((300, 400))),
            (Size::Width(300), minimum(0, 200), (600, 400), (300, 200), None),
            (Size::Height(20), minimum(100, 0), (100, 50), (100, 50), Some((100, 20))),
            (Size::Fit(30, 30), minimum(0, 30), (100, 50), (60, 30), Some((30, 30))),
            (Size::Pad(30, 30, CENTRE), minimum(0, 30), (100, 50), (60, 30), Some((30, 30))),
            (Size::Pad(90, 30, CENTRE), minimum(0, 30), (100, 50), (60, 30), None),
            (Size::Fill(30, 30, CENTRE), minimum(100, 0), (100, 50), (100, 50), Some((30, 30))),
            (Size::Outside(30, 30), minimum(70, 0), (100, 50), (70, 35), None),
            (
                Size::Ratio(300, 300, CENTRE),
                minimum(0, 100),
                (100, 50),
                (200, 100),
                Some((100, 100)),
            ),
        ] {
            let plan = plan(size, false, least, source);
            assert_eq!(plan.size(), resized, "{size:?} {least:?}");
            let crop = plan.crop.map(|crop| (crop.width, crop.height));
            assert_eq!(crop, cropped, "{size:?} {least:?}");
            // The gravity is that of the box, if it has one.
            let gravity = size.gravity().unwrap_or(Gravity::At(0, 0));
            assert!(plan.crop.is_none_or(|crop| crop.gravity == gravity), "{size:?}");
        }
    }

    #[test]
    fn hostile_sizes_saturate() {
        let least = Minimum { width: Some(u32::MAX), height: Some(u32::MAX), gravity: CENTRE };
        for size in [
            Size::Original,
            Size::Stretch(u32::MAX, 1),
            Size::Outside(1, u32::MAX),
            Size::Ratio(u32::MAX, 1, CENTRE),
        ] {
            for source in [(0, 0), (1, u32::MAX), (u32::MAX, u32::MAX)] {
                let plan = plan(size, true, Some(least), source);
                assert!(plan.width > 0 && plan.height > 0, "{size:?} of {source:?}");
            }
        }
    }
}
