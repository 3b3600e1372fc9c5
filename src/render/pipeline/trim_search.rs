//! Finds the area of an image outside of which every pixel is border.

/// A rectangle. Right and bottom are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub left: u32,
    pub top: u32,
    pub right: u32,
    pub bottom: u32,
}

impl Area {
    /// The smallest one that contains both.
    pub fn union(self, other: Area) -> Area {
        Area {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

/// A search, line by line from the top.
#[derive(Debug)]
pub struct Search<'b> {
    border: &'b [u8],
    tolerance: u8,
    found: Option<Area>,
}

impl Search<'_> {
    /// For pixels that differ from this one, in any of its samples, by more than the tolerance.
    pub fn new(border: &[u8], tolerance: u8) -> Search<'_> {
        Search { border, tolerance, found: None }
    }

    /// The area of the pixels that differ, in the lines so far; `None` if there is none.
    pub fn found(&self) -> Option<Area> {
        self.found
    }

    /// Searches the next lines, of `width` pixels with the samples of the border each, of which the first one is the
    /// line `top` of the image.
    pub fn lines(&mut self, samples: &[u8], width: u32, top: u32) {
        match self.border.len() {
            1 => self.lines_of::<1>(samples, width, top),
            2 => self.lines_of::<2>(samples, width, top),
            3 => self.lines_of::<3>(samples, width, top),
            4 => self.lines_of::<4>(samples, width, top),
            _ => {}
        }
    }

    fn lines_of<const BANDS: usize>(&mut self, samples: &[u8], width: u32, top: u32) {
        let Some(border) = self.border.first_chunk::<BANDS>() else { return };
        let tolerance = self.tolerance;
        let differs = |pixel: &[u8; BANDS]| {
            pixel.iter().zip(border).any(|(one, other)| one.abs_diff(*other) > tolerance)
        };
        let lines = samples.as_chunks::<BANDS>().0.chunks_exact((width as usize).max(1));
        for (line, y) in lines.zip(top..) {
            let Some(first) = line.iter().position(&differs) else { continue };
            // Pixels that are within the area already need not be compared.
            let known = self.found.map_or(0, |area| area.right as usize).max(first + 1);
            let behind = line.get(known..).unwrap_or_default();
            let right = behind.iter().rposition(&differs).map_or(known, |last| known + last + 1);
            let line = Area { left: first as u32, top: y, right: right as u32, bottom: y + 1 };
            self.found = Some(self.found.map_or(line, |area| area.union(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a search of all pixels finds.
    fn expected(
        samples: &[u8],
        width: u32,
        bands: usize,
        border: &[u8],
        tolerance: u8,
    ) -> Option<Area> {
        let differs = |pixel: &[u8]| {
            (0..bands)
                .any(|n| i32::from(pixel[n]).abs_diff(i32::from(border[n])) > tolerance.into())
        };
        let pixels = samples.chunks(bands).zip(0..).filter(|(pixel, _)| differs(pixel));
        pixels
            .map(|(_, n)| (n % width, n / width))
            .map(|(x, y)| Area { left: x, top: y, right: x + 1, bottom: y + 1 })
            .reduce(Area::union)
    }

    #[test]
    fn the_area_is_that_of_all_pixels_which_differ() {
        let mut state = 1_u32;
        let mut random = |limit: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % limit
        };
        let mut with_content = 0;
        for round in 0..3000 {
            let bands = round % 4 + 1;
            let (width, height) = (random(12) + 1, random(12) + 1);
            let border: Vec<u8> = (0..bands).map(|_| random(256) as u8).collect();
            let tolerance = [0, 1, 14, 255][random(4) as usize];
            let mut samples = border.repeat((width * height) as usize);
            for _ in 0..random(4) {
                let at = random(samples.len() as u32) as usize;
                samples[at] = random(256) as u8;
            }
            let mut search = Search::new(&border, tolerance);
            let strip = (random(height) + 1) as usize * width as usize * bands;
            for (n, lines) in samples.chunks(strip).enumerate() {
                search.lines(lines, width, (n * strip) as u32 / width / bands as u32);
            }
            let expected = expected(&samples, width, bands, &border, tolerance);
            assert_eq!(search.found(), expected, "{width} × {height}: {samples:?}");
            with_content += u32::from(expected.is_some());
        }
        assert!(with_content > 500, "{with_content}");
    }

    #[test]
    fn a_difference_as_large_as_the_tolerance_is_border() {
        for (value, expected) in [(90, false), (89, true), (110, false), (111, true)] {
            let mut search = Search::new(&[100], 10);
            search.lines(&[value], 1, 0);
            assert_eq!(search.found().is_some(), expected, "{value}");
        }
    }
}
