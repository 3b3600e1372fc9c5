//! Decodes a JPEG at scale 1/8: the pixels of libjpeg-turbo, without the work that does not count at this scale.
//!
//! A block of 8 × 8 samples becomes one sample, which its DC coefficient determines; only where chroma is halved in both
//! directions does it become 2 × 2 samples (jdmaster.c), which AC coefficients determine as well. So the AC coefficients
//! of other components are passed over in a sequential JPEG, and the scans that hold them are in a progressive one, whose
//! coefficients need not be kept either.
//!
//! What libjpeg would warn about, and what is rare, is refused: libjpeg then decodes the image.

use super::coefficients::{Coefficients, Transformed};
use super::completion;
use super::header::Header;
pub use super::planes::Pixels;
use super::planes::{interleave, planes};
use super::refusal::{Outcome, Refusal};
use super::scan::SMOOTHED;
use super::scans::Scans;
use crate::render::codec::cursor::Cursor;

/// Decodes an image whose sides are divided by 8, and rounded down. What skipped scans hold is not examined: they are
/// refused if `must_examine`.
pub fn decode(jpeg: &[u8], must_examine: bool, is_stopped: &dyn Fn() -> bool) -> Outcome<Pixels> {
    let mut cursor = Cursor::new(jpeg);
    let header = Header::read(&mut cursor)?;
    check(&header, must_examine)?;
    let frame = &header.frame;
    let mut planes = planes(&header)?;
    let mut scans = Scans::new(&header, cursor, is_stopped);
    if !frame.is_progressive {
        while let Some(scan) = scans.next()? {
            let end = scans.decode_sequential(&scan, &mut planes)?;
            scans.finish(&end)?;
        }
    } else {
        let components = frame.components.iter();
        let mut kept: Vec<Coefficients<Transformed>> =
            components.map(|c| Coefficients::new(frame, c, c.side > 1)).collect();
        while let Some(scan) = scans.next()? {
            let plane = scan.components.first().and_then(|first| planes.get(first.index));
            let plane = plane.ok_or(Refusal::Damaged("scan header"))?;
            if scan.first > 0 && plane.side == 1 {
                scans.check_table(&scan)?;
                scans.skip()?;
                continue;
            }
            let end = scans.decode_progressive(&scan, &mut kept, &plane.quantiser)?;
            scans.finish(&end)?;
        }
        for ((component, plane), kept) in frame.components.iter().zip(&mut planes).zip(&kept) {
            kept.transform(component, plane)?;
        }
    }
    // libjpeg guesses what is not known, from DC coefficients that it changes by it.
    if !scans.progress.is_complete(SMOOTHED) {
        return Err(Refusal::Unsupported("incomplete scans"));
    }
    Ok(interleave(frame, header.colour, &planes))
}

/// The bytes that [`decode`], or before it the completion of the file, takes for coefficients and samples. `None` if it
/// refuses the headers.
pub fn buffered_bytes(jpeg: &[u8], must_examine: bool) -> Option<u64> {
    let header = Header::read(&mut Cursor::new(jpeg)).ok()?;
    check(&header, must_examine).ok()?;
    let frame = &header.frame;
    let kept: u64 = frame
        .components
        .iter()
        .map(|component| {
            // Samples of the component and of the image, and of libvips' copy.
            let (blocks_x, blocks_y) = frame.padded_blocks(component);
            let side = component.side as u64;
            let samples = blocks_x as u64 * blocks_y as u64 * side * side;
            let pixels = frame.width as u64 / 8 * (frame.height as u64 / 8);
            let has_ac = frame.is_progressive && side > 1;
            samples + 2 * pixels + Coefficients::<Transformed>::bytes(frame, component, has_ac)
        })
        .sum();
    Some(kept.max(completion::coefficient_bytes(jpeg, frame)))
}

fn check(header: &Header, must_examine: bool) -> Outcome<()> {
    let frame = &header.frame;
    if must_examine && frame.is_progressive {
        return Err(Refusal::Unsupported("skipped scans"));
    }
    if !matches!(frame.components.len(), 1 | 3) {
        return Err(Refusal::Unsupported("number of components"));
    }
    for component in &frame.components {
        let (h, v) = (component.h * component.side, component.v * component.side);
        if component.side > 2 || !frame.max_h.is_multiple_of(h) || !frame.max_v.is_multiple_of(v) {
            return Err(Refusal::Unsupported("sampling factors"));
        }
    }
    Ok(())
}
