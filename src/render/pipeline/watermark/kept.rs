//! Keeps watermarks in the sizes in which they were drawn.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::render::pipeline::overlay::Overlay;
use crate::sync::Mutex;

/// Bytes of all overlays that are kept. The largest one has 16,000,000.
const MAX_KEPT: usize = 32 << 20;
/// The most overlays that are kept.
const MAX_OVERLAYS: usize = 512;

/// The overlays that are kept, the least recently used one first.
#[derive(Debug, Default)]
pub struct Kept {
    /// The upright sizes of watermarks, by their hash.
    sizes: Option<HashMap<String, (u32, u32)>>,
    overlays: VecDeque<(Key, Arc<Overlay>)>,
    bytes: usize,
}

/// A watermark by its hash, and the size of its overlay.
type Key = (String, (u32, u32));

/// One for all threads, as libvips is. A process has one configuration: after a reload there is another renderer.
pub static KEPT: Mutex<Kept> =
    Mutex::new(Kept { sizes: None, overlays: VecDeque::new(), bytes: 0 });

impl Kept {
    /// The upright size of a watermark that was decoded before.
    pub fn own_size(&self, digest: &str) -> Option<(u32, u32)> {
        self.sizes.as_ref()?.get(digest).copied()
    }

    pub fn find(&mut self, digest: &str, size: (u32, u32)) -> Option<Arc<Overlay>> {
        let at =
            self.overlays.iter().position(|((of, sides), _)| of == digest && *sides == size)?;
        let found = self.overlays.remove(at)?;
        let overlay = Arc::clone(&found.1);
        self.overlays.push_back(found);
        Some(overlay)
    }

    /// Keeps an overlay of the watermark with this hash and this size.
    pub fn insert(&mut self, digest: &str, own: (u32, u32), overlay: &Arc<Overlay>) {
        self.sizes.get_or_insert_default().insert(digest.to_owned(), own);
        let size = (overlay.width, overlay.height);
        if self.find(digest, size).is_some() {
            return;
        }
        self.bytes += overlay.bytes();
        self.overlays.push_back(((digest.to_owned(), size), Arc::clone(overlay)));
        while (self.bytes > MAX_KEPT || self.overlays.len() > MAX_OVERLAYS)
            && let Some((_, oldest)) = self.overlays.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_are_kept_by_file_and_size_within_a_limit() {
        let mut kept = Kept::default();
        let overlay_of = |width: u32, height: u32| {
            let pixels = (width * height) as usize;
            let colours = vec![0; 3 * pixels];
            let transparency = vec![0; pixels];
            Arc::new(Overlay { width, height, colours, transparency, is_gray: true })
        };
        let overlay = |side: u32| overlay_of(side, side);
        kept.insert("a", (9, 9), &overlay(1));
        kept.insert("a", (9, 9), &overlay(1));
        kept.insert("b", (9, 9), &overlay(1));
        assert_eq!((kept.overlays.len(), kept.bytes), (2, 8));
        assert!(kept.find("a", (1, 1)).is_some() && kept.find("a", (2, 2)).is_none());
        for digest in ["c", "d", "e"] {
            kept.insert(digest, (9, 9), &overlay(1500));
        }
        assert!(kept.find("a", (1, 1)).is_some() && kept.find("c", (1500, 1500)).is_some());
        // The least recently used ones go first.
        kept.insert("f", (9, 9), &overlay(1500));
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
        for side in 0..2 * MAX_OVERLAYS as u32 {
            kept.insert("e", (9, 9), &overlay_of(side % 7, side));
        }
        assert_eq!(kept.overlays.len(), MAX_OVERLAYS);
        let counted: usize = kept.overlays.iter().map(|(_, overlay)| overlay.bytes()).sum();
        assert_eq!(kept.bytes, counted);
    }
}
