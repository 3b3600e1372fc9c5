//! What was refreshed lately, written beside the entries: a server that is killed and started again must not serve what
//! its renderer has stored from before a refresh that was answered.
//!
//! `{cache_path}/.refreshed` has a line for each refresh, `[time, handler, key or prefix, "key" or "prefix"]`. Servers that
//! share a folder share it. Lines matter for minutes only, so a long file is put aside, and replaces the one put aside
//! before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::refreshes::Kind;

const NAME: &str = ".refreshed";
const ASIDE: &str = ".refreshed.old";
/// From this length on a file is put aside, if the last one was long enough ago.
const LONG: u64 = 1 << 20;
/// How long lines matter, at the least.
const MATTERS: Duration = Duration::from_secs(600);

/// One refresh.
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

/// Adds a refresh to the journal of a cache folder.
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

/// Every refresh of a cache folder that is not longer ago than this. What can't be read is passed over: a server that
/// was killed may have left half a line.
pub fn read(cache_path: &Path, ago: Duration) -> Vec<Line> {
    let since = crate::cache::unix_milliseconds(SystemTime::now() - ago.min(MATTERS));
    let texts = [ASIDE, NAME].map(|name| fs::read_to_string(cache_path.join(name)).unwrap_or_default());
    let lines = texts.iter().flat_map(|text| text.lines()).filter_map(parse);
    lines.filter(|line| line.time >= since).collect()
}

fn parse(line: &str) -> Option<Line> {
    let (time, handler, what, kind): (u64, String, String, String) = serde_json::from_str(line).ok()?;
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
    use crate::cache::unix_milliseconds;
    use tempfile::TempDir;

    fn line(time: u64, what: &str, kind: Kind) -> Line {
        Line { time, handler: "h\0s3\0b".into(), what: what.into(), kind }
    }

    #[test]
    fn what_was_written_lately_is_read_again_and_damage_costs_its_line_only() {
        let folder = TempDir::new().unwrap();
        let now = unix_milliseconds(SystemTime::now());
        let lines = [line(now, "a\n\"b\u{fc}", Kind::Key), line(now - 5000, "a/", Kind::Prefix)];
        append(folder.path(), &line(now - 900_000, "old", Kind::Key)).unwrap();
        append(folder.path(), &lines[0]).unwrap();
        let path = folder.path().join(NAME);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"[1, \"cut\n{}\n[99999999999999,\"h\",\"k\",\"thing\"]\n");
        fs::write(&path, text).unwrap();
        append(folder.path(), &lines[1]).unwrap();
        assert_eq!(read(folder.path(), MATTERS), lines);
        assert_eq!(read(folder.path(), Duration::from_secs(2)), lines[..1]);
        assert!(read(&folder.path().join("nowhere"), MATTERS).is_empty());
        assert!(append(&folder.path().join("nowhere"), &lines[0]).is_err());
    }

    #[test]
    fn a_long_one_is_put_aside_and_counts_for_as_long_as_it_matters() {
        let folder = TempDir::new().unwrap();
        let now = unix_milliseconds(SystemTime::now());
        let long = "k".repeat(1000);
        let length = |name| fs::metadata(folder.path().join(name)).map_or(0, |metadata| metadata.len());
        for number in 0..2500 {
            append(folder.path(), &line(now + number, &long, Kind::Key)).unwrap();
        }
        assert!(length(ASIDE) > LONG && length(NAME) > LONG, "nothing that matters is lost");
        assert_eq!(read(folder.path(), MATTERS).len(), 2500);
        let aside = File::options().append(true).open(folder.path().join(ASIDE)).unwrap();
        aside.set_modified(SystemTime::now() - 2 * MATTERS).unwrap();
        append(folder.path(), &line(now, "last", Kind::Key)).unwrap();
        assert!(length(NAME) < 1000);
    }
}
