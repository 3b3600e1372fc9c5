//! Writes entries: under a temporary name, then renamed, so that readers never see a part of one.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::entry::{self, Header};
use super::system::{self, EntryFile};
use super::walk::disk_bytes;

/// Prefix of the names of temporary files.
pub const TEMPORARY: &str = ".tmp-";
/// Where the file system has no locks, a temporary file of this age is abandoned.
const WRITE_TIMEOUT: Duration = Duration::from_secs(600);
/// Maximum attempts while another process removes the directories.
const MAX_ATTEMPTS: u32 = 1000;

/// Writes entries. Names of temporary files are unique across processes and machines that share the directory.
#[derive(Debug)]
pub struct Writer {
    /// Random, since process ids repeat, above all in containers, and a killed process leaves its file behind.
    random: u64,
}

impl Writer {
    pub fn new() -> Writer {
        Writer { random: RandomState::new().build_hasher().finish() }
    }

    /// Writes an entry and returns its disk space in bytes.
    ///
    /// Another process may be removing empty directories or the whole cache at the same time, so a directory that was
    /// just created may be gone, and the temporary file with it.
    pub fn write(&self, path: &Path, header: &Header, image: &[u8]) -> io::Result<u64> {
        let directory =
            path.parent().ok_or_else(|| io::Error::other("an entry has a directory"))?;
        let header = entry::encode(header)?;
        let mut written = self.try_write(directory, path, &header, image);
        for _ in 1..MAX_ATTEMPTS {
            match &written {
                // AlreadyExists: another process created the directory and a third one removed it again.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {}
                _ => break,
            }
            written = system::create_directories(directory)
                .and_then(|()| self.try_write(directory, path, &header, image));
        }
        written
    }

    fn try_write(
        &self,
        directory: &Path,
        path: &Path,
        header: &[u8],
        image: &[u8],
    ) -> io::Result<u64> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = directory.join(format!("{TEMPORARY}{:016x}-{number}", self.random));
        let mut file = EntryFile::create(&temporary)?;
        file.lock();
        let written = file
            .write_all(header)
            .and_then(|()| file.write_all(image))
            .and_then(|()| file.metadata())
            .and_then(|metadata| system::rename(&temporary, path).map(|()| disk_bytes(&metadata)));
        if written.is_err() {
            let _ = system::remove(&temporary);
        }
        written
    }
}

