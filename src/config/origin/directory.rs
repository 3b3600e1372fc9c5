//! `"directory"`: originals from a directory of this machine.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::super::error::{ConfigError, Result};
use super::super::fields::Fields;
use super::super::schema::{Optional, text};
use super::{Found, OriginConfig};

pub const FIELD: Optional<&'static str> = text("directory")
    .absent("one of `aws`, `directory`, `http` and `origins` is required")
    .doc("The existing directory of the originals, or a link to it ([links](s3.md#a-directory)); no key and no symbolic link in it leads out of it.");

/// A directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Absolute. Symbolic links are kept, and followed by each fetch: a deployment may switch them.
    pub path: PathBuf,
    /// The JSON path of the field.
    json_path: String,
}

pub fn read(fields: &Fields, written: &str, found: Found, is_checked: bool) -> Result<Directory> {
    let json_path = fields.path(FIELD.name());
    // A renderer gets what the edge found.
    if is_checked && let Some(path) = found.next() {
        return Ok(Directory { path, json_path });
    }
    let error =
        |problem: String| ConfigError::new(json_path.clone(), format!("{written}: {problem}"));
    let can_not_be_opened = |problem: io::Error| error(format!("can't be opened: {problem}"));
    let path = std::path::absolute(written).map_err(can_not_be_opened)?;
    if !std::fs::metadata(&path).map_err(can_not_be_opened)?.is_dir() {
        return Err(error("is not a directory".to_owned()));
    }
    // Without empty segments: the path is part of each cache key.
    Ok(Directory { path: path.components().collect(), json_path })
}

impl OriginConfig for Directory {
    fn identity(&self) -> String {
        format!("directory\0{}", self.path.display())
    }

    fn json_path(&self) -> &str {
        &self.json_path
    }

    fn local_directory(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn check_access(&self, user: &str) -> Result<()> {
        rustix::fs::access(&self.path, Access::EXEC_OK).map_err(|error| {
            let message = format!("{}: {user} can't enter it: {error}", self.path.display());
            ConfigError::new(self.json_path.clone(), message)
        })
    }
}
