//! The EOI marker that a file lacks, although all of its data is there.
//!
//! Browsers show such a file. libjpeg reads ahead, and libvips takes the end of the file for missing data.

use super::coefficients::{Coefficients, Transformed};
use super::frame::Frame;
use super::header::Header;
use super::refusal::{Outcome, Refusal};
use super::scan::Scan;
use super::scans::Scans;
use super::{EOI, SOI};
use crate::render::codec::cursor::Cursor;

/// The image with an EOI marker, if that is all that is missing: the file ends within a scan of Huffman codes, every
/// block of the scan is there, and the scans before it leave nothing unknown.
pub fn complete(jpeg: &[u8], is_stopped: &dyn Fn() -> bool) -> Option<Vec<u8>> {
    if !may_be_completed(jpeg) {
        return None;
    }
    let is_complete = lacks_only_its_end(jpeg, is_stopped).is_ok_and(|lacks| lacks);
    is_complete.then(|| [jpeg, &[0xff, EOI]].concat())
}

/// Whether [`complete`] looks for what is missing.
pub fn may_be_completed(jpeg: &[u8]) -> bool {
    jpeg.starts_with(&[0xff, SOI]) && !jpeg.ends_with(&[0xff, EOI])
}

/// The most bytes that [`complete`] takes for coefficients: DC of all components, AC of one.
pub(super) fn coefficient_bytes(jpeg: &[u8], frame: &Frame) -> u64 {
    if !may_be_completed(jpeg) || !frame.is_progressive {
        return 0;
    }
    let bytes = |has_ac| {
        frame
            .components
            .iter()
            .map(move |component| Coefficients::<Transformed>::bytes(frame, component, has_ac))
    };
    bytes(false).sum::<u64>() + bytes(true).max().unwrap_or(0)
}

fn lacks_only_its_end(jpeg: &[u8], is_stopped: &dyn Fn() -> bool) -> Outcome<bool> {
    let mut cursor = Cursor::new(jpeg);
    let header = Header::read(&mut cursor)?;
    let mut scans = Scans::new(&header, cursor, is_stopped);
    let mut number = 0;
    let last = loop {
        let Some(scan) = scans.next()? else { return Ok(false) };
        match scans.skip() {
            Ok(()) => number += 1,
            Err(Refusal::Truncated) => break scan,
            Err(refusal) => return Err(refusal),
        }
    };
    if !scans.progress.is_complete(64) {
        return Ok(false);
    }
    if header.frame.is_progressive {
        let scans = Scans::new(&header, cursor, is_stopped);
        check_progressive(scans, number, &last, &header)?;
    } else {
        scans.decode_sequential(&last, &mut [])?;
    }
    Ok(true)
}

/// Decodes the last scan, and before it those of AC coefficients of the same component: how long a refinement is
/// depends on them.
fn check_progressive(mut scans: Scans, number: usize, last: &Scan, header: &Header) -> Outcome<()> {
    let first = |scan: &Scan| scan.components.first().map(|component| component.index);
    let frame = &header.frame;
    let mut coefficients: Vec<Coefficients<Transformed>> = Vec::new();
    for (index, component) in frame.components.iter().enumerate() {
        let has_ac = last.first > 0 && first(last) == Some(index);
        coefficients.push(Coefficients::new(frame, component, has_ac));
    }
    for at in 0..=number {
        let Some(scan) = scans.next()? else { return Err(Refusal::Truncated) };
        let is_needed =
            last.first > 0 && last.high > 0 && scan.first > 0 && first(&scan) == first(last);
        if at < number && !is_needed {
            scans.skip()?;
            continue;
        }
        // Any values are within bounds with steps of 1.
        let end = scans.decode_progressive(&scan, &mut coefficients, &[1; 64])?;
        if at < number {
            scans.finish(&end)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::SOS;
    use super::*;

    fn files() -> Vec<(String, Vec<u8>)> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/jpeg");
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|name| name == "jpg"))
            .map(|file| (file.display().to_string(), std::fs::read(file).unwrap()))
            .collect()
    }

    /// Where the last EOI marker is, with fill bytes before it.
    fn end(jpeg: &[u8]) -> usize {
        let marker = jpeg.windows(2).rposition(|pair| pair == [0xff, EOI]).unwrap();
        jpeg[..marker].iter().rposition(|byte| *byte != 0xff).unwrap() + 1
    }

    #[test]
    fn only_the_end_of_the_image_may_be_missing() {
        for (name, jpeg) in files() {
            let end = end(&jpeg);
            assert_eq!(complete(&jpeg, &|| false), None, "{name}: nothing is missing");
            for more in [&[][..], &[0xff], &[0xff, 0xff]] {
                let cut = [&jpeg[..end], more].concat();
                let whole = complete(&cut, &|| false);
                assert_eq!(whole, Some([&cut[..], &[0xff, EOI]].concat()), "{name} {more:?}");
            }
            for missing in 1..end.min(40) {
                let cut = &jpeg[..end - missing];
                assert_eq!(complete(cut, &|| false), None, "{name}: {missing} bytes are missing");
            }
        }
    }

    #[test]
    fn scans_may_not_be_missing() {
        let mut scans = 0;
        for (name, jpeg) in files() {
            for (at, _) in jpeg.windows(2).enumerate().filter(|(_, pair)| *pair == [0xff, SOS]) {
                let rest = jpeg.get(..at).unwrap_or_default();
                assert_eq!(complete(rest, &|| false), None, "{name}: {at}");
                scans += 1;
            }
        }
        assert!(scans > 200);
    }

    #[test]
    fn a_check_that_is_stopped_completes_nothing() {
        let (name, jpeg) = files().pop().unwrap();
        assert_eq!(complete(&jpeg[..end(&jpeg)], &|| true), None, "{name}");
    }
}
