//! Walks a cache directory: its entries, and files that do not belong there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::layout::{EntryId, VERSION};
use super::write::TEMPORARY;

/// An item of a walk.
#[derive(Debug)]
pub enum Found {
    Entry(OnDisk),
    /// A temporary file of a writer, running or dead, and its mtime.
    Temporary(PathBuf, Option<SystemTime>),
    EmptyDirectory(PathBuf),
    /// A file whose name is not that of an entry.
    Foreign,
    /// A file or directory that can't be read: there may be more entries than the walk found.
    Unreadable(PathBuf, io::Error),
}

/// An entry's file, as the file system describes it.
#[derive(Debug)]
pub struct OnDisk {
    pub id: EntryId,
    pub path: PathBuf,
    pub disk_bytes: u64,
    /// The mtime.
    pub written: Option<SystemTime>,
}

/// The disk space of a file in bytes: whole blocks, so more than its length.
pub fn disk_bytes(metadata: &fs::Metadata) -> u64 {
    const BLOCK: u64 = 512;
    metadata.blocks() * BLOCK
}

/// Calls `visit` for everything in the directory of this layout below a `cache_path`, directories after their contents,
/// until it returns `false`. Files that disappear during the walk are skipped.
pub fn walk(cache_path: &Path, visit: &mut impl FnMut(Found) -> bool) -> io::Result<()> {
    match fs::read_dir(cache_path.join(VERSION)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(entries) => {
            for entry in entries {
                let entry = entry?;
                let continues = if is_link(&entry) {
                    visit(Found::Foreign)
                } else {
                    walk_level(&entry.path(), 2, visit)
                };
                if !continues {
                    break;
                }
            }
            Ok(())
        }
    }
}

/// Walks a directory with `depth` levels of directories between it and the entries.
fn walk_level(directory: &Path, depth: u32, visit: &mut impl FnMut(Found) -> bool) -> bool {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // Removed by another process.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return visit(Found::Foreign),
        Err(error) => return visit(Found::Unreadable(directory.to_owned(), error)),
    };
    let mut is_empty = true;
    for entry in entries {
        is_empty = false;
        let continues = match (entry, depth) {
            (Err(error), _) => visit(Found::Unreadable(directory.to_owned(), error)),
            (Ok(entry), 0) => file(&entry.path()).is_none_or(&mut *visit),
            // Links are not followed: their targets are not part of the cache.
            (Ok(entry), _) if is_link(&entry) => visit(Found::Foreign),
            (Ok(entry), _) => walk_level(&entry.path(), depth - 1, visit),
        };
        if !continues {
            return false;
        }
    }
    !is_empty || visit(Found::EmptyDirectory(directory.to_owned()))
}

fn is_link(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_symlink())
}

impl OnDisk {
    /// The entry at this path; `None` if there is no file or its name is not that of an entry.
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
        _ if !metadata.is_file() => Found::Foreign,
        Some(id) => Found::Entry(OnDisk {
            id,
            path: path.to_owned(),
            disk_bytes: disk_bytes(&metadata),
            written,
        }),
        None if is_temporary => Found::Temporary(path.to_owned(), written),
        None => Found::Foreign,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{CacheTime, DiskCache, EncodedImage, Name};
    use crate::format::Format;
    use tempfile::TempDir;

    #[test]
    fn walk_visits_everything_once() {
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
        let sibling = |name: &str| of_a.with_file_name(name);
        fs::write(sibling(".tmp-1-2"), b"").unwrap();
        fs::write(sibling("x"), b"").unwrap();
        fs::create_dir_all(directory.path().join("v1/00/00/empty")).unwrap();
        fs::create_dir_all(directory.path().join("v0/00")).unwrap();
        let mut entries = Vec::new();
        let mut others = Vec::new();
        walk(directory.path(), &mut |found| {
            match found {
                Found::Entry(entry) => {
                    assert!(entry.disk_bytes >= 5000 && entry.written.is_some());
                    entries.push(entry.id);
                }
                Found::Temporary(path, _) => others.push(("temporary", path)),
                Found::EmptyDirectory(path) => others.push(("empty", path)),
                Found::Foreign => others.push(("foreign", PathBuf::new())),
                Found::Unreadable(path, _) => others.push(("unreadable", path)),
            }
            true
        })
        .unwrap();
        entries.sort_by_key(|id| id.key_hash);
        let mut expected = ["a", "b", "c"].map(|key| EntryId::of(&name(key)));
        expected.sort_by_key(|id| id.key_hash);
        assert_eq!(entries, expected);
        others.sort();
        let expected = [
            ("empty", directory.path().join("v1/00/00/empty")),
            ("foreign", PathBuf::new()),
            ("temporary", sibling(".tmp-1-2")),
        ];
        assert_eq!(others, expected);
    }

    #[test]
    fn walk_does_not_follow_links() {
        let directory = TempDir::new().unwrap();
        let other = TempDir::new().unwrap();
        let name = Name { handler: "h".into(), key: "k".into(), options: String::new() };
        let image = EncodedImage::new(vec![1; 50], Format::Png, None);
        DiskCache::new(other.path(), CacheTime::Forever)
            .store(&name, &image, None, SystemTime::now())
            .unwrap();
        let target = EntryId::of(&name).path(&other.path().join(VERSION));
        let path = EntryId::of(&name).path(&directory.path().join(VERSION));
        // A link in place of the entry itself, then of each directory above it.
        for level in 0..3 {
            let link = path.ancestors().nth(level).unwrap();
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let _ = fs::remove_dir(link);
            std::os::unix::fs::symlink(target.ancestors().nth(level).unwrap(), link).unwrap();
            let mut foreign = 0;
            walk(directory.path(), &mut |found| {
                assert!(!matches!(found, Found::Entry(_)), "{found:?}");
                foreign += u32::from(matches!(found, Found::Foreign));
                true
            })
            .unwrap();
            assert_eq!(foreign, 1, "{level}");
            fs::remove_file(link).unwrap();
        }
    }
}
