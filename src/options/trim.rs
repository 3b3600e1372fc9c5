//! `trim`: the border that is removed.

use std::fmt;

use super::Colour;
use super::values::{WriteCanonical, whole};

/// Which border is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The largest difference of a channel.
    pub tolerance: u8,
    /// The colour of the border; `None`: that of the upper left pixel.
    pub colour: Option<Colour>,
    pub sides: Sides,
}

/// The sides at which it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides(u8);

/// Two opposite sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opposite {
    /// Left, or top.
    pub first: bool,
    /// Right, or bottom.
    pub last: bool,
    /// Both by the same amount: that of the side with the smaller border.
    pub equally: bool,
}

const LETTERS: [char; 6] = ['l', 'r', 't', 'b', 'h', 'v'];
const AUTO: &str = "auto";

impl Sides {
    const ALL: Sides = Sides(0b00_1111);

    fn parse(text: &str) -> Option<Sides> {
        let mut sides = 0;
        for letter in text.chars() {
            let bit = 1 << LETTERS.iter().position(|known| *known == letter)?;
            if sides & bit != 0 {
                return None;
            }
            sides |= bit;
        }
        let clashes = |both: u8, one: u8| sides & both != 0 && sides & one != 0;
        let is_valid =
            sides != 0 && !clashes(0b01_0000, 0b00_0011) && !clashes(0b10_0000, 0b00_1100);
        is_valid.then_some(Sides(sides))
    }

    /// Left and right.
    pub fn horizontal(self) -> Opposite {
        self.opposite(0, 4)
    }

    /// Top and bottom.
    pub fn vertical(self) -> Opposite {
        self.opposite(2, 5)
    }

    fn opposite(self, first: u8, both: u8) -> Opposite {
        let has = |bit: u8| self.0 >> bit & 1 == 1;
        let equally = has(both);
        Opposite { first: has(first) || equally, last: has(first + 1) || equally, equally }
    }
}

impl Trim {
    pub(super) const RULE: &'static str = "must be a whole number from 0 to 255, then perhaps a colon and auto, rrggbb or rrggbbaa, then perhaps a \
         colon and sides, each once: l, r, t, b, or in place of two h or v; or none";

    /// `tolerance`, `tolerance:colour`, `tolerance:colour:sides` or `none`.
    pub(super) fn parse(text: &str) -> Option<Option<Trim>> {
        if text == "none" {
            return Some(None);
        }
        let mut parts = text.split(':');
        let tolerance = u8::try_from(whole(parts.next()?, 0..=255)?).ok()?;
        let colour = match parts.next() {
            None | Some(AUTO) => None,
            Some(colour) => Some(Colour::parse(colour)?),
        };
        let sides = parts.next().map_or(Some(Sides::ALL), Sides::parse)?;
        parts.next().is_none().then_some(Some(Trim { tolerance, colour, sides }))
    }
}

impl WriteCanonical for Trim {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trim { tolerance, colour, sides } = self;
        write!(f, "{tolerance}")?;
        match colour {
            Some(colour) => write!(f, ":{colour}")?,
            None if *sides == Sides::ALL => return Ok(()),
            None => write!(f, ":{AUTO}")?,
        }
        if *sides == Sides::ALL {
            return Ok(());
        }
        let letters = LETTERS.iter().enumerate().filter(|(bit, _)| sides.0 >> bit & 1 == 1);
        write!(f, ":{}", letters.map(|(_, letter)| *letter).collect::<String>())
    }
}
