//! The segments before and between scans, as far as pixels depend on them.

use super::frame::Frame;
use super::huffman::Code;
use super::refusal::{Outcome, Refusal};
use super::{APP0, EOI, SOS};
use crate::render::codec::cursor::Cursor;

pub const DHT: u8 = 0xc4;
const DQT: u8 = 0xdb;
pub const DRI: u8 = 0xdd;
const APP14: u8 = 0xee;

/// A marker and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'b> {
    pub marker: u8,
    pub body: &'b [u8],
}

impl<'b> Segment<'b> {
    /// Reads the segment that must follow; fill bytes may precede it.
    pub fn next(cursor: &mut Cursor<'b>) -> Outcome<Segment<'b>> {
        if cursor.u8().ok_or(Refusal::Truncated)? != 0xff {
            return Err(Refusal::Damaged("bytes between segments"));
        }
        let mut marker = 0xff;
        while marker == 0xff {
            marker = cursor.u8().ok_or(Refusal::Truncated)?;
        }
        match marker {
            EOI => return Ok(Segment { marker, body: &[] }),
            0 | 1 | 0xd0..=0xd8 => return Err(Refusal::Damaged("marker")),
            _ => {}
        }
        let length = usize::from(cursor.u16_be().ok_or(Refusal::Truncated)?);
        let length = length.checked_sub(2).ok_or(Refusal::Damaged("length of a segment"))?;
        let body = cursor.take(length).ok_or(Refusal::Truncated)?;
        Ok(Segment { marker, body })
    }
}

/// What may change between scans. Codes are only built for scans that use them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tables<'b> {
    dc: [Option<RawCode<'b>>; 4],
    ac: [Option<RawCode<'b>>; 4],
    pub restart_interval: usize,
}

/// A code of a DHT segment: the number of codes of each length, and their symbols.
type RawCode<'b> = (&'b [u8; 16], &'b [u8]);

impl<'b> Tables<'b> {
    /// Applies a segment between scans.
    pub fn apply(&mut self, segment: Segment<'b>) -> Outcome<()> {
        match segment.marker {
            DHT => self.define(segment.body),
            DRI => {
                let interval = segment.body.try_into().map_err(|_| Refusal::Damaged("DRI"))?;
                self.restart_interval = usize::from(u16::from_be_bytes(interval));
                Ok(())
            }
            0xe0..=0xef | 0xfe => Ok(()),
            // Quantisation tables that change, or a marker that libjpeg does not know.
            _ => Err(Refusal::Unsupported("segment between scans")),
        }
    }

    fn define(&mut self, mut body: &'b [u8]) -> Outcome<()> {
        const DAMAGED: Refusal = Refusal::Damaged("DHT");
        while let Some((&number, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(DAMAGED)?;
            let count = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(count).ok_or(DAMAGED)?;
            let tables = match number >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(DAMAGED),
            };
            let table = tables.get_mut(usize::from(number & 15)).ok_or(DAMAGED)?;
            if count > 256 {
                return Err(DAMAGED);
            }
            *table = Some((counts, symbols));
            body = rest;
        }
        Ok(())
    }

    /// The code of this number for DC coefficients.
    pub fn dc(&self, number: usize) -> Outcome<Code> {
        let (counts, symbols) = self.dc.get(number).copied().flatten().ok_or(MISSING)?;
        // jdhuff.c checks these symbols.
        if symbols.iter().any(|symbol| *symbol > 15) {
            return Err(Refusal::Damaged("DHT"));
        }
        Code::new(counts, symbols)
    }

    /// The code of this number for AC coefficients.
    pub fn ac(&self, number: usize) -> Outcome<Code> {
        let (counts, symbols) = self.ac.get(number).copied().flatten().ok_or(MISSING)?;
        Code::new(counts, symbols)
    }
}

/// Without a table, libjpeg takes that of T.81 Annex K in a sequential image, and fails in a progressive one.
const MISSING: Refusal = Refusal::Unsupported("no DHT");

/// How the samples of three components are to be understood (`default_decompress_parms` of jdapimin.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    YCbCr,
    Rgb,
}

/// What precedes the first scan.
#[derive(Clone, Debug)]
pub struct Header<'b> {
    pub frame: Frame,
    /// In zigzag order, as stored.
    pub quantisers: [Option<[u16; 64]>; 4],
    pub tables: Tables<'b>,
    pub colour: Colour,
}

impl<'b> Header<'b> {
    /// Reads up to the first SOS segment, which is left unread.
    pub fn read(cursor: &mut Cursor<'b>) -> Outcome<Header<'b>> {
        if cursor.take(2) != Some(&[0xff, 0xd8]) {
            return Err(Refusal::Unsupported("not a JPEG"));
        }
        let mut tables = Tables::default();
        let mut quantisers = [None; 4];
        let mut frame = None;
        let (mut is_jfif, mut transform) = (false, None);
        loop {
            let mut next = *cursor;
            let segment = Segment::next(&mut next)?;
            let body = segment.body;
            match segment.marker {
                SOS => break,
                DQT => read_quantisers(body, &mut quantisers)?,
                marker @ 0xc0..=0xc2 if frame.is_none() => {
                    frame = Some(Frame::read(marker == 0xc2, body)?);
                }
                // As libjpeg examines them (jdmarker.c).
                APP0 if body.len() >= 14 && body.starts_with(b"JFIF\0") => {
                    if body.get(5) != Some(&1) {
                        return Err(Refusal::Damaged("version of JFIF"));
                    }
                    is_jfif = true;
                }
                APP14 if body.len() >= 12 && body.starts_with(b"Adobe") => {
                    transform = body.get(11).copied();
                }
                // Arithmetic coding, lossless and hierarchical frames, and a second frame, are left to libjpeg.
                _ => tables.apply(segment)?,
            }
            *cursor = next;
        }
        let frame = frame.ok_or(Refusal::Damaged("no frame"))?;
        let is_rgb = match transform {
            _ if is_jfif => false,
            Some(transform) if transform > 1 && frame.components.len() == 3 => {
                return Err(Refusal::Damaged("colour transform"));
            }
            Some(transform) => transform == 0,
            None => frame.components.iter().map(|component| component.id).eq(*b"RGB"),
        };
        let colour = if is_rgb { Colour::Rgb } else { Colour::YCbCr };
        Ok(Header { frame, quantisers, tables, colour })
    }
}

fn read_quantisers(mut body: &[u8], quantisers: &mut [Option<[u16; 64]>; 4]) -> Outcome<()> {
    const DAMAGED: Refusal = Refusal::Damaged("DQT");
    while let Some((&number, rest)) = body.split_first() {
        let quantiser = quantisers.get_mut(usize::from(number & 15)).ok_or(DAMAGED)?;
        body = match number >> 4 {
            0 => {
                let (values, rest) = rest.split_first_chunk::<64>().ok_or(DAMAGED)?;
                *quantiser = Some(values.map(u16::from));
                rest
            }
            1 => {
                let (values, rest) = rest.split_first_chunk::<128>().ok_or(DAMAGED)?;
                let mut wide = [0; 64];
                for (wide, value) in wide.iter_mut().zip(values.as_chunks().0) {
                    *wide = u16::from_be_bytes(*value);
                }
                *quantiser = Some(wide);
                rest
            }
            _ => return Err(DAMAGED),
        };
    }
    Ok(())
}
