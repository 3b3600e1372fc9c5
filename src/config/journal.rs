//! The shared journals of a configuration: those in the results buckets of its handlers.

use std::collections::BTreeSet;

use super::Config;
use super::handler::Handler;
use super::origin::OriginConfig;

/// Connections for reading journals; with more journals, the readings take turns.
const MAX_READINGS: usize = 4;
/// Purges that are recorded at once.
const PURGES: usize = 4;

/// The connections between edge and renderer that are reserved for shared journals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalConnections {
    pub readings: usize,
    pub purges: usize,
}

impl JournalConnections {
    pub fn count(self) -> usize {
        self.readings + self.purges
    }
}

impl Handler {
    /// Identifies the journal in its results bucket. Handlers with the same bucket and directory share it.
    pub fn journal(&self) -> Option<String> {
        self.results.as_ref().map(|results| results.bucket.identity())
    }
}

impl Config {
    /// None without a results bucket.
    pub fn journal_connections(&self) -> JournalConnections {
        let journals: BTreeSet<String> =
            self.handlers.iter().filter_map(Handler::journal).collect();
        JournalConnections {
            readings: journals.len().min(MAX_READINGS),
            purges: if journals.is_empty() { 0 } else { PURGES },
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::JournalConnections;
    use crate::config::tests::parse;

    #[test]
    fn journals_are_shared_by_handlers_with_the_same_results_bucket() {
        let handler = |name: usize, results: &str| {
            let aws = r#""aws": {"bucket_name": "b"}, "cache_path": "/tmp/c""#;
            format!(r#"{{"name": "{name}", {aws}{results}}}"#)
        };
        let connections = |results: &[&str]| {
            let handlers = results.iter().enumerate().map(|(index, text)| handler(index, text));
            let handlers: Vec<String> = handlers.collect();
            parse(&format!(r#"{{"handlers": [{}]}}"#, handlers.join(","))).journal_connections()
        };
        let [one, two] =
            [r#", "results": {"bucket_name": "r"}"#, r#", "results": {"bucket_name": "s"}"#];
        assert_eq!(connections(&["", ""]), JournalConnections::default());
        assert_eq!(connections(&["", one]), JournalConnections { readings: 1, purges: 4 });
        assert_eq!(connections(&[one, one]), JournalConnections { readings: 1, purges: 4 });
        assert_eq!(connections(&[one, two, one]).count(), 6);
    }
}
