//! Scans of progressive JPEG (T.81 Annex G).

use super::coefficients::{AcBlock, Coefficients};
use super::entropy::{Batch, Bits, Decoder, extend};
use super::header::Tables;
use super::huffman::Code;
use super::lookup::{BITS, Difference, Fetch, Symbols};
use super::refusal::{Outcome, Refusal};
use super::scan::{Layout, Scan};
use super::sequential::{decode_long_difference, fetch_coefficients};

const CODE: Refusal = Refusal::Damaged("Huffman code");

/// The tables of a scan, and what one batch leaves to the next.
pub enum State {
    First(First),
    /// A bit for each block.
    RefineDc,
    Ac(Box<Ac>),
}

impl State {
    /// The quantiser is that of the component of AC coefficients.
    pub fn new(scan: &Scan, tables: &Tables, quantiser: &[i32; 64]) -> Outcome<State> {
        Ok(match (scan.first, scan.high) {
            (0, 0) => State::First(First::new(scan, tables)?),
            (0, _) => State::RefineDc,
            _ => State::Ac(Box::new(Ac::new(scan, tables, quantiser)?)),
        })
    }
}

/// Decodes a scan into coefficients.
pub struct Progressive<'t, B> {
    pub scan: &'t Scan,
    pub layout: &'t Layout,
    pub state: &'t mut State,
    /// Of all components of the frame.
    pub coefficients: &'t mut [Coefficients<B>],
}

impl<B: AcBlock> Decoder for Progressive<'_, B> {
    fn decode(&mut self, bits: Bits, batch: Batch) -> Outcome<usize> {
        let Progressive { scan, layout, state, coefficients } = self;
        match state {
            State::First(first) => first.decode(scan, layout, coefficients, bits, batch),
            State::RefineDc => Ok(refine_dc(scan, layout, coefficients, bits, batch)),
            State::Ac(ac) => {
                let index = scan.components.first().map_or(0, |component| component.index);
                ac.decode(coefficients.get_mut(index).ok_or(CODE)?, bits, batch)
            }
        }
    }

    fn end_row(&mut self, _y: usize) -> Outcome<()> {
        match &self.state {
            State::First(first) => first.check(),
            _ => Ok(()),
        }
    }
}

/// The first scan of DC coefficients, or a scan of a sequential image, which has all coefficients.
pub struct First {
    codes: Vec<Codes>,
    predictions: [i32; 4],
}

/// The codes of a component.
struct Codes {
    difference: Difference,
    dc: Code,
    /// Only of a sequential image.
    ac: Option<(Fetch, Code)>,
}

impl First {
    fn new(scan: &Scan, tables: &Tables) -> Outcome<First> {
        let codes = scan.components.iter().map(|component| {
            let dc = tables.dc(component.dc)?;
            let ac = if scan.last > 0 { Some(tables.ac(component.ac)?) } else { None };
            let ac = ac.map(|code| (Fetch::new(&code), code));
            Ok(Codes { difference: Difference::new(&dc), dc, ac })
        });
        Ok(First { codes: codes.collect::<Outcome<_>>()?, predictions: [0; 4] })
    }

