//! Tables that decode one or several Huffman codes by the next bits.

use super::entropy::Bits;
use super::huffman::Code;

/// Bits that index a table of AC coefficients that are passed over.
pub const SKIP_BITS: usize = 12;
/// Bits that index the other tables.
pub const BITS: usize = 10;
/// Bits that one entry consumes at most.
pub const MAX_CONSUMED: u32 = 14;

/// In an entry of [`Skip`]: the block ends.
pub const END: usize = 128;
/// In an entry of [`Skip`]: the next code is decoded by itself.
pub const SLOW: usize = 512;

/// Passes over AC coefficients: as many codes as the next bits hold.
///
/// An entry is the number of bits, values included, and the number of coefficients × 64. [`END`] or [`SLOW`] is added
/// to that number.
pub struct Skip(pub Box<[u16; 1 << SKIP_BITS]>);

impl Skip {
    pub fn new(code: &Code) -> Skip {
        let codes = code.table::<SKIP_BITS>();
        let mut table = Box::new([0; 1 << SKIP_BITS]);
        for (prefix, entry) in table.iter_mut().enumerate() {
            *entry = skip_entry(&codes, prefix);
        }
        Skip(table)
    }
}

fn skip_entry(codes: &[(u8, u8)], prefix: usize) -> u16 {
    const MASK: usize = (1 << SKIP_BITS) - 1;
    let (mut used, mut passed) = (0_u32, 0_usize);
    loop {
        let (length, symbol) = codes.get((prefix << used) & MASK).copied().unwrap_or_default();
        let (length, run, size) = (u32::from(length), symbol >> 4, u32::from(symbol & 15));
        // The code must be in sight; its value need not be.
        if length == 0 || used + length > SKIP_BITS as u32 {
            break;
        }
        if used + length + size > MAX_CONSUMED {
            break;
        }
        if symbol == 0 {
            return ((END + passed) << 6) as u16 | (used + length) as u16;
        }
        let step = usize::from(run) + 1;
        if (size == 0 && run != 15) || passed + step > 63 {
            break;
        }
        used += length + size;
        passed += step;
        if used >= SKIP_BITS as u32 {
            break;
        }
    }
    if used == 0 { (SLOW << 6) as u16 } else { (passed << 6) as u16 | used as u16 }
}

/// Decodes an AC coefficient: `bits | length of the code << 6 | run << 10`, where the bits include the value. An end of
/// block has no value. 0 if the code is decoded by itself.
pub struct Fetch(pub Box<[u16; 1 << BITS]>);

impl Fetch {
    pub fn new(code: &Code) -> Fetch {
        let mut table = Box::new([0; 1 << BITS]);
        for (entry, (length, symbol)) in table.iter_mut().zip(code.table::<BITS>()) {
            let (run, size) = (u16::from(symbol >> 4), u16::from(symbol & 15));
            let length = u16::from(length);
            let fits = u32::from(length + size) <= MAX_CONSUMED;
            if length > 0 && fits && (size > 0 || symbol == 0) {
                *entry = (length + size) | length << 6 | run << 10;
            }
        }
        Fetch(table)
    }
}

/// Decodes one code.
pub struct Symbols {
    /// For the next bits, the length and the symbol of their code; 0 if that is longer.
    table: Vec<(u8, u8)>,
    code: Code,
}

impl Symbols {
    pub fn new(code: Code) -> Symbols {
        Symbols { table: code.table::<BITS>(), code }
    }

    /// Length and symbol of the code that the next bits begin with.
    #[inline(always)]
    pub fn decode(&self, bits: &Bits) -> Option<(u32, u8)> {
        match self.table.get(bits.peek(BITS)) {
            Some((length @ 1.., symbol)) => Some(((*length).into(), *symbol)),
            _ => self.code.decode(bits.peek(16) as u32),
        }
    }
}

/// Decodes a difference of DC coefficients: `bits | length of the code << 6 | size << 10`, where the bits include the
/// value. 0 if the code is decoded by itself.
pub struct Difference(pub Box<[u16; 1 << BITS]>);

impl Difference {
    pub fn new(code: &Code) -> Difference {
        let mut table = Box::new([0; 1 << BITS]);
        for (entry, (length, size)) in table.iter_mut().zip(code.table::<BITS>()) {
            let (length, size) = (u16::from(length), u16::from(size));
            if length > 0 && size <= 11 && u32::from(length + size) <= MAX_CONSUMED {
                *entry = (length + size) | length << 6 | size << 10;
            }
        }
        Difference(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 00: end of block; 01: one bit; 100: a run of 1, two bits; 1010: a run of 15; 1011: a symbol without meaning.
    fn code() -> Code {
        let counts = [0, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Code::new(&counts, &[0x00, 0x01, 0x12, 0xf0, 0x20]).unwrap()
    }

    #[test]
    fn entries_agree_with_the_codes_one_by_one() {
        let code = code();
        let mut ends = 0;
        for (prefix, entry) in Skip::new(&code).0.into_iter().enumerate() {
            if usize::from(entry >> 6) >= SLOW {
                continue;
            }
            let (mut used, mut passed) = (0, 0);
            let mut is_end = false;
            while used < u32::from(entry & 63) {
                let bits = (prefix << (16 - SKIP_BITS) << used) & 0xffff;
                let (length, symbol) = code.decode(bits as u32).unwrap();
                used += length + u32::from(symbol & 15);
                is_end = symbol == 0;
                passed += if is_end { 0 } else { usize::from(symbol >> 4) + 1 };
            }
            ends += usize::from(is_end && passed > 3);
            let advance = passed + if is_end { END } else { 0 };
            assert_eq!((used, advance), (u32::from(entry & 63), usize::from(entry >> 6)));
        }
        assert!(ends > 10, "several codes in an entry");
    }
}
