//! Reading numbers out of bytes that may end at any place.

/// A place in some bytes. What lies beyond the end is `None`, and moving there stays at the end.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'b> {
    bytes: &'b [u8],
}

impl<'b> Cursor<'b> {
    /// At the beginning.
    pub fn new(bytes: &'b [u8]) -> Cursor<'b> {
        Cursor { bytes }
    }

    /// What is left.
    pub fn rest(&self) -> &'b [u8] {
        self.bytes
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next so many bytes.
    pub fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    /// As many of the next bytes as there are.
    pub fn take_at_most(&mut self, length: usize) -> &'b [u8] {
        let (taken, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// The next so many bytes, passed over.
    pub fn skip(&mut self, length: usize) {
        self.take_at_most(length);
    }

    /// The next bytes, as many as the array has.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes, the first one the highest.
    pub fn u16_be(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, the first one the highest.
    pub fn u32_be(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Two bytes, the first one the lowest.
    pub fn u16_le(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes, the first one the lowest.
    pub fn u24_le(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, the first one the lowest.
    pub fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number of 0 to 8 bytes, the first one the highest.
    pub fn uint_be(&mut self, length: usize) -> Option<u64> {
        (length <= 8).then_some(())?;
        Some(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// A length as an index; one that doesn't fit is beyond any end.
pub fn index(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_orders_and_never_beyond_the_end() {
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
