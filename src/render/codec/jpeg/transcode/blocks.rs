//! The AC coefficients of a block as they are stored, without quantisation.

use super::super::coefficients::AcBlock;
use super::super::refusal::{Outcome, Refusal};

/// Larger ones do not occur with 8 bits per sample (T.81 F.1.2.2.1).
pub const MAX_AC: u32 = 1023;

#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// In zigzag order. Only those are valid that are not 0.
    values: [i16; 64],
    nonzero: u64,
}

impl Default for Block {
    fn default() -> Block {
        Block { values: [0; 64], nonzero: 0 }
    }
}

impl Block {
    #[inline(always)]
    pub fn value(&self, k: usize) -> i32 {
        self.values[k & 63].into()
    }

    pub fn clear(&mut self) {
        self.nonzero = 0;
    }
}

impl AcBlock for Block {
    #[inline(always)]
    fn nonzero(&self) -> u64 {
        self.nonzero
    }

    #[inline(always)]
    fn set(&mut self, k: usize, value: i32, step: i32) -> Outcome<()> {
        let value = value.saturating_mul(step);
        // Refinements only add bits below those of `step`.
        if value.unsigned_abs() > MAX_AC {
            return Err(Refusal::Unsupported("coefficients"));
        }
        self.nonzero |= 1 << (k & 63);
        self.values[k & 63] = value as i16;
        Ok(())
    }

    #[inline(always)]
    fn refine(&mut self, k: usize, step: i32, bit: bool) {
        let value = &mut self.values[k & 63];
        // Without a branch, since bits are random.
        let more = step as i16 & -i16::from(bit);
        let sign = *value >> 15;
        *value = value.wrapping_add((more ^ sign) - sign);
    }
}
