//! Scans of sequential JPEG (T.81 Annex F).

use super::entropy::{Batch, Bits, Decoder, extend, word};
use super::header::Tables;
use super::huffman::Code;
use super::idct::{Columns, MAX_COEFFICIENT, one_sample};
use super::lookup::{BITS, Difference, END, Fetch, MAX_CONSUMED, SKIP_BITS, Skip};
use super::planes::Plane;
use super::refusal::{Outcome, Refusal};
use super::scan::{Layout, Place, Scan};

const CODE: Refusal = Refusal::Damaged("Huffman code");

/// The tables of a scan. Components with the same codes share them, and so the cache of the processor.
pub struct ScanTables {
    tables: Vec<BlockTables>,
    /// The index for each component of the scan.
    indexes: Vec<usize>,
}

struct BlockTables {
    /// The numbers of the codes, and whether AC coefficients are passed over.
    key: (usize, usize, bool),
    difference: Difference,
    dc: Code,
    /// One of them, by what is needed.
    skip: Option<Skip>,
    fetch: Option<Fetch>,
    ac: Code,
}

impl ScanTables {
    /// `planes` are empty where no samples are wanted.
    pub fn new(scan: &Scan, tables: &Tables, planes: &[Plane]) -> Outcome<ScanTables> {
        let mut this = ScanTables { tables: Vec::new(), indexes: Vec::new() };
        for component in &scan.components {
            let is_plain = planes.get(component.index).is_none_or(|plane| plane.side == 1);
            let key = (component.dc, component.ac, is_plain);
            let found = this.tables.iter().position(|tables| tables.key == key);
            this.indexes.push(found.unwrap_or(this.tables.len()));
            if found.is_some() {
                continue;
            }
            let (dc, ac) = (tables.dc(component.dc)?, tables.ac(component.ac)?);
            this.tables.push(BlockTables {
                key,
                difference: Difference::new(&dc),
                skip: is_plain.then(|| Skip::new(&ac)),
                fetch: (!is_plain).then(|| Fetch::new(&ac)),
                dc,
                ac,
            });
        }
        Ok(this)
    }

    fn of_slot(&self, slot: usize) -> Option<&BlockTables> {
        self.indexes.get(slot).and_then(|index| self.tables.get(*index))
    }
}

/// Decodes a scan into planes, or without planes only to its end.
pub struct Sequential<'t> {
    scan: &'t Scan,
    layout: &'t Layout,
    blocks: Vec<Block<'t>>,
    planes: &'t mut [Plane],
    /// The last DC coefficient of each component.
    predictions: [i32; 4],
    /// The DC coefficients of a row of MCUs.
    dcs: Vec<i16>,
}

/// How a block of an MCU is decoded.
struct Block<'t> {
    place: Place,
    component: usize,
    difference: &'t [u16; 1 << BITS],
    dc: &'t Code,
    ac: &'t Code,
    values: Values<'t>,
}

