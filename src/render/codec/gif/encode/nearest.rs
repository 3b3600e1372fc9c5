//! Finds the nearest colour of a palette, for many pixels.
//!
//! The RGB cube is divided into cells. The colours of the palette that are nearest to some point of a cell, mostly
//! two or three, are listed when its first pixel is searched; a pixel is compared with these alone.

/// Red, green and blue.
pub type Colour = [u8; 3];

/// Cells are 1 << `SIDE` wide.
const SIDE: u32 = 3;
/// Cells in each direction.
const CELLS: usize = 256 >> SIDE;

/// A palette and the cells that have been listed.
pub struct Nearest<'p> {
    palette: &'p [Colour],
    /// Start and length of the list of each cell; a length of 0 if it has not been listed.
    cells: Vec<(u32, u16)>,
    lists: Vec<u8>,
}

impl<'p> Nearest<'p> {
    /// A palette of at most 256 colours.
    pub fn new(palette: &'p [Colour]) -> Nearest<'p> {
        Nearest { palette, cells: vec![(0, 0); CELLS * CELLS * CELLS], lists: Vec::new() }
    }

    /// The number of colours.
    pub fn len(&self) -> usize {
        self.palette.len()
    }

    /// The index of the nearest colour, and its squared distance. In an empty palette it is 0.
    pub fn find(&mut self, colour: Colour) -> (u8, u32) {
        let [red, green, blue] = colour.map(|value| usize::from(value >> SIDE));
        let cell = (red * CELLS + green) * CELLS + blue;
        let list = match self.cells.get(cell) {
            Some(&(start, length)) if length > 0 => (start, length),
            _ => self.list(cell, colour),
        };
        let start = list.0 as usize;
        let candidates = self.lists.get(start..start + usize::from(list.1)).unwrap_or_default();
        let mut best = (0, u32::MAX);
        for index in candidates {
            let Some(candidate) = self.palette.get(usize::from(*index)) else { continue };
            let distance = distance(*candidate, colour);
            if distance < best.1 {
                best = (*index, distance);
            }
        }
        best
    }

    fn list(&mut self, cell: usize, colour: Colour) -> (u32, u16) {
        let start = self.lists.len();
        list_candidates(self.palette, colour, &mut self.lists);
        let length = u16::try_from(self.lists.len() - start).unwrap_or(0);
        let list = (u32::try_from(start).unwrap_or(0), length);
        if let Some(cell) = self.cells.get_mut(cell) {
            *cell = list;
        }
        list
    }
}

/// Lists the colours that are nearest to some point in the cell of this colour: their least distance to the cell is
/// not more than the greatest distance of any other.
fn list_candidates(palette: &[Colour], colour: Colour, list: &mut Vec<u8>) {
    let low = colour.map(|value| i32::from(value >> SIDE << SIDE));
    let mut bounds = [(0_u32, 0_u32); 256];
    let mut limit = u32::MAX;
    for (bound, candidate) in bounds.iter_mut().zip(palette) {
        for (value, low) in candidate.iter().zip(low) {
            let high = low + (1 << SIDE) - 1;
            let value = i32::from(*value);
            let near = (low - value).max(value - high).max(0).unsigned_abs();
            let far = (value - low).max(high - value).unsigned_abs();
            bound.0 += near * near;
            bound.1 += far * far;
        }
        limit = limit.min(bound.1);
    }
    let near = (0..=u8::MAX).zip(bounds).take(palette.len());
    list.extend(near.filter(|(_, (least, _))| *least <= limit).map(|(index, _)| index));
}

fn distance(one: Colour, other: Colour) -> u32 {
    one.into_iter().zip(other).map(|(one, other)| u32::from(one.abs_diff(other)).pow(2)).sum()
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
        for count in [1, 2, 7, 60, 254, 256] {
            let palette: Vec<Colour> =
                (0..count).map(|_| [random(), random() / 4, random() / 2 + 99]).collect();
            let mut nearest = Nearest::new(&palette);
            for _ in 0..3000 {
                let colour = [random(), random(), random()];
                let (index, found) = nearest.find(colour);
                let least = palette.iter().map(|candidate| distance(*candidate, colour)).min();
                assert_eq!(Some(found), least, "{colour:?} of {count}");
                assert_eq!(distance(palette[usize::from(index)], colour), found);
            }
        }
        assert_eq!(Nearest::new(&[]).find([1, 2, 3]).0, 0);
    }
}
