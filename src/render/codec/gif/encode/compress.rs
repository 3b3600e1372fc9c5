//! LZW compression (GIF89a appendix F).
//!
//! A pixel that has not changed may be transparent or have its own colour: each string goes on with the one that the
//! code table knows.

/// Codes have at most 12 bits.
const MAX_CODES: u32 = 1 << 12;
/// At most half of them are used.
const SLOTS: usize = 1 << 13;
const EMPTY: u32 = u32::MAX;
const MAX_BLOCK: usize = 255;
/// About how many pixels are compressed before it is checked whether to go on.
const PIXELS_PER_CHECK: usize = 1 << 16;

/// The strings of the code table: a code and the pixel that follows it, 20 bits, above the code of both together.
struct Strings(Vec<u32>);

impl Strings {
    fn find(&self, prefix: u32, pixel: u8) -> Option<u32> {
        let key = prefix << 8 | u32::from(pixel);
        let mut slot = slot(key);
        loop {
            match self.0.get(slot).copied() {
                None | Some(EMPTY) => return None,
                Some(string) if string >> 12 == key => return Some(string & (MAX_CODES - 1)),
                Some(_) => slot = (slot + 1) % SLOTS,
            }
        }
    }

    fn add(&mut self, prefix: u32, pixel: u8, code: u32) {
        let key = prefix << 8 | u32::from(pixel);
        let mut slot = slot(key);
        while self.0.get(slot).is_some_and(|string| *string != EMPTY) {
            slot = (slot + 1) % SLOTS;
        }
        if let Some(free) = self.0.get_mut(slot) {
            *free = key << 12 | code;
        }
    }
}

fn slot(key: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> 19) as usize
}

/// Codes as bytes, the lowest bits first.
struct Bits {
    bytes: Vec<u8>,
    buffer: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, code: u32, width: u32) {
        self.buffer |= code << self.count;
        self.count += width;
        while self.count >= 8 {
            self.bytes.push(self.buffer as u8);
            self.buffer >>= 8;
            self.count -= 8;
        }
    }

    /// Data sub-blocks and their terminator (§15).
    fn into_blocks(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push(self.buffer as u8);
        }
        let mut blocks = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 128 + 2);
        for block in self.bytes.chunks(MAX_BLOCK) {
            blocks.push(block.len() as u8);
            blocks.extend_from_slice(block);
        }
        blocks.push(0);
        blocks
    }
}

/// The LZW minimum code size for a colour table of this many bits (§22).
pub fn code_size(table_bits: u8) -> u8 {
    table_bits.max(2)
}

/// Compresses pixels to data sub-blocks, as [`Compressor`] does.
pub fn compress<E>(
    pixels: impl IntoIterator<Item = (u8, u8)>,
    code_size: u8,
    check: impl FnMut() -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut compressor = Compressor::new(code_size);
    compressor.add(pixels, check)?;
    Ok(compressor.end())
}

/// Compresses the pixels of a frame, which may be given in several parts.
pub struct Compressor {
    bits: Bits,
    strings: Strings,
    /// The code that clears the table.
    clear: u32,
    /// The bits of a code.
    width: u32,
    /// The next code of the table.
    next: u32,
    /// The string that has been found so far.
    current: Option<u32>,
    until_check: usize,
}

impl Compressor {
    pub fn new(code_size: u8) -> Compressor {
        let clear = 1_u32 << code_size;
        let width = u32::from(code_size) + 1;
        let mut bits = Bits { bytes: Vec::new(), buffer: 0, count: 0 };
        bits.put(clear, width);
        Compressor {
            bits,
            strings: Strings(vec![EMPTY; SLOTS]),
            clear,
            width,
            next: clear + 2,
            current: None,
            until_check: PIXELS_PER_CHECK,
        }
    }

