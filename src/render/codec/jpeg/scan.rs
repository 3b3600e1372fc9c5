//! Scan headers (T.81 B.2.3), the order of blocks in a scan, and the progression of scans (T.81 G.1.1.1).

use super::frame::Frame;
use super::refusal::{Outcome, Refusal};

/// `D_MAX_BLOCKS_IN_MCU` of libjpeg (T.81 B.2.3).
const MAX_MCU_BLOCKS: usize = 10;
/// The coefficients by whose precision libjpeg decides whether to smooth (`SAVED_COEFS` in jdcoefct.h).
pub const SMOOTHED: usize = 10;

#[derive(Clone, Debug)]
pub struct Scan {
    pub components: Vec<ScanComponent>,
    /// The band of coefficients in zigzag order (`Ss`, `Se`).
    pub first: usize,
    pub last: usize,
    /// The bits that are known before and after this scan (`Ah`, `Al`).
    pub high: u32,
    pub low: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct ScanComponent {
    /// Index in the frame.
    pub index: usize,
    /// Numbers of its Huffman tables.
    pub dc: usize,
    pub ac: usize,
}

impl Scan {
    /// Reads the body of an SOS segment.
    pub fn read(body: &[u8], frame: &Frame) -> Outcome<Scan> {
        const DAMAGED: Refusal = Refusal::Damaged("scan header");
        let (&count, rest) = body.split_first().ok_or(DAMAGED)?;
        let (components, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or(DAMAGED)?;
        let &[first, last, approximation] = rest else { return Err(DAMAGED) };
        let mut found: Vec<ScanComponent> = Vec::new();
        for &[id, tables] in components.as_chunks().0 {
            let index = frame.components.iter().position(|component| component.id == id);
            let index = index.ok_or(DAMAGED)?;
            if found.last().is_some_and(|last| last.index >= index) {
                return Err(Refusal::Unsupported("order of components"));
            }
            if tables & 0xcc != 0 {
                return Err(DAMAGED);
            }
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            found.push(ScanComponent { index, dc, ac });
        }
        let scan = Scan {
            components: found,
            first: first.into(),
            last: last.into(),
            high: u32::from(approximation >> 4),
            low: u32::from(approximation & 15),
        };
        let is_valid = match (frame.is_progressive, scan.components.len()) {
            (_, 0) => false,
            (false, _) => (first, last, approximation) == (0, 63, 0),
            (true, _) if first == 0 => last == 0,
            (true, count) => first <= last && last < 64 && count == 1,
        };
        if !is_valid || scan.low > 13 || (scan.high != 0 && scan.high != scan.low + 1) {
            return Err(DAMAGED);
        }
        Ok(scan)
    }
}

/// The blocks of a scan.
#[derive(Debug)]
pub struct Layout {
    pub mcus_x: usize,
    pub mcus_y: usize,
    /// The blocks of an MCU, in their order.
    pub places: Vec<Place>,
}

/// A block of an MCU.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index of the component in the scan.
    pub slot: usize,
    /// Blocks of the component in an MCU.
    pub h: usize,
    pub v: usize,
    /// Its place among them.
    pub x: usize,
    pub y: usize,
}

impl Layout {
    pub fn new(frame: &Frame, scan: &Scan) -> Outcome<Layout> {
        let components = scan.components.iter().map(|found| frame.components.get(found.index));
        let components: Vec<_> = components.flatten().collect();
        if let [only] = components[..] {
            let place = Place { slot: 0, h: 1, v: 1, x: 0, y: 0 };
            let (mcus_x, mcus_y) = (only.blocks_x, only.blocks_y);
            return Ok(Layout { mcus_x, mcus_y, places: vec![place] });
        }
        let mut places = Vec::new();
        for (slot, component) in components.into_iter().enumerate() {
            let (h, v) = (component.h, component.v);
            let rows = (0..v).flat_map(|y| (0..h).map(move |x| Place { slot, h, v, x, y }));
            places.extend(rows);
        }
        if places.len() > MAX_MCU_BLOCKS {
            return Err(Refusal::Damaged("size of an MCU"));
        }
        Ok(Layout { mcus_x: frame.mcus_x, mcus_y: frame.mcus_y, places })
    }
}

/// The scans that were seen: for each component and coefficient the bits that are unknown, or -1 if all are.
#[derive(Debug)]
pub struct Progress {
    unknown: Vec<[i8; 64]>,
}

impl Progress {
    pub fn new(frame: &Frame) -> Progress {
        Progress { unknown: vec![[-1; 64]; frame.components.len()] }
    }

