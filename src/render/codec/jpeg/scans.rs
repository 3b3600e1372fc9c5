//! Reads the scans of an image one after the other.

use super::coefficients::{AcBlock, Coefficients};
use super::entropy::{End, ScanData, decode_scan};
use super::header::{Header, Segment, Tables};
use super::planes::Plane;
use super::progressive::{Progressive, State};
use super::refusal::{Outcome, Refusal};
use super::scan::{Layout, Progress, Scan};
use super::sequential::{ScanTables, Sequential};
use super::{EOI, SOS, entropy_coded};
use crate::render::codec::cursor::Cursor;

/// The scans of an image, and what has been read of them.
pub struct Scans<'b, 's> {
    header: &'s Header<'b>,
    cursor: Cursor<'b>,
    tables: Tables<'b>,
    pub progress: Progress,
    is_stopped: &'s dyn Fn() -> bool,
}

impl<'b, 's> Scans<'b, 's> {
    /// `cursor` is behind the header.
    pub fn new(
        header: &'s Header<'b>,
        cursor: Cursor<'b>,
        is_stopped: &'s dyn Fn() -> bool,
    ) -> Scans<'b, 's> {
        let progress = Progress::new(&header.frame);
        Scans { header, cursor, tables: header.tables, progress, is_stopped }
    }

    /// Reads up to the data of the next scan. `None` at the end of the image.
    pub fn next(&mut self) -> Outcome<Option<Scan>> {
        loop {
            let segment = Segment::next(&mut self.cursor)?;
            match segment.marker {
                EOI => return Ok(None),
                SOS => {
                    let scan = Scan::read(segment.body, &self.header.frame)?;
                    self.progress.add(&scan)?;
                    return Ok(Some(scan));
                }
                _ => self.tables.apply(segment)?,
            }
        }
    }

    /// Passes over the data of a scan.
    pub fn skip(&mut self) -> Outcome<()> {
        self.take().map(drop)
    }

    fn take(&mut self) -> Outcome<&'b [u8]> {
        if (self.is_stopped)() {
            return Err(Refusal::Stopped);
        }
        let length = entropy_coded(self.cursor.rest()).ok_or(Refusal::Truncated)?;
        self.cursor.take(length).ok_or(Refusal::Truncated)
    }

    /// Passes over the data of a scan, which is to be decoded row by row.
    pub fn open(
        &mut self,
        scan: &Scan,
        quantiser: &[i32; 64],
        window: usize,
    ) -> Outcome<(State, ScanData<'b>)> {
        let state = State::new(scan, &self.tables, quantiser)?;
        let interval = self.tables.restart_interval;
        Ok((state, ScanData::new(self.take()?, interval, window)))
    }

    /// Refuses a scan of AC coefficients without a valid table.
    pub fn check_table(&self, scan: &Scan) -> Outcome<()> {
        let component = scan.components.first().ok_or(Refusal::Damaged("scan header"))?;
        self.tables.ac(component.ac).map(drop)
    }

    /// Goes on after the data of a scan, all of which must have been used.
    pub fn finish(&mut self, end: &End<'b>) -> Outcome<()> {
        if end.unused_bytes > 0 {
            return Err(Refusal::Damaged("bytes behind a scan"));
        }
        self.cursor = Cursor::new(end.rest);
        Ok(())
    }

    /// Decodes a scan of a sequential image. Without planes, the data is only read to its end.
    pub fn decode_sequential(&self, scan: &Scan, planes: &mut [Plane]) -> Outcome<End<'b>> {
        let layout = Layout::new(&self.header.frame, scan)?;
        let tables = ScanTables::new(scan, &self.tables, planes)?;
        let mut decoder = Sequential::new(scan, &layout, &tables, planes)?;
        let interval = self.tables.restart_interval;
        decode_scan(self.cursor.rest(), &layout, interval, &mut decoder, self.is_stopped)
    }

    /// Decodes a scan of a progressive image. The quantiser is that of the component of AC coefficients.
    pub fn decode_progressive<B: AcBlock>(
        &self,
        scan: &Scan,
        coefficients: &mut [Coefficients<B>],
        quantiser: &[i32; 64],
    ) -> Outcome<End<'b>> {
        let layout = &Layout::new(&self.header.frame, scan)?;
        let state = &mut State::new(scan, &self.tables, quantiser)?;
        let mut decoder = Progressive { scan, layout, state, coefficients };
        let interval = self.tables.restart_interval;
        decode_scan(self.cursor.rest(), layout, interval, &mut decoder, self.is_stopped)
    }
}
