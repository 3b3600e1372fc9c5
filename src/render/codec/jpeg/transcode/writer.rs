//! Writes blocks as entropy-coded data of a sequential JPEG (T.81 F.1.2).

use super::super::EOI;
use super::super::coefficients::AcBlock;
use super::super::refusal::{Outcome, Refusal};
use super::blocks::Block;

/// Differences of DC coefficients of 8 bits per sample (T.81 F.1.2.1.1).
const MAX_DIFFERENCE: u32 = 2047;
/// An MCU: ten blocks of 64 coefficients of at most 26 bits, all of whose bytes are stuffed.
const MAX_MCU_BYTES: usize = 10 * 64 * 26 / 4;

/// A Huffman code as a DHT segment defines it.
pub struct RawCode {
    pub counts: [u8; 16],
    pub symbols: &'static [u8],
}

/// The codes for luminance of T.81 Annex K. Nearly all coefficients have codes of up to eight bits, which libjpeg decodes
/// fast.
pub const DC: RawCode = RawCode {
    counts: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    symbols: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
};
pub const AC: RawCode = RawCode {
    counts: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
    symbols: b"\x01\x02\x03\x00\x04\x11\x05\x12\x21\x31\x41\x06\x13\x51\x61\x07\x22\x71\
        \x14\x32\x81\x91\xa1\x08\x23\x42\xb1\xc1\x15\x52\xd1\xf0\x24\x33\x62\x72\
        \x82\x09\x0a\x16\x17\x18\x19\x1a\x25\x26\x27\x28\x29\x2a\x34\x35\x36\x37\
        \x38\x39\x3a\x43\x44\x45\x46\x47\x48\x49\x4a\x53\x54\x55\x56\x57\x58\x59\
        \x5a\x63\x64\x65\x66\x67\x68\x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x83\
        \x84\x85\x86\x87\x88\x89\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\
        \xa4\xa5\xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3\
        \xc4\xc5\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xe1\xe2\
        \xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa",
};

/// A code, and its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word {
    code: u16,
    bits: u8,
}

type Words = [Word; 256];

/// The codes of all symbols (T.81 Annex C).
const fn words(raw: &RawCode) -> Words {
    let mut words = [Word { code: 0, bits: 0 }; 256];
    let (mut code, mut index, mut length) = (0, 0, 0);
    while length < 16 {
        let mut count = 0;
        while count < raw.counts[length] {
            words[raw.symbols[index] as usize] = Word { code, bits: length as u8 + 1 };
            (code, index, count) = (code + 1, index + 1, count + 1);
        }
        code <<= 1;
        length += 1;
    }
    words
}

static DC_WORDS: Words = words(&DC);
static AC_WORDS: Words = words(&AC);

/// A JPEG that is being written.
pub struct Writer {
    bytes: Vec<u8>,
    max_bytes: usize,
    bits: Bits,
    /// The last DC coefficient of each component.
    predictions: [i32; 4],
}

impl Writer {
    /// `head` is everything up to the entropy-coded data.
    pub fn new(head: Vec<u8>, max_bytes: usize) -> Writer {
        let mut bytes = Vec::with_capacity(max_bytes + MAX_MCU_BYTES);
        bytes.extend(head);
        Writer { bytes, max_bytes, bits: Bits::default(), predictions: [0; 4] }
    }

    /// Writes the next block, and clears its AC coefficients.
    #[inline]
    pub fn write(&mut self, component: usize, dc: i16, block: &mut Block) -> Outcome<()> {
        let prediction = &mut self.predictions[component & 3];
        let difference = i32::from(dc) - *prediction;
        *prediction = dc.into();
        if difference.unsigned_abs() > MAX_DIFFERENCE {
            return Err(Refusal::Unsupported("coefficients"));
        }
        let mut bits = self.bits;
        bits.put_value(&mut self.bytes, &DC_WORDS, 0, difference);
        let mut rest = block.nonzero();
        let mut last = 0;
        while rest != 0 {
            let k = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let mut run = k.saturating_sub(last + 1);
            while run > 15 {
                bits.put_word(&mut self.bytes, AC_WORDS[0xf0]);
                run -= 16;
            }
            bits.put_value(&mut self.bytes, &AC_WORDS, run, block.value(k));
            last = k;
        }
        if last < 63 {
            bits.put_word(&mut self.bytes, AC_WORDS[0]);
        }
        self.bits = bits;
        block.clear();
        Ok(())
    }

    /// Refuses an image that has become too large. To be called after each MCU.
    #[inline]
    pub fn check_size(&self) -> Outcome<()> {
        if self.bytes.len() > self.max_bytes {
            return Err(Refusal::Unsupported("size as a sequential JPEG"));
        }
        Ok(())
    }

    /// The whole file.
    pub fn finish(self) -> Vec<u8> {
        let Writer { mut bytes, mut bits, .. } = self;
        bits.pad(&mut bytes);
        bytes.extend([0xff, EOI]);
        bytes
    }
}

/// Bits that are not in whole words yet.
#[derive(Clone, Copy, Debug, Default)]
struct Bits {
    /// The last `count` bits.
    buffer: u64,
    /// Less than 32 between calls.
    count: u32,
}

