//! From the sizes of an image and of the requested box to the sizes of the resize and of the crop.

use crate::options::{Gravity, Size};

/// How to get from an image to the result: resize to `width` × `height`, then cut the window out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Width after the resize.
    pub width: u32,
    /// Height after the resize.
    pub height: u32,
    /// The window of the result in the resized image.
    pub crop: Option<Crop>,
}

/// A window in the resized image, smaller than it in at least one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Width of the window.
    pub width: u32,
    /// Height of the window.
    pub height: u32,
    /// Where it stands.
    pub gravity: Gravity,
}

impl Crop {
    /// Whether only the contents of the image can tell where it stands.
    pub fn is_looked_for(&self) -> bool {
        self.gravity == Gravity::Smart
    }

    /// The left upper corner in an image of this size; `None` where only its contents can tell (`smart`).
    pub fn corner(&self, width: u32, height: u32) -> Option<(u32, u32)> {
        let (free_x, free_y) =
            (width.saturating_sub(self.width), height.saturating_sub(self.height));
        match self.gravity {
            Gravity::At(x, y) => Some((part(free_x, x), part(free_y, y))),
            Gravity::Focus(x, y) => Some((
                part(width, x).saturating_sub(self.width / 2).min(free_x),
                part(height, y).saturating_sub(self.height / 2).min(free_y),
            )),
            Gravity::Smart => None,
        }
    }
}

/// Ten-thousandths of a length, rounded down as libvips does for its centre crop.
pub fn part(length: u32, ten_thousandths: u16) -> u32 {
    u32::try_from(u64::from(length) * u64::from(ten_thousandths) / 10_000).unwrap_or(length)
}

/// The plan for an upright image of this size.
///
/// The image is never enlarged unless `enlarge`: a box that is larger than the image in one direction is
/// then filled in the other only. Sizes are rounded as `vips_thumbnail` rounds them, half up, and never 0.
pub fn plan(size: Size, enlarge: bool, width: u32, height: u32) -> Plan {
    let (source_width, source_height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let bounded = |scale: f64| if enlarge { scale } else { scale.min(1.0) };
    let scaled = |length: f64, scale: f64| (length * scale).round().max(1.0) as u32;
    let whole = |width, height| Plan { width, height, crop: None };
    match size {
        Size::Original => whole(width, height),
        Size::Width(box_width) => {
            let scale = bounded(f64::from(box_width) / source_width);
            whole(scaled(source_width, scale), scaled(source_height, scale))
        }
        Size::Height(box_height) => {
            let scale = bounded(f64::from(box_height) / source_height);
            whole(scaled(source_width, scale), scaled(source_height, scale))
        }
        Size::Fit(box_width, box_height) | Size::Pad(box_width, box_height, _) => {
            let scale =
                (f64::from(box_width) / source_width).min(f64::from(box_height) / source_height);
            let scale = bounded(scale);
            whole(scaled(source_width, scale), scaled(source_height, scale))
        }
        Size::Fill(box_width, box_height, gravity) => {
            let scale =
                (f64::from(box_width) / source_width).max(f64::from(box_height) / source_height);
            let scale = bounded(scale);
            let (width, height) = (scaled(source_width, scale), scaled(source_height, scale));
            let (crop_width, crop_height) = (box_width.min(width), box_height.min(height));
            let crop = ((crop_width, crop_height) != (width, height)).then_some(Crop {
                width: crop_width,
                height: crop_height,
                gravity,
            });
            Plan { width, height, crop }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENTRE: Gravity = Gravity::At(5000, 5000);

    fn result(size: Size, enlarge: bool, width: u32, height: u32) -> (u32, u32) {
        let plan = plan(size, enlarge, width, height);
        plan.crop.map_or((plan.width, plan.height), |crop| (crop.width, crop.height))
    }

    #[test]
    fn fill_gives_the_box_whenever_the_image_is_large_enough() {
        for (width, height) in
            [(1600, 1200), (1200, 1600), (1000, 1000), (301, 200), (300, 201), (10_000, 200)]
        {
            assert_eq!(result(Size::Fill(300, 200, CENTRE), false, width, height), (300, 200));
        }
    }

    #[test]
    fn fill_never_misses_the_box_by_rounding() {
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
    fn fit_stays_inside_and_touches_one_side() {
        assert_eq!(result(Size::Fit(300, 200), false, 1600, 1200), (267, 200));
        assert_eq!(result(Size::Fit(300, 200), false, 1200, 1600), (150, 200));
        assert_eq!(result(Size::Fit(300, 200), false, 1, 1000), (1, 200));
        assert_eq!(result(Size::Fit(300, 200), false, 1000, 1), (300, 1));
        assert_eq!(result(Size::Fit(300, 200), false, 30, 20), (30, 20));
        assert_eq!(result(Size::Fit(300, 200), true, 30, 40), (150, 200));
        // What is padded is fitted before.
        assert_eq!(result(Size::Pad(300, 200, CENTRE), false, 1600, 1200), (267, 200));
    }

    #[test]
    fn one_side_alone_keeps_the_aspect() {
        assert_eq!(result(Size::Width(300), false, 1600, 1200), (300, 225));
        assert_eq!(result(Size::Height(300), false, 1600, 1200), (400, 300));
        assert_eq!(result(Size::Width(300), false, 100, 50), (100, 50));
        assert_eq!(result(Size::Width(300), true, 100, 50), (300, 150));
        assert_eq!(result(Size::Original, true, 17, 19), (17, 19));
    }

    #[test]
    fn windows_stand_where_gravity_says_and_never_leave_the_image() {
        let at = |gravity| Crop { width: 100, height: 50, gravity }.corner(300, 200);
        assert_eq!(at(CENTRE), Some((100, 75)));
        assert_eq!(at(Gravity::At(0, 0)), Some((0, 0)));
        assert_eq!(at(Gravity::At(10_000, 10_000)), Some((200, 150)));
        assert_eq!(at(Gravity::Focus(5000, 5000)), Some((100, 75)));
        assert_eq!(at(Gravity::Focus(0, 10_000)), Some((0, 150)));
        assert_eq!(at(Gravity::Focus(2500, 2500)), Some((25, 25)));
        assert_eq!(at(Gravity::Smart), None);
    }
}
