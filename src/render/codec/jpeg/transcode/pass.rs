//! A scan that is decoded row by row.

use super::super::coefficients::Coefficients;
use super::super::entropy::{MIN_WINDOW, ScanData};
use super::super::frame::Frame;
use super::super::progressive::{Progressive, State};
use super::super::refusal::{Outcome, Refusal};
use super::super::scan::{Layout, Scan};
use super::super::scans::Scans;
use super::blocks::Block;

pub struct Pass<'b> {
    scan: Scan,
    layout: Layout,
    state: State,
    data: ScanData<'b>,
    /// Rows of the scan in a row of MCUs of the frame.
    rows: usize,
}

impl<'b> Pass<'b> {
    /// Passes over the data of the scan, which is the next in `scans`.
    pub fn new(scans: &mut Scans<'b, '_>, scan: Scan, frame: &Frame) -> Outcome<Pass<'b>> {
        let layout = Layout::new(frame, &scan)?;
        // Coefficients stay quantised.
        let (state, data) = scans.open(&scan, &[1; 64], MIN_WINDOW)?;
        // The rows of a scan of one component are rows of blocks.
        let rows = match scan.components[..] {
            [only] => frame.components.get(only.index).map_or(1, |component| component.v),
            _ => 1,
        };
        Ok(Pass { scan, layout, state, data, rows })
    }

    /// Decodes what the scan has of a row of MCUs of the frame.
    pub fn decode_mcu_row(
        &mut self,
        y: usize,
        coefficients: &mut [Coefficients<Block>],
    ) -> Outcome<()> {
        let Pass { scan, layout, state, data, rows } = self;
        let mut decoder = Progressive { scan, layout, state, coefficients };
        for row in 0..layout.mcus_y.saturating_sub(y * *rows).min(*rows) {
            data.decode_row(layout, row, &mut decoder)?;
        }
        Ok(())
    }

    /// Checks that all data of the scan has been used, except fill bytes before the next marker.
    pub fn finish(&self) -> Outcome<()> {
        let end = self.data.end();
        if end.unused_bytes > 0 || end.rest.iter().any(|byte| *byte != 0xff) {
            return Err(Refusal::Damaged("bytes behind a scan"));
        }
        Ok(())
    }
}
