//! The server's log on standard error, one line per event:
//!
//! ```text
//! 2026-11-29T12:42:34.123Z error event=reload_failed keeping the previous configuration: …
//! ```
//!
//! Time (RFC 3339, UTC), level, a stable event name, and a sentence, which may change. Requests are logged by the
//! access log. Commands that run at a terminal (`--check`, `cache`, `sign`, `health`) print plain sentences with
//! [`print_error!`].

pub mod escape;
pub mod sink;
pub mod timestamp;

use std::fmt::{Arguments, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::sync::Mutex;

/// How serious an event is; `"log_level"` in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work until the operator acts.
    Error,
    /// Something failed and was handled, or is configured unsafely.
    Warn,
    /// The normal life of the process: start, reload, stop.
    #[default]
    Info,
    /// Details for debugging.
    Debug,
}

impl Level {
    /// The word in a line and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Drops events less serious than this from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Logs one event. The macros [`error!`], [`warn!`], [`info!`] and `debug` call this.
pub fn event(level: Level, event: &str, sentence: Arguments) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let mut line = String::with_capacity(128);
    timestamp::push(&mut line, SystemTime::now());
    // Writing to a String can't fail.
    let _ = write!(line, " {} event={event} ", level.name());
    escape::push(&mut line, &sentence.to_string());
    line.push('\n');
    sink::priority_line(line.as_bytes());
}

/// Prints one line without time and level, for a command at a terminal. Unlike `eprintln!` it neither panics nor waits
/// when standard error can't be written.
pub fn print_error(sentence: Arguments) {
    let mut line = String::with_capacity(128);
    escape::push(&mut line, &sentence.to_string());
    line.push('\n');
    sink::priority_line(line.as_bytes());
}

macro_rules! print_error_ {
    ($($argument:tt)*) => { $crate::log::print_error(format_args!($($argument)*)) };
}
macro_rules! error_ {
    ($event:literal, $($argument:tt)*) => {
        $crate::log::event($crate::log::Level::Error, $event, format_args!($($argument)*))
    };
}
macro_rules! warn_ {
    ($event:literal, $($argument:tt)*) => {
        $crate::log::event($crate::log::Level::Warn, $event, format_args!($($argument)*))
    };
}
macro_rules! info_ {
    ($event:literal, $($argument:tt)*) => {
        $crate::log::event($crate::log::Level::Info, $event, format_args!($($argument)*))
    };
}
/// Warns at most once a minute per call site.
macro_rules! warn_ratelimited_ {
    ($event:literal, $($argument:tt)*) => {{
        static LIMIT: $crate::log::RateLimited = $crate::log::RateLimited::new();
        LIMIT.warn($event, format_args!($($argument)*));
    }};
}
pub(crate) use {
    error_ as error, info_ as info, print_error_ as print_error, warn_ as warn,
    warn_ratelimited_ as warn_ratelimited,
};

/// Logs a lasting condition at most once a minute, however often it is noticed.
#[derive(Debug, Default)]
pub struct RateLimited(Mutex<Option<Instant>>);

impl RateLimited {
    /// The first event is logged.
    pub const fn new() -> RateLimited {
        RateLimited(Mutex::new(None))
    }

    /// Warns unless it did less than a minute ago.
    pub fn warn(&self, event: &str, sentence: Arguments) {
        const MINUTE: Duration = Duration::from_secs(60);
        let mut last = self.0.lock();
        if last.is_none_or(|at| at.elapsed() > MINUTE) {
            *last = Some(Instant::now());
            self::event(Level::Warn, event, sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_by_seriousness() {
        assert!(Level::Error < Level::Warn && Level::Info < Level::Debug);
    }
}
