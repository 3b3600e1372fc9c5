//! Finds the part of each frame that has to be written: what is the same as before is left out.

use super::delays;
use crate::render::codec::gif::area::Area;

/// A frame that is written. Frames that are equal to it and come right after it are a part of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of the frame.
    pub frame: usize,
    pub area: Area,
    /// Whether the area becomes transparent before the next frame.
    pub clears: bool,
    /// In milliseconds.
    pub delay: u32,
}

/// The frames of an animation: pixels or indices.
#[derive(Debug)]
pub struct Frames<'p, T> {
    pub pixels: &'p [T],
    pub width: usize,
    /// Pixels in a frame.
    pub length: usize,
    /// The transparent one.
    pub clear: T,
}

impl<'p, T: Copy + PartialEq> Frames<'p, T> {
    pub fn frame(&self, number: usize) -> &'p [T] {
        let start = number * self.length;
        self.pixels.get(start..start + self.length).unwrap_or_default()
    }

    /// What the canvas shows before the frame after this part is drawn.
    pub fn canvas_after(&self, part: Part) -> Vec<T> {
        let mut canvas = self.frame(part.frame).to_vec();
        if part.clears {
            for row in part.area.rows(self.width) {
                canvas.get_mut(row).unwrap_or_default().fill(self.clear);
            }
        }
        canvas
    }

    /// The parts to write. A pixel can become transparent only where the frame before is cleared as a whole, so that
    /// one is enlarged to all such pixels.
    pub fn parts<E>(
        &self,
        delays: &[u32],
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<Vec<Part>, E> {
        let whole = Area::whole(self.width, self.length / self.width.max(1));
        let mut parts: Vec<Part> = Vec::new();
        for (number, delay) in delays.iter().enumerate() {
            check()?;
            let frame = self.frame(number);
            let Some(last) = parts.last_mut() else {
                parts.push(Part { frame: 0, area: whole, clears: false, delay: *delay });
                continue;
            };
            let before = self.frame(last.frame);
            let mut area = Area::around(before, frame, self.width, |one, other| one != other);
            if area.is_empty()
                && let Some(joined) = delays::joined(last.delay, *delay)
            {
                last.delay = joined;
                continue;
            }
            let cleared = Area::around(before, frame, self.width, |before, after| {
                after == self.clear && before != self.clear
            });
            if !cleared.is_empty() {
                last.clears = true;
                last.area = last.area.union(cleared);
                let canvas = self.canvas_after(*last);
                area = Area::around(&canvas, frame, self.width, |one, other| one != other);
            }
            if area.is_empty() {
                area = Area::whole(1, 1);
            }
            parts.push(Part { frame: number, area, clears: false, delay: *delay });
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws the parts again and compares each with its frame.
    fn parts(frames: &[&str], delays: &[u32]) -> Vec<Part> {
        let pixels = frames.concat().into_bytes();
        let length = frames[0].len();
        let frames = Frames { pixels: &pixels, width: 4, length, clear: b'.' };
        let parts = frames.parts(delays, || Ok::<(), ()>(())).unwrap();
        let mut canvas = vec![b'.'; length];
        for part in &parts {
            let frame = frames.frame(part.frame);
            for row in part.area.rows(4) {
                for at in row {
                    if frame[at] != b'.' {
                        canvas[at] = frame[at];
                    }
                }
            }
            assert_eq!(canvas, frame, "{part:?}");
            if part.clears {
                part.area.rows(4).for_each(|row| canvas[row].fill(b'.'));
            }
            assert_eq!(canvas, frames.canvas_after(*part));
        }
        parts
    }

    #[test]
    fn only_what_has_changed_is_written() {
        let found = parts(&["aaaaaaaa", "aabaaaca", "aabaaaca", "aabaaaaa"], &[20, 30, 40, 50]);
        let area = |left, top, right, bottom| Area { left, top, right, bottom };
        let expected = [
            Part { frame: 0, area: area(0, 0, 4, 2), clears: false, delay: 20 },
            Part { frame: 1, area: area(2, 0, 3, 2), clears: false, delay: 70 },
            Part { frame: 3, area: area(2, 1, 3, 2), clears: false, delay: 50 },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_frames_that_browsers_show_for_100_ms_stay_several() {
        let found = parts(&["aaaa", "aaaa", "aaaa"], &[0, 0, 20]);
        assert_eq!(found.iter().map(|part| part.delay).collect::<Vec<_>>(), [0, 0, 20]);
        assert_eq!(found[1].area, Area::whole(1, 1));
    }

    #[test]
    fn pixels_become_transparent() {
        parts(&["aaaaaaaa", "a..aaaaa", "a..aaaaa", "ab.aaaaa"], &[20, 20, 0, 20]);
        parts(&["........", "aa......", "..aa....", "....aa..", "........"], &[20; 5]);
        let found = parts(&["a.......", "ab......", "ab.....c", ".b.....c", ".b......"], &[20; 5]);
        assert!(found.iter().filter(|part| part.clears).count() == 2, "{found:?}");
    }
}
