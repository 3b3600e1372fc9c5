//! What becomes of writing to a cache that may have been deleted or may be full.

use std::io;

use super::confine::Confinement;
use crate::report::OnceAMinute;

/// Tells the operator, but not too often, why nothing is stored.
#[derive(Debug, Default)]
pub struct Storing {
    confinement: Confinement,
    complaint: OnceAMinute,
}

impl Storing {
    /// In a process that is confined like this.
    pub fn new(confinement: Confinement) -> Storing {
        Storing { confinement, complaint: OnceAMinute::default() }
    }

    /// Whether this process can't get at what the configuration names any more, and the next one could.
    pub fn is_outdated(&self) -> bool {
        self.confinement.is_outdated()
    }

    /// How many bytes of the disk an entry takes, if it was written.
    pub fn outcome(&self, written: io::Result<u64>) -> Option<u64> {
        match written {
            Ok(bytes) => Some(bytes),
            // A cache that was deleted, which empties it, is the next renderer's to make.
            Err(_) if self.is_outdated() => None,
            Err(error) => {
                let sentence =
                    format_args!("the cache can't be written, pictures are served without it: {error}");
                self.complaint.line(format_args!("renderer: {sentence}"));
                None
            }
        }
    }
}
