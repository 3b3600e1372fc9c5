//! Huffman codes (T.81 Annex C).

use super::refusal::{Outcome, Refusal};

/// One code, as a DHT segment defines it.
#[derive(Clone, Debug)]
pub struct Code {
    /// Codes of each length from 1 to 16 bits.
    counts: [u8; 16],
    symbols: [u8; 256],
    /// For each length, the first 16 bits that begin with a longer code.
    limits: [u32; 16],
    /// For each length, the index of its first symbol less its first code.
    offsets: [i32; 16],
}

impl Code {
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Outcome<Code> {
        let mut this =
            Code { counts: *counts, symbols: [0; 256], limits: [0; 16], offsets: [0; 16] };
        for (to, symbol) in this.symbols.iter_mut().zip(symbols) {
            *to = *symbol;
        }
        let (mut code, mut index) = (0_u32, 0_i32);
        let lengths = this.limits.iter_mut().zip(&mut this.offsets).zip(counts);
        for (length, ((limit, offset), count)) in (1_u32..).zip(lengths) {
            *offset = index - code as i32;
            code += u32::from(*count);
            index += i32::from(*count);
            // A code of ones only is reserved (T.81 C.2).
            if *count > 0 && code >= 1 << length {
                return Err(Refusal::Damaged("Huffman code"));
            }
            *limit = code << (16 - length);
            code <<= 1;
        }
        Ok(this)
    }

    /// Length and symbol of the code that these 16 bits begin with.
    pub fn decode(&self, bits: u32) -> Option<(u32, u8)> {
        for (length, (limit, offset)) in (1_u32..).zip(self.limits.iter().zip(&self.offsets)) {
            if bits < *limit {
                let index = (bits >> (16 - length)) as i32 + offset;
                return Some((length, self.symbols[(index & 255) as usize]));
            }
        }
        None
    }

    /// For every number of `BITS` bits, the length and the symbol of the code that it begins with; 0 if that is longer.
    pub fn table<const BITS: usize>(&self) -> Vec<(u8, u8)> {
        let mut table = Vec::with_capacity(1 << BITS);
        let mut symbols = self.symbols.iter();
        for (length, count) in (1_u8..).zip(&self.counts).take(BITS) {
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                let end = table.len() + (1 << (BITS - usize::from(length)));
                table.resize(end, (length, *symbol));
            }
        }
        table.resize(1 << BITS, (0, 0));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_search_decode_the_same() {
        // 0, 10, 1100, 1101, 11100
        let counts = [1, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let code = Code::new(&counts, &[7, 8, 9, 10, 11]).unwrap();
        assert_eq!(code.decode(0x7fff), Some((1, 7)));
        assert_eq!(code.decode(0xd000), Some((4, 10)));
        assert_eq!(code.decode(0xe000), Some((5, 11)));
        assert_eq!(code.decode(0xe800), None);
        for (prefix, (length, symbol)) in code.table::<4>().into_iter().enumerate() {
            let found = code.decode((prefix as u32) << 12).filter(|(length, _)| *length <= 4);
            let expected = found.map_or((0, 0), |(length, symbol)| (length as u8, symbol));
            assert_eq!((length, symbol), expected, "{prefix:b}");
        }
    }

    #[test]
    fn codes_that_do_not_fit_or_of_ones_only_are_refused() {
        let counts = |lengths: &[u8]| {
            let mut counts = [0; 16];
            counts[..lengths.len()].copy_from_slice(lengths);
            Code::new(&counts, &[1; 256]).is_ok()
        };
        assert!(counts(&[1, 1]) && counts(&[]) && counts(&[0, 3]));
        assert!(!counts(&[2]) && !counts(&[1, 2]) && !counts(&[255]) && !counts(&[1, 1, 2]));
    }
}
