//! Scans of progressive JPEG (T.81 Annex G).

use super::coefficients::{Block, Coefficients};
use super::entropy::{Batch, Bits, Decoder, extend};
use super::header::Tables;
use super::huffman::Code;
use super::lookup::{BITS, Difference, Fetch};
use super::refusal::{Outcome, Refusal};
use super::scan::{Layout, Scan};
use super::sequential::decode_long_difference;

const CODE: Refusal = Refusal::Damaged("Huffman code");

/// The first scan of DC coefficients.
pub struct FirstDc<'t> {
    scan: &'t Scan,
    layout: &'t Layout,
    codes: Vec<(Difference, Code)>,
    coefficients: &'t mut [Coefficients],
    predictions: [i32; 4],
}

impl<'t> FirstDc<'t> {
    pub fn new(
        scan: &'t Scan,
        layout: &'t Layout,
        tables: &Tables,
        coefficients: &'t mut [Coefficients],
    ) -> Outcome<FirstDc<'t>> {
        let codes = scan.components.iter().map(|component| {
            let code = tables.dc(component.dc)?;
            Ok((Difference::new(&code), code))
        });
        let codes = codes.collect::<Outcome<_>>()?;
        Ok(FirstDc { scan, layout, codes, coefficients, predictions: [0; 4] })
    }
}

impl Decoder for FirstDc<'_> {
    fn decode(&mut self, mut bits: Bits, batch: Batch) -> Outcome<usize> {
        if batch.is_first {
            self.predictions = [0; 4];
        }
        for x in batch.x..batch.x + batch.count {
            for place in &self.layout.places {
                let (Some(component), Some((table, code))) =
                    (self.scan.components.get(place.slot), self.codes.get(place.slot))
                else {
                    return Err(CODE);
                };
                bits.refill();
                let entry = u32::from(table.0[bits.peek(BITS)]);
                let difference = if entry == 0 {
                    decode_long_difference(&mut bits, code).ok_or(CODE)?
                } else {
                    let value = extend(bits.buffer << ((entry >> 6) & 15), entry >> 10);
                    bits.consume(entry & 63);
                    value
                };
                let prediction = &mut self.predictions[place.slot & 3];
                *prediction = prediction.wrapping_add(difference);
                if let Some(to) = self.coefficients.get_mut(component.index) {
                    let at = (batch.y * place.v + place.y) * to.stride + x * place.h + place.x;
                    let dc = prediction.wrapping_shl(self.scan.low) as i16;
                    to.dc.get_mut(at).into_iter().for_each(|to| *to = dc);
                }
            }
        }
        Ok(bits.at)
    }

    fn end_row(&mut self, _y: usize) -> Outcome<()> {
        // As in a sequential scan.
        if self.predictions.iter().any(|prediction| prediction.unsigned_abs() > 1 << 30) {
            return Err(Refusal::Damaged("DC coefficients"));
        }
        Ok(())
    }
}

/// A refinement of DC coefficients: a bit for each block.
pub struct RefineDc<'t> {
    pub scan: &'t Scan,
    pub layout: &'t Layout,
    pub coefficients: &'t mut [Coefficients],
}

impl Decoder for RefineDc<'_> {
    fn decode(&mut self, mut bits: Bits, batch: Batch) -> Outcome<usize> {
        let bit = 1 << self.scan.low;
        for x in batch.x..batch.x + batch.count {
            bits.refill();
            for place in &self.layout.places {
                let component = self.scan.components.get(place.slot);
                let to = component.and_then(|found| self.coefficients.get_mut(found.index));
                if let Some(to) = to.filter(|_| bits.peek(1) == 1) {
                    let at = (batch.y * place.v + place.y) * to.stride + x * place.h + place.x;
                    to.dc.get_mut(at).into_iter().for_each(|to| *to |= bit);
                }
                bits.consume(1);
            }
        }
        Ok(bits.at)
    }
}

/// A scan of AC coefficients.
pub struct Ac<'t> {
    band: Band,
    coefficients: &'t mut Coefficients,
    code: Code,
    table: Fetch,
    /// Blocks that have no more coefficients (`EOBRUN`).
    run: u32,
}

/// The coefficients of a scan.
#[derive(Clone, Copy)]
struct Band {
    first: usize,
    last: usize,
    is_refinement: bool,
    /// For each coefficient, the quantisation step times the value of the bit that the scan adds.
    steps: [i32; 64],
}

impl<'t> Ac<'t> {
    pub fn new(
        scan: &Scan,
        tables: &Tables,
        coefficients: &'t mut Coefficients,
        quantiser: &[i32; 64],
    ) -> Outcome<Ac<'t>> {
        let component = scan.components.first().ok_or(CODE)?;
        let code = tables.ac(component.ac)?;
        let steps = quantiser.map(|step| step << scan.low);
        let is_refinement = scan.high > 0;
        let band = Band { first: scan.first, last: scan.last, is_refinement, steps };
        Ok(Ac { band, coefficients, table: Fetch::new(&code), code, run: 0 })
    }
}

