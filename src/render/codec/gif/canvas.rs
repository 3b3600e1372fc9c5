//! Draws the frames of a GIF on its canvas, as browsers do.
//!
//! The rules that the specification leaves open are those of Chromium 156, whose results are the expected values of the
//! tests.

use super::area::Area;
use super::blocks::{Block, Blocks, Disposal, Frame};
use super::decompress::{Decompressor, End};
use super::inspect::canvas_size;

/// Red, green, blue and opacity, which is 0 or 255.
pub type Pixel = [u8; 4];

pub const TRANSPARENT: Pixel = [0; 4];
/// What an index shows that is not in the colour table.
const NO_COLOUR: Pixel = [0, 0, 0, 255];
/// First row and distance of the rows in each pass of an interlaced frame (appendix E).
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];

/// Draws one frame after the other.
#[derive(Debug)]
pub struct Canvas<'b> {
    blocks: Blocks<'b>,
    next: Option<Frame<'b>>,
    size: (usize, usize),
    pixels: Vec<Pixel>,
    is_opaque: bool,
    /// The area of the last frame and its disposal.
    last: (Area, Disposal),
    /// What the area showed before the last frame, if it is to show that again.
    saved: Vec<Pixel>,
    indices: Vec<u8>,
    decompressor: Decompressor,
}

/// A frame that has been drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// In hundredths of a second.
    pub delay: u16,
    /// The pixels outside of it are the same as in the frame before.
    pub changed: Area,
    pub end: End,
}

