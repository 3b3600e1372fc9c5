//! Results that would be served as originals.

use super::error::{ConfigError, Result};
use super::handler::Handler;
use super::origin::{Origin, S3};
use super::results::FIELD;

/// Checks that no handler serves the objects of a results bucket as originals: those of a handler with a token would be
/// images of one without.
pub fn check(handlers: &[Handler]) -> Result<()> {
    for (index, handler) in handlers.iter().enumerate() {
        let Some(results) = &handler.results else { continue };
        for (other, reader) in handlers.iter().enumerate() {
            let is_read = reader.origins.iter().any(|origin| {
                matches!(origin, Origin::S3(originals) if is_inside(&results.bucket, originals))
            });
            if is_read {
                let message = format!(
                    "is among the originals of handlers[{other}]: choose another bucket or file_path"
                );
                return Err(ConfigError::new(format!("handlers[{index}].{FIELD}"), message));
            }
        }
    }
    Ok(())
}

/// Whether the objects below the directory of `inner` are below that of `outer` as well.
fn is_inside(inner: &S3, outer: &S3) -> bool {
    let below = match outer.directory.as_str() {
        "" => Some("/"),
        directory => inner.directory.strip_prefix(directory),
    };
    (&inner.bucket, &inner.endpoint) == (&outer.bucket, &outer.endpoint)
        && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
