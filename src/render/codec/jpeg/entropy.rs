//! Entropy-coded data: without its stuffed bytes, a window at a time, in batches of MCUs between restarts.

use super::refusal::{Outcome, Refusal};
use super::scan::Layout;

/// Bytes of the window, where one scan is decoded at a time.
const WINDOW: usize = 128 << 10;
/// A window holds more than a batch.
pub const MIN_WINDOW: usize = 32 << 10;
const _: () = assert!(MIN_WINDOW > BATCH * MAX_BLOCK_BYTES);
/// Zeros behind the data, so that reading a word rarely has to look where it ends.
const PADDING: usize = 16;
/// Blocks of a batch.
const BATCH: usize = 96;
/// The longest block: 64 codes of 16 bits, each with a value of up to 15 bits.
const MAX_BLOCK_BYTES: usize = 248;

/// Reads bits. Two words of state, which stay in registers where a copy is used.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'w> {
    pub data: &'w [u8],
    /// The next bits, from the top.
    pub buffer: u64,
    /// Bits that were consumed.
    pub at: usize,
}

/// At least 57 bits from a place on; zeros behind the data.
#[inline(always)]
pub fn word(data: &[u8], at: usize) -> u64 {
    let start = at >> 3;
    let bytes = data.get(start..start + 8).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes)) << (at & 7)
}

impl Bits<'_> {
    /// Makes at least 57 bits available.
    #[inline(always)]
    pub fn refill(&mut self) {
        self.buffer = word(self.data, self.at);
    }

    #[inline(always)]
    pub fn consume(&mut self, bits: u32) {
        self.buffer <<= bits & 63;
        self.at += (bits & 63) as usize;
    }

    /// The next bits, 1 to 63.
    #[inline(always)]
    pub fn peek(&self, bits: usize) -> usize {
        (self.buffer >> ((64 - bits) & 63)) as usize
    }
}

/// The value that `size` bits at the top of `bits` stand for (T.81 F.2.2.1).
#[inline(always)]
pub fn extend(bits: u64, size: u32) -> i32 {
    let value = ((bits >> 1) >> ((63 - size) & 63)) as i32;
    let negative = !((bits as i64) >> 63) as i32;
    value - (negative & ((1_i32 << (size & 31)) - 1))
}

/// MCUs of one row, between two restarts.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub x: usize,
    pub y: usize,
    pub count: usize,
    /// The first of the scan or after a restart: predictions and runs begin anew.
    pub is_first: bool,
}

/// Decodes the MCUs of a scan.
pub trait Decoder {
    /// Decodes a batch. Returns the position after its last bit.
    fn decode(&mut self, bits: Bits<'_>, batch: Batch) -> Outcome<usize>;

    /// A row of MCUs is complete.
    fn end_row(&mut self, _y: usize) -> Outcome<()> {
        Ok(())
    }
}

/// What follows the last MCU of a scan.
#[derive(Debug)]
pub struct End<'b> {
    /// From the marker on that ends the data.
    pub rest: &'b [u8],
    /// Whole bytes of data before it.
    pub unused_bytes: usize,
}

/// Decodes the scan whose data `source` begins with.
pub fn decode_scan<'b>(
    source: &'b [u8],
    layout: &Layout,
    restart_interval: usize,
    decoder: &mut impl Decoder,
    is_stopped: &dyn Fn() -> bool,
) -> Outcome<End<'b>> {
    let mut data = ScanData::new(source, restart_interval, WINDOW);
    for y in 0..layout.mcus_y {
        if is_stopped() {
            return Err(Refusal::Stopped);
        }
        data.decode_row(layout, y, decoder)?;
    }
    Ok(data.end())
}

/// The data of a scan, of which a part has been decoded.
pub struct ScanData<'b> {
    window: Window<'b>,
    /// MCUs between restarts, and how many of them are left.
    interval: usize,
    left: usize,
    restarts: usize,
    is_first: bool,
}