impl<'b> Canvas<'b> {
    /// A transparent canvas. `None` if the file has no complete logical screen descriptor.
    pub fn new(bytes: &'b [u8]) -> Option<Canvas<'b>> {
        let mut blocks = Blocks::new(bytes)?;
        let next = next_frame(&mut blocks);
        let size = canvas_size(blocks.screen, next.as_ref());
        Some(Canvas {
            blocks,
            next,
            size,
            pixels: vec![TRANSPARENT; size.0.checked_mul(size.1)?],
            is_opaque: false,
            last: (Area::default(), Disposal::Keep),
            saved: Vec::new(),
            indices: Vec::new(),
            decompressor: Decompressor::new(),
        })
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// The rows of the canvas, from the top.
    pub fn pixels(&self) -> &[Pixel] {
        &self.pixels
    }

    /// Takes the pixels away, after the last frame.
    pub fn take_pixels(&mut self) -> Vec<Pixel> {
        std::mem::take(&mut self.pixels)
    }

    pub fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    /// Draws the next frame; `None` after the last one. A frame that is damaged is drawn as far as it goes.
    pub fn draw_next<E>(
        &mut self,
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<Option<Drawn>, E> {
        let Some(frame) = self.next.take() else { return Ok(None) };
        self.next = next_frame(&mut self.blocks);
        check()?;
        let disposed = self.dispose();
        let area = frame.area.intersection(Area::whole(self.size.0, self.size.1));
        if frame.control.disposal == Disposal::Restore {
            self.saved.clear();
            for row in area.rows(self.size.0) {
                self.saved.extend_from_slice(self.pixels.get(row).unwrap_or_default());
            }
        }
        let (drawn, end) = self.draw(&frame, area, &mut check)?;
        self.last = (area, frame.control.disposal);
        self.is_opaque = self.is_opaque || self.pixels.iter().all(|pixel| pixel[3] == 255);
        Ok(Some(Drawn { delay: frame.control.delay, changed: disposed.union(drawn), end }))
    }

    /// Disposes of the last frame. Returns the area that has changed.
    fn dispose(&mut self) -> Area {
        let (area, disposal) = self.last;
        let rows = area.rows(self.size.0);
        match disposal {
            Disposal::Keep => return Area::default(),
            Disposal::Clear => {
                for row in rows {
                    self.pixels.get_mut(row).unwrap_or_default().fill(TRANSPARENT);
                }
            }
            Disposal::Restore => {
                for (row, saved) in rows.zip(self.saved.chunks_exact(area.width().max(1))) {
                    self.pixels.get_mut(row).unwrap_or_default().copy_from_slice(saved);
                }
            }
        }
        self.is_opaque &= area.is_empty();
        area
    }

    /// Decompresses a frame and draws the part of it that is on the canvas. Returns the area that has changed.
    fn draw<E>(
        &mut self,
        frame: &Frame,
        area: Area,
        check: &mut impl FnMut() -> Result<(), E>,
    ) -> Result<(Area, End), E> {
        let width = frame.area.width();
        // Rows below the canvas come last, unless the frame is interlaced.
        let rows = if frame.is_interlaced || area.is_empty() {
            frame.area.height()
        } else {
            area.height()
        };
        // An empty frame has no data, or any.
        let count = if area.is_empty() { 0 } else { width * rows };
        self.indices.resize(count, 0);
        let (drawn, end) =
            self.decompressor.run(frame.data, frame.code_size, &mut self.indices, &mut *check)?;
        let indices = self.indices.get(..drawn).unwrap_or_default();
        let palette = Palette::new(frame);
        let mut changed = Area::default();
        for (line, y) in indices.chunks(width.max(1)).zip(lines(frame, rows)) {
            let y = frame.area.top + y;
            if y >= self.size.1 {
                continue;
            }
            check()?;
            let start = y * self.size.0 + area.left;
            if let Some(row) = self.pixels.get_mut(start..start + area.width()) {
                let (first, end) = palette.draw(line, row);
                let (left, right) = (area.left + first, area.left + end);
                changed = changed.union(Area { left, top: y, right, bottom: y + 1 });
            }
        }
        Ok((changed, end))
    }
}

fn next_frame<'b>(blocks: &mut Blocks<'b>) -> Option<Frame<'b>> {
    blocks.find_map(|block| match block {
        Block::Frame(frame) => Some(frame),
        Block::Extension(..) => None,
    })
}

/// The rows of a frame in the order of its data.
fn lines(frame: &Frame, rows: usize) -> impl Iterator<Item = usize> {
    let passes: &[(usize, usize)] = if frame.is_interlaced { &PASSES } else { &[(0, 1)] };
    passes.iter().flat_map(move |(first, step)| (*first..rows).step_by(*step))
}

/// The pixel of each index.
struct Palette {
    pixels: [Pixel; 256],
    has_transparent: bool,
}

impl Palette {
    fn new(frame: &Frame) -> Palette {
        let mut pixels = [NO_COLOUR; 256];
        for (pixel, colour) in pixels.iter_mut().zip(frame.table.as_chunks().0) {
            let [red, green, blue] = *colour;
            *pixel = [red, green, blue, 255];
        }
        if let Some(index) = frame.control.transparent
            && let Some(pixel) = pixels.get_mut(usize::from(index))
        {
            *pixel = TRANSPARENT;
        }
        Palette { pixels, has_transparent: frame.control.transparent.is_some() }
    }

