//! What an entry says of itself, for those who know no more of it than where it lies.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Name;
use super::entry::{Description, FIXED, damaged, description_length, parse_description};
use super::layout::{EntryId, VERSION, source_folder};
use super::walk::{Found, OnDisk, file};

/// A usual description fits.
const FIRST_READ: u64 = 1 << 10;

/// The name of the entry in this file. An error for a file that is no entry or is damaged, of which nobody is served
/// anything.
pub fn describe(path: &Path) -> io::Result<Name> {
    // Not to wait for the other end of what is no file; and no entry is a link.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(damaged("is not a file"));
    }
    let mut start = Vec::new();
    (&file).take(FIRST_READ).read_to_end(&mut start)?;
    let described = FIXED.saturating_add(description_length(&start)?);
    if let Some(missing) = described.checked_sub(start.len()) {
        (&file).take(missing as u64).read_to_end(&mut start)?;
    }
    let (Description { handler, key, options, .. }, _) = parse_description(&start)?;
    let name = Name { handler, key, options };
    if EntryId::of_path(path) != Some(EntryId::of(&name)) {
        return Err(damaged("belongs to another picture"));
    }
    Ok(name)
}

/// Every entry of one handler and key: all renditions, or its original.
pub fn entries_of(cache_path: &Path, source: [u8; 16]) -> io::Result<Vec<OnDisk>> {
    let folder = source_folder(&cache_path.join(VERSION), source);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        if let Found::Entry(entry) = file(&entry?.path()) {
            found.push(entry);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{DiskCache, Picture};
    use crate::config::CacheTime;
    use crate::format::Format;
    use std::time::SystemTime;
    use tempfile::TempDir;

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
