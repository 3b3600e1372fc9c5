//! A watermark as it is drawn.

/// A watermark in the size of a result, in sRGB.
#[derive(Debug, PartialEq, Eq)]
pub struct Overlay {
    pub width: u32,
    pub height: u32,
    /// Red, green and blue of each pixel.
    pub colours: Vec<u8>,
    /// 255 less the opacity of each pixel.
    pub transparency: Vec<u8>,
    /// Whether no visible pixel has a colour.
    pub is_gray: bool,
}

impl Overlay {
    /// From red, green, blue and opacity of each pixel.
    pub fn new(samples: &[u8], width: u32, height: u32, opacity: u8) -> Overlay {
        let pixels = samples.as_chunks::<4>().0;
        let mut colours = Vec::with_capacity(pixels.len() * 3);
        let mut transparency = Vec::with_capacity(pixels.len());
        let mut is_gray = true;
        for [red, green, blue, alpha] in pixels {
            let alpha = (u32::from(*alpha) * u32::from(opacity) + 127) / 255;
            colours.extend_from_slice(&[*red, *green, *blue]);
            // At most 255.
            transparency.push(255 - alpha as u8);
            is_gray &= alpha == 0 || (red == green && green == blue);
        }
        Overlay { width, height, colours, transparency, is_gray }
    }

    pub fn bytes(&self) -> usize {
        self.colours.len() + self.transparency.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opacity_is_multiplied_and_gray_is_noticed() {
        let pixels = [10, 10, 10, 255, 20, 20, 20, 100, 1, 2, 3, 0];
        let full = Overlay::new(&pixels, 3, 1, 255);
        assert_eq!(full.transparency, [0, 155, 255]);
        assert!(full.is_gray, "a transparent pixel has no colour");
        let half = Overlay::new(&pixels, 3, 1, 128);
        assert_eq!(half.transparency, [255 - 128, 255 - 50, 255]);
        assert!(!Overlay::new(&[1, 2, 3, 1], 1, 1, 255).is_gray);
    }
}
