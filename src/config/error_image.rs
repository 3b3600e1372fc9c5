//! `"error_image"` and `"fallback"`: the images that are sent in place of one that failed, or that is missing.

use std::sync::Arc;

use super::as_is::AsIs;
use super::error::Result;
use super::fields::Fields;
use super::schema::{Optional, table, text};
use crate::format::{Format, formats_that, or_list};
use crate::key;

/// An error image is kept in memory; a larger file is surely a mistake.
const MAX_ERROR_IMAGE: u64 = 16 << 20;
/// Compiled in, so that the binary and a configuration are enough to run.
const DEFAULT_ERROR_IMAGE: &[u8] = include_bytes!("../../error_image.jpg");

table! {
    pub TABLE;
    /// The image that is sent in place of one that failed: a JPEG, PNG, WebP, AVIF or GIF of at most 16 MiB, or `"none"`
    /// for an empty body, with which a browser calls `onerror` (`"./none"` is a file).
    ERROR_IMAGE: Optional<&'static str> = text("error_image").absent("a built-in one");
    /// The key of an image that is sent, with the options of the request, in place of one that its origins do not have
    /// ([fallback](http.md#fallback)).
    FALLBACK: Optional<&'static str> = text("fallback").absent("none");
}

/// The value of `error_image` for an empty body.
const NO_IMAGE: &str = "none";

/// The image for failures.
#[derive(Clone, Debug)]
pub struct ErrorImage {
    pub bytes: Arc<[u8]>,
    /// Detected from the bytes.
    pub format: Format,
}

impl ErrorImage {
    /// The image that is compiled in.
    fn built_in() -> ErrorImage {
        ErrorImage { bytes: DEFAULT_ERROR_IMAGE.into(), format: Format::Jpeg }
    }

    /// `resolved` is an image that was read earlier; the file is not read then. `None` for an empty body.
    pub(super) fn read(
        fields: &Fields,
        resolved: Option<&Arc<[u8]>>,
    ) -> Result<Option<ErrorImage>> {
        let path = fields.optional(&ERROR_IMAGE)?;
        if path == Some(NO_IMAGE) {
            return Ok(None);
        }
        if let Some(bytes) = resolved
            && let Some(format) = Format::of_bytes(bytes)
        {
            return Ok(Some(ErrorImage { bytes: Arc::clone(bytes), format }));
        }
        let Some(path) = path else { return Ok(Some(ErrorImage::built_in())) };
        let (bytes, format) = read_file(fields, ERROR_IMAGE.name(), path, MAX_ERROR_IMAGE)?;
        Ok(Some(ErrorImage { bytes: bytes.into(), format }))
    }

    /// The bytes for [`super::Resolved`], in which each handler has some.
    pub(super) fn resolved(image: Option<&ErrorImage>) -> Arc<[u8]> {
        image.map_or_else(|| ErrorImage::built_in().bytes, |image| Arc::clone(&image.bytes))
    }
}

/// `"fallback"`.
pub(super) fn fallback(fields: &Fields, as_is: &AsIs) -> Result<Option<String>> {
    match fields.optional(&FALLBACK)? {
        Some(key) if let Some(file_type) = as_is.passthrough(key) => {
            let message = format!(
                "must be an image that is decoded, not of a type in passthrough ({})",
                file_type.name()
            );
            Err(fields.error(FALLBACK.name(), message))
        }
        Some(key) if !key::is_valid(key) => {
            let message = "must be a key: at most 1024 bytes, without . and .. segments";
            Err(fields.error(FALLBACK.name(), message))
        }
        key => Ok(key.map(str::to_owned)),
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
