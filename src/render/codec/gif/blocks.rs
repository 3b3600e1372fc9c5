//! Reads the blocks of a GIF (89a specification) in their order, without decompressing any.
//!
//! Where files break the specification, browsers agree on what they show, and so does this reader.

use super::super::cursor::Cursor;
use super::area::Area;

/// Introduces an extension (§23 to §26).
pub const EXTENSION: u8 = 0x21;
/// Introduces an image descriptor (§20): a frame.
pub const IMAGE: u8 = 0x2c;
/// Ends the file (§27).
pub const TRAILER: u8 = 0x3b;
/// Label of the extension that belongs to the next frame (§23): duration, disposal and transparency.
pub const GRAPHIC_CONTROL: u8 = 0xf9;
/// Label of an application extension (§26).
pub const APPLICATION: u8 = 0xff;
/// Application extensions that hold the number of loops.
const LOOPING: [&[u8]; 2] = [b"NETSCAPE2.0", b"ANIMEXTS1.0"];

/// What happens to the area of a frame before the next one is drawn (§23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disposal {
    #[default]
    Keep,
    /// It becomes transparent. The specification says "background color", which no browser draws.
    Clear,
    /// It shows again what it showed before the frame.
    Restore,
}

impl Disposal {
    fn from_flags(flags: u8) -> Disposal {
        match flags >> 2 & 7 {
            2 => Disposal::Clear,
            // 4 is not defined, and some encoders write it for 3.
            3 | 4 => Disposal::Restore,
            _ => Disposal::Keep,
        }
    }
}

/// The graphic control extension of a frame (§23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    pub disposal: Disposal,
    /// In hundredths of a second.
    pub delay: u16,
    pub transparent: Option<u8>,
}

/// An image descriptor (§20) and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'b> {
    /// Its area, which may exceed the canvas.
    pub area: Area,
    pub is_interlaced: bool,
    pub control: Control,
    /// The colour table, three bytes per colour: its own, or the global one. Empty if there is neither.
    pub table: &'b [u8],
    /// The LZW minimum code size (§22).
    pub code_size: u8,
    /// Data sub-blocks, without the terminator.
    pub data: &'b [u8],
    /// Whether the terminator of the data is there.
    pub is_complete: bool,
}

/// One block.
#[derive(Clone, Copy, Debug)]
pub enum Block<'b> {
    /// An extension with this label, and this many bytes of data.
    Extension(u8, u64),
    Frame(Frame<'b>),
}

/// Reads blocks up to the trailer, the end of the file or an unknown block, where browsers stop.
#[derive(Clone, Debug)]
pub struct Blocks<'b> {
    cursor: Cursor<'b>,
    /// Size of the logical screen (§18).
    pub screen: (usize, usize),
    table: &'b [u8],
    control: Control,
    /// How often the animation is shown, as far as blocks have been read; 0 is for ever.
    pub plays: u32,
    /// Whether the file ends within an image descriptor.
    pub is_truncated: bool,
}

/// Bytes of the colour table that follows a descriptor with these flags (§19): the highest bit says whether there is
/// one, the lowest three give its size.
pub fn table_length(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Skips data sub-blocks (§15) and their terminator. Returns the bytes of data and whether the terminator is there.
pub fn skip_blocks(cursor: &mut Cursor) -> (u64, bool) {
    let mut length = 0;
    loop {
        match cursor.u8() {
            None => return (length, false),
            Some(0) => return (length, true),
            Some(size) => length += cursor.take_at_most(usize::from(size)).len() as u64,
        }
    }
}

/// The data of sub-blocks.
pub fn sub_blocks(blocks: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut cursor = Cursor::new(blocks);
    std::iter::from_fn(move || {
        let size = cursor.u8()?;
        (size > 0).then(|| cursor.take_at_most(usize::from(size)))
    })
}

impl<'b> Blocks<'b> {
    /// Reads the logical screen descriptor and the global colour table (§18, §19). `None` if the file ends in them.
    pub fn new(bytes: &'b [u8]) -> Option<Blocks<'b>> {
        let mut cursor = Cursor::new(bytes);
        cursor.take(6)?;
        let screen = (usize::from(cursor.u16_le()?), usize::from(cursor.u16_le()?));
        let flags = cursor.u8()?;
        cursor.skip(2);
        let table = cursor.take_at_most(table_length(flags));
        let control = Control::default();
        Some(Blocks { cursor, screen, table, control, plays: 1, is_truncated: false })
    }

    fn extension(&mut self) -> Block<'b> {
        let label = self.cursor.u8().unwrap_or(0);
        let start = self.cursor.rest();
        let (length, _) = skip_blocks(&mut self.cursor);
        let mut parts = sub_blocks(start);
        match (label, parts.next()) {
            (GRAPHIC_CONTROL, Some(&[flags, low, high, transparent, ..])) => {
                self.control = Control {
                    disposal: Disposal::from_flags(flags),
                    delay: u16::from_le_bytes([low, high]),
                    transparent: (flags & 1 != 0).then_some(transparent),
                };
            }
            (APPLICATION, Some(name)) if LOOPING.contains(&name) => {
                if let Some(&[1, low, high, ..]) = parts.next() {
                    // Stored are the repetitions.
                    self.plays = match u16::from_le_bytes([low, high]) {
                        0 => 0,
                        repetitions => u32::from(repetitions) + 1,
                    };
                }
            }
            _ => {}
        }
        Block::Extension(label, length)
    }

    fn frame(&mut self) -> Option<Block<'b>> {
        let Some(descriptor) = self.cursor.take(8) else {
            self.is_truncated = true;
            return None;
        };
        let mut descriptor = Cursor::new(descriptor);
        let mut number = || descriptor.u16_le().map(usize::from);
        let (left, top, width, height) = (number()?, number()?, number()?, number()?);
        let flags = self.cursor.u8().unwrap_or(0);
        let table = self.cursor.take_at_most(table_length(flags));
        let code_size = self.cursor.u8().unwrap_or(0);
        let start = self.cursor.rest();
        let (_, is_complete) = skip_blocks(&mut self.cursor);
        let length = start.len() - self.cursor.rest().len() - usize::from(is_complete);
        Some(Block::Frame(Frame {
            area: Area { left, top, right: left + width, bottom: top + height },
            is_interlaced: flags & 0x40 != 0,
            control: std::mem::take(&mut self.control),
            table: if flags & 0x80 == 0 { self.table } else { table },
            code_size,
            data: start.get(..length).unwrap_or_default(),
            is_complete,
        }))
    }
}

