//! The shared journal: the purges of all servers that share a results bucket, as the names of its objects.
//!
//! ```text
//! v1/purges/{13 digits: time}-{16 hex: node}-{key or prefix}-{32 hex: handler}-{32 hex: target}
//! v1/prefixes/{32 hex: target}/{13 digits: time}
//! ```
//!
//! A name says everything, so that one LIST request reads a thousand purges in the order of their times, and no body of
//! an object has to be fetched or parsed; the body is for people. A target is the hash over handler and key, as in the
//! names of entries, or over handler and prefix. Times are of the bucket's clock, in milliseconds since 1970.
//!
//! The names below `v1/prefixes` are prefix marks. A result in the bucket is named by hashes, so those below a prefix
//! can't be found to be deleted: each renderer knows the marks instead.
//!
//! Anything else in these directories is of somebody else. It is not read, and not removed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache;

/// The directory of the purges in the bucket.
pub const PURGES: &str = "v1/purges/";
/// The directory of the prefix marks.
pub const PREFIXES: &str = "v1/prefixes/";

/// How long a purge stays in the journal. A server that has not read it for longer can't know what it has missed.
pub const RETENTION: Duration = Duration::from_secs(7 * 86_400);
/// How far back each reading goes beyond the one before: for a name from before the write that it names, and a bucket
/// whose own machines don't agree about the time.
pub const OVERLAP: Duration = Duration::from_secs(60);
/// Names that are further in the future are not of a purge. Without the time of the bucket, which every S3 server tells,
/// servers' own clocks name the purges; S3 refuses requests of a clock that is wrong by more than this.
pub const MAX_AHEAD: Duration = Duration::from_secs(15 * 60);
/// The names of one page, as many as S3 lists at once.
pub const MAX_NAMES: usize = 1000;

/// Until the year 2286.
const TIME_DIGITS: usize = 13;

/// What a purge removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetKind {
    Key,
    Prefix,
}

impl TargetKind {
    pub const fn name(self) -> &'static str {
        match self {
            TargetKind::Key => "key",
            TargetKind::Prefix => "prefix",
        }
    }

    pub fn parse(name: &str) -> Option<TargetKind> {
        [TargetKind::Key, TargetKind::Prefix].into_iter().find(|kind| kind.name() == name)
    }
}

/// A purge as the name of an object, without the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PurgeName {
    /// Milliseconds since 1970.
    pub time: u64,
    /// A random number of the process that wrote it.
    pub node: u64,
    pub target: Target,
}

/// What one purge removes, by hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    pub kind: TargetKind,
    /// [`handler_hash`]
    pub handler: [u8; 16],
    /// [`cache::key_hash`] of the key or the prefix.
    pub hash: [u8; 16],
}

/// Identifies a handler by the hash of its [identity](crate::config::Handler::identity).
pub fn handler_hash(identity: &str) -> [u8; 16] {
    cache::key_hash(identity, "")
}

impl Target {
    pub fn new(identity: &str, target: &str, kind: TargetKind) -> Target {
        let hash = cache::key_hash(identity, target);
        Target { kind, handler: handler_hash(identity), hash }
    }
}

impl PurgeName {
    /// `None` if the name is not that of a purge. There is one spelling of each.
    pub fn parse(name: &str) -> Option<PurgeName> {
        let mut parts = name.split('-');
        let time = parse_time(parts.next()?)?;
        let node = parse_node(parts.next()?)?;
        let kind = TargetKind::parse(parts.next()?)?;
        let handler = cache::decode_hash(parts.next()?)?;
        let hash = cache::decode_hash(parts.next()?)?;
        let name = PurgeName { time, node, target: Target { kind, handler, hash } };
        parts.next().is_none().then_some(name)
    }
}

impl fmt::Display for PurgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PurgeName { time, node, target } = self;
        let kind = target.kind.name();
        let [handler, hash] = [target.handler, target.hash].map(|hash| cache::encode_hash(&hash));
        write!(f, "{}-{node:016x}-{kind}-{handler}-{hash}", at(*time))
    }
}

/// The first name that a purge at this time can have: it comes after all names of earlier purges.
pub fn at(time: u64) -> String {
    format!("{time:0TIME_DIGITS$}")
}

/// A prefix mark as the name of an object, without the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkName {
    /// [`cache::key_hash`] of the prefix.
    pub hash: [u8; 16],
    pub time: u64,
}

impl MarkName {
    pub fn parse(name: &str) -> Option<MarkName> {
        let (hash, time) = name.split_once('/')?;
        Some(MarkName { hash: cache::decode_hash(hash)?, time: parse_time(time)? })
    }
}

impl fmt::Display for MarkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", cache::encode_hash(&self.hash), at(self.time))
    }
}

