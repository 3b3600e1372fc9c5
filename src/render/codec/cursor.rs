//! Bounds-checked reading of numbers from bytes.

/// A position in some bytes. Reading past the end returns `None` and leaves the cursor where it is.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'b> {
    bytes: &'b [u8],
}

impl<'b> Cursor<'b> {
    pub fn new(bytes: &'b [u8]) -> Cursor<'b> {
        Cursor { bytes }
    }

    /// The unread bytes.
    pub fn rest(&self) -> &'b [u8] {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Exactly `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    /// `length` bytes, or fewer at the end.
    pub fn take_at_most(&mut self, length: usize) -> &'b [u8] {
        let (taken, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// Moves forward by `length` bytes, at most to the end.
    pub fn skip(&mut self, length: usize) {
        self.take_at_most(length);
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub fn u16_be(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32_be(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u16_le(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes, little-endian.
    pub fn u24_le(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    pub fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A big-endian number of `length` bytes, 0 to 8.
    pub fn uint_be(&mut self, length: usize) -> Option<u64> {
        if length > 8 {
            return None;
        }
        Some(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// A stored length as an index. One that does not fit `usize` is past any end.
pub fn index(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_reads_both_byte_orders_and_stops_at_the_end() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(cursor.u8(), Some(1));
        assert_eq!(cursor.u16_be(), Some(0x0203));
        assert_eq!(cursor.u16_le(), Some(0x0504));
        assert_eq!(cursor.u24_le(), Some(0x0008_0706));
        assert_eq!(cursor.u32_be(), Some(0x090a_0b0c));
        assert_eq!(cursor.uint_be(3), Some(0x000d_0e0f));
        assert_eq!(
            (cursor.u16_be(), cursor.u32_le(), cursor.take(2), cursor.uint_be(9)),
            (None, None, None, None)
        );
        assert_eq!(cursor.rest(), [16]);
        assert_eq!(cursor.take_at_most(5), [16]);
        assert_eq!((cursor.u8(), cursor.uint_be(0), cursor.rest()), (None, Some(0), &[][..]));
    }
}
