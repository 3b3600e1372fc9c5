//! Errors of the container parser.

use std::fmt;

/// Why a file is refused. The sentence names the box or the item at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file breaks a rule of its format or ends early.
    Corrupt(String),
    /// The file uses a feature that is not on the allow-list, or more of it than is allowed.
    Unsupported(String),
}

impl Error {
    pub fn corrupt(sentence: impl Into<String>) -> Error {
        Error::Corrupt(sentence.into())
    }

    pub fn unsupported(sentence: impl Into<String>) -> Error {
        Error::Unsupported(sentence.into())
    }

    /// Adds the item in which the error was found.
    pub fn in_item(self, id: u32) -> Error {
        self.within(&format!("item {id}"))
    }

    /// Adds the track in which the error was found.
    pub fn in_track(self, id: u32) -> Error {
        self.within(&format!("track {id}"))
    }

    fn within(self, place: &str) -> Error {
        match self {
            Error::Corrupt(sentence) => Error::Corrupt(format!("{place}: {sentence}")),
            Error::Unsupported(sentence) => Error::Unsupported(format!("{place}: {sentence}")),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Corrupt(sentence) | Error::Unsupported(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Error {}
