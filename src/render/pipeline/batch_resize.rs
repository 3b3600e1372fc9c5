//! Makes many frames smaller at once, and nothing of one gets into another.
//!
//! A pipeline of libvips for each frame costs more than its pixels. Across, lines have nothing to do with each other, so
//! the frames may lie below each other; down, columns have not, so they may lie beside each other.

use super::resize;
use crate::render::vips::{Error, Image, Space, Value};

/// So many pixels, as wide as the result and as high as the original, are held at the same time.
pub const MOST_PIXELS: u32 = 2 << 20;
/// Width and height of libvips' tiles.
const TILE: u32 = 128;

/// How many frames can be made smaller at once; `None` where that would be of no use.
pub fn at_once(image: &Image, frame_height: u32, (width, height): (u32, u32)) -> Option<u32> {
    let shrinks = width <= image.width() && height <= frame_height;
    let is_bytes = matches!(image.space(), Space::Srgb | Space::Gray);
    let most = MOST_PIXELS / width.saturating_mul(frame_height).max(1);
    (shrinks && is_bytes && most > 1).then_some(most)
}

/// Frames below each other, each at exactly this size, in memory. `clear_is_black` as in [`resize::frames_exactly`].
pub fn scaled<'b>(
    frames: Image<'b>,
    count: u32,
    (width, height): (u32, u32),
    clear_is_black: bool,
) -> Result<Image<'b>, Error> {
    let frame_height = frames.height() / count.max(1);
    let is_transparent = frames.has_transparency();
    let frames =
        if is_transparent && !clear_is_black { resize::weighted(&frames)? } else { frames };
    let narrow = in_tall_parts(resize::scaled(&frames, width, frames.height())?)?.in_memory()?;
    let beside = rearranged(narrow, width, frame_height, width.saturating_mul(count))?;
    let low = resize::scaled(&beside, beside.width(), height)?;
    let low = if is_transparent { resize::unweighted(&low, &beside)? } else { low };
    rearranged(low.in_memory()?, width, count, width)
}

/// Asked for in tiles instead of strips of 16 lines, between which libvips' threads wake each other. A decoder's lines
/// come once and in their order, so only where one tile is as wide as the image.
fn in_tall_parts(image: Image<'_>) -> Result<Image<'_>, Error> {
    match image.width() {
        // The one operation that asks for tiles and copies none.
        ..=TILE => {
            image.made(c"replicate", &[(c"across", Value::Int(1)), (c"down", Value::Int(1))])
        }
        _ => Ok(image),
    }
}

/// The lines of all frames, each so many pixels long, so many being a row: the first ones of all rows come first, then the
/// second ones, and so on, in an image of another width.
fn rearranged(image: Image<'_>, line: u32, in_row: u32, width: u32) -> Result<Image<'_>, Error> {
    let length = line.saturating_mul(image.bands()) as usize;
    let samples = exchanged(image.samples()?, length, in_row as usize);
    image.with_samples(width, &samples)
}

fn exchanged(samples: &[u8], length: usize, in_row: usize) -> Vec<u8> {
    let mut exchanged = Vec::with_capacity(samples.len());
    let row = length.saturating_mul(in_row).max(1);
    for n in 0..in_row {
        let piece = |row| <[u8]>::get(row, n * length..(n + 1) * length);
        samples
            .chunks_exact(row)
            .filter_map(piece)
            .for_each(|piece| exchanged.extend_from_slice(piece));
    }
    exchanged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::vips::Vips;

    const ANIMATION: &[u8] = include_bytes!("../../../tests/data/anim.gif");

    fn animation<'b>() -> Image<'b> {
        let arguments = [(c"n", Value::Int(-1))];
        Vips::start()
            .unwrap()
            .loaded(ANIMATION, c"gifload_buffer", &arguments)
            .unwrap()
            .in_memory()
            .unwrap()
    }

    #[test]
    fn pieces_change_places() {
        assert_eq!(exchanged(b"aabbccddeeff", 2, 3), b"aaddbbeeccff");
        assert_eq!(exchanged(b"aaddbbeeccff", 2, 2), b"aabbccddeeff");
        assert_eq!(exchanged(b"", 2, 2), b"");
        assert_eq!(exchanged(b"aa", 0, 2), b"");
    }

    #[test]
    fn frames_look_as_if_each_were_alone() {
        let all = animation();
        for (width, height) in [(100, 100), (245, 33), (60, 245), (180, 31), (1, 1)] {
            for clear_is_black in [false, true] {
                let some = all.window(0, 0, 245, 245 * 5).unwrap();
                let together = scaled(some, 5, (width, height), clear_is_black).unwrap();
                assert_eq!((together.width(), together.height()), (width, height * 5));
                for n in 0..5 {
                    let frame = all.window(0, n * 245, 245, 245).unwrap();
                    let alone = resize::exactly(frame, width, height).unwrap().in_memory().unwrap();
                    let same =
                        together.window(0, n * height, width, height).unwrap().in_memory().unwrap();
                    let (one, other) = (alone.samples().unwrap(), same.samples().unwrap());
                    let difference: u64 =
                        one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                    assert_eq!(one.len(), other.len());
                    let mean = difference as f64 / one.len() as f64;
                    assert!(mean <= 0.5, "{width} x {height}, frame {n}: {mean}");
                }
            }
        }
    }

    #[test]
    fn many_are_made_in_parts_and_none_where_it_is_of_no_use() {
        let colours: Vec<u8> = (0..12).collect();
        let samples: Vec<u8> = colours.iter().flat_map(|n| vec![n * 20; 600 * 600 * 4]).collect();
        let roll = animation().with_samples(600, &samples).unwrap();
        assert_eq!(at_once(&roll, 600, (500, 500)), Some(6));
        assert_eq!(at_once(&roll, 600, (300, 601)), None);
        assert_eq!(at_once(&roll, 600, (601, 300)), None);
        assert_eq!(at_once(&roll, 7200, (500, 500)), None);
        // Eleven frames are one part and another that is not full.
        let roll = roll.window(0, 0, 600, 600 * 11).unwrap();
        let result =
            resize::frames_exactly(roll, 11, (500, 500), true).unwrap().in_memory().unwrap();
        assert_eq!((result.width(), result.height(), result.frame_height()), (500, 5500, 500));
        let samples = result.samples().unwrap();
        for (frame, n) in samples.chunks_exact(500 * 500 * 4).zip(colours) {
            // Colours of what is transparent are brought back from their weighted ones.
            assert!(frame.chunks_exact(4).all(|pixel| pixel[3] == n * 20), "{n}");
        }
    }
}
