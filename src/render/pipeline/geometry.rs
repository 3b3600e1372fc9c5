//! Computes the size of the resize and of the crop from those of the image and the requested box.

use crate::options::{Gravity, Size};

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
            Gravity::At(x, y) => {
                Some((scale_by_ten_thousandths(free_x, x), scale_by_ten_thousandths(free_y, y)))
            }
            Gravity::Focus(x, y) => Some((
                scale_by_ten_thousandths(width, x).saturating_sub(self.width / 2).min(free_x),
                scale_by_ten_thousandths(height, y).saturating_sub(self.height / 2).min(free_y),
            )),
            Gravity::Smart => None,
        }
    }
}

/// Rounded down, as libvips does for its centre crop.
pub fn scale_by_ten_thousandths(length: u32, ten_thousandths: u16) -> u32 {
    u32::try_from(u64::from(length) * u64::from(ten_thousandths) / 10_000).unwrap_or(length)
}

/// The plan for an upright image of this size.
///
/// Without `enlarge`, a box that is larger than the image in one direction is filled in the other only. Sizes are
/// rounded half up, as in `vips_thumbnail`, and are never 0.
pub fn plan(size: Size, enlarge: bool, width: u32, height: u32) -> Plan {
    let source_width = f64::from(width.max(1));
    let source_height = f64::from(height.max(1));
    let limit = |scale: f64| if enlarge { scale } else { scale.min(1.0) };
    let scaled = |length: f64, scale: f64| (length * scale).round().max(1.0) as u32;
    let whole = |width, height| Plan { width, height, crop: None };
    match size {
        Size::Original => whole(width, height),
        Size::Width(box_width) => {
            let scale = limit(f64::from(box_width) / source_width);
            whole(scaled(source_width, scale), scaled(source_height, scale))
        }
        Size::Height(box_height) => {
            let scale = limit(f64::from(box_height) / source_height);
            whole(scaled(source_width, scale), scaled(source_height, scale))
        }
        Size::Fit(box_width, box_height) | Size::Pad(box_width, box_height, _) => {
            let scale =
                (f64::from(box_width) / source_width).min(f64::from(box_height) / source_height);
            let scale = limit(scale);
            whole(scaled(source_width, scale), scaled(source_height, scale))
        }
        Size::Fill(box_width, box_height, gravity) => {
            let scale =
                (f64::from(box_width) / source_width).max(f64::from(box_height) / source_height);
            let scale = limit(scale);
            let width = scaled(source_width, scale);
            let height = scaled(source_height, scale);
            let crop_width = box_width.min(width);
            let crop_height = box_height.min(height);
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
}
