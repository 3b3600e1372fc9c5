//! Everything that lies in the directory of one original.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layout::{EntryId, VERSION, source_directory};
use super::walk::OnDisk;

/// Every entry of one handler and key: all variants, or its original.
pub fn entries_of(cache_path: &Path, source: [u8; 16]) -> io::Result<Vec<OnDisk>> {
    let directory = source_directory(&cache_path.join(VERSION), source);
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

/// Whether the directory of this entry's original has fewer than `most` entries that are still of use, or this one among
/// them. An entry is of use for so long after it was written; `None` is for ever.
///
/// Whoever asks has just made an image, beside which a look at one small directory costs nothing; those who ask at the same
/// moment don't know of each other.
pub fn has_room(
    cache_path: &Path,
    id: EntryId,
    most: usize,
    useful: Option<Duration>,
) -> io::Result<bool> {
    let root = cache_path.join(VERSION);
    if fs::symlink_metadata(id.path(&root)).is_ok() {
        return Ok(true);
    }
    let entries = match fs::read_dir(source_directory(&root, id.source)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(most > 0),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if EntryId::of_path(&path).is_some() {
            paths.push(path);
        }
    }
    if paths.len() < most {
        return Ok(true);
    }
    let is_of_use = |path: &PathBuf| {
        let written = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        let age = written.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        useful.is_none_or(|useful| age <= useful)
    };
    // Each costs a call to the system, and most of the time there is room.
    Ok(paths.iter().filter(|path| is_of_use(path)).count() < most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CacheTime;
    use crate::cache::entry::{FIXED, description_length};
    use crate::cache::{DiskCache, EncodedImage, Name, inspect};
    use crate::format::Format;
    use std::time::SystemTime;
    use tempfile::TempDir;

    fn describe(path: &Path) -> io::Result<Name> {
        inspect(path)?.map(|found| found.name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(key: &str, options: &str) -> Name {
        Name { handler: "h".into(), key: key.into(), options: options.into() }
    }

    fn filled(names: &[Name]) -> TempDir {
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
    fn an_entry_tells_its_name_however_long_that_is() {
        let long = name(&"\u{1}".repeat(1024), "w=1");
        let names = [name("a", "w=1"), name("a", "w=2"), long];
        let directory = filled(&names);
        for name in &names {
            assert_eq!(describe(&path(&directory, name)).unwrap(), *name);
        }
    }

    #[test]
    fn what_is_no_entry_tells_nothing() {
        let (one, two) = (name("a", "w=1"), name("a", "w=2"));
        let directory = filled(&[one.clone(), two.clone()]);
        let (one, two) = (path(&directory, &one), path(&directory, &two));
        let bytes = fs::read(&one).unwrap();
        // In another's place, cut off anywhere, changed anywhere.
        fs::copy(&one, &two).unwrap();
        assert!(describe(&two).is_err());
        let described = FIXED + description_length(&bytes).unwrap();
        for end in 0..described {
            fs::write(&one, &bytes[..end]).unwrap();
            assert!(describe(&one).is_err(), "cut at {end}");
            let mut changed = bytes.clone();
            changed[end] ^= 0xff;
            fs::write(&one, &changed).unwrap();
            assert!(describe(&one).is_err(), "changed at {end}");
        }
        fs::remove_file(&one).unwrap();
        assert!(describe(&one).is_err());
        // A link, a pipe that nobody writes to, a directory.
        std::os::unix::fs::symlink("/dev/zero", &one).unwrap();
        assert!(describe(&one).is_err());
        fs::remove_file(&one).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &one, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(describe(&one).is_err());
        fs::remove_file(&one).unwrap();
        fs::create_dir(&one).unwrap();
        assert!(describe(&one).is_err());
    }

    #[test]
    fn there_is_room_for_so_many_and_always_for_what_is_there() {
        let names = [name("a", "w=1"), name("a", "w=2"), name("b", "w=1")];
        let directory = filled(&names);
        let has_room =
            |name: &Name, most| has_room(directory.path(), EntryId::of(name), most, None).unwrap();
        // What is no entry does not count.
        for stranger in [".tmp-1-2", "x", "f"] {
            fs::write(path(&directory, &names[0]).with_file_name(stranger), b"").unwrap();
        }
        for (most, expected) in [(1, false), (2, false), (3, true)] {
            assert_eq!(has_room(&name("a", "w=3"), most), expected, "{most}");
            assert!(has_room(&names[0], most) && has_room(&names[1], most), "{most}");
        }
        assert!(has_room(&name("b", "w=2"), 2) && has_room(&name("c", "w=1"), 1));
        // A damaged one is replaced.
        fs::write(path(&directory, &names[0]), b"").unwrap();
        assert!(has_room(&names[0], 1));
        fs::remove_file(path(&directory, &names[0])).unwrap();
        assert!(!has_room(&names[0], 1) && has_room(&names[0], 2));
        // Whether there is room in what can't be looked at is not known.
        let source = path(&directory, &names[2]).parent().unwrap().to_owned();
        fs::remove_dir_all(&source).unwrap();
        fs::write(&source, b"").unwrap();
        super::has_room(directory.path(), EntryId::of(&names[2]), 9, None).unwrap_err();
    }

    #[test]
    fn the_entries_of_a_key_are_all_of_it_and_nothing_else() {
        let directory = filled(&[name("a", "w=1"), name("a", "w=2"), name("b", "w=1")]);
        let (one, two) = (name("a", "w=1"), name("a", "w=2"));
        fs::write(path(&directory, &one).with_file_name(".tmp-1-2"), b"").unwrap();
        fs::write(path(&directory, &one).with_file_name("x"), b"").unwrap();
        let source = EntryId::of(&one).source;
        let mut found: Vec<Name> = entries_of(directory.path(), source)
            .unwrap()
            .iter()
            .map(|entry| describe(&entry.path).unwrap())
            .collect();
        found.sort_by(|a, b| a.options.cmp(&b.options));
        assert_eq!(found, [one, two]);
        assert!(entries_of(directory.path(), [0; 16]).unwrap().is_empty());
    }

    #[test]
    fn what_is_of_no_use_any_more_takes_no_place() {
        let names = [name("a", "w=1"), name("a", "w=2")];
        let directory = filled(&names);
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
