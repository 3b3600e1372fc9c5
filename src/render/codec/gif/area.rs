//! Rectangles of pixels.

use std::ops::Range;

/// A rectangle. Right and bottom are exclusive; it is empty if they are not greater than left and top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Area {
    /// The rectangle from the origin to this size.
    pub fn whole(width: usize, height: usize) -> Area {
        Area { left: 0, top: 0, right: width, bottom: height }
    }

    pub fn width(self) -> usize {
        self.right.saturating_sub(self.left)
    }

    pub fn height(self) -> usize {
        self.bottom.saturating_sub(self.top)
    }

    pub fn is_empty(self) -> bool {
        self.width() == 0 || self.height() == 0
    }

    pub fn intersection(self, other: Area) -> Area {
        Area {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// The smallest rectangle around both.
    pub fn union(self, other: Area) -> Area {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Area {
                left: self.left.min(other.left),
                top: self.top.min(other.top),
                right: self.right.max(other.right),
                bottom: self.bottom.max(other.bottom),
            },
        }
    }

    /// The range of each of its rows in an image of this width, from the top.
    pub fn rows(self, width: usize) -> impl Iterator<Item = Range<usize>> {
        let count = if self.is_empty() { 0 } else { self.height() };
        (self.top..).take(count).map(move |y| y * width + self.left..y * width + self.right)
    }

    /// The smallest rectangle around the pixels for which `differs` holds of the pixels of two images of this width.
    pub fn around<T: Copy>(
        one: &[T],
        other: &[T],
        width: usize,
        differs: impl Fn(T, T) -> bool,
    ) -> Area {
        let mut found = Area::default();
        let rows = one.chunks_exact(width.max(1)).zip(other.chunks_exact(width.max(1)));
        for (y, (one, other)) in rows.enumerate() {
            let mut pairs = one.iter().zip(other).map(|(one, other)| differs(*one, *other));
            let Some(left) = pairs.position(|differs| differs) else { continue };
            let right = one
                .iter()
                .zip(other)
                .rposition(|(one, other)| differs(*one, *other))
                .map_or(left, |last| last + 1);
            found = found.union(Area { left, top: y, right, bottom: y + 1 });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn area(left: usize, top: usize, right: usize, bottom: usize) -> Area {
        Area { left, top, right, bottom }
    }

    #[test]
    fn areas_are_joined_and_intersected() {
        let some = area(1, 2, 4, 6);
        assert_eq!((some.width(), some.height()), (3, 4));
        assert_eq!(some.intersection(area(3, 0, 9, 3)), area(3, 2, 4, 3));
        assert!(some.intersection(area(4, 0, 9, 9)).is_empty());
        assert_eq!(some.union(area(9, 9, 9, 12)), some, "an empty one is nowhere");
        assert_eq!(area(3, 3, 2, 9).union(some), some);
        assert_eq!(some.union(area(0, 5, 2, 9)), area(0, 2, 4, 9));
        assert_eq!(area(1, 1, 3, 3).rows(5).collect::<Vec<_>>(), [6..8, 11..13]);
        assert_eq!(area(3, 1, 3, 3).rows(5).count(), 0);
    }

    #[test]
    fn the_area_around_differences_is_found() {
        let one = [0_u8; 12];
        let mut other = one;
        assert!(Area::around(&one, &other, 4, |one, other| one != other).is_empty());
        other[5] = 1;
        other[11] = 1;
        let found = Area::around(&one, &other, 4, |one, other| one != other);
        assert_eq!(found, area(1, 1, 4, 3));
    }
}
