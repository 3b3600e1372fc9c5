//! The values of `raw`.

use std::fmt;

use super::values::{WriteCanonical, boolean};
use crate::file_type::FileType;

/// Whether the original is served as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    No,
    /// `raw=true`: an image, or a file of a type in `passthrough`.
    Original,
    /// A file of this type, in `passthrough`, under a key with its extension. No query of a client says so.
    File(FileType),
}

impl Raw {
    pub(super) fn parse(text: &str) -> Option<Raw> {
        Some(if boolean(text)? { Raw::Original } else { Raw::No })
    }
}

impl WriteCanonical for Raw {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Raw::No => "false",
            Raw::Original => "true",
            Raw::File(file_type) => file_type.name(),
        })
    }
}