impl<'b> ScanData<'b> {
    /// `window` bytes of the data are held without stuffed bytes at a time, at least [`MIN_WINDOW`].
    pub fn new(source: &'b [u8], restart_interval: usize, window: usize) -> ScanData<'b> {
        let interval = if restart_interval == 0 { usize::MAX } else { restart_interval };
        let mut window = Window::new(source, window);
        window.fill();
        ScanData { window, interval, left: interval, restarts: 0, is_first: true }
    }

    /// Decodes the next row of MCUs, which `decoder` knows as row `y`.
    pub fn decode_row(
        &mut self,
        layout: &Layout,
        y: usize,
        decoder: &mut impl Decoder,
    ) -> Outcome<()> {
        let blocks = layout.places.len().max(1);
        let batch = (BATCH / blocks).max(1);
        let window = &mut self.window;
        let mut x = 0;
        while x < layout.mcus_x {
            if self.left == 0 {
                window.restart(self.restarts)?;
                self.restarts += 1;
                self.left = self.interval;
                self.is_first = true;
            }
            window.ensure(batch * blocks * MAX_BLOCK_BYTES);
            let count = batch.min(self.left).min(layout.mcus_x - x);
            window.at =
                decoder.decode(window.bits(), Batch { x, y, count, is_first: self.is_first })?;
            if window.at > 8 * window.length {
                return Err(Refusal::Truncated);
            }
            self.is_first = false;
            x += count;
            self.left -= count;
        }
        decoder.end_row(y)
    }

    pub fn end(&self) -> End<'b> {
        End { rest: self.window.source, unused_bytes: self.window.unused_bytes() }
    }
}

/// A part of the data between two markers, without stuffed bytes.
struct Window<'b> {
    /// What is not in the window yet.
    source: &'b [u8],
    bytes: Vec<u8>,
    /// Bytes of data; zeros follow.
    length: usize,
    /// Bits of them that were consumed.
    at: usize,
    /// A marker or the end of the file follows.
    is_last: bool,
}

impl<'b> Window<'b> {
    fn new(source: &'b [u8], capacity: usize) -> Window<'b> {
        let capacity = capacity.min(source.len());
        let bytes = vec![0; capacity + PADDING];
        Window { source, bytes, length: 0, at: 0, is_last: false }
    }

    fn bits(&self) -> Bits<'_> {
        let data = self.bytes.get(..self.length + PADDING).unwrap_or_default();
        Bits { data, buffer: 0, at: self.at }
    }

    fn unused_bytes(&self) -> usize {
        (8 * self.length).saturating_sub(self.at) / 8
    }

    /// Provides this many bytes, or all that are left.
    #[inline]
    fn ensure(&mut self, bytes: usize) {
        if !self.is_last && self.unused_bytes() <= bytes {
            self.fill();
        }
    }

    fn fill(&mut self) {
        let consumed = (self.at / 8).min(self.length);
        self.bytes.copy_within(consumed..self.length, 0);
        self.length -= consumed;
        self.at -= 8 * consumed;
        let capacity = self.bytes.len() - PADDING;
        while let Some(room) = self.bytes.get_mut(self.length..capacity)
            && !room.is_empty()
        {
            let copied = copy_until_ff(self.source, room);
            self.length += copied;
            self.source = self.source.get(copied..).unwrap_or_default();
            match *self.source {
                [0xff, 0, ref rest @ ..] if copied < room.len() => {
                    room[copied] = 0xff;
                    self.length += 1;
                    self.source = rest;
                }
                [] | [0xff] => self.is_last = true,
                [0xff, next, ..] if next != 0 => self.is_last = true,
                _ => {}
            }
            if self.is_last {
                break;
            }
        }
        self.bytes.iter_mut().skip(self.length).take(PADDING).for_each(|byte| *byte = 0);
    }

    /// Passes over the restart marker that must follow.
    fn restart(&mut self, number: usize) -> Outcome<()> {
        // The marker may lie just behind a full window.
        if !self.is_last {
            self.fill();
        }
        match *self.source {
            [0xff, marker @ 0xd0..=0xd7, ref rest @ ..]
                if usize::from(marker & 7) == number & 7
                    && self.is_last
                    && self.unused_bytes() == 0 =>
            {
                self.source = rest;
            }
            _ => return Err(Refusal::Damaged("restart marker")),
        }
        (self.length, self.at, self.is_last) = (0, 0, false);
        self.fill();
        Ok(())
    }
}

/// Whether a byte is 0xff: the usual test for a zero byte, inverted.
fn has_ff(bytes: &[u8; 16]) -> bool {
    const ONES: u128 = u128::MAX / 0xff;
    let inverted = !u128::from_ne_bytes(*bytes);
    inverted.wrapping_sub(ONES) & !inverted & (ONES << 7) != 0
}

