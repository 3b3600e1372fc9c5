//! What is kept of an image, as long as it is short enough to be wanted.

/// The bytes so far.
#[derive(Debug)]
pub struct Kept {
    bytes: Vec<u8>,
    most: usize,
}

impl Kept {
    /// Nothing yet, and never more than this many bytes.
    pub fn at_most(most: usize) -> Kept {
        Kept { bytes: Vec::with_capacity(most), most }
    }

    /// Appends bytes; `None` when they are too many.
    pub fn add(&mut self, more: &[u8]) -> Option<()> {
        (more.len() <= self.room()).then(|| self.bytes.extend_from_slice(more))
    }

    /// How many more it may become.
    pub fn room(&self) -> usize {
        self.most.saturating_sub(self.bytes.len())
    }

    /// All of them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