impl Decoder for Ac<'_> {
    fn decode(&mut self, mut bits: Bits, batch: Batch) -> Outcome<usize> {
        let Ac { band, coefficients, code, table, run } = self;
        if batch.is_first {
            *run = 0;
        }
        let at = batch.y * coefficients.stride + batch.x;
        let blocks = coefficients.ac.get_mut(at..at + batch.count).ok_or(CODE)?;
        if band.is_refinement {
            for block in blocks {
                band.refine(&mut bits, code, block, run)?;
            }
            return Ok(bits.at);
        }
        let mut at = 0;
        while let Some(block) = blocks.get_mut(at) {
            if *run == 0 {
                *run = band.decode(&mut bits, table, code, block)?;
                at += 1;
            }
            let passed = (blocks.len() - at).min(*run as usize);
            at += passed;
            *run -= passed as u32;
        }
        Ok(bits.at)
    }
}

impl Band {
    /// Decodes a block of the first scan of its coefficients. Returns how many blocks after it have none.
    #[inline(always)]
    fn decode(
        &self,
        bits: &mut Bits,
        table: &Fetch,
        code: &Code,
        block: &mut Block,
    ) -> Outcome<u32> {
        let mut k = self.first;
        while k <= self.last {
            bits.refill();
            let entry = u32::from(table.0[bits.peek(BITS)]);
            let (all, length) = (entry & 63, (entry >> 6) & 15);
            let value = if all > length {
                let value = extend(bits.buffer << length, all - length);
                bits.consume(all);
                k += (entry >> 10) as usize;
                value
            } else {
                let (length, symbol) = code.decode(bits.peek(16) as u32).ok_or(CODE)?;
                let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
                bits.consume(length);
                match (run, size) {
                    (15, 0) => {
                        k += 16;
                        continue;
                    }
                    (_, 0) => return Ok(end_run(bits, run) - 1),
                    _ => {}
                }
                let value = extend(bits.buffer, size);
                bits.consume(size);
                k += run as usize;
                value
            };
            if k > self.last {
                return Err(CODE);
            }
            block.set(k, value, self.steps[k & 63])?;
            k += 1;
        }
        Ok(0)
    }

    /// Decodes a block of a later scan.
    #[inline(always)]
    fn refine(
        &self,
        bits: &mut Bits,
        code: &Code,
        block: &mut Block,
        end_of_blocks: &mut u32,
    ) -> Outcome<()> {
        let mut k = self.first;
        if *end_of_blocks == 0 {
            while k <= self.last {
                bits.refill();
                let (length, symbol) = code.decode(bits.peek(16) as u32).ok_or(CODE)?;
                bits.consume(length);
                let (run, size) = (u32::from(symbol >> 4), symbol & 15);
                let value = match (run, size) {
                    (15, 0) => 0,
                    (_, 0) => {
                        *end_of_blocks = end_run(bits, run);
                        break;
                    }
                    (_, 1) => {
                        let is_positive = bits.peek(1) == 1;
                        bits.consume(1);
                        if is_positive { 1 } else { -1 }
                    }
                    _ => return Err(CODE),
                };
                k = self.place(bits, block, k, run, value)?;
            }
        }
        if *end_of_blocks > 0 {
            self.refine_rest(bits, block, k);
            *end_of_blocks -= 1;
        }
        Ok(())
    }

    /// Passes over `run` coefficients that are 0, refines the others, and sets the next one that is 0. Returns the
    /// coefficient after it.
    #[inline(always)]
    fn place(
        &self,
        bits: &mut Bits,
        block: &mut Block,
        mut k: usize,
        mut run: u32,
        value: i32,
    ) -> Outcome<usize> {
        while k <= self.last {
            if (block.nonzero >> (k & 63)) & 1 == 1 {
                self.refine_one(bits, block, k);
            } else if run == 0 {
                if value != 0 {
                    block.set(k, value, self.steps[k & 63])?;
                }
                return Ok(k + 1);
            } else {
                run -= 1;
            }
            k += 1;
        }
        if value == 0 { Ok(k) } else { Err(CODE) }
    }

    /// Refines the coefficients of the band from `k` on.
    #[inline(always)]
    fn refine_rest(&self, bits: &mut Bits, block: &mut Block, k: usize) {
        if k > self.last {
            return;
        }
        let mut rest = block.nonzero & (u64::MAX >> (63 - self.last)) & (u64::MAX << k);
        while rest != 0 {
            self.refine_one(bits, block, rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }

    #[inline(always)]
    fn refine_one(&self, bits: &mut Bits, block: &mut Block, k: usize) {
        bits.refill();
        if bits.peek(1) == 1 {
            block.refine(k, self.steps[k & 63]);
        }
        bits.consume(1);
    }
}

/// The number of blocks without coefficients, this one included, after the code `EOBn`.
#[inline(always)]
fn end_run(bits: &mut Bits, n: u32) -> u32 {
    let more = if n == 0 { 0 } else { bits.peek(n as usize) as u32 };
    bits.consume(n);
    (1 << n) + more
}
