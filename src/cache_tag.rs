//! Cache tags: the names under which a CDN keeps what a purge removes.
//!
//! A response has the tag of its key, of each directory above the key, and of the whole handler, so that a purge of a
//! key or of a prefix is the purge of one tag at the CDN. A tag is a hash: keys may hold any character and be long, and
//! CDNs limit both.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of the hash. A collision only purges too much.
const HASH_BYTES: usize = 8;
/// The length of a tag, in hexadecimal digits.
pub const LENGTH: usize = 2 * HASH_BYTES;
/// The directories above a key that have a tag, from the top. CloudFront takes 50 tags for an object, Akamai 128.
pub const MAX_DIRECTORIES: usize = 16;
/// Bytes of the tags of one key, with a separator after each.
pub const MAX_BYTES: usize = (MAX_DIRECTORIES + 2) * (LENGTH + 1);

/// What a purge removes: a key, or every key that starts with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeScope {
    Key(String),
    /// Ends with a slash, or is empty and stands for all keys of the handler.
    Prefix(String),
}

impl PurgeScope {
    /// The tag that all responses within the scope have.
    pub fn tag(&self, route: &str) -> String {
        match self {
            PurgeScope::Key(key) => hash(&format!("{route}/{key}")),
            PurgeScope::Prefix(prefix) => {
                // A deeper directory has no tag of its own, so that of the last one above it stands for it.
                let end =
                    prefix.match_indices('/').map(|(at, _)| at + 1).take(MAX_DIRECTORIES).last();
                hash(&format!("{route}/{}", prefix.get(..end.unwrap_or(0)).unwrap_or_default()))
            }
        }
    }
}

/// The tags of the responses for a key: its own, then those of the handler and of the directories, from the top.
pub fn tags(route: &str, key: &str) -> impl Iterator<Item = String> {
    let mut above = Sha256::new_with_prefix(route);
    let mut rest = key.split_inclusive('/').filter(|segment| segment.ends_with('/'));
    above.update("/");
    let handler = above.clone();
    let directories = std::iter::from_fn(move || {
        above.update(rest.next()?);
        Some(encode(above.clone()))
    });
    let own = hash(&format!("{route}/{key}"));
    // A key that ends with a slash is the directory of that name, too.
    let others = std::iter::once(encode(handler)).chain(directories.take(MAX_DIRECTORIES));
    let first = own.clone();
    std::iter::once(first).chain(others.filter(move |tag| *tag != own))
}

fn hash(text: &str) -> String {
    encode(Sha256::new_with_prefix(text))
}

fn encode(hash: Sha256) -> String {
    let digest = hash.finalize();
    digest.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::assert_says;

    fn key(key: &str) -> String {
        PurgeScope::Key(key.to_owned()).tag("h")
    }

    fn prefix(prefix: &str) -> String {
        PurgeScope::Prefix(prefix.to_owned()).tag("h")
    }

    #[test]
    fn a_key_has_its_own_tag_and_those_of_each_directory_above_it() {
        let expected = [key("a/b/c.jpg"), prefix(""), prefix("a/"), prefix("a/b/")];
        assert_eq!(tags("h", "a/b/c.jpg").collect::<Vec<_>>(), expected);
        assert_eq!(tags("h", "c.jpg").collect::<Vec<_>>(), [key("c.jpg"), prefix("")]);
        assert_eq!(tags("h", "a/").collect::<Vec<_>>(), [key("a/"), prefix("")]);
        assert_eq!(tags("h", "/a").collect::<Vec<_>>(), [key("/a"), prefix(""), prefix("/")]);
        assert_ne!(key("a"), PurgeScope::Key("a".into()).tag("i"));
        assert_ne!(key("a"), prefix("a/"));
    }

    #[test]
    fn a_tag_is_the_start_of_a_hash_of_handler_and_key() {
        // printf %s 'photos/summer/photo.jpg' | sha256sum | cut -c 1-16
        let tag = PurgeScope::Key("summer/photo.jpg".into()).tag("photos");
        let hash = Sha256::digest("photos/summer/photo.jpg");
        let whole: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(whole.starts_with(&tag) && tag.len() == LENGTH, "{tag}");
    }

    #[test]
    fn a_deep_directory_is_purged_by_the_last_one_that_has_a_tag() {
        let deep = |depth: usize| "d/".repeat(depth);
        let tags: Vec<String> = tags("h", &format!("{}k", deep(40))).collect();
        assert_eq!(tags.len(), MAX_DIRECTORIES + 2);
        assert!(tags.iter().map(|tag| tag.len() + 1).sum::<usize>() <= MAX_BYTES);
        for depth in 0..40 {
            assert!(tags.contains(&prefix(&deep(depth))), "{depth}");
        }
        assert_eq!(prefix(&deep(40)), prefix(&deep(MAX_DIRECTORIES)));
        assert_ne!(prefix(&deep(15)), prefix(&deep(16)));
        assert!(tags.contains(&key(&format!("{}k", deep(40)))));
    }

    #[test]
    fn tags_are_as_documented() {
        assert_says("docs/cdn.md", &format!("the first {LENGTH} hexadecimal digits"));
        assert_says("docs/cdn.md", &format!("the first {MAX_DIRECTORIES} directories"));
    }
}
