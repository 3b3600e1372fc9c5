//! The calls of the edge.

use super::Journal;
use crate::error::{Code, Failure};
use crate::key;
use crate::shared_journal::{TargetKind, parse_node};
use crate::wire;

/// A call about the journal of the handler with this route.
#[derive(Debug, PartialEq, Eq)]
pub struct JournalCall {
    pub route: String,
    action: Action,
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Reads the page after a name.
    Read(String),
    /// Records a purge of a key or a prefix for a process of an edge.
    Record(String, TargetKind, u64),
}

impl JournalCall {
    pub fn parse(target: &str) -> Option<JournalCall> {
        let split = |rest: &str| key::split_path(&format!("/{rest}"));
        if let Some(rest) = target.strip_prefix(wire::JOURNAL_READ_PATH) {
            let (route, after) = split(rest)?;
            return Some(JournalCall { route, action: Action::Read(after) });
        }
        let (path, query) = target.strip_prefix(wire::JOURNAL_RECORD_PATH)?.split_once('?')?;
        let (route, purged) = split(path)?;
        let (kind, node) = query.split_once('&')?;
        let action = Action::Record(purged, TargetKind::parse(kind)?, parse_node(node)?);
        Some(JournalCall { route, action })
    }

    /// Returns the body of the answer.
    pub fn run(self, journal: &Journal, identity: &str) -> Result<String, Failure> {
        match self.action {
            Action::Read(after) => serde_json::to_string(&journal.read(&after)?)
                .map_err(|error| Failure::new(Code::RendererFailed, error.to_string())),
            Action::Record(purged, kind, node) => {
                journal.record((&self.route, identity), &purged, kind, node)?;
                Ok("{}".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_parsed() {
        let read = |after: &str| {
            let action = Action::Read(after.to_owned());
            Some(JournalCall { route: "a b".into(), action })
        };
        assert_eq!(JournalCall::parse("/-/journal/read/a%20b/"), read(""));
        assert_eq!(JournalCall::parse("/-/journal/read/a%20b/179-00"), read("179-00"));
        assert_eq!(JournalCall::parse("/-/journal/read/a%20b/%0D%0A/%C3%BC"), read("\r\n/\u{fc}"));
        let record = |purged: &str, kind| {
            let action = Action::Record(purged.to_owned(), kind, 0xab);
            Some(JournalCall { route: "h".into(), action })
        };
        let node = "00000000000000ab";
        for (target, expected) in [
            (format!("/-/journal/record/h/a%3F/b?key&{node}"), record("a?/b", TargetKind::Key)),
            (format!("/-/journal/record/h/?prefix&{node}"), record("", TargetKind::Prefix)),
            (format!("/-/journal/record/h//a/?prefix&{node}"), record("/a/", TargetKind::Prefix)),
            (format!("/-/journal/record/h/a?keys&{node}"), None),
            (format!("/-/journal/record/h/%ff?key&{node}"), None),
            ("/-/journal/record/h/a?key&ab".into(), None),
            ("/-/journal/record/h/a?key".into(), None),
            ("/-/journal/record/h?key".into(), None),
            ("/-/journal/read/h".into(), None),
            ("/-/journal/".into(), None),
        ] {
            assert_eq!(JournalCall::parse(&target), expected, "{target}");
        }
    }
}
