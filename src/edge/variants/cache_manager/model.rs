//! A model-based test: random operations on a cache directory, compared with a simple model of its contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::cache::CacheTime;
use crate::cache::faults::{self, Fault, Step, plan};
use crate::cache::{DiskCache, EncodedImage, Entry, Found, LAYOUT, Name, Need, disk_bytes};
use crate::format::Format;
use crate::time::unix_milliseconds;

/// Number of names; each three share a key.
const NAMES: u64 = 12;
/// Seconds between two operations: far more than the test takes.
const STEP: u64 = 60;
/// `max_age` in seconds.
const MAX_AGE: u64 = 40 * STEP + STEP / 2;

/// Marsaglia's xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Prints the seed of a failing run.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}", self.0);
        }
    }
}

/// An entry on disk.
#[derive(Clone, Debug)]
struct Stored {
    image: EncodedImage,
    etag: String,
    validated_at: SystemTime,
    is_damaged: bool,
    /// On the model's clock.
    written: u64,
    blocks: u64,
}

struct World {
    dice: Dice,
    directory: TempDir,
    /// The cache as the renderer process stores to it, and as the edge process reads it.
    renderer: DiskCache,
    edge: DiskCache,
    manager: Arc<CacheManager>,
    /// A scan ends early if the manager has no other owner.
    _owner: Arc<CacheManager>,
    /// Seconds since `begin`.
    now: u64,
    begin: SystemTime,
    disk: BTreeMap<u64, Stored>,
    /// The expected index: size and last use.
    indexed: BTreeMap<u64, (u64, u64)>,
    changes: u64,
}

fn name(number: u64) -> Name {
    Name {
        handler: "h".into(),
        key: format!("{}", number / 3),
        options: format!("w={}", number % 3),
    }
}

fn id(number: u64) -> EntryId {
    EntryId::of(&name(number))
}

fn processes(directory: &TempDir) -> (DiskCache, DiskCache, Arc<CacheManager>) {
    let cache = || DiskCache::new(directory.path(), CacheTime::Forever);
    let limits = CacheLimits {
        max_bytes: None,
        min_free: Some(0),
        max_age: Some(Duration::from_secs(MAX_AGE)),
    };
    (cache(), cache(), Arc::new(CacheManager::new(directory.path(), limits)))
}

