//! How long the renderer may take for an error image, and how long the edge waits for one.

use std::time::Duration;

pub const DEFAULT: Duration = Duration::from_secs(1);

pub fn error_image_timeout() -> Duration {
    in_tests().unwrap_or(DEFAULT)
}

/// In seconds, from the environment of a test, in debug builds only: on a busy machine they may take longer for the smallest
/// image.
#[cfg(debug_assertions)]
fn in_tests() -> Option<Duration> {
    let seconds = std::env::var("S3IMAGESERVER_TEST_ERROR_IMAGE_SECONDS").ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(not(debug_assertions))]
fn in_tests() -> Option<Duration> {
    None
}
