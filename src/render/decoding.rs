//! Tells the edge which picture is being worked on, so that a crash has a name.

use std::io::{self, Write};

use crate::wire::Mark;

/// Held while a picture is looked at or worked on for a request.
#[derive(Debug)]
pub struct Decoding(Option<u64>);

impl Decoding {
    /// Work for this ticket begins; a request without one is not told of.
    pub fn of(ticket: Option<u64>) -> Decoding {
        if let Some(ticket) = ticket {
            tell(Mark::Begins(ticket));
        }
        Decoding(ticket)
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        if let Some(ticket) = self.0 {
            tell(Mark::Ends(ticket));
        }
    }
}

/// One write, which a pipe does not mix with others. An edge that does not listen any more is no news here: it is
/// about to end us.
fn tell(mark: Mark) {
    let _ = io::stdout().lock().write_all(format!("{mark}\n").as_bytes());
}