/// Copies up to the first byte 0xff. Returns the number of bytes.
fn copy_until_ff(from: &[u8], to: &mut [u8]) -> usize {
    let mut copied = 0;
    for (to, from) in to.as_chunks_mut::<16>().0.iter_mut().zip(from.as_chunks::<16>().0) {
        *to = *from;
        if has_ff(from) {
            return copied + from.iter().position(|byte| *byte == 0xff).unwrap_or(0);
        }
        copied += 16;
    }
    let from = from.get(copied..).unwrap_or_default();
    let to = to.get_mut(copied..).unwrap_or_default();
    for (to, from) in to.iter_mut().zip(from) {
        if *from == 0xff {
            break;
        }
        *to = *from;
        copied += 1;
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::super::scan::Place;
    use super::*;

    /// Reads one byte for each MCU.
    struct Bytes(Vec<u8>);

    impl Decoder for Bytes {
        fn decode(&mut self, mut bits: Bits, batch: Batch) -> Outcome<usize> {
            for _ in 0..batch.count {
                bits.refill();
                self.0.push(bits.peek(8) as u8);
                bits.consume(8);
            }
            Ok(bits.at)
        }
    }

    fn read(source: &[u8], mcus: usize, interval: usize) -> Outcome<(Vec<u8>, usize, &[u8])> {
        let place = Place { slot: 0, h: 1, v: 1, x: 0, y: 0 };
        let layout = Layout { mcus_x: 100, mcus_y: mcus / 100, places: vec![place] };
        let mut bytes = Bytes(Vec::new());
        let end = decode_scan(source, &layout, interval, &mut bytes, &|| false)?;
        Ok((bytes.0, end.unused_bytes, end.rest))
    }

    fn stuffed(bytes: &[u8]) -> Vec<u8> {
        let stuff = |byte: &u8| if *byte == 0xff { vec![0xff, 0] } else { vec![*byte] };
        bytes.iter().flat_map(stuff).collect()
    }

    /// Every place in a window gets a byte 0xff.
    fn data(length: usize) -> Vec<u8> {
        (0..length).map(|at| if at % 7 == at / 4096 % 7 { 0xff } else { at as u8 & 0x7f }).collect()
    }

    #[test]
    fn stuffed_bytes_are_removed_at_every_place_of_a_window() {
        for length in [100, WINDOW / 100 * 100, 300_000] {
            let bytes = data(length);
            let source = [&stuffed(&bytes)[..], &[0xff, 0xd9, 1]].concat();
            let (found, unused, rest) = read(&source, length, 0).unwrap();
            assert!(found == bytes, "{length}");
            assert_eq!((unused, rest), (0, &[0xff, 0xd9, 1][..]));
        }
    }

    #[test]
    fn restarts_come_in_order_and_without_bytes_before_them() {
        let bytes = data(2000);
        for interval in [1, 7, 100, 333] {
            let parts = bytes.chunks(interval).enumerate();
            let parts: Vec<Vec<u8>> = parts
                .map(|(number, part)| match number {
                    0 => stuffed(part),
                    _ => [&[0xff, 0xd0 + ((number + 7) % 8) as u8], &stuffed(part)[..]].concat(),
                })
                .collect();
            let source = [parts.concat(), vec![0xff, 0xd9]].concat();
            assert!(read(&source, 2000, interval).unwrap().0 == bytes, "{interval}");
            assert!(read(&source, 2000, 0).is_err());
            assert!(read(&source, 2000, interval + 1).is_err());
            let more = source.iter().position(|byte| *byte == 0xff).unwrap();
            let longer = [&source[..more], &[1], &source[more..]].concat();
            assert!(read(&longer, 2000, interval).is_err());
        }
    }

    #[test]
    fn the_end_is_where_the_marker_or_the_file_is() {
        let bytes = data(1000);
        let source = stuffed(&bytes);
        for end in [&[][..], &[0xff], &[0xff, 0xff], &[0xff, 0xff, 0xd9], &[0xff, 0xc4]] {
            let source = [&source[..], end].concat();
            let (found, unused, rest) = read(&source, 1000, 0).unwrap();
            assert!(found == bytes);
            assert_eq!((unused, rest), (0, end));
            assert_eq!(read(&source, 900, 0).unwrap().1, 100);
            assert_eq!(read(&source, 1100, 0).err(), Some(Refusal::Truncated));
        }
    }

    #[test]
    fn a_scan_is_stopped_before_a_row() {
        let place = Place { slot: 0, h: 1, v: 1, x: 0, y: 0 };
        let layout = Layout { mcus_x: 1, mcus_y: 9, places: vec![place] };
        let rows = std::cell::Cell::new(0);
        let is_stopped = || rows.replace(rows.get() + 1) == 5;
        let mut bytes = Bytes(Vec::new());
        let end = decode_scan(&[1; 9], &layout, 0, &mut bytes, &is_stopped);
        assert_eq!((end.err(), bytes.0.len()), (Some(Refusal::Stopped), 5));
    }

    #[test]
    fn extended_values_are_those_of_the_standard() {
        for (bits, size, value) in
            [(0, 0, 0), (0, 1, -1), (1, 1, 1), (0, 3, -7), (3, 3, -4), (4, 3, 4), (7, 3, 7)]
        {
            let bits = if size == 0 { 1 << 63 } else { bits << (64 - size) };
            assert_eq!(extend(bits, size), value, "{bits:x} {size}");
        }
    }
}
