//! The files and directories that the sandbox must let the renderer read.

use std::ffi::OsString;
use std::path::PathBuf;

/// A file or directory; it need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPath {
    pub path: PathBuf,
    /// Whether another file or directory may replace it while the renderer runs.
    pub may_be_replaced: bool,
}

impl ReadPath {
    pub fn fixed(path: impl Into<PathBuf>) -> ReadPath {
        ReadPath { path: path.into(), may_be_replaced: false }
    }

    pub fn replaceable(path: impl Into<PathBuf>) -> ReadPath {
        ReadPath { path: path.into(), may_be_replaced: true }
    }
}

/// Looks up an environment variable.
pub type Variable<'v> = &'v dyn Fn(&str) -> Option<OsString>;
