//! GIF (89a specification): the blocks that it is made of.

use super::cursor::Cursor;

/// Start an extension (§23 to §26).
pub const EXTENSION: u8 = 0x21;
/// Start a frame (§20).
pub const IMAGE: u8 = 0x2c;
/// End the file (§27).
pub const TRAILER: u8 = 0x3b;
/// The extension that says how a frame is shown: it belongs to the images.
pub const GRAPHIC_CONTROL: u8 = 0xf9;

/// Bytes of the colour table that follows a descriptor with these flags: the highest bit says whether there is one, the
/// lowest three its size (§19).
pub fn table_length(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Passes over data sub-blocks (§15) and what ends them. How many bytes they hold, and whether they have an end.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_with_an_empty_one() {
        for (bytes, expected, left) in [
            (&b"\x02ab\x01c\0rest"[..], (3, true), 4),
            (b"\0", (0, true), 0),
            (b"\x02ab\x01c", (3, false), 0),
            (b"\x05ab", (2, false), 0),
            (b"", (0, false), 0),
        ] {
            let mut cursor = Cursor::new(bytes);
            assert_eq!((skip_blocks(&mut cursor), cursor.rest().len()), (expected, left));
        }
        assert_eq!([0x00, 0x07, 0x80, 0xf7].map(table_length), [0, 0, 6, 768]);
    }
}
