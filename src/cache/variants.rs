//! The entries in the directory of one original.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layout::{EntryId, VERSION, key_directory};
use super::walk::OnDisk;

/// Every entry of one handler and key: its variants, or its original.
pub fn entries_of(cache_path: &Path, key_hash: [u8; 16]) -> io::Result<Vec<OnDisk>> {
    let directory = key_directory(&cache_path.join(VERSION), key_hash);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(OnDisk::at(&entry?.path())?);
    }
    Ok(found)
}

/// Whether an entry may be stored under `max_variants`: it exists already, or its directory has fewer than
/// `max_variants` entries that can still be served. An entry can be served for `retention` after it was written, or
/// forever.
///
/// Called after a render, compared to which listing one small directory costs nothing. Concurrent callers do not see
/// each other's entries, so the limit can be exceeded by their number.
pub fn has_room(
    cache_path: &Path,
    id: EntryId,
    max_variants: usize,
    retention: Option<Duration>,
) -> io::Result<bool> {
    let root = cache_path.join(VERSION);
    if fs::symlink_metadata(id.path(&root)).is_ok() {
        return Ok(true);
    }
    let entries = match fs::read_dir(key_directory(&root, id.key_hash)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(max_variants > 0),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if EntryId::of_path(&path).is_some() {
            paths.push(path);
        }
    }
    if paths.len() < max_variants {
        return Ok(true);
    }
    let is_usable = |path: &PathBuf| {
        let written = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        let age = written.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        retention.is_none_or(|retention| age <= retention)
    };
    // One system call each; most directories have room without it.
    Ok(paths.iter().filter(|path| is_usable(path)).count() < max_variants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::{FIXED, header_length};
    use crate::cache::{CacheTime, DiskCache, EncodedImage, Name, inspect};
    use crate::format::Format;
    use std::time::SystemTime;
    use tempfile::TempDir;

    fn name_at(path: &Path) -> io::Result<Name> {
        inspect(path)?.map(|found| found.name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(key: &str, options: &str) -> Name {
        Name { handler: "h".into(), key: key.into(), options: options.into() }
    }

    fn cache_with(names: &[Name]) -> TempDir {
        let directory = TempDir::new().unwrap();
        let cache = DiskCache::new(directory.path(), CacheTime::Forever);
        for name in names {
            let image = EncodedImage::new(vec![1; 3000], Format::Png, None);
            cache.store(name, &image, None, SystemTime::now()).unwrap();
        }
        directory
    }

    fn path(directory: &TempDir, name: &Name) -> std::path::PathBuf {
        EntryId::of(name).path(&directory.path().join(VERSION))
    }

    #[test]
    fn names_of_any_length_are_read_from_headers() {
        let long = name(&"\u{1}".repeat(1024), "w=1");
        let names = [name("a", "w=1"), name("a", "w=2"), long];
        let directory = cache_with(&names);
        for name in &names {
            assert_eq!(name_at(&path(&directory, name)).unwrap(), *name);
        }
    }

    #[test]
    fn damaged_and_foreign_files_have_no_name() {
        let one = name("a", "w=1");
        let two = name("a", "w=2");
        let directory = cache_with(&[one.clone(), two.clone()]);
        let one = path(&directory, &one);
        let two = path(&directory, &two);
        let bytes = fs::read(&one).unwrap();
        // At the path of another entry, truncated anywhere, changed anywhere.
        fs::copy(&one, &two).unwrap();
        assert!(name_at(&two).is_err());
        let header_end = FIXED + header_length(&bytes).unwrap();
        for end in 0..header_end {
            fs::write(&one, &bytes[..end]).unwrap();
            assert!(name_at(&one).is_err(), "cut at {end}");
            let mut changed = bytes.clone();
            changed[end] ^= 0xff;
            fs::write(&one, &changed).unwrap();
            assert!(name_at(&one).is_err(), "changed at {end}");
        }
        fs::remove_file(&one).unwrap();
        assert!(name_at(&one).is_err());
        // A link, a FIFO without a writer, a directory.
        std::os::unix::fs::symlink("/dev/zero", &one).unwrap();
        assert!(name_at(&one).is_err());
        fs::remove_file(&one).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &one, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(name_at(&one).is_err());
        fs::remove_file(&one).unwrap();
        fs::create_dir(&one).unwrap();
        assert!(name_at(&one).is_err());
    }

    #[test]
    fn max_variants_limits_new_entries_and_not_existing_ones() {
        let names = [name("a", "w=1"), name("a", "w=2"), name("b", "w=1")];
        let directory = cache_with(&names);
        let has_room =
            |name: &Name, max| has_room(directory.path(), EntryId::of(name), max, None).unwrap();
        // Foreign files do not count.
        for foreign in [".tmp-1-2", "x", "f"] {
            fs::write(path(&directory, &names[0]).with_file_name(foreign), b"").unwrap();
        }
        for (max, expected) in [(1, false), (2, false), (3, true)] {
            assert_eq!(has_room(&name("a", "w=3"), max), expected, "{max}");
            assert!(has_room(&names[0], max) && has_room(&names[1], max), "{max}");
        }
        assert!(has_room(&name("b", "w=2"), 2) && has_room(&name("c", "w=1"), 1));
        // A damaged entry may be replaced.
        fs::write(path(&directory, &names[0]), b"").unwrap();
        assert!(has_room(&names[0], 1));
        fs::remove_file(path(&directory, &names[0])).unwrap();
        assert!(!has_room(&names[0], 1) && has_room(&names[0], 2));
        // A directory that can't be read is an error.
        let key_directory = path(&directory, &names[2]).parent().unwrap().to_owned();
        fs::remove_dir_all(&key_directory).unwrap();
        fs::write(&key_directory, b"").unwrap();
        super::has_room(directory.path(), EntryId::of(&names[2]), 9, None).unwrap_err();
    }

    #[test]
    fn entries_of_returns_exactly_the_entries_of_a_key() {
        let directory = cache_with(&[name("a", "w=1"), name("a", "w=2"), name("b", "w=1")]);
        let one = name("a", "w=1");
        let two = name("a", "w=2");
        fs::write(path(&directory, &one).with_file_name(".tmp-1-2"), b"").unwrap();
        fs::write(path(&directory, &one).with_file_name("x"), b"").unwrap();
        let key_hash = EntryId::of(&one).key_hash;
        let mut found: Vec<Name> = entries_of(directory.path(), key_hash)
            .unwrap()
            .iter()
            .map(|entry| name_at(&entry.path).unwrap())
            .collect();
        found.sort_by(|a, b| a.options.cmp(&b.options));
        assert_eq!(found, [one, two]);
        assert!(entries_of(directory.path(), [0; 16]).unwrap().is_empty());
    }

    #[test]
    fn expired_entries_do_not_count_towards_max_variants() {
        let names = [name("a", "w=1"), name("a", "w=2")];
        let directory = cache_with(&names);
        let new = EntryId::of(&name("a", "w=3"));
        let minute = Some(Duration::from_secs(60));
        assert!(!has_room(directory.path(), new, 2, minute).unwrap());
        let old = fs::File::options().append(true).open(path(&directory, &names[0])).unwrap();
        old.set_modified(SystemTime::now() - Duration::from_secs(90)).unwrap();
        assert!(has_room(directory.path(), new, 2, minute).unwrap());
        assert!(
            !has_room(directory.path(), new, 2, None).unwrap()
                && !has_room(directory.path(), new, 1, minute).unwrap()
        );
    }
}
