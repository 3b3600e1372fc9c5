//! The server's log on standard error, one line per event:
//!
//! ```text
//! 2026-11-29T12:42:34.123Z error event=reload_failed keeping the previous configuration: …
//! ```
//!
//! Time (RFC 3339, UTC), level, a stable event name, and a sentence, which may change. With `"log_format": "json"` each
//! line is an object with the same values in [`fields`]. Requests are logged by the access log. Commands that run at a
//! terminal (`--check`, `cache`, `sign`, `health`) print plain sentences with [`print_error!`].

pub mod context;
pub mod escape;
pub mod fields;
pub mod json;
pub mod request_id;
pub mod sink;
pub mod timestamp;
pub mod trace_context;

use std::fmt::{Arguments, Write as _};
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
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

/// How lines are written; `"log_format"` in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns and sentences.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// From now on drops events less serious than `level`, and writes every line in this format.
pub fn configure(level: Level, format: Format) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

pub fn format() -> Format {
    if IS_JSON.load(Ordering::Relaxed) { Format::Json } else { Format::Text }
}

/// Logs a panic as an event while lines are JSON. In text it stays as the standard library, or a hook of the program,
/// writes it.
pub fn log_panics() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| match format() {
        Format::Text => hook(panic),
        Format::Json => event(Level::Error, "thread_panicked", format_args!("{panic}")),
    }));
}

/// Logs one event. The macros [`error!`], [`warn!`], [`info!`] and `debug` call this.
pub fn event(level: Level, event: &str, sentence: Arguments) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let mut line = String::with_capacity(256);
    push_event(&mut line, format(), level, event, &sentence.to_string());
    sink::priority_line(line.as_bytes());
}

/// Appends the line of an event.
fn push_event(line: &mut String, format: Format, level: Level, event: &str, sentence: &str) {
    let now = SystemTime::now();
    match format {
        Format::Text => {
            timestamp::push(line, now);
            // Writing to a String can't fail.
            let _ = write!(line, " {} event={event} ", level.name());
            context::with(|ids| {
                let _ = write!(line, "request={} ", ids.id.as_str());
            });
            escape::push(line, sentence);
            line.push('\n');
        }
        Format::Json => {
            let mut object = json::Object::start(line, now, level, event);
            object.current_ids();
            object.text(&fields::MESSAGE, sentence);
            object.end();
        }
    }
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
/// Logs an error at most once a minute per call site.
macro_rules! error_ratelimited_ {
    ($event:literal, $($argument:tt)*) => {{
        static LIMIT: $crate::log::RateLimited = $crate::log::RateLimited::new();
        LIMIT.error($event, format_args!($($argument)*));
    }};
}
pub(crate) use {
    error_ as error, error_ratelimited_ as error_ratelimited, info_ as info,
    print_error_ as print_error, warn_ as warn, warn_ratelimited_ as warn_ratelimited,
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
        if self.is_due() {
            self::event(Level::Warn, event, sentence);
        }
    }

    /// The same with an error.
    pub fn error(&self, event: &str, sentence: Arguments) {
        if self.is_due() {
            self::event(Level::Error, event, sentence);
        }
    }

    /// Whether a minute has passed since this was last true.
    fn is_due(&self) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|at| at.elapsed() > MINUTE);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::context::RequestIds;
    use super::request_id::RequestId;
    use super::trace_context::TraceContext;
    use super::*;
    use crate::documents::assert_says;

    #[test]
    fn levels_are_ordered_by_seriousness() {
        assert!(Level::Error < Level::Warn && Level::Info < Level::Debug);
    }

    #[test]
    fn limited_events_are_logged_once_a_minute() {
        let limit = RateLimited::new();
        assert!(limit.is_due() && !limit.is_due() && !limit.is_due());
        let last = Instant::now().checked_sub(Duration::from_secs(61));
        *limit.0.lock() = Some(last.unwrap());
        assert!(limit.is_due() && !limit.is_due());
    }

    /// A body of events or a failing disk causes thousands of them.
    #[test]
    fn incomplete_purges_are_limited_at_every_place() {
        let rooms = [
            include_str!("../edge/serve/admin/mod.rs"),
            include_str!("../edge/serve/events/mod.rs"),
            include_str!("../edge/variants/shared_purges/removal.rs"),
        ];
        for room in rooms {
            let (before, _) = room.split_once("\"purge_incomplete\"").unwrap();
            assert!(before.trim_end().ends_with("error_ratelimited!("), "{before}");
        }
        assert_says("docs/http.md", "| `purge_incomplete` * | error |");
    }

    #[test]
    fn events_have_the_id_of_the_request_of_their_thread() {
        let line = |format| {
            let mut line = String::new();
            push_event(&mut line, format, Level::Warn, "image_failed", "a \"b\"\n\u{1b}");
            // Without the time.
            line.split_off(line.find("Z").unwrap() + 1)
        };
        assert_eq!(line(Format::Text), " warn event=image_failed a \"b\"\\u{a}\\u{1b}\n");
        let _scope = context::enter(RequestIds {
            id: RequestId::parse(b"one").unwrap(),
            trace: TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        });
        assert_eq!(
            line(Format::Text),
            " warn event=image_failed request=one a \"b\"\\u{a}\\u{1b}\n"
        );
        assert_eq!(
            line(Format::Json),
            "\",\"log.level\":\"warn\",\"event.action\":\"image_failed\",\"http.request.id\":\"one\",\
             \"trace.id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"span.id\":\"00f067aa0ba902b7\",\
             \"message\":\"a \\\"b\\\"\\u000a\\u001b\"}\n"
        );
    }
}
