//! The bytes of an item, which may lie in several places of a file: read where they are, and never put together.

/// From front to back. What lies beyond the end is `None`, and moving there stays at the end.
#[derive(Clone, Debug)]
pub struct Pieces<'b> {
    now: &'b [u8],
    later: std::vec::IntoIter<&'b [u8]>,
}

impl<'b> Pieces<'b> {
    /// One behind the other.
    pub fn new(pieces: Vec<&'b [u8]>) -> Pieces<'b> {
        Pieces { now: &[], later: pieces.into_iter() }
    }

    /// How many bytes are left.
    pub fn len(&self) -> u64 {
        self.later.as_slice().iter().fold(self.now.len() as u64, |sum, piece| sum + piece.len() as u64)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        let mut byte = [0];
        (self.read(&mut byte) == 1).then_some(byte[0])
    }

    /// The next so many bytes, passed over.
    pub fn skip(&mut self, length: usize) {
        self.pass(length, |_| {});
    }

    /// Fills as much of this as there is, and says how much that was.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let mut filled = 0;
        self.pass(into.len(), |part| {
            if let Some(place) = into.get_mut(filled..filled + part.len()) {
                place.copy_from_slice(part);
                filled += part.len();
            }
        });
        filled
    }

    /// Goes on by so many bytes and shows them.
    fn pass(&mut self, mut length: usize, mut show: impl FnMut(&[u8])) {
        while length > 0 {
            if self.now.is_empty() {
                let Some(next) = self.later.next() else { return };
                self.now = next;
            }
            let (part, rest) = self.now.split_at(length.min(self.now.len()));
            show(part);
            self.now = rest;
            length -= part.len();
        }
    }
}

impl<'b> From<&'b [u8]> for Pieces<'b> {
    fn from(whole: &'b [u8]) -> Pieces<'b> {
        Pieces::new(vec![whole])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_one() {
        let mut pieces = Pieces::new(vec![b"", b"01", b"", b"234", b"5", b""]);
        assert_eq!((pieces.len(), pieces.u8()), (6, Some(b'0')));
        let mut three = [0; 3];
        assert_eq!((pieces.clone().read(&mut three), &three), (3, b"123"));
        pieces.skip(3);
        assert_eq!((pieces.len(), pieces.read(&mut three), &three[..2]), (2, 2, &b"45"[..]));
        pieces.skip(usize::MAX);
        assert_eq!((pieces.len(), pieces.u8(), pieces.read(&mut three)), (0, None, 0));
    }
}
