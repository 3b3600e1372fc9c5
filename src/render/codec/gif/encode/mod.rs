//! Encodes GIFs.
//!
//! Frames of an animation share a palette if one is good enough for all of them. Otherwise a frame for which that of the
//! first frame is not good enough gets its own, and is dithered. Only what changes is written.

mod compress;
mod delays;
mod dither;
mod nearest;
mod palette;
mod parts;
mod write;

use super::canvas::{Pixel, TRANSPARENT};
use compress::{Compressor, code_size, compress};
use nearest::{Colour, Nearest};
use palette::{CLEAR, MAX_COLOURS, Shared};
use parts::{Frames, Part};
use write::{Control, Writer, table_bits};

/// Images to encode.
#[derive(Clone, Copy, Debug)]
pub struct Animation<'p> {
    /// The pixels of all frames, of which each has its own rows. They are opaque or [`TRANSPARENT`].
    pub pixels: &'p [Pixel],
    pub width: u16,
    pub height: u16,
    /// The time of each frame in milliseconds. Its length is the number of frames.
    pub delays: &'p [u32],
    /// How often the animation is shown; 0 is for ever.
    pub plays: u32,
}

/// A pixel of GIF: opaque, or transparent if its opacity is less than 128 of 255.
pub fn to_pixel([red, green, blue, alpha]: [u8; 4]) -> Pixel {
    if alpha < 128 { TRANSPARENT } else { [red, green, blue, 255] }
}

/// A frame, or a part of it, as it is written.
struct Painted {
    /// The compressed indices.
    data: Vec<u8>,
    table: Option<Vec<Colour>>,
    bits: u8,
    /// The index of transparent pixels, if there are any. A part that is cleared always has one: without it, many
    /// decoders clear to the background colour.
    transparent: Option<u8>,
}

/// Encodes an animation, or a still image with one frame.
pub fn encode<E>(
    animation: &Animation,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let Animation { pixels, width, height, .. } = *animation;
    let width = usize::from(width);
    let length = width * usize::from(height);
    let shared = if animation.delays.len() > 1 {
        palette::shared(pixels, width, length, &mut check)?
    } else {
        None
    };
    match shared {
        Some(Shared { colours, indices }) => {
            let frames = Frames { pixels: &indices, width, length, clear: CLEAR };
            let parts = frames.parts(animation.delays, &mut check)?;
            let mut writer = animation.writer(&parts, &colours, colours.len() + 1);
            let delays = delays::to_hundredths(parts.iter().map(|part| part.delay));
            let mut last = None;
            for (part, delay) in parts.iter().zip(delays) {
                let painted = paint_shared(&frames, *part, last, colours.len(), &mut check)?;
                animation.write(&mut writer, *part, delay, &painted);
                last = Some(*part);
            }
            Ok(writer.end())
        }
        None => {
            let frames = Frames { pixels, width, length, clear: TRANSPARENT };
            let parts = frames.parts(animation.delays, &mut check)?;
            let mut delays = delays::to_hundredths(parts.iter().map(|part| part.delay)).into_iter();
            let (Some((first, rest)), Some(delay)) = (parts.split_first(), delays.next()) else {
                return Ok(Vec::new());
            };
            let pixels = frames.frame(0);
            let has_transparent = first.clears || pixels.contains(&TRANSPARENT);
            // Other frames may use its palette, and leave out what is shown.
            let mut painted =
                paint(pixels, width, has_transparent || !rest.is_empty(), &mut check)?;
            painted.transparent = painted.transparent.filter(|_| has_transparent);
            let table = painted.table.take().unwrap_or_default();
            let mut writer = animation.writer(&parts, &table, 1 << painted.bits);
            animation.write(&mut writer, *first, delay, &painted);
            let mut global = Nearest::new(&table);
            let mut last = *first;
            for (part, delay) in rest.iter().zip(delays) {
                let pixels = left_out(&frames, *part, last);
                let width = part.area.width();
                let has_transparent = part.clears || pixels.contains(&TRANSPARENT);
                let painted = match paint_global(&pixels, &mut global, has_transparent, &mut check)?
                {
                    Some(painted) => painted,
                    None => paint(&pixels, width, has_transparent, &mut check)?,
                };
                animation.write(&mut writer, *part, delay, &painted);
                last = *part;
            }
            Ok(writer.end())
        }
    }
}