fn parse_time(digits: &str) -> Option<u64> {
    let is_time = digits.len() == TIME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_time.then(|| digits.parse().ok())?
}

/// Parses the number of a process in a name.
pub fn parse_node(digits: &str) -> Option<u64> {
    let is_lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_node = digits.len() == 16 && digits.bytes().all(is_lower);
    is_node.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// The prefixes that include a key, as purges have them: the empty one, and each directory above it.
pub fn prefixes_of(key: &str) -> impl Iterator<Item = &str> {
    let ends = key.match_indices('/').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).filter_map(|end| key.get(..end))
}

/// A page of the journal: the answer of a renderer to [`crate::wire::JOURNAL_READ_PATH`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The time of the bucket, in milliseconds since 1970; that of the renderer if the bucket told none.
    pub now: u64,
    /// Names of objects without the directory, in ascending order, at most [`MAX_NAMES`].
    pub names: Vec<String>,
    /// Whether there are more.
    pub is_truncated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    const HEX: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn names_round_trip_and_are_in_the_order_of_their_times() {
        let mut last = String::new();
        for (time, kind) in [
            (0, TargetKind::Key),
            (999, TargetKind::Prefix),
            (1_795_361_381_123, TargetKind::Key),
            (1_795_361_381_124, TargetKind::Prefix),
            (9_999_999_999_999, TargetKind::Key),
        ] {
            let target = Target::new("h\0s3\0b", "a/\u{fc}", kind);
            let name = PurgeName { time, node: 0xfe_dcba, target };
            let text = name.to_string();
            assert_eq!(PurgeName::parse(&text), Some(name), "{text}");
            assert!(text > last && text.len() <= 109 && *text > *at(time), "{text}");
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
            last = text;
        }
        let mark = MarkName { hash: [7; 16], time: 1_795_361_381_123 };
        assert_eq!(MarkName::parse(&mark.to_string()), Some(mark));
    }

    #[test]
    fn other_text_is_no_name() {
        let good = format!("1795361381123-00000000000000ab-key-{HEX}-{HEX}");
        assert!(PurgeName::parse(&good).is_some());
        for name in [
            String::new(),
            "-".repeat(4),
            "/".into(),
            good.replace("key", "Key"),
            good.replace("key", "keys"),
            good.replace("key", ""),
            good.replace("1795361381123", "179536138112"),
            good.replace("1795361381123", "17953613811234"),
            good.replace("1795361381123", "+795361381123"),
            good.replace("1795361381123", "179536138112\u{663}"),
            good.replace("00ab", "00AB"),
            good.replace("00ab", "+0ab"),
            good.replace("00ab", "000ab"),
            good.replace("-0000", "--000"),
            good.to_uppercase(),
            format!("{good}-"),
            format!("{good}0"),
            format!("{good}\0"),
            format!("{good}/a"),
            format!(" {good}"),
            format!("{PURGES}{good}"),
            good[..good.len() - 1].to_owned(),
            good.replace('-', "_"),
            "\u{1f4a5}".repeat(50),
        ] {
            assert_eq!(PurgeName::parse(&name), None, "{name:?}");
        }
        for name in ["", "/", HEX, "x/1795361381123", &format!("{HEX}/"), &format!("{HEX}/17/1")] {
            assert_eq!(MarkName::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_key_is_below_each_directory_of_its_name() {
        let prefixes = |key| prefixes_of(key).collect::<Vec<_>>();
        assert_eq!(prefixes("a/b/c.jpg"), ["", "a/", "a/b/"]);
        assert_eq!(prefixes("c.jpg"), [""]);
        assert_eq!(prefixes("//\u{fc}/"), ["", "/", "//", "//\u{fc}/"]);
        assert_eq!(prefixes(""), [""]);
    }

    #[test]
    fn targets_differ_by_handler_kind_and_name() {
        let of = |identity, target| Target::new(identity, target, TargetKind::Key);
        assert_ne!(of("h", "a"), of("i", "a"));
        assert_ne!(of("h", "a"), of("h", "b"));
        assert_ne!(of("h", "a/"), Target::new("h", "a/", TargetKind::Prefix));
        assert_eq!(Target::new("h", "", TargetKind::Prefix).hash, handler_hash("h"));
    }

    #[test]
    fn times_are_as_documented() {
        let (days, minutes) = (RETENTION.as_secs() / 86_400, MAX_AHEAD.as_secs() / 60);
        for sentence in [
            format!("Purges are kept for {days} days"),
            format!("purges that are older than {days} days"),
            format!("Each reading goes {} seconds further back", OVERLAP.as_secs()),
            format!("as much as S3 accepts in a signature, {minutes} minutes"),
        ] {
            assert_says("docs/cache.md", &sentence);
        }
    }
}
