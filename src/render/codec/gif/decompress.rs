//! LZW decompression (GIF89a appendix F).
//!
//! Every string of the code table is a part of the pixels that have been decompressed so far: a new one is the last
//! string and the pixel after it. So the table holds positions in the output.

use super::blocks::sub_blocks;

/// Codes have at most 12 bits.
const MAX_BITS: u32 = 12;
const MAX_CODES: usize = 1 << MAX_BITS;
/// The largest minimum code size. With more than 8 bits, pixels would not be indices of a colour table.
const MAX_CODE_SIZE: u8 = 8;
/// A string has at most as many pixels as there are codes, so this many codes take a few milliseconds at most.
const CODES_PER_CHECK: u32 = 4096;

/// How the data of a frame ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All pixels are there.
    Complete,
    /// The data ends before the last pixel.
    Short,
    /// A code is not in the table.
    Damaged,
}

/// Buffers for any number of frames.
#[derive(Debug)]
pub struct Decompressor {
    /// Position and length of the string of each code.
    strings: Vec<(u32, u32)>,
    data: Vec<u8>,
}

/// Takes codes from bytes, the lowest bits first.
struct Bits<'d> {
    bytes: &'d [u8],
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    fn take(&mut self, width: u32) -> Option<usize> {
        if self.count < width {
            if let Some((word, rest)) = self.bytes.split_first_chunk::<4>() {
                self.buffer |= u64::from(u32::from_le_bytes(*word)) << self.count;
                self.count += 32;
                self.bytes = rest;
            } else {
                for byte in self.bytes {
                    self.buffer |= u64::from(*byte) << self.count;
                    self.count += 8;
                }
                self.bytes = &[];
                if self.count < width {
                    return None;
                }
            }
        }
        let code = self.buffer & ((1 << width) - 1);
        self.buffer >>= width;
        self.count -= width;
        usize::try_from(code).ok()
    }
}

impl Decompressor {
    pub fn new() -> Decompressor {
        Decompressor { strings: vec![(0, 0); MAX_CODES], data: Vec::new() }
    }

    /// Decompresses data sub-blocks into `pixels`. Returns how many of them are there, from the first one on. More data
    /// than pixels is ignored.
    pub fn run<E>(
        &mut self,
        blocks: &[u8],
        code_size: u8,
        pixels: &mut [u8],
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<(usize, End), E> {
        if pixels.is_empty() {
            return Ok((0, End::Complete));
        }
        if code_size > MAX_CODE_SIZE {
            return Ok((0, End::Damaged));
        }
        self.data.clear();
        sub_blocks(blocks).for_each(|block| self.data.extend_from_slice(block));
        let mut bits = Bits { bytes: &self.data, buffer: 0, count: 0 };
        let clear = 1_usize << code_size;
        let end = clear + 1;
        let first_width = u32::from(code_size) + 1;
        let mut width = first_width;
        let mut next = end + 1;
        let mut last: Option<(usize, usize)> = None;
        let mut at = 0_usize;
        let mut until_check = CODES_PER_CHECK;
        while let Some(code) = bits.take(width) {
            until_check -= 1;
            if until_check == 0 {
                until_check = CODES_PER_CHECK;
                check()?;
            }
            if code == clear {
                width = first_width;
                next = end + 1;
                last = None;
                continue;
            }
            let room = pixels.len() - at;
            let length = if code < clear {
                let Some(pixel) = pixels.get_mut(at) else { break };
                *pixel = u8::try_from(code).unwrap_or(0);
                1
            } else if code == end {
                return Ok((at, End::Short));
            } else if code < next {
                let Some((start, length)) = self.strings.get(code) else { break };
                let (start, length) = (*start as usize, (*length as usize).min(room));
                copy(pixels, start, at, length);
                length
            } else if let (true, Some((start, length))) = (code == next, last) {
                // The last string and its own first pixel, which comes after it.
                let length = (length + 1).min(room);
                copy(pixels, start, at, length);
                length
            } else {
                return Ok((at, End::Damaged));
            };
            if let Some((start, length)) = last
                && next < MAX_CODES
            {
                if let Some(string) = self.strings.get_mut(next) {
                    *string = (u32::try_from(start).unwrap_or(0), length as u32 + 1);
                }
                next += 1;
            }
            if next == 1 << width && width < MAX_BITS {
                width += 1;
            }
            last = Some((at, length));
            at += length;
            if at == pixels.len() {
                return Ok((at, End::Complete));
            }
        }
        Ok((at, End::Short))
    }
}

/// Copies pixels forward, one after the other: a source that reaches into its copy repeats it.
fn copy(pixels: &mut [u8], start: usize, to: usize, length: usize) {
    let apart = to - start;
    if length <= apart {
        pixels.copy_within(start..start + length, to);
    } else {
        pixels.copy_within(start..to, to);
        for at in to + apart..to + length {
            pixels[at] = pixels[at - apart];
        }
    }
}
