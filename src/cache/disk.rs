//! One handler's view of a cache directory.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::entry::{Header, damaged};
use super::entry_body::EntryBody;
use super::freshness::{Freshness, Lifetime};
use super::inspect::{HEADER_READ, Opened, is_damage};
use super::layout::{EntryId, VERSION};
use super::system::{self, EntryFile};
use super::write::Writer;
use super::{EncodedImage, Name, Validator, hexadecimal, min_free_bytes};
use crate::cache_control::CacheControl;
use crate::file_stamp::FileStamp;
use crate::log::{RateLimited, warn};
use crate::media_type::MediaType;
use crate::quality::Level;
use crate::sync::Mutex;
use crate::time::unix_milliseconds;

/// Bytes of the first read when the image is needed: most entries fit, and cost one read.
const IMAGE_READ: usize = 64 << 10;
/// Maximum number of entries in [`DiskCache::verified`], which is cleared when it is full.
const MAX_VERIFIED: usize = 1 << 16;

/// The part of an entry that a lookup needs. It determines only the size of the first read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Image,
    /// Probably the header only: for HEAD, or a conditional request that probably gets 304.
    Header,
}

/// One handler's cache on disk.
#[derive(Debug)]
pub struct DiskCache {
    root: PathBuf,
    lifetime: Lifetime,
    /// `None`: the free space is not checked.
    min_free: Option<MinFree>,
    writer: Writer,
    warning: RateLimited,
    /// Files whose SHA-256 was correct when last computed, by path.
    verified: Mutex<HashMap<PathBuf, FileStamp>>,
}

/// `cache_min_free` of a cache that is written to.
#[derive(Clone, Copy, Debug)]
struct MinFree(Option<u64>);

impl MinFree {
    fn check(self, directory: &Path) -> io::Result<()> {
        // A directory that does not exist yet is checked at the next write.
        let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let min_free = min_free_bytes(self.0, &disk);
        if free < min_free {
            let directory = directory.display();
            let sentence = format!(
                "the disk of {directory} has {free} bytes left, cache_min_free is {min_free}"
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, sentence));
        }
        Ok(())
    }
}

/// An open entry. Its image has not been read, or only in part.
#[derive(Debug)]
pub struct Entry<'c> {
    cache: &'c DiskCache,
    id: EntryId,
    path: PathBuf,
    file: EntryFile,
    stamp: FileStamp,
    header: Header,
    media_type: MediaType,
    /// The start of the image, read with the header.
    start: Vec<u8>,
}

/// Identifies an entry that was read, so that a change can be detected without reading it again.
#[derive(Clone, Debug)]
pub struct EntryStamp {
    id: EntryId,
    path: PathBuf,
    file: FileStamp,
    validated_at: u64,
}

impl DiskCache {
    /// A cache in this directory that does not check the free space.
    pub fn new(directory: &Path, lifetime: impl Into<Lifetime>) -> DiskCache {
        DiskCache {
            root: directory.join(VERSION),
            lifetime: lifetime.into(),
            min_free: None,
            writer: Writer::new(),
            warning: RateLimited::default(),
            verified: Mutex::default(),
        }
    }

    /// Stores nothing while less than `cache_min_free` of the disk is free.
    pub fn with_min_free(mut self, min_free: Option<u64>) -> DiskCache {
        self.min_free = Some(MinFree(min_free));
        self
    }

    fn path(&self, name: &Name) -> PathBuf {
        EntryId::of(name).path(&self.root)
    }

