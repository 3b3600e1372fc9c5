//! `ca_file` of an origin.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::super::error::{ConfigError, Result};
use super::super::fields::Fields;
use super::super::schema::Optional;

/// Reads the field. With `is_checked`, the file system is not read.
pub fn read(
    fields: &Fields,
    field: &Optional<&'static str>,
    is_checked: bool,
) -> Result<Option<PathBuf>> {
    let file = fields.optional(field)?.map(PathBuf::from);
    if let (Some(file), false) = (&file, is_checked) {
        fs::metadata(file).map_err(|error| {
            fields.error(field.name(), format!("{}: can't be read: {error}", file.display()))
        })?;
    }
    Ok(file)
}

/// Checks that `user`, the current user of this process, can read the file. `json_path` is that of the origin.
pub fn check_access(
    file: Option<&Path>,
    json_path: &str,
    field: &Optional<&'static str>,
    user: &str,
) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    File::open(file).map(drop).map_err(|error| {
        let message = format!("{}: {user} can't read it: {error}", file.display());
        ConfigError::new(format!("{json_path}.{}", field.name()), message)
    })
}
