//! What was purged lately, written beside the entries: a server that is killed and started again must not serve what
//! its renderer has stored from before a purge that was answered.
//!
//! `{cache_path}/.purged` has a line for each purge, `[time, handler, key or prefix, "key" or "prefix"]`. Servers that
//! share a directory share it. Lines matter for minutes only, so a long file is put aside, and replaces the one put aside
//! before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::purge_log::Kind;

const NAME: &str = ".purged";
const ASIDE: &str = ".purged.old";
/// Names that earlier releases used; still read at start.
const DEPRECATED: [&str; 2] = [".refreshed.old", ".refreshed"];
/// From this length on a file is put aside, if the last one was long enough ago.
const LONG: u64 = 1 << 20;
/// How long lines matter, at the least.
const MATTERS: Duration = Duration::from_secs(600);

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its time, in milliseconds since 1970.
    pub time: u64,
    /// The handler's identity.
    pub handler: String,
    /// A key or a prefix.
    pub what: String,
    /// Which of these.
    pub kind: Kind,
}

/// Adds a purge to the journal of a cache directory.
pub fn append(cache_path: &Path, line: &Line) -> io::Result<()> {
    let path = cache_path.join(NAME);
    put_aside(cache_path, &path);
    let kind = match line.kind {
        Kind::Key => "key",
        Kind::Prefix => "prefix",
    };
    let mut text = serde_json::to_vec(&(line.time, &line.handler, &line.what, kind))?;
    text.push(b'\n');
    // In one write, so that the lines of two servers don't mix.
    File::options().append(true).create(true).open(path)?.write_all(&text)
}

/// Every purge of a cache directory that is not longer ago than this. What can't be read is passed over: a server that
/// was killed may have left half a line.
pub fn read(cache_path: &Path, ago: Duration) -> Vec<Line> {
    let since = crate::time::unix_milliseconds(SystemTime::now() - ago.min(MATTERS));
    let names = DEPRECATED.into_iter().chain([ASIDE, NAME]);
    let texts: Vec<String> =
        names.filter_map(|name| fs::read_to_string(cache_path.join(name)).ok()).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).filter_map(parse);
    lines.filter(|line| line.time >= since).collect()
}

fn parse(line: &str) -> Option<Line> {
    let (time, handler, what, kind): (u64, String, String, String) =
        serde_json::from_str(line).ok()?;
    let kind = match kind.as_str() {
        "key" => Kind::Key,
        "prefix" => Kind::Prefix,
        _ => return None,
    };
    Some(Line { time, handler, what, kind })
}

/// Where this fails, the file becomes longer, and nothing else.
fn put_aside(cache_path: &Path, path: &Path) {
    let is_long = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > LONG);
    let aside: PathBuf = cache_path.join(ASIDE);
    let is_recent = fs::metadata(&aside)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < MATTERS));
    if is_long(path) && !is_recent {
        let _ = fs::rename(path, aside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::unix_milliseconds;
    use tempfile::TempDir;

    fn line(time: u64, what: &str, kind: Kind) -> Line {
        Line { time, handler: "h\0s3\0b".into(), what: what.into(), kind }
    }

    #[test]
    fn what_was_written_lately_is_read_again_and_damage_costs_its_line_only() {
        let directory = TempDir::new().unwrap();
        let now = unix_milliseconds(SystemTime::now());
        let lines = [line(now, "a\n\"b\u{fc}", Kind::Key), line(now - 5000, "a/", Kind::Prefix)];
        append(directory.path(), &line(now - 900_000, "old", Kind::Key)).unwrap();
        append(directory.path(), &lines[0]).unwrap();
        let path = directory.path().join(NAME);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"[1, \"cut\n{}\n[99999999999999,\"h\",\"k\",\"thing\"]\n");
        fs::write(&path, text).unwrap();
        append(directory.path(), &lines[1]).unwrap();
        assert_eq!(read(directory.path(), MATTERS), lines);
        assert_eq!(read(directory.path(), Duration::from_secs(2)), lines[..1]);
        assert!(read(&directory.path().join("nowhere"), MATTERS).is_empty());
        assert!(append(&directory.path().join("nowhere"), &lines[0]).is_err());
    }

    #[test]
    fn the_journal_of_an_earlier_release_is_read() {
        let directory = TempDir::new().unwrap();
        let old = line(unix_milliseconds(SystemTime::now()), "a", Kind::Key);
        append(directory.path(), &old).unwrap();
        for name in DEPRECATED {
            fs::rename(directory.path().join(NAME), directory.path().join(name)).unwrap();
            assert_eq!(read(directory.path(), MATTERS), std::slice::from_ref(&old), "{name}");
            fs::rename(directory.path().join(name), directory.path().join(NAME)).unwrap();
        }
    }

    #[test]
    fn a_long_one_is_put_aside_and_counts_for_as_long_as_it_matters() {
        let directory = TempDir::new().unwrap();
        let now = unix_milliseconds(SystemTime::now());
        let long = "k".repeat(1000);
        let length =
            |name| fs::metadata(directory.path().join(name)).map_or(0, |metadata| metadata.len());
        for number in 0..2500 {
            append(directory.path(), &line(now + number, &long, Kind::Key)).unwrap();
        }
        assert!(length(ASIDE) > LONG && length(NAME) > LONG, "nothing that matters is lost");
        assert_eq!(read(directory.path(), MATTERS).len(), 2500);
        let aside = File::options().append(true).open(directory.path().join(ASIDE)).unwrap();
        aside.set_modified(SystemTime::now() - 2 * MATTERS).unwrap();
        append(directory.path(), &line(now, "last", Kind::Key)).unwrap();
        assert!(length(NAME) < 1000);
    }
}
