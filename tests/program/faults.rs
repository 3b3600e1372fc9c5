//! Faults: full and read-only disks, deleted directories, killed processes, servers that share a directory. Every
//! response must be the right image, and the cache must be intact afterwards.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cache_command::cache;
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::s3::{IMAGES, S3};
use crate::support::server::{Server, Setup, can_mount};
use crate::support::set_on_drop::SetOnDrop;
use crate::support::{eventually, merged};

/// Number of variants.
const TARGETS: u32 = 160;

fn originals() -> Directory {
    Directory::new().with("a.png", &images::png(images::noise(96, 96)))
}

/// The variants have from 5 to 30 KB each.
fn target(number: u32) -> String {
    format!("/h/a.png?f=jpg&q=100&w={}&bg={number:06x}", 48 + number % 48)
}

fn handler(originals: &Directory, cache: &Path, fields: Value) -> Value {
    // All variants have the same key.
    merged(merged(originals.handler(), json!({"cache_path": cache, "max_variants": 0})), fields)
}

/// The expected images, from a server without a cache.
struct Reference(HashMap<String, (String, Vec<u8>)>);

impl Reference {
    fn of(originals: &Directory) -> Reference {
        let server = Server::with_handler(originals.handler());
        let mut client = server.client();
        let ask = |number| {
            let answer = client.get(&target(number)).ok();
            (target(number), (answer.expect("ETag").to_owned(), answer.body))
        };
        Reference((0..TARGETS).map(ask).collect())
    }

    /// Fails unless this server responds with the right image. Returns whether it was a hit.
    #[track_caller]
    fn check(&self, client: &mut Client, number: u32) -> bool {
        let target = target(number);
        let answer = client.get(&target).ok();
        self.compare(&target, answer.expect("ETag"), &answer.body);
        answer.expect("X-Cache") == "hit"
    }

    #[track_caller]
    fn compare(&self, target: &str, etag: &str, body: &[u8]) {
        let (expected_etag, expected_body) = &self.0[target];
        assert!(
            etag == expected_etag && body == expected_body,
            "wrong image for {target}: {etag}, {} bytes",
            body.len()
        );
    }
}

