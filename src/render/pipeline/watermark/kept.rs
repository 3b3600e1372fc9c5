//! Keeps watermarks in the sizes in which they were drawn.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::stamp::Stamp;
use crate::sync::Mutex;

/// Bytes of all stamps that are kept. The largest one has 16,000,000.
const MAX_KEPT: usize = 32 << 20;
/// The most stamps that are kept.
const MAX_STAMPS: usize = 512;

/// The stamps that are kept, the least recently used one first.
#[derive(Debug, Default)]
pub struct Kept {
    /// The upright sizes of watermarks, by their hash.
    sizes: Option<HashMap<String, (u32, u32)>>,
    stamps: VecDeque<(Key, Arc<Stamp>)>,
    bytes: usize,
}

/// A watermark by its hash, and the size of its stamp.
type Key = (String, (u32, u32));

/// One for all threads, as libvips is. A process has one configuration: after a reload there is another renderer.
pub static KEPT: Mutex<Kept> = Mutex::new(Kept { sizes: None, stamps: VecDeque::new(), bytes: 0 });

impl Kept {
    /// The upright size of a watermark that was decoded before.
    pub fn own_size(&self, digest: &str) -> Option<(u32, u32)> {
        self.sizes.as_ref()?.get(digest).copied()
    }

    pub fn find(&mut self, digest: &str, size: (u32, u32)) -> Option<Arc<Stamp>> {
        let at = self.stamps.iter().position(|((of, sides), _)| of == digest && *sides == size)?;
        let found = self.stamps.remove(at)?;
        let stamp = Arc::clone(&found.1);
        self.stamps.push_back(found);
        Some(stamp)
    }

    /// Keeps a stamp of the watermark with this hash and this size.
    pub fn insert(&mut self, digest: &str, own: (u32, u32), stamp: &Arc<Stamp>) {
        self.sizes.get_or_insert_default().insert(digest.to_owned(), own);
        let size = (stamp.width, stamp.height);
        if self.find(digest, size).is_some() {
            return;
        }
        self.bytes += stamp.bytes();
        self.stamps.push_back(((digest.to_owned(), size), Arc::clone(stamp)));
        while (self.bytes > MAX_KEPT || self.stamps.len() > MAX_STAMPS)
            && let Some((_, oldest)) = self.stamps.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_kept_by_file_and_size_within_a_limit() {
        let mut kept = Kept::default();
        let stamp_of = |width: u32, height: u32| {
            let pixels = (width * height) as usize;
            let colours = vec![0; 3 * pixels];
            let transparency = vec![0; pixels];
            Arc::new(Stamp { width, height, colours, transparency, is_gray: true })
        };
        let stamp = |side: u32| stamp_of(side, side);
        kept.insert("a", (9, 9), &stamp(1));
        kept.insert("a", (9, 9), &stamp(1));
        kept.insert("b", (9, 9), &stamp(1));
        assert_eq!((kept.stamps.len(), kept.bytes), (2, 8));
        assert!(kept.find("a", (1, 1)).is_some() && kept.find("a", (2, 2)).is_none());
        for digest in ["c", "d", "e"] {
            kept.insert(digest, (9, 9), &stamp(1500));
        }
        assert!(kept.find("a", (1, 1)).is_some() && kept.find("c", (1500, 1500)).is_some());
        // The least recently used ones go first.
        kept.insert("f", (9, 9), &stamp(1500));
        assert!(kept.bytes <= MAX_KEPT);
        for (digest, side, is_kept) in [
            ("a", 1, true),
            ("b", 1, false),
            ("c", 1500, true),
            ("d", 1500, false),
            ("e", 1500, true),
            ("f", 1500, true),
        ] {
            assert_eq!(kept.find(digest, (side, side)).is_some(), is_kept, "{digest}");
        }
        for side in 0..2 * MAX_STAMPS as u32 {
            kept.insert("e", (9, 9), &stamp_of(side % 7, side));
        }
        assert_eq!(kept.stamps.len(), MAX_STAMPS);
        let counted: usize = kept.stamps.iter().map(|(_, stamp)| stamp.bytes()).sum();
        assert_eq!(kept.bytes, counted);
    }
}
