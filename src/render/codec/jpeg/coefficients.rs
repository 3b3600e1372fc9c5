//! What is kept of the coefficients of a progressive JPEG until all scans are read.

use super::frame::{Component, Frame};
use super::idct::{Columns, MAX_COEFFICIENT};
use super::planes::Plane;
use super::refusal::{Outcome, Refusal};

/// The coefficients of a component, or of some of its rows of blocks.
#[derive(Debug)]
pub struct Coefficients<B> {
    /// Blocks of a row, with those that fill the last MCU.
    pub stride: usize,
    pub dc: Vec<i16>,
    /// Empty if the AC coefficients are not needed.
    pub ac: Vec<B>,
}

/// The AC coefficients of a block, to which scans add. `step` is the value of the lowest bit that a scan adds.
pub trait AcBlock: Clone + Default {
    /// Those that are not 0: a bit for each coefficient in zigzag order.
    fn nonzero(&self) -> u64;

    /// Sets a coefficient that was 0.
    fn set(&mut self, k: usize, value: i32, step: i32) -> Outcome<()>;

    /// Adds a bit to the magnitude of a coefficient that is not 0.
    fn refine(&mut self, k: usize, step: i32, bit: bool);
}

/// Signs of the AC coefficients of a block, and what they add to the columns of the inverse DCT. As that is linear,
/// refinements are added to it, and the values themselves need not be kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transformed {
    nonzero: u64,
    negative: u64,
    columns: Columns,
}

impl<B: AcBlock> Coefficients<B> {
    pub fn new(frame: &Frame, component: &Component, has_ac: bool) -> Coefficients<B> {
        let (stride, rows) = frame.padded_blocks(component);
        Self::with_rows(stride, rows, has_ac)
    }

    /// The blocks of one row of MCUs.
    pub fn of_mcu_row(frame: &Frame, component: &Component) -> Coefficients<B> {
        let (stride, _) = frame.padded_blocks(component);
        Self::with_rows(stride, component.v, true)
    }

    fn with_rows(stride: usize, rows: usize, has_ac: bool) -> Coefficients<B> {
        let blocks = stride * rows;
        let ac = if has_ac { vec![B::default(); blocks] } else { Vec::new() };
        Coefficients { stride, dc: vec![0; blocks], ac }
    }

    /// Bytes that they take for a component.
    pub fn bytes(frame: &Frame, component: &Component, has_ac: bool) -> u64 {
        let (stride, rows) = frame.padded_blocks(component);
        let block = if has_ac { size_of::<B>() + size_of::<i16>() } else { size_of::<i16>() };
        stride as u64 * rows as u64 * block as u64
    }
}

impl Coefficients<Transformed> {
    /// Turns them into samples.
    pub fn transform(&self, component: &Component, plane: &mut Plane) -> Outcome<()> {
        let rows = self.dc.chunks_exact(self.stride.max(1)).take(component.blocks_y);
        if plane.side == 1 {
            for (y, row) in rows.enumerate() {
                plane.put_row(0, 1, y, row.iter().copied());
            }
            return Ok(());
        }
        let blocks = self.ac.chunks_exact(self.stride.max(1));
        for (y, (dcs, blocks)) in rows.zip(blocks).enumerate() {
            let blocks = dcs.iter().zip(blocks).take(component.blocks_x);
            for (x, (dc, block)) in blocks.enumerate() {
                let dc = i32::from(*dc) * plane.quantiser[0];
                if dc.unsigned_abs() > MAX_COEFFICIENT {
                    return Err(Refusal::Unsupported("coefficients"));
                }
                let mut columns = block.columns;
                columns.add(0, dc);
                let samples = columns.checked_samples();
                let samples = samples.ok_or(Refusal::Unsupported("coefficients"))?;
                plane.put_block(x, y, samples);
            }
        }
        Ok(())
    }
}

impl AcBlock for Transformed {
    #[inline(always)]
    fn nonzero(&self) -> u64 {
        self.nonzero
    }

    #[inline(always)]
    fn set(&mut self, k: usize, value: i32, step: i32) -> Outcome<()> {
        let value = value.saturating_mul(step);
        if value.unsigned_abs() > MAX_COEFFICIENT {
            return Err(Refusal::Unsupported("coefficients"));
        }
        self.nonzero |= 1 << (k & 63);
        self.negative |= u64::from(value < 0) << (k & 63);
        self.columns.add(k, value);
        Ok(())
    }

    #[inline(always)]
    fn refine(&mut self, k: usize, step: i32, bit: bool) {
        if bit {
            let is_negative = (self.negative >> (k & 63)) & 1 == 1;
            self.columns.add(k, if is_negative { -step } else { step });
        }
    }
}