    /// Adds pixels. Each may have either of two indices, which must be less than 1 << `code_size`.
    pub fn add<E>(
        &mut self,
        pixels: impl IntoIterator<Item = (u8, u8)>,
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        for (pixel, other) in pixels {
            self.until_check -= 1;
            if self.until_check == 0 {
                self.until_check = PIXELS_PER_CHECK;
                check()?;
            }
            let Some(prefix) = self.current else {
                self.current = Some(pixel.into());
                continue;
            };
            let mut found = self.strings.find(prefix, pixel);
            if found.is_none() && other != pixel {
                found = self.strings.find(prefix, other);
            }
            if found.is_some() {
                self.current = found;
                continue;
            }
            self.bits.put(prefix, self.width);
            self.current = Some(pixel.into());
            if self.next < MAX_CODES {
                self.strings.add(prefix, pixel, self.next);
                if self.next == 1 << self.width {
                    self.width += 1;
                }
                self.next += 1;
            } else {
                self.bits.put(self.clear, self.width);
                self.strings.0.fill(EMPTY);
                self.width = self.clear.ilog2() + 1;
                self.next = self.clear + 2;
            }
        }
        Ok(())
    }

    /// The bytes so far.
    pub fn len(&self) -> usize {
        self.bits.bytes.len()
    }

    /// Data sub-blocks and their terminator (§15).
    pub fn end(mut self) -> Vec<u8> {
        if let Some(last) = self.current {
            self.bits.put(last, self.width);
        }
        // A decoder has added a string for the last code.
        if self.next == 1 << self.width && self.next < MAX_CODES {
            self.width += 1;
        }
        self.bits.put(self.clear + 1, self.width);
        self.bits.into_blocks()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::render::codec::gif::decompress::{Decompressor, End};

    fn unstopped() -> Result<(), Infallible> {
        Ok(())
    }

    fn decompressed(blocks: &[u8], code_size: u8, count: usize) -> Vec<u8> {
        let mut pixels = vec![0; count];
        let found = Decompressor::new().run(blocks, code_size, &mut pixels, unstopped).unwrap();
        assert_eq!(found, (count, End::Complete));
        // The end code comes next, and nothing after it.
        let mut more = vec![0; count + 1];
        let found = Decompressor::new().run(blocks, code_size, &mut more, unstopped).unwrap();
        assert_eq!(found, (count, End::Short));
        pixels
    }

    #[test]
    fn decompressed_pixels_are_the_same() {
        let mut state = 1_u32;
        for bits in 1..=8_u8 {
            for count in [1, 2, 3, 7, 255, 256, 5000, 30_000] {
                for noise in [1, 3, 255] {
                    let pixels: Vec<u8> = (0..count)
                        .map(|_| {
                            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            ((state >> 24) as u8 % noise) & ((1_u16 << bits) - 1) as u8
                        })
                        .collect();
                    let size = code_size(bits);
                    let blocks =
                        compress(pixels.iter().map(|pixel| (*pixel, *pixel)), size, unstopped)
                            .unwrap();
                    assert!(decompressed(&blocks, size, count) == pixels, "{bits} {count} {noise}");
                }
            }
        }
    }

    #[test]
    fn the_end_code_has_the_width_that_a_decoder_expects() {
        for count in 1..700 {
            let pixels: Vec<u8> = (0..count).map(|n| (n * n / 7 % 4) as u8).collect();
            let blocks =
                compress(pixels.iter().map(|pixel| (*pixel, *pixel)), 2, unstopped).unwrap();
            assert!(decompressed(&blocks, 2, count) == pixels, "{count}");
        }
    }

    #[test]
    fn an_index_that_continues_a_string_is_chosen() {
        // Colours 0 and 1 alternate, and some pixels may be transparent, which is 3.
        let pixels: Vec<(u8, u8)> = (0..4000_u32)
            .map(|n| {
                let colour = (n % 2) as u8;
                if n * n % 7 == 1 { (3, colour) } else { (colour, colour) }
            })
            .collect();
        let chosen = compress(pixels.iter().copied(), 2, unstopped).unwrap();
        for (found, (one, other)) in decompressed(&chosen, 2, 4000).iter().zip(&pixels) {
            assert!(found == one || found == other);
        }
        let first = compress(pixels.iter().map(|(one, _)| (*one, *one)), 2, unstopped).unwrap();
        assert!(chosen.len() < first.len(), "{} {}", chosen.len(), first.len());
    }

    #[test]
    fn compression_can_be_stopped() {
        let endless = std::iter::repeat((0, 0));
        assert_eq!(compress(endless, 2, || Err("stopped")), Err("stopped"));
    }
}
