//! Times since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970, 0 for earlier times.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Milliseconds since 1970, 0 for earlier times.
pub fn unix_milliseconds(time: SystemTime) -> u64 {
    milliseconds(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// A duration in milliseconds, clamped to the range of `u64`.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in microseconds, clamped to the range of `u64`.
pub fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The time at these milliseconds since 1970; 1970 if the system can't represent it.
pub fn system_time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}