    /// The entry with this name, however old. A damaged entry is removed and `None` returned.
    pub fn find(&self, name: &Name, need: Need) -> Option<Entry<'_>> {
        let id = EntryId::of(name);
        let path = id.path(&self.root);
        match self.open(id, &path, name, need) {
            Ok(entry) => entry,
            Err(error) => {
                self.remove_damaged(&path, &error);
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
        let first = if need == Need::Image { IMAGE_READ } else { HEADER_READ };
        let Some(opened) = Opened::open(path, first)? else { return Ok(None) };
        let Opened { file, metadata, header, media_type, start } = opened;
        if !header.is_of(name) {
            return Err(damaged("belongs to another image"));
        }
        Ok(Some(Entry {
            cache: self,
            id,
            path: path.to_owned(),
            file,
            stamp: FileStamp::new(&metadata),
            header,
            media_type,
            start,
        }))
    }

    /// The current freshness of an entry that was read.
    pub fn freshness(&self, stamp: &EntryStamp, now: SystemTime) -> Freshness {
        self.lifetime.freshness(stamp.id, stamp.validated_at, now)
    }

    /// Whether the file of an entry that was read still exists unchanged.
    pub fn is_unchanged(&self, stamp: &EntryStamp) -> bool {
        // Links are not followed: no entry is a link.
        fs::symlink_metadata(&stamp.path)
            .is_ok_and(|metadata| FileStamp::new(&metadata) == stamp.file)
    }

    /// Stores an image and returns its disk space in bytes. Readers see the old entry or the new one, never a part.
    /// `validated_at` is when the origin was asked for the original.
    pub fn store(
        &self,
        name: &Name,
        image: &EncodedImage,
        validator: impl Into<Validator>,
        validated_at: SystemTime,
    ) -> io::Result<u64> {
        self.min_free.map_or(Ok(()), |min_free| min_free.check(&self.root))?;
        let header = Header::new(name, image, validator.into(), validated_at);
        self.writer.write(&self.path(name), &header, &image.bytes)
    }

    /// Removes an entry. Returns whether it existed.
    pub fn remove(&self, id: EntryId) -> io::Result<bool> {
        let path = id.path(&self.root);
        self.verified.lock().remove(&path);
        system::remove_entry(&path)
    }

    /// Removes a file whose contents are wrong, and logs it. A file that can't be read now (too many open files, a
    /// failing disk) is kept.
    fn remove_damaged(&self, path: &Path, error: &io::Error) {
        self.verified.lock().remove(path);
        // An empty directory at this path would prevent the next write.
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
}

impl EntryStamp {
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// When the origin was asked for the original, in milliseconds since 1970.
    pub fn validated_at(&self) -> u64 {
        self.validated_at
    }
}

impl Entry<'_> {
    /// SHA-256 of the image in hexadecimal: the strong `ETag`.
    pub fn sha256(&self) -> &str {
        &self.header.sha256
    }

    /// `Last-Modified` of the original, in Unix seconds.
    pub fn last_modified(&self) -> Option<u64> {
        self.header.last_modified
    }

    pub fn media_type(&self) -> MediaType {
        self.media_type
    }

    /// Length of the image in bytes.
    pub fn length(&self) -> u64 {
        self.header.length
    }

    pub fn id(&self) -> EntryId {
        self.id
    }

    pub fn stamp(&self) -> EntryStamp {
        EntryStamp {
            id: self.id,
            path: self.path.clone(),
            file: self.stamp,
            validated_at: self.header.validated_at,
        }
    }

    pub fn freshness(&self, now: SystemTime) -> Freshness {
        self.cache.lifetime.freshness(self.id, self.header.validated_at, now)
    }

    /// When the origin was asked for the original, in milliseconds since 1970.
    pub fn validated_at(&self) -> u64 {
        self.header.validated_at
    }

    /// `Cache-Control` of the original.
    pub fn cache_control(&self) -> Option<CacheControl> {
        self.header.cache_control()
    }

    /// The quality that was found for `max_bytes`.
    pub fn quality(&self) -> Option<Level> {
        self.header.quality()
    }

    /// What the origins are asked with whether the original has changed.
    pub fn validator(&self) -> Validator {
        self.header.validator()
    }

    /// Writes the entry again as validated at this time, and returns the image and the disk space in bytes. `None` for
    /// a damaged entry, which is removed.
    pub fn revalidate(
        mut self,
        validated_at: SystemTime,
    ) -> Option<(EncodedImage, io::Result<u64>)> {
        match self.read_verified() {
            Ok(bytes) => {
                let validated_at = unix_milliseconds(validated_at);
                let header = Header { validated_at, ..self.header };
                let written = self.cache.writer.write(&self.path, &header, &bytes);
                Some((header.into_image(bytes, self.media_type), written))
            }
            Err(error) => {
                self.cache.remove_damaged(&self.path, &error);
                None
            }
        }
    }

    /// Reads the image, and verifies its SHA-256 the first time that this process reads the file. `None` for a
    /// damaged entry, which is removed.
    pub fn read(mut self) -> Option<EncodedImage> {
        match self.read_verified() {
            Ok(bytes) => Some(self.header.into_image(bytes, self.media_type)),
            Err(error) => {
                self.cache.remove_damaged(&self.path, &error);
                None
            }
        }
    }

    /// The body, to be read piece by piece. Verifies its SHA-256 as [`Entry::read`] does. `None` for a damaged entry,
    /// which is removed.
    pub fn into_body(mut self) -> Option<EntryBody> {
        match self.verify_in_pieces() {
            Ok(offset) => {
                Some(EntryBody::new(self.file, offset, self.header.length, self.media_type))
            }
            Err(error) => {
                self.cache.remove_damaged(&self.path, &error);
                None
            }
        }
    }

    /// Returns where the body starts in the file.
    fn verify_in_pieces(&mut self) -> io::Result<u64> {
        // `Opened` has compared the length of the file with that in the header.
        let offset = self.file.metadata()?.len().saturating_sub(self.header.length);
        if !self.is_verified() {
            let mut hash = Sha256::new();
            let mut piece = vec![0; IMAGE_READ];
            let mut position = 0;
            while position < self.header.length {
                let left = self.header.length - position;
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                self.file.read_exact_at(&mut piece, offset.saturating_add(position))?;
                hash.update(&piece);
                position += piece.len() as u64;
            }
            self.check(&hexadecimal::encode(&hash.finalize()))?;
        }
        Ok(offset)
    }

    fn read_verified(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.header.length).map_err(io::Error::other)?;
        let mut bytes = std::mem::take(&mut self.start);
        let read = bytes.len();
        // A forged length must not abort the process.
        bytes.try_reserve_exact(length.saturating_sub(read)).map_err(io::Error::other)?;
        bytes.resize(length, 0);
        self.file.read_exact(&mut bytes[read..])?;
        if !self.is_verified() {
            self.check(&hexadecimal::encode(&Sha256::digest(&bytes)))?;
        }
        Ok(bytes)
    }

