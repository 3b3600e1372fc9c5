//! The purge journal: recent purges, recorded in each cache directory. A server that is killed and started again must
//! not serve an entry that its renderer stored from before a purge.
//!
//! `{cache_path}/.purges` has one line per purge, `[time, handler, target, "key_hash" or "prefix_hash"]`, with the
//! hashes of a [`Target`] in hexadecimal. Servers that share a directory share its journal. Lines matter for minutes
//! only, so a large file is rotated, and replaces the last rotated one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cache;
use crate::shared_journal::{Target, TargetKind};
use crate::time::unix_milliseconds;

const NAME: &str = ".purges";
const ROTATED: &str = ".purges.old";
/// Names that earlier releases used; still read at start.
const DEPRECATED: [&str; 2] = [".refreshed.old", ".refreshed"];
/// The kinds of a line with hashes.
const KEY_HASH: &str = "key_hash";
const PREFIX_HASH: &str = "prefix_hash";
/// A larger file is rotated, unless the last rotation is more recent than [`MAX_AGE`].
const MAX_BYTES: u64 = 1 << 20;
/// Older lines don't matter.
const MAX_AGE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Milliseconds since 1970.
    pub time: u64,
    pub target: Target,
}

/// The journal of one cache directory.
#[derive(Debug)]
pub struct PurgeJournal<'d> {
    directory: &'d Path,
}

impl<'d> PurgeJournal<'d> {
    pub fn new(directory: &'d Path) -> PurgeJournal<'d> {
        PurgeJournal { directory }
    }

    /// Records purges of one time.
    pub fn append<'t>(
        &self,
        time: u64,
        targets: impl IntoIterator<Item = &'t Target>,
    ) -> io::Result<()> {
        self.rotate();
        let mut lines = Vec::new();
        for Target { kind, handler, hash } in targets {
            let [handler, hash] = [handler, hash].map(|hash| cache::encode_hash(hash));
            let kind = match kind {
                TargetKind::Key => KEY_HASH,
                TargetKind::Prefix => PREFIX_HASH,
            };
            serde_json::to_writer(&mut lines, &(time, handler, hash, kind))?;
            lines.push(b'\n');
        }
        // One write, so that lines of several servers don't mix.
        let path = self.directory.join(NAME);
        File::options().append(true).create(true).open(path)?.write_all(&lines)
    }

    /// The entries of the last `max_age`. Lines that can't be parsed are skipped: a killed server may have left half a
    /// line.
    pub fn read(&self, max_age: Duration) -> Vec<JournalEntry> {
        let since = unix_milliseconds(SystemTime::now() - max_age.min(MAX_AGE));
        let names = DEPRECATED.into_iter().chain([ROTATED, NAME]);
        let texts: Vec<String> =
            names.filter_map(|name| fs::read_to_string(self.directory.join(name)).ok()).collect();
        let entries = texts.iter().flat_map(|text| text.lines()).filter_map(parse);
        entries.filter(|entry| entry.time >= since).collect()
    }

    /// Rotates a large file. If that fails, the file just grows.
    fn rotate(&self) {
        let path = self.directory.join(NAME);
        let rotated = self.directory.join(ROTATED);
        let is_large = fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_BYTES);
        let is_recent = fs::metadata(&rotated)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < MAX_AGE));
        if is_large && !is_recent {
            let _ = fs::rename(path, rotated);
        }
    }
}

