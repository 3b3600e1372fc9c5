//! Everything that lies in the folder of one original.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::{VERSION, source_folder};
use super::walk::OnDisk;

/// Every entry of one handler and key: all renditions, or its original.
pub fn entries_of(cache_path: &Path, source: [u8; 16]) -> io::Result<Vec<OnDisk>> {
    let folder = source_folder(&cache_path.join(VERSION), source);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(OnDisk::at(&entry?.path())?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::{FIXED, description_length};
    use crate::cache::{DiskCache, EntryId, Name, Picture, inspect};
    use crate::config::CacheTime;
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
        let folder = TempDir::new().unwrap();
        let cache = DiskCache::new(folder.path(), CacheTime::Forever);
        for name in names {
            let picture = Picture::new(vec![1; 3000], Format::Png, None);
            cache.store(name, &picture, None, SystemTime::now()).unwrap();
        }
        folder
    }

    fn path(folder: &TempDir, name: &Name) -> std::path::PathBuf {
        EntryId::of(name).path(&folder.path().join(VERSION))
    }

    #[test]
    fn an_entry_tells_its_name_however_long_that_is() {
        let long = name(&"\u{1}".repeat(1024), "w=1");
        let names = [name("a", "w=1"), name("a", "w=2"), long];
        let folder = filled(&names);
        for name in &names {
            assert_eq!(describe(&path(&folder, name)).unwrap(), *name);
        }
    }

    #[test]
    fn what_is_no_entry_tells_nothing() {
        let (one, two) = (name("a", "w=1"), name("a", "w=2"));
        let folder = filled(&[one.clone(), two.clone()]);
        let (one, two) = (path(&folder, &one), path(&folder, &two));
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
        // A link, a pipe that nobody writes to, a folder.
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
    fn the_entries_of_a_key_are_all_of_it_and_nothing_else() {
        let folder = filled(&[name("a", "w=1"), name("a", "w=2"), name("b", "w=1")]);
        let (one, two) = (name("a", "w=1"), name("a", "w=2"));
        fs::write(path(&folder, &one).with_file_name(".tmp-1-2"), b"").unwrap();
        fs::write(path(&folder, &one).with_file_name("x"), b"").unwrap();
        let source = EntryId::of(&one).source;
        let mut found: Vec<Name> = entries_of(folder.path(), source)
            .unwrap()
            .iter()
            .map(|entry| describe(&entry.path).unwrap())
            .collect();
        found.sort_by(|a, b| a.options.cmp(&b.options));
        assert_eq!(found, [one, two]);
        assert!(entries_of(folder.path(), [0; 16]).unwrap().is_empty());
    }
}
