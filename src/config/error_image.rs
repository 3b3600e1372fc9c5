//! `"error_image"`: the image that is sent in place of one that failed.

use std::sync::Arc;

use super::error::Result;
use super::fields::Fields;
use super::schema::{Optional, table, text};
use crate::format::{Format, formats_that, or_list};

/// An error image is kept in memory; a larger file is surely a mistake.
const MAX_ERROR_IMAGE: u64 = 16 << 20;
/// Compiled in, so that the binary and a configuration are enough to run.
const DEFAULT_ERROR_IMAGE: &[u8] = include_bytes!("../../error_image.jpg");

table! {
    pub TABLE;
    /// The image that is sent in place of one that failed: a JPEG, PNG, WebP, AVIF or GIF of at most 16 MiB.
    ERROR_IMAGE: Optional<&'static str> = text("error_image").absent("a built-in one");
}

/// The image for failures.
#[derive(Clone, Debug)]
pub struct ErrorImage {
    pub bytes: Arc<[u8]>,
    /// Detected from the bytes.
    pub format: Format,
}

impl ErrorImage {
    /// `resolved` is an image that was read earlier; the file is not read then.
    pub(super) fn read(fields: &Fields, resolved: Option<&Arc<[u8]>>) -> Result<ErrorImage> {
        let path = fields.optional(&ERROR_IMAGE)?;
        if let Some(bytes) = resolved
            && let Some(format) = Format::of_bytes(bytes)
        {
            return Ok(ErrorImage { bytes: Arc::clone(bytes), format });
        }
        let Some(path) = path else {
            return Ok(ErrorImage { bytes: DEFAULT_ERROR_IMAGE.into(), format: Format::Jpeg });
        };
        let (bytes, format) = read_file(fields, ERROR_IMAGE.name(), path, MAX_ERROR_IMAGE)?;
        Ok(ErrorImage { bytes: bytes.into(), format })
    }
}

/// Reads the image file that a field names, of at most this many bytes.
pub fn read_file(fields: &Fields, field: &str, path: &str, max: u64) -> Result<(Vec<u8>, Format)> {
    let error = |problem: String| fields.error(field, format!("{path}: {problem}"));
    let unreadable = |problem| error(format!("can't be read: {problem}"));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        // A pipe would block a reload, and a device may have no end.
        return Err(error("is not a regular file".into()));
    }
    if metadata.len() > max {
        return Err(error(format!("is larger than {max} bytes")));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let format = Format::of_original(&bytes).ok_or_else(|| {
        let titles = or_list(formats_that(Format::is_read).map(Format::title));
        error(format!("is not a {titles}"))
    })?;
    Ok((bytes, format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn maximum_size_and_formats_of_an_error_image_are_as_documented() {
        let formats = or_list(formats_that(Format::is_read).map(Format::title));
        let sentence = format!("a {formats} of at most {} MiB", MAX_ERROR_IMAGE >> 20);
        assert_says("docs/configuration.md", &sentence);
    }
}
