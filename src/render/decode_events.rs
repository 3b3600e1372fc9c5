//! Tells the edge which image is being worked on, so that a crash has a name.

use std::io::{self, Write};

use crate::wire::DecodeEvent;

/// Held while an image is looked at or worked on for a request.
#[derive(Debug)]
pub struct Decoding(Option<u64>);

impl Decoding {
    /// Work for this id begins; a request without one is not told of.
    pub fn of(id: Option<u64>) -> Decoding {
        if let Some(id) = id {
            tell(DecodeEvent::Start(id));
        }
        Decoding(id)
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            tell(DecodeEvent::End(id));
        }
    }
}

/// One write, which a pipe does not mix with others. An edge that does not listen any more is no news here: it is
/// about to end us.
fn tell(mark: DecodeEvent) {
    let _ = io::stdout().lock().write_all(format!("{mark}\n").as_bytes());
}
