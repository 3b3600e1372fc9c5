//! Finds the nearest colour of a palette, for many pixels.
//!
//! The RGB cube is divided into cells. The colours of the palette that are nearest to some point of a cell, mostly
//! two or three, are listed when its first pixel is searched; a pixel is compared with these alone.

/// Cells are 1 << `SIDE` wide.
const SIDE: u32 = 3;
/// Cells in each direction.
const CELLS: usize = 256 >> SIDE;

type Colour = [u8; 3];

/// A palette and the cells that have been listed.
pub struct Nearest<'p> {
    palette: &'p [Colour],
    cells: Vec<Option<Box<[Colour]>>>,
}

impl<'p> Nearest<'p> {
    pub fn new(palette: &'p [Colour]) -> Nearest<'p> {
        Nearest { palette, cells: vec![None; CELLS * CELLS * CELLS] }
    }

    /// The nearest colour of the palette. In an empty palette it is the colour itself.
    pub fn find(&mut self, colour: Colour) -> Colour {
        let [red, green, blue] = colour.map(|value| usize::from(value >> SIDE));
        let Some(cell) = self.cells.get_mut((red * CELLS + green) * CELLS + blue) else {
            return colour;
        };
        let candidates = cell.get_or_insert_with(|| candidates(self.palette, colour));
        match &candidates[..] {
            [only] => *only,
            several => several
                .iter()
                .min_by_key(|candidate| distance(**candidate, colour))
                .copied()
                .unwrap_or(colour),
        }
    }
}

/// The colours that are nearest to some point in the cell of this colour: their least distance to the cell is not
/// more than the greatest distance of any other.
fn candidates(palette: &[Colour], colour: Colour) -> Box<[Colour]> {
    let low = colour.map(|value| i32::from(value >> SIDE << SIDE));
    let high = low.map(|low| low + (1 << SIDE) - 1);
    let bounds = |candidate: &Colour| {
        let mut least = 0;
        let mut greatest = 0;
        for ((value, low), high) in candidate.iter().zip(low).zip(high) {
            let value = i32::from(*value);
            let near = (low - value).max(value - high).max(0);
            let far = (value - low).max(high - value);
            least += near * near;
            greatest += far * far;
        }
        (least, greatest)
    };
    let all: Vec<(i32, i32)> = palette.iter().map(bounds).collect();
    let limit = all.iter().map(|(_, greatest)| *greatest).min().unwrap_or(0);
    palette
        .iter()
        .zip(all)
        .filter(|(_, (least, _))| *least <= limit)
        .map(|(candidate, _)| *candidate)
        .collect()
}

fn distance(one: Colour, other: Colour) -> i32 {
    one.iter().zip(other).map(|(one, other)| (i32::from(*one) - i32::from(other)).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_colour_is_found() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for count in [1, 2, 7, 60, 254] {
            let palette: Vec<Colour> =
                (0..count).map(|_| [random(), random() / 4, random() / 2 + 99]).collect();
            let mut nearest = Nearest::new(&palette);
            for _ in 0..20_000 {
                let colour = [random(), random(), random()];
                let found = nearest.find(colour);
                assert!(palette.contains(&found));
                let least = palette.iter().map(|candidate| distance(*candidate, colour)).min();
                assert_eq!(Some(distance(found, colour)), least, "{colour:?} of {count}");
            }
        }
        assert_eq!(Nearest::new(&[]).find([1, 2, 3]), [1, 2, 3]);
    }
}
