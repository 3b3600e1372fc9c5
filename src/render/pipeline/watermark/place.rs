//! The size and the position of a watermark in a result.

use crate::options::{Length, Placement, Position};

const WHOLE: i64 = 10_000;

/// The box that a watermark fits into.
pub fn box_of(placement: &Placement, (width, height): (u32, u32)) -> (u32, u32) {
    let part = |side: u32| match placement.size {
        None => side,
        Some(size) => part_of(side, size.into()).clamp(1, side.into()) as u32,
    };
    (part(width), part(height))
}

/// The upper left corner of a watermark of this size in a result.
pub fn corner(
    placement: &Placement,
    (width, height): (u32, u32),
    (own_width, own_height): (u32, u32),
) -> (u32, u32) {
    let Position(x, y) = placement.position;
    let [offset_x, offset_y] = placement.offset;
    (along(width, own_width, x, offset_x), along(height, own_height, y, offset_y))
}

fn along(side: u32, own: u32, position: u16, offset: Length) -> u32 {
    let free = i64::from(side.saturating_sub(own));
    // Rounded down, as for `g`.
    let at = free * i64::from(position) / WHOLE;
    let offset = pixels(offset, side);
    // From the right and from the bottom, to the left and up.
    let moved = if i64::from(position) > WHOLE / 2 { at - offset } else { at + offset };
    moved.clamp(0, free) as u32
}

/// The distance between copies; more than the result is as much as the result.
pub fn spacing([x, y]: &[Length; 2], (width, height): (u32, u32)) -> (u32, u32) {
    let distance = |length: Length, side: u32| pixels(length, side).clamp(0, side.into()) as u32;
    (distance(*x, width), distance(*y, height))
}

fn pixels(length: Length, side: u32) -> i64 {
    match length {
        Length::Pixels(pixels) => pixels.into(),
        Length::Part(part) => part_of(side, part),
    }
}

/// A part of a side in ten-thousandths, rounded half away from 0.
fn part_of(side: u32, part: i32) -> i64 {
    let product = i64::from(side) * i64::from(part);
    (product + product.signum() * WHOLE / 2) / WHOLE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: Position, offset: [Length; 2]) -> Placement {
        Placement { position, offset, size: None, opacity: 255, tile: None }
    }

    #[test]
    fn offsets_lead_inwards_and_not_out_of_the_result() {
        use Length::{Part, Pixels};
        let zero = [Pixels(0); 2];
        for (position, offset, expected) in [
            (Position(0, 0), zero, (0, 0)),
            (Position(5000, 5000), zero, (45, 22)),
            (Position(10_000, 10_000), zero, (90, 45)),
            (Position(0, 0), [Pixels(3), Pixels(4)], (3, 4)),
            (Position(10_000, 10_000), [Pixels(3), Pixels(4)], (87, 41)),
            (Position(10_000, 0), [Part(1000), Part(1000)], (80, 5)),
            (Position(5000, 5000), [Pixels(-5), Pixels(5)], (40, 27)),
            (Position(5000, 5000), [Part(-4999), Part(9999)], (0, 45)),
            (Position(0, 10_000), [Pixels(-3), Pixels(-4)], (0, 45)),
            (Position(0, 10_000), [Pixels(16_383), Pixels(16_383)], (90, 0)),
        ] {
            let placement = at(position, offset);
            assert_eq!(corner(&placement, (100, 50), (10, 5)), expected, "{placement:?}");
        }
        // As large as the result, and larger, which does not occur.
        let placement = at(Position(5000, 0), [Pixels(7), Pixels(7)]);
        assert_eq!(corner(&placement, (10, 5), (10, 5)), (0, 0));
        assert_eq!(corner(&placement, (1, 1), (10, 5)), (0, 0));
    }

    #[test]
    fn the_box_is_a_part_of_the_result_and_never_empty() {
        let of = |size| Placement { size, ..at(Position(0, 0), [Length::Pixels(0); 2]) };
        assert_eq!(box_of(&of(None), (300, 200)), (300, 200));
        assert_eq!(box_of(&of(Some(10_000)), (300, 200)), (300, 200));
        assert_eq!(box_of(&of(Some(2500)), (301, 202)), (75, 51));
        assert_eq!(box_of(&of(Some(100)), (30, 200)), (1, 2));
        assert_eq!(box_of(&of(Some(100)), (1, 65_500)), (1, 655));
    }

    #[test]
    fn spacing_is_at_most_the_result() {
        let lengths = [Length::Pixels(16_383), Length::Part(500)];
        assert_eq!(spacing(&lengths, (300, 200)), (300, 10));
    }
}