    /// Draws a row. Returns where the first pixel that changes is, and the end of the last one.
    fn draw(&self, indices: &[u8], row: &mut [Pixel]) -> (usize, usize) {
        let differs = |(pixel, index): (&Pixel, &u8)| {
            let colour = self.pixels[usize::from(*index)];
            *pixel != colour && !(self.has_transparent && colour == TRANSPARENT)
        };
        let mut pairs = row.iter().zip(indices);
        let Some(first) = pairs.clone().position(differs) else { return (0, 0) };
        let end = pairs.rposition(differs).map_or(first, |last| last + 1);
        let changed = row.get_mut(first..end).unwrap_or_default().iter_mut();
        let pairs = changed.zip(indices.get(first..end).unwrap_or_default());
        if self.has_transparent {
            for (pixel, index) in pairs {
                let colour = self.pixels[usize::from(*index)];
                if colour != TRANSPARENT {
                    *pixel = colour;
                }
            }
        } else {
            pairs.for_each(|(pixel, index)| *pixel = self.pixels[usize::from(*index)]);
        }
        (first, end)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::render::codec::gif::inspect::{inspect, summarize};

    fn unstopped() -> Result<(), Infallible> {
        Ok(())
    }

    fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/gif/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn letters(canvas: &Canvas) -> String {
        let letter = |pixel: &Pixel| match pixel {
            [255, 255, 255, 255] => 'W',
            [255, 0, 0, 255] => 'R',
            [0, 255, 0, 255] => 'G',
            [0, 0, 255, 255] => 'B',
            [0, 0, 0, 255] => 'K',
            [0, 0, 0, 0] => '.',
            _ => '?',
        };
        let rows = canvas.pixels().chunks(canvas.size().0);
        rows.map(|row| row.iter().map(letter).collect()).collect::<Vec<String>>().join("|")
    }

    /// The expected values are what Chromium shows (tests/data/generate-gif.py).
    #[test]
    fn frames_are_drawn_as_browsers_do() {
        let manifest = String::from_utf8(data("MANIFEST.tsv")).unwrap();
        assert!(manifest.lines().count() > 40);
        for line in manifest.lines().skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, how, expected] = fields[..] else { panic!("{line}") };
            let bytes = data(name);
            let mut canvas = Canvas::new(&bytes).unwrap();
            let mut shown = Vec::new();
            let mut ends = Vec::new();
            let mut before = canvas.pixels().to_vec();
            while let Some(drawn) = canvas.draw_next(unstopped).unwrap() {
                shown.push(letters(&canvas));
                ends.push(drawn.end);
                assert_eq!(canvas.is_opaque(), !letters(&canvas).contains('.'), "{name}");
                // Outside of the changed area nothing has changed.
                for row in drawn.changed.rows(canvas.size().0) {
                    before[row.clone()].copy_from_slice(&canvas.pixels()[row]);
                }
                assert_eq!(before, canvas.pixels(), "{name}: {:?}", drawn.changed);
            }
            assert_eq!(shown, expected.split(' ').collect::<Vec<_>>(), "{name}");
            let end = match how {
                "ok" => End::Complete,
                "damaged" => End::Damaged,
                _ => End::Short,
            };
            assert!(ends.contains(&end), "{name}: {ends:?}");
            assert!(how != "ok" || ends.iter().all(|end| *end == End::Complete), "{name}");

            let summary = summarize(&bytes).unwrap();
            let info = inspect(&bytes).unwrap();
            let size = (canvas.size().0 as u32, canvas.size().1 as u32);
            assert_eq!((summary.width, summary.height), size, "{name}");
            assert_eq!((info.width, info.height), size, "{name}");
            assert_eq!((summary.frames, info.frames), (shown.len() as u32, shown.len() as u32));
            assert_eq!(info.truncated_frame.is_some(), how == "truncated", "{name}");
            assert!(
                how != "ok" || summary.may_have_transparency || !expected.contains('.'),
                "{name} has transparency"
            );
        }
    }

    #[test]
    fn drawing_can_be_stopped() {
        let bytes = data("clear.gif");
        let mut canvas = Canvas::new(&bytes).unwrap();
        assert_eq!(canvas.draw_next(|| Err("stopped")), Err("stopped"));
    }

    #[test]
    fn cut_and_changed_files_are_drawn_without_a_panic() {
        let manifest = String::from_utf8(data("MANIFEST.tsv")).unwrap();
        let mut state = 1_u32;
        for name in manifest.lines().skip(1).filter_map(|line| line.split('\t').next()) {
            let whole = data(name);
            for end in 0..whole.len() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let mut changed = whole.clone();
                changed[end] = (state >> 24) as u8;
                for bytes in [&whole[..end], &changed] {
                    let size = summarize(bytes)
                        .map_or(0, |found| u64::from(found.width) * u64::from(found.height));
                    if size > 100_000 {
                        continue;
                    }
                    let Some(mut canvas) = Canvas::new(bytes) else { continue };
                    let mut count = 0;
                    while canvas.draw_next(unstopped).unwrap().is_some() {
                        count += 1;
                    }
                    assert_eq!(summarize(bytes).unwrap().frames, count);
                }
            }
        }
    }
}
