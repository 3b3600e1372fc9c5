//! How much of the resize of a JPEG is left to its decoder.

use super::window;
use crate::options::Window;

/// [`jpeg_shrink`] for an original of which only a window is used: the edges of the window must be those of pixels.
pub fn jpeg_shrink_of_window(whole: (u32, u32), window: Window, to: (u32, u32)) -> u32 {
    let fits = |shrink: u32| {
        let smaller = (whole.0 / shrink, whole.1 / shrink);
        let factor = 1.0 / f64::from(shrink);
        window.width / shrink >= to.0
            && window.height / shrink >= to.1
            && window::is_precise(window, (factor, factor), smaller, to)
    };
    [8, 4, 2].into_iter().find(|shrink| fits(*shrink)).unwrap_or(1)
}

/// The largest denominator (1, 2, 4 or 8) by which libjpeg can shrink and still leave at least this size. Its scaled
/// inverse DCT is as good as a resize, so it need not leave a part for one.
///
/// libvips rounds the sides down: the remainder at the right and the bottom is lost, and the rest stretched over it.
/// That may lose no more than where `vips_thumbnail` shrinks, which always leaves a factor of two for the resize.
pub fn jpeg_shrink(from: (u32, u32), to: (u32, u32)) -> u32 {
    let fits = |shrink: u32, factor: u32| {
        from.0 / shrink >= to.0.saturating_mul(factor)
            && from.1 / shrink >= to.1.saturating_mul(factor)
    };
    // In pixels of the result.
    let lost = |shrink: u32| {
        let side =
            |from: u32, to: u32| f64::from(from % shrink) * f64::from(to) / f64::from(from.max(1));
        side(from.0, to.0).max(side(from.1, to.1))
    };
    let acceptable =
        [8, 4, 2].into_iter().find(|shrink| fits(*shrink, 2)).map_or(0.0, lost).max(0.1);
    [8, 4, 2]
        .into_iter()
        .find(|shrink| fits(*shrink, 1) && lost(*shrink) <= acceptable)
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpeg_shrink_on_load_leaves_at_least_the_size_of_the_result() {
        for (from, to, shrink) in [
            ((1664, 1248), (300, 225), 4),
            ((1664, 1248), (1200, 900), 1),
            ((4000, 3000), (1200, 900), 2),
            ((1600, 1200), (200, 150), 8),
            ((1600, 1200), (201, 150), 4),
            ((997, 613), (124, 76), 4),
            ((992, 608), (124, 76), 8),
            // At 8 almost a pixel of the result is lost; at 4 as much as vips_thumbnail loses.
            ((1663, 1247), (207, 155), 4),
            ((1663, 1247), (415, 311), 2),
            ((1663, 1247), (831, 623), 1),
            ((4001, 3001), (400, 300), 8),
            ((100, 1), (1, 1), 1),
            ((100, 100), (200, 200), 1),
            ((0, 0), (1, 1), 1),
        ] {
            assert_eq!(jpeg_shrink(from, to), shrink, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_window_is_shrunk_where_its_edges_stay_in_place() {
        let window = |left, top, width, height| Window { left, top, width, height };
        for (window, to, shrink) in [
            (window(80, 160, 800, 600), (100, 75), 8),
            (window(80, 160, 800, 600), (101, 75), 4),
            // On a multiple of 4 only.
            (window(84, 160, 800, 600), (100, 75), 4),
            (window(82, 160, 800, 600), (100, 75), 2),
            (window(81, 160, 800, 600), (100, 75), 1),
            (window(80, 160, 801, 600), (100, 75), 1),
            // An edge may be a tenth of a pixel of the result off.
            (window(82, 161, 800, 600), (80, 60), 2),
            (window(84, 161, 800, 600), (40, 30), 4),
            (window(84, 161, 800, 600), (20, 15), 8),
            (window(0, 0, 1, 1), (1, 1), 1),
        ] {
            assert_eq!(
                jpeg_shrink_of_window((1664, 1248), window, to),
                shrink,
                "{window:?} to {to:?}"
            );
        }
    }
}