impl Animation<'_> {
    fn writer(&self, parts: &[Part], table: &[Colour], room: usize) -> Writer {
        let mut writer = Writer::new(self.width, self.height, table, room);
        if parts.len() > 1 {
            writer.plays(self.plays);
        }
        writer
    }

    fn write(&self, writer: &mut Writer, part: Part, delay: u16, painted: &Painted) {
        let Painted { data, table, bits, transparent } = painted;
        if self.delays.len() > 1 || transparent.is_some() {
            writer.control(Control { delay, transparent: *transparent, clears: part.clears });
        }
        writer.frame(part.area, table.as_deref(), *bits, data);
    }
}

/// With a palette of their own: if at least one pixel in this many of a part is shown already, all of those are
/// transparent. Otherwise transparent pixels would end strings of the compression more often than they make them longer.
const STILL_SHARE: usize = 4;
/// With a palette of their own, as many shown pixels in a row are transparent in any case: drawn again with other
/// colours, they would flicker.
const MIN_RUN: usize = 8;

/// With a shared palette: how many pixels of a part are compressed both ways, drawn and transparent.
const TRIED: usize = 1 << 14;

/// How the canvas shows a pixel of a part before the part is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// As it will be, like its neighbours in the row.
    InRun,
    /// As it will be, but not its neighbours.
    Alone,
    Differently,
}

/// Calls `paint` for each pixel of a part.
fn each_pixel<T: Copy + PartialEq, P>(
    frames: &Frames<T>,
    part: Part,
    last: Option<Part>,
    paint: impl Fn(T, Shown) -> P,
) -> Vec<P> {
    let frame = frames.frame(part.frame);
    let canvas = last.map(|last| frames.canvas_after(last));
    let mut painted = Vec::with_capacity(part.area.width() * part.area.height());
    for row in part.area.rows(frames.width) {
        let pixels = frame.get(row.clone()).unwrap_or_default();
        let Some(shown) = canvas.as_ref().and_then(|canvas| canvas.get(row)) else {
            painted.extend(pixels.iter().map(|pixel| paint(*pixel, Shown::Differently)));
            continue;
        };
        let mut rest =
            pixels.iter().zip(shown).map(|(pixel, shown)| (*pixel, pixel == shown)).peekable();
        let mut at = 0;
        while let Some((_, is_shown)) = rest.peek().copied() {
            let run = std::iter::from_fn(|| rest.next_if(|(_, shown)| *shown == is_shown)).count();
            let shown = match is_shown {
                false => Shown::Differently,
                true if run < MIN_RUN => Shown::Alone,
                true => Shown::InRun,
            };
            let run = pixels.get(at..at + run).unwrap_or_default();
            painted.extend(run.iter().map(|pixel| paint(*pixel, shown)));
            at += run.len();
        }
    }
    painted
}

/// Whether so much of a part is shown already that all of that is transparent.
fn is_still<T>(pixels: &[(T, Shown)]) -> bool {
    let still = pixels.iter().filter(|(_, shown)| *shown != Shown::Differently).count();
    still * STILL_SHARE >= pixels.len()
}

