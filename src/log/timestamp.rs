//! RFC 3339 timestamps in UTC with milliseconds.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::civil;

/// Appends `2026-11-29T12:42:34.123Z`. A time before 1970 is written as 1970.
pub fn push(line: &mut String, now: SystemTime) {
    thread_local! {
        /// The last second that was formatted, and its text.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            text.clear();
            let (days, seconds) = (*second / 86_400, *second % 86_400);
            let (year, month, day) = civil(days);
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            // Writing to a String can't fail.
            let _ = write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        }
        line.push_str(text);
    });
    let _ = write!(line, ".{:03}Z", since.subsec_millis());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_match_the_calendar() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date);
        }
    }
}
