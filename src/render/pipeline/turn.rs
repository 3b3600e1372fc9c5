//! `rot` by an angle that is no multiple of a quarter turn: the sizes and the matrix.

/// Rotates a resized image onto a larger canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// Width and height of the image that is rotated, after the resize.
    pub loaded: (u32, u32),
    /// Width and height of the canvas. It has the size of the plan, or is resized to it.
    pub canvas: (u32, u32),
    /// From coordinates of the image to those of the canvas, both relative to the centre: `x' = ax + by`,
    /// `y' = cx + dy`.
    pub matrix: [f64; 4],
}

/// What rounding adds to a length that is a whole number.
const EPSILON: f64 = 1e-6;

/// A length that is multiplied: rounded half up, as in `vips_thumbnail`, and never 0.
pub fn scaled(length: u32, scale: f64) -> u32 {
    (f64::from(length) * scale).round().max(1.0) as u32
}

/// Width and height of the canvas of an image of this size that is rotated: nothing is cut off.
pub fn canvas(degrees: f64, (width, height): (u32, u32)) -> (u32, u32) {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (sin, cos) = (sin.abs(), cos.abs());
    let (width, height) = (f64::from(width), f64::from(height));
    let side = |length: f64| (length - EPSILON).ceil().max(1.0) as u32;
    (side(width * cos + height * sin), side(width * sin + height * cos))
}

impl Turn {
    /// For an image of this size, which is rotated onto a canvas that is then resized.
    ///
    /// The image is made smaller before it is rotated, and larger after it.
    pub fn new(degrees: f64, size: (u32, u32), canvas: (u32, u32), resized: (u32, u32)) -> Turn {
        let factor = |to: u32, from: u32| f64::from(to) / f64::from(from.max(1));
        let scale = factor(resized.0, canvas.0).max(factor(resized.1, canvas.1)).min(1.0);
        let loaded = (scaled(size.0, scale), scaled(size.1, scale));
        let mut turned = (scaled(canvas.0, scale), scaled(canvas.1, scale));
        // Of a resize that keeps the aspect ratio, no more is left than what rounding makes.
        if turned.0.abs_diff(resized.0) <= 1 && turned.1.abs_diff(resized.1) <= 1 {
            turned = resized;
        }
        let (sin, cos) = degrees.to_radians().sin_cos();
        let across = factor(size.0, loaded.0);
        let down = factor(size.1, loaded.1);
        let (right, below) = (factor(turned.0, canvas.0), factor(turned.1, canvas.1));
        // The axis y points down, so that a positive angle is clockwise.
        let matrix =
            [cos * across * right, -sin * down * right, sin * across * below, cos * down * below];
        Turn { loaded, canvas: turned, matrix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_holds_every_corner_and_is_no_larger() {
        // 3-4-5 triangles and right angles have whole sides.
        let degrees = 3_f64.atan2(4.0).to_degrees();
        assert_eq!(canvas(degrees, (100, 50)), (110, 100));
        assert_eq!(canvas(180.0 - degrees, (100, 50)), (110, 100));
        assert_eq!(canvas(30.0, (2, 4)), (4, 5));
        assert_eq!(canvas(45.0, (100, 100)), (142, 142));
        for quarters in 0..5 {
            let expected = if quarters % 2 == 1 { (50, 100) } else { (100, 50) };
            assert_eq!(canvas(f64::from(quarters) * 90.0, (100, 50)), expected);
        }
        assert_eq!(canvas(0.01, (1, 1)), (2, 2));
        assert_eq!(canvas(33.0, (0, 0)), (1, 1));
        assert!(canvas(45.0, (u32::MAX, u32::MAX)).0 > 1 << 31);
    }

    #[test]
    fn a_smaller_image_is_resized_before_it_is_rotated() {
        let size = (1000, 500);
        let degrees = 3_f64.atan2(4.0).to_degrees();
        let whole = canvas(degrees, size);
        assert_eq!(whole, (1100, 1000));
        let turn = |resized| Turn::new(degrees, size, whole, resized);
        assert_eq!((turn(whole).loaded, turn(whole).canvas), (size, whole));
        let half = turn((550, 500));
        assert_eq!((half.loaded, half.canvas), ((500, 250), (550, 500)));
        for (found, expected) in half.matrix.into_iter().zip([0.8, -0.6, 0.6, 0.8]) {
            assert!((found - expected).abs() < 1e-9, "{half:?}");
        }
        // Enlarged, and stretched, after it.
        assert_eq!((turn((2200, 2000)).loaded, turn((2200, 2000)).canvas), (size, whole));
        assert_eq!((turn((550, 20)).loaded, turn((550, 20)).canvas), ((500, 250), (550, 500)));
    }
}