/// Paints a part with the shared palette.
///
/// A pixel that is shown already may be transparent. That is smaller where it makes many colours one, and larger where it
/// breaks what repeats, such as a ground over which text scrolls. The number of neighbours that differ tells which; if it
/// is about the same, the first pixels are compressed both ways.
fn paint_shared<E>(
    frames: &Frames<u8>,
    part: Part,
    last: Option<Part>,
    colours: usize,
    check: &mut impl FnMut() -> Result<(), E>,
) -> Result<Painted, E> {
    let transparent = u8::try_from(colours).unwrap_or(CLEAR);
    let indices: Vec<(u8, u8)> =
        each_pixel(frames, part, last, |index, shown| match (index, shown) {
            (CLEAR, _) => (transparent, transparent),
            (_, Shown::Differently) => (index, index),
            (_, Shown::Alone | Shown::InRun) => (transparent, index),
        });
    let differing = |of: fn(&(u8, u8)) -> u8| {
        let neighbours = indices.iter().zip(indices.iter().skip(1));
        neighbours.filter(|(one, other)| of(one) != of(other)).count()
    };
    let (still, drawn) = (differing(|pair| pair.0), differing(|pair| pair.1));
    let is_any_shown = indices.iter().any(|(one, other)| one != other);
    let is_close = is_any_shown && (drawn * 9..=drawn * 12).contains(&(still * 10));
    let mut is_still = is_any_shown && still < drawn;
    let (first, rest) = indices.split_at(if is_close { indices.len().min(TRIED) } else { 0 });
    let own = |(_, index): &(u8, u8)| (*index, *index);
    let bits = table_bits(colours + 1);
    let mut data = Compressor::new(code_size(bits));
    if is_close {
        data.add(first.iter().map(own), &mut *check)?;
        let mut other = Compressor::new(code_size(bits));
        other.add(first.iter().copied(), &mut *check)?;
        is_still = other.len() < data.len();
        if is_still {
            data = other;
        }
    }
    if is_still {
        data.add(rest.iter().copied(), check)?;
    } else {
        data.add(rest.iter().map(own), check)?;
    }
    let is_used = is_still || part.clears || indices.iter().any(|(_, index)| *index == transparent);
    let transparent = is_used.then_some(transparent);
    Ok(Painted { data: data.end(), table: None, bits, transparent })
}

/// The pixels of a part, of which those that are shown already are transparent.
fn left_out(frames: &Frames<Pixel>, part: Part, last: Part) -> Vec<Pixel> {
    let shown = each_pixel(frames, part, Some(last), |pixel, shown| (pixel, shown));
    let is_still = is_still(&shown);
    let draw = |(pixel, shown): &(Pixel, Shown)| match shown {
        Shown::Differently => *pixel,
        Shown::Alone if !is_still => *pixel,
        Shown::Alone | Shown::InRun => TRANSPARENT,
    };
    shown.iter().map(draw).collect()
}

/// Paints a part with the palette of the first frame, if that is good enough.
fn paint_global<E>(
    pixels: &[Pixel],
    global: &mut Nearest,
    has_transparent: bool,
    check: &mut impl FnMut() -> Result<(), E>,
) -> Result<Option<Painted>, E> {
    let transparent = u8::try_from(global.len()).unwrap_or(CLEAR);
    let Some(indices) = palette::indices_if_close(global, pixels, transparent, &mut *check)? else {
        return Ok(None);
    };
    let bits = table_bits(global.len() + 1);
    let data = compress(indices.into_iter().map(|index| (index, index)), code_size(bits), check)?;
    let transparent = has_transparent.then_some(transparent);
    Ok(Some(Painted { data, table: None, bits, transparent }))
}