impl Bits {
    /// Appends up to 32 bits.
    #[inline(always)]
    fn put(&mut self, bytes: &mut Vec<u8>, bits: u32, count: u32) {
        self.buffer = self.buffer << (count & 63) | u64::from(bits);
        self.count += count;
        if self.count >= 32 {
            self.count -= 32;
            push(bytes, (self.buffer >> (self.count & 63)) as u32);
        }
    }

    #[inline(always)]
    fn put_word(&mut self, bytes: &mut Vec<u8>, word: Word) {
        self.put(bytes, word.code.into(), word.bits.into());
    }

    /// The code of a run and of the size of a value, and the value (T.81 F.1.2.1, F.1.2.2).
    #[inline(always)]
    fn put_value(&mut self, bytes: &mut Vec<u8>, words: &Words, run: usize, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        let word = words[(run << 4 | size as usize) & 255];
        // A negative value is stored less 1.
        let low = (value + (value >> 31)) as u32 & ((1 << (size & 31)) - 1);
        self.put(bytes, u32::from(word.code) << (size & 31) | low, u32::from(word.bits) + size);
    }

    /// Fills the last byte with ones (T.81 F.1.2.3).
    fn pad(&mut self, bytes: &mut Vec<u8>) {
        self.put(bytes, 0x7f, 7);
        while self.count >= 8 {
            self.count -= 8;
            push_byte(bytes, (self.buffer >> (self.count & 63)) as u8);
        }
    }
}

#[inline(always)]
fn push(bytes: &mut Vec<u8>, word: u32) {
    const ONES: u32 = 0x0101_0101;
    let inverted = !word;
    // The usual test for a zero byte.
    if inverted.wrapping_sub(ONES) & word & (ONES << 7) == 0 {
        bytes.extend_from_slice(&word.to_be_bytes());
    } else {
        push_stuffed(bytes, word);
    }
}

#[cold]
#[inline(never)]
fn push_stuffed(bytes: &mut Vec<u8>, word: u32) {
    word.to_be_bytes().into_iter().for_each(|byte| push_byte(bytes, byte));
}

/// A zero is stuffed behind 0xff (T.81 B.1.1.5).
fn push_byte(bytes: &mut Vec<u8>, byte: u8) {
    bytes.push(byte);
    if byte == 0xff {
        bytes.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::huffman::Code;
    use super::*;

    #[test]
    fn written_codes_are_those_that_are_read() {
        for raw in [&DC, &AC] {
            let code = Code::new(&raw.counts, raw.symbols).unwrap();
            let words = words(raw);
            for symbol in raw.symbols {
                let Word { code: word, bits } = words[usize::from(*symbol)];
                let next = u32::from(word) << (16 - bits);
                assert_eq!(code.decode(next), Some((bits.into(), *symbol)));
            }
            assert_eq!(words.iter().filter(|word| word.bits > 0).count(), raw.symbols.len());
        }
        // Every symbol that a block may need: the largest coefficient has 10 bits.
        for run in 0..16 {
            assert!((1..=10).all(|size| AC.symbols.contains(&(run << 4 | size))));
        }
        assert!(AC.symbols.contains(&0) && AC.symbols.contains(&0xf0));
    }

    #[test]
    fn bits_fill_bytes_and_zeros_are_stuffed() {
        let mut bytes = Vec::new();
        let mut bits = Bits::default();
        for (value, count) in [(0b101, 3), (0x1f_fff, 17), (0xff_ff, 16), (0, 28), (0xff, 8)] {
            bits.put(&mut bytes, value, count);
        }
        bits.pad(&mut bytes);
        // 101 and 33 ones, 28 zeros, 8 ones: nine bytes.
        assert_eq!(bytes, [0xbf, 0xff, 0, 0xff, 0, 0xff, 0, 0xf0, 0, 0, 0, 0xff, 0]);
        let mut bits = Bits::default();
        bytes.clear();
        bits.put(&mut bytes, 0, 1);
        bits.pad(&mut bytes);
        assert_eq!(bytes, [0x7f]);
        bits.pad(&mut bytes);
        assert_eq!(bytes, [0x7f], "no bits are left");
    }

    #[test]
    fn values_that_do_not_occur_are_refused() {
        let write = |dcs: &[i16]| {
            let mut writer = Writer::new(Vec::new(), 100);
            dcs.iter().try_for_each(|dc| writer.write(0, *dc, &mut Block::default()))
        };
        assert!(write(&[1023, -1024, 1023]).is_ok());
        assert!(write(&[1024, -1024]).is_err() && write(&[-2048]).is_err());
        let mut block = Block::default();
        assert!(block.set(1, -1023, 1).is_ok() && block.set(2, 1024, 1).is_err());
        assert!(block.set(3, 1, 1 << 10).is_err() && block.set(4, -1, 512).is_ok());
    }

    #[test]
    fn a_result_that_is_too_large_is_refused() {
        let mut writer = Writer::new(Vec::new(), 100);
        let mut written = 0;
        while writer.check_size().is_ok() {
            writer.write(0, 0, &mut Block::default()).unwrap();
            written += 1;
        }
        // Six bits each.
        assert_eq!(written, 139);
    }
}
