//! Where an entry lies.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Name, hexadecimal};

/// The directory of this layout; another version gets another directory and never misreads this one's.
pub const VERSION: &str = "v1";

/// Whether a name is that of a layout, of this one or another.
pub fn is_layout(name: &str) -> bool {
    let number = name.strip_prefix('v').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The hashes that an entry's path is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// Over handler and key.
    pub source: [u8; 16],
    /// Over the options.
    pub options: [u8; 16],
}

impl EntryId {
    /// The id of a result.
    pub fn of(name: &Name) -> EntryId {
        let options = first_half(Sha256::digest(name.options.as_bytes()).as_slice());
        EntryId { source: source(&name.handler, &name.key), options }
    }

    /// The file of this entry, under the directory of the layout.
    pub fn path(&self, root: &Path) -> PathBuf {
        let mut path = source_directory(root, self.source);
        path.push(hexadecimal(&self.options));
        path
    }

    /// The id that a path's last four parts say; `None` for what is no entry.
    pub fn of_path(path: &Path) -> Option<EntryId> {
        let mut parts = path.iter().rev().map(|part| part.to_str());
        let options = parts.next()??;
        let (rest, second, first) = (parts.next()??, parts.next()??, parts.next()??);
        let source = bytes(&[first, second, rest].concat())?;
        Some(EntryId { source, options: bytes(options)? })
    }
}

/// The hash over handler and key.
pub fn source(handler: &str, key: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(handler.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    first_half(hash.finalize().as_slice())
}

/// The directory in which all variants of an original lie.
pub fn source_directory(root: &Path, source: [u8; 16]) -> PathBuf {
    let source = hexadecimal(&source);
    let mut path = root.join(&source[..2]);
    path.push(&source[2..4]);
    path.push(&source[4..]);
    path
}

fn first_half(hash: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    half
}

/// Sixteen bytes of lower-case hexadecimal digits.
fn bytes(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_from_its_path() {
        let name = |key: &str| Name { handler: "h".into(), key: key.into(), options: "w=1".into() };
        let root = Path::new("/cache/v1");
        for key in ["a", "a/b", "\u{fc}"] {
            let id = EntryId::of(&name(key));
            assert_eq!(EntryId::of_path(&id.path(root)), Some(id));
            assert!(id.path(root).starts_with(source_directory(root, id.source)));
        }
        assert_ne!(EntryId::of(&name("a")).source, EntryId::of(&name("b")).source);
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
