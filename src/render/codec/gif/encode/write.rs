//! Writes the blocks of a GIF (89a specification).

use super::compress::code_size;
use super::nearest::Colour;
use crate::render::codec::gif::area::Area;
use crate::render::codec::gif::blocks::{EXTENSION, GRAPHIC_CONTROL, IMAGE, TRAILER};

/// A graphic control extension (§23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// In hundredths of a second.
    pub delay: u16,
    pub transparent: Option<u8>,
    /// Whether the area of the frame becomes transparent before the next one.
    pub clears: bool,
}

/// A file that is written block after block.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// The bits of an index of this many colours: 1 to 8.
pub fn table_bits(colours: usize) -> u8 {
    (1..8).find(|bits| colours <= 1 << bits).unwrap_or(8)
}

impl Writer {
    /// Writes the header, the logical screen descriptor and the global colour table (§17 to §19), which has room for
    /// at least this many colours.
    pub fn new(width: u16, height: u16, table: &[Colour], room: usize) -> Writer {
        let mut writer = Writer { bytes: b"GIF89a".to_vec() };
        writer.number(width);
        writer.number(height);
        // The table is there, and the original has 8 bits per colour.
        let bits = table_bits(room);
        writer.bytes.extend([0xf0 | (bits - 1), 0, 0]);
        writer.table(table, bits);
        writer
    }

    fn number(&mut self, number: u16) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn table(&mut self, table: &[Colour], bits: u8) {
        let length = self.bytes.len() + (3 << bits);
        self.bytes.extend_from_slice(table.as_flattened());
        self.bytes.resize(length, 0);
    }

    /// Writes how often the animation is shown: the application extension of Netscape. 0 is for ever.
    pub fn plays(&mut self, plays: u32) {
        if plays == 1 {
            return;
        }
        self.bytes.extend_from_slice(b"\x21\xff\x0bNETSCAPE2.0\x03\x01");
        self.number(u16::try_from(plays.saturating_sub(1)).unwrap_or(u16::MAX));
        self.bytes.push(0);
    }

    pub fn control(&mut self, control: Control) {
        let disposal: u8 = if control.clears { 2 } else { 1 };
        let flags = disposal << 2 | u8::from(control.transparent.is_some());
        self.bytes.extend([EXTENSION, GRAPHIC_CONTROL, 4, flags]);
        self.number(control.delay);
        self.bytes.extend([control.transparent.unwrap_or(0), 0]);
    }

    /// Writes a frame (§20 to §22) with its own colour table if it has one, whose indices have this many bits.
    pub fn frame(&mut self, area: Area, table: Option<&[Colour]>, bits: u8, data: &[u8]) {
        self.bytes.push(IMAGE);
        for side in [area.left, area.top, area.width(), area.height()] {
            self.number(u16::try_from(side).unwrap_or(u16::MAX));
        }
        match table {
            Some(table) => {
                self.bytes.push(0x80 | (bits - 1));
                self.table(table, bits);
            }
            None => self.bytes.push(0),
        }
        self.bytes.push(code_size(bits));
        self.bytes.extend_from_slice(data);
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.push(TRAILER);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_sizes_are_powers_of_two() {
        let bits = [0, 1, 2, 3, 4, 5, 128, 129, 256].map(table_bits);
        assert_eq!(bits, [1, 1, 1, 2, 2, 3, 7, 8, 8]);
    }

    #[test]
    fn blocks_are_those_of_the_specification() {
        let mut writer = Writer::new(258, 2, &[[1, 2, 3], [4, 5, 6]], 3);
        writer.plays(4);
        writer.control(Control { delay: 259, transparent: Some(2), clears: true });
        let area = Area { left: 1, top: 0, right: 258, bottom: 2 };
        writer.frame(area, Some(&[[7, 8, 9]]), 1, b"\x01x\0");
        let expected = [
            &b"GIF89a\x02\x01\x02\0\xf1\0\0\x01\x02\x03\x04\x05\x06\0\0\0\0\0\0"[..],
            b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x03\0\0",
            b"\x21\xf9\x04\x09\x03\x01\x02\0",
            b"\x2c\x01\0\0\0\x01\x01\x02\0\x80\x07\x08\x09\0\0\0\x02\x01x\0;",
        ];
        assert_eq!(writer.end(), expected.concat());
    }

    #[test]
    fn an_animation_that_is_shown_once_has_no_loop() {
        let loops = |plays| {
            let mut writer = Writer::new(1, 1, &[], 0);
            writer.plays(plays);
            let bytes = writer.end();
            bytes.get(bytes.len() - 4..).map(<[u8]>::to_vec).filter(|_| bytes.len() > 30)
        };
        assert_eq!(loops(1), None);
        assert_eq!(loops(0), Some(vec![0, 0, 0, 0x3b]));
        assert_eq!(loops(2), Some(vec![1, 0, 0, 0x3b]));
        assert_eq!(loops(65_536), Some(vec![0xff, 0xff, 0, 0x3b]));
        assert_eq!(loops(u32::MAX), Some(vec![0xff, 0xff, 0, 0x3b]));
    }
}