/// What is decoded of the AC coefficients.
enum Values<'t> {
    None(&'t [u16; 1 << SKIP_BITS]),
    All(&'t [u16; 1 << BITS]),
}

impl<'t> Sequential<'t> {
    pub fn new(
        scan: &'t Scan,
        layout: &'t Layout,
        tables: &'t ScanTables,
        planes: &'t mut [Plane],
    ) -> Outcome<Sequential<'t>> {
        let mut blocks = Vec::new();
        for place in &layout.places {
            let component = scan.components.get(place.slot);
            let of_slot = tables.of_slot(place.slot);
            let (Some(component), Some(tables)) = (component, of_slot) else { return Err(CODE) };
            let values = match (&tables.skip, &tables.fetch) {
                (Some(skip), _) => Values::None(&skip.0),
                (None, Some(fetch)) => Values::All(&fetch.0),
                (None, None) => return Err(CODE),
            };
            blocks.push(Block {
                place: *place,
                component: component.index,
                difference: &tables.difference.0,
                dc: &tables.dc,
                ac: &tables.ac,
                values,
            });
        }
        let dcs = vec![0; layout.mcus_x * layout.places.len()];
        Ok(Sequential { scan, layout, blocks, planes, predictions: [0; 4], dcs })
    }

    #[inline(never)]
    fn decode_mcus(&mut self, mut bits: Bits, batch: Batch) -> Outcome<usize> {
        let Sequential { blocks, planes, predictions, dcs, .. } = self;
        let mcus = dcs.chunks_exact_mut(blocks.len()).enumerate().skip(batch.x).take(batch.count);
        for (x, dcs) in mcus {
            for (block, dc) in blocks.iter().zip(dcs) {
                let prediction = &mut predictions[block.place.slot & 3];
                *prediction = prediction.wrapping_add(decode_difference(&mut bits, block)?);
                // libjpeg keeps 16 bits.
                *dc = *prediction as i16;
                match block.values {
                    Values::None(table) => {
                        let (data, buffer, at) = (bits.data, bits.buffer, bits.at);
                        (bits.buffer, bits.at) =
                            skip_coefficients(data, buffer, at, table, block.ac).ok_or(CODE)?;
                    }
                    Values::All(table) => {
                        let Some(plane) = planes.get_mut(block.component) else { continue };
                        let quantiser = &plane.quantiser;
                        let dc = i32::from(*dc) * quantiser[0];
                        let mut columns = Columns::default();
                        let mut ac = 0;
                        fetch_coefficients(&mut bits, table, block.ac, |k, value| {
                            let value = value * quantiser[k & 63];
                            ac |= value.unsigned_abs();
                            columns.add(k, value);
                        })?;
                        let samples = match ac | dc.unsigned_abs() {
                            large if large > MAX_COEFFICIENT => None,
                            _ if ac == 0 => Some([one_sample(dc); 4]),
                            _ => {
                                columns.add(0, dc);
                                columns.samples()
                            }
                        };
                        let samples = samples.ok_or(Refusal::Unsupported("coefficients"))?;
                        let Place { h, v, x: dx, y: dy, .. } = block.place;
                        plane.put_block(x * h + dx, batch.y * v + dy, samples);
                    }
                }
            }
        }
        Ok(bits.at)
    }
}

impl Decoder for Sequential<'_> {
    fn decode(&mut self, bits: Bits, batch: Batch) -> Outcome<usize> {
        if batch.is_first {
            self.predictions = [0; 4];
        }
        self.decode_mcus(bits, batch)
    }

    fn end_row(&mut self, y: usize) -> Outcome<()> {
        // libjpeg fails before they overflow. A row can't take them there from here.
        if self.predictions.iter().any(|prediction| prediction.unsigned_abs() > 1 << 30) {
            return Err(Refusal::Damaged("DC coefficients"));
        }
        let blocks = self.layout.places.len();
        for (number, place) in self.layout.places.iter().enumerate() {
            let index = self.scan.components.get(place.slot).map(|component| component.index);
            let plane = index.and_then(|index| self.planes.get_mut(index));
            if let Some(plane) = plane.filter(|plane| plane.side == 1) {
                let dcs = self.dcs.iter().skip(number).step_by(blocks).copied();
                plane.put_row(place.x, place.h, y * place.v + place.y, dcs);
            }
        }
        Ok(())
    }
}

/// Leaves at least 43 bits in the buffer.
#[inline(always)]
fn decode_difference(bits: &mut Bits, block: &Block) -> Outcome<i32> {
    bits.refill();
    let entry = u32::from(block.difference[bits.peek(BITS)]);
    if entry == 0 {
        // A copy: the address of `bits` itself would keep it in memory.
        let mut copy = *bits;
        let value = decode_long_difference(&mut copy, block.dc);
        *bits = copy;
        return value.ok_or(CODE);
    }
    let value = extend(bits.buffer << ((entry >> 6) & 15), entry >> 10);
    bits.consume(entry & 63);
    Ok(value)
}

#[cold]
#[inline(never)]
pub fn decode_long_difference(bits: &mut Bits, code: &Code) -> Option<i32> {
    let (length, size) = code.decode(bits.peek(16) as u32)?;
    bits.consume(length);
    let value = extend(bits.buffer, size.into());
    bits.consume(size.into());
    bits.refill();
    // Larger differences occur with 12 bits per sample.
    (size <= 11).then_some(value)
}

/// Passes over the AC coefficients of a block. The state comes and goes in registers; at least 43 bits of the buffer
/// must be valid. `None` if the data is damaged.
#[inline(always)]
fn skip_coefficients(
    data: &[u8],
    buffer: u64,
    mut at: usize,
    table: &[u16; 1 << SKIP_BITS],
    code: &Code,
) -> Option<(u64, usize)> {
    const { assert!(3 * MAX_CONSUMED <= 43 && 4 * MAX_CONSUMED <= 57) };
    let mut state = Skipped { buffer, sum: 1 << 6, entry: 0 };
    let mut is_past_end = state.look_up::<3>(table);
    loop {
        if is_past_end {
            let k = state.sum >> 6;
            if k.wrapping_sub(END) < 64 {
                return Some((state.buffer, at + (state.sum & 63)));
            }
            // The last coefficient is not 0, which no code tells, or the code is not in the table.
            let before = state.sum - state.entry;
            let mut bits = Bits { data, buffer: 0, at: at + (before & 63) };
            let (next, is_end) = skip_one(&mut bits, code, before >> 6)?;
            at = bits.at;
            if is_end {
                return Some((bits.buffer, at));
            }
            state.sum = next << 6;
        } else {
            at += state.sum & 63;
            state.sum &= !63;
        }
        state.buffer = word(data, at);
        is_past_end = state.look_up::<4>(table);
    }
}