    fn decode<B: AcBlock>(
        &mut self,
        scan: &Scan,
        layout: &Layout,
        coefficients: &mut [Coefficients<B>],
        mut bits: Bits,
        batch: Batch,
    ) -> Outcome<usize> {
        if batch.is_first {
            self.predictions = [0; 4];
        }
        for x in batch.x..batch.x + batch.count {
            for place in &layout.places {
                let (Some(component), Some(codes)) =
                    (scan.components.get(place.slot), self.codes.get(place.slot))
                else {
                    return Err(CODE);
                };
                bits.refill();
                let entry = u32::from(codes.difference.0[bits.peek(BITS)]);
                let difference = if entry == 0 {
                    decode_long_difference(&mut bits, &codes.dc).ok_or(CODE)?
                } else {
                    let value = extend(bits.buffer << ((entry >> 6) & 15), entry >> 10);
                    bits.consume(entry & 63);
                    value
                };
                let prediction = &mut self.predictions[place.slot & 3];
                *prediction = prediction.wrapping_add(difference);
                let to = coefficients.get_mut(component.index).ok_or(CODE)?;
                let at = (batch.y * place.v + place.y) * to.stride + x * place.h + place.x;
                let dc = prediction.wrapping_shl(scan.low) as i16;
                to.dc.get_mut(at).into_iter().for_each(|to| *to = dc);
                if let Some((table, code)) = &codes.ac {
                    let block = to.ac.get_mut(at).ok_or(CODE)?;
                    let mut outcome = Ok(());
                    fetch_coefficients(&mut bits, &table.0, code, |k, value| {
                        outcome = outcome.and(block.set(k, value, 1));
                    })?;
                    outcome?;
                }
            }
        }
        Ok(bits.at)
    }

    /// As in a sequential scan.
    fn check(&self) -> Outcome<()> {
        if self.predictions.iter().any(|prediction| prediction.unsigned_abs() > 1 << 30) {
            return Err(Refusal::Damaged("DC coefficients"));
        }
        Ok(())
    }
}

/// A refinement of DC coefficients.
fn refine_dc<B>(
    scan: &Scan,
    layout: &Layout,
    coefficients: &mut [Coefficients<B>],
    mut bits: Bits,
    batch: Batch,
) -> usize {
    let bit = 1 << scan.low;
    for x in batch.x..batch.x + batch.count {
        bits.refill();
        for place in &layout.places {
            let component = scan.components.get(place.slot);
            let to = component.and_then(|found| coefficients.get_mut(found.index));
            if let Some(to) = to.filter(|_| bits.peek(1) == 1) {
                let at = (batch.y * place.v + place.y) * to.stride + x * place.h + place.x;
                to.dc.get_mut(at).into_iter().for_each(|to| *to |= bit);
            }
            bits.consume(1);
        }
    }
    bits.at
}

/// A scan of AC coefficients.
pub struct Ac {
    band: Band,
    table: Fetch,
    symbols: Symbols,
    /// Blocks that have no more coefficients (`EOBRUN`).
    run: u32,
}

impl Ac {
    fn new(scan: &Scan, tables: &Tables, quantiser: &[i32; 64]) -> Outcome<Ac> {
        let component = scan.components.first().ok_or(CODE)?;
        let code = tables.ac(component.ac)?;
        let steps = quantiser.map(|step| step << scan.low);
        let is_refinement = scan.high > 0;
        let mask = u64::MAX >> (63 - (scan.last & 63)) & u64::MAX << (scan.first & 63);
        let band = Band { first: scan.first, last: scan.last, mask, is_refinement, steps };
        Ok(Ac { band, table: Fetch::new(&code), symbols: Symbols::new(code), run: 0 })
    }

    fn decode<B: AcBlock>(
        &mut self,
        coefficients: &mut Coefficients<B>,
        mut bits: Bits,
        batch: Batch,
    ) -> Outcome<usize> {
        let Ac { band, table, symbols, run } = self;
        if batch.is_first {
            *run = 0;
        }
        let at = batch.y * coefficients.stride + batch.x;
        let blocks = coefficients.ac.get_mut(at..at + batch.count).ok_or(CODE)?;
        if band.is_refinement {
            for block in blocks {
                band.refine(&mut bits, symbols, block, run)?;
            }
            return Ok(bits.at);
        }
        let mut at = 0;
        while let Some(block) = blocks.get_mut(at) {
            if *run == 0 {
                *run = band.decode(&mut bits, table, symbols, block)?;
                at += 1;
            }
            let passed = (blocks.len() - at).min(*run as usize);
            at += passed;
            *run -= passed as u32;
        }
        Ok(bits.at)
    }
}

/// The upper half of a mask of coefficients.
const HIGH: u64 = u64::MAX << 32;