impl<'b> Iterator for Blocks<'b> {
    type Item = Block<'b>;

    fn next(&mut self) -> Option<Block<'b>> {
        let block = match self.cursor.u8() {
            Some(EXTENSION) => Some(self.extension()),
            Some(IMAGE) => self.frame(),
            _ => None,
        };
        if block.is_none() {
            self.cursor = Cursor::new(&[]);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_blocks_end_with_an_empty_block() {
        for (bytes, expected, left) in [
            (&b"\x02ab\x01c\0rest"[..], (3, true), 4),
            (b"\0", (0, true), 0),
            (b"\x02ab\x01c", (3, false), 0),
            (b"\x05ab", (2, false), 0),
            (b"", (0, false), 0),
        ] {
            let mut cursor = Cursor::new(bytes);
            assert_eq!((skip_blocks(&mut cursor), cursor.rest().len()), (expected, left));
            let data: u64 = sub_blocks(bytes).map(|block| block.len() as u64).sum();
            assert_eq!(data, expected.0);
        }
        assert_eq!([0x00, 0x07, 0x80, 0xf7].map(table_length), [0, 0, 6, 768]);
    }

    /// A screen of 4 × 4 and these blocks.
    fn frames(blocks: &[&[u8]]) -> (Vec<Control>, u32) {
        let bytes = [b"GIF89a\x04\0\x04\0\0\0\0", &blocks.concat()[..]].concat();
        let mut reader = Blocks::new(&bytes).unwrap();
        let frames = reader
            .by_ref()
            .filter_map(|block| match block {
                Block::Frame(frame) => Some(frame.control),
                Block::Extension(..) => None,
            })
            .collect();
        (frames, reader.plays)
    }

    const FRAME: &[u8] = b",\0\0\0\0\x04\0\x04\0\0\x02\x01\0\0";

    fn control(flags: u8) -> Vec<u8> {
        vec![0x21, 0xf9, 4, flags, 7, 1, 9, 0]
    }

    // The expected values of the following tests are what Chromium 156 shows (ImageDecoder).

    #[test]
    fn a_control_belongs_to_the_next_frame_and_the_last_one_counts() {
        let [one, two] = [1 | 2 << 2, 3 << 2].map(control);
        let (controls, _) = frames(&[&one, b"\x21\xfe\x01a\0", &two, FRAME, FRAME]);
        let expected = Control { disposal: Disposal::Restore, delay: 263, transparent: None };
        assert_eq!(controls, [expected, Control::default()]);
        let (controls, _) = frames(&[&one, b"\x21\x01\x01a\0", FRAME]);
        let expected = Control { disposal: Disposal::Clear, delay: 263, transparent: Some(9) };
        assert_eq!(controls, [expected]);
    }

    #[test]
    fn undefined_disposals_keep_the_frame_except_4() {
        let disposals: Vec<Disposal> =
            (0..8).map(|number| frames(&[&control(number << 2), FRAME]).0[0].disposal).collect();
        let [keep, clear, restore] = [Disposal::Keep, Disposal::Clear, Disposal::Restore];
        assert_eq!(disposals, [keep, keep, clear, restore, restore, keep, keep, keep]);
    }

    #[test]
    fn the_last_number_of_loops_counts_wherever_it_is() {
        let loops =
            |name: &[u8], number: u8| [b"\x21\xff\x0b", name, &[3, 1, number, 0, 0]].concat();
        let netscape = |number| loops(b"NETSCAPE2.0", number);
        assert_eq!(frames(&[FRAME]).1, 1);
        assert_eq!(frames(&[&netscape(0), FRAME]).1, 0);
        assert_eq!(frames(&[&netscape(1), FRAME]).1, 2);
        assert_eq!(frames(&[&netscape(9), FRAME, &netscape(3)]).1, 4);
        assert_eq!(frames(&[&loops(b"ANIMEXTS1.0", 4), FRAME]).1, 5);
        assert_eq!(frames(&[&loops(b"NETSCAPE2.1", 4), FRAME]).1, 1);
        let buffer = b"\x21\xff\x0bNETSCAPE2.0\x05\x02\x04\0\0\0\0";
        assert_eq!(frames(&[buffer, FRAME]).1, 1);
        let most = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\xff\xff\0";
        assert_eq!(frames(&[most, FRAME]).1, 65_536);
    }

    #[test]
    fn reading_stops_at_the_trailer_and_at_unknown_blocks() {
        for stop in [&b";"[..], b"\0", b"U", b""] {
            assert_eq!(frames(&[FRAME, FRAME, stop]).0.len(), 2);
        }
        assert_eq!(frames(&[FRAME, b";", FRAME]).0.len(), 1);
        assert_eq!(frames(&[FRAME, b"\0", FRAME]).0.len(), 1);
        assert_eq!(frames(&[FRAME, b"\x21\x77\x01a\0", FRAME]).0.len(), 2);
        assert_eq!(frames(&[FRAME, &FRAME[..6]]).0.len(), 1);
    }
}
