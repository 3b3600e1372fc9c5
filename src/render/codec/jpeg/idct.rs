//! The inverse DCTs of libjpeg-turbo that leave one or 2 × 2 samples of a block (jidctred.c), with the same rounding.

/// The row and the column of each coefficient in zigzag order (T.81 figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// `FIX_3_624509785` and so on: the factors of rows and columns 1, 3, 5 and 7.
const ODD: [i32; 4] = [29_692, -10_426, 6_967, -5_906];

/// The largest dequantised coefficient. No encoder writes a larger one, with which the SIMD instructions of
/// libjpeg-turbo overflow where C does not.
pub const MAX_COEFFICIENT: u32 = 2047;
/// The largest sum of a column after the first pass for which the same holds. Refined coefficients can exceed it.
const MAX_SUM: u32 = 25_000;

/// `range_limit` of jdmaster.c: wraps to 10 bits, then clamps.
#[inline(always)]
fn limit(value: i32) -> u8 {
    let value = (value << 22) >> 22;
    (value + 128).clamp(0, 255) as u8
}

/// `jpeg_idct_1x1` of a dequantised coefficient.
#[inline(always)]
pub fn one_sample(dc: i32) -> u8 {
    limit((dc + 4) >> 3)
}

/// The columns of `jpeg_idct_2x2` before they are rounded. They are linear: coefficients can be added in any order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns {
    /// Columns 0, 1, 3, 5 and 7: their even parts, then their odd parts. The last ones are not used.
    sums: [i32; 12],
}

const COLUMNS: usize = 5;
const UNUSED: u8 = 11;

/// For each coefficient in zigzag order, the sum that it counts in, and its factor. `jpeg_idct_2x2` leaves out row 2,
/// 4 and 6, and the same columns.
const PARTS: [(u8, i32); 64] = {
    let mut parts = [(UNUSED, 0); 64];
    let mut k = 0;
    while k < 64 {
        let (row, column) = (ZIGZAG[k] / 8, ZIGZAG[k] % 8);
        if column % 2 == 1 || column == 0 {
            let column = column.div_ceil(2);
            if row == 0 {
                parts[k] = (column, 1 << 15);
            } else if row % 2 == 1 {
                parts[k] = (COLUMNS as u8 + column, ODD[row as usize / 2]);
            }
        }
        k += 1;
    }
    parts
};

impl Columns {
    /// Adds a dequantised coefficient by its place in zigzag order.
    #[inline(always)]
    pub fn add(&mut self, k: usize, value: i32) {
        let (part, factor) = PARTS[k & 63];
        if let Some(sum) = self.sums.get_mut(usize::from(part)) {
            *sum = sum.wrapping_add(value.wrapping_mul(factor));
        }
    }

    /// Upper left, upper right, lower left, lower right. `None` if a sum or a sample is too large.
    #[inline]
    pub fn checked_samples(&self) -> Option<[u8; 4]> {
        let (upper, lower) = self.rows();
        let is_small = |sum: &i32| sum.unsigned_abs() <= MAX_SUM;
        let is_small = upper.iter().all(is_small) && lower.iter().all(is_small);
        if is_small { samples(upper, lower) } else { None }
    }

    /// The same if no coefficient is larger than [`MAX_COEFFICIENT`], which the sums of columns follow from.
    #[inline(always)]
    pub fn samples(&self) -> Option<[u8; 4]> {
        let (upper, lower) = self.rows();
        samples(upper, lower)
    }

    #[inline(always)]
    fn rows(&self) -> ([i32; COLUMNS], [i32; COLUMNS]) {
        let (mut upper, mut lower) = ([0; COLUMNS], [0; COLUMNS]);
        for at in 0..COLUMNS {
            let (even, odd) = (self.sums[at], self.sums[COLUMNS + at]);
            upper[at] = even.wrapping_add(odd).wrapping_add(1 << 12) >> 13;
            lower[at] = even.wrapping_sub(odd).wrapping_add(1 << 12) >> 13;
        }
        (upper, lower)
    }
}

#[inline(always)]
fn samples(upper: [i32; COLUMNS], lower: [i32; COLUMNS]) -> Option<[u8; 4]> {
    let ([a, b], [c, d]) = (row(upper), row(lower));
    let values = [a, b, c, d];
    // Beyond 10 bits, `range_limit` wraps where SIMD instructions saturate.
    let is_limited = values.iter().fold(true, |all, value| all & (-512..512).contains(value));
    is_limited.then(|| values.map(limit))
}

#[inline(always)]
fn row([even, rest @ ..]: [i32; COLUMNS]) -> [i32; 2] {
    let odd: i32 = rest.iter().zip(ODD).map(|(sum, factor)| sum * factor).sum();
    let even = even << 15;
    [(even + odd + (1 << 19)) >> 20, (even - odd + (1 << 19)) >> 20]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_blocks_are_flat() {
        for (dc, sample) in [(0, 128), (8, 129), (4, 129), (3, 128), (1016, 255), (-1024, 0)] {
            let mut columns = Columns::default();
            columns.add(0, dc);
            assert_eq!(one_sample(dc), sample);
            assert_eq!(columns.checked_samples(), Some([sample; 4]));
        }
        // The table wraps.
        assert_eq!((one_sample(8 * 400), one_sample(8 * 700)), (255, 0));
    }

    #[test]
    fn the_first_coefficients_make_gradients() {
        let samples = |k: usize| {
            let mut columns = Columns::default();
            columns.add(k, 400);
            columns.samples().unwrap()
        };
        let [left, right, ..] = samples(1);
        assert!(left > 128 && right < 128);
        assert_eq!(samples(1), [left, right, left, right]);
        assert_eq!(samples(2), [left, left, right, right]);
        // Row or column 2 is left out.
        assert_eq!((samples(3), samples(4)[0] > 128, samples(5)), ([128; 4], true, [128; 4]));
    }

    #[test]
    fn sums_beyond_16_bits_are_refused() {
        let mut columns = Columns::default();
        columns.add(0, 2047);
        assert!(columns.checked_samples().is_some());
        (1..64).for_each(|k| columns.add(k, 2 * 2047));
        assert_eq!(columns.checked_samples(), None);
        // Each of them is small.
        let mut columns = Columns::default();
        [0, 1, 2, 4].iter().for_each(|k| columns.add(*k, 1500));
        assert_eq!(columns.samples(), None);
    }
}
