//! The interval of the periodic checks: renderers' heartbeats and memory, cache directories, certificate files,
//! links to directories.

use std::sync::LazyLock;
use std::time::Duration;

pub const DEFAULT: Duration = Duration::from_secs(1);
/// In milliseconds. For the tests, which would otherwise wait for seconds to prove that a check changes nothing.
const VARIABLE: &str = "S3IMAGESERVER_CHECK_INTERVAL_MS";

pub fn check_interval() -> Duration {
    static INTERVAL: LazyLock<Duration> =
        LazyLock::new(|| std::env::var(VARIABLE).map_or(DEFAULT, |value| parse(&value)));
    *INTERVAL
}

/// The default for anything but 1 to 1000 milliseconds: checks may be more frequent, never less frequent.
fn parse(value: &str) -> Duration {
    match value.parse() {
        Ok(milliseconds @ 1..=1000) => Duration::from_millis(milliseconds),
        _ => DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_interval_is_at_most_a_second() {
        for (value, milliseconds) in
            [("50", 50), ("1", 1), ("0", 1000), ("60000", 1000), ("", 1000), ("-5", 1000)]
        {
            assert_eq!(parse(value), Duration::from_millis(milliseconds), "{value:?}");
        }
    }
}