/// Paints pixels with a palette of their own.
fn paint<E>(
    pixels: &[Pixel],
    width: usize,
    has_transparent: bool,
    check: &mut impl FnMut() -> Result<(), E>,
) -> Result<Painted, E> {
    let max = if has_transparent { MAX_COLOURS } else { MAX_COLOURS + 1 };
    let colours = match palette::exact(pixels, max) {
        Some(colours) => colours,
        None => {
            check()?;
            palette::of_pixels(pixels, max)
        }
    };
    check()?;
    let transparent = u8::try_from(colours.len()).ok().filter(|_| has_transparent);
    let skipped = transparent.unwrap_or(0);
    let indices = dither::dither(pixels, width, &colours, skipped, &mut *check)?;
    let bits = table_bits(colours.len() + usize::from(has_transparent));
    let indices = indices.into_iter().map(|index| (index, index));
    let data = compress(indices, code_size(bits), check)?;
    Ok(Painted { data, table: Some(colours), bits, transparent })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::render::codec::gif::blocks::{Block, Blocks, Frame};
    use crate::render::codec::gif::{Canvas, End, check_only_pixels, summarize};

    fn unstopped() -> Result<(), Infallible> {
        Ok(())
    }

    fn encoded(pixels: &[Pixel], width: u16, height: u16, delays: &[u32]) -> Vec<u8> {
        let animation = Animation { pixels, width, height, delays, plays: 3 };
        encode(&animation, unstopped).unwrap()
    }

    /// The pixels of all frames, each as often as tens of milliseconds.
    fn decoded(bytes: &[u8]) -> Vec<Pixel> {
        assert_eq!(check_only_pixels(bytes), Some(()));
        let mut canvas = Canvas::new(bytes).unwrap();
        let mut pixels = Vec::new();
        while let Some(drawn) = canvas.draw_next(unstopped).unwrap() {
            assert_eq!(drawn.end, End::Complete);
            (0..drawn.delay.max(1)).for_each(|_| pixels.extend_from_slice(canvas.pixels()));
        }
        pixels
    }

    fn random(seed: u32) -> impl FnMut() -> u8 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }
    }

    #[test]
    fn few_colours_are_kept_exactly() {
        let mut random = random(1);
        for colours in [1, 2, 3, 17, 255] {
            for frames in [1, 2, 9] {
                for opaque in [4, 200, 255] {
                    let mut pixels: Vec<Pixel> = Vec::new();
                    for _ in 0..13 * 7 {
                        let shade = (random() as u16 * 3 % colours) as u8;
                        pixels.push([shade, 255 - shade, 9, 255]);
                    }
                    for frame in 1..frames {
                        for at in 0..13 * 7 {
                            let before = pixels[(frame - 1) * 13 * 7 + at];
                            let shade = (random() as u16 * 3 % colours) as u8;
                            pixels.push(match random() {
                                0..100 => before,
                                number if number > opaque => TRANSPARENT,
                                _ => [shade, 255 - shade, 9, 255],
                            });
                        }
                    }
                    let bytes = encoded(&pixels, 13, 7, &vec![20; frames]);
                    // A still image has no delay.
                    let times = if frames > 1 { 2 } else { 1 };
                    let twice: Vec<Pixel> =
                        pixels.chunks(13 * 7).flat_map(|frame| frame.repeat(times)).collect();
                    assert!(decoded(&bytes) == twice, "{colours} {frames} {opaque}");
                    let summary = summarize(&bytes).unwrap();
                    assert_eq!(summary.plays, if summary.frames > 1 { 3 } else { 1 });
                }
            }
        }
    }

    #[test]
    fn a_frame_that_is_cleared_names_a_transparent_index() {
        let mut random = random(3);
        for shades in [2, 250] {
            // Two opaque frames, and one that shows a part only.
            let mut opaque = || -> Vec<Pixel> {
                (0..64 * 32).map(|_| [random() % shades, random() % shades, 9, 255]).collect()
            };
            let mut pixels = [opaque(), opaque()].concat();
            let part = pixels[64 * 32..].to_vec();
            pixels.extend(part.iter().enumerate().map(|(at, pixel)| match at % 64 {
                0..40 => TRANSPARENT,
                _ => *pixel,
            }));
            let bytes = encoded(&pixels, 64, 32, &[20, 20, 20]);
            let flags: Vec<u8> = bytes
                .windows(4)
                .filter(|window| window.starts_with(b"\x21\xf9\x04"))
                .map(|window| window[3])
                .collect();
            assert!(flags.contains(&(2 << 2 | 1)), "{shades}: {flags:?}");
            assert!(!flags.contains(&(2 << 2)), "{shades}: {flags:?}");
        }
    }

    #[test]
    fn a_still_image_has_up_to_256_colours_and_no_extension() {
        let pixels: Vec<Pixel> = (0..=255).map(|n| [n, n / 2, 9, 255]).collect();
        let bytes = encoded(&pixels, 16, 16, &[0]);
        assert!(!bytes[..13 + 768].is_empty() && bytes[13 + 768] == 0x2c);
        let mut canvas = Canvas::new(&bytes).unwrap();
        canvas.draw_next(unstopped).unwrap();
        assert!(canvas.pixels() == pixels);
    }

    #[test]
    fn many_colours_get_a_palette_for_each_frame_and_still_pixels_do_not_flicker() {
        // The left half is the same in all frames.
        let mut random = random(7);
        let first: Vec<Pixel> =
            (0..64 * 64).map(|n| [(n % 64 * 4) as u8, (n / 16) as u8, random(), 255]).collect();
        let mut pixels = first.clone();
        for _ in 0..2 {
            pixels.extend(first.iter().enumerate().map(|(n, pixel)| match n % 64 {
                0..32 => *pixel,
                _ => [random(), random(), random() / 2, 255],
            }));
        }
        let bytes = encoded(&pixels, 64, 64, &[50, 50, 50]);
        let found = decoded(&bytes);
        assert_eq!(found.len(), 15 * 64 * 64);
        for (number, frame) in found.chunks(64 * 64).enumerate() {
            let expected = &pixels[number / 5 * 64 * 64..];
            let mut sum = 0_u64;
            for (at, (one, other)) in frame.iter().zip(expected).enumerate() {
                assert!(at % 64 >= 32 || *one == found[at], "{number}: {at} flickers");
                for (one, other) in one.iter().zip(other) {
                    sum += u64::from(one.abs_diff(*other)).pow(2);
                }
            }
            let mean = sum / (64 * 64 * 3);
            assert!(mean < 400, "frame {number}: {mean}");
        }
    }

    /// Of each frame, whether it has a transparent index, and a table of its own.
    fn tables(bytes: &[u8]) -> Vec<(bool, bool)> {
        let frames: Vec<Frame> = Blocks::new(bytes)
            .unwrap()
            .filter_map(|block| match block {
                Block::Frame(frame) => Some(frame),
                Block::Extension(..) => None,
            })
            .collect();
        let is_global = |frame: &Frame| frame.table.as_ptr() == frames[0].table.as_ptr();
        let tables = frames.iter();
        tables.map(|frame| (frame.control.transparent.is_some(), !is_global(frame))).collect()
    }

    #[test]
    fn what_is_shown_is_transparent_only_if_that_is_smaller() {
        let mut random = random(11);
        // A few pixels of noise change.
        let noise: Vec<Pixel> = (0..64 * 64).map(|_| [random() % 4 * 60, 9, 99, 255]).collect();
        let mut pixels = noise.clone();
        pixels.extend(noise.iter().enumerate().map(|(n, pixel)| match n % 97 {
            0 => [0, 255, 0, 255],
            _ => *pixel,
        }));
        let bytes = encoded(&pixels, 64, 64, &[10, 10]);
        assert_eq!(tables(&bytes), [(false, false), (true, false)]);
        assert!(decoded(&bytes) == pixels);
        // Columns move over a ground.
        let column = |n: usize, at: usize| match (n + at) % 64 % 7 {
            0 | 2 => [0, 0, 0, 255],
            _ => [250, 250, 250, 255],
        };
        let pixels: Vec<Pixel> =
            [0, 3].into_iter().flat_map(|at| (0..64 * 64).map(move |n| column(n, at))).collect();
        let bytes = encoded(&pixels, 64, 64, &[10, 10]);
        assert_eq!(tables(&bytes), [(false, false), (false, false)]);
        assert!(decoded(&bytes) == pixels);
    }

    #[test]
    fn the_palette_of_the_first_frame_is_used_again_if_it_is_good_enough() {
        let mut random = random(13);
        let (flat, new) = ([40, 80, 120, 255], [255, 0, 255, 255]);
        let first: Vec<Pixel> = (0..64 * 64)
            .map(|n| match n % 64 {
                48.. => flat,
                x => [x as u8 * 4, (n / 16) as u8, random(), 255],
            })
            .collect();
        // A part gets a colour of the first frame, and then one that is far from all of those.
        let with = |colour| {
            let mut pixels = first.clone();
            (8..16).for_each(|y| pixels[y * 64 + 8..y * 64 + 16].fill(colour));
            pixels
        };
        let bytes = encoded(&[first.clone(), with(flat), with(new)].concat(), 64, 64, &[10; 3]);
        let tables: Vec<bool> = tables(&bytes).into_iter().map(|(_, is_own)| is_own).collect();
        assert_eq!(tables, [false, false, true]);
        let shown = decoded(&bytes);
        let at = |frame: usize| shown[frame * 64 * 64 + 10 * 64 + 10];
        assert!(at(1).iter().zip(flat).all(|(one, other)| one.abs_diff(other) < 12), "{:?}", at(1));
        assert_eq!(at(2), new);
    }

    #[test]
    fn encoding_can_be_stopped() {
        let pixels = vec![[9; 4]; 64];
        let animation =
            Animation { pixels: &pixels, width: 8, height: 4, delays: &[20, 20], plays: 0 };
        assert_eq!(encode(&animation, || Err("stopped")), Err("stopped"));
    }
}
