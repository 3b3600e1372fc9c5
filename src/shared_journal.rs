//! The targets of purges, by their hashes.

use crate::cache;

/// What a purge removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetKind {
    Key,
    Prefix,
}

impl TargetKind {
    pub fn parse(name: &str) -> Option<TargetKind> {
        match name {
            "key" => Some(TargetKind::Key),
            "prefix" => Some(TargetKind::Prefix),
            _ => None,
        }
    }
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

/// The prefixes that include a key, as purges have them: the empty one, and each directory above it.
pub fn prefixes_of(key: &str) -> impl Iterator<Item = &str> {
    let ends = key.match_indices('/').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).filter_map(|end| key.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