    /// Whether this process has verified the file as it is.
    fn is_verified(&self) -> bool {
        self.cache.verified.lock().get(&self.path) == Some(&self.stamp)
    }

    /// Compares the SHA-256 of the body with that in the header, and remembers a correct one.
    fn check(&self, sha256: &str) -> io::Result<()> {
        if sha256 != self.header.sha256 {
            return Err(damaged("does not match its SHA-256"));
        }
        let mut verified = self.cache.verified.lock();
        if verified.len() >= MAX_VERIFIED {
            verified.clear();
        }
        verified.insert(self.path.clone(), self.stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{CacheTime, age};
    use crate::format::Format;
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
    fn a_body_is_read_in_pieces_after_its_hash_was_checked() {
        let directory = Directory::new("pieces");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let body = || cache.find(&name("k", "o"), Need::Header).and_then(Entry::into_body);
        let image = EncodedImage::new(bytes.clone(), Format::Png, None);
        cache.store(&name("k", "o"), &image, None, SystemTime::now()).unwrap();
        let entry = body().unwrap();
        assert_eq!((entry.length(), entry.media_type()), (200_000, Format::Png.into()));
        for (position, length) in [(0, 200_000), (0, 0), (1, 70_000), (199_999, 1), (200_000, 0)] {
            let mut piece = vec![0; length];
            entry.read_at(position as u64, &mut piece).unwrap();
            assert_eq!(piece, bytes[position..position + length]);
        }
        for (position, length) in [(0, 200_001), (200_000, 1), (u64::MAX, 1)] {
            assert!(entry.read_at(position, &mut vec![0; length]).is_err());
        }
        let path = cache.path(&name("k", "o"));
        let mut file = fs::read(&path).unwrap();
        let last = file.len() - 1;
        file[last] ^= 1;
        // A new file, so that the descriptor above keeps the old one.
        fs::remove_file(&path).unwrap();
        fs::write(&path, file).unwrap();
        assert!(body().is_none() && !path.exists());
        entry.read_at(199_999, &mut [0]).unwrap();
    }

    #[test]
    fn images_of_every_length_are_stored_and_found() {
        let directory = Directory::new("lengths");
        let cache = DiskCache::new(&directory.0, CacheTime::Seconds(60));
        for length in [0, 1, IMAGE_READ - 300, IMAGE_READ, IMAGE_READ + 1, 1 << 20] {
            cache.store(&name("k", "o"), &image(length), Some("etag"), SystemTime::now()).unwrap();
            for need in [Need::Image, Need::Header] {
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
    fn headers_may_be_longer_than_the_first_read() {
        let directory = Directory::new("long");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        let long = name(&"\u{1}".repeat(1024), "o");
        cache.store(&long, &image(5000), None, SystemTime::now()).unwrap();
        assert_eq!(cache.find(&long, Need::Header).unwrap().read(), Some(image(5000)));
    }

    #[test]
    fn handler_key_and_options_distinguish_entries() {
        let directory = Directory::new("names");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        cache.store(&name("a.png", "w=1"), &image(9), None, SystemTime::now()).unwrap();
        assert!(cache.find(&name("a.jpg", "w=1"), Need::Image).is_none());
        assert!(cache.find(&name("a.png", "w=2"), Need::Image).is_none());
        let other = Name { handler: "h2".into(), ..name("a.png", "w=1") };
        assert!(cache.find(&other, Need::Image).is_none());
        assert!(cache.find(&name("a.png", "w=1"), Need::Image).is_some());
    }

    #[test]
    fn age_counts_from_validation_and_revalidation_resets_it() {
        let directory = Directory::new("revalidation");
        let cache = DiskCache::new(&directory.0, CacheTime::Seconds(600));
        let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        let found = || cache.find(&name("k", "o"), Need::Image).unwrap();
        cache.store(&name("k", "o"), &image(9000), Some("etag"), ago(1000)).unwrap();
        let old = found();
        let stamp = old.stamp();
        assert_eq!(old.freshness(SystemTime::now()), Freshness::MustRevalidate);
        assert!((1000..1010).contains(&age(stamp.validated_at(), SystemTime::now())));
        let (same, written) = old.revalidate(ago(5)).unwrap();
        assert_eq!(same, image(9000));
        assert!(written.unwrap() >= 9000);
        let new = found();
        assert_eq!(new.freshness(SystemTime::now()), Freshness::Fresh);
        assert_eq!(
            (new.validator().etag.as_deref(), new.validated_at() > stamp.validated_at()),
            (Some("etag"), true)
        );
        assert!(!cache.is_unchanged(&stamp), "the file has been replaced");
        assert_eq!(new.read(), Some(image(9000)));
    }

    #[test]
    fn remove_removes_one_entry_only() {
        let directory = Directory::new("removal");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        for options in ["o", "p"] {
            cache.store(&name("k", options), &image(9), None, SystemTime::now()).unwrap();
        }
        let id = EntryId::of(&name("k", "o"));
        assert!(cache.remove(id).unwrap() && !cache.remove(id).unwrap());
        assert!(cache.find(&name("k", "o"), Need::Image).is_none());
        assert!(cache.find(&name("k", "p"), Need::Image).is_some());
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
            // A new cache has not verified anything yet.
            let cache = DiskCache::new(&directory.0, CacheTime::Forever);
            let found = cache.find(&name("k", "o"), Need::Image).and_then(Entry::read);
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
    fn replaced_files_are_verified_again() {
        let directory = Directory::new("change");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        cache.store(&name("k", "o"), &image(40), None, SystemTime::now()).unwrap();
        assert!(cache.find(&name("k", "o"), Need::Image).and_then(Entry::read).is_some());
        let path = cache.path(&name("k", "o"));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        assert!(cache.find(&name("k", "o"), Need::Image).and_then(Entry::read).is_none());
    }

    #[test]
    fn a_fifo_in_place_of_an_entry_does_not_block() {
        let directory = Directory::new("fifo");
        let cache = DiskCache::new(&directory.0, CacheTime::Forever);
        let path = cache.path(&name("k", "o"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(cache.find(&name("k", "o"), Need::Image).is_none());
        cache.store(&name("k", "o"), &image(9), None, SystemTime::now()).unwrap();
        assert!(cache.find(&name("k", "o"), Need::Image).is_some());
    }

    #[test]
    fn an_unwritable_directory_is_an_error() {
        let cache = DiskCache::new(Path::new("/proc/no-such-place"), CacheTime::Forever);
        assert!(cache.store(&name("k", "o"), &image(1), None, SystemTime::now()).is_err());
        assert!(cache.find(&name("k", "o"), Need::Image).is_none());
    }
}