impl World {
    fn new(seed: u64) -> World {
        let directory = TempDir::new().unwrap();
        let (renderer, edge, manager) = processes(&directory);
        World {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            directory,
            renderer,
            edge,
            _owner: Arc::clone(&manager),
            manager,
            now: 0,
            begin: SystemTime::now(),
            disk: BTreeMap::new(),
            indexed: BTreeMap::new(),
            changes: 0,
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        id(number).path(&self.directory.path().join(LAYOUT))
    }

    fn time(&self) -> SystemTime {
        self.begin + Duration::from_secs(self.now)
    }

    /// Sets a file's mtime by the model's clock, never twice to the same value.
    fn set_mtime(&mut self, path: &Path, written: u64) {
        self.changes += 1;
        let time = self.begin + Duration::from_secs(written) + Duration::from_micros(self.changes);
        File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn blocks(path: &Path) -> u64 {
        disk_bytes(&fs::symlink_metadata(path).unwrap())
    }

    fn step(&mut self) {
        self.now += STEP;
        self.manager.clock.ahead.store(self.now, Ordering::Relaxed);
        let number = self.dice.below(NAMES);
        match self.dice.below(24) {
            0..5 => self.store(number),
            5..11 => self.get(number, Need::Image),
            11 => self.get(number, Need::Header),
            12..14 => self.revalidate(number),
            14 => self.remove_from_outside(number),
            15 => self.purge(number),
            16..18 => self.damage(number),
            18 => self.fail_store(number),
            19 => self.crash(number),
            20..22 => self.evict(),
            22 => self.scan(),
            _ => self.now += STEP * self.dice.below(30),
        }
        self.manager.clock.ahead.store(self.now, Ordering::Relaxed);
    }

    fn image(&mut self) -> EncodedImage {
        let length = match self.dice.below(6) {
            0 => self.dice.below(3),
            1 => (64 << 10) + self.dice.below(9000),
            _ => self.dice.below(20_000),
        };
        let colour = self.dice.below(256) as u8;
        let bytes =
            (0..length).map(|at| (at as u8).wrapping_mul(colour) ^ (at >> 8) as u8).collect();
        EncodedImage::new(bytes, Format::Png, None)
    }

    fn store(&mut self, number: u64) {
        let image = self.image();
        let etag = self.dice.below(1000).to_string();
        let validated_at = self.time();
        let bytes =
            self.renderer.store(&name(number), &image, Some(etag.as_str()), validated_at).unwrap();
        let stored = Stored { image, etag, validated_at, is_damaged: false, written: 0, blocks: 0 };
        self.record(number, stored, bytes);
    }

    fn record(&mut self, number: u64, stored: Stored, bytes: u64) {
        let path = self.path(number);
        self.set_mtime(&path, self.now);
        assert_eq!(bytes, World::blocks(&path));
        self.manager.insert(id(number), bytes);
        self.indexed.insert(number, (bytes, self.now));
        self.disk.insert(number, Stored { written: self.now, blocks: bytes, ..stored });
    }

    fn find(&mut self, number: u64, need: Need) -> Option<(Stored, Option<EncodedImage>)> {
        let found = self.edge.find(&name(number), need);
        if let (Some(entry), Some(stored)) = (&found, self.disk.get(&number)) {
            // The header may be intact although the image is damaged.
            assert_eq!(entry.sha256(), stored.image.sha256);
            assert_eq!(entry.length(), stored.image.bytes.len() as u64);
            assert_eq!(entry.validator().etag.as_deref(), Some(stored.etag.as_str()));
            assert_eq!(entry.validated_at(), unix_milliseconds(stored.validated_at));
        }
        if found.is_some() {
            self.manager.touch(id(number));
            self.indexed.entry(number).and_modify(|record| record.1 = self.now);
        }
        let found = found.and_then(Entry::read);
        // Reading a damaged entry removes it.
        let stored = match self.disk.get(&number) {
            Some(stored) if stored.is_damaged => {
                self.disk.remove(&number);
                None
            }
            other => other.cloned(),
        };
        assert_eq!(found.is_some(), stored.is_some(), "{number}");
        stored.map(|stored| (stored, found))
    }

    fn get(&mut self, number: u64, need: Need) {
        if let Some((stored, found)) = self.find(number, need) {
            assert!(found == Some(stored.image), "entry {number} has another image");
        }
        assert_eq!(self.path(number).exists(), self.disk.contains_key(&number));
    }

    fn revalidate(&mut self, number: u64) {
        let Some((stored, _)) = self.find(number, Need::Image) else { return };
        let validated_at = self.time();
        let (image, written) = self
            .renderer
            .find(&name(number), Need::Image)
            .unwrap()
            .revalidate(validated_at)
            .unwrap();
        assert!(image == stored.image, "revalidating changes the image of {number}");
        self.record(number, Stored { validated_at, ..stored }, written.unwrap());
    }

    /// Another server that shares the directory evicts an entry.
    fn remove_from_outside(&mut self, number: u64) {
        let was_there = fs::remove_file(self.path(number)).is_ok();
        assert_eq!(was_there, self.disk.remove(&number).is_some());
    }

    fn purge(&mut self, number: u64) {
        let was_there = self.renderer.remove(id(number)).unwrap();
        assert_eq!(was_there, self.disk.remove(&number).is_some());
    }

    fn damage(&mut self, number: u64) {
        let Some(written) = self.disk.get(&number).map(|stored| stored.written) else { return };
        let path = self.path(number);
        let mut bytes = fs::read(&path).unwrap();
        let at = self.dice.below(bytes.len().max(1) as u64) as usize;
        match self.dice.below(3) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.dice.below(8),
            1 if !bytes.is_empty() => bytes.truncate(at),
            _ => bytes.push(0),
        }
        // Damaging an entry twice could repair it.
        let bytes = if self.disk[&number].is_damaged { b"rubbish".to_vec() } else { bytes };
        fs::write(&path, bytes).unwrap();
        self.set_mtime(&path, written);
        let stored = self.disk.get_mut(&number).unwrap();
        stored.is_damaged = true;
        stored.blocks = World::blocks(&path);
    }

    fn fail_store(&mut self, number: u64) {
        const ERRORS: [Errno; 4] = [Errno::NOSPC, Errno::IO, Errno::MFILE, Errno::ROFS];
        let error = ERRORS[self.dice.below(4) as usize];
        match self.dice.below(4) {
            0 => plan(Step::Create, 0, Fault::Error(error)),
            1 => plan(Step::Rename, 0, Fault::Error(error)),
            step => {
                let after = step as usize - 2;
                plan(Step::Write, after, Fault::Short(1 + self.dice.below(50) as usize));
                plan(Step::Write, 0, Fault::Error(error));
            }
        }
        let image = self.image();
        let written = self.renderer.store(&name(number), &image, None, self.time());
        // An empty image is complete after the first write, so a planned fault may be left.
        faults::clear();
        match written {
            Err(_) => assert_eq!(self.temporary_files(), 0),
            Ok(bytes) => {
                let stored = Stored {
                    image,
                    etag: String::new(),
                    validated_at: self.time(),
                    is_damaged: false,
                    written: 0,
                    blocks: 0,
                };
                self.record(number, stored, bytes);
                self.remove_from_outside(number);
            }
        }
    }

    /// The processes are killed while an entry is being written, and are started again.
    fn crash(&mut self, number: u64) {
        plan(Step::Write, 0, Fault::Short(1 + self.dice.below(100) as usize));
        plan(Step::Write, self.dice.below(2) as usize, Fault::Error(Errno::IO));
        plan(Step::Remove, 0, Fault::Error(Errno::IO));
        let image = EncodedImage::new(vec![1; 5000], Format::Png, None);
        assert!(self.renderer.store(&name(number), &image, None, self.time()).is_err());
        assert_eq!(faults::clear(), 0);
        assert_eq!(self.temporary_files(), 1);
        let (renderer, edge, manager) = processes(&self.directory);
        manager.clock.ahead.store(self.now, Ordering::Relaxed);
        (self.renderer, self.edge, self._owner, self.manager) =
            (renderer, edge, Arc::clone(&manager), manager);
        self.indexed.clear();
        if self.dice.below(2) == 0 {
            // Requests arrive before the first scan.
            self.store(number);
            self.get((number + 1) % NAMES, Need::Image);
        }
        self.scan();
        assert_eq!(self.temporary_files(), 0, "a scan removes abandoned temporary files");
    }

    fn scan(&mut self) {
        let now = self.now;
        scan::scan(&self.manager);
        self.disk.retain(|_, stored| now - stored.written < MAX_AGE);
        let disk = &self.disk;
        self.indexed.retain(|number, _| disk.contains_key(number));
        for (number, stored) in disk {
            let record = self.indexed.entry(*number).or_insert((0, stored.written));
            record.0 = stored.blocks;
        }
        let bytes: u64 = self.files().iter().map(|file| World::blocks(file)).sum();
        assert_eq!(self.manager.index.bytes(), bytes, "the index has the size of the files");
    }

    fn evict(&mut self) {
        let total: u64 = self.indexed.values().map(|record| record.0).sum();
        assert_eq!(
            (self.manager.index.bytes(), self.manager.index.entries()),
            (total, self.indexed.len() as u64)
        );
        let max_bytes = self.dice.below(total + 1);
        self.manager
            .set_limits(CacheLimits { max_bytes: Some(max_bytes), ..self.manager.limits() });
        self.manager.enforce_limits();
        self.manager.set_limits(CacheLimits { max_bytes: None, ..self.manager.limits() });
        let mut excess =
            if total > max_bytes { total - max_bytes + max_bytes / SLACK_FRACTION } else { 0 };
        let mut by_last_use: Vec<_> =
            self.indexed.iter().map(|(number, (blocks, used))| (*used, *number, *blocks)).collect();
        by_last_use.sort_unstable();
        for (_, number, blocks) in by_last_use {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(blocks);
            self.indexed.remove(&number);
            self.disk.remove(&number);
        }
        let left: BTreeSet<_> = self.disk.keys().map(|number| self.path(*number)).collect();
        assert_eq!(
            self.files().into_iter().collect::<BTreeSet<_>>(),
            left,
            "the least recently used entries are evicted"
        );
    }

    fn all(&self, is_wanted: impl Fn(&Found) -> bool) -> Vec<Found> {
        let mut all = Vec::new();
        cache::walk(self.directory.path(), &mut |found| {
            if is_wanted(&found) {
                all.push(found);
            }
            true
        })
        .unwrap();
        all
    }

    fn temporary_files(&self) -> usize {
        self.all(|found| matches!(found, Found::Temporary(..))).len()
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = self.all(|found| matches!(found, Found::Entry(_))).into_iter();
        entries
            .filter_map(
                |found| if let Found::Entry(entry) = found { Some(entry.path) } else { None },
            )
            .collect()
    }
}

#[test]
fn cache_model_holds_under_random_operations() {
    const STEPS: u32 = 250;
    let begin = Instant::now();
    for seed in 1..1000 {
        let _seed = Seed(seed);
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        world.scan();
        (0..NAMES).for_each(|number| world.get(number, Need::Image));
        // At least four runs, however slow the machine is.
        if seed >= 4 && begin.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
}
