//! Transcodes a JPEG of several scans into one of a single scan with the same coefficients, so with the same pixels at
//! every scale.
//!
//! libjpeg keeps all coefficients in memory if an image is progressive or its scans are not interleaved, but decodes a
//! single sequential scan line by line. Here, all scans are read at the same time, each from its own place: one row of
//! MCUs is complete before the next one begins.
//!
//! What libjpeg would warn about, and what is rare, is refused: libjpeg then decodes the image.

mod blocks;
mod pass;
mod segments;
mod writer;

use super::coefficients::Coefficients;
use super::completion;
use super::entropy::MIN_WINDOW;
use super::frame::{Component, Frame};
use super::header::Header;
use super::refusal::{Outcome, Refusal};
use super::scan::{Layout, Place, SMOOTHED, Scan, ScanComponent};
use super::scans::Scans;
use crate::render::codec::cursor::Cursor;
use blocks::Block;
use pass::Pass;
use writer::Writer;

/// Encoders write about ten. Each takes a window and tables.
const MAX_SCANS: usize = 64;

/// A sequential JPEG of a single scan, with the coefficients and the metadata of this one.
pub fn transcode(jpeg: &[u8], is_stopped: &dyn Fn() -> bool) -> Outcome<Vec<u8>> {
    let mut cursor = Cursor::new(jpeg);
    let header = Header::read(&mut cursor)?;
    let frame = &header.frame;
    check(&header)?;
    let whole = whole_scan(frame);
    let layout = Layout::new(frame, &whole)?;
    let mut scans = Scans::new(&header, cursor, is_stopped);
    let mut passes = Vec::new();
    while let Some(scan) = scans.next()? {
        if passes.len() == MAX_SCANS {
            return Err(Refusal::Unsupported("number of scans"));
        }
        if !frame.is_progressive && scan.components.len() == frame.components.len() {
            return Err(Refusal::Unsupported("a single scan"));
        }
        passes.push(Pass::new(&mut scans, scan, frame)?);
    }
    // libjpeg guesses what is not known.
    if !scans.progress.is_complete(SMOOTHED) {
        return Err(Refusal::Unsupported("incomplete scans"));
    }
    let mut row: Vec<Coefficients<Block>> = frame
        .components
        .iter()
        .map(|component| Coefficients::of_mcu_row(frame, component))
        .collect();
    let head = segments::head(jpeg, &whole)?;
    let mut writer = Writer::new(head, max_bytes(jpeg, frame));
    for y in 0..frame.mcus_y {
        for pass in &mut passes {
            if is_stopped() {
                return Err(Refusal::Stopped);
            }
            pass.decode_mcu_row(y, &mut row)?;
        }
        write_mcu_row(&mut writer, &layout, &mut row)?;
    }
    for pass in &passes {
        pass.finish()?;
    }
    Ok(writer.finish())
}

/// The bytes that [`transcode`] takes, its result included, or before it the completion of the file. `None` if it refuses
/// the headers.
pub fn buffered_bytes(jpeg: &[u8]) -> Option<u64> {
    let header = Header::read(&mut Cursor::new(jpeg)).ok()?;
    check(&header).ok()?;
    let frame = &header.frame;
    Layout::new(frame, &whole_scan(frame)).ok()?;
    let row = |component: &Component| {
        Coefficients::<Block>::bytes(frame, component, true) / frame.mcus_y.max(1) as u64
    };
    let rows: u64 = frame.components.iter().map(row).sum();
    let windows = jpeg.len().min(MAX_SCANS * MIN_WINDOW);
    let taken = max_bytes(jpeg, frame) as u64 + windows as u64 + rows;
    Some(taken.max(completion::coefficient_bytes(jpeg, frame)))
}

fn check(header: &Header) -> Outcome<()> {
    let frame = &header.frame;
    let exists = |component: &Component| header.quantisers.get(component.quantiser);
    if frame.components.iter().any(|component| exists(component).is_none_or(Option::is_none)) {
        return Err(Refusal::Damaged("no DQT"));
    }
    Ok(())
}

/// The most that the result may take. Its codes are not made for the image, and a block takes at least six bits, while
/// a progressive one without AC coefficients may take none.
fn max_bytes(jpeg: &[u8], frame: &Frame) -> usize {
    let blocks = frame.components.iter().map(|component| {
        let (columns, rows) = frame.padded_blocks(component);
        columns * rows
    });
    2 * jpeg.len() + blocks.sum::<usize>() + (4 << 10)
}

