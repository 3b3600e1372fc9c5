//! One handler's view of a cache directory.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::entry::{Description, damaged};
use super::inspect::{Opened, is_damage};
use super::layout::{EntryId, VERSION};
use super::system::{self, EntryFile};
use super::write::Writer;
use super::{EncodedImage, Name, hexadecimal, least_free, unix_milliseconds};

use super::freshness::{Freshness, Lifetime};
use crate::format::Format;
use crate::log::{RateLimited, warn};

/// Read at once with the description, so that a usual entry costs one read.
const FIRST_READ: usize = 64 << 10;
/// Read when the image itself is probably not needed: a usual description fits.
const DESCRIPTION_READ: usize = 1 << 10;
/// How many entries are remembered as verified before the memory is emptied.
const MOST_VERIFIED: usize = 1 << 16;

/// What an entry is looked up for. It decides how much is read at once and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The image.
    EncodedImage,
    /// Most likely its description alone: HEAD, or a condition that most likely holds.
    Description,
}

/// One handler's cache on disk.
#[derive(Debug)]
pub struct DiskCache {
    root: PathBuf,
    lifetime: Lifetime,
    /// Bytes of the disk that stay free; `None` does not look.
    min_free: Option<MinFree>,
    writer: Writer,
    warning: RateLimited,
    /// Files whose checksum was right when it was last computed.
    verified: Mutex<HashMap<PathBuf, Identity>>,
}

/// `cache_min_free` of a cache that is written to.
#[derive(Clone, Copy, Debug)]
struct MinFree(Option<u64>);

impl MinFree {
    fn check(self, directory: &Path) -> io::Result<()> {
        // A directory that is not there yet is on the disk of the one around it, which is looked at next time.
        let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let least = least_free(self.0, &disk);
        if free < least {
            let sentence = format!("the disk has {free} bytes left, cache_min_free is {least}");
            return Err(io::Error::new(io::ErrorKind::StorageFull, sentence));
        }
        Ok(())
    }
}

/// What a file can't keep while its contents change behind our back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// An entry whose image has perhaps not been read yet.
#[derive(Debug)]
pub struct Entry<'c> {
    cache: &'c DiskCache,
    id: EntryId,
    path: PathBuf,
    file: EntryFile,
    identity: Identity,
    description: Description,
    format: Format,
    /// What was read of the image with the description.
    start: Vec<u8>,
}

/// What tells later, without reading the file again, whether an entry is still the one that was read.
#[derive(Clone, Debug)]
pub struct FileStamp {
    id: EntryId,
    path: PathBuf,
    identity: Identity,
    stored: u64,
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl DiskCache {
    /// The cache in this directory.
    pub fn new(directory: &Path, lifetime: impl Into<Lifetime>) -> DiskCache {
        let (lifetime, warning) = (lifetime.into(), RateLimited::default());
        let (root, verified) = (directory.join(VERSION), Mutex::default());
        DiskCache { root, lifetime, min_free: None, writer: Writer::new(), warning, verified }
    }

    /// One that stores nothing when the disk is as full as `cache_min_free` lets it become.
    pub fn with_min_free(mut self, min_free: Option<u64>) -> DiskCache {
        self.min_free = Some(MinFree(min_free));
        self
    }

    fn path(&self, name: &Name) -> PathBuf {
        EntryId::of(name).path(&self.root)
    }

    /// The entry of this name, however old, unless there is none or it is damaged; a damaged one is removed.
    pub fn find(&self, name: &Name, need: Need) -> Option<Entry<'_>> {
        let id = EntryId::of(name);
        let path = id.path(&self.root);
        match self.open(id, &path, name, need) {
            Ok(entry) => entry,
            Err(error) => {
                self.drop_damaged(&path, &error);
                None
            }
        }
    }

