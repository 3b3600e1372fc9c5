//! The nearest colours of a palette, for many pixels.
//!
//! The cube of all colours is cut into cells. Which colours of the palette are the nearest of any place in a cell is found
//! out when its first pixel comes: mostly two or three, between which a pixel then chooses.

/// Cells have sides of 1 << this.
const SIDE: u32 = 3;
/// Cells in each direction.
const CELLS: usize = 256 >> SIDE;

type Colour = [u8; 3];

/// A palette that is searched.
pub struct Nearest<'p> {
    palette: &'p [Colour],
    /// Of each cell that was asked for: its colours.
    cells: Vec<Option<Box<[Colour]>>>,
}

impl<'p> Nearest<'p> {
    /// None of this palette is known yet.
    pub fn new(palette: &'p [Colour]) -> Nearest<'p> {
        Nearest { palette, cells: vec![None; CELLS * CELLS * CELLS] }
    }

    /// The colour of the palette that is nearest to this one, which itself comes out of an empty palette.
    pub fn of(&mut self, colour: Colour) -> Colour {
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

/// Those that are the nearest of some place in this colour's cell: no farther from its nearest corner than another is from
/// its farthest.
fn candidates(palette: &[Colour], colour: Colour) -> Box<[Colour]> {
    let low = colour.map(|value| i32::from(value >> SIDE << SIDE));
    let high = low.map(|low| low + (1 << SIDE) - 1);
    let bounds = |candidate: &Colour| {
        let (mut least, mut most) = (0, 0);
        for ((value, low), high) in candidate.iter().zip(low).zip(high) {
            let value = i32::from(*value);
            let (near, far) =
                ((low - value).max(value - high).max(0), (value - low).max(high - value));
            least += near * near;
            most += far * far;
        }
        (least, most)
    };
    let all: Vec<(i32, i32)> = palette.iter().map(bounds).collect();
    let most = all.iter().map(|(_, most)| *most).min().unwrap_or(0);
    palette
        .iter()
        .zip(all)
        .filter(|(_, (least, _))| *least <= most)
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
    fn no_colour_of_the_palette_is_nearer() {
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
                let found = nearest.of(colour);
                assert!(palette.contains(&found));
                let least = palette.iter().map(|candidate| distance(*candidate, colour)).min();
                assert_eq!(Some(distance(found, colour)), least, "{colour:?} of {count}");
            }
        }
        assert_eq!(Nearest::new(&[]).of([1, 2, 3]), [1, 2, 3]);
    }
}