/// The only scan of the result.
fn whole_scan(frame: &Frame) -> Scan {
    let component = |index| ScanComponent { index, dc: 0, ac: 0 };
    let components = (0..frame.components.len()).map(component).collect();
    Scan { components, first: 0, last: 63, high: 0, low: 0 }
}

fn write_mcu_row(
    writer: &mut Writer,
    layout: &Layout,
    row: &mut [Coefficients<Block>],
) -> Outcome<()> {
    for x in 0..layout.mcus_x {
        for Place { slot, h, x: dx, y: dy, .. } in layout.places.iter().copied() {
            let Some(component) = row.get_mut(slot) else { continue };
            let at = dy * component.stride + x * h + dx;
            if let (Some(dc), Some(block)) = (component.dc.get(at), component.ac.get_mut(at)) {
                writer.write(slot, *dc, block)?;
            }
        }
        writer.check_size()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
        [&[0xff, marker], &(body.len() as u16 + 2).to_be_bytes()[..], body].concat()
    }

    /// A gray block in this many scans, at least 64: one for each coefficient, and bits that follow.
    fn block(scans: usize) -> Vec<u8> {
        let code = |number: u8| [&[number, 1], &[0; 15][..], &[0]].concat();
        let mut file = vec![0xff, 0xd8];
        file.extend(segment(0xdb, &[&[0], &[1; 64][..]].concat()));
        file.extend(segment(0xc2, &[8, 0, 8, 0, 8, 1, 1, 0x11, 0]));
        file.extend(segment(0xc4, &[code(0), code(0x10)].concat()));
        let mut scan = |first: u8, precision: u8| {
            file.extend(segment(0xda, &[1, 1, 0, first, first, precision]));
            // A bit: no difference, no coefficients.
            file.push(0x7f);
        };
        let more = scans as u8 - 64;
        (0..64).for_each(|k| scan(k, u8::from((1..=more).contains(&k))));
        (1..=more).for_each(|k| scan(k, 0x10));
        file.extend([0xff, 0xd9]);
        file
    }

    fn run(jpeg: &[u8]) -> Outcome<Vec<u8>> {
        transcode(jpeg, &|| false)
    }

    #[test]
    fn scans_have_a_limit() {
        let one = run(&block(MAX_SCANS)).unwrap();
        assert_eq!(run(&one), Err(Refusal::Unsupported("a single scan")));
        let more = block(MAX_SCANS + 1);
        assert_eq!(run(&more), Err(Refusal::Unsupported("number of scans")));
    }

    #[test]
    fn data_that_is_missing_or_too_much_is_refused() {
        let jpeg = block(64);
        let last = jpeg.len() - 3;
        let changed = |bytes: &[u8]| run(&[&jpeg[..last], bytes, &[0xff, 0xd9]].concat());
        assert!(changed(&[0x7f]).is_ok() && changed(&[0x7f, 0xff, 0xff]).is_ok());
        assert_eq!(changed(&[]), Err(Refusal::Truncated));
        assert_eq!(changed(&[0xff, 0]), Err(Refusal::Damaged("Huffman code")));
        assert_eq!(changed(&[0x7f, 0]), Err(Refusal::Damaged("bytes behind a scan")));
        for length in 0..jpeg.len() {
            assert!(run(&jpeg[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn it_stops_before_each_scan_of_a_row() {
        let jpeg = block(64);
        let calls = Cell::new(0);
        let stops_at = |end: usize| {
            calls.set(0);
            transcode(&jpeg, &|| calls.replace(calls.get() + 1) == end)
        };
        assert!(stops_at(usize::MAX).is_ok());
        // Each scan is searched for its end and decoded.
        assert_eq!(calls.get(), 2 * 64);
        for end in 0..2 * 64 {
            assert_eq!(stops_at(end), Err(Refusal::Stopped), "{end}");
        }
    }

    #[test]
    fn what_libjpeg_would_guess_is_refused() {
        let jpeg = block(64);
        let scans: Vec<usize> =
            (0..jpeg.len()).filter(|at| jpeg[*at..].starts_with(&[0xff, 0xda])).collect();
        let without = |number: usize| {
            let end = scans.get(number + 1).copied().unwrap_or(jpeg.len() - 2);
            run(&[&jpeg[..scans[number]], &jpeg[end..]].concat())
        };
        assert_eq!(without(0), Err(Refusal::Unsupported("AC coefficients before DC")));
        assert_eq!(without(SMOOTHED - 1), Err(Refusal::Unsupported("incomplete scans")));
        assert!(without(SMOOTHED).is_ok() && without(63).is_ok());
    }
}