/// The coefficients of a scan.
#[derive(Clone, Copy)]
struct Band {
    first: usize,
    last: usize,
    /// A bit for each of them.
    mask: u64,
    is_refinement: bool,
    /// For each coefficient, the quantisation step times the value of the bit that the scan adds.
    steps: [i32; 64],
}

impl Band {
    /// Decodes a block of the first scan of its coefficients. Returns how many blocks after it have none.
    #[inline(always)]
    fn decode(
        &self,
        bits: &mut Bits,
        table: &Fetch,
        symbols: &Symbols,
        block: &mut impl AcBlock,
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
                let (length, symbol) = symbols.decode(bits).ok_or(CODE)?;
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
        symbols: &Symbols,
        block: &mut impl AcBlock,
        end_of_blocks: &mut u32,
    ) -> Outcome<()> {
        let mut k = self.first;
        if *end_of_blocks == 0 {
            while k <= self.last {
                bits.refill();
                let (length, symbol) = symbols.decode(bits).ok_or(CODE)?;
                bits.consume(length);
                let (run, size) = (u32::from(symbol >> 4), symbol & 15);
                let value = match (run, size) {
                    (15, 0) => 0,
                    (_, 0) => {
                        *end_of_blocks = end_run(bits, run);
                        break;
                    }
                    (_, 1) => {
                        let value = 2 * bits.peek(1) as i32 - 1;
                        bits.consume(1);
                        value
                    }
                    _ => return Err(CODE),
                };
                k = self.place(bits, block, k, run, value)?;
            }
        }
        if *end_of_blocks > 0 {
            bits.refill();
            self.refine_those(bits, block, self.from(k));
            *end_of_blocks -= 1;
        }
        Ok(())
    }

    /// The coefficients of the band from `k` on.
    #[inline(always)]
    fn from(&self, k: usize) -> u64 {
        self.mask & (u64::MAX << (k & 63))
    }

    /// Passes over `run` coefficients that are 0, refines the others, and sets the next one that is 0. Returns the
    /// coefficient after it.
    #[inline(always)]
    fn place(
        &self,
        bits: &mut Bits,
        block: &mut impl AcBlock,
        k: usize,
        run: u32,
        value: i32,
    ) -> Outcome<usize> {
        let band = self.from(k);
        let mut zeros = band & !block.nonzero();
        for _ in 0..run {
            zeros &= zeros.wrapping_sub(1);
        }
        if zeros == 0 {
            self.refine_those(bits, block, band);
            return if value == 0 { Ok(self.last + 1) } else { Err(CODE) };
        }
        let at = zeros.trailing_zeros() as usize;
        self.refine_those(bits, block, band & ((1 << at) - 1));
        if value != 0 {
            block.set(at, value, self.steps[at & 63])?;
        }
        Ok(at + 1)
    }

    /// Refines those of the coefficients `band` that are not 0. At least 32 bits must be available.
    #[inline(always)]
    fn refine_those(&self, bits: &mut Bits, block: &mut impl AcBlock, band: u64) {
        let mut rest = block.nonzero() & band;
        let mut high = rest & HIGH;
        rest &= !HIGH;
        while rest != 0 {
            self.refine_first(bits, block, &mut rest);
        }
        if high != 0 {
            bits.refill();
            while high != 0 {
                self.refine_first(bits, block, &mut high);
            }
        }
    }

    #[inline(always)]
    fn refine_first(&self, bits: &mut Bits, block: &mut impl AcBlock, rest: &mut u64) {
        let k = rest.trailing_zeros() as usize;
        block.refine(k, self.steps[k & 63], bits.peek(1) == 1);
        bits.consume(1);
        *rest &= *rest - 1;
    }
}

/// The number of blocks without coefficients, this one included, after the code `EOBn`.
#[inline(always)]
fn end_run(bits: &mut Bits, n: u32) -> u32 {
    let more = if n == 0 { 0 } else { bits.peek(n as usize) as u32 };
    bits.consume(n);
    (1 << n) + more
}
