//! Goes through a cache directory: entries, and what does not belong there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::layout::{EntryId, VERSION};
use super::write::TEMPORARY;

/// What a walk comes across.
#[derive(Debug)]
pub enum Found {
    /// An entry.
    Entry(OnDisk),
    /// A file that is to become an entry or was to, and when it was written.
    Temporary(PathBuf, Option<SystemTime>),
    /// A directory that has nothing in it.
    EmptyDirectory(PathBuf),
    /// What no entry can be named.
    Stranger,
    /// A directory in which there may be more than was seen.
    Unreadable(PathBuf, io::Error),
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

/// What a file takes of the disk, which is more than its length.
pub fn bytes_on_disk(metadata: &fs::Metadata) -> u64 {
    const BLOCK: u64 = 512;
    metadata.blocks() * BLOCK
}

/// Calls `see` for everything in the directory of this layout below a `cache_path`, directories after what is in them, until it
/// says `false`. What is gone by the time it is looked at is passed over.
pub fn walk(cache_path: &Path, see: &mut impl FnMut(Found) -> bool) -> io::Result<()> {
    match fs::read_dir(cache_path.join(VERSION)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(entries) => {
            for entry in entries {
                let entry = entry?;
                let goes_on = match is_link(&entry) {
                    true => see(Found::Stranger),
                    false => level(&entry.path(), 2, see),
                };
                if !goes_on {
                    break;
                }
            }
            Ok(())
        }
    }
}

/// `depth` levels of directories lie between this directory and the entries.
fn level(directory: &Path, depth: u32, see: &mut impl FnMut(Found) -> bool) -> bool {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // Somebody else has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return see(Found::Stranger),
        Err(error) => return see(Found::Unreadable(directory.to_owned(), error)),
    };
    let mut is_empty = true;
    for entry in entries {
        is_empty = false;
        let goes_on = match (entry, depth) {
            (Err(error), _) => see(Found::Unreadable(directory.to_owned(), error)),
            (Ok(entry), 0) => file(&entry.path()).is_none_or(&mut *see),
            // Not where a link leads to: what lies there is somebody else's.
            (Ok(entry), _) if is_link(&entry) => see(Found::Stranger),
            (Ok(entry), _) => level(&entry.path(), depth - 1, see),
        };
        if !goes_on {
            return false;
        }
    }
    !is_empty || see(Found::EmptyDirectory(directory.to_owned()))
}

fn is_link(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_symlink())
}

impl OnDisk {
    /// The entry at this path; `None` if there is none or its name is not one.
    pub fn at(path: &Path) -> io::Result<Option<OnDisk>> {
        match file(path) {
            Some(Found::Entry(entry)) => Ok(Some(entry)),
            Some(Found::Unreadable(_, error)) => Err(error),
            _ => Ok(None),
        }
    }
}

fn file(path: &Path) -> Option<Found> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Found::Unreadable(path.to_owned(), error)),
    };
    let written = metadata.modified().ok();
    let is_temporary =
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
    Some(match EntryId::of_path(path) {
        _ if !metadata.is_file() => Found::Stranger,
        Some(id) => Found::Entry(OnDisk {
            id,
            path: path.to_owned(),
            bytes: bytes_on_disk(&metadata),
            written,
        }),
        None if is_temporary => Found::Temporary(path.to_owned(), written),
        None => Found::Stranger,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CacheTime;
    use crate::cache::{DiskCache, EncodedImage, Name};
    use crate::format::Format;
    use tempfile::TempDir;

    #[test]
    fn everything_is_come_across_once() {
        let directory = TempDir::new().unwrap();
        let cache = DiskCache::new(directory.path(), CacheTime::Forever);
        let name =
            |key: &str| Name { handler: "h".into(), key: key.into(), options: String::new() };
        for key in ["a", "b", "c"] {
            cache
                .store(
                    &name(key),
                    &EncodedImage::new(vec![1; 5000], Format::Png, None),
                    None,
                    SystemTime::now(),
                )
                .unwrap();
        }
        let of_a = EntryId::of(&name("a")).path(&directory.path().join(VERSION));
        let beside = |name: &str| of_a.with_file_name(name);
        fs::write(beside(".tmp-1-2"), b"").unwrap();
        fs::write(beside("x"), b"").unwrap();
        fs::create_dir_all(directory.path().join("v1/00/00/empty")).unwrap();
        fs::create_dir_all(directory.path().join("v0/00")).unwrap();
        let (mut entries, mut others) = (Vec::new(), Vec::new());
        walk(directory.path(), &mut |found| {
            match found {
                Found::Entry(entry) => {
                    assert!(entry.bytes >= 5000 && entry.written.is_some());
                    entries.push(entry.id);
                }
                Found::Temporary(path, _) => others.push(("temporary", path)),
                Found::EmptyDirectory(path) => others.push(("empty", path)),
                Found::Stranger => others.push(("stranger", PathBuf::new())),
                Found::Unreadable(path, _) => others.push(("unreadable", path)),
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
            ("empty", directory.path().join("v1/00/00/empty")),
            ("stranger", PathBuf::new()),
            ("temporary", beside(".tmp-1-2")),
        ];
        assert_eq!(others, expected);
    }

    #[test]
    fn what_a_link_leads_to_is_somebody_elses() {
        let (directory, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let name = Name { handler: "h".into(), key: "k".into(), options: String::new() };
        let image = EncodedImage::new(vec![1; 50], Format::Png, None);
        DiskCache::new(other.path(), CacheTime::Forever)
            .store(&name, &image, None, SystemTime::now())
            .unwrap();
        let theirs = EntryId::of(&name).path(&other.path().join(VERSION));
        let ours = EntryId::of(&name).path(&directory.path().join(VERSION));
        // The entry itself and each directory above it, one after the other.
        for level in 0..3 {
            let place = ours.ancestors().nth(level).unwrap();
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            let _ = fs::remove_dir(place);
            std::os::unix::fs::symlink(theirs.ancestors().nth(level).unwrap(), place).unwrap();
            let mut strangers = 0;
            walk(directory.path(), &mut |found| {
                assert!(!matches!(found, Found::Entry(_)), "{found:?}");
                strangers += u32::from(matches!(found, Found::Stranger));
                true
            })
            .unwrap();
            assert_eq!(strangers, 1, "{level}");
            fs::remove_file(place).unwrap();
        }
    }
}
