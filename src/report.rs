//! Sentences for the operator, one line each on standard error.

use std::fmt::Arguments;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::outlet;

/// Writes one line whole. A standard error that can't be written (a closed pipe, a full disk) or takes nothing must not
/// cost a request, which is why this is not `eprintln!`: that would panic, or wait.
pub fn line(sentence: Arguments) {
    let mut line = visible(&sentence.to_string());
    line.push('\n');
    outlet::sentence(line.as_bytes());
}

/// A sentence may hold a key or what a decoder said of a picture; neither may look like another line or command a
/// terminal.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_control() { visible.extend(c.escape_unicode()) } else { visible.push(c) }
    }
    visible
}

/// `eprintln!` that never panics.
macro_rules! say {
    ($($argument:tt)*) => { $crate::report::line(format_args!($($argument)*)) };
}
pub(crate) use say;

/// Says a thing that stays true for long once a minute at the most, however often it is noticed.
#[derive(Debug, Default)]
pub struct OnceAMinute(Mutex<Option<Instant>>);

impl OnceAMinute {
    /// Nothing has been said yet.
    pub const fn new() -> OnceAMinute {
        OnceAMinute(Mutex::new(None))
    }

    /// Writes the line unless one was written less than a minute ago.
    pub fn line(&self, sentence: Arguments) {
        const MINUTE: Duration = Duration::from_secs(60);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() > MINUTE) {
            *last = Some(Instant::now());
            line(sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        assert_eq!(visible("a\nb\u{1b}[0m ü"), "a\\u{a}b\\u{1b}[0m ü");
    }
}