/// Requests variants from all servers on four connections until `is_over`. Returns the number of requests.
fn load<'s>(
    scope: &'s thread::Scope<'s, '_>,
    servers: &'s [Server],
    reference: &'s Reference,
    is_over: &'s AtomicBool,
) -> &'s AtomicU64 {
    let asked = Box::leak(Box::default());
    for thread in 0..4_u32 {
        let server = &servers[thread as usize % servers.len()];
        let asked: &AtomicU64 = asked;
        scope.spawn(move || {
            let _guard = SetOnDrop(is_over);
            let mut client = server.client();
            let mut number = thread * 37;
            while !is_over.load(Ordering::Relaxed) {
                // Each thread requests all variants, in a different order.
                number = (number + 37 + 2 * thread) % TARGETS;
                reference.check(&mut client, number);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    asked
}

/// Fails unless `cache verify` finds no damage.
#[track_caller]
fn verify(server: &Server) {
    let (stdout, stderr, status) = cache(server.directory(), &["verify"]);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
}

fn temporary_files(cache: &Directory) -> usize {
    let is_temporary =
        |file: &PathBuf| file.file_name().unwrap().to_string_lossy().starts_with(".tmp-");
    cache.files().into_iter().filter(is_temporary).count()
}

/// A server with a small tmpfs on its cache directory, in a mount namespace of its own.
fn on_small_disk(originals: &Directory, cache: &Directory, fields: Value) -> Server {
    let config = json!({"handlers": [handler(originals, cache.path(), fields)], "memory_cache": 0});
    let mount = format!("mount -t tmpfs -o size=1m,mode=777 none {}", cache.path().display());
    Setup::new(config).mounts(mount).start()
}

/// The directory in the mount namespace of the server.
fn in_namespace(server: &Server, cache: &Directory) -> PathBuf {
    let inside = cache.path().strip_prefix("/").unwrap();
    Path::new("/proc").join(server.id().to_string()).join("root").join(inside)
}

/// A directory with a configuration for the `cache` command.
fn command_directory(originals: &Directory, cache: &Path) -> Directory {
    let config = json!({"handlers": [handler(originals, cache, json!({}))], "http_port": 0});
    Directory::new().with("config.json", config.to_string().as_bytes())
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}

#[test]
fn full_disk_fails_no_request() {
    if !can_mount() {
        return;
    }
    let originals = originals();
    let directory = Directory::new();
    let reference = Reference::of(&originals);
    // No free space is reserved, so the disk fills up completely.
    let servers = [on_small_disk(&originals, &directory, json!({"cache_min_free": 0}))];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _guard = SetOnDrop(&is_over);
        let asked = load(scope, &servers, &reference, &is_over);
        eventually("the images are requested repeatedly", || {
            asked.load(Ordering::Relaxed) > 600 || is_over.load(Ordering::Relaxed)
        });
    });
    servers[0].log.event_with("cache_write_failed", "No space left");
    assert_eq!(servers[0].log.count("cache_write_failed"), 1, "the warning is rate-limited");
    let mut client = servers[0].client();
    let hits = (0..TARGETS).filter(|number| reference.check(&mut client, *number)).count();
    assert!(hits > 10 && hits < TARGETS as usize, "{hits} of {TARGETS} are cached");
    let seen = in_namespace(&servers[0], &directory);
    let files = files_below(&seen);
    assert!(!files.iter().any(|file| file.to_string_lossy().contains(".tmp-")), "{files:?}");
    let (stdout, _, status) = cache(&command_directory(&originals, &seen), &["verify"]);
    assert_eq!(status, Some(0), "{stdout}");
    // Free space is used again.
    let (stdout, _, _) = cache(&command_directory(&originals, &seen), &["purge", "--all"]);
    assert!(stdout.contains("entries removed"), "{stdout}");
    reference.check(&mut client, 0);
    assert!(reference.check(&mut client, 0), "it is cached again");
}

#[test]
fn read_only_disk_still_serves_cached_images() {
    if !can_mount() {
        return;
    }
    let originals = originals();
    let directory = Directory::new();
    let reference = Reference::of(&originals);
    let server = on_small_disk(&originals, &directory, json!({}));
    let mut client = server.client();
    (0..10).for_each(|number| _ = reference.check(&mut client, number));
    let remount = |how: &str| {
        let id = server.id().to_string();
        let option = format!("remount,{how}");
        let mut command = Command::new("nsenter");
        command.args(["-t", &id, "-m"]);
        if !rustix::process::getuid().is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        eventually("it is remounted", || {
            command.status().is_ok() && {
                let mut mount = Command::new("nsenter");
                mount.args(command.get_args());
                mount.args(["mount", "-o", &option]).arg(directory.path());
                mount.status().is_ok_and(|status| status.success())
            }
        });
    };
    let damaged = files_below(&in_namespace(&server, &directory))
        .into_iter()
        .find(|file| !file.ends_with(".purges") && !file.ends_with(".purged"));
    let damaged = damaged.unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    remount("ro");
    for _ in 0..2 {
        let hits = (0..10).filter(|number| reference.check(&mut client, *number)).count();
        assert_eq!(hits, 9, "the damaged one is rendered each time");
        assert!(!reference.check(&mut client, 20));
    }
    server.log.event_with("cache_write_failed", "Read-only file system");
    assert!(damaged.exists());
    remount("rw");
    (0..21).for_each(|number| _ = reference.check(&mut client, number));
    let hits = (0..21).filter(|number| reference.check(&mut client, *number)).count();
    assert_eq!(hits, 21);
}

#[test]
fn process_without_file_descriptors_removes_no_entry() {
    const FEW: Option<u64> = Some(4);
    let mut s3 = S3::start();
    let directory = Directory::new();
    s3.put(&IMAGES, "a.png", &images::png(images::noise(96, 96)));
    let handler = merged(s3.handler(), json!({"cache_path": directory.path()}));
    let server = Server::start(json!({"handlers": [handler], "memory_cache": 0}));
    let mut client = server.client();
    let images: Vec<_> = (0..5).map(|number| client.get(&target(number)).ok().body).collect();
    // From now on a removed variant can not be made again.
    s3.stop();
    let id = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    let most = getrlimit(Resource::Nofile).maximum;
    let before =
        prlimit(Some(id), Resource::Nofile, Rlimit { current: FEW, maximum: most }).unwrap();
    for (number, image) in (0..).zip(&images) {
        // The renderer can still read the entries.
        assert_eq!(client.get(&target(number)).ok().body, *image);
    }
    server.log.event_with("entry_unreadable", "Too many open files");
    prlimit(Some(id), Resource::Nofile, before).unwrap();
    for (number, image) in (0..).zip(images) {
        let answer = client.get(&target(number)).ok();
        assert_eq!((answer.expect("X-Cache"), answer.body == image), ("hit", true));
    }
}

#[test]
fn cache_directory_that_is_deleted_under_load_is_created_again() {
    let originals = originals();
    let directory = Directory::new();
    let reference = Reference::of(&originals);
    let cache_path = directory.path().join("cache");
    let servers = [Server::with_handler(handler(&originals, &cache_path, json!({})))];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _guard = SetOnDrop(&is_over);
        let asked = load(scope, &servers, &reference, &is_over);
        for round in 0..12 {
            let until = asked.load(Ordering::Relaxed) + 20;
            eventually("the images are requested", || {
                asked.load(Ordering::Relaxed) > until || is_over.load(Ordering::Relaxed)
            });
            // This may fail, because entries are stored meanwhile.
            let _ = match round % 4 {
                3 => fs::remove_dir_all(&cache_path),
                _ => fs::remove_dir_all(cache_path.join("v1")),
            };
        }
    });
    let mut client = servers[0].client();
    eventually("images are cached again", || reference.check(&mut client, 0));
    verify(&servers[0]);
    assert_eq!(temporary_files(&directory), 0);
}

