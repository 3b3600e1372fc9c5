//! Where the rectangle of `crop` is in what a decoder gives.
//!
//! The rectangle is in pixels of the upright original at full size. Decoders give the original in its stored orientation,
//! and may have made it smaller.

use super::geometry::swap_sides;
use crate::options::{Flip, Rotation, Window};

/// How far an edge may be from where it should be, in pixels of the result.
const MAX_OFFSET: f64 = 0.1;

/// The same pixels in the stored orientation of an original whose upright size this is.
pub fn stored(window: Window, orientation: Rotation, (width, height): (u32, u32)) -> Window {
    let Window { mut left, mut top, .. } = window;
    let from_right = width.saturating_sub(window.left.saturating_add(window.width));
    let from_bottom = height.saturating_sub(window.top.saturating_add(window.height));
    let (mut right, mut bottom) = (from_right, from_bottom);
    match orientation.flip() {
        None => {}
        Some(Flip::Horizontal) => std::mem::swap(&mut left, &mut right),
        Some(Flip::Vertical) => std::mem::swap(&mut top, &mut bottom),
    }
    // The distances from the edges, before the clockwise rotation.
    let (left, top) = match orientation.quarters() {
        Some(1) => (top, right),
        Some(2) => (right, bottom),
        Some(3) => (bottom, left),
        _ => (left, top),
    };
    let (width, height) = swap_sides(orientation, window.size());
    Window { left, top, width, height }
}

/// How much smaller than the original a decoder's image is, horizontally and vertically: at most 1.
pub type Factors = (f64, f64);

/// The pixels of a smaller image that are nearest to those of a window of the original.
pub fn nearest(window: Window, factors: Factors, (width, height): (u32, u32)) -> Window {
    let edges = |start: u32, length: u32, factor: f64, side: u32| {
        let pixel = |edge: u32| (f64::from(edge) * factor).round() as u32;
        let first = pixel(start).min(side.saturating_sub(1));
        let last = pixel(start.saturating_add(length)).min(side).max(first.saturating_add(1));
        (first, last - first)
    };
    let (left, width) = edges(window.left, window.width, factors.0, width);
    let (top, height) = edges(window.top, window.height, factors.1, height);
    Window { left, top, width, height }
}

/// Whether the edges of a window are close enough to those of pixels of an image of this size, to which the original has
/// been made smaller, for a result of the size `to`.
pub fn is_precise(window: Window, factors: Factors, smaller: (u32, u32), to: (u32, u32)) -> bool {
    offset(window, factors, smaller, to) <= MAX_OFFSET
}

/// The largest distance of an edge from that of a pixel, in pixels of the result.
pub fn offset(window: Window, factors: Factors, smaller: (u32, u32), to: (u32, u32)) -> f64 {
    let found = nearest(window, factors, smaller);
    let edge = |wanted: u32, found: u32, factor: f64, to: u32, length: u32| {
        let distance = (f64::from(found) / factor - f64::from(wanted)).abs();
        distance * f64::from(to) / f64::from(length.max(1))
    };
    let across = |wanted, found| edge(wanted, found, factors.0, to.0, window.width);
    let down = |wanted, found| edge(wanted, found, factors.1, to.1, window.height);
    [
        across(window.left, found.left),
        across(window.left.saturating_add(window.width), found.left + found.width),
        down(window.top, found.top),
        down(window.top.saturating_add(window.height), found.top + found.height),
    ]
    .into_iter()
    .fold(0.0, f64::max)
}

/// The factor to which an image may be made smaller for a result of the size `to`, if the edges of the window may be
/// anywhere in a pixel; above 1 if it must not be.
pub fn safe_factor(window: Window, to: (u32, u32)) -> f64 {
    let factor = |to: u32, from: u32| f64::from(to) / f64::from(from.max(1));
    // An edge is rounded by at most half a pixel.
    factor(to.0, window.width).max(factor(to.1, window.height)) / (2.0 * MAX_OFFSET)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pixels of a window as an orientation leaves them, and before it: each by its number.
    fn upright(size: (u32, u32), orientation: Rotation) -> Vec<Vec<u32>> {
        let rows = |height: u32, width: u32, at: &dyn Fn(u32, u32) -> u32| {
            (0..height).map(|y| (0..width).map(|x| at(x, y)).collect()).collect::<Vec<Vec<u32>>>()
        };
        let mut image = rows(size.1, size.0, &|x, y| y * size.0 + x);
        for _ in 0..orientation.quarters().unwrap() {
            let (width, height) = (image[0].len() as u32, image.len() as u32);
            // Clockwise: the first row becomes the last column.
            image = rows(width, height, &|x, y| image[(height - 1 - x) as usize][y as usize]);
        }
        match orientation.flip() {
            None => {}
            Some(Flip::Horizontal) => image.iter_mut().for_each(|row| row.reverse()),
            Some(Flip::Vertical) => image.reverse(),
        }
        image
    }

    fn pixels(image: &[Vec<u32>], window: Window) -> Vec<u32> {
        let rows = image.iter().skip(window.top as usize).take(window.height as usize);
        let mut pixels: Vec<u32> = rows
            .flat_map(|row| row.iter().skip(window.left as usize).take(window.width as usize))
            .copied()
            .collect();
        pixels.sort_unstable();
        pixels
    }

    #[test]
    fn a_window_has_the_same_pixels_in_every_stored_orientation() {
        let size = (5, 7);
        for quarters in 0..4 {
            for flip in [&[][..], &[Flip::Horizontal], &[Flip::Vertical]] {
                let orientation = Rotation::new(quarters, flip);
                let shown = upright(size, orientation);
                let original = upright(size, Rotation::default());
                let upright_size = (shown[0].len() as u32, shown.len() as u32);
                let window = Window { left: 1, top: 2, width: 3, height: 2 };
                let found = stored(window, orientation, upright_size);
                assert_eq!(pixels(&original, found), pixels(&shown, window), "{orientation:?}");
                assert_eq!(pixels(&shown, window).len(), 6);
            }
        }
    }

    #[test]
    fn edges_are_rounded_to_pixels_and_stay_within_the_image() {
        let window = |left, top, width, height| Window { left, top, width, height };
        let half = (0.5, 0.5);
        assert_eq!(nearest(window(4, 6, 10, 20), half, (50, 50)), window(2, 3, 5, 10));
        assert_eq!(nearest(window(5, 7, 10, 20), half, (50, 50)), window(3, 4, 5, 10));
        // The decoder has dropped the last column and line of 101.
        assert_eq!(nearest(window(100, 100, 1, 1), half, (50, 50)), window(49, 49, 1, 1));
        assert_eq!(nearest(window(0, 0, 101, 101), half, (50, 50)), window(0, 0, 50, 50));
        assert!(is_precise(window(4, 6, 10, 20), half, (50, 50), (5, 10)));
        assert!(!is_precise(window(5, 6, 10, 20), half, (50, 50), (5, 10)));
        assert!((offset(window(5, 6, 10, 20), half, (50, 50), (5, 10)) - 0.5).abs() < 1e-9);
        assert!(is_precise(window(5, 6, 100, 200), half, (500, 500), (10, 20)));
        assert!((safe_factor(window(5, 6, 100, 200), (10, 10)) - 0.5).abs() < 1e-9);
    }
}