fn parse(line: &str) -> Option<JournalEntry> {
    let (time, handler, target, kind): (u64, String, String, String) =
        serde_json::from_str(line).ok()?;
    let hashes = |kind| {
        let [handler, hash] = [&handler, &target].map(|hash| cache::decode_hash(hash));
        Some(Target { kind, handler: handler?, hash: hash? })
    };
    let target = match kind.as_str() {
        KEY_HASH => hashes(TargetKind::Key)?,
        PREFIX_HASH => hashes(TargetKind::Prefix)?,
        // Earlier releases wrote the handler's identity and the key or prefix.
        kind => Target::new(&handler, &target, TargetKind::parse(kind)?),
    };
    Some(JournalEntry { time, target })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::PurgeMark;
    use tempfile::TempDir;

    fn entry(time: u64, target: &str, kind: TargetKind) -> JournalEntry {
        JournalEntry { time, target: Target::new("h\0s3\0b", target, kind) }
    }

    fn append(journal: &PurgeJournal, entry: &JournalEntry) {
        journal.append(entry.time, [&entry.target]).unwrap();
    }

    #[test]
    fn purge_journal_and_purge_mark_are_different_files() {
        let directory = TempDir::new().unwrap();
        PurgeMark::replace(directory.path()).unwrap();
        let mark = PurgeMark::of(directory.path());
        let recorded = entry(unix_milliseconds(SystemTime::now()), "a", TargetKind::Key);
        let journal = PurgeJournal::new(directory.path());
        append(&journal, &recorded);
        assert_eq!(PurgeMark::of(directory.path()), mark);
        PurgeMark::replace(directory.path()).unwrap();
        assert_eq!(journal.read(MAX_AGE), std::slice::from_ref(&recorded));
    }

    #[test]
    fn purge_journal_returns_recent_entries_and_skips_damaged_lines() {
        let directory = TempDir::new().unwrap();
        let journal = PurgeJournal::new(directory.path());
        let now = unix_milliseconds(SystemTime::now());
        let entries = [
            entry(now, "a\n\"b\u{fc}", TargetKind::Key),
            entry(now - 5000, "a/", TargetKind::Prefix),
        ];
        append(&journal, &entry(now - 900_000, "old", TargetKind::Key));
        append(&journal, &entries[0]);
        let path = directory.path().join(NAME);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"[1, \"cut\n{}\n[99999999999999,\"h\",\"k\",\"thing\"]\n");
        fs::write(&path, text).unwrap();
        append(&journal, &entries[1]);
        assert_eq!(journal.read(MAX_AGE), entries);
        assert_eq!(journal.read(Duration::from_secs(2)), entries[..1]);
        let missing = directory.path().join("missing");
        assert!(PurgeJournal::new(&missing).read(MAX_AGE).is_empty());
        assert!(PurgeJournal::new(&missing).append(now, [&entries[0].target]).is_err());
    }

    #[test]
    fn purge_journal_of_an_earlier_release_is_read() {
        let directory = TempDir::new().unwrap();
        let journal = PurgeJournal::new(directory.path());
        let now = unix_milliseconds(SystemTime::now());
        let old = [entry(now, "a", TargetKind::Key), entry(now, "b/", TargetKind::Prefix)];
        let lines = format!(
            "[{now}, \"h\\u0000s3\\u0000b\", \"a\", \"key\"]\n[{now}, \"h\\u0000s3\\u0000b\", \"b/\", \"prefix\"]\n"
        );
        fs::write(directory.path().join(NAME), lines).unwrap();
        for name in DEPRECATED {
            fs::rename(directory.path().join(NAME), directory.path().join(name)).unwrap();
            assert_eq!(journal.read(MAX_AGE), old, "{name}");
            fs::rename(directory.path().join(name), directory.path().join(NAME)).unwrap();
        }
    }

    #[test]
    fn purge_journal_rotates_a_large_file_and_loses_no_recent_entry() {
        let directory = TempDir::new().unwrap();
        let journal = PurgeJournal::new(directory.path());
        let now = unix_milliseconds(SystemTime::now());
        let targets = [entry(0, "a", TargetKind::Key).target; 10];
        let length =
            |name| fs::metadata(directory.path().join(name)).map_or(0, |metadata| metadata.len());
        for number in 0..2500 {
            journal.append(now + number, &targets).unwrap();
        }
        assert!(length(ROTATED) > MAX_BYTES && length(NAME) > MAX_BYTES);
        assert_eq!(journal.read(MAX_AGE).len(), 25_000);
        let rotated = File::options().append(true).open(directory.path().join(ROTATED)).unwrap();
        rotated.set_modified(SystemTime::now() - 2 * MAX_AGE).unwrap();
        append(&journal, &entry(now, "last", TargetKind::Key));
        assert!(length(NAME) < 1000);
    }
}
