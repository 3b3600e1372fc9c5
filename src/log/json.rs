//! Lines in JSON (RFC 8259): one object per line, with the fields of [`fields`](super::fields).

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::context::{self, RequestIds};
use super::fields::{self, Field};
use super::{Level, timestamp};

/// A line that is being written. Fields that were added twice would be a mistake of the caller.
#[derive(Debug)]
pub struct Object<'l>(&'l mut String);

impl Object<'_> {
    /// Starts a line with its time, level and event.
    pub fn start<'l>(
        line: &'l mut String,
        now: SystemTime,
        level: Level,
        event: &str,
    ) -> Object<'l> {
        line.push('{');
        line.push_str(fields::TIMESTAMP.prefix.trim_start_matches(','));
        line.push('"');
        timestamp::push(line, now);
        line.push('"');
        let mut object = Object(line);
        object.text(&fields::LEVEL, level.name());
        object.text(&fields::EVENT, event);
        object
    }

    pub fn text(&mut self, field: &Field, value: &str) {
        self.pieces(field, |put| put(value));
    }

    /// Adds a string in pieces, which `write` passes to its argument.
    pub fn pieces(&mut self, field: &Field, write: impl FnOnce(&mut dyn FnMut(&str))) {
        let Object(line) = self;
        line.push_str(field.prefix);
        line.push('"');
        write(&mut |piece| push_escaped(line, piece));
        line.push('"');
    }

    pub fn number(&mut self, field: &Field, value: u64) {
        let Object(line) = self;
        line.push_str(field.prefix);
        // Writing to a String can't fail.
        let _ = write!(line, "{value}");
    }

    /// Adds a duration in nanoseconds, the unit of `event.duration` in the Elastic Common Schema.
    pub fn duration(&mut self, field: &Field, value: Duration) {
        self.number(field, u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn ids(&mut self, ids: &RequestIds) {
        self.text(&fields::REQUEST_ID, ids.id.as_str());
        if let Some(trace) = &ids.trace {
            self.text(&fields::TRACE_ID, trace.trace_id());
            self.text(&fields::SPAN_ID, trace.span_id());
        }
    }

    /// Adds the ids of the request that this thread works on.
    pub(super) fn current_ids(&mut self) {
        context::with(|ids| self.ids(ids));
    }

    /// Ends the line.
    pub fn end(self) {
        self.0.push_str("}\n");
    }
}

/// Appends the characters of a string. Beyond what RFC 8259 §7 asks for, U+007F to U+009F are escaped: they may be
/// commands of a terminal.
fn push_escaped(line: &mut String, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        return line.push_str(text);
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            // All of them are below U+00A0.
            c if c.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_character_is_read_back_and_none_is_a_control_character() {
        let all: String = (0..=0x2fff).filter_map(char::from_u32).chain(['\u{10ffff}']).collect();
        let mut line = String::new();
        let mut object = Object::start(&mut line, UNIX_EPOCH, Level::Warn, "event");
        object.text(&fields::MESSAGE, &all);
        object.number(&fields::STATUS, u64::MAX);
        object.duration(&fields::DURATION, Duration::MAX);
        object.end();
        let text = line.strip_suffix('\n').unwrap();
        assert!(!text.contains(char::is_control), "{text}");
        let value: Value = serde_json::from_str(text).unwrap();
        let expected = json!({
            "@timestamp": "1970-01-01T00:00:00.000Z",
            "log.level": "warn",
            "event.action": "event",
            "message": all,
            "http.response.status_code": u64::MAX,
            "event.duration": u64::MAX,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_string_may_be_written_in_pieces() {
        let mut line = String::new();
        let mut object = Object(&mut line);
        object.pieces(&fields::TARGET, |put| {
            put("a\"");
            put("");
            put("\u{1b}b");
        });
        assert_eq!(line, ",\"url.original\":\"a\\\"\\u001bb\"");
    }
}
