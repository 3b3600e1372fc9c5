//! The segments before the data of the scan.

use super::super::header::{DHT, DRI, Segment};
use super::super::refusal::{Outcome, Refusal};
use super::super::scan::Scan;
use super::super::{SOI, SOS};
use super::writer::{AC, DC, RawCode};
use crate::render::codec::cursor::Cursor;

/// Sequential, extended, with Huffman codes: quantisation steps may have 16 bits.
const SOF1: u8 = 0xc1;

/// The segments of an image, with the frame, the codes and the header of a single sequential scan.
pub fn head(jpeg: &[u8], scan: &Scan) -> Outcome<Vec<u8>> {
    let mut cursor = Cursor::new(jpeg);
    cursor.skip(2);
    let mut head = vec![0xff, SOI];
    let mut components = Vec::new();
    loop {
        let Segment { marker, body } = Segment::next(&mut cursor)?;
        match marker {
            SOS => break,
            DHT | DRI => {}
            0xc0..=0xc2 => {
                components.extend(body.iter().skip(6).step_by(3));
                push(&mut head, SOF1, body)?;
            }
            _ => push(&mut head, marker, body)?,
        }
    }
    push(&mut head, DHT, &[table(0, &DC), table(0x10, &AC)].concat())?;
    let mut body = vec![scan.components.len() as u8];
    components.iter().for_each(|id| body.extend([*id, 0]));
    body.extend([0, 63, 0]);
    push(&mut head, SOS, &body)?;
    Ok(head)
}

fn table(number: u8, code: &RawCode) -> Vec<u8> {
    [&[number], &code.counts[..], code.symbols].concat()
}

fn push(head: &mut Vec<u8>, marker: u8, body: &[u8]) -> Outcome<()> {
    let length = u16::try_from(body.len() + 2);
    let length = length.map_err(|_| Refusal::Damaged("length of a segment"))?;
    head.extend([0xff, marker]);
    head.extend(length.to_be_bytes());
    head.extend(body);
    Ok(())
}