/// Entries of [`Skip`], added up: bits below, coefficients above.
struct Skipped {
    buffer: u64,
    sum: usize,
    /// The last one.
    entry: usize,
}

impl Skipped {
    /// Looks up to `N` entries up. Whether the last one leads behind the block.
    #[inline(always)]
    fn look_up<const N: usize>(&mut self, table: &[u16; 1 << SKIP_BITS]) -> bool {
        for _ in 0..N {
            self.entry = usize::from(table[(self.buffer >> (64 - SKIP_BITS)) as usize]);
            self.buffer <<= self.entry & 63;
            self.sum += self.entry;
            if self.sum >= 64 << 6 {
                return true;
            }
        }
        false
    }
}

/// Passes over one code. Returns the next coefficient, and whether the block ends.
#[cold]
#[inline(never)]
fn skip_one(bits: &mut Bits, code: &Code, k: usize) -> Option<(usize, bool)> {
    bits.refill();
    let (length, symbol) = code.decode(bits.peek(16) as u32)?;
    let (run, size) = (usize::from(symbol >> 4), symbol & 15);
    bits.consume(length);
    bits.consume(size.into());
    bits.refill();
    next_coefficient(run, size, k)
}

/// The coefficient after a code (T.81 F.1.2.2), and whether the block ends. libjpeg accepts more.
fn next_coefficient(run: usize, size: u8, k: usize) -> Option<(usize, bool)> {
    let next = k + run + 1;
    match (run, size) {
        (0, 0) => Some((k, true)),
        // Another coefficient follows a run of zeros.
        (15, 0) if next < 64 => Some((next, false)),
        (_, 0) => None,
        _ if next > 64 => None,
        _ => Some((next, next == 64)),
    }
}

/// Decodes the AC coefficients of a block. At least 43 bits of the buffer must be valid.
#[inline(always)]
pub fn fetch_coefficients(
    bits: &mut Bits,
    table: &[u16; 1 << BITS],
    code: &Code,
    mut add: impl FnMut(usize, i32),
) -> Outcome<()> {
    let mut k = 1;
    // Two more codes of the table fit in what is left of the buffer.
    let mut limit = bits.at + 2 * MAX_CONSUMED as usize;
    loop {
        let entry = u32::from(table[bits.peek(BITS)]);
        if entry == 0 {
            let mut copy = *bits;
            let (next, is_end, value) = fetch_one(&mut copy, code, k).ok_or(CODE)?;
            *bits = copy;
            if value != 0 {
                add(next - 1, value);
            }
            if is_end {
                return Ok(());
            }
            k = next;
            limit = bits.at + 3 * MAX_CONSUMED as usize;
            continue;
        }
        let (all, length) = (entry & 63, (entry >> 6) & 15);
        let value = extend(bits.buffer << length, all - length);
        bits.consume(all);
        if all == length {
            return Ok(());
        }
        k += (entry >> 10) as usize;
        if k > 63 {
            return Err(CODE);
        }
        add(k, value);
        k += 1;
        if k == 64 {
            return Ok(());
        }
        if bits.at > limit {
            bits.refill();
            limit = bits.at + 3 * MAX_CONSUMED as usize;
        }
    }
}

/// One code: the next coefficient, whether the block ends, and the value of the coefficient before, or 0.
#[cold]
#[inline(never)]
fn fetch_one(bits: &mut Bits, code: &Code, k: usize) -> Option<(usize, bool, i32)> {
    bits.refill();
    let (length, symbol) = code.decode(bits.peek(16) as u32)?;
    let (run, size) = (usize::from(symbol >> 4), symbol & 15);
    bits.consume(length);
    let value = if size == 0 { 0 } else { extend(bits.buffer, size.into()) };
    bits.consume(size.into());
    bits.refill();
    let (next, is_end) = next_coefficient(run, size, k)?;
    Some((next, is_end, value))
}
