//! Paths of entries.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Name, hexadecimal};

/// The directory of this layout. Another layout gets another directory, so that neither reads the other's entries.
pub const VERSION: &str = "v1";

/// Whether a directory name is that of a layout, this one or another.
pub fn is_layout(name: &str) -> bool {
    let number = name.strip_prefix('v').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The hashes in an entry's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// Over handler and key.
    pub key_hash: [u8; 16],
    /// Over the options.
    pub options_hash: [u8; 16],
}

impl EntryId {
    pub fn of(name: &Name) -> EntryId {
        let options_hash = first_half(Sha256::digest(name.options.as_bytes()).as_slice());
        EntryId { key_hash: key_hash(&name.handler, &name.key), options_hash }
    }

    /// The path of this entry in the directory of the layout.
    pub fn path(&self, root: &Path) -> PathBuf {
        let mut path = key_directory(root, self.key_hash);
        path.push(hexadecimal::encode(&self.options_hash));
        path
    }

    /// The id in the last four components of a path; `None` if the path is not that of an entry.
    pub fn of_path(path: &Path) -> Option<EntryId> {
        let mut parts = path.iter().rev().map(|part| part.to_str());
        let options = parts.next()??;
        let rest = parts.next()??;
        let second = parts.next()??;
        let first = parts.next()??;
        let key_hash = hexadecimal::decode(&[first, second, rest].concat())?;
        Some(EntryId { key_hash, options_hash: hexadecimal::decode(options)? })
    }
}

/// The hash over handler and key.
pub fn key_hash(handler: &str, key: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(handler.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    first_half(hash.finalize().as_slice())
}

/// The directory of all variants of an original.
pub fn key_directory(root: &Path, key_hash: [u8; 16]) -> PathBuf {
    let hash = hexadecimal::encode(&key_hash);
    let mut path = root.join(&hash[..2]);
    path.push(&hash[2..4]);
    path.push(&hash[4..]);
    path
}

fn first_half(hash: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_ids_are_read_back_from_paths() {
        let name = |key: &str| Name { handler: "h".into(), key: key.into(), options: "w=1".into() };
        let root = Path::new("/cache/v1");
        for key in ["a", "a/b", "\u{fc}"] {
            let id = EntryId::of(&name(key));
            assert_eq!(EntryId::of_path(&id.path(root)), Some(id));
            assert!(id.path(root).starts_with(key_directory(root, id.key_hash)));
        }
        assert_ne!(EntryId::of(&name("a")).key_hash, EntryId::of(&name("b")).key_hash);
        let path = EntryId::of(&name("a")).path(root);
        let text = path.to_str().unwrap();
        for other in [
            text.to_uppercase(),
            format!("{text}0"),
            text.replace("/v1/", "/v1/x"),
            "/".into(),
            "a/b".into(),
        ] {
            assert_eq!(EntryId::of_path(Path::new(&other)), None, "{other}");
        }
    }
}
