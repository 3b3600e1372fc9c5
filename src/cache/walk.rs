//! Goes through a cache folder: entries, and what does not belong there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::layout::{EntryId, VERSION};

/// What a walk comes across.
#[derive(Debug)]
pub enum Found {
    /// An entry.
    Entry(OnDisk),
    /// A file that was to become an entry, and its age is as the second field says.
    Temporary(PathBuf, Option<SystemTime>),
    /// A folder that has nothing in it.
    EmptyFolder(PathBuf),
    /// What no entry can be named.
    Stranger,
}

/// An entry's file, as the file system describes it.
#[derive(Debug)]
pub struct OnDisk {
    /// Its name.
    pub id: EntryId,
    /// Where it lies.
    pub path: PathBuf,
    /// What it takes of the disk, in bytes.
    pub bytes: u64,
    /// When it was written.
    pub written: Option<SystemTime>,
}

/// What temporary files' names start with.
pub const TEMPORARY: &str = ".tmp-";

/// What a file takes of the disk, which is more than its length.
pub fn bytes_on_disk(metadata: &fs::Metadata) -> u64 {
    const BLOCK: u64 = 512;
    metadata.blocks() * BLOCK
}

/// Calls `see` for everything in the folder of this layout below a `cache_path`, folders after what is in them, until it
/// says `false`. What can't be read is passed over: somebody else may be removing it.
pub fn walk(cache_path: &Path, see: &mut impl FnMut(Found) -> bool) -> io::Result<()> {
    let root = cache_path.join(VERSION);
    match fs::read_dir(&root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(entries) => {
            for entry in entries.flatten() {
                if !level(&entry.path(), 2, see) {
                    break;
                }
            }
            Ok(())
        }
    }
}

/// `depth` levels of folders lie between this folder and the entries.
fn level(folder: &Path, depth: u32, see: &mut impl FnMut(Found) -> bool) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return see(Found::Stranger);
    };
    let mut is_empty = true;
    for entry in entries.flatten() {
        is_empty = false;
        let goes_on = match depth {
            0 => see(file(&entry.path())),
            _ => level(&entry.path(), depth - 1, see),
        };
        if !goes_on {
            return false;
        }
    }
    !is_empty || see(Found::EmptyFolder(folder.to_owned()))
}

/// What lies at the place of an entry.
pub fn file(path: &Path) -> Found {
    let metadata = fs::symlink_metadata(path).ok();
    let written = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let is_temporary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
    match (EntryId::of_path(path), metadata) {
        (Some(id), Some(metadata)) if metadata.is_file() => {
            Found::Entry(OnDisk { id, path: path.to_owned(), bytes: bytes_on_disk(&metadata), written })
        }
        _ if is_temporary => Found::Temporary(path.to_owned(), written),
        _ => Found::Stranger,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{DiskCache, Name, Picture};
    use crate::config::CacheTime;
    use crate::format::Format;
    use tempfile::TempDir;

    #[test]
    fn everything_is_come_across_once() {
        let folder = TempDir::new().unwrap();
        let cache = DiskCache::new(folder.path(), CacheTime::Forever);
        let name = |key: &str| Name { handler: "h".into(), key: key.into(), options: String::new() };
        for key in ["a", "b", "c"] {
            cache
                .store(&name(key), &Picture::new(vec![1; 5000], Format::Png, None), None, SystemTime::now())
                .unwrap();
        }
        let of_a = EntryId::of(&name("a")).path(&folder.path().join(VERSION));
        let beside = |name: &str| of_a.with_file_name(name);
        fs::write(beside(".tmp-1-2"), b"").unwrap();
        fs::write(beside("x"), b"").unwrap();
        fs::create_dir_all(folder.path().join("v1/00/00/empty")).unwrap();
        fs::create_dir_all(folder.path().join("v0/00")).unwrap();
        let (mut entries, mut others) = (Vec::new(), Vec::new());
        walk(folder.path(), &mut |found| {
            match found {
                Found::Entry(entry) => {
                    assert!(entry.bytes >= 5000 && entry.written.is_some());
                    entries.push(entry.id);
                }
                Found::Temporary(path, _) => others.push(("temporary", path)),
                Found::EmptyFolder(path) => others.push(("empty", path)),
                Found::Stranger => others.push(("stranger", PathBuf::new())),
            }
            true
        })
        .unwrap();
        entries.sort_by_key(|id| id.source);
        let mut expected = ["a", "b", "c"].map(|key| EntryId::of(&name(key)));
        expected.sort_by_key(|id| id.source);
        assert_eq!(entries, expected);
        others.sort();
        let expected = [
            ("empty", folder.path().join("v1/00/00/empty")),
            ("stranger", PathBuf::new()),
            ("temporary", beside(".tmp-1-2")),
        ];
        assert_eq!(others, expected);
    }
}