/// Removes a temporary file if it has no writer. Returns whether it was removed.
///
/// A writer holds a lock on its file, which ends with the process. A writer that has created its file and not locked
/// it yet loses the file, notices that when it renames it, and writes it again.
pub fn remove_abandoned(path: &Path, written: Option<SystemTime>) -> io::Result<bool> {
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let is_abandoned = match file.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => false,
        Err(fs::TryLockError::Error(_)) => {
            let age = written.and_then(|time| SystemTime::now().duration_since(time).ok());
            age.is_some_and(|age| age > WRITE_TIMEOUT)
        }
    };
    // The file stays locked until it is removed.
    Ok(is_abandoned && fs::remove_file(path).is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Instant;

    use rustix::io::Errno;
    use tempfile::TempDir;

    use super::*;
    use crate::cache::faults::{self, Fault, Step, plan};
    use crate::cache::{
        CacheTime, DiskCache, EncodedImage, Entry, Found, LAYOUT, Name, Need, walk,
    };
    use crate::format::Format;

    fn name(key: &str) -> Name {
        Name { handler: "h".into(), key: key.into(), options: "w=1".into() }
    }

    fn image(colour: u8) -> EncodedImage {
        EncodedImage::new(vec![colour; 100_000], Format::Png, None)
    }

    fn cache(directory: &TempDir) -> DiskCache {
        DiskCache::new(directory.path(), CacheTime::Forever)
    }

    fn store(cache: &DiskCache, key: &str, image: &EncodedImage) -> io::Result<u64> {
        cache.store(&name(key), image, None, SystemTime::now())
    }

    /// The colour of the image in the cache.
    fn read(cache: &DiskCache, key: &str) -> Option<u8> {
        let found = cache.find(&name(key), Need::Image).and_then(Entry::read)?;
        let colour = found.bytes[0];
        assert!(found == image(colour), "it is whole");
        Some(colour)
    }

    /// As `read`, for a process that has not verified any entry yet.
    fn read_anew(directory: &TempDir, key: &str) -> Option<u8> {
        read(&cache(directory), key)
    }

    fn temporary_files(directory: &TempDir) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(directory.path(), &mut |found| {
            if let Found::Temporary(path, _) = found {
                files.push(path);
            }
            true
        })
        .unwrap();
        files
    }

    #[test]
    fn failed_writes_leave_the_old_entry_intact() {
        const FULL: [Errno; 4] = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::FBIG];
        const CLOSED: [Errno; 5] =
            [Errno::MFILE, Errno::NFILE, Errno::ROFS, Errno::ACCESS, Errno::NOSPC];
        let with = |step, after, errors: &[Errno]| -> Vec<(Step, usize, Fault)> {
            errors.iter().map(|error| (step, after, Fault::Error(*error))).collect()
        };
        let faults = [
            with(Step::Create, 0, &CLOSED),
            with(Step::Write, 0, &FULL),
            with(Step::Write, 1, &FULL),
            with(Step::Metadata, 0, &[Errno::IO]),
            with(Step::Rename, 0, &[Errno::NOSPC, Errno::IO, Errno::ROFS, Errno::XDEV]),
        ]
        .concat();
        for (step, after, fault) in faults {
            let directory = TempDir::new().unwrap();
            let cache = cache(&directory);
            store(&cache, "old", &image(1)).unwrap();
            // With and without a directory of the entry's original.
            for (key, before) in [("old", Some(1)), ("new", None)] {
                // The first attempt to create a file in a missing directory fails anyway.
                let after = after + usize::from(key == "new" && step == Step::Create);
                plan(step, after, fault);
                assert!(store(&cache, key, &image(2)).is_err(), "{key} {step:?} {fault:?}");
                assert_eq!(faults::clear(), 0, "{key} {step:?} {fault:?} did not happen");
                assert_eq!(read_anew(&directory, key), before, "{key} {step:?} {fault:?}");
                assert_eq!(
                    temporary_files(&directory),
                    Vec::<PathBuf>::new(),
                    "{step:?} {fault:?}"
                );
                store(&cache, key, &image(3)).unwrap();
                assert_eq!(read_anew(&directory, key), Some(3));
                store(&cache, key, &image(1)).unwrap();
            }
        }
        for error in CLOSED {
            let directory = TempDir::new().unwrap();
            plan(Step::CreateDirectories, 0, Fault::Error(error));
            let failure = store(&cache(&directory), "new", &image(2)).unwrap_err();
            assert_eq!((failure.raw_os_error(), faults::clear()), (Some(error.raw_os_error()), 0));
        }
    }

    #[test]
    fn short_writes_are_completed_or_discarded() {
        let directory = TempDir::new().unwrap();
        let cache = cache(&directory);
        for short in [1, 7, 99_999] {
            plan(Step::Write, 1, Fault::Short(short));
            plan(Step::Write, 0, Fault::Error(Errno::INTR));
            store(&cache, "k", &image(short as u8)).unwrap();
            assert_eq!((faults::clear(), read_anew(&directory, "k")), (0, Some(short as u8)));
            plan(Step::Write, 1, Fault::Short(short));
            plan(Step::Write, 0, Fault::Error(Errno::NOSPC));
            let full = store(&cache, "k", &image(200)).unwrap_err();
            assert_eq!((full.kind(), faults::clear()), (ErrorKind::StorageFull, 0));
            assert_eq!(read_anew(&directory, "k"), Some(short as u8));
            assert_eq!(temporary_files(&directory), Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn read_errors_do_not_remove_entries() {
        let directory = TempDir::new().unwrap();
        let cache = cache(&directory);
        store(&cache, "k", &image(1)).unwrap();
        let read = || read(&cache, "k");
        for (step, after, errors) in [
            (
                Step::Open,
                0,
                &[Errno::MFILE, Errno::NFILE, Errno::IO, Errno::ACCESS, Errno::NOMEM][..],
            ),
            (Step::Metadata, 0, &[Errno::IO]),
            (Step::Read, 0, &[Errno::IO, Errno::NOMEM, Errno::STALE]),
            (Step::Read, 1, &[Errno::IO]),
        ] {
            for error in errors {
                plan(step, after, Fault::Error(*error));
                assert_eq!((read(), faults::clear()), (None, 0), "{step:?} {error:?}");
                assert_eq!(read(), Some(1), "{step:?} {error:?}");
            }
        }
        for after in [0, 1] {
            plan(Step::Read, after, Fault::Error(Errno::INTR));
            assert_eq!((read(), faults::clear()), (Some(1), 0), "EINTR is not an error");
        }
        plan(Step::Open, 0, Fault::Error(Errno::NOENT));
        assert_eq!((read(), faults::clear()), (None, 0));
    }

    #[test]
    fn damaged_entries_that_can_not_be_removed_are_not_served() {
        let directory = TempDir::new().unwrap();
        let cache = cache(&directory);
        store(&cache, "k", &image(1)).unwrap();
        let path = crate::cache::EntryId::of(&name("k")).path(&directory.path().join(LAYOUT));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        for _ in 0..2 {
            plan(Step::Remove, 0, Fault::Error(Errno::ROFS));
            assert_eq!(read(&cache, "k"), None);
            assert_eq!((faults::clear(), path.exists()), (0, true));
        }
        assert_eq!(read_anew(&directory, "k"), None);
        assert!(!path.exists());
    }

    /// Leaves the temporary file of a writer that died.
    fn abandoned_file(directory: &TempDir) -> PathBuf {
        plan(Step::Write, 1, Fault::Short(1000));
        plan(Step::Write, 0, Fault::Error(Errno::IO));
        plan(Step::Remove, 0, Fault::Error(Errno::IO));
        store(&cache(directory), "k", &image(9)).unwrap_err();
        assert_eq!(faults::clear(), 0);
        let mut files = temporary_files(directory);
        assert_eq!(files.len(), 1);
        files.remove(0)
    }

    #[test]
    fn temporary_files_of_dead_writers_are_removed_and_of_running_ones_kept() {
        let directory = TempDir::new().unwrap();
        let path = abandoned_file(&directory);
        let at = |time: SystemTime| {
            fs::File::options().append(true).open(&path).unwrap().set_modified(time)
        };
        let written = SystemTime::now() + Duration::from_secs(86_400);
        // Whatever the mtime.
        at(written).unwrap();
        let writer = File::open(&path).unwrap();
        writer.lock().unwrap();
        assert!(!remove_abandoned(&path, Some(SystemTime::UNIX_EPOCH)).unwrap() && path.exists());
        drop(writer);
        assert!(remove_abandoned(&path, Some(written)).unwrap() && !path.exists());
        assert!(remove_abandoned(&path, None).is_err());
        let target = directory.path().join("target");
        fs::write(&target, b"").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(remove_abandoned(&path, None).is_err() && target.exists());
    }

    #[test]
    fn temporary_files_are_locked_while_written() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(".tmp-1");
        let file = EntryFile::create(&path).unwrap();
        file.lock();
        assert!(!remove_abandoned(&path, None).unwrap());
        drop(file);
        assert!(remove_abandoned(&path, None).unwrap());
    }

    /// Ends the other thread when it is dropped, also by a panic.
    struct StopOnDrop<'a>(&'a AtomicBool);

    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Writes entries on two threads while a third one repeats `interfere`.
    fn write_while(directory: &TempDir, interfere: impl Fn() + Sync) {
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    interfere();
                }
            });
            let _done = StopOnDrop(&is_done);
            for writer in ["a", "b"] {
                scope.spawn(move || {
                    let cache = cache(directory);
                    let begin = Instant::now();
                    let mut number = 0_u32;
                    while begin.elapsed() < Duration::from_millis(400) {
                        number += 1;
                        // Both write the same few entries.
                        let small =
                            EncodedImage::new(number.to_le_bytes().into(), Format::Png, None);
                        store(&cache, &format!("{}", number % 3), &small)
                            .unwrap_or_else(|error| panic!("{writer} {number}: {error:?}"));
                    }
                });
            }
            thread::sleep(Duration::from_millis(450));
        });
        assert_eq!(temporary_files(directory), Vec::<PathBuf>::new());
    }

    #[test]
    fn writes_succeed_while_empty_directories_are_removed() {
        let directory = TempDir::new().unwrap();
        let leaf = |n: u32| {
            crate::cache::EntryId::of(&name(&n.to_string())).path(&directory.path().join(LAYOUT))
        };
        write_while(&directory, || {
            for n in 0..3 {
                let path = leaf(n);
                let _ = fs::remove_file(&path);
                path.ancestors()
                    .skip(1)
                    .take(4)
                    .for_each(|directory| drop(fs::remove_dir(directory)));
            }
        });
    }

    #[test]
    fn writes_succeed_while_the_cache_is_removed() {
        let directory = TempDir::new().unwrap();
        write_while(&directory, || {
            let root = directory.path().join(LAYOUT);
            let _ = walk(directory.path(), &mut |found| {
                match found {
                    Found::Temporary(path, written) => drop(remove_abandoned(&path, written)),
                    Found::EmptyDirectory(path) => drop(fs::remove_dir(path)),
                    _ => {}
                }
                true
            });
            let _ = fs::remove_dir_all(&root);
        });
    }
}