    /// Notes a scan. Each bit must come once, in order; libjpeg warns otherwise, or guesses.
    pub fn add(&mut self, scan: &Scan) -> Outcome<()> {
        for component in &scan.components {
            let Some(unknown) = self.unknown.get_mut(component.index) else { continue };
            if scan.first > 0 && unknown[0] < 0 {
                return Err(Refusal::Unsupported("AC coefficients before DC"));
            }
            let next = if scan.high == 0 { -1 } else { scan.high as i8 };
            for bits in unknown.iter_mut().take(scan.last + 1).skip(scan.first) {
                if *bits != next {
                    return Err(Refusal::Unsupported("progression"));
                }
                *bits = scan.low as i8;
            }
        }
        Ok(())
    }

    /// Whether the first `count` coefficients of every component are known.
    pub fn is_complete(&self, count: usize) -> bool {
        self.unknown.iter().flat_map(|unknown| unknown.iter().take(count)).all(|bits| *bits == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(is_progressive: bool) -> Frame {
        let body = [8, 0, 80, 0, 100, 3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0];
        Frame::read(is_progressive, &body).unwrap()
    }

    fn progressive(body: &[u8]) -> Outcome<Scan> {
        Scan::read(body, &frame(true))
    }

    #[test]
    fn the_blocks_of_a_scan_are_in_the_order_of_the_standard() {
        let all = Scan::read(&[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0], &frame(false)).unwrap();
        assert_eq!((all.components[1].dc, all.components[1].ac), (1, 1));
        let layout = Layout::new(&frame(false), &all).unwrap();
        let places: Vec<_> = layout.places.iter().map(|p| (p.slot, p.x, p.y)).collect();
        let luma = [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)];
        assert_eq!((&places[..4], &places[4..]), (&luma[..], &[(1, 0, 0), (2, 0, 0)][..]));
        assert_eq!((layout.mcus_x, layout.mcus_y), (7, 5));
        let one = Scan::read(&[1, 1, 0, 0, 63, 0], &frame(false)).unwrap();
        let layout = Layout::new(&frame(false), &one).unwrap();
        assert_eq!((layout.mcus_x, layout.mcus_y, layout.places.len()), (13, 10, 1));
    }

    #[test]
    fn scan_headers_that_make_no_sense_are_refused() {
        assert!(progressive(&[1, 1, 0, 1, 5, 0x21]).is_ok());
        for body in [
            &[][..],
            &[0, 0, 63, 0],
            &[1, 1, 0, 0, 63],
            &[1, 1, 0, 0, 63, 0, 0],
            &[1, 9, 0, 0, 0, 0],
            &[1, 1, 4, 0, 0, 0],
            &[2, 2, 0, 1, 0, 0, 0, 0],
            &[2, 1, 0, 1, 0, 0, 0, 0],
            &[2, 1, 0, 2, 0, 1, 5, 0],
            &[1, 1, 0, 0, 5, 0],
            &[1, 1, 0, 5, 4, 0],
            &[1, 1, 0, 1, 64, 0],
            &[1, 1, 0, 1, 5, 0x31],
            &[1, 1, 0, 1, 5, 0x0e],
        ] {
            assert!(progressive(body).is_err(), "{body:?}");
        }
        assert!(Scan::read(&[1, 1, 0, 0, 62, 0], &frame(false)).is_err());
    }

    #[test]
    fn every_bit_comes_once_and_in_order() {
        let mut progress = Progress::new(&frame(true));
        let mut add = |body: &[u8]| progress.add(&progressive(body).unwrap()).is_ok();
        assert!(!add(&[1, 1, 0, 1, 63, 0]), "no DC");
        assert!(add(&[3, 1, 0, 2, 0, 3, 0, 0, 0, 1]));
        assert!(!add(&[3, 1, 0, 2, 0, 3, 0, 0, 0, 1]), "again");
        assert!(add(&[1, 1, 0, 1, 63, 2]));
        assert!(!add(&[1, 1, 0, 1, 63, 0x10]), "a bit is missing");
        assert!(add(&[1, 1, 0, 1, 9, 0x21]) && add(&[1, 1, 0, 1, 9, 0x10]));
        assert!(add(&[3, 1, 0, 2, 0, 3, 0, 0, 0, 0x10]));
        assert!(add(&[1, 2, 0, 1, 9, 0]) && add(&[1, 3, 0, 1, 9, 0]));
        assert!(progress.is_complete(10) && !progress.is_complete(11));
    }
}
