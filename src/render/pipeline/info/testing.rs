//! Images by formula, for which other implementations can be asked as well.

type Pixel = [u8; 4];

fn image(width: usize, height: usize, pixel: impl Fn(usize, usize) -> Pixel) -> Vec<Pixel> {
    (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect()
}

pub fn noise(width: usize, height: usize, has_alpha: bool) -> Vec<Pixel> {
    image(width, height, |x, y| {
        let blue = 255_i32 - x as i32 * 5 - y as i32 * 13;
        let alpha = if has_alpha { x * x + y * y * x + 90 } else { 255 };
        [x * 37 + y * 11, x * x * 3 + y * 7, blue.rem_euclid(256) as usize, alpha]
            .map(|sample| (sample % 256) as u8)
    })
}

pub fn smooth(width: usize, height: usize, has_alpha: bool) -> Vec<Pixel> {
    image(width, height, |x, y| {
        let alpha = if has_alpha { 255 * (x * x + y) / (width * width + height) } else { 255 };
        [255 * x / width, 255 * y / height, 255 * (width - 1 - x) / width, alpha]
            .map(|sample| sample as u8)
    })
}