    fn open(
        &self,
        id: EntryId,
        path: &Path,
        name: &Name,
        need: Need,
    ) -> io::Result<Option<Entry<'_>>> {
        let first = if need == Need::EncodedImage { FIRST_READ } else { DESCRIPTION_READ };
        let Some(opened) = Opened::open(path, first)? else { return Ok(None) };
        let Opened { file, metadata, description, format, start } = opened;
        if description.handler != name.handler
            || description.key != name.key
            || description.options != name.options
        {
            return Err(damaged("belongs to another image"));
        }
        let identity = Identity::of(&metadata);
        Ok(Some(Entry {
            cache: self,
            id,
            path: path.to_owned(),
            file,
            identity,
            description,
            format,
            start,
        }))
    }

    /// What an entry that was read is good for by now.
    pub fn freshness(&self, stamp: &FileStamp, now: SystemTime) -> Freshness {
        self.lifetime.freshness(stamp.id, stamp.stored, now)
    }

    /// Whether the file of an entry that was read is still there and the same.
    pub fn is_unchanged(&self, stamp: &FileStamp) -> bool {
        // The path itself and not what a link leads to: no entry is a link.
        fs::symlink_metadata(&stamp.path)
            .is_ok_and(|metadata| Identity::of(&metadata) == stamp.identity)
    }

    /// Stores an image and tells how many bytes of the disk that takes. Readers see the old entry or the new one,
    /// never a part. `asked` is when its origin was asked for what it is made from: that old it is.
    pub fn store(
        &self,
        name: &Name,
        image: &EncodedImage,
        source_etag: Option<&str>,
        asked: SystemTime,
    ) -> io::Result<u64> {
        self.min_free.map_or(Ok(()), |min_free| min_free.check(&self.root))?;
        let description = Description {
            handler: name.handler.clone(),
            key: name.key.clone(),
            options: name.options.clone(),
            format: image.format.name().to_owned(),
            sha256: image.sha256.clone(),
            length: image.bytes.len() as u64,
            last_modified: image.last_modified,
            source_etag: source_etag.map(str::to_owned),
            stored: unix_milliseconds(asked),
        };
        self.writer.write(&self.path(name), &description, &image.bytes)
    }

    /// Removes an entry. Whether it was there.
    pub fn remove(&self, id: EntryId) -> io::Result<bool> {
        let path = id.path(&self.root);
        self.verified().remove(&path);
        system::remove_entry(&path)
    }

    /// Removes a file whose contents are wrong. One that merely can't be read now (too many open files, a
    /// failing disk) stays.
    fn drop_damaged(&self, path: &Path, error: &io::Error) {
        self.verified().remove(path);
        // An empty directory in its place is in the way of the next one.
        let remove = || system::remove(path).or_else(|_| fs::remove_dir(path));
        if is_damage(error) && remove().is_ok() {
            warn!("entry_damaged", "{}: {error}; rendering it again", path.display());
        } else {
            let path = path.display();
            self.warning.warn(
                "entry_unreadable",
                format_args!("{path}: {error}; served without the cache"),
            );
        }
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Identity>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileStamp {
    /// The entry's name on disk.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// When its origin was asked, in milliseconds since 1970.
    pub fn stored(&self) -> u64 {
        self.stored
    }
}

impl Entry<'_> {
    /// The strong `ETag`'s hash.
    pub fn sha256(&self) -> &str {
        &self.description.sha256
    }

    /// When the original last changed, in Unix seconds.
    pub fn last_modified(&self) -> Option<u64> {
        self.description.last_modified
    }

    /// The image's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The image's length in bytes.
    pub fn length(&self) -> u64 {
        self.description.length
    }

    /// The entry's name on disk.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// For telling later whether the entry is still this one.
    pub fn stamp(&self) -> FileStamp {
        let (path, stored) = (self.path.clone(), self.description.stored);
        FileStamp { id: self.id, path, identity: self.identity, stored }
    }

    /// What it is good for now.
    pub fn freshness(&self, now: SystemTime) -> Freshness {
        self.cache.lifetime.freshness(self.id, self.description.stored, now)
    }

    /// When its origin was asked, in milliseconds since 1970.
    pub fn stored(&self) -> u64 {
        self.description.stored
    }

    /// The entity tag that its original had at its origin.
    pub fn source_etag(&self) -> Option<&str> {
        self.description.source_etag.as_deref()
    }

    /// Its origin, asked at this time, says that it has not changed: the image, and how many bytes of the disk its
    /// entry takes now. `None` for a damaged one, which is removed.
    pub fn revalidate(mut self, asked: SystemTime) -> Option<(EncodedImage, io::Result<u64>)> {
        match self.read_verified() {
            Ok(bytes) => {
                let stored = unix_milliseconds(asked);
                let description = Description { stored, ..self.description };
                let written = self.cache.writer.write(&self.path, &description, &bytes);
                let Description { sha256, last_modified, .. } = description;
                Some((EncodedImage { bytes, format: self.format, sha256, last_modified }, written))
            }
            Err(error) => {
                self.cache.drop_damaged(&self.path, &error);
                None
            }
        }
    }

    /// Reads the image. Its checksum is computed the first time this process sees the file. `None` for a
    /// damaged one, which is removed.
    pub fn read(mut self) -> Option<EncodedImage> {
        match self.read_verified() {
            Ok(bytes) => Some(EncodedImage {
                bytes,
                format: self.format,
                sha256: self.description.sha256,
                last_modified: self.description.last_modified,
            }),
            Err(error) => {
                self.cache.drop_damaged(&self.path, &error);
                None
            }
        }
    }

    fn read_verified(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.description.length).map_err(io::Error::other)?;
        let mut bytes = std::mem::take(&mut self.start);
        let read = bytes.len();
        // A file that was made to look large must not end the process that reads it.
        bytes.try_reserve_exact(length.saturating_sub(read)).map_err(io::Error::other)?;
        bytes.resize(length, 0);
        self.file.read_exact(&mut bytes[read..])?;
        if self.cache.verified().get(&self.path) != Some(&self.identity) {
            if hexadecimal(&Sha256::digest(&bytes)) != self.description.sha256 {
                return Err(damaged("has another SHA-256 than it says"));
            }
            let mut verified = self.cache.verified();
            if verified.len() >= MOST_VERIFIED {
                verified.clear();
            }
            verified.insert(self.path.clone(), self.identity);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CacheTime;
    use crate::cache::age;
    use std::time::{Duration, UNIX_EPOCH};

    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Directory {
            let path =
                std::env::temp_dir().join(format!("s3is-cache-{}-{test}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn name(key: &str, options: &str) -> Name {
        Name { handler: "h".into(), key: key.into(), options: options.into() }
    }

    fn image(length: usize) -> EncodedImage {
        let bytes = (0..length).map(|i| (i % 251) as u8).collect();
        EncodedImage::new(bytes, Format::Webp, Some(UNIX_EPOCH + Duration::from_secs(7)))
    }

    #[test]
    fn what_was_stored_is_found_whatever_its_length() {
        let directory = Directory::new("lengths");
        let cache = DiskCache::new(&directory.0, CacheTime::Seconds(60));
        for length in [0, 1, FIRST_READ - 300, FIRST_READ, FIRST_READ + 1, 1 << 20] {
            cache.store(&name("k", "o"), &image(length), Some("etag"), SystemTime::now()).unwrap();
            for need in [Need::EncodedImage, Need::Description] {
                let entry = cache.find(&name("k", "o"), need).unwrap();
                assert_eq!((entry.length(), entry.last_modified()), (length as u64, Some(7)));
                assert_eq!(entry.read(), Some(image(length)));
            }
        }
        let left: Vec<_> =
            fs::read_dir(cache.path(&name("k", "o")).parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays: {left:?}");
    }

    #[test]
    fn a_description_may_be_longer_than_the_first_read() {
        let directory = Directory::new("long");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        let long = name(&"\u{1}".repeat(1024), "o");
        cache.store(&long, &image(5000), None, SystemTime::now()).unwrap();
        assert_eq!(cache.find(&long, Need::Description).unwrap().read(), Some(image(5000)));
    }

    #[test]
    fn handler_key_and_options_all_tell_entries_apart() {
        let directory = Directory::new("names");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        cache.store(&name("a.png", "w=1"), &image(9), None, SystemTime::now()).unwrap();
        assert!(cache.find(&name("a.jpg", "w=1"), Need::EncodedImage).is_none());
        assert!(cache.find(&name("a.png", "w=2"), Need::EncodedImage).is_none());
        let other = Name { handler: "h2".into(), ..name("a.png", "w=1") };
        assert!(cache.find(&other, Need::EncodedImage).is_none());
        assert!(cache.find(&name("a.png", "w=1"), Need::EncodedImage).is_some());
    }

    #[test]
    fn an_entry_is_as_old_as_its_origins_word_and_is_revalidated_by_another() {
        let directory = Directory::new("revalidation");
        let cache = DiskCache::new(&directory.0, CacheTime::Seconds(600));
        let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        let found = || cache.find(&name("k", "o"), Need::EncodedImage).unwrap();
        cache.store(&name("k", "o"), &image(9000), Some("etag"), ago(1000)).unwrap();
        let old = found();
        let stamp = old.stamp();
        assert_eq!(old.freshness(SystemTime::now()), Freshness::MustRevalidate);
        assert!((1000..1010).contains(&age(stamp.stored(), SystemTime::now())));
        let (same, written) = old.revalidate(ago(5)).unwrap();
        assert_eq!(same, image(9000));
        assert!(written.unwrap() >= 9000);
        let new = found();
        assert_eq!(new.freshness(SystemTime::now()), Freshness::Fresh);
        assert_eq!((new.source_etag(), new.stored() > stamp.stored()), (Some("etag"), true));
        assert!(!cache.is_unchanged(&stamp), "what was read before is not what is there now");
        assert_eq!(new.read(), Some(image(9000)));
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_else() {
        let directory = Directory::new("removal");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        for options in ["o", "p"] {
            cache.store(&name("k", options), &image(9), None, SystemTime::now()).unwrap();
        }
        let id = EntryId::of(&name("k", "o"));
        assert!(cache.remove(id).unwrap() && !cache.remove(id).unwrap());
        assert!(cache.find(&name("k", "o"), Need::EncodedImage).is_none());
        assert!(cache.find(&name("k", "p"), Need::EncodedImage).is_some());
    }

    #[test]
    fn every_damaged_byte_and_every_truncation_is_noticed() {
        let directory = Directory::new("damage");
        let write = DiskCache::new(&directory.0, CacheTime::Forever);
        let path = write.path(&name("k", "o"));
        write.store(&name("k", "o"), &image(40), None, SystemTime::now()).unwrap();
        let good = fs::read(&path).unwrap();
        let survives = |bytes: &[u8]| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            // A new process, so to say: nothing is known to be good.
            let cache = DiskCache::new(&directory.0, CacheTime::Forever);
            let found = cache.find(&name("k", "o"), Need::EncodedImage).and_then(Entry::read);
            assert_eq!(found.is_some(), path.exists(), "a damaged entry is removed");
            found.is_some()
        };
        assert!(survives(&good));
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            assert!(!survives(&bytes), "byte {at}");
            assert!(!survives(&good[..at]), "cut at {at}");
        }
        assert!(!survives(&[&good[..], b"x"].concat()));
    }

    #[test]
    fn a_change_after_the_first_read_is_noticed() {
        let directory = Directory::new("change");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        cache.store(&name("k", "o"), &image(40), None, SystemTime::now()).unwrap();
        assert!(cache.find(&name("k", "o"), Need::EncodedImage).and_then(Entry::read).is_some());
        let path = cache.path(&name("k", "o"));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        assert!(cache.find(&name("k", "o"), Need::EncodedImage).and_then(Entry::read).is_none());
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = Directory::new("fifo");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        let path = cache.path(&name("k", "o"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(cache.find(&name("k", "o"), Need::EncodedImage).is_none());
        cache.store(&name("k", "o"), &image(9), None, SystemTime::now()).unwrap();
        assert!(cache.find(&name("k", "o"), Need::EncodedImage).is_some());
    }

    #[test]
    fn an_unwritable_directory_is_an_error_and_no_panic() {
        let cache = DiskCache::new(Path::new("/proc/no-such-place"), CacheTime::Forever);
        assert!(cache.store(&name("k", "o"), &image(1), None, SystemTime::now()).is_err());
        assert!(cache.find(&name("k", "o"), Need::EncodedImage).is_none());
    }
}