#[test]
fn killed_processes_leave_no_damage_and_no_temporary_files() {
    let originals = originals();
    let directory = Directory::new();
    let reference = Reference::of(&originals);
    let start = || {
        let handler = handler(&originals, directory.path(), json!({}));
        Server::start(json!({"handlers": [handler], "memory_cache": 100_000}))
    };
    for round in 0..5_u32 {
        let server = start();
        let address = server.http();
        let renderer = server.renderer();
        let asked = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..4 {
                let reference = &reference;
                let asked = &asked;
                scope.spawn(move || {
                    let Ok(mut client) = Client::try_connect(address) else { return };
                    for number in 0.. {
                        let target = target((number * 4 + thread + round * 31) % TARGETS);
                        if client.try_send(&request("GET", &target, &[])).is_err() {
                            return;
                        }
                        // Until the server is killed. An incomplete response is ignored.
                        let Ok(Some(answer)) = client.try_read(false) else { return };
                        if answer.status == 200 {
                            reference.compare(&target, answer.expect("ETag"), &answer.body);
                        }
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("the images are requested", || asked.load(Ordering::Relaxed) > 8);
            // At a random moment.
            let nanoseconds =
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
            thread::sleep(Duration::from_micros(u64::from(nanoseconds % 40_000)));
            renderer.signal(Signal::KILL);
            server.process().signal(Signal::KILL);
        });
        verify(&server);
    }
    // As left by a process that was killed between two writes, a moment ago.
    let entry = directory
        .files()
        .into_iter()
        .find(|file| !file.to_string_lossy().contains(".tmp-"))
        .unwrap();
    fs::copy(&entry, entry.with_file_name(".tmp-00000000deadbeef-1")).unwrap();
    let server = start();
    eventually("the temporary file is removed", || temporary_files(&directory) == 0);
    let mut client = server.client();
    (0..TARGETS).for_each(|number| _ = reference.check(&mut client, number));
    verify(&server);
}

/// The bytes of an entry, with another time of validation.
fn with_validation_time(bytes: &[u8], stored: u64) -> Vec<u8> {
    let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let (head, image) = bytes[20..].split_at(length);
    let mut description: Value = serde_json::from_slice(head).unwrap();
    description["stored"] = stored.into();
    let description = serde_json::to_vec(&description).unwrap();
    let length = u32::try_from(description.len()).unwrap().to_le_bytes();
    [&bytes[..8], &length, &Sha256::digest(&description)[..8], &description, image].concat()
}

#[test]
fn entry_from_the_future_is_revalidated() {
    let originals = originals();
    let directory = Directory::new();
    let reference = Reference::of(&originals);
    let handler = handler(&originals, directory.path(), json!({}));
    let server = Server::start(json!({"handlers": [handler], "memory_cache": 0}));
    let mut client = server.client();
    reference.check(&mut client, 0);
    let entry = directory.files().remove(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let bytes = with_validation_time(&fs::read(&entry).unwrap(), now + 86_400_000);
    fs::write(&entry, &bytes).unwrap();
    verify(&server);
    reference.check(&mut client, 0);
    eventually("the entry is revalidated", || {
        reference.check(&mut client, 0);
        let (stats, _, _) = cache(server.directory(), &["stats", "--json"]);
        let stats: Value = serde_json::from_str(&stats).unwrap();
        stats["folders"][0]["handlers"][0]["newest"].as_u64().unwrap() < now + 3_600_000
    });
}

/// How long two servers share a directory; `SOAK_SECONDS` makes it longer.
fn soak_time() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

#[test]
fn cache_directory_may_be_shared_by_two_servers() {
    let originals = originals();
    let directory = Directory::new();
    let reference = Reference::of(&originals);
    // Less than all images take, so that each server evicts entries of the other.
    let limited = json!({"cache_max_bytes": 1_000_000});
    let server = |memory: u64| {
        let handler = handler(&originals, directory.path(), limited.clone());
        Server::start(json!({"handlers": [handler], "memory_cache": memory}))
    };
    let servers = [server(0), server(1_000_000)];
    let is_over = AtomicBool::new(false);
    let begin = Instant::now();
    let mut removed = 0;
    thread::scope(|scope| {
        let _guard = SetOnDrop(&is_over);
        load(scope, &servers, &reference, &is_over);
        let mut round = 0_u64;
        while begin.elapsed() < soak_time() && !is_over.load(Ordering::Relaxed) {
            round += 1;
            for (number, entry) in (0_u64..).zip(directory.files()) {
                // Changed mtimes, and removed entries.
                let day = Duration::from_secs(86_400 * (number % 3));
                let now = SystemTime::now();
                let time = if round.is_multiple_of(2) { now + day } else { now - day };
                match (number + round) % 7 {
                    0 => removed += u32::from(fs::remove_file(entry).is_ok()),
                    1 | 2 => {
                        if let Ok(file) = fs::File::options().append(true).open(entry) {
                            let _ = file.set_modified(time);
                        }
                    }
                    _ => {}
                }
            }
            verify(&servers[0]);
            if round.is_multiple_of(4) {
                cache(servers[0].directory(), &["purge", "--all"]);
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(removed > 0);
    eventually("no temporary files are left", || temporary_files(&directory) == 0);
    verify(&servers[0]);
    for server in &servers {
        assert_eq!(server.log.count("entry_damaged"), 0, "{:?}", server.log.lines());
    }
}
